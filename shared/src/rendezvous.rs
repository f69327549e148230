//! Where and how two contacts meet again: a series of meetings that both derive from their common secret.
//!
//! Nothing has to be agreed when a relay dies, because everything is agreed beforehand: for each generation the secret
//! ranks all relays that can serve, and gives each a cookie and a verification string. The host waits at the first few
//! relays of the ranking that it can reach, the visitor tries them in the ranking's order, and after each meeting both
//! go on to the next generation, so that no cookie serves twice and nobody but the two can tell where they meet next.
//! Relays that join or leave the consensus between the two sides' views move nobody else in the ranking.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::cell::message::Cookie;
use crate::crypto::derive::{derive, derive_short};
use crate::crypto::keys::RelayIdentity;

/// At how many relays the host waits for one contact.
pub const MEETINGS: usize = 3;

/// The secret that two contacts share since their first handshake.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct MeetingSecret([u8; 32]);

impl core::fmt::Debug for MeetingSecret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("MeetingSecret(..)")
    }
}

impl MeetingSecret {
    /// The secret with these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The relays of a generation in the order in which the two try them.
    pub fn rank(&self, generation: u64, relays: impl IntoIterator<Item = RelayIdentity>) -> Vec<RelayIdentity> {
        let mut ranked: Vec<([u8; 32], RelayIdentity)> =
            relays.into_iter().map(|relay| (self.at("meeting rank", generation, &relay), relay)).collect();
        ranked.sort_unstable_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, relay)| relay).collect()
    }

    /// The meeting of a generation at one relay.
    pub fn meeting(&self, generation: u64, relay: RelayIdentity) -> Meeting {
        let cookie = derive_short("meeting cookie", &[&self.0, &generation.to_be_bytes(), relay.as_bytes()]);
        let verification = self.at("meeting verification", generation, &relay);
        Meeting { relay, cookie: Cookie(cookie), verification }
    }

    fn at(&self, label: &str, generation: u64, relay: &RelayIdentity) -> [u8; 32] {
        derive(label, &[&self.0, &generation.to_be_bytes(), relay.as_bytes()])
    }
}

/// One place to meet.
#[derive(Clone)]
pub struct Meeting {
    /// The rendezvous relay.
    pub relay: RelayIdentity,
    /// What the visitor shows it.
    pub cookie: Cookie,
    /// The verification string of the handshake between the two, which acts as a pre-shared key.
    pub verification: [u8; 32],
}

impl core::fmt::Debug for Meeting {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Meeting(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relays(n: u8) -> Vec<RelayIdentity> {
        (0..n).map(|i| RelayIdentity::from([i; 32])).collect()
    }

    #[test]
    fn both_sides_rank_alike_whatever_the_order_of_their_lists() {
        let secret = MeetingSecret::new([7; 32]);
        let mut reversed = relays(20);
        reversed.reverse();
        assert_eq!(secret.rank(3, relays(20)), secret.rank(3, reversed));
        assert_ne!(secret.rank(3, relays(20)), secret.rank(4, relays(20)));
    }

    #[test]
    fn a_relay_that_only_one_side_knows_moves_no_other() {
        let secret = MeetingSecret::new([7; 32]);
        let with = secret.rank(1, relays(20));
        let without = secret.rank(1, relays(19));
        let gone = RelayIdentity::from([19; 32]);
        assert_eq!(with.into_iter().filter(|relay| *relay != gone).collect::<Vec<_>>(), without);
    }

    #[test]
    fn no_two_meetings_share_anything() {
        let secret = MeetingSecret::new([7; 32]);
        let a = secret.meeting(1, RelayIdentity::from([1; 32]));
        for b in [
            secret.meeting(2, RelayIdentity::from([1; 32])),
            secret.meeting(1, RelayIdentity::from([2; 32])),
            MeetingSecret::new([8; 32]).meeting(1, RelayIdentity::from([1; 32])),
        ] {
            assert_ne!(a.cookie, b.cookie);
            assert_ne!(a.verification, b.verification);
        }
    }
}
