//! Invites: all that a stranger needs to ask the inviter for contact, as the fragment of a link.
//!
//! ```text
//! version u8 ‖ network (8) ‖ flags u8 ‖ expires u32 ‖ key (32) ‖ secret (16)
//!   ‖ count u8 ‖ count × (relay (32) ‖ id (16)) ‖ check (4)
//! ```
//!
//! in base64url without filling. `network` is the beginning of the network's id, the only flag 1 says that many may use the
//! link, `expires` is in minutes since 1970 (zero: never), `key` the inviter's X25519 key for this invite, `secret` part of
//! the verification string, the relays are those where the inviter takes what comes for the ids, and `check` is the
//! beginning of a hash of all before it, so that a link that lost a letter on its way is told from one whose relays are gone.

use data_encoding::BASE64URL_NOPAD;
use thiserror::Error;
use zeroize::Zeroize;

use crate::cell::introduction::{AUTH_KEY_LEN, IntroductionId};
use crate::crypto::derive::{derive, derive_short};
use crate::crypto::keys::RelayIdentity;
use crate::rendezvous::service_identity;
use crate::time::UnixTime;
use crate::wire::{DecodeError, Reader};

const VERSION: u8 = 2;
const REUSABLE: u8 = 1;
const CHECK_LEN: usize = 4;
const MAX_RELAYS: usize = 4;
const MAX_LINK_LEN: usize = 4096;

/// At how many relays the inviter takes introductions for one invite.
pub const INVITE_RELAYS: usize = 2;

/// An invite, as the link carries it.
#[derive(Clone, PartialEq, Eq)]
pub struct Invite {
    /// The beginning of the network's id.
    pub network: [u8; 8],
    /// Whether many may use it, or only one.
    pub reusable: bool,
    /// When it ends, in minutes since 1970; never, if that is zero.
    pub expires: u32,
    /// The inviter's X25519 key for this invite.
    pub key: [u8; 32],
    /// What only holders of the link know.
    pub secret: [u8; 16],
    /// Where the inviter takes introductions, and for which id at each place.
    pub places: Vec<(RelayIdentity, IntroductionId)>,
}

impl Invite {
    /// What follows `#` in the link.
    pub fn to_fragment(&self) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.network);
        bytes.push(if self.reusable { REUSABLE } else { 0 });
        bytes.extend_from_slice(&self.expires.to_be_bytes());
        bytes.extend_from_slice(&self.key);
        bytes.extend_from_slice(&self.secret);
        let places = self.places.get(..MAX_RELAYS).unwrap_or(&self.places);
        bytes.push(places.len() as u8);
        for (relay, id) in places {
            bytes.extend_from_slice(relay.as_bytes());
            bytes.extend_from_slice(&id.0);
        }
        bytes.extend_from_slice(&check(&bytes));
        let fragment = BASE64URL_NOPAD.encode(&bytes);
        bytes.zeroize();
        fragment
    }

    /// Reads a link, or only its fragment; white space around and within it (a wrapped line) does not matter.
    ///
    /// # Errors
    ///
    /// If it is no invite, or not a whole one, or one of a later version.
    pub fn parse(link: &str) -> Result<Self, InviteError> {
        if link.len() > MAX_LINK_LEN {
            return Err(InviteError::NotAnInvite);
        }
        let link: String = link.split_whitespace().collect();
        let fragment = link.rsplit('#').next().unwrap_or_default();
        if fragment.is_empty() || fragment.contains([':', '/']) {
            return Err(InviteError::NotAnInvite);
        }
        let bytes = BASE64URL_NOPAD.decode(fragment.as_bytes()).map_err(|_| InviteError::Damaged)?;
        match bytes.first() {
            Some(&VERSION) => {}
            Some(&version) if bytes.len() > CHECK_LEN && is_whole(&bytes) => {
                return Err(if version < VERSION { InviteError::Outdated } else { InviteError::Version(version) });
            }
            _ => return Err(InviteError::Damaged),
        }
        if !is_whole(&bytes) {
            return Err(InviteError::Damaged);
        }
        Self::decode(&bytes).map_err(|_| InviteError::Damaged)
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        reader.u8()?;
        let network = reader.array()?;
        let reusable = match reader.u8()? {
            0 => false,
            REUSABLE => true,
            _ => return Err(DecodeError::Invalid("a flag")),
        };
        let (expires, key, secret) = (reader.u32()?, reader.array()?, reader.array()?);
        let count = usize::from(reader.u8()?);
        if count == 0 || count > MAX_RELAYS {
            return Err(DecodeError::Invalid("the number of relays"));
        }
        let mut places = Vec::with_capacity(count);
        for _ in 0..count {
            places.push((RelayIdentity::from(reader.array::<32>()?), IntroductionId(reader.array::<AUTH_KEY_LEN>()?)));
        }
        reader.array::<CHECK_LEN>()?;
        reader.finish()?;
        Ok(Self { network, reusable, expires, key, secret, places })
    }

    /// The identity that stands for the inviter in the handshake: a hash of the key.
    pub fn identity(&self) -> [u8; 32] {
        service_identity(&self.key)
    }

    /// The verification string of handshakes with the inviter.
    pub fn verification(&self) -> [u8; 32] {
        derive("invite verification", &[&self.secret, &self.key])
    }

    /// Whether it has ended by this time.
    pub fn is_over(&self, now: UnixTime) -> bool {
        is_over(self.expires, now)
    }
}

