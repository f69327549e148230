//! The page that shows the network: what was signed and nothing else, renewed while one looks, and a way there and back on which
//! nothing is lost.

use std::collections::BTreeMap;

use allium_shared::netdir::{Consensus, RelayEntry};
use allium_tests::artifacts;
use allium_tests::browser::picture::{save, save_all};
use allium_tests::browser::{Page, Scheme};
use allium_tests::chat::{Chat, Mark};
use allium_tests::directory::Record;
use allium_tests::largest::Largest;
use allium_tests::network::{Network, Options};
use serde_json::Value;

use super::page::{ada_and_a_page, network};

/// A relay as the table shows it: roles and weight, by name.
type Rows = BTreeMap<String, (String, String)>;

#[test]
fn it_shows_what_the_authorities_have_signed() {
    let network = network();
    let page = Page::launch("Ada", &format!("{}network", network.url()));
    let count = network.relays().count();
    page.until("all relays", |page| (rows(page).len() == count).then_some(()));
    let mut record = Record::new(allium_tests::directory::authorities(&network.url()));
    page.until("what the directory has too", |page| {
        let consensus = record.held(&network.url())?;
        (rows(page) == expected(&consensus)).then_some(())
    });
    assert_eq!(page.texts("floret").len(), count, "each relay has a floret");
    let signed = page.text("network-signed").unwrap();
    assert!(signed.contains("of 3 authorities") && signed.contains("2 required"), "{signed}");
    assert_eq!(page.texts("authority").len(), 3);
    for fact in ["network-begin", "network-next", "network-end"] {
        assert!(page.text(fact).is_some_and(|text| !text.is_empty()), "{fact} is missing");
    }
    save_all(&page, "network");
    // All of it, as if the screen were that high.
    for (width, height, look) in [(1280, 1400, "wide"), (390, 2600, "phone")] {
        page.look(width, height, Scheme::Light);
        page.assert_fits();
        save(&page.browser.screenshot(), &artifacts::screenshots().join(format!("network-whole-{look}.png")));
    }
    page.look(1100, 760, Scheme::Light);

    // A relay's facts, by the keyboard.
    let relay = record.held(&network.url()).unwrap().relays()[0].clone();
    page.type_into("network-search", relay.identity.to_hex().get(..20).unwrap());
    page.until("the one that was searched", |page| (rows(page).len() == 1).then_some(()));
    page.type_into("relay-more", "\u{e007}");
    let facts = page.until("its facts", |page| page.text("relay-facts"));
    assert!(facts.contains(&relay.identity.to_hex()) && facts.contains(relay.url.as_str()), "{facts}");
    save_all(&page, "network-relay");
    page.assert_quiet();
}

#[test]
fn a_dead_relay_leaves_it_and_the_way_back_loses_nothing() {
    let network = Network::start(&Options { page: true, ..Options::default() });
    let (ada, page, ben) = ada_and_a_page(&network.url());
    page.send("Before");
    page.await_delivered("Before");
    page.paste_into("message-input", "a draft");
    page.assert_at_hand(&["network-link"]);
    page.click("network-link");
    let count = network.relays().count();
    page.until("all relays", |page| (rows(page).len() == count).then_some(()));
    assert!(page.browser.script("return location.pathname", &[]) == "/network");
    assert_eq!(page.texts("floret").len(), count);
    let carriers = ada.conversation_path();
    let victim = network.relays().find(|node| !carriers.contains(&node.nickname().to_owned())).unwrap();
    victim.kill();
    page.until("a list without the dead relay", |page| {
        let rows = rows(page);
        (rows.len() == count - 1 && !rows.contains_key(victim.nickname())).then_some(())
    });
    assert!(!page.texts("floret").iter().any(|text| text.starts_with(&format!("{} ", victim.nickname()))));
    // What comes meanwhile waits to be read.
    let id = ada.send(&ben, "While you looked");
    ada.await_delivered(&id);
    page.until("a title that counts it", |page| {
        page.browser.script("return document.title", &[]).as_str()?.starts_with("(1)").then_some(())
    });

    page.browser.script("history.back()", &[]);
    page.await_message("While you looked");
    assert_eq!(page.value("message-input").as_deref(), Some("a draft"));
    page.send("After");
    ada.await_message("After");
    // There and back by the page's own arrow, too.
    page.click("network-link");
    page.click("network-back");
    page.await_message("After");
    assert_eq!(page.browser.script("return location.pathname", &[]), "/");
    page.assert_quiet_but_for(&[victim.authority().to_owned()]);
}

