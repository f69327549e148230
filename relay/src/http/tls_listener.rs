//! An address that is served by TLS.

use std::sync::Arc;

use axum::Router;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, ServerConfig};

use super::server::{self, ListenError};
use crate::config::TlsConfig;
use crate::shutdown::Shutdown;
use crate::tls::certificate::{Certificate, CertificateError};
use crate::tls::{ALPN, PROVIDER};

/// Why nothing is served by TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// Nobody can connect.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// There is no certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The TLS library refuses its settings.
    #[error("cannot set TLS up: {0}")]
    Setup(#[from] rustls::Error),
}

/// An open socket and the certificate to serve on it.
#[derive(Debug)]
pub struct TlsListener {
    listener: TcpListener,
    certificate: Arc<Certificate>,
    config: Arc<ServerConfig>,
}

impl TlsListener {
    /// Reads the certificate and opens the socket, where there is to be one.
    pub async fn open(config: Option<&TlsConfig>) -> Result<Option<Self>, TlsError> {
        let Some(TlsConfig { listen, cert, key }) = config else { return Ok(None) };
        let certificate = Arc::new(Certificate::load(cert, key)?);
        let listener = server::listen(*listen).await?;
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificate) as _);
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Some(Self { listener, certificate, config: Arc::new(config) }))
    }

    /// Serves `router` until the end, by the certificate that the files have at each time.
    pub async fn serve(self, router: Router, shutdown: Shutdown) {
        let acceptor = TlsAcceptor::from(self.config);
        tokio::join!(
            server::serve_tls(self.listener, acceptor, router, shutdown.clone()),
            self.certificate.watch(shutdown),
        );
    }
}

/// Serves `router` where there is an address for TLS.
pub async fn serve(listener: Option<TlsListener>, router: Router, shutdown: Shutdown) {
    if let Some(listener) = listener {
        listener.serve(router, shutdown).await;
    }
}
