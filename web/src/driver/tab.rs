//! This tab among the others of its profile: the channel between them, and who does what a state machine of [`tabs`] wants done.

use std::cell::RefCell;
use std::rc::Rc;

use allium_shared::client::api::Command;
use futures_channel::mpsc;
use gloo_events::EventListener;
use js_sys::{Object, Reflect};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::spawn_local;
use web_sys::{BroadcastChannel, MessageEvent, MessagePort};

use super::tabs::{self, Effect, Following, Leading, Message, Order, RequestId, TabId};
use super::{LockRequest, Notice, Request, port};
use crate::tab_lock::{self, TabLock};

/// The channel of all tabs. What is for one tab is said on a channel of its own, where no other tab hears it.
const CHANNEL: &str = "allium-tabs";

// What stands on the envelope of a message. Other builds of the page read these too, whatever is inside.
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
    role: RefCell<TabRole>,
    signals: mpsc::UnboundedSender<Signal>,
}

/// What whoever waits for this tab's turn has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// The person wants this tab to run the profile.
    TakeOver,
    /// The profile is put away, and the page with it.
    Stop,
}

enum TabRole {
    Following(Following),
    /// Leads; so many requests were numbered while it followed.
    Leading(Leading, Desk, u64),
    /// Has nothing to do with the profile any more.
    Retired,
}

/// Where what is wanted of the engine goes.
struct Desk {
    jobs: mpsc::UnboundedSender<Job>,
    locks: mpsc::UnboundedSender<LockRequest>,
}

/// What is wanted while this tab leads.
pub(super) struct Inbox {
    /// Of the engine.
    pub(super) jobs: mpsc::UnboundedReceiver<Job>,
    /// Of the profile's lock, which is there before the engine.
    pub(super) locks: mpsc::UnboundedReceiver<LockRequest>,
}

/// What is wanted of the engine.
#[derive(Debug)]
pub(super) enum Job {
    /// A command, of whichever tab's person.
    Order(Order),
    /// Collect the whole for a follower, and this attempt of it.
    Collect(TabId, u64),
    /// Remove the record of a tab that has gone.
    Forget(TabId),
}

enum Event {
    Asked(Request),
    Heard(TabId, Message),
    Stranger { leads: bool },
    Gone(TabId),
}

impl Tab {
    /// The tab of this worker, which follows nobody yet. Hears other tabs from now on.
    pub(super) fn new(page: MessagePort, build: String, signals: mpsc::UnboundedSender<Signal>) -> Rc<Self> {
        // Without locks nobody would see that a tab has gone: there tabs take turns, and none follows.
        let channel = TabLock::is_supported().then(|| BroadcastChannel::new(CHANNEL).ok()).flatten();
        let mut id = [0; 8];
        // Without randomness there will be no engine either, which is told then.
        let _ = getrandom::fill(&mut id);
        let tab = Rc::new(Self {
            id: TabId(u64::from_ne_bytes(id)),
            build,
            page,
            channel,
            role: RefCell::new(TabRole::Following(Following::default())),
            signals,
        });
        let own = tab.channel.as_ref().and_then(|_| BroadcastChannel::new(&channel_name(tab.id)).ok());
        for channel in tab.channel.iter().chain(&own) {
            let hearer = Rc::clone(&tab);
            EventListener::new(channel, "message", move |event| {
                if let Some(event) = event.dyn_ref::<MessageEvent>().and_then(|event| hearer.open(&event.data())) {
                    hearer.happened(event);
                }
            })
            // As long as the worker.
            .forget();
        }
        tab
    }

    /// The number of this tab.
    pub(super) const fn id(&self) -> u64 {
        self.id.0
    }

    /// The name of the lock that this tab holds as long as it lives.
    pub(super) fn lock_name(&self) -> String {
        lock_name(self.id)
    }

    /// The page asks for something.
    pub(super) fn asked(self: &Rc<Self>, request: Request) {
        if request == Request::TakeOver {
            return drop(self.signals.unbounded_send(Signal::TakeOver));
        }
        self.happened(Event::Asked(request));
    }

    /// Looks for a tab to follow.
    pub(super) fn join(self: &Rc<Self>) {
        let acts = match &mut *self.role.borrow_mut() {
            TabRole::Following(following) => following.join(),
            TabRole::Leading(..) | TabRole::Retired => Vec::new(),
        };
        self.act(acts);
    }

