//! The page in a browser: what a person does and sees.

use std::collections::HashSet;
use std::time::Duration;

use allium_tests::browser::Page;
use allium_tests::browser::picture::save_all;
use allium_tests::chat::{Chat, ContactState, Event, Mark, PATIENCE};
use allium_tests::network::{Network, Options, Shared};
use serde_json::json;

/// What a person needs who has nobody to talk to yet.
const AT_FIRST: [&str; 5] = ["state", "invite-create", "contact-link", "contact-name", "contact-add"];

/// What a person needs in a conversation.
const IN_CONVERSATION: [&str; 3] = ["message-input", "message-send", "path"];

#[test]
fn two_pages_chat_both_ways() {
    let network = network();
    let (ada, ben) = Page::open_two(&network.url());
    ada.assert_at_hand(&AT_FIRST);
    save_all(&ada, "welcome");
    let link = ada.invite();
    assert!(link.starts_with(&network.url()), "{link} does not open the page");
    ada.assert_at_hand(&AT_FIRST);
    ada.assert_at_hand(&["invite-link"]);
    save_all(&ada, "invite");
    ben.paste_into("contact-note", "We met in Lyon, by the river.");
    ben.add(&link, "Adalbertine");
    let entry = ben.open_conversation("Adalbertine");
    assert!(entry.contains("Adalbertine"));
    let request = ada.until("a request", |page| page.text("request"));
    assert!(request.contains("We met in Lyon, by the river."), "{request}");
    assert!(ada.texts("contact").is_empty(), "nobody is a contact who was not accepted");
    save_all(&ada, "request");
    save_all(&ben, "requested");
    ada.accept_request();
    ada.until("the conversation that opens", |page| page.value("message-input"));
    for page in [&ada, &ben] {
        page.path();
        page.assert_at_hand(&IN_CONVERSATION);
    }

    let texts = [
        "Hello, who is there?",
        "<b>&amp;</b>",
        "<img src=x onerror=document.title='taken'><script>document.title='taken'</script>",
        "two\nlines, and  two  spaces",
        "Grüße, 你好, مرحبا, 👩‍👩‍👧‍👦",
        "averylongwordwithoutanyplacetobreakit".repeat(12).leak(),
    ];
    for text in texts {
        ben.send(text);
        assert_eq!(ada.await_message(text).state, None, "only one's own messages have a state");
        ben.await_delivered(text);
    }
    ada.send("An answer");
    ben.await_message("An answer");
    ada.await_delivered("An answer");
    let shown: Vec<String> = ada.messages().into_iter().map(|message| message.text).collect();
    assert_eq!(shown.len(), texts.len() + 1);
    for (shown, typed) in shown.iter().zip(texts) {
        assert!(shown.contains(typed), "{typed:?} is shown as {shown:?}");
    }
    for page in [&ada, &ben] {
        let title = page.browser.script("return document.title", &[]);
        assert!(!title.as_str().unwrap().contains("taken"), "a message was run as a program");
        let inside = "return document.querySelectorAll('[data-testid=message] :is(b, img, script)').length";
        assert_eq!(page.browser.script(inside, &[]), 0, "a message became part of the page");
    }

    let known: HashSet<String> = network.relays().map(|node| node.nickname().to_owned()).collect();
    let paths = [ada.path(), ben.path()];
    for path in &paths {
        let distinct: HashSet<String> = path.iter().cloned().collect();
        assert!(path.len() >= 3 && distinct.len() == path.len(), "{path:?}");
        assert!(distinct.is_subset(&known), "{path:?} names a relay that is not in {known:?}");
    }
    assert_eq!(paths[0].last(), paths[1].last(), "both paths end where the two meet");
    save_all(&ada, "conversation");
    // The visitor's path is longer by the relay that the inviter chose.
    save_all(&ben, "conversation-of-the-visitor");
    ada.assert_at_hand(&IN_CONVERSATION);
    ada.assert_quiet();
    ben.assert_quiet();
}

