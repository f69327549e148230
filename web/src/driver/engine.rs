//! One run of the engine: from opening the store until another tab takes over, or the profile is locked.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::rc::Rc;

use allium_shared::client::api::{
    BatchId, CONSENSUS_PATH, Command, Event, HistoryEntry, Input, LinkId, Output, UPDATE_PATH,
};
use allium_shared::client::{Client, Config, history_entry};
use allium_shared::netdir::ConsensusDigest;
use allium_shared::time::{Instant, Now, UnixTime};
use futures_channel::mpsc;
use futures_util::future::{Either, pending, select};
use futures_util::{Stream, StreamExt as _, stream};
use gloo_timers::future::TimeoutFuture;
use js_sys::Reflect;
use wasm_bindgen::JsCast as _;
use wasm_bindgen_futures::spawn_local;
use web_sys::Performance;
use yew::Callback;

use super::tab::{Inbox, Tab};
use super::tabs::{self, Job, RequestId, TabId};
use super::{Notice, lock, trust};
use crate::address;
use crate::directory;
use crate::socket::Socket;
use crate::storage::{Opened, Storage, StorageError, Writer};
use crate::strings;
use crate::tab_lock::Ask;

/// Prefix of the keys of message records.
const MESSAGE_PREFIX: &str = "message/";

/// How long to wait after the store could not be read for a follower's snapshot.
const RELOAD_MILLIS: u32 = 1_000;

/// The longest delay that `setTimeout` takes.
const TIMER_MILLIS_MAX: u32 = i32::MAX.unsigned_abs();

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Another tab takes over, or the page closes.
    LetGo,
    /// The person locked the profile.
    Locked,
}

/// Runs the engine until another tab takes over, the person locks the profile, or the page closes.
///
/// # Errors
///
/// The notice for the page, if the engine cannot start.
pub(super) async fn run(
    Inbox { jobs, locks }: &mut Inbox,
    others: &mut mpsc::UnboundedReceiver<Ask>,
    tab: &Rc<Tab>,
) -> Result<End, Notice> {
    let tell = &Callback::from({
        let tab = Rc::clone(tab);
        move |notice| tab.tell(notice)
    });
    let storage = match Storage::open().await.map_err(Notice::profile_failed)? {
        Opened::Open(storage) => storage,
        Opened::Locked(locked) => match select(others.next(), pin!(lock::unlock(&locked, locks, tell))).await {
            Either::Right((Some(storage), _)) => storage,
            Either::Right((None, _)) | Either::Left(_) => {
                locked.close();
                return Ok(End::LetGo);
            }
        },
    };
    let mut records = storage.load().await.map_err(Notice::profile_failed)?;
    tell.emit(lock::protection(&storage).await.map_err(Notice::profile_failed)?);
    let pinned = trust::take_pinned(&mut records).map_err(Notice::storage_failed)?;
    let done = tabs::take_records(&mut records);
    tab.as_leader(|leader| leader.resume(done));
    let history = history(&records);

    let mut ends = pin!(async {
        match select(others.next(), pin!(lock::serve(&storage, locks, tell))).await {
            Either::Left(_) => End::LetGo,
            Either::Right(_) => End::Locked,
        }
    });
    let authorities = match select(&mut ends, pin!(trust::authorities(&storage, pinned, tell))).await {
        Either::Left((end, _)) => {
            storage.close();
            return Ok(end);
        }
        Either::Right((authorities, _)) => authorities?,
    };
    let config = Config::new(authorities).with_secure_links(address::came_by_https());
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|_| Notice::Failed(strings::NO_RANDOMNESS.into()))?;
    let clock = Clock::new();
    let engine = Client::new(config, records, seed, clock.now())
        .map_err(|error| Notice::Failed(strings::engine_failed(&error)))?;

    let (inputs, inbox) = mpsc::unbounded();
    let trouble = {
        let tell = tell.clone();
        move |error: Option<StorageError>| tell.emit(Notice::StorageTrouble(error))
    };
    let writer = Writer::start(storage.clone(), inputs.clone(), trouble);
    let mut run = Run {
        engine,
        clock,
        inputs,
        sockets: HashMap::new(),
        writer,
        storage: storage.clone(),
        tab: Rc::clone(tab),
        unconfirmed: VecDeque::new(),
    };
    let events = run.take_outputs(None);
    tab.tell(Notice::Snapshot { history, events });
    tab.as_leader(|leader| {
        leader.engine_started();
        Vec::new()
    });
    let wakes = stream::select(jobs.map(Wake::Job), inbox.map(Wake::Input));
    let wakes = stream::select(stream::once(ends).map(Wake::End), wakes);
    let end = run.drive(pin!(wakes)).await;

    // Another tab must find everything on disk that the engine has confirmed.
    run.sockets.clear();
    run.writer.finish().await;
    Ok(end)
}

