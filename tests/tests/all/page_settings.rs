//! The page's settings: what contacts are told, who is blocked, and what the browser does with the page.

use allium_tests::browser::Page;
use allium_tests::browser::picture::save_all;
use allium_tests::chat::{Chat, Event};

use super::page::{ada_and_a_page, network};

fn is_on(page: &Page, id: &str) -> bool {
    let script = "return document.querySelector(`[data-testid=\"${arguments[0]}\"]`)?.checked";
    page.browser.script(script, &[id.into()]).as_bool().unwrap_or_default()
}

#[track_caller]
fn await_position(page: &Page, id: &str, on: bool) {
    page.until(&format!("that {id} is {on}"), |page| (is_on(page, id) == on).then_some(()));
}

fn is_read(event: &Event) -> bool {
    matches!(event, Event::Read { .. })
}

fn is_typing(event: &Event) -> bool {
    matches!(event, Event::Typing { typing: true, .. })
}

#[test]
fn contacts_are_told_what_the_person_wants_them_to_be_told() {
    let network = network();
    let (ada, page, ben) = ada_and_a_page(&network.url());
    // At first they are told both.
    let id = ada.send(&ben, "Read this");
    ada.await_delivered(&id);
    page.type_into("message-input", "a");
    let mark = allium_tests::chat::Mark::default();
    let limit = allium_tests::browser::page::PATIENCE;
    ada.expect(mark, limit, "that it is read", |event| is_read(event).then_some(()));
    ada.expect(mark, limit, "that somebody writes", |event| is_typing(event).then_some(()));

    page.click("settings");
    for id in ["switch-receipts", "switch-typing"] {
        await_position(&page, id, true);
        page.click(id);
        await_position(&page, id, false);
    }
    page.until("what becomes of the store", |page| page.text("persistence"));
    assert!(page.text("availability").unwrap().contains("open"));
    assert_eq!(page.text("follows"), None);
    page.assert_at_hand(&["switch-receipts", "switch-typing"]);
    save_all(&page, "settings");

    // They stand so in another tab, and when the page is loaded anew.
    let first = page.browser.tab();
    page.browser.open_tab(&network.url());
    let second = page.browser.tab();
    page.await_ready();
    page.click("settings");
    await_position(&page, "switch-receipts", false);
    assert!(!is_on(&page, "switch-typing"));
    page.until("that another tab does the work", |page| page.text("follows"));
    page.browser.show_tab(&first);
    page.browser.close_tab(&second);
    page.browser.reload();
    page.await_ready();

    let mark = ada.mark();
    page.open_conversation("Ada");
    let id = ada.send(&ben, "Do not tell me");
    ada.await_delivered(&id);
    page.await_message("Do not tell me");
    page.type_into("message-input", "Nor that I write");
    page.click("message-send");
    ada.await_message("Nor that I write");
    let told = ada.events();
    let since = ada.expect_all(mark, limit, "what came since", |events| Some(events.to_vec()));
    assert!(!since.iter().any(is_read), "{told:?}");
    assert!(!since.iter().any(is_typing), "{told:?}");

    page.click("settings");
    page.click("switch-typing");
    await_position(&page, "switch-typing", true);
    page.open_conversation("Ada");
    let mark = ada.mark();
    page.type_into("message-input", "now");
    ada.expect(mark, limit, "that somebody writes", |event| is_typing(event).then_some(()));
    page.assert_quiet();
}

#[test]
fn whoever_is_blocked_is_listed_and_can_come_back() {
    let network = network();
    let (ada, page, ben) = ada_and_a_page(&network.url());
    page.click("settings");
    page.until("that nobody is blocked", |page| page.text("blocked-none"));
    let carol = Chat::open("Carol", &network.url());
    carol.add(&page.invite(), "Ben", Some("Carol"));
    page.until("a request", |page| page.text("request"));
    page.click("request-block");
    page.until("that Carol is blocked", |page| page.text("blocked")?.contains("Carol").then_some(()));
    assert!(page.texts("request").is_empty());
    page.open_conversation("Ada");
    page.click("contact-block");
    page.until("that Ada is blocked", |page| page.text("contact-state")?.contains("blocked").then_some(()));
    page.browser.reload();
    page.await_ready();
    page.click("settings");
    page.until("both", |page| {
        let blocked = page.texts("blocked");
        (blocked.len() == 2 && blocked[0].contains("Ada") && blocked[1].contains("Carol")).then_some(())
    });
    save_all(&page, "settings-blocked");

    // Ada is the first of the two.
    page.click("unblock");
    page.until("Carol alone", |page| (page.texts("blocked").len() == 1).then_some(()));
    page.click("unblock");
    page.until("nobody", |page| page.text("blocked-none"));
    page.accept_request();
    page.open_conversation("Carol");
    page.send("Here you are");
    carol.await_message("Here you are");
    let id = ada.send(&ben, "Once more");
    ada.await_delivered(&id);
    page.open_conversation("Ada");
    page.await_message("Once more");
    page.assert_quiet();
}
