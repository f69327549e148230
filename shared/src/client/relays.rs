//! Which relays to use: guards that stay, paths through the rest, and a memory of what has failed.

use std::collections::HashMap;
use std::time::Duration;

use rand_core::Rng;

use crate::circuit::Hop;
use crate::crypto::keys::RelayIdentity;
use crate::netdir::Consensus;
use crate::netdir::{RelayEntry, Role};
use crate::time::Instant;

/// How many guards have their links open at any time.
pub(super) const PRIMARY_GUARDS: usize = 2;

/// How many guards a client takes up in its life before it takes no new ones.
const MAX_GUARDS: usize = 20;

const FIRST_PENALTY: Duration = Duration::from_secs(6);
const MAX_PENALTY_DOUBLINGS: u32 = 5;

/// Own hops of a circuit before a relay that somebody else chose.
pub(super) const OWN_HOPS: usize = 3;

/// What the client knows of relays beyond the consensus.
#[derive(Debug, Default)]
pub(super) struct Relays {
    guards: Vec<RelayIdentity>,
    failures: HashMap<RelayIdentity, Failure>,
}

#[derive(Debug)]
struct Failure {
    count: u32,
    until: Instant,
}

impl Relays {
    /// With the guards that an earlier run took up.
    pub(super) fn new(guards: Vec<RelayIdentity>) -> Self {
        Self { guards, failures: HashMap::new() }
    }

    /// All guards ever taken up, in the order of preference.
    pub(super) fn guards(&self) -> &[RelayIdentity] {
        &self.guards
    }

    /// Notes that a relay did not do what it should, and keeps away from it for a while.
    pub(super) fn failed(&mut self, relay: RelayIdentity, now: Instant) {
        let failure = self.failures.entry(relay).or_insert(Failure { count: 0, until: now });
        // Several circuits fail over one relay at the same moment: that is one failure.
        if failure.until <= now {
            failure.until = now + FIRST_PENALTY * (1 << failure.count.min(MAX_PENALTY_DOUBLINGS));
            failure.count += 1;
        }
    }

    /// Notes that a relay works.
    pub(super) fn works(&mut self, relay: &RelayIdentity) {
        self.failures.remove(relay);
    }

    /// Whether the relay failed a short while ago.
    pub(super) fn is_failing(&self, relay: &RelayIdentity, now: Instant) -> bool {
        self.failures.get(relay).is_some_and(|failure| failure.until > now)
    }

    /// The first moment at which a failing relay gets another chance.
    pub(super) fn next_chance(&self, now: Instant) -> Option<Instant> {
        self.failures.values().map(|failure| failure.until).filter(|until| *until > now).min()
    }

    /// The guards whose links should be open. Takes up new ones only when too few of the old ones can be used; says whether
    /// it did.
    pub(super) fn primary_guards(
        &mut self,
        consensus: &Consensus,
        rng: &mut impl Rng,
        now: Instant,
    ) -> (Vec<RelayIdentity>, bool) {
        let usable = |relays: &Self| -> Vec<RelayIdentity> {
            let is_guard = |id: &&RelayIdentity| consensus.relay(id).is_some_and(|relay| relay.has(Role::Guard));
            let mut usable: Vec<_> = relays.guards.iter().filter(is_guard).copied().collect();
            usable.retain(|id| !relays.is_failing(id, now));
            usable
        };
        let mut primary = usable(self);
        let mut grown = false;
        while primary.len() < PRIMARY_GUARDS && self.guards.len() < MAX_GUARDS {
            let candidates: Vec<_> = consensus
                .with_role(Role::Guard)
                .map(|relay| relay.identity)
                .filter(|id| !self.guards.contains(id) && !self.is_failing(id, now))
                .collect();
            let Some(guard) = choose(&candidates, rng) else { break };
            self.guards.push(*guard);
            grown = true;
            primary = usable(self);
        }
        if primary.is_empty() {
            // Everything has failed: better to try again than to sit still.
            primary = self.guards.iter().filter(|id| consensus.relay(id).is_some()).copied().collect();
        }
        primary.truncate(PRIMARY_GUARDS);
        (primary, grown)
    }

    /// Chooses `count` relays that may stand in the middle, none of `exclude`, none twice; fewer when there are no more.
    pub(super) fn middles(
        &self,
        consensus: &Consensus,
        rng: &mut impl Rng,
        now: Instant,
        count: usize,
        exclude: &[RelayIdentity],
    ) -> Vec<RelayIdentity> {
        self.choose_with(consensus, rng, now, count, |relay| {
            relay.has(Role::Middle) && !exclude.contains(&relay.identity)
        })
    }

    /// Chooses `count` relays where strangers may meet this client: none of its guards.
    pub(super) fn meeting_places(
        &self,
        consensus: &Consensus,
        rng: &mut impl Rng,
        now: Instant,
        count: usize,
        exclude: &[RelayIdentity],
    ) -> Vec<RelayIdentity> {
        self.choose_with(consensus, rng, now, count, |relay| {
            relay.has(Role::Rendezvous) && !self.guards.contains(&relay.identity) && !exclude.contains(&relay.identity)
        })
    }

    fn choose_with(
        &self,
        consensus: &Consensus,
        rng: &mut impl Rng,
        now: Instant,
        count: usize,
        fits: impl Fn(&RelayEntry) -> bool,
    ) -> Vec<RelayIdentity> {
        let (mut good, mut failing): (Vec<_>, Vec<_>) = consensus
            .relays()
            .iter()
            .filter(|relay| fits(relay))
            .map(|relay| relay.identity)
            .partition(|id| !self.is_failing(id, now));
        let mut chosen = Vec::with_capacity(count);
        while chosen.len() < count {
            let from = if good.is_empty() { &mut failing } else { &mut good };
            let Some(at) = below(from.len(), rng) else { break };
            chosen.push(from.swap_remove(at));
        }
        chosen
    }
}

/// The hops of a path, as circuits need them; nothing if a relay has left the consensus.
pub(super) fn hops(consensus: &Consensus, path: &[RelayIdentity]) -> Option<Vec<Hop>> {
    path.iter().map(|id| consensus.relay(id).map(hop)).collect()
}

/// A relay as circuits need it.
pub(super) fn hop(relay: &RelayEntry) -> Hop {
    Hop { identity: relay.identity, onion_key: relay.onion_key }
}

/// One of the list, each as likely as the others.
pub(super) fn choose<'a, T>(list: &'a [T], rng: &mut impl Rng) -> Option<&'a T> {
    list.get(below(list.len(), rng)?)
}

/// A number below `end`; none where that is zero. The bias of the remainder is below 2⁻³² for any list that fits memory.
fn below(end: usize, rng: &mut impl Rng) -> Option<usize> {
    let end = u64::try_from(end).ok().filter(|end| *end > 0)?;
    usize::try_from(rng.next_u64() % end).ok()
}

/// Between `from` and `to`, at random.
pub(super) fn jitter(from: Duration, to: Duration, rng: &mut impl Rng) -> Duration {
    let span = u64::try_from(to.saturating_sub(from).as_millis()).unwrap_or(u64::MAX).max(1);
    from + Duration::from_millis(rng.next_u64() % span)
}
