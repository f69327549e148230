//! The list of relays as a person may look at it: what the authorities have agreed on, and nothing of the client itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::crypto::keys::RelayIdentity;
use crate::netdir::{
    Authorities, Consensus, ExitRule, LinkUrl, ListedAuthority, Nickname, RelayEntry, RelayRole, Validity,
};

/// How many relays are told at once: whoever draws them can draw something else between two such parts.
pub const RELAYS_AT_ONCE: usize = 500;

/// What a consensus says, but for its relays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkView {
    /// The network's id, in hexadecimal.
    pub network: String,
    /// The digest of what was signed, in hexadecimal.
    pub digest: String,
    /// From when on it counts, in seconds since 1970.
    pub valid_after: u64,
    /// From when on there should be the next one.
    pub fresh_until: u64,
    /// Until when it counts.
    pub valid_until: u64,
    /// By which rules it was computed from the votes.
    pub rule_set: u16,
    /// How many authorities have to sign.
    pub quorum: usize,
    /// The authorities of this client's own list, in its order.
    pub authorities: Vec<AuthorityView>,
    /// The parameters that all go by.
    pub parameters: BTreeMap<String, i64>,
    /// How many relays there are.
    pub relays: usize,
}

/// An authority, and what it has to do with a consensus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityView {
    /// Its name for people.
    pub nickname: Nickname,
    /// Its key, in hexadecimal.
    pub key: String,
    /// Where it is: by the consensus, or else by the client's own list.
    pub url: String,
    /// Whether its vote has counted, now or before.
    pub voted: bool,
    /// Whether it has signed, as this client has checked.
    pub signed: bool,
}

/// A relay of a consensus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayView {
    /// Its name for life.
    pub identity: RelayIdentity,
    /// Its name for people.
    pub nickname: Nickname,
    /// What the authorities let it be used for.
    pub roles: Vec<RelayRole>,
    /// How often it is chosen, beside others.
    pub weight: u32,
    /// How many of a hundred probes it has answered lately, as voted.
    pub health: u8,
    /// What it runs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Where it takes links.
    pub url: LinkUrl,
    /// Where it takes them with a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_url: Option<LinkUrl>,
    /// The key of its family, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// Where it opens connections to, as an exit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exit_policy: Vec<ExitRule>,
}

/// The relays of a consensus, in parts.
pub(super) fn relays_in_parts(consensus: &Consensus) -> impl Iterator<Item = Vec<RelayView>> {
    consensus.relays().chunks(RELAYS_AT_ONCE).map(|part| {
        let view = |relay: &RelayEntry| RelayView::new(relay, consensus.health(&relay.identity).unwrap_or(100));
        part.iter().map(view).collect()
    })
}

impl NetworkView {
    /// A consensus that was checked against these authorities.
    pub(super) fn new(consensus: &Consensus, authorities: &Authorities) -> Self {
        let Validity { valid_after, fresh_until, valid_until } = consensus.validity();
        let authority = |authority: &crate::netdir::Authority| {
            let listed: Option<&ListedAuthority> = consensus.authority(&authority.key);
            AuthorityView {
                nickname: authority.nickname.clone(),
                key: authority.key.to_hex(),
                url: listed.map_or(&authority.url, |listed| &listed.url).clone(),
                voted: listed.is_some(),
                signed: consensus.signers().contains(&authority.key),
            }
        };
        Self {
            network: consensus.network().to_string(),
            digest: consensus.digest().to_string(),
            valid_after,
            fresh_until,
            valid_until,
            rule_set: consensus.rule_set(),
            quorum: authorities.quorum(),
            authorities: authorities.iter().map(authority).collect(),
            parameters: consensus.parameters().clone(),
            relays: consensus.relays().len(),
        }
    }
}

impl RelayView {
    fn new(relay: &RelayEntry, health: u8) -> Self {
        Self {
            identity: relay.identity,
            nickname: relay.nickname.clone(),
            roles: relay.roles.iter().collect(),
            weight: relay.weight,
            health,
            version: relay.version.as_str().to_owned(),
            url: relay.url.clone(),
            secure_url: relay.secure_url.clone(),
            family: relay.family.as_ref().map(crate::netdir::FamilyIdentity::to_hex),
            exit_policy: relay.exit_policy.rules().to_vec(),
        }
    }

