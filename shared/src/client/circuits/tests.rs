//! The manager driven alone: real links to relays that take everything and answer nothing, so that circuits stay under
//! construction for as long as a test wants.

use std::collections::BTreeMap;

use super::relays::NoPath;
use super::*;
use crate::crypto::keys::{IdentityKeypair, LinkSecret, OnionSecret};
use crate::link::{LinkStep, Peer, Responder};
use crate::netdir::{Authorities, Authority, AuthorityKeypair, ConsensusDraft, RelayEntry, RelayRole, Roles, Validity};
use crate::stream::Service;
use crate::stream::request::{StreamRequest, StreamRequestError};
use crate::time::UnixTime;

const START: u64 = 1_800_000_000;

/// Relays of the network, no two of them related.
const RELAYS: u8 = 12;

fn at(millis: u64) -> Now {
    Now { instant: Instant::from_millis(millis), unix: UnixTime::from_millis(START * 1000 + millis) }
}

/// A manager, and the network that it believes to be in.
struct Bench {
    manager: CircuitManager,
    authorities: Authorities,
    relays: Vec<(RelayEntry, LinkSecret)>,
    now: u64,
    /// Links that are open, with the relays that they lead to.
    links: BTreeMap<LinkId, RelayIdentity>,
    rng: ChaCha20Rng,
    events: Vec<CircuitEvent>,
}

impl Bench {
    /// A manager whose links to its guards are open.
    fn new() -> Self {
        let mut rng = ChaCha20Rng::from_seed([7; 32]);
        let signer = AuthorityKeypair::new(IdentityKeypair::from_seed(&[1; 32]));
        let url = "http://127.0.0.1:1".to_owned();
        let authority = Authority { nickname: "a".parse().unwrap(), key: signer.identity(), url };
        let authorities = Authorities::new(vec![authority]).unwrap();
        let roles: Roles = [RelayRole::Guard, RelayRole::Middle, RelayRole::Rendezvous].into_iter().collect();
        let mut relay = |n: u8| {
            let identity = IdentityKeypair::generate(&mut rng).identity();
            let (link, onion) = (LinkSecret::generate(&mut rng), OnionSecret::generate(&mut rng));
            let nickname = format!("relay{n}").parse().unwrap();
            let url = format!("ws://10.{n}.0.1:80/").parse().unwrap();
            (RelayEntry::new(identity, link.public(), onion.public(), roles, nickname, url), link)
        };
        let relays: Vec<_> = (0..RELAYS).map(&mut relay).collect();
        let entries = relays.iter().map(|(entry, _)| entry.clone()).collect();
        let validity = Validity { valid_after: START - 60, fresh_until: START + 3600, valid_until: START + 10_800 };
        let draft = ConsensusDraft::new(*authorities.network(), validity, entries);
        let consensus = Consensus::verify_signatures(&draft.sign(&[&signer]).unwrap(), &authorities).unwrap();
        let config = Config::new(authorities.clone());
        let manager = CircuitManager::new(config, Some(consensus), None, (Vec::new(), Vec::new()), [3; 32], at(0));
        let (links, events) = (BTreeMap::new(), Vec::new());
        let mut bench = Self { manager, authorities, relays, now: 0, links, rng, events };
        bench.run(100);
        assert!(bench.manager.has_open_link(), "a link to a guard is open");
        bench
    }

    fn relay(&self, n: usize) -> RelayIdentity {
        self.relays[n].0.identity
    }

    /// A relay that is none of the guards, and none of `but`.
    fn other(&self, but: &[RelayIdentity]) -> RelayIdentity {
        let is_guard = |relay: &RelayIdentity| self.links.values().any(|guard| guard == relay);
        let mut relays = self.relays.iter().map(|(entry, _)| entry.identity);
        relays.find(|relay| !is_guard(relay) && !but.contains(relay)).unwrap()
    }

    /// Lets so many milliseconds pass.
    fn run(&mut self, millis: u64) {
        let end = self.now + millis;
        loop {
            self.step();
            let next = self.manager.poll_timeout().map_or(end, |next| next.as_millis().max(self.now + 1));
            if next >= end {
                break;
            }
            self.now = next;
        }
        self.now = end;
        self.step();
    }

