//! The engine's idea of the time: its own clock, set right by what relays tell.
//!
//! Three relays that have nothing to do with each other are asked over three circuits, and the middle one of their answers
//! counts: so one that lies says nothing. What is learnt decides for how long a list of relays counts. It is never told to
//! anybody, and neither is the own clock: how wrong a computer's clock is would tell that computer from others.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::requests::RequestId;
use super::{CircuitManager, CircuitPurpose};
use crate::client::api::Event;
use crate::client::backoff::{Backoff, jitter};
use crate::client::store::Key;
use crate::crypto::keys::RelayIdentity;
use crate::netdir::SKEW_TOLERANCE;
use crate::services::{self, read_time};
use crate::stream::request::RequestResult;
use crate::time::{Instant, Now, UnixTime};

/// How many relays have to tell the time.
const READINGS: usize = 3;

/// How many are asked for that.
const MAX_ASKED: usize = 8;

/// How long they may take together.
const ROUND_TIME: Duration = Duration::from_secs(60);

/// How soon after the first circuit the time is asked for.
const FIRST: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// How often it is asked for.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(2 * 60 * 60), Duration::from_secs(5 * 60 * 60));

/// The pause after a round in which too few relays have answered, at first and at most.
const RETRY: Backoff = Backoff::new(Duration::from_secs(20), Duration::from_secs(15 * 60));

/// How wrong what was learnt may be.
const KNOWN_TOLERANCE: Duration = Duration::from_secs(60);

/// How far the two clocks of this computer may drift apart before one of them has been set, or the computer has slept.
const JUMP: Duration = Duration::from_secs(30);

/// From which difference on the person is told, in milliseconds.
const TELL: i64 = 10 * 60 * 1000;

/// What is kept of the clock from start to start.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(in super::super) struct ClockRecord {
    /// How many milliseconds the network's time was ahead of the own clock.
    skew: i64,
}

/// What is known of the own clock.
#[derive(Debug)]
pub(super) struct NetworkClock {
    /// How many milliseconds the network's time is ahead of the own clock.
    skew: Option<i64>,
    /// What it may be while nothing is known, because it was so before this start, or before the clock jumped.
    maybe: Vec<i64>,
    /// Both clocks, when they were compared last.
    mark: Now,
    /// When the relays are asked next; set once circuits stand.
    next: Option<Instant>,
    round: Option<Round>,
    failures: u32,
    /// What the person was told last, in milliseconds.
    told: Option<i64>,
}

/// The relays that are being asked.
#[derive(Debug)]
struct Round {
    asked: Vec<RelayIdentity>,
    /// Requests without an answer yet.
    under_way: Vec<RequestId>,
    readings: Vec<i64>,
    until: Instant,
}

impl NetworkClock {
    pub(super) fn new(record: Option<ClockRecord>, now: Now) -> Self {
        let maybe: Vec<_> = record.map(|record| record.skew).into_iter().collect();
        Self {
            skew: None,
            told: maybe.first().copied().filter(|skew| skew.abs() > TELL),
            maybe,
            mark: now,
            next: None,
            round: None,
            failures: 0,
        }
    }

    /// The network's time as far as it is known, and how wrong it may be.
    pub(super) fn network_time(&self, own: UnixTime) -> (UnixTime, Duration) {
        match self.skew {
            Some(skew) => (own.shifted(skew), KNOWN_TOLERANCE),
            None => (own, SKEW_TOLERANCE),
        }
    }

    /// The network's time, if relays have told it.
    pub(super) fn known_time(&self, own: UnixTime) -> Option<UnixTime> {
        self.skew.map(|skew| own.shifted(skew))
    }

    /// What the network's time may be if the clock is wrong in a way that is known of, while nothing better is.
    pub(super) fn possible_times(&self, own: UnixTime) -> impl Iterator<Item = UnixTime> {
        self.maybe.iter().filter(|_| self.skew.is_none()).map(move |skew| own.shifted(*skew))
    }