/// The conversations among the store's records.
fn history(records: &[(String, Vec<u8>)]) -> Vec<HistoryEntry> {
    let messages = records.iter().filter(|(key, _)| key.starts_with(MESSAGE_PREFIX));
    messages.filter_map(|(key, value)| history_entry(key, value)).collect()
}

struct Run {
    engine: Client,
    clock: Clock,
    inputs: mpsc::UnboundedSender<Input>,
    sockets: HashMap<LinkId, Socket>,
    writer: Writer,
    storage: Storage,
    tab: Rc<Tab>,
    /// Requests of followers that are not on disk yet, each with the batch that it waits for.
    unconfirmed: VecDeque<(BatchId, RequestId)>,
}

/// Why the run wakes up.
enum Wake {
    Input(Input),
    Job(Job),
    End(End),
}

impl Run {
    /// Feeds the engine until the run ends.
    async fn drive(&mut self, mut wakes: impl Stream<Item = Wake> + Unpin) -> End {
        let mut timer: Option<(Instant, TimeoutFuture)> = None;
        loop {
            let deadline = self.engine.poll_timeout();
            if timer.as_ref().map(|(at, _)| *at) != deadline {
                timer = deadline.map(|at| (at, self.clock.timer(at)));
            }
            let rings = match &mut timer {
                Some((_, timer)) => Either::Left(timer),
                None => Either::Right(pending()),
            };
            match select(rings, wakes.next()).await {
                Either::Left(((), _)) => {
                    timer = None;
                    self.handle(Input::Timeout, None);
                }
                Either::Right((Some(Wake::Input(input)), _)) => self.handle(input, None),
                Either::Right((Some(Wake::Job(job)), _)) => self.work(job),
                Either::Right((Some(Wake::End(end)), _)) => return end,
                Either::Right((None, _)) => return End::LetGo,
            }
        }
    }

    fn work(&mut self, job: Job) {
        match job {
            Job::Command { request_id: Some(id), .. } if !self.tab.is_new(id) => self.confirm_again(id),
            Job::Command { request_id, command } => {
                let shown = match command {
                    Command::Shown { contact, id } => Some(Notice::Shown { contact, id }),
                    _ => None,
                };
                self.handle(Input::Command(command), request_id);
                // All other tabs count it as seen too.
                shown.into_iter().for_each(|shown| self.tab.tell(shown));
            }
            Job::Snapshot { to, round } => self.send_snapshot(to, round),
            Job::Forget(gone) => {
                let storage = self.storage.clone();
                // If that fails, the next leader does it.
                spawn_local(async move {
                    let _ = storage.write([&gone.no_record()]).await;
                });
            }
        }
    }

    fn handle(&mut self, input: Input, request_id: Option<RequestId>) {
        let is_command = matches!(input, Input::Command(_));
        let persisted = match input {
            Input::Persisted(batch) => Some(batch),
            _ => None,
        };
        self.engine.handle(self.clock.now(), input);
        let mut events = self.take_outputs(request_id);
        if is_command {
            // Only the page that gave the command shows its errors.
            let errors: Vec<_> = events.extract_if(.., |event| matches!(event, Event::Error { .. })).collect();
            if !errors.is_empty() {
                self.tab.as_leader(|leader| leader.answer(request_id, Notice::Events(errors)));
            }
        }
        self.tell(events);
        while let Some((_, finished)) = self.unconfirmed.pop_front_if(|(batch, _)| Some(*batch) <= persisted) {
            self.confirm(finished);
        }
    }

    /// Confirms a request that arrived twice, unless its changes are still on their way to the disk.
    fn confirm_again(&self, request_id: RequestId) {
        if !self.unconfirmed.iter().any(|(_, waiting)| *waiting == request_id) {
            self.confirm(request_id);
        }
    }

    fn confirm(&self, request_id: RequestId) {
        self.tab.as_leader(|leader| leader.done(request_id));
    }

