//! Circuits that a relay begins itself: one hop long, to other relays that the consensus lists.
//!
//! Relays ask each other's services over them, as clients do. An [`Origin`] takes the place of a link among the relay's
//! links: it asks the link towards the other relay to open a circuit, with the client's side of the same handshake, and is
//! then handed the cells of that circuit as they are. So everything that holds for circuits that are extended over a link
//! holds for these: rates, queues, fairness, and how they end. All orders for one relay share a circuit, which is closed
//! when it has been idle for [`IDLE_TIME`].
//!
//! A request counts with its body and the longest answer that it allows, before anything is sent: what would exceed
//! [`MAX_RESERVED`] is refused.
//!
//! # Layout
//!
//! - [`order`]: what can be ordered, and why an order fails
//! - `circuit`: one circuit and the streams on it

mod circuit;
pub mod order;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;

use self::circuit::{OriginCircuit, Waiting};
use self::order::{Order, OrderId, OriginError, OriginEvent, OriginLimit};
use super::link::Switch;
use super::link_event::LinkEvent;
use super::memory::{LinkLoad, Memory};
use super::streams::StreamWakers;
use crate::cell::message::MAX_ARGUMENT_LEN;
use crate::cell::{CELL_LEN, Cell, CircId, DestroyReason};
use crate::circuit::Hop;
use crate::crypto::handshake::SERVER_MESSAGE_LEN;
use crate::crypto::keys::RelayIdentity;
use crate::stream::StreamId;
use crate::time::{Instant, Now};

/// How long a circuit without streams is kept.
pub const IDLE_TIME: Duration = Duration::from_secs(60);

/// The longest that a circuit may take to open, the link included.
pub const BUILD_TIME: Duration = Duration::from_secs(20);

/// The longest that an order waits for a free stream.
pub const WAIT_TIME: Duration = Duration::from_secs(30);

/// Circuits that a relay keeps open.
pub const MAX_CIRCUITS: usize = 256;

/// Orders that may wait for one circuit.
pub const MAX_WAITING: usize = 256;

/// Bytes that all orders may hold: bodies, answers, and what two-way streams buffer.
pub const MAX_RESERVED: usize = 64 << 20;

/// The relay around an [`Origin`].
pub trait OriginSwitch: Switch {
    /// A relay as the consensus lists it now.
    fn hop(&self, relay: &RelayIdentity) -> Option<Hop>;
}

/// The circuits that a relay has begun.
///
/// The driver hands in orders, and what reaches [`Origin::link`] from the relay's links; it takes results from
/// [`Self::poll_event`].
pub struct Origin<L> {
    this: L,
    relay: RelayIdentity,
    rng: ChaCha20Rng,
    wakers: StreamWakers,
    memory: Arc<Memory>,
    load: Arc<LinkLoad>,
    circuits: BTreeMap<CircId, OriginCircuit<L>>,
    /// The circuit that takes orders for a relay.
    current: HashMap<RelayIdentity, CircId>,
    next_circ: u32,
    next_order: u64,
    reserved: usize,
    events: VecDeque<OriginEvent>,
}

impl<L: Clone + PartialEq> Origin<L> {
    /// No circuits yet. `this` is a link of `relay` that nothing else uses; `wakers` lead to it.
    pub fn new(this: L, relay: RelayIdentity, memory: Arc<Memory>, wakers: StreamWakers, rng: ChaCha20Rng) -> Self {
        Self {
            this,
            relay,
            rng,
            wakers,
            memory,
            load: Arc::default(),
            circuits: BTreeMap::new(),
            current: HashMap::new(),
            next_circ: 1,
            next_order: 0,
            reserved: 0,
            events: VecDeque::new(),
        }
    }

    /// The link as which the relay's links know it.
    pub const fn link(&self) -> &L {
        &self.this
    }

    /// The memory that its streams take, for [`super::memory::worst`].
    pub const fn load(&self) -> &Arc<LinkLoad> {
        &self.load
    }

    /// How many circuits there are.
    pub fn circuits(&self) -> usize {
        self.circuits.len()
    }

    /// Bytes that orders may come to hold.
    pub const fn reserved(&self) -> usize {
        self.reserved
    }

