//! Allium's servers and its native client: everything that touches sockets, disks and clocks, driving the protocol of
//! `allium-shared`.
//!
//! # Layout
//!
//! - [`cli`], [`config`]: arguments and files
//! - [`relay`], [`link`], [`switchboard`], `link_handle`: a relay, its links, what they share, and how they know each other
//! - [`origin`]: what a relay asks of others
//! - [`services`], [`onion_keys`]: its services, and the onion keys that follow each other
//! - `handshakes`: the threads that answer those who open circuits
//! - [`authority`]: a directory authority
//! - [`directory`]: a node's copy of the directory: fetched, verified, served
//! - [`page`]: the page's files
//! - [`network`]: a whole network on one machine, with the page
//! - [`chat`], [`profile`], [`store`]: the native client, what it keeps, and how that is written
//! - [`mod@bench`]: measurements of a running network
//! - [`metrics`], [`logging`], [`status`]: what operators see
//! - [`http`], [`dial`], [`websocket`]: HTTP and WebSockets, bounded
//! - [`tls`]: certificates, and connections to others with TLS or without
//! - [`keys`], [`keygen`], [`files`]: what is on disk
//! - [`clock`], [`random`], [`shutdown`], [`limits`]: what the system gives

pub mod authority;
pub mod bench;
pub mod chat;
pub mod cli;
pub mod clock;
pub mod config;
pub mod dial;
pub mod directory;
pub mod files;
mod handshakes;
pub mod http;
pub mod keygen;
pub mod keys;
pub mod limits;
pub mod link;
mod link_handle;
pub mod logging;
pub mod metrics;
pub mod network;
pub mod onion_keys;
pub mod origin;
pub mod page;
pub mod profile;
pub mod random;
pub mod relay;
pub mod services;
pub mod shutdown;
pub mod status;
pub mod store;
pub mod switchboard;
pub mod tls;
pub mod websocket;

use std::error::Error;

use chat::ChatConfig;
use cli::{AuthorityArgs, ChatArgs, Cli, PassphraseArgs, RelayArgs, Subcommand};
use config::{AuthorityOptions, RelayOptions};
use profile::Profile;
use profile::passphrase::Passphrase;

/// Runs what the command line asks for, until it ends or is told to.
pub async fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    limits::raise_open_files();
    let shutdown = shutdown::from_environment()?;
    match cli.command {
        Subcommand::Relay(RelayArgs { config, options }) => {
            let options = match config {
                Some(file) => options.or(RelayOptions::from_file(&file)?),
                None => options,
            };
            relay::run(options.resolve()?, shutdown).await?;
        }
        Subcommand::Authority(AuthorityArgs { config, print_entry, options }) => {
            let options = match config {
                Some(file) => options.or(AuthorityOptions::from_file(&file)?),
                None => options,
            };
            let config = options.resolve()?;
            if print_entry {
                println!("{}", authority::entry(&config)?.to_json());
                return Ok(());
            }
            authority::run(config, shutdown).await?;
        }
        Subcommand::Keygen(options) => println!("{}", keygen::run(options)?),
        Subcommand::Network(options) => network::run(options, shutdown).await?,
        Subcommand::Chat(ChatArgs { directory, profile, authorities, passphrase_file }) => {
            let directory = directory.trim_end_matches('/').to_owned();
            let passphrase = Passphrase { file: passphrase_file };
            chat::run(ChatConfig { directory, profile, authorities, passphrase }, shutdown).await?;
        }
        Subcommand::Passphrase(args) => change_passphrase(&args)?,
        Subcommand::Status(options) => {
            use std::io::Write as _;
            // Whoever reads no more, as `head` does, has seen enough.
            let _ = writeln!(std::io::stdout(), "{}", status::run(options).await?.trim_end());
        }
        Subcommand::Bench(bench) => bench::run(bench).await?,
    }
    Ok(())
}

fn change_passphrase(args: &PassphraseArgs) -> Result<(), profile::ProfileError> {
    let PassphraseArgs { profile, passphrase_file, new_passphrase_file, remove } = args;
    let mut opened = Profile::open_existing(profile, &Passphrase { file: passphrase_file.clone() })?;
    if *remove {
        opened.remove_passphrase()?;
        println!("The profile in {} is opened by its key file from now on.", profile.display());
    } else {
        let new = Passphrase { file: new_passphrase_file.clone() }.choose()?;
        opened.set_passphrase(&new)?;
        println!("The profile in {} is opened by the new passphrase from now on.", profile.display());
    }
    Ok(())
}
