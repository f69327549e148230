//! What a relay says of itself, signed by its identity key.

use thiserror::Error;

use super::{NetworkId, RelayEntry};
use crate::crypto::keys::{IdentityKeypair, SIGNATURE_LEN, SignatureError};
use crate::wire::{DecodeError, Reader, Writer};

const DOMAIN: &str = "relay descriptor 1";
const VERSION: u16 = 1;

/// The longest encoding of a descriptor, in bytes.
pub const MAX_DESCRIPTOR_LEN: usize = 2 + 8 + RelayEntry::MAX_LEN + SIGNATURE_LEN;

/// Why a descriptor does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DescriptorError {
    /// It is malformed.
    #[error("the descriptor is malformed: {0}")]
    Decode(#[from] DecodeError),
    /// It was not signed by the identity that it names, or not for this network.
    #[error("the descriptor is not signed by its relay for this network: {0}")]
    Signature(SignatureError),
}

/// What a relay says of itself.
///
/// Encoding: version (2 bytes, 1) · published (8) · entry · Ed25519 signature (64), the entry being identity (32) ·
/// link key (32) · onion key (32) · roles (2) · nickname (length 1, text) · address (length 2, text). What is signed is
/// a domain string, the network's id and everything before the signature: a descriptor counts in one network only.
///
/// That a relay owns its identity is proven by the signature; that it owns the two other keys shows only when they are
/// used, since no link and no circuit can be made with keys whose secret halves are elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayDescriptor {
    /// When it was made, in seconds since 1970 by the relay's clock. A later one replaces an earlier one.
    pub published: u64,
    /// What the consensus is to repeat.
    pub entry: RelayEntry,
}

impl RelayDescriptor {
    /// The signed encoding. `keypair` has to be that of the identity in the entry, or nobody will take it.
    pub fn sign(&self, keypair: &IdentityKeypair, network: &NetworkId) -> Vec<u8> {
        let mut writer = Writer::with_capacity(MAX_DESCRIPTOR_LEN);
        writer.u16(VERSION).u64(self.published);
        self.entry.encode(&mut writer);
        let signature = keypair.sign(DOMAIN, &[network.as_bytes(), writer.as_slice()].concat());
        writer.raw(&signature);
        writer.into_bytes()
    }

    /// Decodes a signed encoding, and checks the signature.
    pub fn verify(bytes: &[u8], network: &NetworkId) -> Result<Self, DescriptorError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u16()?;
        if version != VERSION {
            return Err(DecodeError::Version { what: "the descriptor", version }.into());
        }
        let descriptor = Self { published: reader.u64()?, entry: RelayEntry::decode(&mut reader)? };
        let signed = bytes.get(..bytes.len() - reader.remaining()).unwrap_or_default();
        let signature = reader.array::<SIGNATURE_LEN>()?;
        reader.finish()?;
        let identity = &descriptor.entry.identity;
        identity
            .verify(DOMAIN, &[network.as_bytes(), signed].concat(), &signature)
            .map_err(DescriptorError::Signature)?;
        Ok(descriptor)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::{Role, Roles};
    use super::*;

    /// A relay's key pair and what it says of itself, the same for the same seed.
    pub(in super::super) fn relay(seed: u8) -> (IdentityKeypair, RelayDescriptor) {
        let keypair = IdentityKeypair::from_seed(&[seed; 32]);
        let entry = RelayEntry {
            identity: keypair.identity(),
            link_key: [seed ^ 0x40; 32].into(),
            onion_key: [seed ^ 0x80; 32].into(),
            roles: Roles::from_iter([Role::Guard, Role::Rendezvous]),
            nickname: format!("relay{seed}").parse().unwrap(),
            url: format!("ws://127.0.0.1:{}/link", 7100 + u16::from(seed)).parse().unwrap(),
        };
        (keypair, RelayDescriptor { published: 1_700_000_000 + u64::from(seed), entry })
    }

