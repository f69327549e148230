//! Drives one link of a relay: a WebSocket on one side, the relay's other links on the other.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use allium_shared::cell::DestroyReason;
use allium_shared::relay::link::{LinkError, Progress, RelayLink};
use allium_shared::time::Now;
use axum::body::Bytes;
use axum::extract::ws;
use futures_util::{Sink, SinkExt, Stream, StreamExt, future};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite;

use crate::dial;
use crate::link_handle::{Item, LinkHandle};
use crate::metrics::relay::{LinkEnd, LinkKind, LinkRefusal, LinkTally};
use crate::random;
use crate::switchboard::{Admission, Line, NewLink, Switchboard};
use crate::websocket::RECORDS;

/// Where a relay takes links.
pub const PATH: &str = "/link";

/// How long a peer may take to hear why its link ends.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// How often timers are looked at while the socket takes nothing.
const STALLED_TIME: Duration = Duration::from_millis(250);

/// Items that are taken from other links before the socket gets its turn.
const BATCH: usize = 64;

/// The longest reason that a WebSocket close frame can carry, in bytes.
const MAX_REASON_LEN: usize = 123;

/// What a WebSocket brings.
enum Incoming {
    Binary(Bytes),
    /// Pings and their answers, which the WebSocket layer sees to.
    Nothing,
    /// What no link carries, said in words.
    Unfit(String),
    Closed,
}

impl Incoming {
    /// A WebSocket that is gone without a word is gone all the same; anything else is the other side's fault.
    fn failed(error: &tungstenite::Error) -> Self {
        use tungstenite::error::{Error, ProtocolError};
        match error {
            Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Io(_)
            | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::Closed,
            error => Self::Unfit(error.to_string()),
        }
    }
}

/// What a WebSocket takes.
enum Outgoing {
    Binary(Vec<u8>),
    Close(String),
}

/// Why a link is over.
enum Ended {
    /// The other side has closed it, or is gone.
    Closed,
    /// What came was no message of a link.
    Unfit(String),
    /// The link itself says so.
    Broken(LinkError),
}

impl Ended {
    fn label(&self) -> LinkEnd {
        match self {
            Self::Closed => LinkEnd::Closed,
            Self::Unfit(_) => LinkEnd::WebSocket,
            Self::Broken(error) => error.into(),
        }
    }

    /// What the other side should hear, if it still listens.
    fn reason(self) -> Option<String> {
        match self {
            Self::Closed => None,
            Self::Unfit(reason) => Some(reason),
            Self::Broken(error) => Some(error.to_string()),
        }
    }
}

impl From<LinkError> for Ended {
    fn from(error: LinkError) -> Self {
        Self::Broken(error)
    }
}

/// Serves a link that somebody has opened to this relay, until it ends.
pub(crate) async fn serve(socket: ws::WebSocket, admission: Admission, switchboard: Arc<Switchboard>) {
    let (sink, stream) = socket.split();
    let stream = stream.map(|message| match message {
        Ok(ws::Message::Binary(bytes)) => Incoming::Binary(bytes),
        Ok(ws::Message::Text(_)) => Incoming::Unfit("a link carries binary messages only".to_owned()),
        Ok(ws::Message::Ping(_) | ws::Message::Pong(_)) => Incoming::Nothing,
        Ok(ws::Message::Close(_)) => Incoming::Closed,
        Err(error) => match error.into_inner().downcast() {
            Ok(error) => Incoming::failed(&error),
            Err(error) => Incoming::Unfit(error.to_string()),
        },
    });
    let sink = sink.with(|message| {
        future::ready(Ok::<_, axum::Error>(match message {
            Outgoing::Binary(bytes) => ws::Message::Binary(bytes.into()),
            Outgoing::Close(reason) => {
                ws::Message::Close(Some(ws::CloseFrame { code: ws::close_code::PROTOCOL, reason: reason.into() }))
            }
        }))
    });
    let Ok(rng) = random::rng() else { return tracing::error!("the system gives no randomness") };
    let (handle, inbox) = switchboard.new_handle();
    let now = switchboard.clock().now().instant;
    let (keys, memory) = (Arc::clone(switchboard.keys()), Arc::clone(switchboard.memory()));
    let link = RelayLink::respond(handle.clone(), keys, memory, handle.wakers(), rng, now);
    let tally = LinkTally::new(Arc::clone(switchboard.metrics()), LinkKind::Unknown);
    run(link, tally, handle, inbox, stream, sink, &switchboard).await;
    drop(admission);
}

