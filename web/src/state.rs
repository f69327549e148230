//! What is drawn, reduced from what the driver tells and what the person does. No browser in here.

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
    /// Whether there is an engine to talk to.
    pub phase: Phase,
    /// How far the engine has come; `None` until it has said so.
    pub progress: Option<Progress>,
    /// Whether the engine has been ready before, so that a step back is a reconnection.
    pub was_ready: bool,
    /// Counts the engines that this page has had to do with: what one was asked to do as long as it runs, the next is not.
    pub starts: u32,
    /// Whether another tab runs the engine.
    pub follows: bool,
    /// Whether that tab does not answer.
    pub silent: bool,
    /// The conversation on the screen.
    pub open: Option<ContactId>,
    /// The invite that the person is making or handing over.
    pub invite: Invite,
    /// Counts the invites that were made for other tabs: the list of open ones is to be asked for anew.
    pub made: u32,
    /// The contact that the person is adding.
    pub adding: Option<Adding>,
    /// Whom the person has just taken as a contact.
    pub approving: Option<ContactId>,
    /// Counts the contacts added, so that the form knows when to clear itself.
    pub added: u32,
    /// The invite link that the page was opened with.
    pub offered: Option<Rc<str>>,
    /// What went wrong, by the place where it is said.
    pub problems: BTreeMap<Place, Rc<str>>,
    /// The list of relays, once somebody has looked at it.
    pub network: Option<Rc<Network>>,
    arriving: Option<Arriving>,
    /// The open invites, as the engine listed them last.
    pub invites: Rc<[InviteInfo]>,
    /// What opens the profile; `None` until it is open.
    pub protection: Option<Protection>,
    /// The settings, while they are on the screen.
    pub settings: Option<Attempt>,
    /// The safety number that the person compares.
    pub safety: Option<Safety>,
    /// What contacts are told of the person.
    pub privacy: Option<Privacy>,
    /// Whoever is blocked, once the engine has listed them.
    pub blocked: Option<Rc<[BlockedInfo]>>,
    contacts: BTreeMap<ContactId, Contact>,
    requests: BTreeMap<ContactId, Request>,
    typing: BTreeSet<ContactId>,
    conversations: BTreeMap<ContactId, Rc<Conversation>>,
    paths: BTreeMap<ContactId, Rc<[String]>>,
}

/// Whether there is an engine to talk to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// The store is being opened.
    #[default]
    Starting,
    /// The engine runs.
    Running,
    /// Another tab has it, and this one cannot share it.
    Elsewhere {
        /// Whether the other one says nothing at all.
        silent: bool,
    },
    /// The profile waits for its passphrase.
    Locked(Attempt),
    /// The person has locked the profile; what is not on disk yet is on its way there.
    Locking,
    /// The profile is locked, and the page is to be loaded anew.
    PutAway,
    /// It cannot run; the text says why.
    Failed(Rc<str>),
    /// The site names other authorities than before: the ids of the network that is kept, and of the one that is named.
    OtherAuthorities(Rc<str>, Rc<str>),
    /// It has ended by a fault of its own.
    Crashed,
}

/// How far the person has come with a passphrase.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Attempt {
    /// It is being typed.
    #[default]
    Typing,
    /// It is being tried.
    Trying,
    /// It was refused, for this reason.
    Refused(Rc<str>),
    /// It was taken.
    Done,
}

/// What contacts are told of the person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privacy {
    /// Whether they are told what has been read.
    pub receipts: bool,
    /// Whether they are told when the person is writing.
    pub typing: bool,
}

/// A contact, without the conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// The contact.
    pub id: ContactId,
    /// Its name here.
    pub name: Rc<str>,
    /// Whether it can be reached.
    pub state: ContactState,
    /// Whether the person has compared the safety number.
    pub verified: bool,
}

/// A safety number that is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Safety {
    /// Whose.
    pub contact: ContactId,
    /// The number.
    pub number: SafetyNumber,
}

/// A safety number, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SafetyNumber {
    /// The engine has not said yet.
    #[default]
    Unknown,
    /// There is none until the contact has answered.
    NotYet,
    /// This.
    Known(Rc<str>),
}

/// Somebody who asks for contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who, also once they are a contact.
    pub id: ContactId,
    /// The name that they give.
    pub name: Rc<str>,
    /// What they have to say.
    pub note: Rc<str>,
    /// What the person noted about the invite that they came by.
    pub invite_note: Rc<str>,
    /// When they asked.
    pub asked_at: UnixTime,
}

/// How far an invite has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Invite {
    /// There is none.
    #[default]
    None,
    /// The engine has relays wait for the visitor.
    Preparing,
    /// Ready to be handed over.
    Ready {
        /// Which one.
        id: InviteId,
        /// What follows the `#` in its link.
        fragment: Rc<str>,
    },
    /// Somebody has used it.
    Taken {
        /// Who that is.
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
    /// Whether this is what became of the name: the engine may number it, to tell it from another contact of that name,
    /// and shorten it to make room.
    fn became(&self, name: &str) -> bool {
        let unnumbered = name.rsplit_once(" (").map_or(name, |(unnumbered, _)| unnumbered);
        name.starts_with(&*self.name) || self.name.starts_with(unnumbered)
    }
}

/// Where a problem is said: beside what it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the invite's card.
    Invite,
    /// Under the field for an invite link.
    AddLink,
    /// Under the field for a contact's name.
    AddName,
    /// Above the field for a message.
    Send,
    /// Under the state of the connection.
    Network,
    /// On top of the page: the tab that runs the engine does not answer.
    Tabs,
    /// On top of the page: what is written is at risk.
    Storage,
    /// On top of the page.
    General,
}

