//! The one list of relays, signed by the authorities.

use core::fmt;
use core::ops::{Range, RangeInclusive};
use core::time::Duration;
use std::collections::BTreeMap;

use sha3::{Digest, Sha3_256};
use thiserror::Error;

use super::random::SharedRandom;
use super::{Authorities, AuthorityIdentity, AuthorityKeypair, Extensions, MAX_AUTHORITIES, MAX_URL_LEN};
use super::{NetworkId, Nickname, RelayEntry, RelayRole};
use crate::crypto::keys::{LinkPublic, RelayIdentity, SIGNATURE_LEN, SignatureError};
use crate::time::UnixTime;
use crate::wire::{DecodeError, Reader, Writer};

const DOMAIN: &str = "consensus 2";
const VERSION: u16 = 2;
const MAX_PARAMETERS: usize = 256;
const MAX_PARAMETER_NAME_LEN: usize = 32;
const MAX_EXTENSIONS_LEN: usize = 4096;

/// The largest number of relays in a consensus.
pub const MAX_RELAYS: usize = 10_000;

/// The longest encoding of a consensus, in bytes.
pub const MAX_CONSENSUS_LEN: usize = 10 * 1024 * 1024;

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
    #[error("the consensus is signed by {signed} of the authorities, and {quorum} have to")]
    Unsigned {
        /// How many have signed it.
        signed: usize,
        /// How many would be enough.
        quorum: usize,
    },
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
    /// The digest with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn of(signed: &[u8]) -> Self {
        Self(Sha3_256::digest(signed).into())
    }

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

/// What the consensus says of an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedAuthority {
    /// Its key.
    pub key: AuthorityIdentity,
    /// Its name for people.
    pub nickname: Nickname,
    /// Where it is now, by its own last vote: it may have moved since the reader's list of authorities was made.
    pub url: String,
    /// What it has committed itself to for the next shared random value.
    pub commitment: Option<[u8; 32]>,
    /// What it had committed itself to, once that is to be known.
    pub reveal: Option<[u8; 32]>,
}

/// A consensus before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsensusDraft {
    /// The network.
    pub network: NetworkId,
    /// By which rules it was computed from the votes.
    pub rule_set: u16,
    /// When it counts.
    pub validity: Validity,
    /// The consensus before.
    pub previous: Option<ConsensusDigest>,
    /// The shared random value.
    pub random: SharedRandom,
    /// The authorities whose votes counted, now or before; in any order.
    pub authorities: Vec<ListedAuthority>,
    /// Numbers that all nodes and clients go by; names are 1 to 32 characters of a–z, 0–9, `-` and `_`.
    pub parameters: BTreeMap<String, i64>,
    /// The relays, in any order.
    pub relays: Vec<RelayEntry>,
    /// How many of a hundred probes each relay has answered lately; a hundred for those that are not named.
    pub health: BTreeMap<RelayIdentity, u8>,
    /// Fields that this version does not know.
    pub other: Extensions,
}

impl ConsensusDraft {
    /// A draft with these relays, and nothing else that could be left out.
    pub fn new(network: NetworkId, validity: Validity, relays: Vec<RelayEntry>) -> Self {
        Self {
            network,
            rule_set: 1,
            validity,
            previous: None,
            random: SharedRandom::default(),
            authorities: Vec::new(),
            parameters: BTreeMap::new(),
            relays,
            health: BTreeMap::new(),
            other: Extensions::default(),
        }
    }

    /// The encoding without signatures.
    ///
    /// # Errors
    ///
    /// What its readers would refuse.
    pub fn finish(mut self) -> Result<UnsignedConsensus, ConsensusError> {
        self.relays.sort_by_key(|relay| relay.identity);
        self.authorities.sort_by_key(|authority| authority.key);
        let mut writer = Writer::new();
        self.encode(&mut writer)?;
        let body = writer.into_bytes();
        // What its readers would refuse must not be signed, so it passes through the reader's own checks.
        Decoded::new(&[&body[..], &[0]].concat())?;
        let digest = ConsensusDigest::of(&body);
        Ok(UnsignedConsensus { body, network: self.network, validity: self.validity, digest })
    }