    /// Looks, once a second, whether the tab that leads is still there.
    pub(super) fn look(self: &Rc<Self>) {
        let acts = match &mut *self.role.borrow_mut() {
            TabRole::Following(following) => following.look(),
            TabRole::Leading(..) | TabRole::Retired => Vec::new(),
        };
        self.act(acts);
    }

    /// Leads from now on.
    pub(super) fn lead(self: &Rc<Self>) -> Inbox {
        let (jobs, inbox) = mpsc::unbounded();
        let (locks, lock_requests) = mpsc::unbounded();
        let (mut leading, mut acts) = Leading::begin(self.id);
        let desk = Desk { jobs, locks };
        let following = match &mut *self.role.borrow_mut() {
            TabRole::Following(following) => std::mem::take(following),
            TabRole::Leading(..) | TabRole::Retired => Following::default(),
        };
        let asked = following.asked();
        let left = following.lead(self.id);
        if left.invite_lost {
            acts.push(Effect::Tell(tabs::invite_lost()));
        }
        for order in left.orders {
            if matches!(order.command, Command::Invite { .. }) {
                leading.make_invite();
            }
            let _ = desk.jobs.unbounded_send(Job::Order(order));
        }
        for request in left.locks {
            let _ = desk.locks.unbounded_send(request);
        }
        self.role.replace(TabRole::Leading(leading, desk, asked));
        self.act(acts);
        Inbox { jobs: inbox, locks: lock_requests }
    }

    /// Leads no more. What the page has asked for and was not begun is kept for whoever leads next.
    pub(super) fn step_down(&self, mut inbox: Inbox) {
        let (makes_invite, asked) = match &*self.role.borrow() {
            TabRole::Leading(leading, _, asked) => (leading.makes_invite(), *asked),
            TabRole::Following(_) | TabRole::Retired => return,
        };
        let is_own = |order: &Order| order.asker.is_none_or(|asker| asker.tab == self.id);
        let mut left = Vec::new();
        while let Ok(job) = inbox.jobs.try_recv() {
            match job {
                Job::Order(order) if is_own(&order) => left.push(Request::Command(order.command)),
                // Those of others have kept theirs.
                Job::Order(_) | Job::Collect(..) | Job::Forget(_) => {}
            }
        }
        // One that the engine was making when it ended.
        if makes_invite && !left.iter().any(Request::is_invite) {
            self.tell_page(&tabs::invite_lost());
        }
        self.role.replace(TabRole::Following(Following::again(asked, left)));
    }

    /// Has nothing to do with the profile any more, and neither tells other tabs anything nor hears them.
    pub(super) fn retire(&self) {
        self.role.replace(TabRole::Retired);
    }

    /// The store is open: what it says about the requests of this and other tabs.
    pub(super) fn resume(self: &Rc<Self>, given: Vec<RequestId>) {
        self.lead_with(|leading| leading.resume(given));
    }

    /// The engine runs, and has told the whole.
    pub(super) fn run(self: &Rc<Self>) {
        self.lead_with(|leading| {
            leading.run();
            Vec::new()
        });
    }

    /// Tells the page of this tab, and those of all that follow.
    pub(super) fn tell(self: &Rc<Self>, notice: Notice) {
        self.lead_with(|leading| leading.tell(notice));
    }

    /// Tells the page of the tab that has asked, and no other.
    pub(super) fn answer(self: &Rc<Self>, asker: Option<RequestId>, notice: Notice) {
        self.lead_with(|leading| leading.answer(asker, notice));
    }

    /// Tells those that follow that the profile is put away.
    pub(super) fn put_away(self: &Rc<Self>) {
        self.lead_with(Leading::put_away);
    }

    /// Tells the page of this tab alone.
    pub(super) fn tell_page(&self, notice: &Notice) {
        port::send(&self.page, notice);
    }

    /// Whether a request is new, and to be given to the engine.
    pub(super) fn give(&self, asker: RequestId) -> bool {
        match &mut *self.role.borrow_mut() {
            TabRole::Leading(leading, ..) => leading.give(asker),
            TabRole::Following(_) | TabRole::Retired => false,
        }
    }

    /// What a request has changed is on disk.
    pub(super) fn done(self: &Rc<Self>, asker: RequestId) {
        self.lead_with(|leading| leading.done(asker));
    }

    /// The whole is collected for a follower; or it could not be.
    pub(super) fn snapshot(self: &Rc<Self>, to: TabId, round: u64, snapshot: Option<Notice>) {
        self.lead_with(|leading| leading.snapshot(to, round, snapshot));
    }

    /// Whether any tab follows this one.
    pub(super) fn is_followed(&self) -> bool {
        matches!(&*self.role.borrow(), TabRole::Leading(leading, ..) if leading.is_followed())
    }

