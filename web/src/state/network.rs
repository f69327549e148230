//! The consensus as it is drawn: sums, searching and sorting thousands of rows, and positions in the picture.

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

/// A complete consensus, with everything that is computed from it once.
#[derive(Debug)]
pub struct Network {
    /// Everything except the relays.
    pub about: NetworkView,
    /// The picture of the relays.
    pub picture: Picture,
    /// The number of relays with each role and their share of the weight, in the order of the roles.
    pub roles: Vec<RoleSum>,
    relays: Vec<Rc<RelayView>>,
    /// The searchable text of each relay, in order; computed for the first search.
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
    /// Their share of the total weight, from 0 to 1.
    pub share: f64,
}

/// How the table is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By weight.
    #[default]
    Weight,
    /// By name.
    Name,
    /// By health.
    Health,
    /// By version.
    Version,
}

/// Which relays the table shows, and in which order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Text to find in the relay's name, identity, addresses, family or version.
    pub text: String,
    /// Only relays with this role.
    pub role: Option<RelayRole>,
    /// The sort order.
    pub order: Order,
    /// True to reverse the order.
    pub reversed: bool,
}

/// Compares digests, so that drawing doesn't compare thousands of relays.
impl PartialEq for Network {
    fn eq(&self, other: &Self) -> bool {
        self.about == other.about
    }
}

impl Network {
    /// The consensus with these relays.
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

    /// A relay's share of the total weight, from 0 to 1.
    pub fn share(&self, relay: &RelayView) -> f64 {
        part(relay.weight.into(), self.weight)
    }

    /// The other relays of a relay's family.
    pub fn relatives(&self, index: usize) -> impl Iterator<Item = &Rc<RelayView>> {
        let family = self.relay(index).and_then(|relay| self.families.get(relay.family.as_ref()?));
        family.into_iter().flatten().filter(move |other| **other != index).filter_map(|other| self.relay(*other))
    }

    /// The indices of the relays that match the query, in its order.
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

/// Compares names as people do: `relay9` before `relay10`.
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
    // Weights are far below 2^53.
    if all == 0 { 0.0 } else { one as f64 / all as f64 }
}

/// A consensus that arrives in parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Arriving {
    about: Rc<NetworkView>,
    relays: Vec<Rc<RelayView>>,
}

impl Arriving {
    /// Starts with everything except the relays.
    pub fn new(about: NetworkView) -> Self {
        Self { relays: Vec::with_capacity(about.relays), about: Rc::new(about) }
    }

    /// Adds relays.
    pub fn add(&mut self, list: Vec<RelayView>) {
        self.relays.extend(list.into_iter().map(Rc::new));
    }

    /// The complete consensus, once all relays have arrived.
    pub fn snapshot(&self) -> Option<Network> {
        let complete = self.relays.len() == self.about.relays;
        complete.then(|| Network::new((*self.about).clone(), self.relays.clone()))
    }
}
