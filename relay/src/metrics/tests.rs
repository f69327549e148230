use std::collections::BTreeSet;
use std::path::Path;

use super::*;

/// What needs no running node.
struct Plain;

impl Source for Plain {
    fn write(&self, text: &mut Text) {
        relay::RelayMetrics::default().write(text);
        authority::AuthorityMetrics::default().write(text);
        directory::DirectoryMetrics::default().write(text);
    }
}

/// Names of series in a page, each with the metric that it is of.
fn metrics(text: &str) -> BTreeSet<&str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

#[test]
fn every_metric_is_described_once_and_named_by_the_rules() {
    let node = node::Node::start("relay");
    let text = Text::of([&Plain as &dyn Source, &node]);
    let mut described = BTreeSet::new();
    let mut current = ("", "");
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(described.insert(name), "{name} is described twice");
            assert!(help.ends_with('.') && !help.contains('\\'), "{help}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            current = kind.split_once(' ').unwrap();
            assert!(described.contains(current.0));
            assert_eq!(current.0.ends_with("_total"), current.1 == "counter", "{}", current.0);
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(series.split('{').next(), Some(current.0));
            value.parse::<u64>().unwrap();
        }
    }
    assert!(described.len() > 15, "{described:?}");
}

#[test]
fn the_documents_name_every_metric() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let text = Text::of([&Plain as &dyn Source, &node::Node::start("relay")]);
    for name in metrics(&text) {
        assert!(docs.contains(&format!("| `{name}`")), "docs/operating.md has no line for {name}");
    }
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/allium.rules.yml");
    let rules = std::fs::read_to_string(rules).unwrap();
    for word in rules.split(|char: char| !char.is_ascii_lowercase() && char != '_') {
        assert!(!word.starts_with("allium_") || docs.contains(&format!("| `{word}`")), "a rule asks for {word}");
    }
}
