//! Tabs of one browser: they show the same, whichever of them runs the engine, and none of them is needed in particular. Tabs and
//! browsers that crash, and pages that nobody sees.

use allium_tests::browser::picture::save_all;
use allium_tests::browser::{Browser, Page};
use allium_tests::chat::Chat;
use allium_tests::process;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::page::{ada_and_a_page, network};

/// Sends that many messages, one as soon as the other has left the field, and does not wait for them.
const BURST: &str = "
    const [prefix, count] = arguments;
    const field = document.querySelector('[data-testid=message-input]');
    const send = document.querySelector('[data-testid=message-send]');
    let sent = 0;
    const next = () => {
        field.value = `${prefix} ${sent}`;
        field.dispatchEvent(new InputEvent('input', {bubbles: true}));
        send.click();
        sent += 1;
        window.sent = sent;
        if (sent < count) setTimeout(next, 10);
    };
    next();";

/// Says on the channel between tabs what a tab of another build would say, and what nobody would.
const STRANGER: &str = "
    const channel = new BroadcastChannel('allium-tabs');
    for (const message of [null, 7, 'leads', {}, {build: 1}, {build: 'other'}, ...arguments[0]]) channel.postMessage(message);
    channel.close();";

fn title(page: &Page) -> String {
    page.browser.script("return document.title", &[]).as_str().unwrap().to_owned()
}

fn texts(page: &Page) -> Vec<String> {
    page.messages().into_iter().map(|message| message.text).collect()
}

/// Waits until the open conversation holds these texts, in this order and each once.
#[track_caller]
fn await_texts(page: &Page, expected: &[&str]) {
    page.until(&format!("the messages {expected:?}"), |page| (texts(page) == expected).then_some(()));
}

/// What Ada has received that begins with this, in the order in which it came.
fn received(ada: &Chat, prefix: &str) -> Vec<String> {
    ada.received().into_iter().map(|message| message.text).filter(|text| text.starts_with(prefix)).collect()
}

fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix} {number}")).collect()
}

/// Two tabs of one browser with Ada's conversation open in both; the second is in front.
fn two_tabs(page: &Page, url: &str) -> (allium_tests::browser::Tab, allium_tests::browser::Tab) {
    let first = page.browser.tab();
    page.browser.open_tab(url);
    page.await_ready();
    page.open_conversation("Ada");
    (first, page.browser.tab())
}

#[test]
fn two_tabs_show_the_same_and_either_can_do_everything() {
    let network = network();
    let (ada, page, ben) = ada_and_a_page(&network.url());
    page.send("From the first tab");
    page.await_delivered("From the first tab");
    let (first, second) = two_tabs(&page, &network.url());
    assert!(page.text("take-over").is_none());
    page.await_delivered("From the first tab");
    page.send("From the second tab");
    page.await_delivered("From the second tab");
    let id = ada.send(&ben, "To both");
    ada.await_delivered(&id);
    let all = ["From the first tab", "From the second tab", "To both"];
    await_texts(&page, &all);
    page.browser.show_tab(&first);
    await_texts(&page, &all);
    page.await_delivered("From the second tab");
    page.send("Once more from the first");
    page.browser.show_tab(&second);
    page.await_delivered("Once more from the first");
    assert!(!page.path().is_empty());

    // An invite, a request, and the list of relays go through the one that leads as well.
    let carol = Chat::open("Carol", &network.url());
    carol.add(&page.invite(), "Ben", Some("Carol"));
    page.accept_request();
    page.open_conversation("Carol");
    page.send("Hello Carol");
    carol.await_message("Hello Carol");
    page.click("network-link");
    page.until("the relays", |page| (page.texts("relay").len() == network.relays().count()).then_some(()));
    page.click("network-back");
    page.browser.show_tab(&first);
    page.until("Carol", |page| page.texts("contact").iter().any(|text| text.contains("Carol")).then_some(()));

    // What is read in one tab is read in the other.
    page.open_conversation("Carol");
    page.browser.show_tab(&second);
    page.open_conversation("Carol");
    let id = ada.send(&ben, "Not seen yet");
    ada.await_delivered(&id);
    for tab in [&first, &second] {
        page.browser.show_tab(tab);
        page.until("a title that counts it", |page| title(page).starts_with("(1)").then_some(()));
    }
    page.open_conversation("Ada");
    page.await_message("Not seen yet");
    for tab in [&second, &first] {
        page.browser.show_tab(tab);
        page.until("a title that counts nothing", |page| (!title(page).starts_with('(')).then_some(()));
    }
    ada.assert_nothing_twice();
    page.assert_quiet();
}

