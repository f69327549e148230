//! The certificate that a node serves, from files that others renew.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sha2::{Digest, Sha256};
use thiserror::Error;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, InconsistentKeys};

use super::PROVIDER;
use crate::files;
use crate::shutdown::Shutdown;

/// How often the files are looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// The longest file, in bytes. A chain has a few certificates of two KiB.
const MAX_FILE_LEN: usize = 256 * 1024;

/// Why there is no certificate to serve.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not there.
    #[error("there is no file {0}")]
    Missing(PathBuf),
    /// A file is not PEM.
    #[error("{path} is not a PEM file: {source}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The file of the certificate has none.
    #[error("{0} has no certificate")]
    NoCertificate(PathBuf),
    /// The file of the key has none.
    #[error("{0} has no private key, or one with a passphrase")]
    NoKey(PathBuf),
    /// The two files do not belong together.
    #[error("the private key in {key} is not that of the first certificate in {cert}")]
    Mismatch {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// The certificate or the key is of no use.
    #[error("the certificate in {cert} with the key in {key} is of no use: {source}")]
    Unusable {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// A certificate with its chain and key, as the files had them when they were last of use.
#[derive(Debug)]
pub struct Certificate {
    cert: PathBuf,
    key: PathBuf,
    served: RwLock<Served>,
}

#[derive(Debug)]
struct Served {
    /// The digest of what the files said.
    digest: [u8; 32],
    key: Arc<CertifiedKey>,
}

impl Certificate {
    /// The certificate in these PEM files: the chain, this node's own certificate first, and its private key.
    pub fn load(cert: &Path, key: &Path) -> Result<Self, CertificateError> {
        let served = Files::read(cert, key)?.parse(cert, key)?;
        Ok(Self { cert: cert.to_owned(), key: key.to_owned(), served: RwLock::new(served) })
    }

    /// What is served now.
    pub fn current(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.served.read().unwrap_or_else(PoisonError::into_inner).key)
    }

    /// Reads the files again; says whether they have changed. After an error the old certificate is served on.
    pub fn reload(&self) -> Result<bool, CertificateError> {
        let files = Files::read(&self.cert, &self.key)?;
        if files.digest() == self.served.read().unwrap_or_else(PoisonError::into_inner).digest {
            return Ok(false);
        }
        let served = files.parse(&self.cert, &self.key)?;
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = served;
        Ok(true)
    }

    /// Looks at the files until the end.
    ///
    /// What they say is compared, and not when they were written: those who renew certificates replace files, or links to
    /// them, and two files never change at the same moment.
    pub async fn watch(self: Arc<Self>, mut shutdown: Shutdown) {
        let mut told = None;
        while shutdown.unless(tokio::time::sleep(CHECK_INTERVAL)).await.is_some() {
            let certificate = Arc::clone(&self);
            let Ok(reloaded) = tokio::task::spawn_blocking(move || certificate.reload()).await else { continue };
            match reloaded {
                Ok(true) => {
                    tracing::info!(file = %self.cert.display(), "a new certificate is served");
                    told = None;
                }
                Ok(false) => told = None,
                Err(error) => {
                    let error = error.to_string();
                    if told.as_ref() != Some(&error) {
                        tracing::error!(error, "cannot use the new certificate; the old one is served on");
                        told = Some(error);
                    }
                }
            }
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

/// What both files say.
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    fn read(cert: &Path, key: &Path) -> Result<Self, CertificateError> {
        let read = |path: &Path| {
            files::read_bounded(path, MAX_FILE_LEN)
                .map_err(|source| CertificateError::Io { path: path.to_owned(), source })?
                .ok_or_else(|| CertificateError::Missing(path.to_owned()))
        };
        Ok(Self { cert: read(cert)?, key: read(key)? })
    }

    fn digest(&self) -> [u8; 32] {
        let parts = [Sha256::digest(&self.cert), Sha256::digest(&self.key)];
        Sha256::digest(parts.concat()).into()
    }

    fn parse(&self, cert: &Path, key: &Path) -> Result<Served, CertificateError> {
        let not_pem = |path: &Path| {
            let path = path.to_owned();
            move |source| CertificateError::Pem { path, source }
        };
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(&self.cert).collect::<Result<_, _>>().map_err(not_pem(cert))?;
        if chain.is_empty() {
            return Err(CertificateError::NoCertificate(cert.to_owned()));
        }
        let private = match PrivateKeyDer::from_pem_slice(&self.key) {
            Ok(private) => private,
            Err(pem::Error::NoItemsFound) => return Err(CertificateError::NoKey(key.to_owned())),
            Err(error) => return Err(not_pem(key)(error)),
        };
        match CertifiedKey::from_der(chain, private, &PROVIDER) {
            Ok(certified) => Ok(Served { digest: self.digest(), key: Arc::new(certified) }),
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(CertificateError::Mismatch { cert: cert.to_owned(), key: key.to_owned() })
            }
            Err(source) => Err(CertificateError::Unusable { cert: cert.to_owned(), key: key.to_owned(), source }),
        }
    }
}
