//! What each fuzzer does with its bytes; a test of the workspace replays the corpora through the same functions.
//!
//! Where only a holder of keys gets past a seal, the bytes say what such a holder sends: behind every key there may be
//! somebody who does not keep to the protocol.

use std::ops::DerefMut;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use allium_shared::cell::fragment::{Assembler, Fragment, split};
use allium_shared::cell::introduction::{AUTH_KEYS_PER_CELL, IntroAuthKey, Introduction, IntroductionId, MAX_PARTS};
use allium_shared::cell::message::{Cookie, EndReason, PAYLOAD_LEN, RelayMessage, Service, StreamId};
use allium_shared::cell::{BODY_LEN, Cell, CircId, Command, DestroyReason, LinkEnd};
use allium_shared::circuit::{Circuit, Hop, Received};
use allium_shared::client::api::{
    BatchId, Command as Wish, ContactId, Event, Input as ClientInput, InviteId, LinkId, MessageId, Output,
};
use allium_shared::client::{Client, Config};
use allium_shared::contact::invite::Invite;
use allium_shared::crypto::cgo::RelayBackward;
use allium_shared::crypto::handshake::{CLIENT_MESSAGE_LEN, CircuitKeys, INTRODUCTION_LEN, respond};
use allium_shared::crypto::keys::{IdentityKeypair, LinkSecret, OnionSecret, RelayIdentity};
use allium_shared::link::{CELL_LEN, Initiator, Link, LinkStep, RelayAddressee, Responder};
use allium_shared::messaging::envelope::Chain;
use allium_shared::messaging::frame::FrameReader;
use allium_shared::messaging::session::OlmAccount;
use allium_shared::netdir::{
    Authorities, Authority, AuthorityKeypair, Consensus, ConsensusDraft, ConsensusUpdate, Difference, ExitPolicy,
    RelayDescriptor, RelayEntry, RelayRole, Roles, Validity,
};
use allium_shared::relay::circuits::Circuits;
use allium_shared::relay::handshakes::Request;
use allium_shared::relay::introductions::IntroductionTable;
use allium_shared::relay::keys::RelayKeys;
use allium_shared::relay::link_event::LinkEvent;
use allium_shared::relay::onion_keys::{KeyTimes, OnionRing};
use allium_shared::relay::outlet::Outlet;
use allium_shared::relay::rendezvous::RendezvousTable;
use allium_shared::relay::services::{Document, Mirror, SharedUserKeys, relay_services};
use allium_shared::relay::streams::StreamWakers;
use allium_shared::relay::tables::Tables;
use allium_shared::relay::user_keys::UserKeys;
use allium_shared::services::{PUBLISH_EFFORT, Publication, UserId, day, key_answer, read_key_answer};
use allium_shared::time::{Instant, Now, UnixTime};
use allium_shared::wire::{Reader, Writer};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

#[path = "authorities.rs"]
mod authorities;
#[path = "voting.rs"]
mod vote;

/// Steps that one run takes at most: what comes after them says nothing new.
const MAX_STEPS: usize = 64;

/// The wall clock, in seconds since 1970.
const TIME: u64 = 1_800_000_000;

/// Reads decisions from a fuzzer's bytes; zeros when there are no more.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let bytes = self.bytes(N);
        array[..bytes.len()].copy_from_slice(bytes);
        array
    }

    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Bytes behind a length of one byte.
    fn piece(&mut self) -> &'a [u8] {
        let len = self.byte();
        self.bytes(usize::from(len))
    }

    /// Decision after decision, until there are no more bytes.
    fn step(&mut self, taken: usize) -> Option<u8> {
        (taken < MAX_STEPS && !self.0.is_empty()).then(|| self.byte())
    }

    /// A number of a circuit, one of few so that they meet.
    fn circ(&mut self) -> CircId {
        let byte = self.byte();
        let end = if byte & 0x80 == 0 { LinkEnd::Initiator } else { LinkEnd::Responder };
        end.circ_id(u32::from(byte & 3) + 1)
    }

    /// A cell whose body begins with bytes of the fuzzer's.
    fn cell(&mut self) -> Cell {
        let circ = self.circ();
        let command = Command::ALL[usize::from(self.byte()) % Command::ALL.len()];
        Cell { circ, command, body: start_of(self.piece()) }
    }

    /// A message between hops, if the bytes are one.
    fn message(&mut self) -> Option<RelayMessage> {
        RelayMessage::decode(&start_of::<PAYLOAD_LEN>(self.piece())).ok()
    }
}

