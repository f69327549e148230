//! Adding a contact by an invite, until they answer.

use rand_core::Rng as _;

use super::names::unique_name;
use super::records::{ContactRecord, InviteHeld, Stage};
use super::{Contact, Contacts, MAX_CONTACTS};
use crate::client::api::{ContactId, MAX_NOTE_LEN};
use crate::client::context::Context;
use crate::client::onion_service::OnionService;
use crate::client::store::KeyBytes;
use crate::contact::invite::{Invite, InviteError};
use crate::crypto::keys::{OnionSecret, RelayIdentity};
use crate::messaging::session::OlmAccount;

/// After how many searches in vain the person is told.
const PATIENT_TRIES: u32 = 3;

impl Contacts {
    /// Adds whoever made this invite.
    ///
    /// # Errors
    ///
    /// Why that is not possible, for the person.
    pub(in super::super) fn add(
        &mut self,
        link: &str,
        name: &str,
        introduce_as: Option<String>,
        note: String,
        onion: &mut OnionService,
        cx: &mut Context<'_>,
    ) -> Result<(), String> {
        let invite = Invite::parse(link).map_err(|error| error.to_string())?;
        if invite.network != self.network {
            return Err(InviteError::OtherNetwork.to_string());
        }
        if invite.is_over(cx.circuits.network_now().unix) {
            return Err(InviteError::Expired.to_string());
        }
        if note.len() > MAX_NOTE_LEN {
            return Err(format!("A note has at most {MAX_NOTE_LEN} bytes; this one has {}.", note.len()));
        }
        if self.contacts.len() >= MAX_CONTACTS {
            return Err(format!("There are {MAX_CONTACTS} contacts already."));
        }
        if self.invites.values().any(|own| *own.record.key.secret().public().as_bytes() == invite.key) {
            return Err("This is your own invite: give it to somebody else.".to_owned());
        }
        let is_known = |contact: &Contact| contact.record.invite == Some(invite.key);
        if let Some(contact) = self.contacts.values().find(|contact| is_known(contact)) {
            return Err(format!("You already added this invite as \"{}\".", contact.record.name));
        }
        if let Some(consensus) = cx.circuits.consensus()
            && !invite.places.iter().any(|(relay, _)| consensus.relay(relay).is_some())
        {
            return Err(InviteError::RelaysGone.to_string());
        }
        let name = unique_name(name, self.names());
        let introduce_as = match introduce_as {
            Some(own) if !own.trim().is_empty() => unique_name(&own, core::iter::empty()),
            _ => format!("Guest {:04}", cx.rng.next_u32() % 10_000),
        };
        let held = InviteHeld {
            invite: invite.to_fragment(),
            introduce_as,
            note,
            account: OlmAccount::generate(),
            key: KeyBytes::of(&OnionSecret::generate(cx.rng)),
        };
        let record = ContactRecord {
            name,
            next_message: 0,
            blocked: false,
            verified: false,
            read: None,
            invite: Some(invite.key),
            came_by: None,
            relationship: None,
            stage: Stage::InviteHeld(Box::new(held)),
        };
        let event = self.add_contact(record, onion, cx).event();
        cx.store.tell(event);
        Ok(())
    }

    /// The invite of somebody who has not answered has expired.
    pub(super) fn invite_expired(&mut self, id: ContactId, cx: &mut Context<'_>) {
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        if !core::mem::replace(&mut contact.complained, true) {
            cx.error("add", format!("{}: {}", contact.record.name, InviteError::Expired));
        }
    }

    /// Says once that nobody answers to an invite.
    pub(super) fn search_failed(&mut self, id: ContactId, tries: u32, cx: &mut Context<'_>) {
        let now = cx.now.instant;
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        let Stage::InviteHeld(held) = &contact.record.stage else { return };
        if contact.complained || tries < PATIENT_TRIES {
            return;
        }
        let Ok(invite) = Invite::parse(&held.invite) else { return };
        let Some(consensus) = cx.circuits.consensus() else { return };
        let relays = cx.circuits.relays();
        let is_gone = |relay: &RelayIdentity| consensus.relay(relay).is_none() || relays.is_failing(relay, now);
        let is_useless = |relay: &RelayIdentity| is_gone(relay) || relays.is_out_of_reach(relay);
        let name = &contact.record.name;
        let message = if invite.places.iter().all(|(relay, _)| is_gone(relay)) {
            format!(
                "The relays in {name}'s invite can't be reached. We'll keep trying; ask for a new invite if this lasts."
            )
        } else if invite.places.iter().all(|(relay, _)| is_useless(relay)) {
            format!(
                "The relays in {name}'s invite share an operator or a subnet with your guards. Ask for a new invite."
            )
        } else {
            format!("No answer yet. {name} may be offline, or the invite is no longer valid. We'll keep trying.")
        };
        contact.complained = true;
        cx.error("add", message);
    }
}
