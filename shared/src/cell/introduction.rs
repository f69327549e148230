//! Introductions: how a message reaches a client whose relay its sender does not choose.
//!
//! A client waits at an introduction relay with a list of *ids*, one for each contact and each open invite. Nobody but the
//! contact (or the holders of the invite) knows an id, and nothing relates the ids of one client to each other. To have
//! what comes for an id, one shows its *lock*, of which the id is a hash: so whoever knows only the id cannot take it away.
//! (Two contacts both derive the lock of an id of theirs: all that one of them could take is what itself would send.)
//!
//! ```text
//! Introduce1: id (16) ‖ nonce u64 ‖ handshake (1310), in three fragments
//! Introduce2: id (16) ‖ handshake (1310), in three fragments
//! ```

use core::fmt;

use rand_core::Rng;
use sha3::{Digest as _, Sha3_256};

use super::fragment::{Fragment, split};
use crate::crypto::derive::derive_short;
use crate::crypto::handshake::INTRODUCTION_LEN;
use crate::crypto::keys::RelayIdentity;
use crate::crypto::proof_of_work::ProofOfWork;

/// Length of a lock and of an id, in bytes.
pub const AUTH_KEY_LEN: usize = 16;

/// Locks in one `EstablishIntro`.
pub const AUTH_KEYS_PER_CELL: usize = 30;

/// Parts that a list of locks has at most.
pub const MAX_PARTS: u8 = 16;

/// The most that a relay asks of whoever brings an introduction, in zero bits.
pub const MAX_EFFORT: u8 = 24;

/// What one shows to have what comes for an id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IntroAuthKey(pub [u8; AUTH_KEY_LEN]);

impl IntroAuthKey {
    /// A lock that nobody knows.
    pub fn random(rng: &mut impl Rng) -> Self {
        let mut auth_key = [0; AUTH_KEY_LEN];
        rng.fill_bytes(&mut auth_key);
        Self(auth_key)
    }

    /// Its id.
    pub fn id(&self) -> IntroductionId {
        IntroductionId(derive_short("introduction id", &[&self.0]))
    }
}

impl fmt::Debug for IntroAuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock(..)")
    }
}

/// For whom an introduction is, as its relay knows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IntroductionId(pub [u8; AUTH_KEY_LEN]);

impl fmt::Debug for IntroductionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IntroductionId(..)")
    }
}

/// What a visitor hands to an introduction relay.
#[derive(Clone, PartialEq, Eq)]
pub struct Introduction {
    /// For whom it is.
    pub id: IntroductionId,
    /// The proof of work; any number where the relay wants none.
    pub nonce: u64,
    /// The handshake of [`crate::crypto::handshake`], with what it carries.
    pub handshake: [u8; INTRODUCTION_LEN],
}

impl Introduction {
    /// The message in an `Introduce1`'s three fragments.
    pub fn to_relay(&self) -> [Fragment; 3] {
        split(&[&self.id.0[..], &self.nonce.to_be_bytes(), &self.handshake].concat())
    }

    /// Reads what an `Introduce1`'s three fragments make; nothing if that is too short.
    pub fn at_relay(message: &[u8]) -> Option<Self> {
        let (id, rest) = message.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let handshake = *rest.first_chunk()?;
        Some(Self { id: IntroductionId(*id), nonce: u64::from_be_bytes(*nonce), handshake })
    }

    /// The message in an `Introduce2`'s three fragments.
    pub fn to_host(&self) -> [Fragment; 3] {
        split(&[&self.id.0[..], &self.handshake].concat())
    }

    /// Reads what an `Introduce2`'s three fragments make; nothing if that is too short.
    pub fn at_host(message: &[u8]) -> Option<Self> {
        let (id, rest) = message.split_first_chunk()?;
        Some(Self { id: IntroductionId(*id), nonce: 0, handshake: *rest.first_chunk()? })
    }

    /// The work that a relay asks for while it has too much to do: with the seed that it gave, for this introduction alone.
    pub fn work(&self, relay: &RelayIdentity, seed: &[u8; 16]) -> ProofOfWork {
        let digest = Sha3_256::digest(self.handshake);
        ProofOfWork::new("introduction work", &[relay.as_bytes(), seed, &self.id.0, &digest])
    }
}

impl fmt::Debug for Introduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introduction").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fragment::Assembler;
    use super::*;

    fn assembled(fragments: &[Fragment; 3]) -> Vec<u8> {
        let mut assembler = Assembler::default();
        fragments.iter().find_map(|fragment| assembler.push(fragment).unwrap()).unwrap()
    }

    #[test]
    fn an_introduction_passes_unchanged() {
        let mut handshake = [0; INTRODUCTION_LEN];
        (0..).zip(&mut handshake).for_each(|(n, byte): (u32, &mut u8)| *byte = n as u8);
        let sent = Introduction { id: IntroductionId([7; 16]), nonce: 8, handshake };
        let at_relay = Introduction::at_relay(&assembled(&sent.to_relay())).unwrap();
        assert_eq!(at_relay, sent);
        let at_host = Introduction::at_host(&assembled(&at_relay.to_host())).unwrap();
        assert_eq!((at_host.id, at_host.handshake), (sent.id, sent.handshake));
        assert_eq!(Introduction::at_relay(&[0; 100]), None);
    }

    #[test]
    fn only_the_lock_gives_the_id() {
        assert_eq!(IntroAuthKey([1; 16]).id(), IntroAuthKey([1; 16]).id());
        assert_ne!(IntroAuthKey([1; 16]).id(), IntroAuthKey([2; 16]).id());
    }

    #[test]
    fn work_is_for_one_introduction_at_one_relay() {
        let introduction = |id: u8, byte: u8| Introduction {
            id: IntroductionId([id; 16]),
            nonce: 0,
            handshake: [byte; INTRODUCTION_LEN],
        };
        let zeros =
            |one: &Introduction, relay: u8, seed: u8| one.work(&RelayIdentity::from([relay; 32]), &[seed; 16]).zeros(0);
        let all: Vec<u32> = (0..40).map(|n| zeros(&introduction(n, 1), 1, 1)).collect();
        for other in [(2, 1, 1), (1, 2, 1), (1, 1, 2)] {
            let changed: Vec<u32> = (0..40).map(|n| zeros(&introduction(n, other.0), other.1, other.2)).collect();
            assert_ne!(all, changed);
        }
    }
}
