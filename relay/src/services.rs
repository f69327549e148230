//! The services of a relay, as far as they touch its disk and its copy of the directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use allium_shared::netdir::ConsensusDigest;
use allium_shared::relay::services::{Document, Mirror, SharedUserKeys};
use allium_shared::relay::user_keys::{MAX_SAVED_LEN, UserKeys};

use crate::clock::Clock;
use crate::directory::Directory;
use crate::files;
use crate::shutdown::Shutdown;

const FILE: &str = "user-keys";

/// How often what users have published is stored, if something has changed: a crash loses no more than that.
const STORE_EVERY: Duration = Duration::from_secs(120);

/// A relay's copy of the directory, for those at whose circuits' ends it is.
#[derive(Debug)]
pub struct DirectoryMirror(pub Arc<Directory>);

impl Mirror for DirectoryMirror {
    fn update(&self, held: Option<&[u8; 32]>) -> Option<Document> {
        let held = held.copied().map(ConsensusDigest::from_bytes);
        self.0.update_for(held.as_ref()).map(|update| update as Document)
    }
}

/// What users have published at a relay, on its disk.
#[derive(Debug)]
pub struct UserKeysFile {
    path: PathBuf,
    /// What [`UserKeys::changes`] said when it was stored last.
    stored: u64,
}

impl UserKeysFile {
    /// What is in a data folder, as far as it can be used.
    pub fn open(data: &Path, clock: Clock) -> (Self, UserKeys) {
        let path = data.join(FILE);
        let mut keys = UserKeys::new();
        match files::read_bounded(&path, MAX_SAVED_LEN) {
            Ok(None) => {}
            Ok(Some(bytes)) => {
                if let Err(error) = keys.restore(clock.now().unix, &bytes) {
                    tracing::warn!(%error, "some of the stored user keys are of no use");
                }
            }
            Err(error) => tracing::warn!(%error, "cannot read the stored user keys"),
        }
        (Self { path, stored: keys.changes() }, keys)
    }

    /// Stores what users publish, until the end and then once more.
    pub async fn run(mut self, keys: SharedUserKeys, clock: Clock, mut shutdown: Shutdown) {
        loop {
            let ended = shutdown.unless(tokio::time::sleep(STORE_EVERY)).await.is_none();
            let keys = keys.clone();
            let stored = tokio::task::spawn_blocking(move || {
                self.store(&keys, clock);
                self
            });
            match stored.await {
                Ok(back) if !ended => self = back,
                _ => return,
            }
        }
    }

    fn store(&mut self, keys: &SharedUserKeys, clock: Clock) {
        let (changes, bytes) = {
            let mut keys = keys.lock();
            keys.expire(clock.now().unix);
            if keys.changes() == self.stored {
                return;
            }
            (keys.changes(), keys.save())
        };
        match files::write_atomic(&self.path, &bytes) {
            Ok(()) => self.stored = changes,
            Err(error) => tracing::warn!(%error, "cannot store the user keys"),
        }
    }
}

#[cfg(test)]
mod tests {
    use allium_shared::services::UserId;

    use super::*;
    use crate::files::tests::TestDir;

    #[tokio::test]
    async fn what_users_publish_is_there_after_a_restart() {
        let dir = TestDir::new();
        let clock = Clock::start();
        let (file, keys) = UserKeysFile::open(&dir.0, clock);
        let keys = SharedUserKeys::new(keys);
        let (trigger, shutdown) = crate::shutdown::channel();
        let running = tokio::spawn(file.run(keys.clone(), clock, shutdown));
        let user = keys.lock().publish(clock.now().unix, b"record").unwrap();
        trigger.shut_down();
        running.await.unwrap();
        let (_, keys) = UserKeysFile::open(&dir.0, clock);
        assert_eq!(keys.find(clock.now().unix, &user).map(AsRef::as_ref), Some(&b"record"[..]));
        assert_eq!(user, UserId::of(b"record"));
    }

    #[test]
    fn what_has_not_changed_is_not_written() {
        let dir = TestDir::new();
        let clock = Clock::start();
        let (mut file, keys) = UserKeysFile::open(&dir.0, clock);
        let keys = SharedUserKeys::new(keys);
        file.store(&keys, clock);
        assert!(!dir.0.join(FILE).exists());
        keys.lock().publish(clock.now().unix, b"record").unwrap();
        file.store(&keys, clock);
        std::fs::remove_file(dir.0.join(FILE)).unwrap();
        file.store(&keys, clock);
        assert!(!dir.0.join(FILE).exists());
    }

    #[test]
    fn a_damaged_file_keeps_no_relay_from_starting() {
        let dir = TestDir::new();
        std::fs::write(dir.0.join(FILE), b"garbage").unwrap();
        let (_, keys) = UserKeysFile::open(&dir.0, Clock::start());
        assert!(keys.is_empty());
    }
}
