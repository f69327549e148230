//! `allium chat`: a native client that is a process of its own, with a profile that survives it.

mod event;
mod run;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

pub use self::event::{Circuit, ContactState, Event, Invite, Received};
use self::run::{Run, Silence};
use crate::artifacts;
use crate::faketime::FakeClock;
use crate::process::{self, tail};
use crate::secure::TRUSTED;
use crate::wait::Deadline;

/// How long tests wait for what has no promised time: long, because other tests keep the machine busy.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A person's client: one profile, and one process after the other.
#[derive(Debug)]
pub struct Chat {
    label: String,
    url: String,
    /// A file with the certificates that it trusts, in place of the system's.
    trusted: Option<PathBuf>,
    /// The network namespace in which it runs, if not this process's.
    namespace: Option<String>,
    /// The file with the profile's passphrase, if it has one.
    passphrase: Mutex<Option<PathBuf>>,
    /// The clock that it goes by, if not the machine's.
    clock: Mutex<Option<FakeClock>>,
    folder: TempDir,
    runs: Mutex<Vec<Arc<Run>>>,
    /// `queued` events name the message, not the command: only one at a time may wait for its own.
    sending: Mutex<()>,
}

/// A moment in a client's run: events after it are new.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark(usize);

impl Chat {
    /// Starts a client with a new profile and waits until it is ready.
    #[track_caller]
    pub fn open(label: &str, url: &str) -> Self {
        let chat = Self::launch(label, url);
        chat.await_ready();
        chat
    }

    /// Starts a client with a new profile, and does not wait.
    #[track_caller]
    pub fn launch(label: &str, url: &str) -> Self {
        Self::launch_with(label, url, None, None)
    }

    /// Starts a client inside the network namespace of this name, and does not wait.
    #[track_caller]
    pub fn launch_in(namespace: &str, label: &str, url: &str) -> Self {
        Self::launch_with(label, url, None, Some(namespace.to_owned()))
    }

    /// Starts a client that trusts the certificates in this file alone, and does not wait.
    #[track_caller]
    pub fn launch_trusting(label: &str, url: &str, trusted: &Path) -> Self {
        Self::launch_with(label, url, Some(trusted.to_owned()), None)
    }

    #[track_caller]
    fn launch_with(label: &str, url: &str, trusted: Option<PathBuf>, namespace: Option<String>) -> Self {
        let folder = tempfile::Builder::new().prefix("allium-chat-").tempdir().expect("there is a place for files");
        let chat = Self {
            label: label.to_owned(),
            url: url.to_owned(),
            trusted,
            namespace,
            passphrase: Mutex::default(),
            clock: Mutex::default(),
            folder,
            runs: Mutex::default(),
            sending: Mutex::default(),
        };
        chat.start();
        chat
    }

    /// Starts the client's next process, with the same profile, and does not wait. The one before must have ended.
    #[track_caller]
    pub fn start(&self) {
        let mut runs = self.runs();
        assert!(runs.last().is_none_or(|run| run.ended().is_some()), "{} still runs", self.label);
        let log = self.log(runs.len());
        let mut command = command_in(self.namespace.as_deref(), &self.url, &self.profile());
        if let Some(trusted) = &self.trusted {
            command.env(TRUSTED, trusted);
        }
        if let Some(passphrase) = &*lock(&self.passphrase) {
            command.arg("--passphrase-file").arg(passphrase);
        }
        if let Some(clock) = &*lock(&self.clock) {
            clock.give_to(&mut command);
        }
        runs.push(Arc::new(Run::start(&self.label, &mut command, &log)));
    }

    /// Names a file with the profile's passphrase, or none, to the processes that follow.
    pub fn use_passphrase(&self, file: Option<&Path>) {
        *lock(&self.passphrase) = file.map(Path::to_owned);
    }

    /// Has the processes that follow go by this clock, or by the machine's.
    pub fn use_clock(&self, clock: Option<&FakeClock>) {
        *lock(&self.clock) = clock.cloned();
    }

