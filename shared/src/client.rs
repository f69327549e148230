//! The client's engine: one state machine behind the page and the native client.
//!
//! The driver's rule: after [`Client::new`] and after each [`Client::handle`] take outputs with [`Client::poll_output`]
//! until there are none, then sleep until [`Client::poll_timeout`] or the next input, whichever comes first.
//!
//! # Layout
//!
//! - [`api`]: what goes in and what comes out
//! - `circuits`: links, paths, circuits, the consensus and the network's time, as a state machine of its own
//! - `circuit_list`: the circuits as people see them
//! - `pool`: the introduction points of this client
//! - `rendezvous`, `meetings`: introducing oneself, and coming where others say
//! - `fallback`: where two who are joined meet again
//! - `peer_channel`, `peer_channels`: what joined contacts say
//! - `approvals`: how strangers become contacts
//! - `keys`: publishing one's own key, and looking up others'
//! - `network_view`: the consensus as people see it
//! - `contacts`, `store`: what is kept, in memory and on disk

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::api::{
    BatchId, Command, ContactId, ContactState, DeliveryState, Event, Input, InviteId, InviteInfo, MAX_NOTE_LEN,
    MAX_TEXT_LEN, MessageId, Output, Progress,
};
use self::circuits::relays::{Guard, SecondHop};
use self::circuits::{CircuitEvent, CircuitId, CircuitManager, CircuitPurpose, ClockRecord};
use self::contacts::{
    Contact, ContactRecord, Introductions, InviteHeld, InviteRecord, KeyBytes, OpenInvite, Outgoing, Stage, unique_name,
};
use self::keys::Keys;
use self::peer_channel::PeerChannel;
use self::pool::{IntroPointCircuit, IntroPointManager, IntroPointRecord};
use self::rendezvous::{ClientRendezvous, Introduce, ServiceRendezvous};
use self::store::{AfterPersist, Direction, Key, MessageRecord, Store};
use crate::cell::DestroyReason;
use crate::cell::message::RelayMessage;
use crate::contact::invite::{Invite, InviteError};
use crate::crypto::keys::{OnionSecret, RelayIdentity};
use crate::messaging::frame::Frame;
use crate::messaging::session::OlmAccount;
use crate::netdir::{Authorities, Consensus};
use crate::time::{Instant, Now, UnixTime};

pub mod api;
mod approvals;
mod circuit_list;
mod circuits;
mod contacts;
mod fallback;
mod keys;
mod meetings;
mod network_view;
mod peer_channel;
mod peer_channels;
mod pool;
mod rendezvous;
mod store;

pub use self::circuits::{CircuitCounts, CircuitLosses, relays};
pub use self::keys::{KEY_SERVERS, key_servers};
pub use self::pool::INTRO_POINTS;
pub use self::store::history_entry;

/// After this time without a contact it counts as offline.
const OFFLINE_AFTER: Duration = Duration::from_secs(20);

/// Invites that may be open at once.
const MAX_INVITES: usize = 32;

/// Contacts that a profile may have, requests among them: as many as the lists of the introduction circuits hold.
const MAX_CONTACTS: usize = 800;

/// The longest note about an invite, in bytes.
const MAX_INVITE_NOTE: usize = 200;

/// Messages that may wait for one contact.
const MAX_OUTBOX: usize = 10_000;

/// What an engine needs to know of its network.
#[derive(Clone, Debug)]
pub struct Config {
    authorities: Authorities,
    secure_links: bool,
}

impl Config {
    /// A client of the network of these authorities.
    pub fn new(authorities: Authorities) -> Self {
        Self { authorities, secure_links: false }
    }

    /// Whether links may be opened to `wss://` addresses only, as in a page that came by https. Guards that have none are
    /// not used then.
    pub fn with_secure_links(self, secure_links: bool) -> Self {
        Self { secure_links, ..self }
    }
}

