//! What the owners of a relay's links tell each other.

use super::handshakes::{Answer, Answered};
use crate::cell::fragment::Fragment;
use crate::cell::introduction::Introduction;
use crate::cell::{CircId, DestroyReason};
use crate::crypto::cgo::RelayBackward;
use crate::stream::StreamId;

/// What the owners of a relay's links tell each other. `circ` is always an id on the recipient's link.
#[derive(Debug)]
pub enum LinkEvent<L> {
    /// Open a circuit towards your peer with this handshake.
    Open {
        /// Whose circuit is to be extended.
        origin: (L, CircId),
        /// The client's handshake message, for the next relay.
        message: Vec<u8>,
    },
    /// What has become of the handshake that your peer sent.
    Answered {
        /// The circuit that is being opened.
        circ: CircId,
        /// Which of the handshakes on this id it was.
        ticket: u64,
        /// The answer, or why there is none.
        answer: Result<Box<Answer>, DestroyReason>,
    },
    /// Give up a circuit, the one with most waiting: the relay has too much to keep.
    Shed,
    /// A stream's handler can go on.
    Wake {
        /// The circuit.
        circ: CircId,
        /// The stream.
        stream: StreamId,
    },
    /// The circuit that you wanted opened is open; extend the client's and send your backward half.
    Opened {
        /// The circuit that is being extended.
        circ: CircId,
        /// The new circuit.
        next: (L, CircId),
        /// The next relay's handshake message.
        message: Vec<u8>,
    },
    /// The circuit that you wanted opened could not be.
    OpenFailed {
        /// The circuit that was to be extended.
        circ: CircId,
        /// Why.
        reason: DestroyReason,
    },
    /// From now on this backward half is yours: cells of `circ` go on to `previous`.
    Adopt {
        /// The new circuit.
        circ: CircId,
        /// The half that moves cells back to the client.
        half: Box<RelayBackward>,
        /// Where they go.
        previous: (L, CircId),
    },
    /// The circuit that you opened begins at this relay: its cells go to `origin` as they are.
    BeginsHere {
        /// The circuit.
        circ: CircId,
        /// Where it begins.
        origin: (L, CircId),
    },
    /// The other part of this circuit is gone.
    Destroy {
        /// The circuit.
        circ: CircId,
        /// Why.
        reason: DestroyReason,
    },
    /// Somebody has come to whoever waits on this circuit.
    Visit {
        /// The waiting circuit.
        circ: CircId,
        /// The circuit of whoever has come.
        comer: (L, CircId),
        /// One third of their message.
        fragment: Box<Fragment>,
        /// With the last third: their backward half. The two circuits are joined.
        half: Option<Box<RelayBackward>>,
    },
    /// The circuit that waited is joined to this one.
    Joined {
        /// The circuit that came.
        circ: CircId,
        /// The backward half of the one that waited.
        half: Box<RelayBackward>,
    },
    /// Somebody has brought this for an id of this circuit.
    Introduce {
        /// The circuit that takes it.
        circ: CircId,
        /// What it takes.
        introduction: Box<Introduction>,
    },
}

impl<L> From<Answered> for LinkEvent<L> {
    fn from(Answered { circ, ticket, answer }: Answered) -> Self {
        Self::Answered { circ, ticket, answer }
    }
}

impl<L> LinkEvent<L> {
    /// For a note that asks something of a link that is gone: who asked, and the note that says so.
    pub fn into_failure(self, reason: DestroyReason) -> Option<(L, Self)> {
        match self {
            Self::Open { origin: (link, circ), .. } => Some((link, Self::OpenFailed { circ, reason })),
            Self::Visit { comer: (link, circ), .. } => Some((link, Self::Destroy { circ, reason })),
            _ => None,
        }
    }
}
