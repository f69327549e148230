//! Serves a node's copy of the directory.

use std::sync::Arc;

use allium_shared::netdir::ConsensusDigest;
use axum::body::{Body, Bytes};
use axum::extract::{Path as UrlPath, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Deserialize, Serialize};

use super::Directory;
use crate::metrics::directory::Answer;

/// What a node says of itself at `/healthz`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Health {
    /// `authority`, `relay` or `front`.
    pub role: String,
    /// Its name.
    pub nickname: String,
    /// The consensus that it holds, if any.
    pub consensus: Option<HeldConsensus>,
}

/// Which consensus a node holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldConsensus {
    /// How many relays are in it.
    pub relays: usize,
    /// The digest, in hexadecimal.
    pub digest: String,
}

impl Health {
    /// What a node of this role and name says.
    pub fn new(role: &str, nickname: &str, directory: &Directory) -> Self {
        let consensus = directory.current().map(|consensus| HeldConsensus {
            relays: consensus.relays().len(),
            digest: consensus.digest().to_string(),
        });
        Self { role: role.to_owned(), nickname: nickname.to_owned(), consensus }
    }
}

/// `GET /directory/authorities`, `GET /directory/consensus`, `GET /directory/update/{digest}` and `GET /healthz`.
pub fn router(role: &'static str, nickname: &str, directory: Arc<Directory>) -> Router {
    Router::new()
        .route("/directory/authorities", get(authorities))
        .route("/directory/consensus", get(consensus))
        .route("/directory/update/{digest}", get(update))
        .with_state(Arc::clone(&directory))
        .merge(health(role, nickname, directory))
}

/// `GET /healthz` alone.
pub fn health(role: &'static str, nickname: &str, directory: Arc<Directory>) -> Router {
    let nickname = nickname.to_owned();
    let health = move |State(directory): State<Arc<Directory>>| async move {
        ([(header::CACHE_CONTROL, "no-store")], Json(Health::new(role, &nickname, &directory)))
    };
    Router::new().route("/healthz", get(health)).with_state(directory)
}

/// Pages from anywhere may read what is public anyway.
const ANY_ORIGIN: (header::HeaderName, HeaderValue) =
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));

async fn authorities(State(directory): State<Arc<Directory>>) -> Response {
    directory.metrics().answers.of(Answer::Authorities).increment();
    let headers = [
        ANY_ORIGIN,
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, directory.authorities().to_json()).into_response()
}

async fn update(State(directory): State<Arc<Directory>>, UrlPath(digest): UrlPath<String>) -> Response {
    let bytes = HEXLOWER_PERMISSIVE.decode(digest.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    let Some(held) = bytes.map(ConsensusDigest::from_bytes) else {
        return (StatusCode::BAD_REQUEST, [ANY_ORIGIN], "a digest has 64 hexadecimal digits").into_response();
    };
    let answered = |answer| directory.metrics().answers.of(answer).increment();
    let Some(update) = directory.update_for(Some(&held)) else {
        answered(Answer::Missing);
        return nothing_yet();
    };
    answered(Answer::Update);
    struct Shared(Arc<Vec<u8>>);
    impl AsRef<[u8]> for Shared {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    let headers = [
        ANY_ORIGIN,
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, Body::from(Bytes::from_owner(Shared(update)))).into_response()
}

fn nothing_yet() -> Response {
    let headers = [ANY_ORIGIN, (header::RETRY_AFTER, HeaderValue::from_static("1"))];
    (StatusCode::SERVICE_UNAVAILABLE, headers, "there is no consensus yet").into_response()
}

async fn consensus(State(directory): State<Arc<Directory>>, request: HeaderMap) -> Response {
    let answered = |answer| directory.metrics().answers.of(answer).increment();
    let Some(consensus) = directory.current() else {
        answered(Answer::Missing);
        return nothing_yet();
    };
    let Ok(etag) = HeaderValue::try_from(format!("\"{}\"", consensus.digest())) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let same = request.get(header::IF_NONE_MATCH).is_some_and(|known| *known == etag);
    let headers = [
        ANY_ORIGIN,
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::ETAG, etag),
    ];
    if same {
        answered(Answer::Unchanged);
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    answered(Answer::Consensus);
    struct Owner(Arc<allium_shared::netdir::Consensus>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    // All answers share the one copy: slow readers hold no memory.
    (headers, Body::from(Bytes::from_owner(Owner(consensus)))).into_response()
}
