//! A directory that no single machine can bend: authorities and relays that die, freeze and come back.
//!
//! What is promised within so many periods of the voting is counted by the beginnings of consensuses, not by a clock.

mod clocks;
mod door;
mod lies;
mod moves;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use allium_shared::netdir::{AuthorityIdentity, Consensus};
use allium_tests::chat::{Mark, PATIENCE, Pair};
use allium_tests::directory::{self, Record, names};
use allium_tests::machines::{Machines, Place};
use allium_tests::network::{Network, Options, free_port};
use allium_tests::peer::now;
use allium_tests::traffic::Traffic;
use allium_tests::wait;

/// How often authorities vote here, in seconds.
const INTERVAL: u64 = 5;

/// A client that knows the time goes by a consensus for so long after its end.
const TOLERANCE: Duration = Duration::from_secs(60);

/// A network, and what one sees who looks at its nodes.
struct Watched {
    network: Network,
    record: Record,
}

impl Watched {
    fn start(options: &Options) -> Self {
        let network = Network::start(&Options { voting_interval: Some(INTERVAL), ..options.clone() });
        let record = Record::new(directory::authorities(&network.url()));
        Self { network, record }
    }

    /// The addresses of all nodes but these.
    fn urls(&self, but: &[&str]) -> Vec<String> {
        let others = self.network.nodes().iter().filter(|node| !but.contains(&node.nickname()));
        others.map(|node| node.entry.url.trim_end_matches('/').to_owned()).collect()
    }

    fn authority_urls(&self) -> Vec<String> {
        self.network.with_role("authority").map(|node| node.entry.url.trim_end_matches('/').to_owned()).collect()
    }

    fn keys(&self, nicknames: &[&str]) -> Vec<AuthorityIdentity> {
        let list = self.record.authorities().iter();
        let mut keys: Vec<_> =
            list.filter(|one| nicknames.contains(&one.nickname.as_str())).map(|one| one.key).collect();
        keys.sort();
        keys
    }

    /// The consensus of the second period that begins after `moment`, or of the next one that there is.
    #[track_caller]
    fn within_two_periods(&mut self, moment: u64) -> Consensus {
        let url = self.authority_urls().swap_remove(0);
        self.record.first_since(&url, moment + INTERVAL)
    }

    fn relay_names(&self) -> BTreeSet<String> {
        self.network.relays().map(|node| node.nickname().to_owned()).collect()
    }
}

/// A moment that has not begun yet, in seconds since 1970: all that was done before lies before it.
fn moment() -> u64 {
    now().as_secs() + 1
}

#[test]
fn one_of_three_authorities_dies_and_the_others_go_on() {
    let mut watched = Watched::start(&Options { relays: 6, ..Options::default() });
    let pair = Pair::meet(&watched.network.url());
    watched.network.node("authority1").kill();
    let (dead, left) = (moment(), watched.keys(&["authority2", "authority3"]));
    let everybody = [watched.urls(&["authority1"]), vec![watched.network.url()]].concat();
    let first = watched.record.await_all(&everybody, "a consensus of the two that are left", |one| {
        one.validity().valid_after >= dead + INTERVAL && one.signers() == left
    });
    let next = watched.record.await_period(&everybody, first.validity().valid_after + 1);
    assert_eq!(next.signers(), left);
    assert_eq!(names(&next), watched.relay_names());
    pair.assert_talking("With two authorities");
    Pair::meet(&watched.network.url()).assert_talking("Who came when there were two");
}

#[test]
fn two_of_three_authorities_die_and_what_is_known_counts_until_it_runs_out() {
    let mut watched = Watched::start(&Options { relays: 6, valid_for: Some(2 * INTERVAL), ..Options::default() });
    let pair = Pair::meet(&watched.network.url());
    for nickname in ["authority1", "authority2"] {
        watched.network.node(nickname).kill();
    }
    // What two had signed already may still begin.
    let last = moment() + 1;
    let traffic = Traffic::start(&pair, "without two");
    let left = watched.urls(&["authority1", "authority2"]);
    wait::lasts(Duration::from_secs(3 * INTERVAL), "the want of a newer consensus", || {
        left.iter().all(|url| watched.record.held(url).is_none_or(|one| one.validity().valid_after <= last))
    });
    traffic.finish(PATIENCE);

    // By then the list has run out for those who know the time, and they say so and stop.
    let limit = TOLERANCE + Duration::from_secs(2 * INTERVAL) + PATIENCE;
    for chat in [&pair.inviter, &pair.visitor] {
        chat.expect(Mark::default(), limit, "the end of the list of relays", |event| match event {
            allium_tests::chat::Event::Error { about, message } if about == "directory" => {
                message.contains("ran out").then_some(())
            }
            _ => None,
        });
        assert_eq!(chat.circuits(), []);
    }
    let waiting = pair.inviter.send(&pair.visitor_name, "for when there is a list again");

    let back = moment();
    for nickname in ["authority1", "authority2"] {
        watched.network.restart(nickname);
    }
    let everybody = watched.urls(&[]);
    let first = watched.record.await_period(&everybody, back);
    let next = watched.record.await_period(&everybody, first.validity().valid_after + 1);
    assert_eq!(names(&next), watched.relay_names());
    pair.visitor.await_message("for when there is a list again");
    pair.inviter.await_delivered(&waiting);
    pair.assert_talking("With all of them");
    for url in watched.authority_urls() {
        watched.record.assert_no_misconduct(&url);
    }
}