    fn step(&mut self) {
        self.manager.set_now(at(self.now));
        self.manager.check_deadlines();
        self.manager.maintain(|_| false);
        self.manager.flush();
        while let Some(output) = self.manager.poll_output() {
            self.carry_out(output);
        }
        while let Some(event) = self.manager.poll_event() {
            self.events.push(event);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::OpenLink { link, url } => {
                let (entry, _) =
                    self.relays.iter().find(|(entry, _)| entry.urls().any(|at| at.as_str() == url)).unwrap();
                self.links.insert(link, entry.identity);
                self.manager.link_opened(link);
            }
            Output::SendLink(link, message) => self.shake_hands(link, &message),
            Output::CloseLink(link) => drop(self.links.remove(&link)),
            _ => {}
        }
    }

    /// Answers a link's handshake; whatever comes later is taken and never answered.
    fn shake_hands(&mut self, link: LinkId, message: &[u8]) {
        let guard = self.links[&link];
        let (_, secret) = self.relays.iter().find(|(entry, _)| entry.identity == guard).unwrap();
        let network = self.authorities.network().as_bytes();
        let mut responder = Responder::new(&mut self.rng, network, &guard, secret);
        if let Ok(LinkStep::Established { send: Some(answer), link: open }) = responder.receive(message) {
            assert!(matches!(open.peer, Peer::Anonymous));
            self.manager.link_message(link, answer);
        }
    }

    fn open(&mut self, target: Target, purpose: CircuitPurpose) -> Result<CircuitId, NoPath> {
        self.manager.open(target, purpose, Isolation::Exclusive)
    }

    /// Opens circuits for a purpose until there is no more room; returns them.
    fn exhaust(&mut self, purpose: CircuitPurpose) -> Vec<CircuitId> {
        let mut opened = Vec::new();
        for _ in 0..100 {
            let relay = self.other(&[]);
            match self.open(Target::Named(relay), purpose) {
                Ok(id) => opened.push(id),
                Err(refused) => {
                    assert_eq!(refused, NoPath::NotYet);
                    return opened;
                }
            }
        }
        panic!("{purpose:?} has no budget");
    }

    fn closed(&self) -> Vec<CircuitId> {
        let closed = self.events.iter().filter_map(|event| match event {
            CircuitEvent::Closed(id) => Some(*id),
            _ => None,
        });
        closed.collect()
    }

    fn answers(&self) -> Vec<(RequestId, &RequestResult)> {
        let answered = self.events.iter().filter_map(|event| match event {
            CircuitEvent::Answered(id, result) => Some((*id, result)),
            _ => None,
        });
        answered.collect()
    }
}

#[test]
fn no_purpose_starves_another() {
    let mut bench = Bench::new();
    let greedy = bench.exhaust(CircuitPurpose::Introduce);
    assert_eq!(greedy.len(), CircuitPurpose::Introduce.budget());
    for purpose in [CircuitPurpose::IntroPoint, CircuitPurpose::ClientRendezvous, CircuitPurpose::ServiceRendezvous] {
        assert_eq!(bench.exhaust(purpose).len(), purpose.budget(), "{purpose:?} gets all of its own");
    }
    // Whatever is given back is there again, for the same purpose.
    bench.manager.close(greedy[0], DestroyReason::Requested);
    assert_eq!(bench.exhaust(CircuitPurpose::Introduce).len(), 1);
}

#[test]
fn requests_have_budgets_too() {
    let mut bench = Bench::new();
    let relay = bench.other(&[]);
    let request = || StreamRequest::new(Service::TIME, Vec::new());
    let mut sent = 0;
    while bench.manager.request(relay, CircuitPurpose::UserKeys, request()).is_some() {
        sent += 1;
        assert!(sent < 100, "there is no limit");
    }
    assert_eq!(sent, CircuitPurpose::UserKeys.budget());
    assert!(bench.manager.open(Target::Rendezvous, CircuitPurpose::ClientRendezvous, Isolation::Exclusive).is_ok());
}

#[test]
fn a_circuit_is_shared_only_where_key_purpose_and_target_agree() {
    let mut bench = Bench::new();
    let (relay, purpose) = (bench.other(&[]), CircuitPurpose::ServiceRendezvous);
    let mut open = |target, purpose, isolation| bench.manager.open(target, purpose, isolation).unwrap();
    let first = open(Target::Named(relay), purpose, Isolation::Shared(1));
    assert_eq!(open(Target::Named(relay), purpose, Isolation::Shared(1)), first);
    let mut others = vec![
        first,
        open(Target::Named(relay), purpose, Isolation::Shared(2)),
        open(Target::Named(relay), purpose, Isolation::Exclusive),
        open(Target::Named(relay), purpose, Isolation::Exclusive),
        open(Target::Named(relay), CircuitPurpose::Introduce, Isolation::Shared(1)),
    ];
    let elsewhere = bench.other(&[relay]);
    others.push(bench.manager.open(Target::Named(elsewhere), purpose, Isolation::Shared(1)).unwrap());
    others.sort();
    others.dedup();
    assert_eq!(others.len(), 6, "all of these are different circuits");
}

