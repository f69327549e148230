//! What a node goes by: a TOML file, flags, or both; flags win.

// What stands before arguments is their help text too, where an address has no brackets.
#![allow(rustdoc::bare_urls)]

mod toml_file;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use allium_shared::netdir::{
    DEFAULT_WEIGHT, ExitPolicy, ExitRule, LinkUrl, Nickname, RegistryConfig, RelayRole, Roles,
};
use allium_shared::relay::onion_keys::KeyTimes;
use allium_shared::wire::DecodeError;
use clap::Args;
use serde::Deserialize;
use thiserror::Error;

pub use toml_file::FileError;

/// The roles that this version can play.
pub const OFFERED_ROLES: [RelayRole; 3] = [RelayRole::Guard, RelayRole::Middle, RelayRole::Rendezvous];

/// The longest that any interval may be: a week.
const MAX_INTERVAL: u64 = 7 * 24 * 60 * 60;

/// The longest that an onion key may be used: three months.
const MAX_KEY_LIFETIME: u64 = 90 * 24 * 60 * 60;

/// The shortest that the onion key before is answered: in less a new one does not reach anybody.
const MIN_KEY_OVERLAP: u64 = 10;

/// Why a node's configuration is none.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file is of no use.
    #[error(transparent)]
    File(#[from] FileError),
    /// Something has to be said that has not been.
    #[error("{0} is missing: give --{0}, or {0} in the file that --config names")]
    Missing(&'static str),
    /// An address that others can use cannot be guessed.
    #[error("others cannot reach {0}: give --url with the address under which they can")]
    NoUrl(SocketAddr),
    /// Neither keys nor a place to take them from.
    #[error("give --authorities FILE with the authorities' keys, or --directory URL to take them from on first use")]
    NoTrust,
    /// Not an address of a directory.
    #[error("{0} is not an address like http://host:port or https://host:port")]
    DirectoryUrl(String),
    /// A certificate without its key, the other way round, or an address for TLS with neither.
    #[error("a certificate needs both its files: give --{0} too, or {0} in the file that --config names")]
    HalfTls(&'static str),
    /// An address for pages that came by https, which they may not open.
    #[error("secure-url has to begin with wss://, and {0} does not")]
    NotSecure(LinkUrl),
    /// TLS that nobody would find.
    #[error("pages cannot find what is served by TLS: give --secure-url with the wss:// address under which they can")]
    NoSecureUrl,
    /// A role that this version does not have.
    #[error("the role {0} is not offered yet")]
    RoleNotOffered(RelayRole),
    /// Strangers would read what is for the operator.
    #[error(
        "admin-listen {0} is not on this machine or a private network: \
         set admin-public = true (or --admin-public) if others really cannot reach it"
    )]
    AdminAddress(SocketAddr),
    /// Cells have to wait somewhere.
    #[error("queue-memory has to be at least 1 MiB")]
    NoMemory,
    /// The first votes would not meet the later ones.
    #[error("initial-voting-interval has to be a part of voting-interval: {interval} cannot be divided by {initial}")]
    InitialInterval {
        /// What it was set to, in seconds.
        initial: u64,
        /// The interval of later votes, in seconds.
        interval: u64,
    },
    /// A consensus would run out before the next.
    #[error("valid-for has to be at least twice voting-interval, so at least {} seconds, not {valid_for}", 2 * interval)]
    ValidFor {
        /// What it was set to, in seconds.
        valid_for: u64,
        /// How often the authorities vote, in seconds.
        interval: u64,
    },
    /// Onion keys that come too often, or are gone too soon.
    #[error(
        "onion-key-overlap has to be at least {MIN_KEY_OVERLAP} seconds, and onion-key-lifetime at least as long as that and \
         at most {MAX_KEY_LIFETIME} seconds; they are {overlap} and {lifetime}"
    )]
    KeyTimes {
        /// For how long a key is used.
        lifetime: u64,
        /// For how long it is answered after that.
        overlap: u64,
    },
    /// Too many rules.
    #[error("exit-policy: {0}")]
    ExitPolicy(DecodeError),
    /// An interval out of bounds.
    #[error("{what} has to be 1 to {MAX_INTERVAL} seconds, not {secs}")]
    Interval {
        /// The setting.
        what: &'static str,
        /// What it was set to.
        secs: u64,
    },
}

