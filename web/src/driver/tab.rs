//! This tab among the others: the channel between them, and whatever [`tabs`] wants done.

use std::cell::RefCell;
use std::rc::Rc;

use futures_channel::mpsc;
use gloo_events::EventListener;
use js_sys::{Object, Reflect};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::spawn_local;
use web_sys::{BroadcastChannel, MessageEvent, MessagePort};

use super::tabs::{self, Effect, Follower, Job, Leader, Message, RequestId, TabId};
use super::{LockRequest, Notice, Request, port};
use crate::tab_lock::{self, TabLock};

/// The channel of all tabs. Messages for one tab go to that tab's own channel, which no other tab hears.
const CHANNEL: &str = "allium-tabs";

// The fields of a message's envelope. Tabs of other builds of the page read these too, whatever the text is.
const BUILD: &str = "build";
const FROM: &str = "from";
const LEADS: &str = "leads";
const TEXT: &str = "text";

/// This tab.
pub(super) struct Tab {
    id: TabId,
    build: String,
    page: MessagePort,
    channel: Option<BroadcastChannel>,
    role: RefCell<Role>,
    signals: mpsc::UnboundedSender<Signal>,
}

/// Wakes up the task that waits for this tab's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// The person wants this tab to run the profile.
    TakeOver,
    /// The profile is locked, and the page with it.
    Stop,
}

enum Role {
    Follower(Follower),
    Leader {
        leader: Leader,
        jobs: mpsc::UnboundedSender<Job>,
        locks: mpsc::UnboundedSender<LockRequest>,
        /// The last request number that was used while this tab followed.
        asked: u64,
    },
    /// Has nothing to do with the profile any more.
    Retired,
}

/// What arrives while this tab leads.
pub(super) struct Inbox {
    /// For the engine.
    pub(super) jobs: mpsc::UnboundedReceiver<Job>,
    /// For the profile's lock, which exists before the engine.
    pub(super) locks: mpsc::UnboundedReceiver<LockRequest>,
}

/// A message of another tab.
enum Received {
    Message(TabId, Message),
    /// From a tab of another build.
    Stranger {
        leads: bool,
    },
}

impl Tab {
    /// The tab of this worker, which follows nobody yet. Hears other tabs from now on.
    pub(super) fn new(page: MessagePort, build: String, signals: mpsc::UnboundedSender<Signal>) -> Rc<Self> {
        // Without locks nobody would notice that a tab has closed: such tabs take turns, and none follows.
        let channel = TabLock::is_supported().then(|| BroadcastChannel::new(CHANNEL).ok()).flatten();
        let mut id = [0; 8];
        // If there is no randomness, the engine reports it when it starts.
        let _ = getrandom::fill(&mut id);
        let tab = Rc::new(Self {
            id: TabId(u64::from_ne_bytes(id)),
            build,
            page,
            channel,
            role: RefCell::new(Role::Follower(Follower::default())),
            signals,
        });
        let own = tab.channel.as_ref().and_then(|_| BroadcastChannel::new(&channel_name(tab.id)).ok());
        for channel in tab.channel.iter().chain(&own) {
            let hearer = Rc::clone(&tab);
            EventListener::new(channel, "message", move |event| {
                if let Some(received) = event.dyn_ref::<MessageEvent>().and_then(|event| hearer.open(&event.data())) {
                    hearer.hear(received);
                }
            })
            // Lives as long as the worker.
            .forget();
        }
        tab
    }

    /// The number of this tab.
    pub(super) const fn id(&self) -> u64 {
        self.id.0
    }

    /// The name of the lock that this tab holds for as long as it lives.
    pub(super) fn lock_name(&self) -> String {
        lock_name(self.id)
    }

