//! A network over wires that can be cut: each node and each client is in a network namespace of its own, as on a machine of
//! its own.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use allium_shared::netdir::Authorities;
use allium_tests::chat::{Chat, ContactState, PATIENCE, Pair};
use allium_tests::directory::{Record, names};
use allium_tests::machines::{Machines, Place};
use allium_tests::namespaces::{Switch, inside};
use allium_tests::peer::now;
use allium_tests::traffic::Traffic;
use allium_tests::wait;

const AUTHORITIES: u8 = 3;
const RELAYS: u8 = 6;
const PORT: u16 = 7000;

/// How often authorities vote here, in seconds.
const INTERVAL: u64 = 5;

/// How many clients are looked at, each of which has two circuits or more. Three of ten paths through five relays have any two
/// of them, so this is seen to go wrong in all but one of several hundred times.
const CLIENTS: usize = 10;

/// For how long a client's own network is gone.
const ABSENCE: Duration = Duration::from_secs(20);

/// Within this time after that the two are connected again.
const BACK_WITHIN: Duration = Duration::from_secs(15);

/// Within this time after a wire was mended everything has arrived.
const SETTLED_WITHIN: Duration = Duration::from_secs(90);

/// A network over a switch. The fields are dropped in this order: processes before the namespaces that they are in.
struct Scene {
    machines: Machines,
    record: Record,
    /// How many relays there are.
    relays: u8,
    /// From where the test looks at the nodes.
    window: String,
    switch: Switch,
}

/// Each node in a /16 of its own, so that no two seem to be one operator's.
fn ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, number, 0, 1)
}

fn authority(number: u8) -> String {
    format!("authority{number}")
}

fn relay(number: u8) -> String {
    format!("relay{number}")
}

impl Scene {
    #[track_caller]
    fn start(switch: Switch) -> Self {
        Self::start_with(switch, (1..=RELAYS).map(ip).collect(), &[])
    }

    /// Starts a network whose relays have these addresses, and whose authorities vote for these parameters.
    #[track_caller]
    fn start_with(switch: Switch, relays: Vec<Ipv4Addr>, parameters: &[(&str, i64)]) -> Self {
        let window = switch.add(ip(200));
        let mut machines = Machines::new(INTERVAL, parameters);
        let place = |ip: Ipv4Addr| Place { ip, port: PORT, namespace: Some(switch.add(ip)) };
        let places: Vec<Place> = (1..=AUTHORITIES).map(|number| place(ip(100 + number))).collect();
        let named = || (1..).map(authority).zip(&places);
        let list = Authorities::new(named().map(|(name, place)| machines.keygen(&name, place)).collect()).unwrap();
        for (name, place) in named() {
            machines.authority(&name, place, &list);
        }
        let mut count = 0;
        for ip in relays {
            count += 1;
            machines.relay(&relay(count), &place(ip), &list);
        }
        let mut scene = Self { machines, record: Record::new(list), relays: count, window, switch };
        let (all, expected) = (scene.urls(&[]), scene.relays(&[]));
        let window = scene.window.clone();
        inside(&window, || scene.record.await_all(&all, "a consensus with all relays", |one| names(one) == expected));
        scene
    }

    /// The addresses of all nodes but these.
    fn urls(&self, but: &[&str]) -> Vec<String> {
        let all = (1..=AUTHORITIES).map(authority).chain((1..=self.relays).map(relay));
        all.filter(|name| !but.contains(&name.as_str())).map(|name| self.machines.place(&name).url()).collect()
    }

    fn relays(&self, but: &[&str]) -> BTreeSet<String> {
        (1..=self.relays).map(relay).filter(|name| !but.contains(&name.as_str())).collect()
    }

    /// Waits until all nodes but these hold the consensus of the second period that begins after this moment, or a later
    /// one; gives the relays in it.
    #[track_caller]
    fn within_two_periods(&mut self, but: &[&str]) -> BTreeSet<String> {
        let (moment, urls) = (now().as_secs() + 1 + INTERVAL, self.urls(but));
        let (window, record) = (&self.window, &mut self.record);
        names(&inside(window, || record.await_period(&urls, moment)))
    }

    fn cut(&self, name: &str) {
        self.switch.cut(self.namespace(name));
    }

    fn mend(&self, name: &str) {
        self.switch.mend(self.namespace(name));
    }

    fn namespace(&self, name: &str) -> &str {
        self.machines.place(name).namespace.as_deref().unwrap()
    }

    fn directory(&self) -> String {
        self.machines.place(&authority(2)).url()
    }
}

/// A switch, or the word for people that there can be none.
fn switch() -> Option<Switch> {
    match Switch::new() {
        Ok(switch) => Some(switch),
        Err(reason) => {
            eprintln!("SKIPPED: network namespaces cannot be made here: {reason}");
            None
        }
    }
}

/// Five relays, the first two in one /16 and the others elsewhere.
fn neighbours() -> Vec<Ipv4Addr> {
    [ip(1), Ipv4Addr::new(10, 1, 200, 7), ip(3), ip(4), ip(5)].into()
}

