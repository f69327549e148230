//! Keeps a node's copy of the directory up to date.

use std::sync::Arc;
use std::time::Duration;

use allium_shared::client::api::{CONSENSUS_PATH, UPDATE_PATH};
use allium_shared::netdir::{
    AuthorityIdentity, Consensus, ConsensusError, ConsensusUpdate, LinkUrl, MAX_CONSENSUS_LEN, MAX_UPDATE_LEN,
    UpdateError,
};
use axum::http::{HeaderValue, StatusCode};
use thiserror::Error;

use super::Directory;
use crate::http::client::{self, HttpError};
use crate::metrics::directory::Fetch;
use crate::shutdown::Shutdown;

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
    /// What came does not bring what is held up to date.
    #[error(transparent)]
    Update(#[from] UpdateError),
}

/// How a consensus came that was news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// From its first byte to its last.
    Whole,
    /// As what it has different from the one before.
    Difference,
}

impl From<&Result<Option<Form>, FetchError>> for Fetch {
    fn from(fetched: &Result<Option<Form>, FetchError>) -> Self {
        match fetched {
            Ok(None) => Self::Unchanged,
            Ok(Some(Form::Whole)) => Self::Taken,
            Ok(Some(Form::Difference)) => Self::Updated,
            Err(FetchError::Http(HttpError::Connect(_))) => Self::Unreachable,
            Err(FetchError::Http(HttpError::Timeout(_))) => Self::Timeout,
            Err(FetchError::Http(HttpError::Refused { .. })) => Self::Refused,
            Err(FetchError::Http(_)) => Self::Garbled,
            Err(FetchError::Consensus(_) | FetchError::Update(_)) => Self::Invalid,
        }
    }
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
    /// Who has given the newest consensus.
    last: Option<String>,
}

impl Fetcher {
    /// Asks who has given the newest consensus, and then one after the other until somebody has a newer one, or none is due.
    async fn refresh(&mut self) {
        let mut sources = self.sources();
        if let Some(last) = &self.last
            && let Some(at) = sources.iter().position(|url| url == last)
        {
            sources.rotate_left(at);
        }
        for url in sources {
            match self.fetch(&url).await {
                Ok(Some(_)) => self.last = Some(url),
                // One that has nothing newer may be cut off from the others, or lie.
                Ok(None) => {}
                Err(error) => tracing::debug!(source = %url, %error, "cannot fetch the consensus"),
            }
            if self.directory.is_fresh() {
                return;
            }
        }
    }

    /// Fetches from one source, as little as it takes: what is different from the consensus that is held, else the whole one.
    /// Says how it came, if it was news.
    async fn fetch(&self, source: &str) -> Result<Option<Form>, FetchError> {
        let held = self.directory.current();
        if let Some(held) = &held {
            match self.counted(self.fetch_update(source, held).await) {
                // It does not know what an update is, or gives one that is of no use.
                Err(FetchError::Http(HttpError::Refused { status: StatusCode::NOT_FOUND, .. })) => {}
                Err(error @ (FetchError::Update(_) | FetchError::Consensus(_))) => {
                    tracing::debug!(%source, %error, "cannot use what the consensus is said to have different");
                }
                outcome => return outcome,
            }
        }
        self.counted(self.fetch_whole(source, held.as_deref()).await)
    }

    fn counted(&self, fetched: Result<Option<Form>, FetchError>) -> Result<Option<Form>, FetchError> {
        self.directory.metrics().fetches.of((&fetched).into()).increment();
        fetched
    }

    async fn fetch_update(&self, source: &str, held: &Consensus) -> Result<Option<Form>, FetchError> {
        let url = format!("{source}{UPDATE_PATH}{}", held.digest());
        let body = client::get(&url, None, MAX_UPDATE_LEN).await?.body.unwrap_or_default();
        let update = ConsensusUpdate::decode(&body)?;
        let form = match update {
            ConsensusUpdate::Difference(_) => Form::Difference,
            ConsensusUpdate::Whole(_) | ConsensusUpdate::Unchanged => Form::Whole,
        };
        match update.apply(Some(held))? {
            Some(newest) => self.take(&newest, form).await,
            None => Ok(None),
        }
    }

    async fn fetch_whole(&self, source: &str, held: Option<&Consensus>) -> Result<Option<Form>, FetchError> {
        let etag = held.and_then(|held| HeaderValue::try_from(format!("\"{}\"", held.digest())).ok());
        let fetched = client::get(&format!("{source}{CONSENSUS_PATH}"), etag.as_ref(), MAX_CONSENSUS_LEN).await?;
        match fetched.body {
            Some(body) => self.take(&body, Form::Whole).await,
            None => Ok(None),
        }
    }

    async fn take(&self, bytes: &[u8], form: Form) -> Result<Option<Form>, FetchError> {
        let newer = self.directory.accept(bytes).await?;
        if newer {
            let relays = self.directory.current().map_or(0, |consensus| consensus.relays().len());
            tracing::info!(relays, "a new consensus");
        }
        Ok(newer.then_some(form))
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
mod tests;
