//! `allium network`: what it writes, what it serves, and how it ends.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use allium_tests::network::{self, ENDED_WITHIN, Network, Options, READY_WITHIN, free_port};
use allium_tests::process::{self, Process};
use allium_tests::{artifacts, wait};

const SMALL: Options = Options {
    relays: 4,
    authorities: 1,
    guards: None,
    page: false,
    bench: false,
    voting_interval: None,
    valid_for: None,
};

#[test]
fn a_network_gets_ready_and_says_who_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    // Left from an earlier run, as after a power cut.
    fs::write(folder.path().join("ready"), "stale").unwrap();
    fs::write(folder.path().join("nodes.json"), "stale").unwrap();
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let path = folder.path().to_owned();
    let port = free_port();
    let network = Network::start_in(folder, port, &Options::default());
    assert!(network.ready_after() <= READY_WITHIN, "ready after {:.1?}", network.ready_after());
    assert_eq!(fs::read_to_string(path.join("notes.txt")).unwrap(), "mine");

    assert_eq!(network.with_role("authority").count(), 3);
    assert_eq!(network.relays().count(), 8);
    assert_eq!(network.nodes().len(), 11);
    let unique = |values: Vec<String>| values.iter().cloned().collect::<HashSet<_>>().len() == network.nodes().len();
    assert!(unique(network.nodes().iter().map(|node| node.nickname().to_owned()).collect()));
    assert!(unique(network.nodes().iter().map(|node| node.entry.url.clone()).collect()));
    assert!(unique(network.nodes().iter().map(|node| node.pid().to_string()).collect()), "each a process of its own");
    let known = ["authority", "guard", "middle", "exit", "rendezvous", "chord", "mailbox"];
    for node in network.nodes() {
        assert!(node.entry.roles.iter().all(|role| known.contains(&role.as_str())), "{:?}", node.entry);
        assert_eq!(process::command_line(node.pid()), node.entry.command, "the command is what runs");
        assert!(Path::new(&node.entry.command[0]).is_absolute());
    }
    for relay in network.relays() {
        for role in ["guard", "middle", "rendezvous"] {
            assert!(relay.has_role(role), "{:?} has not every role of a relay", relay.entry);
        }
    }
    network.assert_answers();
}

#[test]
fn the_page_is_served_as_it_is_on_disk() {
    let page = tempfile::tempdir().unwrap();
    fs::write(page.path().join("index.html"), "<!doctype html><title>mine</title>").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let log = folder.path().join("network.log");
    let mut command = network::command(folder.path(), port, &SMALL);
    command.arg("--page").arg(page.path());
    let _network = Process::start("allium network", &mut command, &log);
    wait::until(READY_WITHIN * 2, "the network", || folder.path().join("ready").exists().then_some(()));
    let mut answer = ureq::get(format!("http://127.0.0.1:{port}/")).call().unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
    assert!(answer.body_mut().read_to_string().unwrap().contains("<title>mine</title>"));
    for outside in ["/../Cargo.toml", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc/passwd"] {
        let answer = ureq::get(format!("http://127.0.0.1:{port}{outside}")).call();
        let text = answer.map(|mut answer| answer.body_mut().read_to_string().unwrap()).unwrap_or_default();
        assert!(!text.contains("root:"), "{outside} leaves the page's folder");
    }
}

#[test]
fn a_network_ends_with_all_its_nodes() {
    let network = Network::start(&SMALL);
    let (took, status) = network.terminate(ENDED_WITHIN * 2);
    assert!(took <= ENDED_WITHIN, "it took {took:.1?}");
    assert!(status.success(), "{status}");
    wait::until(Duration::from_secs(1), "the end of every node", || all_dead(&network).then_some(()));
}

#[test]
fn nodes_die_with_their_parent() {
    let network = Network::start(&SMALL);
    // One of them could not even notice by itself.
    network.relays().next().unwrap().freeze();
    network.kill();
    wait::until(ENDED_WITHIN, "the end of every node", || all_dead(&network).then_some(()));
}

#[test]
fn dead_nodes_stay_dead() {
    let network = Network::start(&SMALL);
    let relay = network.relays().next().unwrap();
    let command = relay.entry.command.clone();
    relay.kill();
    wait::lasts(Duration::from_secs(3), "the death of a node", || {
        process::all().into_iter().all(|pid| process::command_line(pid) != command)
    });
    network.assert_answers();
    network.restart(relay.nickname());
    wait::until(READY_WITHIN, "the node's answer at its old address", || {
        ureq::get(format!("{}/healthz", relay.entry.url.trim_end_matches('/'))).call().ok().map(drop)
    });
}

#[test]
fn a_folder_or_port_that_is_taken_is_refused_in_words() {
    let network = Network::start(&SMALL);
    let other = tempfile::tempdir().unwrap();
    let cases = [(network.folder(), free_port(), "the folder"), (other.path(), network.port(), "the port")];
    for (folder, port, what) in cases {
        let log = other.path().join("second.log");
        let mut second = Process::start("a second network", &mut network::command(folder, port, &SMALL), &log);
        let status = second.wait(READY_WITHIN);
        assert!(!status.success(), "{what} was taken over");
        assert!(!second.errors().trim().is_empty(), "it does not say that {what} is taken");
    }
    assert!(network.folder().join("ready").exists());
    network.assert_answers();
}

#[test]
fn the_binary_needs_no_page() {
    let mut command = std::process::Command::new(artifacts::allium());
    let output = command.arg("--help").output().unwrap();
    assert!(output.status.success());
    let help = String::from_utf8(output.stdout).unwrap();
    for subcommand in ["relay", "authority", "network", "chat"] {
        assert!(help.contains(subcommand), "{subcommand} is not in the help:\n{help}");
    }
}

fn all_dead(network: &Network) -> bool {
    network.nodes().iter().all(|node| !node.runs())
}
