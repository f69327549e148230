//! What descriptor and consensus both say of a relay: its keys, name, roles and address.

use core::fmt;
use core::net::IpAddr;
use core::ops::BitOr;
use core::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{ExitPolicy, Extensions, FamilyIdentity};
use crate::crypto::keys::{LinkPublic, OnionPublic, RelayIdentity};
use crate::wire::{DecodeError, Reader, Writer};

/// Why a relay's name, roles or address is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidRelay {
    /// Not a [`Nickname`].
    #[error("a nickname has 1 to {} ASCII letters and digits", Nickname::MAX_LEN)]
    Nickname,
    /// Not a [`LinkUrl`].
    #[error("a link's address is like ws://host:port/path, with at most {} ASCII characters", LinkUrl::MAX_LEN)]
    Url,
    /// Not a [`SoftwareVersion`].
    #[error("a software version has at most {} printable ASCII characters", SoftwareVersion::MAX_LEN)]
    Version,
    /// Not the name of a [`RelayRole`].
    #[error("a relay's roles are guard, middle, exit, rendezvous, chord and mailbox")]
    Role,
}

/// A relay's or authority's name for people: 1 to 19 ASCII letters and digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nickname(Arc<str>);

impl Nickname {
    /// The longest nickname, in characters.
    pub const MAX_LEN: usize = 19;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Nickname {
    type Err = InvalidRelay;

    fn from_str(text: &str) -> Result<Self, InvalidRelay> {
        let fits = (1..=Self::MAX_LEN).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if fits { Ok(Self(text.into())) } else { Err(InvalidRelay::Nickname) }
    }
}

impl TryFrom<String> for Nickname {
    type Error = InvalidRelay;

    fn try_from(text: String) -> Result<Self, InvalidRelay> {
        text.parse()
    }
}

impl From<Nickname> for String {
    fn from(nickname: Nickname) -> Self {
        nickname.as_str().to_owned()
    }
}

impl fmt::Display for Nickname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Nickname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nickname({self})")
    }
}

/// Where a relay takes links: `ws://host[:port]/path` or `wss://…`, at most 256 ASCII characters.
///
/// The host is a name, an IPv4 address or an IPv6 address in brackets. There is no user, query or fragment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LinkUrl {
    text: Arc<str>,
    secure: bool,
    host_end: u16,
    port: u16,
}

impl LinkUrl {
    /// The longest address, in characters.
    pub const MAX_LEN: usize = 256;

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether TLS is around the WebSocket.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host: a name or an IP address, without brackets.
    pub fn host(&self) -> &str {
        let host = self.text.get(self.scheme().len()..usize::from(self.host_end)).unwrap_or_default();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// The port, 80 or 443 where none is named.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The host as an IP address, unless it is a name.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host().parse().ok()
    }

    const fn scheme(&self) -> &'static str {
        if self.secure { "wss://" } else { "ws://" }
    }
}

impl FromStr for LinkUrl {
    type Err = InvalidRelay;

    fn from_str(text: &str) -> Result<Self, InvalidRelay> {
        parse_url(text).ok_or(InvalidRelay::Url)
    }
}

fn parse_url(text: &str) -> Option<LinkUrl> {
    if text.len() > LinkUrl::MAX_LEN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let (secure, rest) = match text.strip_prefix("wss://") {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix("ws://")?),
    };
    let authority_len = rest.find('/')?;
    let (authority, path) = rest.split_at(authority_len);
    if path.contains(['?', '#', '"', '<', '>', '\\', '^', '`', '{', '|', '}']) {
        return None;
    }
    let host_len = match authority.strip_prefix('[') {
        Some(_) => authority.find(']')? + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(host_len);
    let port = match port.strip_prefix(':') {
        Some(digits) if digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
        None if port.is_empty() => {
            if secure {
                443
            } else {
                80
            }
        }
        _ => return None,
    };
    let valid_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<core::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    };
    if !valid_host || port == 0 {
        return None;
    }
    let host_end = u16::try_from(text.len() - rest.len() + host_len).ok()?;
    Some(LinkUrl { text: text.into(), secure, host_end, port })
}

impl TryFrom<String> for LinkUrl {
    type Error = InvalidRelay;

    fn try_from(text: String) -> Result<Self, InvalidRelay> {
        text.parse()
    }
}

impl From<LinkUrl> for String {
    fn from(url: LinkUrl) -> Self {
        url.as_str().to_owned()
    }
}

impl fmt::Display for LinkUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for LinkUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkUrl({self})")
    }
}

