//! Which authorities to trust: those that the page's server named when the profile was created here, and no others since.

use allium_shared::client::api::Write;
use allium_shared::netdir::Authorities;
use futures_util::future::{Either, select};
use gloo_timers::future::TimeoutFuture;
use yew::Callback;

use super::Notice;
use crate::directory;
use crate::storage::{Storage, StorageError};
use crate::strings;

/// The record that holds them; the engine uses no such key.
const KEY: &str = "page/authorities";

/// How long to wait before the directory is asked again; doubled each time up to the maximum.
const RETRY_MILLIS: u32 = 1_000;
const RETRY_MILLIS_MAX: u32 = 30_000;

/// How long the start waits for the server to name the authorities if they are known already.
const COMPARE_MILLIS: u32 = 5_000;

/// Removes the stored authorities from the profile's records and returns them.
///
/// # Errors
///
/// If the record is damaged. Continuing without it would let the server choose again.
pub(super) fn take_pinned(records: &mut Vec<(String, Vec<u8>)>) -> Result<Option<Authorities>, StorageError> {
    let at = records.iter().position(|(key, _)| key == KEY);
    let pinned = at.map(|at| records.remove(at).1);
    pinned.map(|json| Authorities::from_json(&json).map_err(|_| StorageError::Failed)).transpose()
}

/// The authorities of the profile: the stored ones, or else those that the server names, which are then stored.
///
/// A server that doesn't answer, or answers nonsense, changes nothing about known keys. One that names others stops the
/// start: a program can't know which of the two is right.
///
/// # Errors
///
/// The notice for the page: the server names other authorities, or the first ones can't be read or stored.
pub(super) async fn authorities(
    storage: &Storage,
    pinned: Option<Authorities>,
    tell: &Callback<Notice>,
) -> Result<Authorities, Notice> {
    let Some(pinned) = pinned else { return first(storage, tell).await };
    let answer = Box::pin(directory::fetch(directory::AUTHORITIES));
    if let Either::Left((Ok(json), _)) = select(answer, TimeoutFuture::new(COMPARE_MILLIS)).await
        && let Ok(named) = Authorities::from_json(&json)
        && named.network() != pinned.network()
    {
        return Err(Notice::OtherAuthorities {
            kept: pinned.network().to_string(),
            named: named.network().to_string(),
        });
    }
    // Not the server's current answer: it might name a smaller quorum.
    Ok(pinned)
}

/// Asks until there is an answer, and stores it before it is used.
async fn first(storage: &Storage, tell: &Callback<Notice>) -> Result<Authorities, Notice> {
    let mut pause = RETRY_MILLIS;
    loop {
        match directory::fetch(directory::AUTHORITIES).await {
            Ok(json) => {
                let authorities =
                    Authorities::from_json(&json).map_err(|error| Notice::Failed(strings::directory_broken(&error)))?;
                let write = Write { key: KEY.into(), value: Some(authorities.to_json().into_bytes()) };
                storage.write([&write]).await.map_err(Notice::storage_failed)?;
                return Ok(authorities);
            }
            Err(problem) => tell.emit(Notice::DirectoryTrouble(problem)),
        }
        TimeoutFuture::new(pause).await;
        pause = (pause * 2).min(RETRY_MILLIS_MAX);
    }
}
