use core::convert::Infallible;

use data_encoding::HEXLOWER;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{SeedableRng as _, TryCryptoRng, TryRng};
use serde_json::Value;

use super::*;
use crate::crypto::cgo::hazmat::FromParts as _;
use crate::crypto::cgo::{BODY_LEN, ClientBackward, ClientForward, RelayBackward, RelayForward};
use crate::rendezvous::service_identity;

const IDENTITY: [u8; 32] = [7; 32];
const VERIFICATION: &[u8] = b"known to both";

struct Fixture {
    rng: ChaCha20Rng,
    onion_key: OnionSecret,
    server: ServerPublic,
}

impl Fixture {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let onion_key = OnionSecret::generate(&mut rng);
        let server = ServerPublic { identity: IDENTITY, onion_key: onion_key.public().0 };
        Self { rng, onion_key, server }
    }

    fn start(&mut self) -> (ClientHandshake, [u8; CLIENT_MESSAGE_LEN]) {
        ClientHandshake::start(&mut self.rng, &self.server, VERIFICATION).unwrap()
    }

    fn respond(&mut self, client_message: &[u8]) -> Result<([u8; SERVER_MESSAGE_LEN], KeyStream), HandshakeError> {
        respond(&mut self.rng, &IDENTITY, &self.onion_key, VERIFICATION, client_message)
    }
}

fn bytes(mut stream: KeyStream) -> [u8; 180] {
    let mut bytes = [0; 180];
    stream.read(&mut bytes);
    bytes
}

#[test]
fn both_sides_get_the_same_keys() {
    let mut fixture = Fixture::new();
    let (client, client_message) = fixture.start();
    assert_eq!(wanted_onion_key(&client_message), Some(fixture.server.onion_key));
    let (server_message, mut server_stream) = fixture.respond(&client_message).unwrap();
    let mut client_stream = client.finish(&server_message).unwrap();
    let keys = [CircuitKeys::from(&mut client_stream), CircuitKeys::from(&mut server_stream)];
    assert_eq!(keys[0].forward, keys[1].forward);
    assert_eq!(keys[0].backward, keys[1].backward);
    assert_eq!(keys[0].binding, keys[1].binding);
    assert_ne!(keys[0].forward, keys[0].backward);
}

#[test]
fn an_introduction_carries_its_payload_and_names_nobody() {
    let mut fixture = Fixture::new();
    let payload: [u8; PAYLOAD_LEN] = core::array::from_fn(|n| n as u8);
    let (client, introduction) =
        ClientHandshake::introduce(&mut fixture.rng, &fixture.server, VERIFICATION, &payload).unwrap();
    let holds = |needle: &[u8]| introduction.windows(needle.len()).any(|window| window == needle);
    assert!(!holds(&IDENTITY) && !holds(&fixture.server.onion_key) && !holds(&payload[..16]));
    let (server, received) =
        ServerHandshake::receive(&IDENTITY, &fixture.onion_key, VERIFICATION, &introduction).unwrap();
    assert_eq!(received, payload);
    let (answer, stream) = server.reply(&mut fixture.rng).unwrap();
    assert_eq!(bytes(client.finish(&answer).unwrap()), bytes(stream));
}

#[test]
fn an_introduction_for_others_or_with_a_changed_bit_is_refused() {
    let mut fixture = Fixture::new();
    let (_, introduction) =
        ClientHandshake::introduce(&mut fixture.rng, &fixture.server, VERIFICATION, &[5; PAYLOAD_LEN]).unwrap();
    let other = OnionSecret::generate(&mut fixture.rng);
    let receive = |identity: &[u8; 32], key: &OnionSecret, verification: &[u8], message: &[u8]| {
        ServerHandshake::receive(identity, key, verification, message).err()
    };
    let refused = Some(HandshakeError::Ntor(NtorError::Authentication));
    assert_eq!(receive(&IDENTITY, &fixture.onion_key, VERIFICATION, &introduction), None);
    assert_eq!(receive(&[8; 32], &fixture.onion_key, VERIFICATION, &introduction), refused);
    assert_eq!(receive(&IDENTITY, &other, VERIFICATION, &introduction), refused);
    assert_eq!(receive(&IDENTITY, &fixture.onion_key, b"another", &introduction), refused);
    for at in (0..INTRODUCTION_LEN).step_by(7) {
        let mut changed = introduction;
        changed[at] ^= 1;
        assert!(receive(&IDENTITY, &fixture.onion_key, VERIFICATION, &changed).is_some(), "byte {at}");
    }
    assert!(receive(&IDENTITY, &fixture.onion_key, VERIFICATION, &introduction[1..]).is_some());
}

