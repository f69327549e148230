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

/// Relays that are asked besides the authorities.
const MAX_RELAYS: usize = 16;

/// How many times a source other than the first is asked, before the first gets another chance.
///
/// The authorities that do not sign may have been cut off from the one that does.
const MAX_FAITH: u32 = 5;

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
    /// Who is asked.
    pub sources: Sources,
}

/// Who is asked for a consensus. Nobody asks those who might ask them in turn, or an old one would go in circles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    /// The authority that signs: the other authorities ask it.
    Signer,
    /// Any authority: relays ask them.
    Authorities,
    /// Any authority or relay: clients and fronts ask them.
    Everybody,
}

/// Fetches until the end. Until `complete` likes what is there, it does so more often, for a while.
pub async fn run(
    directory: Arc<Directory>,
    schedule: Schedule,
    complete: impl Fn(&Consensus) -> bool,
    mut shutdown: Shutdown,
) {
    let mut fetcher = Fetcher { directory, sources: schedule.sources, last: None };
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
    sources: Sources,
    last: Option<LastSource>,
}

/// Who has answered last.
struct LastSource {
    url: String,
    etag: Option<HeaderValue>,
    /// How many more times it is asked before all others.
    faith: u32,
}

impl Fetcher {
    /// Asks who has answered last, else one after the other.
    async fn refresh(&mut self) {
        if let Some(mut last) = self.last.take().filter(|last| last.faith > 0) {
            match self.fetch(&last.url, last.etag.as_ref()).await {
                Ok(etag) => {
                    last.etag = etag;
                    last.faith -= u32::from(last.faith != u32::MAX);
                    self.last = Some(last);
                    return;
                }
                Err(error) => tracing::info!(source = %last.url, %error, "cannot fetch the consensus here any more"),
            }
        }
        for (index, url) in self.sources().into_iter().enumerate() {
            match self.fetch(&url, None).await {
                Ok(etag) => {
                    let faith = if index == 0 { u32::MAX } else { MAX_FAITH };
                    self.last = Some(LastSource { url, etag, faith });
                    return;
                }
                Err(error) => tracing::debug!(source = %url, %error, "cannot fetch the consensus"),
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
        let authorities = self.directory.authorities().iter().map(|authority| authority.url.clone());
        let mut sources: Vec<_> = match self.sources {
            Sources::Signer => authorities.take(1).collect(),
            Sources::Authorities | Sources::Everybody => authorities.collect(),
        };
        if self.sources == Sources::Everybody
            && let Some(consensus) = self.directory.current()
        {
            sources.extend(consensus.relays().iter().filter_map(|relay| mirror(&relay.url)).take(MAX_RELAYS));
        }
        sources
    }
}

/// Where the relay with this address mirrors the directory.
pub fn mirror(url: &LinkUrl) -> Option<String> {
    let (scheme, rest) = url.as_str().split_once("://")?;
    let host = rest.split('/').next()?;
    Some(format!("{}://{host}", if scheme == "wss" { "https" } else { "http" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_mirrors_where_it_takes_links() {
        let mirror = |url: &str| mirror(&url.parse().unwrap());
        assert_eq!(mirror("ws://127.0.0.2:7101/link").as_deref(), Some("http://127.0.0.2:7101"));
        assert_eq!(mirror("ws://[::1]:7101/link").as_deref(), Some("http://[::1]:7101"));
        assert_eq!(mirror("wss://relay.example:7443/link").as_deref(), Some("https://relay.example:7443"));
        assert_eq!(mirror("wss://h/link").as_deref(), Some("https://h"));
    }
}
