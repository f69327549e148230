//! Makes `docs/images/chat.png`, the README's picture of two pages that chat. Run it when the page looks different:
//!
//! ```text
//! cargo xtask build && cargo run -p allium-tests --bin readme-picture
//! ```

use allium_tests::artifacts;
use allium_tests::browser::picture::{save, side_by_side};
use allium_tests::browser::{Browser, Page, Scheme};
use allium_tests::network::{Network, Options};

/// The size of each of the two pages.
const SIZE: (u32, u32) = (940, 640);

fn main() {
    let network = Network::start(&Options { page: true, ..Options::default() });
    let (ada, ben) = Page::open_two(&network.url());
    ada.look(SIZE.0, SIZE.1, Scheme::Light);
    ben.look(SIZE.0, SIZE.1, Scheme::Dark);
    ben.paste_into("contact-introduce", "Ben");
    ben.add(&ada.invite(), "Ada");
    ada.accept_request();
    ben.open_conversation("Ada");
    ada.open_conversation("Ben");
    for (from, to, text) in [
        (&ben, &ada, "Hi Ada! Your link worked."),
        (&ada, &ben, "Nice. No account, no phone number, just a tab."),
        (&ben, &ada, "And who else can read this?"),
        (&ada, &ben, "Nobody. The relays up there pass on what they cannot read."),
        (&ben, &ada, "And they do not know that it is us."),
    ] {
        from.send(text);
        to.await_message(text);
        from.await_delivered(text);
    }
    let [left, right] = [&ada, &ben].map(|page| {
        page.path();
        page.browser.script("document.activeElement?.blur()", &[]);
        page.browser.screenshot()
    });
    let path = artifacts::root().join("docs/images/chat.png");
    save(&side_by_side(&Browser::start("the picture"), &left, &right, SIZE), &path);
    println!("{}", path.display());
}