#[test]
fn messages_fit_three_cells() {
    const { assert!(CLIENT_MESSAGE_LEN == 1314 && SERVER_MESSAGE_LEN == 1154) };
    const { assert!(CLIENT_MESSAGE_LEN <= 1360 && SERVER_MESSAGE_LEN <= 1360) };
}

/// Gives out bytes that were chosen, and no more.
struct Replay<'a>(&'a [u8]);

impl TryRng for Replay<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unimplemented!("handshakes take bytes")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unimplemented!("handshakes take bytes")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        let (bytes, rest) = self.0.split_at(out.len());
        out.copy_from_slice(bytes);
        self.0 = rest;
        Ok(())
    }
}

impl TryCryptoRng for Replay<'_> {}

/// Randomness, messages and key stream stay what they are: other bytes are another version.
#[test]
fn the_format_does_not_change() {
    let vector: Value = serde_json::from_str(include_str!("../../../../tests/vectors/circuit_handshake.json")).unwrap();
    let field = |name: &str| HEXLOWER.decode(vector[name].as_str().unwrap().as_bytes()).unwrap();
    let identity = field("identity").try_into().unwrap();
    let onion_key = OnionSecret::from_bytes(&field("onion_secret").try_into().unwrap());
    let server = ServerPublic { identity, onion_key: onion_key.public().0 };
    let verification = field("verification");
    let (client_random, server_random) = (field("client_random"), field("server_random"));

    let mut random = Replay(&client_random);
    let (client, client_message) = ClientHandshake::start(&mut random, &server, &verification).unwrap();
    assert!(random.0.is_empty());
    assert_eq!(HEXLOWER.encode(&client_message), vector["client_message"]);
    let mut random = Replay(&server_random);
    let (server_message, _) = respond(&mut random, &identity, &onion_key, &verification, &client_message).unwrap();
    assert!(random.0.is_empty());
    assert_eq!(HEXLOWER.encode(&server_message), vector["server_message"]);
    assert_eq!(HEXLOWER.encode(&bytes(client.finish(&server_message).unwrap())), vector["key_stream"]);
}

/// The same for introductions: what does not travel counts all the same.
#[test]
fn the_format_of_introductions_does_not_change() {
    let file: Value = serde_json::from_str(include_str!("../../../../tests/vectors/circuit_handshake.json")).unwrap();
    let vector = &file["introduction"];
    let field = |name: &str| HEXLOWER.decode(vector[name].as_str().unwrap().as_bytes()).unwrap();
    let identity: [u8; 32] = field("identity").try_into().unwrap();
    let service_key = OnionSecret::from_bytes(&field("service_secret").try_into().unwrap());
    let server = ServerPublic { identity, onion_key: service_key.public().0 };
    assert_eq!(service_identity(&server.onion_key), identity);
    let (verification, payload) = (field("verification"), field("payload").try_into().unwrap());
    let (client_random, server_random) = (field("client_random"), field("server_random"));
    let whole = |mut stream: KeyStream| {
        let mut bytes = [0; 276];
        stream.read(&mut bytes);
        HEXLOWER.encode(&bytes)
    };

    let mut random = Replay(&client_random);
    let (client, introduction) = ClientHandshake::introduce(&mut random, &server, &verification, &payload).unwrap();
    assert!(random.0.is_empty());
    assert_eq!(HEXLOWER.encode(&introduction), vector["introduction"]);
    let (host, received) =
        ServerHandshake::receive(&identity, &service_key, &verification, &field("introduction")).unwrap();
    assert_eq!(received, payload);
    let mut random = Replay(&server_random);
    let (server_message, stream) = host.reply(&mut random).unwrap();
    assert!(random.0.is_empty());
    assert_eq!(HEXLOWER.encode(&server_message), vector["server_message"]);
    assert_eq!(whole(stream), vector["key_stream"]);
    assert_eq!(whole(client.finish(&server_message).unwrap()), vector["key_stream"]);
}

