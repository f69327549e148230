//! Contacts: how strangers become contacts by an invite, who they are, and the channels to them.
//!
//! A *channel* is a circuit that is joined to another client's. Greetings on it make or find a contact; once a channel is
//! open, messages on it belong to the room above ([`ContactsEvent::Frame`]).
//!
//! # Layout
//!
//! - `records`: what is on disk
//! - `contact`: a contact in memory
//! - `names`: what contacts are called
//! - `invites`: making and publishing invites; `adding`: using somebody else's
//! - `requests`: how a stranger's request is answered
//! - `blocking`: blocking and forgetting
//! - `safety`: safety numbers
//! - `channel`: the state of a channel; `channels`: frames and pings on it
//! - `greeting`: what two who know each other say first, and sessions that are out of step
//! - `points`: where contacts find each other

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use self::channel::PeerChannel;
pub(super) use self::contact::Contact;
use self::invites::OpenInvite;
pub(super) use self::records::{ContactRecord, InviteRecord};
use super::api::{ContactId, ContactState, MessageId};
use super::circuits::CircuitId;
use super::context::Context;
use super::onion_service::{Caller, OnionService, OnionServiceEvent};
use super::store::AfterPersist;
use crate::cell::message::StreamId;
use crate::messaging::frame::Frame;
use crate::netdir::Authorities;
use crate::time::Instant;

mod adding;
mod blocking;
mod channel;
mod channels;
mod contact;
mod greeting;
mod invites;
mod names;
mod points;
mod records;
mod requests;
mod safety;

/// After this time without a channel a contact counts as offline.
const OFFLINE_AFTER: Duration = Duration::from_secs(20);

/// Contacts that a profile may have, requests among them: as many as the lists of the introduction points hold.
const MAX_CONTACTS: usize = 800;

/// What happened, for the rooms above.
#[derive(Debug)]
pub(super) enum ContactsEvent {
    /// A session has begun, in the place of whatever there was: everything that waits is encrypted anew.
    SessionBegan(ContactId),
    /// A channel is open: messages go both ways.
    Opened {
        /// The channel.
        circuit: CircuitId,
        /// The contact.
        contact: ContactId,
        /// Messages of this client below this sequence number are stored there.
        received: u64,
        /// The last of them.
        last: Option<MessageId>,
        /// The last that the contact has read.
        read: Option<MessageId>,
    },
    /// The contact said something on an open channel that is not about contacts.
    Frame {
        /// The channel.
        circuit: CircuitId,
        /// The contact.
        contact: ContactId,
        /// What.
        frame: Frame,
    },
    /// A channel to the contact is gone.
    Closed(ContactId),
    /// Nothing of the contact stays.
    Forgotten(ContactId),
}

/// What follows a durable batch.
#[derive(Debug)]
enum FollowUp {
    /// What this channel waited for is stored: says so there.
    Greeted(CircuitId),
    /// What a contact has to be told is stored: tells them, if they are there.
    Decided(ContactId),
    /// Where a contact accepts introductions is stored: says so on this channel.
    PointsKept(CircuitId),
}

/// The contact broke the protocol: this channel ends.
struct Violation;

/// All contacts, open invites and channels.
pub(super) struct Contacts {
    /// The first bytes of the network's id.
    network: [u8; 8],
    contacts: BTreeMap<ContactId, Contact>,
    invites: BTreeMap<u64, OpenInvite>,
    channels: BTreeMap<CircuitId, PeerChannel>,
    /// Channels on which bytes have arrived, with the stream to acknowledge once they are handled.
    readable: VecDeque<(CircuitId, StreamId)>,
    after: AfterPersist<FollowUp>,
    events: VecDeque<ContactsEvent>,
}

impl Contacts {
    /// Starts with what an earlier run has stored.
    pub(super) fn new(
        authorities: &Authorities,
        contacts: BTreeMap<ContactId, ContactRecord>,
        invites: BTreeMap<u64, InviteRecord>,
        onion: &mut OnionService,
        now: Instant,
    ) -> Self {
        let contacts = contacts.into_iter().map(|(id, record)| (id, Contact::new(id, record, now)));
        // Only invites whose links were given out are on disk.
        let invites = invites.into_iter().map(|(id, record)| (id, OpenInvite { record, published: true }));
        let mut network = [0; 8];
        network.copy_from_slice(&authorities.network().as_bytes()[..8]);
        let contacts = Self {
            network,
            contacts: contacts.collect(),
            invites: invites.collect(),
            channels: BTreeMap::new(),
            readable: VecDeque::new(),
            after: AfterPersist::default(),
            events: VecDeque::new(),
        };
        contacts.invites.keys().for_each(|id| contacts.serve_invite(*id, onion, now));
        contacts.contacts.keys().for_each(|id| contacts.set_reach(*id, onion, now));
        contacts
    }

