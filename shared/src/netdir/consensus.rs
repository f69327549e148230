//! The one list of relays, signed by the authorities.

use core::fmt;
use core::ops::RangeInclusive;
use core::time::Duration;
use std::collections::BTreeMap;

use sha3::{Digest, Sha3_256};
use thiserror::Error;

use super::{Authorities, AuthorityIdentity, AuthorityKeypair, MAX_AUTHORITIES, NetworkId, RelayEntry, Role};
use crate::crypto::keys::{LinkPublic, RelayIdentity, SIGNATURE_LEN};
use crate::time::UnixTime;
use crate::wire::{DecodeError, Reader, Writer};

const DOMAIN: &str = "consensus 1";
const VERSION: u16 = 1;
const MAX_PARAMETERS: usize = 256;
const MAX_PARAMETER_NAME_LEN: usize = 32;

/// The largest number of relays in a consensus.
pub const MAX_RELAYS: usize = 10_000;

/// The longest encoding of a consensus, in bytes.
pub const MAX_CONSENSUS_LEN: usize = 4 * 1024 * 1024;

/// How far a reader's clock may be off: a consensus counts for this long before and after its own times.
///
/// A day, as Tor's clients have it: many personal computers have a wrong time zone.
pub const SKEW_TOLERANCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a consensus does not count.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConsensusError {
    /// It is malformed.
    #[error("the consensus is malformed: {0}")]
    Decode(#[from] DecodeError),
    /// It is longer than any consensus.
    #[error("the consensus is longer than {MAX_CONSENSUS_LEN} bytes")]
    TooLong,
    /// Something stands there twice, or not in ascending order.
    #[error("the consensus does not list its {0} in ascending order, each once")]
    Order(&'static str),
    /// Its times contradict each other.
    #[error("the consensus ends before it begins")]
    Validity,
    /// It belongs to another network.
    #[error("the consensus is another network's")]
    Network,
    /// An authority's signature is wrong.
    #[error("the consensus carries a wrong signature of authority {0}")]
    Signature(AuthorityIdentity),
    /// Not enough authorities have signed it.
    #[error("the consensus is not signed by the authority that has to")]
    Unsigned,
    /// It is not valid yet, whatever the reader's clock.
    #[error("the consensus is valid from {0} s after 1970 only; is this computer's clock right?")]
    TooEarly(u64),
    /// It has run out.
    #[error("the consensus ran out {0} s after 1970; is this computer's clock right?")]
    Expired(u64),
}

/// When a consensus counts, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From when on.
    pub valid_after: u64,
    /// From when on there should be a newer one.
    pub fresh_until: u64,
    /// Until when.
    pub valid_until: u64,
}

/// SHA3-256 of what the authorities have signed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConsensusDigest([u8; 32]);

impl ConsensusDigest {
    /// The digest's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ConsensusDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for ConsensusDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConsensusDigest({self})")
    }
}

/// A consensus before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsensusDraft {
    /// The network.
    pub network: NetworkId,
    /// When it counts.
    pub validity: Validity,
    /// Numbers that all nodes and clients go by; names are 1 to 32 characters of a–z, 0–9, `-` and `_`.
    pub parameters: BTreeMap<String, i64>,
    /// The relays, in any order.
    pub relays: Vec<RelayEntry>,
}

impl ConsensusDraft {
    /// The encoding, signed by each of `keypairs`.
    pub fn sign(mut self, keypairs: &[&AuthorityKeypair]) -> Result<Vec<u8>, ConsensusError> {
        self.relays.sort_by_key(|relay| relay.identity);
        if keypairs.len() > MAX_AUTHORITIES {
            let len = keypairs.len();
            return Err(DecodeError::TooLong { what: "the list of signatures", len, max: MAX_AUTHORITIES }.into());
        }
        let mut writer = Writer::new();
        self.encode(&mut writer)?;
        let body = writer.as_slice().to_vec();
        let signatures: BTreeMap<_, _> =
            keypairs.iter().map(|keypair| (keypair.identity(), keypair.sign(DOMAIN, &body))).collect();
        writer.u8(u8::try_from(signatures.len()).unwrap_or(u8::MAX));
        for (key, signature) in &signatures {
            writer.raw(key.as_bytes()).raw(signature);
        }
        let bytes = writer.into_bytes();
        // What its readers would refuse must not be signed, so it passes through the reader's own checks.
        Decoded::new(&bytes)?;
        Ok(bytes)
    }

