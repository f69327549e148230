//! The binary's other ways: keys that are pinned, directories that are not there, nodes from files on several addresses.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use allium_tests::artifacts;
use allium_tests::chat::{self, Chat, Mark, PATIENCE, Pair};
use allium_tests::machines::QUICK_VOTING;
use allium_tests::network::{Network, Options, await_consensus, free_port};
use allium_tests::peer::Directory;
use allium_tests::process::{self, Process};

#[test]
fn authorities_keys_are_taken_once_and_pinned() {
    let network = Network::shared();
    let chat = Chat::open("Ada", &network.url());
    let told = |errors: &str| errors.lines().filter(|line| line.contains("keys") && line.contains("pinned")).count();
    assert_eq!(told(&chat.errors()), 1, "the first start says once that it takes the keys:\n{}", chat.errors());
    chat.kill();
    chat.restart();
    assert_eq!(told(&chat.errors()), 0, "the second start has the keys:\n{}", chat.errors());

    // Somebody else answers in the directory's place.
    chat.kill();
    let other = Network::start(&Options { relays: 4, authorities: 1, ..Options::default() });
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut impostor = Process::start("Ada elsewhere", &mut chat::command(&other.url(), &chat.profile()), log.path());
    let status = impostor.wait(PATIENCE);
    assert!(!status.success());
    assert!(impostor.errors().contains("keys"), "{}", impostor.errors());
    // The profile is none the worse for it.
    chat.restart();
}

#[test]
fn a_directory_that_is_not_there_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    for (url, profile) in [(nowhere.as_str(), "a"), ("http://127.0.0.1:1", "b"), ("no address", "c")] {
        let mut chat = Process::start("chat", &mut chat::command(url, &folder.path().join(profile)), &log);
        let status = chat.wait(PATIENCE);
        assert!(!status.success(), "{url}");
        assert!(chat.errors().contains(url), "it does not name {url}: {}", chat.errors());
    }
}

#[test]
fn a_client_with_pinned_keys_waits_for_its_directory() {
    let network = Network::start(&Options { relays: 4, authorities: 1, ..Options::default() });
    let chat = Chat::open("Ada", &network.url());
    chat.kill();
    network.kill();
    // With the list of relays from before it would begin at once, and look for them: only the keys are left.
    fs::remove_file(chat.profile().join("profile.redb")).unwrap();
    assert!(chat.profile().join("authorities.json").is_file());
    chat.start();
    chat.await_error(Mark::default(), "directory");
    assert!(process::runs(chat.pid()), "it waits");
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    for arguments in [
        &["network", "--relays", "none"][..],
        &["network", "--port", "0"],
        &["relay", "--nickname", "no good"],
        &["relay", "--config", "/no/such/file.toml"],
        &["authority"],
        &["chat", "--directory", "http://127.0.0.1:1"],
        &["dance"],
    ] {
        let output = Command::new(artifacts::allium()).args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?} is refused without a word");
    }
}

#[test]
fn machines_form_a_network_from_files() {
    const RELAYS: u8 = 6;
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    // Each node on an address of its own, as on a machine of its own.
    let address = |number: u8| SocketAddr::from((Ipv4Addr::new(127, 0, 2, number), port));
    let directory = format!("http://{}", address(1));
    let family = folder.path().join("family");
    let made = Command::new(artifacts::allium()).arg("keygen").arg("--family").arg(&family).output().unwrap();
    let family = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    // Two that one operator runs, one of which is to be chosen more often, and would let some connections out.
    let settings = |number: u8| match number {
        2 => "family-key = \"family\"\nweight = 250\nexit-policy = [\"reject 10.0.0.0/8:*\", \"accept *:443\"]\n",
        3 => "family-key = \"family\"\n",
        _ => "",
    };
    let (mut nodes, mut urls) = (Vec::new(), Vec::new());
    for number in 1..=1 + RELAYS {
        let (subcommand, rest) = match number {
            1 => ("authority", QUICK_VOTING.to_owned()),
            _ => ("relay", format!("directory = [\"{directory}\"]\npublish-every = 5\n{}", settings(number))),
        };
        let text =
            format!("nickname = \"node{number}\"\nlisten = \"{}\"\ndata = \"data{number}\"\n{rest}", address(number));
        let file = folder.path().join(format!("node{number}.toml"));
        fs::write(&file, text).unwrap();
        let mut command = process::command(artifacts::allium());
        command.arg(subcommand).arg("--config").arg(&file);
        nodes.push(Process::start("node", &mut command, &folder.path().join(format!("node{number}.log"))));
        urls.push(format!("http://{}", address(number)));
        if number == 1 {
            await_consensus(&urls, 0);
        }
    }
    await_consensus(&urls, RELAYS.into());
    let consensus = Directory::fetch(&directory);
    for number in 2..=1 + RELAYS {
        let relay = consensus.relay(&format!("node{number}"));
        assert_eq!(relay.url.as_str(), format!("ws://{}/link", address(number)));
        assert_eq!(relay.family.map(|family| family.to_hex()), (number <= 3).then(|| family.clone()));
        assert_eq!((relay.weight, relay.exit_policy.rules().len()), if number == 2 { (250, 2) } else { (100, 0) });
    }
    let (ada, ben) = (Chat::launch("Ada", &directory), Chat::launch("Ben", &directory));
    [&ada, &ben].into_iter().for_each(Chat::await_ready);
    Pair::introduce(ada, ben).assert_talking("Over several machines");
}

#[test]
fn operators_see_how_the_network_is() {
    let network = Network::shared();
    // The front is no authority, and knows some.
    let status = |more: &[&str]| {
        let output = Command::new(artifacts::allium()).arg("status").arg(network.url()).args(more).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let table = status(&[]);
    for part in ["8 relays, signed by", "AUTHORITY", "authority3", "relay8", "guard,middle,rendezvous", "100 %"] {
        assert!(table.contains(part), "{part:?} is missing in\n{table}");
    }
    let json: serde_json::Value = serde_json::from_str(&status(&["--json"])).unwrap();
    assert_eq!((json["quorum"].as_u64(), json["relays"].as_array().map(Vec::len)), (Some(2), Some(8)));
    assert!(json["consensus"]["signatures"].as_u64() >= Some(2));
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let output = Command::new(artifacts::allium()).arg("status").arg(&nowhere).output().unwrap();
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains(&nowhere), "{output:?}");
}