/// The paths of a new client's circuits, once it has some for several purposes.
#[track_caller]
fn paths(home: &str, directory: &str) -> BTreeSet<Vec<String>> {
    let chat = Chat::launch_in(home, home, directory);
    chat.await_ready();
    // Whoever comes by it is waited for at two relays.
    chat.invite();
    let mut seen = BTreeSet::new();
    wait::until(SETTLED_WITHIN, "a client's circuits", || {
        seen.extend(chat.circuits().into_iter().map(|circuit| circuit.path));
        (seen.len() >= 2).then_some(())
    });
    seen
}

#[test]
fn no_circuit_has_two_relays_of_one_subnet() {
    let is_first_or_second = |name: &String| [relay(1), relay(2)].contains(name);
    // By the default; and, to see that it is that which does it, without.
    for (parameters, apart) in [(&[][..], true), (&[("path-subnet-v4-bits", 0)][..], false)] {
        let Some(switch) = switch() else { return };
        let scene = Scene::start_with(switch, neighbours(), parameters);
        let home = scene.switch.add(ip(210));
        let directory = scene.directory();
        let (mut count, mut one, mut both) = (0, 0, 0);
        // A client keeps its guards, so it takes many to see all that there may be.
        for _ in 0..CLIENTS {
            for path in paths(&home, &directory) {
                count += 1;
                match path.iter().filter(|name| is_first_or_second(name)).count() {
                    0 => {}
                    1 => one += 1,
                    _ if apart => panic!("{path:?} has two neighbours"),
                    _ => both += 1,
                }
            }
            if both > 0 {
                break;
            }
        }
        assert!(apart || both > 0, "none of {count} circuits has both, although all may");
        assert!(!apart || one > 0, "none of {count} circuits has either of the two");
    }
}

#[test]
fn wires_are_cut_and_mended_and_no_message_is_lost() {
    let Some(switch) = switch() else { return };
    let mut scene = Scene::start(switch);
    let homes = [scene.switch.add(ip(210)), scene.switch.add(ip(211))];
    let directory = scene.directory();
    let open = |home: &str, label: &str| Chat::launch_in(home, label, &directory);
    let (ada, ben) = (open(&homes[0], "Ada"), open(&homes[1], "Ben"));
    [&ada, &ben].into_iter().for_each(Chat::await_ready);
    let pair = Pair::introduce(ada, ben);
    pair.assert_talking("Over wires");

    // An authority is cut off: the other two go on, and it catches up once it is back.
    scene.cut("authority1");
    let traffic = Traffic::start(&pair, "without an authority");
    assert_eq!(scene.within_two_periods(&["authority1"]), scene.relays(&[]));
    traffic.finish(SETTLED_WITHIN);
    scene.mend("authority1");
    assert_eq!(scene.within_two_periods(&[]), scene.relays(&[]));

    // A relay in use is cut off: it leaves the list, and the two find another way.
    let victim = pair.inviter.conversation_path()[1].clone();
    let traffic = Traffic::start(&pair, "without a relay");
    scene.cut(&victim);
    assert_eq!(scene.within_two_periods(&[&victim]), scene.relays(&[&victim]));
    wait::until(SETTLED_WITHIN, "a way around the relay", || {
        let paths = [&pair.inviter, &pair.visitor].into_iter().flat_map(|chat| chat.circuits());
        let paths: Vec<_> = paths.filter(|circuit| circuit.purpose == "conversation").collect();
        (paths.len() == 2 && paths.iter().all(|circuit| !circuit.path.contains(&victim))).then_some(())
    });
    traffic.finish(SETTLED_WITHIN);
    scene.mend(&victim);
    assert_eq!(scene.within_two_periods(&[]), scene.relays(&[]));

    // A client's own network goes away, and comes back.
    let traffic = Traffic::start(&pair, "in a tunnel");
    let chats = [(&pair.inviter, &pair.visitor_name), (&pair.visitor, &pair.inviter_name)];
    let marks = chats.map(|(chat, _)| chat.mark());
    scene.switch.cut(&homes[1]);
    // This time is part of what is promised.
    thread::sleep(ABSENCE);
    for ((chat, name), mark) in chats.into_iter().zip(marks) {
        chat.await_state(mark, name, PATIENCE, |state| state != ContactState::Connected);
    }
    let marks = chats.map(|(chat, _)| chat.mark());
    scene.switch.mend(&homes[1]);
    for ((chat, name), mark) in chats.into_iter().zip(marks) {
        chat.await_state(mark, name, BACK_WITHIN, |state| state == ContactState::Connected);
    }
    let count = traffic.finish(SETTLED_WITHIN);
    assert!(count > 100, "only {count} messages");
    pair.assert_talking("All is well");
    [&pair.inviter, &pair.visitor].into_iter().for_each(|chat| chat.assert_nothing_twice());

    // Nobody is to blame for a cut wire.
    let (window, record) = (&scene.window, &scene.record);
    for number in 1..=AUTHORITIES {
        let url = scene.machines.place(&authority(number)).url();
        inside(window, || record.assert_no_misconduct(&url));
    }
}
