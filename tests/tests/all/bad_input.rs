//! Peers that do not keep to the protocol: they are told, they are cut off, and nobody else notices anything.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use allium_shared::cell::fragment::{CHUNK_LEN, Fragment};
use allium_shared::cell::{BODY_LEN, Cell, CircId, Command, DestroyReason};
use allium_tests::chat::{ContactState, Mark, Pair};
use allium_tests::network::Network;
use allium_tests::peer::{Directory, End, Peer, hello};
use allium_tests::traffic::Traffic;
use tungstenite::Message;

/// A circuit id that an initiator may choose.
const CIRC: CircId = CircId(0x8000_0042);

/// A network, two people who talk on it, and their guard, which is sent bad input.
struct Scene {
    network: allium_tests::network::Shared,
    pair: Pair,
    directory: Directory,
}

impl Scene {
    fn new() -> Self {
        let network = Network::shared();
        let pair = Pair::meet(&network.url());
        let directory = Directory::fetch(&network.url());
        Self { network, pair, directory }
    }

    /// Every relay of the two's circuits.
    fn relays(&self) -> Vec<String> {
        let mut relays: Vec<String> =
            [&self.pair.inviter, &self.pair.visitor].into_iter().flat_map(|chat| chat.conversation_path()).collect();
        relays.sort();
        relays.dedup();
        relays
    }

    /// Lets the two talk while each relay on their way gets bad input, and checks that they notice nothing.
    fn undisturbed(&self, about: &str, bad: impl Fn(&Directory, &allium_shared::netdir::RelayEntry)) {
        let both = [(&self.pair.inviter, &self.pair.visitor_name), (&self.pair.visitor, &self.pair.inviter_name)];
        let paths = both.map(|(chat, _)| chat.conversation_path());
        let pids: Vec<(String, u32)> =
            self.relays().into_iter().map(|relay| (relay.clone(), self.network.node(&relay).pid())).collect();
        let traffic = Traffic::start(&self.pair, about);
        for relay in self.relays() {
            bad(&self.directory, self.directory.relay(&relay));
        }
        traffic.finish(Duration::from_secs(10));
        for (relay, pid) in pids {
            assert!(allium_tests::process::runs(pid), "{relay} has died of {about}");
        }
        for ((chat, name), path) in both.into_iter().zip(paths) {
            assert_eq!(chat.state_of(name), Some(ContactState::Connected));
            assert_eq!(chat.conversation_path(), path, "the circuit was lost to {about}");
        }
    }
}

#[test]
fn what_is_no_link_is_told_so() {
    let scene = Scene::new();
    scene.undisturbed("garbage", |directory, relay| {
        // A frame with reserved bits and an opcode that does not exist.
        let mut peer = Peer::websocket(relay);
        peer.send_raw(&[0xff; 64]);
        peer.assert_told_off();
        // A frame that is not masked, as only a server's may be.
        let mut peer = Peer::websocket(relay);
        peer.send_raw(&[&[0x82, 51][..], &hello(directory, relay).1].concat());
        peer.assert_told_off();
        let mut peer = Peer::websocket(relay);
        peer.send(Message::text("hello"));
        peer.assert_told_off();
        let mut peer = Peer::websocket(relay);
        peer.send(Message::binary(vec![0; 1 << 20]));
        peer.assert_told_off();
        // A frame that only claims to be large: nothing may be allocated for it.
        let mut peer = Peer::websocket(relay);
        peer.send_raw(&[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4]);
        peer.assert_told_off();
    });
}

#[test]
fn broken_link_handshakes_are_told_so() {
    let scene = Scene::new();
    scene.undisturbed("handshakes", |directory, relay| {
        let (_, good) = hello(directory, relay);
        let changed = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = good.clone();
            change(&mut bytes);
            bytes
        };
        for (what, bytes) in [
            ("empty", Vec::new()),
            ("truncated", good[..20].to_vec()),
            ("one byte short", good[..good.len() - 1].to_vec()),
            ("one byte long", changed(&|bytes| bytes.push(0))),
            ("of another version", changed(&|bytes| bytes[..2].copy_from_slice(&[0x12, 0x34]))),
            ("of no kind", changed(&|bytes| bytes[2] = 99)),
            ("of a relay that it is not", changed(&|bytes| bytes[2] = 2)),
            ("changed", changed(&|bytes| *bytes.last_mut().unwrap() ^= 1)),
            ("of small order", changed(&|bytes| bytes[3..35].fill(0))),
        ] {
            let mut peer = Peer::websocket(relay);
            peer.send(Message::binary(bytes));
            let reason = peer.assert_told_off();
            if what == "of another version" {
                assert!(reason.contains("version") && reason.contains("4660"), "{reason:?} does not name the version");
            }
        }
    });
}

#[test]
fn a_link_to_another_relay_does_not_authenticate() {
    let scene = Scene::new();
    let relays = scene.relays();
    let (one, other) = (scene.directory.relay(&relays[0]), scene.directory.relay(&relays[1]));
    let mut peer = Peer::websocket(one);
    peer.send(Message::binary(hello(&scene.directory, other).1));
    peer.assert_told_off();
    scene.pair.assert_talking("Undisturbed");
}

#[test]
fn broken_records_end_the_link() {
    let scene = Scene::new();
    scene.undisturbed("records", |directory, relay| {
        for record in [vec![0; 514 + 16], vec![0; 514], vec![0; 3], vec![0; 32 * 514 + 16], Vec::new()] {
            let mut peer = Peer::link(directory, relay);
            peer.send(Message::binary(record));
            peer.assert_told_off();
        }
        // Sealed as it should be, but no cell: a command that does not exist.
        let mut peer = Peer::link(directory, relay);
        let mut cell = vec![0x80, 0, 0, 1, 200];
        cell.resize(514, 0);
        peer.send_record(cell);
        peer.assert_told_off();
        // Padding on a circuit, and a circuit's cell on none.
        for (circ, command) in [(CIRC, Command::Padding), (CircId::NONE, Command::Create)] {
            let mut peer = Peer::link(directory, relay);
            peer.send_cells(&[Cell { circ, command, body: [0; BODY_LEN] }]);
            peer.assert_told_off();
        }
    });
}

