//! Why the engine does not run.

/// Why the engine does not run.
#[derive(Debug)]
pub(super) enum Stop {
    /// For a reason in one sentence or more.
    Failed(String),
    /// The server of the page names other authorities than those that the profile keeps; the ids of both networks.
    OtherAuthorities {
        /// Theirs that are kept.
        kept: String,
        /// Theirs that are named.
        named: String,
    },
}

impl<T: Into<String>> From<T> for Stop {
    fn from(reason: T) -> Self {
        Self::Failed(reason.into())
    }
}
