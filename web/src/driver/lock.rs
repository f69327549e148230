//! The profile's passphrase: asked for at the start, changed while the engine runs.

use futures_channel::mpsc;
use futures_util::StreamExt as _;
use yew::Callback;

use super::{LockRequest, Notice};
use crate::storage::{Locked, ProfileError, Storage};
use crate::strings;

/// Waits for the passphrase that opens the profile; `None` if the page closes first.
pub(super) async fn unlock(
    locked: &Locked,
    requests: &mut mpsc::UnboundedReceiver<LockRequest>,
    tell: &Callback<Notice>,
) -> Option<Storage> {
    tell.emit(Notice::Locked);
    loop {
        let LockRequest::Unlock(passphrase) = requests.next().await? else { continue };
        match locked.unlock(passphrase.as_str()) {
            Ok(storage) => return Some(storage),
            Err(error) => tell.emit(Notice::UnlockRefused(strings::profile_failed(error))),
        }
    }
}

/// Carries out changes of the passphrase until the profile is locked or the page closes.
pub(super) async fn serve(
    storage: &Storage,
    requests: &mut mpsc::UnboundedReceiver<LockRequest>,
    tell: &Callback<Notice>,
) {
    while let Some(request) = requests.next().await {
        let changed = match request {
            LockRequest::Lock => return,
            // It is open already.
            LockRequest::Unlock(_) => continue,
            LockRequest::Set { current, new } => storage.set_passphrase(current.as_str(), new.as_str()).await,
            LockRequest::Remove { current } => storage.remove_passphrase(current.as_str()).await,
        };
        let told = match changed {
            Ok(()) => protection(storage).await,
            Err(error) => Err(error),
        };
        tell.emit(told.unwrap_or_else(|error| Notice::PassphraseRefused(strings::profile_failed(error))));
    }
}

/// What opens the profile, as a notice for the page.
pub(super) async fn protection(storage: &Storage) -> Result<Notice, ProfileError> {
    storage.protection().await.map(Notice::Protection)
}
