//! Keeps a node's copy of the directory up to date.

use std::sync::Arc;
use std::time::Duration;

use allium_shared::netdir::{AuthorityIdentity, Consensus, ConsensusError, LinkUrl, MAX_CONSENSUS_LEN};
use axum::http::HeaderValue;
use thiserror::Error;

use super::Directory;
use crate::http::client::{self, HttpError};
use crate::metrics::directory::Fetch;
use crate::shutdown::Shutdown;

/// Where a directory serves the consensus.
pub const CONSENSUS_PATH: &str = "/directory/consensus";

/// How often a node asks that does not have yet what it needs.
const EAGER_INTERVAL: Duration = Duration::from_millis(250);

/// How long it asks that often.
const EAGER_TIME: Duration = Duration::from_secs(20);

/// The longest that a consensus is trusted to be the newest.
const MAX_PAUSE: Duration = Duration::from_secs(60 * 60);

/// Relays that are asked besides the authorities.
const MAX_RELAYS: usize = 16;

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
    /// Any authority, but the one that asks itself.
    Authorities {
        /// Who asks, where it is an authority.
        except: Option<AuthorityIdentity>,
    },
    /// Any authority or relay: fronts ask them.
    Everybody,
}

/// Fetches until the end: as soon as a newer consensus is due, and then every so often until it has come.
///
/// Until `complete` likes what is there, it does so more often, for a while.
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
        let pause = match fetcher.directory.fresh_for() {
            _ if eager => EAGER_INTERVAL.min(schedule.every),
            Duration::ZERO => schedule.every,
            // A clock may be wrong by more than a consensus stays the newest.
            fresh => fresh.min(MAX_PAUSE) + EAGER_INTERVAL.min(schedule.every),
        };
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

/// Who has given the newest consensus.
struct LastSource {
    url: String,
    etag: Option<HeaderValue>,
}

impl Fetcher {
    /// Asks who has given the newest consensus, and then one after the other until somebody has a newer one, or none is due.
    async fn refresh(&mut self) {
        let mut sources = self.sources();
        if let Some(last) = &self.last
            && let Some(at) = sources.iter().position(|url| *url == last.url)
        {
            sources.rotate_left(at);
        }
        for url in sources {
            let etag = self.last.as_ref().filter(|last| last.url == url).and_then(|last| last.etag.clone());
            match self.fetch(&url, etag.as_ref()).await {
                Ok(Some(etag)) => self.last = Some(LastSource { url, etag }),
                // One that has nothing newer may be cut off from the others, or lie.
                Ok(None) => {}
                Err(error) => tracing::debug!(source = %url, %error, "cannot fetch the consensus"),
            }
            if self.directory.is_fresh() {
                return;
            }
        }
    }

    /// Fetches from one source; gives the entity tag of what it has, if that was news.
    async fn fetch(&self, source: &str, etag: Option<&HeaderValue>) -> Result<Option<Option<HeaderValue>>, FetchError> {
        let fetched = self.try_fetch(source, etag).await;
        let fetches = &self.directory.metrics().fetches;
        match &fetched {
            Ok(Some(_)) => fetches.of(Fetch::Taken).increment(),
            Ok(None) => fetches.of(Fetch::Unchanged).increment(),
            Err(error) => fetches.of(error.into()).increment(),
        }
        fetched
    }

    async fn try_fetch(
        &self,
        source: &str,
        etag: Option<&HeaderValue>,
    ) -> Result<Option<Option<HeaderValue>>, FetchError> {
        let fetched = client::get(&format!("{source}{CONSENSUS_PATH}"), etag, MAX_CONSENSUS_LEN).await?;
        let Some(body) = fetched.body else { return Ok(None) };
        let newer = self.directory.accept(&body).await?;
        if newer {
            let relays = self.directory.current().map_or(0, |consensus| consensus.relays().len());
            tracing::info!(relays, "a new consensus");
        }
        Ok(newer.then_some(fetched.etag))
    }

    fn sources(&self) -> Vec<String> {
        let except = match self.sources {
            Sources::Authorities { except } => except,
            Sources::Everybody => None,
        };
        let others = self.directory.authorities().iter().filter(|authority| Some(authority.key) != except);
        let mut sources: Vec<_> = others.flat_map(|one| self.directory.authority_urls(&one.key)).collect();
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
