//! The protocol as it runs in the page: compiled to WebAssembly, in a worker of a real browser, with the
//! browser's randomness.
#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "all of this is tests")]

use allium_shared::crypto::cgo::vectors;
use allium_shared::crypto::handshake::{CircuitKeys, ClientHandshake, ServerPublic, respond};
use allium_shared::crypto::keys::{IdentityKeypair, LinkSecret, OnionSecret};
use allium_shared::crypto::ntor_v3;
use allium_shared::link::{CELL_LEN, Initiator, LinkStep, RelayAddressee, Responder};
use allium_shared::messaging::session::OlmAccount;
use allium_shared::vectors as messages;
use allium_shared::wycheproof;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

// Where the page runs its engine.
wasm_bindgen_test_configure!(run_in_dedicated_worker);

fn rng() -> ChaCha20Rng {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    assert_ne!(seed, [0; 32], "the browser gives no randomness");
    ChaCha20Rng::from_seed(seed)
}

#[wasm_bindgen_test]
fn onion_layers_match_their_published_vectors() {
    let report = vectors::check(include_str!("../../tests/vectors/cgo.json")).unwrap();
    assert!(report.failures.is_empty(), "{} of {} vectors fail", report.failures.len(), report.vectors);
    assert!(report.vectors >= 47);
}

#[wasm_bindgen_test]
fn messages_match_their_vectors() {
    let report = messages::check(include_str!("../../tests/vectors/messages.json")).unwrap();
    let failures: Vec<_> = report.failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{failures:?}");
}

#[wasm_bindgen_test]
fn ntor_v3_matches_its_published_vector() {
    assert_eq!(ntor_v3::check_vectors(include_str!("../../tests/vectors/ntor_v3.json")), Ok(1));
}

#[wasm_bindgen_test]
fn circuit_handshakes_agree() {
    let mut rng = rng();
    let (identity, onion) = (IdentityKeypair::generate(&mut rng).identity(), OnionSecret::generate(&mut rng));
    let server = ServerPublic { identity: *identity.as_bytes(), onion_key: *onion.public().as_bytes() };
    let (client, message) = ClientHandshake::start(&mut rng, &server, b"verification").unwrap();
    let (answer, mut theirs) = respond(&mut rng, identity.as_bytes(), &onion, b"verification", &message).unwrap();
    let mut changed = answer;
    changed[answer.len() - 1] ^= 1;
    let mut ours = client.finish(&answer).unwrap();
    assert_eq!(CircuitKeys::from(&mut ours).forward, CircuitKeys::from(&mut theirs).forward);
    let (client, _) = ClientHandshake::start(&mut rng, &server, b"verification").unwrap();
    assert!(client.finish(&changed).is_err(), "an answer to somebody else is taken");
}

#[wasm_bindgen_test]
fn a_page_shakes_hands_with_a_relay_and_exchanges_records() {
    let mut rng = rng();
    let (identity, secret) = (IdentityKeypair::generate(&mut rng).identity(), LinkSecret::generate(&mut rng));
    let addressee = RelayAddressee { identity, link_key: secret.public() };
    let network = [7; 32];
    let (mut page, first) = Initiator::new_anonymous(&mut rng, &network, &addressee).unwrap();
    let mut relay = Responder::new(&mut rng, &network, &identity, &secret);
    let Ok(LinkStep::Established { send: Some(answer), link: mut at_relay }) = relay.receive(&first) else {
        panic!("the relay does not answer")
    };
    let Ok(LinkStep::Established { send: None, link: mut at_page }) = page.receive(&answer) else {
        panic!("the page does not take the answer")
    };
    let cells = vec![9; 2 * CELL_LEN];
    let mut record = cells.clone();
    at_page.sealer.seal(&mut record).unwrap();
    assert_eq!(record.len(), 2 * CELL_LEN + 16);
    assert_eq!(at_relay.opener.open(&mut record.clone()).unwrap().as_flattened(), cells);
    assert!(at_relay.opener.open(&mut record).is_err(), "a record is taken twice");
}

#[wasm_bindgen_test]
fn contacts_share_an_olm_session() {
    let (mut visitor, host) = (OlmAccount::generate(), OlmAccount::generate());
    let (mut hosts, first) = host.begin(visitor.identity(), visitor.one_time_key(), b"welcome").unwrap();
    let (mut visitors, content) = visitor.accept(host.identity(), &first).unwrap();
    assert_eq!(content, b"welcome");
    let message = visitors.encrypt(b"hello").unwrap();
    assert_eq!(hosts.decrypt(&message).unwrap(), b"hello");
}

/// Each check of Project Wycheproof's vectors, which natively is a separate test, repeated in the page.
macro_rules! wycheproof {
    ($($name:ident)*) => {$(
        #[wasm_bindgen_test]
        fn $name() {
            let json = include_str!(concat!("../../tests/vectors/wycheproof/", stringify!($name), ".json"));
            assert!(wycheproof::$name(json).unwrap() > 0);
        }
    )*};
}

wycheproof! { x25519 ed25519 aes_256_gcm chacha20_poly1305 ml_kem_768_decaps ml_kem_768_encaps }