    /// Freezes the client: its sockets stay open, and nothing happens, as when a computer is put to sleep.
    #[track_caller]
    pub fn freeze(&self) {
        let pid = self.pid();
        process::send(pid, Signal::SIGSTOP);
        crate::wait::until(PATIENCE, "the freeze of a client", || process::is_frozen(pid).then_some(()));
    }

    /// Lets a frozen client go on.
    pub fn thaw(&self) {
        process::send(self.pid(), Signal::SIGCONT);
    }

    /// Starts the client's next process and waits until it is ready.
    #[track_caller]
    pub fn restart(&self) {
        self.start();
        self.await_ready();
    }

    /// The folder of the profile.
    pub fn profile(&self) -> PathBuf {
        self.folder.path().join("profile")
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.run().pid()
    }

    /// Writes one command, or anything else that is JSON.
    pub fn say(&self, command: &Value) {
        self.say_line(&command.to_string());
    }

    /// Writes one line of input.
    pub fn say_line(&self, line: &str) {
        self.run().write(line);
    }

    /// This moment.
    pub fn mark(&self) -> Mark {
        Mark(self.run().count())
    }

    /// Everything that this run has printed so far.
    pub fn events(&self) -> Vec<Event> {
        self.run().events()
    }

    /// Waits for the first event since `mark` in which `pick` finds what it looks for.
    #[track_caller]
    pub fn expect<T>(&self, mark: Mark, limit: Duration, what: &str, pick: impl Fn(&Event) -> Option<T>) -> T {
        self.expect_all(mark, limit, what, |events| events.iter().find_map(&pick))
    }

    /// Waits until `pick` finds what it looks for in the events since `mark`.
    #[track_caller]
    pub fn expect_all<T>(&self, mark: Mark, limit: Duration, what: &str, pick: impl FnMut(&[Event]) -> Option<T>) -> T {
        let label = &self.label;
        match self.run().find(mark.0, Deadline::after(limit), pick) {
            Ok(found) => found,
            Err(Silence::TimedOut) => panic!("{label} waited {limit:.1?} in vain: {what}"),
            Err(Silence::Ended) => panic!("{label} ended, waiting in vain: {what}"),
            Err(Silence::Wrong(wrong)) => panic!("{label} printed what is no event: {wrong}"),
        }
    }

    /// Waits until everything works.
    #[track_caller]
    pub fn await_ready(&self) {
        self.expect(Mark::default(), PATIENCE, "ready", |event| (*event == Event::Ready).then_some(()));
    }

    /// Makes an invite and returns its link.
    #[track_caller]
    pub fn invite(&self) -> String {
        let mark = self.mark();
        self.say(&json!({"do": "invite"}));
        self.expect(mark, PATIENCE, "an invite", |event| match event {
            Event::Invite { link, .. } => Some(link.clone()),
            _ => None,
        })
    }

    /// Adds a contact by its invite link, and does not wait.
    pub fn add(&self, link: &str, name: &str, introduce_as: Option<&str>) {
        let mut command = json!({"do": "add", "link": link, "name": name});
        if let Some(own) = introduce_as {
            command["as"] = own.into();
        }
        self.say(&command);
    }

    /// Waits until somebody asks for contact, from `mark` on, takes them, and returns their name.
    #[track_caller]
    pub fn accept_request(&self, mark: Mark) -> String {
        let name = self.await_request(mark);
        self.say(&json!({"do": "approve", "name": name}));
        name
    }

    /// Waits until somebody asks for contact, from `mark` on, and returns their name.
    #[track_caller]
    pub fn await_request(&self, mark: Mark) -> String {
        self.expect(mark, PATIENCE, "a request", |event| match event {
            Event::Request { name, .. } => Some(name.clone()),
            _ => None,
        })
    }

    /// Waits until a contact is in this state, from `mark` on, and returns its name.
    #[track_caller]
    pub fn await_contact(&self, mark: Mark, state: ContactState) -> String {
        self.expect(mark, PATIENCE, &format!("a contact that is {state:?}"), |event| match event {
            Event::Contact { name, state: is } if *is == state => Some(name.clone()),
            _ => None,
        })
    }

