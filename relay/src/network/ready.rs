//! Whether all nodes of a network take part.

use std::time::{Duration, Instant};

use allium_shared::netdir::Consensus;

use super::plan::Planned;
use crate::directory::Directory;
use crate::directory::routes::{Health, HeldConsensus};
use crate::http::client;

const PAUSE: Duration = Duration::from_millis(100);
const MAX_HEALTH_LEN: usize = 4096;

/// How long it may take before somebody should know.
const PATIENCE: Duration = Duration::from_secs(15);

/// What has to be in the consensus, and who has to have it.
#[derive(Clone, Debug)]
pub struct Expected {
    relays: Vec<ExpectedRelay>,
}

#[derive(Clone, Debug)]
struct ExpectedRelay {
    nickname: String,
    link: String,
    health: String,
}

impl Expected {
    /// All relays of the plan.
    pub fn new(planned: &Planned) -> Self {
        let relays = planned.nodes.iter().filter(|node| !node.is_authority()).map(|node| ExpectedRelay {
            nickname: node.nickname.to_string(),
            link: format!("ws://{}/link", node.address),
            health: format!("{}/healthz", node.url()),
        });
        Self { relays: relays.collect() }
    }

    /// Whether these relays are in the consensus, and no others.
    pub fn lists_all(&self, consensus: &Consensus) -> bool {
        let listed = |expected: &ExpectedRelay| {
            consensus
                .relays()
                .iter()
                .any(|relay| relay.nickname.as_str() == expected.nickname && relay.url.as_str() == expected.link)
        };
        consensus.relays().len() == self.relays.len() && self.relays.iter().all(listed)
    }

    /// Waits until every relay is in the consensus that every relay and this copy of the directory hold.
    pub async fn wait(&self, directory: &Directory) {
        let start = Instant::now();
        let mut told = false;
        loop {
            let missing = self.missing(directory).await;
            if missing.is_none() {
                return;
            }
            if start.elapsed() > PATIENCE && !told {
                tracing::warn!(missing, "not all nodes take part yet");
                told = true;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn missing(&self, directory: &Directory) -> Option<String> {
        let Some(consensus) = directory.current().filter(|consensus| self.lists_all(consensus)) else {
            return Some("a consensus with every relay".to_owned());
        };
        let held = HeldConsensus { relays: self.relays.len(), digest: consensus.digest().to_string() };
        for relay in &self.relays {
            let holds = match client::get(&relay.health, None, MAX_HEALTH_LEN).await {
                Ok(fetched) => serde_json::from_slice::<Health>(&fetched.body.unwrap_or_default())
                    .is_ok_and(|health| health.nickname == relay.nickname && health.consensus.as_ref() == Some(&held)),
                Err(_) => false,
            };
            if !holds {
                return Some(relay.nickname.clone());
            }
        }
        None
    }
}
