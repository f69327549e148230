//! One long piece of work with a name, a spinner, a log and a word on what to do when it fails.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, IsTerminal, PipeReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::interrupt::{self, WaitError};

/// How many of its last lines a failed step shows.
const TAIL: usize = 40;

/// Why a step did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The person asked for the end, or a step beside this one failed and has told why.
    #[error("interrupted")]
    Interrupted,
    /// The program could not be started.
    #[error("{name}: cannot start `{program}`: {source}{}", advise(.advice))]
    Start {
        /// The step's name.
        name: String,
        /// The program that it wanted to run.
        program: String,
        /// The system's reason.
        source: io::Error,
        /// What a person can do about it.
        advice: String,
    },
    /// The program ended with an error or not in time; its output was shown.
    #[error("{name}: {reason}{}{}", whole_output(.log), advise(.advice))]
    Failed {
        /// The step's name.
        name: String,
        /// How the program ended.
        reason: String,
        /// The file with all its output, if it did not go to the terminal.
        log: Option<PathBuf>,
        /// What a person can do about it.
        advice: String,
    },
    /// A file that belongs to a step could not be made or moved.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl StepError {
    /// For `map_err`: blames `path` for what the system says.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

fn advise(advice: &str) -> String {
    if advice.is_empty() { String::new() } else { format!("\nWhat to do: {advice}") }
}

fn whole_output(log: &Option<PathBuf>) -> String {
    log.as_ref().map_or_else(String::new, |log| format!("\nAll of its output: {}", log.display()))
}

/// The steps of one chore, as a person sees them.
///
/// Steps may run side by side on several threads. On a terminal each has a spinner with the time that it has taken and
/// the last line of its program's output; elsewhere a line tells of its begin and another of its end.
#[derive(Debug)]
pub struct Steps {
    bars: MultiProgress,
    terminal: bool,
    logs: PathBuf,
    cancelled: AtomicBool,
    times: Mutex<Vec<(String, Duration)>>,
}

impl Steps {
    /// Prepares to write logs into the folder `logs`.
    pub fn new(logs: PathBuf) -> Result<Self, StepError> {
        fs::create_dir_all(&logs).map_err(StepError::file(&logs))?;
        Ok(Self {
            bars: MultiProgress::new(),
            terminal: io::stderr().is_terminal(),
            logs,
            cancelled: AtomicBool::new(false),
            times: Mutex::new(Vec::new()),
        })
    }

    /// Describes a step; [`Step::run`] or [`Step::show`] does it.
    pub fn step(&self, name: impl Into<String>) -> Step<'_> {
        Step { steps: self, name: name.into(), advice: String::new(), limit: None, tail: TAIL }
    }

    /// Tells the person something that is no step.
    pub fn note(&self, text: impl AsRef<str>) {
        if self.terminal {
            // Fails only when the terminal is gone, and then nobody reads it.
            let _ = self.bars.println(text.as_ref());
        } else {
            eprintln!("{}", text.as_ref());
        }
    }

    /// Ends the steps that run on other threads: one has failed, so the rest would be for nothing.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether the chore should end.
    pub fn ended(&self) -> bool {
        interrupt::requested() || self.cancelled.load(Ordering::Relaxed)
    }

    /// Names and durations of the steps that have succeeded, in the order of their ends.
    pub fn times(&self) -> Vec<(String, Duration)> {
        self.times.lock().map(|times| times.clone()).unwrap_or_default()
    }

    fn succeeded(&self, name: &str, took: Duration) {
        if let Ok(mut times) = self.times.lock() {
            times.push((name.to_owned(), took));
        }
        self.note(format!("  done  {name} ({})", human(took)));
    }

    fn begin(&self, name: &str) -> ProgressBar {
        if !self.terminal {
            eprintln!("  ....  {name}");
            return ProgressBar::hidden();
        }
        let bar = self.bars.add(ProgressBar::new_spinner());
        // The template is a constant; were it wrong, the default style would do.
        if let Ok(style) = ProgressStyle::with_template("{spinner:>6}  {prefix:.bold}  {elapsed}  {wide_msg:.dim}") {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }
}

/// One step that has not run yet.
#[derive(Debug)]
#[must_use]
pub struct Step<'a> {
    steps: &'a Steps,
    name: String,
    advice: String,
    limit: Option<Duration>,
    tail: usize,
}

