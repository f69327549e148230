//! [`Service::SOURCE`](crate::stream::Service::SOURCE): sends bytes for measurements.

use crate::services::byte_source::read_source_argument;
use crate::stream::service::{Opening, StreamService};
use crate::stream::{EndReason, Produced, StreamContext, StreamEnd, StreamHandler};

/// Sends as many bytes as requested.
#[derive(Debug)]
pub struct ByteSource;

impl StreamService for ByteSource {
    fn open(&self, opening: Opening) -> Result<Box<dyn StreamHandler>, EndReason> {
        let len = read_source_argument(&opening.argument).filter(|_| opening.body == 0);
        Ok(Box::new(Source { len: len.ok_or(EndReason::TORPROTOCOL)?, sent: 0 }))
    }
}

struct Source {
    len: u64,
    sent: u64,
}

impl StreamHandler for Source {
    fn opened(&mut self, context: &mut StreamContext<'_>) -> Result<(), EndReason> {
        context.accept(self.len);
        Ok(())
    }

    fn data(&mut self, _: &mut StreamContext<'_>, bytes: &[u8]) -> Result<usize, EndReason> {
        Ok(bytes.len())
    }

    fn writable(&mut self, _: &mut StreamContext<'_>, room: &mut [u8]) -> Result<Produced, EndReason> {
        // Where it stands in the whole, in 8 bytes as far as there is room for them, then zeros.
        room.iter_mut().zip(self.sent.to_be_bytes()).for_each(|(byte, at)| *byte = at);
        self.sent += room.len() as u64;
        Ok(Produced::Bytes(room.len()))
    }

    fn ended(&mut self, _: StreamEnd) {}
}