    /// The page asks for something.
    pub(super) fn ask(self: &Rc<Self>, request: Request) {
        if request == Request::TakeOver {
            return drop(self.signals.unbounded_send(Signal::TakeOver));
        }
        self.with_role(|role| match role {
            Role::Follower(follower) => follower.ask(request),
            Role::Leader { leader, .. } => leader.ask(request),
            Role::Retired => Vec::new(),
        });
    }

    fn hear(self: &Rc<Self>, received: Received) {
        self.with_role(|role| match (role, received) {
            (Role::Follower(follower), Received::Message(from, message)) => follower.hear(from, message),
            (Role::Follower(follower), Received::Stranger { leads }) => follower.hear_stranger(leads),
            (Role::Leader { leader, .. }, Received::Message(from, message)) => leader.hear(from, message),
            // The lock tells that tab that it doesn't lead.
            (Role::Leader { .. }, Received::Stranger { leads: true }) => Vec::new(),
            (Role::Leader { leader, .. }, Received::Stranger { leads: false }) => leader.hear_stranger(),
            (Role::Retired, _) => Vec::new(),
        });
    }

    /// Runs `turn` on the leader's state if this tab leads, and carries out its effects.
    pub(super) fn as_leader(self: &Rc<Self>, turn: impl FnOnce(&mut Leader) -> Vec<Effect>) {
        self.with_role(|role| match role {
            Role::Leader { leader, .. } => turn(leader),
            Role::Follower(_) | Role::Retired => Vec::new(),
        });
    }

    /// Runs `turn` on the follower's state if this tab follows, and carries out its effects.
    pub(super) fn as_follower(self: &Rc<Self>, turn: impl FnOnce(&mut Follower) -> Vec<Effect>) {
        self.with_role(|role| match role {
            Role::Follower(follower) => turn(follower),
            Role::Leader { .. } | Role::Retired => Vec::new(),
        });
    }

    fn with_role(self: &Rc<Self>, turn: impl FnOnce(&mut Role) -> Vec<Effect>) {
        let effects = turn(&mut self.role.borrow_mut());
        for effect in effects {
            self.carry_out(effect);
        }
    }

    /// Leads from now on.
    pub(super) fn lead(self: &Rc<Self>) -> Inbox {
        let (jobs, engine_jobs) = mpsc::unbounded();
        let (locks, lock_requests) = mpsc::unbounded();
        let (mut leader, mut effects) = Leader::begin(self.id);
        let follower = match &mut *self.role.borrow_mut() {
            Role::Follower(follower) => std::mem::take(follower),
            Role::Leader { .. } | Role::Retired => Follower::default(),
        };
        let asked = follower.asked();
        let handover = follower.lead(self.id);
        if handover.invite_lost {
            effects.push(Effect::Tell(tabs::invite_lost()));
        }
        if handover.jobs.iter().any(Job::is_invite) {
            leader.make_invite();
        }
        effects.extend(handover.jobs.into_iter().map(Effect::Engine));
        effects.extend(handover.locks.into_iter().map(Effect::Lock));
        self.role.replace(Role::Leader { leader, jobs, locks, asked });
        self.with_role(|_| effects);
        Inbox { jobs: engine_jobs, locks: lock_requests }
    }

    /// Stops leading. Requests of the page that were not started yet are kept for the next leader.
    pub(super) fn step_down(&self, mut inbox: Inbox) {
        let (makes_invite, asked) = match &*self.role.borrow() {
            Role::Leader { leader, asked, .. } => (leader.makes_invite(), *asked),
            Role::Follower(_) | Role::Retired => return,
        };
        let mut unfinished = Vec::new();
        while let Ok(job) = inbox.jobs.try_recv() {
            match job {
                Job::Command { request_id, command } if request_id.is_none_or(|id| id.tab == self.id) => {
                    unfinished.push(Request::Command(command));
                }
                // Other tabs have kept their own.
                Job::Command { .. } | Job::Snapshot { .. } | Job::Forget(_) => {}
            }
        }
        // The engine was making it when it ended.
        if makes_invite && !unfinished.iter().any(Request::is_invite) {
            self.tell_page(&tabs::invite_lost());
        }
        self.role.replace(Role::Follower(Follower::again(asked, unfinished)));
    }

