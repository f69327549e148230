//! The client's circuits and what each of them is for.

use std::collections::VecDeque;
use std::time::Duration;

use super::api::{CircuitInfo, ContactId, LinkId, Purpose};
use super::requests::Request;
use crate::cell::DestroyReason;
use crate::cell::fragment::Assembler;
use crate::circuit::Circuit;
use crate::crypto::handshake::{ClientHandshake, KeyStream};
use crate::crypto::keys::RelayIdentity;
use crate::messaging::envelope::Chain;
use crate::messaging::frame::{Frame, FrameReader};
use crate::rendezvous::{Meeting, MeetingSecret};
use crate::time::Instant;

/// Names a circuit for its whole life, whatever its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct CircuitKey(pub(super) u64);

/// A circuit with its task.
pub(super) struct Managed {
    pub(super) circuit: Circuit,
    pub(super) link: LinkId,
    pub(super) task: Task,
    /// When the step that is under way has taken too long.
    pub(super) deadline: Option<Instant>,
}

/// What a circuit is for.
pub(super) enum Task {
    /// Ready for whoever needs it next.
    Spare,
    /// Waits at a rendezvous relay.
    Wait(Wait),
    /// Looks for a contact at a rendezvous relay.
    Visit(Box<Visit>),
    /// Joined to another client's.
    Talk(Box<Talk>),
    /// Asks its last hop something.
    Ask(Box<Request>),
}

/// Waiting for somebody.
pub(super) struct Wait {
    pub(super) place: Place,
    pub(super) meeting: Meeting,
    pub(super) state: WaitState,
}

/// For whom and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// For the holder of an invite.
    Invite { invite: u64, relay: RelayIdentity },
    /// For a contact, in one generation.
    Contact { contact: ContactId, generation: u64, relay: RelayIdentity },
}

/// How far it has come.
pub(super) enum WaitState {
    Building,
    Establishing,
    Waiting,
    /// A visitor's handshake is coming in.
    Visited(Assembler),
}

/// Looking for somebody.
pub(super) struct Visit {
    pub(super) contact: ContactId,
    /// What to try at this relay, with the generation of each.
    pub(super) meetings: VecDeque<(u64, Meeting)>,
    /// The generation that is being tried, and the handshake with whoever may wait there.
    pub(super) knocking: Option<(u64, ClientHandshake, Assembler)>,
}

/// Talking to somebody.
pub(super) struct Talk {
    pub(super) contact: Option<ContactId>,
    pub(super) phase: Phase,
    pub(super) reader: FrameReader,
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

impl Talk {
    pub(super) fn new(contact: Option<ContactId>, phase: Phase, patience: Duration, now: Instant) -> Self {
        Self {
            contact,
            phase,
            reader: FrameReader::default(),
            ping_at: now,
            unanswered: None,
            patience,
            pings: 0,
            next_to_send: 0,
        }
    }
}

/// How far two joined clients have come.
pub(super) enum Phase {
    /// Host: waits for the holder of this invite to introduce themselves.
    AwaitIntroduce { invite: u64, secrets: FirstSecrets },
    /// Host: the new contact is being stored; then it is told this.
    Welcoming { welcome: Frame },
    /// Host: waits for the contact to have stored what it needs.
    AwaitResume,
    /// Visitor: waits for the host to take it as a contact.
    AwaitWelcome { secrets: FirstSecrets },
    /// Visitor: is storing where to look next time.
    Storing,
    /// Visitor: waits for the host to have stored it too.
    AwaitResumed,
    /// Host: the generation is being stored.
    Resuming,
    /// Messages go both ways.
    Open,
}

/// What two people share from their first handshake on.
pub(super) struct FirstSecrets {
    pub(super) root: MeetingSecret,
    pub(super) to_host: Chain,
    pub(super) to_visitor: Chain,
}

impl FirstSecrets {
    /// Reads them from the handshake's key stream, behind the keys of the shared layer.
    pub(super) fn read(stream: &mut KeyStream) -> Self {
        let mut next = || {
            let mut bytes = [0; 32];
            stream.read(&mut bytes);
            bytes
        };
        Self { root: MeetingSecret::new(next()), to_host: Chain::new(next()), to_visitor: Chain::new(next()) }
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
    pub(super) fn ended(&mut self, managed: &Managed, cause: Cause) {
        let losses = if managed.circuit.is_open() { &mut self.lost } else { &mut self.failed };
        *match cause {
            Cause::Said(Some(DestroyReason::Requested)) => return,
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

impl Managed {
    /// What to tell people about the circuit; nothing while it is being built.
    pub(super) fn info(&self, nickname: impl Fn(&RelayIdentity) -> Option<String>) -> Option<CircuitInfo> {
        if !self.circuit.is_open() {
            return None;
        }
        let (purpose, contact) = match &self.task {
            Task::Spare => (Purpose::Spare, None),
            Task::Wait(Wait { place: Place::Invite { .. }, .. }) => (Purpose::Invite, None),
            Task::Wait(Wait { place: Place::Contact { contact, .. }, .. }) => (Purpose::Meeting, Some(*contact)),
            Task::Visit(visit) => (Purpose::Meeting, Some(visit.contact)),
            Task::Talk(talk) => match talk.contact {
                Some(contact) => (Purpose::Conversation, Some(contact)),
                None => (Purpose::Invite, None),
            },
            Task::Ask(request) => (request.purpose(), None),
        };
        let path = self.circuit.path().iter().map(|hop| nickname(&hop.identity)).collect::<Option<_>>()?;
        Some(CircuitInfo { purpose, contact, path })
    }
}
