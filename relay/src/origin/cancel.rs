//! Ends an order when nobody waits for it any more.

use tokio::sync::mpsc;

/// Which order, as the one who waits for it knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Token(pub(super) u64);

/// Cancels an order when it is dropped; nothing happens if the order is over by then.
#[derive(Debug)]
pub(super) struct Cancel {
    token: Token,
    cancelled: mpsc::UnboundedSender<Token>,
}

impl Cancel {
    /// For one order; there are no more of these than orders under way.
    pub(super) const fn new(token: Token, cancelled: mpsc::UnboundedSender<Token>) -> Self {
        Self { token, cancelled }
    }

    pub(super) const fn token(&self) -> Token {
        self.token
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        // When the driver has ended, so has the order.
        let _ = self.cancelled.send(self.token);
    }
}
