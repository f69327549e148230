//! A long talk through a network in which something always goes wrong.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, Instant};

use allium_tests::artifacts;
use allium_tests::chat::Pair;
use allium_tests::network::{Network, Options};
use allium_tests::traffic::Traffic;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// How long it lasts in a full verification, and otherwise, for whoever runs it by its name.
const LENGTHS: (Duration, Duration) = (Duration::from_secs(180), Duration::from_secs(40));

/// The most relays that are dead or frozen at the same time.
const MOST_DOWN: usize = 3;

#[test]
#[ignore = "takes minutes; `cargo verify --full` runs it"]
fn whatever_happens_to_relays_no_message_is_lost() {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    println!("seed {seed:?}");
    let mut rng = ChaCha20Rng::from_seed(seed);
    let network = Network::start(&Options { relays: 10, ..Options::default() });
    let pair = Pair::meet(&network.url());
    let traffic = Traffic::start(&pair, "on and on");
    let relays: Vec<String> = network.relays().map(|node| node.nickname().to_owned()).collect();
    let (mut dead, mut frozen) = (HashSet::new(), HashSet::new());
    let start = Instant::now();
    let length = if artifacts::full() { LENGTHS.0 } else { LENGTHS.1 };
    while start.elapsed() < length {
        let relay = &relays[rng.next_u32() as usize % relays.len()];
        let room = dead.len() + frozen.len() < MOST_DOWN;
        let what = if dead.remove(relay) {
            network.restart(relay);
            "starts again"
        } else if frozen.remove(relay) {
            network.node(relay).thaw();
            "thaws"
        } else if room && rng.next_u32() % 2 == 0 {
            network.node(relay).kill();
            dead.insert(relay.clone());
            "dies"
        } else if room {
            network.node(relay).freeze();
            frozen.insert(relay.clone());
            "freezes"
        } else {
            continue;
        };
        println!("{:6.1} s  {relay} {what}", start.elapsed().as_secs_f64());
        thread::sleep(Duration::from_millis(500 + u64::from(rng.next_u32() % 3500)));
    }
    for relay in &frozen {
        network.node(relay).thaw();
    }
    for relay in &dead {
        network.restart(relay);
    }
    let count = traffic.finish(Duration::from_secs(120));
    println!("{count} messages");
    pair.assert_talking("After all of that");
}