    /// Orders something of a relay; [`OriginEvent`]s with the returned id follow.
    ///
    /// # Errors
    ///
    /// If the order can't be carried out, or would exceed a limit.
    pub fn order(
        &mut self,
        now: Now,
        relay: RelayIdentity,
        order: Order,
        switch: &mut impl OriginSwitch<Link = L>,
    ) -> Result<OrderId, OriginError> {
        let circ = match self.admit(now.instant, relay, &order, switch) {
            Ok(circ) => circ,
            Err(error) => {
                order.never_began();
                return Err(error);
            }
        };
        let id = OrderId(self.next_order);
        self.next_order += 1;
        if let Some(circuit) = self.circuits.get_mut(&circ) {
            let reserved = order.reserved();
            self.reserved += reserved;
            circuit.waiting.push_back(Waiting { id, reserved, deadline: now.instant + WAIT_TIME, order });
        }
        self.go_on(now, circ, switch);
        Ok(id)
    }

    /// The circuit on which an order may wait, opened if there is none.
    fn admit(
        &mut self,
        now: Instant,
        relay: RelayIdentity,
        order: &Order,
        switch: &mut impl OriginSwitch<Link = L>,
    ) -> Result<CircId, OriginError> {
        if relay == self.relay {
            return Err(OriginError::OwnRelay);
        }
        let hop = switch.hop(&relay).ok_or(OriginError::NotListed)?;
        if order.argument().len() > MAX_ARGUMENT_LEN {
            return Err(OriginError::LongArgument);
        }
        if self.reserved.saturating_add(order.reserved()) > MAX_RESERVED {
            return Err(OriginError::Full(OriginLimit::Memory));
        }
        let Some(circ) = self.current.get(&relay).copied() else { return self.open(now, hop, switch) };
        match self.circuits.get(&circ) {
            Some(circuit) if circuit.waiting.len() >= MAX_WAITING => Err(OriginError::Full(OriginLimit::Waiting)),
            _ => Ok(circ),
        }
    }

    /// Ends an order that nobody waits for any more, if it is still under way; an event follows all the same.
    pub fn cancel(&mut self, now: Now, id: OrderId, switch: &mut impl OriginSwitch<Link = L>) {
        let Self { circuits, events, .. } = self;
        let found = circuits.iter_mut().find_map(|(circ, circuit)| circuit.cancel(now, id, events).then_some(*circ));
        if let Some(circ) = found {
            self.go_on(now, circ, switch);
        }
    }

    /// Ends everything: this relay stops.
    pub fn close(&mut self, now: Now, switch: &mut impl OriginSwitch<Link = L>) {
        let circuits: Vec<_> = self.circuits.keys().copied().collect();
        for circ in circuits {
            self.destroy(now, circ, DestroyReason::Requested, &OriginError::Stopped, switch);
        }
    }

    /// Takes cells that a link hands over.
    pub fn handle_cells(&mut self, now: Now, cells: Vec<Cell>, switch: &mut impl OriginSwitch<Link = L>) {
        let mut touched = Vec::new();
        for cell in cells {
            let circ = cell.circ;
            // A circuit can have ended while its cells were on their way here.
            let Some(circuit) = self.circuits.get_mut(&circ) else { continue };
            match circuit.handle_cell(now, cell, &mut self.rng, &mut self.events) {
                Ok(()) if touched.last() != Some(&circ) => touched.push(circ),
                Ok(()) => {}
                // Only this circuit ends, and what was ordered over it.
                Err(error) => self.destroy(now, circ, DestroyReason::Protocol, &OriginError::Misbehaved(error), switch),
            }
        }
        for circ in touched {
            self.go_on(now, circ, switch);
        }
    }

    /// Takes what a link has to say.
    pub fn handle_event(&mut self, now: Now, event: LinkEvent<L>, switch: &mut impl OriginSwitch<Link = L>) {
        match event {
            LinkEvent::Opened { circ, next, message } => self.opened(now, circ, next, &message, switch),
            LinkEvent::OpenFailed { circ, reason } => self.forget(now, circ, &OriginError::NotOpened(reason), switch),
            LinkEvent::Destroy { circ, .. } => self.forget(now, circ, &OriginError::CircuitLost, switch),
            LinkEvent::Wake { circ, stream } => self.wake(now, circ, stream, switch),
            LinkEvent::Shed => self.shed(now, switch),
            LinkEvent::Visit { comer: (link, circ), .. } => {
                switch.tell(&link, LinkEvent::Destroy { circ, reason: DestroyReason::Requested });
            }
            LinkEvent::Open { origin: (link, circ), .. } => {
                switch.tell(&link, LinkEvent::OpenFailed { circ, reason: DestroyReason::ConnectFailed });
            }
            // Nobody tells an origin these.
            LinkEvent::Answered { .. }
            | LinkEvent::Adopt { .. }
            | LinkEvent::BeginsHere { .. }
            | LinkEvent::Joined { .. }
            | LinkEvent::Introduce { .. } => {}
        }
    }