impl Step<'_> {
    /// What a person can do when the step fails.
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }

    /// Ends the program when it has not ended by itself after `limit`.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Shows all output of a failure, not only its end.
    pub fn verbose(mut self) -> Self {
        self.tail = usize::MAX;
        self
    }

    /// Shows nothing of a failure: the caller has another way.
    pub fn tolerant(mut self) -> Self {
        self.tail = 0;
        self
    }

    /// Runs `command` behind a spinner and returns its output, which is kept in a log too.
    pub fn read(self, command: &mut Command) -> Result<String, StepError> {
        let log = self.log();
        self.run(command)?;
        fs::read_to_string(&log).map_err(StepError::file(log))
    }

    fn log(&self) -> PathBuf {
        self.steps.logs.join(format!("{}.log", slug(&self.name)))
    }

    /// Runs `command` behind a spinner and keeps its output in a log.
    pub fn run(self, command: &mut Command) -> Result<(), StepError> {
        let log = self.log();
        let file = File::create(&log).map_err(StepError::file(&log))?;
        let (reader, writer) = io::pipe().map_err(StepError::file(&log))?;
        let errors = writer.try_clone().map_err(StepError::file(&log))?;
        // Colours would end up in the log, and trunk takes any value of NO_COLOR but `true` and `false` for an error.
        command.env("CARGO_TERM_COLOR", "never").env_remove("NO_COLOR");
        command.stdin(Stdio::null()).stdout(writer).stderr(errors);

        let start = Instant::now();
        let bar = self.steps.begin(&self.name);
        let started = command.spawn();
        // The command holds the writing ends of the pipe: the reader would wait for ever.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let (waited, tail) = match started {
            Ok(mut child) => self.follow(&mut child, reader, file, &bar),
            Err(source) => {
                bar.finish_and_clear();
                return Err(self.not_started(command, source));
            }
        };
        bar.finish_and_clear();
        let reason = match waited {
            Ok(status) if status.success() => {
                self.steps.succeeded(&self.name, start.elapsed());
                return Ok(());
            }
            Ok(status) => status.to_string(),
            Err(WaitError::Interrupted) => return Err(StepError::Interrupted),
            Err(error) => error.to_string(),
        };
        if self.tail > 0 {
            self.steps.note(format!("  FAIL  {}", self.name));
            for line in tail {
                self.steps.note(line);
            }
        }
        Err(StepError::Failed { name: self.name, reason, log: Some(log), advice: self.advice })
    }

    /// Runs `command` with the terminal as its own: for programs whose output is the result.
    pub fn show(self, command: &mut Command) -> Result<(), StepError> {
        self.steps.note(format!("  ....  {}", self.name));
        let mut child = match command.stdin(Stdio::null()).spawn() {
            Ok(child) => child,
            Err(source) => return Err(self.not_started(command, source)),
        };
        let reason = match interrupt::wait(&mut child, self.limit, || self.steps.ended()) {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => status.to_string(),
            Err(WaitError::Interrupted) => return Err(StepError::Interrupted),
            Err(error) => error.to_string(),
        };
        Err(StepError::Failed { name: self.name, reason, log: None, advice: self.advice })
    }

    fn not_started(self, command: &Command, source: io::Error) -> StepError {
        let program = command.get_program().to_string_lossy().into_owned();
        StepError::Start { name: self.name, program, source, advice: self.advice }
    }

    /// Waits for `child` while its output goes to the log, its last line to the spinner, and its tail into memory.
    fn follow(
        &self,
        child: &mut Child,
        output: PipeReader,
        mut log: File,
        bar: &ProgressBar,
    ) -> (Result<ExitStatus, WaitError>, Vec<String>) {
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let follower = {
            let (bar, tail, keep) = (bar.clone(), Arc::clone(&tail), self.tail);
            thread::spawn(move || {
                for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                    let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                    // A full disk shows itself in the step; the log is the lesser loss.
                    let _ = writeln!(log, "{line}");
                    bar.set_message(line.trim_start().to_owned());
                    if let Ok(mut tail) = tail.lock() {
                        tail.push_back(line);
                        if tail.len() > keep {
                            tail.pop_front();
                        }
                    }
                }
            })
        };
        let waited = interrupt::wait(child, self.limit, || self.steps.ended());
        if waited.is_ok() {
            // Not after a violent end: grandchildren may still hold the pipe.
            let _ = follower.join();
        }
        let tail = tail.lock().map(|tail| tail.iter().cloned().collect()).unwrap_or_default();
        (waited, tail)
    }
}

/// A name as part of a file's name.
fn slug(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// A duration as a person says it: tenths of a second for the short ones.
pub fn human(duration: Duration) -> String {
    match duration.as_secs() {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        secs @ 10..60 => format!("{secs} s"),
        secs => format!("{} min {} s", secs / 60, secs % 60),
    }
}

/// Whether `path` is a file that somebody may start.
pub fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps whose logs go to a folder of this process.
    fn steps(test: &str) -> Steps {
        Steps::new(std::env::temp_dir().join(format!("allium-xtask-{}-{test}", std::process::id()))).unwrap()
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_of_both_kinds_is_kept_in_a_log() {
        let steps = steps("log");
        steps.step("Say hello, twice").run(&mut shell("echo hello; echo again >&2")).unwrap();
        assert_eq!(fs::read_to_string(steps.logs.join("say-hello--twice.log")).unwrap(), "hello\nagain\n");
        assert_eq!(steps.times().len(), 1);
        fs::remove_dir_all(&steps.logs).unwrap();
    }

    #[test]
    fn output_can_be_read() {
        let steps = steps("read");
        assert_eq!(steps.step("Say hello").read(&mut shell("echo hello")).unwrap(), "hello\n");
        fs::remove_dir_all(&steps.logs).unwrap();
    }

    #[test]
    fn a_failure_names_the_step_the_reason_and_the_way_out() {
        let steps = steps("failure");
        let error = steps.step("Try").advice("try again").run(&mut shell("exit 7")).unwrap_err().to_string();
        for part in ["Try", "exit status: 7", "try.log", "What to do: try again"] {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
        fs::remove_dir_all(&steps.logs).unwrap();
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let steps = steps("missing");
        let error = steps.step("Try").run(&mut Command::new("allium-no-such-program")).unwrap_err().to_string();
        assert!(error.contains("allium-no-such-program"), "{error}");
        fs::remove_dir_all(&steps.logs).unwrap();
    }

    #[test]
    fn a_step_that_hangs_is_ended() {
        let steps = steps("hang");
        let limit = Duration::from_millis(20);
        let error = steps.step("Hang").limit(limit).run(Command::new("sleep").arg("60")).unwrap_err();
        assert!(matches!(error, StepError::Failed { .. }), "{error}");
        fs::remove_dir_all(&steps.logs).unwrap();
    }

    #[test]
    fn durations_read_well() {
        let read = |millis| human(Duration::from_millis(millis));
        assert_eq!([read(40), read(9_940), read(10_000), read(136_000)], ["0.0 s", "9.9 s", "10 s", "2 min 16 s"]);
    }
}
