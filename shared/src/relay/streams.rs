//! The streams of a circuit at its last hop, and the services at their far end.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::cell::message::{EndReason, MAX_DATA_LEN, RelayMessage, Service, StreamId};
use crate::crypto::cgo::Tag;
use crate::flow::{Ended, Flow, FlowError};

/// The most that a [`Service::Source`] sends on one stream, in bytes.
pub const MAX_SOURCE_LEN: u64 = 1 << 40;

/// Which services a relay has, beside those that every relay has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// [`Service::Source`].
    pub source: bool,
}

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
    /// What each source still has to send: its whole length and how much it has sent.
    sources: BTreeMap<StreamId, Source>,
}

#[derive(Debug)]
struct Source {
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
        message: RelayMessage,
        tag: &Tag,
        services: Services,
        send: &mut impl FnMut(&RelayMessage) -> Tag,
    ) -> Result<(), StreamError> {
        match message {
            RelayMessage::Begin { stream, service, argument } => {
                self.flow.accept(stream)?;
                match Service::from_u8(service) {
                    Some(Service::Source) if services.source => match argument.try_into().map(u64::from_be_bytes) {
                        Ok(len) if len <= MAX_SOURCE_LEN => {
                            send(&RelayMessage::Connected(stream));
                            self.sources.insert(stream, Source { sent: 0, len });
                            self.pump(send);
                        }
                        _ => self.end(stream, EndReason::BadRequest, send),
                    },
                    _ => self.end(stream, EndReason::Refused, send),
                }
                Ok(())
            }
            RelayMessage::Data { stream, .. } => {
                let arrived = self.flow.received(stream, tag)?;
                if let Some(tag) = arrived.sendme {
                    send(&RelayMessage::Sendme { stream: StreamId::CIRCUIT, tag });
                }
                // A source listens to nothing. What was on its way when it ended is forgiven.
                if arrived.wanted { Err(StreamError::Unexpected) } else { Ok(()) }
            }
            RelayMessage::Sendme { stream, tag } => {
                self.flow.acknowledged(stream, &tag)?;
                self.pump(send);
                Ok(())
            }
            RelayMessage::End { stream, .. } => {
                self.sources.remove(&stream);
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

    /// Sends what the windows allow, a message of each source in turn.
    fn pump(&mut self, send: &mut impl FnMut(&RelayMessage) -> Tag) {
        loop {
            let mut progress = false;
            let mut done = Vec::new();
            for (stream, source) in &mut self.sources {
                if source.sent < source.len {
                    if self.flow.may_send(*stream) == 0 {
                        continue;
                    }
                    let data = source.next();
                    let tag = send(&RelayMessage::Data { stream: *stream, data });
                    self.flow.sent(*stream, &tag);
                    progress = true;
                }
                if source.sent == source.len {
                    done.push(*stream);
                }
            }
            for stream in done {
                self.sources.remove(&stream);
                self.end(stream, EndReason::Done, send);
            }
            if !progress {
                return;
            }
        }
    }
}

impl Source {
    /// The next piece: where it stands in the whole, in 8 bytes as far as there is room for them, then zeros.
    fn next(&mut self) -> Vec<u8> {
        let len = usize::try_from(self.len - self.sent).unwrap_or(usize::MAX).min(MAX_DATA_LEN);
        let mut data = vec![0; len];
        for (byte, at) in data.iter_mut().zip(self.sent.to_be_bytes()) {
            *byte = at;
        }
        self.sent += len as u64;
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{STREAM_INCREMENT, STREAM_WINDOW};

    const ON: Services = Services { source: true };

    fn begin(stream: u16, len: u64) -> RelayMessage {
        let argument = len.to_be_bytes().to_vec();
        RelayMessage::Begin { stream: StreamId(stream), service: Service::Source as u8, argument }
    }

    fn said(
        streams: &mut Streams,
        message: RelayMessage,
        services: Services,
    ) -> (Vec<RelayMessage>, Result<(), StreamError>) {
        let mut sent = Vec::new();
        let outcome = streams.handle(message, &[0; 16], services, &mut |message| {
            sent.push(message.clone());
            [sent.len() as u8; 16]
        });
        (sent, outcome)
    }

    #[test]
    fn a_source_sends_what_was_asked_and_ends() {
        let mut streams = Streams::default();
        let (sent, outcome) = said(&mut streams, begin(1, 1000), ON);
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
        let (sent, outcome) = said(&mut streams, RelayMessage::End { stream: StreamId(1), reason: 6 }, ON);
        assert_eq!((sent, outcome), (vec![], Ok(())));
        assert!(streams.is_empty());
    }

    #[test]
    fn a_source_stops_at_its_window_and_goes_on_after_a_sendme() {
        let mut streams = Streams::default();
        let (sent, _) = said(&mut streams, begin(1, MAX_SOURCE_LEN), ON);
        assert_eq!(sent.len(), 1 + usize::from(STREAM_WINDOW));
        let wrong = RelayMessage::Sendme { stream: StreamId(1), tag: [0; 16] };
        let right = RelayMessage::Sendme { stream: StreamId(1), tag: [51; 16] };
        let (sent, outcome) = said(&mut streams, right, ON);
        assert_eq!((sent.len(), outcome), (usize::from(STREAM_INCREMENT), Ok(())));
        assert_eq!(said(&mut streams, wrong, ON).1, Err(StreamError::Flow(FlowError::WrongTag)));
    }

    #[test]
    fn what_a_relay_does_not_do_is_refused() {
        let mut streams = Streams::default();
        let ended = |sent: &[RelayMessage], by: EndReason| matches!(sent, [RelayMessage::End { reason, .. }] if *reason == by as u8);
        let (sent, outcome) = said(&mut streams, begin(1, 5), Services::default());
        assert!(outcome.is_ok() && ended(&sent, EndReason::Refused));
        let unknown = RelayMessage::Begin { stream: StreamId(2), service: 200, argument: vec![] };
        let (sent, outcome) = said(&mut streams, unknown, ON);
        assert!(outcome.is_ok() && ended(&sent, EndReason::Refused));
        let (sent, outcome) = said(&mut streams, begin(3, u64::MAX), ON);
        assert!(outcome.is_ok() && ended(&sent, EndReason::BadRequest));
    }

    #[test]
    fn a_client_that_breaks_the_rules_is_found_out() {
        let mut streams = Streams::default();
        let _ = said(&mut streams, begin(1, MAX_SOURCE_LEN), ON);
        let mut fails = |message| said(&mut streams, message, ON).1.unwrap_err();
        let data = RelayMessage::Data { stream: StreamId(1), data: vec![1] };
        assert_eq!(fails(data), StreamError::Unexpected);
        let nowhere = RelayMessage::Data { stream: StreamId(9), data: vec![1] };
        assert_eq!(fails(nowhere), StreamError::Flow(FlowError::NoSuchStream(StreamId(9))));
        assert_eq!(fails(begin(1, 1)), StreamError::Flow(FlowError::StreamTaken(StreamId(1))));
        assert_eq!(fails(RelayMessage::Connected(StreamId(1))), StreamError::Unexpected);
    }
}
