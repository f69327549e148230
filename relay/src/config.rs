//! What a node goes by: a TOML file, flags, or both; flags win.

// What stands before arguments is their help text too, where an address has no brackets.
#![allow(rustdoc::bare_urls)]

mod toml_file;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use allium_shared::netdir::{LinkUrl, Nickname, RegistryConfig, Role, Roles};
use clap::Args;
use serde::Deserialize;
use thiserror::Error;

pub use toml_file::FileError;

/// The roles that this version can play.
pub const OFFERED_ROLES: [Role; 3] = [Role::Guard, Role::Middle, Role::Rendezvous];

/// The longest that any interval may be: a week.
const MAX_INTERVAL: u64 = 7 * 24 * 60 * 60;

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
    RoleNotOffered(Role),
    /// Cells have to wait somewhere.
    #[error("queue-memory has to be at least 1 MiB")]
    NoMemory,
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
    /// The folder for keys and the last consensus; made if need be
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// What the relay may be used for, separated by commas [default: guard,middle,rendezvous]
    #[arg(long, value_name = "ROLES", value_delimiter = ',')]
    pub roles: Option<Vec<Role>>,
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
    /// A JSON file with all authorities' nicknames, keys and addresses, this one's too; the first one signs
    /// [default: this authority alone]
    #[arg(long, value_name = "FILE")]
    pub authorities: Option<PathBuf>,
    /// How long a relay stays listed that does not renew its descriptor [default: 1200]
    #[arg(long, value_name = "SECONDS")]
    pub drop_after: Option<u64>,
    /// How long a consensus stays the newest when nothing changes [default: 1800]
    #[arg(long, value_name = "SECONDS")]
    pub fresh_for: Option<u64>,
    /// How long a consensus counts [default: 10800]
    #[arg(long, value_name = "SECONDS")]
    pub valid_for: Option<u64>,
    /// How often the authorities that do not sign look for a new consensus [default: 2]
    #[arg(long, value_name = "SECONDS")]
    pub fetch_every: Option<u64>,
    /// Serve the page in this folder too, as built by cargo xtask build [default: no page]
    #[arg(long, value_name = "DIR")]
    pub page: Option<PathBuf>,
    /// Numbers that all nodes and clients go by; only in the file.
    #[arg(skip)]
    pub parameters: Option<BTreeMap<String, i64>>,
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
    /// The folder of the page that it serves, if any.
    pub page: Option<PathBuf>,
    /// By what it makes the consensus.
    pub registry: RegistryConfig,
    /// How often it fetches the consensus, where another makes it.
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
            data: self.data.or(file.data),
            roles: self.roles.or(file.roles),
            authorities: self.authorities.or(file.authorities.filter(|_| !trust_in_flags)),
            directory: self.directory.or(file.directory.filter(|_| !trust_in_flags)),
            publish_every: self.publish_every.or(file.publish_every),
            fetch_every: self.fetch_every.or(file.fetch_every),
            queue_memory: self.queue_memory.or(file.queue_memory),
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
            data: self.data.ok_or(ConfigError::Missing("data"))?,
            roles: roles.into_iter().collect(),
            trust,
            publish_every: interval("publish-every", self.publish_every, 300)?,
            fetch_every: interval("fetch-every", self.fetch_every, 2)?,
            queue_memory: match self.queue_memory.unwrap_or(256) {
                0 => return Err(ConfigError::NoMemory),
                mib => usize::try_from(mib).unwrap_or(usize::MAX).saturating_mul(1024 * 1024),
            },
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
            fresh_for: self.fresh_for.or(file.fresh_for),
            valid_for: self.valid_for.or(file.valid_for),
            fetch_every: self.fetch_every.or(file.fetch_every),
            page: self.page.or(file.page),
            parameters: self.parameters.or(file.parameters),
        }
    }

    /// The configuration that they make.
    pub fn resolve(self) -> Result<AuthorityConfig, ConfigError> {
        let listen = self.listen.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 7000)));
        let url = match self.url {
            Some(url) => directory_url(&url)?,
            None => format!("http://{}", reachable(listen).ok_or(ConfigError::NoUrl(listen))?),
        };
        Ok(AuthorityConfig {
            nickname: self.nickname.ok_or(ConfigError::Missing("nickname"))?,
            listen,
            url,
            tls: tls(self.tls_listen, self.tls_cert, self.tls_key)?,
            data: self.data.ok_or(ConfigError::Missing("data"))?,
            authorities: self.authorities,
            page: self.page,
            registry: RegistryConfig {
                drop_after: interval("drop-after", self.drop_after, 1200)?,
                fresh_for: interval("fresh-for", self.fresh_for, 1800)?,
                valid_for: interval("valid-for", self.valid_for, 10_800)?,
                parameters: self.parameters.unwrap_or_default(),
            },
            fetch_every: interval("fetch-every", self.fetch_every, 2)?,
        })
    }
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

fn interval(what: &'static str, secs: Option<u64>, default: u64) -> Result<Duration, ConfigError> {
    match secs.unwrap_or(default) {
        secs @ 1..=MAX_INTERVAL => Ok(Duration::from_secs(secs)),
        secs => Err(ConfigError::Interval { what, secs }),
    }
}

#[cfg(test)]
mod tests;
