//! Values over a message port, each a text of JSON.

use gloo_events::EventListener;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::JsCast;
use web_sys::{MessageEvent, MessagePort};
use zeroize::Zeroizing;

/// How many bytes a text is given at first: more than any passphrase takes that somebody types.
const ROOM: usize = 2_048;

/// Sends a value to the port's other end.
pub(super) fn send(port: &MessagePort, value: &impl Serialize) {
    // Neither can fail: all that is sent has a form in JSON, and a text can always be copied.
    if let Some(text) = write(value) {
        let _ = port.post_message(&text.as_str().into());
    }
}

/// Writes a value, which may have a passphrase in it: the text is wiped.
pub(super) fn write(value: &impl Serialize) -> Option<Zeroizing<String>> {
    // A text that has to grow leaves pieces behind. Those with a passphrase in them do not.
    let mut text = Zeroizing::new(Vec::with_capacity(ROOM));
    serde_json::to_writer(&mut *text, value).ok()?;
    String::from_utf8(std::mem::take(&mut *text)).ok().map(Zeroizing::new)
}

/// Reads what [`write()`] has written, and wipes the text.
pub(super) fn read<T: DeserializeOwned>(text: String) -> Result<T, serde_json::Error> {
    // From bytes, as all records are read: the page carries one parser of JSON, not two.
    serde_json::from_slice(Zeroizing::new(text).as_bytes())
}

/// Hears what the port's other end sends, also what it has sent already, until the listener is dropped.
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
