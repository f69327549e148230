//! Drives the circuits that a relay begins itself: requests and streams to services of other relays.
//!
//! # Layout
//!
//! - [`stream`]: bytes in both directions
//! - `cancel`: what ends orders that nobody waits for

mod cancel;
pub mod stream;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use allium_shared::crypto::keys::RelayIdentity;
use allium_shared::relay::origin::order::{Order, OrderId, OriginError, OriginEvent, OriginLimit, StreamOpening};
use allium_shared::relay::origin::{Origin, OriginSwitch};
use allium_shared::stream::request::{StreamAnswer, StreamRequest};
use allium_shared::stream::{OPEN_ENDED, Service};
use tokio::sync::{mpsc, oneshot};

use self::cancel::{Cancel, Token};
use self::stream::RelayStream;
use crate::link_handle::{Item, LinkHandle};
use crate::random;
use crate::switchboard::{Line, Switchboard};

/// Orders that the driver has not looked at.
const MAX_ORDERS: usize = 256;

/// Items that are taken from links before orders get their turn.
const BATCH: usize = 64;

/// Asks other relays, over circuits of one hop that all users of this value share.
#[derive(Clone, Debug)]
pub struct RelayOrigin {
    orders: mpsc::Sender<Sent>,
    cancelled: mpsc::UnboundedSender<Token>,
    next_token: Arc<AtomicU64>,
}

/// An order, and where its outcome goes.
struct Sent {
    token: Token,
    relay: RelayIdentity,
    order: Order,
    reply: Reply,
}

enum Reply {
    Request(oneshot::Sender<Result<StreamAnswer, OriginError>>),
    /// Only why the stream never began: everything else its handler hears.
    Stream(oneshot::Sender<OriginError>),
}

impl RelayOrigin {
    /// Starts a task that keeps the circuits of a relay; it ends with the relay, or when nobody can order anything any more.
    ///
    /// # Errors
    ///
    /// If the system provides no randomness.
    pub fn start(switchboard: &Arc<Switchboard>) -> io::Result<Self> {
        let (orders, inbox) = mpsc::channel(MAX_ORDERS);
        let (cancelled, cancels) = mpsc::unbounded_channel();
        let (handle, items) = switchboard.new_handle();
        let (identity, memory) = (switchboard.keys().circuits.identity, Arc::clone(switchboard.memory()));
        let origin = Origin::new(handle.clone(), identity, memory, handle.wakers(), random::rng()?);
        switchboard.attach(&handle, Arc::clone(origin.load()));
        let inboxes = Inboxes { items, orders: inbox, cancels };
        tokio::spawn(run(Arc::downgrade(switchboard), origin, handle, inboxes));
        Ok(Self { orders, cancelled, next_token: Arc::default() })
    }

    /// Sends a request to a service of another relay, and waits for the whole answer.
    ///
    /// # Errors
    ///
    /// If the relay can't be asked, or doesn't answer within the request's limits.
    pub async fn request(&self, relay: RelayIdentity, request: StreamRequest) -> Result<StreamAnswer, OriginError> {
        let (reply, outcome) = oneshot::channel();
        let cancel = self.cancel();
        self.send(Sent { token: cancel.token(), relay, order: Order::Request(request), reply: Reply::Request(reply) })?;
        outcome.await.unwrap_or(Err(OriginError::Stopped))
    }

    /// Opens a stream with bytes in both directions to a service of another relay, and waits until it is accepted.
    ///
    /// # Errors
    ///
    /// If the relay can't be asked, or doesn't accept the stream.
    pub async fn open(
        &self,
        relay: RelayIdentity,
        service: Service,
        argument: Vec<u8>,
    ) -> Result<RelayStream, stream::RelayStreamError> {
        let cancel = self.cancel();
        let token = cancel.token();
        let (stream, handler) = RelayStream::new(cancel);
        let (reply, outcome) = oneshot::channel();
        let opening = StreamOpening { service, argument, len: OPEN_ENDED, handler: Box::new(handler) };
        self.send(Sent { token, relay, order: Order::Stream(opening), reply: Reply::Stream(reply) })?;
        match stream.accepted().await {
            Ok(()) => Ok(stream),
            // Why it never began says more than that it is over.
            Err(error) => Err(outcome.await.map_or(error, Into::into)),
        }
    }

    fn cancel(&self) -> Cancel {
        Cancel::new(Token(self.next_token.fetch_add(1, Ordering::Relaxed)), self.cancelled.clone())
    }

