//! An authority that lies, beside two that do not: whatever it shows, the two publish the same, with the relays that exist and
//! no others, and people chat.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use allium_shared::crypto::keys::IdentityKeypair;
use allium_shared::netdir::{Authorities, Consensus, NetworkId, RelayDescriptor, RelayEntry, RelayRole, Twice};
use allium_tests::chat::{Chat, Pair};
use allium_tests::directory::{self, Record, names};
use allium_tests::liar::{Liar, Lie, UNKNOWN};
use allium_tests::machines::{Machines, Place};
use allium_tests::network::free_port;
use allium_tests::peer::now;
use allium_tests::{usage, wait};

use super::moment;

/// How often authorities vote here, in seconds.
const INTERVAL: u64 = 2;

/// How many periods each lie is told for.
const PERIODS: usize = 3;

const HONEST: [&str; 2] = ["ann", "bob"];
const RELAYS: u16 = 5;

/// The door of everybody who is no authority.
const PUBLIC: usize = 2;

/// Documents that do not end may not take so much memory, in bytes.
const MOST_MEMORY: u64 = 256 << 20;

struct Scene {
    machines: Machines,
    liar: Liar,
    record: Record,
    honest: Vec<String>,
    relays: Vec<String>,
    names: BTreeSet<String>,
}

impl Scene {
    /// A network in which two of three authorities are honest; the third does as `lie` says from the beginning.
    #[track_caller]
    fn start(lie: Lie) -> Self {
        const IP: Ipv4Addr = Ipv4Addr::LOCALHOST;
        let port = free_port();
        let liar = Liar::open(port, 3);
        liar.lie(lie);
        let mut machines = Machines::new(INTERVAL, &[("path-subnet-v4-bits", 0)]);
        let place = |number: u16| Place { ip: IP, port: port + 4 + 2 * number, namespace: None };
        let honest: Vec<_> = HONEST.into_iter().zip(0..).map(|(name, number)| (name, place(number))).collect();
        let entries: Vec<_> = honest.iter().map(|(name, place)| machines.keygen(name, place)).collect();
        // Each knows the liar by a door of its own; and whoever takes the first that comes asks the liar.
        let list = |door: usize| Authorities::new([&[liar.entry(door)][..], &entries].concat()).unwrap();
        let urls: Vec<String> = honest.iter().map(|(_, place)| place.url()).collect();
        liar.meet(&list(PUBLIC), &urls);
        for (door, (name, place)) in honest.iter().enumerate() {
            machines.authority(name, place, &list(door));
        }
        let mut relays = Vec::new();
        for number in 0..RELAYS {
            let place = place(2 + number);
            machines.relay(&format!("relay{number}"), &place, &list(PUBLIC));
            relays.push(place.url());
        }
        let names = (0..RELAYS).map(|number| format!("relay{number}")).collect();
        let record = Record::new(list(PUBLIC));
        let mut scene = Self { machines, liar, record, honest: urls, relays, names };
        let expected = scene.names.clone();
        let all = scene.all();
        scene.record.await_all(&all, "a consensus with all relays", |one| super::names(one) == expected);
        scene
    }

    fn all(&self) -> Vec<String> {
        self.honest.iter().chain(&self.relays).cloned().collect()
    }

    /// Has the liar tell this lie for some periods, and checks that all nodes go on agreeing on what is true.
    #[track_caller]
    fn bear(&mut self, lie: Lie) -> BTreeSet<(usize, &'static str)> {
        self.liar.lie(lie.clone());
        let all = self.all();
        let mut from = moment() + INTERVAL;
        for _ in 0..PERIODS {
            let consensus = self.record.await_period(&all, from);
            self.assert_true(&consensus, &lie);
            from = consensus.validity().valid_after + 1;
        }
        let asked = self.liar.asked();
        for door in [0, 1] {
            assert!(asked.contains(&(door, "echoes")), "{} was not lied to by {lie:?}: {asked:?}", HONEST[door]);
        }
        self.assert_counted_alike();
        asked
    }

    /// Checks that a consensus says what two of three have voted for.
    #[track_caller]
    fn assert_true(&self, consensus: &Consensus, lie: &Lie) {
        assert_eq!(names(consensus), self.names, "{lie:?}");
        assert!(consensus.relays().iter().all(|relay| relay.weight == 100), "{lie:?}");
        let validity = consensus.validity();
        assert_eq!(validity.fresh_until - validity.valid_after, INTERVAL, "{lie:?}");
        assert_eq!(validity.valid_until - validity.valid_after, 120, "{lie:?}");
        assert_eq!(consensus.parameter("path-subnet-v4-bits", 16, 0..=32), 0, "{lie:?}");
        assert!(HONEST.iter().all(|name| {
            let key = self.record.authorities().iter().find(|one| one.nickname.as_str() == *name).unwrap().key;
            consensus.signers().contains(&key)
        }));
    }

