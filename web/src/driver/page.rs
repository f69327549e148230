//! The page's end: starts the worker, sends it requests, and notices when it fails.

use std::cell::Cell;
use std::rc::Rc;

use gloo_events::EventListener;
use js_sys::{Array, JsString, Object, Reflect};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::spawn_local;
use web_sys::{MessageChannel, MessagePort, Url, Worker, WorkerOptions, WorkerType};
use yew::Callback;

use super::{Notice, Request, port};
use crate::{storage, strings};

/// The worker's JavaScript, served next to the module's own.
const SCRIPT: &str = "worker.js";

/// The page's end of the driver.
pub struct Handle {
    worker: Option<Running>,
}

/// A worker that has been started.
struct Running {
    port: MessagePort,
    _listeners: [EventListener; 2],
}

impl Handle {
    /// Sends the worker a request. What comes of it arrives as notices.
    pub fn ask(&self, request: &Request) {
        if let Some(worker) = &self.worker {
            port::send(&worker.port, request);
        }
    }
}

/// Starts the worker; `tell` receives its notices.
pub fn start(tell: Callback<Notice>) -> Handle {
    // Only pages may ask this, not workers.
    spawn_local(storage::ask_to_persist());
    let worker = Running::start(&tell).ok();
    if worker.is_none() {
        // The page is being drawn for the first time: not now.
        spawn_local(async move { tell.emit(Notice::Failed(strings::NO_WORKER.into())) });
    }
    Handle { worker }
}

impl Running {
    fn start(tell: &Callback<Notice>) -> Result<Self, JsValue> {
        let glue = IMPORT_META.with(ImportMeta::url);
        let options = WorkerOptions::new();
        options.set_type(WorkerType::Module);
        let script = Url::new_with_base(SCRIPT, &String::from(&glue))?;
        let worker = Worker::new_with_options(&script.href(), &options)?;

        let channel = MessageChannel::new()?;
        let theirs = channel.port2();
        let start = Object::new();
        Reflect::set(&start, &"glue".into(), &glue)?;
        Reflect::set(&start, &"module".into(), &wasm_bindgen::module())?;
        Reflect::set(&start, &"port".into(), &theirs)?;
        worker.post_message_with_transfer(&start, &Array::of1(&theirs))?;

        let heard = Rc::new(Cell::new(false));
        let port = channel.port1();
        let notices = port::listen(&port, {
            let (tell, heard) = (tell.clone(), Rc::clone(&heard));
            move |notice| {
                heard.set(true);
                tell.emit(notice.unwrap_or(Notice::Crashed));
            }
        });
        // Fired when the script can't be fetched or parsed, and when it or the module throws, for example after a panic.
        // The browser has logged the cause to the console.
        let failure = EventListener::once(&worker, "error", {
            let (tell, worker) = (tell.clone(), worker.clone());
            move |_| {
                // It is dead; this frees the profile for other tabs.
                worker.terminate();
                tell.emit(if heard.get() { Notice::Crashed } else { Notice::Failed(strings::NO_WORKER.into()) });
            }
        });
        Ok(Self { port, _listeners: [notices, failure] })
    }
}

/// Identifies this build of the page: the name of its JavaScript contains a hash of the module.
pub(super) fn build() -> String {
    IMPORT_META.with(ImportMeta::url).into()
}

#[wasm_bindgen]
extern "C" {
    /// `import.meta` of the JavaScript that wasm-bindgen generated for the module.
    type ImportMeta;

    #[wasm_bindgen(method, getter)]
    fn url(this: &ImportMeta) -> JsString;

    #[wasm_bindgen(thread_local_v2, js_namespace = import, js_name = meta)]
    static IMPORT_META: ImportMeta;
}
