//! A node's copy of the directory: verified, kept on disk, and served to whoever asks.
//!
//! # Layout
//!
//! - [`fetch`]: keeps the copy up to date
//! - [`publish`]: tells the authorities of a relay
//! - [`routes`]: serves the copy
//! - [`trust`]: where the authorities' keys come from

pub mod fetch;
pub mod publish;
pub mod routes;
pub mod trust;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use allium_shared::netdir::{
    Authorities, AuthorityIdentity, Consensus, ConsensusDigest, ConsensusError, MAX_CONSENSUS_LEN, Mirror,
};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::files;
use crate::metrics::directory::DirectoryMetrics;
use crate::metrics::text::EXACT;
use crate::metrics::{Source, Text};

const FILE: &str = "consensus";

/// A node's copy of the directory. Whatever is in it has been verified.
#[derive(Debug)]
pub struct Directory {
    authorities: Arc<Authorities>,
    clock: Clock,
    file: Option<PathBuf>,
    consensus: watch::Sender<Option<Arc<Consensus>>>,
    /// The same, and those before it, for those who hold one of these.
    mirror: Mutex<Mirror>,
    metrics: DirectoryMetrics,
}

impl Directory {
    /// The copy in a data folder; one without a folder begins empty and stays in memory.
    pub fn open(authorities: Arc<Authorities>, clock: Clock, data: Option<&Path>) -> Self {
        let file = data.map(|data| data.join(FILE));
        let (consensus, mirror, metrics) = (watch::Sender::new(None), Mutex::default(), DirectoryMetrics::default());
        let directory = Self { authorities, clock, file, consensus, mirror, metrics };
        if let Some(path) = &directory.file {
            match files::read_bounded(path, MAX_CONSENSUS_LEN) {
                Ok(None) => {}
                Ok(Some(bytes)) => match directory.verify(&bytes) {
                    Ok(consensus) => {
                        directory.mirror().push(&consensus);
                        directory.consensus.send_replace(Some(Arc::new(consensus)));
                    }
                    Err(error) => tracing::info!(%error, "the stored consensus is of no use any more"),
                },
                Err(error) => tracing::warn!(%error, "cannot read the stored consensus"),
            }
        }
        directory
    }

    /// The authorities whose signatures count.
    pub const fn authorities(&self) -> &Arc<Authorities> {
        &self.authorities
    }

    /// What it counts.
    pub const fn metrics(&self) -> &DirectoryMetrics {
        &self.metrics
    }

    /// The consensus, if there is one yet.
    pub fn current(&self) -> Option<Arc<Consensus>> {
        self.consensus.borrow().clone()
    }

    /// The consensus and all that follow.
    pub fn subscribe(&self) -> watch::Receiver<Option<Arc<Consensus>>> {
        self.consensus.subscribe()
    }

    /// The encoded [`ConsensusUpdate`](allium_shared::netdir::ConsensusUpdate) for who holds the consensus with this digest,
    /// or none; nothing while there is no consensus here.
    pub fn update_for(&self, held: Option<&ConsensusDigest>) -> Option<Arc<Vec<u8>>> {
        self.mirror().update_for(held)
    }

    /// What is behind this lock is whole after every call, also after one that has panicked.
    fn mirror(&self) -> MutexGuard<'_, Mirror> {
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a consensus, and no newer one is due.
    pub fn is_fresh(&self) -> bool {
        !self.fresh_for().is_zero()
    }

    /// How long the consensus stays the newest, by its own times; nothing where a newer one is due.
    pub fn fresh_for(&self) -> Duration {
        let now = self.clock.now().unix.as_millis();
        let until = self.consensus.borrow().as_ref().map_or(0, |one| one.validity().fresh_until.saturating_mul(1000));
        Duration::from_millis(until.saturating_sub(now))
    }

    /// Where an authority is: by its own last vote that counted, then by the list of authorities, if that says otherwise.
    ///
    /// An authority that moves votes from its new address, and so hands it over to all who know its old one.
    pub fn authority_urls(&self, key: &AuthorityIdentity) -> Vec<String> {
        let consensus = self.consensus.borrow();
        let listed = consensus.as_ref().and_then(|consensus| consensus.authority(key)).map(|listed| &listed.url);
        let configured = self.authorities.get(key).map(|authority| &authority.url);
        listed.into_iter().chain(configured.filter(|url| Some(*url) != listed)).cloned().collect()
    }

    /// Takes a consensus that somebody has sent, if it counts and is newer; says whether it did.
    pub async fn accept(&self, bytes: &[u8]) -> Result<bool, ConsensusError> {
        Ok(self.take(Arc::new(self.verify(bytes)?)).await)
    }

    /// Takes a consensus that has been checked, if it is newer; says whether it did.
    pub async fn take(&self, consensus: Arc<Consensus>) -> bool {
        let newer = self.consensus.send_if_modified(|current| {
            let newer = current.as_ref().is_none_or(|current| {
                // The same with more signatures is taken as well.
                let same = consensus.digest() == current.digest();
                consensus.is_newer_than(current) || same && consensus.signers().len() > current.signers().len()
            });
            if newer {
                // Before anybody sees it who asks for what comes after it.
                self.mirror().push(&consensus);
                *current = Some(Arc::clone(&consensus));
            }
            newer
        });
        if newer && let Some(path) = self.file.clone() {
            let written = tokio::task::spawn_blocking(move || files::write_atomic(&path, consensus.as_bytes())).await;
            if let Ok(Err(error)) = written {
                tracing::warn!(%error, "cannot store the consensus");
            }
        }
        newer
    }

    fn verify(&self, bytes: &[u8]) -> Result<Consensus, ConsensusError> {
        Consensus::verify(bytes, &self.authorities, self.clock.now().unix)
    }
}

impl Source for Directory {
    fn write(&self, text: &mut Text) {
        self.metrics.write(text);
        let now = self.clock.now().unix.as_secs();
        let consensus = self.current();
        let relays = consensus.as_ref().map_or(0, |consensus| consensus.relays().len());
        text.gauge("allium_consensus_relays", "Relays in the consensus that is held.", EXACT, relays as u64);
        if let Some(validity) = consensus.map(|consensus| consensus.validity()) {
            let (age, left) = (now.saturating_sub(validity.valid_after), validity.valid_until.saturating_sub(now));
            text.gauge("allium_consensus_age_seconds", "How old the consensus is that is held.", EXACT, age);
            text.gauge("allium_consensus_left_seconds", "For how long that consensus still counts.", EXACT, left);
        }
    }
}
