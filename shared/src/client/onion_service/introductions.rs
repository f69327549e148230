//! Which introductions are looked at: not too many of one caller, and none twice.

use std::collections::VecDeque;

use crate::cell::message::Cookie;
use crate::time::Instant;
use crate::token_bucket::TokenBucket;

/// Introductions of one caller that are looked at each second, and how many at once.
const INTRODUCTION_RATE: (u32, u32) = (1, 12);

/// How many handshakes of each caller are remembered, so that nobody can repeat them.
const REMEMBERED: usize = 64;

/// What is remembered of one caller's introductions.
#[derive(Debug)]
pub(super) struct Introductions {
    rate: TokenBucket,
    /// The first bytes of the latest handshakes: they are random.
    seen: VecDeque<[u8; 32]>,
    /// The cookies of the latest rendezvous that were asked for.
    cookies: VecDeque<Cookie>,
}

impl Introductions {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            rate: TokenBucket::new(INTRODUCTION_RATE.0, INTRODUCTION_RATE.1, now),
            seen: VecDeque::new(),
            cookies: VecDeque::new(),
        }
    }

    /// True if this introduction should be looked at: it is new, and there have not been too many.
    pub(super) fn admits(&mut self, now: Instant, handshake: &[u8]) -> bool {
        // Behind the version: a fresh key for each.
        let Some(key) = handshake.get(2..34).and_then(|key| <[u8; 32]>::try_from(key).ok()) else { return false };
        if self.seen.contains(&key) || !self.rate.take(now) {
            return false;
        }
        remember(&mut self.seen, key);
        true
    }

    /// True if this rendezvous was not asked for yet: the same introduction may come by several relays.
    pub(super) fn is_new_rendezvous(&mut self, cookie: Cookie) -> bool {
        let is_new = !self.cookies.contains(&cookie);
        if is_new {
            remember(&mut self.cookies, cookie);
        }
        is_new
    }
}

fn remember<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() >= REMEMBERED {
        list.pop_front();
    }
    list.push_back(item);
}
