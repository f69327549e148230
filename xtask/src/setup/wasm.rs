//! A compiler for `wasm32-unknown-unknown`.
//!
//! In this order: the active toolchain has the target; one was built from Debian's sources before; rustup adds the
//! target; the standard library is built from Debian's sources. The last is for machines that reach a Debian mirror and
//! the registry of packages but none of Rust's own servers.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::apt::on_path;
use super::{Setup, SetupError, clear, lock};
use crate::step::StepError;
use crate::workspace::Workspace;

/// The target triple of the page.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// The variable that, set to `debian`, has Debian's compiler used although another would do.
const WASM_FROM: &str = "ALLIUM_WASM_FROM";

/// How long rustup may take: a server that does not answer must not hold up the other way.
const RUSTUP_LIMIT: Duration = Duration::from_secs(120);

const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTDOC: &str = "/usr/bin/rustdoc";
const DEBIAN_RUSTLIB: &str = "/usr/lib/rustlib";

/// The compiler that builds for wasm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WasmToolchain {
    /// The one that builds everything else too.
    Active,
    /// Debian's, with a standard library of our making, in this folder.
    Debian(PathBuf),
}

impl WasmToolchain {
    /// Whether clippy can check what is built for wasm: Debian has it for its ordinary compiler only.
    pub fn has_clippy(&self) -> bool {
        matches!(self, Self::Active)
    }

    /// Where this compiler's work goes: two compilers in one folder would rebuild each other's work.
    pub fn target_dir(&self, workspace: &Workspace) -> PathBuf {
        match self {
            Self::Active => workspace.target().to_owned(),
            Self::Debian(_) => workspace.target().join("wasm"),
        }
    }

    /// Has `command` and all that it starts use this compiler, and find the programs in `first` before any other.
    pub fn apply<'c>(&self, command: &'c mut Command, workspace: &Workspace, first: &[&Path]) -> &'c mut Command {
        let mut dirs: Vec<PathBuf> = first.iter().map(|dir| dir.to_path_buf()).collect();
        if let Self::Debian(dir) = self {
            dirs.push(dir.join("bin"));
            // The cargo that started this program has told its children which toolchain they belong to.
            for variable in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN", "LD_LIBRARY_PATH"] {
                command.env_remove(variable);
            }
        }
        // Flags in the environment would replace those of `.cargo/config.toml`, without which wasm has no randomness.
        command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        command.env("CARGO_TARGET_DIR", self.target_dir(workspace)).env("PATH", path_with(dirs))
    }
}

/// PATH with `dirs` before everything else.
fn path_with(dirs: Vec<PathBuf>) -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let all = dirs.into_iter().chain(env::split_paths(&path));
    // Fails when a folder's name has a colon in it; then that folder could not have worked at all.
    env::join_paths(all).unwrap_or(path)
}

/// Where the compiler comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The active toolchain has the target.
    Active,
    /// A standard library was built from Debian's sources before.
    DebianBuilt,
    /// rustup may be able to add the target to the active toolchain.
    Rustup,
    /// Nothing is left but to build the standard library from Debian's sources.
    DebianSources,
}

/// What is known about this machine.
#[derive(Clone, Copy, Debug)]
struct Found {
    forced_debian: bool,
    active_target: bool,
    debian_built: bool,
    rustup: bool,
}

impl Found {
    /// The best source, without trying any.
    fn source(self) -> Source {
        if self.active_target && !self.forced_debian {
            Source::Active
        } else if self.debian_built {
            Source::DebianBuilt
        } else if self.rustup && !self.forced_debian {
            Source::Rustup
        } else {
            Source::DebianSources
        }
    }
}

