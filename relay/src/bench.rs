//! `allium bench`: measures a running network from outside, as a client that holds its circuits itself.
//!
//! # Layout
//!
//! - [`circuit`]: bytes through one circuit
//! - [`build`]: how long circuits take to open
//! - [`flood`]: what a flood of handshakes does to a circuit that carries bytes
//! - [`idle`]: circuits that only exist
//! - `tunnel`: the link to a guard, and circuits over it
//! - `network`: the relays, and paths through them

pub mod build;
pub mod circuit;
pub mod flood;
pub mod idle;
mod network;
mod tunnel;

use std::io::{self, Write as _};
use std::time::Duration;

use allium_shared::cell::DestroyReason;
use allium_shared::circuit::CircuitError;
use allium_shared::link::{LinkHandshakeError, RecordError};
use allium_shared::netdir::ConsensusError;
use clap::{Args, Subcommand};
use serde::Serialize;
use thiserror::Error;

use crate::dial::DialError;
use crate::directory::trust::TrustError;
use crate::http::client::HttpError;

/// How long a network may say nothing before a measurement is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Move bytes through one circuit; the network has to run with --bench
    Circuit(circuit::Options),
    /// Open circuits one after the other, and say how long each took
    Build(build::Options),
    /// Move bytes through one circuit while another client floods its guard with handshakes; needs --bench
    Flood(flood::Options),
    /// Open many circuits and hold them, to see what they cost the relays
    Idle(idle::Options),
}

/// Where the network is, and how to print.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// The directory to take the list of relays from, such as http://127.0.0.1:7000
    #[arg(long, value_name = "URL")]
    pub directory: String,
    /// How many relays in a circuit
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub hops: u8,
    /// Print one JSON object instead of a sentence
    #[arg(long)]
    pub json: bool,
}

/// Why nothing was measured.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The authorities' keys are not to be had.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The list of relays is not to be had.
    #[error("the list of relays cannot be had: {0}")]
    Fetch(#[from] HttpError),
    /// The list of relays is none.
    #[error("the list of relays is none: {0}")]
    Consensus(#[from] ConsensusError),
    /// Too few relays.
    #[error("the network has no path of {0} different relays")]
    TooFewRelays(u8),
    /// The guard cannot be reached.
    #[error("the guard cannot be reached: {0}")]
    Dial(#[from] DialError),
    /// The guard's handshake failed.
    #[error("the handshake with the guard failed: {0}")]
    Handshake(#[from] LinkHandshakeError),
    /// The link broke.
    #[error("the link to the guard broke: {0}")]
    Record(#[from] RecordError),
    /// The link ended.
    #[error("the guard has closed the link")]
    Closed,
    /// A circuit broke.
    #[error("the circuit broke: {0}")]
    Circuit(#[from] CircuitError),
    /// A relay ended a circuit.
    #[error("a relay has ended the circuit ({0:?})")]
    Destroyed(DestroyReason),
    /// The last hop has no source.
    #[error("the last relay sends no bytes for measurements: start the network with --bench")]
    NoSource,
    /// Something else than what was asked for came.
    #[error("the last relay sent other bytes than it was asked for")]
    WrongBytes,
    /// Nothing came.
    #[error("the network has said nothing for {} s", PATIENCE.as_secs())]
    Silence,
    /// The system refused something.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Measures, and prints what came out.
///
/// # Errors
///
/// If nothing could be measured.
pub async fn run(bench: Bench) -> Result<(), BenchError> {
    match bench {
        Bench::Circuit(options) => circuit::run(options).await,
        Bench::Build(options) => build::run(options).await,
        Bench::Flood(options) => flood::run(options).await,
        Bench::Idle(options) => idle::run(options).await,
    }
}

/// Prints a result as JSON, or as the sentence that people read.
fn print(json: bool, result: &impl Serialize, sentence: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut stdout, result)?;
        writeln!(stdout)
    } else {
        writeln!(stdout, "{sentence}")
    }
}

/// Megabytes per second.
fn rate(bytes: u64, time: Duration) -> f64 {
    round(bytes as f64 / 1e6 / time.as_secs_f64().max(1e-9))
}

/// To three places.
fn round(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// The figure that this share of all figures does not exceed; zero when there are none.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().map_or(0.0, round)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_figures_that_were_measured() {
        let figures: Vec<_> = (1..=10).map(f64::from).collect();
        assert_eq!([0, 50, 90, 100].map(|percent| percentile(&figures, percent)), [1.0, 5.0, 9.0, 10.0]);
        assert_eq!(percentile(&[], 50), 0.0);
        assert_eq!(percentile(&[0.12345], 50), 0.123);
    }
}
