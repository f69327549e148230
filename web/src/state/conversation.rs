//! What has been said with one contact.

use std::collections::BTreeSet;
use std::rc::Rc;

use allium_shared::client::api::{DeliveryState, MessageId};
use allium_shared::time::UnixTime;

/// The messages of one conversation, in the order in which they were written or came in here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    // Each behind its own pointer, so that a new version of a long conversation costs no copies of texts.
    messages: Vec<Rc<Message>>,
    unread: BTreeSet<MessageId>,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its name.
    pub id: MessageId,
    /// Exactly as typed.
    pub text: Rc<str>,
    /// When it was queued or stored on this device.
    pub at: UnixTime,
    /// For one's own, how far it has come; `None` for the contact's.
    pub outgoing: Option<DeliveryState>,
}

impl Conversation {
    /// Adds a message at the end, or replaces what is known of it where it stands.
    pub fn put(&mut self, message: Message) {
        // What changes is nearly always among the last ones.
        match self.messages.iter().rposition(|known| known.id == message.id) {
            None => self.messages.push(Rc::new(message)),
            Some(at) => {
                if let Some(known) = self.messages.get_mut(at) {
                    let at = known.at;
                    // A repeated event may be older than what is known: no mark is ever taken back.
                    let outgoing = message.outgoing.max(known.outgoing);
                    *known = Rc::new(Message { at, outgoing, ..message });
                }
            }
        }
    }

    /// Marks a message as not seen by the person.
    pub fn unread(&mut self, id: MessageId) {
        self.unread.insert(id);
    }

    /// Marks messages as seen.
    pub fn shown(&mut self, ids: &[MessageId]) {
        for id in ids {
            self.unread.remove(id);
        }
    }

    /// The messages that nobody has seen.
    pub fn unread_ids(&self) -> impl Iterator<Item = MessageId> + '_ {
        self.unread.iter().copied()
    }

    /// How many messages nobody has seen.
    pub fn unread_count(&self) -> usize {
        self.unread.len()
    }

    /// The newest message.
    pub fn last(&self) -> Option<&Rc<Message>> {
        self.messages.last()
    }

    /// One's own newest message.
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
