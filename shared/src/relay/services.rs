//! What a relay does for clients at the end of their circuits.
//!
//! A request is one message, and its answer is there at once: nothing waits here, and no answer costs more than a few hashes.
//! The answer is sent as the stream's windows allow, by [`super::streams`].

use core::fmt;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::user_keys::UserKeys;
use crate::cell::message::{EndReason, Service};
use crate::services::{MAX_DAYS_OFF, Publication, STORED, UserId, day, key_answer, time_answer};
use crate::time::Now;

/// The most that a [`Service::Source`] sends on one stream, in bytes.
pub const MAX_SOURCE_LEN: u64 = 1 << 40;

/// Bytes of documents that are kept for readers who have not read them to their end.
const GIVEN_MEMORY: usize = 32 << 20;

/// How many such documents there may be: what looks for one looks at all.
const MAX_GIVEN: usize = 256;

/// Bytes that many may read at the same time.
pub type Document = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// What a service has to say.
#[derive(Clone)]
pub enum Answer {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A document that others read too. Once nobody keeps it any more, the stream ends with
    /// [`EndReason::ResourceLimit`]: so a reader who is slow on purpose costs no memory.
    Document(Weak<dyn AsRef<[u8]> + Send + Sync>),
    /// So many bytes that mean nothing.
    Filler(u64),
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes(_) => "Answer::Bytes(..)",
            Self::Document(_) => "Answer::Document(..)",
            Self::Filler(_) => "Answer::Filler(..)",
        })
    }
}

/// The services that streams of a relay lead to.
pub trait Services: fmt::Debug + Send + Sync {
    /// Answers a request, at once.
    ///
    /// # Errors
    ///
    /// Why there is no answer; the stream ends with it.
    fn answer(&self, now: Now, service: Service, argument: &[u8]) -> Result<Answer, EndReason>;
}

/// A relay's copy of the directory, as its services give it out.
pub trait Mirror: fmt::Debug + Send + Sync {
    /// What brings a client up to date that holds the consensus with this digest, or none; nothing while the relay has none
    /// itself.
    ///
    /// Asked for every stream, between two cells: so it has to be ready. And it has to be one and the same document for all
    /// who are in the same position, not a copy for each: readers share it.
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

/// The services of a relay.
#[derive(Debug)]
pub struct RelayServices {
    mirror: Box<dyn Mirror>,
    given: Mutex<Given>,
    user_keys: Mutex<UserKeys>,
    source: bool,
}

impl RelayServices {
    /// The services of a relay that has this copy of the directory and these records of users, and which sends bytes for
    /// measurements only if `source` says so.
    pub fn new(mirror: Box<dyn Mirror>, user_keys: UserKeys, source: bool) -> Self {
        Self { mirror, given: Mutex::default(), user_keys: Mutex::new(user_keys), source }
    }

    /// What users have published here, to be stored. Streams that ask for it wait meanwhile.
    pub fn user_keys(&self) -> MutexGuard<'_, UserKeys> {
        lock(&self.user_keys)
    }

    fn directory(&self, argument: &[u8]) -> Result<Answer, EndReason> {
        let held = match argument {
            [] => None,
            digest => Some(digest.try_into().map_err(|_| EndReason::BadRequest)?),
        };
        let document = self.mirror.update(held).ok_or(EndReason::NotDirectory)?;
        let answer = Answer::Document(Arc::downgrade(&document));
        lock(&self.given).keep(document);
        Ok(answer)
    }

    fn publish(&self, now: Now, argument: &[u8]) -> Result<Answer, EndReason> {
        let publication = Publication::decode(argument).map_err(|_| EndReason::BadRequest)?;
        // What costs nothing to check comes first.
        if publication.day.abs_diff(day(now.unix)) > MAX_DAYS_OFF || !publication.is_worked() {
            return Err(EndReason::NoWork);
        }
        self.user_keys().publish(now.unix, publication.record).map_err(|_| EndReason::ResourceLimit)?;
        Ok(Answer::Bytes(vec![STORED]))
    }
}

impl Services for RelayServices {
    fn answer(&self, now: Now, service: Service, argument: &[u8]) -> Result<Answer, EndReason> {
        match service {
            Service::Source if !self.source => Err(EndReason::Refused),
            Service::Source => match argument.try_into().map(u64::from_be_bytes) {
                Ok(len) if len <= MAX_SOURCE_LEN => Ok(Answer::Filler(len)),
                _ => Err(EndReason::BadRequest),
            },
            Service::Directory => self.directory(argument),
            Service::Time if argument.is_empty() => Ok(Answer::Bytes(time_answer(now.unix).to_vec())),
            Service::Time => Err(EndReason::BadRequest),
            Service::FindKey => {
                let user = UserId(argument.try_into().map_err(|_| EndReason::BadRequest)?);
                let record = self.user_keys().find(now.unix, &user).cloned();
                Ok(Answer::Bytes(key_answer(record.as_deref()).to_vec()))
            }
            Service::PublishKey => self.publish(now, argument),
        }
    }
}

