//! The keys that sign votes and consensuses, and those that bind the relays of one operator.

use core::fmt;

use super::NetworkId;
use crate::crypto::keys::{IdentityKeypair, KEY_LEN, RelayIdentity, SIGNATURE_LEN, SignatureError};

/// An Ed25519 public key with a type of its own, so that one who signs never passes for another.
macro_rules! signing_identity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(RelayIdentity);

        impl $name {
            /// The key's bytes.
            pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
                self.0.as_bytes()
            }

            /// The whole key in hexadecimal, 64 digits.
            pub fn to_hex(&self) -> String {
                self.0.to_hex()
            }
        }

        impl From<[u8; KEY_LEN]> for $name {
            fn from(bytes: [u8; KEY_LEN]) -> Self {
                Self(bytes.into())
            }
        }

        /// The first 16 hexadecimal digits: enough to tell keys apart in logs.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

signing_identity! {
    /// Who an authority is: the Ed25519 public key that its signatures are checked with.
    ///
    /// A type of its own, so that a relay's key never passes for an authority's.
    AuthorityIdentity
}

impl AuthorityIdentity {
    /// Checks a signature that [`AuthorityKeypair::sign`] made in the same domain.
    pub(super) fn verify(
        &self,
        domain: &str,
        message: &[u8],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), SignatureError> {
        self.0.verify(domain, message, signature)
    }
}

/// The Ed25519 key pair behind an [`AuthorityIdentity`].
#[derive(Clone, Debug)]
pub struct AuthorityKeypair(IdentityKeypair);

impl AuthorityKeypair {
    /// The key pair of an authority.
    pub const fn new(keypair: IdentityKeypair) -> Self {
        Self(keypair)
    }

    /// The public half.
    pub fn identity(&self) -> AuthorityIdentity {
        AuthorityIdentity(self.0.identity())
    }

    pub(crate) fn sign(&self, domain: &str, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.0.sign(domain, message)
    }
}

const FAMILY_DOMAIN: &str = "relay family 1";

signing_identity! {
    /// A family of relays with one operator, by the Ed25519 key that has signed all its members.
    ///
    /// One key for all members, as in Tor's proposal 321, in place of lists in which every member has to name all others.
    FamilyIdentity
}

impl FamilyIdentity {
    /// Checks that the family's key has signed a member.
    pub(super) fn verify(
        &self,
        network: &NetworkId,
        member: &RelayIdentity,
        certificate: &[u8; SIGNATURE_LEN],
    ) -> Result<(), SignatureError> {
        self.0.verify(FAMILY_DOMAIN, &membership(network, member), certificate)
    }
}

fn membership(network: &NetworkId, member: &RelayIdentity) -> Vec<u8> {
    [&network.as_bytes()[..], member.as_bytes()].concat()
}

/// The Ed25519 key pair behind a [`FamilyIdentity`].
#[derive(Clone, Debug)]
pub struct FamilyKeypair(IdentityKeypair);

impl FamilyKeypair {
    /// The key pair of a family.
    pub const fn new(keypair: IdentityKeypair) -> Self {
        Self(keypair)
    }

    /// The public half.
    pub fn identity(&self) -> FamilyIdentity {
        FamilyIdentity(self.0.identity())
    }

    /// Signs a member: the certificate that its descriptors carry.
    pub fn certify(&self, network: &NetworkId, member: &RelayIdentity) -> [u8; SIGNATURE_LEN] {
        self.0.sign(FAMILY_DOMAIN, &membership(network, member))
    }
}
