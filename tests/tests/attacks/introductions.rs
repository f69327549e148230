//! Introductions and rendezvous at a relay: who gets what comes for an id, what a stranger can learn or take, and whose circuits end.

use std::time::Duration;

use allium_shared::cell::fragment::{Assembler, Fragment, split};
use allium_shared::cell::introduction::{AUTH_KEYS_PER_CELL, IntroAuthKey, Introduction, IntroductionId, MAX_PARTS};
use allium_shared::cell::message::{Cookie, RelayMessage, Service, StreamId};
use allium_shared::cell::{Cell, CircId, Command, DestroyReason};
use allium_shared::circuit::Received;
use allium_shared::crypto::handshake::INTRODUCTION_LEN;
use allium_tests::sim::outsider::{Heard, Meeting, Origin};
use allium_tests::sim::{Sim, Weather};

use crate::ground::{A_WHILE, ENTRIES, HandMade, exchange, network, open};

/// The relay where everything happens.
const RELAY: usize = 2;
const PATH: [usize; 3] = [0, 1, RELAY];

/// Tries that one circuit has.
const TRIES: usize = 32;

const MINE: IntroAuthKey = IntroAuthKey([1; 16]);
const OTHERS: IntroAuthKey = IntroAuthKey([2; 16]);

fn nobody() -> IntroductionId {
    IntroAuthKey([9; 16]).id()
}

/// A list with these locks and others that nobody knows of.
fn list(auth_keys: &[IntroAuthKey]) -> RelayMessage {
    let filled = std::array::from_fn(|n| auth_keys.get(n).copied().unwrap_or(IntroAuthKey([100 + n as u8; 16])));
    RelayMessage::EstablishIntro { part: 0, of: 1, auth_keys: Box::new(filled) }
}

/// The lock of a part of a longer list.
fn lock_of(part: u8) -> IntroAuthKey {
    IntroAuthKey([0x40 + part; 16])
}

fn part(part: u8, of: u8) -> RelayMessage {
    RelayMessage::EstablishIntro { part, of, auth_keys: Box::new([lock_of(part); AUTH_KEYS_PER_CELL]) }
}

fn established(origin: &Origin, circ: CircId) -> usize {
    origin.messages(circ).filter(|message| **message == RelayMessage::IntroEstablished).count()
}

/// Gives a list to the last hop, which has to take it.
fn establish(sim: &mut Sim, origin: &mut Origin, circ: CircId, auth_keys: &[IntroAuthKey]) {
    let before = established(origin, circ);
    origin.send(sim, circ, &list(auth_keys));
    assert!(origin.wait(sim, |origin| established(origin, circ) > before), "an honest list is taken");
}

/// Somebody who takes what comes for these locks, over a link of their own.
fn host(sim: &mut Sim, path: &[usize], auth_keys: &[IntroAuthKey]) -> (Origin, CircId) {
    let mut origin = Origin::connect(sim, path[0]);
    let circ = open(sim, &mut origin, path);
    establish(sim, &mut origin, circ, auth_keys);
    (origin, circ)
}

fn introduction(id: IntroductionId, byte: u8) -> Introduction {
    Introduction { id, nonce: 0, handshake: [byte; INTRODUCTION_LEN] }
}

fn acks(origin: &Origin, circ: CircId) -> Vec<(u8, [u8; 16])> {
    let ack = |message: &RelayMessage| match message {
        RelayMessage::IntroduceAck { effort, seed } => Some((*effort, *seed)),
        _ => None,
    };
    origin.messages(circ).filter_map(ack).collect()
}

fn send_introduction(sim: &mut Sim, origin: &mut Origin, circ: CircId, introduction: &Introduction) {
    let cells: Vec<Cell> = introduction
        .to_relay()
        .into_iter()
        .filter_map(|fragment| origin.cell(circ, &RelayMessage::Introduce1(fragment)))
        .collect();
    origin.send_cells(sim, &cells);
}

/// Brings an introduction; gives what the relay says.
fn bring(sim: &mut Sim, origin: &mut Origin, circ: CircId, introduction: &Introduction) -> Option<(u8, [u8; 16])> {
    let before = acks(origin, circ).len();
    send_introduction(sim, origin, circ, introduction);
    origin.wait(sim, |origin| acks(origin, circ).len() > before || origin.is_gone(circ));
    acks(origin, circ).get(before).copied()
}

