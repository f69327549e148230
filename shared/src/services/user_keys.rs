//! Records that users publish under an id, and others look up.

use core::fmt;
use core::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::crypto::derive::derive;
use crate::crypto::keys::ParseKeyError;
use crate::crypto::proof_of_work::ProofOfWork;
use crate::stream::Service;
use crate::stream::request::StreamRequest;
use crate::time::UnixTime;
use crate::wire::{DecodeError, Reader, Writer};

/// The longest record that a user may publish, in bytes.
pub const MAX_RECORD_LEN: usize = 256;

/// Length of the answer of [`Service::FIND_KEY`], whatever was found, in bytes.
pub const KEY_ANSWER_LEN: usize = 1 + 2 + MAX_RECORD_LEN;

/// Length of what comes before the record in a [`Publication`], in bytes.
const PUBLICATION_HEAD_LEN: usize = 8 + 4;

/// Zero bits that a [`Publication`]'s proof of work needs: 65,536 hashes on average, some hundredths of a second natively
/// and a third of a second in a page.
pub const PUBLISH_EFFORT: u32 = 16;

/// By how many days a publication's day may differ from the relay's.
pub const MAX_DAYS_OFF: u32 = 1;

const MILLIS_PER_DAY: u64 = 24 * 60 * 60 * 1000;

/// Looks up what a user has published.
pub fn find_request(user: &UserId) -> StreamRequest {
    StreamRequest::new(Service::FIND_KEY, user.0.to_vec()).with_max_answer(KEY_ANSWER_LEN)
}

/// Asks to store a publication, given by its bytes.
pub fn publish_request(publication: Vec<u8>) -> StreamRequest {
    StreamRequest::new(Service::PUBLISH_KEY, publication).with_max_answer(1)
}

/// The answer of [`Service::PUBLISH_KEY`]: one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PublishAnswer {
    /// The record is stored.
    Stored = 0,
    /// The proof of work is invalid, or for another day.
    NoWork = 1,
    /// The relay stores as many records as it can.
    Full = 2,
}

impl PublishAnswer {
    /// Every answer there is.
    pub const ALL: &'static [Self] = &[Self::Stored, Self::NoWork, Self::Full];

    /// Reads the answer.
    ///
    /// # Errors
    ///
    /// If it is none of these.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let known = Self::ALL.iter().find(|answer| bytes == [**answer as u8]);
        known.copied().ok_or(DecodeError::Invalid("the answer to a publication"))
    }
}

/// Who a user is to those who look up what they have published: the hash of their record.
///
/// So nobody who keeps records can pass off another one under an id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub [u8; 32]);

impl UserId {
    /// The id under which a record is published.
    pub fn of(record: &[u8]) -> Self {
        Self(derive("user id", &[record]))
    }
}

/// As 64 hexadecimal digits, for people to pass on.
impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// Reads 64 hexadecimal digits.
impl FromStr for UserId {
    type Err = ParseKeyError;

    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| ParseKeyError)?;
        bytes.try_into().map(Self).map_err(|_| ParseKeyError)
    }
}

impl Serialize for UserId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UserId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Who is looked up is nobody's business.
impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserId(..)")
    }
}

/// Days since 1970 began.
pub const fn day(now: UnixTime) -> u32 {
    // 2³² days are eleven million years.
    (now.as_millis() / MILLIS_PER_DAY) as u32
}

/// The answer of [`Service::FIND_KEY`]: `found u8 ‖ length u16 ‖ record ‖ zeros`, always of one
/// length, so that its size does not tell what was found. A record above [`MAX_RECORD_LEN`] is cut.
pub fn key_answer(record: Option<&[u8]>) -> [u8; KEY_ANSWER_LEN] {
    let mut answer = [0; KEY_ANSWER_LEN];
    let [found, l0, l1, room @ ..] = &mut answer;
    if let Some(record) = record {
        *found = 1;
        let record = record.get(..MAX_RECORD_LEN).unwrap_or(record);
        // At most MAX_RECORD_LEN, which u16 holds.
        [*l0, *l1] = (record.len() as u16).to_be_bytes();
        room.iter_mut().zip(record).for_each(|(to, from)| *to = *from);
    }
    answer
}

/// Reads what [`key_answer`] wrote about this user; gives the record, if there is one.
///
/// # Errors
///
/// If it is no such answer, or the record is another user's.
pub fn read_key_answer<'a>(user: &UserId, bytes: &'a [u8]) -> Result<Option<&'a [u8]>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let found = reader.u8()?;
    let record = reader.bytes_u16("a record", MAX_RECORD_LEN)?;
    if reader.take(MAX_RECORD_LEN - record.len())?.iter().any(|byte| *byte != 0) {
        return Err(DecodeError::Invalid("the end of an answer"));
    }
    reader.finish()?;
    match found {
        0 if record.is_empty() => Ok(None),
        1 if UserId::of(record) == *user => Ok(Some(record)),
        1 => Err(DecodeError::Invalid("a record that is not the user's")),
        _ => Err(DecodeError::Invalid("whether a record was found")),
    }
}

