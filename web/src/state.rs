//! The page's state, computed from notices of the worker and actions of the person. No browser in here.

mod conversation;
pub mod network;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use allium_shared::client::api::{
    BlockedInfo, ContactId, ContactState, Event, HistoryEntry, InviteId, InviteInfo, MessageId, Progress,
};

use allium_shared::time::UnixTime;

pub use self::conversation::{Conversation, Message};
use self::network::{Arriving, Network};
use crate::driver::Notice;
use crate::storage::Protection;
use crate::strings;

/// Everything that the page shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// How far the page has come in starting.
    pub phase: Phase,
    /// How far the engine has come in connecting; `None` until it has said so.
    pub progress: Option<Progress>,
    /// True if the engine was ready before, so that it is now reconnecting.
    pub was_ready: bool,
    /// Counts the engines that this page has talked to. What one was asked to watch, the next one has to be asked again.
    pub starts: u32,
    /// True if another tab runs the engine.
    pub follows: bool,
    /// True if that tab doesn't answer.
    pub silent: bool,
    /// The conversation on the screen.
    pub open: Option<ContactId>,
    /// The invite that the person is making or sharing.
    pub invite: Invite,
    /// Counts the invites made by other tabs: after each, the page asks for the list of open invites again.
    pub made: u32,
    /// The contact that the person is adding.
    pub adding: Option<Adding>,
    /// The contact that the person just accepted.
    pub approving: Option<ContactId>,
    /// Counts the contacts added, so that the form knows when to clear itself.
    pub added: u32,
    /// The invite link that the page was opened with.
    pub offered: Option<Rc<str>>,
    /// What went wrong, by the place where it is shown.
    pub problems: BTreeMap<Place, Rc<str>>,
    /// The consensus, once the network view was opened.
    pub network: Option<Rc<Network>>,
    arriving: Option<Arriving>,
    /// The open invites, as the engine listed them last.
    pub invites: Rc<[InviteInfo]>,
    /// What opens the profile; `None` until it is open.
    pub protection: Option<Protection>,
    /// The settings, while they are open.
    pub settings: Option<Attempt>,
    /// The safety number that is shown.
    pub safety: Option<Safety>,
    /// What contacts are told about the person.
    pub privacy: Option<Privacy>,
    /// Who is blocked; `None` until the engine has listed them.
    pub blocked: Option<Rc<[BlockedInfo]>>,
    contacts: BTreeMap<ContactId, Contact>,
    requests: BTreeMap<ContactId, Request>,
    typing: BTreeSet<ContactId>,
    conversations: BTreeMap<ContactId, Rc<Conversation>>,
    paths: BTreeMap<ContactId, Rc<[String]>>,
}

/// How far the page has come in starting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// The store is being opened.
    #[default]
    Starting,
    /// The engine runs.
    Running,
    /// Another tab runs the engine, and this one can't follow it.
    Elsewhere {
        /// True if the other tab doesn't answer at all.
        silent: bool,
    },
    /// The profile waits for its passphrase.
    Locked(Attempt),
    /// The person locked the profile, and the last changes are being written.
    Locking,
    /// The profile is locked; the page reloads.
    PutAway,
    /// The engine can't run, for this reason.
    Failed(Rc<str>),
    /// The site names other authorities than before: the ids of the profile's network and of the one that is named.
    OtherAuthorities(Rc<str>, Rc<str>),
    /// The worker crashed.
    Crashed,
}

/// The state of a form that asks for a passphrase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Attempt {
    /// The person is typing.
    #[default]
    Typing,
    /// The passphrase is being checked or set.
    Trying,
    /// It was refused, for this reason.
    Refused(Rc<str>),
    /// It was accepted.
    Done,
}

/// What contacts are told about the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privacy {
    /// True if read receipts are sent.
    pub receipts: bool,
    /// True if typing indicators are sent.
    pub typing: bool,
}

/// A contact, without the conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The contact.
    pub id: ContactId,
    /// The name that the person gave it.
    pub name: Rc<str>,
    /// Whether it can be reached, and if not, why.
    pub state: ContactState,
    /// True if the person has compared the safety number.
    pub verified: bool,
}

/// A safety number that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Safety {
    /// The contact it belongs to.
    pub contact: ContactId,
    /// The number.
    pub number: SafetyNumber,
}

