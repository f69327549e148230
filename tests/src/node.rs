//! One node of a network, as `nodes.json` describes it, and what can happen to it.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::Deserialize;

use crate::process::{self, Process};
use crate::wait;

/// One entry of `nodes.json`. Every field must be there.
#[derive(Clone, Debug, Deserialize)]
pub struct NodeEntry {
    /// The name by which people know the node.
    pub nickname: String,
    /// What it does in the network.
    pub roles: Vec<String>,
    /// Where it answers.
    pub url: String,
    /// Its process.
    pub pid: u32,
    /// The command that starts it again, on its old port and with its old data.
    pub command: Vec<String>,
}

/// A node, alive or not.
#[derive(Debug)]
pub struct Node {
    /// What `nodes.json` said of it.
    pub entry: NodeEntry,
    life: Mutex<Life>,
}

#[derive(Debug)]
struct Life {
    pid: u32,
    /// Set once the test itself has started the node again.
    process: Option<Process>,
    /// Nothing may be sent to the old process id once the node is dead: it may be another's by then.
    killed: bool,
}

impl Node {
    pub(crate) fn new(entry: NodeEntry) -> Self {
        let life = Mutex::new(Life { pid: entry.pid, process: None, killed: false });
        Self { entry, life }
    }

    /// The node's name.
    pub fn nickname(&self) -> &str {
        &self.entry.nickname
    }

    /// Whether the node has this role.
    pub fn has_role(&self, role: &str) -> bool {
        self.entry.roles.iter().any(|have| have == role)
    }

    /// The host and port of its address.
    #[track_caller]
    pub fn authority(&self) -> &str {
        let (_, rest) = self.entry.url.split_once("://").expect("a node's address has a scheme");
        rest.split('/').next().unwrap_or(rest)
    }

    /// The process that the node is now.
    pub fn pid(&self) -> u32 {
        self.life().pid
    }

    /// Whether the node's process is there and not frozen for good; frozen ones count as running.
    pub fn runs(&self) -> bool {
        let life = self.life();
        !life.killed && process::runs(life.pid)
    }

    /// Ends the node as a power cut would: `kill -9`. Returns once its process is gone.
    #[track_caller]
    pub fn kill(&self) {
        let mut life = self.life();
        assert!(!life.killed, "{} is dead already", self.nickname());
        life.killed = true;
        process::send(life.pid, Signal::SIGKILL);
        let pid = life.pid;
        wait::until(Duration::from_secs(5), "the end of a killed node", || (!process::runs(pid)).then_some(()));
        life.process = None;
    }

    /// Freezes the node: its sockets stay open, and nothing answers on them.
    #[track_caller]
    pub fn freeze(&self) {
        let pid = self.pid();
        process::send(pid, Signal::SIGSTOP);
        wait::until(Duration::from_secs(5), "the freeze of a node", || process::is_frozen(pid).then_some(()));
    }

    /// Lets a frozen node go on.
    pub fn thaw(&self) {
        process::send(self.pid(), Signal::SIGCONT);
    }

    /// Ends the node as its operator would, and waits until it has ended.
    #[track_caller]
    pub fn terminate(&self) {
        let mut life = self.life();
        assert!(!life.killed, "{} is dead already", self.nickname());
        life.killed = true;
        process::send(life.pid, Signal::SIGTERM);
        let pid = life.pid;
        wait::until(Duration::from_secs(5), "the end of a node", || (!process::runs(pid)).then_some(()));
        life.process = None;
    }

    /// Starts a killed node again, by its own command and more arguments.
    #[track_caller]
    pub fn restart(&self, logs: &Path, more: &[&str]) {
        let mut life = self.life();
        assert!(life.killed, "{} still runs", self.nickname());
        let (program, args) = self.entry.command.split_first().expect("the command names a program");
        let log = logs.join(format!("{}-again.log", self.nickname()));
        let process = Process::start(self.nickname(), process::command(program).args(args).args(more), &log);
        *life = Life { pid: process.pid(), process: Some(process), killed: false };
    }

    /// Ends the node's process, whoever started it, if it is still the node's.
    pub(crate) fn sweep(&self) {
        let life = self.life();
        if !life.killed && process::command_line(life.pid) == self.entry.command {
            process::send(life.pid, Signal::SIGKILL);
        }
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
