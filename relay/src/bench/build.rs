//! How long circuits take to open.

use std::time::Instant;

use clap::Args;
use serde::Serialize;

use super::network::Network;
use super::tunnel::Tunnel;
use super::{BenchError, Common, percentile, print};
use crate::random;

/// How many to open.
#[derive(Args, Debug)]
pub struct Options {
    /// Where, and how to print.
    #[command(flatten)]
    pub common: Common,
    /// How many circuits to open, one after the other, each through other relays
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub circuits: u32,
}

#[derive(Serialize)]
struct Report {
    circuits: u32,
    median_ms: f64,
    p90_ms: f64,
    max_ms: f64,
}

pub(super) async fn run(options: Options) -> Result<(), BenchError> {
    let Options { common, circuits } = options;
    let network = Network::fetch(&common).await?;
    let mut rng = random::rng()?;
    let guard = network.guard(&mut rng)?;
    let mut tunnel = Tunnel::open(&network.authorities, guard, random::rng()?).await?;
    let mut times = Vec::new();
    for _ in 0..circuits {
        let path = network.path(&mut rng, guard, common.hops)?;
        let start = Instant::now();
        let circ = tunnel.build(path)?;
        tunnel.opened(circ).await?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        tunnel.destroy(circ);
    }
    tunnel.flush().await?;
    times.sort_by(f64::total_cmp);
    let [median_ms, p90_ms, max_ms] = [50, 90, 100].map(|percent| percentile(&times, percent));
    let report = Report { circuits, median_ms, p90_ms, max_ms };
    let sentence = format!("{circuits} circuits: median {median_ms} ms, 90 % within {p90_ms} ms, at most {max_ms} ms");
    Ok(print(common.json, &report, &sentence)?)
}
