//! Shows a message when the page itself crashes, so that it doesn't look alive.

use std::panic::PanicHookInfo;

use wasm_bindgen::prelude::wasm_bindgen;

use crate::strings;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    fn console_error(text: &str);
}

/// Makes every later panic show a message instead of the page.
pub fn prepare() {
    yew::set_custom_panic_hook(Box::new(speak));
}

fn speak(panic: &PanicHookInfo<'_>) {
    console_error(&panic.to_string());
    let document = web_sys::window().and_then(|window| window.document());
    let Some((document, body)) = document.and_then(|document| document.body().map(|body| (document, body))) else {
        return;
    };
    // Beside Yew's elements, which can't be drawn any more.
    let Ok(words) = document.create_element("p") else { return };
    words.set_class_name("last-words");
    let _ = words.set_attribute("role", "alert");
    words.set_text_content(Some(strings::CRASHED));
    let _ = body.append_child(&words);
}