/// What can be said of a relay, in flags or in a file.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RelayOptions {
    /// The relay's name for people: 1 to 19 ASCII letters and digits
    #[arg(long, value_name = "NAME")]
    pub nickname: Option<Nickname>,
    /// Where to listen for links and for HTTP [default: 0.0.0.0:7100]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// The address under which others reach this relay's links, such as ws://relay.example:7100/link
    /// [default: from --listen, where that names an address]
    #[arg(long, value_name = "URL")]
    pub url: Option<LinkUrl>,
    /// Where to listen by TLS too, with a certificate [default: 0.0.0.0:7443]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub tls_listen: Option<SocketAddr>,
    /// A PEM file with this relay's certificate and its chain; read again when it changes [default: no TLS]
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// A PEM file with the certificate's private key
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// The address under which pages that came by https reach this relay's links, such as
    /// wss://relay.example:7443/link [default: --url, if it is such an address]
    #[arg(long, value_name = "URL")]
    pub secure_url: Option<LinkUrl>,
    /// How often clients should choose this relay, beside others; authorities cap it [default: 100]
    #[arg(long, value_name = "WEIGHT")]
    pub weight: Option<u32>,
    /// The key of the family of all relays of one operator, as made by allium keygen --family; no circuit takes two of one
    #[arg(long, value_name = "FILE")]
    pub family_key: Option<PathBuf>,
    /// A rule of the exit policy, such as "accept *:443"; may be repeated, the first that fits decides [default: none]
    #[arg(long, value_name = "RULE")]
    pub exit_policy: Option<Vec<ExitRule>>,
    /// The folder for keys and the last consensus; made if need be
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// What the relay may be used for, separated by commas [default: guard,middle,rendezvous]
    #[arg(long, value_name = "ROLES", value_delimiter = ',')]
    pub roles: Option<Vec<RelayRole>>,
    /// A JSON file with the authorities' nicknames, keys and addresses
    #[arg(long, value_name = "FILE")]
    pub authorities: Option<PathBuf>,
    /// A directory to take the authorities' keys from on first use, where no file is given; may be repeated
    #[arg(long, value_name = "URL")]
    pub directory: Option<Vec<String>>,
    /// How often to tell the authorities that the relay is there [default: 300]
    #[arg(long, value_name = "SECONDS")]
    pub publish_every: Option<u64>,
    /// How often to look for a new consensus [default: 2]
    #[arg(long, value_name = "SECONDS")]
    pub fetch_every: Option<u64>,
    /// How many MiB of cells may wait at this relay; beyond that circuits end whose readers do not read [default: 256]
    #[arg(long, value_name = "MIB")]
    pub queue_memory: Option<u32>,
    /// After how long to make a new onion key, to which circuits are built [default: 604800, a week]
    #[arg(long, value_name = "SECONDS")]
    pub onion_key_lifetime: Option<u64>,
    /// How long to answer for the onion key before, to clients with an older consensus [default: 97200, a day and three hours]
    #[arg(long, value_name = "SECONDS")]
    pub onion_key_overlap: Option<u64>,
    /// Where the operator can read metrics, such as 127.0.0.1:7190; strangers must not reach it [default: nowhere]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub admin_listen: Option<SocketAddr>,
    /// Let --admin-listen be an address that is neither this machine's own nor a private network's
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub admin_public: Option<bool>,
    /// For measurements: send bytes to any circuit that asks for them, as allium bench does
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub bench: Option<bool>,
}