#[test]
fn a_cell_for_an_unknown_circuit_is_answered_by_destroy() {
    let scene = Scene::new();
    scene.undisturbed("unknown circuits", |directory, relay| {
        let mut peer = Peer::link(directory, relay);
        // More than once: the link goes on.
        for (number, command) in
            [Command::Relay, Command::RelayEarly, Command::Created, Command::Relay].iter().enumerate()
        {
            let circ = CircId(CIRC.0 + number as u32);
            peer.send_cells(&[Cell { circ, command: *command, body: [7; BODY_LEN] }]);
            let answer = peer.await_cell();
            assert_eq!((answer.circ, answer.command), (circ, Command::Destroy));
            assert_eq!(answer.destroy_reason(), DestroyReason::NoSuchCircuit);
        }
        // A Destroy for a circuit that there is not is no reason to say anything.
        peer.send_cells(&[Cell::destroy(CIRC, DestroyReason::None)]);
        peer.send_cells(&[Cell { circ: CIRC, command: Command::Relay, body: [7; BODY_LEN] }]);
        assert_eq!(peer.await_cell().destroy_reason(), DestroyReason::NoSuchCircuit);
    });
}

#[test]
fn broken_circuit_handshakes_are_answered_by_destroy() {
    let scene = Scene::new();
    let create =
        |circ: CircId, index: u8, fill: u8| Fragment { index, chunk: [fill; CHUNK_LEN] }.to_cell(circ, Command::Create);
    scene.undisturbed("circuit handshakes", |directory, relay| {
        let mut peer = Peer::link(directory, relay);
        let mut refused = |what: &str, cells: &[Cell]| {
            peer.send_cells(cells);
            let answer = peer.await_cell();
            assert_eq!((answer.circ, answer.command), (cells[0].circ, Command::Destroy), "{what}: {answer:?}");
        };
        let circ = |number: u32| CircId(CIRC.0 + number);
        refused("truncated: the rest is zeros", &[0, 1, 2].map(|index| create(circ(0), index, 0)));
        refused("noise", &[0, 1, 2].map(|index| create(circ(1), index, 0x5a)));
        refused("out of order", &[create(circ(2), 0, 1), create(circ(2), 2, 1)]);
        refused("the middle first", &[create(circ(3), 1, 1)]);
        refused("no such fragment", &[create(circ(4), 200, 1)]);
        refused("an id that is the relay's to choose", &[create(CircId(0x0000_0042), 0, 1)]);
        // After all that, the link still takes cells.
        peer.send_cells(&[Cell { circ: CIRC, command: Command::Relay, body: [7; BODY_LEN] }]);
        assert_eq!(peer.await_cell().destroy_reason(), DestroyReason::NoSuchCircuit);
    });
}

#[test]
fn a_half_open_circuit_is_closed_in_time() {
    let scene = Scene::new();
    let relay = scene.relays().remove(0);
    let mut peer = Peer::link(&scene.directory, scene.directory.relay(&relay));
    peer.send_cells(&[Fragment { index: 0, chunk: [1; CHUNK_LEN] }.to_cell(CIRC, Command::Create)]);
    peer.set_patience(Duration::from_secs(40));
    let answer = peer.await_cell();
    assert_eq!((answer.circ, answer.command), (CIRC, Command::Destroy));
    assert_eq!(answer.destroy_reason(), DestroyReason::Timeout);
}

#[test]
fn plain_http_on_a_links_address_is_refused() {
    let scene = Scene::new();
    scene.undisturbed("HTTP", |_, relay| {
        let link = relay.url.as_str().replacen("ws://", "http://", 1);
        match ureq::get(&link).call() {
            Err(ureq::Error::StatusCode(400..500)) => {}
            other => panic!("GET {link}: {other:?}"),
        }
        for bytes in [&b"\0\0\0\0 no HTTP at all\r\n\r\n"[..], b"GET /link HTTP/9.9\r\n\r\n", &[b'A'; 100_000]] {
            let mut stream = TcpStream::connect((relay.url.host(), relay.url.port())).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let _ = stream.write_all(bytes);
            let mut answer = Vec::new();
            let ended = stream.read_to_end(&mut answer);
            let timed_out = ended.is_err_and(|error| {
                matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
            });
            assert!(!timed_out, "the relay keeps a connection that began with {:?}", &bytes[..bytes.len().min(20)]);
        }
    });
}

#[test]
fn a_peer_that_says_nothing_is_dropped() {
    let scene = Scene::new();
    let relay = scene.relays().remove(0);
    let mut peer = Peer::websocket(scene.directory.relay(&relay));
    peer.set_patience(Duration::from_secs(40));
    assert!(matches!(peer.await_end(), End::Reason(_)), "a link that never begins ends with a reason");
}

#[test]
fn a_client_survives_nonsense_on_its_input() {
    let scene = Scene::new();
    let chat = &scene.pair.inviter;
    for line in ["", "{", "null", "\"invite\"", "{\"do\":7}", "{\"do\":\"send\"}", "\u{0}\u{1}", &"[".repeat(10_000)] {
        chat.say_line(line);
    }
    let mark = Mark::default();
    chat.await_error(mark, "input");
    scene.pair.assert_talking("Undisturbed");
}
