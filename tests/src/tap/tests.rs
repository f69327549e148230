//! A tap that finds nothing proves nothing until it has found what was put in: links of every bad kind, and one good.

use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use allium_shared::crypto::keys::{IdentityKeypair, LinkSecret};
use allium_shared::link::{Initiator, Link, LinkStep, RelayAddressee, Responder, padded_count};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, WebSocket};
use tungstenite::{Message, accept};

use super::link::{CELL_LEN, NoLink, TAG_LEN};
use super::statistics::Structure;
use super::websocket::{NoWebSocket, Side};
use super::{Account, Finding, Secrets, Tap, analyse};
use crate::wait;

const TEXT: &str = "meet me at the old bridge";
const NAME: &str = "Adalbertine";

/// A client and a relay with a tap between them, their link's handshake done.
struct Fake {
    tap: Tap,
    client: WebSocket<TcpStream>,
    relay: WebSocket<TcpStream>,
    links: [Box<Link>; 2],
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    To,
    From,
}

impl Fake {
    fn new() -> Self {
        Self::at("/link")
    }

    fn at(path: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut tap = Tap::default();
        let address = tap.before("fake", listener.local_addr().unwrap());
        let serve = thread::spawn(move || accept(listener.accept().unwrap().0).unwrap());
        let stream = TcpStream::connect(address).unwrap();
        let (mut client, _) = tungstenite::client(format!("ws://{address}{path}"), stream).unwrap();
        let mut relay = serve.join().unwrap();

        let mut rng = ChaCha20Rng::from_seed([7; 32]);
        let secret = LinkSecret::generate(&mut rng);
        let identity = IdentityKeypair::generate(&mut rng).identity();
        let addressee = RelayAddressee { identity, link_key: secret.public() };
        let (mut initiator, hello) = Initiator::new_anonymous(&mut rng, &[1; 32], &addressee).unwrap();
        client.send(Message::binary(hello)).unwrap();
        let mut responder = Responder::new(&mut rng, &[1; 32], &identity, &secret);
        let heard = relay.read().unwrap().into_data();
        let Ok(LinkStep::Established { send: Some(answer), link: theirs }) = responder.receive(&heard) else {
            panic!("an anonymous link has two messages")
        };
        relay.send(Message::binary(answer)).unwrap();
        let heard = client.read().unwrap().into_data();
        let Ok(LinkStep::Established { send: None, link: ours }) = initiator.receive(&heard) else {
            panic!("an anonymous link has two messages")
        };
        Self { tap, client, relay, links: [ours, theirs] }
    }

    /// Sends a message one way and waits until it has arrived.
    fn send(&mut self, way: Way, message: Message) {
        let (from, to) = match way {
            Way::To => (&mut self.client, &mut self.relay),
            Way::From => (&mut self.relay, &mut self.client),
        };
        from.send(message).unwrap();
        to.read().unwrap();
    }

    fn send_record(&mut self, way: Way, record: Vec<u8>) {
        self.send(way, Message::binary(record));
    }

    /// Sends many records of several sizes both ways, made from cells by `seal`.
    fn talk(mut self, cell: impl Fn() -> Vec<u8>, seal: impl Fn(&mut Link, Vec<u8>) -> Vec<u8>) -> Self {
        for round in 0..160 {
            let (way, side) = if round % 2 == 0 { (Way::To, 0) } else { (Way::From, 1) };
            let cells = (0..padded_count(round % 31)).flat_map(|_| cell()).collect();
            let record = seal(&mut self.links[side], cells);
            self.send_record(way, record);
        }
        self
    }

    /// The good kind of talk, for bad things to stand out from.
    fn sealed() -> Self {
        Self::new().talk(plain_cell, sealed)
    }

    fn account(self) -> Account {
        let mut secrets = Secrets::default();
        secrets.add_text("the text", TEXT);
        secrets.add_text("the name", NAME);
        analyse(&self.tap.recordings(), &secrets)
    }
}

/// A cell as it would be without onion layers: a header, a text, zeros.
fn plain_cell() -> Vec<u8> {
    let mut cell = vec![0x80, 0, 0, 1, 3];
    cell.extend_from_slice(TEXT.as_bytes());
    cell.resize(CELL_LEN, 0);
    cell
}

/// A cell as it is in its onion layers: noise behind a header.
fn onion_cell() -> Vec<u8> {
    [&[0x80, 0, 0, 1, 3][..], &noise(CELL_LEN - 5)].concat()
}

fn sealed(link: &mut Link, mut cells: Vec<u8>) -> Vec<u8> {
    link.sealer.seal(&mut cells).unwrap();
    cells
}

/// Of the right size, and not sealed.
fn unsealed(_: &mut Link, cells: Vec<u8>) -> Vec<u8> {
    [cells, noise(TAG_LEN)].concat()
}

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// A record of noise, with these bytes somewhere in it.
fn noise_around(bytes: &[u8]) -> Vec<u8> {
    let mut record = noise(CELL_LEN + TAG_LEN);
    record[100..100 + bytes.len()].copy_from_slice(bytes);
    record
}

fn has(account: &Account, wanted: impl Fn(&Finding) -> bool) -> bool {
    account.findings.iter().any(wanted)
}

fn has_secret(account: &Account, name: &str) -> bool {
    has(account, |finding| matches!(finding, Finding::Secret(_, secret) if secret.starts_with(name)))
}

#[test]
fn a_good_link_is_clean() {
    let account = Fake::sealed().account();
    account.assert_clean();
    assert!(account.cells > 1000);
    assert_eq!(account.client_links().count(), 1);
    assert_eq!(account.links[0].1, Some(std::process::id()));
}

