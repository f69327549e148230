//! Whether two samples can be told apart, whatever their distributions, by the ranks of their values.

/// The chance that a value of `b` is greater than one of `a`, both drawn at random; equal ones count by half. It is one half
/// where nothing can be told, and nothing or one where everything can (the statistic of Mann and Whitney, over its greatest
/// value).
pub fn chance_of_greater<T: PartialOrd>(a: &[T], b: &[T]) -> f64 {
    let pairs = a.iter().flat_map(|a| b.iter().map(move |b| (a, b)));
    let wins: f64 = pairs.map(|(a, b)| if b > a { 1.0 } else { f64::from(u8::from(b >= a)) / 2.0 }).sum();
    wins / (a.len() * b.len()).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chance_is_one_half_where_nothing_differs() {
        assert_eq!(chance_of_greater(&[1, 2, 3], &[1, 2, 3]), 0.5);
        assert_eq!(chance_of_greater(&[1, 4], &[2, 3]), 0.5);
        assert_eq!(chance_of_greater(&[7, 7], &[7]), 0.5);
        assert_eq!(chance_of_greater(&[1, 2], &[3, 4, 5]), 1.0);
        assert_eq!(chance_of_greater(&[3, 4], &[1, 2]), 0.0);
        assert_eq!(chance_of_greater(&[1, 3], &[2, 4]), 0.75);
    }
}