    fn lead_with(self: &Rc<Self>, turn: impl FnOnce(&mut Leading) -> Vec<Effect>) {
        let acts = match &mut *self.role.borrow_mut() {
            TabRole::Leading(leading, ..) => turn(leading),
            TabRole::Following(_) | TabRole::Retired => Vec::new(),
        };
        self.act(acts);
    }

    fn happened(self: &Rc<Self>, event: Event) {
        let acts = match (&mut *self.role.borrow_mut(), event) {
            (TabRole::Following(following), Event::Asked(request)) => following.ask(request),
            (TabRole::Following(following), Event::Heard(from, message)) => following.hear(from, message),
            (TabRole::Following(following), Event::Stranger { leads }) => following.hear_stranger(leads),
            (TabRole::Following(_), Event::Gone(_)) | (TabRole::Retired, _) => Vec::new(),
            (TabRole::Leading(leading, ..), Event::Asked(request)) => leading.ask(request),
            (TabRole::Leading(leading, ..), Event::Heard(from, message)) => leading.hear(from, message),
            // Whoever leads there is told so by the lock.
            (TabRole::Leading(..), Event::Stranger { leads: true }) => Vec::new(),
            (TabRole::Leading(leading, ..), Event::Stranger { leads: false }) => leading.hear_stranger(),
            (TabRole::Leading(leading, ..), Event::Gone(tab)) => leading.gone(tab),
        };
        self.act(acts);
    }

    fn act(self: &Rc<Self>, acts: Vec<Effect>) {
        for act in acts {
            match act {
                Effect::Post(to, message) => self.post(to, &message),
                Effect::Tell(notice) => self.tell_page(&notice),
                Effect::Order(order) => self.job(Job::Order(order)),
                Effect::Collect(to, round) => self.job(Job::Collect(to, round)),
                Effect::Forget(tab) => self.job(Job::Forget(tab)),
                Effect::Lock(request) => {
                    if let TabRole::Leading(_, desk, _) = &*self.role.borrow() {
                        let _ = desk.locks.unbounded_send(request);
                    }
                }
                Effect::Watch(tab) => {
                    let own = Rc::clone(self);
                    spawn_local(async move {
                        // Given once the other tab has let go of it, which it does by ending.
                        drop(TabLock::take(&lock_name(tab)).await);
                        own.happened(Event::Gone(tab));
                    });
                }
                Effect::Stop => drop(self.signals.unbounded_send(Signal::Stop)),
            }
        }
    }

    fn job(&self, job: Job) {
        if let TabRole::Leading(_, desk, _) = &*self.role.borrow() {
            let _ = desk.jobs.unbounded_send(job);
        }
    }

    fn post(&self, to: Option<TabId>, message: &Message) {
        let Some(channel) = &self.channel else { return };
        let leads = matches!(&*self.role.borrow(), TabRole::Leading(..));
        let envelope = Object::new();
        let Some(text) = port::write(message) else { return };
        let entries: [(&str, JsValue); 4] = [
            (BUILD, self.build.as_str().into()),
            (FROM, self.id.to_string().into()),
            (LEADS, leads.into()),
            (TEXT, text.as_str().into()),
        ];
        // None of this fails: it is a fresh object, and texts can always be copied.
        for (name, value) in entries {
            let _ = Reflect::set(&envelope, &name.into(), &value);
        }
        match to {
            None => drop(channel.post_message(&envelope)),
            // All channels of a tab keep one order.
            Some(to) => {
                if let Ok(channel) = BroadcastChannel::new(&channel_name(to)) {
                    let _ = channel.post_message(&envelope);
                    channel.close();
                }
            }
        }
    }

    /// Reads the envelope, and what is in it if it is of the same build. What cannot be read is nothing.
    fn open(&self, envelope: &JsValue) -> Option<Event> {
        let part = |name: &str| Reflect::get(envelope, &name.into()).ok();
        let text = |name| part(name).and_then(|part| part.as_string());
        if text(BUILD)? != self.build {
            return Some(Event::Stranger { leads: part(LEADS)?.as_bool()? });
        }
        let from = text(FROM)?.parse().ok()?;
        let message = port::read(text(TEXT)?).ok()?;
        Some(Event::Heard(from, message))
    }
}

fn channel_name(tab: TabId) -> String {
    format!("{CHANNEL}-{tab}")
}

fn lock_name(tab: TabId) -> String {
    format!("{}-{tab}", tab_lock::NAME)
}
