//! Programs that end with the tests, and what they wrote.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::wait;

/// A program that was started and that dies with this value, or with the tests, whichever comes first.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`, its standard error going into the file `log`. Input and output stay as `command` has them.
    #[track_caller]
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("the log can be written");
        command.stderr(file);
        let child = spawn(command).unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { name: name.to_owned(), child, log: log.to_owned(), ended: None }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The program's standard input and output, as far as they are pipes and have not been taken before.
    pub fn pipes(&mut self) -> (Option<std::process::ChildStdin>, Option<std::process::ChildStdout>) {
        (self.child.stdin.take(), self.child.stdout.take())
    }

    /// How the program ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("the system tells how its children are");
        }
        self.ended
    }

    /// Waits until the program has ended by itself.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        wait::until(limit, &what, || self.ended())
    }

    /// Asks the program to end.
    pub fn terminate(&mut self) {
        if self.ended().is_none() {
            send(self.pid(), Signal::SIGTERM);
        }
    }

    /// Ends the program as a power cut would: `kill -9`.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            send(self.pid(), Signal::SIGKILL);
            self.ended = self.child.wait().ok();
        }
    }

    /// What the program has written on standard error.
    pub fn errors(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends `signal` to a process that this test has started, itself or through another.
///
/// It does not matter if the process is already gone.
#[track_caller]
pub fn send(pid: u32, signal: Signal) {
    let id = i32::try_from(pid).expect("process ids are small");
    assert!(id > 1, "{pid} is no process of a test");
    match signal::kill(Pid::from_raw(id), signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!("cannot send {signal} to process {pid}: {error}"),
    }
}

/// Whether the process runs: one that has ended and only waits to be asked how does not.
pub fn runs(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z' && state != 'X')
}

/// Whether the process is frozen by SIGSTOP.
pub fn is_frozen(pid: u32) -> bool {
    state(pid) == Some('T')
}

/// The letter that the system gives for the state of a process.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name stands before it, in parentheses, and may itself have any.
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The command line of a process; empty when there is none.
pub fn command_line(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    bytes
        .split(|byte| *byte == 0)
        .filter(|arg| !arg.is_empty())
        .map(|arg| String::from_utf8_lossy(arg).into())
        .collect()
}

/// The ports of this machine that the process's connections over IPv4 go out from, or come in at.
pub fn tcp_ports(pid: u32) -> Vec<u16> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let sockets: Vec<PathBuf> = links.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let ports = table.lines().filter_map(|line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let socket = format!("socket:[{}]", columns.get(9)?);
        let (_, port) = columns.get(1)?.rsplit_once(':')?;
        sockets.iter().any(|other| *other == Path::new(&socket)).then(|| u16::from_str_radix(port, 16).ok())?
    });
    ports.collect()
}

/// How long a process has worked so far, in the system's ticks.
pub fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields.get(11..13).map_or(0, |worked| worked.iter().filter_map(|ticks| ticks.parse::<u64>().ok()).sum())
}

/// The process that started this one.
pub fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// The ids of all processes that one can see.
pub fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Whom a process is connected to by TCP and IPv4, as the system knows it.
pub fn peers(pid: u32) -> Vec<SocketAddr> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let sockets: Vec<PathBuf> = entries.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let peer = |line: &str| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let (far, state, inode) = (columns.get(2)?, columns.get(3)?, columns.get(9)?);
        let socket = PathBuf::from(format!("socket:[{inode}]"));
        let (ip, port) = far.split_once(':')?;
        let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.to_ne_bytes());
        let port = u16::from_str_radix(port, 16).ok()?;
        // 01 is a connection that stands.
        (*state == "01" && sockets.contains(&socket)).then_some(SocketAddr::from((ip, port)))
    };
    table.lines().filter_map(peer).collect()
}

/// The last lines of a file; nothing if there is none.
pub fn tail(path: &Path, lines: usize) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(256 * lines as u64)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// A command that the system ends when the tests end, even by `kill -9`.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// The same, inside the network namespace of this name, if one is given.
pub fn command_in(namespace: Option<&str>, program: impl AsRef<OsStr>) -> Command {
    let Some(namespace) = namespace else { return command(program) };
    // `ip` becomes the program: its process id, and what is arranged for its end, stay.
    let mut command = command("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}

/// Starts `command` from a thread that lives as long as the tests do.
///
/// What [`command`] arranges for is the end of the starting *thread*, and each test has a thread of its own.
fn spawn(command: &mut Command) -> io::Result<Child> {
    type Job = Box<dyn FnOnce() + Send>;
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = channel::<Job>();
        thread::spawn(move || jobs.into_iter().for_each(|job| job()));
        sender
    });
    let mut command = std::mem::replace(command, Command::new(""));
    let (answer, child) = sync_channel(1);
    let job = move || drop(answer.send(command.spawn()));
    spawner.send(Box::new(job)).expect("the thread that starts programs runs");
    child.recv().expect("the thread that starts programs answers")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> tempfile::NamedTempFile {
        tempfile::NamedTempFile::new().unwrap()
    }

    #[test]
    fn a_program_dies_with_its_value() {
        let log = log();
        let process = Process::start("sleep", command("sleep").arg("60"), log.path());
        let pid = process.pid();
        assert!(runs(pid));
        drop(process);
        assert!(!runs(pid));
    }

    #[test]
    fn a_program_outlives_the_thread_that_started_it() {
        let log = log();
        let path = log.path().to_owned();
        let start = move || Process::start("sleep", command("sleep").arg("60"), &path);
        let process = thread::spawn(start).join().unwrap();
        wait::lasts(Duration::from_millis(100), "the program's life", || runs(process.pid()));
    }

    #[test]
    fn a_frozen_program_is_seen_to_be_frozen() {
        let log = log();
        let process = Process::start("sleep", command("sleep").arg("60"), log.path());
        assert!(!is_frozen(process.pid()));
        send(process.pid(), Signal::SIGSTOP);
        wait::until(Duration::from_secs(5), "the freeze", || is_frozen(process.pid()).then_some(()));
    }

    #[test]
    fn a_process_has_its_ports() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ports = tcp_ports(std::process::id());
        assert!(ports.contains(&client.local_addr().unwrap().port()), "{ports:?}");
        let log = log();
        let other = Process::start("sleep", command("sleep").arg("60"), log.path());
        assert!(tcp_ports(other.pid()).is_empty());
    }

    #[test]
    fn peers_are_those_of_connections_that_stand() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(peers(std::process::id()).contains(&client.peer_addr().unwrap()));
        drop(client);
        assert!(!peers(std::process::id()).contains(&listener.local_addr().unwrap()));
    }

    #[test]
    fn errors_are_kept() {
        let log = log();
        let mut process = Process::start("sh", command("sh").args(["-c", "echo oh >&2; exit 3"]), log.path());
        assert_eq!(process.wait(Duration::from_secs(5)).code(), Some(3));
        assert_eq!(process.errors(), "oh\n");
    }
}