/// What a host has been given, once nothing is under way any more.
fn given(sim: &mut Sim, origin: &mut Origin, circ: CircId) -> Vec<(IntroductionId, u8)> {
    sim.run_for(A_WHILE);
    origin.look(sim);
    let mut assembler = Assembler::default();
    let mut all = Vec::new();
    for message in origin.messages(circ) {
        let RelayMessage::Introduce2(fragment) = message else { continue };
        if let Some(whole) = assembler.push(fragment).unwrap() {
            let introduction = Introduction::at_host(&whole).unwrap();
            all.push((introduction.id, introduction.handshake[0]));
        }
    }
    all
}

/// With what reason a circuit was destroyed by others.
fn ended(origin: &Origin, circ: CircId) -> Option<DestroyReason> {
    origin.heard(circ).find_map(|heard| match heard {
        Heard::Received(received) => match **received {
            Received::Destroyed(reason) => Some(reason),
            _ => None,
        },
        _ => None,
    })
}

// ---- what a stranger learns ----

/// When the answer comes, and its cell as it is on the wire.
fn answer(id: IntroductionId, path: &[usize]) -> (Duration, Cell) {
    let mut sim = network(1, 4);
    // What differs is the relay's doing then.
    sim.set_weather(Weather { jitter: 0, ..Weather::default() });
    let (mut host, circ) = host(&mut sim, path, &[MINE]);
    let mut stranger = HandMade::build(&mut sim, RELAY);
    let begun = sim.now();
    for fragment in introduction(id, 5).to_relay() {
        stranger.send(&mut sim, &RelayMessage::Introduce1(fragment), Command::Relay);
    }
    let answer = loop {
        sim.run_for(Duration::from_millis(1));
        stranger.origin.look(&mut sim);
        if let Some(cell) = stranger.origin.take_cell() {
            break cell;
        }
        assert!(sim.now().saturating_since(begun) < A_WHILE, "an introduction is answered");
    };
    let time = sim.now().saturating_since(begun);
    assert_eq!(given(&mut sim, &mut host, circ).len(), usize::from(id == MINE.id()), "the id leads to the host alone");
    (time, answer)
}

#[test]
fn an_answer_does_not_say_whether_there_is_such_an_id() {
    for path in [&PATH[..], &[RELAY]] {
        assert_eq!(answer(MINE.id(), path), answer(nobody(), path));
    }
}

// ---- whose an id is ----

#[test]
fn only_the_lock_gives_an_id() {
    let mut sim = network(2, 4);
    let (mut owner, circ) = host(&mut sim, &PATH, &[MINE]);
    // Whoever brings an introduction knows the id, and may show it as if it were the lock.
    let (mut thief, thiefs) = host(&mut sim, &[3, 0, RELAY], &[IntroAuthKey(MINE.id().0)]);
    let mut visitor = Origin::connect(&mut sim, 1);
    let bringing = open(&mut sim, &mut visitor, &[1, 0, RELAY]);
    assert_eq!(bring(&mut sim, &mut visitor, bringing, &introduction(MINE.id(), 5)), Some((0, [0; 16])));
    assert_eq!(given(&mut sim, &mut owner, circ), [(MINE.id(), 5)]);
    assert_eq!(given(&mut sim, &mut thief, thiefs), []);
    thief.destroy(&mut sim, thiefs);
    sim.run_for(A_WHILE);
    bring(&mut sim, &mut visitor, bringing, &introduction(MINE.id(), 6));
    assert_eq!(
        given(&mut sim, &mut owner, circ),
        [(MINE.id(), 5), (MINE.id(), 6)],
        "a thief's end takes something away"
    );
}