/// A safety number, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SafetyNumber {
    /// The engine hasn't answered yet.
    #[default]
    Unknown,
    /// There is none until the contact has answered.
    NotYet,
    /// The number, as digits.
    Known(Rc<str>),
}

/// A request to become a contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The sender's id, also once they are a contact.
    pub id: ContactId,
    /// The name that the sender chose.
    pub name: Rc<str>,
    /// The sender's message.
    pub note: Rc<str>,
    /// The private label of the invite that the sender used.
    pub invite_note: Rc<str>,
    /// When the request arrived.
    pub asked_at: UnixTime,
}

/// The state of an invite.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Invite {
    /// There is none.
    #[default]
    None,
    /// The engine is preparing it.
    Preparing,
    /// Ready to be shared.
    Ready {
        /// The invite.
        id: InviteId,
        /// The part of its link after the `#`.
        fragment: Rc<str>,
    },
    /// Somebody has used it.
    Taken {
        /// The sender of the request.
        by: ContactId,
    },
}

/// A contact that is being added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adding {
    /// The name asked for.
    pub name: Rc<str>,
}

impl Adding {
    /// True if the engine may have turned this name into `name`: it numbers a name that is taken, and shortens it to
    /// make room for the number.
    fn became(&self, name: &str) -> bool {
        let unnumbered = name.rsplit_once(" (").map_or(name, |(unnumbered, _)| unnumbered);
        name.starts_with(&*self.name) || self.name.starts_with(unnumbered)
    }
}

/// Where a problem is shown: beside what it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On the invite card.
    Invite,
    /// Below the field for an invite link.
    AddLink,
    /// Below the field for a contact's name.
    AddName,
    /// Above the message field.
    Send,
    /// Below the state of the connection.
    Network,
    /// At the top of the page: the tab that runs the engine doesn't answer.
    Tabs,
    /// At the top of the page: changes may be lost.
    Storage,
    /// At the top of the page.
    General,
}

/// What changes the state.
#[derive(Debug)]
pub enum Action {
    /// The worker told something.
    Notice(Notice),
    /// The person opens a conversation.
    Open(ContactId),
    /// The person goes back to the list of contacts.
    Close,
    /// The person wants to compare a contact's safety number.
    OpenSafety(ContactId),
    /// The person closes the safety number.
    CloseSafety,
    /// The page was opened with an invite link.
    Offer(Rc<str>),
    /// The person wants an invite.
    InviteRequested,
    /// The person adds a contact.
    AddRequested(Rc<str>),
    /// The person accepts a request.
    ApproveRequested(ContactId),
    /// These messages have been seen.
    Shown(ContactId, Vec<MessageId>),
    /// The page itself reports a problem.
    Complain(Place, Rc<str>),
    /// The person dismisses a problem.
    Dismiss(Place),
    /// The person has typed a passphrase.
    PassphraseEntered,
    /// The text can't be a passphrase, for this reason.
    PassphraseRefused(Rc<str>),
    /// The person opens the settings.
    OpenSettings,
    /// The person locks the profile: everything of it disappears at once.
    Lock,
}

impl State {
    /// Applies one action.
    pub fn apply(&mut self, action: Action) {
        match action {
            Action::Notice(notice) => self.notice(notice),
            Action::Open(contact) => {
                self.open = Some(contact);
                self.settings = None;
                self.safety = None;
                self.problems.remove(&Place::Send);
                if matches!(self.invite, Invite::Taken { by } if by == contact) {
                    self.invite = Invite::None;
                }
            }
            Action::Close => {
                self.open = None;
                self.settings = None;
                self.safety = None;
            }
            Action::OpenSafety(contact) => self.safety = Some(Safety { contact, number: SafetyNumber::default() }),
            Action::CloseSafety => self.safety = None,
            Action::Offer(link) => {
                self.problems.remove(&Place::AddLink);
                self.offered = Some(link);
                self.open = None;
                self.settings = None;
            }
            Action::InviteRequested => {
                self.problems.remove(&Place::Invite);
                self.invite = Invite::Preparing;
            }
            Action::AddRequested(name) => {
                self.problems.remove(&Place::AddLink);
                self.problems.remove(&Place::AddName);
                self.adding = Some(Adding { name });
            }
            Action::ApproveRequested(id) => self.approving = Some(id),
            Action::Shown(contact, ids) => self.shown(contact, &ids),
            Action::Complain(place, text) => drop(self.problems.insert(place, text)),
            Action::Dismiss(place) => drop(self.problems.remove(&place)),
            Action::PassphraseEntered => self.attempt(Attempt::Trying),
            Action::PassphraseRefused(reason) => self.attempt(Attempt::Refused(reason)),
            Action::Lock => *self = Self { phase: Phase::Locking, ..Self::default() },
            Action::OpenSettings => {
                self.open = None;
                self.settings = Some(Attempt::default());
            }
        }
    }

