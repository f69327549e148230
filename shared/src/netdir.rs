//! The directory: what relays say of themselves, and what the authorities say of the network.
//!
//! A relay publishes a [`RelayDescriptor`] that its identity key signs. The authorities turn the descriptors that they
//! hold into a [`Consensus`], the one list of relays that everyone uses, and sign it. Who the authorities are is what a
//! client has to know beforehand: [`Authorities`].
//!
//! The model is Tor's directory, version 3 (`dir-spec`), in a binary encoding of our own: canonical, so that one list
//! has one encoding and one digest.
//!
//! # Layout
//!
//! - `authorities`, `network_id`: who signs, and which network that makes
//! - `descriptor`: what a relay says of itself
//! - `relay`: the part of it that the consensus repeats: names, addresses, roles, keys
//! - `exit_policy`, `extensions`: fields that a relay may have
//! - `consensus`: the signed list
//! - `update`: what brings a reader from one to the next, and what a mirror keeps for that
//! - `random`: the shared random value in it
//! - `registry`: what an authority holds of relays
//! - `vote`: what one authority says of the network
//! - `echo`: which votes each has heard
//! - `tally`: from votes to a consensus
//! - `signatures`: what is signed before it is published
//! - `misconduct`: proofs against authorities that sign two different things
//! - `voting`: an authority's part in all that
//! - `keys`: the keys that sign all this

mod authorities;
mod consensus;
mod descriptor;
mod echo;
mod exit_policy;
mod extensions;
mod keys;
mod misconduct;
mod network_id;
mod random;
mod registry;
mod relay;
mod signatures;
mod tally;
mod update;
mod vote;
mod voting;

pub use authorities::{Authorities, AuthoritiesError, Authority, MAX_AUTHORITIES, MAX_AUTHORITIES_LEN, MAX_URL_LEN};
pub use consensus::{
    Consensus, ConsensusDigest, ConsensusDraft, ConsensusError, ConsensusSignature, ListedAuthority, MAX_CONSENSUS_LEN,
    MAX_RELAYS, SKEW_TOLERANCE, UnsignedConsensus, Validity,
};
pub use descriptor::{DescriptorError, MAX_DESCRIPTOR_LEN, RelayDescriptor};
pub use echo::{Echo, EchoError, Echoes, MAX_ECHOES_LEN, MAX_VOTES_OF_ONE};
pub use exit_policy::{ExitPolicy, ExitRule, MAX_EXIT_RULES, ParseRuleError};
pub use extensions::Extensions;
pub use keys::{AuthorityIdentity, AuthorityKeypair, FamilyIdentity, FamilyKeypair};
pub use misconduct::{MAX_PROOFS_LEN, Misconduct, ProofError, Proofs, Twice};
pub use network_id::NetworkId;
pub use random::SharedRandom;
pub use registry::{PublishError, Published, Registry, RegistryConfig, RelayReport};
pub use relay::{DEFAULT_WEIGHT, InvalidRelay, LinkUrl, Nickname, RelayEntry, RelayRole, Roles, SoftwareVersion};
pub use signatures::{MAX_SIGNATURES_LEN, SignaturesError, encode_signatures, verify_signatures};
pub use tally::{RULE_SETS, TallyError, tally};
pub use update::{ConsensusUpdate, Difference, MAX_MIRROR_MEMORY, MAX_UPDATE_LEN, Mirror, UpdateError};
pub use vote::{IsKnown, MAX_VOTE_LEN, SignedVote, Vote, VoteDigest, VoteError, VotedRelay};
pub use voting::{Document, Refusal, Voting, VotingConfig, VotingError, VotingEvent, VotingOutput, phases_len};
