//! How one client reaches another: at introduction relays that the other has named, with an introduction that names a
//! rendezvous relay.
//!
//! Two contacts share a secret since their first handshake. Each of the two is a service towards the other, with a key of
//! its own for this one relationship, and tells the other its *points*: relays where it takes introductions. What it shows
//! such a relay is derived from the secret, the relay, and a salt that is never used again. So nothing that a relay sees
//! relates two contacts of a client, or one relay's view to another's, to anybody but the two themselves.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::cell::introduction::IntroAuthKey;
use crate::cell::message::{COOKIE_LEN, Cookie};
use crate::crypto::derive::{derive, derive_short};
use crate::crypto::handshake::PAYLOAD_LEN;
use crate::crypto::keys::RelayIdentity;
use crate::wire::{DecodeError, Reader, Writer};

/// At how many relays a client takes the introductions of one contact, at most.
pub const INTRO_POINTS_PER_CONTACT: usize = 3;

/// A relay where a client takes introductions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct IntroPoint {
    /// The relay.
    pub relay: RelayIdentity,
    /// Makes what is derived for this relay new each time that the client begins to use it.
    pub salt: [u8; 8],
}

impl IntroPoint {
    /// Writes it: `relay (32) ‖ salt (8)`.
    pub fn encode(&self, writer: &mut Writer) {
        writer.raw(self.relay.as_bytes());
        writer.raw(&self.salt);
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// If there are too few bytes.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { relay: RelayIdentity::from(reader.array::<32>()?), salt: reader.array()? })
    }
}

/// Which part somebody had in the first handshake of two contacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelationshipRole {
    /// Made the invite.
    Inviter,
    /// Came with it.
    Guest,
}

impl RelationshipRole {
    /// The part of the other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Inviter => Self::Guest,
            Self::Guest => Self::Inviter,
        }
    }

    const fn label(self) -> &'static [u8] {
        match self {
            Self::Inviter => b"inviter",
            Self::Guest => b"guest",
        }
    }
}

/// The secret that two contacts share since their first handshake.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct SharedSecret([u8; 32]);

impl core::fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SharedSecret(..)")
    }
}

impl SharedSecret {
    /// The secret with these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub(crate) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The lock by which whoever has this role takes the other's introductions at a point.
    pub fn auth_key(&self, host: RelationshipRole, point: &IntroPoint) -> IntroAuthKey {
        IntroAuthKey(derive_short("introduction lock", &[&self.0, host.label(), point.relay.as_bytes(), &point.salt]))
    }

    /// The verification string of handshakes with whoever has this role: it acts as a pre-shared key.
    pub fn verification(&self, host: RelationshipRole) -> [u8; 32] {
        derive("introduction verification", &[&self.0, host.label()])
    }

    /// Orders points alike whenever it is asked, and otherwise at random: each relationship prefers others.
    pub fn preference(&self, point: &IntroPoint) -> [u8; 8] {
        derive_short("introduction preference", &[&self.0, point.relay.as_bytes(), &point.salt])
    }
}

/// The identity that stands in a handshake for whoever has this key.
pub fn service_identity(key: &[u8; 32]) -> [u8; 32] {
    derive("service identity", &[key])
}

/// What an introduction asks for: to come to a rendezvous relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The rendezvous relay.
    pub relay: RelayIdentity,
    /// What to show it.
    pub cookie: Cookie,
    /// The number of the conversation's next circuit, by which two introductions that cross are told from one that replaces
    /// a circuit.
    pub generation: u64,
}

impl Invitation {
    /// As introductions carry it: `relay (32) ‖ cookie (20) ‖ generation u64`.
    pub fn encode(&self) -> [u8; PAYLOAD_LEN] {
        let mut bytes = [0; PAYLOAD_LEN];
        let (relay, rest) = bytes.split_at_mut(32);
        let (cookie, generation) = rest.split_at_mut(COOKIE_LEN);
        relay.copy_from_slice(self.relay.as_bytes());
        cookie.copy_from_slice(&self.cookie.0);
        generation.copy_from_slice(&self.generation.to_be_bytes());
        bytes
    }

    /// Reads it.
    ///
    /// # Errors
    ///
    /// Never: all bytes mean something.
    pub fn decode(bytes: &[u8; PAYLOAD_LEN]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let relay = RelayIdentity::from(reader.array::<32>()?);
        let (cookie, generation) = (Cookie(reader.array()?), reader.u64()?);
        reader.finish()?;
        Ok(Self { relay, cookie, generation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(relay: u8, salt: u8) -> IntroPoint {
        IntroPoint { relay: RelayIdentity::from([relay; 32]), salt: [salt; 8] }
    }

    #[test]
    fn no_two_locks_are_alike() {
        let secrets = [SharedSecret::new([7; 32]), SharedSecret::new([8; 32])];
        let mut auth_keys = Vec::new();
        for secret in &secrets {
            for role in [RelationshipRole::Inviter, RelationshipRole::Guest] {
                for point in [point(1, 1), point(1, 2), point(2, 1)] {
                    auth_keys.push(secret.auth_key(role, &point).0);
                }
            }
            assert_ne!(secret.verification(RelationshipRole::Inviter), secret.verification(RelationshipRole::Guest));
        }
        let all = auth_keys.len();
        auth_keys.sort_unstable();
        auth_keys.dedup();
        assert_eq!(auth_keys.len(), all);
    }

    #[test]
    fn an_invitation_survives() {
        let invitation =
            Invitation { relay: RelayIdentity::from([1; 32]), cookie: Cookie([2; 20]), generation: 0x0304 };
        assert_eq!(Invitation::decode(&invitation.encode()), Ok(invitation));
    }
}
