//! Bringing a client's consensus up to date.
//!
//! The argument is empty, or the digest (32 bytes) of the consensus that the client holds; the answer is a
//! [`ConsensusUpdate`](crate::netdir::ConsensusUpdate).

use crate::netdir::{ConsensusDigest, MAX_UPDATE_LEN};
use crate::stream::Service;
use crate::stream::request::StreamRequest;

/// Requests what follows the consensus that the client holds, or a whole one.
pub fn request(held: Option<&ConsensusDigest>) -> StreamRequest {
    let argument = held.map(|digest| digest.as_bytes().to_vec()).unwrap_or_default();
    StreamRequest::new(Service::DIRECTORY, argument).with_max_answer(MAX_UPDATE_LEN)
}

/// The digest that an argument names, if it names any.
///
/// # Errors
///
/// If it is neither empty nor 32 bytes long.
pub fn read_argument(argument: &[u8]) -> Result<Option<&[u8; 32]>, core::array::TryFromSliceError> {
    if argument.is_empty() { Ok(None) } else { argument.try_into().map(Some) }
}
