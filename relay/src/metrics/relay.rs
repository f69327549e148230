//! What a relay counts. It tells of people, so it is rounded.

use std::sync::Arc;

use allium_shared::cell::DestroyReason;
use allium_shared::relay::counts::{CircuitCounts, LinkCounts};
use allium_shared::relay::link::LinkError;

use super::text::{EXACT, Text};
use super::value::{Counter, Family, Gauge, labels};

/// Links are rounded to so many.
const LINKS: u64 = 8;

/// Circuits and handshakes are rounded to so many.
pub(crate) const CIRCUITS: u64 = 64;

/// Cells and records are rounded to so many.
const CELLS: u64 = 1024;

/// Bytes are rounded to so many: 64 KiB.
pub(crate) const BYTES: u64 = 64 * 1024;

labels! {
    /// Who has opened a link, and who is at its other end.
    LinkKind {
        /// Somebody who has not shaken hands yet.
        Unknown = r#"direction="in",kind="unknown""#,
        /// A client.
        Client = r#"direction="in",kind="client""#,
        /// Another relay has opened it.
        FromRelay = r#"direction="in",kind="relay""#,
        /// This relay has opened it to another.
        ToRelay = r#"direction="out",kind="relay""#,
    }
}

labels! {
    /// Why there is no link.
    LinkRefusal {
        /// Others have opened as many as they may.
        FullInbound = r#"direction="in",reason="full""#,
        /// There are as many as there may be.
        FullOutbound = r#"direction="out",reason="full""#,
        /// The other relay does not answer.
        Unreachable = r#"direction="out",reason="unreachable""#,
    }
}

labels! {
    /// Why a link has ended.
    LinkEnd {
        /// The other side has closed it, or is gone.
        Closed = r#"reason="closed""#,
        /// What came was no message of a link.
        WebSocket = r#"reason="websocket""#,
        /// The handshake failed, or took too long.
        Handshake = r#"reason="handshake""#,
        /// The consensus does not know the relay at the other end.
        UnknownRelay = r#"reason="unknown-relay""#,
        /// What came was no record, or no cell.
        Record = r#"reason="record""#,
        /// Nothing came for too long.
        Silence = r#"reason="silence""#,
        /// The other side goes on with what it is refused.
        Flood = r#"reason="flood""#,
        /// The other side does not read.
        Overfull = r#"reason="overfull""#,
    }
}

impl From<&LinkError> for LinkEnd {
    fn from(error: &LinkError) -> Self {
        match error {
            LinkError::Handshake(_) | LinkError::Timeout => Self::Handshake,
            LinkError::UnknownRelay => Self::UnknownRelay,
            LinkError::Record(_) | LinkError::Cell(_) => Self::Record,
            LinkError::Silence => Self::Silence,
            LinkError::Flood => Self::Flood,
            LinkError::Overfull => Self::Overfull,
        }
    }
}

labels! {
    /// What became of a handshake that opens a circuit.
    HandshakeResult {
        /// It was answered.
        Answered = r#"result="answered""#,
        /// There are too many.
        Refused = r#"result="refused""#,
        /// It is none.
        Failed = r#"result="failed""#,
    }
}

labels! {
    /// Why a circuit has ended.
    CircuitEnd {
        /// No reason was given.
        None = r#"reason="none""#,
        /// Its client has broken the rules.
        Protocol = r#"reason="protocol""#,
        /// A neighbour could not go on.
        Internal = r#"reason="internal""#,
        /// Its client wanted it.
        Requested = r#"reason="requested""#,
        /// A neighbour has too many.
        ResourceLimit = r#"reason="resource-limit""#,
        /// The next relay could not be reached.
        ConnectFailed = r#"reason="connect-failed""#,
        /// A link on its way is gone.
        LinkClosed = r#"reason="link-closed""#,
        /// Its handshake took too long.
        Timeout = r#"reason="timeout""#,
        /// A neighbour does not know it.
        NoSuchCircuit = r#"reason="no-such-circuit""#,
        /// More waited for its reader than may.
        Overrun = r#"reason="overrun""#,
    }
}

