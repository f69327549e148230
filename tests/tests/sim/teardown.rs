//! When clients go, nothing of them stays in any relay.

use allium_tests::sim::seeds::for_seeds;
use std::time::Duration;

use crate::people::{ALICE, BOB, contacts};

#[test]
fn relays_forget_clients_that_vanish() {
    for_seeds(0..5, |seed| {
        let mut sim = contacts(seed, 8);
        assert!(sim.circuits() > 0);
        sim.kill_client(ALICE);
        sim.kill_client(BOB);
        sim.run_for(Duration::from_secs(20));
        assert_eq!(sim.circuits(), 0, "seed {seed}: circuits without a client are left");
    });
}

/// Circuits are given up as others replace them: an hour of talk leaves no more than the first minute.
#[test]
fn tables_do_not_grow_with_time() {
    let mut sim = contacts(1, 8);
    sim.run_for(Duration::from_secs(60));
    let before = sim.circuits();
    sim.run_for(Duration::from_secs(600));
    assert!(sim.circuits() <= before, "{before} circuits became {}", sim.circuits());
}