#[test]
fn a_plaintext_link_is_found() {
    let account = Fake::new().talk(plain_cell, unsealed).account();
    assert!(has_secret(&account, "the text"));
    assert!(has(&account, |finding| matches!(finding, Finding::Structure(Structure::Uneven(_)))));
    assert!(has(&account, |finding| matches!(finding, Finding::Structure(Structure::Repeated(..)))));
}

#[test]
fn cells_that_were_not_sealed_are_found_by_their_headers() {
    let account = Fake::new().talk(onion_cell, unsealed).account();
    for place in 0..5 {
        let here =
            |finding: &Finding| matches!(finding, Finding::Structure(Structure::UnevenAt(at, _)) if *at == place);
        assert!(has(&account, here), "byte {place}");
    }
}

#[test]
fn a_text_is_found_behind_masking() {
    for (way, side) in [(Way::To, Side::Client), (Way::From, Side::Server)] {
        let mut fake = Fake::sealed();
        fake.send_record(way, noise_around(TEXT.as_bytes()));
        let account = fake.account();
        assert!(has_secret(&account, "the text"), "by the {side:?}");
        assert_eq!(account.findings.len(), if way == Way::To { 1 } else { 2 }, "{:?}", account.findings);
    }
}

#[test]
fn a_text_is_found_in_other_spellings() {
    for spelled in [
        data_encoding::HEXUPPER.encode(TEXT.as_bytes()),
        data_encoding::BASE64.encode(format!("..{TEXT}").as_bytes()),
        data_encoding::BASE64URL_NOPAD.encode(format!("1{TEXT}1").as_bytes()),
    ] {
        let mut fake = Fake::sealed();
        fake.send_record(Way::To, noise_around(spelled.as_bytes()));
        assert!(has_secret(&fake.account(), "the text"), "{spelled}");
    }
}

#[test]
fn a_name_is_found_outside_of_records() {
    let account = Fake::at("/link?me=Adalbertine").talk(plain_cell, sealed).account();
    assert!(has_secret(&account, "the name"), "in the request");

    let mut fake = Fake::sealed();
    fake.send(Way::To, Message::Ping(NAME.as_bytes().to_vec().into()));
    let account = fake.account();
    assert!(has_secret(&account, "the name"), "in a ping");
    assert!(has(&account, |finding| matches!(finding, Finding::NoLink(_, NoLink::TalkingPing(Side::Client, 11)))));

    let mut fake = Fake::sealed();
    fake.send(Way::From, Message::Close(Some(CloseFrame { code: CloseCode::Policy, reason: NAME.into() })));
    assert!(has_secret(&fake.account(), "the name"), "in a close frame");
}

#[test]
fn wrong_sizes_are_found() {
    for length in [CELL_LEN, CELL_LEN + TAG_LEN + 1, 32 * CELL_LEN + TAG_LEN, TAG_LEN, 0] {
        let mut fake = Fake::sealed();
        fake.send_record(Way::To, noise(length));
        let wrong = Finding::NoLink("fake#0".into(), NoLink::RecordLength(Side::Client, length));
        assert!(has(&fake.account(), |finding| *finding == wrong), "{length} bytes");
    }
    let mut fake = Fake::sealed();
    fake.send_record(Way::From, noise(3 * CELL_LEN + TAG_LEN));
    assert!(has(&fake.account(), |finding| matches!(finding, Finding::NoLink(_, NoLink::Unfilled(3)))));
    let mut fake = Fake::sealed();
    fake.send(Way::To, Message::text("{}"));
    assert!(has(&fake.account(), |finding| matches!(finding, Finding::NoLink(_, NoLink::Text(Side::Client)))));
}

#[test]
fn repetitions_are_found() {
    let record = noise(CELL_LEN + TAG_LEN);
    let repeated = |finding: &Finding| matches!(finding, Finding::Structure(Structure::Repeated(..)));
    let mut fake = Fake::sealed();
    fake.send_record(Way::To, record.clone());
    fake.send_record(Way::From, record.clone());
    assert!(has(&fake.account(), repeated), "the same record");
    // As by a relay that passes on what it has received, under another header and at another place.
    let mut fake = Fake::sealed();
    fake.send_record(Way::To, record.clone());
    fake.send_record(Way::From, [noise(CELL_LEN + 5), record[5..CELL_LEN].to_vec(), noise(TAG_LEN)].concat());
    assert!(has(&fake.account(), repeated), "the same cell's body");
}

#[test]
fn too_little_is_no_proof() {
    let mut fake = Fake::new();
    let record = sealed(&mut fake.links[0], plain_cell());
    fake.send_record(Way::To, record);
    assert_eq!(fake.account().findings, [Finding::Structure(Structure::TooLittle(1))]);
}

#[test]
fn what_is_no_websocket_is_found() {
    use std::io::Write;

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut tap = Tap::default();
    let address = tap.before("fake", listener.local_addr().unwrap());
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"my own protocol\r\n\r\n").unwrap();
    let recorded = || tap.recordings().into_iter().find(|recording| !recording.to_relay.is_empty());
    let recording = wait::until(Duration::from_secs(5), "the recording", recorded);
    let account = analyse(&[recording], &Secrets::default());
    let no_link = |finding: &Finding| {
        matches!(finding, Finding::NoLink(_, NoLink::WebSocket(Side::Client, NoWebSocket::NoUpgrade(_))))
    };
    assert!(has(&account, no_link), "{:?}", account.findings);
}
