//! Values over a message port, each as JSON text.

use gloo_events::EventListener;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::JsCast;
use web_sys::{MessageEvent, MessagePort};
use zeroize::Zeroizing;

/// The initial capacity of a text in bytes: enough for any request with a passphrase.
const ROOM: usize = 2_048;

/// Sends a value to the port's other end.
pub(super) fn send(port: &MessagePort, value: &impl Serialize) {
    // Neither can fail: every value can be written as JSON, and strings can always be copied.
    if let Some(text) = write(value) {
        let _ = port.post_message(&text.as_str().into());
    }
}

/// Writes a value as JSON. The text is wiped when dropped, as it may contain a passphrase.
pub(super) fn write(value: &impl Serialize) -> Option<Zeroizing<String>> {
    // A growing text leaves copies behind; with this capacity, one with a passphrase never grows.
    let mut text = Zeroizing::new(Vec::with_capacity(ROOM));
    serde_json::to_writer(&mut *text, value).ok()?;
    String::from_utf8(std::mem::take(&mut *text)).ok().map(Zeroizing::new)
}

/// Reads what [`write()`] wrote, and wipes the text.
pub(super) fn read<T: DeserializeOwned>(text: String) -> Result<T, serde_json::Error> {
    // From bytes, like all records, so that the page contains one JSON parser, not two.
    serde_json::from_slice(Zeroizing::new(text).as_bytes())
}

/// Passes on everything that the port's other end sends or has sent, until the listener is dropped.
pub(super) fn listen<T: DeserializeOwned>(
    port: &MessagePort,
    mut hear: impl FnMut(Result<T, serde_json::Error>) + 'static,
) -> EventListener {
    let listener = EventListener::new(port, "message", move |event| {
        let text = event.dyn_ref::<MessageEvent>().and_then(|event| event.data().as_string());
        hear(read(text.unwrap_or_default()));
    });
    port.start();
    listener
}
