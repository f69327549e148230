//! The long-lived keys of nodes: an Ed25519 identity, and X25519 keys for links and for circuit handshakes.
//!
//! Secrets are made from randomness that is passed in, are wiped when dropped, and show nothing in debug output. As bytes
//! they are 32 long; who stores them keeps the file to its owner.

use core::fmt;
use core::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use rand_core::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use x25519_dalek::{PublicKey, SharedSecret, StaticSecret};
use zeroize::Zeroizing;

/// Length of every key here as bytes, secret or public.
pub const KEY_LEN: usize = 32;

/// Length of a signature, in bytes.
pub const SIGNATURE_LEN: usize = 64;

/// What every signed text begins with, whatever its domain.
const SIGNATURE_CONTEXT: &[u8] = b"allium signature 1";

/// Why text is not a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a public key is {} hexadecimal digits", 2 * KEY_LEN)]
pub struct ParseKeyError;

/// Why a signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The identity is no point of the curve, or one of small order.
    #[error("the signer's identity is not an Ed25519 public key")]
    Identity,
    /// Another key, another domain or other bytes were signed.
    #[error("the signature is not the signer's, or not on these bytes")]
    Signature,
}

/// 32 bytes that are shown and stored in hexadecimal.
macro_rules! public_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; KEY_LEN]);

        impl $name {
            /// The key's bytes.
            pub fn as_bytes(&self) -> &[u8; KEY_LEN] {
                &self.0
            }

            /// The whole key in hexadecimal, 64 digits.
            pub fn to_hex(&self) -> String {
                HEXLOWER.encode(&self.0)
            }
        }

        impl From<[u8; KEY_LEN]> for $name {
            fn from(bytes: [u8; KEY_LEN]) -> Self {
                Self(bytes)
            }
        }

        /// The first 16 hexadecimal digits: enough to tell keys apart in logs.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        /// Reads 64 hexadecimal digits.
        impl FromStr for $name {
            type Err = ParseKeyError;

            fn from_str(text: &str) -> Result<Self, ParseKeyError> {
                let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| ParseKeyError)?;
                bytes.try_into().map(Self).map_err(|_| ParseKeyError)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.to_hex())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

public_key! {
    /// A user's Ed25519 key, by which others know them for sure.
    UserKey
}

/// An X25519 key pair for one purpose.
macro_rules! x25519_keys {
    ($(#[$secret_doc:meta])* $secret:ident, $(#[$public_doc:meta])* $public:ident) => {
        public_key! {
            $(#[$public_doc])*
            $public
        }

        $(#[$secret_doc])*
        #[derive(Clone)]
        pub struct $secret(StaticSecret);

        impl $secret {
            /// Makes a new key from the next 32 random bytes.
            pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
                let mut bytes = Zeroizing::new([0; KEY_LEN]);
                rng.fill_bytes(&mut *bytes);
                Self::from_bytes(&bytes)
            }

            /// Reads what [`to_bytes`](Self::to_bytes) wrote; any 32 bytes are a key.
            pub fn from_bytes(bytes: &[u8; KEY_LEN]) -> Self {
                Self(StaticSecret::from(*bytes))
            }

            /// The secret's bytes, to be stored.
            pub fn to_bytes(&self) -> Zeroizing<[u8; KEY_LEN]> {
                Zeroizing::new(self.0.to_bytes())
            }

            /// The public half.
            pub fn public(&self) -> $public {
                $public(PublicKey::from(&self.0).to_bytes())
            }
        }

        impl fmt::Debug for $secret {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($secret)).finish_non_exhaustive()
            }
        }
    };
}

public_key! {
    /// Who a node is: its Ed25519 public key.
    RelayIdentity
}

x25519_keys! {
    /// The secret by which a relay proves itself in link handshakes.
    LinkSecret,
    /// The key in the consensus that a relay's links are authenticated by.
    LinkPublic
}

x25519_keys! {
    /// The secret by which a relay answers circuit handshakes.
    OnionSecret,
    /// The key in the consensus that circuit handshakes with a relay are made to.
    OnionPublic
}

impl OnionSecret {
    /// The secret shared with a public key, or nothing if that key would make it known to everybody.
    pub(crate) fn agree(&self, public: &[u8; KEY_LEN]) -> Option<SharedSecret> {
        Some(self.0.diffie_hellman(&PublicKey::from(*public))).filter(SharedSecret::was_contributory)
    }
}

impl RelayIdentity {
    /// Checks a signature that [`IdentityKeypair::sign`] made in the same domain.
    ///
    /// Strict in the sense of RFC 8032: only canonical encodings, no keys of small order.
    pub fn verify(&self, domain: &str, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> Result<(), SignatureError> {
        self.verify_text(&signed_text(domain, message), signature)
    }

    /// Checks a signature of a text without a domain, as plain Ed25519 has it.
    pub(crate) fn verify_text(&self, text: &[u8], signature: &[u8; SIGNATURE_LEN]) -> Result<(), SignatureError> {
        VerifyingKey::from_bytes(&self.0)
            .map_err(|_| SignatureError::Identity)?
            .verify_strict(text, &Signature::from_bytes(signature))
            .map_err(|_| SignatureError::Signature)
    }
}

/// The Ed25519 key pair behind a [`RelayIdentity`].
#[derive(Clone)]
pub struct IdentityKeypair(SigningKey);

impl IdentityKeypair {
    /// Makes a new key pair from the next 32 random bytes.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut seed = Zeroizing::new([0; KEY_LEN]);
        rng.fill_bytes(&mut *seed);
        Self::from_seed(&seed)
    }