/// What changes the state.
#[derive(Debug)]
pub enum Action {
    /// The driver tells something.
    Notice(Notice),
    /// The person opens a conversation.
    Open(ContactId),
    /// The person goes back to the list of contacts.
    Close,
    /// The person wants to compare a contact's safety number.
    OpenSafety(ContactId),
    /// The person has seen enough of it.
    CloseSafety,
    /// The page was opened with an invite link.
    Offer(Rc<str>),
    /// The person wants an invite.
    InviteRequested,
    /// The person adds a contact.
    AddRequested(Rc<str>),
    /// The person takes somebody as a contact.
    ApproveRequested(ContactId),
    /// These messages have been seen.
    Shown(ContactId, Vec<MessageId>),
    /// The page itself has something to say.
    Complain(Place, Rc<str>),
    /// The person has read what is said there.
    Dismiss(Place),
    /// The person has typed a passphrase.
    PassphraseEntered,
    /// What was typed cannot be a passphrase.
    PassphraseRefused(Rc<str>),
    /// The person wants to see the settings.
    OpenSettings,
    /// The person locks the profile: nothing of it is to be seen from now on.
    Lock,
}

impl State {
    /// Takes one action.
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

    /// Moves on with the passphrase that is asked for, wherever that is.
    fn attempt(&mut self, attempt: Attempt) {
        match (&mut self.phase, &mut self.settings) {
            (Phase::Locked(now), _) | (_, Some(now)) => *now = attempt,
            _ => {}
        }
    }

    /// Whether a passphrase of this page's is being tried.
    fn is_trying(&self) -> bool {
        let attempt = match &self.phase {
            Phase::Locked(attempt) => Some(attempt),
            _ => self.settings.as_ref(),
        };
        attempt == Some(&Attempt::Trying)
    }

    /// Another engine than before. Until it has told the whole, what the one before has told stays on the screen.
    fn started(&mut self, follows: bool) {
        self.starts += 1;
        self.follows = follows;
        self.silent(false);
        // Whoever is asked for the passphrase is led on by what comes of that.
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

    /// The tab that runs the engine does not answer, or does so again.
    fn silent(&mut self, silent: bool) {
        self.silent = silent;
        if silent {
            self.problems.insert(Place::Tabs, strings::TABS_SILENT.into());
        } else {
            self.problems.remove(&Place::Tabs);
        }
    }

    /// All there is. Whatever is not in it is not there any more; what the person is doing goes on.
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
            // Nothing of the profile is to be seen, but the person is led back to where they were.
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
                // Said to all tabs, and for the one in which it was typed.
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

    /// The store's order is the order in which messages were written or came in; a clock may have been set back since.
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
            // One that was made for another tab is among the open invites here.
            Event::Invite { .. } if self.invite != Invite::Preparing => self.made += 1,
            Event::Invite { id, fragment } => {
                self.invite = Invite::Ready { id, fragment: fragment.into() };
                self.problems.remove(&Place::Invite);
            }
            Event::Contact { id, name, state, verified } => self.contact(id, name.into(), state, verified),
            Event::Safety { contact, number, verified: _ } => {
                // Of the contact that the person looks at.
                if let Some(safety) = self.safety.as_mut().filter(|safety| safety.contact == contact) {
                    safety.number = number.map_or(SafetyNumber::NotYet, |number| SafetyNumber::Known(number.into()));
                }
            }
            Event::Invites { list } => {
                // What cannot be used any more is not to be handed over.
                let shown = |id: InviteId| list.iter().any(|invite| invite.id == id);
                if matches!(self.invite, Invite::Ready { id, .. } if !shown(id)) {
                    self.invite = Invite::None;
                }
                self.invites = list.into();
            }
            Event::Request { id, name, note, invite_note, asked_at } => {
                // One that is told again, after another tab has taken over, has not come by this invite.
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
            // Whoever was just taken as a contact is to be talked to.
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
            // What was asked for is not done.
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

    /// The contacts in the order of the list: the newest conversation first, new contacts before all.
    pub fn contacts(&self) -> Vec<(Contact, Rc<Conversation>)> {
        let mut list: Vec<_> =
            self.contacts.values().map(|contact| (contact.clone(), self.conversation(contact.id))).collect();
        list.sort_by_key(|(contact, conversation)| {
            let newest = conversation.last().map(|message| message.at);
            std::cmp::Reverse((newest.is_none(), newest, contact.id))
        });
        list
    }

    /// The conversation with a contact; an empty one if nothing has been said.
    pub fn conversation(&self, contact: ContactId) -> Rc<Conversation> {
        self.conversations.get(&contact).map(Rc::clone).unwrap_or_default()
    }

    /// Those who ask for contact, the one who asked first before all.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.values().cloned().collect()
    }

    /// Whether a contact is writing.
    pub fn is_typing(&self, contact: ContactId) -> bool {
        self.typing.contains(&contact)
    }

    /// How many messages nobody has seen yet, requests among them.
    pub fn unread_total(&self) -> usize {
        let unread: usize = self.conversations.values().map(|conversation| conversation.unread_count()).sum();
        unread + self.requests.len()
    }

    /// The relays that carry the conversation with a contact; `None` if the two are not connected.
    pub fn path(&self, contact: ContactId) -> Option<Rc<[String]>> {
        self.paths.get(&contact).cloned()
    }

    /// The name of who used the invite.
    pub fn invite_taken_by(&self) -> Option<Rc<str>> {
        match self.invite {
            Invite::Taken { by } => self.requests.get(&by).map(|request| Rc::clone(&request.name)),
            _ => None,
        }
    }

    /// Whether everything works.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Running && !self.silent && self.progress == Some(Progress::Ready)
    }
}
