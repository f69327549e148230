//! Which nodes a local network has, on which ports, and by which command each can be started.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use allium_shared::netdir::{Nickname, RelayRole};
use clap::Parser;
use thiserror::Error;

use super::NetworkOptions;
use crate::config::{AuthorityConfig, AuthorityOptions, ConfigError, OFFERED_ROLES, RelayConfig, RelayOptions};

/// A relay is dropped after this many seconds without a sign of life.
const DROP_AFTER: u64 = 20;

/// A relay gives a sign of life that often, in seconds.
const PUBLISH_EVERY: u64 = 5;

/// How often authorities vote, in seconds, at first and later. Where voting among so many takes longer, they vote less often.
const VOTING_INTERVALS: (u64, u64) = (1, 5);

/// How long each phase of the voting is, in milliseconds: all clocks are one.
const VOTING_PHASE_MS: u64 = 300;

/// How long no relay must have come or changed before the first vote, in milliseconds.
const SETTLE_MS: u64 = 400;

/// How often authorities look whether a relay is there, and how long one may be away, in seconds.
const PROBE_EVERY: u64 = 1;
const DOWN_AFTER: u64 = 3;

/// How long a consensus counts, in seconds.
const VALID_FOR: u64 = 120;

/// How often the shared random value changes, in seconds.
const RANDOM_EVERY: u64 = 60;

/// How many ports after the first are tried before giving up.
const MAX_PORTS: u16 = 4096;

/// Why there is no plan.
#[derive(Debug, Error)]
pub enum PlanError {
    /// All ports are taken.
    #[error("no port is free between {first} and {last}")]
    NoPort {
        /// The first that was tried.
        first: u16,
        /// The last that was tried.
        last: u16,
    },
    /// Where this program is cannot be found out.
    #[error("cannot find this program's own path: {0}")]
    Program(io::Error),
    /// A nickname is too long.
    #[error(transparent)]
    Name(#[from] allium_shared::netdir::InvalidRelay),
}

/// All nodes of a network.
#[derive(Debug)]
pub struct Planned {
    /// The file with the authorities' keys.
    pub authorities_file: PathBuf,
    /// The authorities, then the relays.
    pub nodes: Vec<PlannedNode>,
}

/// One node.
#[derive(Debug)]
pub struct PlannedNode {
    /// Its name.
    pub nickname: Nickname,
    /// `authority`, or its roles as a relay.
    pub roles: Vec<&'static str>,
    /// Its address.
    pub address: SocketAddr,
    /// Its folder.
    pub data: PathBuf,
    /// The argv that starts it: the path of this program, then its arguments.
    pub command: Vec<String>,
    /// The socket that holds its port until it starts.
    pub socket: Option<TcpListener>,
    /// Its admin address, and the socket that holds the port until it starts.
    pub admin: Option<(SocketAddr, Option<TcpListener>)>,
}

/// What a node is started with.
#[derive(Debug)]
pub enum NodeConfig {
    /// It is an authority.
    Authority(AuthorityConfig),
    /// It is a relay.
    Relay(RelayConfig),
}

/// A node's command, as far as plans use the command line.
#[derive(Debug, Parser)]
struct NodeCommand {
    #[command(subcommand)]
    node: NodeOptions,
}

#[derive(Debug, clap::Subcommand)]
enum NodeOptions {
    Authority(Box<AuthorityOptions>),
    Relay(Box<RelayOptions>),
}

impl PlannedNode {
    /// Where the node serves HTTP.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether it is an authority.
    pub fn is_authority(&self) -> bool {
        self.roles == ["authority"]
    }

