//! The streams of one circuit at its last hop, with the services of a relay and some that only tests have.

use std::sync::Mutex;

use super::super::services::tests::{NOW, Sent, Shelf};
use super::super::services::{SharedUserKeys, relay_services};
use super::*;
use crate::flow::{CIRCUIT_INCREMENT, STREAM_INCREMENT, STREAM_WINDOW};
use crate::services::byte_source::MAX_SOURCE_LEN;
use crate::stream::MAX_BUFFERED;
use crate::stream::body::Body;
use crate::stream::completion::Promise;
use crate::stream::exchange::{Reply, Request, RequestService};

fn services(shelf: &Shelf, source: bool) -> ServiceRegistry {
    relay_services(shelf.clone(), &SharedUserKeys::default(), source)
}

fn on() -> ServiceRegistry {
    services(&Shelf::with(&[]), true)
}

fn streams() -> Streams {
    Streams::new(Arc::default())
}

fn begin(stream: u16, len: u64) -> RelayMessage {
    ask(stream, Service::SOURCE, &len.to_be_bytes())
}

fn ask(stream: u16, service: Service, argument: &[u8]) -> RelayMessage {
    upload(stream, service, 0, argument)
}

fn upload(stream: u16, service: Service, body: u64, argument: &[u8]) -> RelayMessage {
    RelayMessage::Begin { stream: StreamId(stream), service, body, argument: argument.to_vec() }
}

fn bytes(stream: u16, data: &[u8]) -> RelayMessage {
    RelayMessage::Data { stream: StreamId(stream), data: data.to_vec() }
}

fn end(stream: u16, reason: EndReason) -> RelayMessage {
    RelayMessage::End { stream: StreamId(stream), reason }
}

fn env(services: &ServiceRegistry) -> StreamsEnv<'_> {
    StreamsEnv { now: NOW, services, waker: &|_| StreamWaker::none() }
}

fn said(
    streams: &mut Streams,
    message: RelayMessage,
    services: &ServiceRegistry,
) -> (Vec<RelayMessage>, Result<(), StreamError>) {
    let mut sent = Sent::default();
    let outcome = streams.handle(message, &[0; 16], &env(services), &mut sent);
    (sent.0, outcome)
}

/// The bytes of a stream's `Data` among what was sent.
fn data(sent: &[RelayMessage]) -> Vec<u8> {
    let pieces = sent.iter().map(|message| match message {
        RelayMessage::Data { data, .. } => &data[..],
        _ => &[],
    });
    pieces.collect::<Vec<_>>().concat()
}

#[test]
fn a_source_sends_what_was_asked_and_ends() {
    let mut streams = streams();
    let (sent, outcome) = said(&mut streams, begin(1, 1000), &on());
    outcome.unwrap();
    let [
        RelayMessage::Connected { body: 1000, .. },
        RelayMessage::Data { data: a, .. },
        RelayMessage::Data { data: b, .. },
        RelayMessage::Data { data: c, .. },
        RelayMessage::End { reason, .. },
    ] = &sent[..]
    else {
        panic!("{sent:?}")
    };
    assert_eq!((a.len(), b.len(), c.len()), (488, 488, 24));
    assert_eq!(b[..8], 488_u64.to_be_bytes());
    assert_eq!(*reason, EndReason::DONE);
    assert_eq!(streams.len(), 1);
    let (sent, outcome) = said(&mut streams, end(1, EndReason::DONE), &on());
    assert_eq!((sent, outcome), (vec![], Ok(())));
    assert!(streams.is_empty());
}

#[test]
fn a_source_stops_at_its_window_and_goes_on_after_a_sendme() {
    let mut streams = streams();
    let (sent, _) = said(&mut streams, begin(1, MAX_SOURCE_LEN), &on());
    assert_eq!(sent.len(), 1 + usize::from(STREAM_WINDOW));
    let wrong = RelayMessage::Sendme { stream: StreamId(1), tag: [0; 16] };
    let right = RelayMessage::Sendme { stream: StreamId(1), tag: [51; 16] };
    let (sent, outcome) = said(&mut streams, right, &on());
    assert_eq!((sent.len(), outcome), (usize::from(STREAM_INCREMENT), Ok(())));
    assert_eq!(said(&mut streams, wrong, &on()).1, Err(StreamError::Flow(FlowError::WrongTag)));
}