    const NETWORK: NetworkId = NetworkId::from_bytes([9; 32]);

    #[test]
    fn the_encoding_stays_as_it_is() {
        let (keypair, descriptor) = relay(1);
        let hex = data_encoding::HEXLOWER.encode(&descriptor.sign(&keypair, &NETWORK));
        assert_eq!(
            hex,
            concat!(
                "0001",
                "000000006553f101",
                "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c",
                "4141414141414141414141414141414141414141414141414141414141414141",
                "8181818181818181818181818181818181818181818181818181818181818181",
                "0009",
                "0672656c617931",
                "001877733a2f2f3132372e302e302e313a373130312f6c696e6b",
                "9cb9975aeed421e55e8f05025f902a8a979c25eccfa38f55cae689635a55f2fd",
                "bd0ae1fe5fd76745f07a0f29e15a020b67e3a9ba1e3c6c0baf0a795d4283d80f",
            )
        );
    }

    #[test]
    fn no_changed_byte_is_accepted() {
        let (keypair, descriptor) = relay(2);
        let bytes = descriptor.sign(&keypair, &NETWORK);
        assert_eq!(RelayDescriptor::verify(&bytes, &NETWORK), Ok(descriptor));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(RelayDescriptor::verify(&changed, &NETWORK).is_err(), "byte {at}");
            assert!(RelayDescriptor::verify(&bytes[..at], &NETWORK).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let (keypair, descriptor) = relay(3);
        let bytes = descriptor.sign(&keypair, &NETWORK);
        let elsewhere = NetworkId::from_bytes([8; 32]);
        assert_eq!(
            RelayDescriptor::verify(&bytes, &elsewhere),
            Err(DescriptorError::Signature(SignatureError::Signature))
        );
        let (other, _) = relay(4);
        let forged = descriptor.sign(&other, &NETWORK);
        assert_eq!(
            RelayDescriptor::verify(&forged, &NETWORK),
            Err(DescriptorError::Signature(SignatureError::Signature))
        );
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(RelayDescriptor::verify(&longer, &NETWORK), Err(DecodeError::Trailing(1).into()));
        let mut newer = bytes;
        newer[1] = 2;
        let error = DecodeError::Version { what: "the descriptor", version: 2 };
        assert_eq!(RelayDescriptor::verify(&newer, &NETWORK), Err(error.into()));
    }

    #[test]
    fn the_longest_descriptor_fits_its_bound() {
        let (keypair, mut descriptor) = relay(5);
        descriptor.entry.nickname = "x".repeat(19).parse().unwrap();
        descriptor.entry.url = format!("ws://h/{}", "x".repeat(249)).parse().unwrap();
        assert_eq!(descriptor.sign(&keypair, &NETWORK).len(), MAX_DESCRIPTOR_LEN);
    }

    proptest! {
        #[test]
        fn what_was_signed_is_read_again(
            seed: [u8; 32], keys: [[u8; 32]; 2], roles: u16, published: u64,
            nickname in "[0-9A-Za-z]{1,19}", host in "[a-z0-9.]{1,40}", port in 1u16.., path in "[a-z/]{0,20}",
        ) {
            let keypair = IdentityKeypair::from_seed(&seed);
            let descriptor = RelayDescriptor {
                published,
                entry: RelayEntry {
                    identity: keypair.identity(),
                    link_key: keys[0].into(),
                    onion_key: keys[1].into(),
                    roles: Roles::from_bits(roles),
                    nickname: nickname.parse().unwrap(),
                    url: format!("wss://{host}:{port}/{path}").parse().unwrap(),
                },
            };
            prop_assert_eq!(RelayDescriptor::verify(&descriptor.sign(&keypair, &NETWORK), &NETWORK), Ok(descriptor));
        }

        #[test]
        fn garbage_is_an_error(bytes: Vec<u8>) {
            prop_assert!(RelayDescriptor::verify(&bytes, &NETWORK).is_err());
        }
    }
}
