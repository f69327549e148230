//! The page keeps the authorities that its server named first: a server that names others is refused, and one that says nothing
//! is not needed.

use allium_tests::browser::Page;
use allium_tests::browser::picture::save_all;
use allium_tests::chat::{Chat, ContactState, Mark};
use allium_tests::directory;
use allium_tests::network::{Network, Options};
use allium_tests::origin::{Behind, Origin};

use super::page::network;

const REFUSAL: &str = "other-authorities";

fn texts(page: &Page) -> Vec<String> {
    page.messages().into_iter().map(|message| message.text).collect()
}

#[test]
fn a_site_that_names_other_authorities_is_refused_and_nothing_is_lost() {
    let network = network();
    let other = Network::start(&Options { relays: 4, authorities: 1, page: true, ..Options::default() });
    let origin = Origin::open(Behind::Port(network.port()));
    let ada = Chat::open("Ada", &network.url());
    let page = Page::open("Ben", &origin.url());
    page.add(&ada.invite(), "Ada");
    ada.accept_request(Mark::default());
    page.open_conversation("Ada");
    let ben = ada.await_contact(Mark::default(), ContactState::Connected);
    page.send("Before");
    page.await_delivered("Before");

    // The same address, another network behind it.
    origin.set(Behind::Port(other.port()));
    page.browser.reload();
    let told = page.until("the refusal", |page| page.text(REFUSAL));
    for url in [network.url(), other.url()] {
        let id = directory::authorities(&url).network().to_string();
        assert!(told.contains(&id), "{told} does not name {id}");
    }
    save_all(&page, "other-authorities");
    ada.send(&ben, "While the site is another's");
    // It stays so however often it is loaded, and the engine does not run meanwhile.
    for _ in 0..2 {
        page.browser.reload();
        page.until("the refusal again", |page| page.text(REFUSAL));
        assert!(page.texts("state").is_empty() && page.texts("message").is_empty());
    }
    let peers = page.browser.peers();
    let relays = network.relays().chain(other.relays());
    for relay in relays {
        assert!(!peers.iter().any(|peer| peer.to_string() == relay.authority()), "a link to {}", relay.nickname());
    }

    // Nobody at all names authorities: what is kept is enough, with the list of relays that is kept.
    origin.set(Behind::PortBut(other.port(), "/directory/"));
    page.browser.reload();
    page.await_ready();
    page.open_conversation("Ada");
    page.await_message("While the site is another's");
    assert_eq!(texts(&page), ["Before", "While the site is another's"]);

    // And the old network is back.
    origin.set(Behind::Port(network.port()));
    page.browser.reload();
    page.await_ready();
    page.open_conversation("Ada");
    page.send("All is well");
    page.await_delivered("All is well");
    assert_eq!(texts(&page), ["Before", "While the site is another's", "All is well"]);
}
