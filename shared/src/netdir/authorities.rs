//! Who signs the consensus, and which network that makes.

use std::collections::BTreeSet;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::Deserialize;
use sha3::{Digest, Sha3_256};
use thiserror::Error;

use super::{AuthorityIdentity, NetworkId, Nickname};

const NETWORK_DOMAIN: &[u8] = b"allium network id v1";
/// The longest address of an authority, in characters.
pub const MAX_URL_LEN: usize = 256;

/// The largest number of authorities of one network.
pub const MAX_AUTHORITIES: usize = 31;

/// The longest JSON form of a list of authorities, in bytes.
pub const MAX_AUTHORITIES_LEN: usize = 32 * 1024;

/// One authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Its name for people.
    pub nickname: Nickname,
    /// The key that it signs with.
    pub key: AuthorityIdentity,
    /// Where its directory is: `http://host:port` or `https://…`, without a slash at the end.
    pub url: String,
}

impl Authority {
    /// The authority as an entry of the list's JSON form.
    pub fn to_json(&self) -> String {
        self.to_value().to_string()
    }

    fn to_value(&self) -> serde_json::Value {
        serde_json::json!({ "nickname": self.nickname.as_str(), "key": self.key.to_hex(), "url": self.url })
    }
}

/// Why a list of authorities is none.
#[derive(Debug, Error)]
pub enum AuthoritiesError {
    /// Not the JSON that is expected.
    #[error("the list of authorities is not the expected JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Longer than any list.
    #[error("the list of authorities is longer than {MAX_AUTHORITIES_LEN} bytes")]
    TooLong,
    /// No authority, or too many.
    #[error("there are {0} authorities, not 1 to {MAX_AUTHORITIES}")]
    Count(usize),
    /// One key stands there twice.
    #[error("authority {0} has the same key as another")]
    DuplicateKey(Nickname),
    /// Not 64 hexadecimal digits.
    #[error("{0} is not 64 hexadecimal digits")]
    Hex(&'static str),
    /// Not an address.
    #[error("authority {0} has no address like http://host:port")]
    Url(Nickname),
    /// A quorum that could be two at once, or that cannot be reached.
    #[error(
        "a quorum of {quorum} does not fit {count} authorities: it has to be more than half of them, and not more than all"
    )]
    Quorum {
        /// What was named.
        quorum: usize,
        /// How many authorities there are.
        count: usize,
    },
    /// The network's id does not belong to the keys.
    #[error("the network's id is not that of the authorities' keys")]
    Network,
}

/// The authorities of a network, the root of all trust in its relays.
///
/// As JSON, for people to copy and for `GET /directory/authorities`:
/// `{"network": HEX, "quorum": NUMBER, "authorities": [{"nickname": TEXT, "key": HEX, "url": TEXT}, …]}`; `network` may be
/// left out, and so may `quorum`, which is then more than half.
///
/// A consensus counts with the signatures of a *quorum*. With more than half of n authorities, fewer than half of them may
/// lie or fail, as long as messages between the others arrive in time. With n = 3f + 1 and a quorum of 2f + 1, f may lie, and
/// even late messages cannot make two different consensuses count for one period: any two quorums share an honest authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities {
    network: NetworkId,
    quorum: usize,
    list: Vec<Authority>,
}

#[derive(Deserialize)]
struct AuthoritiesJson {
    network: Option<String>,
    quorum: Option<usize>,
    authorities: Vec<AuthorityJson>,
}

#[derive(Deserialize)]
struct AuthorityJson {
    nickname: Nickname,
    key: String,
    url: String,
}

