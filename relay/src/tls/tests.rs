use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use axum::Router;
use axum::routing::get;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::certificate::{Certificate, CertificateError};
use super::connect::{self, ConnectError, Stream, connect_with};
use super::*;
use crate::config::TlsConfig;
use crate::files::tests::TestDir;
use crate::http::tls_listener::TlsListener;
use crate::shutdown::{self, Trigger};

/// A certificate authority that nobody but these tests knows.
struct Issuer(CertifiedIssuer<'static, KeyPair>);

impl Issuer {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate and its key as PEM.
    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// The settings of a client that trusts it.
    fn trusted(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Arc::new(connect::config(roots).unwrap())
    }
}

/// A certificate's two files.
struct Pair(TestDir);

impl Pair {
    fn new((cert, key): &(String, String)) -> Self {
        let pair = Self(TestDir::new());
        fs::write(pair.cert(), cert).unwrap();
        fs::write(pair.key(), key).unwrap();
        pair
    }

    fn cert(&self) -> PathBuf {
        self.0.0.join("fullchain.pem")
    }

    fn key(&self) -> PathBuf {
        self.0.0.join("privkey.pem")
    }

    fn load(&self) -> Result<Certificate, CertificateError> {
        Certificate::load(&self.cert(), &self.key())
    }
}

/// Serves one short answer by TLS, until the trigger is dropped.
async fn serve(pair: &Pair) -> (SocketAddr, Trigger) {
    // A port that was free a moment ago.
    let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = TlsConfig { listen, cert: pair.cert(), key: pair.key() };
    let listener = TlsListener::open(Some(&config)).await.unwrap().unwrap();
    let (trigger, shutdown) = shutdown::channel();
    tokio::spawn(listener.serve(Router::new().route("/", get(|| async { "inside" })), shutdown));
    (listen, trigger)
}

async fn ask(mut stream: Stream) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn whoever_trusts_the_authority_is_served() {
    let issuer = Issuer::new("issuer");
    let pair = Pair::new(&issuer.issue("127.0.0.1", |_| {}));
    let (address, _trigger) = serve(&pair).await;
    let stream = connect_with("127.0.0.1", address.port(), issuer.trusted()).await.unwrap();
    let Stream::Secure(inner) = &stream else { panic!("not by TLS") };
    let (_, session) = inner.get_ref();
    assert_eq!(session.alpn_protocol(), Some(ALPN));
    assert!(ask(stream).await.ends_with("inside"));
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_said() {
    let issuer = Issuer::new("issuer");
    let stranger = Issuer::new("stranger");
    let old = issuer.issue("127.0.0.1", |params| {
        (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    });
    let early = issuer.issue("127.0.0.1", |params| params.not_before = date_time_ymd(3001, 1, 1));
    let refused = async |files: &(String, String), trusted: Arc<ClientConfig>| {
        let (address, _trigger) = serve(&Pair::new(files)).await;
        connect_with("127.0.0.1", address.port(), trusted).await.unwrap_err()
    };
    let good = issuer.issue("127.0.0.1", |_| {});
    assert!(matches!(refused(&good, stranger.trusted()).await, ConnectError::NotTrusted(host) if host == "127.0.0.1"));
    let other = issuer.issue("relay.example", |_| {});
    assert!(matches!(refused(&other, issuer.trusted()).await, ConnectError::OtherName(_)));
    assert!(matches!(refused(&old, issuer.trusted()).await, ConnectError::Expired(_)));
    assert!(matches!(refused(&early, issuer.trusted()).await, ConnectError::NotValidYet(_)));

    // Somebody who speaks something else.
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = plain.local_addr().unwrap().port();
    tokio::spawn(async move { plain.accept().await.unwrap().0.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await });
    let error = connect_with("127.0.0.1", port, issuer.trusted()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Tls { .. }), "{error}");
    assert!(matches!(connect_with("a b", 1, issuer.trusted()).await, Err(ConnectError::Host(_))));
}

#[tokio::test]
async fn a_renewed_certificate_is_served_and_a_broken_one_is_not() {
    let (before, after) = (Issuer::new("before"), Issuer::new("after"));
    let pair = Pair::new(&before.issue("127.0.0.1", |_| {}));
    let certificate = pair.load().unwrap();
    let served = |certificate: &Certificate| certificate.current().cert[0].clone();
    let old = served(&certificate);
    assert!(!certificate.reload().unwrap(), "nothing has changed");

    // The two files are replaced one after the other.
    let (cert, key) = after.issue("127.0.0.1", |_| {});
    fs::write(pair.cert(), &cert).unwrap();
    assert!(matches!(certificate.reload(), Err(CertificateError::Mismatch { .. })));
    assert_eq!(served(&certificate), old);
    fs::write(pair.key(), &key).unwrap();
    assert!(certificate.reload().unwrap());
    let new = served(&certificate);
    assert_ne!(new, old);

    fs::write(pair.cert(), &cert[..cert.len() / 2]).unwrap();
    assert!(matches!(certificate.reload(), Err(CertificateError::Pem { .. })));
    fs::remove_file(pair.cert()).unwrap();
    assert!(matches!(certificate.reload(), Err(CertificateError::Missing(_))));
    assert_eq!(served(&certificate), new);
    fs::write(pair.cert(), &cert).unwrap();
    assert!(!certificate.reload().unwrap(), "what is served is there again");
}

#[test]
fn files_without_a_certificate_or_key_are_named() {
    let issuer = Issuer::new("issuer");
    let (cert, key) = issuer.issue("127.0.0.1", |_| {});
    let error = |cert: &str, key: &str| Pair::new(&(cert.to_owned(), key.to_owned())).load().unwrap_err();
    assert!(matches!(error("", &key), CertificateError::NoCertificate(_)));
    assert!(matches!(error(&key, &key), CertificateError::NoCertificate(_)));
    assert!(matches!(error(&cert, ""), CertificateError::NoKey(_)));
    assert!(matches!(error(&cert, &cert), CertificateError::NoKey(_)));
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(error(nonsense, &key), CertificateError::Unusable { .. }));
    assert!(error(&cert, &issuer.issue("127.0.0.1", |_| {}).1).to_string().contains("privkey.pem"));
    // A chain of more than one, with text between.
    Pair::new(&(format!("{cert}\nthe authority:\n{}", issuer.0.pem()), key)).load().unwrap();
}
