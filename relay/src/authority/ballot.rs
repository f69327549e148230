//! Drives the voting: asks the other authorities, stores what must be stored, and shows the documents.

use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use allium_shared::netdir::{
    AuthorityIdentity, Document, MAX_ECHOES_LEN, MAX_SIGNATURES_LEN, MAX_VOTE_LEN, Refusal, VoteDigest, VotingEvent,
    VotingOutput,
};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use data_encoding::HEXLOWER_PERMISSIVE;
use tokio::sync::MutexGuard;

use super::clocks::Difference;
use super::{Desk, Office, VOTING, store};
use crate::files;
use crate::http::client::{self, ClockReading};
use crate::metrics::authority::{DocumentResult, PeriodResult};
use crate::shutdown::Shutdown;

/// How long a disk that takes nothing is waited for before it is tried again.
const DISK_PAUSE: Duration = Duration::from_secs(1);

/// The longest that one request for a document may take.
const MAX_FETCH_TIME: Duration = Duration::from_secs(60);

/// The documents of the voting and the proofs against authorities, for the others and for whoever wants to look.
pub(super) fn router(office: &Arc<Office>) -> Router {
    Router::new()
        .route("/directory/echoes/{valid_after}", get(echoes))
        .route("/directory/vote/{valid_after}/{digest}", get(vote))
        .route("/directory/signatures/{valid_after}", get(signatures))
        .route("/directory/misconduct", get(misconduct))
        .layer(middleware::map_response_with_state(Arc::clone(office), with_time))
        .with_state(Arc::clone(office))
}

/// Tells the time with each answer, also where there is no such document: that is how the others notice a clock that is wrong.
async fn with_time(State(office): State<Arc<Office>>, mut response: Response) -> Response {
    response.headers_mut().insert(client::TIME_HEADER, office.clock.now().unix.as_millis().into());
    response
}

async fn echoes(State(office): State<Arc<Office>>, Path(valid_after): Path<u64>) -> Response {
    show(&office, Document::Echoes(valid_after)).await
}

async fn signatures(State(office): State<Arc<Office>>, Path(valid_after): Path<u64>) -> Response {
    show(&office, Document::Signatures(valid_after)).await
}

async fn vote(State(office): State<Arc<Office>>, Path((valid_after, digest)): Path<(u64, String)>) -> Response {
    let bytes = HEXLOWER_PERMISSIVE.decode(digest.as_bytes()).ok();
    match bytes.and_then(|bytes| bytes.try_into().ok()) {
        Some(digest) => show(&office, Document::Vote(valid_after, VoteDigest::from_bytes(digest))).await,
        None => (StatusCode::BAD_REQUEST, "a digest has 64 hexadecimal digits").into_response(),
    }
}

async fn show(office: &Office, document: Document) -> Response {
    let Some(bytes) = office.desk.lock().await.voting.document(&document) else {
        return (StatusCode::NOT_FOUND, "there is no such document, or no more").into_response();
    };
    binary(Bytes::from_owner(bytes))
}

async fn misconduct(State(office): State<Arc<Office>>) -> Response {
    let proofs = office.desk.lock().await.voting.proofs().encode(office.authorities.network());
    binary(proofs.into())
}

fn binary(bytes: Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, Body::from(bytes)).into_response()
}

/// Votes until the end.
pub(super) async fn run(office: Arc<Office>, mut shutdown: Shutdown) {
    let mut consensuses = office.directory.subscribe();
    loop {
        let wake = {
            let mut desk = office.desk.lock().await;
            if let Some(consensus) = consensuses.borrow_and_update().clone() {
                desk.voting.handle_consensus(&consensus);
            }
            let now = office.clock.now();
            let Desk { registry, voting, rng, .. } = &mut *desk;
            voting.handle_timeout(now, registry, rng);
            let wake = voting.poll_timeout();
            carry_out(&office, desk).await;
            tokio::time::Instant::from_std(office.clock.to_system(wake))
        };
        let waited = shutdown.unless(async {
            tokio::select! {
                () = tokio::time::sleep_until(wake) => {}
                () = office.wake.notified() => {}
                changed = consensuses.changed() => if changed.is_err() { std::future::pending().await },
            }
        });
        if waited.await.is_none() {
            return;
        }
    }
}

/// Does what the voting wants done, in its order; nobody is shown anything meanwhile.
async fn carry_out(office: &Arc<Office>, mut desk: MutexGuard<'_, Desk>) {
    let (mut published, mut first) = (Vec::new(), false);
    while let Some(output) = desk.voting.poll_output() {
        match output {
            VotingOutput::Fetch(from, document) => {
                if desk.asking.insert((from, document)) {
                    tokio::spawn(ask(Arc::clone(office), from, document));
                }
            }
            VotingOutput::Persist(bytes) => persist(office, &bytes).await,
            VotingOutput::Publish(consensus) => published.push(consensus),
            VotingOutput::Event(event) => {
                first |= matches!(event, VotingEvent::Published { .. });
                report(office, &event);
            }
        }
    }
    // Once a period: what comes after that is more signatures on the same.
    let registry = first.then(|| {
        learn(office, &mut desk);
        desk.registry.save()
    });
    drop(desk);
    for consensus in published {
        office.directory.take(consensus).await;
    }
    if let Some(registry) = registry {
        store(office, registry).await;
    }
}

/// Relays that have not reached this authority may have reached another.
fn learn(office: &Office, desk: &mut Desk) {
    let now = office.clock.now();
    for vote in desk.voting.heard_votes() {
        for relay in &vote.vote().relays {
            if !desk.registry.holds(&relay.descriptor.entry.identity, &relay.bytes) {
                // What is older or in the way of another relay is not taken, which is as it should be.
                let _ = desk.registry.publish(now, &relay.bytes);
            }
        }
    }
}

