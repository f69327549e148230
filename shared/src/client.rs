//! The client's engine: one state machine behind the page and the native client.
//!
//! The driver's rule: after [`Client::new`] and after each [`Client::handle`] take outputs with [`Client::poll_output`]
//! until there are none, then sleep until [`Client::poll_timeout`] or the next input, whichever comes first.
//!
//! [`Client`] owns the rooms and passes on what they say; it has no logic of its own. Calls go down the list below, and
//! each room's events go up through here.
//!
//! # Layout
//!
//! - [`api`]: what goes in and what comes out
//! - `conversations`: messages, what was received and read, who is writing
//! - `lookup`: publishing one's own key, and looking up others'
//! - `contacts`: invites, requests, contacts, and the channels to them
//! - `onion_service`: introductions and rendezvous
//! - `context`, `profile`: what these rooms share; `config`: which network they belong to
//! - `circuits`: links, paths, circuits, the consensus and the network's time
//! - `store`, `restore`: records on disk, and what has to wait until they are there
//! - `circuit_list`, `network_view`: circuits and the consensus as people see them
//! - `backoff`: how long to wait before something is tried again

use std::collections::VecDeque;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use self::api::{Command, ContactId, Event, Input, Output, Progress};
use self::circuits::{CircuitEvent, CircuitManager};
use self::contacts::Contacts;
use self::context::{Context, report};
use self::conversations::Conversations;
use self::lookup::{Lookup, LookupEvent};
use self::onion_service::OnionService;
use self::profile::Profile;
use self::restore::Restored;
use self::store::Store;
use crate::netdir::Consensus;
use crate::time::{Instant, Now};

pub mod api;
mod backoff;
mod circuit_list;
mod circuits;
mod config;
mod contacts;
mod context;
mod conversations;
mod lookup;
mod network_view;
mod onion_service;
mod profile;
mod restore;
mod store;

pub use self::circuits::{CircuitCounts, CircuitLosses, relays};
pub use self::config::Config;
pub use self::lookup::{KEY_SERVERS, key_servers};
pub use self::onion_service::INTRO_POINTS;
pub use self::restore::ClientError;
pub use self::store::history_entry;

/// The engine of one profile.
pub struct Client {
    rng: ChaCha20Rng,
    now: Now,
    outputs: VecDeque<Output>,
    progress: Progress,
    profile: Profile,
    store: Store,
    circuits: CircuitManager,
    onion: OnionService,
    contacts: Contacts,
    lookup: Lookup,
    conversations: Conversations,
}

