//! Relays that change, drop, double, swap and misdirect cells while two clients talk: they can hinder, and nothing else.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use allium_shared::cell::Cell;
use allium_tests::sim::Mischief;
use allium_tests::sim::seeds::for_seeds;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use crate::people::{ALICE, BOB, LONG, contacts, received, send};

/// One cell in so many is tampered with at each relay.
const RARITY: u64 = 150;

/// A relay that is malicious now and then; it counts what it has done.
fn tamperer(seed: u64, count: Rc<RefCell<usize>>) -> Mischief {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut held: Option<Cell> = None;
    Box::new(move |_, mut cell| {
        if let Some(first) = held.take() {
            return vec![cell, first];
        }
        if !rng.next_u64().is_multiple_of(RARITY) {
            return vec![cell];
        }
        *count.borrow_mut() += 1;
        match rng.next_u64() % 4 {
            0 => {
                let bit = usize::try_from(rng.next_u64()).unwrap_or_default() % (cell.body.len() * 8);
                cell.body[bit / 8] ^= 1 << (bit % 8);
                vec![cell]
            }
            1 => Vec::new(),
            2 => vec![cell.clone(), cell],
            _ => {
                held = Some(cell);
                Vec::new()
            }
        }
    })
}

#[test]
fn whatever_relays_do_to_cells_messages_arrive_as_they_were_sent() {
    for_seeds(0..4, |seed| {
        let mut sim = contacts(seed, 10);
        let count = Rc::new(RefCell::new(0));
        for n in 0..sim.relay_count() {
            sim.bribe(n, Some(tamperer(seed * 100 + n as u64, count.clone())));
        }
        let texts: Vec<String> = (0..30).map(|n| format!("{n} {}", "onion ".repeat(n * 20))).collect();
        for text in &texts {
            for n in [ALICE, BOB] {
                send(&mut sim, n, text);
            }
            sim.run_for(Duration::from_millis(700));
        }
        assert!(*count.borrow() > 10, "only {} cells were tampered with", count.borrow());
        for n in 0..sim.relay_count() {
            sim.bribe(n, None);
        }
        let arrived =
            sim.run_until(LONG * 2, |sim| [ALICE, BOB].iter().all(|n| received(sim, *n).len() >= texts.len()));
        assert!(arrived, "{} and {} of {}", received(&sim, ALICE).len(), received(&sim, BOB).len(), texts.len());
        sim.run_for(Duration::from_secs(10));
        for n in [ALICE, BOB] {
            assert_eq!(received(&sim, n), texts, "client {n}");
        }
    });
}