/// Whether the time of an invite that ends at this minute since 1970 is over; never, if that is zero.
pub(crate) fn is_over(expires: u32, now: UnixTime) -> bool {
    expires != 0 && now.as_secs() / 60 >= u64::from(expires)
}

impl core::fmt::Debug for Invite {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Invite(..)")
    }
}

fn check(bytes: &[u8]) -> [u8; CHECK_LEN] {
    derive_short("invite check", &[bytes])
}

fn is_whole(bytes: &[u8]) -> bool {
    bytes.split_last_chunk::<CHECK_LEN>().is_some_and(|(body, sum)| check(body) == *sum)
}

/// Why a link is not an invite that can be used. Each text is for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InviteError {
    /// There is nothing of an invite in it.
    #[error("This isn't an Allium invite link. Copy the whole link, or ask for it again.")]
    NotAnInvite,
    /// Letters are missing or changed.
    #[error("This isn't a complete Allium invite link. Copy it again.")]
    Damaged,
    /// Made by a later version.
    #[error(
        "This invite link was made by a newer version of Allium (format {0}). Reload the page or update to use it."
    )]
    Version(u8),
    /// Made by an earlier version.
    #[error("This invite link was made by an older version of Allium. Ask for a new one.")]
    Outdated,
    /// Its time is over.
    #[error("This invite link has expired. Ask for a new one.")]
    Expired,
    /// Made on another network.
    #[error("This invite link belongs to another network than the one you are on.")]
    OtherNetwork,
    /// The network knows none of its relays any more.
    #[error("The relays that this invite names are gone. Ask for a new invite.")]
    RelaysGone,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn invite() -> Invite {
        Invite {
            network: [1; 8],
            reusable: true,
            expires: 0x0102_0304,
            key: [2; 32],
            secret: [3; 16],
            places: vec![
                (RelayIdentity::from([4; 32]), IntroductionId([5; 16])),
                (RelayIdentity::from([6; 32]), IntroductionId([7; 16])),
            ],
        }
    }

    #[test]
    fn a_link_survives_what_mail_does_to_it() {
        let fragment = invite().to_fragment();
        for link in [
            fragment.clone(),
            format!("http://127.0.0.1:7000/#{fragment}"),
            format!("  https://example.org/a/b#{fragment}\r\n"),
            format!("http://127.0.0.1:7000/#{}\n {}", &fragment[..40], &fragment[40..]),
        ] {
            assert_eq!(Invite::parse(&link), Ok(invite()), "{link}");
        }
    }

    #[test]
    fn broken_links_say_what_is_wrong() {
        let fragment = invite().to_fragment();
        assert_eq!(Invite::parse(""), Err(InviteError::NotAnInvite));
        assert_eq!(Invite::parse("http://127.0.0.1:7000/"), Err(InviteError::NotAnInvite));
        assert_eq!(Invite::parse(&fragment[1..]), Err(InviteError::Damaged));
        assert_eq!(Invite::parse(&fragment[..fragment.len() - 4]), Err(InviteError::Damaged));
        assert_eq!(Invite::parse("hello there"), Err(InviteError::Damaged));
        for (version, error) in [(9, InviteError::Version(9)), (1, InviteError::Outdated)] {
            let mut other = vec![version, 1, 2, 3];
            other.extend_from_slice(&check(&other));
            assert_eq!(Invite::parse(&BASE64URL_NOPAD.encode(&other)), Err(error));
        }
    }

    #[test]
    fn an_invite_ends_when_it_says() {
        let at = |secs: u64| UnixTime::from_millis(secs * 1000);
        let ends = |expires| Invite { expires, ..invite() };
        assert!(!ends(0).is_over(at(1 << 40)));
        assert!(!ends(10).is_over(at(599)) && ends(10).is_over(at(600)));
    }

    proptest! {
        #[test]
        fn one_changed_letter_is_noticed(at in 0_usize..200, letter in "[A-Za-z0-9_-]") {
            let mut fragment = invite().to_fragment();
            let at = at % fragment.len();
            fragment.replace_range(at..=at, &letter);
            prop_assert!(fragment == invite().to_fragment() || Invite::parse(&fragment).is_err());
        }

        #[test]
        fn parsing_is_total(link in ".{0,300}") {
            let _ = Invite::parse(&link);
        }
    }
}
