//! The network as a flower: each relay is a floret, the heaviest in the middle, arranged like the seeds of a sunflower.

use std::collections::HashMap;
use std::rc::Rc;

use allium_shared::client::api::RelayView;
use allium_shared::netdir::RelayRole;

/// The maximum number of florets.
pub const MAX_FLORETS: usize = 400;

/// The maximum number of dots for all other relays.
pub const MAX_POLLEN: usize = 600;

/// The picture's size; the flower is centred horizontally.
pub const SIZE: (f64, f64) = (480.0, 520.0);

/// The middle of the flower's head.
pub const HEART: (f64, f64) = (240.0, 226.0);

/// The head's radius, and the radius of its florets if there is pollen around them.
const RADIUS: f64 = 208.0;
const RADIUS_INSIDE: f64 = 172.0;

/// The largest and the smallest radius of a floret.
const FLORET: (f64, f64) = (56.0, 3.2);

/// A floret droops if its relay answered fewer of the last 100 probes.
const WELL: u8 = 90;

/// The golden angle: neighbours never line up in rows, whatever their number.
const GOLDEN: f64 = 2.399_963_229_728_653;

/// The picture of the relays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    /// The heaviest relays, in this order.
    pub florets: Vec<Floret>,
    /// Pairs of florets of one family, by index, that connect all its members.
    pub kin: Vec<(usize, usize)>,
    /// The positions of the dots for all other relays.
    pub pollen: Vec<(f64, f64)>,
    /// How many relays have no floret.
    pub rest: usize,
    /// Their share of the total weight, from 0 to 1.
    pub rest_share: f64,
    /// The number of relays by weight; empty if all have florets.
    pub bars: Vec<Bar>,
}

/// One relay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floret {
    /// Its index in the consensus.
    pub index: usize,
    /// Its middle.
    pub x: f64,
    /// Its middle.
    pub y: f64,
    /// Its radius.
    pub r: f64,
    /// Its colour.
    pub tint: Tint,
    /// True if it answers nearly all probes.
    pub well: bool,
}

/// A relay's colour, by its roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tint {
    /// A guard, but no exit.
    Guard,
    /// An exit, but no guard.
    Exit,
    /// A guard and an exit.
    Both,
    /// Neither a guard nor an exit.
    Between,
}

impl Tint {
    /// All of them, in the order of the legend.
    pub const ALL: [Self; 4] = [Self::Guard, Self::Both, Self::Exit, Self::Between];

    /// The colour of a relay.
    pub fn of(relay: &RelayView) -> Self {
        match (relay.has(RelayRole::Guard), relay.has(RelayRole::Exit)) {
            (true, false) => Self::Guard,
            (true, true) => Self::Both,
            (false, true) => Self::Exit,
            (false, false) => Self::Between,
        }
    }

    /// Its CSS class.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::Exit => "exit",
            Self::Both => "both",
            Self::Between => "between",
        }
    }
}

/// Relays whose weights lie between two powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// The lowest weight of this bar.
    pub from: u32,
    /// How many relays there are.
    pub count: usize,
}

impl Picture {
    /// The picture of these relays.
    pub fn of(relays: &[Rc<RelayView>]) -> Self {
        let mut heaviest: Vec<usize> = (0..relays.len()).collect();
        let weight = |index: &usize| relays.get(*index).map_or(0, |relay| relay.weight);
        heaviest.sort_by_key(|index| std::cmp::Reverse(weight(index)));
        let (shown, others) = heaviest.split_at(heaviest.len().min(MAX_FLORETS));
        let sum = |indices: &[usize]| indices.iter().map(|index| f64::from(weight(index))).sum::<f64>();
        let (shown_sum, rest_sum) = (sum(shown), sum(others));

        let radius = if others.is_empty() { RADIUS } else { RADIUS_INSIDE };
        let shown: Vec<&RelayView> =
            shown.iter().filter_map(|index| relays.get(*index)).map(|relay| &**relay).collect();
        let mut florets = arrange(&shown, radius, shown_sum);
        for (floret, index) in florets.iter_mut().zip(&heaviest) {
            floret.index = *index;
        }
        Self {
            kin: kin(&shown),
            florets,
            pollen: pollen(others.len().min(MAX_POLLEN)),
            rest: others.len(),
            rest_share: if shown_sum + rest_sum > 0.0 { rest_sum / (shown_sum + rest_sum) } else { 0.0 },
            bars: if others.is_empty() { Vec::new() } else { bars(relays) },
        }
    }

    /// How many relays each dot represents.
    pub fn relays_per_dot(&self) -> usize {
        self.rest.div_ceil(self.pollen.len().max(1))
    }
}