/// Why an engine cannot begin with what its store holds.
#[derive(Debug, Error)]
pub enum ClientError {
    /// A record that this version did not write.
    #[error("the profile's record {key} cannot be read: {problem}")]
    Record {
        /// The record's key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// The engine of one profile.
pub struct Client {
    config: Config,
    rng: ChaCha20Rng,
    now: Now,
    outputs: VecDeque<Output>,
    store: Store,
    circuits: CircuitManager,
    keys: Keys,
    contacts: BTreeMap<ContactId, Contact>,
    invites: BTreeMap<u64, OpenInvite>,
    pool: IntroPointManager,
    profile: Profile,
    progress: Progress,
    // What each circuit is used for; a circuit is in one of these at most.
    intro_circuits: BTreeMap<CircuitId, IntroPointCircuit>,
    client_rendezvous: BTreeMap<CircuitId, ClientRendezvous>,
    introduces: BTreeMap<CircuitId, Introduce>,
    service_rendezvous: BTreeMap<CircuitId, ServiceRendezvous>,
    channels: BTreeMap<CircuitId, PeerChannel>,
}

/// The record of the profile itself.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Profile {
    guards: Vec<Guard>,
    #[serde(default)]
    second_hops: Vec<SecondHop>,
    /// The relays where this client takes introductions.
    #[serde(default)]
    slots: Vec<IntroPointRecord>,
    next_contact: u64,
    next_invite: u64,
    /// The secret of the key by which others may know this profile.
    #[serde(default)]
    identity: Option<KeyBytes>,
    /// Whether contacts are not told what has been read.
    #[serde(default)]
    no_receipts: bool,
    /// Whether contacts are not told when the person is writing.
    #[serde(default)]
    no_typing: bool,
    /// When that key is to be published again, by the network's time; nothing if the person has never published it.
    #[serde(default)]
    publish_key_at: Option<UnixTime>,
}

impl Client {
    /// Starts the engine with everything that an earlier run has stored: records with their keys, in any order.
    ///
    /// `seed` has to be fresh randomness from the system.
    ///
    /// # Errors
    ///
    /// If a record cannot be read: better not to begin than to lose it.
    pub fn new(config: Config, records: Vec<(String, Vec<u8>)>, seed: [u8; 32], now: Now) -> Result<Self, ClientError> {
        let restored = Restored::read(records, now)?;
        let consensus = circuits::restore_consensus(restored.consensus.as_deref(), &config.authorities);
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut circuit_seed = [0; 32];
        rng.fill_bytes(&mut circuit_seed);
        let guards = (restored.profile.guards.clone(), restored.profile.second_hops.clone());
        let circuits = CircuitManager::new(config.clone(), consensus, restored.clock, guards, circuit_seed, now);
        let mut client = Self {
            config,
            rng,
            now,
            outputs: VecDeque::new(),
            store: Store::default(),
            circuits,
            keys: Keys::default(),
            contacts: restored.contacts,
            invites: restored.invites,
            pool: IntroPointManager::default(),
            profile: restored.profile,
            progress: Progress::FetchingDirectory,
            intro_circuits: BTreeMap::new(),
            client_rendezvous: BTreeMap::new(),
            introduces: BTreeMap::new(),
            service_rendezvous: BTreeMap::new(),
            channels: BTreeMap::new(),
        };
        client.begin_identity();
        let events = client.snapshot();
        client.outputs.extend(events.into_iter().map(Output::Event));
        client.drive();
        Ok(client)
    }

    /// Takes an input.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.now = now;
        self.circuits.set_now(now);
        match input {
            Input::Command(command) => self.command(command),
            Input::LinkOpened(id) => self.circuits.link_opened(id),
            Input::LinkMessage(id, message) => self.circuits.link_message(id, message),
            Input::LinkClosed(id) => self.circuits.link_lost(id),
            Input::Consensus { source, answer } => self.circuits.consensus_fetched(source, answer),
            Input::Persisted(batch) => self.persisted(batch),
            Input::Timeout => {}
        }
        self.drive();
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle`] with [`Input::Timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let channels = self.channels.values().map(PeerChannel::poll_timeout);
        let contacts = self.contacts.values().flat_map(|contact| {
            let apart = contact.channel.is_none();
            let offline =
                (apart && contact.state == ContactState::Connecting).then(|| contact.search.since + OFFLINE_AFTER);
            // What is due already waits for a link to open, not for the time.
            let next =
                (apart && contact.is_wanted()).then_some(contact.search.next).filter(|next| *next > self.now.instant);
            offline.into_iter().chain(next).chain(contact.typing.theirs)
        });
        let others = [
            self.circuits.poll_timeout(),
            self.keys_timeout(),
            self.pool_timeout(),
            self.meetings_timeout(),
            self.fallback_timeout(),
        ];
        channels.chain(contacts).chain(others.into_iter().flatten()).min()
    }

