use data_encoding::HEXLOWER;
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use serde_json::Value;

use super::*;
use crate::link::record::{CELL_LEN, RecordError};

const NETWORK: [u8; 32] = [1; 32];

struct Fixture {
    rng: ChaCha20Rng,
    /// The responder's secret.
    secret: LinkSecret,
    /// The responder.
    relay: RelayAddressee,
    /// The initiator's secret, if it is a relay.
    own: LinkSecret,
}

impl Fixture {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let secret = LinkSecret::generate(&mut rng);
        let relay = RelayAddressee { identity: RelayIdentity([2; 32]), link_key: secret.public() };
        let own = LinkSecret::generate(&mut rng);
        Self { rng, secret, relay, own }
    }

    fn initiator(&mut self, kind: Kind) -> (Initiator, Vec<u8>) {
        match kind {
            Kind::Anonymous => Initiator::new_anonymous(&mut self.rng, &NETWORK, &self.relay),
            Kind::Relay => Initiator::new_relay(&mut self.rng, &NETWORK, &self.relay, &self.own),
        }
        .unwrap()
    }

    fn responder(&mut self) -> Responder {
        Responder::new(&mut self.rng, &NETWORK, &self.relay.identity, &self.secret)
    }

    /// Runs a handshake as the two drivers would.
    fn handshake(&mut self, kind: Kind) -> (Link, Link) {
        let (mut initiator, mut message) = self.initiator(kind);
        let mut responder = self.responder();
        let (mut ours, mut theirs) = (None, None);
        while ours.is_none() || theirs.is_none() {
            for (to_responder, link) in [(true, &mut theirs), (false, &mut ours)] {
                if link.is_some() {
                    continue;
                }
                match if to_responder { responder.receive(&message) } else { initiator.receive(&message) }.unwrap() {
                    LinkStep::Send(answer) => message = answer,
                    LinkStep::Established { send, link: established } => {
                        message = send.unwrap_or_default();
                        *link = Some(*established);
                    }
                }
            }
        }
        (ours.unwrap(), theirs.unwrap())
    }
}

#[test]
fn records_travel_both_ways() {
    for kind in [Kind::Anonymous, Kind::Relay] {
        let mut fixture = Fixture::new();
        let (mut ours, mut theirs) = fixture.handshake(kind);
        assert_eq!(ours.peer, Peer::Relay(fixture.relay.link_key));
        let expected = match kind {
            Kind::Anonymous => Peer::Anonymous,
            Kind::Relay => Peer::Relay(fixture.own.public()),
        };
        assert_eq!(theirs.peer, expected);
        assert_eq!(ours.binding, theirs.binding);

        for _ in 0..3 {
            for (from, to) in [(&mut ours.sealer, &mut theirs.opener), (&mut theirs.sealer, &mut ours.opener)] {
                let mut record = vec![3; 2 * CELL_LEN];
                from.seal(&mut record).unwrap();
                assert_eq!(to.open(&mut record).unwrap(), [[3; CELL_LEN]; 2]);
            }
        }
        // What one side sealed is not for itself.
        let mut record = vec![4; CELL_LEN];
        ours.sealer.seal(&mut record).unwrap();
        assert_eq!(ours.opener.open(&mut record), Err(RecordError::Authentication));
    }
}

#[test]
fn messages_have_their_lengths() {
    let mut fixture = Fixture::new();
    for (kind, byte) in [(Kind::Anonymous, 1), (Kind::Relay, 2)] {
        let (_, first) = fixture.initiator(kind);
        assert_eq!((first.len(), &first[..3]), (51, &[0, 1, byte][..]));
    }
}

#[test]
fn a_responder_with_another_key_network_or_identity_refuses() {
    for kind in [Kind::Anonymous, Kind::Relay] {
        let mut fixture = Fixture::new();
        let (_, first) = fixture.initiator(kind);
        let Fixture { mut rng, secret, relay, .. } = fixture;
        let other_secret = LinkSecret::from_bytes(&[9; 32]);
        let mut refuses = |network, identity, secret| {
            let error = Responder::new(&mut rng, network, identity, secret).receive(&first).map(drop);
            assert_eq!(error, Err(LinkHandshakeError::Authentication));
        };
        refuses(&NETWORK, &relay.identity, &other_secret);
        refuses(&[9; 32], &relay.identity, &secret);
        refuses(&NETWORK, &RelayIdentity([9; 32]), &secret);
    }
}

