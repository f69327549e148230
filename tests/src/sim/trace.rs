//! What has happened, as one number: two runs that have the same trace were the same run.

use allium_shared::time::Instant;

use super::Node;
use super::schedule::Kind;

/// A running hash over everything that happened, and the list of it where that was asked for.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    happenings: u64,
    list: Option<Vec<Happened>>,
}

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Happened {
    /// When.
    pub at: Instant,
    /// To whom; nobody where a WebSocket had no owner any more.
    pub node: Option<Node>,
    /// What.
    pub kind: Kind,
    /// How large it was; what this counts depends on the kind.
    pub size: u64,
}

impl Trace {
    /// The hash over all that has happened so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How much has happened so far.
    pub fn happenings(&self) -> u64 {
        self.happenings
    }

    /// Everything since [`Self::keep_list`].
    pub fn list(&self) -> &[Happened] {
        self.list.as_deref().unwrap_or_default()
    }

    /// Keeps the list from now on: for tests that want to see where two runs part.
    pub fn keep_list(&mut self) {
        self.list.get_or_insert_default();
    }

    pub(super) fn note(&mut self, happened: Happened) {
        let node = match happened.node {
            None => 0,
            Some(Node::Relay(n)) => 1 + ((n as u64) << 2),
            Some(Node::Client(n)) => 2 + ((n as u64) << 2),
            Some(Node::Outsider(n)) => 3 + ((n as u64) << 2),
        };
        for part in [happened.at.as_millis(), node, happened.kind as u64, happened.size] {
            self.hash = mix(self.hash ^ part);
        }
        self.happenings += 1;
        if let Some(list) = &mut self.list {
            list.push(happened);
        }
    }
}

/// The finaliser of SplitMix64: spreads every bit over the whole number.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