    /// Reads what [`to_seed`](Self::to_seed) wrote; any 32 bytes are a seed.
    pub fn from_seed(seed: &[u8; KEY_LEN]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The secret's bytes, to be stored.
    pub fn to_seed(&self) -> Zeroizing<[u8; KEY_LEN]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn identity(&self) -> RelayIdentity {
        RelayIdentity(self.0.verifying_key().to_bytes())
    }

    /// Signs a message in a domain.
    ///
    /// The domain says what the message is, as in `"relay descriptor 1"`: what is signed as one thing never passes for
    /// another.
    pub fn sign(&self, domain: &str, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.0.sign(&signed_text(domain, message)).to_bytes()
    }
}

impl fmt::Debug for IdentityKeypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IdentityKeypair").field(&self.identity()).finish()
    }
}

/// `context ‖ length of the domain (8 bytes, big-endian) ‖ domain ‖ message`.
fn signed_text(domain: &str, message: &[u8]) -> Vec<u8> {
    [SIGNATURE_CONTEXT, &(domain.len() as u64).to_be_bytes(), domain.as_bytes(), message].concat()
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    use super::*;

    fn keypair() -> IdentityKeypair {
        IdentityKeypair::generate(&mut ChaCha20Rng::seed_from_u64(1))
    }

    #[test]
    fn a_signature_holds_for_its_key_domain_and_message() {
        let keypair = keypair();
        let signature = keypair.sign("descriptor", b"text");
        let identity = keypair.identity();
        assert_eq!(identity.verify("descriptor", b"text", &signature), Ok(()));

        let wrong = Err(SignatureError::Signature);
        assert_eq!(identity.verify("descriptor", b"texT", &signature), wrong);
        assert_eq!(identity.verify("vote", b"text", &signature), wrong);
        assert_eq!(identity.verify("descriptort", b"ext", &signature), wrong);
        let mut changed = signature;
        changed[3] ^= 1;
        assert_eq!(identity.verify("descriptor", b"text", &changed), wrong);
        let other = IdentityKeypair::from_seed(&[9; 32]).identity();
        assert_eq!(other.verify("descriptor", b"text", &signature), wrong);
    }

    #[test]
    fn identities_that_are_no_keys_verify_nothing() {
        let signature = keypair().sign("descriptor", b"text");
        let not_a_point = RelayIdentity([2; 32]);
        assert_eq!(not_a_point.verify("descriptor", b"text", &signature), Err(SignatureError::Identity));
        let small_order = RelayIdentity(hex!("0100000000000000000000000000000000000000000000000000000000000000"));
        assert!(small_order.verify("descriptor", b"text", &[0; 64]).is_err());
    }

    #[test]
    fn the_signed_text_does_not_change() {
        // Ed25519 signatures are deterministic: another value means that old documents no longer verify.
        let signature = IdentityKeypair::from_seed(&[1; 32]).sign("domain", b"message");
        assert_eq!(
            signature,
            hex!(
                "8bc61edaf306a624377e18275c0046ef8564e357ab454b2823105bb3902462d0"
                "3c4078eaa0336c9287ba51cce6f5ad3c87a6d8f05a5eb4ac6be84e2a649aeb02"
            )
        );
    }

    #[test]
    fn keys_survive_storage() {
        let keypair = keypair();
        assert_eq!(IdentityKeypair::from_seed(&keypair.to_seed()).identity(), keypair.identity());
        let link = LinkSecret::generate(&mut ChaCha20Rng::seed_from_u64(2));
        assert_eq!(LinkSecret::from_bytes(&link.to_bytes()).public(), link.public());
        let onion = OnionSecret::generate(&mut ChaCha20Rng::seed_from_u64(3));
        assert_eq!(OnionSecret::from_bytes(&onion.to_bytes()).public(), onion.public());

        let text = serde_json::to_string(&onion.public()).unwrap();
        assert_eq!(serde_json::from_str::<OnionPublic>(&text).unwrap(), onion.public());
        assert_eq!(onion.public().to_hex().to_uppercase().parse(), Ok(onion.public()));
        assert_eq!("00".parse::<OnionPublic>(), Err(ParseKeyError));
        assert_eq!("zz".parse::<OnionPublic>(), Err(ParseKeyError));
    }

    #[test]
    fn an_agreement_with_a_key_of_small_order_is_refused() {
        let secret = OnionSecret::from_bytes(&[5; 32]);
        assert!(secret.agree(&[0; 32]).is_none());
        assert!(secret.agree(&[9; 32]).is_some());
    }

    #[test]
    fn debug_output_shows_no_secret() {
        assert_eq!(format!("{:?}", LinkSecret::from_bytes(&[7; 32])), "LinkSecret { .. }");
        assert_eq!(format!("{}", RelayIdentity([0xab; 32])), "abababababababab");
        assert_eq!(
            format!("{:?}", IdentityKeypair::from_seed(&[7; 32])),
            "IdentityKeypair(RelayIdentity(ea4a6c63e29c520a))"
        );
    }
}
