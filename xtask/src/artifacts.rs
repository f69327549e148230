//! The two things that are shipped: the page in `dist/` and the binary `allium`.

use std::process::Command;

use crate::setup::{PageTools, Setup, SetupError, in_parallel};
use crate::step::{StepError, Steps};
use crate::workspace::Workspace;

/// Sets up what is needed and builds both.
pub fn build(workspace: &Workspace, steps: &Steps) -> Result<(), SetupError> {
    fetch(workspace, steps)?;
    let setup = Setup::new(workspace, steps);
    let (tools, ()) = in_parallel(steps, || setup.page(), || Ok(build_allium(workspace, steps)?))?;
    build_page(workspace, steps, &tools)?;
    Ok(())
}

/// Fetches the sources of all crates, also those that only the page needs: trunk builds it without a network.
pub fn fetch(workspace: &Workspace, steps: &Steps) -> Result<(), StepError> {
    steps
        .step("Fetch the sources of all crates")
        .advice("see that the registry of Rust packages can be reached, and start again")
        .run(Command::new("cargo").current_dir(workspace.root()).arg("fetch"))
}

/// Builds `target/release/allium`.
pub fn build_allium(workspace: &Workspace, steps: &Steps) -> Result<(), StepError> {
    steps.step("Build allium").run(Command::new("cargo").current_dir(workspace.root()).args([
        "build",
        "--release",
        "--bin",
        "allium",
    ]))
}

/// Builds `dist/`.
///
/// When nothing has changed this takes about a second, which is less than it would cost to find out reliably.
pub fn build_page(workspace: &Workspace, steps: &Steps, tools: &PageTools) -> Result<(), StepError> {
    let mut trunk = tools.command(&tools.trunk, workspace);
    steps.step("Build the page").run(trunk.args(["build", "--release", "--cargo-profile", "page"]))
}