/// What can be said of an authority, in flags or in a file.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AuthorityOptions {
    /// The authority's name for people: 1 to 19 ASCII letters and digits
    #[arg(long, value_name = "NAME")]
    pub nickname: Option<Nickname>,
    /// Where to listen for HTTP [default: 0.0.0.0:7000]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// The address under which others reach this authority, such as http://authority.example:7000
    /// [default: from --listen, where that names an address]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Where to listen by TLS too, with a certificate [default: 0.0.0.0:7443]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub tls_listen: Option<SocketAddr>,
    /// A PEM file with this authority's certificate and its chain; read again when it changes [default: no TLS]
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// A PEM file with the certificate's private key
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// The folder for the key, the descriptors and the last consensus; made if need be
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// A JSON file with all authorities' nicknames, keys and addresses, this one's too [default: this authority alone]
    #[arg(long, value_name = "FILE")]
    pub authorities: Option<PathBuf>,
    /// How long a relay is remembered that does not renew its descriptor [default: 1200]
    #[arg(long, value_name = "SECONDS")]
    pub drop_after: Option<u64>,
    /// How often to ask each relay whether it is there [default: 5]
    #[arg(long, value_name = "SECONDS")]
    pub probe_every: Option<u64>,
    /// How long a relay may leave probes without an answer before it is voted off the list [default: 15]
    #[arg(long, value_name = "SECONDS")]
    pub down_after: Option<u64>,
    /// How long a relay must have been known before it may be a guard or keep presence records [default: 172800]
    #[arg(long, value_name = "SECONDS")]
    pub probation: Option<u64>,
    /// Relays that come within this time after the authority's first start do not wait for that [default: 86400]
    #[arg(long, value_name = "SECONDS")]
    pub founding: Option<u64>,
    /// The most weight that any relay is given, whatever it claims [default: 1000]
    #[arg(long, value_name = "WEIGHT")]
    pub max_weight: Option<u32>,
    /// How often the authorities vote; the same at all of them [default: 900]
    #[arg(long, value_name = "SECONDS")]
    pub voting_interval: Option<u64>,
    /// How often they vote as long as there is no consensus; a part of --voting-interval [default: the same]
    #[arg(long, value_name = "SECONDS")]
    pub initial_voting_interval: Option<u64>,
    /// How long each phase of the voting is; the same at all authorities, and more than twice what their clocks differ
    /// [default: 10000]
    #[arg(long, value_name = "MILLISECONDS")]
    pub voting_phase_ms: Option<u64>,
    /// How long no relay must have come or changed before the first consensus is voted on [default: 30000]
    #[arg(long, value_name = "MILLISECONDS")]
    pub settle_ms: Option<u64>,
    /// How long a consensus counts [default: 10800]
    #[arg(long, value_name = "SECONDS")]
    pub valid_for: Option<u64>,
    /// How often the shared random value changes [default: 86400]
    #[arg(long, value_name = "SECONDS")]
    pub random_every: Option<u64>,
    /// How often to look for a newer consensus once one is due [default: 2]
    #[arg(long, value_name = "SECONDS")]
    pub fetch_every: Option<u64>,
    /// Where the operator can read metrics, such as 127.0.0.1:7190; strangers must not reach it [default: nowhere]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub admin_listen: Option<SocketAddr>,
    /// Let --admin-listen be an address that is neither this machine's own nor a private network's
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub admin_public: Option<bool>,
    /// Serve the page in this folder too, as built by cargo xtask build [default: no page]
    #[arg(long, value_name = "DIR")]
    pub page: Option<PathBuf>,
    /// Numbers that all nodes and clients should go by; a table in the file.
    #[arg(skip)]
    pub parameters: Option<BTreeMap<String, i64>>,
    /// A number that all nodes and clients should go by; may be repeated
    #[arg(long = "parameter", value_name = "NAME=NUMBER", value_parser = parameter)]
    #[serde(skip)]
    pub parameter: Vec<(String, i64)>,
}

/// Where a relay learns the authorities' keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// From a file.
    File(PathBuf),
    /// From the first of these directories that answers; once, then they are pinned.
    Directories(Vec<String>),
}

/// What is served by TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The PEM file with the certificate and its chain.
    pub cert: PathBuf,
    /// The PEM file with the certificate's private key.
    pub key: PathBuf,
}

/// What a relay goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayConfig {
    /// Its name for people.
    pub nickname: Nickname,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where others reach its links.
    pub url: LinkUrl,
    /// What it serves by TLS, if anything.
    pub tls: Option<TlsConfig>,
    /// Where pages that came by https reach its links, where that is not [`Self::url`]; a `wss://` address.
    pub secure_url: Option<LinkUrl>,
    /// How often it claims to be chosen.
    pub weight: u32,
    /// The file with its family's key, if it has one.
    pub family_key: Option<PathBuf>,
    /// Where it would open connections to.
    pub exit_policy: ExitPolicy,
    /// Its folder.
    pub data: PathBuf,
    /// What it may be used for.
    pub roles: Roles,
    /// Where it learns the authorities' keys.
    pub trust: Trust,
    /// How often it publishes its descriptor.
    pub publish_every: Duration,
    /// How often it fetches the consensus.
    pub fetch_every: Duration,
    /// How many bytes of cells may wait at it.
    pub queue_memory: usize,
    /// How long its onion keys are in use.
    pub key_times: KeyTimes,
    /// Where its operator can read metrics, if anywhere.
    pub admin: Option<SocketAddr>,
    /// Whether circuits may draw bytes from it for measurements.
    pub source: bool,
}