impl From<DestroyReason> for CircuitEnd {
    fn from(reason: DestroyReason) -> Self {
        match reason {
            DestroyReason::None => Self::None,
            DestroyReason::Protocol => Self::Protocol,
            DestroyReason::Internal => Self::Internal,
            DestroyReason::Requested => Self::Requested,
            DestroyReason::ResourceLimit => Self::ResourceLimit,
            DestroyReason::ConnectFailed => Self::ConnectFailed,
            DestroyReason::LinkClosed => Self::LinkClosed,
            DestroyReason::Timeout => Self::Timeout,
            DestroyReason::NoSuchCircuit => Self::NoSuchCircuit,
        }
    }
}

/// What a relay counts.
#[derive(Debug, Default)]
pub struct RelayMetrics {
    links: Family<LinkKind, Gauge>,
    links_refused: Family<LinkRefusal, Counter>,
    links_ended: Family<LinkEnd, Counter>,
    circuits: Gauge,
    handshakes: Family<HandshakeResult, Counter>,
    circuits_ended: Family<CircuitEnd, Counter>,
    records_opened: Counter,
    records_sealed: Counter,
    cells_forwarded: Counter,
    memory_events: Counter,
}

impl RelayMetrics {
    /// There is no link where one was wanted.
    pub(crate) fn link_refused(&self, refusal: LinkRefusal) {
        self.links_refused.of(refusal).increment();
    }

    /// More cells wait than may, and a link was asked to give up a circuit.
    pub(crate) fn memory_event(&self) {
        self.memory_events.increment();
    }

    fn add(&self, counts: &LinkCounts) {
        let LinkCounts { records_opened, records_sealed, cells_forwarded, circuits } = counts;
        self.records_opened.add(*records_opened);
        self.records_sealed.add(*records_sealed);
        self.cells_forwarded.add(*cells_forwarded);
        let CircuitCounts { handshakes_answered, handshakes_refused, handshakes_failed, overruns, .. } = circuits;
        self.handshakes.of(HandshakeResult::Answered).add(*handshakes_answered);
        self.handshakes.of(HandshakeResult::Refused).add(*handshakes_refused);
        self.handshakes.of(HandshakeResult::Failed).add(*handshakes_failed);
        self.circuits_ended.of(CircuitEnd::Overrun).add(*overruns);
        for (reason, ended) in circuits.ended() {
            self.circuits_ended.of(reason.into()).add(ended);
        }
    }

    /// Writes the numbers down.
    pub fn write(&self, text: &mut Text) {
        text.family("allium_relay_links", "Links that stand; rounded up to 8.", LINKS, &self.links);
        text.family(
            "allium_relay_links_refused_total",
            "Links that were refused, or could not be opened; rounded up to 8.",
            LINKS,
            &self.links_refused,
        );
        text.family(
            "allium_relay_links_ended_total",
            "Links that have ended, by reason; rounded up to 8.",
            LINKS,
            &self.links_ended,
        );
        text.value(
            "allium_relay_circuits",
            "Circuits on all links, one that passes counted on both of its links; rounded up to 64.",
            CIRCUITS,
            &self.circuits,
        );
        text.family(
            "allium_relay_handshakes_total",
            "Handshakes that open circuits, by what became of them; rounded up to 64.",
            CIRCUITS,
            &self.handshakes,
        );
        text.family(
            "allium_relay_circuits_ended_total",
            "Circuits that have ended, by reason; rounded up to 64.",
            CIRCUITS,
            &self.circuits_ended,
        );
        text.value(
            "allium_relay_records_opened_total",
            "Records that came and were opened; rounded up to 1024.",
            CELLS,
            &self.records_opened,
        );
        text.value(
            "allium_relay_records_sealed_total",
            "Records that were sealed and sent; rounded up to 1024.",
            CELLS,
            &self.records_sealed,
        );
        text.value(
            "allium_relay_cells_forwarded_total",
            "Cells that came on one link and left by another; rounded up to 1024.",
            CELLS,
            &self.cells_forwarded,
        );
        text.value(
            "allium_relay_memory_events_total",
            "Times that more cells waited than may, and circuits had to end.",
            EXACT,
            &self.memory_events,
        );
    }
}