    /// How many votes an honest authority has counted in each period, by its log.
    fn counted(&self, nickname: &str) -> BTreeMap<u64, u64> {
        let log = self.machines.log(nickname);
        let number = |line: &str, name: &str| -> Option<u64> {
            line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        };
        let lines = log.lines().filter(|line| line.contains("counted the votes"));
        lines.filter_map(|line| Some((number(line, "valid_after")?, number(line, "votes")?))).collect()
    }

    /// Checks that both have counted as many votes in each period; gives the numbers of the last ones.
    #[track_caller]
    fn assert_counted_alike(&self) -> Vec<u64> {
        let [ann, bob] = HONEST.map(|nickname| self.counted(nickname));
        let both: Vec<_> = ann.iter().filter_map(|(at, votes)| Some((*at, *votes, *bob.get(at)?))).collect();
        assert!(both.len() >= PERIODS, "{ann:?} {bob:?}");
        for (at, ann, bob) in &both {
            assert_eq!(ann, bob, "in the period {at}");
        }
        both.iter().rev().take(PERIODS - 1).map(|(_, votes, _)| *votes).collect()
    }

    fn meet(&self) -> Pair {
        Pair::meet(&self.honest[0])
    }

    /// Waits until both honest ones hold proof of this, have logged it and count it.
    #[track_caller]
    fn await_proof(&self, twice: Twice) {
        let key = self.liar.key();
        for (nickname, url) in HONEST.into_iter().zip(&self.honest) {
            let what = format!("{nickname}'s proof of {}", twice.as_str());
            wait::until(directory::PATIENCE, &what, || {
                let proofs = self.record.proofs(url);
                assert!(proofs.iter().all(|proof| proof.authority == key), "an honest one is accused");
                proofs.iter().any(|proof| proof.twice == twice).then_some(())
            });
            let log = self.machines.log(nickname);
            assert!(log.contains(&format!("has signed {}", twice.as_str())) && log.contains(&key.to_hex()), "{log}");
            let admin = self.machines.place(nickname).admin();
            wait::until(directory::PATIENCE, &format!("{nickname}'s count of it"), || {
                (directory::numbers(&admin)["allium_authority_equivocations_total"] == 1).then_some(())
            });
        }
    }

    #[track_caller]
    fn await_number(&self, nickname: &str, name: &str) {
        let admin = self.machines.place(nickname).admin();
        wait::until(directory::PATIENCE, &format!("{nickname}'s {name}"), || {
            directory::numbers(&admin).get(name).is_some_and(|number| *number > 0).then_some(())
        });
    }
}

/// A relay that does not exist, with signatures that hold.
fn ghost(seed: u8, url: &str, network: &NetworkId) -> Vec<u8> {
    let keypair = IdentityKeypair::from_seed(&[seed; 32]);
    let mut entry = RelayEntry::new(
        keypair.identity(),
        [seed ^ 0x40; 32].into(),
        [seed ^ 0x80; 32].into(),
        RelayRole::ALL.into_iter().collect(),
        format!("ghost{seed}").parse().unwrap(),
        url.parse().unwrap(),
    );
    entry.weight = 1_000_000;
    let published = now().as_secs();
    RelayDescriptor { published, uptime: 1_000_000, entry, certificate: None }.sign(&keypair, network)
}

#[test]
fn lies_about_relays_and_votes_shown_to_one_alone_change_nothing() {
    let mut scene = Scene::start(Lie::None);
    let pair = scene.meet();
    scene.bear(Lie::Drop);
    assert!(scene.assert_counted_alike().contains(&3), "the lie is heard");
    pair.assert_talking("Half of the relays");

    let network = *scene.record.authorities().network();
    let there = scene.relays[0].replace("http://", "ws://");
    let addresses = ["ws://127.0.0.1:1/link".to_owned(), "ws://nowhere.invalid:7100/link".to_owned(), there + "/link"];
    let ghosts = addresses.iter().zip(1..).map(|(url, seed)| ghost(seed, url, &network)).collect();
    scene.bear(Lie::Add(ghosts));
    assert!(scene.assert_counted_alike().contains(&3), "the lie is heard");
    assert!(directory::known(&scene.honest[0], "ghost1").is_some_and(|ghost| ghost["runs"] == false));
    pair.assert_talking("Ghosts");

    let asked = scene.bear(Lie::ToOne);
    assert!(asked.contains(&(0, "vote")), "{asked:?}");
    assert!(scene.assert_counted_alike().contains(&3), "who was shown nothing hears it from the other");
    pair.assert_talking("To one alone");

    let asked = scene.bear(Lie::LateToOne);
    assert!(asked.iter().all(|(_, what)| *what != "vote"), "it comes too late: {asked:?}");
    assert_eq!(scene.assert_counted_alike(), [2; PERIODS - 1]);
    pair.assert_talking("Too late");

    // All the time it has served the first consensus that there was: nodes do not fall for it, and clients can begin with it.
    let old = directory::get(&format!("{}/directory/consensus", scene.liar.url(PUBLIC))).unwrap();
    let old = Consensus::verify(&old, scene.record.authorities(), now()).unwrap();
    assert!(old.validity().valid_after + INTERVAL < scene.record.newest());
    let visitor = Chat::open("Eve", &scene.liar.url(PUBLIC));
    let host = Chat::open("Ada", &scene.honest[1]);
    Pair::introduce(host, visitor).assert_talking("By a liar's list");
    for url in &scene.honest {
        scene.record.assert_no_misconduct(url);
    }
}

