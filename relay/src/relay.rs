//! Runs a relay.

use std::io;
use std::sync::Arc;

use allium_shared::crypto::keys::{LinkSecret, OnionSecret, RelayIdentity};
use allium_shared::netdir::{Nickname, RelayEntry, Roles};
use axum::Router;
use axum::extract::{State, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::config::{RelayConfig, Trust};
use crate::directory::fetch::{self, Schedule, Sources};
use crate::directory::trust::{self, TrustError};
use crate::directory::{Directory, publish, routes};
use crate::http::server::{self, ListenError};
use crate::keys::{KeysError, RelayKeys};
use crate::link;
use crate::shutdown::Shutdown;

/// Links that a relay has open at once, counting those that others have opened.
const MAX_LINKS: usize = 16_384;

/// Why a relay does not run.
#[derive(Debug, Error)]
pub enum RelayError {
    /// No keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// No authorities.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Nobody can connect.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// No randomness.
    #[error("the system gives no randomness: {0}")]
    Random(#[from] io::Error),
}

/// What all links of a relay share.
#[derive(Debug)]
pub struct Node {
    /// Who the relay is.
    pub identity: RelayIdentity,
    /// Its name for people.
    pub nickname: Nickname,
    /// What it may be used for.
    pub roles: Roles,
    /// Authenticates its links.
    pub link_secret: LinkSecret,
    /// Answers circuit handshakes.
    pub onion_secret: OnionSecret,
    /// Its copy of the directory: whom it links to, and whose links it takes.
    pub directory: Arc<Directory>,
    /// Its clocks.
    pub clock: Clock,
    /// When to end.
    pub shutdown: Shutdown,
}

/// Runs a relay until the end.
pub async fn run(config: RelayConfig, shutdown: Shutdown) -> Result<(), RelayError> {
    let listener = server::listen(config.listen).await?;
    run_on(listener, config, shutdown).await
}

/// Runs a relay on a socket that is open already.
pub async fn run_on(listener: TcpListener, config: RelayConfig, shutdown: Shutdown) -> Result<(), RelayError> {
    let RelayKeys { identity: keypair, link, onion } = RelayKeys::load_or_create(&config.data)?;
    let authorities = Arc::new(match &config.trust {
        Trust::File(file) => trust::from_file(file)?,
        Trust::Directories(urls) => trust::pinned_or_fetch(&config.data, urls).await?,
    });
    let identity = keypair.identity();
    tracing::info!(nickname = %config.nickname, network = %authorities.network(), "relay starts");

    let clock = Clock::start();
    let directory = Arc::new(Directory::open(Arc::clone(&authorities), clock, Some(&config.data)));
    let entry = RelayEntry {
        identity,
        link_key: link.public(),
        onion_key: onion.public(),
        roles: config.roles,
        nickname: config.nickname.clone(),
        url: config.url,
    };
    let node = Arc::new(Node {
        identity,
        nickname: config.nickname,
        roles: config.roles,
        link_secret: link,
        onion_secret: onion,
        directory: Arc::clone(&directory),
        clock,
        shutdown: shutdown.clone(),
    });
    let router = Router::new()
        .route(link::PATH, any(upgrade))
        .with_state(Arc::new(Links { node: Arc::clone(&node), permits: Arc::new(Semaphore::new(MAX_LINKS)) }))
        .merge(routes::router("relay", node.nickname.as_str(), Arc::clone(&directory)));
    let schedule = Schedule { every: config.fetch_every, sources: Sources::Authorities };
    let listed = {
        let entry = entry.clone();
        move |consensus: &allium_shared::netdir::Consensus| consensus.relay(&identity) == Some(&entry)
    };
    tokio::join!(
        server::serve(listener, router, shutdown.clone()),
        publish::run(&keypair, entry, authorities, config.publish_every, clock, shutdown.clone()),
        fetch::run(directory, schedule, listed, shutdown),
    );
    Ok(())
}

struct Links {
    node: Arc<Node>,
    permits: Arc<Semaphore>,
}

async fn upgrade(State(links): State<Arc<Links>>, upgrade: WebSocketUpgrade) -> Response {
    let Ok(permit) = Arc::clone(&links.permits).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "this relay has all the links that it can have").into_response();
    };
    let node = Arc::clone(&links.node);
    link::bounded(upgrade).on_upgrade(async move |socket| {
        link::serve_link(socket, node).await;
        drop(permit);
    })
}
