//! What relays do with cells: those who do not read, and those who do not keep to the rules, harm nobody but themselves.

use std::thread;
use std::time::{Duration, Instant};

use allium_shared::cell::message::{EndReason, RelayMessage, Service, StreamId};
use allium_shared::cell::{CircId, DestroyReason};
use allium_shared::circuit::Received;
use allium_shared::flow::{STREAM_INCREMENT, STREAM_WINDOW};
use allium_tests::network::{Network, Options};
use allium_tests::peer::{Directory, Peer};
use allium_tests::{artifacts, process, usage};

const PATH: [&str; 3] = ["relay1", "relay2", "relay3"];

/// More than anybody draws here.
const ENDLESS: u64 = 1 << 40;

fn network() -> (Network, Directory) {
    let network = Network::start(&Options { relays: 3, authorities: 1, bench: true, ..Options::default() });
    let directory = Directory::fetch(&network.url());
    (network, directory)
}

fn guard(directory: &Directory) -> Peer {
    Peer::link(directory, directory.relay(PATH[0]))
}

/// Reads a circuit's stream to its end as a client would; gives how many bytes came, and counts the cells of others.
fn read_to_end(peer: &mut Peer, circ: CircId, others: &mut usize) -> u64 {
    let mut bytes = 0;
    loop {
        match peer.next_received() {
            (of, Received::Data(stream, data)) if of == circ => {
                bytes += data.len() as u64;
                peer.with(circ, |circuit, out| circuit.consumed(stream, out));
            }
            (of, Received::Ended(..)) if of == circ => return bytes,
            (of, received) if of == circ => assert!(matches!(received, Received::Connected(..)), "{received:?}"),
            (_, Received::Data(..)) => *others += 1,
            _ => {}
        }
    }
}

#[test]
fn a_stream_that_nobody_reads_stops_and_holds_up_no_other() {
    let (_network, directory) = network();
    let mut peer = guard(&directory);
    let unread = peer.open_circuit(&directory, &PATH);
    let read = peer.open_circuit(&directory, &PATH);
    let streams = [(); 3].map(|()| peer.draw(unread, ENDLESS));
    peer.draw(read, 20_000_000);
    let mut of_unread = 0;
    assert_eq!(read_to_end(&mut peer, read, &mut of_unread), 20_000_000);
    assert_eq!(of_unread, streams.len() * usize::from(STREAM_WINDOW), "each stream sends its window and no more");
    // Another stream of the circuit that has three stuck ones still has room.
    peer.draw(unread, 100_000);
    let mut stuck = 0;
    assert_eq!(read_stream(&mut peer, unread, streams.len() as u16 + 1, &mut stuck), 100_000);
    assert_eq!(stuck, 0);
    // And a stuck one goes on as soon as somebody reads it.
    for _ in 0..STREAM_INCREMENT {
        peer.with(unread, |circuit, out| circuit.consumed(streams[0], out));
    }
    for _ in 0..STREAM_INCREMENT {
        assert!(matches!(peer.await_received(unread), Received::Data(of, _) if of == streams[0]));
    }
}

fn read_stream(peer: &mut Peer, circ: CircId, stream: u16, others: &mut usize) -> u64 {
    let mut bytes = 0;
    loop {
        match peer.await_received(circ) {
            Received::Data(of, data) if of == StreamId(stream) => {
                bytes += data.len() as u64;
                peer.with(circ, |circuit, out| circuit.consumed(of, out));
            }
            Received::Data(..) => *others += 1,
            Received::Ended(of, _) if of == StreamId(stream) => return bytes,
            _ => {}
        }
    }
}

