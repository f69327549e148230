//! Chromium by WebDriver, and the page in it.
//!
//! # Layout
//!
//! - `webdriver`: the protocol, as far as it is needed here
//! - [`page`]: the messenger, by what a person sees and does
//! - [`picture`]: what a person would look at afterwards

pub mod page;
pub mod picture;
#[cfg(test)]
mod tests;
mod webdriver;

use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

pub use self::page::Page;
use self::webdriver::{Session, WebDriverError};
use crate::process::{self, Process, tail};
use crate::{artifacts, wait};

/// How long a browser may take to start on a busy machine.
const STARTED_WITHIN: Duration = Duration::from_secs(60);

/// What Chromium needs to be quiet, without a network of its own, and able to run as root.
const ARGUMENTS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    // Ends with the driver, however that ends.
    "--remote-debugging-pipe",
];

/// A browser with a profile of its own, which ends with this value.
#[derive(Debug)]
pub struct Browser {
    label: String,
    session: Session,
    driver: Process,
    folder: TempDir,
    more: Vec<String>,
}

/// One of a browser's tabs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tab(Value);

/// Bright or dark, as a person's system asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Dark on bright.
    Light,
    /// Bright on dark.
    Dark,
}

impl Browser {
    /// Starts a browser with an empty profile and a window of 1100×760.
    #[track_caller]
    pub fn start(label: &str) -> Self {
        Self::start_with(label, &[])
    }

    /// Starts such a browser with more arguments.
    #[track_caller]
    pub fn start_with(label: &str, more: &[String]) -> Self {
        let folder = tempfile::Builder::new().prefix("allium-browser-").tempdir().expect("there is a place for files");
        let (driver, session) = launch(folder.path(), more);
        let browser = Self { label: label.to_owned(), session, driver, folder, more: more.to_vec() };
        browser.resize(1100, 760, false);
        browser
    }

    /// Kills all of the browser's processes at once, as when the power fails.
    pub fn kill(&mut self) {
        self.kill_all();
        self.driver.kill();
    }

    /// Starts it again with the profile that it has.
    #[track_caller]
    pub fn restart(&mut self) {
        (self.driver, self.session) = launch(self.folder.path(), &self.more);
        self.resize(1100, 760, false);
    }

    /// The process that runs the page of the tab in which all is done, and its worker: the one that works when the page does.
    #[track_caller]
    pub fn renderer(&self) -> u32 {
        let is_renderer = |pid: &u32| process::command_line(*pid).iter().any(|word| word.contains("--type=renderer"));
        let renderers: Vec<u32> =
            process::all().into_iter().filter(|pid| self.owns(*pid)).filter(is_renderer).collect();
        let worked = || renderers.iter().map(|pid| process::ticks(*pid)).collect::<Vec<_>>();
        let before = worked();
        self.script("const until = Date.now() + 500; while (Date.now() < until); return true", &[]);
        let worked = worked().into_iter().zip(before).map(|(after, before)| after.saturating_sub(before));
        let busiest = worked.zip(renderers).max().expect("there are renderers");
        busiest.1
    }

    /// Opens an address.
    #[track_caller]
    pub fn go(&self, url: &str) {
        self.must("open a page", self.session.post("url", &json!({"url": url})));
    }

    /// Loads the page anew.
    #[track_caller]
    pub fn reload(&self) {
        self.must("reload", self.session.post("refresh", &json!({})));
    }

    /// The tab that all else is done in.
    #[track_caller]
    pub fn tab(&self) -> Tab {
        Tab(self.must("name a tab", self.session.get("window")))
    }

    /// Opens an address in a new tab, in which all else is done from now on.
    #[track_caller]
    pub fn open_tab(&self, url: &str) {
        let mut opened = self.must("open a tab", self.session.post("window/new", &json!({"type": "tab"})));
        self.show_tab(&Tab(opened["handle"].take()));
        self.go(url);
    }

    /// Goes to another tab.
    #[track_caller]
    pub fn show_tab(&self, tab: &Tab) {
        self.must("go to a tab", self.session.post("window", &json!({"handle": tab.0})));
    }

    /// Closes the tab that all was done in, and goes to another one.
    #[track_caller]
    pub fn close_tab(&self, next: &Tab) {
        self.must("close a tab", self.session.delete("window"));
        self.show_tab(next);
    }

