//! A local network with the page, for a person to try.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::args::DemoOptions;
use crate::artifacts;
use crate::interrupt::{self, WaitError};
use crate::setup::SetupError;
use crate::step::{StepError, Steps};
use crate::workspace::Workspace;

/// How long the network may take until all its nodes take part.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// How often it is looked whether they do.
const LOOK: Duration = Duration::from_millis(50);

/// How many lines of the network's log an error shows.
const TAIL: usize = 20;

/// Why the demo did not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The set-up or a build failed.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Somebody else listens there.
    #[error("port {port} on 127.0.0.1 cannot be used: {source}.\nWhat to do: name another one with `--port`")]
    Port {
        /// The port.
        port: u16,
        /// The system's reason.
        source: io::Error,
    },
    /// A file of the demo could not be used.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The network ended although nobody had asked for it.
    #[error("the network has ended ({status}).\nThe last of what it said, all of which is in {log}:\n{tail}", log = .log.display())]
    Died {
        /// How it ended.
        status: ExitStatus,
        /// All that it said.
        log: PathBuf,
        /// The last of what it said.
        tail: String,
    },
    /// The network runs, but not all of its nodes take part.
    #[error(
        "the network is not ready after {} s.\nThe last of what it said, all of which is in {log}:\n{tail}",
        READY_LIMIT.as_secs(),
        log = .log.display()
    )]
    NotReady {
        /// All that it said.
        log: PathBuf,
        /// The last of what it said.
        tail: String,
    },
    /// The system does not tell how the network is.
    #[error("cannot watch the network: {0}")]
    Watch(#[from] io::Error),
}

/// Sets up, builds, and runs a local network until it is asked to end or the network dies.
pub fn run(workspace: &Workspace, steps: &Steps, options: &DemoOptions) -> Result<(), DemoError> {
    // Better now than after minutes of building.
    port_is_free(options.port)?;
    let data = match &options.data {
        Some(data) => std::path::absolute(data)?,
        None => workspace.root().join("data").join("demo"),
    };
    artifacts::build(workspace, steps)?;

    fs::create_dir_all(&data).map_err(file_error(&data))?;
    let log = data.join("network.log");
    let ready = ReadyFile::new(data.join("ready"));
    let mut network = start(workspace, options, &data, &log)?;
    let outcome = attend(&mut network, &ready, options, &log, &mut io::stdout());
    // Whatever happened, nothing of it goes on running.
    interrupt::terminate(&mut network)?;
    outcome
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> DemoError {
    move |source| DemoError::File { path: path.to_owned(), source }
}

fn port_is_free(port: u16) -> Result<(), DemoError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(drop).map_err(|source| DemoError::Port { port, source })
}

/// The command that runs the network.
fn command(allium: &Path, page: &Path, data: &Path, options: &DemoOptions) -> Command {
    let mut command = Command::new(allium);
    command.arg("network");
    command.args(["--relays", &options.relays.to_string(), "--authorities", &options.authorities.to_string()]);
    command.arg("--data").arg(data).args(["--port", &options.port.to_string()]).arg("--page").arg(page);
    if options.processes {
        command.arg("--processes");
    }
    command
}

fn start(workspace: &Workspace, options: &DemoOptions, data: &Path, log: &Path) -> Result<Child, DemoError> {
    let output = File::create(log).map_err(file_error(log))?;
    let errors = output.try_clone().map_err(file_error(log))?;
    let allium = workspace.allium();
    command(&allium, &workspace.dist(), data, options)
        .current_dir(workspace.root())
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(file_error(&allium))
}

