//! The streams of a circuit at its last hop.

use std::collections::BTreeMap;

use thiserror::Error;

use super::services::{Answer, Services};
use crate::cell::message::{EndReason, MAX_DATA_LEN, RelayMessage, Service, StreamId};
use crate::crypto::cgo::Tag;
use crate::flow::{Ended, Flow, FlowError};
use crate::time::Now;

/// What a client did wrong with streams; ends the circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StreamError {
    /// More than a window allows, a false acknowledgement, or a stream that does not fit.
    #[error(transparent)]
    Flow(#[from] FlowError),
    /// A message that clients do not send on streams.
    #[error("the client sent a message on a stream that only relays send, or that the stream does not take")]
    Unexpected,
}

/// The streams of one circuit.
#[derive(Debug, Default)]
pub struct Streams {
    flow: Flow,
    /// What each stream still has to send.
    answers: BTreeMap<StreamId, Sending>,
}

/// An answer on its way.
#[derive(Debug)]
struct Sending {
    answer: Answer,
    sent: u64,
    len: u64,
}

impl Streams {
    /// How many streams there are.
    pub fn len(&self) -> usize {
        self.flow.streams()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes what the client says on a stream, or of its windows; `tag` is its cell's. `send` originates a message and
    /// gives the tag of its cell.
    ///
    /// # Errors
    ///
    /// If the client may not say it; the circuit ends.
    pub fn handle(
        &mut self,
        now: Now,
        message: RelayMessage,
        tag: &Tag,
        services: &dyn Services,
        send: &mut impl FnMut(&RelayMessage) -> Tag,
    ) -> Result<(), StreamError> {
        match message {
            RelayMessage::Begin { stream, service, argument } => {
                self.flow.accept(stream)?;
                let service = Service::from_u8(service).ok_or(EndReason::Refused);
                let answer = service.and_then(|service| services.answer(now, service, &argument));
                match answer.and_then(Sending::new) {
                    Ok(sending) => {
                        send(&RelayMessage::Connected(stream));
                        self.answers.insert(stream, sending);
                        self.pump(send);
                    }
                    Err(reason) => self.end(stream, reason, send),
                }
                Ok(())
            }
            RelayMessage::Data { stream, .. } => {
                let arrived = self.flow.received(stream, tag)?;
                if let Some(tag) = arrived.sendme {
                    send(&RelayMessage::Sendme { stream: StreamId::CIRCUIT, tag });
                }
                // The request was all that a service listens to. What was on its way when it ended is forgiven.
                if arrived.wanted { Err(StreamError::Unexpected) } else { Ok(()) }
            }
            RelayMessage::Sendme { stream, tag } => {
                self.flow.acknowledged(stream, &tag)?;
                self.pump(send);
                Ok(())
            }
            RelayMessage::End { stream, .. } => {
                self.answers.remove(&stream);
                if self.flow.ended(stream)? == Ended::ByPeer {
                    send(&RelayMessage::End { stream, reason: EndReason::Done as u8 });
                }
                Ok(())
            }
            _ => Err(StreamError::Unexpected),
        }
    }

    fn end(&mut self, stream: StreamId, reason: EndReason, send: &mut impl FnMut(&RelayMessage) -> Tag) {
        if self.flow.end(stream) {
            send(&RelayMessage::End { stream, reason: reason as u8 });
        }
    }

    /// Sends what the windows allow, a message of each answer in turn.
    fn pump(&mut self, send: &mut impl FnMut(&RelayMessage) -> Tag) {
        loop {
            let mut progress = false;
            let mut over = Vec::new();
            for (stream, sending) in &mut self.answers {
                if sending.sent < sending.len {
                    if self.flow.may_send(*stream) == 0 {
                        continue;
                    }
                    let Some(data) = sending.next() else {
                        over.push((*stream, EndReason::ResourceLimit));
                        continue;
                    };
                    let tag = send(&RelayMessage::Data { stream: *stream, data });
                    self.flow.sent(*stream, &tag);
                    progress = true;
                }
                if sending.sent == sending.len {
                    over.push((*stream, EndReason::Done));
                }
            }
            for (stream, reason) in over {
                self.answers.remove(&stream);
                self.end(stream, reason, send);
            }
            if !progress {
                return;
            }
        }
    }
}

impl Sending {
    fn new(answer: Answer) -> Result<Self, EndReason> {
        let len = match &answer {
            Answer::Bytes(bytes) => bytes.len() as u64,
            Answer::Document(document) => {
                let document = document.upgrade().ok_or(EndReason::ResourceLimit)?;
                (*document).as_ref().len() as u64
            }
            Answer::Filler(len) => *len,
        };
        Ok(Self { answer, sent: 0, len })
    }