#[test]
fn the_newest_circuit_takes_and_the_end_of_the_oldest_takes_nothing_away() {
    for by_link in [false, true] {
        let mut sim = network(3, 4);
        let (mut old, olds) = host(&mut sim, &PATH, &[MINE, OTHERS]);
        let (mut new, news) = host(&mut sim, &[3, 0, RELAY], &[MINE]);
        let mut visitor = Origin::connect(&mut sim, 1);
        let bringing = open(&mut sim, &mut visitor, &[1, 0, RELAY]);
        for (byte, auth_key) in [(1, MINE), (2, OTHERS)] {
            bring(&mut sim, &mut visitor, bringing, &introduction(auth_key.id(), byte));
        }
        assert_eq!(given(&mut sim, &mut new, news), [(MINE.id(), 1)]);
        assert_eq!(given(&mut sim, &mut old, olds), [(OTHERS.id(), 2)], "what was not taken over stays");
        if by_link {
            old.close(&mut sim);
        } else {
            old.destroy(&mut sim, olds);
        }
        sim.run_for(A_WHILE);
        for (byte, auth_key) in [(3, MINE), (4, OTHERS)] {
            let answer = bring(&mut sim, &mut visitor, bringing, &introduction(auth_key.id(), byte));
            assert_eq!(answer, Some((0, [0; 16])));
        }
        assert_eq!(given(&mut sim, &mut new, news), [(MINE.id(), 1), (MINE.id(), 3)]);
        new.destroy(&mut sim, news);
        sim.run_for(A_WHILE);
        assert_eq!(bring(&mut sim, &mut visitor, bringing, &introduction(MINE.id(), 5)), Some((0, [0; 16])));
        visitor.destroy(&mut sim, bringing);
        sim.run_for(A_WHILE);
        assert_eq!(sim.circuits(), 0);
    }
}

#[test]
fn an_older_circuit_that_gives_a_new_list_leaves_the_newer_what_it_took() {
    let mut sim = network(4, 4);
    let (mut old, olds) = host(&mut sim, &PATH, &[MINE]);
    let (mut new, news) = host(&mut sim, &[3, 0, RELAY], &[MINE]);
    establish(&mut sim, &mut old, olds, &[OTHERS]);
    let mut visitor = Origin::connect(&mut sim, 1);
    let bringing = open(&mut sim, &mut visitor, &[1, 0, RELAY]);
    bring(&mut sim, &mut visitor, bringing, &introduction(MINE.id(), 1));
    assert_eq!(given(&mut sim, &mut new, news), [(MINE.id(), 1)]);
    assert_eq!(given(&mut sim, &mut old, olds), []);
}

#[test]
fn a_list_replaces_the_one_before() {
    let mut sim = network(5, 4);
    let (mut host, circ) = host(&mut sim, &PATH, &[MINE]);
    let mut visitor = Origin::connect(&mut sim, 1);
    let bringing = open(&mut sim, &mut visitor, &[1, 0, RELAY]);
    let mut call = |sim: &mut Sim, auth_key: IntroAuthKey, byte| {
        bring(sim, &mut visitor, bringing, &introduction(auth_key.id(), byte))
    };
    call(&mut sim, MINE, 1);
    establish(&mut sim, &mut host, circ, &[OTHERS]);
    call(&mut sim, MINE, 2);
    call(&mut sim, OTHERS, 3);
    assert_eq!(given(&mut sim, &mut host, circ), [(MINE.id(), 1), (OTHERS.id(), 3)]);
    // A list of several parts counts when it is whole, and not before.
    host.send(&mut sim, circ, &part(0, 2));
    sim.run_for(A_WHILE);
    call(&mut sim, OTHERS, 4);
    host.send(&mut sim, circ, &part(1, 2));
    sim.run_for(A_WHILE);
    call(&mut sim, OTHERS, 5);
    call(&mut sim, lock_of(0), 6);
    call(&mut sim, lock_of(1), 7);
    let expected = [(MINE.id(), 1), (OTHERS.id(), 3), (OTHERS.id(), 4), (lock_of(0).id(), 6), (lock_of(1).id(), 7)];
    assert_eq!(given(&mut sim, &mut host, circ), expected);
}

// ---- what ends a circuit ----

fn fragments(index: &[u8]) -> Vec<RelayMessage> {
    let whole = introduction(nobody(), 7).to_relay();
    let fragment = |index: u8| Fragment { index, chunk: whole[usize::from(index % 3)].chunk };
    index.iter().map(|index| RelayMessage::Introduce1(fragment(*index))).collect()
}

