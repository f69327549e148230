//! Safety numbers, which two people compare to be sure that nobody is intercepting their messages.

use super::Contacts;
use crate::client::api::{ContactId, Event};
use crate::client::context::Context;

impl Contacts {
    /// Tells the person the safety number of a contact.
    pub(in super::super) fn tell_safety(&self, id: ContactId, cx: &mut Context<'_>) {
        let Some(contact) = self.contacts.get(&id) else { return };
        let number = contact.relationship().map(|relationship| relationship.safety_number().to_string());
        cx.store.tell(Event::Safety { contact: id, number, verified: contact.record.verified });
    }

    /// The person has compared a contact's safety number, or undoes that.
    ///
    /// # Errors
    ///
    /// Why that is not possible, for the person.
    pub(in super::super) fn verify(
        &mut self,
        id: ContactId,
        verified: bool,
        cx: &mut Context<'_>,
    ) -> Result<(), String> {
        let contact = self.contacts.get_mut(&id).ok_or("There is no such contact.")?;
        if verified && contact.relationship().is_none() {
            return Err(format!("{} has not answered yet, so there is nothing to compare.", contact.record.name));
        }
        contact.record.verified = verified;
        contact.put(cx.store);
        if !contact.is_request() {
            cx.store.tell(contact.event());
        }
        self.tell_safety(id, cx);
        Ok(())
    }
}
