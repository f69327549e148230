//! The directory of a simulation: an authority that makes a consensus when it is told, and relays that mirror it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use allium_shared::client::Config;
use allium_shared::crypto::keys::IdentityKeypair;
use allium_shared::netdir::{
    self, Authorities, Authority, AuthorityKeypair, Consensus, ConsensusDigest, ConsensusDraft, RelayEntry, Validity,
};
use allium_shared::relay::services::{Document, Mirror};
use rand_chacha::ChaCha20Rng;

/// The authority, and what it has made.
pub(super) struct Press {
    signer: AuthorityKeypair,
    parameters: BTreeMap<String, i64>,
    pub(super) authorities: Authorities,
    /// For how long a consensus is fresh, and for how long it counts.
    pub(super) lifetimes: (Duration, Duration),
    /// How often one is made by itself; the number tells orders from earlier ones.
    pub(super) every: Option<Duration>,
    pub(super) orders: u64,
    /// Relays that the next one does not list.
    pub(super) unlisted: BTreeSet<usize>,
    /// Whether anybody answers who is asked directly.
    pub(super) is_reachable: bool,
    mirror: netdir::Mirror,
    newest: Option<Consensus>,
}

impl Press {
    pub(super) fn new(rng: &mut ChaCha20Rng, parameters: &[(&str, i64)]) -> Self {
        let signer = AuthorityKeypair::new(IdentityKeypair::generate(rng));
        let authority = Authority {
            nickname: "authority".parse().expect("a nickname"),
            key: signer.identity(),
            url: "http://127.0.0.1:1".to_owned(),
        };
        Self {
            signer,
            parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            authorities: Authorities::new(vec![authority]).expect("one authority"),
            lifetimes: (Duration::from_secs(3660), Duration::from_secs(86_460)),
            every: None,
            orders: 0,
            unlisted: BTreeSet::new(),
            is_reachable: true,
            mirror: netdir::Mirror::new(),
            newest: None,
        }
    }

    pub(super) fn config(&self) -> Config {
        Config::new(self.authorities.clone())
    }

    /// Makes a consensus that counts from now on.
    pub(super) fn make(&mut self, now: u64, relays: Vec<RelayEntry>) -> Consensus {
        let (fresh, valid) = self.lifetimes;
        let validity =
            Validity { valid_after: now, fresh_until: now + fresh.as_secs(), valid_until: now + valid.as_secs() };
        let mut draft = ConsensusDraft::new(*self.authorities.network(), validity, relays);
        draft.parameters = self.parameters.clone();
        let bytes = draft.sign(&[&self.signer]).expect("a consensus");
        let consensus = Consensus::verify_signatures(&bytes, &self.authorities).expect("a consensus");
        self.mirror.push(&consensus);
        self.newest = Some(consensus.clone());
        consensus
    }

    pub(super) fn newest(&self) -> &Consensus {
        self.newest.as_ref().expect("there is one from the beginning")
    }

    /// What whoever asks directly gets, by HTTP.
    pub(super) fn answer(&self, held: Option<&ConsensusDigest>) -> Result<Vec<u8>, String> {
        if !self.is_reachable {
            return Err("nobody answers".to_owned());
        }
        Ok(match held {
            Some(held) => self.mirror.update_for(Some(held)).expect("there is one").to_vec(),
            None => self.newest().as_bytes().to_vec(),
        })
    }
}

/// One relay's copy of the directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Mirrored(Arc<Mutex<netdir::Mirror>>);

impl Mirrored {
    pub(super) fn push(&self, consensus: &Consensus) {
        self.lock().push(consensus);
    }

    fn lock(&self) -> MutexGuard<'_, netdir::Mirror> {
        self.0.lock().expect("nobody panics here")
    }
}

impl Mirror for Mirrored {
    fn update(&self, held: Option<&[u8; 32]>) -> Option<Document> {
        let held = held.copied().map(ConsensusDigest::from_bytes);
        self.lock().update_for(held.as_ref()).map(|update| update as Document)
    }
}
