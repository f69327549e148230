//! What the protocol costs in the page; run by `cargo xtask bench`, which prints it beside the native figures.
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

/// Prints a line for each case: `bench {"group":…,"name":…,"bytes":…,"nanoseconds":…}`, without bytes a zero.
#[wasm_bindgen_test]
#[ignore = "it proves nothing and takes long"]
fn what_the_protocol_costs() {
    let performance = Reflect::get(&js_sys::global(), &"performance".into()).unwrap();
    let performance: Performance = performance.unchecked_into();
    let now = || performance.now();
    for mut case in cases::all() {
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