    /// Looks at both clocks; gives by how much one of them has jumped, so that what was known of them does not hold.
    fn jump(&mut self, now: Now) -> Option<i64> {
        let monotonic = i128::try_from(now.instant.saturating_since(self.mark.instant).as_millis()).unwrap_or(0);
        let expected = i128::from(self.mark.unix.as_millis()) + monotonic;
        let jump = i64::try_from(i128::from(now.unix.as_millis()) - expected).unwrap_or(i64::MAX);
        if u128::from(jump.unsigned_abs()) <= JUMP.as_millis() {
            return None;
        }
        self.mark = now;
        Some(jump)
    }
}

impl CircuitManager {
    /// The network's time, if relays have told it.
    pub(in super::super) fn known_time(&self) -> Option<UnixTime> {
        self.clock.known_time(self.now.unix)
    }

    /// Compares the clocks; called before anything else when time has gone by.
    pub(super) fn watch_clocks(&mut self) {
        let Some(jump) = self.clock.jump(self.now) else { return };
        // Either the computer has slept, and its clock is as wrong as it was; or somebody has set it.
        if let Some(skew) = self.clock.skew.take().or(self.clock.maybe.first().copied()) {
            self.clock.maybe = vec![skew, skew.saturating_sub(jump)];
        }
        self.clock.round = None;
        if self.clock.next.is_some() {
            self.clock.next = Some(self.now.instant + jitter(FIRST.0, FIRST.1, &mut self.rng));
        }
        // It may be much later than when the next list was to be looked for.
        self.plan_fetch();
    }

    /// Asks for the time when it is due.
    pub(super) fn maintain_clock(&mut self) {
        let now = self.now.instant;
        if !self.has_circuits() && self.clock.round.is_none() {
            return;
        }
        let next = match self.clock.next {
            Some(next) => next,
            None => {
                let next = now + jitter(FIRST.0, FIRST.1, &mut self.rng);
                *self.clock.next.insert(next)
            }
        };
        if self.clock.round.is_none() {
            if next > now {
                return;
            }
            let until = now + ROUND_TIME;
            self.clock.round = Some(Round { asked: Vec::new(), under_way: Vec::new(), readings: Vec::new(), until });
        }
        self.ask_for_time();
    }

    fn ask_for_time(&mut self) {
        loop {
            let Some(round) = &self.clock.round else { return };
            if round.until <= self.now.instant {
                return self.end_clock_round();
            }
            if round.readings.len() + round.under_way.len() >= READINGS {
                return;
            }
            let (asked, is_idle) = (round.asked.clone(), round.under_way.is_empty());
            let relay = if asked.len() < MAX_ASKED { self.relay_to_ask(&asked) } else { None };
            let Some(relay) = relay else {
                if is_idle {
                    self.end_clock_round();
                }
                return;
            };
            let Some(id) = self.request(relay, CircuitPurpose::Clock, services::time::request()) else { return };
            if let Some(round) = &mut self.clock.round {
                round.under_way.push(id);
                round.asked.push(relay);
            }
        }
    }

    /// A relay has told the time, or has not.
    pub(super) fn clock_result(&mut self, id: RequestId, result: RequestResult) {
        let Some(round) = &mut self.clock.round else { return };
        let Some(at) = round.under_way.iter().position(|request| *request == id) else { return };
        round.under_way.remove(at);
        if let Ok(answer) = result
            && let Ok(told) = read_time(&answer.bytes)
        {
            // Told somewhere between the request and the answer: in the middle, for want of anything better.
            let took = answer.received.instant.saturating_since(answer.sent);
            let half = u64::try_from(took.as_millis() / 2).unwrap_or(0);
            let network = i128::from(told.as_millis()) + i128::from(half);
            let skew = network - i128::from(answer.received.unix.as_millis());
            round.readings.push(i64::try_from(skew).unwrap_or(if skew < 0 { i64::MIN / 2 } else { i64::MAX / 2 }));
        }
        if round.readings.len() >= READINGS {
            self.end_clock_round();
        }
    }