#[test]
fn the_tab_that_is_left_goes_on_where_it_is() {
    let network = network();
    let (ada, page, ben) = ada_and_a_page(&network.url());
    page.send("Before");
    page.await_delivered("Before");
    let (first, second) = two_tabs(&page, &network.url());
    page.browser.script(BURST, &[json!("burst"), json!(40)]);
    page.until("half of the burst", |page| {
        (page.browser.script("return window.sent", &[]).as_u64()? >= 20).then_some(())
    });
    page.browser.show_tab(&first);
    page.browser.close_tab(&second);
    page.await_delivered("burst 39");
    page.paste_into("message-input", "a draft");
    assert_eq!(received(&ada, "burst"), numbered("burst", 40), "lost, repeated, or in another order");
    let expected: Vec<String> = ["Before".to_owned()].into_iter().chain(numbered("burst", 40)).collect();
    assert_eq!(texts(&page), expected);
    page.await_ready();

    // Each tab that follows may be the next, as often as one goes.
    for round in 0..2 {
        let leads = page.browser.tab();
        page.browser.open_tab(&network.url());
        let follows = page.browser.tab();
        page.await_ready();
        page.open_conversation("Ada");
        page.paste_into("message-input", &format!("draft {round}"));
        page.browser.show_tab(&leads);
        page.browser.close_tab(&follows);
        page.await_ready();
        assert_eq!(page.value("message-input"), Some(format!("draft {round}")), "the page has stayed where it was");
        page.send(&format!("round {round}"));
        page.await_delivered(&format!("round {round}"));
    }
    let id = ada.send(&ben, "And back");
    ada.await_delivered(&id);
    page.await_message("And back");
    ada.assert_nothing_twice();
    page.assert_quiet();
}

#[test]
fn a_tab_that_hangs_and_crashes_takes_nothing_with_it() {
    let network = network();
    let (ada, page, ben) = ada_and_a_page(&network.url());
    page.send("Before");
    page.await_delivered("Before");
    let leader = page.browser.renderer();
    let (first, second) = two_tabs(&page, &network.url());
    let follower = page.browser.renderer();
    assert_ne!(leader, follower, "both tabs are one process, and would crash together");
    // From here on nobody takes what the follower asks for. It says so, until the leader wakes up and does all of it.
    let burst = |prefix: &str| {
        page.browser.script(BURST, &[json!(prefix), json!(5)]);
        page.until("all of them", |page| (page.browser.script("return window.sent", &[]).as_u64()? == 5).then_some(()));
    };
    process::send(leader, Signal::SIGSTOP);
    burst("asleep");
    page.until("that nobody answers", |page| page.text("state")?.contains("another tab").then_some(()));
    page.until("what can be done", |page| page.text("problem")?.contains("isn't responding").then_some(()));
    assert_eq!(texts(&page), ["Before"], "nobody has taken them yet");
    save_all(&page, "silent");
    // One that comes now is told as well, and that nobody lets go.
    page.browser.open_tab(&network.url());
    page.until("that nobody answers", |page| page.text("take-over"));
    page.click("take-over");
    page.until("that it has to be closed", |page| page.text("take-over-status")?.contains("close").then_some(()));
    page.browser.close_tab(&second);
    process::send(leader, Signal::SIGCONT);
    page.await_delivered("asleep 4");
    page.await_ready();
    assert_eq!(page.text("problem"), None);
    assert_eq!(received(&ada, "asleep"), numbered("asleep", 5));

    process::send(leader, Signal::SIGSTOP);
    burst("unheard");
    page.paste_into("message-input", "a draft");
    process::send(leader, Signal::SIGKILL);
    page.await_delivered("unheard 4");
    page.await_ready();
    assert_eq!(page.value("message-input").as_deref(), Some("a draft"));
    assert_eq!(received(&ada, "unheard"), numbered("unheard", 5));
    let id = ada.send(&ben, "After the crash");
    ada.await_delivered(&id);
    page.await_message("After the crash");

    // Now it is the only one, and is opened anew after it has crashed too.
    page.send("Still here");
    page.await_delivered("Still here");
    page.browser.open_tab("about:blank");
    process::send(follower, Signal::SIGKILL);
    let id = ada.send(&ben, "While nobody was there");
    page.browser.go(&network.url());
    page.await_ready();
    page.open_conversation("Ada");
    page.await_message("While nobody was there");
    ada.await_delivered(&id);
    let mut all = vec!["Before".to_owned()];
    all.extend(numbered("asleep", 5));
    all.extend(numbered("unheard", 5));
    all.extend(["After the crash", "Still here", "While nobody was there"].map(str::to_owned));
    assert_eq!(texts(&page), all);
    ada.assert_nothing_twice();
    let _ = first;
}

