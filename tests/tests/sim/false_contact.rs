//! Contacts who keep to no rule: what they say is refused or bounded, and other conversations go on as if nothing were.

use std::time::Duration;

use allium_shared::cell::DestroyReason;
use allium_shared::client::api::{Command, ContactId, DeliveryState, Event, MessageId};
use allium_shared::crypto::handshake::INTRODUCTION_LEN;
use allium_shared::messaging::frame::{Frame, MAX_FRAME_LEN, VERSION};
use allium_shared::rendezvous::IntroPoint;
use allium_tests::sim::Sim;
use allium_tests::sim::impostor::Impostor;
use allium_tests::sim::seeds::for_seeds;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};

use crate::people::{ALICE, BOB, LONG, get_ready, invite, ready};

/// Who has nothing to do with any of it.
const CID: usize = 2;

/// Where the impostor meets Alice.
const RELAY: usize = 5;

/// How long a conversation may be without an answer while somebody makes trouble in another.
const SOON: Duration = Duration::from_secs(2);

const SEEDS: std::ops::Range<u64> = 0..2;

/// Alice has two contacts, one of whom is played by somebody else.
fn ground(seed: u64) -> (Sim, Impostor) {
    let mut sim = ready(seed, 10, 3);
    for (n, name) in [(BOB, "Bob"), (CID, "Cid")] {
        let link = invite(&mut sim, ALICE);
        sim.command(n, Command::add(link, "Alice", Some(name)));
        assert!(sim.run_until(LONG, |sim| connected(sim, name)), "seed {seed}");
    }
    get_ready(&mut sim);
    let greeting = sim.client(BOB).find_contact("Alice").unwrap();
    sim.command(BOB, Command::Send { to: greeting, text: "before".to_owned() });
    assert!(sim.run_until(LONG, |sim| texts(sim, "Bob") == ["before"]), "seed {seed}");
    sim.run_for(Duration::from_secs(1));
    let impostor = Impostor::of(&mut sim, BOB);
    (sim, impostor)
}

fn contact(sim: &Sim, name: &str) -> ContactId {
    sim.client(ALICE).find_contact(name).unwrap_or_else(|| panic!("{name} is no contact"))
}

fn connected(sim: &Sim, name: &str) -> bool {
    use allium_shared::client::api::ContactState::Connected;
    let state = sim.events(ALICE).iter().rev().find_map(|event| match event {
        Event::Contact { name: of, state, .. } if of == name => Some(*state),
        _ => None,
    });
    state == Some(Connected)
}

/// What Alice was told to have come from somebody.
fn texts(sim: &Sim, name: &str) -> Vec<String> {
    let from = contact(sim, name);
    let text = |event: &Event| match event {
        Event::Message { contact, text, .. } if *contact == from => Some(text.clone()),
        _ => None,
    };
    sim.events(ALICE).iter().filter_map(text).collect()
}

/// Alice and Cid talk as if nothing were.
fn assert_unharmed(sim: &mut Sim, case: &str) {
    assert!(connected(sim, "Cid"), "{case}: the other contact was lost");
    let number = sim.random();
    for (from, to) in [(ALICE, CID), (CID, ALICE)] {
        let peer = if from == ALICE { "Cid" } else { "Alice" };
        let contact = sim.client(from).find_contact(peer).unwrap();
        let text = format!("{number} from {from}");
        sim.command(from, Command::Send { to: contact, text: text.clone() });
        let delivered = |sim: &Sim| {
            sim.events(from).iter().any(|event| {
                matches!(event, Event::Outgoing { text: of, state: DeliveryState::Delivered, .. } if *of == text)
            })
        };
        assert!(sim.run_until(SOON, delivered), "{case}: a message to {to} takes long");
    }
    let other =
        |event: &Event| matches!(event, Event::Error { about, .. } if about != "directory" && about != "network");
    assert!(!sim.events(ALICE).iter().any(other), "{case}: {:?}", sim.events(ALICE).iter().find(|event| other(event)));
}

#[test]
fn an_impostor_that_behaves_is_taken_for_the_contact() {
    for_seeds(SEEDS, |seed| {
        let (mut sim, mut bob) = ground(seed);
        assert!(bob.resume(&mut sim, RELAY), "seed {seed}");
        let frame = bob.envelope(MessageId([7; 16]), "hello");
        bob.say(&mut sim, &frame);
        assert!(bob.hears(&mut sim, |frame| matches!(frame, Frame::Ack { received: 2 })), "seed {seed}");
        assert_eq!(texts(&sim, "Bob"), ["before", "hello"], "seed {seed}");
        assert_unharmed(&mut sim, "nothing was done");
    });
}

