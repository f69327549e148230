//! Asks relays whether they are there, by opening a link: so that a relay is listed only where the holder of its link key
//! answers at its address.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use allium_shared::crypto::keys::RelayIdentity;
use allium_shared::link::{Initiator, LinkStep, RelayAddressee};
use allium_shared::netdir::{NetworkId, RelayEntry};
use futures_util::{SinkExt, StreamExt};
use rand_chacha::ChaCha20Rng;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use super::Office;
use crate::metrics::authority::ProbeResult;
use crate::shutdown::Shutdown;
use crate::{dial, random};

/// Probes under way at once.
const MAX_PROBES: usize = 64;

/// The longest that a relay may take to answer.
const MAX_PROBE_TIME: Duration = Duration::from_secs(5);

/// How often relays that do not renew their descriptors are looked for.
const REVIEW_INTERVAL: Duration = Duration::from_secs(1);

/// Probes all relays again and again until the end.
pub(super) async fn run(office: Arc<Office>, mut shutdown: Shutdown) {
    let permits = Arc::new(Semaphore::new(MAX_PROBES));
    let under_way: Arc<Mutex<HashSet<RelayIdentity>>> = Arc::default();
    let mut probes = JoinSet::new();
    let every = office.config.probe_every;
    let pause = (every / 4).min(REVIEW_INTERVAL);
    loop {
        let waited = shutdown.unless(tokio::time::timeout(pause, office.probe.notified()));
        if waited.await.is_none() {
            return;
        }
        while probes.try_join_next().is_some() {}
        let now = office.clock.now();
        let due = {
            let mut desk = office.desk.lock().await;
            let gone = desk.registry.expire(now);
            if !gone.is_empty() {
                tracing::info!(?gone, "relays have gone");
            }
            office.metrics.holds(desk.registry.len());
            desk.registry.due_for_probe(now.instant, every)
        };
        for entry in due {
            if !under_way.lock().await.insert(entry.identity) {
                continue;
            }
            let Ok(rng) = random::rng() else { continue };
            let (office, permits, under_way) = (Arc::clone(&office), Arc::clone(&permits), Arc::clone(&under_way));
            probes.spawn(async move {
                // The semaphore is never closed.
                let permit = permits.acquire_owned().await.ok();
                let time = MAX_PROBE_TIME.min(office.config.probe_every * 2);
                let network = office.authorities.network();
                let answered = tokio::time::timeout(time, probe(&entry, network, rng)).await.unwrap_or(false);
                drop(permit);
                under_way.lock().await.remove(&entry.identity);
                office.metrics.probe(if answered { ProbeResult::Answered } else { ProbeResult::Missed });
                let now = office.clock.now().instant;
                let ousted = office.desk.lock().await.registry.probed(now, &entry, answered);
                if !ousted.is_empty() {
                    tracing::info!(
                        relay = %entry.nickname, ?ousted, "a relay answers in place of others that claimed the same and did not");
                }
            });
        }
    }
}

/// Whether a relay answers a link's handshake with its key.
async fn probe(relay: &RelayEntry, network: &NetworkId, mut rng: ChaCha20Rng) -> bool {
    let Ok(mut socket) = dial::connect(relay.url.as_str()).await else { return false };
    let addressee = RelayAddressee { identity: relay.identity, link_key: relay.link_key };
    let Ok((mut initiator, first)) = Initiator::new_anonymous(&mut rng, network.as_bytes(), &addressee) else {
        return false;
    };
    if socket.send(Message::Binary(first.into())).await.is_err() {
        return false;
    }
    let answered = match socket.next().await {
        Some(Ok(Message::Binary(answer))) => {
            matches!(initiator.receive(&answer), Ok(LinkStep::Established { .. }))
        }
        _ => false,
    };
    let _ = socket.close(None).await;
    answered
}