/// Waits until the network is ready, says so, and waits for the end.
fn attend(
    network: &mut Child,
    ready: &ReadyFile,
    options: &DemoOptions,
    log: &Path,
    out: &mut impl Write,
) -> Result<(), DemoError> {
    let start = Instant::now();
    while !ready.is_new() {
        if interrupt::requested() {
            return Err(SetupError::Step(StepError::Interrupted).into());
        }
        if let Some(status) = network.try_wait()? {
            return Err(DemoError::Died { status, log: log.to_owned(), tail: tail(log) });
        }
        if start.elapsed() >= READY_LIMIT {
            return Err(DemoError::NotReady { log: log.to_owned(), tail: tail(log) });
        }
        thread::sleep(LOOK);
    }
    writeln!(
        out,
        "{} authorities and {} relays are running; their log is {}. Ctrl-C stops them all.",
        options.authorities,
        options.relays,
        log.display()
    )?;
    writeln!(out, "Allium is ready: http://127.0.0.1:{}/", options.port)?;
    out.flush()?;
    match interrupt::wait(network, None, || false) {
        Ok(status) => Err(DemoError::Died { status, log: log.to_owned(), tail: tail(log) }),
        // This is how a demo is meant to end.
        Err(WaitError::Interrupted | WaitError::TimedOut(_)) => Ok(()),
        Err(WaitError::Io(error)) => Err(error.into()),
    }
}

/// The file by which the network says that all its nodes take part.
///
/// An earlier network may have left one: only a file that was not there at the start counts.
#[derive(Debug)]
struct ReadyFile {
    path: PathBuf,
    old: Option<Stamp>,
}

/// What tells one file from another at the same place.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    modified: (i64, i64),
}

impl ReadyFile {
    /// Takes note of what is at `path` before the network starts.
    fn new(path: PathBuf) -> Self {
        let old = Self::stamp(&path);
        Self { path, old }
    }

    /// Whether the file is there and has come since.
    fn is_new(&self) -> bool {
        Self::stamp(&self.path).is_some_and(|stamp| self.old.as_ref() != Some(&stamp))
    }

    fn stamp(path: &Path) -> Option<Stamp> {
        let of = |meta: Metadata| Stamp { inode: meta.ino(), modified: (meta.mtime(), meta.mtime_nsec()) };
        path.metadata().ok().map(of)
    }
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(test: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("allium-xtask-{}-{test}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn options() -> DemoOptions {
        DemoOptions { port: 7100, relays: 5, authorities: 3, data: None, processes: false }
    }

    #[test]
    fn the_network_is_told_what_the_person_said() {
        let words = |options: &DemoOptions| {
            let command = command(Path::new("allium"), Path::new("/p"), Path::new("/d"), options);
            command.get_args().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        let expected = "network --relays 5 --authorities 3 --data /d --port 7100 --page /p";
        assert_eq!(words(&options()), expected);
        assert_eq!(words(&DemoOptions { processes: true, ..options() }), format!("{expected} --processes"));
    }

    #[test]
    fn an_old_ready_file_does_not_count() {
        let dir = folder("ready");
        let path = dir.join("ready");
        fs::write(&path, "").unwrap();
        let ready = ReadyFile::new(path.clone());
        assert!(!ready.is_new());
        fs::remove_file(&path).unwrap();
        assert!(!ready.is_new());
        thread::sleep(Duration::from_millis(20));
        fs::write(&path, "").unwrap();
        assert!(ready.is_new());
        fs::remove_dir_all(dir).unwrap();
    }

    /// A shell script in the place of a network.
    fn attended(test: &str, script: &str) -> (Result<(), DemoError>, String) {
        let dir = folder(test);
        let (log, ready) = (dir.join("network.log"), ReadyFile::new(dir.join("ready")));
        let mut network = Command::new("sh")
            .args(["-c", script])
            .current_dir(&dir)
            .stdout(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut out = Vec::new();
        let outcome = attend(&mut network, &ready, &options(), &log, &mut out);
        fs::remove_dir_all(dir).unwrap();
        (outcome, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_network_that_does_not_start_shows_what_it_said() {
        let (outcome, out) = attended("unable", "echo address in use; exit 2");
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("exit status: 2") && error.contains("address in use"), "{error}");
        assert_eq!(out, "");
    }

    #[test]
    fn a_network_that_dies_ends_the_demo_with_an_error() {
        let (outcome, out) = attended("dies", "touch ready; sleep 0.2; exit 1");
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("exit status: 1"), "{error}");
        assert!(out.ends_with("\nAllium is ready: http://127.0.0.1:7100/\n"), "{out}");
    }

    #[test]
    fn a_port_in_use_is_named_at_once() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = port_is_free(port).unwrap_err().to_string();
        assert!(error.contains(&port.to_string()) && error.contains("--port"), "{error}");
    }
}
