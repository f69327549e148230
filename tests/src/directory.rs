//! What nodes show of the network: consensuses, proofs against authorities, numbers, and what an authority knows.
//!
//! A [`Record`] is the memory of one who looks at several nodes again and again and believes none: wherever two of them show
//! different consensuses of one period, the test has failed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use allium_shared::netdir::{Authorities, Consensus, ConsensusDigest, MAX_CONSENSUS_LEN, MAX_PROOFS_LEN, Proofs};
use serde_json::Value;

use crate::peer;
use crate::wait::{self, Deadline};

/// How long a node may take to answer: one that is frozen does not.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How long the network may take to get where it should be; what is promised in periods is counted by consensuses.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The document at this address, if there is an answer.
pub fn get(url: &str) -> Option<Vec<u8>> {
    let mut answer = ureq::get(url).config().timeout_global(Some(ANSWER_WITHIN)).build().call().ok()?;
    answer.body_mut().with_config().limit(MAX_CONSENSUS_LEN as u64).read_to_vec().ok()
}

/// Posts a document; gives the status of the answer.
#[track_caller]
pub fn post(url: &str, body: &[u8]) -> u16 {
    let request = ureq::post(url).config().timeout_global(Some(PATIENCE)).http_status_as_error(false).build();
    request.send(body).unwrap_or_else(|error| panic!("{url}: {error}")).status().as_u16()
}

/// The authorities that the node at `url` names.
#[track_caller]
pub fn authorities(url: &str) -> Authorities {
    let json = get(&format!("{}/directory/authorities", url.trim_end_matches('/')));
    Authorities::from_json(&json.unwrap_or_else(|| panic!("{url} does not answer"))).expect("a list of authorities")
}

/// The numbers that a node gives at its admin address, by their names and labels.
#[track_caller]
pub fn numbers(admin: &str) -> BTreeMap<String, u64> {
    let page = get(&format!("{admin}/metrics")).unwrap_or_else(|| panic!("{admin} does not answer"));
    let page = String::from_utf8(page).expect("metrics are text");
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let sample =
        |line: &str| line.rsplit_once(' ').and_then(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
    samples.filter_map(sample).collect()
}

/// The nicknames of the relays in a consensus.
pub fn names(consensus: &Consensus) -> BTreeSet<String> {
    consensus.relays().iter().map(|relay| relay.nickname.to_string()).collect()
}

/// All consensuses that some nodes were seen to hold, by their periods.
#[derive(Clone, Debug)]
pub struct Record {
    authorities: Authorities,
    seen: BTreeMap<u64, (ConsensusDigest, String)>,
}

impl Record {
    /// An empty record of this network.
    pub const fn new(authorities: Authorities) -> Self {
        Self { authorities, seen: BTreeMap::new() }
    }

    /// The authorities.
    pub const fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    /// The consensus that the node at `url` holds, if it answers and has one. One that does not count, or that is not the
    /// one that was seen of its period before, fails the test.
    #[track_caller]
    pub fn held(&mut self, url: &str) -> Option<Consensus> {
        let url = url.trim_end_matches('/');
        let bytes = get(&format!("{url}/directory/consensus"))?;
        let consensus = Consensus::verify(&bytes, &self.authorities, peer::now())
            .unwrap_or_else(|error| panic!("{url} shows what does not count: {error}"));
        let at = consensus.validity().valid_after;
        let (digest, first) = self.seen.entry(at).or_insert_with(|| (consensus.digest(), url.to_owned()));
        assert_eq!(*digest, consensus.digest(), "{url} and {first} show different consensuses of the period {at}");
        Some(consensus)
    }

    /// Waits until the nodes at all these addresses hold one and the same consensus that `such` likes, and gives it.
    #[track_caller]
    pub fn await_all<'a>(
        &mut self,
        urls: impl IntoIterator<Item = &'a String>,
        what: &str,
        such: impl Fn(&Consensus) -> bool,
    ) -> Consensus {
        let urls: Vec<&String> = urls.into_iter().collect();
        wait::until(PATIENCE, &format!("{what} at {urls:?}"), || {
            let held: Option<Vec<Consensus>> = urls.iter().map(|url| self.held(url).filter(&such)).collect();
            let held = held?;
            held.iter().all(|one| one.digest() == held[0].digest()).then(|| held[0].clone())
        })
    }

    /// Waits until all hold a consensus of a period that begins at `moment` or later.
    #[track_caller]
    pub fn await_period<'a>(&mut self, urls: impl IntoIterator<Item = &'a String>, moment: u64) -> Consensus {
        let what = format!("a consensus of {moment} s after 1970 or later");
        self.await_all(urls, &what, |consensus| consensus.validity().valid_after >= moment)
    }

    /// Watches the node at `url` until it holds a consensus of a period that begins at `moment` or later, and gives the first
    /// one that it was seen to hold.
    #[track_caller]
    pub fn first_since(&mut self, url: &str, moment: u64) -> Consensus {
        self.await_period([&url.to_owned()], moment)
    }

    /// The newest period of which a consensus was seen.
    pub fn newest(&self) -> u64 {
        self.seen.last_key_value().map_or(0, |(at, _)| *at)
    }

    /// The proofs that the authority at `url` shows, checked.
    #[track_caller]
    pub fn proofs(&self, url: &str) -> Proofs {
        let url = format!("{}/directory/misconduct", url.trim_end_matches('/'));
        let bytes = get(&url).unwrap_or_else(|| panic!("{url} does not answer"));
        assert!(bytes.len() <= MAX_PROOFS_LEN);
        Proofs::verify(&bytes, &self.authorities).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    /// Checks that the authority at `url` has nothing against anybody.
    #[track_caller]
    pub fn assert_no_misconduct(&self, url: &str) {
        assert_eq!(self.proofs(url).iter().next(), None, "{url} accuses an authority");
    }
}

/// What the authority at `url` knows of the relay of this name: an entry of its status.
pub fn known(url: &str, nickname: &str) -> Option<Value> {
    let status: Value =
        serde_json::from_slice(&get(&format!("{}/directory/status", url.trim_end_matches('/')))?).ok()?;
    status["relays"].as_array()?.iter().find(|relay| relay["nickname"] == nickname).cloned()
}

/// Waits until all authorities at these addresses know the relay of this name, and gives the moment, in seconds since 1970.
#[track_caller]
pub fn await_known<'a>(urls: impl IntoIterator<Item = &'a String>, nickname: &str) -> u64 {
    let deadline = Deadline::after(PATIENCE);
    for url in urls {
        wait::until(deadline.left(), &format!("{nickname} at {url}"), || known(url, nickname));
    }
    peer::now().as_secs()
}
