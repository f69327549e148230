//! Profiles that are older copies of themselves, as after a backup was restored.

use std::time::Duration;

use allium_shared::client::api::DeliveryState;
use allium_tests::sim::Sim;
use allium_tests::sim::seeds::for_seeds;

use crate::people::{ALICE, BOB, LONG, both_connected, contacts, outgoing, received, send};

/// All that a client has on its disk.
fn copy(sim: &Sim, n: usize) -> Vec<(String, Vec<u8>)> {
    sim.disk(n).map(|(key, value)| (key.to_owned(), value.to_vec())).collect()
}

/// Puts a copy in the place of what a client has, and starts the client.
fn restore(sim: &mut Sim, n: usize, copy: Vec<(String, Vec<u8>)>) {
    sim.kill_client(n);
    let newer: Vec<String> = sim.disk(n).map(|(key, _)| key.to_owned()).collect();
    for key in newer {
        sim.forget_record(n, &key);
    }
    for (key, value) in copy {
        sim.store_record(n, &key, value);
    }
    sim.start_client(n);
}

/// Sends texts one after the other, and waits until they have come.
fn say(sim: &mut Sim, n: usize, texts: &[&str]) {
    let to = if n == ALICE { BOB } else { ALICE };
    texts.iter().for_each(|text| send(sim, n, text));
    assert!(sim.run_until(LONG, |sim| texts.iter().all(|text| received(sim, to).iter().any(|got| got == text))));
    sim.run_for(Duration::from_secs(2));
}

#[test]
fn what_an_older_copy_queues_arrives_however_much_it_has_forgotten() {
    for_seeds(0..4, |seed| {
        // Fewer, as many, and more than it has forgotten; after something was said in both directions, or nothing.
        for queued in [&["a"][..], &["a", "b"], &["a", "b", "c"]] {
            for said_before in [true, false] {
                for n in [ALICE, BOB] {
                    let mut sim = contacts(seed, 8);
                    let to = if n == ALICE { BOB } else { ALICE };
                    if said_before {
                        say(&mut sim, n, &["one"]);
                        say(&mut sim, to, &["two"]);
                    }
                    let old = copy(&sim, n);
                    say(&mut sim, n, &["forgotten 1", "forgotten 2"]);
                    say(&mut sim, to, &["forgotten 3"]);
                    restore(&mut sim, n, old);
                    // Queued before it has reached anybody.
                    queued.iter().for_each(|text| send(&mut sim, n, text));
                    let case = format!("seed {seed}, {n}, {queued:?}, {said_before}");
                    let arrived = |sim: &Sim| queued.iter().all(|text| received(sim, to).iter().any(|got| got == text));
                    assert!(sim.run_until(LONG, arrived), "{case}: {:?}", received(&sim, to));
                    assert!(sim.run_until(LONG, both_connected), "{case}");
                    say(&mut sim, to, &["answer"]);
                    let delivered = outgoing(&sim, n, DeliveryState::Delivered);
                    assert!(
                        queued.iter().all(|text| delivered.iter().any(|said| said == text)),
                        "{case}: {delivered:?}"
                    );
                    let got = received(&sim, to);
                    assert!(
                        queued.iter().all(|text| got.iter().filter(|got| got == text).count() == 1),
                        "{case}: {got:?}"
                    );
                }
            }
        }
    });
}
