//! One run of `allium chat`, from its start to its end: a process and the events that it printed.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Event;
use crate::process::Process;
use crate::wait::Deadline;

/// How many events and lines of the log a failure shows.
const TAIL: usize = 40;

/// A run.
#[derive(Debug)]
pub(super) struct Run {
    process: Mutex<Process>,
    input: Mutex<Option<ChildStdin>>,
    output: Arc<Output>,
    reader: Mutex<Option<JoinHandle<()>>>,
}

/// What a run has printed.
#[derive(Debug, Default)]
struct Output {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    events: Vec<(Duration, Event)>,
    /// Lines that are no event, and what is wrong with them.
    wrong: Vec<String>,
    /// Nothing more will come.
    ended: bool,
    /// Nothing is read at the moment.
    paused: bool,
}

/// Why there is nothing to see.
pub(super) enum Silence {
    /// The deadline has passed.
    TimedOut,
    /// The client has ended.
    Ended,
    /// The client has printed something that is no event.
    Wrong(String),
}

impl Run {
    #[track_caller]
    pub(super) fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(name, command, log);
        let (input, stdout) = process.pipes();
        let output = Arc::new(Output::default());
        let reader = {
            let (output, stdout) = (Arc::clone(&output), stdout.expect("the output is a pipe"));
            thread::spawn(move || output.read(stdout))
        };
        Self { process: Mutex::new(process), input: Mutex::new(input), output, reader: Mutex::new(Some(reader)) }
    }

    /// Writes one line. It does not matter here if nobody reads it any more.
    pub(super) fn write(&self, line: &str) {
        if let Some(input) = lock(&self.input).as_mut() {
            let _ = input.write_all(line.as_bytes()).and_then(|()| input.write_all(b"\n")).and_then(|()| input.flush());
        }
    }

    /// Ends the client's input.
    pub(super) fn close_input(&self) {
        *lock(&self.input) = None;
    }

    /// Stops reading: the client's output then fills the pipe and stays there.
    pub(super) fn pause(&self, paused: bool) {
        lock(&self.output.state).paused = paused;
        self.output.changed.notify_all();
    }

    /// How many events there have been.
    pub(super) fn count(&self) -> usize {
        lock(&self.output.state).events.len()
    }

    /// All events so far.
    pub(super) fn events(&self) -> Vec<Event> {
        lock(&self.output.state).events.iter().map(|(_, event)| event.clone()).collect()
    }

    /// Waits until `pick` finds something among the events from the `first`th on.
    pub(super) fn find<T>(
        &self,
        first: usize,
        deadline: Deadline,
        mut pick: impl FnMut(&[Event]) -> Option<T>,
    ) -> Result<T, Silence> {
        let mut seen: Vec<Event> = Vec::new();
        let mut state = lock(&self.output.state);
        loop {
            seen.extend(state.events.iter().skip(first + seen.len()).map(|(_, event)| event.clone()));
            if let Some(wrong) = state.wrong.first() {
                return Err(Silence::Wrong(wrong.clone()));
            }
            if let Some(found) = pick(&seen) {
                return Ok(found);
            }
            if state.ended {
                return Err(Silence::Ended);
            }
            if deadline.passed() {
                return Err(Silence::TimedOut);
            }
            state = self.output.changed.wait_timeout(state, deadline.left()).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends the client as a power cut would. What it had printed before is read to its end.
    pub(super) fn kill(&self) {
        lock(&self.process).kill();
        self.drain();
    }

    /// Waits until the client has ended by itself.
    #[track_caller]
    pub(super) fn wait(&self, limit: Duration) -> ExitStatus {
        let status = lock(&self.process).wait(limit);
        self.drain();
        status
    }

    /// How the client ended, if it has.
    pub(super) fn ended(&self) -> Option<ExitStatus> {
        lock(&self.process).ended()
    }

    pub(super) fn pid(&self) -> u32 {
        lock(&self.process).pid()
    }

    /// What it has written on standard error.
    pub(super) fn errors(&self) -> String {
        lock(&self.process).errors()
    }

    /// What happened, for a failed test's output.
    pub(super) fn report(&self) -> String {
        let state = lock(&self.output.state);
        let mut report = String::new();
        let skipped = state.events.len().saturating_sub(TAIL);
        if skipped > 0 {
            let _ = writeln!(report, "  … {skipped} events before");
        }
        for (at, event) in &state.events[skipped..] {
            let _ = writeln!(report, "  {:8.3} s  {}", at.as_secs_f64(), event.brief());
        }
        for wrong in &state.wrong {
            let _ = writeln!(report, "  not an event: {wrong}");
        }
        report
    }

    fn drain(&self) {
        self.pause(false);
        if let Some(reader) = lock(&self.reader).take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Output {
    fn read(&self, stdout: ChildStdout) {
        let start = Instant::now();
        let mut lines = BufReader::new(stdout);
        let mut line = Vec::new();
        loop {
            self.wait_while_paused();
            line.clear();
            // A killed client's last line may lack its end: it was not printed then.
            if !matches!(lines.read_until(b'\n', &mut line), Ok(1..)) || line.pop() != Some(b'\n') {
                break;
            }
            let mut state = lock(&self.state);
            match serde_json::from_slice(&line) {
                Ok(event) => state.events.push((start.elapsed(), event)),
                Err(error) => state.wrong.push(format!("{error}: {}", String::from_utf8_lossy(&line))),
            }
            self.changed.notify_all();
        }
        lock(&self.state).ended = true;
        self.changed.notify_all();
    }

    fn wait_while_paused(&self) {
        let state = lock(&self.state);
        drop(self.changed.wait_while(state, |state| state.paused));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