/// What no honest client says, each to an idle circuit.
fn nonsense() -> Vec<(&'static str, Vec<RelayMessage>)> {
    let lists = |parts: &[(u8, u8)]| parts.iter().map(|(n, of)| part(*n, *of)).collect::<Vec<_>>();
    let begin = RelayMessage::Begin { stream: StreamId(1), service: Service::TIME, body: 0, argument: Vec::new() };
    let cookie = RelayMessage::EstablishRendezvous(Cookie([3; 20]));
    vec![
        ("a list of no parts", lists(&[(0, 0)])),
        ("a list of too many", lists(&[(0, MAX_PARTS + 1)])),
        ("a list without a beginning", lists(&[(1, 2)])),
        ("the same part twice", lists(&[(0, 2), (0, 2)])),
        ("a part left out", lists(&[(0, 3), (2, 3)])),
        ("a list that grows", lists(&[(0, 2), (1, 3)])),
        ("a part too many", lists(&[(0, 1), (1, 1)])),
        ("too many lists", lists(&[(0, 1); 66])),
        ("an introduction from whoever takes some", [lists(&[(0, 1)]), fragments(&[0])].concat()),
        ("a cookie from whoever takes introductions", [lists(&[(0, 1)]), vec![cookie.clone()]].concat()),
        ("a stream of whoever takes introductions", [lists(&[(0, 1)]), vec![begin.clone()]].concat()),
        ("a list in an introduction", [fragments(&[0]), lists(&[(0, 1)])].concat()),
        ("a cookie in an introduction", [fragments(&[0, 1]), vec![cookie.clone()]].concat()),
        ("an introduction without a beginning", fragments(&[1])),
        ("an introduction with a gap", fragments(&[0, 2])),
        ("a fourth fragment", fragments(&[0, 1, 2, 3])),
        ("an end that comes twice", fragments(&[0, 1, 2, 2])),
        ("a list of whoever waits", [vec![cookie], lists(&[(0, 1)])].concat()),
        ("what only relays say", vec![RelayMessage::IntroEstablished]),
        ("another thing that only relays say", vec![RelayMessage::IntroduceAck { effort: 0, seed: [0; 16] }]),
    ]
}

#[test]
fn nonsense_ends_the_one_circuit_and_nothing_else() {
    let mut sim = network(6, 4);
    let (mut host, hosts) = host(&mut sim, &PATH, &[MINE]);
    let bystander = open(&mut sim, &mut host, &PATH);
    let mut visitor = Origin::connect(&mut sim, 1);
    // What is honest goes on: as many parts as a list has, and lists as fast as a circuit may send them.
    let control = open(&mut sim, &mut host, &PATH);
    for n in 0..MAX_PARTS {
        host.send(&mut sim, control, &part(n, MAX_PARTS));
    }
    (0..48).for_each(|_| host.send(&mut sim, control, &list(&[])));
    assert!(host.wait(&mut sim, |host| established(host, control) == 49), "honest lists are taken");
    host.destroy(&mut sim, control);
    sim.run_for(A_WHILE);
    assert_eq!(sim.circuits(), 2 * ENTRIES);
    for (what, messages) in nonsense() {
        let victim = open(&mut sim, &mut host, &PATH);
        messages.iter().for_each(|message| host.send(&mut sim, victim, message));
        assert!(host.wait(&mut sim, |host| host.is_gone(victim)), "{what}: the circuit goes on");
        assert_eq!(ended(&host, victim), Some(DestroyReason::Protocol), "{what}");
        sim.run_for(A_WHILE);
        assert_eq!((sim.circuits(), sim.kept_by(RELAY).waiting), (2 * ENTRIES, 0), "{what}: something is left");
    }
    assert!(exchange(&mut sim, &mut host, bystander), "another circuit suffers");
    let bringing = open(&mut sim, &mut visitor, &[1, 0, RELAY]);
    assert_eq!(bring(&mut sim, &mut visitor, bringing, &introduction(MINE.id(), 5)), Some((0, [0; 16])));
    assert_eq!(given(&mut sim, &mut host, hosts), [(MINE.id(), 5)], "another list suffers");
}

