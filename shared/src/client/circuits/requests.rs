//! Requests to relays: one request, one stream, on a circuit of its own that nothing else ever uses.
//!
//! So the relay that answers learns neither who asks nor what else the same client does, and two relays that are asked learn
//! nothing from each other. What follows when there is no answer is decided by the caller of [`CircuitManager::request`].

use super::counts::CloseCause;
use super::relays::End;
use super::{CircuitEntry, CircuitEvent, CircuitId, CircuitManager, CircuitPurpose};
use crate::cell::DestroyReason;
use crate::circuit::Received;
use crate::crypto::keys::RelayIdentity;
use crate::stream::request::{RequestResult, RunningRequest, StreamRequest, StreamRequestError};

/// Requests that may be under way at once for one purpose.
const MAX_REQUESTS: usize = 8;

/// Identifies a request of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct RequestId(u64);

/// A request on its circuit.
pub(super) struct Request {
    id: RequestId,
    state: State,
}

enum State {
    /// Until the circuit reaches its relay.
    Waiting(StreamRequest),
    Running(Box<RunningRequest>),
}

impl CircuitManager {
    /// Sends a request to a relay, over a ready circuit that ends there or over a new one;
    /// [`CircuitEvent::Answered`] follows with the id that this returns.
    ///
    /// None if that is not possible now.
    pub(in super::super) fn request(
        &mut self,
        relay: RelayIdentity,
        purpose: CircuitPurpose,
        request: StreamRequest,
    ) -> Option<RequestId> {
        let is_running = |entry: &&CircuitEntry| entry.request.is_some() && entry.purpose == purpose;
        if self.circuits.values().filter(is_running).count() >= MAX_REQUESTS {
            return None;
        }
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let request = Request { id, state: State::Waiting(request) };
        if let Some(circuit) = self.take_spare_to(&relay, purpose) {
            self.attach(circuit, request);
            if self.send_request(circuit).is_err() {
                self.fail(circuit, DestroyReason::Internal);
                return None;
            }
            return Some(id);
        }
        let end = match purpose {
            // Whoever knows a user's id can try out identities until their relay comes first in its order.
            CircuitPurpose::UserKeys => End::Others(relay),
            _ => End::Own(relay),
        };
        let circuit = self.build_to(end, purpose).ok()?;
        self.attach(circuit, request);
        Some(id)
    }

    /// The circuit of a request reaches its relay.
    pub(super) fn begin_request(&mut self, id: CircuitId) {
        if let Err(error) = self.send_request(id) {
            self.end_request(id, Err(error));
        }
    }

    fn send_request(&mut self, id: CircuitId) -> Result<(), StreamRequestError> {
        let now = self.now;
        let Some(CircuitEntry { circuit, request: Some(request), link, deadline, .. }) = self.circuits.get_mut(&id)
        else {
            return Ok(());
        };
        let State::Waiting(waiting) = &request.state else { return Ok(()) };
        let mut cells = Vec::new();
        let running = waiting.clone().begin(now, circuit, &mut cells)?;
        *deadline = Some(running.poll_timeout());
        request.state = State::Running(Box::new(running));
        let link = *link;
        self.send_cells(link, &cells);
        Ok(())
    }

    /// The circuit of a request has received something.
    pub(super) fn request_received(&mut self, id: CircuitId, received: Received) {
        let now = self.now;
        let Some(CircuitEntry { circuit, request: Some(request), link, deadline, .. }) = self.circuits.get_mut(&id)
        else {
            return;
        };
        let State::Running(running) = &mut request.state else { return };
        if let Received::Message(_) = received {
            return self.end_request(id, Err(StreamRequestError::CircuitLost));
        }
        let mut cells = Vec::new();
        let result = running.handle(now, received, circuit, &mut cells);
        *deadline = Some(running.poll_timeout());
        let link = *link;
        self.send_cells(link, &cells);
        if let Some(result) = result {
            self.end_request(id, result);
        }
    }

    fn end_request(&mut self, circuit: CircuitId, result: RequestResult) {
        // The circuit does not become a spare one: whoever uses it next must not be seen to be who this was.
        let (cause, blame) = match &result {
            Ok(_) | Err(StreamRequestError::Refused(_) | StreamRequestError::EndedEarly(_)) => {
                (DestroyReason::Requested, false)
            }
            Err(StreamRequestError::NotSent(_)) => (DestroyReason::Internal, true),
            Err(_) => (DestroyReason::Protocol, true),
        };
        let Some(entry) = self.remove(circuit, CloseCause::Said(Some(cause)), blame) else { return };
        if let Some(request) = entry.request {
            self.answered(entry.purpose, request.id, result);
        }
    }

    /// The circuit of a request is gone.
    pub(super) fn request_lost(&mut self, purpose: CircuitPurpose, request: &Request) {
        let has_timed_out = match &request.state {
            State::Waiting(_) => false,
            State::Running(running) => running.poll_timeout() <= self.now.instant,
        };
        let error = if has_timed_out { StreamRequestError::TimedOut } else { StreamRequestError::CircuitLost };
        self.answered(purpose, request.id, Err(error));
    }

    fn answered(&mut self, purpose: CircuitPurpose, id: RequestId, result: RequestResult) {
        match purpose {
            CircuitPurpose::Consensus => self.directory_result(id, result),
            CircuitPurpose::Clock => self.clock_result(id, result),
            _ => self.events.push_back(CircuitEvent::Answered(id, result)),
        }
    }

    /// Draws a relay to ask by its weight: none that is related to any of `but`, and if possible none that failed lately.
    pub(super) fn relay_to_ask(&mut self, but: &[RelayIdentity]) -> Option<RelayIdentity> {
        self.relays.stranger_to(&mut self.rng, self.now.instant, but)
    }
}