    /// The next piece; nothing when the document is gone.
    fn next(&mut self) -> Option<Vec<u8>> {
        let len = usize::try_from(self.len - self.sent).unwrap_or(usize::MAX).min(MAX_DATA_LEN);
        // Bytes in memory are fewer than usize counts.
        let at = self.sent as usize;
        let piece = |bytes: &[u8]| Some(bytes.get(at..)?.get(..len)?.to_vec());
        let data = match &self.answer {
            Answer::Bytes(bytes) => piece(bytes)?,
            Answer::Document(document) => piece((*document.upgrade()?).as_ref())?,
            Answer::Filler(_) => {
                // Where it stands in the whole, in 8 bytes as far as there is room for them, then zeros.
                let mut data = vec![0; len];
                data.iter_mut().zip(self.sent.to_be_bytes()).for_each(|(byte, at)| *byte = at);
                data
            }
        };
        self.sent += len as u64;
        Some(data)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::PoisonError;

    use super::super::services::tests::{NOW, Shelf};
    use super::super::services::{MAX_SOURCE_LEN, RelayServices};
    use super::super::user_keys::UserKeys;
    use super::*;
    use crate::flow::{STREAM_INCREMENT, STREAM_WINDOW};

    fn services(shelf: &Shelf, source: bool) -> RelayServices {
        RelayServices::new(Box::new(shelf.clone()), UserKeys::new(), source)
    }

    fn on() -> RelayServices {
        services(&Shelf::with(&[]), true)
    }

    fn begin(stream: u16, len: u64) -> RelayMessage {
        let argument = len.to_be_bytes().to_vec();
        RelayMessage::Begin { stream: StreamId(stream), service: Service::Source as u8, argument }
    }

    fn said(
        streams: &mut Streams,
        message: RelayMessage,
        services: &RelayServices,
    ) -> (Vec<RelayMessage>, Result<(), StreamError>) {
        let mut sent = Vec::new();
        let outcome = streams.handle(NOW, message, &[0; 16], services, &mut |message| {
            sent.push(message.clone());
            [sent.len() as u8; 16]
        });
        (sent, outcome)
    }

    #[test]
    fn a_source_sends_what_was_asked_and_ends() {
        let mut streams = Streams::default();
        let (sent, outcome) = said(&mut streams, begin(1, 1000), &on());
        outcome.unwrap();
        let [
            RelayMessage::Connected(_),
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
        assert_eq!(*reason, EndReason::Done as u8);
        assert_eq!(streams.len(), 1);
        let (sent, outcome) = said(&mut streams, RelayMessage::End { stream: StreamId(1), reason: 6 }, &on());
        assert_eq!((sent, outcome), (vec![], Ok(())));
        assert!(streams.is_empty());
    }

    #[test]
    fn a_source_stops_at_its_window_and_goes_on_after_a_sendme() {
        let mut streams = Streams::default();
        let (sent, _) = said(&mut streams, begin(1, MAX_SOURCE_LEN), &on());
        assert_eq!(sent.len(), 1 + usize::from(STREAM_WINDOW));
        let wrong = RelayMessage::Sendme { stream: StreamId(1), tag: [0; 16] };
        let right = RelayMessage::Sendme { stream: StreamId(1), tag: [51; 16] };
        let (sent, outcome) = said(&mut streams, right, &on());
        assert_eq!((sent.len(), outcome), (usize::from(STREAM_INCREMENT), Ok(())));
        assert_eq!(said(&mut streams, wrong, &on()).1, Err(StreamError::Flow(FlowError::WrongTag)));
    }

    #[test]
    fn what_a_relay_does_not_do_is_refused() {
        let mut streams = Streams::default();
        let ended = |sent: &[RelayMessage], by: EndReason| matches!(sent, [RelayMessage::End { reason, .. }] if *reason == by as u8);
        let (sent, outcome) = said(&mut streams, begin(1, 5), &services(&Shelf::with(&[]), false));
        assert!(outcome.is_ok() && ended(&sent, EndReason::Refused));
        let unknown = RelayMessage::Begin { stream: StreamId(2), service: 200, argument: vec![] };
        let (sent, outcome) = said(&mut streams, unknown, &on());
        assert!(outcome.is_ok() && ended(&sent, EndReason::Refused));
        let (sent, outcome) = said(&mut streams, begin(3, u64::MAX), &on());
        assert!(outcome.is_ok() && ended(&sent, EndReason::BadRequest));
    }

    fn ask(stream: u16, service: Service, argument: &[u8]) -> RelayMessage {
        RelayMessage::Begin { stream: StreamId(stream), service: service as u8, argument: argument.to_vec() }
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
    fn a_document_comes_whole_as_its_windows_open() {
        let document: Vec<u8> = (0..600_000_u32).map(|n| (n / 7) as u8).collect();
        let services = services(&Shelf::with(&[&document]), false);
        let mut streams = Streams::default();
        let (mut sent, _) = said(&mut streams, ask(1, Service::Directory, b""), &services);
        assert_eq!(sent[0], RelayMessage::Connected(StreamId(1)));
        let mut number = sent.len() as u64;
        let mut acknowledged = u64::from(STREAM_INCREMENT);
        let mut circuit = 100;
        while !matches!(sent.last(), Some(RelayMessage::End { .. })) {
            // In `said` tags count the messages of one call; here they count on, as the windows want them.
            let mut acknowledge = |stream: StreamId, tag: u64| {
                let tag = tag_of(tag);
                let mut more = Vec::new();
                let message = RelayMessage::Sendme { stream, tag };
                let outcome = streams.handle(NOW, message, &[0; 16], &services, &mut |message| {
                    more.push(message.clone());
                    number += 1;
                    tag_of(number - 1)
                });
                outcome.unwrap();
                sent.extend(more);
            };
            if circuit <= acknowledged {
                acknowledge(StreamId::CIRCUIT, circuit);
                circuit += 100;
            }
            acknowledge(StreamId(1), acknowledged);
            acknowledged += u64::from(STREAM_INCREMENT);
        }
        assert_eq!(data(&sent), document);
        assert_eq!(sent.last(), Some(&RelayMessage::End { stream: StreamId(1), reason: EndReason::Done as u8 }));
    }

    /// The tag that `said` gives to the nth data message when `Connected` is the first message.
    fn tag_of(n: u64) -> Tag {
        [(n + 1) as u8; 16]
    }

    #[test]
    fn a_reader_for_whom_nobody_keeps_the_document_any_more_is_told() {
        let shelf = Shelf::with(&[&[7; 300_000]]);
        let services = services(&shelf, false);
        let mut streams = Streams::default();
        let (sent, _) = said(&mut streams, ask(1, Service::Directory, b""), &services);
        assert_eq!(sent.len(), 1 + usize::from(STREAM_WINDOW));
        for n in 0..9_u8 {
            *shelf.0.lock().unwrap_or_else(PoisonError::into_inner) = vec![std::sync::Arc::new(vec![n; 4 << 20])];
            let (sent, _) = said(&mut Streams::default(), ask(1, Service::Directory, b""), &services);
            assert_eq!(sent.len(), 1 + usize::from(STREAM_WINDOW));
        }
        let (sent, outcome) =
            said(&mut streams, RelayMessage::Sendme { stream: StreamId(1), tag: [51; 16] }, &services);
        assert_eq!(outcome, Ok(()));
        assert_eq!(sent, [RelayMessage::End { stream: StreamId(1), reason: EndReason::ResourceLimit as u8 }]);
        assert!(streams.answers.is_empty());
    }

    #[test]
    fn small_answers_are_one_message_and_refusals_none() {
        let services = on();
        let mut streams = Streams::default();
        let (sent, _) = said(&mut streams, ask(1, Service::Time, b""), &services);
        assert_eq!(data(&sent), NOW.unix.as_millis().to_be_bytes());
        assert_eq!(sent.len(), 3);
        let (sent, _) = said(&mut streams, ask(2, Service::FindKey, &[1; 32]), &services);
        assert_eq!((data(&sent).len(), sent.len()), (259, 3));
        for (stream, service, argument, reason) in [
            (3, Service::Time, &b"x"[..], EndReason::BadRequest),
            (4, Service::FindKey, b"", EndReason::BadRequest),
            (5, Service::PublishKey, b"", EndReason::BadRequest),
            (6, Service::PublishKey, &[1; 13], EndReason::NoWork),
            (7, Service::Directory, b"", EndReason::NotDirectory),
        ] {
            let (sent, outcome) = said(&mut streams, ask(stream, service, argument), &services);
            let end = RelayMessage::End { stream: StreamId(stream), reason: reason as u8 };
            assert_eq!((sent, outcome), (vec![end], Ok(())));
        }
    }

    #[test]
    fn a_client_that_breaks_the_rules_is_found_out() {
        let mut streams = Streams::default();
        let _ = said(&mut streams, begin(1, MAX_SOURCE_LEN), &on());
        let mut fails = |message| said(&mut streams, message, &on()).1.unwrap_err();
        let data = RelayMessage::Data { stream: StreamId(1), data: vec![1] };
        assert_eq!(fails(data), StreamError::Unexpected);
        let nowhere = RelayMessage::Data { stream: StreamId(9), data: vec![1] };
        assert_eq!(fails(nowhere), StreamError::Flow(FlowError::NoSuchStream(StreamId(9))));
        assert_eq!(fails(begin(1, 1)), StreamError::Flow(FlowError::StreamTaken(StreamId(1))));
        assert_eq!(fails(RelayMessage::Connected(StreamId(1))), StreamError::Unexpected);
    }
}
