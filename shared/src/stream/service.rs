//! What a relay's service has to do: make a handler for each stream that somebody asks for.

use core::fmt;

use super::{EndReason, StreamHandler};
use crate::time::Now;

/// A stream that somebody asks for.
#[derive(Debug)]
pub struct Opening {
    /// Both clocks.
    pub now: Now,
    /// What `Begin` carried besides.
    pub argument: Vec<u8>,
    /// The length of the body that follows, in bytes, or [`super::OPEN_ENDED`].
    pub body: u64,
}

/// A service that handles the bytes of its streams itself. Services that answer requests implement
/// [`RequestService`](super::exchange::RequestService).
pub trait StreamService: fmt::Debug + Send + Sync {
    /// A handler for a new stream.
    ///
    /// # Errors
    ///
    /// Why the stream is refused.
    fn open(&self, opening: Opening) -> Result<Box<dyn StreamHandler>, EndReason>;
}
