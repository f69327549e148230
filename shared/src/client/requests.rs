//! Asking relays: one request, one stream, on a circuit of its own that nothing else ever uses.
//!
//! So the relay that answers learns neither who asks nor what else the same client does, and two relays that are asked learn
//! nothing from each other. Whoever asks decides what follows when there is no answer: see the callers of [`Client::ask`].

use std::time::Duration;

use super::Client;
use super::api::Purpose;
use super::circuits::{CircuitEntry, CircuitKey, CircuitPurpose};
use super::relays::End;
use crate::cell::DestroyReason;
use crate::cell::message::{EndReason, Service, StreamId};
use crate::crypto::keys::RelayIdentity;
use crate::netdir::{ConsensusDigest, MAX_UPDATE_LEN};
use crate::services::{KEY_ANSWER_LEN, UserId};
use crate::time::{Instant, Now};

/// Requests that may be under way at once.
const MAX_REQUESTS: usize = 8;

/// How long a relay may be silent on a stream.
const SILENCE: Duration = Duration::from_secs(10);

/// How long an answer may take in all: the longest consensus needs its time.
const ANSWER_TIME: Duration = Duration::from_secs(120);

/// What a relay is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// To bring the directory up to date, which holds this consensus.
    Directory(Option<ConsensusDigest>),
    /// The time, for the round of this number.
    Time(u64),
    /// What a user has published.
    FindKey(UserId),
    /// To keep what we publish: this argument.
    PublishKey(Vec<u8>),
}

impl Ask {
    fn service(&self) -> Service {
        match self {
            Self::Directory(_) => Service::Directory,
            Self::Time(_) => Service::Time,
            Self::FindKey(_) => Service::FindKey,
            Self::PublishKey(_) => Service::PublishKey,
        }
    }

    fn argument(&self) -> Vec<u8> {
        match self {
            Self::Directory(held) => held.iter().flat_map(|digest| *digest.as_bytes()).collect(),
            Self::Time(_) => Vec::new(),
            Self::FindKey(id) => id.0.to_vec(),
            Self::PublishKey(argument) => argument.clone(),
        }
    }

    /// The longest answer that is taken, in bytes.
    fn max_len(&self) -> usize {
        match self {
            Self::Directory(_) => MAX_UPDATE_LEN,
            Self::Time(_) => 8,
            Self::FindKey(_) => KEY_ANSWER_LEN,
            Self::PublishKey(_) => 1,
        }
    }
}

/// A request to a relay.
pub(super) struct Request {
    relay: RelayIdentity,
    ask: Ask,
    /// When it was sent.
    sent: Instant,
    answer: Vec<u8>,
    /// When the latest part of the answer came.
    came: Now,
}

impl Request {
    pub(super) const fn purpose(&self) -> Purpose {
        match self.ask {
            Ask::Directory(_) => Purpose::Directory,
            Ask::Time(_) => Purpose::Clock,
            Ask::FindKey(_) | Ask::PublishKey(_) => Purpose::Keys,
        }
    }
}

/// What became of a request.
pub(super) struct Answer {
    pub(super) relay: RelayIdentity,
    /// The answer's bytes; an error says in one clause why there are none.
    pub(super) result: Result<Vec<u8>, String>,
    /// How long it took from the request to the answer.
    pub(super) took: Duration,
    /// When the answer came.
    pub(super) came: Now,
}

