//! What a flood of handshakes does to a circuit that carries bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use allium_shared::cell::fragment::split;
use allium_shared::cell::{Command, DestroyReason};
use allium_shared::crypto::handshake::{ClientHandshake, ServerPublic};
use allium_shared::netdir::RelayEntry;
use clap::Args;
use serde::Serialize;

use super::circuit::draw;
use super::network::Network;
use super::tunnel::Tunnel;
use super::{BenchError, Common, print, rate};
use crate::random;

/// Bytes that are drawn at a time.
const PIECE: u64 = 5_000_000;

/// How hard to flood.
#[derive(Args, Debug)]
pub struct Options {
    /// Where, and how to print.
    #[command(flatten)]
    pub common: Common,
    /// For how long to measure, once without and once with the flood
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub seconds: u64,
    /// How many links flood
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub links: u16,
}

#[derive(Serialize)]
struct Report {
    mb_per_s: f64,
    mb_per_s_in_flood: f64,
    creates_per_s: u64,
    longest_piece_ms: u64,
    longest_piece_in_flood_ms: u64,
}

pub(super) async fn run(options: Options) -> Result<(), BenchError> {
    let Options { common, seconds, links } = options;
    let network = Arc::new(Network::fetch(&common).await?);
    let mut rng = random::rng()?;
    let guard = network.guard(&mut rng)?.clone();
    let path = network.path(&mut rng, &guard, common.hops)?;
    let mut tunnel = Tunnel::open(&network.authorities, &guard, random::rng()?).await?;
    let circ = tunnel.build(path)?;
    tunnel.opened(circ).await?;
    let time = Duration::from_secs(seconds);
    let (mb_per_s, longest) = carry(&mut tunnel, circ, time).await?;

    let sent = Arc::new(AtomicU64::new(0));
    let mut floods = tokio::task::JoinSet::new();
    for _ in 0..links {
        floods.spawn(flood(Arc::clone(&network), guard.clone(), Arc::clone(&sent)));
    }
    let start = Instant::now();
    let (mb_per_s_in_flood, longest_in_flood) = carry(&mut tunnel, circ, time).await?;
    let creates = sent.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    floods.shutdown().await;

    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let report = Report {
        mb_per_s,
        mb_per_s_in_flood,
        creates_per_s: creates as u64,
        longest_piece_ms: millis(longest),
        longest_piece_in_flood_ms: millis(longest_in_flood),
    };
    let sentence = format!(
        "{mb_per_s} MB/s without, {mb_per_s_in_flood} MB/s while {links} links send {} handshakes a second; the slowest {} \
         MB took {} ms and {} ms",
        report.creates_per_s,
        PIECE / 1_000_000,
        report.longest_piece_ms,
        report.longest_piece_in_flood_ms
    );
    Ok(print(common.json, &report, &sentence)?)
}

/// Draws bytes for so long; gives the rate, and the time of the slowest piece.
async fn carry(
    tunnel: &mut Tunnel,
    circ: allium_shared::cell::CircId,
    time: Duration,
) -> Result<(f64, Duration), BenchError> {
    let start = Instant::now();
    let (mut bytes, mut longest) = (0, Duration::ZERO);
    while start.elapsed() < time {
        longest = longest.max(draw(tunnel, circ, PIECE, 4).await?);
        bytes += PIECE;
    }
    Ok((rate(bytes, start.elapsed()), longest))
}

/// Sends handshakes to a guard as fast as it reads, on one link after the other.
async fn flood(network: Arc<Network>, guard: RelayEntry, sent: Arc<AtomicU64>) -> Result<(), BenchError> {
    // One handshake over and over: the guard cannot know, and making it costs the attacker nothing.
    let server = ServerPublic { identity: *guard.identity.as_bytes(), onion_key: *guard.onion_key.as_bytes() };
    let (_, message) = ClientHandshake::start(&mut random::rng()?, &server, b"")
        .map_err(|_| BenchError::Destroyed(DestroyReason::Internal))?;
    loop {
        let mut tunnel = Tunnel::open(&network.authorities, &guard, random::rng()?).await?;
        let outcome: Result<(), BenchError> = async {
            loop {
                for _ in 0..10 {
                    let circ = tunnel.new_id();
                    for fragment in split(&message) {
                        tunnel.send_raw(fragment.to_cell(circ, Command::Create));
                    }
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                tunnel.flush().await?;
                // Reads what comes without waiting for it: a flooder who does not read would lose its link.
                tunnel.skim()?;
            }
        }
        .await;
        if let Err(error) = outcome {
            tracing::debug!(%error, "the guard has ended a flooding link");
        }
    }
}
