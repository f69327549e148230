//! Circuits that only exist.

use std::time::{Duration, Instant};

use allium_shared::circuit::Received;
use clap::Args;
use serde::Serialize;

use super::network::Network;
use super::tunnel::Tunnel;
use super::{BenchError, Common, print, round};
use crate::random;

/// Circuits that are under construction at once.
const AT_ONCE: u32 = 32;

/// How often each link says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Circuits over one link.
const PER_LINK: u32 = 1000;

/// How many to hold, and for how long.
#[derive(Args, Debug)]
pub struct Options {
    /// Where, and how to print.
    #[command(flatten)]
    pub common: Common,
    /// How many circuits to open
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub circuits: u32,
    /// How long to hold them once all are open
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub hold: u64,
}

#[derive(Serialize)]
struct Report {
    circuits: u32,
    seconds: f64,
}

pub(super) async fn run(options: Options) -> Result<(), BenchError> {
    let Options { common, circuits, hold } = options;
    let network = Network::fetch(&common).await?;
    let mut rng = random::rng()?;
    let start = Instant::now();
    let mut tunnels = Vec::new();
    let mut left = circuits;
    while left > 0 {
        let guard = network.guard(&mut rng)?;
        let mut tunnel = Tunnel::open(&network.authorities, guard, random::rng()?).await?;
        let mut begun = 0;
        let mut open = 0;
        let wanted = left.min(PER_LINK);
        while open < wanted {
            while begun < wanted && begun - open < AT_ONCE {
                let path = network.path(&mut rng, guard, common.hops)?;
                tunnel.build(path)?;
                begun += 1;
            }
            match tunnel.next().await? {
                (_, Received::Open) => open += 1,
                (_, Received::Destroyed(reason)) => return Err(BenchError::Destroyed(reason)),
                _ => {}
            }
        }
        left -= wanted;
        tunnels.push(tunnel);
    }
    let seconds = round(start.elapsed().as_secs_f64());
    print(common.json, &Report { circuits, seconds }, &format!("{circuits} circuits are open after {seconds} s"))?;
    let end = tokio::time::Instant::now() + Duration::from_secs(hold);
    loop {
        for tunnel in &mut tunnels {
            tunnel.keep_alive().await?;
        }
        let now = tokio::time::Instant::now();
        if now >= end {
            return Ok(());
        }
        tokio::time::sleep_until(end.min(now + KEEP_ALIVE)).await;
    }
}
