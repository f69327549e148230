//! What the simulations ask of their clients.

use std::time::Duration;

use allium_shared::client::api::{Command, ContactId, ContactState, DeliveryState, Event, Progress, Purpose};
use allium_tests::sim::{Sim, Weather};

/// Whoever makes the invite.
pub const ALICE: usize = 0;
/// Whoever takes it.
pub const BOB: usize = 1;

/// Long enough for anything that has to happen at all.
pub const LONG: Duration = Duration::from_secs(60);

/// A network in which all clients are ready.
pub fn ready(seed: u64, relays: usize, clients: usize) -> Sim {
    ready_in(seed, relays, clients, Weather::default())
}

/// The same in any weather.
pub fn ready_in(seed: u64, relays: usize, clients: usize, weather: Weather) -> Sim {
    let mut sim = Sim::with_weather(seed, relays, clients, weather);
    get_ready(&mut sim);
    sim
}

/// Waits until all clients are ready.
pub fn get_ready(sim: &mut Sim) {
    let is_ready = |sim: &Sim, n| sim.events(n).contains(&Event::Progress { step: Progress::Ready });
    assert!(sim.run_until(LONG, |sim| (0..sim.client_count()).all(|n| is_ready(sim, n))), "not ready");
}

/// A link that a client has made.
pub fn invite(sim: &mut Sim, n: usize) -> String {
    let made = |sim: &Sim| {
        sim.events(n).iter().rev().find_map(|event| match event {
            Event::Invite { fragment, .. } => Some(fragment.clone()),
            _ => None,
        })
    };
    let before = made(sim);
    sim.command(n, Command::invite());
    assert!(sim.run_until(LONG, |sim| made(sim) != before), "no invite");
    made(sim).expect("an invite")
}

/// Alice and Bob, who have just become contacts.
pub fn contacts(seed: u64, relays: usize) -> Sim {
    contacts_in(seed, relays, Weather::default())
}

/// The same in any weather.
pub fn contacts_in(seed: u64, relays: usize, weather: Weather) -> Sim {
    let mut sim = ready_in(seed, relays, 2, weather);
    befriend(&mut sim);
    sim
}

/// Makes Alice and Bob contacts; gives the invite by which they became it.
pub fn befriend(sim: &mut Sim) -> String {
    let link = invite(sim, ALICE);
    sim.command(BOB, Command::add(link.clone(), "Alice", Some("Bob")));
    assert!(sim.run_until(LONG, both_connected), "not connected");
    link
}

/// Whether a client's only contact is connected, as far as it knows.
pub fn connected(sim: &Sim, n: usize) -> bool {
    let last = sim.events(n).iter().rev().find_map(|event| match event {
        Event::Contact { state, .. } => Some(*state),
        _ => None,
    });
    last == Some(ContactState::Connected)
}

/// Whether both are.
pub fn both_connected(sim: &Sim) -> bool {
    connected(sim, ALICE) && connected(sim, BOB)
}

/// The other one's id.
pub fn other(sim: &Sim, n: usize) -> ContactId {
    let name = if n == ALICE { "Bob" } else { "Alice" };
    sim.client(n).find_contact(name).expect("the contact exists")
}

/// Sends a text.
pub fn send(sim: &mut Sim, n: usize, text: &str) {
    let to = other(sim, n);
    sim.command(n, Command::Send { to, text: text.to_owned() });
}

/// All texts that a client was given, in their order.
pub fn received(sim: &Sim, n: usize) -> Vec<String> {
    let text = |event: &Event| match event {
        Event::Message { text, .. } => Some(text.clone()),
        _ => None,
    };
    sim.events(n).iter().filter_map(text).collect()
}

/// All texts of a client that have come so far, in the order in which it was told.
pub fn outgoing(sim: &Sim, n: usize, wanted: DeliveryState) -> Vec<String> {
    let text = |event: &Event| match event {
        Event::Outgoing { text, state, .. } if *state == wanted => Some(text.clone()),
        _ => None,
    };
    sim.events(n).iter().filter_map(text).collect()
}

/// The nicknames of a client's own hops towards its contact.
pub fn path(sim: &mut Sim, n: usize) -> Vec<String> {
    sim.command(n, Command::Circuits);
    let Some(Event::Circuits { list }) = sim.events(n).last() else { panic!("no circuits were listed") };
    let conversation = list.iter().find(|circuit| circuit.purpose == Purpose::Conversation);
    conversation.expect("a conversation").path.clone()
}
