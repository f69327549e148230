//! [`Service::DIRECTORY`](crate::stream::Service::DIRECTORY): brings a client's copy of the directory up to date.

use core::fmt;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::services::consensus_update::read_argument;
use crate::stream::EndReason;
use crate::stream::body::{Body, Document};
use crate::stream::exchange::{Reply, Request, RequestService};

/// Bytes of documents that are kept for readers who have not read them to their end.
pub(super) const KEPT_MEMORY: usize = 32 << 20;

/// How many such documents there may be: looking for one looks at all of them.
const MAX_KEPT: usize = 256;

/// A relay's copy of the directory, as it is sent to clients.
pub trait Mirror: fmt::Debug + Send + Sync {
    /// What brings a client up to date that holds the consensus with this digest, or none; nothing while the relay has none
    /// itself.
    ///
    /// Called for every request, between two cells: so it has to be ready. And it has to be one and the same document for
    /// everybody in the same position, not a copy for each: readers share it.
    fn update(&self, held: Option<&[u8; 32]>) -> Option<Document>;
}

/// A relay that has no copy of the directory.
#[derive(Clone, Copy, Debug)]
pub struct NoMirror;

impl Mirror for NoMirror {
    fn update(&self, _: Option<&[u8; 32]>) -> Option<Document> {
        None
    }
}

/// Sends updates of the directory.
#[derive(Debug)]
pub struct DirectoryService {
    mirror: Box<dyn Mirror>,
    kept: Mutex<Kept>,
}

impl DirectoryService {
    /// A service that sends what this mirror has.
    pub fn new(mirror: impl Mirror + 'static) -> Self {
        Self { mirror: Box::new(mirror), kept: Mutex::default() }
    }

    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        // Complete after every call, also after one that has panicked.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestService for DirectoryService {
    fn answer(&self, request: Request) -> Result<Reply, EndReason> {
        let held = read_argument(&request.argument).map_err(|_| EndReason::TORPROTOCOL)?;
        let document = self.mirror.update(held).ok_or(EndReason::NOTDIRECTORY)?;
        let body = Body::Document(Arc::downgrade(&document));
        self.kept().keep(document);
        Ok(Reply::Now(body))
    }
}

/// The documents that were sent last: they stay for those who still read them, even when there are newer ones.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) documents: VecDeque<Document>,
    pub(super) bytes: usize,
}

impl Kept {
    fn keep(&mut self, document: Document) {
        if let Some(at) = self.documents.iter().position(|other| Arc::ptr_eq(other, &document)) {
            self.documents.remove(at);
        } else {
            self.bytes += len(&document);
        }
        self.documents.push_back(document);
        while self.documents.len() > MAX_KEPT || (self.bytes > KEPT_MEMORY && self.documents.len() > 1) {
            let oldest = self.documents.pop_front();
            self.bytes -= oldest.as_ref().map_or(0, len);
        }
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("documents", &self.documents.len()).field("bytes", &self.bytes).finish()
    }
}

fn len(document: &Document) -> usize {
    (**document).as_ref().len()
}
