//! Opens WebSockets to relays.

use std::time::Duration;

use allium_shared::netdir::{InvalidRelay, LinkUrl};
use thiserror::Error;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self};

use crate::tls::connect::{self, ConnectError, Stream};
use crate::websocket;

/// How long it may take until a WebSocket is open.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// An open WebSocket.
pub type Socket = WebSocketStream<Stream>;

/// Why no WebSocket opened.
#[derive(Debug, Error)]
pub enum DialError {
    /// Not an address of links.
    #[error(transparent)]
    Address(#[from] InvalidRelay),
    /// Nothing came in time.
    #[error("it did not open within {} s", CONNECT_TIME.as_secs())]
    Timeout,
    /// There is nobody, or nobody with the right certificate.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// There is nobody who speaks WebSocket.
    #[error(transparent)]
    WebSocket(Box<tungstenite::Error>),
}

/// Opens a WebSocket that takes no message longer than a link's, by TLS where the address begins with `wss://`.
pub async fn connect(url: &str) -> Result<Socket, DialError> {
    let address: LinkUrl = url.parse()?;
    let open = async {
        let stream = connect::connect(address.host(), address.port(), address.is_secure()).await?;
        let opened = tokio_tungstenite::client_async_with_config(url, stream, Some(websocket::config())).await;
        opened.map(|(socket, _)| socket).map_err(|error| DialError::WebSocket(Box::new(error)))
    };
    tokio::time::timeout(CONNECT_TIME, open).await.map_err(|_| DialError::Timeout)?
}