#[test]
fn what_is_no_frame_ends_its_circuit_and_nothing_else() {
    let points = vec![IntroPoint { relay: [1; 32].into(), salt: [2; 8] }; 3];
    let mut too_many_points = Vec::new();
    Frame::Points(points).encode(&mut too_many_points);
    too_many_points[5] = 4;
    let huge = u32::try_from(MAX_FRAME_LEN + 1).unwrap().to_be_bytes();
    let broken: [(&str, Vec<u8>); 10] = [
        ("an unknown type", vec![99, 0, 0, 0, 0]),
        ("type zero", vec![0; 64]),
        ("a huge length", [&[9][..], &huge].concat()),
        ("the greatest length", vec![9, 0xff, 0xff, 0xff, 0xff]),
        ("bytes left over", vec![3, 0, 0, 0, 1, 0]),
        ("a short acknowledgement", vec![10, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]),
        ("a flag that is none", vec![12, 0, 0, 0, 1, 2]),
        ("more points than there may be", too_many_points),
        ("another version", [&[15, 0, 0, 0, 66][..], &(VERSION + 1).to_be_bytes(), &[1; 64]].concat()),
        ("an envelope without a place", vec![9, 0, 0, 0, 3, 1, 2, 3]),
    ];
    for_seeds(SEEDS, |seed| {
        let (mut sim, mut bob) = ground(seed);
        for (what, bytes) in &broken {
            assert!(bob.resume(&mut sim, RELAY), "seed {seed}: not taken before {what}");
            bob.say_bytes(&mut sim, bytes);
            sim.run_for(SOON);
            assert_eq!(bob.ended(&mut sim), Some(DestroyReason::Protocol), "seed {seed}: {what}");
            assert_unharmed(&mut sim, what);
        }
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        for n in 0..10 {
            assert!(bob.resume(&mut sim, RELAY), "seed {seed}: not taken before noise {n}");
            let mut noise = vec![0; 2000];
            rng.fill_bytes(&mut noise);
            bob.say_bytes(&mut sim, &noise);
            sim.run_for(SOON);
            // Or a type that exists, of which the rest never comes.
            let ended = bob.ended(&mut sim);
            assert!(matches!(ended, None | Some(DestroyReason::Protocol)), "seed {seed}: noise {n}: {ended:?}");
            assert_unharmed(&mut sim, "noise");
        }
        assert_eq!(texts(&sim, "Bob"), ["before"], "seed {seed}");
    });
}

#[test]
fn frames_out_of_their_place_end_the_circuit() {
    for_seeds(SEEDS, |seed| {
        let (mut sim, mut bob) = ground(seed);
        let keys = [3; 32];
        let out_of_place = [
            Frame::Request {
                identity: keys,
                one_time_key: keys,
                key: keys,
                points: Vec::new(),
                name: "Eve".to_owned(),
                note: String::new(),
            },
            Frame::Pending { key: keys, points: Vec::new() },
            Frame::Confirm,
            Frame::PreKeyMessage { identity: keys, pre_key: vec![1; 200] },
            Frame::Decline,
            // Nothing was offered that could be kept.
            Frame::PointsKept,
        ];
        for frame in out_of_place {
            assert!(bob.resume(&mut sim, RELAY), "seed {seed}: not taken before {frame:?}");
            // What the contact offers by itself is answered first.
            sim.run_for(Duration::from_secs(1));
            if bob.heard(&mut sim).iter().any(|heard| matches!(heard, Frame::Points(_))) {
                bob.say(&mut sim, &Frame::PointsKept);
            }
            bob.say(&mut sim, &frame);
            sim.run_for(SOON);
            assert_eq!(bob.ended(&mut sim), Some(DestroyReason::Protocol), "seed {seed}: {frame:?}");
            assert_unharmed(&mut sim, "a frame out of its place");
        }
    });
}

#[test]
fn ancient_repeated_and_early_messages_are_shown_once_or_never() {
    for_seeds(SEEDS, |seed| {
        let (mut sim, mut bob) = ground(seed);
        assert!(bob.resume(&mut sim, RELAY), "seed {seed}");
        let first = bob.envelope(MessageId([1; 16]), "one");
        let second = bob.envelope(MessageId([2; 16]), "two");
        for _ in 0..50 {
            bob.say(&mut sim, &first);
        }
        bob.say(&mut sim, &second);
        // Its number is that of the oldest message of all.
        bob.say(&mut sim, &Frame::Envelope { sequence: 0, id: MessageId([9; 16]), sealed: vec![1; 528] });
        bob.say(&mut sim, &first);
        assert!(bob.hears(&mut sim, |frame| matches!(frame, Frame::Ack { received: 3 })), "seed {seed}");
        sim.run_for(SOON);
        assert_eq!(texts(&sim, "Bob"), ["before", "one", "two"], "seed {seed}");
        assert_eq!(bob.ended(&mut sim), None, "seed {seed}: all of that may happen to honest clients");
        // One message under two ids, and one from the future.
        let Frame::Envelope { sealed, .. } = bob.envelope(MessageId([3; 16]), "three") else { panic!("no envelope") };
        for sequence in [3, 4, u64::MAX] {
            bob.say(&mut sim, &Frame::Envelope { sequence, id: MessageId([4; 16]), sealed: sealed.clone() });
        }
        assert!(
            bob.hears(&mut sim, |frame| matches!(frame, Frame::SessionReset { .. })),
            "seed {seed}: the session is void"
        );
        sim.run_for(SOON);
        assert_eq!(texts(&sim, "Bob"), ["before", "one", "two"], "seed {seed}");
        assert_unharmed(&mut sim, "ancient, repeated and early messages");
    });
}