    /// What its command says, as that command would understand it.
    pub fn config(&self) -> Result<NodeConfig, ConfigError> {
        match NodeCommand::try_parse_from(&self.command).map(|command| command.node) {
            Ok(NodeOptions::Authority(options)) => options.resolve().map(NodeConfig::Authority),
            Ok(NodeOptions::Relay(options)) => options.resolve().map(NodeConfig::Relay),
            Err(_) => Err(ConfigError::Missing("nickname")),
        }
    }
}

impl Planned {
    /// What the authorities are started with.
    pub fn authority_configs(&self) -> impl Iterator<Item = Result<AuthorityConfig, ConfigError>> {
        self.nodes.iter().filter_map(|node| match node.config() {
            Ok(NodeConfig::Authority(config)) => Some(Ok(config)),
            Ok(NodeConfig::Relay(_)) => None,
            Err(error) => Some(Err(error)),
        })
    }
}

/// Plans a network in the folder `data`, and takes ports for its nodes.
pub fn plan(options: &NetworkOptions, data: &Path) -> Result<Planned, PlanError> {
    let program = std::env::current_exe().map_err(PlanError::Program)?;
    let authorities_file = data.join("authorities.json");
    let mut ports = Ports { next: options.port.saturating_add(1), left: MAX_PORTS };
    let mut nodes = Vec::new();
    for number in 1..=options.authorities {
        let mut node = node(data, &format!("authority{number}"), vec!["authority"], &mut ports)?;
        node.command = argv(&program, "authority", &node, &authorities_file);
        node.command.extend(["--url".to_owned(), node.url()]);
        for (flag, value) in voting(options) {
            node.command.extend([format!("--{flag}"), value.to_string()]);
        }
        // All addresses are in one subnet here.
        node.command.extend(["--parameter".to_owned(), "path-subnet-v4-bits=0".to_owned()]);
        nodes.push(node);
    }
    for number in 1..=options.relays {
        let roles = roles(number, options.guards);
        let mut node = node(data, &format!("relay{number}"), roles, &mut ports)?;
        node.command = argv(&program, "relay", &node, &authorities_file);
        node.command.extend(["--url".to_owned(), format!("ws://{}/link", node.address)]);
        node.command.extend(["--roles".to_owned(), node.roles.join(",")]);
        node.command.extend(["--publish-every".to_owned(), PUBLISH_EVERY.to_string()]);
        node.command.extend(options.bench.then(|| "--bench".to_owned()));
        nodes.push(node);
    }
    if options.admin {
        // Behind all others, so that the nodes have the same ports without it.
        for node in &mut nodes {
            let (address, socket) = ports.take(node.nickname.as_str())?;
            node.command.extend(["--admin-listen".to_owned(), address.to_string()]);
            node.admin = Some((address, Some(socket)));
        }
    }
    Ok(Planned { authorities_file, nodes })
}

/// By what the authorities of a network vote that is one machine's.
fn voting(options: &NetworkOptions) -> Vec<(&'static str, u64)> {
    // A round for each authority that may lie, one more, and a phase for signatures.
    let phases = u64::from(options.authorities).div_ceil(2) + 1;
    let takes = (phases * VOTING_PHASE_MS).div_ceil(1000);
    let interval = options.voting_interval.unwrap_or(VOTING_INTERVALS.1).max(takes);
    let initial = if takes <= VOTING_INTERVALS.0 { VOTING_INTERVALS.0 } else { interval };
    vec![
        ("drop-after", DROP_AFTER),
        ("probe-every", PROBE_EVERY),
        ("down-after", DOWN_AFTER),
        ("probation", 0),
        ("voting-interval", interval),
        ("initial-voting-interval", initial),
        ("voting-phase-ms", VOTING_PHASE_MS),
        ("settle-ms", SETTLE_MS),
        ("valid-for", options.valid_for.unwrap_or(VALID_FOR).max(2 * interval)),
        ("random-every", RANDOM_EVERY),
    ]
}

/// What the relay with this number, counted from 1, may be used for.
fn roles(number: u16, guards: u16) -> Vec<&'static str> {
    let allowed = |role: &RelayRole| match (guards, *role == RelayRole::Guard) {
        (0, _) => true,
        (guards, guard) => (number <= guards) == guard,
    };
    OFFERED_ROLES.iter().filter(|role| allowed(role)).map(|role| role.as_str()).collect()
}

fn node(data: &Path, nickname: &str, roles: Vec<&'static str>, ports: &mut Ports) -> Result<PlannedNode, PlanError> {
    let (address, socket) = ports.take(nickname)?;
    let nickname: Nickname = nickname.parse()?;
    let data = data.join(nickname.as_str());
    Ok(PlannedNode { nickname, roles, address, data, command: Vec::new(), socket: Some(socket), admin: None })
}