fn kin(relays: &[&RelayView]) -> Vec<(usize, usize)> {
    let mut last: HashMap<&str, usize> = HashMap::new();
    let families = relays.iter().enumerate().filter_map(|(place, relay)| Some((relay.family.as_deref()?, place)));
    families.filter_map(|(family, place)| Some((last.insert(family, place)?, place))).collect()
}

/// Arranges relays, sorted by descending weight, in a circle, with room for each by its weight.
fn arrange(relays: &[&RelayView], radius: f64, weights: f64) -> Vec<Floret> {
    let count = relays.len() as f64;
    // Half of the room depends on weight and half is shared equally, so that the lightest stay visible.
    let room = |relay: &RelayView| {
        let by_weight = if weights > 0.0 { f64::from(relay.weight) / weights } else { 1.0 / count };
        f64::midpoint(by_weight, 1.0 / count)
    };
    let area = radius * radius;
    let mut taken = 0.0;
    let mut florets: Vec<Floret> = Vec::with_capacity(relays.len());
    for (place, relay) in relays.iter().enumerate() {
        let own = area * room(relay);
        let angle = place as f64 * GOLDEN;
        // If there are several, the first one isn't exactly in the middle.
        let distance = if relays.len() == 1 { 0.0 } else { (taken + own / 2.0).sqrt() };
        taken += own;
        // The circle fills about half of its room.
        let r = (own.sqrt() * 0.74).clamp(FLORET.1, FLORET.0);
        let distance = distance.min(radius - r);
        let (x, y) = (HEART.0 + distance * angle.sin(), HEART.1 - distance * angle.cos());
        florets.push(Floret { index: 0, x, y, r, tint: Tint::of(relay), well: relay.health >= WELL });
    }
    untangle(&mut florets, radius);
    florets
}

/// Moves overlapping florets apart, in a few small steps.
fn untangle(florets: &mut [Floret], radius: f64) {
    for _ in 0..40 {
        let mut moved = false;
        for at in 1..florets.len() {
            let (before, rest) = florets.split_at_mut(at);
            let Some(one) = rest.first_mut() else { continue };
            for other in before.iter_mut() {
                let (dx, dy) = (one.x - other.x, one.y - other.y);
                let wanted = (one.r + other.r) * 0.98;
                if dx * dx + dy * dy < wanted * wanted {
                    let distance = dx.hypot(dy);
                    let push = (wanted - distance) / 2.0;
                    let (ux, uy) = if distance > 0.0 { (dx / distance, dy / distance) } else { (0.0, 1.0) };
                    (one.x, one.y) = inside(one.x + ux * push, one.y + uy * push, radius - one.r);
                    (other.x, other.y) = inside(other.x - ux * push, other.y - uy * push, radius - other.r);
                    moved = true;
                }
            }
        }
        if !moved {
            return;
        }
    }
}

/// The position, moved to at most this distance from the centre.
fn inside(x: f64, y: f64, farthest: f64) -> (f64, f64) {
    let (dx, dy) = (x - HEART.0, y - HEART.1);
    let distance = dx.hypot(dy);
    if distance <= farthest || distance == 0.0 {
        return (x, y);
    }
    (HEART.0 + dx * farthest / distance, HEART.1 + dy * farthest / distance)
}

/// Positions around the florets.
fn pollen(count: usize) -> Vec<(f64, f64)> {
    let (inner, outer) = ((RADIUS_INSIDE + 6.0).powi(2), (RADIUS + 8.0).powi(2));
    let place = |at: usize| {
        let distance = (inner + (outer - inner) * (at as f64 + 0.5) / count as f64).sqrt();
        let angle = at as f64 * GOLDEN;
        (HEART.0 + distance * angle.sin(), HEART.1 - distance * angle.cos())
    };
    (0..count).map(place).collect()
}

fn bars(relays: &[Rc<RelayView>]) -> Vec<Bar> {
    let power = |relay: &Rc<RelayView>| relay.weight.checked_ilog2().map_or(0, |power| power + 1);
    let mut counts: Vec<usize> = Vec::new();
    for power in relays.iter().map(power) {
        let power = power as usize;
        if counts.len() <= power {
            counts.resize(power + 1, 0);
        }
        if let Some(count) = counts.get_mut(power) {
            *count += 1;
        }
    }
    let lowest = counts.iter().position(|count| *count > 0).unwrap_or(0);
    let bar = |(power, count)| Bar { from: if power == 0 { 0 } else { 1_u32 << (power - 1) }, count };
    counts.into_iter().enumerate().skip(lowest).map(bar).collect()
}