#[test]
fn a_page_and_a_native_client_compare_their_safety_number() {
    let network = network();
    let (ada, page, ben) = ada_and_a_page(&network.url());
    page.click("contact-safety");
    let shown = page.until("a safety number", |page| page.text("safety-number"));
    let mark = ada.mark();
    ada.say(&json!({"do": "safety", "name": ben}));
    let number = ada.expect(mark, PATIENCE, "the safety number", |event| match event {
        Event::Safety { number, .. } => number.clone(),
        _ => None,
    });
    let digits = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(digits(&shown), digits(&number));
    assert_eq!(digits(&number).len(), 12);
    save_all(&page, "safety");
    assert_eq!(page.text("verified"), None, "nobody has compared it yet");
    page.click("safety-verify");
    page.until("that it was compared", |page| page.text("verified"));
    save_all(&page, "safety-compared");
    page.browser.reload();
    page.await_ready();
    page.open_conversation("Ada");
    page.click("contact-safety");
    page.until("that it was compared", |page| page.text("verified"));
    page.click("safety-verify");
    page.until("that it was not", |page| page.text("verified").is_none().then_some(()));
    page.assert_quiet();
}

#[test]
fn a_page_and_a_native_client_chat_and_a_reload_loses_nothing() {
    let network = network();
    let (ada, page, ben) = ada_and_a_page(&network.url());
    page.send("From the page <b>&amp;</b>");
    assert_eq!(ada.await_message("From the page <b>&amp;</b>").from, ben);
    page.await_delivered("From the page <b>&amp;</b>");
    let id = ada.send(&ben, "From the terminal <b>&amp;</b>");
    page.await_message("From the terminal <b>&amp;</b>");
    ada.await_delivered(&id);

    // Nobody is there to take the next one, so a page that is loaded anew must have it on disk.
    ada.kill();
    page.send("For later");
    page.browser.reload();
    page.await_ready();
    page.open_conversation("Ada");
    let shown: Vec<(String, Option<String>)> =
        page.messages().into_iter().map(|message| (message.text, message.state)).collect();
    let texts: Vec<&str> = shown.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(texts, ["From the page <b>&amp;</b>", "From the terminal <b>&amp;</b>", "For later"]);
    assert_eq!(shown[0].1.as_deref(), Some("delivered"));
    assert_ne!(shown[2].1.as_deref(), Some("delivered"), "delivered to nobody");

    ada.restart();
    ada.await_message("For later");
    page.await_delivered("For later");
    let id = ada.send(&ben, "And back");
    page.await_message("And back");
    ada.await_delivered(&id);
    ada.assert_nothing_twice();
    assert_eq!(page.messages().len(), 4, "{:?}", page.messages());
    page.assert_quiet();
}

#[test]
fn a_page_invites_a_native_client() {
    let network = network();
    let page = Page::open("Ada", &network.url());
    let ben = Chat::open("Ben", &network.url());
    ben.add(&page.invite(), "Ada", Some("Ben & <i>Co</i>"));
    page.accept_request();
    let ada = ben.await_contact(Mark::default(), ContactState::Connected);
    let entry = page.open_conversation("Ben & <i>Co</i>");
    assert!(entry.contains("Ben & <i>Co</i>"), "{entry}");
    let id = ben.send(&ada, "Hello from a terminal");
    page.await_message("Hello from a terminal");
    ben.await_delivered(&id);
    page.send("Hello from a page");
    assert_eq!(ben.await_message("Hello from a page").from, ada);
    page.await_delivered("Hello from a page");
    page.assert_quiet();
}

#[test]
fn a_page_opened_by_an_invite_keeps_it_to_itself() {
    let network = network();
    let ada = Chat::open("Ada", &network.url());
    let link = ada.invite();
    let (_, fragment) = link.split_once('#').unwrap();
    let page = Page::launch("Ben", &link);
    page.await_ready();
    let traces = page.browser.script(
        "return [location.href, document.referrer, ...(window.navigation?.entries() ?? []).map(entry => entry.url)]",
        &[],
    );
    for trace in traces.as_array().unwrap() {
        assert!(!trace.as_str().unwrap().contains('#'), "the invite is still in {traces}");
    }
    page.until("the link in its field", |page| page.value("contact-link")?.contains(fragment).then_some(()));
    page.assert_at_hand(&AT_FIRST);
    page.type_into("contact-name", "Ada");
    page.click("contact-add");
    ada.accept_request(Mark::default());
    page.open_conversation("Ada");
    page.send("I came by your link");
    ada.await_message("I came by your link");
    page.await_delivered("I came by your link");
    page.assert_quiet();
}