/// What a relay may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u16)]
pub enum RelayRole {
    /// First hop of clients' circuits.
    Guard = 1 << 0,
    /// A hop between others.
    Middle = 1 << 1,
    /// Opens connections to the outside.
    Exit = 1 << 2,
    /// Joins circuits of two clients.
    Rendezvous = 1 << 3,
    /// Keeps presence records in the ring.
    Chord = 1 << 4,
    /// Keeps P.O. boxes.
    Mailbox = 1 << 5,
}

impl RelayRole {
    /// Every role, in the order of their bits.
    pub const ALL: [Self; 6] = [Self::Guard, Self::Middle, Self::Exit, Self::Rendezvous, Self::Chord, Self::Mailbox];

    /// The role's name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::Middle => "middle",
            Self::Exit => "exit",
            Self::Rendezvous => "rendezvous",
            Self::Chord => "chord",
            Self::Mailbox => "mailbox",
        }
    }
}

impl fmt::Display for RelayRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RelayRole {
    type Err = InvalidRelay;

    fn from_str(text: &str) -> Result<Self, InvalidRelay> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(InvalidRelay::Role)
    }
}

/// A set of [`RelayRole`]s.
///
/// Bits of roles that are not known here are kept: an older program passes on what a newer one has signed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Roles(u16);

impl Roles {
    /// The set with these bits.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The set's bits.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether `role` is in the set.
    pub const fn contains(self, role: RelayRole) -> bool {
        self.0 & role as u16 != 0
    }

    /// The known roles of the set, in the order of their bits.
    pub fn iter(self) -> impl Iterator<Item = RelayRole> {
        RelayRole::ALL.into_iter().filter(move |role| self.contains(*role))
    }
}

impl FromIterator<RelayRole> for Roles {
    fn from_iter<I: IntoIterator<Item = RelayRole>>(roles: I) -> Self {
        roles.into_iter().fold(Self::default(), BitOr::bitor)
    }
}

impl BitOr<RelayRole> for Roles {
    type Output = Self;

    fn bitor(self, role: RelayRole) -> Self {
        Self(self.0 | role as u16)
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// A relay's program and its version, as the operator's neighbours may see it: up to 32 printable ASCII characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SoftwareVersion(Arc<str>);

impl SoftwareVersion {
    /// The longest text, in characters.
    pub const MAX_LEN: usize = 32;

    /// The version of this program.
    pub fn own() -> Self {
        Self(concat!("allium ", env!("CARGO_PKG_VERSION")).into())
    }

    /// The version as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SoftwareVersion {
    type Err = InvalidRelay;

    fn from_str(text: &str) -> Result<Self, InvalidRelay> {
        let fits = text.len() <= Self::MAX_LEN && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if fits { Ok(Self(text.into())) } else { Err(InvalidRelay::Version) }
    }
}

/// A relay as descriptor and consensus list it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayEntry {
    /// The relay's name for life; the one by which circuits are extended.
    pub identity: RelayIdentity,
    /// The key of its links.
    pub link_key: LinkPublic,
    /// The key of its circuits.
    pub onion_key: OnionPublic,
    /// What it may be used for: in a descriptor what it offers, in the consensus what the authorities have granted.
    pub roles: Roles,
    /// How often it is to be chosen, beside others: in a descriptor what it claims, in the consensus what was voted.
    pub weight: u32,
    /// Its name for people.
    pub nickname: Nickname,
    /// Where it takes links.
    pub url: LinkUrl,
    /// What it runs.
    pub version: SoftwareVersion,
    /// A `wss://` address with a certificate that browsers take, for pages that came by https themselves.
    pub secure_url: Option<LinkUrl>,
    /// The family of relays with one operator, of which no circuit takes two.
    pub family: Option<FamilyIdentity>,
    /// Where it opens connections to, with the role exit.
    pub exit_policy: ExitPolicy,
    /// Fields that this version does not know.
    pub other: Extensions,
}

/// Number of the field [`RelayEntry::secure_url`].
const SECURE_URL: u16 = 1;
/// Number of the field [`RelayEntry::family`].
const FAMILY: u16 = 2;
/// Number of the field [`RelayEntry::exit_policy`].
const EXIT_POLICY: u16 = 3;

/// The weight of a relay that claims none.
pub const DEFAULT_WEIGHT: u32 = 100;

impl RelayEntry {
    /// The longest encoding of the fields that a relay may have, in bytes.
    pub const MAX_EXTENSIONS_LEN: usize = 512;
    /// The shortest encoding: three keys, roles, weight, a nickname of one character, and the lengths of the rest.
    pub(super) const MIN_LEN: usize = 3 * 32 + 2 + 4 + 2 + 2 + 1 + 2;
    /// The longest encoding.
    pub(super) const MAX_LEN: usize = 3 * 32
        + 2
        + 4
        + 1
        + Nickname::MAX_LEN
        + 2
        + LinkUrl::MAX_LEN
        + 1
        + SoftwareVersion::MAX_LEN
        + 2
        + Self::MAX_EXTENSIONS_LEN;

