//! A last hop that is brought an introduction, for whichever circuit takes it.

use super::{Next, Surroundings, UNEXPECTED};
use crate::cell::fragment::{Assembler, Fragment};
use crate::cell::introduction::Introduction;
use crate::cell::message::RelayMessage;
use crate::relay::introductions::Verdict;
use crate::relay::link_event::LinkEvent;
use crate::relay::outlet::Outlet;
use crate::relay::tables::Tables as _;
use crate::relay::violation::CircuitViolation;

/// Collects the fragments of an introduction.
pub(super) struct Introducing {
    message: Assembler,
    tries: u8,
}

impl Introducing {
    /// Begins with the first fragment.
    pub(super) fn begin(fragment: &Fragment, tries: u8) -> Result<Self, CircuitViolation> {
        let mut message = Assembler::default();
        message.push(fragment)?;
        Ok(Self { message, tries })
    }

    pub(super) fn handle<O: Outlet>(
        &mut self,
        message: RelayMessage,
        around: &mut Surroundings<'_, O>,
    ) -> Result<Next<O::Link>, CircuitViolation> {
        let RelayMessage::Introduce1(fragment) = message else { return Err(UNEXPECTED) };
        let Some(message) = self.message.push(&fragment)? else { return Ok(Next::Stay) };
        let next = Ok(Next::Fresh(self.tries));
        // Three fragments hold one.
        let Some(introduction) = Introduction::at_relay(&message) else { return next };
        let verdict = around.out.tables().introduce(around.now, &introduction);
        let (effort, seed) = match &verdict {
            Verdict::Taken(_) => (0, [0; 16]),
            Verdict::ProofOfWork { effort, seed } => (*effort, *seed),
        };
        // The answer goes first: it takes as long whether somebody takes the introduction or not.
        around.originate(&RelayMessage::IntroduceAck { effort, seed });
        if let Verdict::Taken(Some((link, circ))) = verdict {
            around.out.tell(&link, LinkEvent::Introduce { circ, introduction: Box::new(introduction) });
        }
        next
    }
}
