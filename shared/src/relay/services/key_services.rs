//! [`Service::FIND_KEY`](crate::stream::Service::FIND_KEY) and [`Service::PUBLISH_KEY`](crate::stream::Service::PUBLISH_KEY):
//! the records of users.

use super::SharedUserKeys;
use crate::services::{MAX_DAYS_OFF, Publication, PublishAnswer, UserId, day, key_answer};
use crate::stream::EndReason;
use crate::stream::exchange::{Reply, Request, RequestService};

/// Looks up what a user has published.
#[derive(Debug)]
pub struct FindKey(pub SharedUserKeys);

/// Stores what a user publishes.
#[derive(Debug)]
pub struct PublishKey(pub SharedUserKeys);

impl RequestService for FindKey {
    fn answer(&self, request: Request) -> Result<Reply, EndReason> {
        let user = UserId(request.argument.try_into().map_err(|_| EndReason::TORPROTOCOL)?);
        let record = self.0.lock().find(request.now.unix, &user).cloned();
        Ok(key_answer(record.as_deref()).to_vec().into())
    }
}

impl RequestService for PublishKey {
    fn answer(&self, request: Request) -> Result<Reply, EndReason> {
        let now = request.now.unix;
        let publication = Publication::decode(&request.argument).map_err(|_| EndReason::TORPROTOCOL)?;
        // What costs nothing to check comes first.
        let answer = if publication.day.abs_diff(day(now)) > MAX_DAYS_OFF || !publication.is_worked() {
            PublishAnswer::NoWork
        } else {
            match self.0.lock().publish(now, publication.record) {
                Ok(_) => PublishAnswer::Stored,
                Err(_) => PublishAnswer::Full,
            }
        };
        Ok(vec![answer as u8].into())
    }
}
