//! What an authority counts. All of it is about relays and other authorities, which are public, so it is exact.

use std::sync::atomic::{AtomicU64, Ordering};

use allium_shared::netdir::{DescriptorError, PublishError, Published};

use super::text::{EXACT, Text};
use super::value::{Counter, Family, labels};

labels! {
    /// What became of a descriptor that somebody has sent.
    DescriptorResult {
        /// Taken: the relay is new, or says something new.
        Changed = r#"result="changed""#,
        /// Taken: the relay lives.
        Renewed = r#"result="renewed""#,
        /// Refused: no descriptor.
        Malformed = r#"result="malformed""#,
        /// Refused: not signed by the relay for this network.
        Signature = r#"result="signature""#,
        /// Refused: the relay's clock is wrong.
        Clock = r#"result="clock""#,
        /// Refused: a later one is held.
        Outdated = r#"result="outdated""#,
        /// Refused: another relay has the nickname, a key or the address.
        Taken = r#"result="taken""#,
        /// Refused: there are as many relays as there may be.
        Full = r#"result="full""#,
        /// Refused: too many from one address.
        Rate = r#"result="rate""#,
        /// Refused: too long, or too slow in coming.
        Transfer = r#"result="transfer""#,
    }
}

labels! {
    /// What became of a document of the voting that was asked for.
    DocumentResult {
        /// A vote that counts.
        Vote = r#"result="vote""#,
        /// Refused: a vote.
        BadVote = r#"result="bad vote""#,
        /// Refused: a list of echoes.
        BadEchoes = r#"result="bad echoes""#,
        /// Refused: a list of signatures.
        BadSignatures = r#"result="bad signatures""#,
    }
}

labels! {
    /// How a relay answered an authority that has looked whether it lives.
    ProbeResult {
        /// It did.
        Answered = r#"result="answered""#,
        /// It did not.
        Missed = r#"result="missed""#,
    }
}

labels! {
    /// How a period of the voting ended.
    PeriodResult {
        /// A consensus was published.
        Published = r#"result="published""#,
        /// The votes could not be counted.
        NotCounted = r#"result="not counted""#,
        /// Too few authorities have signed.
        Unsigned = r#"result="unsigned""#,
    }
}

impl From<&Result<Published, PublishError>> for DescriptorResult {
    fn from(published: &Result<Published, PublishError>) -> Self {
        match published {
            Ok(Published::Changed) => Self::Changed,
            Ok(Published::Renewed) => Self::Renewed,
            Err(PublishError::Descriptor(DescriptorError::Signature(_) | DescriptorError::Family(_))) => {
                Self::Signature
            }
            Err(PublishError::Descriptor(_)) => Self::Malformed,
            Err(PublishError::Clock(_)) => Self::Clock,
            Err(PublishError::Outdated) => Self::Outdated,
            Err(PublishError::NicknameTaken(_) | PublishError::KeyTaken | PublishError::UrlTaken) => Self::Taken,
            Err(PublishError::Full) => Self::Full,
        }
    }
}

/// What an authority counts.
#[derive(Debug, Default)]
pub struct AuthorityMetrics {
    descriptors: Family<DescriptorResult, Counter>,
    documents: Family<DocumentResult, Counter>,
    periods: Family<PeriodResult, Counter>,
    differing: Counter,
    equivocations: Counter,
    probes: Family<ProbeResult, Counter>,
    held: AtomicU64,
    clocks_wrong: AtomicU64,
    clock_difference_ms: AtomicU64,
}

impl AuthorityMetrics {
    /// Somebody has sent a descriptor.
    pub fn descriptor(&self, result: DescriptorResult) {
        self.descriptors.of(result).increment();
    }

    /// Another authority has shown a document.
    pub fn document(&self, result: DocumentResult) {
        self.documents.of(result).increment();
    }

    /// A period of the voting has ended.
    pub fn period(&self, result: PeriodResult) {
        self.periods.of(result).increment();
    }

    /// Another authority has computed something else from the votes.
    pub fn differs(&self) {
        self.differing.increment();
    }

    /// An authority was found to have signed two things that exclude each other.
    pub fn equivocation(&self) {
        self.equivocations.increment();
    }

    /// A relay was looked at.
    pub fn probe(&self, result: ProbeResult) {
        self.probes.of(result).increment();
    }

    /// So many relays' descriptors are held now.
    pub fn holds(&self, relays: usize) {
        self.held.store(u64::try_from(relays).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// So many other authorities have a wrong clock now; `largest_ms` is the largest difference of all their clocks.
    pub fn clocks(&self, wrong: usize, largest_ms: u64) {
        self.clocks_wrong.store(wrong.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
        self.clock_difference_ms.store(largest_ms, Ordering::Relaxed);
    }

    /// Writes the numbers down.
    pub fn write(&self, text: &mut Text) {
        text.family(
            "allium_authority_descriptors_total",
            "Descriptors that relays have sent, by what became of them.",
            EXACT,
            &self.descriptors,
        );
        let held = self.held.load(Ordering::Relaxed);
        text.gauge("allium_authority_relays_held", "Relays whose descriptors are held.", EXACT, held);
        text.family(
            "allium_authority_documents_total",
            "Documents of the voting that other authorities have shown, by what became of them.",
            EXACT,
            &self.documents,
        );
        text.family(
            "allium_authority_periods_total",
            "Periods of the voting, by how they ended.",
            EXACT,
            &self.periods,
        );
        text.value(
            "allium_authority_differing_total",
            "Times that another authority has computed another consensus from the votes.",
            EXACT,
            &self.differing,
        );
        text.value(
            "allium_authority_equivocations_total",
            "Times that an authority was found to have signed two things that exclude each other.",
            EXACT,
            &self.equivocations,
        );
        text.gauge(
            "allium_authority_clocks_wrong",
            "Other authorities whose clock, as they told it last, differs from this one's by more than half a phase.",
            EXACT,
            self.clocks_wrong.load(Ordering::Relaxed),
        );
        text.gauge(
            "allium_authority_clock_difference_milliseconds",
            "By how much another authority's clock differs from this one's at most.",
            EXACT,
            self.clock_difference_ms.load(Ordering::Relaxed),
        );
        text.family("allium_authority_probes_total", "Looks at relays, by whether they answered.", EXACT, &self.probes);
    }
}