    /// Waits until this contact is in a state that `wanted` takes, from `mark` on.
    #[track_caller]
    pub fn await_state(&self, mark: Mark, contact: &str, limit: Duration, wanted: impl Fn(ContactState) -> bool) {
        self.expect(mark, limit, &format!("a change of {contact}'s state"), |event| match event {
            Event::Contact { name, state } if name == contact && wanted(*state) => Some(()),
            _ => None,
        });
    }

    /// The state of a contact, as this run told last.
    pub fn state_of(&self, contact: &str) -> Option<ContactState> {
        self.events().iter().rev().find_map(|event| match event {
            Event::Contact { name, state } if name == contact => Some(*state),
            _ => None,
        })
    }

    /// Sends a message, waits until it is on disk, and returns its id.
    #[track_caller]
    pub fn send(&self, to: &str, text: &str) -> String {
        let _one = lock(&self.sending);
        let mark = self.mark();
        self.say(&json!({"do": "send", "to": to, "text": text}));
        self.expect(mark, PATIENCE, "a message that is queued", |event| match event {
            Event::Queued { to: name, id } if name == to => Some(id.clone()),
            Event::Error { about, message } if about == "send" => panic!("{} could not send: {message}", self.label),
            _ => None,
        })
    }

    /// Waits until the message is on the recipient's disk.
    #[track_caller]
    pub fn await_delivered(&self, id: &str) {
        self.expect(Mark::default(), PATIENCE, "a message that is delivered", |event| match event {
            Event::Delivered { id: this, .. } if this == id => Some(()),
            _ => None,
        });
    }

    /// Waits for a message with this text, in this run, and returns it.
    #[track_caller]
    pub fn await_message(&self, wanted: &str) -> Received {
        let brief: String = wanted.chars().take(60).collect();
        self.expect(Mark::default(), PATIENCE, &format!("the message {brief:?}"), |event| match event {
            Event::Message { from, id, text } if text == wanted => {
                Some(Received { from: from.clone(), id: id.clone(), text: text.clone() })
            }
            _ => None,
        })
    }

    /// Waits for an error about this, from `mark` on, and returns what it says.
    #[track_caller]
    pub fn await_error(&self, mark: Mark, wanted: &str) -> String {
        self.expect(mark, PATIENCE, &format!("an error about `{wanted}`"), |event| match event {
            Event::Error { about, message } if about == wanted => Some(message.clone()),
            _ => None,
        })
    }

    /// All messages that this run has printed.
    pub fn received(&self) -> Vec<Received> {
        received(&self.run())
    }

    /// All messages that any run of this profile has printed.
    pub fn ever_received(&self) -> Vec<Received> {
        self.runs().iter().flat_map(|run| received(run)).collect()
    }

    /// Everything that each process of this profile has printed, one after the other.
    pub fn lives(&self) -> Vec<Vec<Event>> {
        self.runs().iter().map(|run| run.events()).collect()
    }

    /// Asks for the circuits and returns the answer.
    #[track_caller]
    pub fn circuits(&self) -> Vec<Circuit> {
        let mark = self.mark();
        self.say(&json!({"do": "circuits"}));
        self.expect(mark, PATIENCE, "the circuits", |event| match event {
            Event::Circuits { list } => Some(list.clone()),
            _ => None,
        })
    }

    /// The hops of the circuit that carries the only contact, once there is one.
    #[track_caller]
    pub fn conversation_path(&self) -> Vec<String> {
        let look = || self.circuits().into_iter().find(|circuit| circuit.purpose == "conversation");
        crate::wait::until(PATIENCE, &format!("a circuit of {}'s for a conversation", self.label), look).path
    }

    /// Stops or goes on reading what the client prints; while stopped, it stays in the pipe.
    pub fn stop_reading(&self, stop: bool) {
        self.run().pause(stop);
    }

    /// Ends the client as a power cut would.
    pub fn kill(&self) {
        self.run().kill();
    }

