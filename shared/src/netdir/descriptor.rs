//! What a relay says of itself, signed by its identity key.

use thiserror::Error;

use super::{NetworkId, RelayEntry};
use crate::crypto::keys::{IdentityKeypair, SIGNATURE_LEN, SignatureError};
use crate::wire::{DecodeError, Reader, Writer};

const DOMAIN: &str = "relay descriptor 2";
const VERSION: u16 = 2;

/// The longest encoding of a descriptor, in bytes.
pub const MAX_DESCRIPTOR_LEN: usize = 2 + 8 + 8 + RelayEntry::MAX_LEN + SIGNATURE_LEN + SIGNATURE_LEN;

/// Why a descriptor does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DescriptorError {
    /// It is malformed.
    #[error("the descriptor is malformed: {0}")]
    Decode(#[from] DecodeError),
    /// It was not signed by the identity that it names, or not for this network.
    #[error("the descriptor is not signed by its relay for this network: {0}")]
    Signature(SignatureError),
    /// The family that it names has not signed it.
    #[error("the descriptor's certificate is not of the family that it names: {0}")]
    Family(SignatureError),
    /// It names a family and has no certificate.
    #[error("the descriptor names a family and has no certificate of it")]
    Certificate,
}

/// What a relay says of itself.
///
/// Encoding: version (2 bytes, 2) · published (8) · uptime (8) · entry · the family's certificate (64), where the entry
/// names a family · Ed25519 signature (64). What is signed is a domain string, the network's id and everything before the
/// signature: a descriptor counts in one network only.
///
/// That a relay owns its identity is proven by the signature; that it owns the two other keys shows only when they are
/// used, since no link and no circuit can be made with keys whose secret halves are elsewhere. Authorities try the link
/// key before they list a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayDescriptor {
    /// When it was made, in seconds since 1970 by the relay's clock. A later one replaces an earlier one.
    pub published: u64,
    /// For how many seconds the relay had been running.
    pub uptime: u64,
    /// What the consensus is to repeat.
    pub entry: RelayEntry,
    /// The signature of the family's key over the relay's identity, where the entry names a family.
    pub certificate: Option<[u8; SIGNATURE_LEN]>,
}

impl RelayDescriptor {
    /// The signed encoding. `keypair` has to be that of the identity in the entry, or nobody will take it.
    pub fn sign(&self, keypair: &IdentityKeypair, network: &NetworkId) -> Vec<u8> {
        let mut writer = Writer::with_capacity(MAX_DESCRIPTOR_LEN);
        writer.u16(VERSION).u64(self.published).u64(self.uptime);
        self.entry.encode(&mut writer);
        if let Some(certificate) = &self.certificate {
            writer.raw(certificate);
        }
        let signature = keypair.sign(DOMAIN, &[network.as_bytes(), writer.as_slice()].concat());
        writer.raw(&signature);
        writer.into_bytes()
    }

    /// Decodes a signed encoding, and checks the signatures.
    ///
    /// # Errors
    ///
    /// If it does not count in this network.
    pub fn verify(bytes: &[u8], network: &NetworkId) -> Result<Self, DescriptorError> {
        let descriptor = Self::decode(bytes)?;
        descriptor.check_signatures(bytes, network)?;
        Ok(descriptor)
    }

    /// Checks the signatures of what [`decode`](Self::decode) has read from these bytes.
    pub(super) fn check_signatures(&self, bytes: &[u8], network: &NetworkId) -> Result<(), DescriptorError> {
        let entry = &self.entry;
        if let (Some(family), Some(certificate)) = (&entry.family, &self.certificate) {
            family.verify(network, &entry.identity, certificate).map_err(DescriptorError::Family)?;
        }
        let (signed, signature) = bytes.split_at(bytes.len().saturating_sub(SIGNATURE_LEN));
        let signature = signature.try_into().map_err(|_| DecodeError::Invalid("the signature"))?;
        let message = [network.as_bytes(), signed].concat();
        entry.identity.verify(DOMAIN, &message, &signature).map_err(DescriptorError::Signature)
    }

    /// Decodes a signed encoding; whoever calls it has checked the signatures, or is about to.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DescriptorError> {
        let mut reader = Reader::new(bytes);
        reader.version("the descriptor", VERSION)?;
        let (published, uptime) = (reader.u64()?, reader.u64()?);
        let entry = RelayEntry::decode(&mut reader)?;
        let certificate = match entry.family {
            Some(_) if reader.remaining() == SIGNATURE_LEN => return Err(DescriptorError::Certificate),
            Some(_) => Some(reader.array()?),
            None => None,
        };
        reader.array::<SIGNATURE_LEN>()?;
        reader.finish()?;
        Ok(Self { published, uptime, entry, certificate })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::{FamilyKeypair, RelayRole, Roles};
    use super::*;

