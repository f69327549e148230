//! The parts of the picture of the network.

mod facts;
mod flower;
mod relays;

pub use self::facts::Facts;
pub use self::flower::Flower;
pub use self::relays::Relays;

/// Formats a share, from 0 to 1, as a percentage.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent > 0.0 && percent < 0.01 {
        return "< 0.01 %".to_owned();
    }
    let written = format!("{percent:.*}", if percent < 1.0 { 2 } else { 1 });
    let brief = written.trim_end_matches('0').trim_end_matches('.');
    format!("{} %", if written.contains('.') { brief } else { &written })
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn small_parts_are_not_nothing() {
        let written = [0.0, 0.000_01, 0.000_5, 0.0123, 0.125, 1.0].map(percent);
        assert_eq!(written, ["0 %", "< 0.01 %", "0.05 %", "1.2 %", "12.5 %", "100 %"]);
    }
}
