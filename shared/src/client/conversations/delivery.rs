//! Sending and receiving messages on the contact's channel.

use super::Conversations;
use super::conversation::{Arrival, ReceiveError};
use crate::client::api::{ContactId, DeliveryState, MessageId};
use crate::client::circuits::CircuitId;
use crate::client::contacts::Contacts;
use crate::client::context::Context;
use crate::messaging::frame::Frame;

/// Sealed bytes that may be under way to a contact without an acknowledgement: well below what relays queue for a circuit.
const MAX_IN_FLIGHT: usize = 96 * 1024;

impl Conversations {
    /// A channel is open, and the contact has said what it has stored: goes on from there.
    pub(super) fn opened(
        &mut self,
        circuit: CircuitId,
        id: ContactId,
        (received, last): (u64, Option<MessageId>),
        read: Option<MessageId>,
        contacts: &mut Contacts,
        cx: &mut Context<'_>,
    ) {
        let mut is_ours = false;
        self.with(id, contacts, |conversation, contact, _| {
            conversation.next_to_send = received;
            is_ours = conversation.has_sent(contact, received, last);
        });
        if !is_ours {
            return contacts.out_of_step(circuit, id, cx);
        }
        self.acknowledged(circuit, id, received, contacts, cx);
        if let Some(read) = read {
            self.was_read(id, read, cx);
        }
        self.transmit(id, contacts, cx);
    }

    /// The contact has stored everything below `received`.
    pub(super) fn acknowledged(
        &mut self,
        circuit: CircuitId,
        id: ContactId,
        received: u64,
        contacts: &mut Contacts,
        cx: &mut Context<'_>,
    ) {
        let Some(conversation) = self.conversations.get_mut(&id) else { return };
        if !conversation.acknowledged(id, received, cx.store) {
            // More than was ever sent, as far as we know: what we know is not the newest.
            contacts.out_of_step(circuit, id, cx);
        }
    }

    /// The contact has read all messages up to this one.
    pub(super) fn was_read(&mut self, id: ContactId, message: MessageId, cx: &mut Context<'_>) {
        if let Some(conversation) = self.conversations.get_mut(&id) {
            conversation.was_read(id, message, cx.store);
        }
    }

    /// A message has come.
    pub(super) fn envelope(
        &mut self,
        circuit: CircuitId,
        id: ContactId,
        envelope: (u64, MessageId, &[u8]),
        contacts: &mut Contacts,
        cx: &mut Context<'_>,
    ) {
        let at = cx.now.unix;
        let mut outcome = Err(ReceiveError::Order);
        self.with(id, contacts, |conversation, contact, after| {
            outcome = conversation.receive(envelope, at, contact, after, cx.store);
        });
        match outcome {
            // That is what they wrote.
            Ok(Arrival::New) => self.stopped_typing(id, cx),
            Ok(Arrival::Repeated) => {
                let received = contacts.get(id).map_or(0, |contact| contact.stored.0);
                contacts.send_frame(circuit, &Frame::Ack { received }, cx);
            }
            // Whoever waits for one that the other has sent long ago has forgotten some.
            Err(ReceiveError::Order | ReceiveError::Envelope | ReceiveError::Session(_)) => {
                contacts.out_of_step(circuit, id, cx);
            }
        }
    }

    /// Sends what waits for the contact, as far as it is on disk and the window allows.
    pub(super) fn transmit(&mut self, id: ContactId, contacts: &mut Contacts, cx: &mut Context<'_>) {
        let Some(conversation) = self.conversations.get_mut(&id) else { return };
        loop {
            let Some(circuit) = contacts.open_channel(id) else { return };
            let mut in_flight = 0;
            let mut envelope = None;
            for outgoing in &mut conversation.outbox {
                let Some(sealed) = &outgoing.sealed else { break };
                if sealed.sequence < conversation.next_to_send {
                    in_flight += sealed.bytes.len();
                    continue;
                }
                let fits = in_flight == 0 || in_flight + sealed.bytes.len() <= MAX_IN_FLIGHT;
                if sealed.sequence >= conversation.durable || !fits {
                    break;
                }
                let sequence = sealed.sequence;
                envelope =
                    Some((sequence, Frame::Envelope { sequence, id: outgoing.id, sealed: sealed.bytes.clone() }));
                if outgoing.state == DeliveryState::Queued {
                    outgoing.state = DeliveryState::Sent;
                    outgoing.put(id, cx.store);
                    cx.store.tell(outgoing.event(id));
                }
                break;
            }
            let Some((sequence, frame)) = envelope else { return };
            conversation.next_to_send = sequence + 1;
            contacts.send_frame(circuit, &frame, cx);
        }
    }
}

/// Messages of the contact below `received` are on disk, and `last` is the last of them: says so to the contact.
pub(super) fn acknowledge(
    id: ContactId,
    received: u64,
    last: MessageId,
    contacts: &mut Contacts,
    cx: &mut Context<'_>,
) {
    let Some(contact) = contacts.get_mut(id) else { return };
    if received > contact.stored.0 {
        contact.stored = (received, Some(last));
    }
    let (received, _) = contact.stored;
    if let Some(circuit) = contacts.open_channel(id) {
        contacts.send_frame(circuit, &Frame::Ack { received }, cx);
    }
}
