//! Which services a relay offers at the end of circuits.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::exchange::{RequestService, Requests};
use super::service::{Opening, StreamService};
use super::{EndReason, Service, StreamHandler};

/// The services of a relay, by number.
#[derive(Debug, Default)]
pub struct ServiceRegistry(BTreeMap<Service, Box<dyn StreamService>>);

impl ServiceRegistry {
    /// No services.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a service that answers requests.
    #[must_use]
    pub fn with_requests(self, number: Service, service: impl RequestService) -> Self {
        self.with_streams(number, Requests(Arc::new(service)))
    }

    /// Adds a service that handles its streams itself.
    #[must_use]
    pub fn with_streams(mut self, number: Service, service: impl StreamService + 'static) -> Self {
        self.0.insert(number, Box::new(service));
        self
    }

    /// A handler for a stream to a service.
    ///
    /// # Errors
    ///
    /// Why it is refused: `CONNECTREFUSED` if there is no such service.
    pub fn open(&self, number: Service, opening: Opening) -> Result<Box<dyn StreamHandler>, EndReason> {
        self.0.get(&number).ok_or(EndReason::CONNECTREFUSED)?.open(opening)
    }
}