/// What rooms get to do their work, from the fields that it borrows.
macro_rules! context {
    ($client:ident) => {
        &mut Context {
            now: $client.now,
            rng: &mut $client.rng,
            circuits: &mut $client.circuits,
            store: &mut $client.store,
            profile: &mut $client.profile,
            out: &mut $client.outputs,
        }
    };
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
        let restored = Restored::read(records)?;
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut circuit_seed = [0; 32];
        rng.fill_bytes(&mut circuit_seed);
        let (mut profile, mut store) = (restored.profile, Store::default());
        profile.ensure_identity(&mut rng, &mut store);
        let consensus = circuits::restore_consensus(restored.consensus.as_deref(), &config.authorities);
        let guards = (profile.guards.clone(), profile.second_hops.clone());
        let mut onion = OnionService::default();
        let contacts = Contacts::new(&config.authorities, restored.contacts, restored.invites, &mut onion, now.instant);
        let mut client = Self {
            rng,
            now,
            outputs: VecDeque::new(),
            progress: Progress::FetchingDirectory,
            profile,
            store,
            circuits: CircuitManager::new(config, consensus, restored.clock, guards, circuit_seed, now),
            onion,
            conversations: Conversations::new(&contacts, restored.messages),
            contacts,
            lookup: Lookup::default(),
        };
        client.outputs.extend(client.snapshot().into_iter().map(Output::Event));
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
            Input::Persisted(batch) => self.store.persisted(batch),
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
        let now = self.now.instant;
        let lookup = self.lookup.poll_timeout(now, &self.circuits, &self.profile);
        let (circuits, onion) = (self.circuits.poll_timeout(), self.onion.poll_timeout(now));
        let (contacts, conversations) = (self.contacts.poll_timeout(), self.conversations.poll_timeout());
        [lookup, circuits, onion, contacts, conversations].into_iter().flatten().min()
    }

    /// What a new listener has to hear, to know as much as those who have heard every event. Conversations are in the
    /// store; only messages that nobody has seen are repeated.
    pub fn snapshot(&self) -> Vec<Event> {
        let mut events = vec![Event::Progress { step: self.progress }, self.profile.privacy()];
        for contact in self.contacts.iter().filter(|contact| contact.is_shown()) {
            events.push(contact.event());
            events.extend(contact.channel.is_some().then(|| circuit_list::path_event(&self.circuits, contact)));
            events.extend(self.conversations.snapshot(contact.id));
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

    /// The consensus in use.
    pub const fn consensus(&self) -> Option<&Consensus> {
        self.circuits.consensus()
    }

    /// The contact with this name.
    pub fn find_contact(&self, name: &str) -> Option<ContactId> {
        self.contacts.iter().find(|contact| contact.record.name == name).map(|contact| contact.id)
    }

    fn command(&mut self, command: Command) {
        let Self { onion, contacts, conversations, lookup, .. } = self;
        let cx = context!(self);
        match command {
            Command::Invite { reusable, expires_in, note } => contacts.invite(reusable, expires_in, &note, onion, cx),
            Command::Withdraw { id } => {
                contacts.end_invite(id.0, onion, cx);
                contacts.list_invites(cx);
            }
            Command::Invites => contacts.list_invites(cx),
            Command::Add { link, name, introduce_as, note } => {
                report(contacts.add(&link, &name, introduce_as, note, onion, cx), "add", cx)
            }
            Command::Accept { id } => report(contacts.accept_request(id, onion, cx), "request", cx),
            Command::Decline { id } => report(contacts.decline_request(id, onion, cx), "request", cx),
            Command::Block { id } => report(contacts.block(id, true, onion, cx), "block", cx),
            Command::Unblock { id } => report(contacts.block(id, false, onion, cx), "block", cx),
            Command::Blocked => cx.event(contacts.blocked()),
            Command::Safety { contact } => contacts.tell_safety(contact, cx),
            Command::Verify { contact, verified } => report(contacts.verify(contact, verified, cx), "verify", cx),
            Command::Send { to, text } => conversations.send_text(to, text, contacts, cx),
            Command::Shown { contact, id } => conversations.shown(contact, id, cx),
            Command::Read { contact } => conversations.read(contact, contacts, cx),
            Command::Typing { contact, typing } => conversations.type_to(contact, typing, contacts, cx),
            Command::Receipts { on } => conversations.set_receipts(on, cx),
            Command::TypingNotices { on } => conversations.set_typing_notices(on, contacts, cx),
            Command::PublishKey => lookup.publish_key(false, cx),
            Command::FindKey { id } => lookup.find_key(id, cx),
            Command::Circuits => cx.event(Event::Circuits { list: circuit_list::circuit_list(cx.circuits, onion) }),
            Command::Network { watch } => cx.circuits.watch_network(watch),
        }
    }

    /// Passes events on until there are none, those of the upper rooms first.
    fn dispatch(&mut self) {
        let Self { onion, contacts, conversations, lookup, .. } = self;
        let cx = context!(self);
        loop {
            if let Some(event) = contacts.poll_event(onion, cx) {
                conversations.handle(event, contacts, cx);
            } else if let Some(event) = onion.poll_event() {
                contacts.handle(event, onion, cx);
            } else if let Some(event) = lookup.poll_event() {
                cx.event(match event {
                    LookupEvent::Published(id) => Event::KeyPublished { id },
                    LookupEvent::Found(id, key) => Event::KeyFound { id, key },
                    LookupEvent::Failed(message) => Event::Error { about: "key".to_owned(), message },
                });
            } else if let Some(event) = cx.circuits.poll_event() {
                match event {
                    CircuitEvent::Answered(id, result) => lookup.answered(id, &result, cx),
                    event => onion.handle(event, cx),
                }
            } else {
                break;
            }
        }
    }

    /// Does what had to wait for the disk; returns whether there was anything.
    fn follow_up(&mut self) -> bool {
        let Self { onion, contacts, conversations, .. } = self;
        let cx = context!(self);
        let mut any = false;
        while let Some(event) = cx.store.poll_event() {
            cx.event(event);
            any = true;
        }
        any |= contacts.follow_up(onion, cx);
        any | conversations.follow_up(contacts, cx)
    }

    /// Brings everything to where it should be by now, and sends what is queued.
    fn drive(&mut self) {
        self.follow_up();
        self.dispatch();
        self.circuits.check_deadlines();
        self.dispatch();
        self.contacts.check_channels(context!(self));
        let onion = &self.onion;
        self.circuits.maintain(|relay| onion.is_named_by_invite(relay));
        self.dispatch();
        self.contacts.maintain(&mut self.onion, context!(self));
        self.onion.maintain(context!(self));
        self.conversations.maintain(context!(self));
        self.circuits.maintain_spares();
        self.lookup.maintain(context!(self));
        self.dispatch();
        self.profile.store_circuits(&mut self.circuits, &mut self.store);
        loop {
            self.store.flush(&mut self.outputs);
            if !self.follow_up() {
                break;
            }
            self.dispatch();
        }
        self.outputs
            .extend(circuit_list::changed_paths(&self.circuits, &mut self.contacts).into_iter().map(Output::Event));
        self.circuits.flush();
        self.dispatch();
        while let Some(output) = self.circuits.poll_output() {
            self.outputs.push_back(output);
        }
        let step = self.circuits.progress();
        if step != self.progress {
            self.progress = step;
            self.outputs.push_back(Output::Event(Event::Progress { step }));
        }
    }
}