    // ---- driving ----

    /// Takes what happened to introductions and joined circuits.
    pub(super) fn handle(&mut self, event: OnionServiceEvent, onion: &mut OnionService, cx: &mut Context<'_>) {
        match event {
            OnionServiceEvent::Joined { circuit, with, role, generation, stream } => match with {
                Caller::Invite(invite) => self.joined_by_invite(circuit, invite, role, *stream, cx),
                Caller::Contact(id) => self.joined(circuit, id, role, generation, *stream, cx),
            },
            OnionServiceEvent::Data(circuit, stream, data) => self.received(circuit, stream, &data),
            OnionServiceEvent::Closed(circuit) => self.channel_closed(circuit, cx),
            OnionServiceEvent::PointsChanged => self.send_all_points(cx),
            OnionServiceEvent::PointConfirmed => self.publish_invites(onion, cx),
            OnionServiceEvent::PointGone(relay) => self.move_invites_from(&relay, onion),
            OnionServiceEvent::SearchFailed(id, tries) => self.search_failed(id, tries, cx),
            OnionServiceEvent::InviteExpired(id) => self.invite_expired(id, cx),
            OnionServiceEvent::OfferFallback(circuit, introduction) => {
                self.send_frame(circuit, &Frame::Fallback(introduction), cx);
            }
        }
    }

    /// Does what had to wait for the disk; returns whether there was anything.
    pub(super) fn follow_up(&mut self, onion: &mut OnionService, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        while let Some(follow_up) = self.after.pop(cx.store) {
            any = true;
            match follow_up {
                FollowUp::Greeted(circuit) => self.greeted(circuit, onion, cx),
                FollowUp::Decided(id) => self.decided(id, cx),
                FollowUp::PointsKept(circuit) => self.send_frame(circuit, &Frame::PointsKept, cx),
            }
        }
        any
    }

    /// Brings everything to where it should be by now.
    pub(super) fn maintain(&mut self, onion: &mut OnionService, cx: &mut Context<'_>) {
        self.check_offline(cx);
        if cx.circuits.consensus().is_some() {
            self.maintain_invites(onion, cx);
        }
    }

    /// When something is to be done even without an input.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let channels = self.channels.values().map(PeerChannel::poll_timeout);
        let is_connecting = |contact: &&Contact| contact.channel.is_none() && contact.state == ContactState::Connecting;
        let apart = self.contacts.values().filter(is_connecting).map(|contact| contact.apart_since + OFFLINE_AFTER);
        channels.chain(apart).min()
    }

    /// Contacts who could not be reached for a while count as offline.
    fn check_offline(&mut self, cx: &mut Context<'_>) {
        let now = cx.now.instant;
        for contact in self.contacts.values_mut() {
            let waited = now.saturating_since(contact.apart_since) >= OFFLINE_AFTER;
            if contact.channel.is_none() && contact.state == ContactState::Connecting && waited {
                contact.state = ContactState::Offline;
                cx.event(contact.event());
            }
        }
    }

    // ---- who there is ----

    /// All contacts, those who have asked to become one among them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Contact> {
        self.contacts.values()
    }

    /// All contacts, those who have asked to become one among them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Contact> {
        self.contacts.values_mut()
    }

    /// A contact.
    pub(super) fn get(&self, id: ContactId) -> Option<&Contact> {
        self.contacts.get(&id)
    }

    /// A contact.
    pub(super) fn get_mut(&mut self, id: ContactId) -> Option<&mut Contact> {
        self.contacts.get_mut(&id)
    }

    /// Takes somebody in.
    fn add_contact(&mut self, record: ContactRecord, onion: &mut OnionService, cx: &mut Context<'_>) -> &mut Contact {
        let id = ContactId(cx.profile.next_contact);
        cx.profile.next_contact += 1;
        cx.put_profile();
        let contact = Contact::new(id, record, cx.now.instant);
        contact.put(cx.store);
        contact.set_service(onion, cx.now.instant);
        contact.set_approach(onion, cx.now.instant);
        self.contacts.entry(id).or_insert(contact)
    }

    fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.contacts.values().map(|contact| contact.record.name.as_str())
    }

    /// Says to the room below how a contact can be reached now, and whether they can reach this client.
    fn set_reach(&self, id: ContactId, onion: &mut OnionService, now: Instant) {
        if let Some(contact) = self.contacts.get(&id) {
            contact.set_service(onion, now);
            contact.set_approach(onion, now);
        }
    }
}