    /// The encoding, signed by each of `keypairs`.
    ///
    /// # Errors
    ///
    /// What its readers would refuse.
    pub fn sign(self, keypairs: &[&AuthorityKeypair]) -> Result<Vec<u8>, ConsensusError> {
        let consensus = self.finish()?;
        let signatures = keypairs.iter().map(|keypair| consensus.sign(keypair)).collect::<Vec<_>>();
        consensus.assemble(&signatures)
    }

    fn encode(&self, writer: &mut Writer) -> Result<(), DecodeError> {
        writer.u16(VERSION).u16(self.rule_set).raw(self.network.as_bytes());
        let Validity { valid_after, fresh_until, valid_until } = self.validity;
        writer.u64(valid_after).u64(fresh_until).u64(valid_until);
        writer.raw(&self.previous.map_or([0; 32], |digest| digest.0));
        self.random.encode(writer);
        writer
            .u8(u8::try_from(count("the list of authorities", self.authorities.len(), MAX_AUTHORITIES)?).unwrap_or(0));
        for authority in &self.authorities {
            writer.raw(authority.key.as_bytes());
            // A nickname's length is bounded by its type.
            let _ = writer.bytes_u8(authority.nickname.as_str().as_bytes());
            writer.bytes_u16(authority.url.as_bytes()).map_err(|_| DecodeError::Invalid("an authority's address"))?;
            encode_option(writer, authority.commitment.as_ref());
            encode_option(writer, authority.reveal.as_ref());
        }
        encode_parameters(writer, &self.parameters)?;
        let len = count("the list of relays", self.relays.len(), MAX_RELAYS)?;
        writer.u16(u16::try_from(len).unwrap_or(u16::MAX));
        for relay in &self.relays {
            relay.encode(writer);
            writer.u8(self.health.get(&relay.identity).map_or(100, |health| (*health).min(100)));
        }
        self.other.encode(writer);
        Ok(())
    }
}

/// A consensus that still has to be signed by enough authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsignedConsensus {
    body: Vec<u8>,
    network: NetworkId,
    validity: Validity,
    digest: ConsensusDigest,
}

impl UnsignedConsensus {
    /// The digest, by which authorities compare what they have computed.
    pub const fn digest(&self) -> ConsensusDigest {
        self.digest
    }

    /// When it counts.
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// One authority's signature.
    pub fn sign(&self, keypair: &AuthorityKeypair) -> ConsensusSignature {
        ConsensusSignature::new(keypair, &self.network, self.validity.valid_after, self.digest)
    }

    /// The whole document, with those of `signatures` that are on this very consensus.
    ///
    /// # Errors
    ///
    /// If there are more than [`MAX_AUTHORITIES`].
    pub fn assemble(&self, signatures: &[ConsensusSignature]) -> Result<Vec<u8>, ConsensusError> {
        let signatures: BTreeMap<_, _> = signatures
            .iter()
            .filter(|one| one.digest == self.digest && one.valid_after == self.validity.valid_after)
            .map(|one| (one.authority, one.signature))
            .collect();
        let len = count("the list of signatures", signatures.len(), MAX_AUTHORITIES)?;
        let mut bytes = self.body.clone();
        bytes.push(u8::try_from(len).unwrap_or(u8::MAX));
        for (key, signature) in &signatures {
            bytes.extend_from_slice(key.as_bytes());
            bytes.extend_from_slice(signature);
        }
        Ok(bytes)
    }
}

