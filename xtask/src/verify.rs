//! Everything that must hold, in the order in which it fails fastest.
//!
//! The first thing that does not hold ends it. The tests come last and write to the terminal themselves, so that their
//! results are the last that a person, or a machine, reads.

use std::ffi::OsStr;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::setup::{Browser, PageTools, Setup, SetupError, TARGET, VerifyTools, in_parallel};
use crate::step::{StepError, Steps, human};
use crate::workspace::Workspace;
use crate::{artifacts, chromium};

/// The package that exists for wasm only.
const WEB: &str = "allium-web";

/// The package with the protocol, which serves both worlds.
const SHARED: &str = "allium-shared";

/// How long the database of advisories may take to arrive.
const ADVISORIES_LIMIT: Duration = Duration::from_secs(60);

/// Sets up and verifies; `full` includes the long tests.
pub fn run(workspace: &Workspace, steps: &Steps, full: bool) -> Result<(), SetupError> {
    let verification = Verification { workspace, steps };
    verification.cargo("Check the formatting", ["fmt", "--all", "--check"]).run()?;
    verification.chore("Check the order of the rooms", "rooms")?.run()?;
    verification.chore("Check the words", "words")?.run()?;
    artifacts::fetch(workspace, steps)?;
    // The set-up compiles tools for some minutes when it runs for the first time; the native checks need none of them.
    let (tools, ()) =
        in_parallel(steps, || Setup::new(workspace, steps).everything(), || Ok(verification.native_checks()?))?;
    verification.licences(&tools)?;
    verification.wasm_checks(&tools.page)?;
    artifacts::build_page(workspace, steps, &tools.page)?;
    verification.summary();
    verification.wasm_tests(&tools)?;
    verification.native_tests(&tools.browser, full)?;
    Ok(())
}

/// A verification that is under way.
#[derive(Clone, Copy, Debug)]
struct Verification<'a> {
    workspace: &'a Workspace,
    steps: &'a Steps,
}

/// A named command that has not run yet.
#[derive(Debug)]
struct Check<'a> {
    steps: &'a Steps,
    name: &'static str,
    command: Command,
}

impl Check<'_> {
    fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    fn run(mut self) -> Result<(), StepError> {
        self.steps.step(self.name).verbose().run(&mut self.command)
    }

    fn show(mut self) -> Result<(), StepError> {
        self.steps.step(self.name).show(&mut self.command)
    }
}