/// The documents that were given out last: they stay for those who still read them, also when there are newer ones.
#[derive(Default)]
struct Given {
    documents: VecDeque<Document>,
    bytes: usize,
}

impl Given {
    fn keep(&mut self, document: Document) {
        if let Some(at) = self.documents.iter().position(|other| Arc::ptr_eq(other, &document)) {
            self.documents.remove(at);
        } else {
            self.bytes += len(&document);
        }
        self.documents.push_back(document);
        while self.documents.len() > MAX_GIVEN || (self.bytes > GIVEN_MEMORY && self.documents.len() > 1) {
            let oldest = self.documents.pop_front();
            self.bytes -= oldest.as_ref().map_or(0, len);
        }
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").field("documents", &self.documents.len()).field("bytes", &self.bytes).finish()
    }
}

fn len(document: &Document) -> usize {
    (**document).as_ref().len()
}

/// What is behind these locks is whole after every call, also after one that has panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::services::{KEY_ANSWER_LEN, MAX_RECORD_LEN, PUBLISH_EFFORT, read_key_answer, read_time};
    use crate::time::{Instant, UnixTime};

    pub(in super::super) const NOW: Now =
        Now { instant: Instant::from_millis(1000), unix: UnixTime::from_millis(1_800_000_000_000) };

    /// A mirror with a document for newcomers, one for those who hold a certain consensus, and none for others.
    #[derive(Clone)]
    pub(in super::super) struct Shelf(pub(in super::super) Arc<Mutex<Vec<Document>>>);

    impl fmt::Debug for Shelf {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Shelf")
        }
    }

    impl Shelf {
        pub(in super::super) fn with(documents: &[&[u8]]) -> Self {
            Self(Arc::new(Mutex::new(documents.iter().map(|bytes| -> Document { Arc::new(bytes.to_vec()) }).collect())))
        }
    }

    impl Mirror for Shelf {
        fn update(&self, held: Option<&[u8; 32]>) -> Option<Document> {
            lock(&self.0).get(held.map_or(0, |digest| usize::from(digest[0]))).cloned()
        }
    }

    fn services(shelf: &Shelf) -> RelayServices {
        RelayServices::new(Box::new(shelf.clone()), UserKeys::new(), true)
    }

    fn bytes(answer: Result<Answer, EndReason>) -> Vec<u8> {
        match answer.unwrap() {
            Answer::Bytes(bytes) => bytes,
            Answer::Document(document) => (*document.upgrade().unwrap()).as_ref().to_vec(),
            Answer::Filler(len) => panic!("{len} bytes of filler"),
        }
    }

    fn worked(day: u32, record: &[u8]) -> Vec<u8> {
        let nonce = Publication::work(day, record).search(PUBLISH_EFFORT, 0, u64::MAX).unwrap();
        Publication { nonce, day, record }.encode()
    }

    #[test]
    fn the_directory_answers_by_what_the_client_holds() {
        let services = services(&Shelf::with(&[b"all of it", b"a little"]));
        let ask = |argument: &[u8]| services.answer(NOW, Service::Directory, argument);
        assert_eq!(bytes(ask(b"")), b"all of it");
        assert_eq!(bytes(ask(&[1; 32])), b"a little");
        assert_eq!(ask(&[2; 32]).unwrap_err(), EndReason::NotDirectory);
        assert_eq!(ask(&[1; 31]).unwrap_err(), EndReason::BadRequest);
        let bare = RelayServices::new(Box::new(NoMirror), UserKeys::new(), false);
        assert_eq!(bare.answer(NOW, Service::Directory, b"").unwrap_err(), EndReason::NotDirectory);
    }

    #[test]
    fn documents_are_shared_and_bounded() {
        let shelf = Shelf::with(&[b"first"]);
        let services = services(&shelf);
        let first = services.answer(NOW, Service::Directory, b"").unwrap();
        let Answer::Document(first) = first else { panic!() };
        for _ in 0..1000 {
            services.answer(NOW, Service::Directory, b"").unwrap();
        }
        let strong = || first.strong_count();
        assert_eq!(strong(), 2, "the shelf's own, and one for all readers");
        // Newer ones come; this one stays for its readers for a while, but not for ever.
        let mut lives = Vec::new();
        for n in 0..10_u8 {
            *lock(&shelf.0) = vec![Arc::new(vec![n; 4 << 20])];
            services.answer(NOW, Service::Directory, b"").unwrap();
            lives.push(strong() == 1);
        }
        assert_eq!(lives.iter().filter(|lives| **lives).count(), 7);
        assert!(!lives[9] && lock(&services.given).bytes <= GIVEN_MEMORY);
        // One that is larger than all that may be kept is given out all the same.
        *lock(&shelf.0) = vec![Arc::new(vec![0; GIVEN_MEMORY + 1])];
        assert_eq!(bytes(services.answer(NOW, Service::Directory, b"")).len(), GIVEN_MEMORY + 1);
        assert_eq!(lock(&services.given).documents.len(), 1);
    }

    #[test]
    fn the_time_is_the_relays() {
        let services = services(&Shelf::with(&[]));
        assert_eq!(read_time(&bytes(services.answer(NOW, Service::Time, b""))), Ok(NOW.unix));
        assert_eq!(services.answer(NOW, Service::Time, b"x").unwrap_err(), EndReason::BadRequest);
    }

    #[test]
    fn what_was_published_is_found_and_all_answers_look_alike() {
        let services = services(&Shelf::with(&[]));
        let record = [5; MAX_RECORD_LEN];
        let user = UserId::of(&record);
        let find = |user: &UserId| bytes(services.answer(NOW, Service::FindKey, &user.0));
        let before = find(&user);
        assert_eq!(read_key_answer(&user, &before), Ok(None));
        let stored = services.answer(NOW, Service::PublishKey, &worked(day(NOW.unix), &record));
        assert_eq!(bytes(stored), [STORED]);
        let after = find(&user);
        assert_eq!(read_key_answer(&user, &after), Ok(Some(&record[..])));
        assert_eq!((before.len(), after.len()), (KEY_ANSWER_LEN, KEY_ANSWER_LEN));
        for argument in [&b""[..], &[0; 31], &[0; 33]] {
            assert_eq!(services.answer(NOW, Service::FindKey, argument).unwrap_err(), EndReason::BadRequest);
        }
    }

    #[test]
    fn a_publication_has_to_be_worked_for_today() {
        let services = services(&Shelf::with(&[]));
        let today = day(NOW.unix);
        let publish = |argument: &[u8]| services.answer(NOW, Service::PublishKey, argument).map(drop);
        for ok in [today - 1, today, today + 1] {
            assert_eq!(publish(&worked(ok, b"record")), Ok(()));
        }
        for off in [0, today - 2, today + 2, u32::MAX] {
            assert_eq!(publish(&worked(off, b"record")), Err(EndReason::NoWork), "day {off}");
        }
        let mut idle = worked(today, b"record");
        idle[0] ^= 1;
        assert_eq!(publish(&idle), Err(EndReason::NoWork));
        for bad in [&b""[..], &[0; 12], &[0; 12 + MAX_RECORD_LEN + 1]] {
            assert_eq!(publish(bad), Err(EndReason::BadRequest));
        }
        assert_eq!(services.user_keys().len(), 1);
    }

    #[test]
    fn a_full_store_says_so() {
        let mut keys = UserKeys::new();
        for n in 0..super::super::user_keys::MAX_USER_KEYS as u32 {
            keys.publish(NOW.unix, &n.to_be_bytes()).unwrap();
        }
        let services = RelayServices::new(Box::new(NoMirror), keys, false);
        let publish = |record: &[u8]| services.answer(NOW, Service::PublishKey, &worked(day(NOW.unix), record));
        assert_eq!(publish(b"a new one").unwrap_err(), EndReason::ResourceLimit);
        assert_eq!(bytes(publish(&7_u32.to_be_bytes())), [STORED]);
    }

    #[test]
    fn bytes_for_measurements_come_only_where_the_operator_says_so() {
        let on = services(&Shelf::with(&[]));
        let off = RelayServices::new(Box::new(NoMirror), UserKeys::new(), false);
        let ask = |services: &RelayServices, len: u64| services.answer(NOW, Service::Source, &len.to_be_bytes());
        assert!(matches!(ask(&on, MAX_SOURCE_LEN), Ok(Answer::Filler(MAX_SOURCE_LEN))));
        assert_eq!(ask(&on, MAX_SOURCE_LEN + 1).unwrap_err(), EndReason::BadRequest);
        assert_eq!(on.answer(NOW, Service::Source, &[0; 7]).unwrap_err(), EndReason::BadRequest);
        assert_eq!(ask(&off, 5).unwrap_err(), EndReason::Refused);
        assert_eq!(off.answer(NOW, Service::Source, &[0; 7]).unwrap_err(), EndReason::Refused);
    }
}
