//! A contact of a client's, played by somebody who knows all that the contact's client knew, and keeps to no rule.

use allium_shared::cell::fragment::Assembler;
use allium_shared::cell::introduction::{IntroAuthKey, Introduction};
use allium_shared::cell::message::{Cookie, RelayMessage};
use allium_shared::cell::{CircId, DestroyReason};
use allium_shared::circuit::{Received, RendezvousRole};
use allium_shared::client::api::MessageId;
use allium_shared::crypto::handshake::{
    CircuitKeys, ClientHandshake, INTRODUCTION_LEN, SERVER_MESSAGE_LEN, ServerPublic,
};
use allium_shared::messaging::content::content_of;
use allium_shared::messaging::envelope::Chain;
use allium_shared::messaging::frame::{Frame, FrameReader};
use allium_shared::messaging::session::OlmSession;
use allium_shared::rendezvous::{IntroPoint, Invitation, RelationshipRole, SharedSecret, service_identity};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use serde::Deserialize;

use super::Sim;
use super::outsider::{Heard, LOOK, Origin, PATIENCE};

/// What a client's store keeps of a contact, as far as it takes to play it.
#[derive(Deserialize)]
struct Record {
    relationship: Relationship,
    stage: Stage,
}

#[derive(Deserialize)]
struct Relationship {
    secret: SharedSecret,
    role: RelationshipRole,
    their_key: [u8; 32],
    their_points: Vec<IntroPoint>,
    generation: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Stage {
    Met(Session),
}

#[derive(Deserialize)]
struct Session {
    session: OlmSession,
    send: Chain,
    receive: Chain,
    last: Option<MessageId>,
}

/// Somebody in the place of a client, towards its only contact.
pub struct Impostor {
    relationship: Relationship,
    session: Session,
    rng: ChaCha20Rng,
    joined: Option<Joined>,
}

/// A circuit that is joined to the contact's.
struct Joined {
    origin: Origin,
    circ: CircId,
    frames: FrameReader,
    /// How much of what the origin has heard was read.
    read: usize,
    heard: Vec<Frame>,
}

impl Impostor {
    /// Takes the place of a client, which runs no more from now on.
    ///
    /// # Panics
    ///
    /// If the client has no contact with whom it shares a session.
    pub fn of(sim: &mut Sim, n: usize) -> Self {
        sim.kill_client(n);
        let record = sim.disk(n).find(|(key, _)| key.starts_with("contact/")).expect("a contact").1;
        let Record { relationship, stage: Stage::Met(session) } =
            serde_json::from_slice(record).expect("a contact with a session");
        let rng = ChaCha20Rng::seed_from_u64(sim.random());
        Self { relationship, session, rng, joined: None }
    }

    /// Meets the contact at a rendezvous relay; says whether it has come.
    pub fn meet(&mut self, sim: &mut Sim, at: usize) -> bool {
        let (mut origin, circ) = reach(sim, at);
        let cookie = self.cookie();
        if !origin.establish(sim, circ, cookie) {
            return false;
        }
        let handshake = self.introduce(sim, at, cookie);
        let answer = |message: &RelayMessage| match message {
            RelayMessage::Rendezvous2(fragment) => Some(fragment.clone()),
            _ => None,
        };
        origin.wait(sim, |origin| origin.messages(circ).filter_map(answer).count() >= 3 || origin.is_gone(circ));
        let mut whole = None;
        let mut assembler = Assembler::default();
        for fragment in origin.messages(circ).filter_map(answer) {
            whole = assembler.push(&fragment).ok().flatten();
        }
        let Some(whole) = whole else { return false };
        let Ok(mut stream) = handshake.finish(whole.get(..SERVER_MESSAGE_LEN).unwrap_or_default()) else {
            return false;
        };
        if let Some(circuit) = origin.circuit(circ) {
            circuit.join(RendezvousRole::Client, &CircuitKeys::from(&mut stream));
        }
        let read = origin.heard(circ).count();
        self.joined = Some(Joined { origin, circ, frames: FrameReader::default(), read, heard: Vec::new() });
        true
    }

    /// Meets the contact and says what an honest client says first; says whether the contact takes it.
    pub fn resume(&mut self, sim: &mut Sim, at: usize) -> bool {
        if !self.meet(sim, at) {
            return false;
        }
        let generation = self.relationship.generation;
        let (received, last) = (self.session.receive.next(), self.session.last);
        self.say(sim, &Frame::Resume { generation, has_session: true, received, last, read: None });
        self.hears(sim, |frame| matches!(frame, Frame::Resume { .. }))
    }

    /// Brings an honest introduction that asks to come to a relay; gives what the answer belongs to.
    fn introduce(&mut self, sim: &mut Sim, at: usize, cookie: Cookie) -> ClientHandshake {
        let relationship = &mut self.relationship;
        relationship.generation += 1;
        let invitation = Invitation { relay: sim.hop(at).identity, cookie, generation: relationship.generation };
        let their_key = relationship.their_key;
        let server = ServerPublic { identity: service_identity(&their_key), onion_key: their_key };
        let verification = relationship.secret.verification(relationship.role.other());
        let (handshake, message) =
            ClientHandshake::introduce(&mut self.rng, &server, &verification, &invitation.encode()).expect("a key");
        self.bring(sim, message);
        handshake
    }

