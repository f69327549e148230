//! The onion keys of a relay: one that it publishes, and for a while the one before it.
//!
//! A relay makes a new onion key now and then, so that whoever takes a relay one day cannot take the place of the relay of
//! last month. Clients go by lists of relays that are up to a day old, so the key before is answered for that long. Its secret
//! is wiped after that.
//!
//! An [`OnionRing`] is a plain value. [`OnionRing::review`] gives the one that follows it when time demands; the driver first
//! stores that, then hands it to the relay's [`OnionKeys`], and then publishes the new key: whatever it crashes in between, no
//! key that somebody was told of is lost.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rand_core::CryptoRng;

use crate::crypto::handshake::wanted_onion_key;
use crate::crypto::keys::{OnionPublic, OnionSecret};
use crate::time::UnixTime;
use crate::wire::{DecodeError, Reader, Writer};

/// Length of the longest encoding of a ring, in bytes.
pub const MAX_RING_LEN: usize = 32 + 8 + 1 + 32 + 8;

/// How long onion keys are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyTimes {
    /// A new key is made after so long.
    pub lifetime: Duration,
    /// The key before it is answered for so long after that; not longer than the lifetime, since there is only one before.
    pub overlap: Duration,
}

/// A secret with its public half, which takes long to compute.
#[derive(Clone, Debug)]
struct Key {
    public: OnionPublic,
    secret: OnionSecret,
}

impl From<OnionSecret> for Key {
    fn from(secret: OnionSecret) -> Self {
        Self { public: secret.public(), secret }
    }
}

/// The keys that a relay has at one time. Wiped when dropped.
#[derive(Clone, Debug)]
pub struct OnionRing {
    current: Key,
    made: UnixTime,
    /// The key before, and when it is over.
    previous: Option<(Key, UnixTime)>,
}

impl OnionRing {
    /// A first key, made now.
    pub fn new(secret: OnionSecret, now: UnixTime) -> Self {
        Self { current: secret.into(), made: now, previous: None }
    }

    /// The key that is published.
    pub const fn public(&self) -> OnionPublic {
        self.current.public
    }

    /// The ring that follows this one, if time demands one: a new key is due, or the one before is over.
    pub fn review(&self, now: UnixTime, times: &KeyTimes, rng: &mut impl CryptoRng) -> Option<Self> {
        if now >= after(self.made, times.lifetime) {
            let previous = Some((self.current.clone(), after(now, times.overlap)));
            return Some(Self { current: OnionSecret::generate(rng).into(), made: now, previous });
        }
        self.without_past(now)
    }

    /// The same without the key before, if that is over.
    pub fn without_past(&self, now: UnixTime) -> Option<Self> {
        let is_over = self.previous.as_ref().is_some_and(|(_, until)| now >= *until);
        is_over.then(|| Self { current: self.current.clone(), made: self.made, previous: None })
    }

    /// When [`Self::review`] will demand something.
    pub fn next_review(&self, times: &KeyTimes) -> UnixTime {
        let rotation = after(self.made, times.lifetime);
        self.previous.as_ref().map_or(rotation, |(_, until)| rotation.min(*until))
    }

    /// The secret of this public key, if it is in use.
    pub fn secret(&self, public: &OnionPublic) -> Option<&OnionSecret> {
        let previous = self.previous.as_ref().map(|(key, _)| key);
        [Some(&self.current), previous].into_iter().flatten().find(|key| key.public == *public).map(|key| &key.secret)
    }

    /// Writes `secret (32) ‖ when it was made, in milliseconds u64 ‖ number of keys before u8`, and for the key before
    /// `secret (32) ‖ when it is over u64`.
    pub fn encode(&self, writer: &mut Writer) {
        writer.raw(&*self.current.secret.to_bytes()).u64(self.made.as_millis());
        writer.u8(u8::from(self.previous.is_some()));
        if let Some((key, until)) = &self.previous {
            writer.raw(&*key.secret.to_bytes()).u64(until.as_millis());
        }
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// `now` corrects what a clock wrote that was ahead: no key was made later than now, and none stays longer than the
    /// times allow.
    ///
    /// # Errors
    ///
    /// If it is no ring.
    pub fn decode(reader: &mut Reader<'_>, now: UnixTime, times: &KeyTimes) -> Result<Self, DecodeError> {
        let current = OnionSecret::from_bytes(&reader.array()?).into();
        let made = UnixTime::from_millis(reader.u64()?).min(now);
        let previous = match reader.u8()? {
            0 => None,
            1 => {
                let key = OnionSecret::from_bytes(&reader.array()?).into();
                let until = UnixTime::from_millis(reader.u64()?);
                Some((key, until.min(after(now, times.overlap))))
            }
            _ => return Err(DecodeError::Invalid("the number of onion keys before")),
        };
        Ok(Self { current, made, previous })
    }
}

/// The onion keys of a running relay, which may change while it runs.
///
/// Read once for each handshake, by threads of their own: no lock is on a cell's way.
#[derive(Debug)]
pub struct OnionKeys(RwLock<Arc<OnionRing>>);

impl OnionKeys {
    /// The keys of a relay that starts.
    pub fn new(ring: OnionRing) -> Self {
        Self(RwLock::new(Arc::new(ring)))
    }

    /// The keys as they are now.
    pub fn ring(&self) -> Arc<OnionRing> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The key that is published.
    pub fn public(&self) -> OnionPublic {
        self.ring().public()
    }