fn start_of<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    let len = bytes.len().min(N);
    array[..len].copy_from_slice(&bytes[..len]);
    array
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(1)
}

/// Cells, messages between hops and fragments.
pub fn cells(data: &[u8]) {
    for bytes in data.chunks(CELL_LEN) {
        if let Ok(cell) = Cell::decode(&start_of(bytes)) {
            let mut encoded = Vec::new();
            cell.encode(&mut encoded);
            assert_eq!(encoded, start_of::<CELL_LEN>(bytes));
        }
    }
    if let Ok(message) = RelayMessage::decode(&start_of(data)) {
        let mut payload = [0; PAYLOAD_LEN];
        message.encode(&mut payload);
        assert_eq!(RelayMessage::decode(&payload), Ok(message));
    }
    if let Ok(publication) = Publication::decode(data) {
        assert_eq!(publication.encode(), data);
        let _ = publication.is_worked();
    }
    if let Ok(Some(record)) = read_key_answer(&UserId::of(data), data) {
        assert_eq!(key_answer(Some(record)), data);
    }
    if let Some(introduction) = Introduction::at_relay(data) {
        let whole: Vec<u8> = introduction.to_relay().iter().flat_map(|fragment| fragment.chunk).collect();
        assert_eq!(Introduction::at_relay(&whole), Some(introduction));
    }
    let mut assembler = Assembler::default();
    for bytes in data.chunks(4) {
        let mut cell = Cell { circ: CircId(1), command: Command::Create, body: [0; BODY_LEN] };
        cell.body[..bytes.len()].copy_from_slice(bytes);
        let _ = assembler.push(&Fragment::in_cell(&cell));
    }
}

/// The handshake of links at both ends, and records.
pub fn links(data: &[u8]) {
    let mut choices = Choices(data);
    let mut rng = rng();
    let (network, secret) = ([1; 32], LinkSecret::generate(&mut rng));
    let addressee = RelayAddressee { identity: RelayIdentity([2; 32]), link_key: secret.public() };
    let relay = choices.byte() & 1 == 1;
    let own = LinkSecret::generate(&mut rng);
    let opening = if relay {
        Initiator::new_relay(&mut rng, &network, &addressee, &own)
    } else {
        Initiator::new_anonymous(&mut rng, &network, &addressee)
    };
    let Ok((mut initiator, first)) = opening else { return };
    let mut responder = Responder::new(&mut rng, &network, &addressee.identity, &secret);
    // Where the honest handshake is left for what the fuzzer sends, if at all.
    let wrong_at = choices.byte() % 8;
    if wrong_at == 0 {
        let _ = responder.receive(data);
        let _ = responder.receive(data);
        return;
    }
    let Ok(step) = responder.receive(&first) else { return };
    let (answer, established) = match step {
        LinkStep::Send(answer) => (Some(answer), None),
        LinkStep::Established { send, link } => (send, Some(link)),
    };
    if wrong_at == 1 {
        assert!(initiator.receive(choices.0).is_err());
        return;
    }
    let Some(Ok(LinkStep::Established { send, link: mut ours })) = answer.map(|answer| initiator.receive(&answer))
    else {
        return;
    };
    if wrong_at == 2 && relay {
        assert!(responder.receive(choices.0).is_err());
        return;
    }
    let theirs = established.or_else(|| match responder.receive(&send?).ok()? {
        LinkStep::Established { link, .. } => Some(link),
        LinkStep::Send(_) => None,
    });
    let Some(mut theirs) = theirs else { return };
    let mut taken = 0;
    while let Some(choice) = choices.step(taken) {
        taken += 1;
        let mut record = vec![choice; usize::from(choices.byte() % 40) * CELL_LEN];
        if choice & 1 == 0 {
            record = choices.piece().to_vec();
            assert!(theirs.opener.open(&mut record).is_err());
            return;
        }
        let cells = record.clone();
        if ours.sealer.seal(&mut record).is_err() {
            continue;
        }
        assert!(theirs.opener.open(&mut record).is_ok_and(|opened| opened.as_flattened() == cells));
    }
    let _: (Box<Link>, Box<Link>) = (ours, theirs);
}