/// What an authority goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityConfig {
    /// Its name for people.
    pub nickname: Nickname,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where others reach it, without a slash at the end.
    pub url: String,
    /// What it serves by TLS, if anything.
    pub tls: Option<TlsConfig>,
    /// Its folder.
    pub data: PathBuf,
    /// The file with all authorities, unless it is alone.
    pub authorities: Option<PathBuf>,
    /// Where its operator can read metrics, if anywhere.
    pub admin: Option<SocketAddr>,
    /// The folder of the page that it serves, if any.
    pub page: Option<PathBuf>,
    /// By what it judges relays.
    pub registry: RegistryConfig,
    /// How often it probes each relay.
    pub probe_every: Duration,
    /// How often the authorities vote.
    pub voting_interval: Duration,
    /// How often they vote while there is no consensus, if not as often as later.
    pub initial_voting_interval: Option<Duration>,
    /// How long each phase of the voting is.
    pub voting_phase: Duration,
    /// How long no relay must have changed before the first vote.
    pub settle: Duration,
    /// How long a consensus should count.
    pub valid_for: Duration,
    /// How long a cycle of the shared random value should be.
    pub random_every: Duration,
    /// Numbers that all nodes and clients should go by.
    pub parameters: BTreeMap<String, i64>,
    /// How often it looks for a newer consensus once one is due.
    pub fetch_every: Duration,
}

impl RelayOptions {
    /// These options, and `file`'s where they say nothing.
    pub fn or(self, file: Self) -> Self {
        // Keys in a file outweigh no flag that says where to take them from, and the other way round.
        let trust_in_flags = self.authorities.is_some() || self.directory.is_some();
        Self {
            nickname: self.nickname.or(file.nickname),
            listen: self.listen.or(file.listen),
            url: self.url.or(file.url),
            tls_listen: self.tls_listen.or(file.tls_listen),
            tls_cert: self.tls_cert.or(file.tls_cert),
            tls_key: self.tls_key.or(file.tls_key),
            secure_url: self.secure_url.or(file.secure_url),
            weight: self.weight.or(file.weight),
            family_key: self.family_key.or(file.family_key),
            exit_policy: self.exit_policy.or(file.exit_policy),
            data: self.data.or(file.data),
            roles: self.roles.or(file.roles),
            authorities: self.authorities.or(file.authorities.filter(|_| !trust_in_flags)),
            directory: self.directory.or(file.directory.filter(|_| !trust_in_flags)),
            publish_every: self.publish_every.or(file.publish_every),
            fetch_every: self.fetch_every.or(file.fetch_every),
            queue_memory: self.queue_memory.or(file.queue_memory),
            onion_key_lifetime: self.onion_key_lifetime.or(file.onion_key_lifetime),
            onion_key_overlap: self.onion_key_overlap.or(file.onion_key_overlap),
            admin_listen: self.admin_listen.or(file.admin_listen),
            admin_public: self.admin_public.or(file.admin_public),
            bench: self.bench.or(file.bench),
        }
    }

    /// The configuration that they make.
    pub fn resolve(self) -> Result<RelayConfig, ConfigError> {
        let listen = self.listen.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 7100)));
        let url = match self.url {
            Some(url) => url,
            None => reachable(listen)
                .and_then(|listen| format!("ws://{listen}/link").parse().ok())
                .ok_or(ConfigError::NoUrl(listen))?,
        };
        let tls = tls(self.tls_listen, self.tls_cert, self.tls_key)?;
        let secure_url = match self.secure_url {
            Some(secure) if !secure.is_secure() => return Err(ConfigError::NotSecure(secure)),
            None if tls.is_some() && !url.is_secure() => return Err(ConfigError::NoSecureUrl),
            secure => secure,
        };
        let roles = self.roles.unwrap_or_else(|| OFFERED_ROLES.to_vec());
        if let Some(role) = roles.iter().find(|role| !OFFERED_ROLES.contains(role)) {
            return Err(ConfigError::RoleNotOffered(*role));
        }
        let trust = match (self.authorities, self.directory) {
            (Some(file), _) => Trust::File(file),
            (None, Some(urls)) if !urls.is_empty() => {
                Trust::Directories(urls.iter().map(|url| directory_url(url)).collect::<Result<_, _>>()?)
            }
            _ => return Err(ConfigError::NoTrust),
        };
        Ok(RelayConfig {
            nickname: self.nickname.ok_or(ConfigError::Missing("nickname"))?,
            listen,
            url,
            tls,
            secure_url,
            weight: self.weight.unwrap_or(DEFAULT_WEIGHT),
            family_key: self.family_key,
            exit_policy: ExitPolicy::new(self.exit_policy.unwrap_or_default()).map_err(ConfigError::ExitPolicy)?,
            data: self.data.ok_or(ConfigError::Missing("data"))?,
            roles: roles.into_iter().collect(),
            trust,
            publish_every: interval("publish-every", self.publish_every, 300)?,
            fetch_every: interval("fetch-every", self.fetch_every, 2)?,
            queue_memory: match self.queue_memory.unwrap_or(256) {
                0 => return Err(ConfigError::NoMemory),
                mib => usize::try_from(mib).unwrap_or(usize::MAX).saturating_mul(1024 * 1024),
            },
            key_times: key_times(self.onion_key_lifetime, self.onion_key_overlap)?,
            admin: admin(self.admin_listen, self.admin_public)?,
            source: self.bench.unwrap_or_default(),
        })
    }
}

