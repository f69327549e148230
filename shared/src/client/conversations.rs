//! Conversations: messages on their way, what has been received and read, and who is writing.
//!
//! # Layout
//!
//! - `conversation`: the messages of one conversation, and its part of the session
//! - `delivery`: sending and receiving them on the contact's channel
//! - `typing`: who is writing

use std::collections::BTreeMap;

use rand_core::Rng as _;

use self::conversation::Conversation;
use self::delivery::acknowledge;
use super::api::{ContactId, ContactState, Event, MAX_TEXT_LEN, MessageId};
use super::contacts::{Contact, Contacts, ContactsEvent};
use super::context::Context;
use super::store::{AfterPersist, MessageRecord};
use crate::messaging::frame::Frame;
use crate::time::Instant;

mod conversation;
mod delivery;
mod typing;

/// Messages that may wait for one contact.
const MAX_OUTBOX: usize = 10_000;

/// What follows a durable batch.
#[derive(Debug)]
enum FollowUp {
    /// The messages to this contact below this sequence number of a session may be sent.
    Transmit { contact: ContactId, session: u64, durable: u64 },
    /// Messages from this contact below this sequence number of a session, the last of them with this id, are stored: says so.
    Stored { contact: ContactId, session: u64, received: u64, last: MessageId },
}

/// All conversations.
#[derive(Default)]
pub(super) struct Conversations {
    conversations: BTreeMap<ContactId, Conversation>,
    after: AfterPersist<FollowUp>,
}

impl Conversations {
    /// Starts with what an earlier run has stored: messages by conversation and number.
    pub(super) fn new(contacts: &Contacts, messages: BTreeMap<(ContactId, u64), MessageRecord>) -> Self {
        let mut conversations: BTreeMap<_, _> =
            contacts.iter().map(|contact| (contact.id, Conversation::new(contact))).collect();
        for ((id, number), record) in messages {
            if let Some(conversation) = conversations.get_mut(&id) {
                conversation.restore(number, record);
            }
        }
        Self { conversations, after: AfterPersist::default() }
    }

    // ---- driving ----

    /// Takes what happened to contacts and their channels.
    pub(super) fn handle(&mut self, event: ContactsEvent, contacts: &mut Contacts, cx: &mut Context<'_>) {
        match event {
            ContactsEvent::SessionBegan(id) => {
                self.with(id, contacts, |conversation, contact, after| conversation.begin(contact, after, cx.store));
            }
            ContactsEvent::Opened { circuit, contact, received, last, read } => {
                self.opened(circuit, contact, (received, last), read, contacts, cx);
            }
            ContactsEvent::Frame { circuit, contact, frame } => match frame {
                Frame::Envelope { sequence, id, sealed } => {
                    self.envelope(circuit, contact, (sequence, id, &sealed), contacts, cx);
                }
                Frame::Ack { received } => {
                    self.acknowledged(circuit, contact, received, contacts, cx);
                    self.transmit(contact, contacts, cx);
                }
                Frame::Read(id) => self.was_read(contact, id, cx),
                Frame::Typing(typing) => self.they_type(contact, typing, cx),
                _ => {}
            },
            ContactsEvent::Closed(id) => self.stopped_typing(id, cx),
            ContactsEvent::Forgotten(id) => drop(self.conversations.remove(&id)),
        }
    }

    /// Does what had to wait for the disk; returns whether there was anything.
    pub(super) fn follow_up(&mut self, contacts: &mut Contacts, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        while let Some(follow_up) = self.after.pop(cx.store) {
            any = true;
            match follow_up {
                FollowUp::Transmit { contact, session, durable } => {
                    if contacts.get(contact).is_some_and(|contact| contact.session == session)
                        && let Some(conversation) = self.conversations.get_mut(&contact)
                    {
                        conversation.durable = conversation.durable.max(durable);
                    }
                    self.transmit(contact, contacts, cx);
                }
                FollowUp::Stored { contact, session, received, last } => {
                    if contacts.get(contact).is_some_and(|contact| contact.session == session) {
                        acknowledge(contact, received, last, contacts, cx);
                    }
                }
            }
        }
        any
    }