impl<'a> Verification<'a> {
    fn cargo<const N: usize>(self, name: &'static str, args: [&str; N]) -> Check<'a> {
        let mut command = Command::new("cargo");
        command.current_dir(self.workspace.root()).args(args);
        Check { steps: self.steps, name, command }
    }

    /// Another chore of this program.
    fn chore(self, name: &'static str, chore: &str) -> Result<Check<'a>, StepError> {
        let mut command = Command::new(std::env::current_exe().map_err(StepError::file("xtask"))?);
        command.arg(chore);
        Ok(Check { steps: self.steps, name, command })
    }

    fn wasm_cargo<const N: usize>(self, name: &'static str, tools: &PageTools, args: [&str; N]) -> Check<'a> {
        let mut command = tools.command("cargo", self.workspace);
        command.args(args).args(["--target", TARGET]);
        Check { steps: self.steps, name, command }
    }

    fn native_checks(self) -> Result<(), StepError> {
        self.cargo(
            "Lint the native packages",
            ["clippy", "--workspace", "--exclude", WEB, "--all-targets", "--", "-D", "warnings"],
        )
        .run()?;
        self.cargo("Write the native packages' docs", ["doc", "--workspace", "--exclude", WEB, "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings")
            .run()?;
        artifacts::build_allium(self.workspace, self.steps)
    }

    fn wasm_checks(self, tools: &PageTools) -> Result<(), StepError> {
        if tools.wasm.has_clippy() {
            let mut check =
                self.wasm_cargo("Lint for wasm", tools, ["clippy", "-p", WEB, "-p", SHARED, "--all-targets"]);
            check.command.args(["--", "-D", "warnings"]);
            check.run()?;
        } else {
            self.steps.note("        Debian's compiler for wasm has no clippy: the compiler's own lints are checked");
            let deny = format!("target.{TARGET}.rustflags=[\"-Dwarnings\"]");
            self.wasm_cargo("Lint for wasm", tools, ["check", "-p", WEB, "-p", SHARED, "--config", &deny]).run()?;
        }
        self.wasm_cargo("Write the page's docs", tools, ["doc", "-p", WEB, "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings")
            .run()
    }

    /// What may be built in, and from where; advisories as far as their database can be reached.
    fn licences(self, tools: &VerifyTools) -> Result<(), StepError> {
        let deny = |name, args: &[&str]| {
            let mut command = Command::new(&tools.cargo_deny);
            command.current_dir(self.workspace.root()).args(args).env("GIT_TERMINAL_PROMPT", "0");
            Check { steps: self.steps, name, command }
        };
        deny(
            "Check licences, bans and sources",
            &["--offline", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"],
        )
        .run()?;
        let mut fetch = deny("Fetch the advisories", &["fetch", "db"]);
        match self.steps.step(fetch.name).tolerant().limit(ADVISORIES_LIMIT).run(&mut fetch.command) {
            Ok(()) => deny("Check for advisories", &["--offline", "check", "advisories"]).run(),
            Err(StepError::Interrupted) => Err(StepError::Interrupted),
            Err(_) => {
                self.steps.note("  SKIP  Advisories are NOT checked: their database cannot be reached from here");
                Ok(())
            }
        }
    }

    /// Tells how long each step took, before the tests have the last word.
    fn summary(self) {
        self.steps.note("\nAll of this holds:");
        for (name, took) in self.steps.times() {
            self.steps.note(format!("  {name:<44}{:>14}", human(took)));
        }
        self.steps.note("");
    }

    /// The tests that run as wasm in a browser, of every package that has such.
    fn wasm_tests(self, tools: &VerifyTools) -> Result<(), StepError> {
        let packages = self.packages_with_wasm_tests()?;
        if packages.is_empty() {
            self.steps.note("        No package has tests for wasm");
            return Ok(());
        }
        let page = &tools.page;
        // `--tests`: examples in docs are run natively.
        let mut check = self.wasm_cargo("Run the wasm tests in Chromium", page, ["test", "--tests"]);
        for package in packages {
            check.command.args(["-p", &package]);
        }
        chromium::have_run(&mut check.command, self.workspace, page, &tools.browser)?;
        check.show()
    }

    /// All other tests: units, simulations, processes, and the page in a browser.
    fn native_tests(self, browser: &Browser, full: bool) -> Result<(), StepError> {
        let mut check = self
            .cargo("Run the tests", ["test", "--workspace", "--exclude", WEB, "--no-fail-fast"])
            .env("ALLIUM_BIN", self.workspace.allium())
            .env("ALLIUM_PAGE", self.workspace.dist())
            .env("CHROMIUM", &browser.chromium)
            .env("CHROMEDRIVER", &browser.chromedriver);
        if full {
            check.command.env("ALLIUM_FULL", "1").args(["--", "--include-ignored"]);
        }
        check.show()
    }

    fn packages_with_wasm_tests(self) -> Result<Vec<String>, StepError> {
        let name = "Look for wasm tests";
        let failed = |reason: String| StepError::Failed {
            name: name.to_owned(),
            reason,
            log: None,
            advice: "see what `cargo metadata --no-deps` says".to_owned(),
        };
        let output = self
            .cargo(name, ["metadata", "--no-deps", "--format-version", "1"])
            .command
            .output()
            .map_err(|error| failed(error.to_string()))?;
        let metadata = serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))?;
        Ok(using_wasm_bindgen_test(&metadata))
    }
}

/// The packages of `cargo metadata` that depend on the library for tests in wasm.
fn using_wasm_bindgen_test(metadata: &Value) -> Vec<String> {
    let list = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    list(&metadata["packages"])
        .into_iter()
        .filter(|package| list(&package["dependencies"]).iter().any(|one| one["name"] == "wasm-bindgen-test"))
        .filter_map(|package| package["name"].as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn packages_with_wasm_tests_are_found() {
        let metadata = json!({ "packages": [
            { "name": "page", "dependencies": [{ "name": "yew" }, { "name": "wasm-bindgen-test" }] },
            { "name": "relay", "dependencies": [{ "name": "axum" }] },
            { "name": "empty" },
        ]});
        assert_eq!(using_wasm_bindgen_test(&metadata), ["page"]);
        assert!(using_wasm_bindgen_test(&Value::Null).is_empty());
    }
}