impl AuthorityOptions {
    /// These options, and `file`'s where they say nothing.
    pub fn or(self, file: Self) -> Self {
        Self {
            nickname: self.nickname.or(file.nickname),
            listen: self.listen.or(file.listen),
            url: self.url.or(file.url),
            tls_listen: self.tls_listen.or(file.tls_listen),
            tls_cert: self.tls_cert.or(file.tls_cert),
            tls_key: self.tls_key.or(file.tls_key),
            data: self.data.or(file.data),
            authorities: self.authorities.or(file.authorities),
            drop_after: self.drop_after.or(file.drop_after),
            probe_every: self.probe_every.or(file.probe_every),
            down_after: self.down_after.or(file.down_after),
            probation: self.probation.or(file.probation),
            founding: self.founding.or(file.founding),
            max_weight: self.max_weight.or(file.max_weight),
            voting_interval: self.voting_interval.or(file.voting_interval),
            initial_voting_interval: self.initial_voting_interval.or(file.initial_voting_interval),
            voting_phase_ms: self.voting_phase_ms.or(file.voting_phase_ms),
            settle_ms: self.settle_ms.or(file.settle_ms),
            valid_for: self.valid_for.or(file.valid_for),
            random_every: self.random_every.or(file.random_every),
            fetch_every: self.fetch_every.or(file.fetch_every),
            admin_listen: self.admin_listen.or(file.admin_listen),
            admin_public: self.admin_public.or(file.admin_public),
            page: self.page.or(file.page),
            parameters: self.parameters.or(file.parameters),
            parameter: self.parameter,
        }
    }

    /// The configuration that they make.
    pub fn resolve(self) -> Result<AuthorityConfig, ConfigError> {
        let listen = self.listen.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 7000)));
        let url = match self.url {
            Some(url) => directory_url(&url)?,
            None => format!("http://{}", reachable(listen).ok_or(ConfigError::NoUrl(listen))?),
        };
        let voting_interval = interval("voting-interval", self.voting_interval, 900)?;
        let initial_voting_interval = match self.initial_voting_interval {
            Some(secs) => {
                let initial = interval("initial-voting-interval", Some(secs), secs)?;
                // Whoever votes at the shorter interval has to meet those who vote at the longer one.
                if voting_interval.as_secs() % secs != 0 {
                    return Err(ConfigError::InitialInterval { initial: secs, interval: voting_interval.as_secs() });
                }
                Some(initial)
            }
            None => None,
        };
        let valid_for = interval("valid-for", self.valid_for, 10_800)?;
        if valid_for < voting_interval * 2 {
            return Err(ConfigError::ValidFor { valid_for: valid_for.as_secs(), interval: voting_interval.as_secs() });
        }
        let mut parameters = self.parameters.unwrap_or_default();
        parameters.extend(self.parameter);
        Ok(AuthorityConfig {
            nickname: self.nickname.ok_or(ConfigError::Missing("nickname"))?,
            listen,
            url,
            tls: tls(self.tls_listen, self.tls_cert, self.tls_key)?,
            data: self.data.ok_or(ConfigError::Missing("data"))?,
            authorities: self.authorities,
            admin: admin(self.admin_listen, self.admin_public)?,
            page: self.page,
            registry: RegistryConfig {
                drop_after: interval("drop-after", self.drop_after, 1200)?,
                down_after: interval("down-after", self.down_after, 15)?,
                probation: span("probation", self.probation, 172_800)?,
                founding: span("founding", self.founding, 86_400)?,
                max_weight: self.max_weight.unwrap_or(1000),
            },
            probe_every: interval("probe-every", self.probe_every, 5)?,
            voting_interval,
            initial_voting_interval,
            voting_phase: Duration::from_millis(self.voting_phase_ms.unwrap_or(10_000).clamp(1, MAX_INTERVAL * 1000)),
            settle: Duration::from_millis(self.settle_ms.unwrap_or(30_000).min(MAX_INTERVAL * 1000)),
            valid_for,
            random_every: interval("random-every", self.random_every, 86_400)?,
            parameters,
            fetch_every: interval("fetch-every", self.fetch_every, 2)?,
        })
    }
}

