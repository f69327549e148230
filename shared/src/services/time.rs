//! The relay's time. The request is empty; the answer is 8 bytes.

use crate::stream::Service;
use crate::stream::request::StreamRequest;
use crate::time::UnixTime;
use crate::wire::{DecodeError, Reader};

/// Length of the answer, in bytes.
const ANSWER_LEN: usize = 8;

/// Requests the time.
pub fn request() -> StreamRequest {
    StreamRequest::new(Service::TIME, Vec::new()).with_max_answer(ANSWER_LEN)
}

/// The answer: milliseconds since 1970, `u64`.
pub const fn time_answer(now: UnixTime) -> [u8; ANSWER_LEN] {
    now.as_millis().to_be_bytes()
}

/// Reads what [`time_answer`] wrote.
///
/// # Errors
///
/// If it is not 8 bytes.
pub fn read_time(bytes: &[u8]) -> Result<UnixTime, DecodeError> {
    let mut reader = Reader::new(bytes);
    let time = UnixTime::from_millis(reader.u64()?);
    reader.finish()?;
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_eight_bytes() {
        assert!(read_time(&[0; 7]).is_err() && read_time(&[0; 9]).is_err());
        assert_eq!(read_time(&time_answer(UnixTime::from_millis(5))), Ok(UnixTime::from_millis(5)));
    }
}
