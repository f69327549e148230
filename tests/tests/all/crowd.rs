//! Many conversations at once while relays and clients die as by a power cut, one after the other: nothing is lost.
//!
//! Ten clients sit in a circle, and each knows the two on its left and the two on its right: twenty conversations among ten
//! processes, which two cores can carry beside a network's eleven. Five messages a second in each of them are a hundred a
//! second in all, each of which is synced to two disks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use allium_shared::client::api::DeliveryState;
use allium_shared::client::history_entry;
use allium_tests::artifacts;
use allium_tests::chat::{Chat, ContactState, Event, Mark};
use allium_tests::network::{Network, Options};
use allium_tests::{profile, wait};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::json;

const CLIENTS: usize = 10;

/// How far around the circle each client's contacts sit.
const REACH: usize = 2;

/// Between two messages of one person to one contact: five a second in each conversation.
const PACE: Duration = Duration::from_millis(400);

/// How long they talk, and how long where all is verified.
const LENGTHS: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(600));

/// How often a relay dies, and a client.
const DEATHS: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(30));

/// The last of them lives again so long before the end.
const CALM: Duration = Duration::from_secs(8);

/// Within this time after the last word all of it has arrived.
const DRAINED_WITHIN: Duration = Duration::from_secs(90);

/// A number for the randomness of a run: set it to have the same deaths again.
const SEED: &str = "ALLIUM_CROWD_SEED";

/// Somebody who never stops talking, and what they have said.
struct Person {
    n: usize,
    chat: Chat,
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    runs: bool,
    /// For each of the client's processes what was written to it, in order: to whom, and the number of the message.
    lives: Vec<Vec<(usize, u64)>>,
    /// The number of the next message to each contact.
    next: BTreeMap<usize, u64>,
}

/// A message as its receiver reads it.
fn text(from: usize, to: usize, number: u64) -> String {
    format!("{} > {} {number}", name(from), name(to))
}

/// The number of a message from and to these, if it is one.
fn number(from: usize, to: usize, text: &str) -> Option<u64> {
    text.strip_prefix(&format!("{} > {} ", name(from), name(to)))?.parse().ok()
}

fn name(n: usize) -> String {
    format!("Client{n}")
}

