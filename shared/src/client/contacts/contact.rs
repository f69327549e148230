//! A contact in memory.

use super::records::{ContactRecord, Established, Relationship, Stage};
use crate::client::api::{ContactId, ContactState, Event, MessageId};
use crate::client::circuits::CircuitId;
use crate::client::onion_service::{Approach, Audience, Caller, OnionService};
use crate::client::store::{Key, KeyBytes, Store};
use crate::contact::invite::Invite;
use crate::time::Instant;

/// A contact, or somebody who asked to become one.
pub(in super::super) struct Contact {
    pub(in super::super) id: ContactId,
    pub(in super::super) record: ContactRecord,
    /// Counts the sessions that have begun: what comes from the disk may be about the one before.
    pub(in super::super) session: u64,
    /// The contact's messages below this sequence number are on disk, and which was the last of them.
    pub(in super::super) stored: (u64, Option<MessageId>),
    pub(in super::super) state: ContactState,
    /// The joined circuit that carries the contact.
    pub(in super::super) channel: Option<CircuitId>,
    /// The channel whose path the person was shown last.
    pub(in super::super) shown_channel: Option<CircuitId>,
    /// Since when the contact has not been reached.
    pub(super) apart_since: Instant,
    /// True once the person was told that nobody answers to an invite.
    pub(super) complained: bool,
}

impl Contact {
    pub(super) fn new(id: ContactId, record: ContactRecord, now: Instant) -> Self {
        let stored = match &record.stage {
            Stage::Established(established) => (established.receive.next(), established.last),
            _ => (0, None),
        };
        let mut contact = Self {
            id,
            record,
            session: 0,
            stored,
            state: ContactState::Connecting,
            channel: None,
            shown_channel: None,
            apart_since: now,
            complained: false,
        };
        contact.state = contact.state_without(ContactState::Connecting);
        contact
    }

    /// The contact's state while there is no open channel, where the stage does not say another one.
    pub(super) const fn state_without(&self, otherwise: ContactState) -> ContactState {
        match &self.record.stage {
            _ if self.record.blocked => ContactState::Blocked,
            Stage::RequestSent(request) if request.declined => ContactState::Declined,
            Stage::RequestSent(_) => ContactState::Requested,
            _ => otherwise,
        }
    }

    /// What the person is told of the contact. Of somebody who has only asked to be one, only the request.
    pub(in super::super) fn event(&self) -> Event {
        match &self.record.stage {
            Stage::RequestReceived(request) => Event::Request {
                id: self.id,
                name: self.record.name.clone(),
                note: request.note.clone(),
                invite_note: request.invite_note.clone(),
                asked_at: request.at,
            },
            _ => Event::Contact {
                id: self.id,
                name: self.record.name.clone(),
                state: self.state,
                verified: self.record.verified,
            },
        }
    }

    /// True if the person sees the contact. Those who were declined are only kept to be told, and those who were blocked
    /// before they were a contact to be recognised.
    pub(in super::super) fn is_shown(&self) -> bool {
        let is_blocked = self.record.blocked;
        !matches!(&self.record.stage, Stage::RequestReceived(request) if request.declined || is_blocked)
    }

    /// True for somebody who has asked to become a contact, decided or not.
    pub(in super::super) const fn is_request(&self) -> bool {
        matches!(self.record.stage, Stage::RequestReceived(_))
    }

    /// True if the contact is to be looked for while there is no circuit to them.
    fn is_wanted(&self) -> bool {
        let decided = match &self.record.stage {
            Stage::InviteHeld(_) | Stage::Established(_) => true,
            Stage::RequestSent(request) => !request.declined,
            Stage::RequestReceived(_) => false,
        };
        decided && !self.record.blocked
    }

    pub(super) fn relationship(&self) -> Option<&Relationship> {
        self.record.relationship.as_ref()
    }

    /// The session, if there is one.
    pub(in super::super) fn established(&self) -> Option<&Established> {
        match &self.record.stage {
            Stage::Established(established) => Some(established),
            _ => None,
        }
    }

    /// The session, if there is one.
    pub(in super::super) fn established_mut(&mut self) -> Option<&mut Established> {
        match &mut self.record.stage {
            Stage::Established(established) => Some(established),
            _ => None,
        }
    }

    /// Says to the room below how the contact can be reached now.
    pub(super) fn set_approach(&self, onion: &mut OnionService, now: Instant) {
        if let Some(approach) = self.approach() {
            onion.set_peer(self.id, approach, now);
        }
    }

    /// Says to the room below whether the contact can reach this client now, and where.
    pub(super) fn set_service(&self, onion: &mut OnionService, now: Instant) {
        let caller = Caller::Contact(self.id);
        match self.service() {
            Some((key, verification, audience)) => onion.serve(caller, key, verification, audience, now),
            None => onion.stop_serving(caller),
        }
    }

    /// The contact is looked for from now on, as if for the first time.
    pub(super) const fn begin_search(&mut self, now: Instant) {
        (self.apart_since, self.complained) = (now, false);
    }

    /// How the contact can be reached.
    fn approach(&self) -> Option<Approach> {
        let wanted = self.is_wanted();
        match (&self.record.stage, self.relationship()) {
            (Stage::InviteHeld(held), _) => {
                let invite = Invite::parse(&held.invite).ok()?;
                Some(Approach {
                    their_key: invite.key,
                    verification: invite.verification(),
                    expires: invite.expires,
                    places: invite.places,
                    generation: 0,
                    role: None,
                    wanted,
                })
            }
            (_, Some(relationship)) => Some(Approach {
                their_key: relationship.their_key,
                verification: relationship.secret.verification(relationship.role.other()),
                places: relationship.places(),
                generation: relationship.generation,
                role: Some(relationship.role),
                expires: 0,
                wanted,
            }),
            (_, None) => None,
        }
    }

    /// What it takes to accept the contact's introductions. None if they are not accepted.
    fn service(&self) -> Option<(KeyBytes, [u8; 32], Audience)> {
        let relationship = self.relationship().filter(|_| !self.record.blocked)?;
        let Relationship { secret, role, key, acknowledged, .. } = relationship;
        let audience = Audience::Contact { secret: secret.clone(), role: *role, acknowledged: acknowledged.clone() };
        Some((key.clone(), secret.verification(*role), audience))
    }

    /// Writes the contact itself.
    pub(in super::super) fn put(&self, store: &mut Store) {
        store.put(Key::Contact(self.id).to_string(), &self.record);
    }

    /// Begins a session, in the place of whatever there was.
    pub(super) fn begin(&mut self, established: Established, store: &mut Store) {
        self.record.stage = Stage::Established(Box::new(established));
        self.session += 1;
        self.stored = (0, None);
        self.put(store);
    }
}
