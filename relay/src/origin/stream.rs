//! A stream to a service of another relay, for tasks that read and write it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use allium_shared::relay::origin::order::OriginError;
use allium_shared::stream::two_way::TwoWay;
use allium_shared::stream::{EndCause, EndReason, Produced, StreamContext, StreamEnd, StreamHandler, StreamWaker};
use thiserror::Error;
use tokio::sync::Notify;

use super::cancel::Cancel;

/// Bytes in both directions, bounded: a reader that stalls slows the other relay down. Dropping it ends the stream.
///
/// One task may read and one may write at a time.
#[derive(Debug)]
pub struct RelayStream {
    shared: Arc<Shared>,
    /// Ends the stream when this is dropped.
    _cancel: Cancel,
}

/// Why a stream can't go on.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum RelayStreamError {
    /// It never began.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// It is over.
    #[error("the stream is over: {0:?}")]
    Over(EndCause),
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Something can be read, or never will be.
    readable: Notify,
    /// Something can be written, or never will be.
    writable: Notify,
}

#[derive(Debug, Default)]
struct State {
    bytes: TwoWay,
    waker: Option<StreamWaker>,
}

impl Shared {
    /// Complete after every call, also after one that has panicked.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self) {
        self.readable.notify_one();
        self.writable.notify_one();
    }
}

impl RelayStream {
    pub(super) fn new(cancel: Cancel) -> (Self, Handler) {
        let shared = Arc::new(Shared::default());
        (Self { shared: Arc::clone(&shared), _cancel: cancel }, Handler(shared))
    }

    /// Waits until the other relay has accepted the stream.
    pub(super) async fn accepted(&self) -> Result<(), RelayStreamError> {
        loop {
            {
                let state = self.shared.lock();
                match state.bytes.end() {
                    _ if state.bytes.is_open() => return Ok(()),
                    Some(cause) => return Err(RelayStreamError::Over(cause)),
                    None => {}
                }
            }
            self.shared.writable.notified().await;
        }
    }

    /// Waits for bytes, and takes at most `max` of them; none once the other relay has sent everything.
    ///
    /// # Errors
    ///
    /// If the stream ended otherwise.
    pub async fn read(&self, max: usize) -> Result<Vec<u8>, RelayStreamError> {
        loop {
            {
                let mut state = self.shared.lock();
                let bytes = state.bytes.read(max);
                if !bytes.is_empty() {
                    state.wake();
                    return Ok(bytes);
                }
                match state.bytes.end() {
                    Some(EndCause::Peer(EndReason::DONE)) => return Ok(bytes),
                    Some(cause) => return Err(RelayStreamError::Over(cause)),
                    None => {}
                }
            }
            self.shared.readable.notified().await;
        }
    }

    /// Writes some bytes as soon as there is room; returns how many.
    ///
    /// # Errors
    ///
    /// If the stream is over.
    pub async fn write(&self, bytes: &[u8]) -> Result<usize, RelayStreamError> {
        loop {
            {
                let mut state = self.shared.lock();
                if let Some(cause) = state.bytes.end() {
                    return Err(RelayStreamError::Over(cause));
                }
                let written = state.bytes.write(bytes);
                if written > 0 || bytes.is_empty() {
                    state.wake();
                    return Ok(written);
                }
            }
            self.shared.writable.notified().await;
        }
    }

    /// Says that nothing more will be written: the stream ends once everything is sent.
    pub fn finish(&self) {
        let mut state = self.shared.lock();
        state.bytes.finish();
        state.wake();
    }
}

impl State {
    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }
}

/// The same, as the stream sees it.
pub(super) struct Handler(Arc<Shared>);

impl StreamHandler for Handler {
    fn opened(&mut self, context: &mut StreamContext<'_>) -> Result<(), EndReason> {
        let mut state = self.0.lock();
        state.bytes.opened(context)?;
        drop(state);
        self.0.notify();
        Ok(())
    }

    fn data(&mut self, context: &mut StreamContext<'_>, bytes: &[u8]) -> Result<usize, EndReason> {
        let mut state = self.0.lock();
        let taken = state.bytes.data(context, bytes)?;
        drop(state);
        self.0.readable.notify_one();
        Ok(taken)
    }

    fn writable(&mut self, context: &mut StreamContext<'_>, room: &mut [u8]) -> Result<Produced, EndReason> {
        let mut state = self.0.lock();
        state.waker.get_or_insert_with(|| context.waker());
        let produced = state.bytes.writable(context, room)?;
        drop(state);
        if produced != Produced::Pending {
            self.0.writable.notify_one();
        }
        Ok(produced)
    }

    fn ended(&mut self, end: StreamEnd) {
        self.0.lock().bytes.ended(end);
        self.0.notify();
    }

    fn buffered(&self) -> usize {
        self.0.lock().bytes.buffered()
    }
}
