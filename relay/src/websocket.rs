//! How much one WebSocket of a link takes, whoever has opened it.

use axum::extract::WebSocketUpgrade;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// The longest WebSocket message on a link, in bytes: a record of 31 cells of 514 bytes with its tag of 16, rounded up
/// to 16 KiB.
const MAX_MESSAGE_LEN: usize = 16 * 1024;

/// Records that are given to the socket at once. More would let a quiet circuit wait behind busy ones.
pub const RECORDS: usize = 4;

/// How much is read from a WebSocket at once, and written: under load a system call serves four records.
const BUFFER_LEN: usize = RECORDS * MAX_MESSAGE_LEN;

/// What waits to be written to one WebSocket at most, in bytes.
const MAX_WRITE_BUFFER_LEN: usize = 16 * MAX_MESSAGE_LEN;

/// The settings of a WebSocket that takes no message longer than a link's.
pub fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_LEN))
        .max_frame_size(Some(MAX_MESSAGE_LEN))
        .read_buffer_size(BUFFER_LEN)
        .write_buffer_size(BUFFER_LEN)
        .max_write_buffer_size(MAX_WRITE_BUFFER_LEN)
}

/// The upgrade to a WebSocket that takes no message longer than a link's.
pub fn bounded(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .max_message_size(MAX_MESSAGE_LEN)
        .max_frame_size(MAX_MESSAGE_LEN)
        .read_buffer_size(BUFFER_LEN)
        .write_buffer_size(BUFFER_LEN)
        .max_write_buffer_size(MAX_WRITE_BUFFER_LEN)
}
