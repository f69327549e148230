//! What a relay is to clients.

use std::sync::Arc;

use super::onion_keys::OnionKeys;
use crate::crypto::keys::RelayIdentity;
use crate::stream::registry::ServiceRegistry;

/// With what a relay answers those who open circuits, and those at whose circuits' ends it is.
#[derive(Debug)]
pub struct RelayKeys {
    /// The relay's identity.
    pub identity: RelayIdentity,
    /// Its onion keys.
    pub onion: OnionKeys,
    /// What it does for clients at the end of their circuits.
    pub services: Arc<ServiceRegistry>,
}
