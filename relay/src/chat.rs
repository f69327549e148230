//! `allium chat`: the engine of the page, driven by lines of JSON on standard input and output.
//!
//! # Layout
//!
//! - [`lines`]: what the lines say
//! - `printed`: which messages were printed, told to the disk before anything else can happen
//! - `sockets`: the WebSockets of the engine's links

pub mod lines;
mod printed;
mod sockets;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use allium_shared::client::api::{CONSENSUS_PATH, Command, ContactId, Event, Input, Output, Progress, UPDATE_PATH};
use allium_shared::client::{Client, ClientError, Config};
use allium_shared::netdir::{Authorities, ConsensusDigest, MAX_UPDATE_LEN};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::sync::mpsc;

use self::lines::{Order, Report};
use self::printed::Printed;
use self::sockets::Sockets;
use crate::clock::Clock;
use crate::directory::trust::{self, TrustError};
use crate::http::client as http;
use crate::profile::ProfileError;
use crate::profile::passphrase::Passphrase;
use crate::random;
use crate::shutdown::Shutdown;
use crate::store::Store;

/// The longest line that is read, in bytes.
const MAX_LINE_LEN: u64 = 256 * 1024;

/// How long a list of relays may take to come by HTTP.
const FETCH_TIME: Duration = Duration::from_secs(10);

/// What a native client is to do.
#[derive(Clone, Debug)]
pub struct ChatConfig {
    /// A directory's address, without a slash at the end.
    pub directory: String,
    /// The folder of the profile; made if it is not there.
    pub profile: PathBuf,
    /// A file with the authorities' keys; without one they are taken from the directory once, and pinned.
    pub authorities: Option<PathBuf>,
    /// Where the profile's passphrase comes from, if it has one.
    pub passphrase: Passphrase,
}

