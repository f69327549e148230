//! The services of a relay, asked over streams of a circuit.

use core::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;

use super::directory_service::KEPT_MEMORY;
use super::*;
use crate::cell::message::RelayMessage;
use crate::crypto::cgo::Tag;
use crate::relay::streams::{Originate, Streams, StreamsEnv};
use crate::services::byte_source::{MAX_SOURCE_LEN, source_argument};
use crate::services::{
    KEY_ANSWER_LEN, MAX_RECORD_LEN, PUBLISH_EFFORT, Publication, PublishAnswer, UserId, day, read_key_answer, read_time,
};
use crate::stream::exchange::RequestService;
use crate::stream::{EndReason, StreamId, StreamWaker};
use crate::time::{Instant, Now, UnixTime};

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
        let shelf = Self(Arc::default());
        shelf.fill(documents.iter().map(|bytes| bytes.to_vec()));
        shelf
    }

    pub(in super::super) fn fill(&self, documents: impl IntoIterator<Item = Vec<u8>>) {
        let documents = documents.into_iter().map(|bytes| -> Document { Arc::new(bytes) });
        *self.lock() = documents.collect();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Document>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mirror for Shelf {
    fn update(&self, held: Option<&[u8; 32]>) -> Option<Document> {
        self.lock().get(held.map_or(0, |digest| usize::from(digest[0]))).cloned()
    }
}

/// What streams have sent.
#[derive(Default)]
pub(in super::super) struct Sent(pub(in super::super) Vec<RelayMessage>);

impl Originate for Sent {
    /// The number of the message, as its tag.
    fn message(&mut self, message: &RelayMessage) -> Tag {
        self.0.push(message.clone());
        [self.0.len() as u8; 16]
    }

    fn data(&mut self, stream: StreamId, bytes: &[u8]) -> Tag {
        self.message(&RelayMessage::Data { stream, data: bytes.to_vec() })
    }
}

fn services(shelf: &Shelf) -> (ServiceRegistry, SharedUserKeys) {
    let keys = SharedUserKeys::default();
    (relay_services(shelf.clone(), &keys, true), keys)
}

/// The answer of a service, or why there is none.
fn ask(services: &ServiceRegistry, service: Service, argument: &[u8]) -> Result<Vec<u8>, EndReason> {
    let env = StreamsEnv { now: NOW, services, waker: &|_| StreamWaker::none() };
    let mut sent = Sent::default();
    let begin = RelayMessage::Begin { stream: StreamId(1), service, body: 0, argument: argument.to_vec() };
    Streams::new(Arc::default()).handle(begin, &[0; 16], &env, &mut sent).unwrap();
    let Some(RelayMessage::End { reason, .. }) = sent.0.last() else { panic!("{:?}", sent.0) };
    if *reason != EndReason::DONE {
        return Err(*reason);
    }
    let RelayMessage::Connected { body, .. } = sent.0[0] else { panic!("{:?}", sent.0) };
    let data = |message: &RelayMessage| match message {
        RelayMessage::Data { data, .. } => data.clone(),
        _ => Vec::new(),
    };
    let answer = sent.0.iter().map(data).collect::<Vec<_>>().concat();
    assert_eq!(answer.len() as u64, body, "as announced");
    Ok(answer)
}

fn worked(day: u32, record: &[u8]) -> Vec<u8> {
    let nonce = Publication::work(day, record).search(PUBLISH_EFFORT, 0, u64::MAX).unwrap();
    Publication { nonce, day, record }.encode()
}

#[test]
fn the_directory_answers_by_what_the_client_holds() {
    let (services, _) = services(&Shelf::with(&[b"all of it", b"a little"]));
    let ask = |argument: &[u8]| ask(&services, Service::DIRECTORY, argument);
    assert_eq!(ask(b"").unwrap(), b"all of it");
    assert_eq!(ask(&[1; 32]).unwrap(), b"a little");
    assert_eq!(ask(&[2; 32]), Err(EndReason::NOTDIRECTORY));
    assert_eq!(ask(&[1; 31]), Err(EndReason::TORPROTOCOL));
    let bare = relay_services(NoMirror, &SharedUserKeys::default(), false);
    assert_eq!(super::tests::ask(&bare, Service::DIRECTORY, b""), Err(EndReason::NOTDIRECTORY));
}

#[test]
fn documents_are_shared_and_bounded() {
    let shelf = Shelf::with(&[b"first"]);
    let service = DirectoryService::new(shelf.clone());
    let request = || {
        let request = crate::stream::exchange::tests::request(NOW, b"", b"");
        service.answer(request).unwrap()
    };
    request();
    let first = Arc::downgrade(&shelf.lock()[0]);
    for _ in 0..1000 {
        request();
    }
    let strong = || first.strong_count();
    assert_eq!(strong(), 2, "the shelf's own, and one for all readers");
    // Newer ones come; this one stays for its readers for a while, but not for ever.
    let mut lives = Vec::new();
    for n in 0..10_u8 {
        shelf.fill([vec![n; 4 << 20]]);
        request();
        lives.push(strong() == 1);
    }
    assert_eq!(lives.iter().filter(|lives| **lives).count(), 7);
    assert!(!lives[9] && service.kept().bytes <= KEPT_MEMORY);
    // One that is larger than all that may be kept is sent all the same.
    shelf.fill([vec![0; KEPT_MEMORY + 1]]);
    let crate::stream::exchange::Reply::Now(body) = request() else { panic!() };
    assert_eq!(body.len(), Some(KEPT_MEMORY as u64 + 1));
    assert_eq!(service.kept().documents.len(), 1);
}

#[test]
fn the_time_is_the_relays() {
    let (services, _) = services(&Shelf::with(&[]));
    assert_eq!(read_time(&ask(&services, Service::TIME, b"").unwrap()), Ok(NOW.unix));
    assert_eq!(ask(&services, Service::TIME, b"x"), Err(EndReason::TORPROTOCOL));
}

#[test]
fn what_was_published_is_found_and_all_answers_look_alike() {
    let (services, _) = services(&Shelf::with(&[]));
    let record = [5; MAX_RECORD_LEN];
    let user = UserId::of(&record);
    let find = |user: &UserId| ask(&services, Service::FIND_KEY, &user.0).unwrap();
    let before = find(&user);
    assert_eq!(read_key_answer(&user, &before), Ok(None));
    let stored = ask(&services, Service::PUBLISH_KEY, &worked(day(NOW.unix), &record)).unwrap();
    assert_eq!(PublishAnswer::decode(&stored), Ok(PublishAnswer::Stored));
    let after = find(&user);
    assert_eq!(read_key_answer(&user, &after), Ok(Some(&record[..])));
    assert_eq!((before.len(), after.len()), (KEY_ANSWER_LEN, KEY_ANSWER_LEN));
    for argument in [&b""[..], &[0; 31], &[0; 33]] {
        assert_eq!(ask(&services, Service::FIND_KEY, argument), Err(EndReason::TORPROTOCOL));
    }
}

#[test]
fn a_publication_has_to_be_worked_for_today() {
    let (services, keys) = services(&Shelf::with(&[]));
    let today = day(NOW.unix);
    let publish = |argument: &[u8]| {
        let answer = ask(&services, Service::PUBLISH_KEY, argument)?;
        Ok::<_, EndReason>(PublishAnswer::decode(&answer).unwrap())
    };
    for ok in [today - 1, today, today + 1] {
        assert_eq!(publish(&worked(ok, b"record")), Ok(PublishAnswer::Stored));
    }
    for off in [0, today - 2, today + 2, u32::MAX] {
        assert_eq!(publish(&worked(off, b"record")), Ok(PublishAnswer::NoWork), "day {off}");
    }
    let mut idle = worked(today, b"record");
    idle[0] ^= 1;
    assert_eq!(publish(&idle), Ok(PublishAnswer::NoWork));
    for bad in [&b""[..], &[0; 12], &[0; 12 + MAX_RECORD_LEN + 1]] {
        assert_eq!(publish(bad), Err(EndReason::TORPROTOCOL));
    }
    assert_eq!(keys.lock().len(), 1);
}

#[test]
fn a_full_store_says_so() {
    let mut keys = UserKeys::new();
    for n in 0..crate::relay::user_keys::MAX_USER_KEYS as u32 {
        keys.publish(NOW.unix, &n.to_be_bytes()).unwrap();
    }
    let services = relay_services(NoMirror, &SharedUserKeys::new(keys), false);
    let publish = |record: &[u8]| {
        let answer = ask(&services, Service::PUBLISH_KEY, &worked(day(NOW.unix), record)).unwrap();
        PublishAnswer::decode(&answer).unwrap()
    };
    assert_eq!(publish(b"a new one"), PublishAnswer::Full);
    assert_eq!(publish(&7_u32.to_be_bytes()), PublishAnswer::Stored);
}

#[test]
fn bytes_for_measurements_come_only_where_the_operator_says_so() {
    let (on, _) = services(&Shelf::with(&[]));
    let off = relay_services(NoMirror, &SharedUserKeys::default(), false);
    let ask =
        |services: &ServiceRegistry, len: u64| super::tests::ask(services, Service::SOURCE, &source_argument(len));
    assert_eq!(ask(&on, 1000).unwrap().len(), 1000);
    assert_eq!(ask(&on, MAX_SOURCE_LEN + 1), Err(EndReason::TORPROTOCOL));
    assert_eq!(super::tests::ask(&on, Service::SOURCE, &[0; 7]), Err(EndReason::TORPROTOCOL));
    assert_eq!(ask(&off, 5), Err(EndReason::CONNECTREFUSED));
    assert_eq!(super::tests::ask(&off, Service::SOURCE, &[0; 7]), Err(EndReason::CONNECTREFUSED));
}
