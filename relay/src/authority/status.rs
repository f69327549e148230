//! What an authority shows of the network to operators: `GET /directory/status`.

use std::sync::{Arc, PoisonError};

use allium_shared::netdir::Consensus;
use allium_shared::time::{Instant, Now};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use super::Office;
use super::clocks::Difference;

/// Where an authority shows the network as it sees it.
pub const STATUS_PATH: &str = "/directory/status";

/// The network as one authority sees it. Nothing in it is about those who use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkStatus {
    /// The authority that says so.
    pub nickname: String,
    /// The network's id, in hexadecimal.
    pub network: String,
    /// How many authorities have to sign.
    pub quorum: usize,
    /// The authority's clock, in seconds since 1970.
    pub now: u64,
    /// How long a period of the voting is, in seconds.
    pub voting_interval: u64,
    /// All authorities.
    pub authorities: Vec<AuthorityStatus>,
    /// The newest consensus, if there is one.
    pub consensus: Option<ConsensusStatus>,
    /// All relays that the authority knows, by their nicknames.
    pub relays: Vec<RelayStatus>,
    /// Authorities that were caught signing two different things.
    pub misconduct: Vec<MisconductStatus>,
}

/// One authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityStatus {
    /// Its name.
    pub nickname: String,
    /// Its key, in hexadecimal.
    pub key: String,
    /// Where it is, by its own last vote that counted.
    pub url: String,
    /// Whether its vote counted for the newest consensus, or an earlier one.
    pub listed: bool,
    /// Whether it has signed the newest consensus.
    pub signed: bool,
    /// How many milliseconds its clock was ahead of this authority's when it told the time last; less than nothing if it was
    /// behind. The authority that says all this has none, nor has one that has not answered yet.
    pub clock_ahead_ms: Option<i64>,
    /// Whether that is more than the voting stands.
    pub clock_wrong: bool,
}

/// The newest consensus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsensusStatus {
    /// Its digest, in hexadecimal.
    pub digest: String,
    /// When it begins to count, in seconds since 1970.
    pub valid_after: u64,
    /// When there should be a newer one.
    pub fresh_until: u64,
    /// When it ends to count.
    pub valid_until: u64,
    /// How many relays it lists.
    pub relays: usize,
    /// How many authorities have signed it, as far as this one knows.
    pub signatures: usize,
    /// How many authorities had a part in its shared random value.
    pub random_contributions: u8,
}

/// One relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayStatus {
    /// Its name.
    pub nickname: String,
    /// Its identity, in hexadecimal.
    pub identity: String,
    /// Where it takes links.
    pub url: String,
    /// Whether the newest consensus lists it.
    pub listed: bool,
    /// Whether it answers this authority's probes.
    pub runs: bool,
    /// What it may be used for: by the consensus where it is listed, else what this authority would vote.
    pub roles: Vec<String>,
    /// Its weight, likewise.
    pub weight: u32,
    /// How many of a hundred of this authority's probes it has answered lately.
    pub health: u8,
    /// Seconds since the last probe.
    pub last_probe: Option<u64>,
    /// Seconds since the last probe that it has answered.
    pub last_answer: Option<u64>,
    /// Since when the authority has known it, in seconds since 1970.
    pub since: u64,
    /// For how long it had been running when it published last, in seconds.
    pub uptime: u64,
    /// What it runs.
    pub version: String,
    /// Its family's key, in hexadecimal.
    pub family: Option<String>,
}

/// One proof against an authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MisconductStatus {
    /// The authority's name, or its key where it has none here.
    pub authority: String,
    /// What it has signed twice.
    pub twice: String,
    /// For which period, in seconds since 1970.
    pub valid_after: u64,
}

/// `GET /directory/status`.
pub(super) fn router(office: &Arc<Office>) -> Router {
    Router::new().route(STATUS_PATH, get(status)).with_state(Arc::clone(office))
}

async fn status(State(office): State<Arc<Office>>) -> Response {
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    ];
    (headers, Json(office.status().await)).into_response()
}

impl Office {
    async fn status(&self) -> NetworkStatus {
        let now = self.clock.now();
        let consensus = self.directory.current();
        let desk = self.desk.lock().await;
        let misconduct = desk.voting.proofs().iter().map(|proof| MisconductStatus {
            authority: self.name(&proof.authority),
            twice: proof.twice.as_str().to_owned(),
            valid_after: proof.valid_after,
        });
        let mut relays: Vec<_> =
            desk.registry.report(now).map(|report| relay(&report, consensus.as_deref(), now)).collect();
        relays.sort_by(|a, b| a.nickname.cmp(&b.nickname));
        NetworkStatus {
            nickname: self.config.nickname.to_string(),
            network: self.authorities.network().to_string(),
            quorum: self.authorities.quorum(),
            now: now.unix.as_secs(),
            voting_interval: self.config.voting_interval.as_secs(),
            authorities: self.authorities(consensus.as_deref()),
            misconduct: misconduct.collect(),
            relays,
            consensus: consensus.as_deref().map(|consensus| {
                let validity = consensus.validity();
                ConsensusStatus {
                    digest: consensus.digest().to_string(),
                    valid_after: validity.valid_after,
                    fresh_until: validity.fresh_until,
                    valid_until: validity.valid_until,
                    relays: consensus.relays().len(),
                    signatures: consensus.signers().len(),
                    random_contributions: consensus.random().contributions,
                }
            }),
        }
    }

    fn authorities(&self, consensus: Option<&Consensus>) -> Vec<AuthorityStatus> {
        let clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        let status = |authority: &allium_shared::netdir::Authority| {
            let clock = clocks.of(&authority.key);
            let listed = consensus.and_then(|consensus| consensus.authority(&authority.key));
            AuthorityStatus {
                nickname: authority.nickname.to_string(),
                key: authority.key.to_hex(),
                url: listed.map_or_else(|| authority.url.clone(), |listed| listed.url.clone()),
                listed: listed.is_some(),
                signed: consensus.is_some_and(|consensus| consensus.signers().contains(&authority.key)),
                clock_ahead_ms: clock.map(|clock| clock.reading.ahead_ms),
                clock_wrong: clock.is_some_and(|clock| clock.difference == Difference::TooLarge),
            }
        };
        self.authorities.iter().map(status).collect()
    }
}

fn relay(report: &allium_shared::netdir::RelayReport<'_>, consensus: Option<&Consensus>, now: Now) -> RelayStatus {
    let entry = &report.descriptor.entry;
    let listed = consensus.and_then(|consensus| consensus.relay(&entry.identity));
    let roles = listed.map_or(report.roles, |listed| listed.roles);
    let ago = |at: Option<Instant>| at.map(|at| now.instant.saturating_since(at).as_secs());
    RelayStatus {
        nickname: entry.nickname.to_string(),
        identity: entry.identity.to_hex(),
        url: entry.url.to_string(),
        listed: listed.is_some(),
        runs: report.runs,
        roles: roles.iter().map(|role| role.to_string()).collect(),
        weight: listed.unwrap_or(entry).weight,
        health: report.health,
        last_probe: ago(report.probed.0),
        last_answer: ago(report.probed.1),
        since: report.since,
        uptime: report.descriptor.uptime,
        version: entry.version.as_str().to_owned(),
        family: entry.family.map(|family| family.to_hex()),
    }
}
