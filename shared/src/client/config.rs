//! What an engine needs to know of its network.

use crate::netdir::Authorities;

/// Which network a client belongs to, and how it may reach it.
#[derive(Clone, Debug)]
pub struct Config {
    pub(super) authorities: Authorities,
    pub(super) secure_links: bool,
}

impl Config {
    /// A client of the network of these authorities.
    pub fn new(authorities: Authorities) -> Self {
        Self { authorities, secure_links: false }
    }

    /// Whether links may be opened to `wss://` addresses only, as in a page that came by https. Guards that have none are
    /// not used then.
    pub fn with_secure_links(self, secure_links: bool) -> Self {
        Self { secure_links, ..self }
    }
}
