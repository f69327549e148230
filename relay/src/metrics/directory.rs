//! What a node's copy of the directory counts.

use super::text::Text;
use super::value::{Counter, Family, labels};

/// Documents asked for are rounded to so many: clients ask for them.
const REQUESTS: u64 = 64;

labels! {
    /// How a question for the consensus ended.
    Fetch {
        /// It is the one that is held already.
        Unchanged = r#"result="unchanged""#,
        /// It is a newer one, which came whole and was taken.
        Taken = r#"result="taken""#,
        /// It is a newer one, which came as what it has different and was taken.
        Updated = r#"result="updated""#,
        /// Nobody can be connected to.
        Unreachable = r#"result="unreachable""#,
        /// No answer in time.
        Timeout = r#"result="timeout""#,
        /// The answer was no.
        Refused = r#"result="refused""#,
        /// The answer was not HTTP, or too long.
        Garbled = r#"result="garbled""#,
        /// The answer does not count: not signed, too old, for another network, no consensus at all, no update of the one that
        /// is held.
        Invalid = r#"result="invalid""#,
    }
}

labels! {
    /// What somebody was answered who asked for a document.
    Answer {
        /// The consensus.
        Consensus = r#"document="consensus",result="sent""#,
        /// That he has the newest.
        Unchanged = r#"document="consensus",result="unchanged""#,
        /// That there is none yet.
        Missing = r#"document="consensus",result="missing""#,
        /// What brings up to date who holds one.
        Update = r#"document="update",result="sent""#,
        /// The list of authorities.
        Authorities = r#"document="authorities",result="sent""#,
    }
}

/// What a copy of the directory counts.
#[derive(Debug, Default)]
pub struct DirectoryMetrics {
    /// Questions for the consensus, by how they ended.
    pub fetches: Family<Fetch, Counter>,
    /// What others were answered.
    pub answers: Family<Answer, Counter>,
}

impl DirectoryMetrics {
    /// Writes the numbers down.
    pub fn write(&self, text: &mut Text) {
        text.family(
            "allium_directory_fetches_total",
            "Questions of this node for a consensus, by what came of them.",
            super::text::EXACT,
            &self.fetches,
        );
        text.family(
            "allium_directory_answers_total",
            "Documents that others have asked this node for; rounded up to 64.",
            REQUESTS,
            &self.answers,
        );
    }
}
