//! An authority whose clock is wrong: the others say so by its name, and go on without it.

use std::process::Command;
use std::time::Duration;

use allium_shared::netdir::Authorities;
use allium_tests::directory::{self, Record};
use allium_tests::faketime::FakeClock;
use allium_tests::machines::{Machines, Place};
use allium_tests::network::free_port;
use allium_tests::{artifacts, wait};
use serde_json::Value;

use super::{INTERVAL, moment};

const NAMES: [&str; 3] = ["ann", "bob", "eve"];

/// How far eve's clock is off, in seconds.
const AHEAD: i64 = 30;

/// Numbers are renewed every ten seconds.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);

const WRONG: &str = "clock of an authority and this one's differ";
const RIGHT: &str = "clock of an authority is right again";

/// What the authority at `url` says of the others' clocks: their names, by how much they are ahead, and whether that is too much.
#[track_caller]
fn clocks(url: &str) -> Vec<(String, Option<i64>, bool)> {
    let output = Command::new(artifacts::allium()).args(["status", url, "--json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    let clock = |one: &Value| {
        (one["nickname"].as_str().unwrap().to_owned(), one["clock_ahead_ms"].as_i64(), one["clock_wrong"] == true)
    };
    status["authorities"].as_array().unwrap().iter().map(clock).collect()
}

#[test]
fn an_authority_whose_clock_is_wrong_is_named_until_it_is_right() {
    let mut machines = Machines::new(INTERVAL, &[]);
    let clock = match FakeClock::new(&machines.folder().join("clock"), AHEAD) {
        Ok(clock) => clock,
        Err(reason) => return eprintln!("SKIPPED: {reason}"),
    };
    let places = NAMES.map(|_| Place { ip: [127, 0, 0, 1].into(), port: free_port(), namespace: None });
    let named = || NAMES.into_iter().zip(&places);
    let list = Authorities::new(named().map(|(name, place)| machines.keygen(name, place)).collect()).unwrap();
    machines.set_clock("eve", clock.clone());
    for (name, place) in named() {
        machines.authority(name, place, &list);
    }
    for number in 0..2 {
        let place = Place { ip: [127, 0, 0, 1].into(), port: free_port(), namespace: None };
        machines.relay(&format!("relay{number}"), &place, &list);
    }
    let mut record = Record::new(list);
    let honest: Vec<String> = places[..2].iter().map(Place::url).collect();

    // All three notice; eve sees two that are behind.
    let limit = directory::PATIENCE;
    for (name, told) in [("ann", 1), ("bob", 1), ("eve", 2)] {
        wait::until(limit, &format!("{name}'s word"), || {
            (machines.log(name).matches(WRONG).count() == told).then_some(())
        });
        let admin = machines.place(name).admin();
        let numbers = wait::until(SHOWN_WITHIN, "the number of wrong clocks", || {
            let numbers = directory::numbers(&admin);
            (numbers["allium_authority_clocks_wrong"] == told as u64).then_some(numbers)
        });
        let most = numbers["allium_authority_clock_difference_milliseconds"];
        assert!((29_000..=31_000).contains(&most), "{most} ms");
    }
    for (name, url) in ["ann", "bob"].into_iter().zip(&honest) {
        for (other, ahead, wrong) in clocks(url) {
            match (other.as_str(), ahead) {
                (own, None) => assert_eq!((own, wrong), (name, false)),
                ("eve", Some(ahead)) => assert!(wrong && (29_000..=31_000).contains(&ahead), "{ahead}"),
                (_, Some(ahead)) => assert!(!wrong && (-500..=500).contains(&ahead), "{ahead}"),
            }
        }
        let table = Command::new(artifacts::allium()).args(["status", url]).output().unwrap().stdout;
        let table = String::from_utf8(table).unwrap();
        assert!(table.lines().any(|line| line.starts_with("eve") && line.contains("s WRONG")), "{table}");
    }

    // Nothing else comes of it: the two go on, and say it once, however often they ask.
    let now = moment();
    let first = record.await_period(&honest, now);
    record.await_period(&honest, first.validity().valid_after + 1);
    for name in ["ann", "bob"] {
        assert_eq!(machines.log(name).matches(WRONG).count(), 1, "{name} repeats itself");
    }

    // Its operator sets the clock: all notice that as well.
    clock.set(0);
    for (name, told) in [("ann", 1), ("bob", 1), ("eve", 2)] {
        wait::until(limit, &format!("{name}'s good word"), || {
            (machines.log(name).matches(RIGHT).count() == told).then_some(())
        });
        let admin = machines.place(name).admin();
        wait::until(SHOWN_WITHIN, "the number of wrong clocks", || {
            (directory::numbers(&admin)["allium_authority_clocks_wrong"] == 0).then_some(())
        });
    }
    assert!(honest.iter().flat_map(|url| clocks(url)).all(|(_, _, wrong)| !wrong));
    for url in &honest {
        record.assert_no_misconduct(url);
    }
}