/// The signed documents, those of a person's own configuration, and what is on disks.
pub fn documents(data: &[u8]) {
    let network = Network::new();
    let (kind, rest) = data.split_first().unwrap_or((&0, &[]));
    if kind & 0x20 != 0 {
        authorities::document(*kind, rest);
        return;
    }
    let descriptor = RelayDescriptor { published: TIME, uptime: 60, entry: network.entry(), certificate: None };
    let valid = match kind % 4 {
        0 => network.consensus(),
        3 => network.update(),
        1 => descriptor.sign(&network.relay, network.authorities.network()),
        _ => network.authorities.to_json().into_bytes(),
    };
    // As it is, or the valid document with a few bytes of it changed.
    let document = if kind & 0x80 == 0 { rest.to_vec() } else { edited(valid, rest) };
    stored(rest);
    let _ = Consensus::verify(&document, &network.authorities, UnixTime::from_millis(TIME * 1000));
    let _ = RelayDescriptor::verify(&document, network.authorities.network());
    updates(&network, &document);
    if let Ok(authorities) = Authorities::from_json(&document) {
        let again = Authorities::from_json(authorities.to_json().as_bytes());
        assert!(again.is_ok_and(|again| again.network() == authorities.network()));
    }
}

/// Authorities that vote, one of which lies.
pub fn voting(data: &[u8]) {
    vote::voting(data);
}

/// What a relay has on its disk.
fn stored(bytes: &[u8]) {
    let now = UnixTime::from_millis(TIME * 1000);
    let mut keys = UserKeys::new();
    let _ = keys.restore(now, bytes);
    let mut again = UserKeys::new();
    assert_eq!(again.restore(now, &keys.save()), Ok(()));
    assert_eq!(again.save(), keys.save());
    let times = KeyTimes { lifetime: Duration::from_secs(100), overlap: Duration::from_secs(10) };
    if let Ok(ring) = OnionRing::decode(&mut Reader::new(bytes), now, &times) {
        let mut writer = Writer::new();
        ring.encode(&mut writer);
        assert!(OnionRing::decode(&mut Reader::new(writer.as_slice()), now, &times).is_ok());
    }
}

/// Changes bytes at positions that the fuzzer chooses; its last odd bytes cut the end off.
fn edited(mut document: Vec<u8>, edits: &[u8]) -> Vec<u8> {
    let (edits, cut) = edits.as_chunks::<3>();
    for [high, low, value] in edits {
        let len = document.len().max(1);
        if let Some(byte) = document.get_mut(usize::from(u16::from_be_bytes([*high, *low])) % len) {
            *byte ^= value;
        }
    }
    if let [cut] = cut {
        document.truncate(usize::from(*cut));
    }
    document
}

/// Links by which people invite each other.
pub fn invites(data: &[u8]) {
    if let Ok(text) = core::str::from_utf8(data)
        && let Ok(invite) = Invite::parse(text)
    {
        assert!(Invite::parse(&invite.to_fragment()).as_ref() == Ok(&invite));
    }
    let mut choices = Choices(data);
    let mut invite = Invite {
        network: choices.array(),
        reusable: choices.byte() & 1 == 1,
        expires: u32::from_be_bytes(choices.array()),
        key: choices.array(),
        secret: choices.array(),
        places: Vec::new(),
    };
    for _ in 0..choices.byte() % 6 {
        invite.places.push((choices.array().into(), IntroductionId(choices.array())));
    }
    if let Ok(read) = Invite::parse(&invite.to_fragment()) {
        invite.places.truncate(4);
        assert!(read == invite);
    }
    let _ = invite.is_over(UnixTime::from_millis(TIME * 1000));
}