    /// Ends this tab's part in the profile: it sends nothing to other tabs any more and ignores them.
    pub(super) fn retire(&self) {
        self.role.replace(Role::Retired);
    }

    /// Tells the page of this tab, and those of all that follow.
    pub(super) fn tell(self: &Rc<Self>, notice: Notice) {
        self.as_leader(|leader| leader.tell(notice));
    }

    /// Tells the page of this tab alone.
    pub(super) fn tell_page(&self, notice: &Notice) {
        port::send(&self.page, notice);
    }

    /// True if this request is new and must go to the engine.
    pub(super) fn is_new(&self, request_id: RequestId) -> bool {
        match &mut *self.role.borrow_mut() {
            Role::Leader { leader, .. } => leader.give(request_id),
            Role::Follower(_) | Role::Retired => false,
        }
    }

    /// True if any tab follows this one.
    pub(super) fn is_followed(&self) -> bool {
        matches!(&*self.role.borrow(), Role::Leader { leader, .. } if leader.is_followed())
    }

    fn carry_out(self: &Rc<Self>, effect: Effect) {
        match effect {
            Effect::Post(to, message) => self.post(to, &message),
            Effect::Tell(notice) => self.tell_page(&notice),
            Effect::Engine(job) => {
                if let Role::Leader { jobs, .. } = &*self.role.borrow() {
                    let _ = jobs.unbounded_send(job);
                }
            }
            Effect::Lock(request) => {
                if let Role::Leader { locks, .. } = &*self.role.borrow() {
                    let _ = locks.unbounded_send(request);
                }
            }
            Effect::Watch(tab) => {
                let own = Rc::clone(self);
                spawn_local(async move {
                    // The other tab holds it until it ends.
                    drop(TabLock::take(&lock_name(tab)).await);
                    own.as_leader(|leader| leader.gone(tab));
                });
            }
            Effect::Stop => drop(self.signals.unbounded_send(Signal::Stop)),
        }
    }

    fn post(&self, to: Option<TabId>, message: &Message) {
        let Some(channel) = &self.channel else { return };
        let leads = matches!(&*self.role.borrow(), Role::Leader { .. });
        let envelope = Object::new();
        let Some(text) = port::write(message) else { return };
        let entries: [(&str, JsValue); 4] = [
            (BUILD, self.build.as_str().into()),
            (FROM, self.id.to_string().into()),
            (LEADS, leads.into()),
            (TEXT, text.as_str().into()),
        ];
        // Neither of these fails: the object is fresh, and strings can always be copied.
        for (name, value) in entries {
            let _ = Reflect::set(&envelope, &name.into(), &value);
        }
        match to {
            None => drop(channel.post_message(&envelope)),
            // Messages stay in order across all channels of a tab.
            Some(to) => {
                if let Ok(channel) = BroadcastChannel::new(&channel_name(to)) {
                    let _ = channel.post_message(&envelope);
                    channel.close();
                }
            }
        }
    }

    /// Reads the envelope, and the message if it is from the same build. Ignores anything that can't be read.
    fn open(&self, envelope: &JsValue) -> Option<Received> {
        let part = |name: &str| Reflect::get(envelope, &name.into()).ok();
        let text = |name| part(name).and_then(|part| part.as_string());
        if text(BUILD)? != self.build {
            return Some(Received::Stranger { leads: part(LEADS)?.as_bool()? });
        }
        let from = text(FROM)?.parse().ok()?;
        let message = port::read(text(TEXT)?).ok()?;
        Some(Received::Message(from, message))
    }
}

fn channel_name(tab: TabId) -> String {
    format!("{CHANNEL}-{tab}")
}

fn lock_name(tab: TabId) -> String {
    format!("{}-{tab}", tab_lock::NAME)
}