/// Has a link to another relay opened, and served until it ends.
pub(crate) fn spawn(switchboard: Arc<Switchboard>, new: NewLink) {
    tokio::spawn(open(switchboard, new));
}

async fn open(switchboard: Arc<Switchboard>, new: NewLink) {
    let NewLink { admission, handle, mut inbox, addressee, url } = new;
    // Somebody's circuit was to go there, so the ordinary log does not name the relay: the metrics count such failures.
    match dial::connect(&url).await {
        Ok(socket) => {
            let (sink, stream) = socket.split();
            let stream = stream.map(|message| match message {
                Ok(tungstenite::Message::Binary(bytes)) => Incoming::Binary(bytes),
                Ok(tungstenite::Message::Text(_)) => Incoming::Unfit("a link carries binary messages only".to_owned()),
                Ok(tungstenite::Message::Close(_)) => Incoming::Closed,
                Ok(_) => Incoming::Nothing,
                Err(error) => Incoming::failed(&error),
            });
            let sink = sink.with(|message| {
                future::ready(Ok::<_, tungstenite::Error>(match message {
                    Outgoing::Binary(bytes) => tungstenite::Message::Binary(bytes.into()),
                    Outgoing::Close(reason) => tungstenite::Message::Close(Some(tungstenite::protocol::CloseFrame {
                        code: tungstenite::protocol::frame::coding::CloseCode::Protocol,
                        reason: reason.into(),
                    })),
                }))
            });
            let now = switchboard.clock().now().instant;
            let (keys, memory) = (Arc::clone(switchboard.keys()), Arc::clone(switchboard.memory()));
            let link = random::rng().map_err(|error| error.to_string()).and_then(|rng| {
                RelayLink::initiate(handle.clone(), keys, memory, handle.wakers(), rng, &addressee, now)
                    .map_err(|error| error.to_string())
            });
            match link {
                Ok(link) => {
                    let tally = LinkTally::new(Arc::clone(switchboard.metrics()), LinkKind::ToRelay);
                    return run(link, tally, handle, inbox, stream, sink, &switchboard).await;
                }
                Err(error) => tracing::debug!(relay = %addressee.identity, error, "cannot begin a link"),
            }
        }
        Err(error) => tracing::debug!(relay = %addressee.identity, %error, "cannot open a link"),
    }
    switchboard.metrics().link_refused(LinkRefusal::Unreachable);
    switchboard.withdraw(&handle);
    refuse_rest(&mut inbox, &switchboard);
    drop(admission);
}

async fn run<E>(
    mut link: RelayLink<LinkHandle>,
    mut tally: LinkTally,
    handle: LinkHandle,
    mut inbox: mpsc::UnboundedReceiver<Item>,
    stream: impl Stream<Item = Incoming>,
    sink: impl Sink<Outgoing, Error = E>,
    switchboard: &Arc<Switchboard>,
) {
    let mut stream = pin!(stream);
    let mut sink = pin!(sink);
    switchboard.attach(&handle, Arc::clone(link.load()));
    let ended = match carry(&mut link, &mut tally, &handle, &mut inbox, &mut stream, &mut sink, switchboard).await {
        Ok(()) => Ended::Closed,
        Err(ended) => ended,
    };
    switchboard.withdraw(&handle);
    let counts = link.close(switchboard.clock().now().instant, &mut Line(switchboard));
    tally.end(&counts, ended.label());
    refuse_rest(&mut inbox, switchboard);
    if let Some(mut reason) = ended.reason() {
        tracing::debug!(reason, "a link ends");
        reason.truncate(reason.floor_char_boundary(MAX_REASON_LEN));
        let _ = tokio::time::timeout(CLOSE_TIME, sink.send(Outgoing::Close(reason))).await;
    }
}