/// What two contacts say to each other: frames, envelopes, sessions.
pub fn messaging(data: &[u8]) {
    let mut choices = Choices(data);
    let mut reader = FrameReader::default();
    let mut again = Vec::new();
    let mut taken = 0;
    while let Some(choice) = choices.step(taken) {
        taken += 1;
        if choice & 0xf0 == 0xf0 {
            // A frame with its length right, so that what is in it is read.
            let body = choices.piece();
            reader.push(&[choice & 0x0f, 0, 0, 0, body.len() as u8]);
            reader.push(body);
        } else {
            reader.push(choices.bytes(usize::from(choice)));
        }
        loop {
            match reader.next() {
                Ok(Some(frame)) => {
                    again.clear();
                    frame.encode(&mut again);
                    let mut other = FrameReader::default();
                    other.push(&again);
                    assert_eq!(other.next(), Ok(Some(frame)));
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    assert!(Chain::new([1; 32]).open(MessageId([2; 16]), data).is_err());
    if data.first() == Some(&0) {
        // Making keys takes longer than all else here.
        let _ = OlmAccount::generate().accept(start_of(data), data);
    }
}

/// A network of one authority and one relay.
struct Network {
    authority: AuthorityKeypair,
    authorities: Authorities,
    relay: IdentityKeypair,
    link: LinkSecret,
    onion: OnionSecret,
}

impl Network {
    fn new() -> Self {
        let mut rng = rng();
        let authority = AuthorityKeypair::new(IdentityKeypair::generate(&mut rng));
        let url = "http://127.0.0.1:1".to_owned();
        let nickname = "authority".parse().expect("it is one");
        let list = vec![Authority { nickname, key: authority.identity(), url }];
        let authorities = Authorities::new(list).expect("it is one authority");
        let relay = IdentityKeypair::generate(&mut rng);
        let (link, onion) = (LinkSecret::generate(&mut rng), OnionSecret::generate(&mut rng));
        Self { authority, authorities, relay, link, onion }
    }

    fn entry(&self) -> RelayEntry {
        let mut entry = RelayEntry::new(
            self.relay.identity(),
            self.link.public(),
            self.onion.public(),
            Roles::from_iter(RelayRole::ALL),
            "relay".parse().expect("it is one"),
            "ws://127.0.0.1:2/link".parse().expect("it is one"),
        );
        entry.secure_url = Some("wss://relay.example/link".parse().expect("it is one"));
        entry.exit_policy = ExitPolicy::new(vec!["accept *:443".parse().expect("it is one")]).expect("it is one rule");
        entry.other.insert(900, vec![1, 2, 3]);
        entry
    }

    /// An invite of somebody who takes introductions at the one relay.
    fn invite(&self) -> Invite {
        let mut network = [0; 8];
        network.copy_from_slice(&self.authorities.network().as_bytes()[..8]);
        let places = vec![(self.relay.identity(), IntroAuthKey([1; 16]).id())];
        Invite { network, reusable: true, expires: 0, key: *self.onion.public().as_bytes(), secret: [2; 16], places }
    }

    /// What brings the holder of one consensus to the next.
    fn update(&self) -> Vec<u8> {
        let (old, new) = (self.consensus(), self.consensus_of(TIME));
        let held = Consensus::verify_signatures(&old, &self.authorities).expect("it is signed");
        let difference = Difference::between(held.digest(), &old, &new).expect("both are well formed");
        ConsensusUpdate::Difference(difference).encode()
    }

    fn consensus(&self) -> Vec<u8> {
        self.consensus_of(TIME - 60)
    }

    fn consensus_of(&self, valid_after: u64) -> Vec<u8> {
        let validity = Validity { valid_after, fresh_until: TIME + 3600, valid_until: TIME + 86_400 };
        let mut draft = ConsensusDraft::new(*self.authorities.network(), validity, vec![self.entry()]);
        draft.parameters = [("early".to_owned(), 8)].into();
        draft.sign(&[&self.authority]).expect("it is well formed")
    }
}

/// An update, for one who holds a consensus and for one who holds none.
fn updates(network: &Network, bytes: &[u8]) {
    let Ok(update) = ConsensusUpdate::decode(bytes) else { return };
    assert_eq!(update.encode(), bytes);
    let held = Consensus::verify_signatures(&network.consensus(), &network.authorities).expect("it is signed");
    for held in [None, Some(&held)] {
        if let Ok(Some(made)) = update.apply(held) {
            let _ = Consensus::verify(&made, &network.authorities, UnixTime::from_millis(TIME * 1000));
        }
    }
}

/// A relay's circuits on three links, with clients that know the relay's key but nothing of manners.
pub fn relay(data: &[u8]) {
    let mut choices = Choices(data);
    let mut rng = rng();
    let onion = OnionSecret::generate(&mut rng);
    let document: Document = Arc::new(vec![5; 3000]);
    let services = Arc::new(relay_services(Shelf(document), &SharedUserKeys::default(), true));
    let keys = Arc::new(RelayKeys { identity: RelayIdentity([7; 32]), onion: onion.into(), services });
    let hop = Hop { identity: keys.identity, onion_key: keys.onion.public() };
    let peers = [None, Some(RelayIdentity([8; 32])), Some(RelayIdentity([9; 32]))];
    let ends = [LinkEnd::Responder, LinkEnd::Responder, LinkEnd::Initiator];
    let mut now = Instant::from_millis(1000);
    let mut links =
        [0, 1, 2].map(|n: usize| Circuits::new(now, n as u8, ends[n], peers[n], keys.clone(), StreamWakers::none()));
    let (sent, notes, requests) = (Vec::new(), Vec::new(), Vec::new());
    let introductions = IntroductionTable::new(3 * AUTH_KEYS_PER_CELL, keys.identity, [0; 32]);
    let mut hub = Hub { sent, notes, requests, cookies: RendezvousTable::new(4), introductions };
    let mut clients: Vec<(u8, Circuit)> = Vec::new();
    // What the relay wanted done before it takes an introduction.
    let mut wanted = None;
    let mut taken = 0;
    while let Some(choice) = choices.step(taken) {
        taken += 1;
        let link = choices.byte() % 3;
        let mut cells = Vec::new();
        match choice % 8 {
            0 => cells.push(choices.cell()),
            1 | 2 => {
                if let Ok(circuit) = Circuit::build(&mut rng, choices.circ(), vec![hop.clone()], &mut cells) {
                    clients.push((link, circuit));
                }
            }
            3 | 4 => {
                let which = usize::from(choices.byte());
                let messages = match choice & 0xa0 {
                    0x80 => vec![choices.request()],
                    0xa0 => choices.meeting(keys.identity, wanted),
                    _ => choices.message().into_iter().collect(),
                };
                if let Some(at) = which.checked_rem(clients.len()) {
                    let (on, circuit) = &mut clients[at];
                    messages.iter().for_each(|message| circuit.send(message, &mut cells));
                    let at = Port { this: *on, hub: &mut hub };
                    deliver(&mut links[usize::from(*on)], now, &mut cells, at);
                }
            }
            5 => {
                let note = choices.note();
                links[usize::from(link)].handle_event(clock(now), note, &mut Port { this: link, hub: &mut hub });
            }
            6 => {
                now = now + Duration::from_millis(100 * u64::from(choices.byte()));
                links[usize::from(link)].handle_timeout(clock(now), &mut Port { this: link, hub: &mut hub });
            }
            _ => links[usize::from(link)].close(&mut Port { this: link, hub: &mut hub }),
        }
        deliver(&mut links[usize::from(link)], now, &mut cells, Port { this: link, hub: &mut hub });
        // What links tell each other, and what they send, arrives before anything else happens; answers come late at times.
        for _ in 0..MAX_STEPS {
            if choice & 0x40 == 0 {
                let answers = hub.requests.drain(..).map(|request| request.answer(&mut rng));
                hub.notes.extend(answers.map(|(link, answered)| (link, answered.into())));
            }
            let Some((to, note)) = hub.notes.pop() else { break };
            links[usize::from(to)].handle_event(clock(now), note, &mut Port { this: to, hub: &mut hub });
        }
        for (link, cell) in std::mem::take(&mut hub.sent) {
            // Of several with one id the newest: the others are gone, as far as the relay knows.
            let receiver = clients.iter_mut().rfind(|(on, circuit)| *on == link && circuit.circ_id() == cell.circ);
            if let Some((_, circuit)) = receiver
                && let Ok(Received::Message(message)) = circuit.handle(&mut rng, cell, &mut Vec::new())
                && let RelayMessage::IntroduceAck { effort: effort @ 1.., seed } = *message
            {
                wanted = Some((effort, seed));
            }
        }
    }
    for link in 0..3 {
        links[usize::from(link)].close(&mut Port { this: link, hub: &mut hub });
        assert!(links[usize::from(link)].is_empty(), "a closed link keeps circuits");
    }
    assert!(hub.introductions.is_empty() && hub.cookies.is_empty(), "circuits that are gone are waited for");
}

/// A relay's copy of the directory.
struct Shelf(Document);

impl core::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Shelf")
    }
}

impl Mirror for Shelf {
    fn update(&self, held: Option<&[u8; 32]>) -> Option<Document> {
        // Who holds something may find a relay that has nothing.
        held.is_none_or(|digest| digest[0] & 1 == 0).then(|| Arc::clone(&self.0))
    }
}

/// Publications whose work has been done: no fuzzer finds one.
fn publications() -> &'static [Vec<u8>; 2] {
    static PUBLICATIONS: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    PUBLICATIONS.get_or_init(|| {
        let day = day(UnixTime::from_millis(TIME * 1000));
        [&[1; 1][..], &[2; 256]].map(|record| {
            let nonce = Publication::work(day, record).search(PUBLISH_EFFORT, 0, u64::MAX).expect("there are enough");
            Publication { nonce, day, record }.encode()
        })
    })
}

impl Choices<'_> {
    /// A request to a service that the service can make sense of, but for a byte at times.
    fn request(&mut self) -> RelayMessage {
        let choice = self.byte();
        let service = Service::ALL[usize::from(choice) % Service::ALL.len()];
        let mut argument = match service {
            Service::SOURCE => u64::from(self.byte()).wrapping_mul(100).to_be_bytes().to_vec(),
            Service::DIRECTORY if choice & 0x40 == 0 => Vec::new(),
            Service::DIRECTORY => self.array::<32>().to_vec(),
            Service::FIND_KEY if choice & 0x40 == 0 => UserId::of(&[1]).0.to_vec(),
            Service::FIND_KEY => self.array::<32>().to_vec(),
            Service::PUBLISH_KEY => publications()[usize::from(choice >> 6 & 1)].clone(),
            _ => Vec::new(),
        };
        if choice & 0x80 != 0 {
            let at = usize::from(self.byte()) % argument.len().max(1);
            let byte = self.byte();
            argument.get_mut(at).into_iter().for_each(|wrong| *wrong ^= byte);
        }
        let stream = StreamId(u16::from(self.byte() & 3) + 1);
        RelayMessage::Begin { stream, service, body: u64::from(choice >> 5 & 1), argument }
    }

    /// What makes circuits meet: the messages of one step, in order, but for one at times.
    fn meeting(&mut self, relay: RelayIdentity, wanted: Option<(u8, [u8; 16])>) -> Vec<RelayMessage> {
        let choice = self.byte();
        let name = self.byte() & 3;
        let mut messages = match choice % 4 {
            0 => {
                let of = [1, 2, 4, MAX_PARTS][usize::from(choice >> 2 & 3)];
                let auth_keys =
                    |part| Box::new(core::array::from_fn(|n| IntroAuthKey([name ^ part ^ (n as u8 & 31); 16])));
                (0..of).map(|part| RelayMessage::EstablishIntro { part, of, auth_keys: auth_keys(part) }).collect()
            }
            1 => {
                let handshake = [self.byte(); INTRODUCTION_LEN];
                let mut introduction = Introduction { id: IntroAuthKey([name; 16]).id(), nonce: 0, handshake };
                if choice & 4 != 0
                    && let Some((effort, seed)) = wanted
                {
                    let found = introduction.work(&relay, &seed).search(u32::from(effort), 0, 1 << 14);
                    introduction.nonce = found.unwrap_or_default();
                }
                // As many as one circuit may bring: too many for a relay that takes them for nothing.
                let times = if choice & 8 == 0 { 1 } else { 32 };
                vec![introduction.to_relay().map(RelayMessage::Introduce1); times].concat()
            }
            2 => vec![RelayMessage::EstablishRendezvous(Cookie([name; 20]))],
            _ => {
                let comes = |fragment: Fragment| {
                    let cookie = (fragment.index == 0).then_some(Cookie([name; 20]));
                    RelayMessage::Rendezvous1 { cookie, fragment }
                };
                split(&[name; 1000]).map(comes).to_vec()
            }
        };
        match choice >> 6 {
            1 => messages.truncate(usize::from(self.byte())),
            2 => {
                let at = usize::from(self.byte()) % messages.len();
                messages.remove(at);
            }
            3 => messages.reverse(),
            _ => {}
        }
        messages
    }

    /// A note from another link: its circuits may be long gone.
    fn note(&mut self) -> LinkEvent<u8> {
        let (circ, other) = (self.circ(), (self.byte() % 3, self.circ()));
        let half = Box::new(RelayBackward::new(&[5; 80]));
        let choice = self.byte();
        match choice % 10 {
            8 if choice & 0x80 != 0 => LinkEvent::Wake { circ, stream: StreamId(1) },
            8 => LinkEvent::Shed,
            9 => LinkEvent::Answered { circ, ticket: u64::from(self.byte() & 3), answer: Err(DestroyReason::ALL[0]) },
            0 => LinkEvent::Open { origin: other, message: vec![1; CLIENT_MESSAGE_LEN] },
            1 => LinkEvent::Opened { circ, next: other, message: self.piece().to_vec() },
            2 => LinkEvent::OpenFailed { circ, reason: DestroyReason::ALL[0] },
            3 if choice & 0x80 != 0 => LinkEvent::BeginsHere { circ, origin: other },
            3 => LinkEvent::Adopt { circ, half, previous: other },
            4 => LinkEvent::Destroy { circ, reason: DestroyReason::ALL[0] },
            5 => {
                let fragment = Box::new(Fragment::in_cell(&self.cell()));
                LinkEvent::Visit { circ, comer: other, fragment, half: Some(half).filter(|_| choice & 0x80 != 0) }
            }
            6 => {
                let (id, handshake) = (IntroductionId(self.array()), [choice; INTRODUCTION_LEN]);
                LinkEvent::Introduce { circ, introduction: Box::new(Introduction { id, nonce: 0, handshake }) }
            }
            _ => LinkEvent::Joined { circ, half },
        }
    }
}

