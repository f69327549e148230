//! An authority that lies.
//!
//! Its key is one of the network's; all else of it is a small HTTP server that makes up documents when it is asked for them. It
//! has several doors, each an address of its own, so that it knows whom it lies to.

mod documents;
mod http;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use allium_shared::crypto::keys::{IdentityKeypair, RelayIdentity};
use allium_shared::netdir::{Authorities, Authority, AuthorityIdentity, AuthorityKeypair, SignedVote};

pub use self::documents::UNKNOWN;

/// How an authority lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lie {
    /// Not at all, but for the weights and the address that it votes for.
    #[default]
    None,
    /// It votes for every other relay only.
    Drop,
    /// It votes for these descriptors too, and for those of the relays.
    Add(Vec<Vec<u8>>),
    /// It shows its vote at the first door only.
    ToOne,
    /// It shows its vote at the first door only, and not before the last round.
    LateToOne,
    /// It shows another vote at each door.
    TwoVotes,
    /// It signs what the others have computed, and something else.
    TwoConsensuses,
    /// It shows bytes that are no document.
    Garbage,
    /// It shows echoes that hold, of a vote that is none.
    GarbageVote,
    /// Its documents do not end.
    Huge,
    /// It votes with an optional field that nobody knows.
    UnknownField,
}

/// An authority that lies, at work until it is dropped.
#[derive(Debug)]
pub struct Liar {
    state: Arc<State>,
    doors: Vec<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
}

/// One who asks, by the door, and for what: `echoes`, `vote`, `signatures`, `consensus`.
type Asked = (usize, &'static str);

struct State {
    identity: IdentityKeypair,
    keypair: AuthorityKeypair,
    work: Mutex<ProofOfWork>,
    ended: AtomicBool,
}

#[derive(Default)]
struct ProofOfWork {
    lie: Lie,
    /// Whom it lies to: all authorities, and at which addresses the honest ones are.
    authorities: Option<Authorities>,
    honest: Vec<String>,
    /// What relays have published.
    descriptors: BTreeMap<RelayIdentity, Vec<u8>>,
    /// The votes that were made, by period and by which of two it is.
    votes: BTreeMap<(u64, usize), SignedVote>,
    /// The first consensus that there was, which it serves for ever.
    consensus: Option<Vec<u8>>,
    /// Who was answered since the lie was told last.
    asked: BTreeSet<Asked>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("key", &self.keypair.identity()).finish_non_exhaustive()
    }
}

impl Liar {
    /// Opens so many doors, on these ports of 127.0.0.1 and the following. It says nothing before it knows the network.
    #[track_caller]
    pub fn open(port: u16, doors: u16) -> Self {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).expect("the system gives randomness");
        let identity = IdentityKeypair::from_seed(&seed);
        let state = Arc::new(State {
            keypair: AuthorityKeypair::new(identity.clone()),
            identity,
            work: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let mut liar = Self { state, doors: Vec::new(), threads: Vec::new() };
        for door in 0..doors {
            let listener = TcpListener::bind(("127.0.0.1", port + door)).expect("the port is free");
            liar.doors.push(listener.local_addr().expect("a listener has an address"));
            let state = Arc::clone(&liar.state);
            liar.threads.push(thread::spawn(move || state.serve(&listener, door.into())));
        }
        liar
    }

    /// Its entry in the list of those who come to this door.
    pub fn entry(&self, door: usize) -> Authority {
        let nickname = "liar".parse().expect("a nickname");
        Authority { nickname, key: self.key(), url: self.url(door) }
    }

    /// The address of a door.
    pub fn url(&self, door: usize) -> String {
        format!("http://{}", self.doors[door])
    }

    /// Its key.
    pub fn key(&self) -> AuthorityIdentity {
        self.state.keypair.identity()
    }

    /// Tells it which network it is to lie to, and where the honest authorities are.
    pub fn meet(&self, authorities: &Authorities, honest: &[String]) {
        let mut work = self.state.work();
        work.authorities = Some(authorities.clone());
        work.honest = honest.to_vec();
    }

    /// Lies in this way from the next period on that it is asked about.
    pub fn lie(&self, lie: Lie) {
        let mut work = self.state.work();
        work.lie = lie;
        work.asked.clear();
    }

    /// Who was answered since then, by door, and what was asked for.
    pub fn asked(&self) -> BTreeSet<Asked> {
        self.state.work().asked.clone()
    }

    /// The descriptor that a relay has published last.
    pub fn descriptor(&self, identity: &RelayIdentity) -> Option<Vec<u8>> {
        self.state.work().descriptors.get(identity).cloned()
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        for door in &self.doors {
            // Wakes the thread that waits for somebody to come.
            drop(std::net::TcpStream::connect_timeout(door, Duration::from_secs(1)));
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl State {
    fn work(&self) -> MutexGuard<'_, ProofOfWork> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