/// Why a native client cannot go on.
#[derive(Debug, Error)]
pub enum ChatError {
    /// The authorities' keys are not to be had, or have changed.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The profile cannot be used.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The profile holds what this version did not write.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The system refused something.
    #[error("standard input or output: {0}")]
    Io(#[from] io::Error),
}

/// Runs a native client until its input or the program ends.
///
/// # Errors
///
/// If it cannot begin, or can no longer write to its profile or its output.
pub async fn run(config: ChatConfig, mut shutdown: Shutdown) -> Result<(), ChatError> {
    let (inputs, mut inbox) = mpsc::unbounded_channel();
    let (failed, mut failure) = mpsc::unbounded_channel();
    let done = inputs.clone();
    let (store, records) = Store::open(&config.profile, &config.passphrase, move |batch| {
        // Nobody listens any more when the program is about to end.
        match batch {
            Ok(batch) => drop(done.send(Input::Persisted(batch))),
            Err(error) => drop(failed.send(error)),
        }
    })?;
    // Nobody is asked for anything before the profile is open.
    let authorities = authorities(&config).await?;
    let printed = Printed::open(&config.profile)?;
    let clock = Clock::start();
    let client = Client::new(Config::new(authorities), records, random::seed()?, clock.now())?;
    let mut chat = Chat {
        client,
        clock,
        store,
        sockets: Sockets::new(inputs.clone()),
        inputs,
        directory: config.directory,
        names: BTreeMap::new(),
        ready: false,
        privacy_asked: false,
        printed,
    };
    chat.settle()?;
    chat.printed.begin()?;
    let mut stdin = BufReader::new(tokio::io::stdin());
    let mut line = Vec::new();
    loop {
        let wake = chat.client.poll_timeout().map(|at| tokio::time::Instant::from_std(clock.to_system(at)));
        tokio::select! {
            () = shutdown.wait() => break,
            read = read_line(&mut stdin, &mut line) => {
                if read? == 0 && (line.len() as u64) < MAX_LINE_LEN {
                    // A last line without its end counts too.
                    if line.is_empty() || !chat.line(&line)? {
                        break;
                    }
                    line.clear();
                } else if line.last() == Some(&b'\n') {
                    if !chat.line(&line)? {
                        break;
                    }
                    line.clear();
                } else if line.len() as u64 >= MAX_LINE_LEN {
                    chat.report(&Report::error("input", format!("a line has more than {MAX_LINE_LEN} bytes")))?;
                    if !skip_line(&mut stdin).await? {
                        break;
                    }
                    line.clear();
                }
            }
            Some(input) = inbox.recv() => chat.handle(input)?,
            Some(error) = failure.recv() => return Err(error.into()),
            () = sleep_until(wake) => chat.handle(Input::Timeout)?,
        }
    }
    // What was asked for before the end still happens, and is said.
    chat.store.close();
    while let Ok(input) = inbox.try_recv() {
        chat.handle(input)?;
    }
    Ok(())
}

/// Skips what is left of a line that is too long; `false` at the end of the input.
async fn skip_line(stdin: &mut BufReader<tokio::io::Stdin>) -> io::Result<bool> {
    loop {
        let bytes = stdin.fill_buf().await?;
        if bytes.is_empty() {
            return Ok(false);
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let read = end.map_or(bytes.len(), |end| end + 1);
        stdin.consume(read);
        if end.is_some() {
            return Ok(true);
        }
    }
}

async fn authorities(config: &ChatConfig) -> Result<Authorities, ChatError> {
    if let Some(file) = &config.authorities {
        return Ok(trust::from_file(file)?);
    }
    if let Some(pinned) = trust::pinned(&config.profile)? {
        match trust::check(&config.profile, &pinned, &config.directory).await {
            Err(error @ TrustError::Mismatch { .. }) => return Err(error.into()),
            // A directory that cannot be asked now takes nothing away from keys that are known.
            Ok(()) | Err(_) => return Ok(pinned),
        }
    }
    let authorities = trust::fetch(&config.directory).await?;
    trust::pin(&config.profile, &authorities)?;
    eprintln!(
        "allium: took the authorities' keys of network {} from {} and pinned them in {}",
        authorities.network(),
        config.directory,
        config.profile.display()
    );
    Ok(authorities)
}

/// Reads to the end of a line, or to the longest that is read. When it is cancelled, what was read stays in `line`.
async fn read_line(stdin: &mut BufReader<tokio::io::Stdin>, line: &mut Vec<u8>) -> io::Result<usize> {
    let left = MAX_LINE_LEN.saturating_sub(line.len() as u64);
    stdin.take(left).read_until(b'\n', line).await
}

async fn sleep_until(wake: Option<tokio::time::Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

struct Chat {
    client: Client,
    clock: Clock,
    store: Store,
    sockets: Sockets,
    inputs: mpsc::UnboundedSender<Input>,
    directory: String,
    names: BTreeMap<ContactId, String>,
    ready: bool,
    /// Whether an order has been about what contacts are told.
    privacy_asked: bool,
    printed: Printed,
}

impl Chat {
    fn handle(&mut self, input: Input) -> io::Result<()> {
        self.client.handle(self.clock.now(), input);
        self.settle()
    }

    /// Does what the engine wants done. What is to be printed comes last: a message is acknowledged, then printed.
    fn settle(&mut self) -> io::Result<()> {
        let mut events = VecDeque::new();
        loop {
            self.carry_out(&mut events);
            let Some(event) = events.pop_front() else { return Ok(()) };
            self.event(event)?;
        }
    }

    fn carry_out(&mut self, events: &mut VecDeque<Event>) {
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::OpenLink { link, url } => self.sockets.open(link, url),
                Output::SendLink(link, message) => self.sockets.send(link, message),
                Output::CloseLink(link) => self.sockets.close(link),
                Output::FetchConsensus { source, url, held } => self.fetch(source, url, held),
                Output::Persist(batch, writes) => self.store.write(batch, writes),
                Output::Event(event) => events.push_back(event),
            }
        }
    }

    fn fetch(&self, source: usize, url: Option<String>, held: Option<ConsensusDigest>) {
        let directory = url.as_ref().unwrap_or(&self.directory);
        let url = match held {
            Some(digest) => format!("{directory}{UPDATE_PATH}{digest}"),
            None => format!("{directory}{CONSENSUS_PATH}"),
        };
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let fetched = http::get_within(&url, None, MAX_UPDATE_LEN, FETCH_TIME).await;
            let answer = fetched.map(|fetched| fetched.body.unwrap_or_default().to_vec());
            let answer = answer.map_err(|error| error.to_string());
            let _ = inputs.send(Input::Consensus { source, answer });
        });
    }

    /// Takes one line of input; `false` when it was the last one that is wanted.
    fn line(&mut self, line: &[u8]) -> io::Result<bool> {
        let order = match lines::parse(line) {
            Ok(None) => return Ok(true),
            Ok(Some(order)) => order,
            Err(error) => {
                self.report(&Report::error("input", error))?;
                return Ok(true);
            }
        };
        if order == Order::Quit {
            return Ok(false);
        }
        match self.command(order) {
            Ok(command) => {
                self.privacy_asked |= matches!(command, Command::Receipts { .. } | Command::TypingNotices { .. });
                self.handle(Input::Command(command))?;
            }
            Err((about, name)) => {
                self.report(&Report::error(about, format!("there is nobody named {name:?}")))?;
            }
        }
        Ok(true)
    }

    /// What the engine is to do; or what it is about, and a name that nobody has.
    fn command(&self, order: Order) -> Result<Command, (&'static str, String)> {
        let find = |about, name: String| self.client.find_contact(&name).ok_or((about, name));
        Ok(match order {
            Order::Quit | Order::Circuits => Command::Circuits,
            Order::Invite { reusable, expires_secs, note } => {
                Command::Invite { reusable, expires_in: expires_secs, note }
            }
            Order::Invites => Command::Invites,
            Order::Withdraw { invite } => Command::Withdraw { id: invite },
            Order::Add { link, name, introduce_as, note } => Command::Add { link, name, introduce_as, note },
            Order::Accept { name } => Command::Accept { id: find("request", name)? },
            Order::Decline { name } => Command::Decline { id: find("request", name)? },
            Order::Block { name } => Command::Block { id: find("block", name)? },
            Order::Unblock { name } => Command::Unblock { id: find("block", name)? },
            Order::Safety { name } => Command::Safety { contact: find("safety", name)? },
            Order::Verify { name, verified } => Command::Verify { contact: find("verify", name)?, verified },
            Order::Read { name } => Command::Read { contact: find("read", name)? },
            Order::Typing { name, typing } => Command::Typing { contact: find("typing", name)?, typing },
            Order::Receipts { on } => Command::Receipts { on },
            Order::TypingNotices { on } => Command::TypingNotices { on },
            Order::Blocked => Command::Blocked,
            Order::PublishKey => Command::PublishKey,
            Order::FindKey { id } => Command::FindKey { id },
            Order::Send { to, text } => Command::Send { to: find("send", to)?, text },
        })
    }

    fn event(&mut self, event: Event) -> io::Result<()> {
        let name = |names: &BTreeMap<ContactId, String>, id: ContactId| names.get(&id).cloned().unwrap_or_default();
        match event {
            Event::Progress { step } => {
                tracing::info!(?step, "progress");
                if step == Progress::Ready && !self.ready {
                    self.ready = true;
                    self.report(&Report::Ready)?;
                }
                Ok(())
            }
            Event::Invite { id, fragment } => {
                self.report(&Report::Invite { invite: id, link: lines::invite_link(&self.directory, &fragment) })
            }
            Event::Invites { list } => self.report(&Report::invites(list, &self.directory)),
            Event::Request { id, name, note, invite_note, .. } => {
                self.names.insert(id, name.clone());
                self.report(&Report::Request { name, note, invite_note })
            }
            Event::RequestClosed { id } => {
                let name = name(&self.names, id);
                self.report(&Report::RequestClosed { name })
            }
            Event::Typing { contact, typing } => {
                let name = name(&self.names, contact);
                self.report(&Report::Typing { name, typing })
            }
            // At the start nobody has asked.
            Event::Privacy { .. } if !self.privacy_asked => Ok(()),
            Event::Privacy { receipts, typing } => self.report(&Report::Privacy { receipts, typing }),
            Event::Blocked { list } => {
                self.names.extend(list.iter().map(|blocked| (blocked.id, blocked.name.clone())));
                self.report(&Report::Blocked { list: list.into_iter().map(|blocked| blocked.name).collect() })
            }
            Event::Contact { id, name, state, verified: _ } => {
                self.names.insert(id, name.clone());
                self.report(&Report::Contact { name, state })
            }
            Event::Safety { contact, number, verified } => {
                let name = name(&self.names, contact);
                self.report(&Report::Safety { name, number, verified })
            }
            Event::Message { contact, id, text, .. } => {
                let from = name(&self.names, contact);
                if !self.printed.contains(&id) {
                    self.report(&Report::Message { from, id, text })?;
                }
                // The line is out: after a restart it is not to be repeated.
                self.printed.add(id)?;
                self.client.handle(self.clock.now(), Input::Command(Command::Shown { contact, id }));
                Ok(())
            }
            Event::Outgoing { contact, id, state, .. } => {
                let to = name(&self.names, contact);
                Report::delivery(state, to, id).map_or(Ok(()), |report| self.report(&report))
            }
            Event::Circuits { list } => self.report(&Report::circuits(&list)),
            Event::KeyPublished { id } => self.report(&Report::KeyPublished { id }),
            Event::KeyFound { id, key } => self.report(&Report::Key { id, key }),
            // The order `circuits` lists paths, and nobody asked for the consensus.
            Event::Path { .. } | Event::Network { .. } | Event::Relays { .. } => Ok(()),
            Event::Clock { skew_secs, message } => self.report(&Report::Clock { skew_secs, message }),
            Event::Error { about, message } => self.report(&Report::Error { about, message }),
        }
    }

    fn report(&self, report: &Report) -> io::Result<()> {
        let mut line = serde_json::to_vec(report)?;
        line.push(b'\n');
        let mut stdout = io::stdout().lock();
        stdout.write_all(&line)?;
        stdout.flush()
    }
}