#[test]
fn relays_that_die_leave_the_consensus_and_those_that_start_come_into_it() {
    let mut watched = Watched::start(&Options { relays: 5, ..Options::default() });
    let everybody = watched.relay_names();
    watched.network.node("relay1").kill();
    let dead = moment();
    let without = watched.within_two_periods(dead);
    let others: BTreeSet<_> = everybody.iter().filter(|name| *name != "relay1").cloned().collect();
    assert_eq!(names(&without), others);

    let mut machines = Machines::new(INTERVAL, &[]);
    let place = Place { ip: [127, 0, 0, 1].into(), port: free_port(), namespace: None };
    machines.relay("late", &place, watched.record.authorities());
    let known = directory::await_known(&watched.authority_urls(), "late") + 1;
    let with = watched.within_two_periods(known);
    assert!(names(&with).contains("late"), "{:?}", names(&with));

    watched.network.restart("relay1");
    let url = watched.network.node("relay1").entry.url.clone();
    wait::until(PATIENCE, "the relay's answer", || directory::get(&format!("{url}/healthz")));
    let again = watched.within_two_periods(moment());
    let all: BTreeSet<_> = everybody.into_iter().chain(["late".to_owned()]).collect();
    assert_eq!(names(&again), all);
    watched.record.await_period(&watched.urls(&[]), again.validity().valid_after);
}

#[test]
fn a_relay_that_freezes_leaves_the_consensus_and_comes_back_when_it_thaws() {
    let mut watched = Watched::start(&Options { relays: 5, ..Options::default() });
    let everybody = watched.relay_names();
    let relay = watched.network.node("relay2");
    relay.freeze();
    let without = watched.within_two_periods(moment());
    let others: BTreeSet<_> = everybody.iter().filter(|name| *name != "relay2").cloned().collect();
    assert_eq!(names(&without), others);
    watched.network.node("relay2").thaw();
    let again = watched.within_two_periods(moment());
    assert_eq!(names(&again), everybody);
}

/// When an authority is killed.
#[derive(Clone, Copy, Debug)]
enum Amid {
    /// It has just shown its vote.
    Rounds,
    /// It has just shown its signature.
    Signing,
    /// Nothing is voted on.
    Pause,
}

#[test]
fn an_authority_that_dies_amid_the_voting_comes_back_and_does_no_wrong() {
    let mut watched = Watched::start(&Options { relays: 4, ..Options::default() });
    let (everybody, authorities) = (watched.urls(&[]), watched.authority_urls());
    let all = watched.keys(&["authority1", "authority2", "authority3"]);
    let url = watched.network.node("authority2").entry.url.trim_end_matches('/').to_owned();
    // A list of votes or of signatures is longer than an empty one.
    let shows =
        |what: &str, at: u64| directory::get(&format!("{url}/directory/{what}/{at}")).filter(|it| it.len() > 43);
    for amid in [Amid::Rounds, Amid::Signing, Amid::Pause, Amid::Rounds, Amid::Signing] {
        wait::until(directory::PATIENCE, &format!("{amid:?}"), || {
            let at = (now().as_secs() / INTERVAL + 1) * INTERVAL;
            match amid {
                Amid::Rounds => shows("echoes", at).map(drop),
                Amid::Signing => shows("signatures", at).map(drop),
                Amid::Pause => (at - now().as_secs() == 3).then_some(()),
            }
        });
        watched.network.node("authority2").kill();
        watched.network.restart("authority2");
        let back = moment();
        watched.record.await_all(&everybody, "a consensus that all three have signed", |one| {
            one.validity().valid_after >= back && one.signers() == all
        });
    }
    for url in &authorities {
        watched.record.assert_no_misconduct(url);
    }
    for nickname in ["authority1", "authority3"] {
        let log = fs::read_to_string(watched.network.folder().join(nickname).join("log")).unwrap();
        assert!(!log.contains("has signed two"), "{log}");
    }
}
