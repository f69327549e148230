//! Runs a directory authority.
//!
//! The first of the configured authorities makes and signs the consensus from the descriptors that it holds; the others
//! hold descriptors too, and mirror what the first has signed.

mod rate;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use allium_shared::netdir::{
    Authorities, Authority, AuthorityIdentity, AuthorityKeypair, ConsensusError, MAX_CONSENSUS_LEN, MAX_DESCRIPTOR_LEN,
    PublishError, Published, Registry,
};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::future;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::config::AuthorityConfig;
use crate::directory::fetch::{self, Schedule, Sources};
use crate::directory::trust::{self, TrustError};
use crate::directory::{Directory, publish, routes};
use crate::http::server::{self, ListenError};
use crate::keys::{self, KeysError};
use crate::shutdown::Shutdown;
use crate::tls::listener::{self, TlsError, TlsListener};
use crate::{files, http, page};

const FILE: &str = "descriptors";

/// How often the first authority looks for relays that have gone.
const REVIEW_INTERVAL: Duration = Duration::from_secs(1);

/// How long the first authority waits after a change for others to come along.
const GATHER_TIME: Duration = Duration::from_millis(150);

/// How long a relay may take to hand over its descriptor.
const BODY_TIME: Duration = Duration::from_secs(5);

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
    /// Nothing is served by TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What other nodes have to know of this authority, as an entry of the list of authorities. Makes the key if need be.
pub fn entry(config: &AuthorityConfig) -> Result<Authority, KeysError> {
    let key = keys::authority(&config.data)?.identity();
    Ok(Authority { nickname: config.nickname.clone(), key, url: config.url.clone() })
}

struct Taking {
    registry: Mutex<Registry>,
    changed: Notify,
    clock: Clock,
    limiter: rate::Limiter,
}

/// Runs an authority until the end.
pub async fn run(config: AuthorityConfig, shutdown: Shutdown) -> Result<(), AuthorityError> {
    let listener = server::listen(config.listen).await?;
    run_on(listener, config, shutdown).await
}

/// Runs an authority on a socket that is open already.
pub async fn run_on(listener: TcpListener, config: AuthorityConfig, shutdown: Shutdown) -> Result<(), AuthorityError> {
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
    let signs = authorities.is_signer(&identity);
    tracing::info!(nickname = %config.nickname, network = %authorities.network(), signs, "authority starts");

    let clock = Clock::start();
    let directory = Arc::new(Directory::open(Arc::clone(&authorities), clock, Some(&config.data)));
    let file = config.data.join(FILE);
    let state = Arc::new(Taking {
        registry: Mutex::new(restored(Registry::new(*authorities.network(), config.registry), clock, &file)),
        changed: Notify::new(),
        clock,
        limiter: rate::Limiter::new(),
    });
    let mut router = Router::new()
        .route(publish::DESCRIPTOR_PATH, post(take_descriptor))
        .layer(DefaultBodyLimit::max(MAX_DESCRIPTOR_LEN))
        .with_state(Arc::clone(&state))
        .merge(routes::router("authority", config.nickname.as_str(), Arc::clone(&directory)));
    if let Some(page) = config.page {
        router = router.merge(page::router(page));
    }
    let serving = future::join(
        http::server::serve(listener, router.clone(), shutdown.clone()),
        listener::serve(secure, router, shutdown.clone()),
    );
    if signs {
        tokio::join!(serving, sign(state, directory, keypair, file, shutdown));
    } else {
        let schedule = Schedule { every: config.fetch_every, sources: Sources::Signer };
        tokio::join!(serving, fetch::run(directory, schedule, |consensus| !consensus.relays().is_empty(), shutdown));
    }
    Ok(())
}

fn restored(mut registry: Registry, clock: Clock, file: &Path) -> Registry {
    // Twice the consensus, since descriptors carry signatures.
    match files::read_bounded(file, 2 * MAX_CONSENSUS_LEN) {
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

impl Taking {
    fn registry(&self) -> std::sync::MutexGuard<'_, Registry> {
        // The registry is whole after every call, also after one that has panicked.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn take_descriptor(
    State(state): State<Arc<Taking>>,
    Extension(ConnectInfo(peer)): Extension<ConnectInfo<std::net::SocketAddr>>,
    request: axum::extract::Request,
) -> Response {
    let now = state.clock.now();
    if !state.limiter.allow(now.instant, peer.ip()) {
        return (StatusCode::TOO_MANY_REQUESTS, "too many descriptors").into_response();
    }
    let body = axum::body::to_bytes(request.into_body(), MAX_DESCRIPTOR_LEN);
    let bytes: Bytes = match tokio::time::timeout(BODY_TIME, body).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => return (StatusCode::PAYLOAD_TOO_LARGE, "longer than any descriptor").into_response(),
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "the descriptor did not come in time").into_response(),
    };
    let published = state.registry().publish(now, &bytes);
    match published {
        Ok(Published::Renewed) => StatusCode::OK.into_response(),
        Ok(Published::Changed) => {
            state.changed.notify_one();
            StatusCode::OK.into_response()
        }
        Err(error) => {
            let status = match error {
                PublishError::Descriptor(_) => StatusCode::BAD_REQUEST,
                PublishError::Full => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::CONFLICT,
            };
            (status, error.to_string()).into_response()
        }
    }
}

/// Makes a consensus whenever one is due; the registry bounds how many that are.
async fn sign(
    state: Arc<Taking>,
    directory: Arc<Directory>,
    keypair: AuthorityKeypair,
    file: PathBuf,
    mut shutdown: Shutdown,
) {
    loop {
        let waited = shutdown.unless(async {
            if tokio::time::timeout(REVIEW_INTERVAL, state.changed.notified()).await.is_ok() {
                tokio::time::sleep(GATHER_TIME).await;
            }
        });
        if waited.await.is_none() {
            return;
        }
        let now = state.clock.now();
        let (draft, stored) = {
            let mut registry = state.registry();
            let gone = registry.expire(now.instant);
            if !gone.is_empty() {
                tracing::info!(?gone, "relays have gone");
            }
            let draft = registry.draft(now, directory.current().as_deref());
            let stored = draft.as_ref().map(|_| registry.save());
            (draft, stored)
        };
        let (Some(draft), Some(stored)) = (draft, stored) else { continue };
        let relays = draft.relays.len();
        let accepted = match draft.sign(&[&keypair]) {
            Ok(bytes) => directory.accept(&bytes).await,
            Err(error) => Err::<bool, ConsensusError>(error),
        };
        match accepted {
            Ok(_) => tracing::info!(relays, "signed a consensus"),
            Err(error) => tracing::error!(%error, "cannot sign a consensus"),
        }
        let path = file.clone();
        let written = tokio::task::spawn_blocking(move || files::write_atomic(&path, &stored)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "cannot store the descriptors");
        }
    }
}
