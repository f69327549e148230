//! Prometheus' text format (version 0.0.4), with numbers that are rounded up to whole steps.

use std::fmt::Write;

use super::value::{Family, Label, Value};

/// What a client has to be told of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Numbers that tell of nobody are shown as they are.
pub const EXACT: u64 = 1;

/// Something that has numbers to show.
pub trait Source: Send + Sync {
    /// Writes them down.
    fn write(&self, text: &mut Text);
}

/// A page of numbers.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// What all sources have to show.
    pub fn of<'a>(sources: impl IntoIterator<Item = &'a dyn Source>) -> String {
        let mut text = Self::default();
        sources.into_iter().for_each(|source| source.write(&mut text));
        text.0
    }

    /// A number, rounded up to a multiple of `step`.
    pub fn value(&mut self, name: &str, help: &str, step: u64, value: &impl Value) {
        self.number(name, help, kind(value), step, value.get());
    }

    /// A number that is looked up only now.
    pub fn gauge(&mut self, name: &str, help: &str, step: u64, value: u64) {
        self.number(name, help, "gauge", step, value);
    }

    /// A number for each value of a label.
    pub fn family<L: Label, V: Value>(&mut self, name: &str, help: &str, step: u64, family: &Family<L, V>) {
        self.head(name, help, V::KIND);
        for (label, value) in family.iter() {
            self.sample(name, label.pairs(), round_up(value.get(), step));
        }
    }

    /// Something that is said in words, as a label of the number 1. `pairs` is what stands between the braces.
    pub fn info(&mut self, name: &str, help: &str, pairs: &str) {
        self.head(name, help, "gauge");
        self.sample(name, pairs, 1);
    }

    fn number(&mut self, name: &str, help: &str, kind: &str, step: u64, value: u64) {
        self.head(name, help, kind);
        self.sample(name, "", round_up(value, step));
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        // Writing into a string cannot fail. Neither names nor help texts have anything that would have to be escaped.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, pairs: &str, value: u64) {
        let _ = match pairs {
            "" => writeln!(self.0, "{name} {value}"),
            pairs => writeln!(self.0, "{name}{{{pairs}}} {value}"),
        };
    }
}

const fn kind<V: Value>(_: &V) -> &'static str {
    V::KIND
}

/// The next multiple of `step`, which is not zero: nothing is shown as nothing, and something as something.
const fn round_up(value: u64, step: u64) -> u64 {
    value.div_ceil(step).saturating_mul(step)
}

#[cfg(test)]
mod tests {
    use super::super::value::{Counter, Gauge, labels};
    use super::*;

    labels! {
        Way {
            In = r#"direction="in",kind="client""#,
            Out = r#"direction="out",kind="relay""#,
        }
    }

    #[derive(Default)]
    struct Numbers {
        cells: Counter,
        links: Family<Way, Gauge>,
    }

    impl Source for Numbers {
        fn write(&self, text: &mut Text) {
            text.value("cells_total", "Cells.", 1024, &self.cells);
            text.family("links", "Links.", 8, &self.links);
            text.gauge("age_seconds", "Age.", EXACT, 7);
            text.info("build_info", "Build.", r#"version="1""#);
        }
    }

    #[test]
    fn a_page_has_the_format_and_its_numbers_are_rounded() {
        let numbers = Numbers::default();
        numbers.cells.add(1025);
        numbers.links.of(Way::In).change(0, 1);
        let expected = "# HELP cells_total Cells.\n# TYPE cells_total counter\ncells_total 2048\n\
            # HELP links Links.\n# TYPE links gauge\n\
            links{direction=\"in\",kind=\"client\"} 8\nlinks{direction=\"out\",kind=\"relay\"} 0\n\
            # HELP age_seconds Age.\n# TYPE age_seconds gauge\nage_seconds 7\n\
            # HELP build_info Build.\n# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n";
        assert_eq!(Text::of([&numbers as &dyn Source]), expected);
    }

    #[test]
    fn rounding_goes_up_to_whole_steps() {
        let round = |value| round_up(value, 8);
        assert_eq!([round(0), round(1), round(8), round(9)], [0, 8, 8, 16]);
        assert_eq!(round_up(7, EXACT), 7);
        assert_eq!(round_up(u64::MAX, 1024), u64::MAX);
    }
}
