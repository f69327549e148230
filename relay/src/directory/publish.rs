//! Tells the authorities that a relay is there, again and again.

use std::sync::Arc;
use std::time::Duration;

use allium_shared::crypto::keys::{IdentityKeypair, SIGNATURE_LEN};
use allium_shared::netdir::{Authority, RelayDescriptor, RelayEntry};
use axum::body::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Directory;
use crate::clock::Clock;
use crate::http::client::{self, HttpError};
use crate::shutdown::Shutdown;

/// Where an authority takes descriptors.
pub const DESCRIPTOR_PATH: &str = "/directory/descriptor";

/// How soon an authority that could not be reached is tried again; the pause doubles from here.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Publishes to all authorities until the end, also at once whenever the entry changes, each at its own pace so that a dead
/// one holds up no other. `certificate` is the family's, where the entry names one.
pub async fn run(
    keypair: &IdentityKeypair,
    mut entry: watch::Receiver<RelayEntry>,
    certificate: Option<[u8; SIGNATURE_LEN]>,
    directory: Arc<Directory>,
    every: Duration,
    clock: Clock,
    mut shutdown: Shutdown,
) {
    let published = clock.now().unix.as_secs();
    let started = clock.now().instant;
    let entry_now = entry.borrow_and_update().clone();
    let mut descriptor = RelayDescriptor { published, uptime: 0, entry: entry_now, certificate };
    let authorities = Arc::clone(directory.authorities());
    let sender = watch::Sender::new(Bytes::from(descriptor.sign(keypair, authorities.network())));
    let mut publishers = JoinSet::new();
    for authority in authorities.iter() {
        publishers.spawn(publish_to(authority.clone(), Arc::clone(&directory), sender.subscribe(), every));
    }
    loop {
        tokio::select! {
            () = shutdown.wait() => return,
            () = tokio::time::sleep(every) => {}
            Ok(()) = entry.changed() => descriptor.entry = entry.borrow_and_update().clone(),
        }
        // Authorities take only what is later, also when the clock has been set back a little.
        let now = clock.now();
        descriptor.published = now.unix.as_secs().max(descriptor.published + 1);
        descriptor.uptime = now.instant.saturating_since(started).as_secs();
        sender.send_replace(descriptor.sign(keypair, authorities.network()).into());
    }
}

async fn publish_to(
    authority: Authority,
    directory: Arc<Directory>,
    mut descriptors: watch::Receiver<Bytes>,
    every: Duration,
) {
    let mut failing = false;
    loop {
        let descriptor = descriptors.borrow_and_update().clone();
        let mut pause = FIRST_PAUSE;
        loop {
            let Err(error) = post(&directory, &authority, &descriptor).await else {
                failing = false;
                break;
            };
            if !failing {
                tracing::warn!(authority = %authority.nickname, %error, "an authority does not take our descriptor");
                failing = true;
            }
            // Asked again, it would give the same answer.
            if matches!(error, HttpError::Refused { .. }) || descriptors.has_changed().unwrap_or(true) {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(every);
        }
        if descriptors.changed().await.is_err() {
            return;
        }
    }
}

/// Hands the descriptor to an authority, at the first of its addresses where it answers.
async fn post(directory: &Directory, authority: &Authority, descriptor: &Bytes) -> Result<(), HttpError> {
    let mut outcome = Err(HttpError::Scheme);
    for url in directory.authority_urls(&authority.key) {
        outcome = client::post(&format!("{url}{DESCRIPTOR_PATH}"), descriptor.clone()).await;
        // A refusal is an answer; a wrong address gives none.
        if matches!(outcome, Ok(()) | Err(HttpError::Refused { .. })) {
            break;
        }
    }
    outcome
}
