//! tmp
use allium_shared::client::api::*;
use allium_tests::sim::Sim;
use std::time::Duration;

fn fragment(sim: &Sim, n: usize) -> Option<String> {
    sim.events(n).iter().find_map(|e| match e {
        Event::Invite { fragment, .. } => Some(fragment.clone()),
        _ => None,
    })
}
fn connected(sim: &Sim, n: usize) -> bool {
    sim.events(n)
        .iter()
        .rev()
        .find_map(|e| match e {
            Event::Contact { state, .. } => Some(*state == ContactState::Connected),
            _ => None,
        })
        .unwrap_or(false)
}
fn got(sim: &Sim, n: usize) -> Vec<String> {
    sim.events(n)
        .iter()
        .filter_map(|e| match e {
            Event::Message { text, .. } => Some(text.clone()),
            _ => None,
        })
        .collect()
}
fn delivered(sim: &Sim, n: usize) -> usize {
    sim.events(n).iter().filter(|e| matches!(e, Event::Outgoing { state: DeliveryState::Delivered, .. })).count()
}

#[test]
fn two_clients_chat() {
    let mut sim = Sim::new(1, 8, 2);
    let ready = sim.run_until(Duration::from_secs(10), |s| {
        (0..2).all(|n| s.events(n).contains(&Event::Progress { step: Progress::Ready }))
    });
    assert!(ready, "{:?}", sim.events(0));
    eprintln!("ready at {:?}", sim.now());
    sim.command(0, Command::Invite);
    assert!(sim.run_until(Duration::from_secs(10), |s| fragment(s, 0).is_some()), "{:?}", sim.events(0));
    eprintln!("invite at {:?}", sim.now());
    let link = fragment(&sim, 0).unwrap();
    sim.command(1, Command::Add { link, name: "Alice".into(), introduce_as: Some("Bob".into()) });
    assert!(
        sim.run_until(Duration::from_secs(10), |s| connected(s, 0) && connected(s, 1)),
        "{:?} {:?}",
        sim.events(0),
        sim.events(1)
    );
    eprintln!("connected at {:?}", sim.now());
    let (a, b) = (sim.client(0).find_contact("Bob").unwrap(), sim.client(1).find_contact("Alice").unwrap());
    for n in 0..50 {
        sim.command(0, Command::Send { to: a, text: format!("a{n}") });
        sim.command(1, Command::Send { to: b, text: format!("b{n}") });
    }
    assert!(
        sim.run_until(Duration::from_secs(10), |s| delivered(s, 0) == 50 && delivered(s, 1) == 50),
        "{:?}",
        sim.events(0)
    );
    eprintln!("delivered at {:?}", sim.now());
    assert_eq!(got(&sim, 0), (0..50).map(|n| format!("b{n}")).collect::<Vec<_>>());
    sim.command(1, Command::Circuits);
    eprintln!("{:?}", sim.events(1).last());
    for round in 0..3 {
        sim.command(1, Command::Circuits);
        let Some(Event::Circuits { list }) = sim.events(1).last() else { panic!() };
        let path = list.iter().find(|c| c.purpose == Purpose::Conversation).unwrap().path.clone();
        let rp = sim.relay_named(path.last().unwrap()).unwrap();
        let t = sim.now();
        if round % 2 == 0 {
            sim.kill_relay(rp);
        } else {
            sim.freeze_relay(rp);
        }
        assert!(sim.run_until(Duration::from_secs(10), |s| !connected(s, 0) && !connected(s, 1)), "not noticed");
        eprintln!("noticed after {:?}", sim.now() - t);
        sim.command(0, Command::Send { to: a, text: format!("r{round}") });
        let ok = sim.run_until(Duration::from_secs(20), |s| {
            connected(s, 0) && connected(s, 1) && delivered(s, 0) == 51 + round
        });
        eprintln!("back after {:?} {ok}", sim.now() - t);
        assert!(ok, "{:?}\n{:?}", &sim.events(0)[sim.events(0).len() - 5..], &sim.events(1)[sim.events(1).len() - 5..]);
    }
}
