//! TLS: what this node serves by a certificate of its own, and connections to others who do.
//!
//! Inside is what goes over plain connections as well, so TLS protects nothing here that is not protected already; pages
//! that came by https may open nothing else.
//!
//! # Layout
//!
//! - [`certificate`]: the certificate's files, read again when they change
//! - [`connect`]: connections to others, with TLS or without

pub mod certificate;
pub mod connect;

use std::sync::{Arc, LazyLock};

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};

/// The only protocol that is spoken inside.
pub(crate) const ALPN: &[u8] = b"http/1.1";

/// The cryptography of all TLS, in TLS 1.2 and 1.3.
pub(crate) static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(ring::default_provider()));

#[cfg(test)]
mod tests;