    /// Whether the relay has the role.
    pub fn has(&self, role: RelayRole) -> bool {
        self.roles.contains(&role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::api::Event;
    use crate::client::circuits::network_events;
    use crate::crypto::keys::IdentityKeypair;
    use crate::netdir::{Authority, AuthorityKeypair, ConsensusDraft, ExitPolicy};

    #[test]
    fn it_tells_what_was_signed_and_by_whom() {
        let keypairs = [1, 2, 3].map(|n| AuthorityKeypair::new(IdentityKeypair::from_seed(&[n; 32])));
        let authority = |(index, keypair): (usize, &AuthorityKeypair)| Authority {
            nickname: format!("dir{index}").parse().unwrap(),
            key: keypair.identity(),
            url: format!("http://127.0.0.1:{}", 7000 + index),
        };
        let authorities = Authorities::new(keypairs.iter().enumerate().map(authority).collect()).unwrap();
        let relay = |n: u16| {
            let key = |kind: u8| core::array::from_fn(|at| n.to_be_bytes().get(at).copied().unwrap_or(kind));
            let url = format!("ws://127.0.0.1:{}/link", 1000 + n).parse().unwrap();
            let roles = [RelayRole::Middle, RelayRole::Exit].into_iter().collect();
            let nickname = format!("relay{n}").parse().unwrap();
            RelayEntry::new(key(1).into(), key(2).into(), key(3).into(), roles, nickname, url)
        };
        let count = u16::try_from(2 * RELAYS_AT_ONCE + 1).unwrap();
        let mut relays: Vec<RelayEntry> = (0..count).map(relay).collect();
        relays[0].weight = 7;
        relays[0].secure_url = Some("wss://example.org/link".parse().unwrap());
        relays[0].family = Some([9; 32].into());
        relays[0].exit_policy = ExitPolicy::new(vec!["accept *:443".parse().unwrap()]).unwrap();
        let first = relays[0].identity;
        let validity = Validity { valid_after: 10, fresh_until: 20, valid_until: 30 };
        let mut draft = ConsensusDraft::new(*authorities.network(), validity, relays);
        draft.parameters = [("padding-interval".to_owned(), -3)].into();
        draft.health = [(first, 42)].into();
        let bytes = draft.sign(&[&keypairs[0], &keypairs[2]]).unwrap();
        let consensus = Consensus::verify_signatures(&bytes, &authorities).unwrap();

        let mut events = network_events(&consensus, &authorities);
        let Some(Event::Network { network }) = events.next() else { panic!("the whole comes first") };
        assert_eq!((network.valid_after, network.fresh_until, network.valid_until), (10, 20, 30));
        assert_eq!((network.quorum, network.relays), (2, usize::from(count)));
        assert_eq!(network.authorities.iter().map(|one| one.signed).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(network.parameters["padding-interval"], -3);
        assert_eq!(network.digest, consensus.digest().to_string());

        let parts: Vec<Vec<RelayView>> = events
            .map(|event| {
                let json = serde_json::to_vec(&event).unwrap();
                assert_eq!(serde_json::from_slice::<Event>(&json).unwrap(), event);
                let Event::Relays { list } = event else { panic!("then the relays") };
                list
            })
            .collect();
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [RELAYS_AT_ONCE, RELAYS_AT_ONCE, 1]);
        let relay = &parts[0][0];
        assert_eq!((relay.identity, relay.weight, relay.health), (first, 7, 42));
        assert!(relay.has(RelayRole::Exit) && !relay.has(RelayRole::Guard));
        assert_eq!(relay.secure_url.as_ref().unwrap().as_str(), "wss://example.org/link");
        assert_eq!(relay.family.as_deref(), Some("09".repeat(32).as_str()));
        assert_eq!(relay.exit_policy[0].to_string(), "accept *:443");
        assert_eq!(parts[2][0].health, 100);
    }
}