#[test]
fn garbage_and_documents_that_do_not_end_change_nothing() {
    let mut scene = Scene::start(Lie::Garbage);
    let pair = scene.meet();
    scene.bear(Lie::Garbage);
    for result in ["bad echoes", "bad signatures"] {
        scene.await_number(HONEST[0], &format!("allium_authority_documents_total{{result=\"{result}\"}}"));
    }
    pair.assert_talking("Garbage");

    let asked = scene.bear(Lie::GarbageVote);
    assert!(asked.contains(&(0, "vote")) && asked.contains(&(1, "vote")), "{asked:?}");
    assert_eq!(scene.assert_counted_alike(), [2; PERIODS - 1]);
    scene.await_number(HONEST[1], "allium_authority_documents_total{result=\"bad vote\"}");
    pair.assert_talking("A vote that is none");

    scene.bear(Lie::Huge);
    for nickname in HONEST.into_iter().chain(scene.names.iter().map(String::as_str)) {
        let memory = usage::memory(scene.machines.pid(nickname));
        assert!(memory < MOST_MEMORY, "{nickname} has taken {memory} bytes");
    }
    pair.assert_talking("Without an end");
    scene.meet().assert_talking("Who came then");
    for url in &scene.honest {
        scene.record.assert_no_misconduct(url);
    }
}

#[test]
fn two_votes_are_proven_and_none_of_them_counts() {
    let mut scene = Scene::start(Lie::TwoVotes);
    let asked = scene.bear(Lie::TwoVotes);
    assert!(asked.contains(&(0, "vote")) && asked.contains(&(1, "vote")), "{asked:?}");
    assert_eq!(scene.assert_counted_alike(), [2; PERIODS - 1]);
    scene.await_proof(Twice::Votes);
    scene.meet().assert_talking("In spite of two votes");
}

#[test]
fn two_consensuses_are_proven_and_the_false_one_is_nowhere() {
    let mut scene = Scene::start(Lie::TwoConsensuses);
    let asked = scene.bear(Lie::TwoConsensuses);
    assert!(asked.contains(&(0, "signatures")) && asked.contains(&(1, "signatures")), "{asked:?}");
    scene.await_proof(Twice::Consensuses);
    scene.meet().assert_talking("In spite of two consensuses");
}

#[test]
fn fields_that_nobody_knows_yet_are_kept() {
    let mut scene = Scene::start(Lie::UnknownField);
    scene.bear(Lie::UnknownField);
    assert_eq!(scene.assert_counted_alike(), [3; PERIODS - 1], "a vote with an unknown field counts");

    // A relay of a newer version: it runs as the others do, and says more of itself.
    let keys = fs::read(scene.machines.data("relay0").join("keys")).unwrap();
    let keypair = IdentityKeypair::from_seed(keys[2..34].try_into().unwrap());
    let network = *scene.record.authorities().network();
    let published = scene.liar.descriptor(&keypair.identity()).expect("relays tell all authorities");
    let mut descriptor = RelayDescriptor::verify(&published, &network).unwrap();
    // So that what the relay itself publishes meanwhile is no newer.
    descriptor.published = moment() + 300;
    descriptor.entry.other.insert(UNKNOWN, b"newer".to_vec());
    let bytes = descriptor.sign(&keypair, &network);
    for url in &scene.honest {
        assert_eq!(directory::post(&format!("{url}/directory/descriptor"), &bytes), 200);
    }
    let all = scene.all();
    let consensus = scene.record.await_all(&all, "a relay with an unknown field", |consensus| {
        let relay = consensus.relay(&keypair.identity());
        relay.is_some_and(|relay| relay.other.get(UNKNOWN) == Some(b"newer"))
    });
    let listed = consensus.relay(&keypair.identity()).unwrap();
    assert_eq!(*listed, descriptor.entry, "nothing of it is changed");
    scene.meet().assert_talking("With what will be");
    wait::lasts(Duration::from_secs(1), "the field", || {
        scene.record.held(&scene.honest[0]).is_some_and(|one| one.relay(&keypair.identity()) == Some(listed))
    });
}