/// A link's part in its relay's numbers. It leaves with the link what stands, and keeps what has happened.
#[derive(Debug)]
pub(crate) struct LinkTally {
    metrics: Arc<RelayMetrics>,
    kind: LinkKind,
    circuits: usize,
}

impl LinkTally {
    /// A link is there.
    pub(crate) fn new(metrics: Arc<RelayMetrics>, kind: LinkKind) -> Self {
        metrics.links.of(kind).change(0, 1);
        Self { metrics, kind, circuits: 0 }
    }

    /// The link's handshake says who is at the other end.
    pub(crate) fn established(&mut self, with_relay: bool) {
        let kind = match (self.kind, with_relay) {
            (LinkKind::ToRelay, _) => return,
            (_, true) => LinkKind::FromRelay,
            (_, false) => LinkKind::Client,
        };
        self.metrics.links.of(self.kind).change(1, 0);
        self.metrics.links.of(kind).change(0, 1);
        self.kind = kind;
    }

    /// What the link has done since the last call, and how many circuits it has.
    pub(crate) fn add(&mut self, counts: &LinkCounts, circuits: usize) {
        self.metrics.add(counts);
        self.metrics.circuits.change(self.circuits, circuits);
        self.circuits = circuits;
    }

    /// The link has ended.
    pub(crate) fn end(mut self, counts: &LinkCounts, end: LinkEnd) {
        self.add(counts, 0);
        self.metrics.links_ended.of(end).increment();
    }
}

impl Drop for LinkTally {
    fn drop(&mut self) {
        self.metrics.circuits.change(self.circuits, 0);
        self.metrics.links.of(self.kind).change(1, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::Source;
    use super::*;

    struct Shown(Arc<RelayMetrics>);

    impl Source for Shown {
        fn write(&self, text: &mut Text) {
            self.0.write(text);
        }
    }

    fn shown(metrics: &Arc<RelayMetrics>, series: &str) -> u64 {
        let text = Text::of([&Shown(metrics.clone()) as &dyn Source]);
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
    }

    #[test]
    fn links_come_shake_hands_and_go() {
        let metrics = Arc::new(RelayMetrics::default());
        let links = |pairs: &str| shown(&metrics, &format!("allium_relay_links{{{pairs}}}"));
        let mut client = LinkTally::new(metrics.clone(), LinkKind::Unknown);
        let mut relay = LinkTally::new(metrics.clone(), LinkKind::ToRelay);
        assert_eq!(links(r#"direction="in",kind="unknown""#), 8);
        client.established(false);
        relay.established(true);
        assert_eq!(links(r#"direction="in",kind="unknown""#), 0);
        assert_eq!(links(r#"direction="in",kind="client""#), 8);
        assert_eq!(links(r#"direction="out",kind="relay""#), 8);
        client.add(&LinkCounts { cells_forwarded: 1, ..LinkCounts::default() }, 65);
        assert_eq!(shown(&metrics, "allium_relay_circuits"), 128);
        assert_eq!(shown(&metrics, "allium_relay_cells_forwarded_total"), 1024);
        client.end(&LinkCounts::default(), LinkEnd::from(&LinkError::Silence));
        drop(relay);
        assert_eq!(shown(&metrics, "allium_relay_circuits"), 0);
        assert_eq!(links(r#"direction="in",kind="client""#), 0);
        assert_eq!(links(r#"direction="out",kind="relay""#), 0);
        assert_eq!(shown(&metrics, r#"allium_relay_links_ended_total{reason="silence"}"#), 8);
        assert_eq!(shown(&metrics, r#"allium_relay_links_ended_total{reason="closed"}"#), 0);
    }

    #[test]
    fn every_reason_of_the_protocol_has_a_label() {
        for reason in DestroyReason::ALL {
            let label = CircuitEnd::from(*reason);
            let name = format!("{reason:?}").to_lowercase();
            assert_eq!(super::super::value::Label::pairs(label).replace('-', ""), format!("reason=\"{name}\""));
        }
    }
}