fn clock(now: Instant) -> Now {
    Now { instant: now, unix: UnixTime::from_millis(TIME * 1000 + now.as_millis()) }
}

fn deliver(links: &mut Circuits<u8>, now: Instant, cells: &mut Vec<Cell>, mut at: Port<'_>) {
    for mut cell in cells.drain(..) {
        links.handle_cell(clock(now), &mut cell, &mut at);
    }
}

/// What a relay's links have done to the world.
struct Hub {
    sent: Vec<(u8, Cell)>,
    notes: Vec<(u8, LinkEvent<u8>)>,
    requests: Vec<Request<u8>>,
    cookies: RendezvousTable<u8>,
    introductions: IntroductionTable<u8>,
}

/// The world as one link sees it.
struct Port<'a> {
    this: u8,
    hub: &'a mut Hub,
}

impl Outlet for Port<'_> {
    type Link = u8;

    fn send(&mut self, cell: &Cell) {
        self.hub.sent.push((self.this, cell.clone()));
    }

    fn refuse(&mut self, circ: CircId, reason: DestroyReason) {
        self.hub.sent.push((self.this, Cell::destroy(circ, reason)));
    }

    fn forward(&mut self, link: &u8, cell: &Cell) {
        self.hub.sent.push((*link, cell.clone()));
    }

    fn answer(&mut self, request: Request<u8>) {
        self.hub.requests.push(request);
    }

    fn tell(&mut self, link: &u8, note: LinkEvent<u8>) {
        self.hub.notes.push((*link % 3, note));
    }

    fn connect(&mut self, relay: RelayIdentity, note: LinkEvent<u8>) {
        // Two relays have links; others cannot be reached.
        match relay.as_bytes().first() {
            Some(8) => self.hub.notes.push((1, note)),
            Some(9) => self.hub.notes.push((2, note)),
            _ => self.hub.notes.extend(note.into_failure(DestroyReason::ALL[0])),
        }
    }

    fn tables(&mut self) -> &mut impl Tables<Link = u8> {
        self.hub
    }
}