impl Person {
    fn contacts(&self) -> impl Iterator<Item = usize> + use<> {
        let n = self.n;
        (1..=REACH).flat_map(move |step| [(n + step) % CLIENTS, (n + CLIENTS - step) % CLIENTS])
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes one message, if the client lives.
    fn say(&self, to: usize) {
        let mut said = self.said();
        if !said.runs {
            return;
        }
        let number = said.next.entry(to).or_default();
        let this = *number;
        *number += 1;
        said.lives.last_mut().unwrap().push((to, this));
        self.chat.say(&json!({"do": "send", "to": name(to), "text": text(self.n, to, this)}));
    }

    fn kill(&self) {
        let mut said = self.said();
        said.runs = false;
        self.chat.kill();
    }

    fn start(&self) {
        let mut said = self.said();
        self.chat.start();
        said.lives.push(Vec::new());
        said.runs = true;
    }

    /// The numbers of the messages to a contact that have to arrive: those that the client has called queued. Orders are
    /// carried out one after the other, so those are the first of each life.
    fn promised(&self, to: usize) -> BTreeSet<u64> {
        let (said, contact) = (self.said(), name(to));
        let mut promised = BTreeSet::new();
        for (written, events) in said.lives.iter().zip(self.chat.lives()) {
            let queued = events.iter().filter(|event| matches!(event, Event::Queued { to, .. } if *to == contact));
            let written = written.iter().filter(|(other, _)| *other == to).map(|(_, number)| *number);
            promised.extend(written.zip(queued).map(|(number, _)| number));
        }
        promised
    }

    /// Waits until the client, which has not died since, has called queued whatever was written to it.
    #[track_caller]
    fn await_all_queued(&self) {
        let count = self.said().lives.last().unwrap().len();
        self.chat.expect_all(Mark::default(), DRAINED_WITHIN, "all its messages queued", |events| {
            let queued = events.iter().filter(|event| matches!(event, Event::Queued { .. })).count();
            (queued >= count).then_some(())
        });
    }
}

/// Who knows whom, each pair once.
fn pairs() -> Vec<(usize, usize)> {
    (0..CLIENTS).flat_map(|n| (1..=REACH).map(move |step| (n, (n + step) % CLIENTS))).collect()
}

/// Who writes to whom.
fn ways() -> Vec<(usize, usize)> {
    pairs().into_iter().flat_map(|(a, b)| [(a, b), (b, a)]).collect()
}

/// Starts all clients and makes them contacts.
#[track_caller]
fn gather(url: &str) -> Vec<Person> {
    let people: Vec<_> =
        (0..CLIENTS).map(|n| Person { n, chat: Chat::launch(&name(n), url), said: Mutex::default() }).collect();
    for person in &people {
        person.chat.await_ready();
        let mut said = person.said();
        said.lives.push(Vec::new());
        said.runs = true;
    }
    for (a, b) in pairs() {
        let (inviter, guest) = (&people[a].chat, &people[b].chat);
        let marks = (inviter.mark(), guest.mark());
        guest.add(&inviter.invite(), &name(a), Some(&name(b)));
        assert_eq!(inviter.accept_request(marks.0), name(b));
        inviter.await_state(marks.0, &name(b), DRAINED_WITHIN, |state| state == ContactState::Connected);
        guest.await_state(marks.1, &name(a), DRAINED_WITHIN, |state| state == ContactState::Connected);
    }
    people
}

/// What dies next, when, and when it lives again.
struct Fate {
    at: Duration,
    back: Duration,
    victim: Victim,
}

enum Victim {
    Relay(String),
    Client(usize),
}

/// All deaths of a run, in order. No two of a kind overlap.
fn fates(rng: &mut ChaCha20Rng, relays: &[String], length: Duration) -> Vec<Fate> {
    let mut fates = Vec::new();
    let mut add =
        |first: u64, every: Duration, away: (u64, u64), victim: &mut dyn FnMut(usize) -> Victim, of: usize| {
            let mut at = Duration::from_secs(first);
            while at + Duration::from_millis(away.1) + CALM < length {
                let back = at + Duration::from_millis(away.0 + rng.next_u64() % (away.1 - away.0));
                fates.push(Fate { at, back, victim: victim(rng.next_u32() as usize % of) });
                at += every;
            }
        };
    add(5, DEATHS.0, (2000, 8000), &mut |n| Victim::Relay(relays[n].clone()), relays.len());
    add(12, DEATHS.1, (0, 4000), &mut Victim::Client, CLIENTS);
    fates.sort_by_key(|fate| fate.at);
    fates
}

/// Lets what is fated happen, and tells it.
fn befall(fates: Vec<Fate>, network: &Network, people: &[Person], start: Instant) {
    enum Turn {
        Dies,
        Lives,
    }
    let turns = |fate: &Fate| [(fate.at, Turn::Dies), (fate.back, Turn::Lives)];
    let mut turns: Vec<_> = fates.iter().flat_map(|fate| turns(fate).map(|(at, turn)| (at, turn, fate))).collect();
    turns.sort_by_key(|(at, ..)| *at);
    for (at, turn, fate) in turns {
        thread::sleep(at.saturating_sub(start.elapsed()));
        let (who, what) = match (&fate.victim, turn) {
            (Victim::Relay(relay), Turn::Dies) => {
                network.node(relay).kill();
                (relay.clone(), "dies")
            }
            (Victim::Relay(relay), Turn::Lives) => {
                network.restart(relay);
                (relay.clone(), "lives again")
            }
            (Victim::Client(n), Turn::Dies) => {
                people[*n].kill();
                (name(*n), "dies")
            }
            (Victim::Client(n), Turn::Lives) => {
                people[*n].start();
                (name(*n), "lives again")
            }
        };
        println!("{:6.1} s  {who} {what}", start.elapsed().as_secs_f64());
    }
}

/// What a client has printed of one contact's messages: each number once, where it was printed first. A process never prints
/// one twice; the next one may print again what the one before had not noted as printed when it was killed.
#[track_caller]
fn printed(person: &Person, from: usize) -> Vec<u64> {
    let mut ids: BTreeMap<String, u64> = BTreeMap::new();
    let mut order = Vec::new();
    for life in person.chat.lives() {
        let mut here = BTreeSet::new();
        for event in life {
            let Event::Message { from: sender, id, text } = event else { continue };
            if sender != name(from) {
                continue;
            }
            let number = number(from, person.n, &text).unwrap_or_else(|| panic!("nobody said {text:?}"));
            assert!(here.insert(id.clone()), "{} printed {text:?} twice", name(person.n));
            match ids.insert(id, number) {
                None => order.push(number),
                Some(before) => assert_eq!(before, number, "two messages of one id"),
            }
        }
    }
    order
}

/// Checks one way of a conversation: all that was promised has come, once, in order, and nothing else but what was written.
#[track_caller]
fn check_way(people: &[Person], from: usize, to: usize) -> usize {
    let promised = people[from].promised(to);
    let written = people[from].said().next.get(&to).copied().unwrap_or_default();
    let printed = printed(&people[to], from);
    let way = format!("{} to {}", name(from), name(to));
    let out_of_turn = printed.windows(2).find(|pair| pair[0] >= pair[1]);
    assert_eq!(out_of_turn, None, "{way}: out of turn, or twice");
    let came: BTreeSet<u64> = printed.iter().copied().collect();
    let lost: Vec<_> = promised.difference(&came).collect();
    assert!(lost.is_empty(), "{way}: lost {lost:?} of {}", promised.len());
    assert!(printed.last().is_none_or(|last| *last < written), "{way}: nobody wrote {:?}", printed.last());
    printed.len()
}

/// For each way, from whom to whom, the ids of its messages with their numbers, in order.
type Ways = BTreeMap<(usize, usize), Vec<([u8; 16], u64)>>;

/// What is on a client's disk once it has ended.
fn on_disk(person: &Person) -> Ways {
    let mut ways = Ways::new();
    for (key, value) in profile::records(&person.chat.profile()) {
        let Some(entry) = history_entry(&key, &value) else { continue };
        let outgoing = entry.outgoing.is_some();
        let other = |other: usize| if outgoing { (person.n, other) } else { (other, person.n) };
        let found = person.contacts().map(other).find_map(|way| Some((way, number(way.0, way.1, &entry.text)?)));
        let (way, number) = found.unwrap_or_else(|| panic!("nobody said {:?}", entry.text));
        let state = entry.outgoing;
        assert!(
            state.is_none_or(|state| matches!(state, DeliveryState::Delivered | DeliveryState::Read)),
            "{:?} is {state:?}",
            entry.text
        );
        ways.entry(way).or_default().push((entry.id.0, number));
    }
    ways
}

#[test]
fn twenty_conversations_lose_nothing_while_relays_and_clients_die() {
    let seed = std::env::var(SEED).ok().map(|seed| seed.parse().expect("a seed is a number"));
    let seed: u64 = seed.unwrap_or_else(|| {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).unwrap();
        u64::from_be_bytes(bytes)
    });
    println!("{SEED}={seed}");
    let length = if artifacts::full() { LENGTHS.1 } else { LENGTHS.0 };
    let network = Network::start(&Options::default());
    let people = gather(&network.url());
    let relays: Vec<String> = network.relays().map(|node| node.nickname().to_owned()).collect();
    let fates = fates(&mut ChaCha20Rng::seed_from_u64(seed), &relays, length);

