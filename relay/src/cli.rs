//! The command line.

// What stands before arguments is their help text too, where an address has no brackets.
#![allow(rustdoc::bare_urls)]

use std::path::PathBuf;

use clap::{Args, Parser};

use crate::bench::Bench;
use crate::config::{AuthorityOptions, RelayOptions};
use crate::keygen::KeygenOptions;
use crate::logging::LogFormat;
use crate::network::NetworkOptions;
use crate::profile::passphrase::FILE_VARIABLE;
use crate::status::StatusOptions;

/// The variable that says what `--log-format` would.
pub const LOG_FORMAT: &str = "ALLIUM_LOG_FORMAT";

/// Allium: an onion-routed instant messenger. This program runs its relays, its directory authorities, a whole network
/// on one machine, and a client without a page.
#[derive(Debug, Parser)]
#[command(name = "allium", version, about, max_term_width = 100)]
pub struct Cli {
    /// How to write what is said on standard error: text, or json for programs
    #[arg(long, global = true, value_enum, env = LOG_FORMAT, value_name = "FORMAT", default_value_t)]
    #[arg(hide_possible_values = true)]
    pub log_format: LogFormat,
    /// What to run.
    #[command(subcommand)]
    pub command: Subcommand,
}

/// What the program can run.
#[derive(Debug, clap::Subcommand)]
pub enum Subcommand {
    /// Run a relay
    Relay(RelayArgs),
    /// Run a directory authority
    Authority(AuthorityArgs),
    /// Make a key: an authority's, or one of a family of relays
    Keygen(KeygenOptions),
    /// Run a network of authorities and relays on this machine, with the page, for development
    Network(NetworkOptions),
    /// Chat without a page: JSON lines on standard input and output
    Chat(ChatArgs),
    /// Set, change or remove the passphrase of a profile
    Passphrase(PassphraseArgs),
    /// Show how a network is: its consensus, authorities and relays, as an authority sees them
    Status(StatusOptions),
    /// Measure a running network
    #[command(subcommand)]
    Bench(Bench),
}

/// Arguments of `allium relay`.
#[derive(Args, Debug)]
pub struct RelayArgs {
    /// A TOML file with the settings that follow, without the dashes; flags win
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The settings.
    #[command(flatten)]
    pub options: RelayOptions,
}

/// Arguments of `allium authority`.
#[derive(Args, Debug)]
pub struct AuthorityArgs {
    /// A TOML file with the settings that follow, without the dashes; flags win
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print this authority's entry for the file with all authorities, made with its key, and end
    #[arg(long)]
    pub print_entry: bool,
    /// The settings.
    #[command(flatten)]
    pub options: AuthorityOptions,
}

/// Arguments of `allium chat`.
#[derive(Args, Debug)]
pub struct ChatArgs {
    /// The directory to take the list of relays from, such as http://127.0.0.1:7000
    #[arg(long, value_name = "URL")]
    pub directory: String,
    /// The folder with this client's keys, contacts and messages; made if need be
    #[arg(long, value_name = "DIR")]
    pub profile: PathBuf,
    /// A JSON file with the authorities' keys [default: taken from the directory on first use, then pinned]
    #[arg(long, value_name = "FILE")]
    pub authorities: Option<PathBuf>,
    /// A file with the profile's passphrase in its only line [default: asked for, if the profile has one]
    #[arg(long, value_name = "FILE", env = FILE_VARIABLE)]
    pub passphrase_file: Option<PathBuf>,
}

/// Arguments of `allium passphrase`.
#[derive(Args, Debug)]
#[command(after_help = "A passphrase that is forgotten cannot be replaced: nobody can read the profile then.")]
pub struct PassphraseArgs {
    /// The folder of the profile, which no client may be using
    #[arg(long, value_name = "DIR")]
    pub profile: PathBuf,
    /// A file with the passphrase that the profile has now [default: asked for, if it has one]
    #[arg(long, value_name = "FILE", env = FILE_VARIABLE)]
    pub passphrase_file: Option<PathBuf>,
    /// A file with the passphrase that the profile is to have [default: asked for]
    #[arg(long, value_name = "FILE")]
    pub new_passphrase_file: Option<PathBuf>,
    /// Let a key file in the profile's folder open it, in place of a passphrase
    #[arg(long, conflicts_with = "new_passphrase_file")]
    pub remove: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_are_understood() {
        let cli = Cli::try_parse_from(["allium", "relay", "--roles", "guard,middle", "--config", "a.toml"]).unwrap();
        let Subcommand::Relay(args) = cli.command else { panic!("not a relay") };
        assert_eq!(args.options.roles.unwrap().len(), 2);
        let cli = Cli::try_parse_from(["allium", "network", "--processes"]).unwrap();
        let Subcommand::Network(options) = cli.command else { panic!("not a network") };
        assert_eq!((options.relays, options.authorities, options.port, options.processes), (8, 3, 7000, true));
        for arguments in [
            &["allium", "relay", "--roles", "king"][..],
            &["allium", "relay", "--nickname", "a b"],
            &["allium", "network", "--relays", "0"],
            &["allium", "chat", "--profile", "p"],
            &["allium", "chat", "--log-format", "xml"],
            &["allium", "passphrase"],
            &["allium", "passphrase", "--profile", "p", "--remove", "--new-passphrase-file", "f"],
            &["allium", "passphrase", "--profile", "p", "secret"],
            &["allium", "keygen"],
            &["allium", "keygen", "--data", "d", "--family", "f"],
            &["allium", "keygen", "--data", "d", "--nickname", "a"],
            &["allium", "keygen", "--family", "f", "--nickname", "a", "--url", "http://h"],
        ] {
            assert!(Cli::try_parse_from(arguments).is_err(), "{arguments:?}");
        }
    }
}
