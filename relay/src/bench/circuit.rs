//! Bytes through one circuit.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use allium_shared::cell::message::{Service, StreamId};
use allium_shared::cell::{CircId, DestroyReason};
use allium_shared::circuit::Received;
use allium_shared::services::byte_source::source_argument;
use clap::Args;
use serde::Serialize;

use super::network::Network;
use super::tunnel::Tunnel;
use super::{BenchError, Common, print, rate, round};
use crate::random;

/// What to move.
#[derive(Args, Debug)]
pub struct Options {
    /// Where, and how to print.
    #[command(flatten)]
    pub common: Common,
    /// How many bytes to move
    #[arg(long, value_name = "N", default_value_t = 100_000_000)]
    pub bytes: u64,
    /// Over how many streams of the circuit at once
    #[arg(long, value_name = "S", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub streams: u16,
}

#[derive(Serialize)]
struct Report {
    bytes: u64,
    seconds: f64,
    mb_per_s: f64,
}

pub(super) async fn run(options: Options) -> Result<(), BenchError> {
    let Options { common, bytes, streams } = options;
    let network = Network::fetch(&common).await?;
    let mut rng = random::rng()?;
    let guard = network.guard(&mut rng)?;
    let path = network.path(&mut rng, guard, common.hops)?;
    let mut tunnel = Tunnel::open(&network.authorities, guard, rng).await?;
    let circ = tunnel.build(path)?;
    tunnel.opened(circ).await?;
    let time = draw(&mut tunnel, circ, bytes, streams).await?;
    let report = Report { bytes, seconds: round(time.as_secs_f64()), mb_per_s: rate(bytes, time) };
    let sentence = format!("{bytes} bytes in {} s: {} MB/s", report.seconds, report.mb_per_s);
    Ok(print(common.json, &report, &sentence)?)
}

/// A stream that brings bytes, and how many it still has to bring.
struct Drawing {
    got: u64,
    len: u64,
}

/// Draws bytes from the last hop of a circuit; gives the time from asking to the last byte.
pub(super) async fn draw(tunnel: &mut Tunnel, circ: CircId, bytes: u64, streams: u16) -> Result<Duration, BenchError> {
    let start = Instant::now();
    let mut drawing = HashMap::new();
    for n in 0..u64::from(streams) {
        let len = bytes / u64::from(streams) + u64::from(n < bytes % u64::from(streams));
        let stream =
            tunnel.with(circ, |circuit, out| circuit.begin(Service::SOURCE, 0, &source_argument(len), out))??;
        drawing.insert(stream, Drawing { got: 0, len });
    }
    while !drawing.is_empty() {
        let (of, received) = tunnel.next().await?;
        if of != circ {
            continue;
        }
        match received {
            Received::Data(stream, data) => {
                take(&mut drawing, stream, &data)?;
                tunnel.with(circ, |circuit, out| circuit.consumed(stream, out))?;
            }
            Received::Ended(stream, _) => match drawing.remove(&stream) {
                Some(Drawing { got, len }) if got == len => {}
                Some(Drawing { got: 0, .. }) => return Err(BenchError::NoSource),
                _ => return Err(BenchError::WrongBytes),
            },
            Received::Destroyed(reason) => return Err(BenchError::Destroyed(reason)),
            Received::Nothing | Received::Open | Received::Connected(..) | Received::Writable(_) => {}
            Received::Message(_) => return Err(BenchError::Destroyed(DestroyReason::Protocol)),
        }
    }
    Ok(start.elapsed())
}

/// Counts what has come; each piece says where it stands.
fn take(drawing: &mut HashMap<StreamId, Drawing>, stream: StreamId, data: &[u8]) -> Result<(), BenchError> {
    let drawing = drawing.get_mut(&stream).ok_or(BenchError::WrongBytes)?;
    if let Some(at) = data.first_chunk()
        && u64::from_be_bytes(*at) != drawing.got
    {
        return Err(BenchError::WrongBytes);
    }
    drawing.got += data.len() as u64;
    Ok(())
}
