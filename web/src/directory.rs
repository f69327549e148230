//! The directory's documents, fetched from the server that served the page, or from an authority.

use futures_util::future::{Either, select};
use gloo_net::http::Request;
use gloo_timers::future::TimeoutFuture;
use web_sys::RequestCache;

use crate::strings;

/// Where the authorities' keys and addresses are.
pub const AUTHORITIES: &str = "/directory/authorities";

/// A directory that has not answered for so long counts as not answering.
const PATIENCE_MILLIS: u32 = 20_000;

/// Fetches a document from an address, or from a path at the server of the page; an error says in a clause why there is none.
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
