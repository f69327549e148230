//! An answer that is there later than at once: a promise for whoever does the work, and what becomes of it for the stream.

use core::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::body::Body;
use super::{EndReason, StreamWaker};

type Outcome = Result<Body, EndReason>;
type IntroPointRecord = Arc<Mutex<Option<Outcome>>>;

/// The right, and the duty, to answer a request from any thread. Dropped without an answer, it ends the stream with
/// `INTERNAL`.
#[must_use]
pub struct Promise {
    slot: IntroPointRecord,
    waker: StreamWaker,
}

/// Where a stream finds the answer once it is there.
pub struct Completion(IntroPointRecord);

/// A promise, and where its outcome will be found by the stream that `waker` wakes.
pub fn promise(waker: StreamWaker) -> (Promise, Completion) {
    let slot = IntroPointRecord::default();
    (Promise { slot: Arc::clone(&slot), waker }, Completion(slot))
}

impl Promise {
    /// Answers the request, or says why there is no answer; does nothing if the stream is gone.
    pub fn complete(self, outcome: Result<Body, EndReason>) {
        self.set(outcome);
    }

    fn set(&self, outcome: Outcome) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some(outcome);
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.set(Err(EndReason::INTERNAL));
        self.waker.wake();
    }
}

impl Completion {
    /// Takes the outcome, if it is there.
    pub fn take(&self) -> Option<Result<Body, EndReason>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Promise")
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completion")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_promise_that_is_dropped_ends_the_stream() {
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&woken);
        let waker = StreamWaker::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let (kept, completion) = promise(waker.clone());
        assert!(completion.take().is_none());
        kept.complete(Ok(Body::Bytes(vec![1])));
        assert!(matches!(completion.take(), Some(Ok(Body::Bytes(_)))));
        let (broken, completion) = promise(waker);
        drop(broken);
        assert!(matches!(completion.take(), Some(Err(EndReason::INTERNAL))));
        assert_eq!(woken.load(Ordering::Relaxed), 2);
    }
}
