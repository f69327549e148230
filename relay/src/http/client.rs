//! Small requests to other nodes, each on a connection of its own.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header, uri::InvalidUri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;

use crate::tls::connect::{self, ConnectError};

/// How long a request may take from beginning to end.
const REQUEST_TIME: Duration = Duration::from_secs(3);

/// The longest answer to a refused request that is passed on to people.
const MAX_REASON_LEN: usize = 512;

/// Why a request has failed.
#[derive(Debug, Error)]
pub enum HttpError {
    /// Not an address.
    #[error("it is not an address: {0}")]
    Address(#[from] InvalidUri),
    /// Not an `http://` or `https://` address with a host.
    #[error("the address does not begin with http:// or https:// and a host")]
    Scheme,
    /// Nothing came in time.
    #[error("there was no answer within {0} s")]
    Timeout(u64),
    /// There is nobody, or nobody with the right certificate.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke, or the peer does not speak HTTP.
    #[error("the connection failed: {0}")]
    Protocol(#[from] hyper::Error),
    /// The answer is longer than it may be.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The peer did not do it.
    #[error("it was answered with {status}: {reason}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The peer's reason.
        reason: String,
        /// What its clock says, where it tells.
        clock: Option<ClockReading>,
    },
}

impl HttpError {
    /// What the peer's clock says, where it has answered and tells.
    pub const fn clock(&self) -> Option<ClockReading> {
        match self {
            Self::Refused { clock, .. } => *clock,
            _ => None,
        }
    }
}

/// In this header of an answer a node tells the time, in milliseconds since 1970.
pub const TIME_HEADER: HeaderName = HeaderName::from_static("allium-time");

/// How a peer's clock and this machine's differ, by one answer. It is as true as the peer: nothing signs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// How many milliseconds the peer's clock is ahead of this one; less than nothing if it is behind.
    pub ahead_ms: i64,
    /// How far that may be wrong either way: the answer was made at some moment between question and answer.
    pub error: Duration,
}

impl ClockReading {
    /// What an answer tells that was asked for `since` and has come now.
    fn of(answer: &HeaderMap, since: Instant) -> Option<Self> {
        let theirs: i64 = answer.get(TIME_HEADER)?.to_str().ok()?.parse().ok()?;
        let error = since.elapsed() / 2;
        let ours = SystemTime::now().checked_sub(error)?.duration_since(UNIX_EPOCH).ok()?;
        Some(Self { ahead_ms: theirs.saturating_sub(i64::try_from(ours.as_millis()).ok()?), error })
    }
}

/// What was fetched.
#[derive(Debug)]
pub struct Fetched {
    /// The body; `None` when it is what the entity tag in the request names.
    pub body: Option<Bytes>,
    /// The body's entity tag, for the next time.
    pub etag: Option<HeaderValue>,
    /// What the peer's clock says, where it tells.
    pub clock: Option<ClockReading>,
}

/// Fetches a document of at most `max` bytes, unless it is still the one that `etag` names.
pub async fn get(url: &str, etag: Option<&HeaderValue>, max: usize) -> Result<Fetched, HttpError> {
    get_within(url, etag, max, REQUEST_TIME).await
}

/// The same with a time limit of one's own.
pub async fn get_within(
    url: &str,
    etag: Option<&HeaderValue>,
    max: usize,
    time: Duration,
) -> Result<Fetched, HttpError> {
    request(Method::GET, url, etag, Bytes::new(), max, time).await
}

/// Hands a document over.
pub async fn post(url: &str, body: Bytes) -> Result<(), HttpError> {
    request(Method::POST, url, None, body, MAX_REASON_LEN, REQUEST_TIME).await.map(|_| ())
}

async fn request(
    method: Method,
    url: &str,
    etag: Option<&HeaderValue>,
    body: Bytes,
    max: usize,
    time: Duration,
) -> Result<Fetched, HttpError> {
    let uri: Uri = url.parse()?;
    let request = exchange(method, &uri, etag, body, max);
    tokio::time::timeout(time, request).await.map_err(|_| HttpError::Timeout(time.as_secs()))?
}

async fn exchange(
    method: Method,
    uri: &Uri,
    etag: Option<&HeaderValue>,
    body: Bytes,
    max: usize,
) -> Result<Fetched, HttpError> {
    let (secure, port) = match uri.scheme_str() {
        Some("http") => (false, 80),
        Some("https") => (true, 443),
        _ => return Err(HttpError::Scheme),
    };
    let authority = uri.authority().ok_or(HttpError::Scheme)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = connect::connect(host, authority.port_u16().unwrap_or(port), secure).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let mut builder = Request::builder()
        .method(method)
        .uri(target)
        .header(header::HOST, authority.as_str())
        .header(header::CONNECTION, "close");
    if let Some(etag) = etag {
        builder = builder.header(header::IF_NONE_MATCH, etag);
    }
    // All parts come from a URI that was parsed.
    let request = builder.body(Full::new(body)).map_err(|_| HttpError::Scheme)?;
    let answer = async {
        let asked = Instant::now();
        let response = sender.send_request(request).await?;
        let clock = ClockReading::of(response.headers(), asked);
        let status = response.status();
        let etag = response.headers().get(header::ETAG).cloned();
        let refused = !status.is_success() && status != StatusCode::NOT_MODIFIED;
        let max = if refused { MAX_REASON_LEN } else { max };
        let body = match Limited::new(response.into_body(), max).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) if refused => Bytes::new(),
            Err(error) if error.is::<LengthLimitError>() => return Err(HttpError::TooLong(max)),
            Err(error) => {
                return Err(error
                    .downcast()
                    .map_or(HttpError::Timeout(REQUEST_TIME.as_secs()), |error| HttpError::Protocol(*error)));
            }
        };
        if refused {
            // The reason ends up in somebody's terminal.
            let reason = String::from_utf8_lossy(&body).chars().filter(|char| !char.is_control()).collect();
            return Err(HttpError::Refused { status, reason, clock });
        }
        Ok(Fetched { body: (status != StatusCode::NOT_MODIFIED).then_some(body), etag, clock })
    };
    // The answer's future borrows from the connection's task, so both run here and end together.
    let mut connection = std::pin::pin!(connection);
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            // The whole answer may already be here when the peer closes.
            Ok(()) => answer.await,
            Err(error) => Err(error.into()),
        },
    }
}
