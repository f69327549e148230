//! `allium network --processes`: a whole network in a folder of its own, each node a process.

use std::env;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::artifacts;
use crate::node::{Node, NodeEntry};
use crate::peer::Directory;
use crate::process::{self, Process};
use crate::wait::{self, Deadline};

/// Within this time all nodes of a network take part.
pub const READY_WITHIN: Duration = Duration::from_secs(15);

/// Within this time all nodes have ended after SIGTERM.
pub const ENDED_WITHIN: Duration = Duration::from_secs(5);

/// How many lines of each log a failure shows.
const TAIL: usize = 25;

/// What a network is to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of relays.
    pub relays: u16,
    /// Number of directory authorities.
    pub authorities: u16,
    /// How many relays are guards and nothing else, the others then being all but guards; none is set apart without it.
    pub guards: Option<u16>,
    /// Whether the page is served.
    pub page: bool,
    /// Whether circuits may draw bytes from relays.
    pub bench: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { relays: 8, authorities: 3, guards: None, page: false, bench: false }
    }
}

/// What a node says that cannot listen.
const PORT_TAKEN: &str = "Address already in use";

/// How long a network may go without being ready before its nodes' logs are looked into.
const PATIENCE_WITH_PORTS: Duration = Duration::from_secs(3);

/// A running network.
#[derive(Debug)]
pub struct Network {
    process: Mutex<Process>,
    nodes: Vec<Node>,
    folder: TempDir,
    port: u16,
    ready_after: Duration,
}

impl Network {
    /// Starts a network and waits until all its nodes take part.
    #[track_caller]
    pub fn start(options: &Options) -> Self {
        // Between the moment in which the network finds a port free and the one in which a node takes it, a stranger's program
        // may take it: that is nobody's fault here.
        for _ in 0..2 {
            match Self::try_start(new_folder(), free_port(), options) {
                Err(report) if report.contains(PORT_TAKEN) => {}
                outcome => return outcome.unwrap_or_else(|report| panic!("{report}")),
            }
        }
        Self::start_in(new_folder(), free_port(), options)
    }

    /// Starts a network in a folder that need not be empty.
    #[track_caller]
    pub fn start_in(folder: TempDir, port: u16, options: &Options) -> Self {
        Self::try_start(folder, port, options).unwrap_or_else(|report| panic!("{report}"))
    }

    fn try_start(folder: TempDir, port: u16, options: &Options) -> Result<Self, String> {
        let log = folder.path().join("network.log");
        let ready = folder.path().join("ready");
        // What another run has left there says nothing about this one.
        let written = || fs::metadata(&ready).and_then(|file| file.modified()).ok();
        let before = written();
        let mut process = Process::start("allium network", &mut command(folder.path(), port, options), &log);
        let start = Instant::now();
        // The promise is checked by a test of its own; here a busy machine gets more time.
        let outcome = wait::poll(Deadline::after(READY_WITHIN * 3), || match process.ended() {
            Some(status) => Some(Err(format!("it ended with {status}"))),
            None if start.elapsed() > PATIENCE_WITH_PORTS && report(folder.path()).contains(PORT_TAKEN) => {
                Some(Err("a node has not got its port".to_owned()))
            }
            None => written().filter(|now| Some(*now) != before).map(|_| Ok(())),
        });
        let ready_after = start.elapsed();
        if let Err(reason) = outcome.unwrap_or_else(|| Err(format!("not ready after {ready_after:.1?}"))) {
            return Err(format!("allium network: {reason}\n{}", report(folder.path())));
        }
        let nodes = read_nodes(folder.path());
        Ok(Self { process: Mutex::new(process), nodes, folder, port, ready_after })
    }

    /// A network that several tests use at the same time; none of them does it any harm.
    ///
    /// It ends with the last test that holds it.
    #[track_caller]
    pub fn shared() -> Shared {
        static SHARED: Mutex<Weak<Network>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let network = shared.upgrade().unwrap_or_else(|| {
            let network = Arc::new(Self::start(&Options { page: artifacts::has_page(), ..Options::default() }));
            *shared = Arc::downgrade(&network);
            network
        });
        Shared(network)
    }