impl Tables for Hub {
    type Link = u8;

    fn rendezvous(&mut self) -> impl DerefMut<Target = RendezvousTable<u8>> {
        &mut self.cookies
    }

    fn introductions(&mut self) -> impl DerefMut<Target = IntroductionTable<u8>> {
        &mut self.introductions
    }
}

/// The client's engine between a network and a person who both do anything at all.
pub fn client(data: &[u8]) {
    let mut choices = Choices(data);
    let network = Network::new();
    let mut millis = 1000;
    let at = |millis| Now { instant: Instant::from_millis(millis), unix: UnixTime::from_millis(TIME * 1000 + millis) };
    let config = Config::new(network.authorities.clone());
    let Ok(mut client) = Client::new(config, Vec::new(), [3; 32], at(millis)) else { return };
    let mut fragments: Vec<String> = Vec::new();
    let mut taken = 0;
    while let Some(choice) = choices.step(taken) {
        taken += 1;
        let (link, contact) = (LinkId(u64::from(choices.byte() % 4)), ContactId(u64::from(choices.byte() % 3)));
        let mut text = || String::from_utf8_lossy(choices.piece()).into_owned();
        let input = match choice % 12 {
            0 => ClientInput::Command(match choice >> 4 & 3 {
                0 => Wish::invite(),
                1 => Wish::Invite { reusable: true, expires_in: Some(60 * link.0), note: text() },
                2 => Wish::Withdraw { id: InviteId(link.0) },
                _ => Wish::Invites,
            }),
            1 => {
                let link = match fragments.last() {
                    Some(fragment) => fragment.clone(),
                    None if choice & 0x40 != 0 => network.invite().to_fragment(),
                    None => text(),
                };
                let (name, introduce_as) = (text(), text());
                ClientInput::Command(match choice & 0x80 {
                    0 => Wish::add(link, name, Some(&introduce_as)),
                    _ => Wish::Add { link, name, introduce_as: None, note: introduce_as },
                })
            }
            2 => ClientInput::Command(Wish::Send { to: contact, text: text() }),
            3 => ClientInput::Command(match link.0 {
                1 => Wish::PublishKey,
                2 => Wish::FindKey { id: UserId([contact.0 as u8; 32]) },
                3 => Wish::Blocked,
                4 | 5 => Wish::TypingNotices { on: link.0 & 1 == 1 },
                _ => Wish::Circuits,
            }),
            4 => ClientInput::Command(match choice >> 4 & 7 {
                1 => Wish::Accept { id: contact },
                2 => Wish::Decline { id: contact },
                3 => Wish::Block { id: contact },
                4 => Wish::Unblock { id: contact },
                5 => Wish::Read { contact },
                6 => Wish::Typing { contact, typing: link.0 & 1 == 1 },
                7 => Wish::Receipts { on: link.0 & 1 == 1 },
                _ => Wish::Shown { contact, id: MessageId([1; 16]) },
            }),
            5 => ClientInput::LinkOpened(link),
            6 => ClientInput::LinkMessage(link, text().into_bytes()),
            7 => ClientInput::LinkClosed(link),
            8 => ClientInput::Consensus { source: usize::from(choice >> 7), answer: Ok(network.consensus()) },
            9 => ClientInput::Consensus { source: 0, answer: Ok(edited(network.consensus(), text().as_bytes())) },
            10 => ClientInput::Persisted(BatchId(u64::from(choices.byte()))),
            _ => {
                millis += 50 * u64::from(choices.byte());
                ClientInput::Timeout
            }
        };
        client.handle(at(millis), input);
        let _ = client.poll_timeout();
        while let Some(output) = client.poll_output() {
            if let Output::Event(Event::Invite { fragment, .. }) = output {
                fragments.push(fragment);
            }
        }
    }
}