impl Setup<'_> {
    /// Finds or makes a compiler for wasm.
    pub(super) fn wasm_toolchain(self) -> Result<WasmToolchain, SetupError> {
        let found = Found {
            forced_debian: env::var_os(WASM_FROM).is_some_and(|from| from == "debian"),
            active_target: active_has_target(),
            debian_built: self.debian_built().is_some(),
            rustup: on_path("rustup").is_some(),
        };
        match found.source() {
            Source::Active => Ok(WasmToolchain::Active),
            Source::Rustup => {
                let _lock = lock::acquire(self.steps, self.workspace.cache(), "wasm")?;
                let added = self
                    .steps
                    .step(format!("Add the target {TARGET}"))
                    .tolerant()
                    .limit(RUSTUP_LIMIT)
                    .run(Command::new("rustup").args(["target", "add", TARGET]));
                match added {
                    Ok(()) if active_has_target() => Ok(WasmToolchain::Active),
                    Err(StepError::Interrupted) => Err(StepError::Interrupted.into()),
                    _ => {
                        self.steps.note("        rustup could not add it: it is built from Debian's sources instead");
                        self.build_from_debian()
                    }
                }
            }
            Source::DebianBuilt | Source::DebianSources => {
                let _lock = lock::acquire(self.steps, self.workspace.cache(), "wasm")?;
                self.build_from_debian()
            }
        }
    }

    /// The folder of the toolchain that was made for the present version of Debian's compiler.
    fn debian_built(self) -> Option<PathBuf> {
        let dir = self.debian_dir()?;
        // A link into a toolchain that has been removed since does not count.
        (linker_in(&dir).exists() && dir.join("bin").join("rustc").exists()).then_some(dir)
    }

    fn debian_dir(self) -> Option<PathBuf> {
        let version = text_of(Command::new(DEBIAN_RUSTC).arg("--version"))?;
        Some(self.workspace.cache().join("wasm").join(slug(&version)))
    }

    /// Builds the standard library from Debian's sources; the caller holds the lock.
    fn build_from_debian(self) -> Result<WasmToolchain, SetupError> {
        let advice = format!("install Rust with its target {TARGET}: `rustup target add {TARGET}`");
        if debian_library().is_none() || !Path::new(DEBIAN_RUSTC).exists() || !Path::new(DEBIAN_CARGO).exists() {
            self.apt_install(&DEBIAN_PACKAGES, "Debian's Rust with its sources", &advice)?;
        }
        if let Some(dir) = self.debian_built() {
            return Ok(WasmToolchain::Debian(dir));
        }
        let missing = || SetupError::Missing {
            missing: format!("a standard library for {TARGET}"),
            advice: format!("{advice} (Debian's packages do not have what they should)"),
        };
        let library = debian_library().ok_or_else(missing)?;
        let dir = self.debian_dir().ok_or_else(missing)?;
        let host = host_of(DEBIAN_RUSTC).ok_or_else(missing)?;
        let lld = self.linker(&host)?;

        let build = self.workspace.cache().join("unfinished").join("wasm-std");
        let copy = build.join("library");
        clear(&build)?;
        fs::create_dir_all(&build).map_err(StepError::file(&build))?;
        self.steps
            .step("Copy the sources of the standard library")
            .run(Command::new("cp").arg("-rL").arg(&library).arg(&copy))?;
        self.steps
            .step("Build the standard library for wasm")
            .advice(format!("see that the registry of Rust packages can be reached and start again; or {advice}"))
            .run(
                Command::new(DEBIAN_CARGO)
                    .current_dir(&copy)
                    .args(["build", "--release", "--package", "sysroot", "--target", TARGET])
                    .args(["--no-default-features", "--features", "panic-unwind,compiler-builtins-mem"])
                    .env_remove("RUSTUP_TOOLCHAIN")
                    .env_remove("LD_LIBRARY_PATH")
                    .env("RUSTC", DEBIAN_RUSTC)
                    .env("CARGO_TARGET_DIR", build.join("target"))
                    .env("CARGO_PROFILE_RELEASE_PANIC", "unwind")
                    // What makes of some crates a standard library, as Rust's own build has it.
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("RUSTFLAGS", "-Cembed-bitcode=yes -Zforce-unstable-if-unmarked")
                    .env("__CARGO_DEFAULT_LIB_METADATA", "stablestd"),
            )?;

        let toolchain = build.join("toolchain");
        assemble(&toolchain, &host, &lld, &build.join("target").join(TARGET).join("release").join("deps"))?;
        clear(&dir)?;
        fs::rename(&toolchain, &dir).map_err(StepError::file(&dir))?;
        clear(&build)?;
        Ok(WasmToolchain::Debian(dir))
    }

    /// The linker of the active toolchain, which comes with every Rust but Debian's; else Debian's LLD.
    fn linker(self, host: &str) -> Result<PathBuf, SetupError> {
        let of_active = text_of(Command::new("rustc").args(["--print", "sysroot"]))
            .map(|sysroot| Path::new(&sysroot).join("lib/rustlib").join(host).join("bin/rust-lld"));
        if let Some(lld) = of_active.filter(|lld| lld.exists()) {
            return Ok(lld);
        }
        if on_path("lld").is_none() {
            self.apt_install(&["lld"], "LLVM's linker", "install LLD in the way of your system")?;
        }
        on_path("lld").ok_or_else(|| SetupError::Missing {
            missing: "LLVM's linker `lld`".to_owned(),
            advice: "put it on the PATH and start again".to_owned(),
        })
    }
}

