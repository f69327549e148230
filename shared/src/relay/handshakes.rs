//! Answering the handshakes of circuits, apart from the links that bring them.
//!
//! An answer takes as long as a thousand cells. So a link does not compute it: it hands a [`Request`] to the driver, which
//! has it answered elsewhere, with [`FairQueue`] for the links, and brings the link what comes of it. A flood of
//! handshakes then costs those who send it their turns, and established circuits next to nothing.

use std::sync::Arc;

use rand_core::CryptoRng;

use super::fair_queue::FairQueue;
use super::keys::RelayKeys;
use super::onion_keys::wanted;
use crate::cell::{CircId, DestroyReason};
use crate::crypto::cgo::{RelayBackward, RelayForward};
use crate::crypto::handshake::{self, CircuitKeys, SERVER_MESSAGE_LEN};

/// A client's handshake that wants an answer.
#[derive(Debug)]
pub struct Request<L> {
    circuit: (L, CircId),
    ticket: u64,
    message: Vec<u8>,
    keys: Arc<RelayKeys>,
}

/// A relay's half of a handshake that succeeded: what to send, and the layers that it made.
pub struct Answer {
    pub(super) message: [u8; SERVER_MESSAGE_LEN],
    pub(super) forward: Box<RelayForward>,
    pub(super) backward: Box<RelayBackward>,
}

impl core::fmt::Debug for Answer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Answer(..)")
    }
}

/// What has become of a handshake, for the link that brought it.
#[derive(Debug)]
pub struct Answered {
    /// The circuit that is being opened.
    pub(super) circ: CircId,
    /// Which of the handshakes on this id it was.
    pub(super) ticket: u64,
    /// The answer, or why there is none.
    pub(super) answer: Result<Box<Answer>, DestroyReason>,
}

impl<L> Request<L> {
    pub(super) const fn new(circuit: (L, CircId), ticket: u64, message: Vec<u8>, keys: Arc<RelayKeys>) -> Self {
        Self { circuit, ticket, message, keys }
    }

    /// The link that brought it.
    pub const fn link(&self) -> &L {
        &self.circuit.0
    }

    /// Computes the answer, for the link that brought the handshake.
    pub fn answer(self, rng: &mut impl CryptoRng) -> (L, Answered) {
        let answer = self.respond(rng).ok_or(DestroyReason::Protocol);
        let (link, circ) = self.circuit;
        (link, Answered { circ, ticket: self.ticket, answer })
    }

    /// Answers with the key that the client has chosen, if it is one of those in use.
    fn respond(&self, rng: &mut impl CryptoRng) -> Option<Box<Answer>> {
        let ring = self.keys.onion.ring();
        let secret = ring.secret(&wanted(&self.message)?)?;
        let identity = self.keys.identity.as_bytes();
        let (message, mut stream) = handshake::respond(rng, identity, secret, b"", &self.message).ok()?;
        let keys = CircuitKeys::from(&mut stream);
        let forward = Box::new(RelayForward::new(&keys.forward));
        Some(Box::new(Answer { message, forward, backward: Box::new(RelayBackward::new(&keys.backward)) }))
    }

    /// Nobody has time for it, which the link that brought it is to hear.
    pub fn refuse(self) -> (L, Answered) {
        let (link, circ) = self.circuit;
        (link, Answered { circ, ticket: self.ticket, answer: Err(DestroyReason::ResourceLimit) })
    }
}

/// Handshakes that wait for an answer: a line for each link, which take turns. `K` names a link.
#[derive(Debug)]
pub struct HandshakeQueue<K, L> {
    requests: FairQueue<K, Request<L>>,
    max: usize,
}

impl<K: Copy + Eq + core::hash::Hash, L> HandshakeQueue<K, L> {
    /// Room for `max` handshakes.
    pub fn new(max: usize) -> Self {
        Self { requests: FairQueue::default(), max }
    }

    /// Takes a handshake in.
    ///
    /// # Errors
    ///
    /// The handshake, to be refused, when there are as many as there may be.
    pub fn push(&mut self, link: K, request: Request<L>) -> Result<(), Request<L>> {
        if self.requests.len() >= self.max {
            return Err(request);
        }
        self.requests.push(link, request);
        Ok(())
    }

    /// The next to answer.
    pub fn pop(&mut self) -> Option<Request<L>> {
        self.requests.pop().map(|(_, request)| request)
    }

    /// Nobody wants the answers for this link any more.
    pub fn forget(&mut self, link: &K) {
        self.requests.clear(link);
    }
}
