//! The WebSockets of a client's links.

use std::collections::BTreeMap;

use allium_shared::client::api::{Input, LinkId};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use crate::dial;

/// All WebSockets; what they bring goes to the engine's inputs.
pub(super) struct Sockets {
    inputs: mpsc::UnboundedSender<Input>,
    /// What is to be sent on each. Dropping a sender closes its WebSocket.
    senders: BTreeMap<LinkId, mpsc::UnboundedSender<Vec<u8>>>,
}

impl Sockets {
    pub(super) fn new(inputs: mpsc::UnboundedSender<Input>) -> Self {
        Self { inputs, senders: BTreeMap::new() }
    }

    pub(super) fn open(&mut self, link: LinkId, url: String) {
        let (sender, messages) = mpsc::unbounded_channel();
        self.senders.insert(link, sender);
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            carry(link, &url, messages, &inputs).await;
            // The engine takes no notice when it was the one to close.
            let _ = inputs.send(Input::LinkClosed(link));
        });
    }

    pub(super) fn send(&mut self, link: LinkId, message: Vec<u8>) {
        // When the WebSocket is gone, the engine is about to hear of it.
        if let Some(sender) = self.senders.get(&link)
            && sender.send(message).is_err()
        {
            self.senders.remove(&link);
        }
    }

    pub(super) fn close(&mut self, link: LinkId) {
        self.senders.remove(&link);
    }
}

async fn carry(
    id: LinkId,
    url: &str,
    mut messages: mpsc::UnboundedReceiver<Vec<u8>>,
    inputs: &mpsc::UnboundedSender<Input>,
) {
    let socket = match dial::connect(url).await {
        Ok(socket) => socket,
        Err(error) => return tracing::info!(%error, "cannot open a link to a guard"),
    };
    let (mut sink, mut stream) = socket.split();
    if inputs.send(Input::LinkOpened(id)).is_err() {
        return;
    }
    // Reading goes on while a slow relay does not take what is written.
    let write = async {
        while let Some(message) = messages.recv().await {
            if sink.send(Message::Binary(message.into())).await.is_err() {
                return;
            }
        }
        let _ = sink.close().await;
    };
    let read = async {
        while let Some(Ok(message)) = stream.next().await {
            let sent = match message {
                Message::Binary(bytes) => inputs.send(Input::LinkMessage(id, bytes.into())),
                Message::Close(_) => return,
                _ => Ok(()),
            };
            if sent.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = write => {}
        () = read => {}
    }
}
