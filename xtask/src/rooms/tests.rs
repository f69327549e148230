use std::collections::BTreeMap;
use std::io;

use super::*;

/// The text of a crate's files by path.
struct Crate(BTreeMap<&'static str, &'static str>);

impl Crate {
    /// A crate whose root declares `low`, `middle` and `high`.
    fn new<const N: usize>(files: [(&'static str, &'static str); N]) -> Self {
        let mut all = BTreeMap::from([
            ("src/lib.rs", "pub mod high; mod low; pub(crate) mod middle;"),
            ("src/high.rs", "use crate::middle::Middle; pub struct High(Middle);"),
            ("src/middle.rs", "use crate::low; pub struct Middle(low::Low);"),
            ("src/low.rs", "pub struct Low;"),
            ("rooms.toml", ""),
        ]);
        all.extend(files);
        Self(all)
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        let text = path.to_str().and_then(|path| self.0.get(path));
        text.map(|text| (*text).to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn check(&self) -> Result<(), RoomsError> {
        let read = |path: &Path| self.read(path);
        let tree = Tree::read(Path::new("src/lib.rs"), &read)?;
        let declaration = Declaration::read(Path::new("rooms.toml"), &read)?;
        match check::findings(&tree, &declaration) {
            findings if findings.is_empty() => Ok(()),
            findings => Err(RoomsError::Broken(findings)),
        }
    }

    fn findings(&self) -> Vec<String> {
        match self.check() {
            Ok(()) => Vec::new(),
            Err(RoomsError::Broken(findings)) => findings,
            Err(error) => panic!("{error}"),
        }
    }
}

const ORDER: &str = r#"
    [order]
    "crate" = ["high", "middle", "low"]
"#;

/// `high` and `middle` in one layer.
const SIBLINGS: &str = r#"
    [order]
    "crate" = ["high middle", "low"]
"#;

const HIGH_BESIDE: &str = "src/high.rs:1: `crate::high` uses `crate::middle` (via `crate::middle::Middle`), which is on the same layer as it in rooms.toml";

const LOW_UPWARDS: &str =
    "src/low.rs:1: `crate::low` uses `crate::high` (via `crate::high::High`), which is above it in rooms.toml";

#[test]
fn a_tree_in_order_passes() {
    assert_eq!(Crate::new([]).findings(), [""; 0]);
    assert_eq!(Crate::new([("rooms.toml", ORDER)]).findings(), [""; 0]);
}

#[test]
fn a_room_may_not_use_one_above_it() {
    let findings = Crate::new([("rooms.toml", ORDER), ("src/low.rs", "use crate::high::High;")]).findings();
    assert_eq!(findings, [LOW_UPWARDS]);
}

#[test]
fn a_room_may_not_use_one_beside_it() {
    assert_eq!(Crate::new([("rooms.toml", SIBLINGS)]).findings(), [HIGH_BESIDE]);
}

#[test]
fn the_line_of_each_use_is_named() {
    let low = "\nuse crate::{\n    high::{self, High},\n    middle,\n};\npub struct Low(high::High, High);\n";
    let findings = Crate::new([("rooms.toml", ORDER), ("src/low.rs", low)]).findings();
    let places: Vec<_> = findings.iter().map(|finding| finding.split_once(": `").unwrap().0).collect();
    assert_eq!(places, ["src/low.rs:3", "src/low.rs:3", "src/low.rs:4"]);
}

#[test]
fn uses_count_however_they_are_written() {
    for low in [
        "use super::high::High;",
        "use self::super::high::High as Higher;",
        "use crate::{high::High};",
        "use crate::high::*;",
        "pub use crate::high::inner::Deep;",
        "pub fn low() { crate::high::run(); }",
        "pub fn low() { use crate::high; }",
        "pub fn low() { if true { let _ = || super::high::High; } }",
        "pub fn low(_: impl Fn(&crate::high::High) -> bool) {}",
        "pub struct Low(Option<crate::high::High>);",
        "impl crate::high::Trait for u8 {}",
        "mod inner { use super::super::high::High; }",
        "pub fn low() { println!(\"{}\", crate::high::NAME); }",
        "pub fn low() { html! { <p>{ for crate::high::list() }</p> } }",
        "pub fn low() { matches!(1, x if x == (crate::high::ONE)); }",
        "macro_rules! low { () => { $crate::high::run() }; }",
        "use crate as root; pub fn low() { root::high::run(); }",
        "use super::*; pub fn low() { high::run(); }",
        "#[cfg(any(test, feature = \"more\"))] use crate::high::High;",
    ] {
        let findings = Crate::new([("rooms.toml", ORDER), ("src/low.rs", low)]).findings();
        assert!(
            matches!(&*findings, [one] if one.starts_with("src/low.rs:1: `crate::low` uses `crate::high` (via `")),
            "{low}: {findings:#?}"
        );
    }
}

#[test]
fn what_is_no_use_does_not_count() {
    for low in [
        "/// See [`crate::high::High`].\npub struct Low;",
        "use std::collections::BTreeMap; pub fn low(high: u8) -> u8 { high }",
        "use super::Root; pub struct Low(Root);",
        "pub fn low(high: &str) { println!(\"{high}\", high.high); ::high::run(); }",
        "use high::High;",
        "pub(in crate::low) struct Low;",
        "#[cfg(test)] use crate::high::High;",
        "#[cfg(test)] mod tests;",
        "#[cfg(all(test, unix))] mod tests { use crate::high::High; }",
        "impl Low { #[cfg(test)] fn low() { crate::high::run(); } }",
        "#[test] fn low() { crate::high::run(); }",
    ] {
        let files = [
            ("rooms.toml", ORDER),
            ("src/lib.rs", "pub mod high; mod low; mod middle; pub struct Root;"),
            ("src/low.rs", low),
        ];
        assert_eq!(Crate::new(files).findings(), [""; 0], "{low}");
    }
}

#[test]
fn a_way_over_the_parent_is_no_way_around() {
    let lib = "pub mod high; mod low; mod middle; pub use high::High; use high::run;";
    for low in
        ["use crate::High;", "use super::{run};", "use super::*; pub struct Low(High);", "pub struct Low(crate::High);"]
    {
        let findings = Crate::new([("rooms.toml", ORDER), ("src/lib.rs", lib), ("src/low.rs", low)]).findings();
        assert!(findings.iter().any(|one| one.starts_with("src/low.rs:1: `crate::low` uses `crate::high`")), "{low}");
    }
}

#[test]
fn what_a_room_passes_on_is_its_own() {
    // `middle` re-exports what is low: whoever takes it from there uses `middle`.
    let files = [
        ("rooms.toml", "order.crate = [\"high\", \"middle\", \"low\"]\norder.\"crate::high\" = [\"inner\"]"),
        ("src/middle.rs", "pub use crate::low::Low as Middle;"),
        ("src/high.rs", "mod inner;"),
        ("src/high/inner.rs", "use crate::middle::Middle;"),
    ];
    assert_eq!(Crate::new(files).findings(), [""; 0]);
    let findings = Crate::new([("rooms.toml", SIBLINGS), files[1], files[2], files[3]]).findings();
    assert_eq!(findings.len(), 1);
    assert!(findings[0].starts_with("src/high/inner.rs:1: `crate::high` uses `crate::middle`"), "{findings:#?}");
}

#[test]
fn rooms_inside_rooms_have_an_order_too() {
    let files = [
        ("rooms.toml", "order.\"crate::high\" = [\"above\", \"below\"]"),
        ("src/high.rs", "mod above; mod below { use super::above::Above; } pub struct High(above::Above);"),
        ("src/high/above.rs", "use super::High; use crate::low::Low;"),
    ];
    let findings = Crate::new(files).findings();
    let expected = "src/high.rs:1: `crate::high::below` uses `crate::high::above` (via `super::above::Above`), \
                    which is above it in rooms.toml";
    assert_eq!(findings, [expected]);
}

#[test]
fn cycles_are_found_where_no_order_is_declared() {
    let findings = Crate::new([("src/low.rs", "\nuse crate::high::High;")]).findings();
    let expected = "`crate`: dependency cycle: high → middle → low\n    \
                    src/high.rs:1: `crate::high` uses `crate::middle` (via `crate::middle::Middle`)\n    \
                    src/middle.rs:1: `crate::middle` uses `crate::low` (via `crate::low`)\n    \
                    src/low.rs:2: `crate::low` uses `crate::high` (via `crate::high::High`)";
    assert_eq!(findings, [expected]);
}

#[test]
fn an_order_names_every_room_once() {
    let findings = Crate::new([("rooms.toml", r#"order.crate = ["high low", "attic low"]"#)]).findings();
    assert_eq!(
        findings,
        [
            "rooms.toml: `crate` has no module `attic`",
            "rooms.toml: the order of `crate` lists `low` twice",
            "rooms.toml: `middle` is missing from the order of `crate`",
        ]
    );
    let findings = Crate::new([("rooms.toml", r#"order."crate::attic" = []"#)]).findings();
    assert_eq!(findings, ["rooms.toml: there is no module `crate::attic`"]);
}

#[test]
fn an_exception_allows_one_use_and_no_other() {
    let exception = r#"
        [order]
        "crate" = ["high middle", "low"]
        [[exceptions]]
        from = "crate::high"
        to = "crate::middle"
        reason = "they grew together"
    "#;
    assert_eq!(Crate::new([("rooms.toml", exception)]).findings(), [""; 0]);
    let files = [("rooms.toml", exception), ("src/middle.rs", "pub struct Middle(crate::high::High);")];
    let findings = Crate::new(files).findings();
    assert!(findings.len() == 1 && findings[0].starts_with("src/middle.rs:1: `crate::middle` uses `crate::high`"));
    let cycle = r#"exceptions = [{ from = "crate::low", to = "crate::high", reason = "it grew that way" }]"#;
    assert_eq!(Crate::new([("rooms.toml", cycle), ("src/low.rs", "use crate::high::High;")]).findings(), [""; 0]);
}

#[test]
fn an_exception_that_nothing_needs_is_refused() {
    let unused = "rooms.toml: the exception for `crate::high` and `crate::middle` is no longer needed; remove it";
    let exception = "[[exceptions]]\nfrom = \"crate::high\"\nto = \"crate::middle\"\nreason = \"they grew together\"";
    for order in ["", ORDER] {
        let text: &'static str = format!("{order}\n{exception}").leak();
        assert_eq!(Crate::new([("rooms.toml", text)]).findings(), [unused], "a use that is in order: {order}");
    }
    let high = "pub struct High;";
    let text: &'static str = format!("{SIBLINGS}\n{exception}").leak();
    assert_eq!(Crate::new([("rooms.toml", text), ("src/high.rs", high)]).findings(), [unused], "no use at all");
    let silent = r#"exceptions = [{ from = "crate::high", to = "crate::middle", reason = " " }]"#;
    let findings = Crate::new([("rooms.toml", silent)]).findings();
    assert_eq!(findings, ["rooms.toml: the exception for `crate::high` and `crate::middle` has no reason"]);
}

#[test]
fn an_aim_is_checked_once_it_holds() {
    let later: &'static str = format!("later = [\"crate\"]\n{SIBLINGS}").leak();
    assert_eq!(Crate::new([("rooms.toml", later)]).findings(), [""; 0], "it does not hold yet");
    let held = Crate::new([("rooms.toml", later), ("src/high.rs", "pub struct High;")]).findings();
    assert_eq!(held, ["rooms.toml: the order of `crate` now holds; remove it from `later`"]);
    let cycle = Crate::new([("rooms.toml", later), ("src/low.rs", "use crate::high::High;")]).findings();
    assert!(cycle.len() == 1 && cycle[0].contains("dependency cycle: high → middle → low"), "{cycle:?}");
    let findings = Crate::new([("rooms.toml", "later = [\"crate\"]")]).findings();
    assert_eq!(findings, ["rooms.toml: `crate` is listed in `later` but has no order"]);
}

#[test]
fn the_report_counts_violations_and_points_to_the_docs() {
    let error = Crate::new([("rooms.toml", ORDER), ("src/low.rs", "use crate::high::High;")]).check().unwrap_err();
    let advice = "1 violation of the module order; see docs/development.md";
    assert_eq!(error.to_string(), format!("{LOW_UPWARDS}\n{advice}"));
}

#[test]
fn files_that_cannot_be_read_are_named() {
    for (file, text, expected) in [
        ("src/lib.rs", "mod attic;", "src/attic.rs: entity not found"),
        ("src/low.rs", "struct Low;\nfn struct() {}", "src/low.rs:2: "),
        ("rooms.toml", "order = 1", "rooms.toml: "),
        ("rooms.toml", "orders = {}", "rooms.toml: "),
    ] {
        let error = Crate::new([(file, text)]).check().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