impl Authorities {
    /// The network of these authorities, of which more than half make a quorum.
    ///
    /// # Errors
    ///
    /// If the list is not one.
    pub fn new(list: Vec<Authority>) -> Result<Self, AuthoritiesError> {
        if !(1..=MAX_AUTHORITIES).contains(&list.len()) {
            return Err(AuthoritiesError::Count(list.len()));
        }
        let mut keys = BTreeSet::new();
        for authority in &list {
            if !valid_url(&authority.url) {
                return Err(AuthoritiesError::Url(authority.nickname.clone()));
            }
            if !keys.insert(authority.key) {
                return Err(AuthoritiesError::DuplicateKey(authority.nickname.clone()));
            }
        }
        let mut hash = Sha3_256::new_with_prefix(NETWORK_DOMAIN);
        for key in keys {
            hash.update(key.as_bytes());
        }
        Ok(Self { network: NetworkId::from_bytes(hash.finalize().into()), quorum: list.len() / 2 + 1, list })
    }

    /// The same with another quorum.
    ///
    /// # Errors
    ///
    /// If it is not more than half, or more than all.
    pub fn with_quorum(mut self, quorum: usize) -> Result<Self, AuthoritiesError> {
        let count = self.list.len();
        if quorum <= count / 2 || quorum > count {
            return Err(AuthoritiesError::Quorum { quorum, count });
        }
        self.quorum = quorum;
        Ok(self)
    }

    /// Reads the JSON form.
    pub fn from_json(json: &[u8]) -> Result<Self, AuthoritiesError> {
        if json.len() > MAX_AUTHORITIES_LEN {
            return Err(AuthoritiesError::TooLong);
        }
        let json: AuthoritiesJson = serde_json::from_slice(json)?;
        let list = json.authorities.into_iter().map(|AuthorityJson { nickname, key, url }| {
            Ok(Authority { nickname, key: from_hex("an authority's key", &key)?.into(), url })
        });
        let mut authorities = Self::new(list.collect::<Result<_, AuthoritiesError>>()?)?;
        if let Some(quorum) = json.quorum {
            authorities = authorities.with_quorum(quorum)?;
        }
        match json.network {
            Some(network) if from_hex("the network's id", &network)? != *authorities.network.as_bytes() => {
                Err(AuthoritiesError::Network)
            }
            _ => Ok(authorities),
        }
    }

    /// The JSON form.
    pub fn to_json(&self) -> String {
        let list: Vec<_> = self.list.iter().map(Authority::to_value).collect();
        serde_json::json!({ "network": self.network.to_string(), "quorum": self.quorum, "authorities": list })
            .to_string()
    }

    /// The network's id.
    pub const fn network(&self) -> &NetworkId {
        &self.network
    }

    /// The authorities, in the configured order.
    pub fn iter(&self) -> impl Iterator<Item = &Authority> {
        self.list.iter()
    }

