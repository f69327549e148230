//! Measures how fast people reach each other over a network of real processes on this machine, and prints what
//! docs/performance.md quotes:
//!
//! ```text
//! cargo xtask build && cargo run --release -p allium-tests --bin conversations
//! ```
//!
//! Everything runs on the same machine: three authorities, eight relays, the clients, and for pages two browsers. All times
//! are what whoever sits before the client would stop by hand, disks and pipes included.

#![expect(clippy::panic, clippy::expect_used, reason = "a figure that could not be measured is no figure")]

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use allium_tests::browser::{Browser, Page};
use allium_tests::chat::{Chat, ContactState, Event, Mark, PATIENCE, Pair};
use allium_tests::network::{Network, Options};
use serde_json::json;

/// Messages whose way there and back is timed.
const MESSAGES: usize = 200;

/// Clients, and browsers, that are started or meet anew.
const RUNS: usize = 9;

fn main() {
    let network = Network::start(&Options { page: true, ..Options::default() });
    let url = network.url();
    native(&url);
    pages(&url);
}

fn native(url: &str) {
    let mut ready = Vec::new();
    let mut first = Vec::new();
    let mut pair = None;
    for _ in 0..RUNS {
        let begin = Instant::now();
        let visitor = Chat::open("Ben", url);
        ready.push(begin.elapsed());
        let inviter = Chat::open("Ada", url);
        settle();
        let (link, begin) = (inviter.invite(), Instant::now());
        visitor.add(&link, "Ada", Some("Ben"));
        let name = visitor.expect(Mark::default(), PATIENCE, "the contact", |event| match event {
            Event::Contact { name, .. } => Some(name.clone()),
            _ => None,
        });
        visitor.say(&json!({"do": "send", "to": name, "text": "first"}));
        inviter.accept_request(Mark::default());
        inviter.await_message("first");
        first.push(begin.elapsed());
        let visitor_name = inviter.await_contact(Mark::default(), ContactState::Connected);
        pair = Some(Pair { inviter: Arc::new(inviter), visitor_name, visitor: Arc::new(visitor), inviter_name: name });
    }
    let pair = pair.unwrap_or_else(|| panic!("nobody met"));
    print("native: from the start of a client to ready", &mut ready);
    print("native: from an invite to the first message, accepted at once", &mut first);

    let mut ways = Vec::new();
    for number in 0..MESSAGES {
        let begin = Instant::now();
        let id = pair.visitor.send(&pair.inviter_name, &number.to_string());
        pair.visitor.await_delivered(&id);
        ways.push(begin.elapsed());
    }
    print("native: a message there and its acknowledgement back", &mut ways);

    // A contact has been away, with everything else warm: from its being ready to both being joined.
    let Pair { inviter, visitor, visitor_name, inviter_name } = &pair;
    for (who, comes, name, stays, their_name) in [
        ("guest's", visitor, visitor_name, inviter, inviter_name),
        ("inviter's", inviter, inviter_name, visitor, visitor_name),
    ] {
        let mut back = Vec::new();
        for _ in 0..RUNS {
            comes.kill();
            settle();
            let mark = stays.mark();
            comes.restart();
            let begin = Instant::now();
            stays.await_state(mark, name, PATIENCE, |state| state == ContactState::Connected);
            comes.await_state(Mark::default(), their_name, PATIENCE, |state| state == ContactState::Connected);
            back.push(begin.elapsed());
        }
        print(&format!("native: from the {who} coming back, once ready, to both being joined"), &mut back);
    }
}

/// In the page: notes when a message of one's own, the newest, is delivered.
const SEND: &str = "
    const field = document.querySelector('[data-testid=message-input]');
    field.value = arguments[0];
    field.dispatchEvent(new InputEvent('input', {bubbles: true}));
    window.took = null;
    const begin = performance.now();
    const look = new MutationObserver(() => {
        const own = [...document.querySelectorAll('[data-testid=message][data-state]')];
        const mine = own.findLast(message => message.textContent === arguments[0]);
        if (!mine || !['delivered', 'read'].includes(mine.dataset.state)) return;
        look.disconnect();
        window.took = performance.now() - begin;
    });
    look.observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true});
    document.querySelector('[data-testid=message-send]').click();";

/// In the page, before all else: notes when it first says that it is ready.
const READY: &str = "
    const look = setInterval(() => {
        if (!document.querySelector('[data-testid=state]')?.textContent.trim().endsWith('ready')) return;
        clearInterval(look);
        window.ready = performance.now();
    }, 2);";

/// In the page, before all else: notes when it is ready, and when its contact is first connected.
const BACK: &str = "
    const shows = (what, test) => {
        const look = setInterval(() => {
            if (!test()) return;
            clearInterval(look);
            window[what] = performance.now();
        }, 2);
    };
    shows('ready', () => document.querySelector('[data-testid=state]')?.textContent.trim().endsWith('ready'));
    shows('back', () => document.querySelector('[data-testid=contact][data-state=connected]'));";

fn pages(url: &str) {
    let mut ready = Vec::new();
    for _ in 0..RUNS {
        let browser = Browser::start("Ada");
        browser.script_first(READY);
        browser.go(url);
        let page = Page { browser };
        page.await_ready();
        ready.push(number(&page, "ready"));
    }
    print("pages: from opening the page in a new browser to ready", &mut ready);

    let mut first = Vec::new();
    let mut pages = None;
    for _ in 0..RUNS {
        let (ada, ben) = Page::open_two(url);
        settle();
        let (link, begin) = (ada.invite(), Instant::now());
        ben.add(&link, "Ada");
        ben.open_conversation("Ada");
        ada.accept_request();
        ben.send("first");
        ben.await_delivered("first");
        first.push(begin.elapsed());
        pages = Some((ada, ben));
    }
    print("pages: from an invite to the first message, with all clicks of a driver", &mut first);

    let (ada, ben) = pages.unwrap_or_else(|| panic!("nobody met"));
    let mut ways = Vec::new();
    for message in 0..MESSAGES {
        ben.browser.script(SEND, &[format!("number {message}").into()]);
        ways.push(number(&ben, "took"));
    }
    print("pages: a message there and its acknowledgement back, as it is drawn", &mut ways);

    // One of the two pages is loaded anew, with everything else warm.
    for (who, page) in [("guest's", &ben), ("inviter's", &ada)] {
        page.browser.script_first(BACK);
        let mut back = Vec::new();
        for _ in 0..RUNS {
            settle();
            page.browser.reload();
            page.await_ready();
            let joined = number(page, "back");
            back.push(joined.saturating_sub(number(page, "ready")));
        }
        print(&format!("pages: from the {who} page being ready, loaded anew, to being joined"), &mut back);
    }
}

/// What a script has noted, in milliseconds.
fn number(page: &Page, name: &str) -> Duration {
    let millis = page.until(name, |page| page.browser.script(&format!("return window.{name}"), &[]).as_f64());
    Duration::from_secs_f64(millis / 1000.0)
}

/// Lets clients finish what they do after their start.
fn settle() {
    thread::sleep(Duration::from_secs(2));
}

fn print(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len() - 1)).expect("there are times");
    let millis = |time: &Duration| time.as_secs_f64() * 1000.0;
    println!(
        "{what}: median {:.1} ms, 90 % within {:.1} ms, best {:.1} ms (of {})",
        millis(at(50)),
        millis(at(90)),
        millis(at(0)),
        times.len()
    );
}
