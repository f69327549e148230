//! Which relays to use: guards that stay, paths through the rest, and a memory of what has failed.

use std::collections::HashMap;
use std::time::Duration;

use rand_core::Rng;

use super::links::address;
use crate::circuit::Hop;
use crate::crypto::keys::RelayIdentity;
use crate::netdir::Consensus;
use crate::netdir::{RelayEntry, Role};
use crate::time::Instant;

/// How many guards have their links open at any time.
pub(super) const PRIMARY_GUARDS: usize = 2;

/// How many guards a client keeps to in its life before it takes no new ones.
const MAX_GUARDS: usize = 20;

/// The pause before a guard whose link failed is tried again, at first; it doubles with each failure.
const FIRST_LINK_PENALTY: Duration = Duration::from_secs(1);

const FIRST_PENALTY: Duration = Duration::from_secs(6);
const MAX_PENALTY_DOUBLINGS: u32 = 5;

/// Own hops of a circuit before a relay that somebody else chose.
pub(super) const OWN_HOPS: usize = 3;

/// What the client knows of relays beyond the consensus.
#[derive(Debug, Default)]
pub(super) struct Relays {
    /// Guards that a link has reached, in the order in which it did: those that the client keeps to.
    guards: Vec<RelayIdentity>,
    /// Guards that are being tried because too few of the others work. One that does not answer is forgotten, so that a
    /// network that is down for a moment does not use up the client's guards.
    candidates: Vec<RelayIdentity>,
    failures: HashMap<RelayIdentity, Failure>,
    /// Whether guards have to have a `wss://` address.
    secure_links: bool,
}

#[derive(Debug)]
struct Failure {
    count: u32,
    until: Instant,
}

impl Relays {
    /// With the guards that an earlier run has kept to; `secure_links` says whether all have to have a `wss://` address.
    pub(super) fn new(guards: Vec<RelayIdentity>, secure_links: bool) -> Self {
        Self { guards, candidates: Vec::new(), failures: HashMap::new(), secure_links }
    }

    /// The guards that the client keeps to, in the order of preference.
    pub(super) fn guards(&self) -> &[RelayIdentity] {
        &self.guards
    }

    /// Notes that a relay did not do what it should, and keeps away from it for a while.
    pub(super) fn failed(&mut self, relay: RelayIdentity, now: Instant) {
        self.penalise(relay, FIRST_PENALTY, now);
    }

    /// Notes that the link to a guard failed.
    pub(super) fn link_failed(&mut self, guard: RelayIdentity, now: Instant) {
        self.candidates.retain(|candidate| *candidate != guard);
        self.penalise(guard, FIRST_LINK_PENALTY, now);
    }

    /// Notes that a link has reached a guard; says whether it is one more to keep to.
    pub(super) fn link_opened(&mut self, guard: RelayIdentity) -> bool {
        self.works(&guard);
        self.candidates.retain(|candidate| *candidate != guard);
        let is_new = !self.guards.contains(&guard);
        if is_new {
            self.guards.push(guard);
        }
        is_new
    }

    fn penalise(&mut self, relay: RelayIdentity, first: Duration, now: Instant) {
        let failure = self.failures.entry(relay).or_insert(Failure { count: 0, until: now });
        // Several circuits fail over one relay at the same moment: that is one failure.
        if failure.until <= now {
            failure.until = now + first * (1 << failure.count.min(MAX_PENALTY_DOUBLINGS));
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

    /// The guards whose links should be open: the first of those kept to that work, and others for those that do not. None
    /// of `invited_to` becomes a guard: those are named in links that strangers may read.
    pub(super) fn primary_guards(
        &mut self,
        consensus: &Consensus,
        rng: &mut impl Rng,
        now: Instant,
        invited_to: &[RelayIdentity],
    ) -> Vec<RelayIdentity> {
        let reaches = |relay: &RelayEntry| address(relay, self.secure_links).is_some();
        let is_guard =
            |id: &RelayIdentity| consensus.relay(id).is_some_and(|relay| relay.has(Role::Guard) && reaches(relay));
        self.candidates.retain(is_guard);
        let works = |id: &&RelayIdentity| is_guard(id) && !self.is_failing(id, now);
        let mut primary: Vec<_> = self.guards.iter().filter(works).take(PRIMARY_GUARDS).copied().collect();
        let missing = PRIMARY_GUARDS - primary.len();
        if self.guards.iter().filter(|id| is_guard(id)).count() < MAX_GUARDS {
            let mut fresh: Vec<_> = consensus
                .with_role(Role::Guard)
                .filter(|relay| reaches(relay))
                .map(|relay| relay.identity)
                .filter(|id| !self.guards.contains(id) && !self.candidates.contains(id) && !invited_to.contains(id))
                .filter(|id| !self.is_failing(id, now))
                .collect();
            while self.candidates.len() < missing {
                let Some(at) = below(fresh.len(), rng) else { break };
                self.candidates.push(fresh.swap_remove(at));
            }
        }
        primary.extend(self.candidates.iter().take(missing));
        primary
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
