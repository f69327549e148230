//! Bringing an introduction to one of the other's introduction points, with proof of work where the relay asks for it.

use std::time::Duration;

use super::OnionService;
use crate::cell::DestroyReason;
use crate::cell::introduction::{Introduction, MAX_EFFORT};
use crate::cell::message::RelayMessage;
use crate::client::api::ContactId;
use crate::client::circuits::CircuitId;
use crate::client::context::Context;
use crate::time::Instant;

/// Nonces that are tried at once, for work that a relay asks for.
const WORK_STEP: u64 = 2048;

/// How long an introduction for which a relay asks for work may be without an answer.
const WORK_TIME: Duration = Duration::from_secs(60);

/// How often one relay may ask for work for the same introduction.
const MAX_WORK_ROUNDS: u8 = 4;

/// An introduction on its way.
pub(super) struct Introduce {
    /// The circuit that waits for the answer.
    pub(super) wait: CircuitId,
    pub(super) contact: ContactId,
    introduction: Introduction,
    /// When it was handed over, if it was.
    sent: Option<Instant>,
    work: Option<Work>,
    /// How often the relay has asked for work.
    rounds: u8,
}

/// Proof of work that a relay asks for.
struct Work {
    effort: u8,
    seed: [u8; 16],
    /// The next nonce to try.
    next: u64,
}

impl Introduce {
    /// An introduction for the client rendezvous on the circuit `wait`.
    pub(super) const fn new(wait: CircuitId, contact: ContactId, introduction: Introduction) -> Self {
        Self { wait, contact, introduction, sent: None, work: None, rounds: 0 }
    }
}

impl OnionService {
    /// The circuit reaches the introduction point: hands the introduction over, once somebody can come.
    pub(super) fn introduce(&mut self, key: CircuitId, cx: &mut Context<'_>) {
        let now = cx.now.instant;
        let Some(introduce) = self.introduces.get_mut(&key) else { return };
        let Some(wait) = self.client_rendezvous.get_mut(&introduce.wait) else {
            // It is not wanted any more.
            return self.close(key, cx);
        };
        if !wait.established {
            // The time limit of the other circuit applies.
            return cx.circuits.expect_answer_some_time(key);
        }
        if let Some(attempts) = &mut wait.attempts {
            (attempts.sent, attempts.round) = (Some(now), None);
        }
        introduce.sent = Some(now);
        cx.circuits.expect_answer(key);
        for fragment in introduce.introduction.to_relay() {
            cx.circuits.send(key, &RelayMessage::Introduce1(fragment));
        }
    }

    /// The introduction point has answered: it has taken the introduction, or asks for work first.
    pub(super) fn introduce_acknowledged(&mut self, key: CircuitId, effort: u8, seed: [u8; 16], cx: &mut Context<'_>) {
        let now = cx.now.instant;
        let Some(introduce) = self.introduces.get_mut(&key) else { return };
        if effort == 0 {
            let (wait, sent) = (introduce.wait, introduce.sent);
            self.note_round(wait, sent, now);
            return self.close(key, cx);
        }
        if effort > MAX_EFFORT || introduce.work.is_some() {
            return self.fail(key, DestroyReason::Protocol, cx);
        }
        introduce.rounds += 1;
        if introduce.rounds > MAX_WORK_ROUNDS {
            // It has too much to do even for those who have worked.
            return self.close(key, cx);
        }
        cx.circuits.expect_answer_some_time(key);
        // What has not been enough is not tried again.
        introduce.work = Some(Work { effort, seed, next: introduce.introduction.nonce.wrapping_add(1) });
        let (wait, until) = (introduce.wait, now + WORK_TIME);
        if let Some(wait) = self.client_rendezvous.get_mut(&wait)
            && let Some(attempts) = &mut wait.attempts
        {
            attempts.until = attempts.until.max(until);
        }
        self.work(key, cx);
    }

    /// A relay has taken the introduction that it was handed at this time: from how long that took one can tell for how long
    /// it may cross with one of the contact's.
    fn note_round(&mut self, wait: CircuitId, sent: Option<Instant>, now: Instant) {
        if let Some(wait) = self.client_rendezvous.get_mut(&wait)
            && let Some(attempts) = &mut wait.attempts
            && let Some(sent) = sent.filter(|_| attempts.sent == sent)
        {
            attempts.round = Some(now.saturating_since(sent));
        }
    }

    /// An introduction may not have arrived: the next place is tried at once.
    pub(super) fn introduce_lost(&mut self, introduce: &Introduce, cx: &Context<'_>) {
        if let Some(wait) = self.client_rendezvous.get_mut(&introduce.wait)
            && let Some(attempts) = wait.attempts.as_mut().filter(|_| !wait.places.is_empty())
        {
            attempts.next = attempts.next.min(cx.now.instant);
        }
    }

    /// True if any introduction point asks for work.
    pub(super) fn has_work(&self) -> bool {
        self.introduces.values().any(|introduce| introduce.work.is_some())
    }

    /// Does some of the work for each introduction that needs it.
    pub(super) fn work_on_introductions(&mut self, cx: &mut Context<'_>) {
        let working = self.introduces.iter().filter(|(_, introduce)| introduce.work.is_some()).map(|(key, _)| *key);
        for key in working.collect::<Vec<_>>() {
            self.work(key, cx);
        }
    }

    fn work(&mut self, key: CircuitId, cx: &mut Context<'_>) {
        let Some(introduce) = self.introduces.get_mut(&key) else { return };
        let Some(Work { effort, seed, next }) = &mut introduce.work else { return };
        let Some(relay) = cx.circuits.last_hop(key) else { return };
        let work = introduce.introduction.work(&relay, seed);
        match work.search(u32::from(*effort), *next, WORK_STEP) {
            None => *next = next.wrapping_add(WORK_STEP),
            Some(nonce) => {
                introduce.introduction.nonce = nonce;
                introduce.work = None;
                self.introduce(key, cx);
            }
        }
    }
}