    /// A relay with what every relay has; all else is as for one that claims nothing.
    pub fn new(
        identity: RelayIdentity,
        link_key: LinkPublic,
        onion_key: OnionPublic,
        roles: Roles,
        nickname: Nickname,
        url: LinkUrl,
    ) -> Self {
        Self {
            identity,
            link_key,
            onion_key,
            roles,
            weight: DEFAULT_WEIGHT,
            nickname,
            url,
            version: SoftwareVersion::default(),
            secure_url: None,
            family: None,
            exit_policy: ExitPolicy::default(),
            other: Extensions::default(),
        }
    }

    /// Whether the relay has the role.
    pub const fn has(&self, role: RelayRole) -> bool {
        self.roles.contains(role)
    }

    /// Where it can be reached, its first address first.
    pub fn urls(&self) -> impl Iterator<Item = &LinkUrl> {
        core::iter::once(&self.url).chain(&self.secure_url)
    }

    /// Whether the optional fields are longer than a descriptor may have them.
    pub fn is_too_long(&self) -> bool {
        self.extensions().encoded_len() - 2 > Self::MAX_EXTENSIONS_LEN
    }

    fn extensions(&self) -> Extensions {
        let mut extensions = self.other.clone();
        if let Some(url) = &self.secure_url {
            extensions.insert(SECURE_URL, url.as_str().as_bytes().to_vec());
        }
        if let Some(family) = &self.family {
            extensions.insert(FAMILY, family.as_bytes().to_vec());
        }
        if !self.exit_policy.rules().is_empty() {
            extensions.insert(EXIT_POLICY, self.exit_policy.encode());
        }
        extensions
    }

    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.raw(self.identity.as_bytes()).raw(self.link_key.as_bytes()).raw(self.onion_key.as_bytes());
        writer.u16(self.roles.bits()).u32(self.weight);
        // These lengths are bounded by their types.
        let _ = writer.bytes_u8(self.nickname.as_str().as_bytes());
        let _ = writer.bytes_u16(self.url.as_str().as_bytes());
        let _ = writer.bytes_u8(self.version.as_str().as_bytes());
        self.extensions().encode(writer);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut entry = Self::new(
            reader.array()?.into(),
            reader.array()?.into(),
            reader.array()?.into(),
            Roles::from_bits(reader.u16()?),
            // Replaced at once: they stand behind the weight.
            Nickname(Arc::default()),
            LinkUrl { text: Arc::default(), secure: false, host_end: 0, port: 0 },
        );
        entry.weight = reader.u32()?;
        entry.nickname = parsed("nickname", reader.bytes_u8("nickname", Nickname::MAX_LEN)?)?;
        entry.url = parsed("link address", reader.bytes_u16("link address", LinkUrl::MAX_LEN)?)?;
        entry.version = parsed("software version", reader.bytes_u8("software version", SoftwareVersion::MAX_LEN)?)?;
        let mut fields = Extensions::decode(reader, "the relay's optional fields", Self::MAX_EXTENSIONS_LEN)?;
        if let Some(url) = fields.remove(SECURE_URL) {
            let url: LinkUrl = parsed("secure link address", &url)?;
            if !url.is_secure() {
                return Err(DecodeError::Invalid("secure link address"));
            }
            entry.secure_url = Some(url);
        }
        if let Some(family) = fields.remove(FAMILY) {
            let family: [u8; 32] = family.try_into().map_err(|_| DecodeError::Invalid("family"))?;
            entry.family = Some(family.into());
        }
        if let Some(policy) = fields.remove(EXIT_POLICY) {
            let policy = ExitPolicy::decode(&policy)?;
            // No policy has one encoding: none.
            if policy.rules().is_empty() {
                return Err(DecodeError::Invalid("the exit policy"));
            }
            entry.exit_policy = policy;
        }
        entry.other = fields;
        Ok(entry)
    }
}

