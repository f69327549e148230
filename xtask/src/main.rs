//! Allium's chores: set-up, demo, verification.
//!
//! # Layout
//!
//! - [`args`]: what the command line may say.
//! - [`workspace`]: where things lie, in the repository and in the user's cache.
//! - [`step`]: one long piece of work with a name, a spinner, a log and a word on what to do when it fails.
//! - [`interrupt`]: Ctrl-C and SIGTERM, and children that end with their parent.
//! - [`setup`]: compiler target, tools and browser, installed once per user.
//! - [`artifacts`]: the two things that are shipped: the page in `dist/` and the binary `allium`.
//! - [`demo`] and [`verify`]: the two commands that everybody uses.
//! - [`mod@bench`]: what the protocol costs, natively and in a browser.
//! - [`mod@rooms`] and [`words`]: checks of the module order, and of phrases and names.
//! - [`chromium`]: what is compiled to wasm, run in headless Chromium.

mod args;
mod artifacts;
mod bench;
mod chromium;
mod demo;
mod interrupt;
mod rooms;
mod setup;
mod step;
mod verify;
mod words;
mod workspace;

use std::process::ExitCode;

use args::Task;
use setup::{Setup, SetupError};
use step::{StepError, Steps};
use workspace::Workspace;

/// What a shell expects of a program that Ctrl-C has ended.
const EXIT_INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_interruption() => {
            eprintln!("\ninterrupted");
            ExitCode::from(EXIT_INTERRUPTED)
        }
        Err(failure) => {
            eprintln!("\nerror: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let task = args::parse();
    interrupt::install()?;
    let workspace = Workspace::locate()?;
    let steps = Steps::new(workspace.logs())?;
    match task {
        Task::Setup => {
            Setup::new(&workspace, &steps).everything()?;
        }
        Task::Build => {
            artifacts::build(&workspace, &steps)?;
        }
        Task::Demo(options) => demo::run(&workspace, &steps, &options)?,
        Task::Bench => bench::run(&workspace, &steps)?,
        Task::Rooms => rooms::run(workspace.root())?,
        Task::Words { all } => words::run(workspace.root(), all)?,
        Task::Verify { full } => verify::run(&workspace, &steps, full)?,
    }
    Ok(())
}

/// Why a chore ended early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Interrupt(#[from] interrupt::InstallError),
    #[error(transparent)]
    Workspace(#[from] workspace::LocateError),
    #[error(transparent)]
    Step(#[from] StepError),
    #[error(transparent)]
    Rooms(#[from] rooms::RoomsError),
    #[error(transparent)]
    Words(#[from] words::WordsError),
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error(transparent)]
    Demo(#[from] demo::DemoError),
}

impl Failure {
    /// Whether a signal has ended the chore.
    fn is_interruption(&self) -> bool {
        match self {
            Self::Step(error) => matches!(error, StepError::Interrupted),
            Self::Setup(error) | Self::Demo(demo::DemoError::Setup(error)) => {
                matches!(error, SetupError::Step(StepError::Interrupted))
            }
            Self::Interrupt(_) | Self::Workspace(_) | Self::Rooms(_) | Self::Words(_) | Self::Demo(_) => false,
        }
    }
}