#[test]
fn another_onion_key_identity_or_verification_fails_at_the_server() {
    let mut fixture = Fixture::new();
    let (_, message) = fixture.start();
    let Fixture { mut rng, onion_key, .. } = fixture;
    let mut fails =
        |identity, key, verification| respond(&mut rng, identity, key, verification, &message).map(drop).unwrap_err();

    let other_key = OnionSecret::from_bytes(&[1; 32]);
    assert_eq!(fails(&IDENTITY, &other_key, VERIFICATION), NtorError::OtherOnionKey.into());
    assert_eq!(fails(&[8; 32], &onion_key, VERIFICATION), NtorError::OtherIdentity.into());
    assert_eq!(fails(&IDENTITY, &onion_key, b""), NtorError::Authentication.into());
}

#[test]
fn another_client_cannot_finish() {
    let mut fixture = Fixture::new();
    let (_, message) = fixture.start();
    let (other, _) = fixture.start();
    let (answer, _) = fixture.respond(&message).unwrap();
    assert_eq!(other.finish(&answer).map(drop), Err(NtorError::Authentication.into()));
}

#[test]
fn wrong_lengths_are_named() {
    let mut fixture = Fixture::new();
    let (_, message) = fixture.start();
    let (answer, _) = fixture.respond(&message).unwrap();
    for len in [0, 1, 2, 100, CLIENT_MESSAGE_LEN - 1, CLIENT_MESSAGE_LEN + 1, 4096] {
        let mut wrong = message.to_vec();
        wrong.resize(len, 0);
        let expected = HandshakeError::Length { len, expected: CLIENT_MESSAGE_LEN };
        assert_eq!(fixture.respond(&wrong).map(drop), Err(expected));
    }
    for len in [0, 1, 2, 100, SERVER_MESSAGE_LEN - 1, SERVER_MESSAGE_LEN + 1, 4096] {
        let mut wrong = answer.to_vec();
        wrong.resize(len, 0);
        let expected = HandshakeError::Length { len, expected: SERVER_MESSAGE_LEN };
        assert_eq!(fixture.start().0.finish(&wrong).map(drop), Err(expected));
    }
    assert_eq!(wanted_onion_key(&message[..65]), None);
}

#[test]
fn other_versions_are_named() {
    let mut fixture = Fixture::new();
    let (client, mut message) = fixture.start();
    let (mut answer, _) = fixture.respond(&message).unwrap();
    message[1] = 2;
    assert_eq!(fixture.respond(&message).map(drop), Err(HandshakeError::Version(2)));
    assert_eq!(fixture.respond(&message[..40]).map(drop), Err(HandshakeError::Version(2)));
    answer[0] = 1;
    assert_eq!(client.finish(&answer).map(drop), Err(HandshakeError::Version(257)));
}

#[test]
fn every_changed_byte_of_the_server_is_noticed() {
    let mut fixture = Fixture::new();
    let (client, message) = fixture.start();
    let (honest, _) = fixture.respond(&message).unwrap();
    assert!(client.finish(&honest).is_ok());
    // Ephemeral key, authentication, and the encrypted ML-KEM ciphertext.
    for at in 2..SERVER_MESSAGE_LEN {
        let mut fixture = Fixture::new();
        let (client, _) = fixture.start();
        let mut answer = honest;
        answer[at] ^= 1;
        assert_eq!(client.finish(&answer).map(drop), Err(NtorError::Authentication.into()), "byte {at}");
    }
}

