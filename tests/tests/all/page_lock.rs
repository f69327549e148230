//! What the page has in its browser's database: sealed, by a key of the browser's or a passphrase that the person sets.

use allium_tests::browser::picture::save_all;
use allium_tests::browser::{Browser, Page};
use allium_tests::chat::Pair;
use allium_tests::profile;
use data_encoding::BASE64;
use serde_json::{Value, json};

use super::page::{ada_and_a_page, network};

/// Which of the texts in `arguments[0]` stand anywhere in the page's databases; and what is known of the browser's key.
const SEARCH: &str = "
    const text = value => {
        if (value instanceof ArrayBuffer) value = new Uint8Array(value);
        if (value instanceof Uint8Array) return String.fromCharCode.apply(null, value.slice(0, 50000)) +
            String.fromCharCode.apply(null, value.slice(49000, 98000));
        if (value instanceof CryptoKey) return '';
        if (value && typeof value === 'object') return Object.values(value).map(text).join('\\n');
        return String(value);
    };
    return (async () => {
        let all = '', stores = [], key = null;
        for (const { name } of await indexedDB.databases()) {
            const database = await new Promise((resolve, reject) => {
                const request = indexedDB.open(name);
                request.onsuccess = () => resolve(request.result);
                request.onerror = () => reject(request.error);
            });
            for (const store of database.objectStoreNames) {
                const of = database.transaction(store).objectStore(store);
                const wait = request => new Promise(resolve => { request.onsuccess = () => resolve(request.result); });
                const [keys, values] = await Promise.all([wait(of.getAllKeys()), wait(of.getAll())]);
                all += [...keys, ...values].map(text).join('\\n');
                stores.push([store, keys.length]);
                for (const value of values) if (value.key instanceof CryptoKey) key = value.key.extractable;
            }
            database.close();
        }
        const utf8 = text => unescape(encodeURIComponent(text));
        return { found: arguments[0].filter(secret => all.includes(utf8(secret))), stores, key, bytes: all.length };
    })();";

const TEXT: &str = "A text that no disk is to show";

fn search(page: &Page, secrets: &[&str]) -> Value {
    page.browser.script(SEARCH, &[json!(secrets)])
}

#[track_caller]
fn assert_sealed(page: &Page, secrets: &[&str]) {
    let told = search(page, secrets);
    assert_eq!(told["found"], json!([]), "can be read in the database");
    assert!(told["bytes"].as_u64().unwrap() > 2000, "{told}");
    let stores: Vec<&str> = told["stores"].as_array().unwrap().iter().filter_map(|store| store[0].as_str()).collect();
    assert_eq!(stores, ["sealed", "vault"]);
}

/// Unlocks the page, and waits until it is ready.
#[track_caller]
fn unlock(page: &Page, passphrase: &str) {
    page.until("the page that asks for the passphrase", |page| page.value("unlock-passphrase"));
    page.type_into("unlock-passphrase", passphrase);
    page.click("unlock");
    page.await_ready();
}

#[track_caller]
fn await_status(page: &Page, text: &str) {
    page.until(&format!("the status {text:?}"), |page| page.text("passphrase-status")?.contains(text).then_some(()));
}

#[track_caller]
fn await_refusal(page: &Page, text: &str) {
    page.until(&format!("the refusal {text:?}"), |page| page.text("passphrase-problem")?.contains(text).then_some(()));
}

#[test]
fn a_passphrase_is_set_asked_for_changed_and_removed() {
    let network = network();
    let (ada, page, ben) = ada_and_a_page(&network.url());
    page.send(TEXT);
    page.await_delivered(TEXT);
    let secrets = [TEXT, "Ada", "contact/", "message/", "direction"];
    assert_sealed(&page, &secrets);
    assert_eq!(search(&page, &[])["key"], false, "the browser's key is there, and nobody can read it");

    page.browser.reload();
    page.await_ready();
    page.open_conversation("Ada");
    page.await_message(TEXT);
    page.click("settings");
    assert!(page.texts("lock").is_empty(), "there is nothing to lock with");
    assert!(page.texts("passphrase-current").is_empty());
    page.assert_at_hand(&["passphrase-new", "passphrase-again", "passphrase-set"]);
    save_all(&page, "passphrase");
    page.type_into("passphrase-new", "some words");
    page.type_into("passphrase-again", "some word");
    page.click("passphrase-set");
    await_refusal(&page, "don't match");
    page.type_into("passphrase-again", "s");
    page.click("passphrase-set");
    await_status(&page, "saved");
    page.assert_at_hand(&["lock", "settings", "passphrase-current", "passphrase-remove"]);
    save_all(&page, "passphrase-set");
    assert_eq!(search(&page, &[])["key"], Value::Null, "the browser's key would still open an old header");
    // The engine has gone on meanwhile.
    let id = ada.send(&ben, "While the passphrase was set");
    ada.await_delivered(&id);

    page.browser.reload();
    page.until("the page that asks for the passphrase", |page| page.value("unlock-passphrase"));
    assert!(page.texts("message").is_empty() && page.texts("contact").is_empty());
    page.assert_at_hand(&["unlock-passphrase", "unlock"]);
    save_all(&page, "locked");
    page.type_into("unlock-passphrase", "other words");
    page.click("unlock");
    await_refusal(&page, "Wrong passphrase");
    save_all(&page, "locked-wrong");
    unlock(&page, "some words");
    page.open_conversation("Ada");
    page.await_message(TEXT);
    page.await_message("While the passphrase was set");
    page.send("After it was unlocked");
    ada.await_message("After it was unlocked");
    page.await_delivered("After it was unlocked");

    page.click("lock");
    unlock(&page, "some words");
    page.open_conversation("Ada");
    page.await_message("After it was unlocked");
    page.click("settings");
    page.type_into("passphrase-current", "other words");
    page.type_into("passphrase-new", "third");
    page.type_into("passphrase-again", "third");
    page.click("passphrase-set");
    await_refusal(&page, "Wrong passphrase");
    page.paste_into("passphrase-current", "some words");
    page.click("passphrase-set");
    await_status(&page, "saved");
    page.click("lock");
    unlock(&page, "third");
    assert_sealed(&page, &secrets);

    // Another tab shows what is open, and is not given the key: once it is alone it has to ask.
    let first = page.browser.tab();
    page.browser.open_tab(&network.url());
    let second = page.browser.tab();
    page.await_ready();
    page.browser.show_tab(&first);
    page.browser.close_tab(&second);
    unlock(&page, "third");

    page.click("settings");
    page.type_into("passphrase-current", "third");
    page.click("passphrase-remove");
    await_status(&page, "removed");
    page.browser.reload();
    page.await_ready();
    page.open_conversation("Ada");
    page.await_message(TEXT);
    assert_sealed(&page, &secrets);
    assert_eq!(search(&page, &[])["key"], false);
    ada.assert_nothing_twice();
    page.assert_quiet();
}