    fn end_clock_round(&mut self) {
        let Some(mut round) = self.clock.round.take() else { return };
        let now = self.now.instant;
        round.readings.sort_unstable();
        let middle = round.readings.get(READINGS / 2).copied().filter(|_| round.readings.len() >= READINGS);
        let Some(skew) = middle else {
            self.clock.next = Some(now + RETRY.draw(self.clock.failures, &mut self.rng));
            self.clock.failures += 1;
            return;
        };
        self.clock.failures = 0;
        self.clock.next = Some(now + jitter(INTERVAL.0, INTERVAL.1, &mut self.rng));
        self.clock.mark = self.now;
        let known = self.clock.skew.replace(skew).or(self.clock.maybe.first().copied());
        let tolerance = i64::try_from(KNOWN_TOLERANCE.as_millis()).unwrap_or(i64::MAX);
        if known.is_none_or(|known| known.abs_diff(skew) > tolerance.unsigned_abs()) {
            self.put_record(Key::Clock, serde_json::to_vec(&ClockRecord { skew }).unwrap_or_default());
        }
        self.plan_fetch_anew(known.unwrap_or(0).abs_diff(skew));
        let is_news = self.clock.told.is_none_or(|told| told.abs_diff(skew) > TELL.unsigned_abs());
        if skew.abs() <= TELL {
            self.clock.told = None;
        } else if is_news {
            self.clock.told = Some(skew);
            self.event(Event::Clock { skew_secs: skew / 1000, message: skew_message(skew / 1000) });
        }
    }

    /// What was planned went by a clock that was so wrong.
    fn plan_fetch_anew(&mut self, change: u64) {
        if u128::from(change) > KNOWN_TOLERANCE.as_millis() {
            self.plan_fetch();
        }
    }

    /// When to look after the clock again.
    pub(super) fn clock_timeout(&self) -> Option<Instant> {
        match &self.clock.round {
            Some(round) => Some(round.until),
            None => self.clock.next.filter(|next| *next > self.now.instant),
        }
    }
}

/// What to tell a person whose clock is so many seconds behind.
fn skew_message(skew_secs: i64) -> String {
    let direction = if skew_secs > 0 { "behind" } else { "ahead of" };
    let secs = skew_secs.unsigned_abs();
    let (count, unit) = match secs {
        172_800.. => (secs / 86_400, "days"),
        7_200.. => (secs / 3600, "hours"),
        _ => (secs / 60, "minutes"),
    };
    format!(
        "This computer's clock is {count} {unit} {direction} the time that relays tell. Set it right: your messages carry its \
         time."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(instant: u64, unix: u64) -> Now {
        Now { instant: Instant::from_millis(instant * 1000), unix: UnixTime::from_millis(unix * 1000) }
    }

    #[test]
    fn clocks_that_drift_apart_are_noticed_once() {
        let mut clock = NetworkClock::new(None, at(0, 5000));
        assert_eq!(clock.jump(at(1000, 6000)), None);
        assert_eq!(clock.jump(at(2000, 7030)), None);
        assert_eq!(clock.jump(at(2001, 7032)), Some(31_000), "set forwards, or slept");
        assert_eq!(clock.jump(at(2002, 7033)), None);
        assert_eq!(clock.jump(at(2003, 100)), Some(-6_934_000), "set back");
        assert_eq!(clock.jump(at(2013, 110)), None);
    }

    #[test]
    fn what_is_remembered_counts_only_while_nothing_is_known() {
        let mut clock = NetworkClock::new(Some(ClockRecord { skew: 5000 }), at(0, 100));
        let own = UnixTime::from_millis(100_000);
        assert_eq!(clock.network_time(own), (own, SKEW_TOLERANCE));
        assert_eq!(clock.known_time(own), None);
        assert_eq!(clock.possible_times(own).collect::<Vec<_>>(), [UnixTime::from_millis(105_000)]);
        clock.skew = Some(-1000);
        assert_eq!(clock.network_time(own), (UnixTime::from_millis(99_000), KNOWN_TOLERANCE));
        assert_eq!(
            (clock.known_time(own), clock.possible_times(own).count()),
            (Some(UnixTime::from_millis(99_000)), 0)
        );
    }

    #[test]
    fn people_are_told_in_their_units() {
        for (secs, words) in [
            (3 * 3600, "is 3 hours behind"),
            (-3 * 3600, "is 3 hours ahead of"),
            (660, "is 11 minutes behind"),
            (40 * 86_400, "is 40 days behind"),
        ] {
            assert!(skew_message(secs).contains(words), "{}", skew_message(secs));
        }
    }
}
