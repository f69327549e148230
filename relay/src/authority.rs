//! Runs a directory authority: takes descriptors, probes relays, votes with the other authorities, and serves what they
//! have agreed on.
//!
//! # Layout
//!
//! - `rate`, `descriptors`: takes what relays publish
//! - `probe`: asks relays whether they are there
//! - `ballot`: drives the voting, and shows its documents to the others
//! - [`clocks`]: compares the other authorities' clocks with this one's
//! - [`status`]: what an operator may see of all that

mod ballot;
pub mod clocks;
mod descriptors;
mod probe;
mod rate;
pub mod status;

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as SyncMutex};

use allium_shared::netdir::{
    Authorities, Authority, AuthorityIdentity, Document, Registry, Voting, VotingConfig, VotingError, phases_len,
};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Notify};

use self::clocks::Clocks;
use crate::clock::Clock;
use crate::config::AuthorityConfig;
use crate::directory::fetch::{self, Schedule, Sources};
use crate::directory::trust::{self, TrustError};
use crate::directory::{Directory, routes};
use crate::http::server::{self, ListenError};
use crate::http::tls_listener::{self, TlsError, TlsListener};
use crate::keys::{self, KeysError};
use crate::metrics::authority::AuthorityMetrics;
use crate::metrics::{Source, Text, admin, node};
use crate::shutdown::Shutdown;
use crate::{files, http, page, random};

/// The relays that the authority knows.
const DESCRIPTORS: &str = "descriptors";

/// For which periods it has voted and signed.
const VOTING: &str = "voting";

/// The longest stored state of the voting, in bytes.
const MAX_VOTING_LEN: usize = 64 * 1024;

