//! Requests to relays: one request, one stream, on a circuit of its own that nothing else ever uses.
//!
//! So the relay that answers learns neither who asks nor what else the same client does, and two relays that are asked learn
//! nothing from each other. Whoever asks decides what follows when there is no answer: see the callers of
//! [`Client::request_from`].

use super::Client;
use super::api::Purpose;
use super::circuits::{CircuitEntry, CircuitKey, CircuitPurpose};
use super::relays::End;
use crate::cell::DestroyReason;
use crate::circuit::Received;
use crate::crypto::keys::RelayIdentity;
use crate::stream::request::{RequestResult, RunningRequest, StreamRequest, StreamRequestError};

/// Requests that may be under way at once.
const MAX_REQUESTS: usize = 8;

/// Identifies a request of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RequestId(u64);

/// A request on its circuit.
pub(super) struct Request {
    id: RequestId,
    purpose: Purpose,
    state: State,
}

enum State {
    /// Until the circuit reaches its relay.
    Waiting(StreamRequest),
    Running(Box<RunningRequest>),
}

impl Request {
    pub(super) const fn purpose(&self) -> Purpose {
        self.purpose
    }
}

impl Client {
    /// Sends a request to a relay, over a spare circuit that ends there or over a new one. The result goes to the part of the
    /// client with that purpose, under the id that this returns.
    ///
    /// None if that is not possible now.
    pub(super) fn request_from(
        &mut self,
        relay: RelayIdentity,
        purpose: Purpose,
        request: StreamRequest,
    ) -> Option<RequestId> {
        let running =
            self.circuits.values().filter(|managed| matches!(managed.task, CircuitPurpose::Request(_))).count();
        if running >= MAX_REQUESTS {
            return None;
        }
        let end = match purpose {
            // Whoever knows an id can try out identities until their relay comes first in its order.
            Purpose::Keys => End::Others(relay),
            _ => End::Own(relay),
        };
        let id = RequestId(self.next_request);
        self.next_request += 1;
        let task = CircuitPurpose::Request(Box::new(Request { id, purpose, state: State::Waiting(request) }));
        let spare = self.circuits.iter().find(|(_, managed)| {
            self.is_ready_spare(managed) && managed.circuit.path().last().is_some_and(|hop| hop.identity == relay)
        });
        if let Some(key) = spare.map(|(key, _)| *key) {
            if let Some(managed) = self.circuits.get_mut(&key) {
                managed.task = task;
            }
            return match self.send_request(key) {
                Ok(()) => Some(id),
                Err(_) => {
                    self.take_request(key);
                    self.close_circuit(key, Some(DestroyReason::Internal));
                    None
                }
            };
        }
        let (link, path) = self.path(end).ok()?;
        self.build(link, &path, task).map(|_| id)
    }

    /// The circuit of a request reaches its relay.
    pub(super) fn begin_request(&mut self, key: CircuitKey) {
        if let Err(error) = self.send_request(key) {
            self.end_request(key, Err(error));
        }
    }

    fn send_request(&mut self, key: CircuitKey) -> Result<(), StreamRequestError> {
        let Some(CircuitEntry { circuit, task: CircuitPurpose::Request(request), link, deadline }) =
            self.circuits.get_mut(&key)
        else {
            return Ok(());
        };
        let State::Waiting(waiting) = &request.state else { return Ok(()) };
        let mut cells = Vec::new();
        let running = waiting.clone().begin(self.now, circuit, &mut cells)?;
        *deadline = Some(running.poll_timeout());
        request.state = State::Running(Box::new(running));
        let link = *link;
        self.send_cells(link, &cells);
        Ok(())
    }

    /// The circuit of a request has received something.
    pub(super) fn request_received(&mut self, key: CircuitKey, received: Received) {
        let Some(CircuitEntry { circuit, task: CircuitPurpose::Request(request), link, deadline }) =
            self.circuits.get_mut(&key)
        else {
            return;
        };
        let State::Running(running) = &mut request.state else { return };
        let mut cells = Vec::new();
        let result = running.handle(self.now, received, circuit, &mut cells);
        *deadline = Some(running.poll_timeout());
        let link = *link;
        self.send_cells(link, &cells);
        if let Some(result) = result {
            self.end_request(key, result);
        }
    }

    fn end_request(&mut self, key: CircuitKey, result: RequestResult) {
        let Some(request) = self.take_request(key) else { return };
        // The circuit does not become a spare one: whoever uses it next must not be seen to be who this was.
        match &result {
            Ok(_) | Err(StreamRequestError::Refused(_) | StreamRequestError::EndedEarly(_)) => self.drop_circuit(key),
            Err(StreamRequestError::NotSent(_)) => self.close_circuit(key, Some(DestroyReason::Internal)),
            Err(_) => self.close_circuit(key, Some(DestroyReason::Protocol)),
        }
        self.request_over(&request, result);
    }

    /// Takes the request off its circuit.
    fn take_request(&mut self, key: CircuitKey) -> Option<Request> {
        let managed = self.circuits.get_mut(&key)?;
        match core::mem::replace(&mut managed.task, CircuitPurpose::Spare) {
            CircuitPurpose::Request(request) => Some(*request),
            task => {
                managed.task = task;
                None
            }
        }
    }

    /// The circuit of a request is gone.
    pub(super) fn request_lost(&mut self, request: &Request) {
        let has_timed_out = match &request.state {
            State::Waiting(_) => false,
            State::Running(running) => running.poll_timeout() <= self.now.instant,
        };
        let error = if has_timed_out { StreamRequestError::TimedOut } else { StreamRequestError::CircuitLost };
        self.request_over(request, Err(error));
    }

    fn request_over(&mut self, request: &Request, result: RequestResult) {
        match request.purpose {
            Purpose::Directory => self.directory_result(request.id, result),
            Purpose::Clock => self.clock_result(request.id, result),
            _ => self.keys_result(request.id, &result),
        }
    }

    /// Chooses a relay to ask by its weight: none that is related to any of `but`, and if possible none that failed lately.
    pub(super) fn relay_to_ask(&mut self, but: &[RelayIdentity]) -> Option<RelayIdentity> {
        self.relays.stranger_to(&mut self.rng, self.now.instant, but)
    }

    /// Whether circuits can be built now.
    pub(super) fn has_circuits(&self) -> bool {
        self.proven && self.directory.consensus.is_some() && self.links.values().any(super::links::Link::is_open)
    }
}
