//! What is measured, natively and in a browser: the protocol's work per cell, per handshake, per record and per consensus, and
//! a client's choice of relays.
//!
//! Without a clock of its own, so that the same cases are compiled for both.

#[path = "directory.rs"]
mod directory;

use std::hint::black_box;

use allium_shared::client::relays::{End, Relays};
use allium_shared::crypto::cgo::{
    BODY_LEN, Body, ClientBackward, ClientForward, RelayBackward, RelayForward, SEED_LEN,
};
use allium_shared::crypto::handshake::{ClientHandshake, HandshakeError, ServerPublic, respond};
use allium_shared::crypto::keys::{IdentityKeypair, LinkSecret, OnionSecret, RelayIdentity};
use allium_shared::link::{CELL_LEN, Initiator, Link, LinkHandshakeError, LinkStep, RelayAddressee, Responder};
use allium_shared::netdir::{
    Authorities, Authority, AuthorityKeypair, Consensus, ConsensusDraft, ConsensusUpdate, MAX_RELAYS, Mirror,
    RelayEntry, RelayRole, Roles, Validity,
};
use allium_shared::services::{MAX_RECORD_LEN, PUBLISH_EFFORT, Publication};
use allium_shared::time::{Instant, Now, UnixTime};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

use self::directory::Directory;

/// The command byte of the cells.
const COMMAND: u8 = 3;

/// Numbers of cells in a record.
const BATCHES: [usize; 6] = [1, 2, 4, 8, 16, 31];

/// How many inputs are prepared at a time for cases that use theirs up.
const PREPARED: u64 = 32;

/// One thing that takes time.
pub struct Case {
    /// What it belongs to.
    pub group: &'static str,
    /// What it is called there.
    pub name: String,
    /// How many bytes of cells it processes.
    pub bytes: Option<usize>,
    work: ProofOfWork,
}

enum ProofOfWork {
    /// May be repeated as it is.
    Repeat(Box<dyn FnMut()>),
    /// Uses inputs up: the first prepares as many as it is told, the second uses one.
    Consume(Box<dyn Consume>),
}

/// Work on inputs that must be prepared, one after the other.
trait Consume {
    fn prepare(&mut self, inputs: u64);
    fn work(&mut self);
}

/// A queue of inputs with what makes and what uses them.
struct Prepared<I, M, U> {
    inputs: Vec<I>,
    make: M,
    using: U,
}

impl<I, M: FnMut() -> Option<I>, U: FnMut(I)> Consume for Prepared<I, M, U> {
    fn prepare(&mut self, inputs: u64) {
        self.inputs = (0..inputs).filter_map(|_| (self.make)()).collect();
        // They are taken from the end.
        self.inputs.reverse();
    }

    fn work(&mut self) {
        if let Some(input) = self.inputs.pop() {
            (self.using)(input);
        }
    }
}

impl Case {
    /// How long so many repetitions take, in the clock's unit.
    pub fn time(&mut self, repetitions: u64, clock: impl Fn() -> f64) -> f64 {
        match &mut self.work {
            ProofOfWork::Repeat(work) => {
                let start = clock();
                for _ in 0..repetitions {
                    work();
                }
                clock() - start
            }
            ProofOfWork::Consume(work) => {
                let (mut left, mut time) = (repetitions, 0.0);
                while left > 0 {
                    let inputs = left.min(PREPARED);
                    work.prepare(inputs);
                    let start = clock();
                    for _ in 0..inputs {
                        work.work();
                    }
                    time += clock() - start;
                    left -= inputs;
                }
                time
            }
        }
    }
}

/// All cases, in the order of the tables.
pub fn all() -> Vec<Case> {
    let mut cases = onion_layers();
    cases.extend(circuit_handshake());
    for relay in [true, false] {
        for cells in BATCHES {
            cases.extend(seal(relay, cells));
        }
        for cells in BATCHES {
            cases.extend(open(relay, cells));
        }
    }
    cases.extend([link_handshake("XK", true), link_handshake("NK", false)]);
    cases.extend(paths().unwrap_or_default());
    cases.push(work());
    cases.extend(directory().unwrap_or_default());
    cases
}

