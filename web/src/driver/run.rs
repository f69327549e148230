//! One run of the engine, from the opened store until another tab's turn.

use std::collections::HashMap;
use std::pin::pin;

use allium_shared::client::api::{CONSENSUS_PATH, Input, LinkId, Output, UPDATE_PATH};
use allium_shared::client::{Client, Config, history_entry};
use allium_shared::netdir::ConsensusDigest;
use allium_shared::time::{Instant, Now, UnixTime};
use futures_channel::mpsc;
use futures_util::future::{Either, pending, ready, select};
use futures_util::{Stream, StreamExt as _, stream};
use gloo_timers::future::TimeoutFuture;
use js_sys::Reflect;
use wasm_bindgen::JsCast as _;
use wasm_bindgen_futures::spawn_local;
use web_sys::Performance;
use yew::Callback;

use super::worker::Inbox;
use super::{Notice, Request, lock, tell_events, trust};
use crate::address;
use crate::directory;
use crate::socket::Socket;
use crate::storage::{Opened, Storage, StorageError, Writer};
use crate::strings;

/// The store's records that are messages.
const MESSAGE_PREFIX: &str = "message/";

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
    Inbox { requests, locks }: &mut Inbox,
    others: &mut mpsc::UnboundedReceiver<()>,
    tell: &Callback<Notice>,
) -> Result<End, Stop> {
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
    tell.emit(Notice::History(
        records
            .iter()
            .filter(|(key, _)| key.starts_with(MESSAGE_PREFIX))
            .filter_map(|(key, value)| history_entry(key, value))
            .collect(),
    ));

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
    let mut run = Run { engine, clock, inputs, sockets: HashMap::new(), writer, tell: tell.clone() };
    let commands = requests.filter_map(|request| {
        ready(match request {
            Request::Command(command) => Some(Wake::Input(Input::Command(command))),
            Request::TakeOver | Request::Lock(_) => None,
        })
    });
    let wakes = stream::select(stream::once(ends).map(Wake::End), stream::select(commands, inbox.map(Wake::Input)));
    let end = run.drive(pin!(wakes)).await;

    // Everything that the engine has said is on disk before another tab reads it.
    run.sockets.clear();
    run.writer.finish().await;
    Ok(end)
}

/// Why the engine does not run.
#[derive(Debug)]
pub(super) enum Stop {
    /// For a reason in one sentence or more.
    Failed(String),
    /// The server of the page names other authorities than those that the profile keeps; the ids of both networks.
    OtherAuthorities {
        /// Theirs that are kept.
        kept: String,
        /// Theirs that are named.
        named: String,
    },
}

impl<T: Into<String>> From<T> for Stop {
    fn from(reason: T) -> Self {
        Self::Failed(reason.into())
    }
}

struct Run {
    engine: Client,
    clock: Clock,
    inputs: mpsc::UnboundedSender<Input>,
    sockets: HashMap<LinkId, Socket>,
    writer: Writer,
    tell: Callback<Notice>,
}

/// What ends the driver's sleep.
enum Wake {
    Input(Input),
    End(End),
}

impl Run {
    /// Feeds the engine until the run is to end.
    async fn drive(&mut self, mut wakes: impl Stream<Item = Wake> + Unpin) -> End {
        let mut timer: Option<(Instant, TimeoutFuture)> = None;
        self.take_outputs();
        loop {
            let deadline = self.engine.poll_timeout();
            if timer.as_ref().map(|(at, _)| *at) != deadline {
                timer = deadline.map(|at| (at, self.clock.timer(at)));
            }
            let rings = match &mut timer {
                Some((_, timer)) => Either::Left(timer),
                None => Either::Right(pending()),
            };
            let input = match select(rings, wakes.next()).await {
                Either::Left(((), _)) => {
                    timer = None;
                    Input::Timeout
                }
                Either::Right((Some(Wake::Input(input)), _)) => input,
                Either::Right((Some(Wake::End(end)), _)) => return end,
                Either::Right((None, _)) => return End::LetGo,
            };
            self.engine.handle(self.clock.now(), input);
            self.take_outputs();
        }
    }

    fn take_outputs(&mut self) {
        let mut events = Vec::new();
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
                Output::Persist(batch, writes) => self.writer.write(batch, writes),
                Output::Event(event) => events.push(event),
            }
        }
        tell_events(events, &self.tell);
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
        Now { instant: Instant::from_millis(whole(instant)), unix: UnixTime::from_millis(whole(unix)) }
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
fn whole(millis: f64) -> u64 {
    millis as u64
}
