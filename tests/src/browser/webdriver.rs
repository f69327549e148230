//! W3C WebDriver over HTTP and JSON, as far as it is needed here.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::process::ChildStdout;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;

/// How long one command may take; loading a page on a busy machine is the longest.
const COMMAND_TIME: Duration = Duration::from_secs(60);

/// A session of a browser.
#[derive(Debug)]
pub(super) struct Session {
    agent: Agent,
    url: String,
}

/// Why a command failed.
#[derive(Debug)]
pub(super) enum WebDriverError {
    /// The driver cannot be asked.
    Http(ureq::Error),
    /// The driver says no: an error code of the standard, and what it has to say about it.
    Refused(String, String),
}

impl WebDriverError {
    /// Whether it may go away when the page has been drawn.
    pub(super) fn may_pass(&self) -> bool {
        const PASSING: [&str; 4] =
            ["no such element", "stale element reference", "element not interactable", "element click intercepted"];
        matches!(self, Self::Refused(code, _) if PASSING.contains(&code.as_str()))
    }
}

impl fmt::Display for WebDriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => error.fmt(f),
            Self::Refused(code, message) => write!(f, "{code}: {message}"),
        }
    }
}

impl From<ureq::Error> for WebDriverError {
    fn from(error: ureq::Error) -> Self {
        Self::Http(error)
    }
}

/// The address of a driver that has just been started, from what it says about it; nothing if it ends first.
pub(super) fn address(output: ChildStdout) -> Option<String> {
    let mut lines = BufReader::new(output);
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            let port = port.trim().trim_end_matches('.').to_owned();
            // It goes on writing now and then, and must not find the pipe full or closed.
            thread::spawn(move || drop(lines.read_to_end(&mut Vec::new())));
            return Some(format!("http://127.0.0.1:{port}"));
        }
        line.clear();
    }
    None
}

impl Session {
    /// Starts a browser.
    pub(super) fn new(driver: &str, capabilities: &Value, limit: Duration) -> Result<Self, WebDriverError> {
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(COMMAND_TIME.max(limit)));
        let mut session = Self { agent: config.build().into(), url: format!("{driver}/session") };
        let answer = session.post("", &json!({"capabilities": {"alwaysMatch": capabilities}}))?;
        let id = answer["sessionId"].as_str().unwrap_or_default();
        session.url = format!("{}/{id}", session.url);
        Ok(session)
    }

    /// Asks for something.
    pub(super) fn get(&self, command: &str) -> Result<Value, WebDriverError> {
        value(self.agent.get(self.address(command)).call()?)
    }

    /// Has something done.
    pub(super) fn post(&self, command: &str, body: &Value) -> Result<Value, WebDriverError> {
        value(self.agent.post(self.address(command)).send_json(body)?)
    }

    /// Has something removed.
    pub(super) fn delete(&self, command: &str) -> Result<Value, WebDriverError> {
        value(self.agent.delete(self.address(command)).call()?)
    }

    /// Ends the browser; it does not matter if it has ended before.
    pub(super) fn quit(&self) {
        let _ = self.agent.delete(&self.url).call();
    }

    fn address(&self, command: &str) -> String {
        if command.is_empty() { self.url.clone() } else { format!("{}/{command}", self.url) }
    }
}

/// The value of an answer, or the error in it.
fn value(mut answer: ureq::http::Response<ureq::Body>) -> Result<Value, WebDriverError> {
    // A screenshot of a large page is longer than the library's own limit.
    let mut body: Value = answer.body_mut().with_config().limit(64 << 20).read_json()?;
    let value = body["value"].take();
    match value["error"].as_str() {
        Some(code) if !answer.status().is_success() => {
            let message = value["message"].as_str().unwrap_or_default();
            let first = message.lines().next().unwrap_or_default();
            Err(WebDriverError::Refused(code.to_owned(), first.to_owned()))
        }
        _ => Ok(value),
    }
}