    /// The address of the directory and of the page.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// The port of that address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How long the network took to get ready.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All nodes with this role.
    pub fn with_role(&self, role: &str) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.has_role(role))
    }

    /// All nodes that clients' circuits may pass.
    pub fn relays(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| !node.has_role("authority") || node.has_role("middle"))
    }

    /// The node of this name.
    #[track_caller]
    pub fn node(&self, nickname: &str) -> &Node {
        self.nodes
            .iter()
            .find(|node| node.nickname() == nickname)
            .unwrap_or_else(|| panic!("the network has no node `{nickname}`"))
    }

    /// Starts a killed node again, by its own command.
    #[track_caller]
    pub fn restart(&self, nickname: &str) {
        self.restart_with(nickname, &[]);
    }

    /// Starts a killed node again, by its own command and more arguments.
    #[track_caller]
    pub fn restart_with(&self, nickname: &str, more: &[&str]) {
        self.node(nickname).restart(self.folder.path(), more);
    }

    /// The network's folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process that holds the network together.
    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    /// Asks the network to end and waits until it has; returns how long it took and how it ended.
    #[track_caller]
    pub fn terminate(&self, limit: Duration) -> (Duration, std::process::ExitStatus) {
        let start = Instant::now();
        let mut process = self.process();
        process.terminate();
        let status = process.wait(limit);
        (start.elapsed(), status)
    }

    /// Ends the process that holds the network together as a power cut would.
    pub fn kill(&self) {
        self.process().kill();
    }

    /// Checks that the network's address gives the directory, with signatures that count.
    #[track_caller]
    pub fn assert_answers(&self) {
        Directory::fetch(&self.url());
    }

    /// What its processes have logged last.
    pub fn report(&self) -> String {
        report(self.folder.path())
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.process().kill();
        self.nodes.iter().for_each(Node::sweep);
        if std::thread::panicking() {
            eprintln!("{}", self.report());
        }
    }
}

/// A test's share in the network that several tests use.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Network>);

impl std::ops::Deref for Shared {
    type Target = Network;

    fn deref(&self) -> &Network {
        &self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The last share ends the network, which then tells by itself.
        if std::thread::panicking() && Arc::strong_count(&self.0) > 1 {
            eprintln!("{}", self.0.report());
        }
    }
}

/// The command that starts a network.
#[track_caller]
pub fn command(folder: &Path, port: u16, options: &Options) -> std::process::Command {
    let mut command = process::command(artifacts::allium());
    command.arg("network").arg("--processes").arg("--data").arg(folder);
    command.args(["--port", &port.to_string()]);
    command.args(["--relays", &options.relays.to_string()]);
    command.args(["--authorities", &options.authorities.to_string()]);
    if let Some(guards) = options.guards {
        command.args(["--guards", &guards.to_string()]);
    }
    if options.bench {
        command.arg("--bench");
    }
    if options.page {
        command.arg("--page").arg(artifacts::page());
    }
    command
}

/// A port of 127.0.0.1 that nobody listens on; those behind it are most likely free too, and a network passes over those
/// that are not.
///
/// They lie below the range from which the system takes ports for those who do not care, and belong to these tests until
/// their end: others that run at the same time, in another checkout perhaps, take others.
pub fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const BLOCK: u16 = 32;
    const BLOCKS: u16 = 680;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let locks = env::temp_dir().join("allium-test-ports");
    fs::create_dir_all(&locks).expect("there is a place for files");
    let start = (std::process::id() * 7 % u32::from(BLOCKS)) as u16;
    for _ in 0..BLOCKS {
        let block = (start + NEXT.fetch_add(1, Ordering::Relaxed)) % BLOCKS;
        let port = FIRST + block * BLOCK;
        // A file that another user has locked, or only made, is a block of his.
        let Ok(lock) = File::create(locks.join(block.to_string())) else { continue };
        if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            TAKEN.lock().unwrap_or_else(PoisonError::into_inner).push(lock);
            return port;
        }
    }
    panic!("all ports are taken");
}

/// Waits until all nodes at these addresses hold one and the same consensus, with so many relays. None need hold any
/// where there are to be no relays: they only have to answer.
#[track_caller]
pub fn await_consensus(urls: &[String], relays: u64) {
    wait::until(READY_WITHIN * 3, &format!("a consensus with {relays} relays at {urls:?}"), || {
        let held: Option<Vec<Value>> = urls.iter().map(|url| held_consensus(url)).collect();
        let held = held?;
        held.iter().all(|one| *one == held[0] && one["relays"].as_u64().unwrap_or(0) == relays).then_some(())
    });
}

/// What the node at `url` says of the consensus that it holds: null for none.
fn held_consensus(url: &str) -> Option<Value> {
    let mut answer = ureq::get(format!("{}/healthz", url.trim_end_matches('/'))).call().ok()?;
    let health: Value = answer.body_mut().read_json().ok()?;
    Some(health["consensus"].clone())
}

#[track_caller]
fn read_nodes(folder: &Path) -> Vec<Node> {
    let text = fs::read_to_string(folder.join("nodes.json")).expect("a network that is ready has a nodes.json");
    let entries: Vec<NodeEntry> =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("nodes.json: {error}\n{text}"));
    entries.into_iter().map(Node::new).collect()
}

fn new_folder() -> TempDir {
    tempfile::Builder::new().prefix("allium-network-").tempdir().expect("there is a place for files")
}

/// The last lines of every log in a network's folder.
fn report(folder: &Path) -> String {
    let mut report = String::new();
    let mut folders = vec![folder.to_owned()];
    let mut logs: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name == "log")
                || path.extension().is_some_and(|end| end == "log")
            {
                logs.push(path);
            }
        }
    }
    logs.sort();
    for log in logs {
        let name = log.strip_prefix(folder).unwrap_or(&log);
        report += &format!("--- {}\n{}\n", name.display(), process::tail(&log, TAIL));
    }
    report
}
