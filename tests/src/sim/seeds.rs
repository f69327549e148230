//! Many runs of one test, each from a seed that its failure names.

use std::env;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Set this to a seed, and [`for_seeds`] runs that seed alone.
pub const VARIABLE: &str = "ALLIUM_SIM_SEED";

/// Runs a test once for each seed. When one fails, says which, and how to run it again.
///
/// # Panics
///
/// With the panic of the test.
pub fn for_seeds(seeds: Range<u64>, test: impl Fn(u64)) {
    let only = env::var(VARIABLE).ok().map(|value| value.parse().expect("a seed is a number"));
    for seed in only.map_or(seeds, |seed: u64| seed..seed + 1) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            eprintln!("{}", advice(seed, std::thread::current().name()));
            resume_unwind(panic);
        }
    }
}

fn advice(seed: u64, test: Option<&str>) -> String {
    let test = test.unwrap_or_default();
    format!("seed {seed} failed; to run it again:\n  {VARIABLE}={seed} cargo test -p allium-tests -- --exact {test}")
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn every_seed_runs_until_one_fails() {
        let ran = RefCell::new(Vec::new());
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            for_seeds(3..9, |seed| {
                ran.borrow_mut().push(seed);
                assert!(seed < 5, "no more");
            });
        }));
        let panic = outcome.unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"no more"));
        assert_eq!(ran.into_inner(), [3, 4, 5]);
    }

    #[test]
    fn a_failure_names_the_seed_and_how_to_repeat_it() {
        let advice = advice(7, Some("loss::guards_die"));
        assert!(advice.contains("ALLIUM_SIM_SEED=7") && advice.ends_with("--exact loss::guards_die"), "{advice}");
    }
}