    /// Changes the state of the open passphrase form.
    fn attempt(&mut self, attempt: Attempt) {
        match (&mut self.phase, &mut self.settings) {
            (Phase::Locked(now), _) | (_, Some(now)) => *now = attempt,
            _ => {}
        }
    }

    /// True if this page waits for a passphrase to be checked or set.
    fn is_trying(&self) -> bool {
        let attempt = match &self.phase {
            Phase::Locked(attempt) => Some(attempt),
            _ => self.settings.as_ref(),
        };
        attempt == Some(&Attempt::Trying)
    }

    /// A new engine. The old state stays on the screen until its snapshot arrives.
    fn started(&mut self, follows: bool) {
        self.starts += 1;
        self.follows = follows;
        self.silent(false);
        // The passphrase form stays until the passphrase was checked.
        if matches!(self.phase, Phase::Starting | Phase::Elsewhere { .. }) {
            self.phase = Phase::Running;
        }
        self.progress = self.was_ready.then_some(Progress::FetchingDirectory);
        self.problems.remove(&Place::Network);
        self.problems.remove(&Place::Storage);
        if self.is_trying() {
            self.attempt(Attempt::Typing);
        }
    }

    /// The tab that runs the engine stopped answering, or answers again.
    fn silent(&mut self, silent: bool) {
        self.silent = silent;
        if silent {
            self.problems.insert(Place::Tabs, strings::TABS_SILENT.into());
        } else {
            self.problems.remove(&Place::Tabs);
        }
    }

    /// The complete state. Anything that isn't in it is gone, but whatever the person is doing continues.
    fn snapshot(&mut self, history: Vec<HistoryEntry>, events: Vec<Event>) {
        self.history(history);
        self.typing.clear();
        self.paths.clear();
        let (mut contacts, mut requests) = (BTreeSet::new(), BTreeSet::new());
        for event in &events {
            match event {
                Event::Contact { id, .. } => _ = contacts.insert(*id),
                Event::Request { id, .. } => _ = requests.insert(*id),
                _ => {}
            }
        }
        events.into_iter().for_each(|event| self.event(event));
        self.contacts.retain(|id, _| contacts.contains(id));
        self.requests.retain(|id, _| requests.contains(id));
        self.open = self.open.filter(|open| contacts.contains(open));
    }