impl Client {
    /// Asks a relay, over a spare circuit that ends there or over a new one; one of the `…_answered` hears of the end.
    ///
    /// `false` if that is not possible now.
    pub(super) fn ask(&mut self, relay: RelayIdentity, ask: Ask) -> bool {
        let running = self.circuits.values().filter(|managed| matches!(managed.task, CircuitPurpose::Ask(_))).count();
        if running >= MAX_REQUESTS {
            return false;
        }
        let end = match &ask {
            Ask::Directory(_) | Ask::Time(_) => End::Own(relay),
            // Whoever knows an id can try out identities until their relay comes first in its order.
            Ask::FindKey(_) | Ask::PublishKey(_) => End::Others(relay),
        };
        let request = Request { relay, ask, sent: self.now.instant, answer: Vec::new(), came: self.now };
        let task = CircuitPurpose::Ask(Box::new(request));
        let spare = self.circuits.iter().find(|(_, managed)| {
            self.is_ready_spare(managed) && managed.circuit.path().last().is_some_and(|hop| hop.identity == relay)
        });
        if let Some(key) = spare.map(|(key, _)| *key) {
            if let Some(managed) = self.circuits.get_mut(&key) {
                managed.task = task;
            }
            self.begin_request(key);
            return true;
        }
        let Ok((link, path)) = self.path(end) else { return false };
        self.build(link, &path, task).is_some()
    }

    /// The circuit of a request reaches its relay.
    pub(super) fn begin_request(&mut self, key: CircuitKey) {
        let Some(CircuitEntry { circuit, task: CircuitPurpose::Ask(request), link, deadline }) =
            self.circuits.get_mut(&key)
        else {
            return;
        };
        request.sent = self.now.instant;
        *deadline = Some(self.now.instant + SILENCE);
        let (link, mut cells) = (*link, Vec::new());
        let begun = circuit.begin(request.ask.service(), &request.ask.argument(), &mut cells);
        self.send_cells(link, &cells);
        if begun.is_err() {
            self.close_circuit(key, Some(DestroyReason::Internal));
        }
    }

    /// Part of an answer has come.
    pub(super) fn request_data(&mut self, key: CircuitKey, stream: StreamId, data: &[u8]) {
        let Some(CircuitEntry { task: CircuitPurpose::Ask(request), deadline, .. }) = self.circuits.get_mut(&key)
        else {
            return;
        };
        if request.answer.len() + data.len() > request.ask.max_len() {
            return self.close_circuit(key, Some(DestroyReason::Protocol));
        }
        request.answer.extend_from_slice(data);
        request.came = self.now;
        *deadline = Some((self.now.instant + SILENCE).min(request.sent + ANSWER_TIME));
        self.consumed(key, stream);
    }

    /// The relay has said all that it has to say.
    pub(super) fn request_ended(&mut self, key: CircuitKey, reason: u8) {
        let Some(managed) = self.circuits.get_mut(&key) else { return };
        match core::mem::replace(&mut managed.task, CircuitPurpose::Spare) {
            CircuitPurpose::Ask(mut request) => {
                let answer = core::mem::take(&mut request.answer);
                let result = match EndReason::from_u8(reason) {
                    Some(EndReason::Done) => Ok(answer),
                    Some(reason) => Err(refusal(reason).to_owned()),
                    None => Err("a relay refused for a reason that this version does not know".to_owned()),
                };
                // Not a spare one: whoever comes next must not be seen to be who this was.
                self.drop_circuit(key);
                self.request_over(*request, result);
            }
            task => {
                managed.task = task;
                self.close_circuit(key, Some(DestroyReason::Protocol));
            }
        }
    }

    /// The circuit of a request is gone.
    pub(super) fn request_lost(&mut self, request: Request) {
        self.request_over(request, Err("the circuit to a relay was lost".to_owned()));
    }

    fn request_over(&mut self, request: Request, result: Result<Vec<u8>, String>) {
        let Request { relay, ask, sent, came, .. } = request;
        let answer = Answer { relay, result, took: came.instant.saturating_since(sent), came };
        match ask {
            Ask::Directory(_) => self.directory_answered(answer),
            Ask::Time(round) => self.time_answered(round, &answer),
            Ask::FindKey(id) => self.find_answered(id, &answer),
            Ask::PublishKey(_) => self.publish_answered(&answer),
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

const fn refusal(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Done => "a relay said nothing",
        EndReason::Refused => "a relay does not offer this",
        EndReason::NoWork => "a relay does not take the proof of work",
        EndReason::ResourceLimit => "a relay has no room",
        EndReason::BadRequest => "a relay does not understand the request",
        EndReason::NotDirectory => "a relay has no list of relays itself",
    }
}
