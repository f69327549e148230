//! Lets a relay's onion keys follow each other.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use allium_shared::netdir::RelayEntry;
use allium_shared::relay::keys as circuit_keys;
use allium_shared::relay::onion_keys::{KeyTimes, OnionRing};
use allium_shared::time::Now;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::keys::{KeysError, RelayKeys};
use crate::random;
use crate::shutdown::Shutdown;

/// How often the clock is looked at, and what could not be stored is tried again: somebody may set the clock meanwhile.
const LOOK: Duration = Duration::from_secs(60);

/// A relay's keys where they are stored.
#[derive(Debug)]
pub struct Stored {
    /// The data folder.
    pub data: PathBuf,
    /// What is in it.
    pub keys: RelayKeys,
    /// How long onion keys are in use.
    pub times: KeyTimes,
}

impl Stored {
    /// The keys in a data folder, with the onion keys as they have to be now; made if there are none.
    ///
    /// # Errors
    ///
    /// If the folder gives no keys, or does not take new ones.
    pub fn open(data: PathBuf, times: KeyTimes, now: Now) -> Result<Self, KeysError> {
        let keys = RelayKeys::load_or_create(&data, now.unix, &times)?;
        let mut stored = Self { data, keys, times };
        stored.review(now)?;
        Ok(stored)
    }

    /// Does what time demands; says whether there was anything to do. A new key is stored before anybody hears of it.
    fn review(&mut self, now: Now) -> Result<bool, KeysError> {
        let mut rng = random::rng().map_err(|source| KeysError::Io { path: self.data.clone(), source })?;
        let Some(ring) = self.keys.onion.review(now.unix, &self.times, &mut rng) else { return Ok(false) };
        let keys = RelayKeys { onion: ring, ..self.keys.clone() };
        keys.store(&self.data)?;
        self.keys = keys;
        Ok(true)
    }
}

/// Reviews the keys until the end: hands each ring to the relay's circuits, and says in `entry` which key is to be published.
pub async fn run(
    mut stored: Stored,
    circuits: Arc<circuit_keys::RelayKeys>,
    entry: watch::Sender<RelayEntry>,
    clock: Clock,
    mut shutdown: Shutdown,
) {
    let mut failed = false;
    loop {
        let now = clock.now();
        let due = stored.keys.onion.next_review(&stored.times).as_millis().saturating_sub(now.unix.as_millis());
        let pause = if failed { LOOK } else { LOOK.min(Duration::from_millis(due)) };
        if shutdown.unless(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        let now = clock.now();
        let reviewed = tokio::task::spawn_blocking(move || {
            let outcome = stored.review(now);
            (stored, outcome)
        });
        let Ok((back, outcome)) = reviewed.await else { return };
        stored = back;
        failed = outcome.is_err();
        match outcome {
            Ok(false) => {}
            Ok(true) => adopt(stored.keys.onion.clone(), &circuits, &entry),
            Err(error) => {
                tracing::error!(%error, "cannot store the onion keys: no new one is used");
                // A key that is over is not answered any more, even if the disk still has it.
                if let Some(ring) = circuits.onion.ring().without_past(now.unix) {
                    circuits.onion.replace(ring);
                }
            }
        }
    }
}

fn adopt(ring: OnionRing, circuits: &circuit_keys::RelayKeys, entry: &watch::Sender<RelayEntry>) {
    let key = ring.public();
    circuits.onion.replace(ring);
    let changed = entry.send_if_modified(|entry| {
        let changed = entry.onion_key != key;
        entry.onion_key = key;
        changed
    });
    if changed {
        tracing::info!(%key, "a new onion key");
    } else {
        tracing::info!("the onion key before is wiped");
    }
}

#[cfg(test)]
mod tests {
    use allium_shared::time::{Instant, UnixTime};

    use super::*;
    use crate::files::tests::TestDir;

    const TIMES: KeyTimes = KeyTimes { lifetime: Duration::from_secs(100), overlap: Duration::from_secs(30) };

    fn at(secs: u64) -> Now {
        Now { instant: Instant::from_millis(secs * 1000), unix: UnixTime::from_millis(secs * 1000) }
    }

    #[test]
    fn a_relay_that_was_away_begins_with_a_new_key_and_answers_for_the_old_one() {
        let dir = TestDir::new();
        let first = Stored::open(dir.0.clone(), TIMES, at(1000)).unwrap().keys.onion.public();
        let second = Stored::open(dir.0.clone(), TIMES, at(5000)).unwrap().keys.onion;
        assert_ne!(second.public(), first);
        assert!(second.secret(&first).is_some());
        let again = Stored::open(dir.0.clone(), TIMES, at(5029)).unwrap().keys.onion;
        assert_eq!(again.public(), second.public());
        assert!(again.secret(&first).is_some());
        let later = Stored::open(dir.0.clone(), TIMES, at(5030)).unwrap().keys.onion;
        assert_eq!(later.public(), second.public());
        assert!(later.secret(&first).is_none());
    }

    #[test]
    fn a_key_that_cannot_be_stored_is_not_used() {
        let dir = TestDir::new();
        let mut stored = Stored::open(dir.0.clone(), TIMES, at(1000)).unwrap();
        let key = stored.keys.onion.public();
        // Where the new file is to be written there is a folder.
        std::fs::create_dir(dir.0.join("keys.new")).unwrap();
        assert!(stored.review(at(1100)).is_err());
        assert_eq!(stored.keys.onion.public(), key);
        std::fs::remove_dir(dir.0.join("keys.new")).unwrap();
        assert!(stored.review(at(1100)).unwrap());
        assert_ne!(stored.keys.onion.public(), key);
    }
}