    /// The authority with this key.
    pub fn get(&self, key: &AuthorityIdentity) -> Option<&Authority> {
        self.list.iter().find(|authority| authority.key == *key)
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none: never.
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many have to sign a consensus.
    pub const fn quorum(&self) -> usize {
        self.quorum
    }

    /// How many may lie or fail while the others still agree: those that a quorum can do without.
    pub const fn faults(&self) -> usize {
        self.list.len() - self.quorum
    }
}

fn from_hex(what: &'static str, text: &str) -> Result<[u8; 32], AuthoritiesError> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| AuthoritiesError::Hex(what))?;
    bytes.try_into().map_err(|_| AuthoritiesError::Hex(what))
}

pub(super) fn valid_url(url: &str) -> bool {
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    url.len() <= MAX_URL_LEN
        && host.is_some_and(|host| !host.is_empty() && !host.ends_with('/'))
        && url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>?#@\\".contains(&byte))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::AuthorityKeypair;
    use super::*;
    use crate::crypto::keys::IdentityKeypair;

    /// `count` authorities, the same for the same count.
    pub(in super::super) fn authorities(count: u8) -> (Vec<AuthorityKeypair>, Authorities) {
        let keypairs: Vec<_> =
            (0..count).map(|seed| AuthorityKeypair::new(IdentityKeypair::from_seed(&[0xa0 + seed; 32]))).collect();
        let list = keypairs.iter().enumerate().map(|(index, keypair)| Authority {
            nickname: format!("authority{index}").parse().unwrap(),
            key: keypair.identity(),
            url: format!("http://127.0.0.1:{}", 7001 + index),
        });
        let authorities = Authorities::new(list.collect()).unwrap();
        (keypairs, authorities)
    }

    #[test]
    fn the_json_form_is_read_again() {
        let (_, authorities) = authorities(3);
        let json = authorities.to_json();
        assert!(json.len() < MAX_AUTHORITIES_LEN);
        assert_eq!(Authorities::from_json(json.as_bytes()).unwrap(), authorities);
    }

    #[test]
    fn the_largest_list_fits_its_bound() {
        let list = (0..MAX_AUTHORITIES).map(|index| Authority {
            nickname: "x".repeat(19).parse().unwrap(),
            key: [u8::try_from(index).unwrap(); 32].into(),
            url: format!("http://{}", "x".repeat(MAX_URL_LEN - 7)),
        });
        assert!(Authorities::new(list.collect()).unwrap().to_json().len() < MAX_AUTHORITIES_LEN);
    }

    #[test]
    fn the_networks_id_depends_on_the_keys_alone() {
        let (_, three) = authorities(3);
        let mut list: Vec<_> = three.iter().cloned().collect();
        list.reverse();
        list[0].url = "http://elsewhere:1".to_owned();
        assert_eq!(Authorities::new(list.clone()).unwrap().network(), three.network());
        list.pop();
        assert_ne!(Authorities::new(list).unwrap().network(), three.network());
        assert_eq!(three.network().to_string(), "82b03b4e7545fb3332dacf304ad14cf8e365c02a3d2d76ed2658d45113bf17b2");
    }

    #[test]
    fn a_quorum_is_more_than_half_unless_it_is_named() {
        for (count, quorum, faults) in [(1, 1, 0), (2, 2, 0), (3, 2, 1), (4, 3, 1), (5, 3, 2), (7, 4, 3), (31, 16, 15)]
        {
            let (_, authorities) = authorities(count);
            assert_eq!((authorities.quorum(), authorities.faults()), (quorum, faults), "{count}");
        }
        let (_, seven) = authorities(7);
        let five = seven.clone().with_quorum(5).unwrap();
        assert_eq!((five.quorum(), five.faults(), five.network()), (5, 2, seven.network()));
        assert_eq!(Authorities::from_json(five.to_json().as_bytes()).unwrap(), five);
        for quorum in [0, 3, 8] {
            assert!(matches!(seven.clone().with_quorum(quorum), Err(AuthoritiesError::Quorum { .. })));
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let key = "11".repeat(32);
        let entry = |key: &str, url: &str| format!(r#"{{"nickname":"a","key":"{key}","url":"{url}"}}"#);
        let good = entry(&key, "http://h:1");
        for (list, expected) in [
            (String::new(), "there are 0 authorities, not 1 to 31"),
            (format!("{good},{good}"), "authority a has the same key as another"),
            (entry("11", "http://h"), "an authority's key is not 64 hexadecimal digits"),
            (entry(&key, "ftp://h"), "authority a has no address like http://host:port"),
            (entry(&key, "http://h/"), "authority a has no address like http://host:port"),
            (entry(&key, "http://h?<"), "authority a has no address like http://host:port"),
        ] {
            let json = format!(r#"{{"authorities":[{list}]}}"#);
            assert_eq!(Authorities::from_json(json.as_bytes()).unwrap_err().to_string(), expected);
        }
        let json = format!(r#"{{"network":"{key}","authorities":[{good}]}}"#);
        assert!(matches!(Authorities::from_json(json.as_bytes()), Err(AuthoritiesError::Network)));
        assert!(matches!(Authorities::from_json(&[b' '; 40_000]), Err(AuthoritiesError::TooLong)));
        assert!(matches!(Authorities::from_json(b"[]"), Err(AuthoritiesError::Json(_))));
    }
}
