//! One run of the engine, from the opened store until another tab's turn.

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

use super::stop::Stop;
use super::tab::{Inbox, Job, Tab};
use super::tabs::{self, Order, RequestId, TabId};
use super::{Notice, lock, tell_events, trust};
use crate::address;
use crate::directory;
use crate::socket::Socket;
use crate::storage::{Opened, Storage, StorageError, Writer};
use crate::strings;
use crate::tab_lock::Ask;

/// The store's records that are messages.
const MESSAGE_PREFIX: &str = "message/";

/// How long to wait after the store could not be read for a follower.
const RELOAD_MILLIS: u32 = 1_000;

/// The longest that `setTimeout` can wait.
const TIMER_MILLIS_MAX: u32 = i32::MAX.unsigned_abs();

/// Why a run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Another tab wants its turn, or the page goes.
    LetGo,
    /// The profile is to be locked.
    Locked,
}

/// Runs the engine until another tab wants its turn, the profile is to be locked, or the page goes.
pub(super) async fn run(
    Inbox { jobs, locks }: &mut Inbox,
    others: &mut mpsc::UnboundedReceiver<Ask>,
    tab: &Rc<Tab>,
) -> Result<End, Stop> {
    let tell = &Callback::from({
        let tab = Rc::clone(tab);
        move |notice| tab.tell(notice)
    });
    let storage = match Storage::open().await.map_err(strings::profile_failed)? {
        Opened::Open(storage) => storage,
        Opened::Locked(locked) => match select(others.next(), pin!(lock::unlock(&locked, locks, tell))).await {
            Either::Right((Some(storage), _)) => storage,
            Either::Right((None, _)) | Either::Left(_) => {
                locked.close();
                return Ok(End::LetGo);
            }
        },
    };
    let mut records = storage.load().await.map_err(strings::profile_failed)?;
    tell.emit(lock::protection(&storage).await.map_err(strings::profile_failed)?);
    let pinned = trust::take_pinned(&mut records).map_err(strings::storage_failed)?;
    tab.resume(tabs::take_records(&mut records));
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
    getrandom::fill(&mut seed).map_err(|_| strings::NO_RANDOMNESS)?;
    let clock = Clock::new();
    let engine = Client::new(config, records, seed, clock.now()).map_err(|error| strings::engine_failed(&error))?;

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
    tab.run();
    let wakes = stream::select(jobs.map(Wake::Job), inbox.map(Wake::Input));
    let wakes = stream::select(stream::once(ends).map(Wake::End), wakes);
    let end = run.drive(pin!(wakes)).await;

    // Everything that the engine has said is on disk before another tab reads it.
    run.sockets.clear();
    run.writer.finish().await;
    Ok(end)
}

/// The conversations in the store's records.
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
    /// What followers have asked for and is not on disk yet, with the batch that it waits for.
    unconfirmed: VecDeque<(BatchId, RequestId)>,
}

/// What ends the driver's sleep.
enum Wake {
    Input(Input),
    Job(Job),
    End(End),
}

impl Run {
    /// Feeds the engine until the run is to end.
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
            Job::Order(Order { asker, command }) => {
                match asker {
                    Some(asker) if !self.tab.give(asker) => self.confirm_again(asker),
                    _ => {
                        let shown = match command {
                            Command::Shown { contact, id } => Some(Notice::Shown { contact, id }),
                            _ => None,
                        };
                        self.handle(Input::Command(command), asker);
                        // In whichever tab it was.
                        shown.into_iter().for_each(|shown| self.tab.tell(shown));
                    }
                }
            }
            Job::Collect(to, round) => self.collect(to, round),
            Job::Forget(gone) => {
                let storage = self.storage.clone();
                // If that fails, whoever leads next does it.
                spawn_local(async move {
                    let _ = storage.write([&gone.no_record()]).await;
                });
            }
        }
    }

    fn handle(&mut self, input: Input, asker: Option<RequestId>) {
        let is_command = matches!(input, Input::Command(_));
        let persisted = match input {
            Input::Persisted(batch) => Some(batch),
            _ => None,
        };
        self.engine.handle(self.clock.now(), input);
        let mut events = self.take_outputs(asker);
        if is_command {
            // What is wrong with a command is said where it was given.
            let errors: Vec<_> = events.extract_if(.., |event| matches!(event, Event::Error { .. })).collect();
            if !errors.is_empty() {
                self.tab.answer(asker, Notice::Events(errors));
            }
        }
        tell_events(events, |notice| self.tab.tell(notice));
        while let Some((_, asker)) = self.unconfirmed.pop_front_if(|(batch, _)| Some(*batch) <= persisted) {
            self.tab.done(asker);
        }
    }

    /// A request has come twice. If the first is not on disk yet, it will be confirmed when it is.
    fn confirm_again(&self, asker: RequestId) {
        if !self.unconfirmed.iter().any(|(_, waiting)| *waiting == asker) {
            self.tab.done(asker);
        }
    }

    /// Collects all there is for a follower, from the engine and the store.
    fn collect(&self, to: TabId, round: u64) {
        let (storage, tab, events) = (self.storage.clone(), Rc::clone(&self.tab), self.engine.snapshot());
        spawn_local(async move {
            let snapshot = match storage.load().await {
                Ok(records) => Some(Notice::Snapshot { history: history(&records), events }),
                Err(_) => {
                    TimeoutFuture::new(RELOAD_MILLIS).await;
                    None
                }
            };
            tab.snapshot(to, round, snapshot);
        });
    }

    /// Does what the engine wants, and gives what it has to tell. What a follower's request has changed is written together with
    /// the news that it was done.
    fn take_outputs(&mut self, asker: Option<RequestId>) -> Vec<Event> {
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
                        writes.extend(asker.map(RequestId::record));
                    }
                    self.writer.write(batch, writes);
                }
                Output::Event(event) => events.push(event),
            }
        }
        match (asker, last) {
            (Some(asker), Some(batch)) => self.unconfirmed.push_back((batch, asker)),
            (Some(asker), None) => self.tab.done(asker),
            (None, _) => {}
        }
        events
    }

    fn open_link(&mut self, link: LinkId, url: &str) {
        match Socket::open(link, url, &self.inputs) {
            Ok(socket) => drop(self.sockets.insert(link, socket)),
            // An address that the browser will not even try, such as ws:// on a page that came by https.
            Err(_) => drop(self.inputs.unbounded_send(Input::LinkClosed(link))),
        }
    }

    fn fetch_consensus(&self, source: usize, url: Option<String>, held: Option<ConsensusDigest>) {
        let inputs = self.inputs.clone();
        spawn_local(async move {
            // Without an address it is the server that served the page.
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
        Now { instant: Instant::from_millis(snapshot(instant)), unix: UnixTime::from_millis(snapshot(unix)) }
    }

    /// A timer that rings at `at`, or earlier where the browser cannot wait so long.
    fn timer(&self, at: Instant) -> TimeoutFuture {
        // A timer may ring a fraction of a millisecond early, and would then ring in vain.
        let wait = at.saturating_since(self.now().instant).as_millis().saturating_add(1);
        TimeoutFuture::new(u32::try_from(wait).unwrap_or(TIMER_MILLIS_MAX).min(TIMER_MILLIS_MAX))
    }
}

/// Whole milliseconds; the clocks count in fractions and never below zero.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates, and so it should")]
fn snapshot(millis: f64) -> u64 {
    millis as u64
}
