//! A service that only tests have, at the relay's side: it sends back what it receives, while it receives.

use std::collections::VecDeque;

use allium_shared::stream::service::{Opening, StreamService};
use allium_shared::stream::{EndReason, OPEN_ENDED, Produced, Service, StreamContext, StreamEnd, StreamHandler};

/// Its number, which no service of relays has.
pub const ECHO: Service = Service(250);

/// Bytes that it holds for one stream at most: what it has received and not sent yet.
pub const MAX_HELD: usize = 16 * 1024;

/// Sends back what it receives.
#[derive(Debug)]
pub struct EchoService;

impl StreamService for EchoService {
    fn open(&self, opening: Opening) -> Result<Box<dyn StreamHandler>, EndReason> {
        Ok(Box::new(Echo { held: VecDeque::new(), left: opening.body }))
    }
}

struct Echo {
    held: VecDeque<u8>,
    /// Bytes that are still to come, if that is known.
    left: u64,
}

impl StreamHandler for Echo {
    fn opened(&mut self, context: &mut StreamContext<'_>) -> Result<(), EndReason> {
        // As many bytes go back as come.
        context.accept(self.left);
        Ok(())
    }

    fn data(&mut self, _: &mut StreamContext<'_>, bytes: &[u8]) -> Result<usize, EndReason> {
        let taken = &bytes[..bytes.len().min(MAX_HELD - self.held.len())];
        self.held.extend(taken);
        if self.left != OPEN_ENDED {
            self.left -= taken.len() as u64;
        }
        Ok(taken.len())
    }

    fn writable(&mut self, _: &mut StreamContext<'_>, room: &mut [u8]) -> Result<Produced, EndReason> {
        let len = room.len().min(self.held.len());
        room.iter_mut().zip(self.held.drain(..len)).for_each(|(to, from)| *to = from);
        Ok(if len == 0 { Produced::Pending } else { Produced::Bytes(len) })
    }

    fn ended(&mut self, _: StreamEnd) {}

    fn buffered(&self) -> usize {
        self.held.capacity()
    }
}
