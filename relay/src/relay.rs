//! Runs a relay.

use std::io;
use std::sync::Arc;

use allium_shared::netdir::{FamilyKeypair, RelayEntry, SoftwareVersion};
use allium_shared::relay::keys as circuit_keys;
use allium_shared::relay::link::LinkKeys;
use allium_shared::relay::onion_keys::OnionKeys;
use allium_shared::relay::services::{SharedUserKeys, relay_services};
use axum::Router;
use axum::extract::{State, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::{RelayConfig, Trust};
use crate::directory::fetch::{self, Schedule, Sources};
use crate::directory::trust::{self, TrustError};
use crate::directory::{Directory, publish, routes};
use crate::http::server::{self, ListenError};
use crate::http::tls_listener::{self, TlsError, TlsListener};
use crate::keys::{self, KeysError};
use crate::metrics::{Source, admin, node};
use crate::services::{DirectoryMirror, UserKeysFile};
use crate::shutdown::Shutdown;
use crate::switchboard::{Direction, Switchboard};
use crate::{link, onion_keys, websocket};

/// Why a relay does not run.
#[derive(Debug, Error)]
pub enum RelayError {
    /// A descriptor has no room for it.
    #[error("secure-url and exit-policy together are longer than a descriptor may have them")]
    TooLong,
    /// No keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// No authorities.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Nobody can connect.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Nothing is served by TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No randomness, or no threads.
    #[error("the system gives no randomness or no threads: {0}")]
    System(#[from] io::Error),
}

/// Runs a relay until the end.
pub async fn run(config: RelayConfig, shutdown: Shutdown) -> Result<(), RelayError> {
    let listener = server::listen(config.listen).await?;
    run_on(listener, config, shutdown).await
}

/// Runs a relay on a socket that is open already.
pub async fn run_on(listener: TcpListener, config: RelayConfig, shutdown: Shutdown) -> Result<(), RelayError> {
    let admin = admin::listen(config.admin).await?;
    let secure = TlsListener::open(config.tls.as_ref()).await?;
    let clock = Clock::start();
    let stored = onion_keys::Stored::open(config.data.clone(), config.key_times, clock.now())?;
    let (keypair, link) = (stored.keys.identity.clone(), stored.keys.link.clone());
    let onion = OnionKeys::new(stored.keys.onion.clone());
    let authorities = Arc::new(match &config.trust {
        Trust::File(file) => trust::from_file(file)?,
        Trust::Directories(urls) => trust::pinned_or_fetch(&config.data, urls).await?,
    });
    let identity = keypair.identity();
    tracing::info!(nickname = %config.nickname, network = %authorities.network(), "relay starts");

    let directory = Arc::new(Directory::open(Arc::clone(&authorities), clock, Some(&config.data)));
    let mut entry =
        RelayEntry::new(identity, link.public(), onion.public(), config.roles, config.nickname.clone(), config.url);
    entry.version = SoftwareVersion::own();
    entry.secure_url = config.secure_url;
    entry.weight = config.weight;
    entry.exit_policy = config.exit_policy;
    let family = config.family_key.as_deref().map(keys::family).transpose()?.map(FamilyKeypair::new);
    entry.family = family.as_ref().map(FamilyKeypair::identity);
    if entry.is_too_long() {
        return Err(RelayError::TooLong);
    }
    let certificate = family.map(|family| family.certify(authorities.network(), &identity));
    let (user_keys_file, user_keys) = UserKeysFile::open(&config.data, clock);
    let mirror = DirectoryMirror(Arc::clone(&directory));
    let user_keys = SharedUserKeys::new(user_keys);
    let services = Arc::new(relay_services(mirror, &user_keys, config.source));
    let circuits = Arc::new(circuit_keys::RelayKeys { identity, onion, services });
    let network = *authorities.network().as_bytes();
    let keys = Arc::new(LinkKeys { network, link, circuits: Arc::clone(&circuits) });
    let switchboard = Switchboard::new(keys, Arc::clone(&directory), clock, config.queue_memory, link::spawn)?;
    let sources: Vec<Arc<dyn Source>> =
        vec![Arc::new(node::Node::start("relay")), Arc::clone(&directory) as _, Arc::clone(&switchboard) as _];
    let health = routes::health("relay", config.nickname.as_str(), Arc::clone(&directory));
    let router = Router::new().route(link::PATH, any(upgrade)).with_state(switchboard).merge(routes::router(
        "relay",
        config.nickname.as_str(),
        Arc::clone(&directory),
    ));
    let schedule = Schedule { every: config.fetch_every, sources: Sources::Authorities { except: None } };
    let (entry, published) = watch::channel(entry);
    let listed = {
        let entry = published.clone();
        // Roles and weight are for the authorities to say.
        move |consensus: &allium_shared::netdir::Consensus| {
            let entry = entry.borrow();
            consensus.relay(&identity).is_some_and(|listed| {
                (listed.link_key, listed.onion_key, &listed.url) == (entry.link_key, entry.onion_key, &entry.url)
            })
        }
    };
    tokio::join!(
        server::serve(listener, router.clone(), shutdown.clone()),
        tls_listener::serve(secure, router, shutdown.clone()),
        admin::serve(admin, sources, health, shutdown.clone()),
        publish::run(
            &keypair,
            published,
            certificate,
            Arc::clone(&directory),
            config.publish_every,
            clock,
            shutdown.clone()
        ),
        fetch::run(directory, schedule, listed, shutdown.clone()),
        onion_keys::run(stored, circuits, entry, clock, shutdown.clone()),
        user_keys_file.run(user_keys, clock, shutdown),
    );
    Ok(())
}

/// Takes a link that somebody opens.
pub(crate) async fn upgrade(State(switchboard): State<Arc<Switchboard>>, upgrade: WebSocketUpgrade) -> Response {
    let Some(admission) = switchboard.admit(Direction::Inbound) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "this relay has all the links that it can have").into_response();
    };
    websocket::bounded(upgrade).on_upgrade(async move |socket| link::serve(socket, admission, switchboard).await)
}
