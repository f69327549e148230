//! Whether bytes look like noise.
//!
//! All tests are chi-squared tests of the 256 values against an even spread: 255 degrees of freedom, so noise gives 255
//! give or take 23. The bound is twelve deviations away: noise never gets there, and any structure soon does.

use std::collections::HashMap;

use super::link::{CELL_LEN, TAG_LEN};

/// Below this, bytes are noise.
const BOUND: f64 = 255.0 + 12.0 * 22.6;

/// Fewer cells than this say nothing about noise.
pub const FEWEST_CELLS: usize = 512;

/// How often each value was seen at one place.
#[derive(Clone, Debug)]
struct Counts([u32; 256]);

impl Counts {
    fn chi_squared(&self) -> f64 {
        let total: f64 = self.0.iter().map(|count| f64::from(*count)).sum();
        let even = total / 256.0;
        self.0.iter().map(|count| (f64::from(*count) - even).powi(2) / even).sum()
    }
}

/// Counts over records.
#[derive(Debug)]
pub struct Statistics {
    overall: Counts,
    /// One for each byte of a cell, one for each byte of the tag.
    places: Vec<Counts>,
    cells: usize,
    /// Where stretches of 16 bytes were first seen.
    stretches: HashMap<[u8; 16], String>,
    repeated: Vec<(String, String)>,
}

/// What noise has not.
#[derive(Clone, Debug, PartialEq)]
pub enum Structure {
    /// There was not enough to tell.
    TooLittle(usize),
    /// Some values are more frequent than others.
    Uneven(f64),
    /// At this place of cells some values are more frequent than others; from 514 on, a place of the tag.
    UnevenAt(usize, f64),
    /// The same 16 bytes stand in both records.
    Repeated(String, String),
}

impl Default for Statistics {
    fn default() -> Self {
        let counts = Counts([0; 256]);
        Self {
            overall: counts.clone(),
            places: vec![counts; CELL_LEN + TAG_LEN],
            cells: 0,
            stretches: HashMap::new(),
            repeated: Vec::new(),
        }
    }
}

impl Statistics {
    /// Counts one record; `name` says which it is.
    pub fn add(&mut self, name: &str, record: &[u8]) {
        let cells = record.len().saturating_sub(TAG_LEN);
        self.cells += cells / CELL_LEN;
        for (index, byte) in record.iter().enumerate() {
            let place = if index < cells { index % CELL_LEN } else { CELL_LEN + index - cells };
            self.overall.0[usize::from(*byte)] += 1;
            if let Some(counts) = self.places.get_mut(place) {
                counts.0[usize::from(*byte)] += 1;
            }
        }
        // Stretches are chosen by what is in them, not by where they stand, so one that is repeated somewhere else is
        // found; about one in 32 of all is, and a repeated cell body has hundreds.
        for stretch in record.windows(16).filter(|stretch| stretch[0] & 0x1f == 0) {
            let Ok(stretch) = <[u8; 16]>::try_from(stretch) else { continue };
            if let Some(before) = self.stretches.insert(stretch, name.to_owned()) {
                self.repeated.push((before, name.to_owned()));
            }
        }
    }

    /// How many cells were counted.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// Everything that noise has not.
    pub fn structures(&self) -> Vec<Structure> {
        if self.cells < FEWEST_CELLS {
            return vec![Structure::TooLittle(self.cells)];
        }
        let mut structures = Vec::new();
        let overall = self.overall.chi_squared();
        if overall > BOUND {
            structures.push(Structure::Uneven(overall));
        }
        for (place, counts) in self.places.iter().enumerate() {
            let here = counts.chi_squared();
            if here > BOUND {
                structures.push(Structure::UnevenAt(place, here));
            }
        }
        structures.extend(self.repeated.iter().cloned().map(|(first, second)| Structure::Repeated(first, second)));
        structures
    }
}