    /// From now on these are the keys. What is not among them any more is wiped as soon as the last handshake is done that
    /// has begun with it.
    pub fn replace(&self, ring: OnionRing) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
    }
}

impl From<OnionSecret> for OnionKeys {
    /// One key that stays, for networks that do not last.
    fn from(secret: OnionSecret) -> Self {
        Self::new(OnionRing::new(secret, UnixTime::default()))
    }
}

/// The onion key that a client's handshake is for, as far as it says so.
pub(super) fn wanted(client_message: &[u8]) -> Option<OnionPublic> {
    wanted_onion_key(client_message).map(OnionPublic)
}

fn after(time: UnixTime, duration: Duration) -> UnixTime {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    UnixTime::from_millis(time.as_millis().saturating_add(millis))
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    use super::*;

    const TIMES: KeyTimes = KeyTimes { lifetime: Duration::from_secs(100), overlap: Duration::from_secs(30) };

    fn at(secs: u64) -> UnixTime {
        UnixTime::from_millis(secs * 1000)
    }

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(1)
    }

    /// A ring that was made at 1000 s and followed at 1100 s, and its two public keys, the older first.
    fn rotated() -> (OnionRing, OnionPublic, OnionPublic) {
        let ring = OnionRing::new(OnionSecret::generate(&mut rng()), at(1000));
        let old = ring.public();
        let ring = ring.review(at(1100), &TIMES, &mut ChaCha20Rng::seed_from_u64(2)).unwrap();
        let new = ring.public();
        (ring, old, new)
    }

    #[test]
    fn a_key_is_followed_after_its_lifetime_and_answered_through_the_overlap() {
        let ring = OnionRing::new(OnionSecret::generate(&mut rng()), at(1000));
        assert_eq!(ring.next_review(&TIMES), at(1100));
        assert!(ring.review(at(1099), &TIMES, &mut rng()).is_none());
        let (ring, old, new) = rotated();
        assert_ne!(old, new);
        assert_eq!(ring.next_review(&TIMES), at(1130));
        assert_eq!(ring.secret(&old).unwrap().public(), old);
        assert_eq!(ring.secret(&new).unwrap().public(), new);
        assert!(ring.secret(&OnionPublic([1; 32])).is_none());
        assert!(ring.review(at(1129), &TIMES, &mut rng()).is_none());
        let ring = ring.review(at(1130), &TIMES, &mut rng()).unwrap();
        assert_eq!(ring.public(), new);
        assert!(ring.secret(&old).is_none() && ring.secret(&new).is_some());
        assert_eq!(ring.next_review(&TIMES), at(1200));
    }

    #[test]
    fn after_a_long_sleep_the_old_key_gets_its_overlap_and_the_one_before_it_goes() {
        let (ring, oldest, old) = rotated();
        let ring = ring.review(at(5000), &TIMES, &mut ChaCha20Rng::seed_from_u64(3)).unwrap();
        assert!(ring.secret(&oldest).is_none());
        assert!(ring.secret(&old).is_some());
        assert_eq!(ring.next_review(&TIMES), at(5030));
    }

    #[test]
    fn a_wiped_key_is_nowhere_in_what_is_stored() {
        let (ring, old, _) = rotated();
        let old = ring.secret(&old).unwrap().to_bytes();
        let has_old = |ring: &OnionRing| {
            let mut writer = Writer::new();
            ring.encode(&mut writer);
            writer.as_slice().windows(32).any(|window| window == &old[..])
        };
        assert!(has_old(&ring));
        assert!(!has_old(&ring.without_past(at(1130)).unwrap()));
    }

    #[test]
    fn a_restart_in_the_middle_changes_nothing() {
        for ring in [rotated().0, rotated().0.without_past(at(1130)).unwrap()] {
            let mut writer = Writer::new();
            ring.encode(&mut writer);
            assert!(writer.len() <= MAX_RING_LEN);
            let mut reader = Reader::new(writer.as_slice());
            let read = OnionRing::decode(&mut reader, at(1110), &TIMES).unwrap();
            reader.finish().unwrap();
            assert_eq!((read.public(), read.made), (ring.public(), ring.made));
            assert_eq!(read.next_review(&TIMES), ring.next_review(&TIMES));
            for cut in 0..writer.len() {
                let mut reader = Reader::new(&writer.as_slice()[..cut]);
                assert!(OnionRing::decode(&mut reader, at(1110), &TIMES).is_err());
            }
        }
    }

    #[test]
    fn a_clock_that_was_ahead_keeps_no_key_for_good() {
        let (ring, old, _) = rotated();
        let mut writer = Writer::new();
        ring.encode(&mut writer);
        let read = OnionRing::decode(&mut Reader::new(writer.as_slice()), at(10), &TIMES).unwrap();
        assert_eq!(read.next_review(&TIMES), at(40));
        assert!(read.review(at(40), &TIMES, &mut rng()).unwrap().secret(&old).is_none());
        assert_eq!(read.without_past(at(40)).unwrap().next_review(&TIMES), at(110));
    }

    #[test]
    fn handshakes_under_way_keep_the_key_that_they_began_with() {
        let (ring, old, new) = rotated();
        let keys = OnionKeys::new(ring.clone());
        let begun = keys.ring();
        keys.replace(ring.without_past(at(1130)).unwrap());
        assert!(begun.secret(&old).is_some());
        assert!(keys.ring().secret(&old).is_none());
        assert_eq!(keys.public(), new);
        assert_eq!(Arc::strong_count(&begun), 1, "with the last handshake the secret goes");
    }
}
