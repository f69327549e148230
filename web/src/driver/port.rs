//! Values over a message port, each a text of JSON.

use gloo_events::EventListener;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::JsCast;
use web_sys::{MessageEvent, MessagePort};

/// Sends a value to the port's other end.
pub(super) fn send(port: &MessagePort, value: &impl Serialize) {
    // Neither can fail: all that is sent has a form in JSON, and a text can always be copied.
    if let Ok(text) = serde_json::to_string(value) {
        let _ = port.post_message(&text.into());
    }
}

/// Hears what the port's other end sends, also what it has sent already, until the listener is dropped.
pub(super) fn listen<T: DeserializeOwned>(
    port: &MessagePort,
    mut hear: impl FnMut(Result<T, serde_json::Error>) + 'static,
) -> EventListener {
    let listener = EventListener::new(port, "message", move |event| {
        let text = event.dyn_ref::<MessageEvent>().and_then(|event| event.data().as_string());
        // From bytes, as all records are read: the page carries one parser of JSON, not two.
        hear(serde_json::from_slice(text.unwrap_or_default().as_bytes()));
    });
    port.start();
    listener
}
