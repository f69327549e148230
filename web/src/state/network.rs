//! The list of relays as it is drawn: sums, choices among thousands of rows, and where each stands in the picture.

mod picture;
#[cfg(test)]
pub mod tests;

use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::rc::Rc;

use allium_shared::client::api::{NetworkView, RelayView};
use allium_shared::netdir::RelayRole;

pub use self::picture::{Bar, Floret, HEART, Picture, SIZE, Tint};

/// A list of relays, whole, with what is computed from it once.
#[derive(Debug)]
pub struct Network {
    /// All but the relays.
    pub about: NetworkView,
    /// What is drawn of it.
    pub picture: Picture,
    /// How many relays have each role, and what part of the weight they have together, in the order of the roles.
    pub roles: Vec<RoleSum>,
    relays: Vec<Rc<RelayView>>,
    /// What a search looks at, in the order of the relays; made for the first search.
    texts: OnceCell<Vec<String>>,
    families: HashMap<String, Vec<usize>>,
    weight: u64,
}

/// The relays with one role.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoleSum {
    /// The role.
    pub role: RelayRole,
    /// How many there are.
    pub count: usize,
    /// Their part of all weight, from 0 to 1.
    pub share: f64,
}

/// By what the table is in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By weight.
    #[default]
    Weight,
    /// By name.
    Name,
    /// By health.
    Health,
    /// By what it runs.
    Version,
}

/// Which relays a person wants to see, and in which order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// What has to stand in the relay's name, identity, addresses, family or version.
    pub text: String,
    /// The role that it has to have.
    pub role: Option<RelayRole>,
    /// By what.
    pub order: Order,
    /// From the other end.
    pub reversed: bool,
}

/// What was signed is the same where its digest is: no need to compare thousands of relays whenever something is drawn.
impl PartialEq for Network {
    fn eq(&self, other: &Self) -> bool {
        self.about == other.about
    }
}

impl Network {
    /// The list with these relays.
    pub fn new(about: NetworkView, relays: Vec<Rc<RelayView>>) -> Self {
        let weight = relays.iter().map(|relay| u64::from(relay.weight)).sum();
        let mut families: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, relay) in relays.iter().enumerate() {
            if let Some(family) = &relay.family {
                families.entry(family.clone()).or_default().push(index);
            }
        }
        let roles = RelayRole::ALL.into_iter().map(|role| {
            let with = relays.iter().filter(|relay| relay.has(role));
            let (count, sum) = with.fold((0, 0), |(count, sum), relay| (count + 1, sum + u64::from(relay.weight)));
            RoleSum { role, count, share: part(sum, weight) }
        });
        Self {
            picture: Picture::of(&relays),
            roles: roles.collect(),
            texts: OnceCell::new(),
            about,
            families,
            weight,
            relays,
        }
    }

    /// How many relays there are.
    pub fn len(&self) -> usize {
        self.relays.len()
    }

    /// The relay at a place of the list.
    pub fn relay(&self, index: usize) -> Option<&Rc<RelayView>> {
        self.relays.get(index)
    }

    /// A relay's part of all weight, from 0 to 1.
    pub fn share(&self, relay: &RelayView) -> f64 {
        part(relay.weight.into(), self.weight)
    }

    /// The other relays of a relay's family.
    pub fn relatives(&self, index: usize) -> impl Iterator<Item = &Rc<RelayView>> {
        let family = self.relay(index).and_then(|relay| self.families.get(relay.family.as_ref()?));
        family.into_iter().flatten().filter(move |other| **other != index).filter_map(|other| self.relay(*other))
    }

    /// Where the relays that a person wants to see stand in the list, in the order that they want.
    pub fn select(&self, query: &Query) -> Vec<usize> {
        let text = query.text.trim().to_lowercase();
        let texts = match text.is_empty() {
            true => &[][..],
            false => self.texts.get_or_init(|| self.relays.iter().map(|relay| searchable(relay)).collect()),
        };
        let wanted = |(index, relay): &(usize, &Rc<RelayView>)| {
            let said = || text.is_empty() || texts.get(*index).is_some_and(|known| known.contains(&text));
            query.role.is_none_or(|role| relay.has(role)) && said()
        };
        let mut chosen: Vec<usize> = self.relays.iter().enumerate().filter(wanted).map(|(index, _)| index).collect();
        chosen.sort_by(|one, other| {
            let (Some(one), Some(other)) = (self.relay(*one), self.relay(*other)) else { return Ordering::Equal };
            let order = match query.order {
                // The heaviest first.
                Order::Weight => other.weight.cmp(&one.weight),
                Order::Name => Ordering::Equal,
                // Those that fail first.
                Order::Health => one.health.cmp(&other.health),
                Order::Version => one.version.cmp(&other.version),
            };
            let order = order.then_with(|| by_name(one.nickname.as_str(), other.nickname.as_str()));
            if query.reversed { order.reverse() } else { order }
        });
        chosen
    }
}

/// Names in the order of people: `relay9` before `relay10`.
fn by_name(one: &str, other: &str) -> Ordering {
    let number = |letters: &str, name: &str| name.get(letters.len()..).and_then(|digits| digits.parse::<u64>().ok());
    let [one_letters, other_letters] =
        [one, other].map(|name| name.trim_end_matches(|letter: char| letter.is_ascii_digit()));
    one_letters
        .bytes()
        .map(|letter| letter.to_ascii_lowercase())
        .cmp(other_letters.bytes().map(|letter| letter.to_ascii_lowercase()))
        .then_with(|| number(one_letters, one).cmp(&number(other_letters, other)))
        .then_with(|| one.cmp(other))
}

fn searchable(relay: &RelayView) -> String {
    let mut text = format!("{} {} {} {}", relay.nickname, relay.identity.to_hex(), relay.url, relay.version);
    for more in relay.secure_url.iter().map(|url| url.as_str()).chain(relay.family.as_deref()) {
        text.push(' ');
        text.push_str(more);
    }
    text.make_ascii_lowercase();
    text
}

fn part(one: u64, all: u64) -> f64 {
    // Weights are far below the mantissa's end.
    if all == 0 { 0.0 } else { one as f64 / all as f64 }
}

/// A list of relays that comes in parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Arriving {
    about: Rc<NetworkView>,
    relays: Vec<Rc<RelayView>>,
}

impl Arriving {
    /// Begins a list.
    pub fn new(about: NetworkView) -> Self {
        Self { relays: Vec::with_capacity(about.relays), about: Rc::new(about) }
    }

    /// Adds relays.
    pub fn add(&mut self, list: Vec<RelayView>) {
        self.relays.extend(list.into_iter().map(Rc::new));
    }

    /// The whole, once all relays are there.
    pub fn snapshot(&self) -> Option<Network> {
        let complete = self.relays.len() == self.about.relays;
        complete.then(|| Network::new((*self.about).clone(), self.relays.clone()))
    }
}
