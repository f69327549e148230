//! Starts a network's nodes, as tasks of this process or as processes, and ends them.

use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use super::NetworkError;
use super::plan::{NodeConfig, Planned, PlannedNode};
use crate::shutdown::{EXIT_WITH_STDIN, Shutdown};
use crate::{authority, files, relay};

/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(2);

/// Nodes that have been started.
#[derive(Debug)]
pub struct Nodes {
    pids: Vec<u32>,
    tasks: JoinSet<()>,
}

impl Nodes {
    /// The nodes' processes, in the order of the plan.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.pids.iter().copied()
    }

    /// Waits until all have ended.
    pub async fn wait(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Starts all nodes. Those that die are not started again.
///
/// Must be called on a thread that lives as long as the process: the kernel ends child processes with the thread that
/// has made them.
pub fn start(planned: &mut Planned, processes: bool, shutdown: Shutdown) -> Result<Nodes, NetworkError> {
    let mut nodes = Nodes { pids: Vec::new(), tasks: JoinSet::new() };
    for node in &mut planned.nodes {
        let socket = node.socket.take();
        // The node opens that one by itself.
        drop(node.admin.as_mut().and_then(|(_, socket)| socket.take()));
        if processes {
            drop(socket);
            let child = spawn(node).map_err(|source| NetworkError::Io { path: node.data.clone(), source })?;
            nodes.pids.push(child.id().unwrap_or_default());
            nodes.tasks.spawn(watch(child, node.nickname.to_string(), shutdown.clone()));
        } else {
            let config = node.config()?;
            nodes.pids.push(std::process::id());
            nodes.tasks.spawn(run(config, socket, node.nickname.to_string(), shutdown.clone()));
        }
    }
    Ok(nodes)
}

async fn run(config: NodeConfig, socket: Option<std::net::TcpListener>, nickname: String, shutdown: Shutdown) {
    let socket = socket.and_then(|socket| {
        socket.set_nonblocking(true).ok()?;
        TcpListener::from_std(socket).ok()
    });
    let ended = match (config, socket) {
        (NodeConfig::Authority(config), Some(socket)) => {
            authority::run_on(socket, config, shutdown).await.map_err(|error| error.to_string())
        }
        (NodeConfig::Relay(config), Some(socket)) => {
            relay::run_on(socket, config, shutdown).await.map_err(|error| error.to_string())
        }
        (_, None) => Err("its socket is of no use".to_owned()),
    };
    if let Err(error) = ended {
        tracing::error!(%nickname, %error, "a node has ended; it is not started again");
    }
}

fn spawn(node: &PlannedNode) -> std::io::Result<Child> {
    files::create_private_dir(&node.data)?;
    let log = File::create(node.data.join("log"))?;
    let mut command = node.command.iter();
    let mut child = Command::new(command.next().map(String::as_str).unwrap_or_default());
    child
        .args(command)
        .env(EXIT_WITH_STDIN, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        // Ctrl-C in a terminal is for this process; it ends its children in its own way.
        .process_group(0)
        .kill_on_drop(true);
    child.spawn()
}

/// Waits for a process, and ends it when all is to end.
async fn watch(mut child: Child, nickname: String, mut shutdown: Shutdown) {
    // Waiting for a child would close its standard input, which tells it to end.
    let stdin = child.stdin.take();
    if let Some(status) = shutdown.unless(child.wait()).await {
        match status {
            Ok(status) => tracing::warn!(%nickname, %status, "a node has ended; it is not started again"),
            Err(error) => tracing::warn!(%nickname, %error, "a node cannot be watched"),
        }
        return;
    }
    drop(stdin);
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        // It may be stopped, or stuck.
        tracing::info!(%nickname, "a node did not end in time and was killed");
        let _ = child.kill().await;
    }
}
