//! Tools that are built from packages, each at one version.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{Setup, SetupError, clear, lock};
use crate::step::{StepError, is_program};

/// A program that is built from a package.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    name: &'static str,
    version: &'static str,
    /// What `cargo install` leaves behind when it has succeeded; the first is the one that gives the tool its use.
    programs: &'static [&'static str],
    flags: &'static [&'static str],
}

/// Bundles the page. Later versions want a later compiler.
pub const TRUNK: Tool =
    Tool { name: "trunk", version: "0.21.14", programs: &["trunk"], flags: &["--no-default-features"] };

/// Makes the JavaScript side of the page; must be of the very version that the page is compiled with.
pub const WASM_BINDGEN: Tool = Tool {
    name: "wasm-bindgen-cli",
    version: "0.2.129",
    programs: &["wasm-bindgen", "wasm-bindgen-test-runner"],
    flags: &[],
};

/// Checks licences, sources and advisories of what is built in.
pub const CARGO_DENY: Tool =
    Tool { name: "cargo-deny", version: "0.20.2", programs: &["cargo-deny"], flags: &["--no-default-features"] };

impl Tool {
    /// The name of its main program.
    pub fn program(&self) -> &'static str {
        self.programs[0]
    }

    /// Where its programs are once it is installed.
    fn programs_in(&self, root: PathBuf) -> Option<PathBuf> {
        let bin = root.join("bin");
        self.programs.iter().all(|program| is_program(&bin.join(program))).then_some(bin)
    }
}

impl Setup<'_> {
    /// The folders with the programs of `tools`, which are installed as far as they are missing.
    pub(super) fn tools<const N: usize>(self, tools: &[Tool; N]) -> Result<[PathBuf; N], SetupError> {
        let mut bins = [const { PathBuf::new() }; N];
        let mut lock = None;
        for (tool, bin) in tools.iter().zip(&mut bins) {
            if let Some(there) = self.installed(tool) {
                *bin = there;
                continue;
            }
            if lock.is_none() {
                lock = Some(lock::acquire(self.steps, self.workspace.cache(), "tools")?);
            }
            // While this waited for the lock, somebody else may have done the work.
            *bin = match self.installed(tool) {
                Some(bin) => bin,
                None => self.install(tool)?,
            };
        }
        if lock.is_some() {
            clear(&self.objects())?;
        }
        Ok(bins)
    }

    /// What the tools have in common is compiled once, and an interrupted installation goes on where it was.
    fn objects(self) -> PathBuf {
        self.workspace.cache().join("unfinished").join("objects")
    }

    fn installed(self, tool: &Tool) -> Option<PathBuf> {
        tool.programs_in(self.workspace.tool(tool.name, tool.version))
    }

    /// Installs `tool`; the caller holds the lock.
    fn install(self, tool: &Tool) -> Result<PathBuf, SetupError> {
        let root = self.workspace.tool(tool.name, tool.version);
        let unfinished = self.workspace.cache().join("unfinished").join(tool.name);
        clear(&unfinished)?;
        clear(&root)?;
        self.steps
            .step(format!("Install {} {}", tool.name, tool.version))
            .advice(
                "see that the registry of Rust packages can be reached and that a C compiler is installed (Debian: `apt-get install \
                 build-essential`), then start again: it goes on where it was",
            )
            .run(
                Command::new("cargo")
                    .current_dir(self.workspace.cache())
                    .args(["install", tool.name, "--version", tool.version, "--locked", "--debug"])
                    .args(tool.flags)
                    .arg("--root")
                    .arg(&unfinished)
                    .env("CARGO_TARGET_DIR", self.objects())
                    // They work for seconds at a time: compiling them fast matters more than running them fast.
                    .env("CARGO_PROFILE_DEV_DEBUG", "0")
                    .env("CARGO_PROFILE_DEV_INCREMENTAL", "false"),
            )?;
        fs::rename(&unfinished, &root).map_err(StepError::file(&root))?;
        self.installed(tool).ok_or_else(|| SetupError::Missing {
            missing: format!("a program of {} {}, although it is installed,", tool.name, tool.version),
            advice: format!("remove {} and start again", root.display()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// The version of `package` that the workspace is built with.
    fn locked(package: &str) -> Option<String> {
        let lock = include_str!("../../../Cargo.lock");
        let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("\nname = \"{package}\"\n")))?;
        let version = entry.lines().find_map(|line| line.strip_prefix("version = "))?;
        Some(version.trim_matches('"').to_owned())
    }

    #[test]
    fn wasm_bindgen_is_of_the_version_that_the_page_is_built_with() {
        if let Some(version) = locked("wasm-bindgen") {
            assert_eq!(version, WASM_BINDGEN.version);
        }
        let trunk = include_str!("../../../Trunk.toml");
        assert!(trunk.contains(&format!("wasm_bindgen = \"{}\"", WASM_BINDGEN.version)));
    }

    #[test]
    fn a_tool_without_all_its_programs_is_not_installed() {
        let root = std::env::temp_dir().join(format!("allium-xtask-{}-tool", std::process::id()));
        let bin = root.join("bin");
        fs::create_dir_all(&bin).unwrap();
        assert_eq!(WASM_BINDGEN.programs_in(root.clone()), None);
        for program in WASM_BINDGEN.programs {
            assert_eq!(WASM_BINDGEN.programs_in(root.clone()), None);
            fs::write(bin.join(program), "").unwrap();
            assert_eq!(WASM_BINDGEN.programs_in(root.clone()), None, "a file that nobody may start counts");
            fs::set_permissions(bin.join(program), fs::Permissions::from_mode(0o755)).unwrap();
        }
        assert_eq!(WASM_BINDGEN.programs_in(root.clone()), Some(bin));
        fs::remove_dir_all(root).unwrap();
    }
}