#[test]
fn wrong_session_keys_and_contents_are_refused_and_told_apart() {
    for_seeds(SEEDS, |seed| {
        let (mut sim, mut bob) = ground(seed);
        // A sealed text that Olm has not encrypted: a session that is out of step may send that. A new one begins, once.
        assert!(bob.resume(&mut sim, RELAY), "seed {seed}");
        let frame = bob.envelope_around(MessageId([1; 16]), b"\x01no message of Olm's");
        bob.say(&mut sim, &frame);
        assert!(bob.hears(&mut sim, |frame| matches!(frame, Frame::SessionReset { .. })), "seed {seed}");
        // Keys that make no session end the circuit.
        bob.say(&mut sim, &Frame::PreKeyMessage { identity: [0; 32], pre_key: vec![0; 300] });
        sim.run_for(SOON);
        assert_eq!(bob.ended(&mut sim), Some(DestroyReason::Protocol), "seed {seed}");
        assert_unharmed(&mut sim, "a welcome with wrong keys");

        // So do those in the beginning of a new session, and a second beginning on one circuit.
        assert!(bob.resume(&mut sim, RELAY), "seed {seed}");
        let renew = Frame::SessionReset { identity: [5; 32], one_time_key: [6; 32] };
        bob.say(&mut sim, &renew);
        bob.say(&mut sim, &renew);
        sim.run_for(SOON);
        assert_eq!(bob.ended(&mut sim), Some(DestroyReason::Protocol), "seed {seed}");
        assert_eq!(texts(&sim, "Bob"), ["before"], "seed {seed}");
        assert_unharmed(&mut sim, "sessions that begin twice");
    });
}

#[test]
fn endless_typing_reading_and_moving_is_bounded() {
    for_seeds(SEEDS, |seed| {
        let (mut sim, mut bob) = ground(seed);
        assert!(bob.resume(&mut sim, RELAY), "seed {seed}");
        let writes = |sim: &Sim| sim.events(ALICE).iter().filter(|event| matches!(event, Event::Typing { .. })).count();
        let before = (writes(&sim), sim.disk(ALICE).count());
        let seconds = 5;
        for n in 0..seconds * 20 {
            for k in 0..10_u8 {
                bob.say(&mut sim, &Frame::Typing(k % 2 == 0));
                bob.say(&mut sim, &Frame::Read(MessageId([k; 16])));
                bob.say(&mut sim, &Frame::Ping(7));
                bob.say(&mut sim, &Frame::Fallback(Box::new([k; INTRODUCTION_LEN])));
            }
            let salt = [n as u8; 8];
            bob.say(&mut sim, &Frame::Points(vec![IntroPoint { relay: [1; 32].into(), salt }]));
            sim.run_for(Duration::from_millis(50));
            bob.heard(&mut sim);
        }
        let told = writes(&sim) - before.0;
        assert!(told <= 8 + 2 * (seconds + 1), "seed {seed}: {told} events in {seconds} s");
        sim.run_for(Duration::from_secs(5));
        bob.heard(&mut sim);
        assert_unharmed(&mut sim, "endless small things");
        assert!(sim.disk(ALICE).count() <= before.1 + 8, "seed {seed}: the store grows by what nobody keeps");
    });
}

#[test]
fn endless_introductions_cost_the_contact_s_own_share_only() {
    for_seeds(SEEDS, |seed| {
        let (mut sim, mut bob) = ground(seed);
        let before = sim.client(ALICE).circuits();
        let mut most = 0;
        for n in 0..60 {
            // Honest ones, which nobody then waits for, and noise.
            if n % 2 == 0 {
                bob.call(&mut sim);
            } else {
                bob.bring(&mut sim, [n as u8; INTRODUCTION_LEN]);
            }
            most = most.max(sim.client(ALICE).circuits());
        }
        assert!(most <= before + 8, "seed {seed}: {most} circuits in place of {before}");
        assert_unharmed(&mut sim, "endless introductions");
        // And the contact is let in again.
        sim.run_for(Duration::from_secs(30));
        assert!(bob.resume(&mut sim, RELAY), "seed {seed}");
    });
}
