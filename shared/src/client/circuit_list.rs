//! The circuits as people see them: what each is for, and the relays on its path.

use super::Client;
use super::api::{CircuitInfo, ContactId, Event, Purpose};
use super::circuits::{CircuitId, CircuitPurpose};
use super::contacts::Contact;
use super::rendezvous::Caller;
use crate::crypto::keys::RelayIdentity;

impl Client {
    /// All completed circuits whose relays the consensus names.
    pub(super) fn circuit_list(&self) -> Vec<CircuitInfo> {
        let Some(consensus) = self.circuits.consensus() else { return Vec::new() };
        let info = |(id, purpose, path): (CircuitId, CircuitPurpose, _)| {
            let (purpose, contact) = self.use_of(id, purpose);
            let path = Iterator::map(path, |relay| Some(consensus.relay(&relay)?.nickname.as_str().to_owned()));
            Some(CircuitInfo { purpose, contact, path: path.collect::<Option<_>>()? })
        };
        self.circuits.open_circuits().filter_map(info).collect()
    }

    /// The relays that carry the conversation with a contact.
    pub(super) fn path_event(&self, contact: &Contact) -> Event {
        let consensus = self.circuits.consensus();
        let name = |relay: RelayIdentity| Some(consensus?.relay(&relay)?.nickname.as_str().to_owned());
        let path = contact.channel.and_then(|channel| self.circuits.path_of(channel));
        let relays = path.and_then(|path| path.map(name).collect::<Option<_>>()).unwrap_or_default();
        Event::Path { contact: contact.id, relays }
    }

    /// Shows the paths of contacts whose channel has changed.
    pub(super) fn show_paths(&mut self) {
        let is_changed = |contact: &&Contact| contact.channel != contact.shown_channel;
        let events: Vec<_> =
            self.contacts.values().filter(is_changed).map(|contact| self.path_event(contact)).collect();
        events.into_iter().for_each(|event| self.event(event));
        for contact in self.contacts.values_mut() {
            contact.shown_channel = contact.channel;
        }
    }

    fn use_of(&self, id: CircuitId, purpose: CircuitPurpose) -> (Purpose, Option<ContactId>) {
        if let Some(channel) = self.channels.get(&id) {
            let purpose = if channel.contact.is_some() { Purpose::Conversation } else { Purpose::Invite };
            return (purpose, channel.contact);
        }
        match purpose {
            CircuitPurpose::Spare => (Purpose::Spare, None),
            CircuitPurpose::IntroPoint => (Purpose::Introduction, None),
            CircuitPurpose::ClientRendezvous | CircuitPurpose::Fallback => {
                (Purpose::Meeting, self.client_rendezvous.get(&id).map(|wait| wait.contact))
            }
            CircuitPurpose::Introduce => (Purpose::Meeting, self.introduces.get(&id).map(|bring| bring.contact)),
            CircuitPurpose::ServiceRendezvous => match self.service_rendezvous.get(&id).map(|come| come.caller) {
                Some(Caller::Contact(contact)) => (Purpose::Meeting, Some(contact)),
                Some(Caller::Invite(_)) | None => (Purpose::Invite, None),
            },
            CircuitPurpose::Consensus => (Purpose::Directory, None),
            CircuitPurpose::Clock => (Purpose::Clock, None),
            CircuitPurpose::UserKeys => (Purpose::Keys, None),
        }
    }
}
