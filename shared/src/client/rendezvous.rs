//! Circuits that bring two clients together: waiting at a rendezvous relay, carrying an introduction there, and coming where an
//! introduction says.

use std::collections::VecDeque;
use std::time::Duration;

use rand_core::CryptoRng;

use super::api::ContactId;
use super::circuits::CircuitId;
use crate::cell::fragment::Assembler;
use crate::cell::introduction::{Introduction, IntroductionId};
use crate::cell::message::Cookie;
use crate::crypto::handshake::{ClientHandshake, INTRODUCTION_LEN, KeyStream, SERVER_MESSAGE_LEN, ServerPublic};
use crate::crypto::keys::RelayIdentity;
use crate::rendezvous::{Invitation, service_identity};
use crate::time::Instant;

/// Waiting for somebody who has been sent an introduction.
pub(super) struct ClientRendezvous {
    pub(super) contact: ContactId,
    pub(super) invitation: Invitation,
    /// With whom: the key and the verification string.
    pub(super) service: (ServerPublic, [u8; 32]),
    /// One for each place where an introduction was brought: so no two places see the same.
    pub(super) handshakes: Vec<ClientHandshake>,
    /// Whether the rendezvous relay keeps the cookie.
    pub(super) established: bool,
    pub(super) answer: Assembler,
    /// Where no introduction has been brought yet.
    pub(super) places: VecDeque<(RelayIdentity, IntroductionId)>,
    /// How introductions are brought; not at all, while the contact is there, and this is for the case that it is lost.
    pub(super) seeking: Option<IntroduceAttempts>,
}

impl ClientRendezvous {
    /// Waits for a contact with a fresh cookie, and brings no introductions yet.
    pub(super) fn new(
        rng: &mut impl CryptoRng,
        contact: ContactId,
        relay: RelayIdentity,
        generation: u64,
        (their_key, verification): ([u8; 32], [u8; 32]),
    ) -> Self {
        let mut cookie = [0; 20];
        rng.fill_bytes(&mut cookie);
        Self {
            contact,
            invitation: Invitation { relay, cookie: Cookie(cookie), generation },
            service: (ServerPublic { identity: service_identity(&their_key), onion_key: their_key }, verification),
            handshakes: Vec::new(),
            established: false,
            answer: Assembler::default(),
            places: VecDeque::new(),
            seeking: None,
        }
    }

    /// One more introduction for it, with a handshake of its own.
    pub(super) fn introduction(&mut self, rng: &mut impl CryptoRng) -> Option<[u8; INTRODUCTION_LEN]> {
        let (server, verification) = &self.service;
        let begun = ClientHandshake::introduce(rng, server, verification, &self.invitation.encode());
        let (handshake, introduction) = begun.ok()?;
        self.handshakes.push(handshake);
        Some(introduction)
    }
}

/// Bringing introductions for a wait.
pub(super) struct IntroduceAttempts {
    /// Whether any place was tried.
    pub(super) tried: bool,
    /// When to bring one to the next place.
    pub(super) next: Instant,
    /// When one was handed over last.
    pub(super) sent: Option<Instant>,
    /// How long the relay took to take it, once it has.
    pub(super) round: Option<Duration>,
    /// One of the contact's, and when it counts if ours is not answered until then.
    pub(super) held: Option<(Instant, Box<Introduction>)>,
    /// When to give up.
    pub(super) until: Instant,
}

impl IntroduceAttempts {
    /// The first is to be brought at `next`.
    pub(super) const fn new(next: Instant, until: Instant) -> Self {
        Self { tried: false, next, sent: None, round: None, held: None, until }
    }
}

/// Bringing an introduction.
pub(super) struct Introduce {
    /// The circuit that waits for the answer.
    pub(super) wait: CircuitId,
    pub(super) contact: ContactId,
    pub(super) introduction: Introduction,
    /// When it was handed over, if it was.
    pub(super) sent: Option<Instant>,
    /// Work that the relay wants done: how many bits, with which seed, and how many nonces have been tried.
    pub(super) work: Option<(u8, [u8; 16], u64)>,
    /// How often the relay has wanted some.
    pub(super) rounds: u8,
}

/// Going where somebody's introduction says.
pub(super) struct ServiceRendezvous {
    pub(super) caller: Caller,
    pub(super) cookie: Cookie,
    pub(super) generation: u64,
    pub(super) answer: Box<[u8; SERVER_MESSAGE_LEN]>,
    pub(super) stream: KeyStream,
    /// Where the introduction was given in advance: to be answered again, should the way there fail.
    pub(super) given: Option<Given>,
}

/// An introduction that was given in advance.
pub(super) struct Given {
    pub(super) introduction: Box<[u8; INTRODUCTION_LEN]>,
    /// How often it may be answered yet.
    pub(super) tries: u8,
}

/// Who has sent an introduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Caller {
    /// The holder of an invite.
    Invite(u64),
    /// A contact, or somebody who wants to be one.
    Contact(ContactId),
}
