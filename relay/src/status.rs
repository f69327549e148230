//! `allium status`: the network as an authority sees it, as a table for operators.

// What stands before arguments is their help text too, where an address has no brackets.
#![allow(rustdoc::bare_urls)]

use core::fmt::Write as _;

use clap::Args;
use thiserror::Error;

use crate::authority::status::{AuthorityStatus, NetworkStatus, RelayStatus, STATUS_PATH};
use crate::config::{self, ConfigError};
use crate::directory::trust::{self, TrustError};
use crate::http::client::{self, HttpError};

/// The longest answer that is read: 10,000 relays, with everything that is said of each.
const MAX_STATUS_LEN: usize = 16 * 1024 * 1024;

/// What is to be shown.
#[derive(Args, Clone, Debug)]
pub struct StatusOptions {
    /// An authority's address, or that of any node of its network, such as http://127.0.0.1:7000
    #[arg(value_name = "URL")]
    pub url: String,
    /// Print everything as JSON
    #[arg(long)]
    pub json: bool,
}

/// Why there is nothing to show.
#[derive(Debug, Error)]
pub enum StatusError {
    /// The address is none.
    #[error(transparent)]
    Url(#[from] ConfigError),
    /// No authority can be found.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// None of them answers.
    #[error("no authority of the network answers; the last one that was asked, {url}: {source}")]
    Fetch {
        /// Where.
        url: String,
        /// Why not.
        source: HttpError,
    },
    /// It answers something else.
    #[error("the authority at {url} does not say how the network is: {source}")]
    Answer {
        /// Where.
        url: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// Asks the node at the address, or else an authority that it names, and gives what is to be printed.
///
/// # Errors
///
/// If no authority answers.
pub async fn run(options: StatusOptions) -> Result<String, StatusError> {
    let url = config::directory_url(&options.url)?;
    let status = match fetch(&url).await {
        Ok(status) => status,
        // A relay or a front has no such document, or a page in its place; but it knows who the authorities are.
        Err(_) => from_authorities(&url).await?,
    };
    if options.json {
        // Text, numbers and lists always have a JSON form.
        return Ok(serde_json::to_string_pretty(&status).unwrap_or_default());
    }
    Ok(table(&status))
}

async fn fetch(url: &str) -> Result<NetworkStatus, StatusError> {
    let fetched = client::get(&format!("{url}{STATUS_PATH}"), None, MAX_STATUS_LEN)
        .await
        .map_err(|source| StatusError::Fetch { url: url.to_owned(), source })?;
    serde_json::from_slice(&fetched.body.unwrap_or_default())
        .map_err(|source| StatusError::Answer { url: url.to_owned(), source })
}

async fn from_authorities(url: &str) -> Result<NetworkStatus, StatusError> {
    let mut failed = StatusError::Trust(TrustError::NoDirectory);
    for authority in trust::fetch(url).await?.iter() {
        match fetch(&authority.url).await {
            Ok(status) => return Ok(status),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Everything as people read it.
fn table(status: &NetworkStatus) -> String {
    let mut text = String::new();
    // Writing to a string never fails.
    let _ = writeln!(text, "Network {}, as {} sees it", status.network, status.nickname);
    match &status.consensus {
        None => text.push_str("There is no consensus yet.\n"),
        Some(consensus) => {
            let (now, digest) = (status.now, consensus.digest.get(..16).unwrap_or(&consensus.digest));
            let freshness = match consensus.fresh_until.checked_sub(now) {
                Some(left) if left > 0 => format!("the next is due in {}", span(left)),
                _ => format!("the next is overdue by {}", span(now.saturating_sub(consensus.fresh_until))),
            };
            let end = match consensus.valid_until.checked_sub(now) {
                Some(left) => format!("it counts for another {}", span(left)),
                None => format!("it RAN OUT {} ago", span(now - consensus.valid_until)),
            };
            let _ = writeln!(
                text,
                "Consensus {digest}: {} relays, signed by {} of {} authorities ({} have to); {freshness}, {end}",
                consensus.relays,
                consensus.signatures,
                status.authorities.len(),
                status.quorum,
            );
        }
    }
    text.push('\n');
    let authorities = status.authorities.iter().map(|authority| {
        let vote = if authority.listed { "votes" } else { "NO VOTE" };
        let signature = if authority.signed { "signed" } else { "NOT SIGNED" };
        [authority.nickname.clone(), vote.to_owned(), signature.to_owned(), clock(authority), authority.url.clone()]
    });
    columns(&mut text, ["AUTHORITY", "VOTE", "CONSENSUS", "CLOCK", "ADDRESS"], authorities);
    for proof in &status.misconduct {
        let _ = writeln!(
            text,
            "CAUGHT: {} has signed {} ({} s after 1970)",
            proof.authority, proof.twice, proof.valid_after
        );
    }
    text.push('\n');
    columns(
        &mut text,
        ["RELAY", "LISTED", "RUNS", "ROLES", "WEIGHT", "HEALTH", "LAST PROBE", "UP", "RUNNING", "ADDRESS"],
        status.relays.iter().map(relay),
    );
    text
}

/// How far an authority's clock is off that of the one that was asked, whose own is the measure.
fn clock(authority: &AuthorityStatus) -> String {
    match authority.clock_ahead_ms {
        None => "-".to_owned(),
        Some(ahead) => {
            let millis = ahead.unsigned_abs();
            let sign = if ahead < 0 { '-' } else { '+' };
            let wrong = if authority.clock_wrong { " WRONG" } else { "" };
            format!("{sign}{}.{:03} s{wrong}", millis / 1000, millis % 1000)
        }
    }
}

fn relay(relay: &RelayStatus) -> [String; 10] {
    let yes = |yes: bool| if yes { "yes" } else { "NO" }.to_owned();
    let probe = match (relay.last_probe, relay.last_answer) {
        (None, _) => "never".to_owned(),
        (Some(_), None) => "never answered".to_owned(),
        (Some(probe), Some(answer)) if answer <= probe => format!("{} ago", span(probe)),
        (Some(_), Some(answer)) => format!("answered {} ago", span(answer)),
    };
    [
        relay.nickname.clone(),
        yes(relay.listed),
        yes(relay.runs),
        relay.roles.join(","),
        relay.weight.to_string(),
        format!("{} %", relay.health),
        probe,
        span(relay.uptime),
        relay.version.clone(),
        relay.url.clone(),
    ]
}

/// Rows under their titles, each column as wide as its widest field.
fn columns<const N: usize>(text: &mut String, titles: [&str; N], rows: impl Iterator<Item = [String; N]>) {
    let rows: Vec<[String; N]> = core::iter::once(titles.map(str::to_owned)).chain(rows).collect();
    let widths: Vec<usize> = (0..N)
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(|field| field.chars().count()).max().unwrap_or(0))
        .collect();
    for row in rows {
        let mut line = String::new();
        for (field, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{field:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// A span of time in its two largest units.
fn span(secs: u64) -> String {
    match (secs / 86_400, secs / 3600 % 24, secs / 60 % 60, secs % 60) {
        (0, 0, 0, secs) => format!("{secs} s"),
        (0, 0, minutes, secs) => format!("{minutes} min {secs} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::status::{ConsensusStatus, MisconductStatus};

    fn status() -> NetworkStatus {
        let authority = |nickname: &str, signed| AuthorityStatus {
            nickname: nickname.to_owned(),
            key: "00".repeat(32),
            url: format!("http://{nickname}.example:7000"),
            listed: signed,
            signed,
            clock_ahead_ms: match nickname {
                "first" => None,
                "second" => Some(12),
                _ => Some(-7204),
            },
            clock_wrong: nickname == "third",
        };
        let relay = |nickname: &str, runs| RelayStatus {
            nickname: nickname.to_owned(),
            identity: "11".repeat(32),
            url: "ws://192.0.2.10:7100/link".to_owned(),
            listed: runs,
            runs,
            roles: vec!["guard".to_owned(), "middle".to_owned()],
            weight: 100,
            health: if runs { 99 } else { 12 },
            last_probe: Some(3),
            last_answer: Some(if runs { 3 } else { 90_000 }),
            since: 0,
            uptime: 7300,
            version: "allium 0.1.0".to_owned(),
            family: None,
        };
        NetworkStatus {
            nickname: "first".to_owned(),
            network: "ab".repeat(32),
            quorum: 2,
            now: 10_000,
            voting_interval: 900,
            authorities: vec![authority("first", true), authority("second", true), authority("third", false)],
            consensus: Some(ConsensusStatus {
                digest: "cd".repeat(32),
                valid_after: 9900,
                fresh_until: 10_800,
                valid_until: 20_700,
                relays: 1,
                signatures: 2,
                random_contributions: 3,
            }),
            relays: vec![relay("alpha", true), relay("beta", false)],
            misconduct: Vec::new(),
        }
    }

    #[test]
    fn the_table_says_what_is_wrong() {
        let mut status = status();
        let text = table(&status);
        for part in [
            "1 relays, signed by 2 of 3 authorities (2 have to)",
            "the next is due in 13 min 20 s, it counts for another 2 h 58 min",
            "first      votes    signed      -               http://first.example:7000",
            "second     votes    signed      +0.012 s        http://second.example:7000",
            "third      NO VOTE  NOT SIGNED  -7.204 s WRONG  http://third.example:7000",
            "alpha  yes     yes   guard,middle  100     99 %    3 s ago",
            "beta   NO      NO    guard,middle  100     12 %    answered 1 d 1 h ago",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
        assert!(!text.contains("CAUGHT") && !text.lines().any(|line| line.ends_with(' ')));
        status.now = 30_000;
        let twice = "two votes for one period".to_owned();
        status.misconduct.push(MisconductStatus { authority: "third".to_owned(), twice, valid_after: 9900 });
        let text = table(&status);
        assert!(text.contains("the next is overdue by 5 h 20 min, it RAN OUT 2 h 35 min ago"), "{text}");
        assert!(text.contains("CAUGHT: third has signed two votes for one period (9900 s after 1970)"), "{text}");
        status.consensus = None;
        assert!(table(&status).contains("There is no consensus yet."));
    }
}