fn repeat(group: &'static str, name: &str, bytes: Option<usize>, work: impl FnMut() + 'static) -> Case {
    Case { group, name: name.to_owned(), bytes, work: ProofOfWork::Repeat(Box::new(work)) }
}

fn consume<I: 'static>(
    group: &'static str,
    name: &str,
    bytes: Option<usize>,
    make: impl FnMut() -> Option<I> + 'static,
    using: impl FnMut(I) + 'static,
) -> Case {
    let work = ProofOfWork::Consume(Box::new(Prepared { inputs: Vec::new(), make, using }));
    Case { group, name: name.to_owned(), bytes, work }
}

/// Counter Galois Onion, one cell at a time.
fn onion_layers() -> Vec<Case> {
    let seed: [u8; SEED_LEN] = std::array::from_fn(|index| index as u8);
    let start: Body = [7; BODY_LEN];

    let mut passing = RelayBackward::new(&seed);
    let mut processing = RelayForward::new(&seed);
    let mut originating = RelayBackward::new(&seed);
    let mut client_passing = ClientForward::new(&seed);
    let mut client_originating = ClientForward::new(&seed);
    let mut to_hop_3 = [&seed; 3].map(ClientForward::new);

    let mut client = ClientForward::new(&seed);
    let mut recognising = RelayForward::new(&seed);
    let recognised = move || {
        let mut body = start;
        client.originate(COMMAND, &mut body);
        Some(body)
    };

    let mut relays = [&seed; 3].map(RelayBackward::new);
    let mut from_hop_3 = [&seed; 3].map(ClientBackward::new);
    let sent_by_hop_3 = move || {
        let mut body = start;
        let [first, second, third] = &mut relays;
        third.originate(COMMAND, &mut body);
        second.pass(COMMAND, &mut body);
        first.pass(COMMAND, &mut body);
        Some(body)
    };

    vec![
        on_a_cell("relay passes", move |body| passing.pass(COMMAND, body)),
        on_a_cell("relay processes, not recognised", move |body| {
            black_box(processing.process(COMMAND, body));
        }),
        consume("cgo", "relay recognises", Some(BODY_LEN), recognised, move |mut body| {
            black_box(recognising.process(COMMAND, black_box(&mut body)));
        }),
        on_a_cell("relay originates", move |body| {
            black_box(originating.originate(COMMAND, body));
        }),
        on_a_cell("client passes", move |body| client_passing.pass(COMMAND, body)),
        on_a_cell("client originates", move |body| {
            black_box(client_originating.originate(COMMAND, body));
        }),
        on_a_cell("client originates for hop 3", move |body| {
            let [first, second, third] = &mut to_hop_3;
            black_box(third.originate(COMMAND, body));
            second.pass(COMMAND, body);
            first.pass(COMMAND, body);
        }),
        consume("cgo", "client processes from hop 3", Some(BODY_LEN), sent_by_hop_3, move |mut body| {
            black_box(from_hop_3.iter_mut().find_map(|hop| hop.process(COMMAND, black_box(&mut body))));
        }),
        repeat("cgo", "new state", None, move || {
            black_box(RelayForward::new(black_box(&seed)));
        }),
    ]
}

/// Work on the same cell again and again.
fn on_a_cell(name: &str, mut work: impl FnMut(&mut Body) + 'static) -> Case {
    let mut body = [7; BODY_LEN];
    repeat("cgo", name, Some(BODY_LEN), move || work(black_box(&mut body)))
}

