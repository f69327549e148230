//! What users have published at a relay, for whoever looks them up.
//!
//! A record is kept for a week after it was published last. When the store is full, new ones are refused until others have
//! run out. To throw out the one that would run out first would let new users in at any time, but would also let anybody who
//! does enough work throw out everybody else, without a word to those whose records are gone. A user who is refused is told,
//! and goes to another relay.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::services::{MAX_RECORD_LEN, UserId};
use crate::time::UnixTime;
use crate::wire::{DecodeError, Reader, Writer};

/// The records that a relay keeps at most.
pub const MAX_USER_KEYS: usize = 65_536;

/// How long a record is kept after it was published last.
pub const KEPT_TIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The longest that [`UserKeys::save`] gives, in bytes.
pub const MAX_SAVED_LEN: usize = 2 + MAX_USER_KEYS * (8 + 2 + MAX_RECORD_LEN);

const VERSION: u16 = 1;

/// The store is full, and the record is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_USER_KEYS} records are kept already")]
pub struct Full;

/// The records that users have published.
#[derive(Debug, Default)]
pub struct UserKeys {
    held: BTreeMap<UserId, Held>,
    /// Who runs out when: the same users as in `held`.
    ends: BTreeSet<(UnixTime, UserId)>,
    changes: u64,
}

#[derive(Debug)]
struct Held {
    record: Arc<[u8]>,
    until: UnixTime,
}

impl UserKeys {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many records are held, those included that have run out and not been thrown away yet.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// A number that grows with every change: who has saved at one number need not save again at the same.
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// What a user has published.
    pub fn find(&self, now: UnixTime, user: &UserId) -> Option<&Arc<[u8]>> {
        self.held.get(user).filter(|held| now < held.until).map(|held| &held.record)
    }

    /// Keeps a record for the next week; one that is there already is kept for longer.
    ///
    /// # Errors
    ///
    /// If there is no room for a new one.
    pub fn publish(&mut self, now: UnixTime, record: &[u8]) -> Result<UserId, Full> {
        let user = UserId::of(record);
        let until = later(now);
        match self.held.get_mut(&user) {
            Some(held) => {
                self.ends.remove(&(held.until, user));
                // A clock that was set back takes nothing away.
                held.until = held.until.max(until);
                self.ends.insert((held.until, user));
            }
            None => {
                self.expire(now);
                if self.held.len() >= MAX_USER_KEYS {
                    return Err(Full);
                }
                self.insert(user, record, until);
            }
        }
        self.changes += 1;
        Ok(user)
    }

    /// Throws away what has run out.
    pub fn expire(&mut self, now: UnixTime) {
        while let Some((until, user)) = self.ends.first().copied()
            && until <= now
        {
            self.ends.pop_first();
            self.held.remove(&user);
            self.changes += 1;
        }
    }

    /// All records, to be stored: version `u16`, then for each its end in milliseconds `u64`, its length `u16`, and itself.
    pub fn save(&self) -> Vec<u8> {
        let len = self.held.values().map(|held| 8 + 2 + held.record.len()).sum::<usize>();
        let mut writer = Writer::with_capacity(2 + len);
        writer.u16(VERSION);
        for held in self.held.values() {
            writer.u64(held.until.as_millis());
            // No record is longer than two bytes can say.
            let _ = writer.bytes_u16(&held.record);
        }
        writer.into_bytes()
    }

    /// Takes back what [`save`](Self::save) gave, as far as it has not run out. What was read before an error stays.
    ///
    /// # Errors
    ///
    /// If the bytes are of another version, or damaged.
    pub fn restore(&mut self, now: UnixTime, bytes: &[u8]) -> Result<(), DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.version("the list of user keys", VERSION)?;
        while !reader.is_empty() && self.held.len() < MAX_USER_KEYS {
            let until = UnixTime::from_millis(reader.u64()?);
            let record = reader.bytes_u16("a record", MAX_RECORD_LEN)?;
            let user = UserId::of(record);
            if now < until && !self.held.contains_key(&user) {
                // Stored by a clock that was wrong, it would otherwise stay for good.
                self.insert(user, record, until.min(later(now)));
            }
        }
        Ok(())
    }

    fn insert(&mut self, user: UserId, record: &[u8], until: UnixTime) {
        self.held.insert(user, Held { record: record.into(), until });
        self.ends.insert((until, user));
    }
}

