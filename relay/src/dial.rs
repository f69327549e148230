//! Opens WebSockets to relays.

use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::link::{BUFFER_LEN, MAX_MESSAGE_LEN, MAX_WRITE_BUFFER_LEN};

/// How long it may take until a WebSocket is open.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// An open WebSocket.
pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why no WebSocket opened.
#[derive(Debug, Error)]
pub enum DialError {
    /// Nothing came in time.
    #[error("it did not open within {} s", CONNECT_TIME.as_secs())]
    Timeout,
    /// There is nobody, or nobody who speaks WebSocket.
    #[error(transparent)]
    WebSocket(Box<tungstenite::Error>),
}

/// Opens a WebSocket that takes no message longer than a link's.
pub async fn connect(url: &str) -> Result<Socket, DialError> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_LEN))
        .max_frame_size(Some(MAX_MESSAGE_LEN))
        .read_buffer_size(BUFFER_LEN)
        .write_buffer_size(BUFFER_LEN)
        .max_write_buffer_size(MAX_WRITE_BUFFER_LEN);
    let connect = tokio_tungstenite::connect_async_with_config(url, Some(config), true);
    match tokio::time::timeout(CONNECT_TIME, connect).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(DialError::WebSocket(Box::new(error))),
        Err(_) => Err(DialError::Timeout),
    }
}
