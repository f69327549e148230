//! A circuit that is joined to another client's, and how far the two have come on it.

use std::time::Duration;

use crate::circuit::RendezvousRole;
use crate::client::api::ContactId;
use crate::crypto::handshake::KeyStream;
use crate::messaging::envelope::Chain;
use crate::messaging::frame::{Frame, FrameReader};
use crate::messaging::session::OlmAccount;
use crate::rendezvous::{IntroPoint, SharedSecret};
use crate::time::Instant;

/// Talking to somebody.
pub(super) struct PeerChannel {
    pub(super) contact: Option<ContactId>,
    pub(super) role: RendezvousRole,
    /// The number of this circuit among those of the two.
    pub(super) generation: u64,
    /// Fresh ones, for the first thing that begins on this circuit: a relationship, or a new session.
    pub(super) secrets: Option<Secrets>,
    pub(super) phase: Phase,
    pub(super) reader: FrameReader,
    /// True once the circuit was closed here: what still arrives does not count.
    pub(super) is_closing: bool,
    /// Where the contact was told to find us, and has not acknowledged yet.
    pub(super) pending_points: Option<Vec<IntroPoint>>,
    /// True once the contact was told of a decision.
    pub(super) is_told: bool,
    /// When the next ping is due.
    pub(super) ping_at: Instant,
    /// Since when a ping has been without an answer.
    pub(super) unanswered: Option<Instant>,
    /// For how long one may be.
    pub(super) patience: Duration,
    pub(super) pings: u32,
}

impl PeerChannel {
    pub(super) fn new(
        contact: Option<ContactId>,
        role: RendezvousRole,
        generation: u64,
        secrets: Secrets,
        phase: Phase,
        patience: Duration,
        now: Instant,
    ) -> Self {
        Self {
            contact,
            role,
            generation,
            secrets: Some(secrets),
            phase,
            reader: FrameReader::default(),
            is_closing: false,
            pending_points: None,
            is_told: false,
            ping_at: now,
            unanswered: None,
            patience,
            pings: 0,
        }
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        match self.unanswered {
            Some(since) => self.ping_at.min(since + self.patience),
            None => self.ping_at,
        }
    }
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

impl Phase {
    /// True if both know who the other is, and nothing is under way.
    pub(super) const fn is_greeted(&self) -> bool {
        matches!(self, Self::Undecided | Self::Open)
    }

    /// True if the two have a relationship, or one that is just being stored.
    pub(super) const fn is_of_contacts(&self) -> bool {
        match self {
            Self::AwaitRequest { .. } | Self::AwaitPending => false,
            Self::Storing { .. }
            | Self::AwaitResume
            | Self::AwaitResumed
            | Self::Undecided
            | Self::Open
            | Self::Renewing(_) => true,
        }
    }
}

/// What two people share from a handshake on.
#[derive(Clone, Debug)]
pub(super) struct Secrets {
    pub(super) root: SharedSecret,
    to_service: Chain,
    to_client: Chain,
}

impl Secrets {
    /// Reads them from the handshake's key stream, behind the keys of the shared layer.
    pub(super) fn read(stream: &mut KeyStream) -> Self {
        let mut next = || {
            let mut bytes = [0; 32];
            stream.read(&mut bytes);
            bytes
        };
        Self { root: SharedSecret::new(next()), to_service: Chain::new(next()), to_client: Chain::new(next()) }
    }

    /// The chains to send and to receive with, for one side.
    pub(super) fn chains(&self, role: RendezvousRole) -> (Chain, Chain) {
        match role {
            RendezvousRole::Service => (self.to_client.clone(), self.to_service.clone()),
            RendezvousRole::Client => (self.to_service.clone(), self.to_client.clone()),
        }
    }
}