#[test]
fn streams_take_turns_when_the_circuits_window_opens() {
    let mut streams = streams();
    for stream in 1..=3 {
        let _ = said(&mut streams, begin(stream, MAX_SOURCE_LEN), &on());
    }
    // The first two have taken the circuit's window; the third has sent nothing.
    for stream in 1..=2 {
        let tag = [51; 16];
        assert!(said(&mut streams, RelayMessage::Sendme { stream: StreamId(stream), tag }, &on()).0.is_empty());
    }
    let opened = RelayMessage::Sendme { stream: StreamId::CIRCUIT, tag: [101; 16] };
    let (sent, _) = said(&mut streams, opened, &on());
    let of = |stream: u16| {
        let is_of =
            |message: &&RelayMessage| matches!(message, RelayMessage::Data { stream: on, .. } if on.0 == stream);
        sent.iter().filter(is_of).count()
    };
    assert_eq!(of(1) + of(2) + of(3), usize::from(CIRCUIT_INCREMENT));
    assert_eq!((of(1), of(2), of(3)), (34, 33, 33));
}

#[test]
fn what_a_relay_does_not_do_is_refused() {
    let mut streams = streams();
    let ended =
        |sent: &[RelayMessage], by: EndReason| matches!(sent, [RelayMessage::End { reason, .. }] if *reason == by);
    let (sent, outcome) = said(&mut streams, begin(1, 5), &services(&Shelf::with(&[]), false));
    assert!(outcome.is_ok() && ended(&sent, EndReason::CONNECTREFUSED));
    let (sent, outcome) = said(&mut streams, ask(2, Service(200), b""), &on());
    assert!(outcome.is_ok() && ended(&sent, EndReason::CONNECTREFUSED));
    let (sent, outcome) = said(&mut streams, begin(3, u64::MAX), &on());
    assert!(outcome.is_ok() && ended(&sent, EndReason::TORPROTOCOL));
}

#[test]
fn a_document_comes_whole_as_its_windows_open() {
    let document: Vec<u8> = (0..600_000_u32).map(|n| (n / 7) as u8).collect();
    let services = services(&Shelf::with(&[&document]), false);
    let mut streams = streams();
    // Tags count on over all calls.
    struct Counted(Vec<RelayMessage>);
    impl Originate for Counted {
        fn message(&mut self, message: &RelayMessage) -> Tag {
            self.0.push(message.clone());
            tag_of(self.0.len() as u64 - 1)
        }
        fn data(&mut self, stream: StreamId, bytes: &[u8]) -> Tag {
            self.message(&RelayMessage::Data { stream, data: bytes.to_vec() })
        }
    }
    let mut sent = Counted(Vec::new());
    streams.handle(ask(1, Service::DIRECTORY, b""), &[0; 16], &env(&services), &mut sent).unwrap();
    assert_eq!(sent.0[0], RelayMessage::Connected { stream: StreamId(1), body: 600_000 });
    let mut acknowledged = u64::from(STREAM_INCREMENT);
    let mut circuit = u64::from(CIRCUIT_INCREMENT);
    while !matches!(sent.0.last(), Some(RelayMessage::End { .. })) {
        let mut acknowledge = |stream: StreamId, tag: u64| {
            let message = RelayMessage::Sendme { stream, tag: tag_of(tag) };
            streams.handle(message, &[0; 16], &env(&services), &mut sent).unwrap();
        };
        if circuit <= acknowledged {
            acknowledge(StreamId::CIRCUIT, circuit);
            circuit += u64::from(CIRCUIT_INCREMENT);
        }
        acknowledge(StreamId(1), acknowledged);
        acknowledged += u64::from(STREAM_INCREMENT);
    }
    assert_eq!(data(&sent.0), document);
    assert_eq!(sent.0.last(), Some(&end(1, EndReason::DONE)));
}

/// The tag of the nth message.
fn tag_of(n: u64) -> Tag {
    [(n + 1) as u8; 16]
}

#[test]
fn a_reader_whose_document_nobody_keeps_any_more_is_told() {
    let shelf = Shelf::with(&[&[7; 300_000]]);
    let services = services(&shelf, false);
    let mut slow = streams();
    let (sent, _) = said(&mut slow, ask(1, Service::DIRECTORY, b""), &services);
    assert_eq!(sent.len(), 1 + usize::from(STREAM_WINDOW));
    for n in 0..9_u8 {
        shelf.fill([vec![n; 4 << 20]]);
        let (sent, _) = said(&mut streams(), ask(1, Service::DIRECTORY, b""), &services);
        assert_eq!(sent.len(), 1 + usize::from(STREAM_WINDOW));
    }
    let (sent, outcome) = said(&mut slow, RelayMessage::Sendme { stream: StreamId(1), tag: [51; 16] }, &services);
    assert_eq!(outcome, Ok(()));
    assert_eq!(sent, [end(1, EndReason::RESOURCELIMIT)]);
    assert!(slow.served.is_empty());
}