#[test]
fn an_initiator_refuses_an_answer_to_somebody_else() {
    let mut fixture = Fixture::new();
    for kind in [Kind::Anonymous, Kind::Relay] {
        let (_, first) = fixture.initiator(kind);
        let (mut other, _) = fixture.initiator(kind);
        let (LinkStep::Send(answer) | LinkStep::Established { send: Some(answer), .. }) =
            fixture.responder().receive(&first).unwrap()
        else {
            panic!("the responder has an answer")
        };
        assert_eq!(other.receive(&answer).map(drop), Err(LinkHandshakeError::Authentication));
        assert_eq!(other.receive(&answer).map(drop), Err(LinkHandshakeError::Over));
    }
}

#[test]
fn other_versions_kinds_and_lengths_are_named() {
    let mut fixture = Fixture::new();
    let (mut initiator, first) = fixture.initiator(Kind::Relay);
    let mut refused = |message: &[u8]| {
        let mut responder = fixture.responder();
        let error = responder.receive(message).map(drop).unwrap_err();
        assert_eq!(responder.receive(&first).map(drop), Err(LinkHandshakeError::Over));
        error
    };
    let with = |at: usize, byte| {
        let mut changed = first.clone();
        changed[at] = byte;
        changed
    };
    assert_eq!(refused(&with(1, 2)), LinkHandshakeError::Version(2));
    assert_eq!(refused(&with(0, 1)[..20]), LinkHandshakeError::Version(257));
    assert_eq!(refused(&with(2, 0)), LinkHandshakeError::Kind(0));
    assert_eq!(refused(&with(2, 1)), LinkHandshakeError::Authentication);
    assert_eq!(refused(&with(3, !first[3])), LinkHandshakeError::Authentication);
    for len in [0, 2, 3, 50, 52, 9000] {
        let mut wrong = first.clone();
        wrong.resize(len, 0);
        assert_eq!(refused(&wrong), LinkHandshakeError::Length { len, expected: 51 });
    }
    assert_eq!(initiator.receive(&[]).map(drop), Err(LinkHandshakeError::Length { len: 0, expected: 48 }));

    let (_, first) = fixture.initiator(Kind::Relay);
    let mut responder = fixture.responder();
    assert!(matches!(responder.receive(&first), Ok(LinkStep::Send(_))));
    assert_eq!(responder.receive(&[0; 65]).map(drop), Err(LinkHandshakeError::Length { len: 65, expected: 64 }));
    assert_eq!(responder.receive(&[0; 64]).map(drop), Err(LinkHandshakeError::Over));
}

#[test]
fn a_relay_without_its_key_proves_nothing() {
    let mut fixture = Fixture::new();
    let (_, first) = fixture.initiator(Kind::Relay);
    let mut responder = fixture.responder();
    assert!(matches!(responder.receive(&first), Ok(LinkStep::Send(_))));
    assert_eq!(responder.receive(&[7; 64]).map(drop), Err(LinkHandshakeError::Authentication));
}

#[test]
fn keys_of_small_order_are_refused() {
    let mut fixture = Fixture::new();
    let (_, mut first) = fixture.initiator(Kind::Anonymous);
    first[3..35].fill(0);
    assert_eq!(fixture.responder().receive(&first).map(drop), Err(LinkHandshakeError::SmallOrder));
    let weak = RelayAddressee { link_key: LinkPublic([0; 32]), ..fixture.relay };
    let error = Initiator::new_anonymous(&mut fixture.rng, &NETWORK, &weak).map(drop);
    assert_eq!(error, Err(LinkHandshakeError::SmallOrder));
}

