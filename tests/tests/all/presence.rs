//! Whether somebody is online is nobody's business but their contacts': neither a stranger who knows all that is public nor a
//! contact who is blocked can tell it from what relays answer, or from how long they take.
//!
//! Ada is online or not, in turn. When she is not, somebody else is who has nothing to do with her, so that the machine has
//! the same to do. Those who want to know have links and circuits of their own to her introduction relays, over no more hops
//! than these, as it tells them most. The same is tried with what an unblocked contact knows, which has to show whether she
//! is there: so this can fail. (Who runs one of her introduction relays sees more, which docs/threat-model.md says.)

use std::time::{Duration, Instant};

use allium_shared::cell::CircId;
use allium_shared::cell::introduction::{AUTH_KEY_LEN, Introduction, IntroductionId};
use allium_shared::cell::message::{Cookie, RelayMessage, Service};
use allium_shared::circuit::Received;
use allium_shared::client::{KEY_SERVERS, key_servers};
use allium_shared::crypto::handshake::{ClientHandshake, INTRODUCTION_LEN, ServerPublic};
use allium_shared::crypto::keys::RelayIdentity;
use allium_shared::rendezvous::{IntroPoint, Invitation, RelationshipRole, SharedSecret, service_identity};
use allium_shared::services::{UserId, read_key_answer};
use allium_tests::chat::{Chat, ContactState, Event, Mark, PATIENCE};
use allium_tests::network::{Network, Options};
use allium_tests::peer::{Directory, Peer};
use allium_tests::rank::chance_of_greater;
use allium_tests::{profile, wait};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

/// How often Ada is online, and as often not.
const TURNS: usize = 8;

/// Questions of each kind in each turn, at each of her relays.
const QUESTIONS: usize = 6;

/// For how long whoever should not come is waited for. Who is there and comes takes a tenth of it.
const NOBODY: Duration = Duration::from_millis(200);

/// How far from one half the chance may be that an answer takes longer when she is there: with noise alone it is within a
/// third of this nearly always.
const BOUND: f64 = 0.2;

/// What a contact knows of Ada, from their own profile.
struct Known {
    server: ServerPublic,
    verification: [u8; 32],
    places: Vec<(RelayIdentity, IntroductionId)>,
    generation: u64,
}

impl Known {
    /// Reads it from the profile of a client that has ended and has one contact.
    #[track_caller]
    fn of(chat: &Chat) -> Self {
        let records = profile::records(&chat.profile());
        let (_, record) = records.iter().find(|(key, _)| key.starts_with("contact/")).expect("a contact");
        let record: Value = serde_json::from_slice(record).expect("JSON");
        let relationship = &record["relationship"];
        fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
            serde_json::from_value(value.clone()).expect("a relationship has it")
        }
        let secret: SharedSecret = read(&relationship["secret"]);
        let host = read::<RelationshipRole>(&relationship["role"]).other();
        let their_key: [u8; 32] = read(&relationship["their_key"]);
        let points: Vec<IntroPoint> = read(&relationship["their_points"]);
        Self {
            server: ServerPublic { identity: service_identity(&their_key), onion_key: their_key },
            verification: secret.verification(host),
            places: points.iter().map(|point| (point.relay, secret.auth_key(host, point).id())).collect(),
            generation: read(&relationship["generation"]),
        }
    }

    /// An introduction as the contact itself would bring it, now.
    fn introduction(&self, at: usize, relay: RelayIdentity, cookie: Cookie, rng: &mut ChaCha20Rng) -> Introduction {
        let invitation = Invitation { relay, cookie, generation: self.generation + 1000 };
        let (_, handshake) =
            ClientHandshake::introduce(rng, &self.server, &self.verification, &invitation.encode()).expect("a key");
        Introduction { id: self.places[at].1, nonce: 0, handshake }
    }
}

/// Somebody who wants to know.
struct Outsider<'a> {
    directory: &'a Directory,
    rng: ChaCha20Rng,
}

