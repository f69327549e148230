//! Streams in both directions, through three hops and under the memory caps of relays.

use std::time::Duration;

use allium_shared::flow::STREAM_WINDOW;
use allium_shared::stream::{EndCause, EndReason};
use allium_tests::sim::Sim;
use allium_tests::sim::echo_client::EchoClient;
use allium_tests::sim::echo_service::MAX_HELD;
use allium_tests::sim::outsider::Origin;

/// What goes to the echo and comes back, in bytes.
const LEN: usize = 1_000_000;

/// The memory that each relay gives to cells and streams, in bytes: more than one stream's windows, less than what goes
/// through it.
const MEMORY: usize = 800_000;

#[test]
fn a_megabyte_is_echoed_although_its_reader_stalls() {
    let mut sim = Sim::new(5, 3, 0);
    for relay in 0..3 {
        sim.limit_memory(relay, MEMORY);
    }
    let mut origin = Origin::connect(&mut sim, 0);
    let circ = origin.build(&mut sim, &[0, 1, 2]);
    assert!(origin.is_open(circ));
    let bytes: Vec<u8> = (0..LEN).map(|n| (n / 3 + n / 1000) as u8).collect();
    let mut echo = EchoClient::begin(&mut sim, &mut origin, circ, &bytes);
    let mut most = 0;
    let mut run = |sim: &mut Sim, origin: &mut Origin, echo: &mut EchoClient, until: usize, reads: bool| {
        let mut quiet = 0;
        // Longer than any round trip.
        while echo.read().len() < until && quiet < 100 {
            quiet = if echo.step(sim, origin, reads) { 0 } else { quiet + 1 };
            sim.run_for(Duration::from_millis(20));
            most = most.max((0..3).map(|relay| sim.memory_of(relay)).max().unwrap_or_default());
        }
    };
    run(&mut sim, &mut origin, &mut echo, LEN / 4, true);
    let read = echo.read().len();
    run(&mut sim, &mut origin, &mut echo, LEN, false);
    // Everything has come to a stop; the last hop holds what it can't send, and a window of what it was sent.
    assert_eq!(echo.read().len(), read);
    assert_eq!(echo.end(), None);
    let held = sim.memory_of(2);
    let window = usize::from(STREAM_WINDOW) * 488;
    assert!((window - 50 * 488..window + 4 * MAX_HELD).contains(&held), "{held} bytes at the last hop");
    run(&mut sim, &mut origin, &mut echo, LEN, true);
    assert!(echo.read() == bytes, "{} bytes came back", echo.read().len());
    run(&mut sim, &mut origin, &mut echo, usize::MAX, true);
    assert_eq!(echo.end(), Some(EndCause::Peer(EndReason::DONE)));
    assert!(most <= MEMORY, "{most} bytes at one relay");
    assert_eq!((0..3).map(|relay| sim.memory_of(relay)).sum::<usize>(), 0);
    assert!(origin.is_open(circ));
}
