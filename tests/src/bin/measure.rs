//! Measures a network of real processes on this machine, and prints what docs/performance.md quotes:
//!
//! ```text
//! cargo build --release -p allium-relay && cargo run --release -p allium-tests --bin measure
//! ```
//!
//! Everything runs on the same machine, clients too, so figures of a busy or small machine are those of all together.
//! Processor time is what the relays' threads have spent, whoever else was running.

#![allow(clippy::expect_used, clippy::panic, reason = "a figure that could not be measured is no figure")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use allium_tests::network::{Network, Options};
use allium_tests::{artifacts, usage};
use serde_json::Value;

/// Bytes that are moved in each run.
const BYTES: u64 = 400_000_000;

/// Runs, of which the best counts: whatever else the machine did only makes a run worse.
const RUNS: usize = 5;

/// Circuits that are held.
const IDLE: u64 = 10_000;

fn main() {
    let network = Network::start(&Options { bench: true, ..Options::default() });
    let pids: Vec<u32> = network.relays().map(|node| node.pid()).collect();
    let url = network.url();
    circuit(&url, &pids);
    build(&url);
    flood(&url);
    idle(&url, &pids);
}

fn circuit(url: &str, pids: &[u32]) {
    const HOPS: u64 = 3;
    let (mut fastest, mut thriftiest) = (0.0_f64, 0.0_f64);
    for _ in 0..RUNS {
        let before = cpu(pids);
        let report = bench(url, &["circuit", "--bytes", &BYTES.to_string()]);
        let spent = (cpu(pids) - before).as_secs_f64();
        fastest = fastest.max(report["mb_per_s"].as_f64().expect("a rate"));
        thriftiest = thriftiest.max((BYTES * HOPS) as f64 / 1e6 / spent);
    }
    println!("one circuit of 3 hops, best of {RUNS}: {fastest:.1} MB/s");
    println!("    per second of the relays' processors: {thriftiest:.0} MB·hop");
}

fn build(url: &str) {
    let report = bench(url, &["build", "--circuits", "500"]);
    println!("building a circuit of 3 hops: median {} ms, 90 % within {} ms", report["median_ms"], report["p90_ms"]);
}

fn flood(url: &str) {
    let report = bench(url, &["flood", "--seconds", "5"]);
    println!(
        "a circuit alone, and while {} handshakes a second are sent to its guard: {} MB/s, {} MB/s; slowest 5 MB {} ms, {} ms",
        report["creates_per_s"],
        report["mb_per_s"],
        report["mb_per_s_in_flood"],
        report["longest_piece_ms"],
        report["longest_piece_in_flood_ms"]
    );
}

fn idle(url: &str, pids: &[u32]) {
    const HOPS: u64 = 3;
    const WATCHED: Duration = Duration::from_secs(10);
    let before = memory(pids);
    let mut child = command(url, &["idle", "--circuits", &IDLE.to_string(), "--hold", "15"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a report");
    assert!(!line.is_empty(), "the circuits could not be opened");
    thread::sleep(Duration::from_secs(2));
    let grown = memory(pids).saturating_sub(before);
    let spent = cpu(pids);
    thread::sleep(WATCHED);
    let spent = (cpu(pids) - spent).as_secs_f64() / WATCHED.as_secs_f64() / pids.len() as f64;
    println!(
        "{IDLE} idle circuits of 3 hops: {} bytes for each at each relay; each of {} relays uses {:.2} % of a processor",
        grown / (IDLE * HOPS),
        pids.len(),
        spent * 100.0
    );
    child.wait().expect("the program ends");
    thread::sleep(Duration::from_secs(2));
    println!(
        "    after their end the relays have kept {} KiB of {}",
        memory(pids).saturating_sub(before) / 1024,
        grown / 1024
    );
}

fn cpu(pids: &[u32]) -> Duration {
    pids.iter().map(|pid| usage::cpu_time(*pid)).sum()
}

fn memory(pids: &[u32]) -> u64 {
    pids.iter().map(|pid| usage::memory(*pid)).sum()
}

fn command(url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(artifacts::allium());
    command.arg("bench").args(args).args(["--directory", url, "--json"]);
    command
}

fn bench(url: &str, args: &[&str]) -> Value {
    let output = command(url, args).stderr(Stdio::inherit()).output().expect("the program starts");
    assert!(output.status.success(), "allium bench {args:?} failed");
    serde_json::from_slice(&output.stdout).expect("a line of JSON")
}