/// Why an authority does not run.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// No key.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// No list of authorities.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// It is not in the list.
    #[error("the list of authorities does not have this authority's key {}", .0.to_hex())]
    NotListed(AuthorityIdentity),
    /// The list itself is refused.
    #[error(transparent)]
    List(#[from] allium_shared::netdir::AuthoritiesError),
    /// Nobody can connect.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The phases of the voting are longer than the periods.
    #[error(
        "voting among {authorities} authorities takes {phases_ms} ms, and a period has to be at least as long: raise {setting} \
         or lower voting-phase-ms"
    )]
    Phases {
        /// How many authorities there are.
        authorities: usize,
        /// How long voting takes, in milliseconds.
        phases_ms: u128,
        /// The setting that is too short.
        setting: &'static str,
    },
    /// What it has voted for cannot be read: it must not vote twice.
    #[error("cannot use {path}: {source}")]
    State {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What it has voted for is damaged.
    #[error("{path}: {source}; an authority that does not know for what it has voted must not vote")]
    Voting {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: VotingError,
    },
    /// No randomness.
    #[error("the system gives no randomness: {0}")]
    Random(io::Error),
    /// Nothing is served by TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What other nodes have to know of this authority, as an entry of the list of authorities. Makes the key if need be.
pub fn entry(config: &AuthorityConfig) -> Result<Authority, KeysError> {
    let key = keys::authority(&config.data)?.identity();
    Ok(Authority { nickname: config.nickname.clone(), key, url: config.url.clone() })
}

/// What the tasks of an authority share.
struct Office {
    config: AuthorityConfig,
    authorities: Arc<Authorities>,
    directory: Arc<Directory>,
    clock: Clock,
    limiter: rate::Limiter,
    clocks: SyncMutex<Clocks>,
    /// Held while something is written that must be on disk before a document is shown.
    desk: Mutex<Desk>,
    /// Something has changed that the voting or the probes should look at now.
    wake: Notify,
    probe: Notify,
    metrics: AuthorityMetrics,
}

/// The state machines.
struct Desk {
    registry: Registry,
    voting: Voting,
    /// Which documents are being asked for.
    asking: HashSet<(AuthorityIdentity, Document)>,
    rng: rand_chacha::ChaCha20Rng,
}

/// Runs an authority until the end.
pub async fn run(config: AuthorityConfig, shutdown: Shutdown) -> Result<(), AuthorityError> {
    let listener = server::listen(config.listen).await?;
    run_on(listener, config, shutdown).await
}

/// Runs an authority on a socket that is open already.
pub async fn run_on(listener: TcpListener, config: AuthorityConfig, shutdown: Shutdown) -> Result<(), AuthorityError> {
    let admin = admin::listen(config.admin).await?;
    let secure = TlsListener::open(config.tls.as_ref()).await?;
    let keypair = keys::authority(&config.data)?;
    let authorities = Arc::new(match &config.authorities {
        Some(file) => trust::from_file(file)?,
        None => Authorities::new(vec![entry(&config)?])?,
    });
    let identity = keypair.identity();
    if authorities.get(&identity).is_none() {
        return Err(AuthorityError::NotListed(identity));
    }
    let voting = voting_config(&config, &authorities)?;
    tracing::info!(
        nickname = %config.nickname,
        network = %authorities.network(),
        authorities = authorities.len(),
        quorum = authorities.quorum(),
        "authority starts"
    );

    let clock = Clock::start();
    let directory = Arc::new(Directory::open(Arc::clone(&authorities), clock, Some(&config.data)));
    let registry = Registry::new(*authorities.network(), config.registry.clone(), clock.now());
    let registry = restored(registry, clock, &config.data.join(DESCRIPTORS));
    let path = config.data.join(VOTING);
    let stored = files::read_bounded(&path, MAX_VOTING_LEN)
        .map_err(|source| AuthorityError::State { path: path.clone(), source })?;
    let voting =
        Voting::new(keypair, Arc::clone(&authorities), voting, stored.as_deref(), directory.current(), clock.now())
            .map_err(|source| AuthorityError::Voting { path, source })?;
    let rng = random::rng().map_err(AuthorityError::Random)?;
    let page = config.page.clone();
    let nickname = config.nickname.to_string();
    let schedule = Schedule { every: config.fetch_every, sources: Sources::Authorities { except: Some(identity) } };
    // The voting goes wrong where clocks differ by more.
    let clocks = SyncMutex::new(Clocks::new(config.voting_phase / 2));
    let office = Arc::new(Office {
        config,
        authorities,
        directory: Arc::clone(&directory),
        clock,
        limiter: rate::Limiter::new(),
        clocks,
        desk: Mutex::new(Desk { registry, voting, asking: HashSet::new(), rng }),
        wake: Notify::new(),
        probe: Notify::new(),
        metrics: AuthorityMetrics::default(),
    });
    let mut router = descriptors::router(&office)
        .merge(ballot::router(&office))
        .merge(status::router(&office))
        .merge(routes::router("authority", &nickname, Arc::clone(&directory)));
    if let Some(page) = page {
        router = router.merge(page::router(page));
    }
    let sources: Vec<Arc<dyn Source>> =
        vec![Arc::new(node::Node::start("authority")), Arc::clone(&directory) as _, Arc::clone(&office) as _];
    let health = routes::health("authority", &nickname, Arc::clone(&directory));
    tokio::join!(
        http::server::serve(listener, router.clone(), shutdown.clone()),
        tls_listener::serve(secure, router, shutdown.clone()),
        admin::serve(admin, sources, health, shutdown.clone()),
        ballot::run(Arc::clone(&office), shutdown.clone()),
        probe::run(Arc::clone(&office), shutdown.clone()),
        fetch::run(directory, schedule, |_| true, shutdown),
    );
    let registry = office.desk.lock().await.registry.save();
    store(&office, registry).await;
    Ok(())
}

fn voting_config(config: &AuthorityConfig, authorities: &Authorities) -> Result<VotingConfig, AuthorityError> {
    let phases = phases_len(authorities, config.voting_phase);
    let too_short =
        |setting| AuthorityError::Phases { authorities: authorities.len(), phases_ms: phases.as_millis(), setting };
    if config.voting_interval < phases {
        return Err(too_short("voting-interval"));
    }
    let initial_interval = match config.initial_voting_interval {
        Some(initial) if initial < phases => return Err(too_short("initial-voting-interval")),
        Some(initial) => initial,
        None => config.voting_interval,
    };
    Ok(VotingConfig {
        nickname: config.nickname.clone(),
        url: config.url.clone(),
        interval: config.voting_interval,
        initial_interval,
        phase: config.voting_phase,
        settle: config.settle,
        valid_for: config.valid_for,
        cycle_len: config.random_every,
        parameters: config.parameters.clone(),
    })
}

fn restored(mut registry: Registry, clock: Clock, file: &Path) -> Registry {
    match files::read_bounded(file, Registry::MAX_SAVED_LEN) {
        Ok(None) => {}
        Ok(Some(bytes)) => {
            if let Err(error) = registry.restore(clock.now().instant, &bytes) {
                tracing::warn!(%error, "some of the stored descriptors are of no use");
            }
        }
        Err(error) => tracing::warn!(%error, "cannot read the stored descriptors"),
    }
    registry
}

/// Stores what is known of the relays.
async fn store(office: &Office, registry: Vec<u8>) {
    let path = office.config.data.join(DESCRIPTORS);
    let written = tokio::task::spawn_blocking(move || files::write_atomic(&path, &registry)).await;
    if let Ok(Err(error)) = written {
        tracing::warn!(%error, "cannot store the descriptors");
    }
}

impl Office {
    /// The name of an authority, for people; its key where it has none here.
    fn name(&self, key: &AuthorityIdentity) -> String {
        self.authorities.get(key).map_or_else(|| key.to_hex(), |authority| authority.nickname.to_string())
    }
}

impl Source for Office {
    fn write(&self, text: &mut Text) {
        self.metrics.write(text);
    }
}