/// One authority's signature on a consensus, apart from it.
///
/// Signed are the network's id, when the consensus begins to count, and its digest: so two signatures of one authority for
/// one beginning prove, by themselves, that it has signed two consensuses for one period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsensusSignature {
    /// Whose it is.
    pub authority: AuthorityIdentity,
    /// When the consensus begins to count, in seconds since 1970.
    pub valid_after: u64,
    /// Which consensus.
    pub digest: ConsensusDigest,
    /// Ed25519.
    pub signature: [u8; SIGNATURE_LEN],
}

impl ConsensusSignature {
    fn new(keypair: &AuthorityKeypair, network: &NetworkId, valid_after: u64, digest: ConsensusDigest) -> Self {
        let signature = keypair.sign(DOMAIN, &signed(network, valid_after, &digest));
        Self { authority: keypair.identity(), valid_after, digest, signature }
    }

    /// Checks it.
    ///
    /// # Errors
    ///
    /// If it does not hold.
    pub fn verify(&self, network: &NetworkId) -> Result<(), SignatureError> {
        self.authority.verify(DOMAIN, &signed(network, self.valid_after, &self.digest), &self.signature)
    }
}

fn signed(network: &NetworkId, valid_after: u64, digest: &ConsensusDigest) -> Vec<u8> {
    [&network.as_bytes()[..], &valid_after.to_be_bytes(), digest.as_bytes()].concat()
}

/// 32 bytes behind a 1, or a 0 alone.
pub(super) fn encode_option(writer: &mut Writer, value: Option<&[u8; 32]>) {
    match value {
        Some(value) => writer.u8(1).raw(value),
        None => writer.u8(0),
    };
}

pub(super) fn decode_option(reader: &mut Reader<'_>, what: &'static str) -> Result<Option<[u8; 32]>, DecodeError> {
    match reader.u8()? {
        0 => Ok(None),
        1 => reader.array().map(Some),
        _ => Err(DecodeError::Invalid(what)),
    }
}

pub(super) fn encode_parameters(writer: &mut Writer, parameters: &BTreeMap<String, i64>) -> Result<(), DecodeError> {
    let len = count("the list of parameters", parameters.len(), MAX_PARAMETERS)?;
    writer.u16(u16::try_from(len).unwrap_or(u16::MAX));
    for (name, value) in parameters {
        writer.bytes_u8(name.as_bytes()).map_err(|_| DecodeError::Invalid("a parameter's name"))?.i64(*value);
    }
    Ok(())
}

/// The one list of relays, with its signatures checked.
///
/// Encoding: version (2 bytes, 2) · rule set (2) · network id (32) · valid after, fresh until, valid until (8 each) · digest
/// of the consensus before (32, zeros for none) · [`SharedRandom`] · number of authorities (1) and each one's key (32),
/// nickname (length 1, text), address (length 2, text), commitment and reveal (a 1 and 32 bytes, or a 0), by ascending
/// keys · number of parameters (2) and each one's name (length 1, text) and value (8, two's complement), by ascending names ·
/// number of relays (2) and each one's entry as in a [`RelayDescriptor`](super::RelayDescriptor) and health (1), by
/// ascending identity · [`Extensions`] · number of signatures (1) and each one's authority (32) and Ed25519 signature (64), by
/// ascending authority. The digest is over everything before the number of signatures.
#[derive(Clone, Debug)]
pub struct Consensus {
    draft: ConsensusDraft,
    health: Vec<u8>,
    by_link_key: Vec<(LinkPublic, usize)>,
    digest: ConsensusDigest,
    signers: Vec<AuthorityIdentity>,
    signed_len: usize,
    bytes: Vec<u8>,
}

impl Consensus {
    /// Decodes a consensus and checks network, signatures and times.
    ///
    /// # Errors
    ///
    /// If it does not count for a reader whose clock may be wrong by [`SKEW_TOLERANCE`].
    pub fn verify(bytes: &[u8], authorities: &Authorities, now: UnixTime) -> Result<Self, ConsensusError> {
        let consensus = Self::verify_signatures(bytes, authorities)?;
        consensus.check_time(now, SKEW_TOLERANCE)?;
        Ok(consensus)
    }

