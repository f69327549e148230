//! The list of relays for a tab whose turn it is not: fetched and checked by this tab itself, without an engine.

use std::convert::Infallible;
use std::time::Duration;

use allium_shared::client::api::{CONSENSUS_PATH, network_events};
use allium_shared::netdir::{Authorities, Consensus, ConsensusDigest};
use allium_shared::time::UnixTime;
use gloo_timers::future::TimeoutFuture;
use yew::Callback;

use super::{Notice, tell_events};
use crate::directory;

/// The pause before the list is fetched again: at least, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(600));

/// Tells of the list, now and whenever there is a new one, until it is dropped.
pub(super) async fn look(tell: &Callback<Notice>) -> Infallible {
    let mut told: Option<ConsensusDigest> = None;
    loop {
        let pause = match fetch().await {
            Ok((consensus, authorities)) => {
                if told.replace(consensus.digest()) != Some(consensus.digest()) {
                    tell_events(network_events(&consensus, &authorities), tell);
                }
                let fresh = Duration::from_secs(consensus.validity().fresh_until);
                fresh.saturating_sub(Duration::from_millis(now().as_millis())).clamp(PAUSE.0, PAUSE.1)
            }
            Err(problem) => {
                tell.emit(Notice::DirectoryTrouble(problem));
                PAUSE.0
            }
        };
        TimeoutFuture::new(u32::try_from(pause.as_millis()).unwrap_or(u32::MAX)).await;
    }
}

/// The list from the server of the page, checked as the engine does it.
async fn fetch() -> Result<(Consensus, Authorities), String> {
    let authorities = directory::fetch(directory::AUTHORITIES).await?;
    let authorities = Authorities::from_json(&authorities).map_err(|error| error.to_string())?;
    let consensus = directory::fetch(CONSENSUS_PATH).await?;
    let consensus = Consensus::verify(&consensus, &authorities, now()).map_err(|error| error.to_string())?;
    Ok((consensus, authorities))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates, and so it should")]
fn now() -> UnixTime {
    UnixTime::from_millis(js_sys::Date::now() as u64)
}
