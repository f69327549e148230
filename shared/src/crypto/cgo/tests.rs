use proptest::prelude::*;

use super::vectors;
use super::*;

#[test]
fn published_vectors_are_reproduced() {
    let report = vectors::check(include_str!("../../../../tests/vectors/cgo.json")).unwrap();
    assert_eq!(report.vectors, 47);
    assert!(report.failures.is_empty(), "{:#?}", report.failures);
}