#[test]
fn a_path_leads_to_its_target_and_avoids_what_it_must() {
    let mut bench = Bench::new();
    let relay = bench.other(&[]);
    for target in [Target::Named(relay), Target::Chosen(relay)] {
        let id = bench.open(target, CircuitPurpose::IntroPoint).unwrap();
        assert_eq!(bench.manager.last_hop(id), Some(relay));
    }
    for n in 0..usize::from(RELAYS) {
        let avoid = bench.relay(n);
        let Ok(id) = bench.open(Target::RendezvousWithout(avoid), CircuitPurpose::Fallback) else { continue };
        let path: Vec<_> = bench.manager.path_of(id).unwrap().collect();
        assert!(!path.contains(&avoid), "{path:?}");
        bench.manager.close(id, DestroyReason::Requested);
    }
}

#[test]
fn a_circuit_that_is_closed_here_is_not_reported_and_one_that_is_lost_is_reported_once() {
    let mut bench = Bench::new();
    let [kept, closed, hung_up] =
        [(); 3].map(|()| bench.open(Target::Rendezvous, CircuitPurpose::ClientRendezvous).unwrap());
    bench.manager.close(closed, DestroyReason::Requested);
    bench.manager.hang_up(hung_up, DestroyReason::Requested);
    bench.run(10);
    assert_eq!(bench.closed(), [hung_up]);
    // Nobody answers its CREATE.
    bench.run(60_000);
    assert_eq!(bench.closed(), [hung_up, kept]);
    assert!(!bench.manager.is_open(kept) && bench.manager.last_hop(kept).is_none());
}

#[test]
fn whoever_uses_a_lost_link_is_told_once() {
    let mut bench = Bench::new();
    let waiting = bench.exhaust(CircuitPurpose::ClientRendezvous);
    let relay = bench.other(&[]);
    let request =
        bench.manager.request(relay, CircuitPurpose::UserKeys, StreamRequest::new(Service::TIME, Vec::new())).unwrap();
    for link in bench.links.keys().copied().collect::<Vec<_>>() {
        bench.manager.link_lost(link);
    }
    bench.run(1);
    let mut closed = bench.closed();
    closed.sort();
    assert_eq!(closed, waiting);
    assert!(matches!(bench.answers()[..], [(id, Err(StreamRequestError::CircuitLost))] if id == request));
    assert_eq!(bench.manager.len(), 0);
}

#[test]
fn a_request_that_nobody_answers_fails_once() {
    let mut bench = Bench::new();
    let relay = bench.other(&[]);
    let request =
        bench.manager.request(relay, CircuitPurpose::UserKeys, StreamRequest::new(Service::TIME, Vec::new())).unwrap();
    bench.run(120_000);
    assert!(matches!(bench.answers()[..], [(id, Err(_))] if id == request));
}

#[test]
fn garbage_ends_the_link_that_brought_it_and_no_other() {
    let mut bench = Bench::new();
    bench.run(5_000);
    let links: Vec<LinkId> = bench.links.keys().copied().collect();
    assert!(links.len() >= 2, "there are two guards");
    bench.manager.link_message(links[0], vec![0; 600]);
    bench.manager.link_message(LinkId(u64::MAX), vec![0; 600]);
    bench.manager.link_lost(LinkId(u64::MAX));
    while let Some(output) = bench.manager.poll_output() {
        bench.carry_out(output);
    }
    assert!(!bench.links.contains_key(&links[0]));
    assert!(bench.links.contains_key(&links[1]) && bench.manager.has_open_link());
}

#[test]
fn guards_outlive_a_restart() {
    let mut bench = Bench::new();
    let (guards, second_hops) = bench.manager.take_changed_guards().expect("new guards are to be stored");
    assert!(bench.manager.take_changed_guards().is_none(), "once");
    let consensus = bench.manager.consensus().cloned();
    let config = Config::new(bench.authorities.clone());
    let before: Vec<_> = bench.links.values().copied().collect();
    bench.manager = CircuitManager::new(config, consensus, None, (guards, second_hops), [4; 32], at(bench.now));
    bench.links.clear();
    bench.run(100);
    assert!(bench.links.values().all(|guard| before.contains(guard)), "no other relay sees the client's address");
}