#[test]
fn a_circuit_has_so_many_tries_for_cookies_and_introductions_together() {
    let mut sim = network(7, 4);
    let mut origin = Origin::connect(&mut sim, PATH[0]);
    let (victim, bystander) = (open(&mut sim, &mut origin, &PATH), open(&mut sim, &mut origin, &PATH));
    for n in 0..TRIES {
        if n % 2 == 0 {
            assert!(exchange(&mut sim, &mut origin, victim));
        } else {
            assert_eq!(bring(&mut sim, &mut origin, victim, &introduction(nobody(), 1)), Some((0, [0; 16])));
        }
    }
    assert_eq!(bring(&mut sim, &mut origin, victim, &introduction(nobody(), 1)), None);
    assert_eq!(ended(&origin, victim), Some(DestroyReason::Protocol));
    assert!(exchange(&mut sim, &mut origin, bystander), "another circuit suffers");
}

// ---- floods ----

/// Somebody with many circuits to the relay, and one link.
struct Flood {
    origin: Origin,
    circuits: Vec<CircId>,
    sent: usize,
}

impl Flood {
    fn new(sim: &mut Sim, circuits: usize) -> Self {
        let mut origin = Origin::connect(sim, RELAY);
        let circuits = (0..circuits).map(|_| open(sim, &mut origin, &[RELAY])).collect();
        Self { origin, circuits, sent: 0 }
    }

    /// Brings so many introductions at once.
    fn send(&mut self, sim: &mut Sim, id: IntroductionId, number: usize) {
        for _ in 0..number {
            let circ = self.circuits[self.sent / TRIES];
            self.sent += 1;
            send_introduction(sim, &mut self.origin, circ, &introduction(id, 3));
        }
    }

    /// The same, and then one more right behind it on the same link; gives what the relay says to that.
    fn then(&mut self, sim: &mut Sim, introduction: &Introduction) -> Option<(u8, [u8; 16])> {
        // More than the relay takes for nothing in the time that an answer needs.
        self.send(sim, nobody(), 16);
        let circ = *self.circuits.last().unwrap();
        bring(sim, &mut self.origin, circ, introduction)
    }
}

#[test]
fn a_flood_for_one_id_leaves_another_client_alone_and_brings_work_for_everybody_alike() {
    let mut sim = network(8, 4);
    let (mut victim, victims) = host(&mut sim, &PATH, &[MINE]);
    let (mut other, others) = host(&mut sim, &[3, 0, RELAY], &[OTHERS]);
    let mut flood = Flood::new(&mut sim, 20);
    let mut visitor = Origin::connect(&mut sim, RELAY);
    let bringing = open(&mut sim, &mut visitor, &[RELAY]);

    // Few enough for the relay, and too many for one circuit: the rest gets lost, and everybody hears the same.
    flood.send(&mut sim, MINE.id(), 200);
    assert_eq!(bring(&mut sim, &mut visitor, bringing, &introduction(OTHERS.id(), 5)), Some((0, [0; 16])));
    assert_eq!(given(&mut sim, &mut other, others), [(OTHERS.id(), 5)], "another client suffers");
    let come = given(&mut sim, &mut victim, victims).len();
    assert!((60..=72).contains(&come), "{come} of 200 came");
    assert!(victim.is_open(victims), "the flooded circuit goes on");
    flood.origin.look(&mut sim);
    let free: usize = flood.circuits.iter().map(|circ| acks(&flood.origin, *circ).len()).sum();
    assert_eq!(free, 200);

    // Too many for the relay.
    flood.send(&mut sim, MINE.id(), 300);
    let known = flood.then(&mut sim, &introduction(OTHERS.id(), 6)).unwrap();
    assert_eq!(known.0, 12, "work is wanted");
    for id in [MINE.id(), nobody(), OTHERS.id()] {
        assert_eq!(flood.then(&mut sim, &introduction(id, 6)), Some(known), "others hear something else");
    }
    assert_eq!(given(&mut sim, &mut other, others), [(OTHERS.id(), 5)]);

    // Who does it gets through, to whomever.
    let relay = sim.relay(RELAY).identity;
    let mut worked = introduction(OTHERS.id(), 7);
    worked.nonce = worked.work(&relay, &known.1).search(known.0.into(), 0, u64::MAX).unwrap();
    assert_eq!(flood.then(&mut sim, &worked), Some((0, [0; 16])));
    assert_eq!(given(&mut sim, &mut other, others), [(OTHERS.id(), 5), (OTHERS.id(), 7)]);
    assert!(exchange(&mut sim, &mut visitor, bringing), "another circuit suffers");
}