#[test]
fn a_browser_that_is_killed_comes_back_with_everything_that_it_had_shown() {
    let network = network();
    let (ada, mut page, ben) = ada_and_a_page(&network.url());
    page.send("Delivered before");
    page.await_delivered("Delivered before");
    let id = ada.send(&ben, "Received before");
    ada.await_delivered(&id);
    page.await_message("Received before");
    // Nobody takes these; each is on disk once it is shown.
    ada.kill();
    for number in 0..5 {
        page.send(&format!("queued {number}"));
    }
    let before = texts(&page);
    assert_eq!(before.len(), 7);
    page.browser.kill();
    page.browser.restart();
    page.browser.go(&network.url());
    page.await_ready();
    page.open_conversation("Ada");
    await_texts(&page, &before.iter().map(String::as_str).collect::<Vec<_>>());
    page.await_delivered("Delivered before");
    ada.restart();
    page.await_delivered("queued 4");
    assert_eq!(received(&ada, "queued"), numbered("queued", 5));
    let id = ada.send(&ben, "And on it goes");
    ada.await_delivered(&id);
    page.await_message("And on it goes");
    ada.assert_nothing_twice();
    page.assert_quiet();
}

#[test]
fn a_page_that_nobody_sees_takes_what_comes_and_counts_it() {
    let network = network();
    let (ada, page, ben) = ada_and_a_page(&network.url());
    page.send("Before");
    page.await_delivered("Before");
    let tab = page.browser.tab();
    page.browser.script(
        "window.seen = [];
        addEventListener('visibilitychange', () => window.seen.push([document.visibilityState, document.title]), true);
        new MutationObserver(() => localStorage.setItem('title', document.title))
            .observe(document.querySelector('title'), {childList: true, characterData: true, subtree: true});",
        &[],
    );
    // In front of it, a document of the same origin that is no page, and can be asked what the page has come to say.
    page.browser.open_tab(&format!("{}/worker.js", network.url()));
    for number in 0..3 {
        let id = ada.send(&ben, &format!("hidden {number}"));
        ada.await_delivered(&id);
    }
    page.until("a title that counts them", |page| {
        (page.browser.script("return localStorage.getItem('title')", &[]) == "(3) Allium").then_some(())
    });
    page.browser.show_tab(&tab);
    let seen = page.until("that it is seen again", |page| {
        let seen = page.browser.script("return window.seen", &[]);
        (seen.as_array()?.len() == 2).then_some(seen)
    });
    // What it said while nobody saw it, and what it had come to say when somebody did.
    assert_eq!(seen, json!([["hidden", "Allium"], ["visible", "(3) Allium"]]));
    page.await_message("hidden 2");
    page.until("a title that counts nothing", |page| (!title(page).starts_with('(')).then_some(()));
    page.send("After");
    ada.await_message("After");
    ada.assert_nothing_twice();
    // Browsers look for one beside a document that is no page.
    page.assert_quiet_but_for(&["favicon.ico".to_owned()]);
}

#[test]
fn a_locked_profile_is_unlocked_and_locked_in_all_tabs_at_once() {
    let network = network();
    let (ada, page, ben) = ada_and_a_page(&network.url());
    page.send("Before");
    page.await_delivered("Before");
    page.click("settings");
    page.type_into("passphrase-new", "some words");
    page.type_into("passphrase-again", "some words");
    page.click("passphrase-set");
    page.until("that it is set", |page| page.text("passphrase-status")?.contains("saved").then_some(()));
    // A profile that is open is open in a tab that comes now, too.
    let (first, second) = two_tabs(&page, &network.url());
    page.await_message("Before");
    page.assert_at_hand(&["lock"]);

    let locked = |page: &Page| {
        page.until("the page that asks for the passphrase", |page| page.value("unlock-passphrase"));
        assert!(page.texts("message").is_empty() && page.texts("contact").is_empty());
    };
    page.click("lock");
    for tab in [&first, &second] {
        page.browser.show_tab(tab);
        locked(&page);
    }
    page.type_into("unlock-passphrase", "other words");
    page.click("unlock");
    page.until("the refusal", |page| page.text("passphrase-problem")?.contains("Wrong passphrase").then_some(()));
    page.browser.show_tab(&first);
    assert_eq!(page.text("passphrase-problem"), None, "nothing was typed here");
    page.browser.show_tab(&second);
    page.type_into("unlock-passphrase", "some words");
    page.click("unlock");
    for tab in [&first, &second] {
        page.browser.show_tab(tab);
        page.await_ready();
        page.open_conversation("Ada");
        page.await_message("Before");
        page.send(if *tab == first { "From the first" } else { "From the second" });
    }
    page.await_delivered("From the first");
    page.await_delivered("From the second");

    // One is closed, whichever of the two leads. If it did, the passphrase is asked for, and leads back to the conversation.
    page.click("settings");
    page.until("the settings", |page| page.text("availability"));
    let follows = page.text("follows").is_some();
    page.open_conversation("Ada");
    page.browser.show_tab(&first);
    page.browser.close_tab(&second);
    if follows {
        page.until("the question", |page| page.value("unlock-passphrase"));
        page.type_into("unlock-passphrase", "some words");
        page.click("unlock");
        page.await_ready();
    }
    let id = ada.send(&ben, "Still open");
    ada.await_delivered(&id);
    page.await_message("Still open");
    ada.assert_nothing_twice();
    page.assert_quiet();
}

