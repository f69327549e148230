//! The client's circuits and what each of them is for.

use std::collections::VecDeque;
use std::time::Duration;

use rand_core::CryptoRng;

use super::api::{CircuitInfo, ContactId, LinkId, Purpose};
use super::requests::Request;
use crate::cell::DestroyReason;
use crate::cell::fragment::Assembler;
use crate::cell::introduction::{Introduction, IntroductionId};
use crate::cell::message::Cookie;
use crate::circuit::{Circuit, RendezvousRole};
use crate::crypto::handshake::{ClientHandshake, INTRODUCTION_LEN, KeyStream, SERVER_MESSAGE_LEN, ServerPublic};
use crate::crypto::keys::RelayIdentity;
use crate::messaging::envelope::Chain;
use crate::messaging::frame::{Frame, FrameReader};
use crate::messaging::session::OlmAccount;
use crate::rendezvous::{IntroPoint, Invitation, SharedSecret, service_identity};
use crate::time::Instant;

/// Names a circuit for its whole life, whatever its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct CircuitKey(pub(super) u64);

/// A circuit with its task.
pub(super) struct CircuitEntry {
    pub(super) circuit: Circuit,
    pub(super) link: LinkId,
    pub(super) task: CircuitPurpose,
    /// When the step that is under way has taken too long.
    pub(super) deadline: Option<Instant>,
}

/// What a circuit is for.
pub(super) enum CircuitPurpose {
    /// Ready for whoever needs it next.
    Spare,
    /// Takes introductions.
    IntroPoint(Box<IntroPointCircuit>),
    /// Waits at a rendezvous relay for somebody who has been sent an introduction.
    ClientRendezvous(Box<ClientRendezvous>),
    /// Brings an introduction.
    Introduce(Box<Introduce>),
    /// Goes where somebody's introduction says.
    ServiceRendezvous(Box<ServiceRendezvous>),
    /// Joined to another client's.
    PeerChannel(Box<PeerChannel>),
    /// Carries a request to its last hop.
    Request(Box<Request>),
}

/// Taking introductions at one relay.
pub(super) struct IntroPointCircuit {
    pub(super) point: IntroPoint,
    /// The ids that the relay was given last, without those that only fill up; none while it was given no list.
    pub(super) sent: Option<Vec<IntroductionId>>,
    /// How many lists it has not confirmed yet.
    pub(super) unconfirmed: u32,
    /// An introduction that is coming in.
    pub(super) incoming: Assembler,
}

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
    pub(super) wait: CircuitKey,
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

/// Talking to somebody.
pub(super) struct PeerChannel {
    pub(super) contact: Option<ContactId>,
    pub(super) side: RendezvousRole,
    /// The number of this circuit among those of the two.
    pub(super) generation: u64,
    /// Fresh ones, for the first thing that begins on this circuit: a relationship, or a new session.
    pub(super) secrets: Option<Secrets>,
    pub(super) phase: Phase,
    pub(super) reader: FrameReader,
    /// Where the contact has been told to find us, and has not said yet that it keeps that.
    pub(super) pending_points: Option<Vec<IntroPoint>>,
    /// Whether a decision has been told.
    pub(super) is_told: bool,
    pub(super) fallback: Fallback,
    /// When the next ping is due.
    pub(super) ping_at: Instant,
    /// Since when a ping has been without an answer.
    pub(super) unanswered: Option<Instant>,
    /// For how long one may be.
    pub(super) patience: Duration,
    pub(super) pings: u32,
    /// The next message to send on this circuit.
    pub(super) next_to_send: u64,
}

/// Where two meet again if they lose their circuit.
pub(super) enum Fallback {
    /// Visitor: it waits there, or will from then on.
    Keep { from: Instant },
    /// Host: the introduction by which it comes, if there was one.
    Given(Option<Box<[u8; INTRODUCTION_LEN]>>),
}

/// How far two joined clients have come.
pub(super) enum Phase {
    /// Inviter: waits for the holder of this invite to ask for contact.
    AwaitRequest { invite: u64 },
    /// Guest: waits for the inviter to have stored the request.
    AwaitPending,
    /// What has come is being stored; then this is said, and the next phase begins.
    Storing { say: Frame, next: Box<Phase> },
    /// Waits to hear how far the other has come, who has not heard it from here yet.
    AwaitResume,
    /// The same, having said it.
    AwaitResumed,
    /// Both know each other; at least one of them has no session yet.
    Undecided,
    /// A new session begins, for which the other's answer is awaited.
    Renewing(Box<OlmAccount>),
    /// Messages go both ways.
    Open,
}

