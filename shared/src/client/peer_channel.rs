//! A circuit that is joined to another client's, and how far the two have come on it.

use std::time::Duration;

use super::api::ContactId;
use crate::circuit::RendezvousRole;
use crate::crypto::handshake::{INTRODUCTION_LEN, KeyStream};
use crate::messaging::envelope::Chain;
use crate::messaging::frame::{Frame, FrameReader};
use crate::messaging::session::OlmAccount;
use crate::rendezvous::{IntroPoint, SharedSecret};
use crate::time::Instant;

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
