//! What the command line may say.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Allium's chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct CommandLine {
    #[command(subcommand)]
    task: Task,
}

/// One chore.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub enum Task {
    /// Install the wasm target, the tools and the browser, as far as they are missing
    Setup,
    /// Build the page into dist/ and the binary into target/release/allium
    Build,
    /// Build everything and run a local network with the page
    Demo(DemoOptions),
    /// Measure the protocol's cryptography, natively and in Chromium, and print one table
    Bench,
    /// Check that modules use lower layers only, as declared in each package's rooms.toml
    Rooms,
    /// Check texts, comments and code for the phrases and names listed in xtask/words.toml
    Words {
        /// Also print where pending phrases and names occur
        #[arg(long)]
        all: bool,
    },
    /// Check everything that must hold: style, lints, docs, licences, builds and all tests
    Verify {
        /// Also run the soaks and other long tests
        #[arg(long)]
        full: bool,
    },
}

/// The local network that the demo runs.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct DemoOptions {
    /// Port of the page and the directory on 127.0.0.1
    #[arg(long, default_value_t = 7000, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Number of relays
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pub relays: u16,
    /// Number of directory authorities
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    pub authorities: u16,
    /// Folder of the network's keys and state [default: data/demo in the repository]
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Run each node as a process of its own
    #[arg(long)]
    pub processes: bool,
}

/// Reads the command line of this process; ends it with a message when it makes no sense.
pub fn parse() -> Task {
    CommandLine::parse_from(without_separator(std::env::args_os())).task
}

/// Drops the first `--`.
///
/// `cargo demo --port 7001` and `cargo demo -- --port 7001` mean the same to those who type them; no chore takes
/// arguments for which the separator would make a difference.
fn without_separator(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--") {
        args.remove(at);
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(line: &str) -> Result<Task, clap::Error> {
        let args = std::iter::once("xtask").chain(line.split_whitespace()).map(OsString::from);
        CommandLine::try_parse_from(without_separator(args)).map(|line| line.task)
    }

    fn demo(line: &str) -> DemoOptions {
        match task(line).unwrap() {
            Task::Demo(options) => options,
            other => panic!("{line} gave {other:?}"),
        }
    }

    #[test]
    fn demo_has_defaults() {
        let expected = DemoOptions { port: 7000, relays: 8, authorities: 3, data: None, processes: false };
        assert_eq!(demo("demo"), expected);
        assert_eq!(demo("demo --"), expected);
    }

    #[test]
    fn demo_takes_its_options_with_and_without_a_separator() {
        let options = "--port 7100 --relays 12 --authorities 5 --data /tmp/net --processes";
        let expected = DemoOptions {
            port: 7100,
            relays: 12,
            authorities: 5,
            data: Some(PathBuf::from("/tmp/net")),
            processes: true,
        };
        assert_eq!(demo(&format!("demo {options}")), expected);
        assert_eq!(demo(&format!("demo -- {options}")), expected);
        assert_eq!(demo("demo --port 7100 -- --relays=12 --authorities=5 --data=/tmp/net --processes"), expected);
    }

    #[test]
    fn verify_takes_full_with_and_without_a_separator() {
        assert_eq!(task("verify").unwrap(), Task::Verify { full: false });
        assert_eq!(task("verify --full").unwrap(), Task::Verify { full: true });
        assert_eq!(task("verify -- --full").unwrap(), Task::Verify { full: true });
    }

    #[test]
    fn bench_takes_nothing() {
        assert_eq!(task("bench").unwrap(), Task::Bench);
        assert!(task("bench --fast").is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        for line in
            ["", "demo --port 0", "demo --port 70000", "demo --relays none", "demo --relays 0", "build x", "dance"]
        {
            assert!(task(line).is_err(), "`{line}` was taken");
        }
    }
}