    /// Brings everything to where it should be by now.
    pub(super) fn maintain(&mut self, cx: &mut Context<'_>) {
        self.check_typing(cx);
    }

    /// When something is to be done even without an input.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.conversations.values().filter_map(|conversation| conversation.typing.theirs).min()
    }

    // ---- what the person does and sees ----

    /// Sends a text, or says why not.
    pub(super) fn send_text(&mut self, to: ContactId, text: String, contacts: &mut Contacts, cx: &mut Context<'_>) {
        let mut id = [0; 16];
        cx.rng.fill_bytes(&mut id);
        let waiting = self.conversations.get(&to).map_or(0, |conversation| conversation.outbox.len());
        if let Err(message) = check_text(&text, contacts.get(to), waiting) {
            return cx.error("send", message);
        }
        let at = cx.now.unix;
        self.with(to, contacts, |conversation, contact, after| {
            conversation.queue(MessageId(id), text, at, contact, after, cx.store);
        });
    }

    /// The person has seen a message.
    pub(super) fn shown(&mut self, id: ContactId, message: MessageId, cx: &mut Context<'_>) {
        if let Some(conversation) = self.conversations.get_mut(&id) {
            conversation.shown(id, message, cx.store);
        }
    }

    /// The person has read all that has come from a contact.
    pub(super) fn read(&self, id: ContactId, contacts: &mut Contacts, cx: &mut Context<'_>) {
        if cx.profile.no_receipts {
            // Nor is it told later, when receipts are on again.
            return;
        }
        let Some(newest) = self.conversations.get(&id).and_then(|conversation| conversation.newest) else { return };
        let Some(contact) = contacts.get_mut(id).filter(|contact| contact.record.read != Some(newest)) else { return };
        contact.record.read = Some(newest);
        contact.put(cx.store);
        if let Some(circuit) = contacts.open_channel(id) {
            contacts.send_frame(circuit, &Frame::Read(newest), cx);
        }
    }

    /// What somebody who comes now has to hear of a conversation: who is writing, and messages that nobody has seen.
    pub(super) fn snapshot(&self, id: ContactId) -> impl Iterator<Item = Event> + '_ {
        let conversation = self.conversations.get(&id);
        let typing = conversation.filter(|conversation| conversation.typing.theirs.is_some());
        let typing = typing.map(|_| Event::Typing { contact: id, typing: true });
        let unshown = conversation.into_iter().flat_map(|conversation| conversation.unshown.values());
        typing.into_iter().chain(unshown.map(move |record| Event::Message {
            contact: id,
            id: record.id,
            text: record.text.clone(),
            received_at: record.at,
        }))
    }

    fn with(
        &mut self,
        id: ContactId,
        contacts: &mut Contacts,
        act: impl FnOnce(&mut Conversation, &mut Contact, &mut AfterPersist<FollowUp>),
    ) {
        if let Some(contact) = contacts.get_mut(id) {
            let conversation = self.conversations.entry(id).or_insert_with(|| Conversation::new(contact));
            act(conversation, contact, &mut self.after);
        }
    }
}

/// Says why a text can't be sent, if so.
fn check_text(text: &str, to: Option<&Contact>, waiting: usize) -> Result<(), String> {
    if text.is_empty() || text.len() > MAX_TEXT_LEN {
        return Err(format!("A message has 1 to {MAX_TEXT_LEN} bytes; this one has {}.", text.len()));
    }
    let contact = to.ok_or("There is no such contact.")?;
    let name = &contact.record.name;
    if contact.record.blocked {
        return Err(format!("{name} is blocked. Unblock them first."));
    }
    if contact.is_request() {
        return Err(format!("{name} isn't a contact yet. Accept their request first."));
    }
    if contact.state == ContactState::Declined {
        return Err(format!("{name} declined your request."));
    }
    if waiting >= MAX_OUTBOX {
        return Err(format!("{MAX_OUTBOX} messages already wait for {name}."));
    }
    Ok(())
}
