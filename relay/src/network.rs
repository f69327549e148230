//! Runs a whole network on this machine, for development: authorities, relays, and a front with the page.
//!
//! # Layout
//!
//! - [`plan`]: which nodes, on which ports, started by which command
//! - [`nodes`]: the list of nodes in `nodes.json`
//! - [`start`]: nodes as tasks or as processes
//! - [`front`]: the address that people open
//! - [`ready`]: whether all take part

pub mod front;
pub mod nodes;
pub mod plan;
pub mod ready;
pub mod start;

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use allium_shared::netdir::{Authorities, AuthoritiesError};
use clap::Args;
use thiserror::Error;

use crate::clock::Clock;
use crate::config::ConfigError;
use crate::directory::Directory;
use crate::directory::fetch::{self, Schedule, Sources};
use crate::directory::trust::TrustError;
use crate::http::server::{self, ListenError};
use crate::keys::KeysError;
use crate::shutdown::Shutdown;
use crate::{authority, files};
use plan::{PlanError, Planned};

/// How often the front looks for a new consensus.
const FETCH_EVERY: Duration = Duration::from_secs(2);

/// What kind of network.
#[derive(Args, Clone, Debug)]
pub struct NetworkOptions {
    /// How many relays
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub relays: u16,
    /// How many directory authorities
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=31))]
    pub authorities: u16,
    /// The folder for all nodes' keys and files, nodes.json and ready; made if need be
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
    /// The port of the page and the directory; the nodes take the ports that follow
    #[arg(long, value_name = "PORT", default_value_t = 7000, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Run each node as a process of its own
    #[arg(long)]
    pub processes: bool,
    /// For measurements: let circuits draw bytes from every relay, as allium bench does
    #[arg(long)]
    pub bench: bool,
    /// Give each node an admin address with metrics; nodes.json says where
    #[arg(long)]
    pub admin: bool,
    /// The folder with the built page
    #[arg(long, value_name = "DIR", default_value = "dist")]
    pub page: PathBuf,
    /// For tests: make the first N relays guards and nothing else, and the others everything but guards
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub guards: u16,
    /// How often the authorities vote [default: 5, or as long as voting takes]
    #[arg(long, value_name = "SECONDS")]
    pub voting_interval: Option<u64>,
    /// How long a consensus counts [default: 120, and at least two intervals of the voting]
    #[arg(long, value_name = "SECONDS")]
    pub valid_for: Option<u64>,
}

/// Why a network does not run.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// A file or folder cannot be used.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another network runs in the folder.
    #[error("another network is running in {0}: end it, or give another --data")]
    InUse(PathBuf),
    /// The port that people are told is taken.
    #[error("{0}; choose another port with --port")]
    Front(ListenError),
    /// There are no ports, or the program's own path is not known.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// An authority has no key.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The authorities make no network.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    /// The list of authorities cannot be written.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A node's configuration is none.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Runs a network until the end.
pub async fn run(options: NetworkOptions, mut shutdown: Shutdown) -> Result<(), NetworkError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| NetworkError::Io { path, source }
    };
    let data = files::absolute(&options.data).map_err(io(&options.data))?;
    files::create_private_dir(&data).map_err(io(&data))?;
    let _lock = lock(&data)?;
    let ready = data.join("ready");
    remove(&ready).map_err(io(&ready))?;

    let front = server::listen(([127, 0, 0, 1], options.port).into()).await.map_err(NetworkError::Front)?;
    let mut planned = plan::plan(&options, &data)?;
    let authorities = Arc::new(authorities(&planned)?);
    files::write_atomic(&planned.authorities_file, authorities.to_json().as_bytes())
        .map_err(io(&planned.authorities_file))?;
    for node in &planned.nodes {
        // A network that starts anew has no relays of the last time.
        for name in ["consensus", "descriptors"] {
            let path = node.data.join(name);
            remove(&path).map_err(io(&path))?;
        }
    }

    let expected = ready::Expected::new(&planned);
    let nodes = start::start(&mut planned, options.processes, shutdown.clone())?;
    let list = data.join("nodes.json");
    files::write_atomic(&list, nodes::to_json(&planned, &nodes).as_bytes()).map_err(io(&list))?;

    let directory = Arc::new(Directory::open(authorities, Clock::start(), None));
    let schedule = Schedule { every: FETCH_EVERY, sources: Sources::Everybody };
    let listed = {
        let expected = expected.clone();
        move |consensus: &allium_shared::netdir::Consensus| expected.lists_all(consensus)
    };
    let router = front::router(Arc::clone(&directory), files::absolute(&options.page).map_err(io(&options.page))?);
    tokio::join!(
        server::serve(front, router, shutdown.clone()),
        fetch::run(Arc::clone(&directory), schedule, listed, shutdown.clone()),
        async {
            if shutdown.unless(expected.wait(&directory)).await.is_some() {
                let url = format!("http://127.0.0.1:{}/", options.port);
                match files::write_atomic(&ready, url.as_bytes()) {
                    Ok(()) => tracing::info!(%url, "all nodes take part"),
                    Err(error) => tracing::error!(%error, path = %ready.display(), "cannot write the file"),
                }
            }
        },
        nodes.wait(),
    );
    let _ = remove(&ready);
    Ok(())
}

fn authorities(planned: &Planned) -> Result<Authorities, NetworkError> {
    let mut list = Vec::new();
    for config in planned.authority_configs() {
        list.push(authority::entry(&config?)?);
    }
    Ok(Authorities::new(list)?)
}

fn lock(data: &Path) -> Result<File, NetworkError> {
    let path = data.join("lock");
    let error = |source| NetworkError::Io { path: path.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(error)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(NetworkError::InUse(data.to_owned())),
        Err(TryLockError::Error(source)) => Err(error(source)),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