    /// What somebody has to hear who comes now, to know as much as those who have heard every event. Conversations are in the
    /// store; only what nobody has seen of them is told again.
    pub fn snapshot(&self) -> Vec<Event> {
        let mut events = vec![Event::Progress { step: self.progress }, self.privacy()];
        for contact in self.contacts.values().filter(|contact| contact.is_shown()) {
            events.push(contact.event());
            events.extend(contact.channel.is_some().then(|| self.path_event(contact)));
            if contact.typing.theirs.is_some() {
                events.push(Event::Typing { contact: contact.id, typing: true });
            }
            events.extend(contact.unshown.values().map(|record| Event::Message {
                contact: contact.id,
                id: record.id,
                text: record.text.clone(),
                received_at: record.at,
            }));
        }
        events
    }

    /// How many circuits there are, complete or not.
    pub fn circuits(&self) -> usize {
        self.circuits.len()
    }

    /// What has become of all circuits so far.
    pub fn circuit_counts(&self) -> CircuitCounts {
        self.circuits.counts()
    }

    /// The list of relays that is in use.
    pub const fn consensus(&self) -> Option<&Consensus> {
        self.circuits.consensus()
    }

    /// The contact with this name.
    pub fn find_contact(&self, name: &str) -> Option<ContactId> {
        self.contacts.values().find(|contact| contact.record.name == name).map(|contact| contact.id)
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Invite { reusable, expires_in, note } => self.make_invite(reusable, expires_in, &note),
            Command::Withdraw { id } => {
                self.end_invite(id.0);
                self.tell_invites();
            }
            Command::Invites => self.tell_invites(),
            Command::Add { link, name, introduce_as, note } => {
                let added = self.add(&link, &name, introduce_as, note);
                self.report("add", added);
            }
            Command::Accept { id } => {
                let approved = self.accept_request(id);
                self.report("request", approved);
            }
            Command::Decline { id } => {
                let rejected = self.decline_request(id);
                self.report("request", rejected);
            }
            Command::Block { id } => {
                let blocked = self.block(id, true);
                self.report("block", blocked);
            }
            Command::Unblock { id } => {
                let unblocked = self.block(id, false);
                self.report("block", unblocked);
            }
            Command::Safety { contact } => self.tell_safety(contact),
            Command::Verify { contact, verified } => {
                let verified = self.verify(contact, verified);
                self.report("verify", verified);
            }
            Command::Read { contact } => self.read(contact),
            Command::Typing { contact, typing } => self.say_typing(contact, typing && !self.profile.no_typing),
            Command::Receipts { on } => {
                self.profile.no_receipts = !on;
                self.privacy_changed();
            }
            Command::TypingNotices { on } => {
                self.profile.no_typing = !on;
                self.privacy_changed();
            }
            Command::Blocked => {
                let event = self.blocked();
                self.event(event);
            }
            Command::Send { to, text } => self.send_text(to, text),
            Command::Circuits => {
                let list = self.circuit_list();
                self.event(Event::Circuits { list });
            }
            Command::PublishKey => self.publish_key(false),
            Command::FindKey { id } => self.find_key(id),
            Command::Network { watch } => self.circuits.watch_network(watch),
            Command::Shown { contact, id } => {
                if let Some(contact) = self.contacts.get_mut(&contact) {
                    contact.shown(id, &mut self.store);
                }
            }
        }
    }

    fn privacy(&self) -> Event {
        Event::Privacy { receipts: !self.profile.no_receipts, typing: !self.profile.no_typing }
    }

    fn privacy_changed(&mut self) {
        self.put_profile();
        let event = self.privacy();
        self.store.then(AfterPersist::Tell(event));
        if self.profile.no_typing {
            let writing = self.contacts.values().filter(|contact| contact.typing.ours);
            let told: Vec<_> = writing.map(|contact| contact.id).collect();
            told.into_iter().for_each(|id| self.say_typing(id, false));
        }
    }

    fn make_invite(&mut self, reusable: bool, expires_in: Option<u64>, note: &str) {
        if self.invites.len() >= MAX_INVITES {
            let message = format!("There are {MAX_INVITES} open invites. Withdraw one that you do not need any more.");
            return self.error("invite", message);
        }
        let now = self.circuits.network_now().unix;
        let expires = match expires_in {
            None => 0,
            Some(secs) => match u32::try_from(now.as_secs().saturating_add(secs).div_ceil(60)) {
                Ok(minutes) if secs > 0 => minutes,
                _ => {
                    return self.error(
                        "invite",
                        "An invite ends after at least a second, and before the year 10136.".to_owned(),
                    );
                }
            },
        };
        let mut secret = [0; 16];
        self.rng.fill_bytes(&mut secret);
        let record = InviteRecord {
            key: KeyBytes::of(&OnionSecret::generate(&mut self.rng)),
            secret,
            reusable,
            expires,
            note: note[..note.floor_char_boundary(MAX_INVITE_NOTE)].to_owned(),
            made_at: now,
            places: Vec::new(),
        };
        let id = self.profile.next_invite;
        self.profile.next_invite += 1;
        self.put_profile();
        let introductions = Introductions::new(self.now.instant);
        self.begin_invite(id, OpenInvite { record, published: false, introductions });
    }

    /// Gives an invite's link out, once it is on disk.
    fn publish(&mut self, id: u64) {
        let prefix = self.network_prefix();
        let Some(invite) = self.invites.get_mut(&id) else { return };
        invite.published = true;
        self.store.put(Key::Invite(id).to_string(), &invite.record);
        let fragment = invite.invite(prefix).to_fragment();
        self.store.then(AfterPersist::Tell(Event::Invite { id: InviteId(id), fragment }));
    }

    fn tell_invites(&mut self) {
        let prefix = self.network_prefix();
        let list = self.invites.iter().filter(|(_, invite)| invite.published);
        let list = list.map(|(id, invite)| InviteInfo {
            id: InviteId(*id),
            fragment: invite.invite(prefix).to_fragment(),
            reusable: invite.record.reusable,
            expires_at: (invite.record.expires != 0)
                .then(|| UnixTime::from_millis(u64::from(invite.record.expires) * 60_000)),
            note: invite.record.note.clone(),
            made_at: invite.record.made_at,
        });
        let list = list.collect();
        self.event(Event::Invites { list });
    }

    fn add(&mut self, link: &str, name: &str, introduce_as: Option<String>, note: String) -> Result<(), String> {
        let invite = Invite::parse(link).map_err(|error| error.to_string())?;
        if invite.network != self.network_prefix() {
            return Err(InviteError::OtherNetwork.to_string());
        }
        if invite.is_over(self.circuits.network_now().unix) {
            return Err(InviteError::Expired.to_string());
        }
        if note.len() > MAX_NOTE_LEN {
            return Err(format!("A note has at most {MAX_NOTE_LEN} bytes; this one has {}.", note.len()));
        }
        if self.contacts.len() >= MAX_CONTACTS {
            return Err(format!("There are {MAX_CONTACTS} contacts already."));
        }
        let fragment = invite.to_fragment();
        if self.invites.values().any(|own| *own.record.key.secret().public().as_bytes() == invite.key) {
            return Err("This is an invite of your own: give it to somebody else.".to_owned());
        }
        let is_known = |contact: &Contact| contact.record.invite == Some(invite.key);
        if let Some(contact) = self.contacts.values().find(|contact| is_known(contact)) {
            return Err(format!("This invite is used already, for {}.", contact.record.name));
        }
        if let Some(consensus) = self.circuits.consensus()
            && !invite.places.iter().any(|(relay, _)| consensus.relay(relay).is_some())
        {
            return Err(InviteError::RelaysGone.to_string());
        }
        let names = self.contacts.values().map(|contact| contact.record.name.as_str());
        let name = unique_name(name, names);
        let introduce_as = match introduce_as {
            Some(own) if !own.trim().is_empty() => unique_name(&own, core::iter::empty()),
            _ => self.made_up_name(),
        };
        let key = KeyBytes::of(&OnionSecret::generate(&mut self.rng));
        let account = OlmAccount::generate();
        let invited = InviteHeld { invite: fragment, introduce_as, note, account, key };
        let event = self
            .new_contact(ContactRecord {
                name,
                next_message: 0,
                blocked: false,
                verified: false,
                read: None,
                invite: Some(invite.key),
                came_by: None,
                relationship: None,
                stage: Stage::InviteHeld(Box::new(invited)),
            })
            .event();
        self.store.then(AfterPersist::Tell(event));
        Ok(())
    }

    fn tell_safety(&mut self, id: ContactId) {
        let Some(contact) = self.contacts.get(&id) else { return };
        let number = contact.relationship().map(|relationship| relationship.safety_number().to_string());
        let event = Event::Safety { contact: id, number, verified: contact.record.verified };
        self.store.then(AfterPersist::Tell(event));
    }

    /// The person has compared a contact's safety number, or takes back that it was the same.
    fn verify(&mut self, id: ContactId, verified: bool) -> Result<(), String> {
        let contact = self.contacts.get_mut(&id).ok_or("There is no such contact.")?;
        if verified && contact.relationship().is_none() {
            return Err(format!("{} has not answered yet, so there is nothing to compare.", contact.record.name));
        }
        contact.record.verified = verified;
        contact.put(&mut self.store);
        if !matches!(contact.record.stage, Stage::RequestReceived(_)) {
            let event = contact.event();
            self.store.then(AfterPersist::Tell(event));
        }
        self.tell_safety(id);
        Ok(())
    }

    fn send_text(&mut self, to: ContactId, text: String) {
        if text.is_empty() || text.len() > MAX_TEXT_LEN {
            let message = format!("A message has 1 to {MAX_TEXT_LEN} bytes; this one has {}.", text.len());
            return self.error("send", message);
        }
        let mut id = [0; 16];
        self.rng.fill_bytes(&mut id);
        match self.contacts.get_mut(&to) {
            None => self.error("send", "There is no such contact.".to_owned()),
            Some(contact) if contact.record.blocked => {
                let message = format!("{} is blocked. Unblock them first.", contact.record.name);
                self.error("send", message);
            }
            Some(Contact { record: ContactRecord { stage: Stage::RequestReceived(_), name, .. }, .. }) => {
                let message = format!("{name} is no contact yet. Accept their request first.");
                self.error("send", message);
            }
            Some(contact) if contact.state == ContactState::Declined => {
                let message = format!("{} has declined your request.", contact.record.name);
                self.error("send", message);
            }
            Some(contact) if contact.outbox.len() >= MAX_OUTBOX => {
                let message = format!("{MAX_OUTBOX} messages already wait for {}.", contact.record.name);
                self.error("send", message);
            }
            Some(contact) => contact.queue(MessageId(id), text, self.now.unix, &mut self.store),
        }
    }

    // ---- circuits ----

    /// Handles all that happened to circuits.
    fn circuit_events(&mut self) {
        while let Some(event) = self.circuits.poll_event() {
            match event {
                CircuitEvent::Opened(id) => self.circuit_opened(id),
                CircuitEvent::Message(id, message) => self.relay_message(id, *message),
                CircuitEvent::Data(id, stream, data) => self.channel_data(id, stream, &data),
                CircuitEvent::StreamEnded(id) => self.close_circuit(id, DestroyReason::Protocol),
                CircuitEvent::Closed(id) => self.circuit_closed(id),
                CircuitEvent::Answered(CircuitPurpose::UserKeys, id, result) => self.keys_result(id, &result),
                CircuitEvent::Answered(..) => {}
                CircuitEvent::RoomForMore => self.bring_held_up(),
                CircuitEvent::PathsChanged => self.drop_outdated_fallbacks(),
            }
        }
    }

    fn circuit_opened(&mut self, id: CircuitId) {
        if self.intro_circuits.contains_key(&id) {
            self.point_reached(id);
        } else if self.client_rendezvous.contains_key(&id) {
            self.establish(id);
        } else if self.introduces.contains_key(&id) {
            self.bring(id);
        } else if self.service_rendezvous.contains_key(&id) {
            self.arrive(id);
        }
    }

    /// A message of the last hop that belongs to no stream.
    fn relay_message(&mut self, id: CircuitId, message: RelayMessage) {
        let (is_point, is_wait) = (self.intro_circuits.contains_key(&id), self.client_rendezvous.contains_key(&id));
        match message {
            RelayMessage::IntroEstablished if is_point => self.point_established(id),
            RelayMessage::Introduce2(fragment) if is_point => self.introduction_fragment(id, &fragment),
            RelayMessage::RendezvousEstablished if is_wait => self.established(id),
            RelayMessage::Rendezvous2(fragment) if is_wait => self.answer_fragment(id, &fragment),
            RelayMessage::IntroduceAck { effort, seed } if self.introduces.contains_key(&id) => {
                self.brought(id, effort, seed);
            }
            // Whoever asked for this has given up meanwhile.
            RelayMessage::RendezvousUnknown if self.channels.contains_key(&id) => self.drop_circuit(id),
            _ => self.close_circuit(id, DestroyReason::Protocol),
        }
    }

    /// A circuit is gone: whatever used it goes on without.
    fn circuit_closed(&mut self, id: CircuitId) {
        self.intro_circuits.remove(&id);
        if let Some(wait) = self.client_rendezvous.remove(&id) {
            self.wait_lost(id, &wait);
        }
        if let Some(bring) = self.introduces.remove(&id) {
            self.bring_lost(&bring);
        }
        if let Some(come) = self.service_rendezvous.remove(&id) {
            self.come_lost(come);
        }
        if let Some(channel) = self.channels.remove(&id) {
            self.channel_lost(id, &channel);
        }
    }

    /// Closes a circuit that is not wanted any more.
    fn drop_circuit(&mut self, id: CircuitId) {
        self.end_circuit(id, DestroyReason::Requested);
    }

    /// Closes a circuit that is not wanted any more, for a reason that travels to its end.
    fn end_circuit(&mut self, id: CircuitId, reason: DestroyReason) {
        self.circuits.close(id, reason);
        self.circuit_closed(id);
    }

    /// Closes a circuit that went wrong.
    fn close_circuit(&mut self, id: CircuitId, reason: DestroyReason) {
        self.circuits.fail(id, reason);
        self.circuit_closed(id);
    }

    fn persisted(&mut self, batch: BatchId) {
        for then in self.store.persisted(batch) {
            self.follow(then);
        }
    }

    fn follow(&mut self, then: AfterPersist) {
        match then {
            AfterPersist::Tell(event) => self.event(event),
            AfterPersist::Transmit { contact, session, durable } => {
                if let Some(contact) = self.contacts.get_mut(&contact).filter(|contact| contact.session == session) {
                    contact.durable = contact.durable.max(durable);
                }
                self.transmit(contact);
            }
            AfterPersist::Stored { contact, session, received, last } => {
                if self.contacts.get(&contact).is_some_and(|contact| contact.session == session) {
                    self.acknowledge(contact, received, last);
                }
            }
            AfterPersist::Greeted(key) => self.greeted(key),
            AfterPersist::Decided(contact) => self.decided(contact),
            AfterPersist::PointsKept(key) => self.send_frame(key, &Frame::PointsKept),
        }
    }

    /// Brings everything to where it should be by now, and sends what is queued.
    fn drive(&mut self) {
        self.circuit_events();
        self.circuits.check_deadlines();
        self.circuit_events();
        self.check_channels();
        self.check_offline();
        let invites = &self.invites;
        let is_invite_place = |relay: &RelayIdentity| {
            invites.values().flat_map(|invite| &invite.record.places).any(|(place, _)| place == relay)
        };
        self.circuits.maintain(is_invite_place);
        self.circuit_events();
        self.maintain_intro_points();
        self.maintain_introductions();
        self.maintain_fallbacks();
        self.circuits.maintain_spares();
        self.maintain_keys();
        self.circuit_events();
        for (key, value) in self.circuits.take_records() {
            self.store.put_bytes(key.to_string(), value);
        }
        if let Some((guards, second_hops)) = self.circuits.take_changed_guards() {
            (self.profile.guards, self.profile.second_hops) = (guards, second_hops);
            self.put_profile();
        }
        loop {
            let follows = self.store.flush(&mut self.outputs);
            if follows.is_empty() {
                break;
            }
            for then in follows {
                self.follow(then);
            }
            self.circuit_events();
        }
        self.show_paths();
        self.circuits.flush();
        self.circuit_events();
        while let Some(output) = self.circuits.poll_output() {
            self.outputs.push_back(output);
        }
        self.report_progress();
    }

    /// Contacts who could not be reached for a while count as offline.
    fn check_offline(&mut self) {
        let now = self.now.instant;
        let mut events = Vec::new();
        for contact in self.contacts.values_mut() {
            let waited = now.saturating_since(contact.search.since) >= OFFLINE_AFTER;
            if contact.channel.is_none() && contact.state == ContactState::Connecting && waited {
                contact.state = ContactState::Offline;
                events.push(contact.event());
            }
        }
        events.into_iter().for_each(|event| self.event(event));
    }

    fn report_progress(&mut self) {
        let step = self.circuits.progress();
        if step != self.progress {
            self.progress = step;
            self.event(Event::Progress { step });
        }
    }

    fn put_profile(&mut self) {
        self.store.put(Key::Profile.to_string(), &self.profile);
    }

    fn network_prefix(&self) -> [u8; 8] {
        let mut prefix = [0; 8];
        prefix.copy_from_slice(&self.config.authorities.network().as_bytes()[..8]);
        prefix
    }

    fn made_up_name(&mut self) -> String {
        format!("Guest {:04}", self.rng.next_u32() % 10_000)
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn report(&mut self, about: &str, outcome: Result<(), String>) {
        if let Err(message) = outcome {
            self.error(about, message);
        }
    }

    fn error(&mut self, about: &str, message: String) {
        self.event(Event::Error { about: about.to_owned(), message });
    }
}