#[test]
fn an_invite_is_neither_lost_nor_leaked_by_it() {
    let network = network();
    let ada = Chat::open("Ada", &network.url());
    let link = ada.invite();
    let (_, fragment) = link.split_once('#').unwrap();
    let page = Page::launch("Ben", &format!("{}network#{fragment}", network.url()));
    page.await_ready();
    page.until("the link in its field", |page| page.value("contact-link")?.contains(fragment).then_some(()));
    page.click("network-link");
    page.until("the relays", |page| (!rows(page).is_empty()).then_some(()));
    let traces = page.browser.script(
        "return [location.href, document.documentElement.outerHTML,
            ...(window.navigation?.entries() ?? []).map(entry => entry.url)]",
        &[],
    );
    assert!(!traces.to_string().contains(fragment), "the invite has left a trace");
    page.click("network-back");
    page.until("the link in its field", |page| page.value("contact-link")?.contains(fragment).then_some(()));
    page.type_into("contact-name", "Ada");
    page.click("contact-add");
    ada.accept_request(Mark::default());
    page.open_conversation("Ada");
    page.send("After a detour");
    ada.await_message("After a detour");
    page.assert_quiet();
}

#[test]
fn a_second_tab_shows_it_through_the_first_and_goes_on_alone() {
    let network = Network::start(&Options { page: true, ..Options::default() });
    let page = Page::open("Ada", &network.url());
    let first = page.browser.tab();
    page.browser.open_tab(&format!("{}network", network.url()));
    let second = page.browser.tab();
    let count = network.relays().count();
    page.until("the relays", |page| (rows(page).len() == count).then_some(()));

    // The list is followed on, through whichever tab.
    page.browser.show_tab(&first);
    page.browser.close_tab(&second);
    let victim = network.relays().next().unwrap();
    victim.kill();
    page.until("a list without the dead relay", |page| {
        (rows(page).len() == count - 1 && !rows(page).contains_key(victim.nickname())).then_some(())
    });
    page.click("network-back");
    page.await_ready();
    page.assert_quiet_but_for(&[victim.authority().to_owned()]);
}

#[test]
fn ten_thousand_relays_are_at_hand() {
    let largest = Largest::serve();
    let page = Page::launch("Ada", &format!("{}/network", largest.url()));
    let count = page.until("how many relays there are", |page| page.text("network-count"));
    assert_eq!(count, "10,000 relays");
    assert!(page.text("network-signed").unwrap().contains("9 of 9 authorities"));
    assert!(page.text("network-rest").unwrap().contains("9,600"), "{:?}", page.text("network-rest"));
    let shown = rows(&page);
    assert!((2..=100).contains(&shown.len()), "{} rows at once", shown.len());
    let all = expected(largest.consensus());
    assert!(shown.iter().all(|(name, row)| all.get(name) == Some(row)), "{shown:?}");
    let heaviest = largest.consensus().relays().iter().map(|relay| relay.weight).max().unwrap();
    assert!(
        shown.values().all(|(_, weight)| weight.parse::<u32>().unwrap() > heaviest / 100),
        "not the heaviest first"
    );
    save_all(&page, "network-of-10000");

    page.click("page-next");
    page.until("other rows", |page| rows(page).keys().all(|name| !shown.contains_key(name)).then_some(()));
    page.click("role-exit");
    let found = page.until("exits only", |page| page.text("network-found").filter(|text| text.contains(" of ")));
    let exits = all.values().filter(|(roles, _)| roles.split(' ').any(|role| role == "exit")).count();
    assert!(found.replace(',', "").starts_with(&format!("{exits} of 10000")), "{found}, not {exits}");
    page.type_into("network-search", "relay4321");
    page.until("the one that was searched", |page| {
        (rows(page).keys().collect::<Vec<_>>() == ["relay4321"]).then_some(())
    });
}

fn rows(page: &Page) -> Rows {
    let script = "return [...document.querySelectorAll('[data-testid=relay]')]
        .map(row => [row.dataset.name, row.dataset.roles, row.dataset.weight])";
    let list = page.browser.script(script, &[]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = list.as_array().cloned().unwrap_or_default().into_iter();
    rows.map(|row| (text(&row[0]), (text(&row[1]), text(&row[2])))).collect()
}

fn expected(consensus: &Consensus) -> Rows {
    let row = |relay: &RelayEntry| {
        let roles: Vec<&str> = relay.roles.iter().map(|role| role.as_str()).collect();
        (relay.nickname.to_string(), (roles.join(" "), relay.weight.to_string()))
    };
    consensus.relays().iter().map(row).collect()
}