/// Makes the folder `toolchain` what a Rust toolchain looks like: Debian's programs, Debian's standard library for
/// `host`, and for wasm the libraries in `built`.
///
/// Debian's own folders stay as its packages made them.
fn assemble(toolchain: &Path, host: &str, lld: &Path, built: &Path) -> Result<(), StepError> {
    let bin = toolchain.join("bin");
    let rustlib = toolchain.join("lib").join("rustlib");
    let (of_host, of_wasm) = (rustlib.join(host), rustlib.join(TARGET).join("lib"));
    for dir in [&bin, &of_host.join("bin"), &of_wasm] {
        fs::create_dir_all(dir).map_err(StepError::file(dir))?;
    }
    let link = |to: &Path, from: PathBuf| symlink(to, &from).map_err(StepError::file(from));
    link(Path::new(DEBIAN_CARGO), bin.join("cargo"))?;
    link(&Path::new(DEBIAN_RUSTLIB).join(host).join("lib"), of_host.join("lib"))?;
    link(lld, of_host.join("bin").join("rust-lld"))?;
    for (name, program) in [("rustc", DEBIAN_RUSTC), ("rustdoc", DEBIAN_RUSTDOC)] {
        // A link would not do: the compiler looks for its libraries from where it really lies.
        let script = format!("#!/bin/sh\nexec {program} --sysroot \"${{0%/*}}/..\" \"$@\"\n");
        let path = bin.join(name);
        fs::write(&path, script).map_err(StepError::file(&path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(StepError::file(&path))?;
    }
    for entry in fs::read_dir(built).map_err(StepError::file(built))? {
        let path = entry.map_err(StepError::file(built))?.path();
        if let (Some("rlib"), Some(name)) = (path.extension().and_then(OsStr::to_str), path.file_name()) {
            fs::copy(&path, of_wasm.join(name)).map_err(StepError::file(&path))?;
        }
    }
    Ok(())
}

/// The linker of the toolchain in `dir`.
fn linker_in(dir: &Path) -> PathBuf {
    host_of(DEBIAN_RUSTC).map_or_else(PathBuf::new, |host| dir.join("lib/rustlib").join(host).join("bin/rust-lld"))
}

/// Whether the compiler on the path has a standard library for wasm.
fn active_has_target() -> bool {
    text_of(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]))
        .and_then(|dir| fs::read_dir(dir).ok())
        .is_some_and(|mut files| {
            files.any(|file| file.is_ok_and(|file| file.file_name().to_string_lossy().starts_with("libstd-")))
        })
}

/// The folder of the standard library's sources in Debian's package.
fn debian_library() -> Option<PathBuf> {
    let files = text_of(Command::new("dpkg").args(["-L", "rust-web-src"]))?;
    let lock = files.lines().map(Path::new).find(|path| path.ends_with("library/Cargo.lock") && path.exists())?;
    lock.parent().map(Path::to_owned)
}

/// The machine that `rustc` itself runs on.
fn host_of(rustc: &str) -> Option<String> {
    host_in(&text_of(Command::new(rustc).arg("-vV"))?).map(str::to_owned)
}

fn host_in(version: &str) -> Option<&str> {
    version.lines().find_map(|line| line.strip_prefix("host: "))
}

/// What `command` prints, without white space at the ends, if it succeeds.
fn text_of(command: &mut Command) -> Option<String> {
    // Debian's compiler must not be given the libraries of another one.
    let output = command.env_remove("LD_LIBRARY_PATH").output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// `rustc 1.96.0 (abc 2026-05-01) (built from …)` as the name of a folder.
fn slug(version: &str) -> String {
    let words: Vec<&str> = version.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').collect();
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Found = Found { forced_debian: false, active_target: false, debian_built: false, rustup: false };

    #[test]
    fn the_ordinary_way_comes_first() {
        let all = Found { active_target: true, debian_built: true, rustup: true, ..NOTHING };
        assert_eq!(all.source(), Source::Active);
        assert_eq!(Found { active_target: false, ..all }.source(), Source::DebianBuilt);
        assert_eq!(Found { rustup: true, ..NOTHING }.source(), Source::Rustup);
        assert_eq!(NOTHING.source(), Source::DebianSources);
    }

    #[test]
    fn debian_can_be_forced() {
        let forced = Found { forced_debian: true, active_target: true, rustup: true, debian_built: false };
        assert_eq!(forced.source(), Source::DebianSources);
        assert_eq!(Found { debian_built: true, ..forced }.source(), Source::DebianBuilt);
    }

    #[test]
    fn the_compilers_words_are_understood() {
        let words = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\nbinary: rustc\nhost: x-y-z\n";
        assert_eq!(host_in(words), Some("x-y-z"));
        assert_eq!(host_in("rustc 1.96.0"), None);
        assert_eq!(slug("rustc 1.96.0 (ac68faa20 2026-05-25)"), "rustc-1.96.0-ac68faa20-2026-05-25");
    }
}
