//! What operators can read at a node's admin address, and nobody anywhere else.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use allium_shared::circuit::Received;
use allium_tests::network::{self, Options, READY_WITHIN, free_port};
use allium_tests::peer::{Directory, Peer};
use allium_tests::process::Process;
use allium_tests::wait;
use serde_json::Value;
use tempfile::TempDir;

const PATH: [&str; 3] = ["relay1", "relay2", "relay3"];
const BYTES: u64 = 2_000_000;

/// Numbers are renewed every ten seconds, and links add up theirs within a few.
const MOVED_WITHIN: Duration = Duration::from_secs(30);

const CLIENT_LINKS: &str = r#"allium_relay_links{direction="in",kind="client"}"#;

/// A network each of whose nodes has an admin address.
struct Watched {
    _process: Process,
    folder: TempDir,
    url: String,
}

type Numbers = BTreeMap<String, u64>;

impl Watched {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let options = Options { relays: 3, authorities: 1, bench: true, ..Options::default() };
        let mut command = network::command(folder.path(), port, &options);
        command.arg("--admin");
        let process = Process::start("allium network", &mut command, &folder.path().join("network.log"));
        wait::until(READY_WITHIN * 3, "the network", || folder.path().join("ready").exists().then_some(()));
        Self { _process: process, folder, url: format!("http://127.0.0.1:{port}") }
    }

    fn nodes(&self) -> Vec<Value> {
        let text = std::fs::read(self.folder.path().join("nodes.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    fn page(&self, nickname: &str) -> String {
        let nodes = self.nodes();
        let node = nodes.iter().find(|node| node["nickname"] == nickname).unwrap();
        let mut answer = ureq::get(format!("{}/metrics", node["admin"].as_str().unwrap())).call().unwrap();
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
        answer.body_mut().read_to_string().unwrap()
    }

    fn numbers(&self, nickname: &str) -> Numbers {
        let page = self.page(nickname);
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        samples.map(|line| line.rsplit_once(' ').unwrap()).map(|(s, n)| (s.to_owned(), n.parse().unwrap())).collect()
    }

    /// Waits until a node's numbers are such.
    #[track_caller]
    fn await_numbers(&self, nickname: &str, what: &str, such: impl Fn(&Numbers) -> bool) -> Numbers {
        wait::until(MOVED_WITHIN, what, || Some(self.numbers(nickname)).filter(&such))
    }
}

/// What the documents say that a metric is rounded up to.
fn steps() -> BTreeMap<String, u64> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let rows = docs.lines().filter_map(|line| line.strip_prefix("| `allium_")?.split_once("` | "));
    rows.filter_map(|(name, rest)| Some((format!("allium_{name}"), rest.split(' ').next()?.parse().ok()?))).collect()
}

/// Checks that numbers are rounded as the documents say.
fn assert_rounded(numbers: &Numbers) {
    let steps = steps();
    for (series, number) in numbers.iter().filter(|(series, _)| !series.starts_with("allium_build_info")) {
        let name = series.split('{').next().unwrap();
        let step = steps.get(name).unwrap_or_else(|| panic!("the documents do not say how {name} is rounded"));
        assert_eq!(number % step, 0, "{series} is {number}");
    }
}