#[test]
fn a_page_s_profile_of_old_is_sealed_and_goes_on() {
    let network = network();
    // A profile with everything in it, which a native client has written: the engine is the same.
    let pair = Pair::meet(&network.url());
    pair.assert_talking(TEXT);
    pair.visitor.kill();
    let records = profile::records(&pair.visitor.profile());
    let secrets = profile::secrets(&records);

    let page = Page::launch("Ben", &format!("{}/worker.js", network.url()));
    let encoded: Vec<Value> = records.iter().map(|(key, value)| json!([key, BASE64.encode(value)])).collect();
    let write = "
        const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
        return new Promise((resolve, reject) => {
            const request = indexedDB.open('allium', 1);
            request.onupgradeneeded = () => request.result.createObjectStore('records');
            request.onsuccess = () => {
                const transaction = request.result.transaction('records', 'readwrite');
                for (const [key, value] of arguments[0]) transaction.objectStore('records').put(bytes(value), key);
                transaction.oncomplete = () => { request.result.close(); resolve(true); };
                transaction.onerror = () => reject(transaction.error);
            };
        });";
    assert_eq!(page.browser.script(write, &[json!(encoded)]), true);
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    assert_eq!(search(&page, &secrets)["stores"][0][0], "records");
    assert!(!search(&page, &secrets)["found"].as_array().unwrap().is_empty(), "it can be read before");

    page.browser.go(&network.url());
    page.await_ready();
    page.open_conversation(&pair.inviter_name);
    page.await_message(&format!("{TEXT}!"));
    assert_sealed(&page, &secrets);
    page.send("From the page that it became");
    pair.inviter.await_message("From the page that it became");
    page.browser.reload();
    page.await_ready();
    page.open_conversation(&pair.inviter_name);
    page.await_message(&format!("{TEXT}?"));
    page.await_message("From the page that it became");
    pair.inviter.assert_nothing_twice();
    // What was opened first is no page, and has no icon.
    page.assert_quiet_but_for(&["favicon.ico".to_owned()]);
}

#[test]
fn a_damaged_profile_is_told_and_left_alone() {
    let network = network();
    let page = Page::open("Ada", &network.url());
    let change = "
        const [store, which] = arguments;
        return new Promise((resolve, reject) => {
            const request = indexedDB.open('allium');
            request.onsuccess = () => {
                const of = request.result.transaction(store, 'readwrite').objectStore(store);
                of.openCursor().onsuccess = event => {
                    const cursor = event.target.result;
                    if (which && cursor.key !== which) return cursor.continue();
                    const value = cursor.value;
                    value[60] ^= 1;
                    cursor.update(value).onsuccess = () => { request.result.close(); resolve(true); };
                };
            };
            request.onerror = () => reject(request.error);
        });";
    let before = search(&page, &[]);
    for (store, which, told) in [("vault", "header", "header is damaged"), ("sealed", "", "a record is damaged")] {
        page.browser.go(&format!("{}/worker.js", network.url()));
        assert_eq!(page.browser.script(change, &[store.into(), which.into()]), true);
        page.browser.go(&network.url());
        page.until("what is wrong", |page| page.text("failed")?.contains(told).then_some(()));
        if store == "vault" {
            save_all(&page, "damaged");
        }
        // The same bit once more makes it whole again: nothing was written meanwhile.
        page.browser.go(&format!("{}/worker.js", network.url()));
        assert_eq!(page.browser.script(change, &[store.into(), which.into()]), true);
        page.browser.go(&network.url());
        page.await_ready();
    }
    assert_eq!(search(&page, &[])["stores"][1], before["stores"][1]);
}

#[test]
fn an_insecure_origin_has_no_key_of_the_browser_s_and_says_so() {
    let network = network();
    // Another name for this computer, which a browser does not take for it.
    let browser = Browser::start_with("Ada", &["--host-resolver-rules=MAP allium.test 127.0.0.1".to_owned()]);
    let url = network.url().replace("127.0.0.1", "allium.test");
    browser.go(&url);
    let page = Page { browser };
    page.await_ready();
    assert_eq!(page.browser.script("return [isSecureContext, typeof crypto.subtle]", &[]), json!([false, "undefined"]));
    page.browser.reload();
    page.await_ready();
    page.click("settings");
    let told = page.until("what opens the profile", |page| page.text("protection"));
    assert!(told.contains("insecure"), "{told}");
    page.type_into("passphrase-new", "some words");
    page.type_into("passphrase-again", "some words");
    page.click("passphrase-set");
    await_status(&page, "saved");
    page.click("lock");
    unlock(&page, "some words");
}
