//! Nodes that are started one by one, each from a TOML file as its operator would write it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use allium_shared::netdir::{Authorities, Authority};
use tempfile::TempDir;

use crate::artifacts;
use crate::faketime::FakeClock;
use crate::process::{self, Process, tail};

/// How many lines of each log a failure shows.
const TAIL: usize = 25;

/// What stands in the file of an authority that votes as often as a test can wait, with all its relays in one subnet.
pub const QUICK_VOTING: &str = "voting-interval = 5\ninitial-voting-interval = 1\nvoting-phase-ms = 300\nsettle-ms = 400\n\
                                probe-every = 1\nparameters.path-subnet-v4-bits = 0\n";

/// Where a node is.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its port; the one behind it is that of its admin address.
    pub port: u16,
    /// The network namespace that it runs in, if not this process's.
    pub namespace: Option<String>,
}

impl Place {
    /// Where it answers.
    pub fn url(&self) -> String {
        format!("http://{}:{}", self.ip, self.port)
    }

    /// Where it gives its numbers.
    pub fn admin(&self) -> String {
        format!("http://{}:{}", self.ip, self.port + 1)
    }
}

/// Nodes of one network.
#[derive(Debug)]
pub struct Machines {
    nodes: BTreeMap<String, Machine>,
    folder: TempDir,
    clocks: BTreeMap<String, FakeClock>,
    /// What stands in each authority's file besides who and where it is.
    voting: String,
}

#[derive(Debug)]
struct Machine {
    place: Place,
    arguments: [String; 3],
    process: Option<Process>,
}

impl Machines {
    /// No nodes yet. Authorities will vote every `interval` seconds, in phases of 300 ms; `parameters` are voted for.
    pub fn new(interval: u64, parameters: &[(&str, i64)]) -> Self {
        let folder = tempfile::Builder::new().prefix("allium-machines-").tempdir().expect("there is a place for files");
        let mut voting = format!(
            "probe-every = 1\ndown-after = 3\ndrop-after = 60\nprobation = 0\nvoting-interval = {interval}\n\
             initial-voting-interval = 1\nvoting-phase-ms = 300\nsettle-ms = 400\nvalid-for = 120\nrandom-every = 60\n\
             fetch-every = 1\n[parameters]\n"
        );
        for (name, value) in parameters {
            let _ = writeln!(voting, "{name} = {value}");
        }
        Self { nodes: BTreeMap::new(), folder, clocks: BTreeMap::new(), voting }
    }

    /// Makes an authority's key, before it is started.
    #[track_caller]
    pub fn keygen(&self, nickname: &str, place: &Place) -> Authority {
        self.keygen_at(nickname, &place.url())
    }

    /// The same, of one that others reach at this address.
    #[track_caller]
    pub fn keygen_at(&self, nickname: &str, url: &str) -> Authority {
        let mut command = Command::new(artifacts::allium());
        command.arg("keygen").arg("--data").arg(self.data(nickname));
        command.args(["--nickname", nickname, "--url", url]);
        let output = command.output().expect("the program runs");
        assert!(output.status.success(), "{output:?}");
        let list = format!("{{\"authorities\":[{}]}}", String::from_utf8_lossy(&output.stdout));
        let authorities = Authorities::from_json(list.as_bytes()).expect("keygen prints an entry");
        authorities.iter().next().expect("one entry").clone()
    }

    /// Has a node that is not started yet go by this clock.
    pub fn set_clock(&mut self, nickname: &str, clock: FakeClock) {
        self.clocks.insert(nickname.to_owned(), clock);
    }

    /// Starts an authority that knows these.
    #[track_caller]
    pub fn authority(&mut self, nickname: &str, place: &Place, authorities: &Authorities) {
        self.authority_at(nickname, place, &place.url(), authorities);
    }

    /// The same, of one that says that others reach it at this address.
    #[track_caller]
    pub fn authority_at(&mut self, nickname: &str, place: &Place, url: &str, authorities: &Authorities) {
        let rest = format!("url = \"{url}\"\n{}", self.voting);
        self.start("authority", nickname, place, authorities, &rest);
    }

    /// Ends a node, whose folder then belongs to the next one of that name.
    #[track_caller]
    pub fn remove(&mut self, nickname: &str) {
        self.kill(nickname);
        self.nodes.remove(nickname);
    }

    /// Starts a relay that knows these authorities.
    #[track_caller]
    pub fn relay(&mut self, nickname: &str, place: &Place, authorities: &Authorities) {
        let rest = format!("url = \"ws://{}:{}/link\"\nfetch-every = 1\npublish-every = 5\n", place.ip, place.port);
        self.start("relay", nickname, place, authorities, &rest);
    }

    #[track_caller]
    fn start(&mut self, role: &str, nickname: &str, place: &Place, authorities: &Authorities, rest: &str) {
        let folder = self.folder.path();
        let (list, file) = (folder.join(format!("{nickname}.json")), folder.join(format!("{nickname}.toml")));
        fs::write(&list, authorities.to_json()).expect("the folder can be written");
        let Place { ip, port, .. } = place;
        let who = format!(
            "nickname = \"{nickname}\"\nlisten = \"{ip}:{port}\"\nadmin-listen = \"{ip}:{}\"\ndata = {:?}\n\
             authorities = {list:?}\n",
            port + 1,
            self.data(nickname)
        );
        fs::write(&file, who + rest).expect("the folder can be written");
        let arguments = [role.to_owned(), "--config".to_owned(), file.to_string_lossy().into_owned()];
        let before = self.nodes.insert(nickname.to_owned(), Machine { place: place.clone(), arguments, process: None });
        assert!(before.is_none(), "there is a {nickname} already");
        self.restart(nickname);
    }

    /// Starts a node that was killed, by its own command.
    #[track_caller]
    pub fn restart(&mut self, nickname: &str) {
        let log = self.log_file(nickname);
        let node = self.nodes.get_mut(nickname).unwrap_or_else(|| panic!("there is no {nickname}"));
        assert!(node.process.is_none(), "{nickname} still runs");
        let mut command = process::command_in(node.place.namespace.as_deref(), artifacts::allium());
        command.args(&node.arguments);
        if let Some(clock) = self.clocks.get(nickname) {
            clock.give_to(&mut command);
        }
        node.process = Some(Process::start(nickname, &mut command, &log));
    }

    /// Ends a node as a power cut would.
    #[track_caller]
    pub fn kill(&mut self, nickname: &str) {
        let node = self.nodes.get_mut(nickname).unwrap_or_else(|| panic!("there is no {nickname}"));
        assert!(node.process.take().is_some(), "{nickname} is dead already");
    }

    /// A node's process.
    #[track_caller]
    pub fn pid(&self, nickname: &str) -> u32 {
        self.nodes[nickname].process.as_ref().unwrap_or_else(|| panic!("{nickname} is dead")).pid()
    }

    /// Where a node is.
    #[track_caller]
    pub fn place(&self, nickname: &str) -> &Place {
        &self.nodes[nickname].place
    }

    /// Everything that a node has logged.
    pub fn log(&self, nickname: &str) -> String {
        fs::read_to_string(self.log_file(nickname)).unwrap_or_default()
    }

    /// A node's folder.
    pub fn data(&self, nickname: &str) -> PathBuf {
        self.folder.path().join(nickname)
    }

    /// The folder with all files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn log_file(&self, nickname: &str) -> PathBuf {
        self.folder.path().join(format!("{nickname}.log"))
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for nickname in self.nodes.keys() {
                eprintln!("--- {nickname}\n{}", tail(&self.log_file(nickname), TAIL));
            }
        }
    }
}
