//! The page's worker: what it takes off the page, and what a person sees when it fails.

use allium_tests::browser::Page;
use allium_tests::browser::picture::save_all;

use super::page::network;

/// What the page's button says that loads it anew.
const RELOAD: &str = "return [...document.querySelectorAll('button')].find(one => /reload/i.test(one.textContent))";

#[test]
fn the_network_is_none_of_the_page_s_own_business() {
    let network = network();
    let page = Page::launch("Ada", "about:blank");
    page.browser.script_first(
        "window.opened = 0;
        window.WebSocket = class extends WebSocket { constructor(...all) { super(...all); window.opened += 1; } };",
    );
    page.browser.go(&network.url());
    page.await_ready();
    let of_its_own = page.browser.script(
        "return [window.opened, ...performance.getEntriesByType('resource').map(entry => new URL(entry.name).pathname)]",
        &[],
    );
    let of_its_own = of_its_own.as_array().unwrap();
    assert_eq!(of_its_own[0], 0, "the page has opened links to relays by itself");
    let files: Vec<&str> = of_its_own[1..].iter().filter_map(|path| path.as_str()).collect();
    assert!(files.iter().any(|path| path.ends_with(".wasm")), "{files:?}");
    assert!(!files.iter().any(|path| path.starts_with("/directory/")), "{files:?} are fetched by the page itself");
    page.assert_quiet();
}

#[test]
fn a_browser_that_starts_no_worker_is_told_so() {
    let network = network();
    let moved = "window.Worker = class extends Worker {
        constructor(url, options) { super(String(url).replace('worker.js', 'missing.js'), options); }
    };";
    let broken = "window.Worker = class extends Worker {
        postMessage(start, transfer) { super.postMessage({...start, module: new Uint8Array(8)}, transfer); }
    };";
    for script in ["delete window.Worker;", moved, broken] {
        let page = Page::launch("Ada", "about:blank");
        page.browser.script_first(script);
        page.browser.go(&network.url());
        let told = page.until("why there is no worker", |page| page.text("failed"));
        assert!(told.contains("browser"), "{told:?}");
        assert!(page.browser.script(RELOAD, &[]).is_object(), "there is no way to try again");
    }
}

#[test]
fn a_fault_of_the_worker_is_told_and_ends_with_a_reload() {
    let network = network();
    let page = Page::launch("Ada", "about:blank");
    page.browser.script_first(
        "window.channels = [];
        window.MessageChannel = class extends MessageChannel { constructor() { super(); window.channels.push(this); } };",
    );
    page.browser.go(&network.url());
    page.await_ready();
    page.browser.script("window.channels.forEach(channel => channel.port1.postMessage('no request'))", &[]);
    let told = page.until("that the worker has ended", |page| page.text("failed"));
    assert!(told.contains("crashed") && told.contains("reload"), "{told:?}");
    save_all(&page, "crashed");
    // The worker that has failed keeps the profile from nobody.
    page.browser.script(&format!("{RELOAD}.click()").replace("return ", ""), &[]);
    page.await_ready();
}
