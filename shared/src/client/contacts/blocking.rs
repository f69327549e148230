//! Blocking contacts, and forgetting them.

use super::{Contact, Contacts, ContactsEvent};
use crate::cell::DestroyReason;
use crate::client::api::{BlockedInfo, ContactId, ContactState, Event};
use crate::client::context::Context;
use crate::client::onion_service::{Caller, OnionService};
use crate::client::store::Key;

impl Contacts {
    /// The person wants to hear no more of somebody, who is told nothing; or to hear of them again.
    ///
    /// # Errors
    ///
    /// Why that is not possible, for the person.
    pub(in super::super) fn block(
        &mut self,
        id: ContactId,
        blocked: bool,
        onion: &mut OnionService,
        cx: &mut Context<'_>,
    ) -> Result<(), String> {
        let now = cx.now.instant;
        let contact = self.contacts.get_mut(&id).ok_or("There is no such contact.")?;
        if contact.record.blocked == blocked {
            return Ok(());
        }
        contact.record.blocked = blocked;
        contact.put(cx.store);
        contact.state = contact.state_without(ContactState::Connecting);
        contact.begin_search(now);
        cx.store.tell(if contact.is_shown() { contact.event() } else { Event::RequestClosed { id } });
        cx.store.tell(self.blocked());
        self.set_reach(id, onion, now);
        onion.search_anew(id, now);
        if blocked {
            // As if this client had gone.
            onion.close_circuits_of(id, DestroyReason::LinkClosed, cx);
        }
        Ok(())
    }

    /// Those who are blocked, among them those who have only asked to become a contact.
    pub(in super::super) fn blocked(&self) -> Event {
        let blocked = self.contacts.values().filter(|contact| contact.record.blocked);
        let info = |contact: &Contact| BlockedInfo {
            id: contact.id,
            name: contact.record.name.clone(),
            is_request: contact.is_request(),
        };
        Event::Blocked { list: blocked.map(info).collect() }
    }

    /// Nothing of somebody stays.
    pub(super) fn forget(&mut self, id: ContactId, onion: &mut OnionService, cx: &mut Context<'_>) {
        onion.close_circuits_of(id, DestroyReason::Requested, cx);
        onion.stop_serving(Caller::Contact(id));
        onion.forget_peer(id);
        if let Some(contact) = self.contacts.remove(&id) {
            cx.store.delete(Key::Contact(id).to_string());
            self.events.push_back(ContactsEvent::Forgotten(id));
            if contact.record.blocked {
                cx.store.tell(self.blocked());
            }
        }
    }
}