impl Outsider<'_> {
    fn nickname(&self, relay: &RelayIdentity) -> String {
        let found = self.directory.consensus().relay(relay).expect("it is listed");
        found.nickname.as_str().to_owned()
    }

    fn peer(&self, nickname: &str) -> Peer {
        Peer::link(self.directory, self.directory.relay(nickname))
    }

    fn cookie(&mut self) -> Cookie {
        let mut cookie = [0; 20];
        self.rng.fill_bytes(&mut cookie);
        Cookie(cookie)
    }

    /// Introduces itself as a contact would, with a place to come to; gives whether Ada comes.
    #[track_caller]
    fn is_answered(&mut self, known: &Known, at: usize) -> bool {
        let meeting = self.directory.consensus().relays()[0].clone();
        let cookie = self.cookie();
        let mut waiter = self.peer(meeting.nickname.as_str());
        let (waits, asks) = {
            let path = [meeting.nickname.as_str()];
            (waiter.open_circuit(self.directory, &path), waiter.open_circuit(self.directory, &path))
        };
        waiter.send_message(waits, &RelayMessage::EstablishRendezvous(cookie));
        let established = waiter.await_received(waits);
        assert_eq!(established, Received::Message(Box::new(RelayMessage::RendezvousEstablished)));
        let introduction = known.introduction(at, meeting.identity, cookie, &mut self.rng);
        let nickname = self.nickname(&known.places[at].0);
        let mut bringer = self.peer(&nickname);
        let brings = bringer.open_circuit(self.directory, &[&nickname]);
        assert_eq!(bring(&mut bringer, brings, &introduction).0, TAKEN);
        let since = Instant::now();
        while since.elapsed() < NOBODY {
            // An answer to something else is waited for, since nothing may come on the other circuit.
            let stream = waiter.with(asks, |circuit, out| circuit.begin(Service::TIME, 0, b"", out)).expect("a stream");
            loop {
                match waiter.next_received() {
                    (circ, Received::Message(message)) if circ == waits => {
                        assert!(matches!(*message, RelayMessage::Rendezvous2(_)), "{message:?}");
                        return true;
                    }
                    (circ, Received::Ended(of, _)) if circ == asks && of == stream => break,
                    (circ, Received::Destroyed(reason)) => panic!("{circ:?} ends: {reason:?}"),
                    _ => {}
                }
            }
        }
        false
    }
}

/// What a relay says that has taken an introduction.
const TAKEN: (u8, [u8; 16]) = (0, [0; 16]);

/// Brings an introduction; gives what the relay says, and after how long.
#[track_caller]
fn bring(peer: &mut Peer, circ: CircId, introduction: &Introduction) -> ((u8, [u8; 16]), Duration) {
    let begin = Instant::now();
    peer.with(circ, |circuit, out| {
        introduction.to_relay().into_iter().for_each(|part| circuit.send(&RelayMessage::Introduce1(part), out));
    });
    match peer.await_received(circ) {
        Received::Message(message) => match *message {
            RelayMessage::IntroduceAck { effort, seed } => ((effort, seed), begin.elapsed()),
            other => panic!("an introduction is answered by {other:?}"),
        },
        other => panic!("an introduction is answered by {other:?}"),
    }
}

/// What is asked of relays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// By a blocked contact: an introduction with the id that it had.
    Blocked,
    /// By a stranger: an introduction with an id that nobody has.
    Stranger,
    /// By a stranger: the key that Ada has published.
    Key,
    /// By nobody who has any business here, over one more hop: to see that a difference would be seen.
    Farther,
}

const KINDS: [Question; 4] = [Question::Blocked, Question::Stranger, Question::Key, Question::Farther];

/// How long answers took while Ada was online, and while she was not.
#[derive(Default)]
struct Times([Vec<Duration>; 2]);

/// Makes two people contacts; gives the mark from which what the inviter says is new.
#[track_caller]
fn befriend(inviter: &Chat, guest: &Chat, inviter_name: &str, guest_name: &str) {
    let mark = inviter.mark();
    guest.add(&inviter.invite(), inviter_name, Some(guest_name));
    inviter.accept_request(mark);
    inviter.await_state(mark, guest_name, PATIENCE, |state| state == ContactState::Connected);
    guest.await_contact(Mark::default(), ContactState::Connected);
}

/// Publishes a key; gives its id.
#[track_caller]
fn publish(chat: &Chat) -> UserId {
    chat.say(&json!({"do": "publish-key"}));
    let id = chat.expect(Mark::default(), PATIENCE, "the key", |event| match event {
        Event::KeyPublished { id } => Some(id.clone()),
        _ => None,
    });
    id.parse().expect("an id")
}