fn argv(program: &Path, subcommand: &str, node: &PlannedNode, authorities: &Path) -> Vec<String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let pairs = [
        ("--nickname", node.nickname.to_string()),
        ("--listen", node.address.to_string()),
        ("--data", text(&node.data)),
        ("--authorities", text(authorities)),
    ];
    let arguments = pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
    [text(program), subcommand.to_owned()].into_iter().chain(arguments).collect()
}

struct Ports {
    next: u16,
    left: u16,
}

impl Ports {
    /// The next port that is free.
    fn take(&mut self, nickname: &str) -> Result<(SocketAddr, TcpListener), PlanError> {
        let first = self.next;
        while self.left > 0 && self.next != 0 {
            let address = SocketAddr::from(([127, 0, 0, 1], self.next));
            self.left -= 1;
            self.next = self.next.checked_add(1).unwrap_or(0);
            match TcpListener::bind(address) {
                Ok(socket) => return Ok((address, socket)),
                Err(error) => tracing::warn!(%address, %error, "{nickname} takes the next port: this one is not free"),
            }
        }
        Err(PlanError::NoPort { first, last: self.next.wrapping_sub(1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(port: u16, guards: u16) -> NetworkOptions {
        NetworkOptions {
            relays: 4,
            authorities: 2,
            data: PathBuf::from("/nowhere"),
            port,
            processes: false,
            bench: false,
            admin: false,
            page: PathBuf::from("dist"),
            guards,
            voting_interval: None,
            valid_for: None,
        }
    }

    #[test]
    fn commands_say_what_the_nodes_are() {
        let planned = plan(&options(41_000, 0), Path::new("/data")).unwrap();
        let names: Vec<_> = planned.nodes.iter().map(|node| node.nickname.as_str()).collect();
        assert_eq!(names, ["authority1", "authority2", "relay1", "relay2", "relay3", "relay4"]);
        assert_eq!(planned.authority_configs().count(), 2);
        let node = &planned.nodes[2];
        assert!(Path::new(&node.command[0]).is_absolute());
        let NodeConfig::Relay(config) = node.config().unwrap() else { panic!("not a relay") };
        assert_eq!(config.nickname, node.nickname);
        assert_eq!(config.listen, node.address);
        assert_eq!(config.url.as_str(), format!("ws://{}/link", node.address));
        assert_eq!(config.data, Path::new("/data/relay1"));
        assert_eq!(config.roles.iter().collect::<Vec<_>>(), OFFERED_ROLES);
    }

    #[test]
    fn a_port_that_is_taken_is_left_out() {
        let taken = TcpListener::bind("127.0.0.1:41102").unwrap();
        let planned = plan(&options(41_100, 0), Path::new("/data")).unwrap();
        let ports: Vec<_> = planned.nodes.iter().map(|node| node.address.port()).collect();
        assert_eq!(ports, [41_101, 41_103, 41_104, 41_105, 41_106, 41_107]);
        drop(taken);
    }

    #[test]
    fn admin_addresses_follow_the_others() {
        let options = NetworkOptions { admin: true, ..options(41_200, 0) };
        let planned = plan(&options, Path::new("/data")).unwrap();
        let mut last = planned.nodes.iter().map(|node| node.address.port()).max().unwrap();
        for node in &planned.nodes {
            let admin = match node.config().unwrap() {
                NodeConfig::Authority(config) => config.admin.unwrap(),
                NodeConfig::Relay(config) => config.admin.unwrap(),
            };
            assert!(admin.port() > last, "{admin} is not behind {last}");
            assert_eq!(node.admin.as_ref().map(|(address, _)| *address), Some(admin));
            last = admin.port();
        }
    }

    #[test]
    fn guards_can_be_set_apart() {
        assert_eq!(roles(1, 0), ["guard", "middle", "rendezvous"]);
        assert_eq!(roles(2, 2), ["guard"]);
        assert_eq!(roles(3, 2), ["middle", "rendezvous"]);
    }
}