#[test]
fn a_link_that_nobody_reads_costs_little_and_ends_alone() {
    const MOST: u64 = 48 << 20;
    let (network, directory) = network();
    let pids = PATH.map(|relay| network.node(relay).pid());
    let mut stuck = guard(&directory);
    let circuits: Vec<_> = (0..40).map(|_| stuck.open_circuit(&directory, &PATH)).collect();
    let before = pids.map(usage::memory);
    for circ in circuits {
        for _ in 0..3 {
            stuck.draw(circ, ENDLESS);
        }
    }
    // The same relays, the same links between them.
    let mut reader = guard(&directory);
    let circ = reader.open_circuit(&directory, &PATH);
    let start = Instant::now();
    let mut rounds = 0;
    while start.elapsed() < Duration::from_secs(3) {
        reader.draw(circ, 2_000_000);
        assert_eq!(read_to_end(&mut reader, circ, &mut 0), 2_000_000);
        rounds += 1;
        for (pid, before) in pids.iter().zip(before) {
            let grown = usage::memory(*pid).saturating_sub(before);
            assert!(grown < MOST, "a relay has grown by {grown} bytes for a link that nobody reads");
        }
    }
    assert!(rounds > 0);
    // What waits for it is more than a relay keeps for a client. It has not read the reason either.
    stuck.await_end();
    reader.draw(circ, 1000);
    assert_eq!(read_to_end(&mut reader, circ, &mut 0), 1000);
}

#[test]
fn whoever_breaks_the_rules_of_a_circuit_loses_that_one_only() {
    let (_network, directory) = network();
    let mut peer = guard(&directory);
    let good = peer.open_circuit(&directory, &PATH);
    let unknown = StreamId(9);
    let tag = [7; 16];
    type Break<'a> = (&'a str, &'a dyn Fn(&mut Peer, CircId, StreamId));
    let breaks: [Break<'_>; 8] = [
        ("a SENDME for the circuit with a wrong tag", &|peer, circ, _| {
            await_data(peer, circ, 200);
            peer.send_message(circ, &RelayMessage::Sendme { stream: StreamId::CIRCUIT, tag });
        }),
        ("a SENDME for a stream with a wrong tag", &|peer, circ, stream| {
            await_data(peer, circ, 200);
            peer.send_message(circ, &RelayMessage::Sendme { stream, tag });
        }),
        ("a SENDME for no stream", &|peer, circ, _| {
            peer.send_message(circ, &RelayMessage::Sendme { stream: unknown, tag });
        }),
        ("data for no stream", &|peer, circ, _| {
            peer.send_message(circ, &RelayMessage::Data { stream: unknown, data: vec![1] });
        }),
        ("a stream that is open", &|peer, circ, stream| {
            let argument = ENDLESS.to_be_bytes().to_vec();
            peer.send_message(circ, &RelayMessage::Begin { stream, service: Service::SOURCE, body: 0, argument });
        }),
        ("a message that only relays send", &|peer, circ, stream| {
            peer.send_message(circ, &RelayMessage::Connected { stream, body: 0 });
        }),
        ("a meeting while a stream is open", &|peer, circ, _| {
            let cookie = allium_shared::cell::message::Cookie([3; 20]);
            peer.send_message(circ, &RelayMessage::EstablishRendezvous(cookie));
        }),
        ("a ninth early cell", &|peer, circ, _| peer.send_too_many_early(circ)),
    ];
    for (what, break_rule) in breaks {
        let bad = peer.open_circuit(&directory, &PATH);
        let stream = peer.draw(bad, ENDLESS);
        break_rule(&mut peer, bad, stream);
        let end = loop {
            match peer.await_received(bad) {
                Received::Destroyed(reason) => break reason,
                Received::Data(..) | Received::Connected(..) | Received::Writable(_) => {}
                other => panic!("{what}: {other:?}"),
            }
        };
        assert_eq!(end, DestroyReason::Protocol, "{what}");
        peer.draw(good, 100_000);
        assert_eq!(read_to_end(&mut peer, good, &mut 0), 100_000, "after {what}");
    }
}

