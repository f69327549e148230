//! Counters and gauges: atomics, alone or one for each value of a label.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that can be shown.
pub trait Value: Debug + Default {
    /// What the text format calls its kind.
    const KIND: &'static str;

    /// The number now.
    fn get(&self) -> u64;
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// So many more.
    pub fn add(&self, more: u64) {
        // Most of what links add up is nothing, and to write it would take the number away from other cores.
        if more > 0 {
            self.0.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }
}

impl Value for Counter {
    const KIND: &'static str = "counter";

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that grows and shrinks.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// What was `before` is `now`: one part of a sum has changed.
    pub fn change(&self, before: usize, now: usize) {
        if before != now {
            // Wraps where it has become less; the sum over all parts is right again.
            self.0.fetch_add((now as u64).wrapping_sub(before as u64), Ordering::Relaxed);
        }
    }
}

impl Value for Gauge {
    const KIND: &'static str = "gauge";

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a number can be told apart by.
pub trait Label: Copy + Debug + 'static {
    /// Every value, in the order of [`Self::index`].
    const ALL: &'static [Self];

    /// The value's place in [`Self::ALL`].
    fn index(self) -> usize;

    /// The value as the text format has it between braces, such as `reason="full"`.
    fn pairs(self) -> &'static str;
}

/// Declares an enum of label values: each variant is given as the text format has it.
macro_rules! labels {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $pairs:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $crate::metrics::value::Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            fn index(self) -> usize {
                self as usize
            }

            fn pairs(self) -> &'static str {
                match self {
                    $(Self::$variant => $pairs,)*
                }
            }
        }
    };
}
pub(crate) use labels;

/// A number for each value of a label.
#[derive(Debug)]
pub struct Family<L, V> {
    values: Box<[V]>,
    label: std::marker::PhantomData<L>,
}

impl<L: Label, V: Value> Default for Family<L, V> {
    fn default() -> Self {
        Self { values: L::ALL.iter().map(|_| V::default()).collect(), label: std::marker::PhantomData }
    }
}

impl<L: Label, V: Value> Family<L, V> {
    /// The number for one value of the label.
    pub fn of(&self, label: L) -> &V {
        &self.values[label.index()]
    }

    /// All numbers.
    pub fn iter(&self) -> impl Iterator<Item = (L, &V)> {
        L::ALL.iter().copied().zip(&self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    labels! {
        /// Where.
        Place {
            /// Here.
            Here = r#"place="here""#,
            /// There.
            There = r#"place="there""#,
        }
    }

    #[test]
    fn each_label_has_a_number_of_its_own() {
        let family = Family::<Place, Counter>::default();
        family.of(Place::There).add(3);
        family.of(Place::There).increment();
        let numbers: Vec<_> = family.iter().map(|(place, counter)| (place, counter.get())).collect();
        assert_eq!(numbers, [(Place::Here, 0), (Place::There, 4)]);
    }

    #[test]
    fn a_gauge_is_the_sum_of_its_parts() {
        let gauge = Gauge::default();
        gauge.change(0, 5);
        gauge.change(0, 7);
        gauge.change(5, 2);
        assert_eq!(gauge.get(), 9);
        gauge.change(7, 0);
        gauge.change(2, 0);
        assert_eq!(gauge.get(), 0);
    }
}