#[test]
fn nobody_but_contacts_can_tell_whether_somebody_is_online() {
    let network = Network::start(&Options::default());
    let url = network.url();
    let (ada, somebody) = (Chat::open("Ada", &url), Chat::open("Somebody", &url));
    let (blocked, friend, other) = (Chat::open("Ben", &url), Chat::open("Cat", &url), Chat::open("Dan", &url));
    let id = publish(&ada);
    befriend(&ada, &blocked, "Ada", "Ben");
    befriend(&ada, &friend, "Ada", "Cat");
    // Whoever is there in Ada's place also has a contact to look for.
    befriend(&somebody, &other, "Somebody", "Dan");
    ada.say(&json!({"do": "block", "name": "Ben"}));
    ada.await_state(Mark::default(), "Ben", PATIENCE, |state| state == ContactState::Blocked);
    for chat in [&blocked, &friend, &other, &somebody] {
        chat.kill();
    }
    let (bens, cats) = (Known::of(&blocked), Known::of(&friend));
    let directory = Directory::fetch(&url);
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    println!("seed {seed:?}");
    let mut outsider = Outsider { directory: &directory, rng: ChaCha20Rng::from_seed(seed) };
    // The blocked one is there all the time and goes on trying, as its person may.
    blocked.restart();

    let mut times: [Times; 4] = Default::default();
    let mut answers: [Vec<Vec<u8>>; 2] = Default::default();
    for turn in 0..TURNS * 2 {
        let online = turn % 2 == 0;
        let (comes, goes) = if online { (&ada, &somebody) } else { (&somebody, &ada) };
        if turn > 0 {
            goes.kill();
            comes.restart();
        }
        // Whom she knows learns it.
        if online {
            wait::until(PATIENCE, "Ada, for her contact", || outsider.is_answered(&cats, 0).then_some(()));
        } else {
            assert!(!outsider.is_answered(&cats, 0), "somebody who is not there has come");
        }
        for at in 0..bens.places.len() {
            assert!(!outsider.is_answered(&bens, at), "who is blocked is answered");
        }
        ask_all(&mut outsider, &bens, id, online, &mut times, &mut answers);
    }

    assert!(answers[0].windows(2).chain(answers[1].windows(2)).all(|pair| pair[0] == pair[1]), "answers differ");
    assert_eq!(answers[0][0], answers[1][0], "an answer says whether she is there");
    for (question, Times([online, offline])) in KINDS.iter().zip(&times) {
        let chance = chance_of_greater(offline, online);
        println!("{question:?}: {chance:.3} of {} and {}", online.len(), offline.len());
        assert!((chance - 0.5).abs() <= BOUND, "{question:?}: {chance:.3} when she is there");
    }
    // One more hop takes longer, and that is seen.
    let all = |question: Question| {
        let Times([online, offline]) = &times[KINDS.iter().position(|one| *one == question).unwrap()];
        [online.as_slice(), offline].concat()
    };
    let control = chance_of_greater(&all(Question::Stranger), &all(Question::Farther));
    println!("control: {control:.3}");
    assert!(control - 0.5 > BOUND, "what takes longer is not seen: {control:.3}");
    let heard = |event: &Event| matches!(event, Event::Contact { state: ContactState::Connected, .. });
    assert!(!blocked.events().iter().any(heard), "who is blocked is connected");
}

/// Asks everything, in an order that changes from one to the next.
#[track_caller]
fn ask_all(
    outsider: &mut Outsider<'_>,
    bens: &Known,
    id: UserId,
    online: bool,
    times: &mut [Times; 4],
    answers: &mut [Vec<Vec<u8>>; 2],
) {
    let which = usize::from(!online);
    for at in 0..bens.places.len() {
        let relay = outsider.nickname(&bens.places[at].0);
        let other = directory_neighbour(outsider.directory, &relay);
        let mut near = outsider.peer(&relay);
        let mut far = outsider.peer(&other);
        let keeper = outsider.nickname(&key_servers(outsider.directory.consensus(), &id)[at % KEY_SERVERS]);
        let mut keeping = outsider.peer(&keeper);
        // A circuit has so many tries, and another one for each kind.
        let direct = near.open_circuit(outsider.directory, &[&relay]);
        let asking = keeping.open_circuit(outsider.directory, &[&keeper]);
        let around = far.open_circuit(outsider.directory, &[&other, &relay]);
        for n in 0..QUESTIONS {
            for kind in 0..KINDS.len() {
                let kind = (kind + n) % KINDS.len();
                let nobody = {
                    let mut bytes = [0; AUTH_KEY_LEN];
                    outsider.rng.fill_bytes(&mut bytes);
                    Introduction { id: IntroductionId(bytes), nonce: 0, handshake: [7; INTRODUCTION_LEN] }
                };
                let took = match KINDS[kind] {
                    Question::Blocked => {
                        let cookie = outsider.cookie();
                        let one = bens.introduction(at, bens.places[at].0, cookie, &mut outsider.rng);
                        let (answer, took) = bring(&mut near, direct, &one);
                        assert_eq!(answer, TAKEN);
                        took
                    }
                    Question::Stranger => {
                        let (answer, took) = bring(&mut near, direct, &nobody);
                        assert_eq!(answer, TAKEN);
                        took
                    }
                    Question::Farther => {
                        let (answer, took) = bring(&mut far, around, &nobody);
                        assert_eq!(answer, TAKEN);
                        took
                    }
                    Question::Key => {
                        let begin = Instant::now();
                        let (answer, _) = keeping.ask(asking, Service::FIND_KEY, &id.0);
                        let took = begin.elapsed();
                        assert!(
                            matches!(read_key_answer(&id, &answer), Ok(Some(_))),
                            "what she has published is there"
                        );
                        answers[which].push(answer);
                        took
                    }
                };
                times[kind].0[which].push(took);
            }
        }
    }
}

/// Another relay, from which one can go to this one.
#[track_caller]
fn directory_neighbour(directory: &Directory, relay: &str) -> String {
    let others = directory.consensus().relays().iter().map(|other| other.nickname.as_str().to_owned());
    others.into_iter().find(|other| other != relay).expect("there is more than one relay")
}
