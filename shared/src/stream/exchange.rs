//! Services that answer a whole request with a whole answer, at once or later.

use core::fmt;
use std::sync::Arc;

use super::body::Body;
use super::completion::{Completion, Promise, promise};
use super::service::{Opening, StreamService};
use super::{EndReason, Produced, StreamContext, StreamEnd, StreamHandler, StreamWaker};
use crate::time::Now;

/// A service that answers requests.
pub trait RequestService: fmt::Debug + Send + Sync + 'static {
    /// The longest body of a request that the service takes, in bytes; at most [`super::MAX_BUFFERED`].
    fn max_body(&self) -> usize {
        0
    }

    /// Answers a request. The call must not block: what takes time is done elsewhere, with the promise of
    /// [`Request::later`].
    ///
    /// # Errors
    ///
    /// Why there is no answer; the stream ends with it.
    fn answer(&self, request: Request) -> Result<Reply, EndReason>;
}

/// A request that has arrived whole.
#[derive(Debug)]
pub struct Request {
    /// Both clocks.
    pub now: Now,
    /// What `Begin` carried.
    pub argument: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
    waker: StreamWaker,
}

impl Request {
    /// A promise to answer later, and the reply that says so.
    pub fn later(&self) -> (Promise, Reply) {
        let (promise, completion) = promise(self.waker.clone());
        (promise, Reply::Later(completion))
    }
}

/// What a service replies to a request.
#[derive(Debug)]
pub enum Reply {
    /// This answer.
    Now(Body),
    /// The answer follows: see [`Request::later`].
    Later(Completion),
}

impl From<Vec<u8>> for Reply {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Now(Body::Bytes(bytes))
    }
}

/// A [`RequestService`] as a [`StreamService`].
#[derive(Debug)]
pub(super) struct Requests<S>(pub(super) Arc<S>);

impl<S: RequestService> StreamService for Requests<S> {
    fn open(&self, opening: Opening) -> Result<Box<dyn StreamHandler>, EndReason> {
        let Opening { argument, body, .. } = opening;
        // Refused before any of it is buffered.
        let announced = usize::try_from(body).ok().filter(|len| *len <= self.0.max_body());
        let announced = announced.ok_or(EndReason::TORPROTOCOL)?;
        let stage = Stage::Collecting { argument, body: Vec::new(), announced };
        Ok(Box::new(Exchange { service: Arc::clone(&self.0), stage }))
    }
}

struct Exchange<S> {
    service: Arc<S>,
    stage: Stage,
}

enum Stage {
    Collecting {
        argument: Vec<u8>,
        body: Vec<u8>,
        /// The length of the whole body.
        announced: usize,
    },
    /// The service works on a request of so many bytes.
    Answering {
        completion: Completion,
        held: usize,
    },
    Sending {
        body: Body,
        sent: usize,
    },
}

impl<S: RequestService> StreamHandler for Exchange<S> {
    fn opened(&mut self, _: &mut StreamContext<'_>) -> Result<(), EndReason> {
        Ok(())
    }

    fn data(&mut self, _: &mut StreamContext<'_>, bytes: &[u8]) -> Result<usize, EndReason> {
        // Never more than announced: the stream sees to that.
        if let Stage::Collecting { body, .. } = &mut self.stage {
            body.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn writable(&mut self, context: &mut StreamContext<'_>, room: &mut [u8]) -> Result<Produced, EndReason> {
        loop {
            match &mut self.stage {
                Stage::Collecting { body, announced, .. } if body.len() < *announced => return Ok(Produced::Pending),
                Stage::Collecting { argument, body, .. } => {
                    let (argument, body) = (std::mem::take(argument), std::mem::take(body));
                    let held = argument.capacity() + body.capacity();
                    let request = Request { now: context.now, argument, body, waker: context.waker() };
                    self.stage = match self.service.answer(request)? {
                        Reply::Now(body) => begin(body, context)?,
                        Reply::Later(completion) => Stage::Answering { completion, held },
                    };
                }
                Stage::Answering { completion, .. } => match completion.take() {
                    None => return Ok(Produced::Pending),
                    Some(outcome) => self.stage = begin(outcome?, context)?,
                },
                Stage::Sending { body, sent } => {
                    let len = body.read(*sent, room).ok_or(EndReason::RESOURCELIMIT)?;
                    *sent += len;
                    return Ok(if len == 0 { Produced::Last(0) } else { Produced::Bytes(len) });
                }
            }
        }
    }

    fn ended(&mut self, _: StreamEnd) {}

    fn buffered(&self) -> usize {
        match &self.stage {
            Stage::Collecting { argument, body, .. } => argument.capacity() + body.capacity(),
            Stage::Answering { held, .. } => *held,
            Stage::Sending { body, .. } => body.buffered(),
        }
    }
}

/// Accepts the stream for an answer of this length.
fn begin(body: Body, context: &mut StreamContext<'_>) -> Result<Stage, EndReason> {
    context.accept(body.len().ok_or(EndReason::RESOURCELIMIT)?);
    Ok(Stage::Sending { body, sent: 0 })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A request that nobody waits for.
    pub(crate) fn request(now: Now, argument: &[u8], body: &[u8]) -> Request {
        Request { now, argument: argument.to_vec(), body: body.to_vec(), waker: StreamWaker::none() }
    }
}
