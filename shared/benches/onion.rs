//! What the protocol costs per cell, per handshake and per record.
//!
//! Run with `cargo bench -p allium-shared`; figures and what they mean are in `docs/performance.md`.

use std::hint::black_box;

use allium_shared::crypto::cgo::{BODY_LEN, ClientBackward, ClientForward, RelayBackward, RelayForward, SEED_LEN};
use allium_shared::crypto::handshake::{ClientHandshake, ServerPublic, respond};
use allium_shared::crypto::keys::{LinkSecret, OnionSecret, RelayIdentity};
use allium_shared::link::{CELL_LEN, Initiator, Link, LinkHandshakeError, LinkStep, RelayAddressee, Responder};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

/// Counter Galois Onion, one cell at one hop in one direction.
fn onion_layers(c: &mut Criterion) {
    let seed: [u8; SEED_LEN] = std::array::from_fn(|index| index as u8);
    let mut group = c.benchmark_group("cgo");
    group.throughput(Throughput::Bytes(BODY_LEN as u64));
    let mut body = [7; BODY_LEN];

    let mut relay = RelayBackward::new(&seed);
    group.bench_function("relay passes", |b| b.iter(|| relay.pass(3, black_box(&mut body))));
    let mut relay = RelayForward::new(&seed);
    group.bench_function("relay processes, not recognised", |b| b.iter(|| relay.process(3, black_box(&mut body))));
    let mut relay = RelayBackward::new(&seed);
    group.bench_function("relay originates", |b| b.iter(|| relay.originate(3, black_box(&mut body))));
    let mut client = ClientForward::new(&seed);
    group.bench_function("client passes", |b| b.iter(|| client.pass(3, black_box(&mut body))));
    let mut client = ClientForward::new(&seed);
    group.bench_function("client originates", |b| b.iter(|| client.originate(3, black_box(&mut body))));

    let (mut client, mut relay) = (ClientForward::new(&seed), RelayForward::new(&seed));
    group.bench_function("client originates, relay recognises", |b| {
        b.iter(|| {
            client.originate(3, black_box(&mut body));
            relay.process(3, &mut body)
        });
    });
    let mut hops = [&seed; 3].map(ClientForward::new);
    group.bench_function("client to hop 3", |b| {
        b.iter(|| {
            let [first, second, third] = &mut hops;
            third.originate(3, black_box(&mut body));
            second.pass(3, &mut body);
            first.pass(3, &mut body);
        });
    });
    let mut hops = [&seed; 3].map(ClientBackward::new);
    group.bench_function("client from hop 3", |b| {
        b.iter(|| hops.iter_mut().find_map(|hop| hop.process(3, black_box(&mut body))));
    });
    group.bench_function("new state", |b| b.iter(|| RelayForward::new(black_box(&seed))));
    group.finish();
}

/// The hybrid circuit handshake, each side's part.
fn circuit_handshake(c: &mut Criterion) {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let onion_key = OnionSecret::generate(&mut rng);
    let identity = [7; 32];
    let server = ServerPublic { identity, onion_key: onion_key.public().0 };
    let mut group = c.benchmark_group("circuit handshake");

    let Ok((_, message)) = ClientHandshake::start(&mut rng, &server, b"") else { return };
    group.bench_function("client starts", |b| b.iter(|| ClientHandshake::start(&mut rng, &server, b"")));
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    group.bench_function("server responds", |b| {
        b.iter(|| respond(&mut rng, &identity, &onion_key, b"", black_box(&message)));
    });
    group.bench_function("client finishes", |b| {
        b.iter_batched(
            || {
                let (client, message) = ClientHandshake::start(&mut rng, &server, b"")?;
                let (answer, _) = respond(&mut rng, &identity, &onion_key, b"", &message)?;
                Ok((client, answer))
            },
            |started: Result<_, allium_shared::crypto::handshake::HandshakeError>| {
                started.and_then(|(client, answer)| client.finish(&answer))
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// Sealing and opening of records, per pattern and number of cells.
fn link_records(c: &mut Criterion) {
    for (name, relay) in [("AES-GCM", true), ("ChaChaPoly", false)] {
        let Ok((mut ours, mut theirs)) = links(relay) else { return };
        for (side, opens) in [("seal", false), ("seal and open", true)] {
            let mut group = c.benchmark_group(format!("{name} {side}"));
            for cells in [1, 2, 4, 8, 16, 31] {
                group.throughput(Throughput::Bytes((cells * CELL_LEN) as u64));
                let mut record = Vec::with_capacity(32 * CELL_LEN);
                // The numbers of both sides must go together, so opening is measured with sealing.
                group.bench_function(BenchmarkId::from_parameter(cells), |b| {
                    if opens {
                        b.iter(|| {
                            record.resize(cells * CELL_LEN, 0);
                            ours.sealer.seal(&mut record).is_ok() && theirs.opener.open(&mut record).is_ok()
                        });
                    } else {
                        b.iter(|| {
                            record.resize(cells * CELL_LEN, 0);
                            theirs.sealer.seal(&mut record).is_ok()
                        });
                    }
                });
            }
            group.finish();
        }
    }
}

/// Both ends of a link.
fn links(relay: bool) -> Result<(Link, Link), LinkHandshakeError> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let secret = LinkSecret::generate(&mut rng);
    let addressee = RelayAddressee { identity: RelayIdentity([2; 32]), link_key: secret.public() };
    let own = LinkSecret::generate(&mut rng);
    let (mut initiator, first) = if relay {
        Initiator::new_relay(&mut rng, &[1; 32], &addressee, &own)
    } else {
        Initiator::new_anonymous(&mut rng, &[1; 32], &addressee)
    }?;
    let mut responder = Responder::new(&mut rng, &[1; 32], &addressee.identity, &secret);
    match responder.receive(&first)? {
        LinkStep::Send(answer) => match initiator.receive(&answer)? {
            LinkStep::Established { send: Some(last), link: ours } => match responder.receive(&last)? {
                LinkStep::Established { link: theirs, .. } => Ok((*ours, *theirs)),
                LinkStep::Send(_) => Err(LinkHandshakeError::Over),
            },
            _ => Err(LinkHandshakeError::Over),
        },
        LinkStep::Established { send: Some(answer), link: theirs } => match initiator.receive(&answer)? {
            LinkStep::Established { link: ours, .. } => Ok((*ours, *theirs)),
            LinkStep::Send(_) => Err(LinkHandshakeError::Over),
        },
        LinkStep::Established { send: None, .. } => Err(LinkHandshakeError::Over),
    }
}

/// A link's handshake, both sides together.
fn link_handshake(c: &mut Criterion) {
    let mut group = c.benchmark_group("link handshake, both sides");
    for (name, relay) in [("XK", true), ("NK", false)] {
        group.bench_function(name, |b| b.iter(|| links(relay)));
    }
    group.finish();
}

criterion_group!(benches, onion_layers, circuit_handshake, link_records, link_handshake);
criterion_main!(benches);
