//! The parts of the picture of the network.

mod facts;
mod flower;
mod relays;

use allium_shared::crypto::keys::RelayIdentity;

pub use self::facts::Facts;
pub use self::flower::Flower;
pub use self::relays::Relays;
use crate::state::network::Query;

/// What a person looks at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// Which relays, and in which order.
    pub query: Query,
    /// The one that they want to know more about.
    pub chosen: Option<RelayIdentity>,
}

/// A part of a whole, from 0 to 1, as people read it.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 || percent >= 10.0 {
        format!("{percent:.0} %")
    } else if percent >= 0.01 {
        format!("{percent:.*} %", if percent >= 1.0 { 1 } else { 2 })
    } else {
        "< 0.01 %".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn small_parts_are_not_nothing() {
        let written = [0.0, 0.000_01, 0.000_5, 0.0123, 0.125, 1.0].map(percent);
        assert_eq!(written, ["0 %", "< 0.01 %", "0.05 %", "1.2 %", "12 %", "100 %"]);
    }
}
