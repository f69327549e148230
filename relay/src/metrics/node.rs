//! What every node shows of itself.

use std::time::Instant;

use super::text::{EXACT, Source, Text};

/// Which program it is, and since when.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    role: &'static str,
    started: Instant,
}

impl Node {
    /// A node of this role that starts now.
    pub fn start(role: &'static str) -> Self {
        Self { role, started: Instant::now() }
    }
}

impl Source for Node {
    fn write(&self, text: &mut Text) {
        let pairs = format!("role=\"{}\",version=\"{}\"", self.role, env!("CARGO_PKG_VERSION"));
        text.info("allium_build_info", "Which program runs.", &pairs);
        text.gauge("allium_uptime_seconds", "How long the node has run.", EXACT, self.started.elapsed().as_secs());
    }
}
