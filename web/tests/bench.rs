//! The cost of the protocol in the page; run by `cargo xtask bench`, which prints it beside the native figures.
#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, reason = "all of this is a test")]

#[path = "../../shared/benches/cases.rs"]
mod cases;

use js_sys::Reflect;
use wasm_bindgen::JsCast as _;
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};
use web_sys::Performance;

// Where the page runs its engine.
wasm_bindgen_test_configure!(run_in_dedicated_worker);

/// How long each case is measured before the best sample counts, in milliseconds: browsers round their clocks.
const SAMPLE: f64 = 20.0;

/// How many samples are taken of each case.
const SAMPLES: usize = 8;

/// How often a slow case is run.
const RUNS: usize = 21;

/// Prints a line for each case: `bench {"group":…,"name":…,"bytes":…,"nanoseconds":…}`; `bytes` is 0 if it has none.
#[wasm_bindgen_test]
#[ignore = "it proves nothing and takes long"]
fn what_the_protocol_costs() {
    let performance = Reflect::get(&js_sys::global(), &"performance".into()).unwrap();
    let performance: Performance = performance.unchecked_into();
    let now = || performance.now();
    for mut case in cases::all().into_iter().filter(|case| case.name != cases::DIRECTORY_TO_PATH) {
        let mut repetitions = 1;
        while case.time(repetitions, now) < SAMPLE && repetitions < 1 << 24 {
            repetitions *= 2;
        }
        let best = (0..SAMPLES).map(|_| case.time(repetitions, now)).fold(f64::INFINITY, f64::min);
        let nanoseconds = best * 1e6 / repetitions as f64;
        let (group, name, bytes) = (case.group, &case.name, case.bytes.unwrap_or_default());
        console_log!(r#"bench {{"group":"{group}","name":"{name}","bytes":{bytes},"nanoseconds":{nanoseconds}}}"#);
    }
}

/// Prints the same for what a client does with the largest list of relays when it starts: the median, and the first run, which
/// the browser has not made fast yet.
#[wasm_bindgen_test]
#[ignore = "it proves nothing and takes long"]
fn what_the_largest_directory_costs() {
    let performance = Reflect::get(&js_sys::global(), &"performance".into()).unwrap();
    let performance: Performance = performance.unchecked_into();
    let mut cases = cases::directory().unwrap().into_iter();
    let mut case = cases.find(|case| case.name == cases::DIRECTORY_TO_PATH).unwrap();
    let mut runs: Vec<f64> = (0..RUNS).map(|_| case.time(1, || performance.now())).collect();
    let first = runs[0];
    runs.sort_by(f64::total_cmp);
    let (group, name, bytes) = (case.group, &case.name, case.bytes.unwrap_or_default());
    for (which, time) in [("", runs[RUNS / 2]), (", first run", first)] {
        let nanoseconds = time * 1e6;
        console_log!(
            r#"bench {{"group":"{group}","name":"{name}{which}","bytes":{bytes},"nanoseconds":{nanoseconds}}}"#
        );
    }
}
