//! The relays of the network that is measured, and paths through them.

use allium_shared::circuit::Hop;
use allium_shared::client::api::CONSENSUS_PATH;
use allium_shared::netdir::{Authorities, Consensus, MAX_CONSENSUS_LEN, RelayEntry, RelayRole};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

use super::{BenchError, Common};
use crate::clock::Clock;
use crate::directory::trust;
use crate::http::client as http;

/// A network as its directory has it.
pub(super) struct Network {
    pub(super) authorities: Authorities,
    consensus: Consensus,
}

impl Network {
    /// Asks the directory for keys and relays. Nothing is pinned: nothing secret follows.
    pub(super) async fn fetch(options: &Common) -> Result<Self, BenchError> {
        let directory = options.directory.trim_end_matches('/');
        let authorities = trust::fetch(directory).await?;
        let fetched = http::get(&format!("{directory}{CONSENSUS_PATH}"), None, MAX_CONSENSUS_LEN).await?;
        let now = Clock::start().now().unix;
        let consensus = Consensus::verify(&fetched.body.unwrap_or_default(), &authorities, now)?;
        Ok(Self { authorities, consensus })
    }

    /// A guard, drawn at random.
    pub(super) fn guard(&self, rng: &mut ChaCha20Rng) -> Result<&RelayEntry, BenchError> {
        let guards: Vec<_> = self.consensus.with_role(RelayRole::Guard).collect();
        draw(rng, guards).ok_or(BenchError::TooFewRelays(1))
    }

    /// A path of different relays behind this guard, drawn at random.
    pub(super) fn path(&self, rng: &mut ChaCha20Rng, guard: &RelayEntry, hops: u8) -> Result<Vec<Hop>, BenchError> {
        let mut path = vec![guard];
        while path.len() < usize::from(hops) {
            let others = self.consensus.with_role(RelayRole::Middle).filter(|relay| !path.contains(relay)).collect();
            path.push(draw(rng, others).ok_or(BenchError::TooFewRelays(hops))?);
        }
        Ok(path.into_iter().map(|relay| Hop { identity: relay.identity, onion_key: relay.onion_key }).collect())
    }
}

fn draw<'a>(rng: &mut ChaCha20Rng, relays: Vec<&'a RelayEntry>) -> Option<&'a RelayEntry> {
    let at = rng.next_u64() % (relays.len() as u64).max(1);
    relays.get(usize::try_from(at).unwrap_or_default()).copied()
}