#[test]
fn numbers_are_rounded_and_follow_what_happens_slowly() {
    let watched = Watched::start();
    // An authority that looks whether the relay is there may have a link for a moment.
    watched.await_numbers(PATH[0], "a relay without clients", |now| {
        now[CLIENT_LINKS] == 0 && now["allium_relay_circuits"] == 0
    });

    let directory = Directory::fetch(&watched.url);
    let mut peer = Peer::link(&directory, directory.relay(PATH[0]));
    let circ = peer.open_circuit(&directory, &PATH);
    let stream = peer.draw(circ, BYTES);
    let mut bytes = 0;
    while bytes < BYTES {
        if let Received::Data(_, data) = peer.await_received(circ) {
            bytes += data.len() as u64;
            peer.with(circ, |circuit, out| circuit.consumed(stream, out));
        }
    }
    let guard = watched.await_numbers(PATH[0], "the client in its guard's numbers", |now| {
        now[CLIENT_LINKS] == 8 && now["allium_relay_cells_forwarded_total"] >= BYTES / 500
    });
    // One of each, rounded up.
    assert_eq!(guard["allium_relay_circuits"], 64);
    assert_eq!(guard[r#"allium_relay_handshakes_total{result="answered"}"#], 64);
    assert_eq!(guard[r#"allium_relay_links{direction="out",kind="relay"}"#], 8);
    assert_eq!(guard[r#"allium_relay_links{direction="in",kind="unknown"}"#], 0);
    assert_eq!(guard["allium_consensus_relays"], 3);
    assert_rounded(&guard);
    // The others have no client, but the guard's link.
    let middle = watched.await_numbers(PATH[1], "the circuit in the middle's numbers", |now| {
        now["allium_relay_circuits"] == 64 && now["allium_relay_records_sealed_total"] > 0
    });
    assert_eq!((middle[CLIENT_LINKS], middle[r#"allium_relay_links{direction="in",kind="relay"}"#]), (0, 8));
    assert_rounded(&middle);

    // For as long as ten seconds everybody is told the same.
    let mut pages = Vec::new();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        pages.push(watched.page(PATH[0]));
        thread::sleep(Duration::from_millis(50));
    }
    let asked = pages.len();
    pages.dedup();
    assert!(asked > 20 && pages.len() <= 2, "{} pages of numbers in 3 s", pages.len());

    // A circuit that breaks the rules ends, then the link.
    peer.send_too_many_early(circ);
    watched.await_numbers(PATH[2], "the end of the circuit", |now| now["allium_relay_circuits"] == 0);
    drop(peer);
    let guard = watched.await_numbers(PATH[0], "the end of the link", |now| now[CLIENT_LINKS] == 0);
    assert_eq!(guard["allium_relay_circuits"], 0);
    assert_eq!(guard[r#"allium_relay_circuits_ended_total{reason="protocol"}"#], 64);
    // The links by which authorities look whether the relay is there count too.
    let closed = guard[r#"allium_relay_links_ended_total{reason="closed"}"#];
    assert!(closed >= 8 && closed.is_multiple_of(8), "{closed}");
}

#[test]
fn an_authority_says_what_came_of_descriptors() {
    let watched = Watched::start();
    let nodes = watched.nodes();
    let url = format!("{}/directory/descriptor", nodes[0]["url"].as_str().unwrap());
    assert!(ureq::post(&url).send(&b"no descriptor"[..]).is_err());
    let malformed = r#"allium_authority_descriptors_total{result="malformed"}"#;
    let numbers = watched.await_numbers("authority1", "a bad descriptor", |now| now[malformed] == 1);
    assert_eq!(numbers[r#"allium_authority_descriptors_total{result="changed"}"#], 3);
    assert_eq!(numbers["allium_authority_relays_held"], 3);
    assert_eq!(numbers["allium_consensus_relays"], 3);
    assert!(numbers[r#"allium_authority_periods_total{result="published"}"#] >= 1);
    assert!(numbers[r#"allium_authority_probes_total{result="answered"}"#] >= 3);
    assert!(numbers[r#"allium_directory_answers_total{document="consensus",result="sent"}"#] >= 64);
    let left = numbers["allium_consensus_left_seconds"] + numbers["allium_consensus_age_seconds"];
    assert_eq!(left, 120, "a consensus of a local network counts for two minutes");
    assert_rounded(&numbers);
    // The first came whole, those that follow as what is different.
    let relay = watched.await_numbers(PATH[0], "an update of the consensus", |now| {
        now[r#"allium_directory_fetches_total{result="updated"}"#] >= 1
    });
    assert_eq!(relay[r#"allium_directory_fetches_total{result="taken"}"#], 1);
    assert_rounded(&relay);
}

#[test]
fn metrics_are_at_the_admin_address_and_nowhere_else() {
    let watched = Watched::start();
    let get = |url: String| {
        let answer = ureq::get(&url).config().http_status_as_error(false).build().call();
        let mut answer = answer.unwrap_or_else(|error| panic!("{url}: {error}"));
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    };
    for node in watched.nodes() {
        let (public, admin) = (node["url"].as_str().unwrap(), node["admin"].as_str().unwrap());
        assert_eq!(get(format!("{public}/metrics")).0, 404, "{public}");
        let health = get(format!("{public}/healthz"));
        assert_eq!(health, get(format!("{admin}/healthz")));
        assert!(!health.1.contains("allium_"));
        assert!(get(format!("{admin}/metrics")).1.contains("allium_uptime_seconds"));
        // What is public is not doubled there, and takes no links.
        for path in ["/directory/consensus", "/link", "/"] {
            assert_eq!(get(format!("{admin}{path}")).0, 404, "{path}");
        }
    }
    assert!(!get(format!("{}/metrics", watched.url)).1.contains("allium_uptime_seconds"));
}
