//! Who waits at this relay, and for which cookie.

use std::collections::HashMap;

use crate::cell::CircId;
use crate::cell::message::Cookie;

/// Circuits that wait here, by cookie; one table for a relay. `P` names a link.
#[derive(Debug)]
pub struct RendezvousTable<P> {
    waiting: HashMap<Cookie, (P, CircId)>,
    max: usize,
}

impl<P: PartialEq> RendezvousTable<P> {
    /// A table for at most `max` waiting circuits.
    pub fn new(max: usize) -> Self {
        Self { waiting: HashMap::new(), max }
    }

    /// Lets a circuit wait; `false` when the cookie is taken or the table is full.
    pub fn establish(&mut self, cookie: Cookie, circuit: (P, CircId)) -> bool {
        if self.waiting.len() >= self.max || self.waiting.contains_key(&cookie) {
            return false;
        }
        self.waiting.insert(cookie, circuit);
        true
    }

    /// Takes out whoever waits for the cookie: a cookie serves one meeting.
    pub fn take(&mut self, cookie: &Cookie) -> Option<(P, CircId)> {
        self.waiting.remove(cookie)
    }

    /// Takes a circuit out that waits no longer; another one may wait for the same cookie by now, and stays.
    pub fn withdraw(&mut self, cookie: &Cookie, circuit: &(P, CircId)) {
        if self.waiting.get(cookie) == Some(circuit) {
            self.waiting.remove(cookie);
        }
    }

    /// How many circuits wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