fn parsed<T: FromStr>(what: &'static str, bytes: &[u8]) -> Result<T, DecodeError> {
    core::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).ok_or(DecodeError::Invalid(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed() {
        for (text, host, port, secure) in [
            ("ws://127.0.0.1:7101/link", "127.0.0.1", 7101, false),
            ("wss://relay.example/link", "relay.example", 443, true),
            ("ws://[::1]:80/", "::1", 80, false),
            ("ws://[2001:db8::1]/a/b", "2001:db8::1", 80, false),
        ] {
            let url: LinkUrl = text.parse().unwrap();
            assert_eq!((url.host(), url.port(), url.is_secure(), url.as_str()), (host, port, secure, text));
        }
        assert_eq!("ws://127.0.0.2:1/".parse::<LinkUrl>().unwrap().ip(), Some([127, 0, 0, 2].into()));
        assert_eq!("ws://name:1/".parse::<LinkUrl>().unwrap().ip(), None);
    }

    #[test]
    fn other_addresses_are_refused() {
        let long = format!("ws://h/{}", "x".repeat(250));
        for text in [
            "",
            "http://h/",
            "ws://",
            "ws:///link",
            "ws://h",
            "ws://h:/link",
            "ws://h:0/link",
            "ws://h:65536/link",
            "ws://h:+1/link",
            "ws://user@h/link",
            "ws://h:1:2/link",
            "ws://[::1/link",
            "ws://[::1]x/link",
            "ws://[h]/link",
            "ws://::1/link",
            "ws://h/li nk",
            "ws://h/link?q",
            "ws://h/link#f",
            "ws://hé/link",
            &long,
        ] {
            assert_eq!(text.parse::<LinkUrl>(), Err(InvalidRelay::Url), "{text}");
        }
    }

    #[test]
    fn nicknames_are_short_and_plain() {
        assert!("a".parse::<Nickname>().is_ok());
        assert!("A23456789012345678z".parse::<Nickname>().is_ok());
        for text in ["", "A234567890123456789z", "a b", "ä", "a-b", "<b>"] {
            assert_eq!(text.parse::<Nickname>(), Err(InvalidRelay::Nickname), "{text}");
        }
    }

    #[test]
    fn every_field_is_read_as_it_is_written() {
        let mut entry = RelayEntry::new(
            [1; 32].into(),
            [2; 32].into(),
            [3; 32].into(),
            Roles::from_bits(0x8003),
            "a".parse().unwrap(),
            "ws://h:1/".parse().unwrap(),
        );
        let encoded = |entry: &RelayEntry| {
            let mut writer = Writer::new();
            entry.encode(&mut writer);
            writer.into_bytes()
        };
        assert_eq!(encoded(&entry).len(), RelayEntry::MIN_LEN + "ws://h:1/".len());
        entry.weight = 7;
        entry.version = SoftwareVersion::own();
        entry.secure_url = Some("wss://relay.example/link".parse().unwrap());
        entry.family = Some([9; 32].into());
        entry.exit_policy = ExitPolicy::new(vec!["accept *:443".parse().unwrap()]).unwrap();
        entry.other.insert(0x7777, b"of a newer version".to_vec());
        let bytes = encoded(&entry);
        assert_eq!(RelayEntry::decode(&mut Reader::new(&bytes)), Ok(entry.clone()));
        for len in 0..bytes.len() {
            assert!(RelayEntry::decode(&mut Reader::new(&bytes[..len])).is_err(), "cut at {len}");
        }
        assert!(!entry.is_too_long());
        entry.other.insert(0x7778, vec![0; RelayEntry::MAX_EXTENSIONS_LEN]);
        assert!(entry.is_too_long());
        assert!(RelayEntry::decode(&mut Reader::new(&encoded(&entry))).is_err());
    }

    #[test]
    fn the_second_address_is_one_for_pages_that_came_by_https() {
        let mut entry = RelayEntry::new(
            [1; 32].into(),
            [2; 32].into(),
            [3; 32].into(),
            Roles::default(),
            "a".parse().unwrap(),
            "ws://h:1/".parse().unwrap(),
        );
        entry.secure_url = Some("ws://plain.example/".parse().unwrap());
        let mut writer = Writer::new();
        entry.encode(&mut writer);
        let error = DecodeError::Invalid("secure link address");
        assert_eq!(RelayEntry::decode(&mut Reader::new(writer.as_slice())), Err(error));
    }

    #[test]
    fn roles_have_names_and_unknown_ones_are_kept() {
        for role in RelayRole::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        let roles = Roles::from_bits(0x8003);
        assert_eq!(roles.iter().collect::<Vec<_>>(), [RelayRole::Guard, RelayRole::Middle]);
        assert_eq!(roles.bits(), 0x8003);
        assert_eq!(Roles::from_iter(RelayRole::ALL).bits(), 0x3f);
    }
}