    /// The next result.
    pub fn poll_event(&mut self) -> Option<OriginEvent> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.circuits.values().filter_map(OriginCircuit::poll_timeout).min()
    }

    /// Gives up what takes too long, and closes circuits that are idle.
    pub fn handle_timeout(&mut self, now: Now, switch: &mut impl OriginSwitch<Link = L>) {
        let is_due = |circuit: &OriginCircuit<L>| circuit.poll_timeout().is_some_and(|at| at <= now.instant);
        let due: Vec<_> = self.circuits.iter().filter(|(_, circuit)| is_due(circuit)).map(|(circ, _)| *circ).collect();
        for circ in due {
            let Some(circuit) = self.circuits.get_mut(&circ) else { continue };
            if circuit.is_opening() {
                self.destroy(now, circ, DestroyReason::Timeout, &OriginError::TimedOut, switch);
            } else if circuit.is_idle_since().is_some_and(|since| now.instant >= since + IDLE_TIME) {
                self.destroy(now, circ, DestroyReason::Requested, &OriginError::CircuitLost, switch);
            } else {
                // A relay that has not answered in time may never answer again: what follows gets another circuit.
                if circuit.handle_timeout(now, &mut self.events) {
                    self.retire(now, circ, switch);
                }
                self.go_on(now, circ, switch);
            }
        }
    }

    /// Begins a circuit to a relay.
    fn open(
        &mut self,
        now: Instant,
        hop: Hop,
        switch: &mut impl OriginSwitch<Link = L>,
    ) -> Result<CircId, OriginError> {
        if self.circuits.len() >= MAX_CIRCUITS && !self.close_idle(switch) {
            return Err(OriginError::Full(OriginLimit::Circuits));
        }
        // Few of the 2³² ids are taken, so this ends soon.
        let circ = loop {
            let circ = CircId(self.next_circ);
            self.next_circ = self.next_circ.checked_add(1).unwrap_or(1);
            if !self.circuits.contains_key(&circ) {
                break circ;
            }
        };
        let relay = hop.identity;
        let (circuit, message) = OriginCircuit::open(now, circ, hop, self.wakers.clone(), &mut self.rng)?;
        self.circuits.insert(circ, circuit);
        self.current.insert(relay, circ);
        switch.connect(relay, LinkEvent::Open { origin: (self.this.clone(), circ), message });
        Ok(circ)
    }

    /// Closes the circuit that has been idle for longest; `false` if none is.
    fn close_idle(&mut self, switch: &mut impl OriginSwitch<Link = L>) -> bool {
        let idle = self.circuits.iter().filter_map(|(circ, circuit)| Some((circuit.is_idle_since()?, *circ)));
        let Some((_, circ)) = idle.min() else { return false };
        self.end_circuit(circ, DestroyReason::Requested, switch);
        true
    }

    /// A link has opened the circuit at the other relay.
    fn opened(
        &mut self,
        now: Now,
        circ: CircId,
        next: (L, CircId),
        message: &[u8],
        switch: &mut impl OriginSwitch<Link = L>,
    ) {
        let message = message.get(..SERVER_MESSAGE_LEN).unwrap_or_default();
        match self.circuits.get_mut(&circ).filter(|circuit| circuit.is_opening()) {
            Some(circuit) => match circuit.opened(now.instant, next.clone(), message, &mut self.rng) {
                Ok(()) => {
                    switch.tell(&next.0, LinkEvent::BeginsHere { circ: next.1, origin: (self.this.clone(), circ) });
                    self.go_on(now, circ, switch);
                }
                Err(error) => {
                    self.destroy(now, circ, DestroyReason::Protocol, &OriginError::Misbehaved(error), switch);
                }
            },
            // It has come too late.
            None => {
                switch.tell(&next.0, LinkEvent::Destroy { circ: next.1, reason: DestroyReason::Requested });
            }
        }
    }

    /// A stream's handler can go on.
    fn wake(&mut self, now: Now, circ: CircId, stream: StreamId, switch: &mut impl OriginSwitch<Link = L>) {
        if let Some(circuit) = self.circuits.get_mut(&circ) {
            circuit.wake(now, stream, &mut self.events);
            self.go_on(now, circ, switch);
        }
    }

    /// The relay keeps more than it may: the circuit that holds most ends.
    fn shed(&mut self, now: Now, switch: &mut impl OriginSwitch<Link = L>) {
        let most = self.circuits.iter().map(|(circ, circuit)| (circuit.held(), *circ)).max();
        if let Some((_, circ)) = most {
            let error = OriginError::Full(OriginLimit::Memory);
            self.destroy(now, circ, DestroyReason::ResourceLimit, &error, switch);
        }
        self.memory.relieved();
    }

    /// Begins what waits for a circuit, sends its cells, and ends it if it is of no more use.
    fn go_on(&mut self, now: Now, circ: CircId, switch: &mut impl OriginSwitch<Link = L>) {
        let Some(circuit) = self.circuits.get_mut(&circ) else { return };
        circuit.begin_waiting(now, &mut self.events);
        if let Some((link, cells)) = circuit.take_cells() {
            switch.forward(&link, cells);
        }
        self.reserved = self.reserved.saturating_sub(circuit.take_released());
        if circuit.is_retired() && circuit.is_idle_since().is_some() {
            self.end_circuit(circ, DestroyReason::Requested, switch);
        }
        self.count(now.instant, switch);
    }

    /// A circuit takes no more orders; what waits for it goes over a new one.
    fn retire(&mut self, now: Now, circ: CircId, switch: &mut impl OriginSwitch<Link = L>) {
        let Some(circuit) = self.circuits.get_mut(&circ) else { return };
        let (relay, waiting) = (circuit.relay(), circuit.retire());
        if self.current.get(&relay) == Some(&circ) {
            self.current.remove(&relay);
        }
        if waiting.is_empty() {
            return;
        }
        let opened = switch.hop(&relay).ok_or(OriginError::NotListed);
        match opened.and_then(|hop| self.open(now.instant, hop, switch)) {
            Ok(new) => {
                if let Some(circuit) = self.circuits.get_mut(&new) {
                    circuit.waiting = waiting;
                }
            }
            Err(error) => {
                for waiting in waiting {
                    self.reserved = self.reserved.saturating_sub(waiting.fail(error.clone(), &mut self.events));
                }
            }
        }
    }

    /// Ends a circuit that is of no more use, and fails what was ordered over it.
    fn destroy(
        &mut self,
        now: Now,
        circ: CircId,
        reason: DestroyReason,
        error: &OriginError,
        switch: &mut impl OriginSwitch<Link = L>,
    ) {
        self.end_circuit(circ, reason, switch).into_iter().for_each(|circuit| self.fail(circuit, error));
        self.count(now.instant, switch);
    }

    /// A circuit is gone already: fails what was ordered over it.
    fn forget(&mut self, now: Now, circ: CircId, error: &OriginError, switch: &mut impl OriginSwitch<Link = L>) {
        self.remove(circ).into_iter().for_each(|circuit| self.fail(circuit, error));
        self.count(now.instant, switch);
    }

    fn end_circuit(
        &mut self,
        circ: CircId,
        reason: DestroyReason,
        switch: &mut impl OriginSwitch<Link = L>,
    ) -> Option<OriginCircuit<L>> {
        let circuit = self.remove(circ)?;
        if let Some((link, circ)) = circuit.next() {
            switch.tell(link, LinkEvent::Destroy { circ: *circ, reason });
        }
        Some(circuit)
    }

    fn remove(&mut self, circ: CircId) -> Option<OriginCircuit<L>> {
        let circuit = self.circuits.remove(&circ)?;
        if self.current.get(&circuit.relay()) == Some(&circ) {
            self.current.remove(&circuit.relay());
        }
        Some(circuit)
    }

    fn fail(&mut self, circuit: OriginCircuit<L>, error: &OriginError) {
        let released = circuit.fail(error, &mut self.events);
        self.reserved = self.reserved.saturating_sub(released);
    }

    /// Counts what the streams hold, and has the relay relieved if that is too much.
    fn count(&self, now: Instant, switch: &mut impl OriginSwitch<Link = L>) {
        let held: usize = self.circuits.values().map(OriginCircuit::held).sum();
        self.memory.update(&self.load, now, held.div_ceil(CELL_LEN), true);
        if self.memory.ask(now) {
            switch.relieve();
        }
    }
}

impl<L> core::fmt::Debug for Origin<L> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Origin")
            .field("circuits", &self.circuits.len())
            .field("reserved", &self.reserved)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
