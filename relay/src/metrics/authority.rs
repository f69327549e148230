//! What an authority counts. All of it is about relays and other authorities, which are public, so it is exact.

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
    /// What became of a vote that another authority has sent.
    VoteResult {
        /// It counts.
        Taken = r#"result="taken""#,
        /// Refused: no vote.
        Malformed = r#"result="malformed""#,
        /// Refused: not signed by an authority of this network.
        Signature = r#"result="signature""#,
        /// Refused: for another round, too early or too late.
        Round = r#"result="round""#,
        /// Refused: too many.
        Rate = r#"result="rate""#,
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
    /// What became of an authority's signature under a consensus.
    SignatureResult {
        /// This authority has made it.
        Made = r#"result="made""#,
        /// Another authority's, which counts.
        Taken = r#"result="taken""#,
        /// Another authority's, which does not count.
        Refused = r#"result="refused""#,
    }
}

impl From<&Result<Published, PublishError>> for DescriptorResult {
    fn from(published: &Result<Published, PublishError>) -> Self {
        match published {
            Ok(Published::Changed) => Self::Changed,
            Ok(Published::Renewed) => Self::Renewed,
            Err(PublishError::Descriptor(DescriptorError::Signature(_))) => Self::Signature,
            Err(PublishError::Descriptor(_)) => Self::Malformed,
            Err(PublishError::Clock) => Self::Clock,
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
    votes: Family<VoteResult, Counter>,
    echoes: Counter,
    equivocations: Counter,
    probes: Family<ProbeResult, Counter>,
    signatures: Family<SignatureResult, Counter>,
}

impl AuthorityMetrics {
    /// Somebody has sent a descriptor.
    pub fn descriptor(&self, result: DescriptorResult) {
        self.descriptors.of(result).increment();
    }

    /// Another authority has sent a vote.
    pub fn vote(&self, result: VoteResult) {
        self.votes.of(result).increment();
    }

    /// Another authority has repeated what it was told by a third.
    pub fn echo(&self) {
        self.echoes.increment();
    }

    /// An authority was found to have signed two things that exclude each other.
    pub fn equivocation(&self) {
        self.equivocations.increment();
    }

    /// A relay was looked at.
    pub fn probe(&self, result: ProbeResult) {
        self.probes.of(result).increment();
    }

    /// A signature was made, or has come.
    pub fn signature(&self, result: SignatureResult) {
        self.signatures.of(result).increment();
    }

    /// Writes the numbers down.
    pub fn write(&self, text: &mut Text) {
        text.family(
            "allium_authority_descriptors_total",
            "Descriptors that relays have sent, by what became of them.",
            EXACT,
            &self.descriptors,
        );
        text.family(
            "allium_authority_votes_total",
            "Votes that other authorities have sent, by what became of them.",
            EXACT,
            &self.votes,
        );
        text.value(
            "allium_authority_echoes_total",
            "Votes that other authorities have passed on from a third.",
            EXACT,
            &self.echoes,
        );
        text.value(
            "allium_authority_equivocations_total",
            "Times that an authority was found to have signed two things that exclude each other.",
            EXACT,
            &self.equivocations,
        );
        text.family("allium_authority_probes_total", "Looks at relays, by whether they answered.", EXACT, &self.probes);
        text.family(
            "allium_authority_signatures_total",
            "Signatures under consensuses, made here or by others.",
            EXACT,
            &self.signatures,
        );
    }
}