/// The hybrid circuit handshake, each side's part.
fn circuit_handshake() -> Vec<Case> {
    let group = "circuit handshake";
    let identity = [7; 32];
    let onion_key = || OnionSecret::generate(&mut ChaCha20Rng::seed_from_u64(1));
    let server = ServerPublic { identity, onion_key: *onion_key().public().as_bytes() };

    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let starts = repeat(group, "client starts", None, move || {
        let _ = black_box(ClientHandshake::start(&mut rng, &server, b""));
    });

    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let own_key = onion_key();
    let message = ClientHandshake::start(&mut rng, &server, b"").map(|(_, message)| message);
    let responds = repeat(group, "server responds", None, move || {
        if let Ok(message) = &message {
            let _ = black_box(respond(&mut rng, &identity, &own_key, b"", black_box(message)));
        }
    });

    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let own_key = onion_key();
    let mut answered = move || -> Result<_, HandshakeError> {
        let (client, message) = ClientHandshake::start(&mut rng, &server, b"")?;
        let (answer, _) = respond(&mut rng, &identity, &own_key, b"", &message)?;
        Ok((client, answer))
    };
    let finishes = consume(
        group,
        "client finishes",
        None,
        move || answered().ok(),
        |(client, answer)| {
            let _ = black_box(client.finish(black_box(&answer)));
        },
    );
    vec![starts, responds, finishes]
}

fn seal(relay: bool, cells: usize) -> Option<Case> {
    let group = if relay { "AES-GCM seal" } else { "ChaChaPoly seal" };
    let (mut ours, _) = links(relay).ok()?;
    let mut record = Vec::with_capacity(32 * CELL_LEN);
    Some(repeat(group, &cells.to_string(), Some(cells * CELL_LEN), move || {
        record.resize(cells * CELL_LEN, 0);
        let _ = black_box(ours.sealer.seal(black_box(&mut record)));
    }))
}

fn open(relay: bool, cells: usize) -> Option<Case> {
    let group = if relay { "AES-GCM open" } else { "ChaChaPoly open" };
    let (mut ours, mut theirs) = links(relay).ok()?;
    let sealed = move || {
        let mut record = vec![0; cells * CELL_LEN];
        ours.sealer.seal(&mut record).ok()?;
        Some(record)
    };
    Some(consume(group, &cells.to_string(), Some(cells * CELL_LEN), sealed, move |mut record| {
        let _ = black_box(theirs.opener.open(black_box(&mut record)));
    }))
}

/// The proof of work of a user's key, as long as it takes on average.
fn work() -> Case {
    const NONCES: u64 = 1 << PUBLISH_EFFORT;
    let work = Publication::work(20_000, &[7; MAX_RECORD_LEN]);
    let mut from = 0;
    repeat("proof of work", "65,536 nonces", None, move || {
        // More zeros than there will be: all are tried.
        black_box(work.search(200, from, NONCES));
        from += NONCES;
    })
}

/// A link's handshake, both sides together.
fn link_handshake(name: &str, relay: bool) -> Case {
    repeat("link handshake, both sides", name, None, move || {
        let _ = black_box(links(relay));
    })
}

/// A client's choices in the largest network that there can be, of relays that are all strangers to each other.
fn paths() -> Option<Vec<Case>> {
    let consensus = largest_consensus()?;
    let now = Now { instant: Instant::from_millis(0), unix: UnixTime::from_millis(0) };
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let mut relays = Relays::new(Vec::new(), Vec::new(), false);
    relays.update(&consensus, &mut rng, now);
    for guard in relays.primary_guards(&mut rng, now.instant, |_| false) {
        relays.link_opened(guard, &mut rng, now);
    }
    let chooses = repeat("paths", "path of 3 among 10,000 relays", None, move || {
        let _ = black_box(relays.path(&mut rng, now, End::Any, |_| true));
    });
    let mut rng = ChaCha20Rng::seed_from_u64(6);
    let takes_up = repeat("paths", "new list of 10,000 relays", None, move || {
        black_box(Relays::new(Vec::new(), Vec::new(), false)).update(&consensus, &mut rng, now);
    });
    Some(vec![chooses, takes_up])
}

