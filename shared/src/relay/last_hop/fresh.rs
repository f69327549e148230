//! A last hop on which nothing is under way: everything begins here.

use super::extending::Extending;
use super::intro_point::IntroPoint;
use super::introducing::Introducing;
use super::rendezvous_arriving::RendezvousArriving;
use super::rendezvous_waiting::RendezvousWaiting;
use super::{MAX_TRIES, Next, State, Surroundings, UNEXPECTED};
use crate::cell::message::RelayMessage;
use crate::relay::outlet::Outlet;
use crate::relay::violation::CircuitViolation;

/// A last hop on which nothing is under way.
#[derive(Clone, Copy, Default)]
pub(super) struct Fresh {
    /// Cookies and introductions that were tried.
    tries: u8,
}

impl Fresh {
    /// The state after so many tries.
    pub(super) const fn after(tries: u8) -> Self {
        Self { tries }
    }

    pub(super) fn handle<O: Outlet>(
        self,
        message: RelayMessage,
        around: &mut Surroundings<'_, O>,
    ) -> Result<Next<O::Link>, CircuitViolation> {
        Ok(Next::Become(match message {
            RelayMessage::Extend { relay: Some(relay), fragment } => {
                State::Extending(Extending::begin(relay.into(), &fragment, around)?)
            }
            RelayMessage::EstablishIntro { part, of, auth_keys } => {
                let mut point = Box::new(IntroPoint::new(around.now));
                point.take_list(part, of, &*auth_keys, around)?;
                State::IntroPoint(point)
            }
            RelayMessage::Introduce1(fragment) => State::Introducing(Introducing::begin(&fragment, self.count_try()?)?),
            RelayMessage::EstablishRendezvous(cookie) => {
                State::RendezvousWaiting(RendezvousWaiting::begin(cookie, around)?)
            }
            RelayMessage::Rendezvous1 { cookie: Some(cookie), fragment } => {
                State::RendezvousArriving(RendezvousArriving::begin(&cookie, fragment, self.count_try()?, around))
            }
            _ => return Err(UNEXPECTED),
        }))
    }

    /// How many tries there are with one more.
    const fn count_try(self) -> Result<u8, CircuitViolation> {
        if self.tries >= MAX_TRIES {
            return Err(CircuitViolation::Unexpected("too many cookies or introductions"));
        }
        Ok(self.tries + 1)
    }
}
