//! What could be learnt at a place of the network, as functions over what was seen there.
//!
//! A *coalition* is a set of relays that tell each other everything. It links circuits by their ids: a relay knows which of
//! its circuits belong together, and two neighbours call the circuit between them by one name. What timing and volume tell
//! whoever sits at both ends of a circuit is not in here: no low-latency network hides that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use allium_shared::link::{CELL_LEN, MAX_CELLS};

use super::Node;
use super::observer::{Hose, Joint, Observer, RelayView};
use crate::tap::Secrets;

/// Lengths of the messages of a link's handshake: with the open bytes, the answer, a relay's proof.
const HANDSHAKE_LENS: [usize; 3] = [51, 48, 64];

/// Messages of a link's handshake, in both directions.
const HANDSHAKE_MESSAGES: usize = 3;

/// Length of a record beyond its cells.
const TAG_LEN: usize = 16;

/// As many equal bytes in a row do not occur in noise.
const RUN: usize = 12;

/// As many first bytes are not the same by chance in two messages of noise: a cell's header, for one.
const HEAD: usize = 5;

/// Something that should not be to be seen where it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leak {
    /// These relays together know that these two talk to each other.
    Pair(Vec<usize>, Node, Node),
    /// These relays together know that this client waits for or visits somebody at this relay.
    Meeting(Vec<usize>, Node, usize),
    /// A secret was in the bytes of a link.
    OnLink(usize, String),
    /// A secret was in a cell at a relay.
    AtRelay(usize, String),
    /// The bytes of a link are no noise.
    NoNoise(usize, &'static str),
    /// A message on a link has a length that says something.
    Length(usize, usize),
    /// One circuit has two relays of which one may know what the other one does.
    Related(usize, usize),
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pair(relays, a, b) => write!(f, "relays {relays:?} know that {a:?} and {b:?} talk"),
            Self::Meeting(relays, client, at) => write!(f, "relays {relays:?} know that {client:?} meets at {at}"),
            Self::OnLink(socket, what) => write!(f, "on link {socket} there is {what}"),
            Self::AtRelay(relay, what) => write!(f, "relay {relay} sees {what}"),
            Self::NoNoise(socket, why) => write!(f, "link {socket} carries no noise: {why}"),
            Self::Length(socket, len) => write!(f, "link {socket} carries a message of {len} bytes"),
            Self::Related(a, b) => write!(f, "relays {a} and {b} are related, and stand on one circuit"),
        }
    }
}

/// What a coalition of relays can join: groups of circuits that are one.
struct Knowledge<'a> {
    views: Vec<(usize, &'a RelayView)>,
    group_of: BTreeMap<Hose, Hose>,
}

impl<'a> Knowledge<'a> {
    fn new(observer: &'a Observer, coalition: &[usize]) -> Self {
        let views: Vec<_> = coalition.iter().filter_map(|n| observer.relay(*n).map(|view| (*n, view))).collect();
        let mut knowledge = Self { views, group_of: BTreeMap::new() };
        for (_, view) in knowledge.views.clone() {
            for (_, one, other) in &view.joints {
                let (one, other) = (knowledge.group(*one), knowledge.group(*other));
                knowledge.group_of.insert(one, other);
            }
        }
        knowledge
    }

    fn group(&self, mut hose: Hose) -> Hose {
        while let Some(next) = self.group_of.get(&hose).filter(|next| **next != hose) {
            hose = *next;
        }
        hose
    }

    /// The clients whose addresses belong to a group of circuits.
    fn clients(&self) -> BTreeMap<Hose, BTreeSet<Node>> {
        let mut clients: BTreeMap<Hose, BTreeSet<Node>> = BTreeMap::new();
        for (_, view) in &self.views {
            let hoses = view.cells.iter().map(|seen| seen.hose).collect::<BTreeSet<_>>();
            for hose in hoses {
                if let Some(node @ (Node::Client(_) | Node::Outsider(_))) = view.peers.get(&hose.socket)
                    && hose.circ.0 != 0
                {
                    clients.entry(self.group(hose)).or_default().insert(*node);
                }
            }
        }
        clients
    }
}

/// Who talks to whom, as far as a coalition of relays can join what its members know.
pub fn pairs(observer: &Observer, coalition: &[usize]) -> BTreeSet<(Node, Node)> {
    let mut pairs = BTreeSet::new();
    for clients in Knowledge::new(observer, coalition).clients().into_values() {
        for a in &clients {
            pairs.extend(clients.iter().filter(|b| a < *b).map(|b| (*a, *b)));
        }
    }
    pairs
}

/// Who meets somebody where: both ends of a circuit, as far as a coalition can join what its members know.
pub fn meetings(observer: &Observer, coalition: &[usize]) -> BTreeSet<(Node, usize)> {
    let knowledge = Knowledge::new(observer, coalition);
    let clients = knowledge.clients();
    let mut meetings = BTreeSet::new();
    for (n, view) in &knowledge.views {
        let visits = view.joints.iter().filter(|(joint, ..)| *joint == Joint::Rendezvous);
        let ends = visits.flat_map(|(_, one, other)| [*one, *other]).chain(view.waiting.iter().copied());
        for end in ends {
            let known = clients.get(&knowledge.group(end)).into_iter().flatten();
            meetings.extend(known.map(|client| (*client, *n)));
        }
    }
    meetings
}

