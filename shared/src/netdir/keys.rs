//! The keys that sign a consensus.

use core::fmt;

use crate::crypto::keys::{IdentityKeypair, KEY_LEN, RelayIdentity, SIGNATURE_LEN, SignatureError};

/// Who an authority is: the Ed25519 public key that its signatures are checked with.
///
/// A type of its own, so that a relay's key never passes for an authority's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorityIdentity(RelayIdentity);

impl AuthorityIdentity {
    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
        self.0.as_bytes()
    }

    /// The whole key in hexadecimal, 64 digits.
    pub fn to_hex(&self) -> String {
        self.0.to_hex()
    }

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

impl From<[u8; KEY_LEN]> for AuthorityIdentity {
    fn from(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes.into())
    }
}

/// The first 16 hexadecimal digits: enough to tell keys apart in logs.
impl fmt::Display for AuthorityIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for AuthorityIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorityIdentity({self})")
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

    pub(super) fn sign(&self, domain: &str, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.0.sign(domain, message)
    }
}
