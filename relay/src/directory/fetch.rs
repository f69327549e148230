//! Keeps a node's copy of the directory up to date.

use std::sync::Arc;
use std::time::Duration;

use allium_shared::netdir::{Consensus, ConsensusError, LinkUrl, MAX_CONSENSUS_LEN};
use axum::http::HeaderValue;
use thiserror::Error;

use super::Directory;
use crate::http::client::{self, HttpError};
use crate::shutdown::Shutdown;

/// Where a directory serves the consensus.
pub const CONSENSUS_PATH: &str = "/directory/consensus";

/// How often a node asks that does not have yet what it needs.
const EAGER_INTERVAL: Duration = Duration::from_millis(250);

/// How long it asks that often.
const EAGER_TIME: Duration = Duration::from_secs(20);

/// Mirrors that are asked besides the authorities.
const MAX_MIRRORS: usize = 16;

/// Why a source gave no consensus.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The request has failed.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// What came does not count.
    #[error(transparent)]
    Consensus(#[from] ConsensusError),
}

/// How a node fetches.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// How often.
    pub every: Duration,
    /// Whether relays are asked too when no authority answers.
    pub mirrors: bool,
}

/// Fetches until the end. Until `complete` likes what is there, it does so more often, for a while.
pub async fn run(
    directory: Arc<Directory>,
    schedule: Schedule,
    complete: impl Fn(&Consensus) -> bool,
    mut shutdown: Shutdown,
) {
    let mut fetcher = Fetcher { directory, mirrors: schedule.mirrors, source: None };
    let eager_until = tokio::time::Instant::now() + EAGER_TIME;
    loop {
        if shutdown.unless(fetcher.refresh()).await.is_none() {
            return;
        }
        let done = fetcher.directory.current().is_some_and(|consensus| complete(&consensus));
        let eager = !done && tokio::time::Instant::now() < eager_until;
        let pause = if eager { EAGER_INTERVAL.min(schedule.every) } else { schedule.every };
        if shutdown.unless(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

struct Fetcher {
    directory: Arc<Directory>,
    mirrors: bool,
    /// Who has answered last, and what was there.
    source: Option<(String, Option<HeaderValue>)>,
}

impl Fetcher {
    /// Asks who has answered last, else one after the other.
    async fn refresh(&mut self) {
        if let Some((source, etag)) = self.source.take() {
            match self.fetch(&source, etag.as_ref()).await {
                Ok(etag) => {
                    self.source = Some((source, etag));
                    return;
                }
                Err(error) => tracing::info!(%source, %error, "cannot fetch the consensus here any more"),
            }
        }
        for source in self.sources() {
            match self.fetch(&source, None).await {
                Ok(etag) => {
                    self.source = Some((source, etag));
                    return;
                }
                Err(error) => tracing::debug!(%source, %error, "cannot fetch the consensus"),
            }
        }
        tracing::debug!("nobody has a consensus for us");
    }

    async fn fetch(&self, source: &str, etag: Option<&HeaderValue>) -> Result<Option<HeaderValue>, FetchError> {
        let fetched = client::get(&format!("{source}{CONSENSUS_PATH}"), etag, MAX_CONSENSUS_LEN).await?;
        if let Some(body) = fetched.body {
            if self.directory.accept(&body).await? {
                let relays = self.directory.current().map_or(0, |consensus| consensus.relays().len());
                tracing::info!(relays, "a new consensus");
            }
            return Ok(fetched.etag);
        }
        Ok(fetched.etag.or_else(|| etag.cloned()))
    }

    fn sources(&self) -> Vec<String> {
        let mut sources: Vec<_> = self.directory.authorities().iter().map(|authority| authority.url.clone()).collect();
        if self.mirrors
            && let Some(consensus) = self.directory.current()
        {
            sources.extend(consensus.relays().iter().filter_map(|relay| mirror(&relay.url)).take(MAX_MIRRORS));
        }
        sources
    }
}

/// Where the relay with this address mirrors the directory.
pub fn mirror(url: &LinkUrl) -> Option<String> {
    let rest = url.as_str().strip_prefix("ws://")?;
    let host = rest.split('/').next()?;
    Some(format!("http://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_mirrors_where_it_takes_links() {
        let mirror = |url: &str| mirror(&url.parse().unwrap());
        assert_eq!(mirror("ws://127.0.0.2:7101/link").as_deref(), Some("http://127.0.0.2:7101"));
        assert_eq!(mirror("ws://[::1]:7101/link").as_deref(), Some("http://[::1]:7101"));
        assert_eq!(mirror("wss://h/link"), None);
    }
}