    /// Makes a snapshot of the engine and the store for a follower.
    fn send_snapshot(&self, to: TabId, round: u64) {
        let (storage, tab, events) = (self.storage.clone(), Rc::clone(&self.tab), self.engine.snapshot());
        spawn_local(async move {
            let snapshot = match storage.load().await {
                Ok(records) => Some(Notice::Snapshot { history: history(&records), events }),
                Err(_) => {
                    TimeoutFuture::new(RELOAD_MILLIS).await;
                    None
                }
            };
            tab.as_leader(|leader| leader.snapshot(to, round, snapshot));
        });
    }

    /// Tells the pages all events of one turn at once, except that each part of the consensus goes by itself, so that a page
    /// can draw in between.
    fn tell(&self, events: Vec<Event>) {
        let mut batch = Vec::new();
        for event in events {
            let is_part = matches!(event, Event::Relays { .. });
            batch.push(event);
            if is_part {
                self.tab.tell(Notice::Events(std::mem::take(&mut batch)));
            }
        }
        if !batch.is_empty() {
            self.tab.tell(Notice::Events(batch));
        }
    }

    /// Carries out the engine's outputs and returns its events. The changes of a follower's request and the record that it was
    /// carried out are one batch.
    fn take_outputs(&mut self, request_id: Option<RequestId>) -> Vec<Event> {
        let mut events = Vec::new();
        let mut last = None;
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::OpenLink { link, url } => self.open_link(link, &url),
                Output::SendLink(link, bytes) => {
                    if let Some(socket) = self.sockets.get(&link) {
                        socket.send(&bytes);
                    }
                }
                Output::CloseLink(link) => drop(self.sockets.remove(&link)),
                Output::FetchConsensus { source, url, held } => self.fetch_consensus(source, url, held),
                Output::Persist(batch, mut writes) => {
                    if last.replace(batch).is_none() {
                        writes.extend(request_id.map(RequestId::record));
                    }
                    self.writer.write(batch, writes);
                }
                Output::Event(event) => events.push(event),
            }
        }
        match (request_id, last) {
            (Some(id), Some(batch)) => self.unconfirmed.push_back((batch, id)),
            (Some(id), None) => self.confirm(id),
            (None, _) => {}
        }
        events
    }

    fn open_link(&mut self, link: LinkId, url: &str) {
        match Socket::open(link, url, &self.inputs) {
            Ok(socket) => drop(self.sockets.insert(link, socket)),
            // The browser refuses the address, for example ws:// on a page loaded over https.
            Err(_) => drop(self.inputs.unbounded_send(Input::LinkClosed(link))),
        }
    }

    fn fetch_consensus(&self, source: usize, url: Option<String>, held: Option<ConsensusDigest>) {
        let inputs = self.inputs.clone();
        spawn_local(async move {
            // No URL means the page's own server.
            let directory = url.unwrap_or_default();
            let address = match held {
                Some(digest) => format!("{directory}{UPDATE_PATH}{digest}"),
                None => format!("{directory}{CONSENSUS_PATH}"),
            };
            let answer = directory::fetch(&address).await;
            let _ = inputs.unbounded_send(Input::Consensus { source, answer });
        });
    }
}

/// The browser's two clocks.
struct Clock {
    performance: Option<Performance>,
}

impl Clock {
    fn new() -> Self {
        let performance = Reflect::get(&js_sys::global(), &"performance".into()).ok();
        Self { performance: performance.and_then(|performance| performance.dyn_into().ok()) }
    }

    fn now(&self) -> Now {
        let unix = js_sys::Date::now();
        let instant = self.performance.as_ref().map_or(unix, Performance::now);
        Now { instant: Instant::from_millis(whole_millis(instant)), unix: UnixTime::from_millis(whole_millis(unix)) }
    }

    /// A timer that fires at `at`, or earlier if the browser cannot wait that long.
    fn timer(&self, at: Instant) -> TimeoutFuture {
        // A timer may fire a fraction of a millisecond early, when nothing is due yet.
        let wait = at.saturating_since(self.now().instant).as_millis().saturating_add(1);
        TimeoutFuture::new(u32::try_from(wait).unwrap_or(TIMER_MILLIS_MAX).min(TIMER_MILLIS_MAX))
    }
}

/// Rounds down to whole milliseconds. The clocks return non-negative fractions.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates, and so it should")]
fn whole_millis(millis: f64) -> u64 {
    millis as u64
}