#[test]
fn small_answers_are_one_message_and_refusals_none() {
    let services = on();
    let mut streams = streams();
    let (sent, _) = said(&mut streams, ask(1, Service::TIME, b""), &services);
    assert_eq!(data(&sent), NOW.unix.as_millis().to_be_bytes());
    assert_eq!(sent.len(), 3);
    let (sent, _) = said(&mut streams, ask(2, Service::FIND_KEY, &[1; 32]), &services);
    assert_eq!((data(&sent).len(), sent.len()), (259, 3));
    for (stream, service, argument, reason) in [
        (3, Service::TIME, &b"x"[..], EndReason::TORPROTOCOL),
        (4, Service::FIND_KEY, b"", EndReason::TORPROTOCOL),
        (5, Service::PUBLISH_KEY, b"", EndReason::TORPROTOCOL),
        (6, Service::DIRECTORY, b"", EndReason::NOTDIRECTORY),
    ] {
        let (sent, outcome) = said(&mut streams, ask(stream, service, argument), &services);
        assert_eq!((sent, outcome), (vec![end(stream, reason)], Ok(())));
    }
    assert_eq!(streams.held(), 0);
}

#[test]
fn a_client_that_breaks_the_rules_is_found_out() {
    let mut streams = streams();
    let _ = said(&mut streams, begin(1, MAX_SOURCE_LEN), &on());
    let mut fails = |message| said(&mut streams, message, &on()).1.unwrap_err();
    assert_eq!(fails(bytes(9, &[1])), StreamError::Flow(FlowError::NoSuchStream(StreamId(9))));
    assert_eq!(fails(begin(1, 1)), StreamError::Flow(FlowError::StreamTaken(StreamId(1))));
    assert_eq!(fails(RelayMessage::Connected { stream: StreamId(1), body: 0 }), StreamError::Unexpected);
}

/// Where it can't be one of a relay's.
const TESTED: Service = Service(250);

/// Answers a body of up to 100,000 bytes with its length: at once, or when the test says so.
#[derive(Clone, Debug, Default)]
struct Count {
    promises: Option<Promises>,
}

/// The lengths of bodies, and the promises to tell them.
type Promises = Arc<Mutex<Vec<(u64, Promise)>>>;

impl RequestService for Count {
    fn max_body(&self) -> usize {
        100_000
    }

    fn answer(&self, request: Request) -> Result<Reply, EndReason> {
        let len = request.body.len() as u64;
        let Some(promises) = &self.promises else { return Ok(len.to_be_bytes().to_vec().into()) };
        let (promise, reply) = request.later();
        promises.lock().unwrap().push((len, promise));
        Ok(reply)
    }
}

/// Sends a body on stream 1, in full messages.
fn send(streams: &mut Streams, services: &ServiceRegistry, mut len: usize) -> Vec<RelayMessage> {
    let mut all = Vec::new();
    while len > 0 {
        let piece = len.min(488);
        len -= piece;
        let (sent, outcome) = said(streams, bytes(1, &vec![3; piece]), services);
        outcome.unwrap();
        all.extend(sent);
    }
    all
}

#[test]
fn a_body_arrives_whole_before_the_answer_goes_back() {
    let services = ServiceRegistry::new().with_requests(TESTED, Count::default());
    let mut streams = streams();
    assert_eq!(said(&mut streams, upload(1, TESTED, 100_000, b""), &services), (vec![], Ok(())));
    let sent = send(&mut streams, &services, 99_000);
    let sendmes = sent.iter().filter(|message| matches!(message, RelayMessage::Sendme { .. })).count();
    assert_eq!((sendmes, sent.len()), (4 + 2, 6), "203 messages: four windows of the stream, two of the circuit");
    assert!((99_000..MAX_BUFFERED).contains(&streams.held()));
    let sent = send(&mut streams, &services, 1000);
    assert_eq!(data(&sent), 100_000_u64.to_be_bytes());
    assert_eq!((sent.last(), streams.held()), (Some(&end(1, EndReason::DONE)), 0));
}

#[test]
fn a_body_that_is_longer_than_announced_ends_only_its_stream() {
    let services = ServiceRegistry::new().with_requests(TESTED, Count::default());
    let mut streams = streams();
    let _ = said(&mut streams, upload(2, TESTED, 2, b""), &services);
    let _ = said(&mut streams, upload(1, TESTED, 1000, b""), &services);
    let sent = send(&mut streams, &services, 1001);
    assert_eq!(sent, [end(1, EndReason::TORPROTOCOL)]);
    // What was on its way is forgiven, and the other stream goes on.
    assert_eq!(said(&mut streams, bytes(1, &[1]), &services), (vec![], Ok(())));
    assert_eq!(data(&said(&mut streams, bytes(2, &[1, 2]), &services).0), 2_u64.to_be_bytes());
    // Nothing is announced that the service would not take.
    for announced in [100_001, crate::stream::OPEN_ENDED] {
        let (sent, _) = said(&mut streams, upload(3, TESTED, announced, b""), &services);
        assert_eq!(sent, [end(3, EndReason::TORPROTOCOL)]);
        let _ = said(&mut streams, end(3, EndReason::DONE), &services);
    }
}