#[test]
fn work_for_one_introduction_is_no_good_for_another() {
    let mut sim = network(9, 4);
    let mut flood = Flood::new(&mut sim, 22);
    flood.send(&mut sim, nobody(), 420);
    let (effort, seed) = flood.then(&mut sim, &introduction(MINE.id(), 1)).unwrap();
    assert_eq!(effort, 12, "work is wanted");
    let relay = sim.relay(RELAY).identity;
    let mut worked = introduction(MINE.id(), 1);
    let enough = |one: &Introduction, relay, seed: &[u8; 16], nonce| one.work(relay, seed).zeros(nonce) >= 12;
    worked.nonce = worked.work(&relay, &seed).search(effort.into(), 0, u64::MAX).unwrap();
    for (id, byte) in [(OTHERS.id(), 1), (MINE.id(), 2)] {
        let other = Introduction { nonce: worked.nonce, ..introduction(id, byte) };
        assert!(!enough(&other, &relay, &seed, worked.nonce));
        assert_eq!(flood.then(&mut sim, &other), Some((effort, seed)));
    }
    // Work for another relay, or with a seed that this one has not given out.
    for (relay, seed) in [(sim.relay(1).identity, seed), (relay, [7; 16])] {
        let mut other = introduction(MINE.id(), 1);
        other.nonce = other.work(&relay, &seed).search(effort.into(), 0, u64::MAX).unwrap();
        assert_ne!(other.nonce, worked.nonce);
        assert_eq!(flood.then(&mut sim, &other).map(|(effort, _)| effort), Some(effort));
    }
    assert_eq!(flood.then(&mut sim, &worked), Some((0, [0; 16])), "the work itself is taken");
    assert_eq!(flood.then(&mut sim, &worked), Some((effort, seed)), "and serves once");
}

// ---- rendezvous ----

const COOKIE: Cookie = Cookie([5; 20]);

fn come(cookie: Cookie, byte: u8) -> [RelayMessage; 3] {
    split(&[byte; 1154]).map(|fragment| {
        let cookie = (fragment.index == 0).then_some(cookie);
        RelayMessage::Rendezvous1 { cookie, fragment }
    })
}

/// What has come to a waiter: the first byte of each fragment, after its number.
fn visited(origin: &Origin, circ: CircId) -> Vec<(u8, u8)> {
    let fragment = |message: &RelayMessage| match message {
        RelayMessage::Rendezvous2(fragment) => Some((fragment.index, fragment.chunk[0])),
        _ => None,
    };
    origin.messages(circ).filter_map(fragment).collect()
}

fn unknown(origin: &Origin, circ: CircId) -> usize {
    origin.messages(circ).filter(|message| **message == RelayMessage::RendezvousUnknown).count()
}

/// Somebody who waits, and somebody else with a circuit to the same relay.
fn waiting(sim: &mut Sim) -> ((Origin, CircId), (Origin, CircId)) {
    let mut waiter = Origin::connect(sim, PATH[0]);
    let waits = open(sim, &mut waiter, &PATH);
    assert!(waiter.establish(sim, waits, COOKIE), "an honest cookie is kept");
    let mut comer = Origin::connect(sim, 3);
    let comes = open(sim, &mut comer, &[3, 0, RELAY]);
    ((waiter, waits), (comer, comes))
}

#[test]
fn who_comes_to_a_waiter_that_has_gone_finds_nobody() {
    for by_link in [false, true] {
        let mut sim = network(10, 4);
        let ((mut waiter, waits), (mut comer, comes)) = waiting(&mut sim);
        if by_link {
            waiter.close(&mut sim);
        } else {
            waiter.destroy(&mut sim, waits);
        }
        sim.run_for(A_WHILE);
        assert_eq!(sim.kept_by(RELAY).waiting, 0);
        come(COOKIE, 1).iter().for_each(|message| comer.send(&mut sim, comes, message));
        assert!(comer.wait(&mut sim, |comer| unknown(comer, comes) == 1), "whoever comes is answered");
        assert!(exchange(&mut sim, &mut comer, comes), "the circuit is of no use any more");
    }
    let mut sim = network(10, 4);
    assert!(Meeting::arrange(&mut sim, &[3, 0, RELAY], &PATH).is_some(), "who comes in time is joined");
}