/// What an earlier run has left.
struct Restored {
    profile: Profile,
    contacts: BTreeMap<ContactId, Contact>,
    invites: BTreeMap<u64, OpenInvite>,
    consensus: Option<Vec<u8>>,
    clock: Option<ClockRecord>,
}

impl Restored {
    fn read(records: Vec<(String, Vec<u8>)>, now: Now) -> Result<Self, ClientError> {
        fn parse<'a, T: Deserialize<'a>>(key: &str, value: &'a [u8]) -> Result<T, ClientError> {
            serde_json::from_slice(value)
                .map_err(|error| ClientError::Record { key: key.to_owned(), problem: error.to_string() })
        }
        let mut restored = Self {
            profile: Profile::default(),
            contacts: BTreeMap::new(),
            invites: BTreeMap::new(),
            consensus: None,
            clock: None,
        };
        let mut messages = BTreeMap::new();
        for (key, value) in &records {
            match Key::parse(key) {
                Some(Key::Profile) => restored.profile = parse(key, value)?,
                // What is broken here is had again; nobody loses anything.
                Some(Key::Consensus) => restored.consensus = Some(value.clone()),
                Some(Key::Clock) => restored.clock = parse(key, value).ok(),
                Some(Key::Contact(id)) => {
                    restored.contacts.insert(id, Contact::new(id, parse(key, value)?, now.instant));
                }
                Some(Key::Invite(id)) => {
                    // Only those whose links were given out are on disk.
                    let (record, introductions) = (parse(key, value)?, Introductions::new(now.instant));
                    restored.invites.insert(id, OpenInvite { record, published: true, introductions });
                }
                Some(Key::Message(id, number)) => {
                    messages.insert((id, number), parse::<MessageRecord>(key, value)?);
                }
                None => {
                    let problem = "this version does not know it".to_owned();
                    return Err(ClientError::Record { key: key.clone(), problem });
                }
            }
        }
        for ((id, number), record) in messages {
            let Some(contact) = restored.contacts.get_mut(&id) else { continue };
            match record.direction {
                Direction::In { shown } => {
                    contact.known.insert(record.id);
                    contact.newest = Some(record.id);
                    if !shown {
                        contact.unshown.insert(number, record);
                    }
                }
                Direction::Out { state, sealed } => {
                    let MessageRecord { id, text, at, .. } = record;
                    let outgoing = Outgoing { number, id, text, at, state, sealed };
                    match state {
                        DeliveryState::Queued | DeliveryState::Sent => contact.outbox.push_back(outgoing),
                        DeliveryState::Delivered => contact.remember(outgoing),
                        DeliveryState::Read => contact.delivered = Some(outgoing.id),
                    }
                }
            }
        }
        Ok(restored)
    }
}