/// What two people share from a handshake on.
#[derive(Clone, Debug)]
pub(super) struct Secrets {
    pub(super) root: SharedSecret,
    pub(super) to_host: Chain,
    pub(super) to_visitor: Chain,
}

impl Secrets {
    /// Reads them from the handshake's key stream, behind the keys of the shared layer.
    pub(super) fn read(stream: &mut KeyStream) -> Self {
        let mut next = || {
            let mut bytes = [0; 32];
            stream.read(&mut bytes);
            bytes
        };
        Self { root: SharedSecret::new(next()), to_host: Chain::new(next()), to_visitor: Chain::new(next()) }
    }

    /// The chains to send and to receive with, for one side.
    pub(super) fn chains(&self, side: RendezvousRole) -> (Chain, Chain) {
        match side {
            RendezvousRole::Service => (self.to_visitor.clone(), self.to_host.clone()),
            RendezvousRole::Client => (self.to_host.clone(), self.to_visitor.clone()),
        }
    }
}

/// What has become of all circuits of a client so far: for reports, which no person reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CircuitCounts {
    /// How often a circuit reached the end of its path, at first or after one more hop was added.
    pub opened: u64,
    /// Circuits that ended before that.
    pub failed: CircuitLosses,
    /// Circuits that ended later, without the client's wish.
    pub lost: CircuitLosses,
}

/// Circuits by what ended them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CircuitLosses {
    /// Something took too long.
    pub timeout: u64,
    /// A relay said that it was gone.
    pub destroyed: u64,
    /// Somebody on it broke the protocol.
    pub protocol: u64,
    /// The link to the guard was lost.
    pub link: u64,
}

impl CircuitCounts {
    /// Counts a circuit that ended; nothing if the client itself had no more use for it.
    pub(super) fn ended(&mut self, managed: &CircuitEntry, cause: Cause) {
        let losses = if managed.circuit.is_open() { &mut self.lost } else { &mut self.failed };
        *match cause {
            Cause::Said(Some(DestroyReason::Requested | DestroyReason::LinkClosed)) => return,
            Cause::Said(Some(DestroyReason::Timeout)) => &mut losses.timeout,
            Cause::Said(Some(_)) => &mut losses.protocol,
            Cause::Said(None) => &mut losses.destroyed,
            Cause::Link => &mut losses.link,
        } += 1;
    }
}

/// Why a circuit ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cause {
    /// With this reason for the guard, or because the guard said so.
    Said(Option<DestroyReason>),
    /// Its link is gone.
    Link,
}

impl CircuitEntry {
    /// What to tell people about the circuit; nothing while it is being built.
    pub(super) fn info(&self, nickname: impl Fn(&RelayIdentity) -> Option<String>) -> Option<CircuitInfo> {
        if !self.circuit.is_open() {
            return None;
        }
        let (purpose, contact) = match &self.task {
            CircuitPurpose::Spare => (Purpose::Spare, None),
            CircuitPurpose::IntroPoint(_) => (Purpose::Introduction, None),
            CircuitPurpose::ClientRendezvous(wait) => (Purpose::Meeting, Some(wait.contact)),
            CircuitPurpose::Introduce(bring) => (Purpose::Meeting, Some(bring.contact)),
            CircuitPurpose::ServiceRendezvous(come) => match come.caller {
                Caller::Contact(contact) => (Purpose::Meeting, Some(contact)),
                Caller::Invite(_) => (Purpose::Invite, None),
            },
            CircuitPurpose::PeerChannel(channel) => match channel.contact {
                Some(contact) => (Purpose::Conversation, Some(contact)),
                None => (Purpose::Invite, None),
            },
            CircuitPurpose::Request(request) => (request.purpose(), None),
        };
        let path = self.circuit.path().iter().map(|hop| nickname(&hop.identity)).collect::<Option<_>>()?;
        Some(CircuitInfo { purpose, contact, path })
    }
}