fn largest_consensus() -> Option<Consensus> {
    let signer = AuthorityKeypair::new(IdentityKeypair::from_seed(&[1; 32]));
    let authority =
        Authority { nickname: "a".parse().ok()?, key: signer.identity(), url: "http://127.0.0.1:1".to_owned() };
    let authorities = Authorities::new(vec![authority]).ok()?;
    let relays = (0..MAX_RELAYS as u32).map(|n| {
        let key = |kind: u8| std::array::from_fn(|index| n.to_be_bytes().get(index).copied().unwrap_or(kind));
        let [a, b] = (n as u16).to_be_bytes();
        let roles: Roles = [RelayRole::Guard, RelayRole::Middle, RelayRole::Rendezvous].into_iter().collect();
        let url = format!("ws://{}.{b}.0.1:9001/link", 1 + a).parse().ok()?;
        let nickname = format!("relay{n}").parse().ok()?;
        let mut relay = RelayEntry::new(key(0).into(), key(1).into(), key(2).into(), roles, nickname, url);
        relay.weight = 1 + n;
        Some(relay)
    });
    let validity = Validity { valid_after: 0, fresh_until: 1, valid_until: 2 };
    let draft = ConsensusDraft::new(*authorities.network(), validity, relays.collect::<Option<_>>()?);
    Consensus::verify_signatures(&draft.sign(&[&signer]).ok()?, &authorities).ok()
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

/// The largest directory, from the bytes of its list of relays: what a client does with them when it starts.
pub fn directory() -> Option<Vec<Case>> {
    let directory = Directory::largest()?;
    let begin = 1_800_000_000;
    let bytes = directory.consensus(begin)?;
    let len = bytes.len();
    let unix = UnixTime::from_millis((begin + 60) * 1_000);
    let (authorities, whole) = (directory.authorities, bytes.clone());
    let verifies = {
        let authorities = authorities.clone();
        repeat("directory", "list of 10,000 relays: verify", Some(len), move || {
            let _ = black_box(Consensus::verify(black_box(&bytes), &authorities, unix));
        })
    };
    let now = Now { instant: Instant::from_millis(0), unix };
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let finds = repeat("directory", DIRECTORY_TO_PATH, Some(len), move || {
        let path = Consensus::verify(black_box(&whole), &authorities, unix).ok().and_then(|consensus| {
            let mut relays = Relays::new(Vec::new(), Vec::new(), false);
            relays.update(&consensus, &mut rng, now);
            for guard in relays.primary_guards(&mut rng, now.instant, |_| false) {
                relays.link_opened(guard, &mut rng, now);
            }
            relays.path(&mut rng, now, End::Any, |_| true).ok()
        });
        // A path that is not found takes no time.
        assert_eq!(black_box(path).map(|path| path.len()), Some(3));
    });
    Some(vec![finds, verifies, updates(begin)?])
}

/// What brings the holder of the largest list to the one an hour later, of which two in a hundred relays are others.
fn updates(begin: u64) -> Option<Case> {
    let read = |directory: &Directory, valid_after| {
        Consensus::verify_signatures(&directory.consensus(valid_after)?, &directory.authorities).ok()
    };
    let directory = Directory::largest()?;
    let held = read(&directory, begin)?;
    let next = read(&directory.later(2)?, begin + 3600)?;
    let mut mirror = Mirror::default();
    mirror.push(&held);
    mirror.push(&next);
    let update = mirror.update_for(Some(&held.digest()))?;
    Some(repeat("directory", "list of 10,000 relays: 2 % are new", Some(update.len()), move || {
        let whole = ConsensusUpdate::decode(black_box(&update)).and_then(|update| update.apply(Some(&held)));
        assert_eq!(black_box(whole).ok().flatten().as_deref(), Some(next.as_bytes()));
    }))
}

/// All that comes between the bytes of the list and the first circuit: decoding, the signatures of the authorities, the tables
/// that choices are made from, two guards, and a path.
pub const DIRECTORY_TO_PATH: &str = "list of 10,000 relays: to a path";