/// Puts the voting's state on disk, for as long as it takes: without it an authority might sign two things after a crash.
async fn persist(office: &Office, bytes: &[u8]) {
    let path = office.config.data.join(VOTING);
    loop {
        let (path, bytes) = (path.clone(), bytes.to_vec());
        match tokio::task::spawn_blocking(move || files::write_atomic(&path, &bytes)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::error!(%error, "cannot store for what was voted; voting waits"),
            Err(error) => tracing::error!(%error, "cannot store for what was voted; voting waits"),
        }
        tokio::time::sleep(DISK_PAUSE).await;
    }
}

/// Asks another authority for a document, at the address that it has voted for last, else at the configured one.
///
/// Boxed, because what comes of it may be to ask again.
fn ask(office: Arc<Office>, from: AuthorityIdentity, document: Document) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move { asked(&office, from, document).await })
}

async fn asked(office: &Arc<Office>, from: AuthorityIdentity, document: Document) {
    let (path, max) = match document {
        Document::Echoes(at) => (format!("/directory/echoes/{at}"), MAX_ECHOES_LEN),
        Document::Vote(at, digest) => (format!("/directory/vote/{at}/{digest}"), MAX_VOTE_LEN),
        Document::Signatures(at) => (format!("/directory/signatures/{at}"), MAX_SIGNATURES_LEN),
    };
    let time = MAX_FETCH_TIME.min(office.config.voting_phase);
    let (mut shown, mut clock) = (None, None);
    for url in office.directory.authority_urls(&from) {
        match client::get_within(&format!("{url}{path}"), None, max, time).await {
            Ok(fetched) => {
                (shown, clock) = (fetched.body, fetched.clock.or(clock));
                break;
            }
            Err(error) => {
                clock = error.clock().or(clock);
                tracing::debug!(authority = %from, %error, "an authority does not show a document");
            }
        }
    }
    if let Some(reading) = clock {
        compare_clocks(office, &from, reading);
    }
    let mut desk = office.desk.lock().await;
    desk.asking.remove(&(from, document));
    if let Some(bytes) = shown {
        let Desk { registry, voting, .. } = &mut *desk;
        voting.handle_document(office.clock.now(), from, &document, &bytes, registry);
        carry_out(office, desk).await;
        office.wake.notify_one();
    }
}

/// Notes what another authority's clock says, and tells the operator once where it is wrong or right again.
///
/// No more comes of it: nothing signs what it says, and which of the two clocks is wrong it does not tell.
fn compare_clocks(office: &Office, other: &AuthorityIdentity, reading: ClockReading) {
    let mut clocks = office.clocks.lock().unwrap_or_else(PoisonError::into_inner);
    let change = clocks.note(*other, reading);
    office.metrics.clocks(clocks.wrong(), clocks.largest_ms());
    drop(clocks);
    let (authority, ahead_ms) = (office.name(other), reading.ahead_ms);
    match change {
        None => {}
        Some(Difference::TooLarge) => tracing::warn!(
            authority,
            ahead_ms,
            "the clock of an authority and this one's differ by more than half a phase: set both by NTP, or there may be no \
             consensus"
        ),
        Some(Difference::Allowed) => tracing::info!(authority, ahead_ms, "the clock of an authority is right again"),
    }
}

/// Says what an operator should know.
fn report(office: &Office, event: &VotingEvent) {
    let name = |key: &AuthorityIdentity| office.name(key);
    let metrics = &office.metrics;
    match event {
        VotingEvent::Voted { valid_after, relays } => tracing::info!(valid_after, relays, "voted"),
        VotingEvent::Heard(authority) => {
            metrics.document(DocumentResult::Vote);
            tracing::debug!(authority = name(authority), "heard a vote");
        }
        VotingEvent::Refused(authority, refusal) => {
            metrics.document(match refusal {
                Refusal::Vote(_) => DocumentResult::BadVote,
                Refusal::Echoes(_) => DocumentResult::BadEchoes,
                Refusal::Signatures(_) => DocumentResult::BadSignatures,
            });
            tracing::warn!(authority = name(authority), error = %refusal, "an authority shows what does not count");
        }
        VotingEvent::Caught(proof) => {
            metrics.equivocation();
            tracing::error!(
                authority = name(&proof.authority),
                key = proof.authority.to_hex(),
                valid_after = proof.valid_after,
                "an authority has signed {}: the proof is at /directory/misconduct; tell the other operators",
                proof.twice.as_str()
            );
        }
        VotingEvent::Counted { valid_after, votes, relays } => {
            tracing::info!(valid_after, votes, relays, "counted the votes and signed the consensus");
        }
        VotingEvent::Published { valid_after, signatures } => {
            metrics.period(PeriodResult::Published);
            tracing::info!(valid_after, signatures, "the consensus is signed by enough authorities");
        }
        VotingEvent::NotCounted(error) => {
            metrics.period(PeriodResult::NotCounted);
            tracing::warn!(%error, "there is no consensus this time");
        }
        VotingEvent::Differs(authority) => {
            metrics.differs();
            tracing::error!(authority = name(authority), "an authority has computed another consensus from the votes");
        }
        VotingEvent::Unsigned { signed, quorum } => {
            metrics.period(PeriodResult::Unsigned);
            tracing::warn!(signed, quorum, "too few authorities have signed the consensus");
        }
    }
}