#[test]
fn the_second_to_come_with_a_cookie_finds_nobody() {
    // Behind the first, and between its fragments.
    for ahead in [3, 1] {
        let mut sim = network(11, 4);
        let ((mut waiter, waits), (mut first, firsts)) = waiting(&mut sim);
        let mut second = Origin::connect(&mut sim, 1);
        let seconds = open(&mut sim, &mut second, &[1, 0, RELAY]);
        let thirds = come(COOKIE, 1);
        thirds[..ahead].iter().for_each(|message| first.send(&mut sim, firsts, message));
        sim.run_for(A_WHILE);
        come(COOKIE, 2).iter().for_each(|message| second.send(&mut sim, seconds, message));
        assert!(second.wait(&mut sim, |second| unknown(second, seconds) == 1), "the second is answered");
        thirds[ahead..].iter().for_each(|message| first.send(&mut sim, firsts, message));
        sim.run_for(A_WHILE);
        waiter.look(&mut sim);
        first.look(&mut sim);
        assert_eq!(visited(&waiter, waits), [(0, 1), (1, 1), (2, 1)], "the waiter hears of the first alone");
        assert!(waiter.is_open(waits) && first.is_open(firsts) && unknown(&first, firsts) == 0);
        assert!(exchange(&mut sim, &mut second, seconds), "the second circuit suffers");
    }
}

#[test]
fn who_goes_away_in_the_middle_of_a_meeting_ends_the_other_circuit_and_nothing_else() {
    for (comer_goes, by_link) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut sim = network(12, 4);
        let ((mut waiter, waits), (mut comer, comes)) = waiting(&mut sim);
        let mut origin = Origin::connect(&mut sim, 1);
        let bystander = open(&mut sim, &mut origin, &[1, 0, RELAY]);
        come(COOKIE, 1)[..2].iter().for_each(|message| comer.send(&mut sim, comes, message));
        assert!(waiter.wait(&mut sim, |waiter| visited(waiter, waits).len() == 2), "what comes is handed on");
        let ((goes, going), (stays, staying)) = if comer_goes {
            ((&mut comer, comes), (&mut waiter, waits))
        } else {
            ((&mut waiter, waits), (&mut comer, comes))
        };
        if by_link {
            goes.close(&mut sim);
        } else {
            goes.destroy(&mut sim, going);
        }
        assert!(stays.wait(&mut sim, |stays| stays.is_gone(staying)), "the other circuit goes on");
        assert!(ended(stays, staying).is_some());
        sim.run_for(A_WHILE);
        assert_eq!((sim.circuits(), sim.kept_by(RELAY).waiting), (ENTRIES, 0), "something is left");
        assert!(exchange(&mut sim, &mut origin, bystander), "another circuit suffers");
        assert!(!stays.is_closed(&sim), "the link ends");
    }
}

#[test]
fn who_comes_cannot_put_in_a_fragment_of_its_own_after_the_join_or_out_of_turn() {
    for (order, what) in [(&[0, 2][..], "a gap"), (&[0, 0], "a beginning twice"), (&[0, 1, 2, 2], "a fourth")] {
        let mut sim = network(13, 4);
        let ((mut waiter, waits), (mut comer, comes)) = waiting(&mut sim);
        let thirds = come(COOKIE, 1);
        order.iter().for_each(|index: &usize| comer.send(&mut sim, comes, &thirds[*index]));
        assert!(comer.wait(&mut sim, |comer| comer.is_gone(comes)), "{what}: the circuit goes on");
        assert!(waiter.wait(&mut sim, |waiter| waiter.is_gone(waits)), "{what}: the other one goes on");
        sim.run_for(A_WHILE);
        assert_eq!((sim.circuits(), sim.kept_by(RELAY).waiting), (0, 0), "{what}");
    }
}
