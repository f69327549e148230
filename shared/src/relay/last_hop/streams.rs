//! A last hop with streams to the relay's services.

use std::sync::Arc;

use super::{Here, LastHop};
use crate::cell::CircId;
use crate::cell::message::RelayMessage;
use crate::crypto::cgo::{RelayBackward, Tag};
use crate::relay::outlet::{Outlet, originate, originate_cell};
use crate::relay::streams::{Originate, StreamError, Streams, StreamsEnv};
use crate::relay::violation::Outcome;
use crate::stream::StreamId;
use crate::time::{Instant, Now};

/// Whether a message concerns streams, or the window of their circuit.
pub(super) const fn is_for_streams(message: &RelayMessage) -> bool {
    matches!(
        message,
        RelayMessage::Begin { .. } | RelayMessage::Data { .. } | RelayMessage::Sendme { .. } | RelayMessage::End { .. }
    )
}

impl<L: Clone + PartialEq> LastHop<L> {
    /// Handles a message about streams.
    pub(super) fn handle_stream_message(
        &mut self,
        now: Now,
        message: RelayMessage,
        tag: &Tag,
        circ: CircId,
        here: &Here<L>,
        out: &mut impl Outlet<Link = L>,
    ) -> Outcome {
        self.streams.get_or_insert_with(|| Box::new(Streams::new(Arc::clone(&here.held))));
        self.with_streams(now, circ, here, out, |streams, env, port| streams.handle(message, tag, env, port))
    }

    /// A stream's handler has called its waker.
    pub(in crate::relay) fn wake_stream(
        &mut self,
        now: Now,
        circ: CircId,
        stream: StreamId,
        here: &Here<L>,
        out: &mut impl Outlet<Link = L>,
    ) {
        let act = |streams: &mut Streams, env: &StreamsEnv<'_>, port: &mut Port<'_, _>| {
            streams.wake(stream, env, port);
            Ok(())
        };
        self.with_streams(now, circ, here, out, act).unwrap_or_default();
    }

    /// Ends the streams that have made no progress for too long, if `at` is the time for which this circuit was last
    /// scheduled.
    pub(in crate::relay) fn handle_timeout(
        &mut self,
        at: Instant,
        now: Now,
        circ: CircId,
        here: &Here<L>,
        out: &mut impl Outlet<Link = L>,
    ) {
        if self.look_at != Some(at) {
            return;
        }
        self.look_at = None;
        let act = |streams: &mut Streams, env: &StreamsEnv<'_>, port: &mut Port<'_, _>| {
            streams.handle_timeout(env, port);
            Ok(())
        };
        self.with_streams(now, circ, here, out, act).unwrap_or_default();
    }

    /// When [`Self::handle_timeout`] wants to be called, if that is earlier than was said before.
    pub(in crate::relay) fn reschedule(&mut self) -> Option<Instant> {
        let at = self.streams.as_ref()?.poll_timeout()?;
        if self.look_at.is_some_and(|look_at| look_at <= at) {
            return None;
        }
        self.look_at = Some(at);
        Some(at)
    }

    /// Bytes of memory that the streams hold; none where there never were any.
    pub(in crate::relay) fn held(&self) -> Option<usize> {
        self.streams.as_ref().map(|streams| streams.held())
    }

    fn with_streams<O: Outlet<Link = L>>(
        &mut self,
        now: Now,
        circ: CircId,
        here: &Here<L>,
        out: &mut O,
        act: impl FnOnce(&mut Streams, &StreamsEnv<'_>, &mut Port<'_, O>) -> Result<(), StreamError>,
    ) -> Outcome {
        let Some(streams) = &mut self.streams else { return Ok(()) };
        let waker = |stream| here.wakers.waker(circ, stream);
        let env = StreamsEnv { now, services: &here.keys.services, waker: &waker };
        act(streams, &env, &mut Port { backward: &mut self.backward, circ, out })?;
        Ok(())
    }
}

/// The backward half of the circuit, as its streams see it.
struct Port<'a, O> {
    backward: &'a mut RelayBackward,
    circ: CircId,
    out: &'a mut O,
}

impl<O: Outlet> Originate for Port<'_, O> {
    fn message(&mut self, message: &RelayMessage) -> Tag {
        originate(self.backward, self.circ, message, self.out)
    }

    fn data(&mut self, stream: StreamId, bytes: &[u8]) -> Tag {
        originate_cell(self.backward, RelayMessage::data_cell(self.circ, stream, bytes), self.out)
    }
}