    /// Decodes a consensus and checks network and signatures; its times may be long past.
    ///
    /// # Errors
    ///
    /// If it is malformed, of another network, or not signed by enough authorities.
    pub fn verify_signatures(bytes: &[u8], authorities: &Authorities) -> Result<Self, ConsensusError> {
        let Decoded { draft, health, signed, signatures, by_link_key, .. } = Decoded::new(bytes)?;
        if draft.network != *authorities.network() {
            return Err(ConsensusError::Network);
        }
        let digest = ConsensusDigest::of(signed);
        // Signatures of keys that are not authorities' here say nothing, for or against.
        let known = signatures.iter().filter(|(key, _)| authorities.get(key).is_some());
        let mut signers = Vec::new();
        for (key, signature) in known {
            let one = ConsensusSignature {
                authority: *key,
                valid_after: draft.validity.valid_after,
                digest,
                signature: *signature,
            };
            one.verify(&draft.network).map_err(|_| ConsensusError::Signature(*key))?;
            signers.push(*key);
        }
        if signers.len() < authorities.quorum() {
            return Err(ConsensusError::Unsigned { signed: signers.len(), quorum: authorities.quorum() });
        }
        Ok(Self { draft, health, by_link_key, digest, signers, signed_len: signed.len(), bytes: bytes.to_vec() })
    }

    /// Whether it counts by a clock that may be wrong by `tolerance`.
    ///
    /// # Errors
    ///
    /// If it does not count yet, or no more.
    pub fn check_time(&self, now: UnixTime, tolerance: Duration) -> Result<(), ConsensusError> {
        let Validity { valid_after, valid_until, .. } = self.draft.validity;
        let tolerance = tolerance.as_secs();
        if valid_after > now.as_secs().saturating_add(tolerance) {
            return Err(ConsensusError::TooEarly(valid_after));
        }
        if valid_until.saturating_add(tolerance) < now.as_secs() {
            return Err(ConsensusError::Expired(valid_until));
        }
        Ok(())
    }

    /// The encoding that was verified, to be passed on.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The digest of what was signed.
    pub const fn digest(&self) -> ConsensusDigest {
        self.digest
    }

    /// The part of the encoding that was signed.
    pub fn signed_bytes(&self) -> &[u8] {
        self.bytes.get(..self.signed_len).unwrap_or_default()
    }

    /// The network.
    pub const fn network(&self) -> &NetworkId {
        &self.draft.network
    }

    /// When it counts.
    pub const fn validity(&self) -> Validity {
        self.draft.validity
    }

    /// Whether it was made later than `other`: an older one never replaces a newer one.
    pub const fn is_newer_than(&self, other: &Self) -> bool {
        self.draft.validity.valid_after > other.draft.validity.valid_after
    }

    /// The authorities of the reader's own list that have signed it, by ascending keys.
    pub fn signers(&self) -> &[AuthorityIdentity] {
        &self.signers
    }

    /// The consensus before.
    pub const fn previous(&self) -> Option<ConsensusDigest> {
        self.draft.previous
    }

    /// By which rules it was computed.
    pub const fn rule_set(&self) -> u16 {
        self.draft.rule_set
    }

    /// The shared random value.
    pub const fn random(&self) -> &SharedRandom {
        &self.draft.random
    }

    /// What it says of the authorities, by ascending keys.
    pub fn authorities(&self) -> &[ListedAuthority] {
        &self.draft.authorities
    }

    /// What it says of the authority with this key.
    pub fn authority(&self, key: &AuthorityIdentity) -> Option<&ListedAuthority> {
        let at = self.draft.authorities.binary_search_by_key(key, |listed| listed.key).ok()?;
        self.draft.authorities.get(at)
    }