    /// A relay's key pair and what it says of itself, the same for the same seed.
    pub(in super::super) fn relay(seed: u8) -> (IdentityKeypair, RelayDescriptor) {
        let keypair = IdentityKeypair::from_seed(&[seed; 32]);
        let entry = RelayEntry::new(
            keypair.identity(),
            [seed ^ 0x40; 32].into(),
            [seed ^ 0x80; 32].into(),
            Roles::from_iter([RelayRole::Guard, RelayRole::Rendezvous]),
            format!("relay{seed}").parse().unwrap(),
            format!("ws://127.0.0.1:{}/link", 7100 + u16::from(seed)).parse().unwrap(),
        );
        let published = 1_700_000_000 + u64::from(seed);
        (keypair, RelayDescriptor { published, uptime: 60, entry, certificate: None })
    }

    const NETWORK: NetworkId = NetworkId::from_bytes([9; 32]);

    #[test]
    fn the_encoding_stays_as_it_is() {
        let (keypair, descriptor) = relay(1);
        let hex = data_encoding::HEXLOWER.encode(&descriptor.sign(&keypair, &NETWORK));
        assert_eq!(
            hex,
            concat!(
                "0002",
                "000000006553f101",
                "000000000000003c",
                "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c",
                "4141414141414141414141414141414141414141414141414141414141414141",
                "8181818181818181818181818181818181818181818181818181818181818181",
                "0009",
                "00000064",
                "0672656c617931",
                "001877733a2f2f3132372e302e302e313a373130312f6c696e6b",
                "00",
                "0000",
                "6635470487151268989f74a6de66b403b1e56c3ca41ed70af6cf0eb48735b418",
                "8817e684932a1c4f9594106e6d8d6b9e1b0ecf3bf53b240ab22c3bc09a0beb06",
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
        newer[1] = 3;
        let error = DecodeError::Version { what: "the descriptor", version: 3 };
        assert_eq!(RelayDescriptor::verify(&newer, &NETWORK), Err(error.into()));
    }

    #[test]
    fn a_family_has_to_have_signed_its_members() {
        let (keypair, mut descriptor) = relay(6);
        let family = FamilyKeypair::new(IdentityKeypair::from_seed(&[9; 32]));
        descriptor.entry.family = Some(family.identity());
        let verify = |descriptor: &RelayDescriptor| {
            RelayDescriptor::verify(&descriptor.sign(&keypair, &NETWORK), &NETWORK).map(|_| ())
        };
        assert_eq!(verify(&descriptor), Err(DescriptorError::Certificate));
        descriptor.certificate = Some(family.certify(&NETWORK, &descriptor.entry.identity));
        assert_eq!(verify(&descriptor), Ok(()));
        // That of another relay, of another network, and of a stranger.
        let stranger = FamilyKeypair::new(IdentityKeypair::from_seed(&[8; 32]));
        for certificate in [
            family.certify(&NETWORK, &[1; 32].into()),
            family.certify(&NetworkId::from_bytes([8; 32]), &descriptor.entry.identity),
            stranger.certify(&NETWORK, &descriptor.entry.identity),
        ] {
            descriptor.certificate = Some(certificate);
            assert!(matches!(verify(&descriptor), Err(DescriptorError::Family(_))));
        }
        descriptor.entry.family = None;
        assert!(verify(&descriptor).is_err());
    }

    #[test]
    fn the_longest_descriptor_fits_its_bound() {
        let (keypair, mut descriptor) = relay(5);
        descriptor.entry.nickname = "x".repeat(19).parse().unwrap();
        descriptor.entry.url = format!("ws://h/{}", "x".repeat(249)).parse().unwrap();
        descriptor.entry.version = "x".repeat(32).parse().unwrap();
        let family = FamilyKeypair::new(IdentityKeypair::from_seed(&[9; 32]));
        descriptor.entry.family = Some(family.identity());
        descriptor.certificate = Some(family.certify(&NETWORK, &descriptor.entry.identity));
        descriptor.entry.other.insert(9, vec![0; RelayEntry::MAX_EXTENSIONS_LEN - 36 - 4]);
        assert!(!descriptor.entry.is_too_long());
        assert_eq!(descriptor.sign(&keypair, &NETWORK).len(), MAX_DESCRIPTOR_LEN);
    }

    proptest! {
        #[test]
        fn what_was_signed_is_read_again(
            seed: [u8; 32], keys: [[u8; 32]; 2], roles: u16, published: u64, uptime: u64, weight: u32,
            nickname in "[0-9A-Za-z]{1,19}", host in "[a-z0-9.]{1,40}", port in 1u16.., path in "[a-z/]{0,20}",
        ) {
            let keypair = IdentityKeypair::from_seed(&seed);
            let mut entry = RelayEntry::new(
                keypair.identity(),
                keys[0].into(),
                keys[1].into(),
                Roles::from_bits(roles),
                nickname.parse().unwrap(),
                format!("wss://{host}:{port}/{path}").parse().unwrap(),
            );
            entry.weight = weight;
            let descriptor = RelayDescriptor { published, uptime, entry, certificate: None };
            prop_assert_eq!(RelayDescriptor::verify(&descriptor.sign(&keypair, &NETWORK), &NETWORK), Ok(descriptor));
        }

        #[test]
        fn garbage_is_an_error(bytes: Vec<u8>) {
            prop_assert!(RelayDescriptor::verify(&bytes, &NETWORK).is_err());
        }
    }
}