/// A server that sends another ciphertext than it uses passes ntor v3, and gets another key stream.
#[test]
fn another_ml_kem_ciphertext_gives_other_keys() {
    for at in 0..CIPHERTEXT_LEN {
        let mut fixture = Fixture::new();
        let (client, message) = fixture.start();
        let inner = unframe::<CLIENT_MESSAGE_LEN>(&message).unwrap();
        let (ntor, encapsulation_key) =
            Server::receive(protocol(VERIFICATION), &IDENTITY, &fixture.onion_key, inner).unwrap();
        let (mut ciphertext, secret) = encapsulate_to(&mut fixture.rng, &encapsulation_key).unwrap();
        ciphertext[at] ^= 1;
        let (inner, ntor_stream) = ntor.reply(&mut fixture.rng, &ciphertext).unwrap();
        let answer: [u8; SERVER_MESSAGE_LEN] = framed(&inner);
        let server_stream = combine(ntor_stream, &secret, Sha3_256::new_with_prefix(message).chain_update(answer));
        assert_ne!(bytes(client.finish(&answer).unwrap()), bytes(server_stream), "byte {at}");
    }
}

#[test]
fn a_malformed_encapsulation_key_is_refused() {
    let mut fixture = Fixture::new();
    let (_, inner) =
        Client::start(&mut fixture.rng, protocol(VERIFICATION), &fixture.server, &[0xff; ENCAPSULATION_KEY_LEN])
            .unwrap();
    let message: [u8; CLIENT_MESSAGE_LEN] = framed(&inner);
    assert_eq!(fixture.respond(&message).map(drop), Err(HandshakeError::EncapsulationKey));
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..1400), addressed: bool) {
        let mut fixture = Fixture::new();
        let mut message = bytes.clone();
        if addressed {
            message.resize(CLIENT_MESSAGE_LEN, 7);
            message[..2].copy_from_slice(&VERSION.to_be_bytes());
            message[2..34].copy_from_slice(&IDENTITY);
            message[34..66].copy_from_slice(&fixture.server.onion_key);
        }
        prop_assert!(fixture.respond(&message).is_err());
        let mut answer = bytes;
        if addressed {
            answer.resize(SERVER_MESSAGE_LEN, 7);
            answer[..2].copy_from_slice(&VERSION.to_be_bytes());
        }
        prop_assert!(fixture.start().0.finish(&answer).is_err());
    }
}

/// A circuit of one hop from its first bytes to its first cells, with all that comes between: once by the code that runs,
/// once by the formulas of the specification.
#[test]
fn the_worked_example_is_right() {
    let vector: Value = serde_json::from_str(include_str!("../../../../tests/vectors/circuit.json")).unwrap();
    let hex = |value: &Value| HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap();
    let field = |name: &str| hex(&vector[name]);
    let key = |name: &str| -> [u8; 32] { field(name).try_into().unwrap() };

    let onion_key = OnionSecret::from_bytes(&key("onion_secret"));
    let server = ServerPublic { identity: key("identity"), onion_key: onion_key.public().0 };
    assert_eq!(server.onion_key, key("onion_key"));
    let (client, client_message) = ClientHandshake::start(&mut Replay(&field("client_random")), &server, b"").unwrap();
    assert_eq!(client_message[..], field("client_message"));
    let random = field("server_random");
    let (server_message, mut theirs) =
        respond(&mut Replay(&random), &server.identity, &onion_key, b"", &client_message).unwrap();
    assert_eq!(server_message[..], field("server_message"));
    let keys = CircuitKeys::from(&mut client.finish(&server_message).unwrap());
    assert_eq!(CircuitKeys::from(&mut theirs).forward, keys.forward);
    assert_eq!(keys.forward[..], field("forward_seed"));
    assert_eq!(keys.backward[..], field("backward_seed"));
    assert_eq!(keys.binding[..], field("binding"));

    formulas(&field);

    let (mut to_relay, mut at_relay) = (ClientForward::new(&keys.forward), RelayForward::new(&keys.forward));
    let (mut to_client, mut at_client) = (RelayBackward::new(&keys.backward), ClientBackward::new(&keys.backward));
    for cell in vector["cells"].as_array().unwrap() {
        let command = cell["command"].as_u64().unwrap() as u8;
        let payload = hex(&cell["payload"]);
        let mut plain = [0; BODY_LEN];
        plain[16..][..payload.len()].copy_from_slice(&payload);
        let mut body = plain;
        let from_client = cell["from"] == "client";
        let sent =
            if from_client { to_relay.originate(command, &mut body) } else { to_client.originate(command, &mut body) };
        assert_eq!(body[..], hex(&cell["body"]));
        let received =
            if from_client { at_relay.process(command, &mut body) } else { at_client.process(command, &mut body) };
        assert_eq!(received, Some(sent));
        assert_eq!(sent[..], hex(&cell["sendme_tag"]));
        assert_eq!(body[16..], plain[16..]);
        let both = if from_client {
            [to_relay.to_parts(), at_relay.to_parts()]
        } else {
            [to_client.to_parts(), at_client.to_parts()]
        };
        for after in both {
            assert_eq!(after.keys.as_flattened(), hex(&cell["state_after"]["keys"]));
            assert_eq!(after.nonce[..], hex(&cell["state_after"]["nonce"]));
            assert_eq!(after.last_tag[..], hex(&cell["state_after"]["tag"]));
        }
    }
}

