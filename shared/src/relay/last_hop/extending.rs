//! A last hop that is about to become the hop before the last.

use super::{Next, Surroundings, UNEXPECTED};
use crate::cell::fragment::{Assembler, Fragment};
use crate::cell::message::RelayMessage;
use crate::crypto::handshake::CLIENT_MESSAGE_LEN;
use crate::crypto::keys::RelayIdentity;
use crate::relay::link_event::LinkEvent;
use crate::relay::outlet::Outlet;
use crate::relay::violation::CircuitViolation;

/// A last hop that is about to become the hop before the last.
pub(super) enum Extending {
    /// Collects the fragments of the client's handshake with the next relay.
    Collecting {
        /// The next relay.
        relay: RelayIdentity,
        /// What has come of the handshake.
        message: Assembler,
    },
    /// A link towards the next relay is opening a circuit there.
    Asked,
}

impl Extending {
    /// Begins with the first fragment.
    pub(super) fn begin<O: Outlet>(
        relay: RelayIdentity,
        fragment: &Fragment,
        around: &Surroundings<'_, O>,
    ) -> Result<Self, CircuitViolation> {
        if relay == around.here.keys.identity || Some(relay) == around.here.peer {
            return Err(CircuitViolation::Loop);
        }
        let mut message = Assembler::default();
        message.push(fragment)?;
        Ok(Self::Collecting { relay, message })
    }

    pub(super) fn handle<O: Outlet>(
        &mut self,
        message: RelayMessage,
        around: &mut Surroundings<'_, O>,
    ) -> Result<Next<O::Link>, CircuitViolation> {
        let (Self::Collecting { relay, message: collected }, RelayMessage::Extend { relay: None, fragment }) =
            (&mut *self, message)
        else {
            return Err(UNEXPECTED);
        };
        let Some(mut message) = collected.push(&fragment)? else { return Ok(Next::Stay) };
        message.truncate(CLIENT_MESSAGE_LEN);
        let relay = *relay;
        *self = Self::Asked;
        around.out.connect(relay, LinkEvent::Open { origin: around.place(), message });
        Ok(Next::Stay)
    }
}