/// Reads `NAME=NUMBER`.
fn parameter(text: &str) -> Result<(String, i64), String> {
    let parsed = text.split_once('=').and_then(|(name, value)| Some((name.trim(), value.trim().parse().ok()?)));
    let (name, value) = parsed.ok_or_else(|| format!("{text:?} is not like link-padding-max-ms=2500"))?;
    Ok((name.to_owned(), value))
}

/// An address of a directory as people write it, without a slash at the end.
pub fn directory_url(url: &str) -> Result<String, ConfigError> {
    let trimmed = url.trim().trim_end_matches('/');
    let host = trimmed.strip_prefix("http://").or_else(|| trimmed.strip_prefix("https://")).unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>?#@\\/".contains(&byte);
    if host.is_empty() || !host.bytes().all(plain) || trimmed.len() > LinkUrl::MAX_LEN {
        return Err(ConfigError::DirectoryUrl(url.to_owned()));
    }
    Ok(trimmed.to_owned())
}

fn tls(
    listen: Option<SocketAddr>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<TlsConfig>, ConfigError> {
    match (cert, key) {
        (Some(cert), Some(key)) => {
            let listen = listen.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 7443)));
            Ok(Some(TlsConfig { listen, cert, key }))
        }
        (Some(_), None) => Err(ConfigError::HalfTls("tls-key")),
        (None, Some(_)) => Err(ConfigError::HalfTls("tls-cert")),
        (None, None) if listen.is_some() => Err(ConfigError::HalfTls("tls-cert")),
        (None, None) => Ok(None),
    }
}

fn reachable(listen: SocketAddr) -> Option<SocketAddr> {
    let unspecified = match listen.ip() {
        IpAddr::V4(ip) => ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    (!unspecified && listen.port() != 0).then_some(listen)
}

/// An interval that may be none at all.
fn span(what: &'static str, secs: Option<u64>, default: u64) -> Result<Duration, ConfigError> {
    match secs {
        Some(0) => Ok(Duration::ZERO),
        secs => interval(what, secs, default),
    }
}

/// The admin address, if it is one that strangers do not reach, or that the operator vouches for.
fn admin(listen: Option<SocketAddr>, public: Option<bool>) -> Result<Option<SocketAddr>, ConfigError> {
    let private = |address: &SocketAddr| match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    match listen {
        Some(address) if !private(&address) && !public.unwrap_or_default() => Err(ConfigError::AdminAddress(address)),
        listen => Ok(listen),
    }
}

fn interval(what: &'static str, secs: Option<u64>, default: u64) -> Result<Duration, ConfigError> {
    match secs.unwrap_or(default) {
        secs @ 1..=MAX_INTERVAL => Ok(Duration::from_secs(secs)),
        secs => Err(ConfigError::Interval { what, secs }),
    }
}

fn key_times(lifetime: Option<u64>, overlap: Option<u64>) -> Result<KeyTimes, ConfigError> {
    let lifetime = lifetime.unwrap_or(7 * 24 * 60 * 60);
    // A consensus counts for three hours, and for a day more with those whose clocks are wrong.
    let overlap = overlap.unwrap_or(27 * 60 * 60);
    if overlap < MIN_KEY_OVERLAP || lifetime < overlap || lifetime > MAX_KEY_LIFETIME {
        return Err(ConfigError::KeyTimes { lifetime, overlap });
    }
    Ok(KeyTimes { lifetime: Duration::from_secs(lifetime), overlap: Duration::from_secs(overlap) })
}

#[cfg(test)]
mod tests;
