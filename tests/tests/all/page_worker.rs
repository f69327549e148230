//! The page's worker: what it takes off the page, whose turn it is among tabs, and what a person sees when it fails.

use allium_tests::browser::Page;
use allium_tests::browser::picture::save_all;

use super::page::{ada_and_a_page, network};

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
fn tabs_take_turns_and_nothing_is_lost_between_them() {
    let network = network();
    let (ada, page, ben) = ada_and_a_page(&network.url());
    page.send("From the first tab");
    page.await_delivered("From the first tab");
    let first = page.browser.tab();

    page.browser.open_tab(&network.url());
    let second = page.browser.tab();
    page.until("that another tab runs", |page| page.text("take-over"));
    page.browser.show_tab(&first);
    page.send("Still from the first tab");
    page.await_delivered("Still from the first tab");
    // What is said last before the turn ends must be there in the other tab, and be sent from there.
    page.send("Between the tabs");
    page.browser.show_tab(&second);
    page.click("take-over");
    page.await_ready();
    page.open_conversation("Ada");
    page.await_message("From the first tab");
    page.await_delivered("Between the tabs");
    page.send("From the second tab");
    ada.await_message("From the second tab");
    let id = ada.send(&ben, "To the second tab");
    page.await_message("To the second tab");
    ada.await_delivered(&id);

    page.browser.show_tab(&first);
    page.until("that the other tab runs now", |page| page.text("take-over"));
    page.browser.show_tab(&second);
    page.browser.close_tab(&first);
    page.await_ready();
    page.open_conversation("Ada");
    page.await_message("To the second tab");
    page.send("From the first tab again");
    page.await_delivered("From the first tab again");
    ada.assert_nothing_twice();
    assert_eq!(page.messages().len(), 6, "{:?}", page.messages());
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
    assert!(told.contains("stopped") && told.contains("reload"), "{told:?}");
    save_all(&page, "crashed");
    // The worker that has failed keeps the profile from nobody.
    page.browser.script(&format!("{RELOAD}.click()").replace("return ", ""), &[]);
    page.await_ready();
}
