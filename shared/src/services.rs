//! What services at the end of circuits are asked, and what they answer (`docs/protocol.md`, 9.2): one file for each, with
//! its formats and the client's request. What a relay does to answer is in [`crate::relay::services`].

pub mod byte_source;
pub mod consensus_update;
pub mod time;
pub mod user_keys;

pub use self::time::{read_time, time_answer};
pub use self::user_keys::{
    KEY_ANSWER_LEN, MAX_DAYS_OFF, MAX_RECORD_LEN, PUBLISH_EFFORT, Publication, PublishAnswer, UserId, day, key_answer,
    read_key_answer,
};
