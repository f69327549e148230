//! Fetches the directory's documents from the page's server or an authority.

use futures_util::future::{Either, select};
use gloo_net::http::Request;
use gloo_timers::future::TimeoutFuture;
use web_sys::RequestCache;

use crate::strings;

/// Where the authorities' keys and addresses are.
pub const AUTHORITIES: &str = "/directory/authorities";

/// How long a directory may take to answer.
const PATIENCE_MILLIS: u32 = 20_000;

/// Fetches a document from a URL, or from a path at the page's server. The error is a clause for people.
pub async fn fetch(address: &str) -> Result<Vec<u8>, String> {
    let answer = Box::pin(fetch_patiently(address));
    match select(answer, TimeoutFuture::new(PATIENCE_MILLIS)).await {
        Either::Left((answer, _)) => answer,
        Either::Right(_) => Err(strings::DIRECTORY_SILENT.into()),
    }
}

async fn fetch_patiently(address: &str) -> Result<Vec<u8>, String> {
    let response = Request::get(address)
        .cache(RequestCache::NoStore)
        .send()
        .await
        .map_err(|_| strings::DIRECTORY_UNREACHABLE.to_owned())?;
    if !response.ok() {
        return Err(strings::directory_refused(response.status()));
    }
    response.binary().await.map_err(|_| strings::DIRECTORY_UNREACHABLE.to_owned())
}
