//! Many clients at once, and the program that simulates them.

use std::process::Command;
use std::time::Duration;

use allium_tests::sim::Weather;
use allium_tests::sim::crowd::{Plan, Report, run};
use serde_json::Value;

fn plan(seed: u64) -> Plan {
    Plan {
        seed,
        relays: 12,
        clients: 12,
        talk: Duration::from_secs(30),
        pause: Duration::from_secs(3),
        weather: Weather {
            latency: 5..=50,
            jitter: 10,
            link_breaks: Some(Duration::from_secs(2)),
            relay_crashes: Some(Duration::from_secs(6)),
            client_crashes: Some(Duration::from_secs(6)),
            ..Weather::default()
        },
    }
}

#[test]
fn a_crowd_loses_nothing_and_its_seed_gives_the_same_report_again() {
    let mut phases = Vec::new();
    let report = run(&plan(1), |standing| phases.push(standing.phase));
    assert!(report.is_clean(), "{report:?}");
    assert!(report.messages_sent > 80 && report.messages_delivered == report.messages_sent, "{report:?}");
    let totals = &report.totals;
    assert!(totals.links_broken > 5 && totals.relays_crashed > 1 && totals.clients_crashed > 1, "{report:?}");
    assert!(report.circuits_built > 80 && report.relay_peak.circuits > 5 && report.client_peak.circuits > 3);
    phases.dedup();
    assert_eq!(phases, ["arriving", "talking", "waiting for the last"]);
    assert_eq!(run(&plan(1), |_| {}), report);
    assert_ne!(run(&plan(2), |_| {}).trace, report.trace);
}

#[test]
#[ignore = "takes minutes; `cargo verify --full` runs it"]
fn a_large_crowd_loses_nothing() {
    let seed = 1;
    let plan = Plan { relays: 60, clients: 200, talk: Duration::from_secs(180), ..plan(seed) };
    let report = run(&plan, |_| {});
    println!("{report:#?}");
    assert!(report.is_clean() && report.messages_sent > 10_000, "seed {seed}");
}

#[test]
fn a_report_is_clean_only_if_nothing_is_wrong() {
    assert!(Report::default().is_clean());
    for report in [
        Report { messages_lost: 1, ..Report::default() },
        Report { messages_duplicated: 1, ..Report::default() },
        Report { messages_disordered: 1, ..Report::default() },
        Report { strangers: 1, ..Report::default() },
    ] {
        assert!(!report.is_clean(), "{report:?}");
    }
}

fn program(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sim")).args(arguments).output().expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

const SMALL: [&str; 8] = ["--relays", "8", "--clients", "4", "--minutes", "1", "--message-every", "5"];

#[test]
fn the_program_prints_one_json_object() {
    let (code, out, err) = program(&[&SMALL[..], &["--json", "--seed", "7"]].concat());
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let report: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&report["seed"], &report["clean"], &report["messages_lost"]), (&7.into(), &true.into(), &0.into()));
    for field in ["circuits_built", "messages_sent", "happenings"] {
        assert!(report[field].as_u64() > Some(0), "{field}: {report}");
    }
    assert!(report["trace"].as_str().is_some_and(|trace| trace.len() == 16));
}

#[test]
fn the_program_prints_a_table_and_how_far_it_has_come() {
    let (code, out, err) = program(&SMALL);
    assert_eq!(code, Some(0));
    for row in ["messages lost", "circuits built", "most circuits at one relay", "trace"] {
        assert!(out.contains(row), "{out}");
    }
    assert!(err.contains("talking"), "{err}");
    let (code, out, _) = program(&["--help"]);
    assert!(code == Some(0) && out.contains("--relay-crash-every"), "{out}");
    let (code, _, err) = program(&["--relays", "2"]);
    assert!(code == Some(2) && err.contains("--relays"), "{err}");
}

/// Twenty pairs talk fast while relays and clients crash one after the other: for a minute, or ten where all is verified.
#[test]
fn twenty_conversations_lose_nothing_while_relays_and_clients_crash() {
    let minutes = if allium_tests::artifacts::full() { 10 } else { 1 };
    let plan = Plan {
        relays: 10,
        clients: 40,
        talk: Duration::from_secs(60 * minutes),
        // Each of the two: so five messages a second in each conversation.
        pause: Duration::from_millis(400),
        weather: Weather {
            link_breaks: None,
            relay_crashes: Some(Duration::from_secs(20)),
            client_crashes: Some(Duration::from_secs(30)),
            ..plan(3).weather
        },
        ..plan(3)
    };
    let report = run(&plan, |_| {});
    assert!(report.is_clean() && report.messages_delivered == report.messages_sent, "{report:?}");
    assert!(report.messages_sent > 5000 * minutes, "{report:?}");
    assert!(report.totals.relays_crashed > 0 && report.totals.clients_crashed > 0, "{report:?}");
}
