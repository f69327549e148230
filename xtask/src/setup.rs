//! Compiler target, tools and browser, installed once per user.
//!
//! What is there is left alone, so a second set-up takes no time. What is missing is made beside its place and moved
//! there when it is whole, so a set-up that was interrupted leaves nothing that looks finished. One set-up works at a
//! time; another one waits for it and then finds its work done.

mod apt;
mod browser;
mod faketime;
mod iproute;
mod lock;
mod tools;
mod wasm;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::step::{StepError, Steps};
use crate::workspace::Workspace;

pub use browser::Browser;
pub use wasm::{TARGET, WasmToolchain};

use tools::{CARGO_DENY, TRUNK, Tool, WASM_BINDGEN};

/// Why the set-up is not complete.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// One of its steps failed.
    #[error(transparent)]
    Step(#[from] StepError),
    /// Something is needed that this program may not or cannot install.
    #[error("{missing} is missing.\nWhat to do: {advice}")]
    Missing {
        /// What is needed.
        missing: String,
        /// What a person can do about it.
        advice: String,
    },
}

/// What builds the page.
#[derive(Clone, Debug)]
pub struct PageTools {
    /// The compiler for wasm.
    pub wasm: WasmToolchain,
    /// The bundler.
    pub trunk: PathBuf,
    /// The folder of `wasm-bindgen` and its test runner.
    pub wasm_bindgen: PathBuf,
}

impl PageTools {
    /// `program`, to be run in the repository with these tools before any other of the same name.
    pub fn command(&self, program: impl AsRef<OsStr>, workspace: &Workspace) -> Command {
        let mut command = Command::new(program);
        self.wasm.apply(command.current_dir(workspace.root()), workspace, &[&self.wasm_bindgen]);
        command
    }

    /// The program that runs wasm tests in a browser.
    pub fn test_runner(&self) -> PathBuf {
        self.wasm_bindgen.join("wasm-bindgen-test-runner")
    }
}

/// What verifies.
#[derive(Clone, Debug)]
pub struct VerifyTools {
    /// What builds the page.
    pub page: PageTools,
    /// The check of licences and sources.
    pub cargo_deny: PathBuf,
    /// The browser of the tests.
    pub browser: Browser,
}

/// The set-up of this machine for one user.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    workspace: &'a Workspace,
    steps: &'a Steps,
}

impl<'a> Setup<'a> {
    /// A set-up that reports to `steps`.
    pub fn new(workspace: &'a Workspace, steps: &'a Steps) -> Self {
        Self { workspace, steps }
    }

    /// Makes sure of what builds the page.
    pub fn page(self) -> Result<PageTools, SetupError> {
        let (tools, wasm) = self.side_by_side(&[WASM_BINDGEN, TRUNK], || self.wasm_toolchain())?;
        let [wasm_bindgen, trunk] = tools;
        Ok(PageTools { wasm, trunk: trunk.join(TRUNK.program()), wasm_bindgen })
    }

    /// Makes sure of everything.
    pub fn everything(self) -> Result<VerifyTools, SetupError> {
        let rest = || {
            let needed = (self.wasm_toolchain()?, self.browser()?);
            self.iproute();
            self.faketime();
            Ok(needed)
        };
        let (tools, (wasm, browser)) = self.side_by_side(&[WASM_BINDGEN, TRUNK, CARGO_DENY], rest)?;
        let [wasm_bindgen, trunk, cargo_deny] = tools;
        let page = PageTools { wasm, trunk: trunk.join(TRUNK.program()), wasm_bindgen };
        Ok(VerifyTools { page, cargo_deny: cargo_deny.join(CARGO_DENY.program()), browser })
    }

    /// Installs `tools`, which mostly compiles, while `rest`, which mostly downloads, goes on.
    fn side_by_side<const N: usize, T>(
        self,
        tools: &[Tool; N],
        rest: impl FnOnce() -> Result<T, SetupError>,
    ) -> Result<([PathBuf; N], T), SetupError> {
        in_parallel(self.steps, || self.tools(tools), rest)
    }
}

/// Runs `first` on a thread of its own and `second` on this one; when one fails, the other is cancelled, and the error
/// is that of the one that failed by itself.
pub fn in_parallel<A: Send, B>(
    steps: &Steps,
    first: impl FnOnce() -> Result<A, SetupError> + Send,
    second: impl FnOnce() -> Result<B, SetupError>,
) -> Result<(A, B), SetupError> {
    let cancelling = |failed: bool| {
        if failed {
            steps.cancel();
        }
    };
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(|| {
            let outcome = first();
            cancelling(outcome.is_err());
            outcome
        });
        let second = second();
        cancelling(second.is_err());
        (first.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), second)
    });
    match (first, second) {
        (Ok(first), Ok(second)) => Ok((first, second)),
        (Err(SetupError::Step(StepError::Interrupted)), Err(error)) | (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// Removes what an earlier attempt may have left at `dir` and makes the folder above it.
fn clear(dir: &Path) -> Result<(), StepError> {
    match fs::remove_dir_all(dir) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(StepError::file(dir)(error)),
    }
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent).map_err(StepError::file(parent))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(what: &str) -> SetupError {
        SetupError::Missing { missing: what.to_owned(), advice: String::new() }
    }

    fn outcome(first: Result<u8, SetupError>, second: Result<u8, SetupError>) -> (Result<(u8, u8), String>, bool) {
        let steps = Steps::new(std::env::temp_dir()).unwrap();
        let outcome = in_parallel(&steps, || first, || second);
        (outcome.map_err(|error| error.to_string()), steps.ended())
    }

    #[test]
    fn two_successes_are_one() {
        assert_eq!(outcome(Ok(1), Ok(2)), (Ok((1, 2)), false));
    }

    #[test]
    fn the_error_that_counts_is_the_one_that_cancelled_the_other() {
        let interrupted = || SetupError::Step(StepError::Interrupted);
        for (first, second) in
            [(Err(missing("x")), Ok(2)), (Ok(1), Err(missing("x"))), (Err(interrupted()), Err(missing("x")))]
        {
            let (outcome, cancelled) = outcome(first, second);
            assert!(outcome.unwrap_err().starts_with("x is missing"));
            assert!(cancelled);
        }
    }
}