/// The argument of [`Service::PUBLISH_KEY`]: `nonce u64 ‖ day u32 ‖ record (1 to 256)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication<'a> {
    /// The proof of work.
    pub nonce: u64,
    /// The day for which the work was done, counted from 1970.
    pub day: u32,
    /// What is published: 1 to [`MAX_RECORD_LEN`] bytes.
    pub record: &'a [u8],
}

impl<'a> Publication<'a> {
    /// The work that publishing a record takes on a day; found by [`ProofOfWork::search`] with [`PUBLISH_EFFORT`].
    pub fn work(day: u32, record: &[u8]) -> ProofOfWork {
        ProofOfWork::new("user key work", &[&day.to_be_bytes(), record])
    }

    /// Whether the work has been done.
    pub fn is_worked(&self) -> bool {
        Self::work(self.day, self.record).zeros(self.nonce) >= PUBLISH_EFFORT
    }

    /// The argument's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(PUBLICATION_HEAD_LEN + self.record.len());
        writer.u64(self.nonce).u32(self.day).raw(self.record);
        writer.into_bytes()
    }

    /// Reads an argument's bytes; does not look at the work.
    ///
    /// # Errors
    ///
    /// If they are too few or too many.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (nonce, day) = (reader.u64()?, reader.u32()?);
        match reader.rest() {
            [] => Err(DecodeError::Truncated { missing: 1 }),
            record if record.len() > MAX_RECORD_LEN => {
                Err(DecodeError::TooLong { what: "a record", len: record.len(), max: MAX_RECORD_LEN })
            }
            record => Ok(Self { nonce, day, record }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_of_one_length_and_read_again() {
        let longest = [7; MAX_RECORD_LEN];
        for record in [&b"x"[..], b"a record", &longest] {
            let answer = key_answer(Some(record));
            assert_eq!(read_key_answer(&UserId::of(record), &answer), Ok(Some(record)));
        }
        assert_eq!(read_key_answer(&UserId([1; 32]), &key_answer(None)), Ok(None));
    }

    #[test]
    fn a_record_of_somebody_else_is_refused() {
        let answer = key_answer(Some(b"mine"));
        assert!(read_key_answer(&UserId::of(b"yours"), &answer).is_err());
    }

    #[test]
    fn other_answers_are_errors() {
        let good = key_answer(Some(b"mine"));
        let id = UserId::of(b"mine");
        let change = |at: usize, to: u8| {
            let mut bytes = good;
            bytes[at] = to;
            read_key_answer(&id, &bytes).map(drop)
        };
        assert!(change(0, 2).is_err(), "neither found nor not");
        assert!(change(0, 0).is_err(), "not found, but there is a record");
        assert!(change(1, 2).is_err(), "longer than any record");
        assert!(change(2, 3).is_err(), "bytes behind the record");
        assert!(change(KEY_ANSWER_LEN - 1, 1).is_err());
        assert!(read_key_answer(&id, &good[..KEY_ANSWER_LEN - 1]).is_err());
        assert!(read_key_answer(&id, &[&good[..], &[0]].concat()).is_err());
        assert!(PublishAnswer::decode(&[]).is_err() && PublishAnswer::decode(&[3]).is_err());
    }

    #[test]
    fn work_is_for_one_record_and_one_day() {
        let record = [3; MAX_RECORD_LEN];
        let nonce = Publication::work(20_000, &record).search(PUBLISH_EFFORT, 0, u64::MAX).unwrap();
        let worked = Publication { nonce, day: 20_000, record: &record };
        assert!(worked.is_worked());
        assert!(!Publication { day: 20_001, ..worked.clone() }.is_worked());
        assert!(!Publication { record: &record[1..], ..worked.clone() }.is_worked());
        let bytes = worked.encode();
        assert_eq!(Publication::decode(&bytes), Ok(worked));
        assert!(Publication::decode(&bytes[..PUBLICATION_HEAD_LEN]).is_err());
        assert!(Publication::decode(&bytes[..PUBLICATION_HEAD_LEN + 1]).is_ok());
        assert!(Publication::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn days_begin_at_midnight() {
        let at = |secs: u64| day(UnixTime::from_millis(secs * 1000));
        assert_eq!((at(0), at(86_399), at(86_400), at(1_800_000_000)), (0, 0, 1, 20_833));
    }
}
