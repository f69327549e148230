//! A relay's links: WebSockets that carry cells.

use std::sync::Arc;

use axum::extract::WebSocketUpgrade;
use axum::extract::ws::WebSocket;

use crate::relay::Node;

/// Where a relay takes links.
pub const PATH: &str = "/link";

/// The longest WebSocket message on a link, in bytes: a record of 31 cells of 514 bytes with its tag of 16, rounded up
/// to 16 KiB.
pub const MAX_MESSAGE_LEN: usize = 16 * 1024;

/// What waits to be written to one WebSocket at most, in bytes.
pub const MAX_WRITE_BUFFER_LEN: usize = 16 * MAX_MESSAGE_LEN;

/// The upgrade to a WebSocket that takes no message longer than a link's.
pub fn bounded(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .max_message_size(MAX_MESSAGE_LEN)
        .max_frame_size(MAX_MESSAGE_LEN)
        .read_buffer_size(MAX_MESSAGE_LEN)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WRITE_BUFFER_LEN)
}

/// Serves a link that a client or another relay has opened, until it closes.
pub async fn serve_link(socket: WebSocket, node: Arc<Node>) {
    // The data plane's driver goes here.
    drop((socket, node));
}
