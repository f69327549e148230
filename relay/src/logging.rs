//! What the program says on standard error.
//!
//! Only what Allium itself says is let through, at any level: what the libraries below it would tell of sockets and requests
//! has addresses of clients in it.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing_subscriber::filter::{EnvFilter, FilterExt, filter_fn};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// How each event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people
    #[default]
    Text,
    /// A JSON object on a line, for programs
    Json,
}

/// Begins to write events to standard error, those that the variable `RUST_LOG` asks for.
pub fn init(format: LogFormat) {
    let asked = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let own = filter_fn(|metadata| metadata.target().starts_with("allium"));
    let layer = fmt::layer().with_writer(io::stderr);
    let layer = match format {
        LogFormat::Text => layer.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(asked.and(own))).init();
}