/// Everything that each of these coalitions should not be able to join.
pub fn coalitions<'a>(observer: &Observer, coalitions: impl IntoIterator<Item = &'a [usize]>) -> Vec<Leak> {
    let mut leaks = Vec::new();
    for coalition in coalitions {
        let relays = coalition.to_vec();
        leaks.extend(pairs(observer, coalition).into_iter().map(|(a, b)| Leak::Pair(relays.clone(), a, b)));
        leaks.extend(meetings(observer, coalition).into_iter().map(|(c, at)| Leak::Meeting(relays.clone(), c, at)));
    }
    leaks
}

/// The relays of each circuit, from its client to its last hop: what only all relays together can tell.
pub fn circuits(observer: &Observer) -> Vec<BTreeSet<usize>> {
    let mut knowledge = Knowledge { views: Vec::new(), group_of: BTreeMap::new() };
    let views: Vec<_> = observer.relays().filter_map(|n| Some((n, observer.relay(n)?))).collect();
    for (_, view) in &views {
        for (_, one, other) in view.joints.iter().filter(|(joint, ..)| *joint == Joint::Extension) {
            let (one, other) = (knowledge.group(*one), knowledge.group(*other));
            knowledge.group_of.insert(one, other);
        }
    }
    let mut circuits: BTreeMap<Hose, BTreeSet<usize>> = BTreeMap::new();
    for (n, view) in views {
        let hoses: BTreeSet<Hose> = view.cells.iter().map(|seen| seen.hose).filter(|hose| hose.circ.0 != 0).collect();
        for hose in hoses {
            circuits.entry(knowledge.group(hose)).or_default().insert(n);
        }
    }
    circuits.into_values().collect()
}

/// Relays that stand on one circuit, and should not, because they are `related`.
pub fn relatives(observer: &Observer, related: impl Fn(usize, usize) -> bool) -> Vec<Leak> {
    let mut leaks = BTreeSet::new();
    for relays in circuits(observer) {
        for a in &relays {
            leaks.extend(relays.iter().filter(|b| a < *b && related(*a, **b)).map(|b| Leak::Related(*a, *b)));
        }
    }
    leaks.into_iter().collect()
}

/// Secrets in the bytes of any link.
pub fn secrets_on_links(observer: &Observer, secrets: &Secrets) -> Vec<Leak> {
    let found = observer
        .passed()
        .iter()
        .flat_map(|passed| secrets.found_in(&passed.bytes).into_iter().map(|what| Leak::OnLink(passed.socket, what)));
    found.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Secrets in the cells that any relay has in hand.
pub fn secrets_at_relays(observer: &Observer, secrets: &Secrets) -> Vec<Leak> {
    let mut leaks = BTreeSet::new();
    for n in observer.relays() {
        for seen in observer.relay(n).into_iter().flat_map(|view| &view.cells) {
            leaks.extend(secrets.found_in(&seen.cell.body).into_iter().map(|what| Leak::AtRelay(n, what)));
        }
    }
    leaks.into_iter().collect()
}

/// Messages that are no noise, or whose length says something: links are to carry handshakes of fixed lengths, then
/// records of whole cells, and with clients records of 1, 2, 4, 8, 16 or 31 of them.
pub fn links(observer: &Observer) -> Vec<Leak> {
    let mut leaks = BTreeSet::new();
    let mut heads = BTreeSet::new();
    let mut handshakes: BTreeMap<usize, usize> = BTreeMap::new();
    for passed in observer.passed() {
        let (socket, len) = (passed.socket, passed.bytes.len());
        let stripped = observer.stripped().contains(&socket);
        let seen = handshakes.entry(socket).or_default();
        if *seen < HANDSHAKE_MESSAGES && HANDSHAKE_LENS.contains(&len) {
            *seen += 1;
            continue;
        }
        let with_client = !matches!((passed.from, passed.to), (Node::Relay(_), Node::Relay(_)));
        if !fits(len + if stripped { TAG_LEN } else { 0 }, with_client) {
            leaks.insert(Leak::Length(socket, len));
        }
        if has_run(&passed.bytes) {
            leaks.insert(Leak::NoNoise(socket, "equal bytes in a row"));
        }
        if let Some(head) = passed.bytes.get(..HEAD)
            && !heads.insert((socket, passed.to, head.to_vec()))
        {
            leaks.insert(Leak::NoNoise(socket, "two messages begin alike"));
        }
    }
    leaks.into_iter().collect()
}

fn fits(len: usize, with_client: bool) -> bool {
    let Some(cells) = len.checked_sub(TAG_LEN).filter(|cells| cells.is_multiple_of(CELL_LEN)) else { return false };
    let count = cells / CELL_LEN;
    if with_client { [1, 2, 4, 8, 16, 31].contains(&count) } else { (1..=MAX_CELLS).contains(&count) }
}

fn has_run(bytes: &[u8]) -> bool {
    bytes.chunk_by(|a, b| a == b).any(|run| run.len() >= RUN)
}

/// All coalitions of one relay, and all of two.
pub fn ones_and_twos(observer: &Observer) -> Vec<Vec<usize>> {
    let relays: Vec<usize> = observer.relays().collect();
    let mut list: Vec<Vec<usize>> = relays.iter().map(|n| vec![*n]).collect();
    for (at, one) in relays.iter().enumerate() {
        list.extend(relays[at + 1..].iter().map(|other| vec![*one, *other]));
    }
    list
}