    /// The parameter `name`, brought into `range`; `default` when it is not there.
    pub fn parameter(&self, name: &str, default: i64, range: RangeInclusive<i64>) -> i64 {
        self.draft.parameters.get(name).map_or(default, |value| *value.max(range.start()).min(range.end()))
    }

    /// All parameters, by name.
    pub const fn parameters(&self) -> &BTreeMap<String, i64> {
        &self.draft.parameters
    }

    /// All relays, by ascending identity.
    pub fn relays(&self) -> &[RelayEntry] {
        &self.draft.relays
    }

    /// The relays with a role, by ascending identity.
    pub fn with_role(&self, role: RelayRole) -> impl Iterator<Item = &RelayEntry> {
        self.draft.relays.iter().filter(move |relay| relay.has(role))
    }

    /// The relay with this identity.
    pub fn relay(&self, identity: &RelayIdentity) -> Option<&RelayEntry> {
        self.draft.relays.get(self.position(identity)?)
    }

    /// How many of a hundred probes the relay has answered lately, as voted.
    pub fn health(&self, identity: &RelayIdentity) -> Option<u8> {
        self.health.get(self.position(identity)?).copied()
    }

    fn position(&self, identity: &RelayIdentity) -> Option<usize> {
        self.draft.relays.binary_search_by_key(identity, |relay| relay.identity).ok()
    }

    /// The relay whose links are authenticated with this key.
    pub fn relay_by_link_key(&self, key: &LinkPublic) -> Option<&RelayEntry> {
        let at = self.by_link_key.binary_search_by_key(key, |(key, _)| *key).ok()?;
        self.by_link_key.get(at).and_then(|(_, index)| self.draft.relays.get(*index))
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
    health: Vec<u8>,
    signed: &'a [u8],
    signatures: Signatures,
    by_link_key: Vec<(LinkPublic, usize)>,
    relays_at: usize,
    entries: Vec<Range<usize>>,
}

impl<'a> Decoded<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, ConsensusError> {
        if bytes.len() > MAX_CONSENSUS_LEN {
            return Err(ConsensusError::TooLong);
        }
        let mut reader = Reader::new(bytes);
        reader.version("the consensus", VERSION)?;
        let rule_set = reader.u16()?;
        let network = NetworkId::from_bytes(reader.array()?);
        let validity = Validity { valid_after: reader.u64()?, fresh_until: reader.u64()?, valid_until: reader.u64()? };
        if validity.fresh_until < validity.valid_after || validity.valid_until < validity.fresh_until {
            return Err(ConsensusError::Validity);
        }
        let previous = Some(ConsensusDigest(reader.array()?)).filter(|digest| digest.0 != [0; 32]);
        let random = SharedRandom::decode(&mut reader)?;
        let authorities = authorities(&mut reader)?;
        let parameters = parameters(&mut reader)?;
        let relays_at = bytes.len() - reader.remaining();
        let Relays { relays, health, entries } = relays(&mut reader, bytes.len())?;
        let by_link_key = by_link_key(&relays)?;
        let other = Extensions::decode(&mut reader, "the consensus's optional fields", MAX_EXTENSIONS_LEN)?;
        let signed = bytes.get(..bytes.len() - reader.remaining()).unwrap_or_default();
        let signatures = signatures(&mut reader)?;
        reader.finish()?;
        let draft = ConsensusDraft {
            network,
            rule_set,
            validity,
            previous,
            random,
            authorities,
            parameters,
            relays,
            health: BTreeMap::new(),
            other,
        };
        Ok(Self { draft, health, signed, signatures, by_link_key, relays_at, entries })
    }
}

/// The parts that the encoding of a consensus is made of, as the differences between two are.
pub(super) struct Sections<'a> {
    /// All before the number of relays.
    pub(super) head: &'a [u8],
    /// Each relay's entry and health, by ascending identity.
    pub(super) relays: Vec<(RelayIdentity, &'a [u8])>,
    /// All behind the relays.
    pub(super) tail: &'a [u8],
}