#[test]
fn an_answer_may_come_later() {
    let count = Count { promises: Some(Arc::default()) };
    let services = ServiceRegistry::new().with_requests(TESTED, count.clone());
    let mut streams = streams();
    let _ = said(&mut streams, upload(1, TESTED, 5, b""), &services);
    assert!(send(&mut streams, &services, 5).is_empty());
    assert!(streams.held() > 0, "the request counts while the service works on it");
    let (len, promise) = count.promises.as_ref().unwrap().lock().unwrap().pop().unwrap();
    let wake = |streams: &mut Streams| {
        let mut sent = Sent::default();
        streams.wake(StreamId(1), &env(&services), &mut sent);
        sent.0
    };
    assert!(wake(&mut streams).is_empty(), "woken for nothing");
    promise.complete(Ok(Body::Bytes(vec![len as u8])));
    assert_eq!(data(&wake(&mut streams)), [5]);
    assert!(wake(&mut streams).is_empty(), "the stream is over");
}

#[test]
fn a_service_that_never_answers_is_given_up() {
    let count = Count { promises: Some(Arc::default()) };
    let services = ServiceRegistry::new().with_requests(TESTED, count);
    let mut streams = streams();
    for stream in 1..=2 {
        let _ = said(&mut streams, upload(stream, TESTED, 5, b""), &services);
    }
    let _ = send(&mut streams, &services, 5);
    assert_eq!(streams.poll_timeout(), Some(NOW.instant + PROGRESS_TIME));
    let mut sent = Sent::default();
    let late = Now { instant: NOW.instant + PROGRESS_TIME, ..NOW };
    streams.handle_timeout(&StreamsEnv { now: late, ..env(&services) }, &mut sent);
    // The second client has not sent its body.
    assert_eq!(sent.0, [end(1, EndReason::TIMEOUT), end(2, EndReason::TIMEOUT)]);
    assert_eq!((streams.poll_timeout(), streams.held()), (None, 0));
}

/// Takes whatever comes and says nothing, or buffers more than it may.
#[derive(Debug)]
struct Hoard;

impl crate::stream::service::StreamService for Hoard {
    fn open(&self, _: Opening) -> Result<Box<dyn StreamHandler>, EndReason> {
        Ok(Box::new(Hoarder(0)))
    }
}

struct Hoarder(usize);

impl StreamHandler for Hoarder {
    fn opened(&mut self, _: &mut crate::stream::StreamContext<'_>) -> Result<(), EndReason> {
        Ok(())
    }

    fn data(&mut self, _: &mut crate::stream::StreamContext<'_>, bytes: &[u8]) -> Result<usize, EndReason> {
        self.0 += 1000 * bytes.len();
        Ok(bytes.len())
    }

    fn writable(
        &mut self,
        _: &mut crate::stream::StreamContext<'_>,
        _: &mut [u8],
    ) -> Result<crate::stream::Produced, EndReason> {
        Ok(crate::stream::Produced::Pending)
    }

    fn ended(&mut self, _: crate::stream::StreamEnd) {}

    fn buffered(&self) -> usize {
        self.0
    }
}

#[test]
fn a_handler_that_buffers_too_much_loses_its_stream() {
    let services = ServiceRegistry::new().with_streams(TESTED, Hoard);
    let mut streams = streams();
    let _ = said(&mut streams, upload(1, TESTED, crate::stream::OPEN_ENDED, b""), &services);
    assert!(send(&mut streams, &services, 488).is_empty());
    assert_eq!(streams.held(), 488_000);
    assert_eq!(send(&mut streams, &services, 488), [end(1, EndReason::RESOURCELIMIT)]);
    assert_eq!(streams.held(), 0);
}

#[test]
fn memory_of_streams_is_given_back_with_their_circuit() {
    let total = Arc::new(AtomicUsize::new(7));
    let services = ServiceRegistry::new().with_requests(TESTED, Count::default());
    let mut streams = Streams::new(Arc::clone(&total));
    let _ = said(&mut streams, upload(1, TESTED, 5000, b""), &services);
    let _ = send(&mut streams, &services, 4880);
    assert_eq!(total.load(Ordering::Relaxed), 7 + streams.held());
    drop(streams);
    assert_eq!(total.load(Ordering::Relaxed), 7);
}
