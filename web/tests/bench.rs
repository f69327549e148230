//! What the protocol costs in the page; run by `cargo xtask bench`, which prints it beside the native figures.
#![cfg(target_arch = "wasm32")]

#[path = "../../shared/benches/cases.rs"]
mod cases;

use wasm_bindgen_test::{console_log, wasm_bindgen_test};

/// How long each case is measured before the best sample counts, in milliseconds: browsers round their clocks.
const SAMPLE: f64 = 20.0;

/// How many samples are taken of each case.
const SAMPLES: usize = 8;

/// Prints a line for each case: `bench {"group":…,"name":…,"bytes":…,"nanoseconds":…}`, without bytes a zero.
#[wasm_bindgen_test]
#[ignore = "it proves nothing and takes long"]
fn what_the_protocol_costs() {
    let Some(performance) = web_sys::window().and_then(|window| window.performance()) else { return };
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