    /// Waits for nothing: whoever orders more than the driver takes is told so.
    fn send(&self, sent: Sent) -> Result<(), OriginError> {
        self.orders.try_send(sent).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => OriginError::Full(OriginLimit::Waiting),
            mpsc::error::TrySendError::Closed(_) => OriginError::Stopped,
        })
    }
}

/// What reaches the driver.
struct Inboxes {
    items: mpsc::UnboundedReceiver<Item>,
    orders: mpsc::Receiver<Sent>,
    cancels: mpsc::UnboundedReceiver<Token>,
}

/// The orders under way.
#[derive(Default)]
struct UnderWay {
    replies: HashMap<OrderId, (Token, Reply)>,
    ids: HashMap<Token, OrderId>,
}

async fn run(switchboard: Weak<Switchboard>, mut origin: Origin<LinkHandle>, handle: LinkHandle, inboxes: Inboxes) {
    let Inboxes { mut items, mut orders, mut cancels } = inboxes;
    let Some(clock) = switchboard.upgrade().map(|switchboard| *switchboard.clock()) else { return };
    let mut under_way = UnderWay::default();
    loop {
        let due = origin.poll_timeout().map(|at| tokio::time::Instant::from_std(clock.to_system(at)));
        let wake = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            sent = orders.recv() => {
                let (Some(sent), Some(switchboard)) = (sent, switchboard.upgrade()) else { break };
                let Sent { token, relay, order, reply } = sent;
                if reply.is_cancelled() {
                    continue;
                }
                match origin.order(clock.now(), relay, order, &mut Line(&switchboard)) {
                    Ok(id) => {
                        under_way.replies.insert(id, (token, reply));
                        under_way.ids.insert(token, id);
                    }
                    Err(error) => reply.fail(error),
                }
            }
            Some(item) = items.recv() => {
                let Some(switchboard) = switchboard.upgrade() else { break };
                let mut line = Line(&switchboard);
                handle_item(&mut origin, item, &mut line, clock.now());
                for _ in 1..BATCH {
                    let Ok(item) = items.try_recv() else { break };
                    handle_item(&mut origin, item, &mut line, clock.now());
                }
            }
            Some(token) = cancels.recv() => {
                if let (Some(id), Some(switchboard)) = (under_way.ids.get(&token), switchboard.upgrade()) {
                    origin.cancel(clock.now(), *id, &mut Line(&switchboard));
                }
            }
            () = wake => {
                let Some(switchboard) = switchboard.upgrade() else { break };
                origin.handle_timeout(clock.now(), &mut Line(&switchboard));
            }
        }
        while let Some(event) = origin.poll_event() {
            under_way.tell(event);
        }
    }
    if let Some(switchboard) = switchboard.upgrade() {
        origin.close(clock.now(), &mut Line(&switchboard));
        switchboard.withdraw(&handle);
    }
}

fn handle_item(
    origin: &mut Origin<LinkHandle>,
    item: Item,
    line: &mut impl OriginSwitch<Link = LinkHandle>,
    now: allium_shared::time::Now,
) {
    match item {
        Item::Cells(cells) => origin.handle_cells(now, cells, line),
        Item::LinkEvent(event) => origin.handle_event(now, *event, line),
    }
}

impl UnderWay {
    /// Tells whoever ordered it what has become of an order; they may have gone away.
    fn tell(&mut self, event: OriginEvent) {
        let (OriginEvent::Answered(id, _) | OriginEvent::StreamOver(id, _)) = event;
        let Some((token, reply)) = self.replies.remove(&id) else { return };
        self.ids.remove(&token);
        match (reply, event) {
            (Reply::Request(reply), OriginEvent::Answered(_, result)) => {
                let _ = reply.send(result);
            }
            (reply, OriginEvent::StreamOver(_, Err(error))) => reply.fail(error),
            _ => {}
        }
    }
}

impl Reply {
    /// Whether nobody waits for the order any more.
    fn is_cancelled(&self) -> bool {
        match self {
            Self::Request(reply) => reply.is_closed(),
            Self::Stream(reply) => reply.is_closed(),
        }
    }

    fn fail(self, error: OriginError) {
        let _ = match self {
            Self::Request(reply) => reply.send(Err(error)).is_ok(),
            Self::Stream(reply) => reply.send(error).is_ok(),
        };
    }
}

#[cfg(test)]
mod tests;