#[test]
fn data_that_was_not_announced_ends_its_stream_only() {
    let (_network, directory) = network();
    let mut peer = guard(&directory);
    let circ = peer.open_circuit(&directory, &PATH);
    let stream = peer.draw(circ, ENDLESS);
    peer.send_message(circ, &RelayMessage::Data { stream, data: vec![1] });
    let end = loop {
        match peer.await_received(circ) {
            Received::Ended(of, reason) if of == stream => break reason,
            Received::Data(..) | Received::Connected(..) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(end, EndReason::TORPROTOCOL);
    peer.draw(circ, 100_000);
    assert_eq!(read_to_end(&mut peer, circ, &mut 0), 100_000, "the circuit goes on");
}

/// Waits for so many cells of data without reading them.
fn await_data(peer: &mut Peer, circ: CircId, cells: usize) {
    let mut seen = 0;
    while seen < cells {
        seen += usize::from(matches!(peer.await_received(circ), Received::Data(..)));
    }
}

#[test]
fn relays_without_bench_send_nothing_to_anybody() {
    let network = Network::start(&Options { relays: 3, authorities: 1, ..Options::default() });
    let directory = Directory::fetch(&network.url());
    let mut peer = guard(&directory);
    let circ = peer.open_circuit(&directory, &PATH);
    let stream = peer.draw(circ, 1000);
    assert_eq!(peer.await_received(circ), Received::Ended(stream, EndReason::CONNECTREFUSED));
}

#[test]
fn a_flood_of_handshakes_stops_no_circuit() {
    let (network, directory) = network();
    let mut reader = guard(&directory);
    let circ = reader.open_circuit(&directory, &PATH);
    let flood = thread::spawn({
        let relay = directory.relay(PATH[0]).clone();
        let directory = Directory::fetch(&network.url());
        move || {
            let mut peer = Peer::link(&directory, &relay);
            (0..50).map(|_| peer.send_handshakes(&relay, 50)).sum::<usize>()
        }
    });
    while !flood.is_finished() {
        reader.draw(circ, 1_000_000);
        assert_eq!(read_to_end(&mut reader, circ, &mut 0), 1_000_000);
    }
    assert!(flood.join().unwrap() > 0, "2,500 handshakes in a burst are more than a link may send");
}

#[test]
fn whoever_goes_on_after_a_thousand_refusals_loses_its_link() {
    let (_network, directory) = network();
    let mut peer = guard(&directory);
    let unknown = allium_shared::cell::Cell {
        circ: CircId(0x8000_1234),
        command: allium_shared::cell::Command::Relay,
        body: [1; allium_shared::cell::BODY_LEN],
    };
    for _ in 0..2000 {
        peer.send_cells(&vec![unknown.clone(); 31]);
    }
    peer.await_end();
    let mut other = guard(&directory);
    other.open_circuit(&directory, &PATH);
}

#[test]
fn circuits_that_are_gone_leave_no_memory_behind() {
    // Enough for 5,000 circuits, or 100,000 in a full verification. The first rounds show what a relay keeps for the next ones.
    let (rounds, circuits) = if artifacts::full() { (20, 5000) } else { (10, 500) };
    const WARM: usize = 4;
    const SLACK: u64 = 2 << 20;
    let (network, _) = network();
    let pids: Vec<_> = network.relays().map(|node| node.pid()).collect();
    let total = || pids.iter().map(|pid| usage::memory(*pid)).sum::<u64>();
    let round = || {
        let mut command = process::command(artifacts::allium());
        command.args(["bench", "idle", "--hold", "0", "--circuits", &circuits.to_string()]);
        command.args(["--directory", &network.url()]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // The relays hear of the end.
        thread::sleep(Duration::from_millis(500));
        total()
    };
    let after: Vec<_> = (0..rounds).map(|_| round()).collect();
    let (warm, last) = (after[WARM - 1], after[rounds - 1]);
    assert!(last < warm + SLACK, "the relays' memory after each of {rounds} rounds of {circuits} circuits: {after:?}");
}
