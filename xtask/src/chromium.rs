//! What is compiled to wasm, run in headless Chromium.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::setup::{Browser, PageTools};
use crate::step::StepError;
use crate::workspace::Workspace;

/// What Chromium needs to be quiet, without a network of its own, and able to run as root.
const CHROMIUM_ARGS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// Has `command`, a `cargo test` for wasm, run its tests in `browser`.
pub fn have_run(
    command: &mut Command,
    workspace: &Workspace,
    page: &PageTools,
    browser: &Browser,
) -> Result<(), StepError> {
    // Tells the test runner which browser to start, and how.
    let path = workspace.scratch().join("webdriver.json");
    fs::write(&path, capabilities(&browser.chromium).to_string()).map_err(StepError::file(&path))?;
    command
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", page.test_runner())
        .env("WASM_BINDGEN_USE_BROWSER", "1")
        .env("WASM_BINDGEN_TEST_TIMEOUT", "300")
        .env("WASM_BINDGEN_TEST_DRIVER_TIMEOUT", "60")
        .env("WASM_BINDGEN_TEST_WEBDRIVER_JSON", path)
        .env("CHROMEDRIVER", &browser.chromedriver);
    Ok(())
}

/// What a WebDriver session asks of Chromium.
fn capabilities(chromium: &Path) -> Value {
    json!({ "goog:chromeOptions": { "binary": chromium, "args": CHROMIUM_ARGS } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_browser_is_the_one_that_the_set_up_found() {
        let capabilities = capabilities(Path::new("/opt/chromium"));
        assert_eq!(capabilities["goog:chromeOptions"]["binary"], "/opt/chromium");
        assert_eq!(capabilities["goog:chromeOptions"]["args"][0], "--headless");
    }
}
