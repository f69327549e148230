//! What the consensus says of paths, guards and second hops.

use rand_core::Rng;

use super::below;
use super::path::MAX_HOPS;
use crate::netdir::Consensus;

/// The consensus parameter for how many first bits of two IPv4 addresses make one subnet; for IPv6 it is twice as many. With
/// 0, subnets do not count.
pub const SUBNET_PARAMETER: &str = "path-subnet-v4-bits";

/// The consensus parameters for the number of a circuit's own hops, at least and at most.
pub const LENGTH_PARAMETERS: [&str; 2] = ["path-length-min", "path-length-max"];

/// The consensus parameters for the lifetime of a guard in days, at least and at most.
pub const GUARD_LIFETIME_PARAMETERS: [&str; 2] = ["guard-lifetime-min-days", "guard-lifetime-max-days"];

/// The consensus parameters for the lifetime of a second hop in hours, at least and at most.
pub const MIDDLE_LIFETIME_PARAMETERS: [&str; 2] = ["middle-lifetime-min-hours", "middle-lifetime-max-hours"];

pub(super) const HOUR: u64 = 60 * 60;
pub(super) const DAY: u64 = 24 * HOUR;

/// A range of lifetimes in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    min: u64,
    max: u64,
}

impl Span {
    /// Each whole second as likely as the others, both ends included.
    pub(super) fn draw(self, rng: &mut impl Rng) -> u64 {
        self.min + below((self.max - self.min).saturating_add(1), rng).unwrap_or(0)
    }

    pub(super) const fn longest(self) -> u64 {
        self.max
    }
}

/// What the consensus says of paths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameters {
    pub(super) subnet_bits: u32,
    /// Own hops, at least and at most.
    pub(super) lengths: (usize, usize),
    pub(super) guards: Span,
    pub(super) second_hops: Span,
}

impl Default for Parameters {
    fn default() -> Self {
        Self::read(|_, default, _| default)
    }
}

impl Parameters {
    pub(super) fn of(consensus: &Consensus) -> Self {
        Self::read(|name, default, greatest| {
            let least = if name == SUBNET_PARAMETER { 0 } else { i64::from(LENGTH_PARAMETERS.contains(&name)) * 2 + 1 };
            consensus.parameter(name, default, least..=greatest)
        })
    }

    /// With a reader of one parameter, which is given its name, its default and its greatest value.
    fn read(read: impl Fn(&str, i64, i64) -> i64) -> Self {
        let read = |name: &str, default: i64, greatest: i64| read(name, default, greatest).unsigned_abs();
        // A greatest value below the least one is read as equal to it.
        let range = |names: [&str; 2], defaults: [i64; 2], greatest: i64, unit: u64| {
            let min = read(names[0], defaults[0], greatest) * unit;
            (min, (read(names[1], defaults[1], greatest) * unit).max(min))
        };
        let span = |(min, max)| Span { min, max };
        let hops = |number| usize::try_from(number).unwrap_or(MAX_HOPS - 1);
        let (min, max) = range(LENGTH_PARAMETERS, [3, 3], 8, 1);
        Self {
            subnet_bits: u32::try_from(read(SUBNET_PARAMETER, 16, 32)).unwrap_or(32),
            lengths: (hops(min), hops(max)),
            guards: span(range(GUARD_LIFETIME_PARAMETERS, [60, 120], 3650, DAY)),
            second_hops: span(range(MIDDLE_LIFETIME_PARAMETERS, [24, 288], 8760, HOUR)),
        }
    }
}