    /// Runs a script in every document that is loaded from now on, before the document's own.
    #[track_caller]
    pub fn script_first(&self, script: &str) {
        self.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({"source": script}));
    }

    /// Runs a script and returns what it returns; its arguments are `arguments[0]` and so on.
    #[track_caller]
    pub fn script(&self, script: &str, arguments: &[Value]) -> Value {
        self.must("run a script", self.session.post("execute/sync", &json!({"script": script, "args": arguments})))
    }

    /// Sets the size of the page in CSS pixels, as on a telephone if `mobile`.
    #[track_caller]
    pub fn resize(&self, width: u32, height: u32, mobile: bool) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile});
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Sets what the system asks for.
    #[track_caller]
    pub fn set_scheme(&self, scheme: Scheme) {
        let value = if scheme == Scheme::Dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
        self.devtools("Emulation.setEmulatedMedia", &features);
    }

    /// Gives a command of Chromium's own protocol.
    #[track_caller]
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        let body = json!({"cmd": command, "params": parameters});
        self.must(command, self.session.post("goog/cdp/execute", &body))
    }

    /// A PNG of what is to be seen.
    #[track_caller]
    pub fn screenshot(&self) -> Vec<u8> {
        let encoded = self.must("take a screenshot", self.session.get("screenshot"));
        let encoded = encoded.as_str().expect("a picture comes as text");
        data_encoding::BASE64.decode(encoded.as_bytes()).expect("a picture comes in base64")
    }

    /// What the page has complained about in the console since this was asked last: warnings and errors.
    #[track_caller]
    pub fn complaints(&self) -> Vec<String> {
        let log = self.must("read the console", self.session.post("se/log", &json!({"type": "browser"})));
        let entries = log.as_array().cloned().unwrap_or_default().into_iter();
        entries
            .filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING")
            .map(|entry| format!("{}: {}", entry["level"], entry["message"]))
            .collect()
    }

    /// Does something with the first element that a CSS selector finds, again and again until it succeeds: the page may
    /// be drawing it anew.
    #[track_caller]
    fn element(&self, selector: &str, action: &str, body: &Value, limit: Duration) -> Value {
        let mut last = None;
        let attempt = || {
            let locator = json!({"using": "css selector", "value": selector});
            let found = self.session.post("element", &locator).and_then(|element| {
                let id = element.as_object().and_then(|element| element.values().next()?.as_str());
                self.session.post(&format!("element/{}/{action}", id.unwrap_or_default()), body)
            });
            match found {
                Ok(value) => Some(value),
                Err(error) if error.may_pass() => {
                    last = Some(error);
                    None
                }
                Err(error) => panic!("{} cannot {action} {selector}: {error}", self.label),
            }
        };
        match wait::poll(wait::Deadline::after(limit), attempt) {
            Some(value) => value,
            None => panic!("{} cannot {action} {selector} within {limit:?}: {last:?}", self.label),
        }
    }

    fn kill_all(&self) {
        if let Ok(group) = i32::try_from(self.driver.pid()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }

    #[track_caller]
    fn must(&self, what: &str, result: Result<Value, WebDriverError>) -> Value {
        result.unwrap_or_else(|error| panic!("{} cannot {what}: {error}", self.label))
    }

    /// The process of the driver; the browser's processes descend from it.
    pub fn pid(&self) -> u32 {
        self.driver.pid()
    }

    /// Whom the browser's processes are connected to.
    pub fn peers(&self) -> Vec<SocketAddr> {
        let own = process::all().into_iter().filter(|pid| self.owns(*pid));
        own.flat_map(process::peers).collect()
    }

    /// Whether a process belongs to this browser.
    pub fn owns(&self, pid: u32) -> bool {
        std::iter::successors(Some(pid), |pid| process::parent(*pid)).any(|pid| pid == self.pid())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = tail(&self.folder.path().join("driver.log"), 10);
            eprintln!("--- the browser of {}\n{log}", self.label);
            if let Ok(text) = self.session.post("execute/sync", &json!({"script": TOLD, "args": []})) {
                eprintln!("{}", text.as_str().unwrap_or_default());
            }
            if let Ok(log) = self.session.post("se/log", &json!({"type": "browser"})) {
                eprintln!("console: {log}");
            }
        }
        // Lets the browser write down what it has; then all of the group ends, whatever it is doing.
        self.session.quit();
        self.kill_all();
    }
}

/// Starts a driver and a browser whose profile and log are in this folder.
#[track_caller]
fn launch(folder: &Path, more: &[String]) -> (Process, Session) {
    let log = folder.join("driver.log");
    let mut command = process::command(artifacts::chromedriver());
    // A group of its own, so that nothing of it is left.
    command.arg("--port=0").process_group(0).stdout(std::process::Stdio::piped());
    let mut driver = Process::start("chromedriver", &mut command, &log);
    let (_, output) = driver.pipes();
    let address = webdriver::address(output.expect("the output is a pipe"));
    let address = address.unwrap_or_else(|| panic!("chromedriver did not start: {}", tail(&log, 20)));

    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    let more = more.iter().map(String::as_str);
    let arguments: Vec<&str> = ARGUMENTS.into_iter().chain([profile.as_str()]).chain(more).collect();
    let capabilities = json!({
        "browserName": "chrome",
        "goog:chromeOptions": {"binary": artifacts::chromium(), "args": arguments},
        "goog:loggingPrefs": {"browser": "ALL"},
    });
    let session = Session::new(&address, &capabilities, STARTED_WITHIN)
        .unwrap_or_else(|error| panic!("chromium did not start: {error}\n{}", tail(&log, 20)));
    (driver, session)
}

/// What a person would read, for a failed test's output.
const TOLD: &str = "return location.href + '\\n' + document.body.innerText.slice(0, 2000)";
