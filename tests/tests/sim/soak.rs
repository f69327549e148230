//! Circuits come and go by the thousand, however they end: no table keeps anything of them.

use std::time::Duration;

use allium_shared::cell::fragment::split;
use allium_shared::cell::{CircId, Command};
use allium_tests::artifacts;
use allium_tests::sim::outsider::Origin;
use allium_tests::sim::report::RelayPeak;
use allium_tests::sim::{Node, Sim};

/// How many circuits are built in a full verification, and otherwise.
const CIRCUITS: (usize, usize) = (100_000, 5_000);

/// How many are under way at once.
const BATCH: usize = 50;

/// More than a relay gives any handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

const RELAYS: usize = 4;

/// How the circuits of a batch end.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// The client destroys each.
    Destroy,
    /// The link between the client and its guard breaks.
    OwnLink,
    /// The link between the second relay and the third breaks.
    FarLink,
    /// The client's handshake stops halfway.
    HalfCreate,
    /// The relay that the circuit is extended to does not answer.
    NoAnswer,
}

const ENDINGS: [Ending; 5] = [Ending::Destroy, Ending::OwnLink, Ending::FarLink, Ending::HalfCreate, Ending::NoAnswer];

fn kept(sim: &Sim) -> Vec<RelayPeak> {
    (0..RELAYS).map(|n| sim.kept_by(n)).collect()
}

/// Builds a batch of circuits and ends it; gives how many circuits there were.
fn batch(sim: &mut Sim, ending: Ending) -> usize {
    let mut origin = Origin::connect(sim, 0);
    let node = origin.node();
    let opened: Vec<CircId> = match ending {
        Ending::Destroy | Ending::OwnLink | Ending::FarLink => {
            let circs: Vec<_> = (0..BATCH).map(|_| origin.begin(sim, &[0, 1, 2])).collect();
            assert!(origin.wait(sim, |origin| circs.iter().all(|circ| origin.is_open(*circ))), "{ending:?}");
            assert_eq!(sim.circuits(), 5 * BATCH, "two entries at each relay on the way, one at the last");
            // Every other one waits for somebody.
            for (n, circ) in circs.iter().enumerate().filter(|(n, _)| n.is_multiple_of(2)) {
                let cookie = allium_shared::cell::message::Cookie([u8::try_from(n).unwrap(); 20]);
                assert!(origin.establish(sim, *circ, cookie));
            }
            assert_eq!(sim.kept_by(2).waiting, BATCH.div_ceil(2));
            circs
        }
        Ending::HalfCreate => {
            let circs: Vec<_> = (0..BATCH).map(|_| origin.new_circ()).collect();
            let first = split(&[1; 1300])[0].clone();
            let cells: Vec<_> = circs.iter().map(|circ| first.to_cell(*circ, Command::Create)).collect();
            origin.send_cells(sim, &cells);
            sim.run_for(Duration::from_millis(100));
            assert_eq!(sim.circuits(), BATCH, "half a handshake is kept");
            circs
        }
        Ending::NoAnswer => {
            sim.freeze_relay(3);
            let circs: Vec<_> = (0..BATCH).map(|_| origin.begin(sim, &[0, 1, 3])).collect();
            origin.wait(sim, |_| false);
            assert!(sim.circuits() >= 3 * BATCH, "{} circuits wait for an answer", sim.circuits());
            circs
        }
    };
    match ending {
        Ending::Destroy => opened.iter().for_each(|circ| origin.destroy(sim, *circ)),
        Ending::OwnLink => assert_eq!(sim.break_links(node, Node::Relay(0)), 1),
        Ending::FarLink => assert_eq!(sim.break_links(Node::Relay(1), Node::Relay(2)), 1),
        Ending::HalfCreate | Ending::NoAnswer => sim.run_for(HANDSHAKE_TIME),
    }
    sim.run_for(Duration::from_millis(500));
    if matches!(ending, Ending::FarLink | Ending::NoAnswer) {
        assert!(origin.wait(sim, |origin| opened.iter().all(|circ| origin.is_gone(*circ))), "{ending:?}");
    }
    if matches!(ending, Ending::NoAnswer) {
        sim.thaw_relay(3);
        sim.run_for(Duration::from_millis(500));
    }
    assert_eq!(sim.circuits(), 0, "{ending:?}");
    for (n, kept) in kept(sim).into_iter().enumerate() {
        assert_eq!((kept.circuits, kept.waiting), (0, 0), "relay {n} after {ending:?}");
    }
    origin.close(sim);
    opened.len()
}

#[test]
fn no_table_keeps_anything_of_circuits_that_are_gone() {
    let mut sim = Sim::new(1, RELAYS, 0);
    let goal = if artifacts::full() { CIRCUITS.0 } else { CIRCUITS.1 };
    // Once through all endings, so that all links between relays stand.
    for ending in ENDINGS {
        batch(&mut sim, ending);
    }
    sim.run_for(Duration::from_secs(20));
    let before = kept(&sim);
    let mut count = 0;
    while count < goal {
        for ending in ENDINGS {
            count += batch(&mut sim, ending);
        }
    }
    sim.run_for(Duration::from_secs(20));
    assert_eq!(sim.circuits(), 0);
    for (n, (before, now)) in before.iter().zip(kept(&sim)).enumerate() {
        assert_eq!((now.circuits, now.waiting), (0, 0), "relay {n}");
        // An idle link may have a padding cell waiting, and a link that broke may not have been needed again.
        assert!(now.queued <= before.queued + now.links && now.links <= before.links, "{before:?} became {now:?}");
    }
}