/// The formulas of the specification's section 7, written once more.
fn formulas(field: &dyn Fn(&str) -> Vec<u8>) {
    const PROTOID: &[u8] = b"allium-ntor3-curve25519-mlkem768-sha3_256-1";
    let encap = |bytes: &[u8]| [&(bytes.len() as u64).to_be_bytes(), bytes].concat();
    let tweaked = |tweak: &str| encap(&[PROTOID, tweak.as_bytes()].concat());
    let hash = |secret: &[u8], tweak| Sha3_256::digest([tweaked(tweak), secret.to_vec()].concat()).to_vec();
    let kdf = |secret: &[u8], tweak, len| {
        let mut out = vec![0; len];
        let mut kdf = Shake256::default();
        shake::Update::update(&mut kdf, &[tweaked(tweak), secret.to_vec()].concat());
        kdf.finalize_xof_into(&mut out);
        out
    };
    let join = |names: &[&str]| names.iter().map(|name| field(name)).collect::<Vec<_>>().concat();
    let (client_message, server_message) = (field("client_message"), field("server_message"));
    let no_verification = encap(b"");

    let phase1 = [&join(&["Bx", "identity", "X", "onion_key"]), PROTOID, &no_verification].concat();
    assert_eq!(kdf(&phase1, ":kdf_phase1", 64), join(&["ENC_K1", "MAC_K1"]));
    let authenticated = [&join(&["identity", "onion_key", "X"]), &client_message[98..1282]].concat();
    assert_eq!(hash(&[encap(&field("MAC_K1")), authenticated].concat(), ":msg_mac"), field("mac"));
    assert_eq!(client_message[66..98], field("X"));
    assert_eq!(client_message[1282..], field("mac"));

    let secret = [&join(&["Xy", "Bx", "identity", "onion_key", "X", "Y"]), PROTOID, &no_verification].concat();
    assert_eq!(hash(&secret, ":key_seed"), field("key_seed"));
    assert_eq!(hash(&secret, ":verify"), field("verify"));
    assert_eq!(kdf(&field("key_seed"), ":kdf_final", 96), join(&["ENC_KEY", "stream"]));
    let auth = [
        &join(&["verify", "identity", "onion_key", "Y", "X", "mac"]),
        &encap(&server_message[66..])[..],
        PROTOID,
        b"Server",
    ];
    assert_eq!(hash(&auth.concat(), ":auth_final"), field("AUTH"));
    assert_eq!(server_message[2..66], join(&["Y", "AUTH"]));

    assert_eq!(Sha3_256::digest([client_message, server_message].concat()).to_vec(), field("transcript"));
    let mut kdf = Shake256::default();
    for part in [b"allium circuit key stream 1".to_vec(), field("stream"), field("K"), field("transcript")] {
        shake::Update::update(&mut kdf, &encap(&part));
    }
    let mut stream = [0; 180];
    kdf.finalize_xof_into(&mut stream);
    assert_eq!(stream[..], join(&["forward_seed", "backward_seed", "binding"]));
}
