//! The number by which two contacts can make sure that nobody stands between them.
//!
//! Whoever passes an invite on could put one of their own in its place, and be a contact of both in the other's name. Then
//! the two have two secrets, and see two numbers. So they compare them where they know each other: face to face, or by
//! voice.

use core::fmt;

use crate::crypto::derive::derive;
use crate::rendezvous::SharedSecret;

/// Groups of digits.
const GROUPS: usize = 12;

/// Digits of a group.
const DIGITS: usize = 5;

/// Groups that one derived value gives, of five bytes each.
const GROUPS_OF_HALF: usize = GROUPS / 2;

/// Sixty digits that both contacts see alike, and no others: 199 bits, so that even somebody who may choose keys on both
/// sides finds no two that agree.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SafetyNumber([u32; GROUPS]);

impl SafetyNumber {
    /// The number of two contacts who share this secret: of the one who made the invite, whose key for introductions comes
    /// first, and of the guest.
    pub fn new(secret: &SharedSecret, inviter: &[u8; 32], guest: &[u8; 32]) -> Self {
        let half = |number: u8| derive("safety number", &[secret.as_bytes(), inviter, guest, &[number]]);
        let mut groups = [0; GROUPS];
        for (half, groups) in [half(0), half(1)].iter().zip(groups.chunks_mut(GROUPS_OF_HALF)) {
            for (bytes, group) in half.as_chunks::<5>().0.iter().zip(groups) {
                let number = bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
                *group = (number % 10_u64.pow(DIGITS as u32)) as u32;
            }
        }
        Self(groups)
    }
}

impl fmt::Display for SafetyNumber {
    /// The groups with spaces between them: `01234 56789 …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, group) in self.0.iter().enumerate() {
            let space = if n == 0 { "" } else { " " };
            write!(f, "{space}{group:0DIGITS$}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for SafetyNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SafetyNumber(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(secret: u8, inviter: u8, guest: u8) -> String {
        SafetyNumber::new(&SharedSecret::new([secret; 32]), &[inviter; 32], &[guest; 32]).to_string()
    }

    #[test]
    fn it_has_twelve_groups_of_five_digits() {
        let number = number(1, 2, 3);
        let groups: Vec<&str> = number.split(' ').collect();
        assert_eq!(groups.len(), GROUPS);
        assert!(groups.iter().all(|group| group.len() == DIGITS && group.bytes().all(|byte| byte.is_ascii_digit())));
        let mut unlike = groups.clone();
        unlike.sort_unstable();
        unlike.dedup();
        assert_eq!(unlike.len(), GROUPS, "no group repeats another: {number}");
    }

    #[test]
    fn everything_that_makes_it_counts() {
        let base = number(1, 2, 3);
        for other in [number(4, 2, 3), number(1, 4, 3), number(1, 2, 4), number(1, 3, 2)] {
            assert_ne!(base, other);
        }
    }
}
