//! Which authorities count: those that the server of the page named when the profile began here, and no others since.

use allium_shared::client::api::Write;
use allium_shared::netdir::Authorities;
use futures_util::future::{Either, select};
use gloo_timers::future::TimeoutFuture;
use yew::Callback;

use super::Notice;
use super::stop::Stop;
use crate::directory;
use crate::storage::{Storage, StorageError};
use crate::strings;

/// Where the profile keeps them; the engine has no records of that name.
const KEY: &str = "page/authorities";

/// How long to wait before the directory is asked again; doubled each time up to the maximum.
const RETRY_MILLIS: u32 = 1_000;
const RETRY_MILLIS_MAX: u32 = 30_000;

/// How long the start waits for the server to name the authorities where they are known already.
const COMPARE_MILLIS: u32 = 5_000;

/// Takes what the profile keeps of the authorities out of its records.
///
/// # Errors
///
/// If it is damaged. To go on as if there were nothing would let the server choose anew.
pub(super) fn take_pinned(records: &mut Vec<(String, Vec<u8>)>) -> Result<Option<Authorities>, StorageError> {
    let at = records.iter().position(|(key, _)| key == KEY);
    let pinned = at.map(|at| records.remove(at).1);
    pinned.map(|json| Authorities::from_json(&json).map_err(|_| StorageError::Failed)).transpose()
}

/// The authorities of the profile: those that it keeps, else those that the server names, which are kept from now on.
///
/// A server that does not answer, or answers nonsense, takes nothing away from keys that are known. One that names others stops
/// the start: which of the two is right is nothing that a program could know.
pub(super) async fn authorities(
    storage: &Storage,
    pinned: Option<Authorities>,
    tell: &Callback<Notice>,
) -> Result<Authorities, Stop> {
    let Some(pinned) = pinned else { return first(storage, tell).await };
    let answer = Box::pin(directory::fetch(directory::AUTHORITIES));
    if let Either::Left((Ok(json), _)) = select(answer, TimeoutFuture::new(COMPARE_MILLIS)).await
        && let Ok(named) = Authorities::from_json(&json)
        && named.network() != pinned.network()
    {
        return Err(Stop::OtherAuthorities { kept: pinned.network().to_string(), named: named.network().to_string() });
    }
    // Not what the server says now: it might name a smaller quorum.
    Ok(pinned)
}

/// Asks for as long as it takes, and keeps what comes before anything is done by it.
async fn first(storage: &Storage, tell: &Callback<Notice>) -> Result<Authorities, Stop> {
    let mut pause = RETRY_MILLIS;
    loop {
        match directory::fetch(directory::AUTHORITIES).await {
            Ok(json) => {
                let authorities = Authorities::from_json(&json).map_err(|error| strings::directory_broken(&error))?;
                let write = Write { key: KEY.into(), value: Some(authorities.to_json().into_bytes()) };
                storage.write([&write]).await.map_err(strings::storage_failed)?;
                return Ok(authorities);
            }
            Err(problem) => tell.emit(Notice::DirectoryTrouble(problem)),
        }
        TimeoutFuture::new(pause).await;
        pause = (pause * 2).min(RETRY_MILLIS_MAX);
    }
}
