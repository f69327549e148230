//! A network whose relays all have a tap before them: `allium authority` and `allium relay`, each on a loopback address
//! of its own, as on several machines, and each relay advertising the address of its tap.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use tempfile::TempDir;

use super::proxy::{Recording, Tap};
use crate::artifacts;
use crate::machines::QUICK_VOTING;
use crate::network::{await_consensus, free_port};
use crate::process::{self, Process, tail};

/// How many guards and how many others a network has.
const GUARDS: u8 = 3;
const OTHERS: u8 = 7;

/// A network under observation.
#[derive(Debug)]
pub struct TappedNetwork {
    // Dropped first: relays that die then find their peers already gone.
    tap: Tap,
    nodes: Vec<(String, Process)>,
    directory: String,
    folder: TempDir,
}

impl TappedNetwork {
    /// Starts one authority, three relays that are guards and nothing else, and seven that are all but guards. With
    /// `page` the authority serves the page.
    #[track_caller]
    pub fn start(page: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("allium-tapped-").tempdir().expect("there is a place for files");
        let port = free_port();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut network =
            Self { tap: Tap::default(), nodes: Vec::new(), directory: format!("http://{address}"), folder };
        let voting = network.folder.path().join("voting.toml");
        fs::write(&voting, QUICK_VOTING).expect("the folder can be written");
        let mut options = vec!["--url".to_owned(), network.directory.clone()];
        options.extend(["--config".to_owned(), voting.display().to_string()]);
        if page {
            options.extend(["--page".to_owned(), artifacts::page().display().to_string()]);
        }
        network.node("authority", "authority1", address, &options);
        await_consensus(std::slice::from_ref(&network.directory), 0);

        let mut urls = Vec::new();
        for number in 1..=GUARDS + OTHERS {
            let nickname = format!("tapped{number}");
            let listen = SocketAddr::from((Ipv4Addr::new(127, 0, 1, number), port));
            let front = network.tap.before(&nickname, listen);
            let roles = if number <= GUARDS { "guard" } else { "middle,rendezvous" };
            let options = [
                ("--url", format!("ws://{front}/link")),
                ("--roles", roles.to_owned()),
                ("--directory", network.directory.clone()),
                ("--publish-every", "5".to_owned()),
            ];
            let options: Vec<String> = options.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
            network.node("relay", &nickname, listen, &options);
            urls.push(format!("http://{listen}"));
        }
        urls.push(network.directory.clone());
        await_consensus(&urls, u64::from(GUARDS + OTHERS));
        network
    }

    /// The address of the directory, and of the page if it is served.
    pub fn url(&self) -> &str {
        &self.directory
    }

    /// Everything that passed the taps until now.
    pub fn recordings(&self) -> Vec<Recording> {
        self.tap.recordings()
    }

    /// The names of the relays that are guards.
    pub fn guards(&self) -> Vec<String> {
        (1..=GUARDS).map(|number| format!("tapped{number}")).collect()
    }

    /// The processes of the relays.
    pub fn relay_pids(&self) -> Vec<u32> {
        self.nodes.iter().skip(1).map(|(_, process)| process.pid()).collect()
    }

    #[track_caller]
    fn node(&mut self, subcommand: &str, nickname: &str, listen: SocketAddr, options: &[String]) {
        let mut command = process::command(artifacts::allium());
        command.args([subcommand, "--nickname", nickname, "--listen", &listen.to_string(), "--data"]);
        command.arg(self.folder.path().join(nickname)).args(options);
        let log = self.folder.path().join(format!("{nickname}.log"));
        self.nodes.push((nickname.to_owned(), Process::start(nickname, &mut command, &log)));
    }
}

impl Drop for TappedNetwork {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (nickname, _) in &self.nodes {
                let log = self.folder.path().join(format!("{nickname}.log"));
                eprintln!("--- {nickname}\n{}", tail(&log, 15));
            }
        }
    }
}