impl<'a> Sections<'a> {
    /// The parts of an encoding.
    pub(super) fn of(bytes: &'a [u8]) -> Result<Self, ConsensusError> {
        let Decoded { draft, relays_at, entries, .. } = Decoded::new(bytes)?;
        let end = entries.last().map_or(relays_at + 2, |entry| entry.end);
        let relays = draft.relays.iter().zip(entries);
        Ok(Self {
            head: bytes.get(..relays_at).unwrap_or_default(),
            relays: relays.map(|(relay, at)| (relay.identity, bytes.get(at).unwrap_or_default())).collect(),
            tail: bytes.get(end..).unwrap_or_default(),
        })
    }
}

pub(super) fn count(what: &'static str, len: usize, max: usize) -> Result<usize, DecodeError> {
    if len > max { Err(DecodeError::TooLong { what, len, max }) } else { Ok(len) }
}

fn authorities(reader: &mut Reader<'_>) -> Result<Vec<ListedAuthority>, ConsensusError> {
    let mut authorities: Vec<ListedAuthority> = Vec::new();
    for _ in 0..count("the list of authorities", usize::from(reader.u8()?), MAX_AUTHORITIES)? {
        let key = AuthorityIdentity::from(reader.array::<32>()?);
        if authorities.last().is_some_and(|last| last.key >= key) {
            return Err(ConsensusError::Order("authorities"));
        }
        authorities.push(ListedAuthority {
            key,
            nickname: nickname(reader)?,
            url: authority_url(reader)?,
            commitment: decode_option(reader, "an authority's commitment")?,
            reveal: decode_option(reader, "an authority's reveal")?,
        });
    }
    Ok(authorities)
}

pub(super) fn nickname(reader: &mut Reader<'_>) -> Result<Nickname, DecodeError> {
    let text = reader.bytes_u8("nickname", Nickname::MAX_LEN)?;
    core::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(DecodeError::Invalid("nickname"))
}

pub(super) fn authority_url(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    let url = reader.text_u16("an authority's address", MAX_URL_LEN)?;
    if super::authorities::valid_url(url) {
        Ok(url.to_owned())
    } else {
        Err(DecodeError::Invalid("an authority's address"))
    }
}

pub(super) fn parameters(reader: &mut Reader<'_>) -> Result<BTreeMap<String, i64>, ConsensusError> {
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

/// The relays of a consensus, and where in its encoding each one's entry and health stand.
struct Relays {
    relays: Vec<RelayEntry>,
    health: Vec<u8>,
    entries: Vec<Range<usize>>,
}

/// Reads the relays of an encoding of `len` bytes.
fn relays(reader: &mut Reader<'_>, len: usize) -> Result<Relays, ConsensusError> {
    let count = count("the list of relays", usize::from(reader.u16()?), MAX_RELAYS)?;
    let room = count.min(reader.remaining() / RelayEntry::MIN_LEN);
    let (relays, health) = (Vec::with_capacity(room), Vec::with_capacity(room));
    let mut list = Relays { relays, health, entries: Vec::with_capacity(room) };
    for _ in 0..count {
        let begin = len - reader.remaining();
        let (relay, health) = listed_relay(reader)?;
        if list.relays.last().is_some_and(|last| last.identity >= relay.identity) {
            return Err(ConsensusError::Order("relays"));
        }
        list.relays.push(relay);
        list.health.push(health);
        list.entries.push(begin..len - reader.remaining());
    }
    Ok(list)
}

/// Reads a relay's entry and health.
pub(super) fn listed_relay(reader: &mut Reader<'_>) -> Result<(RelayEntry, u8), DecodeError> {
    let relay = RelayEntry::decode(reader)?;
    let health = reader.u8()?;
    if health > 100 {
        return Err(DecodeError::Invalid("a relay's health"));
    }
    Ok((relay, health))
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
