//! A WebSocket of the browser, reporting to the engine under the link's id.

use allium_shared::client::api::{Input, LinkId};
use futures_channel::mpsc::UnboundedSender;
use gloo_events::EventListener;
use js_sys::{ArrayBuffer, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{BinaryType, MessageEvent, WebSocket};

/// The WebSocket of a link. Dropping it closes it silently.
pub struct Socket {
    socket: WebSocket,
    _listeners: [EventListener; 3],
}

impl Socket {
    /// Starts to open `url`; events go to `inputs`.
    pub fn open(link: LinkId, url: &str, inputs: &UnboundedSender<Input>) -> Result<Self, JsValue> {
        let socket = WebSocket::new(url)?;
        socket.set_binary_type(BinaryType::Arraybuffer);

        let opened = EventListener::new(&socket, "open", {
            let inputs = inputs.clone();
            move |_| send(&inputs, Input::LinkOpened(link))
        });
        let message = EventListener::new(&socket, "message", {
            let inputs = inputs.clone();
            move |event| {
                // A text message is never valid: pass an empty one, which the engine rejects.
                let data = event.dyn_ref::<MessageEvent>().map(MessageEvent::data).unwrap_or_default();
                let bytes = data.dyn_ref::<ArrayBuffer>().map(|buffer| Uint8Array::new(buffer).to_vec());
                send(&inputs, Input::LinkMessage(link, bytes.unwrap_or_default()));
            }
        });
        // "close" follows every "error", so this listener sees each end exactly once.
        let closed = EventListener::once(&socket, "close", {
            let inputs = inputs.clone();
            move |_| send(&inputs, Input::LinkClosed(link))
        });
        Ok(Self { socket, _listeners: [opened, message, closed] })
    }

    /// Sends one binary message. A closing socket drops it, and its "close" event tells the engine.
    pub fn send(&self, bytes: &[u8]) {
        if self.socket.ready_state() == WebSocket::OPEN {
            // Fails only while connecting, which was just ruled out.
            let _ = self.socket.send_with_u8_array(bytes);
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = self.socket.close();
    }
}

/// A closed inbox means that the run has ended.
fn send(inputs: &UnboundedSender<Input>, input: Input) {
    let _ = inputs.unbounded_send(input);
}
