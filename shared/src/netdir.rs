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
//! - `authorities`: who signs, and which network that makes
//! - `descriptor`: what a relay says of itself
//! - `relay`: the part of it that the consensus repeats: names, addresses, roles, keys
//! - `consensus`: the signed list
//! - `registry`: what an authority holds, and when it makes a new list
//! - `keys`: the keys that sign it

mod authorities;
mod consensus;
mod descriptor;
mod keys;
mod registry;
mod relay;

pub use authorities::{Authorities, AuthoritiesError, Authority, MAX_AUTHORITIES, MAX_AUTHORITIES_LEN, NetworkId};
pub use consensus::{
    Consensus, ConsensusDigest, ConsensusDraft, ConsensusError, MAX_CONSENSUS_LEN, MAX_RELAYS, SKEW_TOLERANCE, Validity,
};
pub use descriptor::{DescriptorError, MAX_DESCRIPTOR_LEN, RelayDescriptor};
pub use keys::{AuthorityIdentity, AuthorityKeypair};
pub use registry::{PublishError, Published, Registry, RegistryConfig};
pub use relay::{InvalidRelay, LinkUrl, Nickname, RelayEntry, Role, Roles};