/// A circuit at its origin, whose only relay shakes hands as it should and then sends anything.
pub fn circuit(data: &[u8]) {
    let mut choices = Choices(data);
    let mut rng = rng();
    let onion = OnionSecret::generate(&mut rng);
    let hop = Hop { identity: RelayIdentity([7; 32]), onion_key: onion.public() };
    let circ = LinkEnd::Initiator.circ_id(1);
    let mut out = Vec::new();
    let path = vec![hop.clone(); 1 + usize::from(choices.byte() & 1)];
    let Ok(mut circuit) = Circuit::build(&mut rng, circ, path, &mut out) else { return };
    let mut assembler = Assembler::default();
    let message = out.drain(..).find_map(|cell| assembler.push(&Fragment::in_cell(&cell)).ok().flatten());
    let Some(message) = message else { return };
    let client_message = &message[..CLIENT_MESSAGE_LEN];
    let Ok((answer, mut keys)) = respond(&mut rng, &[7; 32], &onion, b"", client_message) else { return };
    let mut backward = RelayBackward::new(&CircuitKeys::from(&mut keys).backward);
    let mut taken = 0;
    let mut answers = split(&answer).into_iter();
    while let Some(choice) = choices.step(taken) {
        taken += 1;
        let cell = match choice % 8 {
            0 => choices.cell(),
            1..5 => match answers.next() {
                Some(fragment) => fragment.to_cell(circ, Command::Created),
                None => {
                    // Anything at all, properly sealed.
                    let mut cell = Cell { circ, command: Command::Relay, body: [0; BODY_LEN] };
                    cell.body[16..].copy_from_slice(&start_of::<PAYLOAD_LEN>(choices.piece()));
                    backward.originate(cell.command as u8, &mut cell.body);
                    cell
                }
            },
            5 => {
                let _ = circuit.extend(&mut rng, hop.clone(), &mut out);
                continue;
            }
            6 => {
                let message = choices.message();
                message.into_iter().for_each(|message| circuit.send(&message, &mut out));
                continue;
            }
            _ => {
                let stream = StreamId(u16::from(choices.byte() & 3));
                match choices.byte() % 4 {
                    0 => {
                        let service = Service::ALL[usize::from(choice >> 3) % Service::ALL.len()];
                        drop(circuit.begin(service, 0, choices.piece(), &mut out));
                    }
                    1 => circuit.write(stream, &choices.piece().repeat(1000), &mut out),
                    2 => circuit.consumed(stream, &mut out),
                    _ => circuit.end(stream, EndReason::DONE, &mut out),
                }
                continue;
            }
        };
        if circuit.handle(&mut rng, cell, &mut out).is_err() {
            return;
        }
    }
}
