//! Connections to other nodes, with TLS or without.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, CertificateError, ClientConfig, RootCertStore};

use super::{ALPN, PROVIDER};

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// There is nobody.
    #[error("cannot connect: {0}")]
    Io(#[from] io::Error),
    /// No certificate can be for such a host.
    #[error("{0} is not a host that a certificate can name")]
    Host(String),
    /// There is nothing to check certificates by.
    #[error("this system trusts no certificate authority; install ca-certificates, or name a file in SSL_CERT_FILE")]
    NoRoots,
    /// A stranger's certificate.
    #[error("the certificate of {0} is not from an authority that this system trusts")]
    NotTrusted(String),
    /// Another's certificate.
    #[error("the certificate is not for {0}")]
    OtherName(String),
    /// An old certificate.
    #[error("the certificate of {0} has expired")]
    Expired(String),
    /// A certificate from the future.
    #[error("the certificate of {0} is not valid yet; is this machine's clock right?")]
    NotValidYet(String),
    /// The peer does not speak TLS, or not as it should.
    #[error("no TLS with {host}: {source}")]
    Tls {
        /// The peer.
        host: String,
        /// What is wrong.
        source: io::Error,
    },
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// Without TLS.
    Plain(TcpStream),
    /// In TLS.
    Secure(Box<TlsStream<TcpStream>>),
}

/// Connects to a host, a name or an IP address without brackets. With `secure` it has to show a certificate for that name
/// that the system trusts.
pub async fn connect(host: &str, port: u16, secure: bool) -> Result<Stream, ConnectError> {
    if !secure {
        return Ok(Stream::Plain(open(host, port).await?));
    }
    connect_with(host, port, system_config().await?).await
}

/// Connects by TLS.
pub(super) async fn connect_with(host: &str, port: u16, config: Arc<ClientConfig>) -> Result<Stream, ConnectError> {
    let name = ServerName::try_from(host).map_err(|_| ConnectError::Host(host.to_owned()))?.to_owned();
    let stream = open(host, port).await?;
    match TlsConnector::from(config).connect(name, stream).await {
        Ok(stream) => Ok(Stream::Secure(Box::new(stream))),
        Err(error) => Err(refused(host.to_owned(), error)),
    }
}

async fn open(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    // A link's records are small and must not wait for each other.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The settings by which the system's root certificates count. They are read once, when they are needed first.
async fn system_config() -> Result<Arc<ClientConfig>, ConnectError> {
    static CONFIG: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();
    let make = || async {
        let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
        let loaded = loaded.map_err(io::Error::other)?;
        for error in &loaded.errors {
            tracing::warn!(%error, "cannot read some of the system's root certificates");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(loaded.certs);
        if roots.is_empty() {
            return Err(ConnectError::NoRoots);
        }
        config(roots).map(Arc::new)
    };
    CONFIG.get_or_try_init(make).await.cloned()
}

/// The settings by which these root certificates count.
pub(super) fn config(roots: RootCertStore) -> Result<ClientConfig, ConnectError> {
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

fn refused(host: String, error: io::Error) -> ConnectError {
    let certificate = match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(certificate)) => certificate,
        _ => return ConnectError::Tls { host, source: error },
    };
    match certificate {
        CertificateError::UnknownIssuer => ConnectError::NotTrusted(host),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            ConnectError::OtherName(host)
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => ConnectError::Expired(host),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => ConnectError::NotValidYet(host),
        _ => ConnectError::Tls { host, source: error },
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Secure(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Secure(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Secure(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Secure(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Secure(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Secure(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
