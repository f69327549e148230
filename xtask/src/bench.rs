//! What the protocol costs, natively and in the page, in one table.
//!
//! The cases are declared once, in `shared/benches/cases.rs`. Natively criterion measures them, in the release profile; in
//! headless Chromium a test of the page's package does, in the profile that the page is built with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use serde_json::Value;

use crate::chromium;
use crate::setup::{Setup, SetupError, TARGET};
use crate::step::{StepError, Steps};
use crate::workspace::Workspace;

/// What the lines begin with by which the browser tells its results.
const MARK: &str = "bench {";

/// One case as the browser has measured it.
#[derive(Debug, PartialEq)]
struct Measured {
    group: String,
    name: String,
    nanoseconds: f64,
}

/// Sets up, measures in both worlds and prints the table.
pub fn run(workspace: &Workspace, steps: &Steps) -> Result<(), SetupError> {
    let tools = Setup::new(workspace, steps).everything()?;
    steps.step("Measure natively").verbose().run(Command::new("cargo").current_dir(workspace.root()).args([
        "bench",
        "--package",
        "allium-shared",
        "--bench",
        "onion",
    ]))?;
    let mut browser = tools.page.command("cargo", workspace);
    browser.args(["test", "--profile", "page", "--package", "allium-web", "--target", TARGET, "--test", "bench"]);
    browser.args(["--", "--include-ignored", "--nocapture"]);
    chromium::have_run(&mut browser, workspace, &tools.page, &tools.browser)?;
    let output = steps.step("Measure in Chromium").verbose().read(&mut browser)?;

    let native = native_medians(&workspace.target().join("criterion"))?;
    println!("{}", table(&measured(&output), &native));
    Ok(())
}

/// What the browser tells, among whatever else is printed.
fn measured(output: &str) -> Vec<Measured> {
    let lines = output.lines().filter_map(|line| line.find(MARK).and_then(|at| line.get(at + MARK.len() - 1..)));
    lines
        .filter_map(|json| {
            let value: Value = serde_json::from_str(json).ok()?;
            let text = |name: &str| value[name].as_str().map(str::to_owned);
            Some(Measured { group: text("group")?, name: text("name")?, nanoseconds: value["nanoseconds"].as_f64()? })
        })
        .collect()
}

/// Criterion's medians in nanoseconds, with what it calls the cases: `group/name`.
fn native_medians(criterion: &Path) -> Result<Vec<(String, f64)>, StepError> {
    let mut medians = Vec::new();
    for group in folders(criterion)? {
        for case in folders(&group)? {
            // Beside the cases are the reports that compare them.
            let read = |file: &str| -> Option<Value> {
                serde_json::from_str(&fs::read_to_string(case.join("new").join(file)).ok()?).ok()
            };
            let id = read("benchmark.json").and_then(|value| value["full_id"].as_str().map(str::to_owned));
            let median = read("estimates.json").and_then(|value| value["median"]["point_estimate"].as_f64());
            medians.extend(id.zip(median));
        }
    }
    Ok(medians)
}

fn folders(parent: &Path) -> Result<Vec<PathBuf>, StepError> {
    let entries: io::Result<Vec<_>> = fs::read_dir(parent).and_then(Iterator::collect);
    let paths = entries.map_err(StepError::file(parent))?.into_iter().map(|entry| entry.path());
    Ok(paths.filter(|path| path.is_dir()).collect())
}

/// The table, in the order in which the browser has measured.
fn table(measured: &[Measured], native: &[(String, f64)]) -> String {
    let mut text = format!("{:<28}{:<34}{:>12}{:>12}", "", "", "native", "wasm");
    for Measured { group, name, nanoseconds } in measured {
        let id = format!("{group}/{name}");
        let native = native.iter().find(|(native, _)| *native == id).map_or("-".to_owned(), |(_, time)| human(*time));
        text += &format!("\n{group:<28}{name:<34}{native:>12}{:>12}", human(*nanoseconds));
    }
    text
}

/// Nanoseconds with three digits and the unit that suits them.
fn human(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        time if time < 1e3 => (time, "ns"),
        time if time < 1e6 => (time / 1e3, "µs"),
        time => (time / 1e6, "ms"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_found_in_what_is_printed() {
        let output = "running 1 test\n\
                      \u{20}   bench {\"group\":\"cgo\",\"name\":\"relay passes\",\"nanoseconds\":4210.5}\n\
                      bench {\"group\":1}\nbench {\ntest ... ok\n";
        let expected = Measured { group: "cgo".into(), name: "relay passes".into(), nanoseconds: 4210.5 };
        assert_eq!(measured(output), [expected]);
    }

    #[test]
    fn the_table_has_both_columns() {
        let case = |name: &str| Measured { group: "cgo".into(), name: name.into(), nanoseconds: 4210.5 };
        let table = table(&[case("relay passes"), case("new")], &[("cgo/relay passes".into(), 150.25)]);
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["native", "wasm"]);
        assert_eq!(lines[1], ["cgo", "relay", "passes", "150", "ns", "4.21", "µs"]);
        assert_eq!(lines[2], ["cgo", "new", "-", "4.21", "µs"]);
    }

    #[test]
    fn times_have_three_digits() {
        assert_eq!([9.5, 42.25, 150.0, 4210.5, 2e6].map(human), ["9.50 ns", "42.2 ns", "150 ns", "4.21 µs", "2.00 ms"]);
    }
}
