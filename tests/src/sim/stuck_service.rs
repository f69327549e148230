//! A service that only tests have: it takes a request with a body and never answers.

use std::sync::{Mutex, PoisonError};

use allium_shared::stream::completion::Promise;
use allium_shared::stream::exchange::{Reply, Request, RequestService};
use allium_shared::stream::{EndReason, Service};

/// Its number, which no service of relays has.
pub const STUCK: Service = Service(251);

/// The longest body that it takes, in bytes.
pub const MAX_BODY: usize = 400_000;

/// Takes requests and never answers them.
#[derive(Debug, Default)]
pub struct StuckService(Mutex<Vec<Promise>>);

impl RequestService for StuckService {
    fn max_body(&self) -> usize {
        MAX_BODY
    }

    fn answer(&self, request: Request) -> Result<Reply, EndReason> {
        let (promise, reply) = request.later();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(promise);
        Ok(reply)
    }
}