    fn encode(&self, writer: &mut Writer) -> Result<(), DecodeError> {
        writer.u16(VERSION).raw(self.network.as_bytes());
        let Validity { valid_after, fresh_until, valid_until } = self.validity;
        writer.u64(valid_after).u64(fresh_until).u64(valid_until);
        let what = "the list of parameters";
        let too_long = |len| DecodeError::TooLong { what, len, max: MAX_PARAMETERS };
        writer.u16(u16::try_from(self.parameters.len()).map_err(|_| too_long(self.parameters.len()))?);
        for (name, value) in &self.parameters {
            writer.bytes_u8(name.as_bytes()).map_err(|_| DecodeError::Invalid("a parameter's name"))?.i64(*value);
        }
        let what = "the list of relays";
        let too_long = |len| DecodeError::TooLong { what, len, max: MAX_RELAYS };
        writer.u16(u16::try_from(self.relays.len()).map_err(|_| too_long(self.relays.len()))?);
        for relay in &self.relays {
            relay.encode(writer);
        }
        Ok(())
    }
}

/// The one list of relays, with its signatures checked.
///
/// Encoding: version (2 bytes, 1) · network id (32) · valid after, fresh until, valid until (8 each) · number of
/// parameters (2) and each one's name (length 1, text) and value (8, two's complement), by ascending names · number of
/// relays (2) and each one's entry as in a [`RelayDescriptor`](super::RelayDescriptor), by ascending identity · number
/// of signatures (1) and each one's authority (32) and Ed25519 signature (64), by ascending authority. Signed are a
/// domain string and everything before the number of signatures.
#[derive(Clone, Debug)]
pub struct Consensus {
    validity: Validity,
    parameters: BTreeMap<String, i64>,
    relays: Vec<RelayEntry>,
    by_link_key: Vec<(LinkPublic, usize)>,
    digest: ConsensusDigest,
    bytes: Vec<u8>,
}

impl Consensus {
    /// Decodes a consensus and checks network, signatures and times.
    pub fn verify(bytes: &[u8], authorities: &Authorities, now: UnixTime) -> Result<Self, ConsensusError> {
        let Decoded { draft, signed, signatures, by_link_key } = Decoded::new(bytes)?;
        let ConsensusDraft { network, validity, parameters, relays } = draft;
        if network != *authorities.network() {
            return Err(ConsensusError::Network);
        }
        // Signatures of keys that are not authorities' here say nothing, for or against.
        let known = || signatures.iter().filter(|(key, _)| authorities.get(key).is_some());
        if let Some((key, _)) = known().find(|(key, signature)| key.verify(DOMAIN, signed, signature).is_err()) {
            return Err(ConsensusError::Signature(*key));
        }
        if !authorities.suffice(known().map(|(key, _)| *key)) {
            return Err(ConsensusError::Unsigned);
        }
        let skew = SKEW_TOLERANCE.as_secs();
        if validity.valid_after > now.as_secs().saturating_add(skew) {
            return Err(ConsensusError::TooEarly(validity.valid_after));
        }
        if validity.valid_until.saturating_add(skew) < now.as_secs() {
            return Err(ConsensusError::Expired(validity.valid_until));
        }
        let digest = ConsensusDigest(Sha3_256::digest(signed).into());
        Ok(Self { validity, parameters, relays, by_link_key, digest, bytes: bytes.to_vec() })
    }

    /// The encoding that was verified, to be passed on.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The digest of what was signed.
    pub const fn digest(&self) -> ConsensusDigest {
        self.digest
    }

    /// When it counts.
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// Whether it was made later than `other`: an older one never replaces a newer one.
    pub const fn is_newer_than(&self, other: &Self) -> bool {
        self.validity.valid_after > other.validity.valid_after
    }

    /// The parameter `name`, brought into `range`; `default` when it is not there.
    pub fn parameter(&self, name: &str, default: i64, range: RangeInclusive<i64>) -> i64 {
        self.parameters.get(name).map_or(default, |value| *value.max(range.start()).min(range.end()))
    }

    /// All parameters, by name.
    pub const fn parameters(&self) -> &BTreeMap<String, i64> {
        &self.parameters
    }

    /// All relays, by ascending identity.
    pub fn relays(&self) -> &[RelayEntry] {
        &self.relays
    }

    /// The relays with a role, by ascending identity.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = &RelayEntry> {
        self.relays.iter().filter(move |relay| relay.has(role))
    }

    /// The relay with this identity.
    pub fn relay(&self, identity: &RelayIdentity) -> Option<&RelayEntry> {
        let index = self.relays.binary_search_by_key(identity, |relay| relay.identity).ok()?;
        self.relays.get(index)
    }

    /// The relay whose links are authenticated with this key.
    pub fn relay_by_link_key(&self, key: &LinkPublic) -> Option<&RelayEntry> {
        let at = self.by_link_key.binary_search_by_key(key, |(key, _)| *key).ok()?;
        self.by_link_key.get(at).and_then(|(_, index)| self.relays.get(*index))
    }
}

