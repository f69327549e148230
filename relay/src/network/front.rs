//! The address that people open: the page, the directory, and links by nickname for development.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{self, WebSocket};
use axum::extract::{Path, State, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::{Sink, SinkExt, Stream, StreamExt, future};
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite;

use crate::directory::{Directory, routes};
use crate::page;
use crate::{dial, websocket};

/// Links that are passed on at once.
const MAX_LINKS: usize = 256;

/// How long one side may take for what the other has sent.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// How long both sides may take to hear that it is over.
const CLOSE_TIME: Duration = Duration::from_secs(1);

struct Links {
    directory: Arc<Directory>,
    permits: Arc<Semaphore>,
}

/// The front's routes.
pub fn router(directory: Arc<Directory>, page: PathBuf) -> Router {
    let links = Arc::new(Links { directory: Arc::clone(&directory), permits: Arc::new(Semaphore::new(MAX_LINKS)) });
    Router::new()
        .route("/link/{nickname}", any(pass_on))
        .with_state(links)
        .merge(routes::router("front", "front", directory))
        .merge(page::router(page))
}

/// Passes a link on to the relay of that name: a development server can proxy one address, but not every relay's.
async fn pass_on(State(links): State<Arc<Links>>, Path(nickname): Path<String>, upgrade: WebSocketUpgrade) -> Response {
    let consensus = links.directory.current();
    let relay = consensus
        .as_ref()
        .and_then(|consensus| consensus.relays().iter().find(|relay| relay.nickname.as_str() == nickname));
    let Some(url) = relay.map(|relay| relay.url.clone()) else {
        return (StatusCode::NOT_FOUND, "no relay has this nickname").into_response();
    };
    let Ok(permit) = Arc::clone(&links.permits).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many links").into_response();
    };
    let Ok(relay) = dial::connect(url.as_str()).await else {
        return (StatusCode::BAD_GATEWAY, "the relay does not answer").into_response();
    };
    websocket::bounded(upgrade).on_upgrade(async move |client| {
        join(client, relay).await;
        drop(permit);
    })
}

async fn join(client: WebSocket, relay: dial::Socket) {
    let (mut to_client, from_client) = client.split();
    let (mut to_relay, from_relay) = relay.split();
    // Records are passed on, and the relay's reason to close; pings are each side's own affair.
    let from_client = from_client.filter_map(|message| {
        future::ready(match message {
            Ok(ws::Message::Binary(bytes)) => Some(Ok(tungstenite::Message::Binary(bytes))),
            Ok(ws::Message::Ping(_) | ws::Message::Pong(_)) => None,
            _ => Some(Err(())),
        })
    });
    let from_relay = from_relay.filter_map(|message| {
        future::ready(match message {
            Ok(tungstenite::Message::Binary(bytes)) => Some(Ok(ws::Message::Binary(bytes))),
            Ok(tungstenite::Message::Close(frame)) => Some(Ok(ws::Message::Close(
                frame.map(|frame| ws::CloseFrame { code: frame.code.into(), reason: frame.reason.as_str().into() }),
            ))),
            Ok(tungstenite::Message::Ping(_) | tungstenite::Message::Pong(_)) => None,
            _ => Some(Err(())),
        })
    });
    tokio::select! {
        () = pump(from_client, &mut to_relay) => {}
        () = pump(from_relay, &mut to_client) => {}
    }
    let close = future::join(to_relay.close(), to_client.close());
    let _ = tokio::time::timeout(CLOSE_TIME, close).await;
}

/// Passes messages on until there are no more, or they are not taken in time.
async fn pump<M>(from: impl Stream<Item = Result<M, ()>>, to: &mut (impl Sink<M> + Unpin)) {
    let mut from = std::pin::pin!(from);
    while let Some(Ok(message)) = from.next().await {
        if !matches!(tokio::time::timeout(WRITE_TIME, to.send(message)).await, Ok(Ok(()))) {
            return;
        }
    }
}
