//! The messenger in a browser, by what a person sees and does. Elements are found by their `data-testid`.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Browser, Scheme};
use crate::wait::{self, Deadline};

/// How long tests wait for the page: pages share two cores with a whole network.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with the page in it.
#[derive(Debug)]
pub struct Page {
    /// The browser.
    pub browser: Browser,
}

/// A message as it stands in the open conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its text.
    pub text: String,
    /// For one's own, how far it has come.
    pub state: Option<String>,
}

impl Page {
    /// Opens the page in a new browser, and does not wait.
    #[track_caller]
    pub fn launch(label: &str, url: &str) -> Self {
        let browser = Browser::start(label);
        browser.go(url);
        Self { browser }
    }

    /// Opens the page in a new browser and waits until it is ready.
    #[track_caller]
    pub fn open(label: &str, url: &str) -> Self {
        let page = Self::launch(label, url);
        page.await_ready();
        page
    }

    /// Opens the page in two new browsers, which start at the same time, and waits until both are ready.
    #[track_caller]
    pub fn open_two(url: &str) -> (Self, Self) {
        Self::open_two_with(url, &[])
    }

    /// The same, in browsers that are started with more arguments.
    #[track_caller]
    pub fn open_two_with(url: &str, more: &[String]) -> (Self, Self) {
        let open = |label| {
            let browser = Browser::start_with(label, more);
            browser.go(url);
            let page = Self { browser };
            page.await_ready();
            page
        };
        thread::scope(|scope| {
            let other = scope.spawn(|| open("Ben"));
            let one = open("Ada");
            (one, other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }

    /// Waits until the page says that it is ready.
    #[track_caller]
    pub fn await_ready(&self) {
        self.until("the state that ends in `ready`", |page| {
            page.text("state").is_some_and(|state| state.trim().ends_with("ready")).then_some(())
        });
    }

    /// Looks at the page until there is something to see.
    #[track_caller]
    pub fn until<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        match wait::poll(Deadline::after(PATIENCE), || look(self)) {
            Some(seen) => seen,
            None => panic!("{} waited {PATIENCE:?} in vain: {what}", self.browser.label),
        }
    }

    /// The text of the first element of this name, if there is one.
    #[track_caller]
    pub fn text(&self, id: &str) -> Option<String> {
        self.texts(id).into_iter().next()
    }

    /// The texts of all elements of this name.
    #[track_caller]
    pub fn texts(&self, id: &str) -> Vec<String> {
        let list = self.browser.script(
            "return [...document.querySelectorAll(arguments[0])].map(element => element.textContent)",
            &[selector(id).into()],
        );
        strings(&list)
    }

    /// The value of a field.
    #[track_caller]
    pub fn value(&self, id: &str) -> Option<String> {
        let value = self.browser.script("return document.querySelector(arguments[0])?.value", &[selector(id).into()]);
        value.as_str().map(str::to_owned)
    }

    /// Clicks where a person would: what is covered or not to be seen cannot be clicked.
    #[track_caller]
    pub fn click(&self, id: &str) {
        self.browser.element(&selector(id), "click", &json!({}), PATIENCE);
    }

    /// Types on the keyboard into a field.
    #[track_caller]
    pub fn type_into(&self, id: &str, text: &str) {
        self.browser.element(&selector(id), "value", &json!({"text": text}), PATIENCE);
    }

    /// Sets a field's value at once, as by pasting: long texts, and those for which there is no key.
    #[track_caller]
    pub fn paste_into(&self, id: &str, text: &str) {
        let script = "
            const field = document.querySelector(arguments[0]);
            if (!field || field.disabled || field.readOnly) return false;
            field.focus();
            field.value = arguments[1];
            field.dispatchEvent(new InputEvent('input', {bubbles: true}));
            return true;";
        self.until(&format!("the field {id}"), |page| {
            page.browser.script(script, &[selector(id).into(), text.into()]).as_bool()?.then_some(())
        });
    }

    /// Makes an invite and returns its link.
    #[track_caller]
    pub fn invite(&self) -> String {
        self.click("invite-create");
        self.until("an invite link", |page| page.value("invite-link").filter(|link| link.contains('#')))
    }

    /// Adds a contact by its invite link, and does not wait.
    #[track_caller]
    pub fn add(&self, link: &str, name: &str) {
        self.paste_into("contact-link", link);
        self.type_into("contact-name", name);
        self.click("contact-add");
    }

    /// Waits until somebody asks for contact, and takes them.
    #[track_caller]
    pub fn accept_request(&self) {
        self.click("request-approve");
    }

    /// Waits until there is a contact whose entry holds `name`, and opens the conversation. Returns the entry's text.
    #[track_caller]
    pub fn open_conversation(&self, name: &str) -> String {
        let (position, text) = self.until(&format!("the contact {name}"), |page| {
            page.texts("contact").into_iter().enumerate().find(|(_, text)| text.contains(name))
        });
        let script = "document.querySelectorAll(arguments[0])[arguments[1]].click()";
        self.browser.script(script, &[selector("contact").into(), position.into()]);
        self.until("the field for a message", |page| page.value("message-input"));
        text
    }

    /// Sends a message in the open conversation.
    #[track_caller]
    pub fn send(&self, text: &str) {
        self.paste_into("message-input", text);
        self.click("message-send");
        self.await_message(text);
    }

    /// The messages of the open conversation.
    #[track_caller]
    pub fn messages(&self) -> Vec<Shown> {
        let list = self.browser.script(
            "return [...document.querySelectorAll(arguments[0])].map(m => [m.textContent, m.dataset.state ?? null])",
            &[selector("message").into()],
        );
        let message = |entry: &Value| {
            let text = entry[0].as_str()?.to_owned();
            Some(Shown { text, state: entry[1].as_str().map(str::to_owned) })
        };
        list.as_array().map(|list| list.iter().filter_map(message).collect()).unwrap_or_default()
    }

    /// Waits until the open conversation has a message whose text holds this.
    #[track_caller]
    pub fn await_message(&self, text: &str) -> Shown {
        let brief: String = text.chars().take(60).collect();
        self.until(&format!("the message {brief:?}"), |page| {
            page.messages().into_iter().find(|message| message.text.contains(text))
        })
    }

    /// Waits until a message of one's own is shown as delivered.
    #[track_caller]
    pub fn await_delivered(&self, text: &str) {
        self.until(&format!("the delivery of {text:?}"), |page| {
            let delivered = |message: &Shown| {
                message.text.contains(text) && matches!(message.state.as_deref(), Some("delivered" | "read"))
            };
            page.messages().iter().any(delivered).then_some(())
        });
    }

    /// The names that the open conversation's path shows, once it shows any.
    #[track_caller]
    pub fn path(&self) -> Vec<String> {
        self.until("the path's names", |page| {
            let names: Vec<String> = page.text("path")?.split_whitespace().map(str::to_owned).collect();
            (!names.is_empty()).then_some(names)
        })
    }

    /// Checks that the console holds no complaint.
    #[track_caller]
    pub fn assert_quiet(&self) {
        self.assert_quiet_but_for(&[]);
    }

    /// Checks that the console holds no complaint but those that name one of `expected`.
    #[track_caller]
    pub fn assert_quiet_but_for(&self, expected: &[String]) {
        let mut complaints = self.browser.complaints();
        complaints.retain(|complaint| !expected.iter().any(|expected| complaint.contains(expected)));
        assert!(complaints.is_empty(), "the console of {}: {complaints:#?}", self.browser.label);
    }

    /// Checks that nothing is wider than the page.
    #[track_caller]
    pub fn assert_fits(&self) {
        let script = "
            const width = document.documentElement.clientWidth;
            const wide = [...document.body.querySelectorAll('*')].filter(element => {
                const box = element.getBoundingClientRect();
                const style = getComputedStyle(element);
                // What is there for screen readers only is not in the way.
                const drawn = box.width > 1 && box.height > 1 && style.visibility === 'visible' && style.opacity > 0;
                return drawn && (box.right > width + 1 || box.left < -1);
            });
            return [document.documentElement.scrollWidth - width, ...wide.map(element => element.outerHTML.slice(0, 200))];";
        let found = self.browser.script(script, &[]);
        assert_eq!(found, json!([0]), "wider than the page of {}: {found:#}", self.browser.label);
    }

    /// Checks that the elements of these names can be seen and used without any further click or scrolling.
    #[track_caller]
    pub fn assert_at_hand(&self, ids: &[&str]) {
        let script = "
            const element = document.querySelector(arguments[0]);
            if (!element) return 'is not there';
            const box = element.getBoundingClientRect();
            if (box.width < 1 || box.height < 1) return 'has no size';
            if (box.left < 0 || box.top < 0 || box.right > innerWidth || box.bottom > innerHeight) return 'is outside';
            const hit = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
            return element.contains(hit) || hit?.contains(element) ? 'is at hand' : 'is covered by ' + hit?.outerHTML;";
        for id in ids {
            let state = self.browser.script(script, &[selector(id).into()]);
            assert_eq!(state, "is at hand", "{id} on the page of {}", self.browser.label);
        }
    }

    /// Sets size and colours, and waits until they are drawn.
    #[track_caller]
    pub fn look(&self, width: u32, height: u32, scheme: Scheme) {
        self.browser.resize(width, height, width < 600);
        self.browser.set_scheme(scheme);
        self.browser.devtools(
            "Runtime.evaluate",
            &json!({
                "expression": "new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)))",
                "awaitPromise": true,
            }),
        );
    }
}

fn selector(id: &str) -> String {
    format!("[data-testid=\"{id}\"]")
}

fn strings(list: &Value) -> Vec<String> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|entry| entry.as_str().map(str::to_owned)).collect()
}