fn later(now: UnixTime) -> UnixTime {
    // A week has few milliseconds.
    UnixTime::from_millis(now.as_millis().saturating_add(KEPT_TIME.as_millis() as u64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WEEK: u64 = 7 * 24 * 60 * 60;

    fn at(secs: u64) -> UnixTime {
        UnixTime::from_millis(secs * 1000)
    }

    #[test]
    fn a_record_is_kept_for_a_week_after_the_last_time() {
        let mut keys = UserKeys::new();
        let user = keys.publish(at(0), b"record").unwrap();
        assert_eq!(user, UserId::of(b"record"));
        assert_eq!(keys.publish(at(100), b"record"), Ok(user));
        assert_eq!(keys.len(), 1);
        assert_eq!(keys.find(at(WEEK + 99), &user).map(AsRef::as_ref), Some(&b"record"[..]));
        assert_eq!(keys.find(at(WEEK + 100), &user), None);
        assert_eq!(keys.find(at(0), &UserId([0; 32])), None);
        keys.expire(at(WEEK + 99));
        assert_eq!(keys.len(), 1);
        keys.expire(at(WEEK + 100));
        assert!(keys.is_empty() && keys.ends.is_empty());
    }

    #[test]
    fn a_full_store_refuses_new_users_and_keeps_the_old_ones() {
        let mut keys = UserKeys::new();
        for n in 0..MAX_USER_KEYS as u32 {
            keys.publish(at(u64::from(n == 0)), &n.to_be_bytes()).unwrap();
        }
        assert_eq!(keys.publish(at(10), b"one more"), Err(Full));
        let first = keys.publish(at(10), &0_u32.to_be_bytes()).unwrap();
        assert!(keys.find(at(10), &first).is_some());
        // All but the first one, which was published again.
        assert!(keys.publish(at(WEEK), b"one more").is_ok());
        assert_eq!(keys.len(), 2);
        assert_eq!(keys.ends.len(), 2);
    }

    #[test]
    fn what_was_saved_is_restored() {
        let mut before = UserKeys::new();
        let longest = [9; MAX_RECORD_LEN];
        for (when, record) in [(0, &b"a"[..]), (50, b"bc"), (60, &longest)] {
            before.publish(at(when), record).unwrap();
        }
        let saved = before.save();
        let mut after = UserKeys::new();
        after.restore(at(WEEK + 20), &saved).unwrap();
        assert_eq!(after.len(), 2, "one has run out meanwhile");
        assert_eq!(after.find(at(WEEK + 59), &UserId::of(&longest)).map(AsRef::as_ref), Some(&longest[..]));
        assert_eq!(after.find(at(WEEK + 50), &UserId::of(b"bc")), None);
        assert!(saved.len() <= MAX_SAVED_LEN);
        assert_eq!(after.changes(), 0, "what came from the disk is on the disk");
    }

    #[test]
    fn a_damaged_list_is_an_error_and_keeps_what_came_before_the_damage() {
        let mut before = UserKeys::new();
        before.publish(at(0), b"a").unwrap();
        before.publish(at(0), b"b").unwrap();
        let saved = before.save();
        let mut after = UserKeys::new();
        assert!(after.restore(at(0), &saved[..saved.len() - 1]).is_err());
        assert_eq!(after.len(), 1);
        assert!(UserKeys::new().restore(at(0), b"").is_err());
        assert!(UserKeys::new().restore(at(0), b"\x00\x02").is_err());
    }

    #[test]
    fn a_clock_that_was_ahead_does_not_keep_a_record_for_good() {
        let mut before = UserKeys::new();
        let user = before.publish(at(1000 * WEEK), b"a").unwrap();
        let mut after = UserKeys::new();
        after.restore(at(0), &before.save()).unwrap();
        assert!(after.find(at(WEEK - 1), &user).is_some());
        assert_eq!(after.find(at(WEEK), &user), None);
    }

    proptest! {
        #[test]
        fn what_runs_out_is_what_is_held(steps: Vec<(u8, u32)>) {
            let mut keys = UserKeys::new();
            let mut now = 0;
            for (record, pause) in steps {
                now += u64::from(pause) / 1000;
                keys.publish(at(now), &[record % 16]).unwrap();
                prop_assert_eq!(keys.held.len(), keys.ends.len());
                prop_assert!(keys.ends.iter().all(|(until, user)| keys.held[user].until == *until));
            }
        }
    }
}