#[test]
fn what_others_say_on_the_channel_changes_nothing_but_another_build_is_told() {
    let network = network();
    let (ada, page, _) = ada_and_a_page(&network.url());
    let (first, second) = two_tabs(&page, &network.url());
    page.browser.open_tab(&network.url());
    page.await_ready();
    let third = page.browser.tab();
    page.browser.show_tab(&second);
    let nothing: Value = json!([[]]);
    page.browser.script(STRANGER, nothing.as_array().unwrap());
    page.send("Undisturbed");
    page.await_delivered("Undisturbed");
    page.browser.show_tab(&first);
    // As if the tab that leads were of another build: it does not matter to the one that really does.
    let stranger = json!({"build": "other", "from": "1", "to": null, "leads": true, "text": "?"});
    page.browser.script(STRANGER, &[json!([stranger])]);
    page.send("It still leads");
    page.await_delivered("It still leads");
    page.browser.show_tab(&second);
    page.until("that another build runs", |page| page.text("take-over"));
    save_all(&page, "elsewhere");
    // The third waited for its turn only after the second, which is given the profile first, and lets go of it again.
    page.browser.show_tab(&third);
    page.click("take-over");
    page.await_ready();
    page.click("settings");
    page.until("that this tab does the work", |page| {
        (page.text("availability").is_some() && page.text("follows").is_none()).then_some(())
    });
    page.browser.show_tab(&second);
    page.await_ready();
    page.await_message("It still leads");
    page.send("From the second tab");
    page.await_delivered("From the second tab");
    // It keeps it.
    page.browser.show_tab(&third);
    assert!(page.text("availability").is_some() && page.text("follows").is_none());
    // The one that has let go is of the same build after all, and follows.
    page.browser.show_tab(&first);
    page.await_message("From the second tab");
    page.send("Through the second tab");
    ada.await_message("Through the second tab");
    ada.assert_nothing_twice();
    page.assert_quiet();
}

#[test]
fn without_locks_tabs_take_turns_when_the_person_wants_it() {
    let network = network();
    // Another name for this computer: an insecure origin, whose pages are given no locks.
    let browser = Browser::start_with("Ben", &["--host-resolver-rules=MAP allium.test 127.0.0.1".to_owned()]);
    let url = network.url().replace("127.0.0.1", "allium.test");
    browser.go(&url);
    let page = Page { browser };
    page.await_ready();
    assert_eq!(page.browser.script("return typeof navigator.locks", &[]), "undefined");
    let ada = Chat::open("Ada", &network.url());
    page.add(&ada.invite(), "Ada");
    ada.accept_request(allium_tests::chat::Mark::default());
    page.open_conversation("Ada");
    page.send("From the first tab");
    page.await_delivered("From the first tab");
    let first = page.browser.tab();

    page.browser.open_tab(&url);
    let second = page.browser.tab();
    page.await_ready();
    page.open_conversation("Ada");
    page.await_message("From the first tab");
    page.send("From the second tab");
    page.await_delivered("From the second tab");
    page.browser.show_tab(&first);
    page.until("that another tab runs", |page| page.text("take-over"));
    page.click("take-over");
    page.await_ready();
    page.await_message("From the second tab");
    page.send("From the first tab again");
    page.await_delivered("From the first tab again");
    page.browser.show_tab(&second);
    page.until("that the other tab runs now", |page| page.text("take-over"));
    ada.assert_nothing_twice();
}