/// The encoding that was verified.
impl AsRef<[u8]> for Consensus {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

struct Decoded<'a> {
    draft: ConsensusDraft,
    signed: &'a [u8],
    signatures: Vec<(AuthorityIdentity, [u8; SIGNATURE_LEN])>,
    by_link_key: Vec<(LinkPublic, usize)>,
}

impl<'a> Decoded<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, ConsensusError> {
        if bytes.len() > MAX_CONSENSUS_LEN {
            return Err(ConsensusError::TooLong);
        }
        let mut reader = Reader::new(bytes);
        let version = reader.u16()?;
        if version != VERSION {
            return Err(DecodeError::Version { what: "the consensus", version }.into());
        }
        let network = NetworkId::from_bytes(reader.array()?);
        let validity = Validity { valid_after: reader.u64()?, fresh_until: reader.u64()?, valid_until: reader.u64()? };
        if validity.fresh_until < validity.valid_after || validity.valid_until < validity.fresh_until {
            return Err(ConsensusError::Validity);
        }
        let parameters = parameters(&mut reader)?;
        let relays = relays(&mut reader)?;
        let by_link_key = by_link_key(&relays)?;
        let signed = bytes.get(..bytes.len() - reader.remaining()).unwrap_or_default();
        let signatures = signatures(&mut reader)?;
        reader.finish()?;
        let draft = ConsensusDraft { network, validity, parameters, relays };
        Ok(Self { draft, signed, signatures, by_link_key })
    }
}

fn count(what: &'static str, len: usize, max: usize) -> Result<usize, DecodeError> {
    if len > max { Err(DecodeError::TooLong { what, len, max }) } else { Ok(len) }
}

fn parameters(reader: &mut Reader<'_>) -> Result<BTreeMap<String, i64>, ConsensusError> {
    let mut parameters = BTreeMap::new();
    for _ in 0..count("the list of parameters", usize::from(reader.u16()?), MAX_PARAMETERS)? {
        let name = reader.bytes_u8("a parameter's name", MAX_PARAMETER_NAME_LEN)?;
        let allowed = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        let name = core::str::from_utf8(name)
            .ok()
            .filter(|name| !name.is_empty() && name.as_bytes().iter().all(allowed))
            .ok_or(DecodeError::Invalid("a parameter's name"))?;
        if parameters.last_key_value().is_some_and(|(last, _): (&String, _)| last.as_str() >= name) {
            return Err(ConsensusError::Order("parameters"));
        }
        parameters.insert(name.to_owned(), reader.i64()?);
    }
    Ok(parameters)
}

fn relays(reader: &mut Reader<'_>) -> Result<Vec<RelayEntry>, ConsensusError> {
    let len = count("the list of relays", usize::from(reader.u16()?), MAX_RELAYS)?;
    let mut relays: Vec<RelayEntry> = Vec::with_capacity(len.min(reader.remaining() / RelayEntry::MIN_LEN));
    for _ in 0..len {
        let relay = RelayEntry::decode(reader)?;
        if relays.last().is_some_and(|last| last.identity >= relay.identity) {
            return Err(ConsensusError::Order("relays"));
        }
        relays.push(relay);
    }
    Ok(relays)
}

fn by_link_key(relays: &[RelayEntry]) -> Result<Vec<(LinkPublic, usize)>, ConsensusError> {
    let mut keys: Vec<_> = relays.iter().enumerate().map(|(index, relay)| (relay.link_key, index)).collect();
    keys.sort_unstable();
    if keys.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b)) {
        return Err(ConsensusError::Order("link keys"));
    }
    Ok(keys)
}

type Signatures = Vec<(AuthorityIdentity, [u8; SIGNATURE_LEN])>;

fn signatures(reader: &mut Reader<'_>) -> Result<Signatures, ConsensusError> {
    let mut signatures = Signatures::new();
    for _ in 0..count("the list of signatures", usize::from(reader.u8()?), MAX_AUTHORITIES)? {
        let key = AuthorityIdentity::from(reader.array::<32>()?);
        if signatures.last().is_some_and(|(last, _)| *last >= key) {
            return Err(ConsensusError::Order("signatures"));
        }
        signatures.push((key, reader.array()?));
    }
    Ok(signatures)
}

#[cfg(test)]
mod tests;