/// Messages and keys stay what they are: other bytes are another version.
#[test]
fn the_format_does_not_change() {
    let mut fixture = Fixture::new();
    let (_, first) = fixture.initiator(Kind::Anonymous);
    assert_eq!(
        HEXLOWER.encode(&first),
        "0001015075f33218cbde118c7875c5681e27f81deb2be3cfeadf0cfc61e9cd262f0963705c6ea047833d4d274a1f02985b7a93"
    );
    for (kind, binding, record) in [
        (
            Kind::Anonymous,
            "fd871b3b71b7fe229abb694d37dcd3383410e44689e875e9c0a04cb1600dd123",
            "ad45b278f70d20555aeed423ce707660",
        ),
        (
            Kind::Relay,
            "a31c8d7203f23355d0d1d05b22ad917191c94e65757b814106ddaf98f239a88c",
            "f7ac3cab56128ab0218d0a39f78dabdf",
        ),
    ] {
        let (mut ours, _) = Fixture::new().handshake(kind);
        assert_eq!(HEXLOWER.encode(&ours.binding), binding);
        let mut cell = vec![0; CELL_LEN];
        ours.sealer.seal(&mut cell).unwrap();
        assert_eq!(HEXLOWER.encode(&cell[CELL_LEN..]), record);
    }
}

/// Handshakes and transport messages of the published collections, with payloads that links do not have.
#[test]
fn published_noise_vectors_are_reproduced() {
    let vectors: Value = serde_json::from_str(include_str!("../../../../tests/vectors/noise.json")).unwrap();
    let vectors = vectors["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 4);
    for vector in vectors {
        let field = |name: &str| HEXLOWER.decode(vector[name].as_str().unwrap().as_bytes()).unwrap();
        let key = |name| -> [u8; 32] { field(name).try_into().unwrap() };
        let ephemeral = |name| Ephemeral(Zeroizing::new(key(name)));
        let kind = match vector["protocol_name"].as_str().unwrap() {
            "Noise_NK_25519_ChaChaPoly_SHA256" => Kind::Anonymous,
            _ => Kind::Relay,
        };
        let own = (kind == Kind::Relay).then(|| LinkSecret::from_bytes(&key("init_static")));
        let responder_key = LinkPublic(key("init_remote_static"));
        let mut sides = [
            noise::initiator(kind, ephemeral("init_ephemeral"), &field("init_prologue"), &responder_key, own.as_ref())
                .unwrap(),
            noise::responder(
                kind,
                ephemeral("resp_ephemeral"),
                &field("resp_prologue"),
                &LinkSecret::from_bytes(&key("resp_static")),
            )
            .unwrap(),
        ];

        let mut keys = None;
        for (number, message) in vector["messages"].as_array().unwrap().iter().enumerate() {
            let field = |name: &str| HEXLOWER.decode(message[name].as_str().unwrap().as_bytes()).unwrap();
            let (mut payload, ciphertext) = (field("payload"), field("ciphertext"));
            if !sides[0].is_handshake_finished() {
                let mut buffer = [0; 512];
                let len = sides[number % 2].write_message(&payload, &mut buffer).unwrap();
                assert_eq!(buffer[..len], ciphertext);
                let len = sides[1 - number % 2].read_message(&ciphertext, &mut buffer).unwrap();
                assert_eq!(buffer[..len], payload);
                continue;
            }
            if let Some(hash) = vector["handshake_hash"].as_str() {
                assert_eq!(HEXLOWER.encode(sides[0].get_handshake_hash()), hash);
            }
            let handshake_messages = if kind == Kind::Relay { 3 } else { 2 };
            let (initiator, responder) = *keys.get_or_insert_with(|| sides[0].dangerously_get_raw_split());
            assert_eq!(sides[1].dangerously_get_raw_split(), (initiator, responder));
            let key = if number % 2 == 0 { initiator } else { responder };
            let cipher = if kind == Kind::Relay { Cipher::aes_gcm(&key) } else { Cipher::cha_cha_poly(&key) };
            let counter = (number - handshake_messages) as u64 / 2;
            let tag = cipher.seal(counter, &mut payload).unwrap();
            assert_eq!([&payload[..], &tag].concat(), ciphertext);
            assert_eq!(cipher.open(counter, &mut payload, &tag), Ok(()));
            assert_eq!(payload, field("payload"));
        }
        assert!(keys.is_some());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..80), lengths_right: bool, kind in 1..=2_u8) {
        let mut fixture = Fixture::new();
        let mut first = bytes.clone();
        if lengths_right {
            first.resize(51, 7);
            first[..3].copy_from_slice(&[0, 1, kind]);
        }
        prop_assert!(fixture.responder().receive(&first).is_err());
        let (mut initiator, _) = fixture.initiator(Kind::Relay);
        let mut answer = bytes;
        if lengths_right {
            answer.resize(48, 7);
        }
        prop_assert!(initiator.receive(&answer).is_err());
    }
}
