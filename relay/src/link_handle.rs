//! A link, as the relay's other links know it, and what they hand to it.

use allium_shared::cell::Cell;
use allium_shared::relay::link_event::LinkEvent;
use allium_shared::relay::streams::StreamWakers;
use tokio::sync::mpsc;

/// What reaches the owner of a link from the relay's other links.
#[derive(Debug)]
pub(crate) enum Item {
    /// Cells to send.
    Cells(Vec<Cell>),
    /// Something to do.
    LinkEvent(Box<LinkEvent<LinkHandle>>),
}

/// A link, as the relay's other links know it.
///
/// The channel is not bounded, since a link that handles a cell may never wait for another. Its owner empties it without
/// waiting for anything, into queues that are bounded for each circuit.
#[derive(Clone, Debug)]
pub struct LinkHandle {
    id: u64,
    items: mpsc::UnboundedSender<Item>,
}

impl LinkHandle {
    /// A handle with this number, and what is handed to it.
    pub(crate) fn new(id: u64) -> (Self, mpsc::UnboundedReceiver<Item>) {
        let (items, inbox) = mpsc::unbounded_channel();
        (Self { id, items }, inbox)
    }

    /// A number that no other link of this relay has or had.
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    /// Makes what wakes the streams that end on this link.
    pub(crate) fn wakers(&self) -> StreamWakers {
        let items = self.items.clone();
        // When the link is gone, its streams are too.
        StreamWakers::new(move |circ, stream| {
            let _ = items.send(Item::LinkEvent(Box::new(LinkEvent::Wake { circ, stream })));
        })
    }

    /// Hands something to the link's owner; gives it back when the link is gone.
    pub(crate) fn send(&self, item: Item) -> Result<(), mpsc::error::SendError<Item>> {
        self.items.send(item)
    }
}

impl PartialEq for LinkHandle {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}
