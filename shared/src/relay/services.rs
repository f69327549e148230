//! What a relay does for clients at the end of their circuits: a file for each service, and the list of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub mod byte_source;
pub mod directory_service;
pub mod key_services;
pub mod time_service;

use self::byte_source::ByteSource;
use self::directory_service::DirectoryService;
pub use self::directory_service::{Mirror, NoMirror};
use self::key_services::{FindKey, PublishKey};
use self::time_service::TimeService;
use super::user_keys::UserKeys;
use crate::stream::Service;
pub use crate::stream::body::Document;
use crate::stream::registry::ServiceRegistry;

/// The services of a relay that has this copy of the directory and these records of users, and which sends bytes for
/// measurements only if `source` says so.
pub fn relay_services(mirror: impl Mirror + 'static, user_keys: &SharedUserKeys, source: bool) -> ServiceRegistry {
    let services = ServiceRegistry::new()
        .with_requests(Service::DIRECTORY, DirectoryService::new(mirror))
        .with_requests(Service::TIME, TimeService)
        .with_requests(Service::FIND_KEY, FindKey(user_keys.clone()))
        .with_requests(Service::PUBLISH_KEY, PublishKey(user_keys.clone()));
    if source { services.with_streams(Service::SOURCE, ByteSource) } else { services }
}

/// What users have published at a relay, shared by its services and by whoever stores it.
#[derive(Clone, Debug, Default)]
pub struct SharedUserKeys(Arc<Mutex<UserKeys>>);

impl SharedUserKeys {
    /// Shares these records.
    pub fn new(keys: UserKeys) -> Self {
        Self(Arc::new(Mutex::new(keys)))
    }

    /// The records; requests for them wait meanwhile.
    pub fn lock(&self) -> MutexGuard<'_, UserKeys> {
        // Complete after every call, also after one that has panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(super) mod tests;
