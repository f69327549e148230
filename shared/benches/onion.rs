//! What the protocol costs per cell, per handshake and per record, natively.
//!
//! Run with `cargo bench -p allium-shared`, or beside the same in a browser with `cargo xtask bench`; figures and what
//! they mean are in `docs/performance.md`.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark is nothing without a clock")]

mod cases;

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Every case, each in the group that it names.
fn all(c: &mut Criterion) {
    let epoch = Instant::now();
    for mut case in cases::all() {
        let mut group = c.benchmark_group(case.group);
        if let Some(bytes) = case.bytes {
            group.throughput(Throughput::Bytes(bytes as u64));
        }
        group.bench_function(case.name.clone(), |b| {
            b.iter_custom(|repetitions| {
                Duration::from_secs_f64(case.time(repetitions, || epoch.elapsed().as_secs_f64()))
            });
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    targets = all
}
criterion_main!(benches);
