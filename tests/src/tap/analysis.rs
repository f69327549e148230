//! All that can be said against a set of recordings.

use std::fmt;

use super::link::{self, Connection, Initiator, Link, NoLink};
use super::proxy::Recording;
use super::secrets::Secrets;
use super::statistics::{Statistics, Structure};
use super::websocket::{self, Side};

/// How many findings a failed test shows.
const SHOWN: usize = 20;

/// Something that should not be there.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// A secret, in the named recording.
    Secret(String, String),
    /// The named recording is no link as it should be.
    NoLink(String, NoLink),
    /// The records, taken together, are no noise.
    Structure(Structure),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(recording, secret) => write!(f, "{recording}: {secret}"),
            Self::NoLink(recording, error) => write!(f, "{recording}: {error}"),
            Self::Structure(structure) => write!(f, "all records: {structure:?}"),
        }
    }
}

/// What a tap has to say.
#[derive(Debug, Default)]
pub struct Account {
    /// What should not be there.
    pub findings: Vec<Finding>,
    /// The links, with the relays that they go to and the processes that opened them.
    pub links: Vec<(String, Option<u32>, Link)>,
    /// How many cells were in their records.
    pub cells: usize,
    /// How many bytes were looked at.
    pub bytes: usize,
}

impl Account {
    /// Checks that there is nothing that should not be there.
    #[track_caller]
    pub fn assert_clean(&self) {
        let shown: Vec<String> = self.findings.iter().take(SHOWN).map(|finding| format!("  {finding}")).collect();
        assert!(self.findings.is_empty(), "the tap has {} findings:\n{}", self.findings.len(), shown.join("\n"));
    }

    /// The links that clients have opened.
    pub fn client_links(&self) -> impl Iterator<Item = &(String, Option<u32>, Link)> {
        self.links.iter().filter(|(_, _, link)| link.initiator == Initiator::Anonymous)
    }
}

/// Looks at everything that was recorded.
pub fn analyse(recordings: &[Recording], secrets: &Secrets) -> Account {
    let mut account = Account::default();
    let mut statistics = Statistics::default();
    for recording in recordings {
        let name = recording.name();
        for bytes in readings(recording) {
            account.bytes += bytes.len();
            let found = secrets.found_in(&bytes);
            account.findings.extend(found.into_iter().map(|secret| Finding::Secret(name.clone(), secret)));
        }
        match link::read(recording) {
            Ok(Connection::Link(link)) => {
                for (way, records) in [("to", &link.to_relay), ("from", &link.from_relay)] {
                    for (number, record) in records.iter().enumerate() {
                        statistics.add(&format!("record {number} {way} {name}"), record);
                    }
                }
                account.links.push((recording.relay.clone(), recording.initiator, link));
            }
            Ok(Connection::Http | Connection::Silent) => {}
            Err(error) => account.findings.push(Finding::NoLink(name, error)),
        }
    }
    account.cells = statistics.cells();
    account.findings.extend(statistics.structures().into_iter().map(Finding::Structure));
    account
}

/// All ways to read the bytes of a recording: as they are, and as WebSocket messages without masks and frames.
fn readings(recording: &Recording) -> Vec<Vec<u8>> {
    let (to, from) = (&recording.to_relay, &recording.from_relay);
    let mut readings = vec![to.clone(), from.clone()];
    for (side, bytes) in [(Side::Client, to), (Side::Server, from)] {
        if let Ok(read) = websocket::read(side, bytes) {
            readings.push(read.messages.into_iter().flat_map(|message| message.payload).collect());
        }
    }
    readings
}
