//! The services of a circuit's last relay, asked over circuits of three hops.

use allium_shared::cell::CircId;
use allium_shared::cell::message::{EndReason, Service};
use allium_shared::netdir::ConsensusUpdate;
use allium_shared::services::{PUBLISH_EFFORT, Publication, PublishAnswer, UserId, day, read_key_answer, read_time};
use allium_tests::sim::Sim;
use allium_tests::sim::outsider::Origin;

/// A client without an engine, with a circuit of three hops.
fn circuit(sim: &mut Sim) -> (Origin, CircId) {
    let mut origin = Origin::connect(sim, 0);
    let circ = origin.build(sim, &[0, 1, 2]);
    assert!(origin.is_open(circ));
    (origin, circ)
}

fn done(answer: Option<(Vec<u8>, EndReason)>) -> Vec<u8> {
    let (bytes, reason) = answer.expect("an answer");
    assert_eq!(reason, EndReason::DONE);
    bytes
}

#[test]
fn the_last_relay_gives_the_directory_and_the_time() {
    let mut sim = Sim::new(1, 3, 0);
    let (mut origin, circ) = circuit(&mut sim);
    let directory = done(origin.ask(&mut sim, circ, Service::DIRECTORY, b""));
    assert_eq!(ConsensusUpdate::decode(&directory), Ok(ConsensusUpdate::Whole(sim.consensus().as_bytes())));
    let before = sim.clock();
    let time = read_time(&done(origin.ask(&mut sim, circ, Service::TIME, b""))).unwrap();
    assert!((before..=sim.clock()).contains(&time));
    // The same circuit serves many requests, and a mistake costs one stream.
    for _ in 0..200 {
        let wrong = origin.ask(&mut sim, circ, Service::TIME, b"?").unwrap();
        assert_eq!(wrong, (Vec::new(), EndReason::TORPROTOCOL));
    }
    assert!(origin.is_open(circ));
}

#[test]
fn what_one_publishes_another_finds() {
    let mut sim = Sim::new(2, 4, 0);
    let (mut origin, circ) = circuit(&mut sim);
    let record = b"a user's key and where to ask for more";
    let (today, user) = (day(sim.clock()), UserId::of(record));
    let nonce = Publication::work(today, record).search(PUBLISH_EFFORT, 0, u64::MAX).unwrap();
    let idle = Publication { nonce: nonce + 1, day: today, record };
    assert!(!idle.is_worked());
    let mut publish = |publication: &Publication<'_>| {
        let answer = done(origin.ask(&mut sim, circ, Service::PUBLISH_KEY, &publication.encode()));
        PublishAnswer::decode(&answer).unwrap()
    };
    assert_eq!(publish(&idle), PublishAnswer::NoWork);
    let worked = Publication { nonce, ..idle };
    assert_eq!(publish(&worked), PublishAnswer::Stored);

    let mut other = Origin::connect(&mut sim, 3);
    let other_circ = other.build(&mut sim, &[3, 0, 2]);
    let find = |sim: &mut Sim, other: &mut Origin| done(other.ask(sim, other_circ, Service::FIND_KEY, &user.0));
    assert_eq!(read_key_answer(&user, &find(&mut sim, &mut other)), Ok(Some(&record[..])));
    let nobody = done(other.ask(&mut sim, other_circ, Service::FIND_KEY, &[9; 32]));
    assert_eq!(read_key_answer(&UserId([9; 32]), &nobody), Ok(None));
    assert_eq!(nobody.len(), find(&mut sim, &mut other).len());
}