#[test]
fn links_that_cannot_be_used_are_told_so() {
    let network = network();
    let page = Page::open("Ben", &network.url());
    let ada = Chat::open("Ada", &network.url());
    let link = ada.invite();
    for broken in ["hello there", &link[..link.len() - 5], &format!("{}#", network.url())] {
        page.paste_into("contact-link", broken);
        page.paste_into("contact-name", "Ada");
        page.click("contact-add");
        let told = page.until("what is wrong with the link", |page| {
            page.text("problem").filter(|text| text.split_whitespace().count() >= 4)
        });
        assert!(told.contains("invite"), "{told:?}");
        assert!(page.texts("contact").is_empty());
    }
    save_all(&page, "problem");
    page.paste_into("contact-link", &link);
    page.click("contact-add");
    ada.accept_request(Mark::default());
    page.open_conversation("Ada");
    page.send("At last");
    ada.await_message("At last");
    page.assert_quiet();
}

#[test]
fn the_relay_where_two_pages_meet_dies() {
    let network = Network::start(&Options { page: true, ..Options::default() });
    let (ada, ben) = Page::open_two(&network.url());
    ben.add(&ada.invite(), "Ada");
    ada.accept_request();
    ben.open_conversation("Ada");
    ada.until("the visitor", |page| (!page.texts("contact").is_empty()).then_some(()));
    ada.open_conversation("");
    ben.send("Before");
    ada.await_message("Before");

    let mut dead = Vec::new();
    for round in 0..2 {
        let meeting = ada.path().pop().unwrap();
        let node = network.node(&meeting);
        node.kill();
        dead.push(node.authority().to_owned());
        for number in 0..5 {
            ada.send(&format!("there {round} {number}"));
            ben.send(&format!("back {round} {number}"));
        }
        ada.await_delivered(&format!("there {round} 4"));
        ben.await_delivered(&format!("back {round} 4"));
        let path = ada.until("another path", |page| Some(page.path()).filter(|path| !path.contains(&meeting)));
        assert!(path.len() >= 3, "{path:?}");
    }
    for (page, way) in [(&ben, "there"), (&ada, "back")] {
        let expected: Vec<String> =
            (0..2).flat_map(|round| (0..5).map(move |number| format!("{way} {round} {number}"))).collect();
        let received: Vec<String> = page
            .messages()
            .into_iter()
            .filter(|message| message.state.is_none() && message.text.starts_with(way))
            .map(|message| message.text)
            .collect();
        assert_eq!(received, expected, "lost, repeated, or in another order");
    }
    // Browsers themselves note connections that cannot be made; nothing else may be there.
    ada.assert_quiet_but_for(&dead);
    ben.assert_quiet_but_for(&dead);
}

#[test]
fn a_page_shows_another_path_without_asking_for_it() {
    let network = Network::start(&Options { page: true, ..Options::default() });
    let ada = Chat::open("Ada", &network.url());
    let page = Page::launch("Ben", "about:blank");
    page.browser.script_first(
        "window.asked = [];
        const post = MessagePort.prototype.postMessage;
        MessagePort.prototype.postMessage = function (request, ...more) {
            window.asked.push(request);
            return post.call(this, request, ...more);
        };",
    );
    page.browser.go(&network.url());
    page.await_ready();
    page.add(&ada.invite(), "Ada");
    ada.accept_request(Mark::default());
    page.open_conversation("Ada");
    let path = page.path();
    let asked = page.browser.script("return window.asked", &[]);
    assert!(asked.to_string().contains("add"), "{asked} are not the requests of the page");
    network.node(path.last().unwrap()).kill();
    page.until("another path", |page| {
        let now: Vec<String> = page.text("path")?.split_whitespace().map(str::to_owned).collect();
        (!now.is_empty() && now.last() != path.last()).then_some(())
    });
    // Longer than the page once waited before it asked again.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(page.browser.script("return window.asked", &[]), asked, "the page has asked for something");
}

/// Ada's terminal, and a page that has her as a contact and her conversation open; with the name that she knows it by.
pub(crate) fn ada_and_a_page(url: &str) -> (Chat, Page, String) {
    let ada = Chat::open("Ada", url);
    let page = Page::open("Ben", url);
    page.add(&ada.invite(), "Ada");
    ada.accept_request(Mark::default());
    page.open_conversation("Ada");
    let ben = ada.await_contact(Mark::default(), ContactState::Connected);
    (ada, page, ben)
}

/// A network with the page.
pub(crate) fn network() -> Shared {
    // Fails here, and not later with half a page, if there is none.
    allium_tests::artifacts::page();
    Network::shared()
}