    let (start, stop) = (Instant::now(), AtomicBool::new(false));
    thread::scope(|scope| {
        for person in &people {
            let stop = &stop;
            scope.spawn(move || {
                let contacts: Vec<_> = person.contacts().collect();
                let pause = PACE / u32::try_from(contacts.len()).unwrap();
                let mut turn = 0;
                // By the clock, so that a busy machine makes nobody say less.
                while !stop.load(Ordering::Relaxed) {
                    person.say(contacts[turn % contacts.len()]);
                    turn += 1;
                    thread::sleep((pause * u32::try_from(turn).unwrap()).saturating_sub(start.elapsed()));
                }
            });
        }
        let end = scope.spawn(|| befall(fates, &network, &people, start)).join();
        thread::sleep(length.saturating_sub(start.elapsed()));
        stop.store(true, Ordering::Relaxed);
        end.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });

    // Everything that was written to those who live is promised, and all that was promised arrives.
    people.iter().for_each(Person::await_all_queued);
    let silence = Instant::now();
    for (from, to) in ways() {
        let last = people[from].promised(to).pop_last().expect("somebody talked");
        let what = format!("{} of {}", text(from, to, last), name(to));
        wait::until(DRAINED_WITHIN.saturating_sub(silence.elapsed()), &what, || {
            people[to].chat.ever_received().iter().any(|message| message.text == text(from, to, last)).then_some(())
        });
    }
    for person in &people {
        let queued = person.chat.events().into_iter().rev();
        let mut last: BTreeMap<String, String> = BTreeMap::new();
        for event in queued {
            if let Event::Queued { to, id } = event {
                last.entry(to).or_insert(id);
            }
        }
        last.values().for_each(|id| person.chat.await_delivered(id));
    }
    println!("all of it arrived {:.1} s after the last word", silence.elapsed().as_secs_f64());

    let count: usize = ways().into_iter().map(|(from, to)| check_way(&people, from, to)).sum();
    println!("{count} messages");
    let rate = count as f64 / length.as_secs_f64();
    assert!(rate > 80.0, "they were to say a hundred a second, and said {rate:.0}");

    // And on the disks: both sides have the same messages, each once, and nothing waits any more.
    for person in &people {
        person.chat.close_input();
        person.chat.wait(DRAINED_WITHIN);
    }
    let disks: Vec<_> = people.iter().map(on_disk).collect();
    for way in ways() {
        let (there, here) = (&disks[way.0][&way], &disks[way.1][&way]);
        assert_eq!(there, here, "{} to {}", name(way.0), name(way.1));
        let ids: BTreeSet<_> = here.iter().map(|(id, _)| id).collect();
        assert_eq!(ids.len(), here.len(), "{} stored an id twice", name(way.1));
    }
}
