//! Packages of a Debian system.

use std::path::PathBuf;
use std::process::Command;

use nix::unistd::Uid;

use super::{Setup, SetupError, lock};
use crate::step::is_program;

impl Setup<'_> {
    /// Installs Debian's `packages`; `purpose` says what for, `advice` what a person may do instead.
    pub(super) fn apt_install(self, packages: &[&str], purpose: &str, advice: &str) -> Result<(), SetupError> {
        if on_path("apt-get").is_none() {
            return Err(SetupError::Missing { missing: purpose.to_owned(), advice: advice.to_owned() });
        }
        let by_hand = format!(
            "run `apt-get update && apt-get install {}` as root and start again; or {advice}",
            packages.join(" ")
        );
        let _lock = lock::acquire(self.steps, self.workspace.cache(), "apt")?;
        // The lists of packages may be too old, or never have been fetched.
        if self.steps.step(format!("Install {purpose}")).tolerant().run(&mut install(packages)).is_err() {
            self.steps.step("Update the lists of packages").advice(&by_hand).run(apt_get().arg("update"))?;
            self.steps.step(format!("Install {purpose}")).advice(&by_hand).run(&mut install(packages))?;
        }
        Ok(())
    }

    /// Installs Debian's `packages` if that is possible; shows nothing of a failure.
    pub(super) fn apt_try(self, packages: &[&str], purpose: &str) -> Result<(), SetupError> {
        let _lock = lock::acquire(self.steps, self.workspace.cache(), "apt")?;
        let step = |name: String| self.steps.step(name).tolerant();
        if step(format!("Install {purpose}")).run(&mut install(packages)).is_err() {
            step("Update the lists of packages".to_owned()).run(apt_get().arg("update"))?;
            step(format!("Install {purpose}")).run(&mut install(packages))?;
        }
        Ok(())
    }
}

fn install(packages: &[&str]) -> Command {
    let mut command = apt_get();
    command.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    command
}

/// `apt-get`, as root: through sudo where that needs no password.
fn apt_get() -> Command {
    let mut command = if Uid::effective().is_root() {
        Command::new("env")
    } else {
        let mut command = Command::new("sudo");
        command.args(["-n", "env"]);
        command
    };
    // The lock of a package manager that runs at the same time is waited for.
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300"]);
    command
}

/// Where the shell would find the program `name`.
pub fn on_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(name)).find(|path| is_program(path))
}
