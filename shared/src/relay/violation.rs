//! What a client did wrong on a circuit.

use thiserror::Error;

use super::streams::StreamError;
use crate::cell::fragment::FragmentError;
use crate::cell::message::RelayMessageError;
use crate::cell::{Command, MAX_EARLY};

/// Why a circuit was destroyed for something that its client did.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum CircuitViolation {
    /// A message that cannot be read.
    #[error(transparent)]
    Message(#[from] RelayMessageError),
    /// A handshake fragment out of its turn.
    #[error(transparent)]
    Fragment(#[from] FragmentError),
    /// A message that this state does not allow.
    #[error("the client sent {0}, which the circuit's state does not allow")]
    Unexpected(&'static str),
    /// A cell that is for nobody.
    #[error("the last hop does not recognise the cell")]
    Unrecognised,
    /// More early cells than a circuit may carry.
    #[error("the client sent more than {MAX_EARLY} early cells")]
    TooManyEarly,
    /// An extension that leads nowhere.
    #[error("the client asked to extend to this relay or to the one before it")]
    Loop,
    /// What streams do not allow.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// More than may be kept for it.
    #[error("the circuit keeps too much waiting")]
    TooMuch,
}

/// Whether a client did nothing wrong.
pub(super) type Outcome = Result<(), CircuitViolation>;

/// Counts an early cell of a circuit.
pub(super) fn count_early(early: &mut u8, command: Command) -> Outcome {
    if command == Command::RelayEarly {
        *early += 1;
    }
    if *early <= MAX_EARLY { Ok(()) } else { Err(CircuitViolation::TooManyEarly) }
}
