//! What nodes say, at the most talkative level: enough to run them, and nothing about any client.

use std::fs;
use std::io::Write;
use std::net::TcpStream;

use allium_tests::artifacts;
use allium_tests::chat::{Chat, Pair};
use allium_tests::network::{self, Options, READY_WITHIN, free_port};
use allium_tests::peer::{Directory, Peer};
use allium_tests::process::{self, Process};
use allium_tests::wait::{self, Deadline};
use tempfile::TempDir;
use tungstenite::Message;

const RELAYS: u16 = 4;

#[test]
fn the_most_talkative_log_names_no_client() {
    // Another test may take a port between its choice and its use: then there is another network.
    let (folder, port, _network) = (0..3).find_map(|_| talkative()).expect("a network");
    let url = format!("http://127.0.0.1:{port}");
    let directory = Directory::fetch(&url);

    // People who talk: their clients' ports are those of connections from their processes.
    let (ada, ben) = (Chat::launch("Ada", &url), Chat::launch("Ben", &url));
    [&ada, &ben].into_iter().for_each(Chat::await_ready);
    let pair = Pair::introduce(ada, ben);
    pair.assert_talking("of nothing in particular");
    let mut ports: Vec<u16> =
        [&pair.inviter, &pair.visitor].into_iter().flat_map(|chat| process::tcp_ports(chat.pid())).collect();
    assert!(ports.len() >= 2, "each of the two has a link: {ports:?}");

    // Others who do everything wrong, each in another way.
    for number in 1..=RELAYS {
        let relay = directory.relay(&format!("relay{number}"));
        let mut peer = Peer::link(&directory, relay);
        ports.push(peer.address().port());
        // No cell has this command.
        peer.send_record(vec![0xff; 514]);
        peer.assert_told_off();
        for message in [Message::text("hello"), Message::binary(vec![1; 100]), Message::binary(vec![0; 1 << 20])] {
            let mut peer = Peer::websocket(relay);
            ports.push(peer.address().port());
            peer.send(message);
            peer.assert_told_off();
        }
        let mut stream = TcpStream::connect((relay.url.host(), relay.url.port())).unwrap();
        ports.push(stream.local_addr().unwrap().port());
        stream.write_all(b"\x16\x03\x01 this is not HTTP\r\n\r\n").unwrap();
    }

    let mut told_off = 0;
    for number in 1..=RELAYS {
        let log = fs::read_to_string(folder.path().join(format!("relay{number}")).join("log")).unwrap();
        told_off += log.matches("a link ends").count();
        assert_silent(&log, &ports);
    }
    assert!(told_off >= usize::from(RELAYS) * 4, "the log tells that links ended, {told_off} of them");
    for log in ["authority1/log", "network.log"] {
        assert_silent(&fs::read_to_string(folder.path().join(log)).unwrap(), &ports);
    }
    drop(pair);
}

/// A network that says all it can, if it becomes ready.
fn talkative() -> Option<(TempDir, u16, Process)> {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut command =
        network::command(folder.path(), port, &Options { relays: RELAYS, authorities: 1, ..Options::default() });
    command.env("RUST_LOG", "trace").env("ALLIUM_LOG_FORMAT", "json");
    let network = Process::start("allium network", &mut command, &folder.path().join("network.log"));
    let ready = wait::poll(Deadline::after(READY_WITHIN), || folder.path().join("ready").exists().then_some(()));
    ready.map(|()| (folder, port, network))
}

/// Checks that every line is an event of ours, and that no port is named.
#[track_caller]
fn assert_silent(log: &str, ports: &[u16]) {
    assert!(!log.is_empty());
    for line in log.lines() {
        let mut event: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        assert!(event["target"].as_str().unwrap().starts_with("allium"), "{line}");
        // The time has many digits of its own.
        assert!(event.as_object_mut().unwrap().remove("timestamp").is_some());
        let text = event.to_string();
        let mut words = text.split(|char: char| !char.is_ascii_alphanumeric());
        let named = words.find(|word| word.parse().is_ok_and(|word| ports.contains(&word)));
        assert!(named.is_none(), "the log names a client's port: {line}");
    }
}

#[test]
fn logs_are_for_people_or_for_programs() {
    let folder = tempfile::tempdir().unwrap();
    for (format, json) in [("text", false), ("json", true)] {
        let mut command = process::command(artifacts::allium());
        let listen = format!("127.0.0.1:{}", free_port());
        command.args(["authority", "--nickname", "lone", "--listen", &listen, "--log-format", format]);
        command.arg("--data").arg(folder.path().join("lone"));
        let log = folder.path().join(format);
        let node = Process::start("authority", &mut command, &log);
        wait::until(READY_WITHIN, "its first words", || node.errors().contains("authority starts").then_some(()));
        let line = node.errors().lines().next().unwrap().to_owned();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), json, "{line}");
    }
}
