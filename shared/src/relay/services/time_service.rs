//! [`Service::TIME`](crate::stream::Service::TIME): tells the relay's time.

use crate::services::time_answer;
use crate::stream::EndReason;
use crate::stream::exchange::{Reply, Request, RequestService};

/// Tells the relay's time.
#[derive(Debug)]
pub struct TimeService;

impl RequestService for TimeService {
    fn answer(&self, request: Request) -> Result<Reply, EndReason> {
        if !request.argument.is_empty() {
            return Err(EndReason::TORPROTOCOL);
        }
        Ok(time_answer(request.now.unix).to_vec().into())
    }
}
