//! A conversation with one contact.

use std::collections::BTreeSet;
use std::rc::Rc;

use allium_shared::client::api::{DeliveryState, MessageId};
use allium_shared::time::UnixTime;

/// The messages of one conversation, in the order in which they were written or received on this device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    // One pointer each, so that a changed copy of a long conversation doesn't copy texts.
    messages: Vec<Rc<Message>>,
    unread: BTreeSet<MessageId>,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The message's id.
    pub id: MessageId,
    /// Exactly as typed.
    pub text: Rc<str>,
    /// When it was queued or stored on this device.
    pub at: UnixTime,
    /// The delivery state of an outgoing message; `None` for the contact's messages.
    pub outgoing: Option<DeliveryState>,
}

impl Conversation {
    /// Appends a message, or updates it in place.
    pub fn put(&mut self, message: Message) {
        // It is nearly always among the last ones.
        match self.messages.iter().rposition(|known| known.id == message.id) {
            None => self.messages.push(Rc::new(message)),
            Some(at) => {
                if let Some(known) = self.messages.get_mut(at) {
                    let at = known.at;
                    // A repeated event may be outdated: a mark never goes backwards.
                    let outgoing = message.outgoing.max(known.outgoing);
                    *known = Rc::new(Message { at, outgoing, ..message });
                }
            }
        }
    }

    /// Marks a message as unread.
    pub fn unread(&mut self, id: MessageId) {
        self.unread.insert(id);
    }

    /// Marks messages as read.
    pub fn shown(&mut self, ids: &[MessageId]) {
        for id in ids {
            self.unread.remove(id);
        }
    }

    /// The unread messages.
    pub fn unread_ids(&self) -> impl Iterator<Item = MessageId> + '_ {
        self.unread.iter().copied()
    }

    /// The number of unread messages.
    pub fn unread_count(&self) -> usize {
        self.unread.len()
    }

    /// The newest message.
    pub fn last(&self) -> Option<&Rc<Message>> {
        self.messages.last()
    }

    /// The newest outgoing message.
    pub fn last_own(&self) -> Option<MessageId> {
        self.messages.iter().rfind(|message| message.outgoing.is_some()).map(|message| message.id)
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// The newest `count` messages, oldest first.
    pub fn newest(&self, count: usize) -> &[Rc<Message>] {
        self.messages.get(self.messages.len().saturating_sub(count)..).unwrap_or_default()
    }
}