    fn shown(&mut self, contact: ContactId, ids: &[MessageId]) {
        if let Some(conversation) = self.conversations.get_mut(&contact) {
            Rc::make_mut(conversation).shown(ids);
        }
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Started { follows } => self.started(follows),
            // Everything of the profile disappears, but the person will return to where they were.
            Notice::Locked => {
                *self = Self {
                    phase: Phase::Locked(Attempt::default()),
                    open: self.open,
                    offered: self.offered.take(),
                    added: self.added,
                    starts: self.starts,
                    follows: self.follows,
                    ..Self::default()
                };
            }
            Notice::UnlockRefused(reason) | Notice::PassphraseRefused(reason) => {
                // All tabs are told; it concerns the one in which the passphrase was typed.
                if self.is_trying() {
                    self.attempt(Attempt::Refused(reason.into()));
                }
            }
            Notice::Protection(protection) => {
                if self.phase != Phase::Locking {
                    self.phase = Phase::Running;
                }
                self.protection = Some(protection);
                if self.settings.as_ref().is_some_and(|attempt| *attempt == Attempt::Trying) {
                    self.settings = Some(Attempt::Done);
                }
            }
            Notice::PutAway => *self = Self { phase: Phase::PutAway, ..Self::default() },
            Notice::Elsewhere { silent } => self.phase = Phase::Elsewhere { silent },
            Notice::Silent(silent) => self.silent(silent),
            Notice::Failed(reason) => self.phase = Phase::Failed(reason.into()),
            Notice::OtherAuthorities { kept, named } => {
                self.phase = Phase::OtherAuthorities(kept.into(), named.into());
            }
            Notice::Crashed => self.phase = Phase::Crashed,
            Notice::Snapshot { history, events } => self.snapshot(history, events),
            Notice::Events(events) => events.into_iter().for_each(|event| self.event(event)),
            Notice::Shown { contact, id } => self.shown(contact, &[id]),
            Notice::DirectoryTrouble(problem) => {
                self.problems.insert(Place::Network, strings::directory_trouble(&problem).into());
            }
            Notice::StorageTrouble(None) => drop(self.problems.remove(&Place::Storage)),
            Notice::StorageTrouble(Some(error)) => {
                self.problems.insert(Place::Storage, strings::storage_failing(error).into());
            }
        }
    }

    /// Entries are in the order in which messages were written or received, whatever the clock said.
    fn history(&mut self, entries: Vec<HistoryEntry>) {
        let mut conversations: BTreeMap<ContactId, Conversation> = BTreeMap::new();
        for entry in entries {
            conversations.entry(entry.contact).or_default().put(Message {
                id: entry.id,
                text: entry.text.into(),
                at: entry.at,
                outgoing: entry.outgoing,
            });
        }
        self.conversations = conversations.into_iter().map(|(id, conversation)| (id, Rc::new(conversation))).collect();
    }

    fn event(&mut self, event: Event) {
        self.tell(event);
        if let Some(snapshot) = self.arriving.as_ref().and_then(Arriving::snapshot) {
            self.network = Some(Rc::new(snapshot));
            self.arriving = None;
        }
    }

    fn tell(&mut self, event: Event) {
        match event {
            Event::Progress { step } => {
                self.progress = Some(step);
                if step == Progress::Ready {
                    self.was_ready = true;
                    self.problems.remove(&Place::Network);
                }
            }
            // Another tab asked for it: here it belongs to the list of open invites.
            Event::Invite { .. } if self.invite != Invite::Preparing => self.made += 1,
            Event::Invite { id, fragment } => {
                self.invite = Invite::Ready { id, fragment: fragment.into() };
                self.problems.remove(&Place::Invite);
            }
            Event::Contact { id, name, state, verified } => self.contact(id, name.into(), state, verified),
            Event::Safety { contact, number, verified: _ } => {
                // Only for the contact on the screen.
                if let Some(safety) = self.safety.as_mut().filter(|safety| safety.contact == contact) {
                    safety.number = number.map_or(SafetyNumber::NotYet, |number| SafetyNumber::Known(number.into()));
                }
            }
            Event::Invites { list } => {
                // An invite that can't be used any more must not be shared.
                let shown = |id: InviteId| list.iter().any(|invite| invite.id == id);
                if matches!(self.invite, Invite::Ready { id, .. } if !shown(id)) {
                    self.invite = Invite::None;
                }
                self.invites = list.into();
            }
            Event::Request { id, name, note, invite_note, asked_at } => {
                // A request that is repeated, after another tab took over, didn't use this invite.
                if matches!(self.invite, Invite::Ready { .. }) && !self.requests.contains_key(&id) {
                    self.invite = Invite::Taken { by: id };
                }
                let (name, note, invite_note) = (name.into(), note.into(), invite_note.into());
                self.requests.insert(id, Request { id, name, note, invite_note, asked_at });
            }
            Event::RequestClosed { id } => {
                self.requests.remove(&id);
                if matches!(self.invite, Invite::Taken { by } if by == id) {
                    self.invite = Invite::None;
                }
            }
            Event::Typing { contact, typing } => {
                if typing {
                    self.typing.insert(contact);
                } else {
                    self.typing.remove(&contact);
                }
            }
            Event::Message { contact, id, text, received_at } => {
                let message = Message { id, text: text.into(), at: received_at, outgoing: None };
                let conversation = self.conversation_mut(contact);
                conversation.put(message);
                conversation.unread(id);
            }
            Event::Outgoing { contact, id, text, queued_at, state } => {
                let message = Message { id, text: text.into(), at: queued_at, outgoing: Some(state) };
                self.conversation_mut(contact).put(message);
            }
            Event::Path { contact, relays } => {
                if relays.is_empty() {
                    self.paths.remove(&contact);
                } else {
                    self.paths.insert(contact, relays.into());
                }
            }
            Event::Network { network } => self.arriving = Some(Arriving::new(*network)),
            Event::Relays { list } => {
                if let Some(arriving) = &mut self.arriving {
                    arriving.add(list);
                }
            }
            Event::Clock { message, .. } => self.error("clock", message.into()),
            Event::Privacy { receipts, typing } => self.privacy = Some(Privacy { receipts, typing }),
            Event::Blocked { list } => self.blocked = Some(list.into()),
            // The page never asks for these.
            Event::Circuits { .. } | Event::KeyPublished { .. } | Event::KeyFound { .. } => {}
            Event::Error { about, message } => self.error(&about, message.into()),
        }
    }

    fn contact(&mut self, id: ContactId, name: Rc<str>, state: ContactState, verified: bool) {
        let contact = Contact { id, name: Rc::clone(&name), state, verified };
        let is_new = self.contacts.insert(id, contact).is_none();
        if !is_new {
            return;
        }
        match &self.adding {
            Some(adding) if adding.became(&name) => {
                self.adding = None;
                self.added += 1;
                self.offered = None;
                self.open = Some(id);
                self.settings = None;
            }
            // A contact that was just accepted opens.
            _ if self.approving == Some(id) => {
                self.approving = None;
                self.open = Some(id);
            }
            _ => {}
        }
    }

    fn error(&mut self, about: &str, message: Rc<str>) {
        let place = match about {
            "invite" => {
                if self.invite == Invite::Preparing {
                    self.invite = Invite::None;
                }
                Place::Invite
            }
            "add" => {
                self.adding = None;
                Place::AddLink
            }
            // The request was not carried out.
            "tabs" => {
                if self.invite == Invite::Preparing {
                    self.invite = Invite::None;
                }
                self.adding = None;
                Place::Tabs
            }
            "send" | "block" | "verify" => Place::Send,
            "directory" | "network" => Place::Network,
            "storage" => Place::Storage,
            _ => Place::General,
        };
        self.problems.insert(place, message);
    }

    fn conversation_mut(&mut self, contact: ContactId) -> &mut Conversation {
        Rc::make_mut(self.conversations.entry(contact).or_default())
    }

    /// One contact.
    pub fn contact_of(&self, id: ContactId) -> Option<&Contact> {
        self.contacts.get(&id)
    }

    /// The contacts in display order: new contacts, then the most recent conversations.
    pub fn contacts(&self) -> Vec<(Contact, Rc<Conversation>)> {
        let mut list: Vec<_> =
            self.contacts.values().map(|contact| (contact.clone(), self.conversation(contact.id))).collect();
        list.sort_by_key(|(contact, conversation)| {
            let newest = conversation.last().map(|message| message.at);
            std::cmp::Reverse((newest.is_none(), newest, contact.id))
        });
        list
    }

    /// The conversation with a contact, possibly empty.
    pub fn conversation(&self, contact: ContactId) -> Rc<Conversation> {
        self.conversations.get(&contact).map(Rc::clone).unwrap_or_default()
    }

    /// The open requests, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.values().cloned().collect()
    }

    /// True if a contact is typing.
    pub fn is_typing(&self, contact: ContactId) -> bool {
        self.typing.contains(&contact)
    }

    /// The number of unread messages and open requests.
    pub fn unread_total(&self) -> usize {
        let unread: usize = self.conversations.values().map(|conversation| conversation.unread_count()).sum();
        unread + self.requests.len()
    }

    /// The relays that carry the conversation with a contact; `None` if the two are not connected.
    pub fn path(&self, contact: ContactId) -> Option<Rc<[String]>> {
        self.paths.get(&contact).cloned()
    }

    /// The name of the person who used the invite.
    pub fn invite_taken_by(&self) -> Option<Rc<str>> {
        match self.invite {
            Invite::Taken { by } => self.requests.get(&by).map(|request| Rc::clone(&request.name)),
            _ => None,
        }
    }

    /// True if the client is connected.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Running && !self.silent && self.progress == Some(Progress::Ready)
    }
}
