//! The circuits as people see them: what each is for, and the relays on its path.

use super::api::{CircuitInfo, ContactId, Event, Purpose};
use super::circuits::{CircuitId, CircuitManager, CircuitPurpose};
use super::contacts::{Contact, Contacts};
use super::onion_service::OnionService;
use crate::crypto::keys::RelayIdentity;

/// All completed circuits whose relays the consensus names.
pub(super) fn circuit_list(circuits: &CircuitManager, onion: &OnionService) -> Vec<CircuitInfo> {
    let Some(consensus) = circuits.consensus() else { return Vec::new() };
    let info = |(id, purpose, path): (CircuitId, CircuitPurpose, _)| {
        let (purpose, contact) = use_of(onion, id, purpose);
        let path = Iterator::map(path, |relay| Some(consensus.relay(&relay)?.nickname.as_str().to_owned()));
        Some(CircuitInfo { purpose, contact, path: path.collect::<Option<_>>()? })
    };
    circuits.open_circuits().filter_map(info).collect()
}

fn use_of(onion: &OnionService, id: CircuitId, purpose: CircuitPurpose) -> (Purpose, Option<ContactId>) {
    let contact = onion.contact_of(id);
    let purpose = match purpose {
        _ if onion.is_joined(id) && contact.is_some() => Purpose::Conversation,
        _ if onion.is_joined(id) => Purpose::Invite,
        CircuitPurpose::Spare => Purpose::Spare,
        CircuitPurpose::IntroPoint => Purpose::Introduction,
        CircuitPurpose::ServiceRendezvous if contact.is_none() => Purpose::Invite,
        CircuitPurpose::ClientRendezvous
        | CircuitPurpose::Fallback
        | CircuitPurpose::Introduce
        | CircuitPurpose::ServiceRendezvous => Purpose::Meeting,
        CircuitPurpose::Consensus => Purpose::Directory,
        CircuitPurpose::Clock => Purpose::Clock,
        CircuitPurpose::UserKeys => Purpose::Keys,
    };
    (purpose, contact)
}

/// The relays that carry the conversation with a contact.
pub(super) fn path_event(circuits: &CircuitManager, contact: &Contact) -> Event {
    let consensus = circuits.consensus();
    let name = |relay: RelayIdentity| Some(consensus?.relay(&relay)?.nickname.as_str().to_owned());
    let path = contact.channel.and_then(|channel| circuits.path_of(channel));
    let relays = path.and_then(|path| path.map(name).collect::<Option<_>>()).unwrap_or_default();
    Event::Path { contact: contact.id, relays }
}

/// The paths of contacts whose channel has changed since the last call.
pub(super) fn changed_paths(circuits: &CircuitManager, contacts: &mut Contacts) -> Vec<Event> {
    let changed = contacts.iter_mut().filter(|contact| contact.channel != contact.shown_channel);
    changed
        .map(|contact| {
            contact.shown_channel = contact.channel;
            path_event(circuits, contact)
        })
        .collect()
}