/// Moves messages until the link ends.
async fn carry<St, Si, E>(
    link: &mut RelayLink<LinkHandle>,
    tally: &mut LinkTally,
    handle: &LinkHandle,
    inbox: &mut mpsc::UnboundedReceiver<Item>,
    stream: &mut St,
    sink: &mut Si,
    switchboard: &Arc<Switchboard>,
) -> Result<(), Ended>
where
    St: Stream<Item = Incoming> + Unpin,
    Si: Sink<Outgoing, Error = E> + Unpin,
{
    let clock = switchboard.clock();
    let mut line = Line(switchboard);
    // A few records at a time are given to the socket: what comes meanwhile fills the next ones.
    let mut flushing = false;
    // Records are opened in place, and what comes from the socket may be shared with what comes after it.
    let mut record = Vec::new();
    let mut checked = clock.now().instant;
    loop {
        let now = clock.now().instant;
        // Not left to the sleep below: on a busy link whose socket takes nothing, that one never ends.
        if now.saturating_since(checked) >= STALLED_TIME {
            checked = now;
            tally.add(&link.take_counts(), link.circuits());
            link.handle_timeout(clock.now(), &mut line)?;
        }
        if !flushing {
            for _ in 0..RECORDS {
                let Some(message) = link.poll_transmit(now)? else { break };
                sink.feed(Outgoing::Binary(message)).await.map_err(|_| Ended::Closed)?;
                flushing = true;
            }
        }
        let mut wake = tokio::time::Instant::from_std(clock.to_system(link.poll_timeout()));
        if flushing {
            // Padding that is due while the socket takes nothing must not keep this loop awake.
            wake = wake.max(tokio::time::Instant::now() + STALLED_TIME);
        }
        tokio::select! {
            flushed = future::poll_fn(|context| sink.poll_flush_unpin(context)), if flushing => {
                flushed.map_err(|_| Ended::Closed)?;
                flushing = false;
            }
            Some(item) = inbox.recv() => {
                let now = clock.now();
                handle_item(link, item, &mut line, now);
                for _ in 1..BATCH {
                    let Ok(item) = inbox.try_recv() else { break };
                    handle_item(link, item, &mut line, now);
                }
            }
            message = stream.next() => match message {
                Some(Incoming::Binary(bytes)) => {
                    record.clear();
                    record.extend_from_slice(&bytes);
                    match link.handle_message(clock.now(), &mut record, &mut line)? {
                        Progress::Established(relay) => {
                            tally.established(relay.is_some());
                            if let Some(relay) = relay {
                                switchboard.register(relay, handle);
                            }
                        }
                        Progress::Nothing => {}
                    }
                }
                Some(Incoming::Nothing) => {}
                Some(Incoming::Unfit(reason)) => return Err(Ended::Unfit(reason)),
                Some(Incoming::Closed) | None => return Ok(()),
            },
            () = tokio::time::sleep_until(wake) => {
                link.handle_timeout(clock.now(), &mut line)?;
            }
        }
    }
}

fn handle_item(link: &mut RelayLink<LinkHandle>, item: Item, line: &mut Line<'_>, now: Now) {
    match item {
        Item::Cells(cells) => link.handle_forwarded(now.instant, &cells, line),
        Item::LinkEvent(event) => link.handle_event(now, *event, line),
    }
}

/// Answers what other links still wanted of a link that is gone.
fn refuse_rest(inbox: &mut mpsc::UnboundedReceiver<Item>, switchboard: &Arc<Switchboard>) {
    inbox.close();
    while let Ok(item) = inbox.try_recv() {
        if let Item::LinkEvent(event) = item {
            switchboard.refuse(*event, DestroyReason::ConnectFailed);
        }
    }
}
