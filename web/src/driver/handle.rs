//! The page's end: starts the worker, and notices when it fails.

use std::cell::Cell;
use std::rc::Rc;

use allium_shared::client::api::Command;
use gloo_events::EventListener;
use js_sys::{Array, JsString, Object, Reflect};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::spawn_local;
use web_sys::{MessageChannel, MessagePort, Url, Worker, WorkerOptions, WorkerType};
use yew::Callback;

use super::{LockRequest, Notice, Request, port};
use crate::{storage, strings};

/// The worker's JavaScript, which is served beside the module's own.
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
    /// Hands the engine a command.
    pub fn command(&self, command: Command) {
        self.ask(&Request::Command(command));
    }

    /// Asks the tab that runs the profile to leave it to this one.
    pub fn take_over(&self) {
        self.ask(&Request::TakeOver);
    }

    /// Asks something of the profile's lock.
    pub fn lock(&self, request: LockRequest) {
        self.ask(&Request::Lock(request));
    }

    fn ask(&self, request: &Request) {
        if let Some(worker) = &self.worker {
            port::send(&worker.port, request);
        }
    }
}

/// Starts the driver; `tell` hears everything that it has to say.
pub fn start(tell: Callback<Notice>) -> Handle {
    // Only a page may ask, not its worker.
    spawn_local(storage::ask_to_persist());
    let worker = Running::start(&tell).ok();
    if worker.is_none() {
        // The page is still being drawn for the first time.
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
        // Fired when the script cannot be fetched or read, when it throws, and when the module in it does, as after a
        // panic. The browser has written to the console what it was.
        let failure = EventListener::once(&worker, "error", {
            let (tell, worker) = (tell.clone(), worker.clone());
            move |_| {
                // It can do nothing any more, and leaves the profile to other tabs.
                worker.terminate();
                tell.emit(if heard.get() { Notice::Crashed } else { Notice::Failed(strings::NO_WORKER.into()) });
            }
        });
        Ok(Self { port, _listeners: [notices, failure] })
    }
}

/// Which build of the page this is: the name of its JavaScript has a hash of the module in it.
pub(super) fn build() -> String {
    IMPORT_META.with(ImportMeta::url).into()
}

#[wasm_bindgen]
extern "C" {
    /// `import.meta` of the JavaScript that wasm-bindgen has written for the module.
    type ImportMeta;

    #[wasm_bindgen(method, getter)]
    fn url(this: &ImportMeta) -> JsString;

    #[wasm_bindgen(thread_local_v2, js_namespace = import, js_name = meta)]
    static IMPORT_META: ImportMeta;
}