    /// Ends the client's input, which means that it is to quit.
    pub fn close_input(&self) {
        self.run().close_input();
    }

    /// Waits until the client has ended by itself.
    #[track_caller]
    pub fn wait(&self, limit: Duration) -> ExitStatus {
        self.run().wait(limit)
    }

    /// What this run has written on standard error.
    pub fn errors(&self) -> String {
        self.run().errors()
    }

    /// Checks that no message was ever printed twice.
    #[track_caller]
    pub fn assert_nothing_twice(&self) {
        let mut seen = HashSet::new();
        for message in self.ever_received() {
            assert!(seen.insert(message.id.clone()), "{} printed message {} twice", self.label, message.id);
        }
    }

    /// What the client has printed and logged, in all of its runs.
    pub fn report(&self) -> String {
        let mut report = String::new();
        for (number, run) in self.runs().iter().enumerate() {
            report += &format!("--- {}, run {}\n{}", self.label, number + 1, run.report());
            report += &format!("  log:\n{}\n", tail(&self.log(number), 15));
        }
        report
    }

    fn log(&self, run: usize) -> PathBuf {
        self.folder.path().join(format!("run-{run}.log"))
    }

    fn run(&self) -> Arc<Run> {
        Arc::clone(self.runs().last().expect("a client has been started"))
    }

    fn runs(&self) -> MutexGuard<'_, Vec<Arc<Run>>> {
        lock(&self.runs)
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", self.report());
        }
    }
}

/// The command that starts a client.
#[track_caller]
pub fn command(url: &str, profile: &Path) -> Command {
    command_in(None, url, profile)
}

#[track_caller]
fn command_in(namespace: Option<&str>, url: &str, profile: &Path) -> Command {
    let mut command = process::command_in(namespace, artifacts::allium());
    command.args(["chat", "--directory", url, "--profile"]).arg(profile);
    command
}

/// Two clients who are each other's contact.
#[derive(Debug)]
pub struct Pair {
    /// Who made the invite.
    pub inviter: Arc<Chat>,
    /// What the inviter calls the visitor.
    pub visitor_name: String,
    /// Who used it.
    pub visitor: Arc<Chat>,
    /// What the visitor calls the inviter.
    pub inviter_name: String,
}

impl Pair {
    /// Starts two clients and makes each the other's contact; returns once both are connected.
    #[track_caller]
    pub fn meet(url: &str) -> Self {
        // Both start at the same time; then both are waited for.
        let (inviter, visitor) = (Chat::launch("Ada", url), Chat::launch("Ben", url));
        inviter.await_ready();
        visitor.await_ready();
        Self::introduce(inviter, visitor)
    }

    /// Makes each of the two the other's contact; returns once both are connected.
    #[track_caller]
    pub fn introduce(inviter: Chat, visitor: Chat) -> Self {
        let (here, there) = (inviter.mark(), visitor.mark());
        visitor.add(&inviter.invite(), "Ada", Some("Ben"));
        inviter.accept_request(here);
        let inviter_name = visitor.await_contact(there, ContactState::Connected);
        let visitor_name = inviter.await_contact(here, ContactState::Connected);
        Self { inviter: Arc::new(inviter), visitor_name, visitor: Arc::new(visitor), inviter_name }
    }

    /// Checks that one message each way arrives.
    #[track_caller]
    pub fn assert_talking(&self, about: &str) {
        let (question, answer) = (format!("{about}?"), format!("{about}!"));
        let sent = self.inviter.send(&self.visitor_name, &question);
        assert_eq!(self.visitor.await_message(&question).from, self.inviter_name);
        self.inviter.await_delivered(&sent);
        let sent = self.visitor.send(&self.inviter_name, &answer);
        assert_eq!(self.inviter.await_message(&answer).from, self.visitor_name);
        self.visitor.await_delivered(&sent);
    }
}

fn received(run: &Run) -> Vec<Received> {
    let events = run.events().into_iter();
    events
        .filter_map(|event| match event {
            Event::Message { from, id, text } => Some(Received { from, id, text }),
            _ => None,
        })
        .collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