    /// Asks the contact to come where nobody waits.
    pub fn call(&mut self, sim: &mut Sim) {
        let cookie = self.cookie();
        let at = sim.relay_count() - 1;
        self.introduce(sim, at, cookie);
    }

    fn cookie(&mut self) -> Cookie {
        let mut cookie = [0; 20];
        self.rng.fill_bytes(&mut cookie);
        Cookie(cookie)
    }

    /// Brings any introduction to the contact's first point.
    pub fn bring(&mut self, sim: &mut Sim, handshake: [u8; INTRODUCTION_LEN]) {
        let relationship = &self.relationship;
        let Some(point) = relationship.their_points.first() else { return };
        let auth_key: IntroAuthKey = relationship.secret.auth_key(relationship.role.other(), point);
        let Some(relay) = sim.relay_known_as(&point.relay) else { return };
        let (mut origin, circ) = reach(sim, relay);
        for fragment in (Introduction { id: auth_key.id(), nonce: 0, handshake }).to_relay() {
            origin.send(sim, circ, &RelayMessage::Introduce1(fragment));
        }
        origin.wait(sim, |origin| origin.messages(circ).next().is_some() || origin.is_gone(circ));
    }

    /// Says something to the contact.
    pub fn say(&mut self, sim: &mut Sim, frame: &Frame) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.say_bytes(sim, &bytes);
    }

    /// Says any bytes.
    pub fn say_bytes(&mut self, sim: &mut Sim, bytes: &[u8]) {
        if let Some(joined) = &mut self.joined {
            joined.origin.say(sim, joined.circ, bytes);
        }
    }

    /// A message, sealed as it has to be.
    pub fn envelope(&mut self, id: MessageId, text: &str) -> Frame {
        self.envelope_of(id, &content_of(text))
    }

    /// A message with any content, sealed as it has to be.
    pub fn envelope_of(&mut self, id: MessageId, content: &[u8]) -> Frame {
        let encrypted = self.session.session.encrypt(content).expect("the session goes on");
        self.envelope_around(id, &encrypted)
    }

    /// An envelope around any bytes in the place of Olm's.
    pub fn envelope_around(&mut self, id: MessageId, bytes: &[u8]) -> Frame {
        let (sequence, sealed) = self.session.send.seal(id, bytes).expect("not too long");
        Frame::Envelope { sequence, id, sealed }
    }

    /// The sequence number of the next message.
    pub fn next(&self) -> u64 {
        self.session.send.next()
    }

    /// Waits until the contact has said something like this, or the circuit is gone; says whether it has.
    pub fn hears(&mut self, sim: &mut Sim, wanted: impl Fn(&Frame) -> bool) -> bool {
        let Some(joined) = &mut self.joined else { return false };
        let end = sim.now() + PATIENCE;
        loop {
            joined.listen(sim);
            if joined.heard.iter().any(&wanted) {
                return true;
            }
            if joined.origin.is_gone(joined.circ) || sim.now() >= end {
                return false;
            }
            sim.run_for(LOOK);
        }
    }

    /// All that the contact has said on this circuit.
    pub fn heard(&mut self, sim: &mut Sim) -> &[Frame] {
        match &mut self.joined {
            Some(joined) => {
                joined.listen(sim);
                &joined.heard
            }
            None => &[],
        }
    }

    /// With which reason the circuit has ended, if it has.
    pub fn ended(&mut self, sim: &mut Sim) -> Option<DestroyReason> {
        let joined = self.joined.as_mut()?;
        joined.listen(sim);
        joined.origin.heard(joined.circ).find_map(|heard| match heard {
            Heard::Received(received) => match **received {
                Received::Destroyed(reason) => Some(reason),
                _ => None,
            },
            _ => None,
        })
    }
}

/// A circuit that ends at a relay, over a link of its own.
fn reach(sim: &mut Sim, relay: usize) -> (Origin, CircId) {
    let mut path: Vec<usize> = (0..sim.relay_count()).filter(|n| *n != relay).take(2).collect();
    path.push(relay);
    let mut origin = Origin::connect(sim, path[0]);
    let circ = origin.build(sim, &path);
    (origin, circ)
}

impl Joined {
    /// Reads what has come; what is read, the contact may send more of.
    fn listen(&mut self, sim: &mut Sim) {
        self.origin.look(sim);
        let mut consumed = 0;
        for heard in self.origin.heard(self.circ).skip(self.read) {
            self.read += 1;
            if let Heard::Received(received) = heard
                && let Received::Data(_, data) = &**received
            {
                self.frames.push(data);
                consumed += 1;
            }
        }
        // An honest client's frames are whole ones.
        while let Some(frame) = self.frames.next().expect("a frame") {
            self.heard.push(frame);
        }
        self.origin.consumed(sim, self.circ, consumed);
    }
}
