//! A network whose nodes serve TLS, by certificates of an authority that only these tests know.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::artifacts;
use crate::network::{await_consensus, free_port};
use crate::process::{self, Process, tail};

/// The variable in which programs find the certificates that they are to trust.
pub const TRUSTED: &str = "SSL_CERT_FILE";

/// What the names of all nodes end with. Only browsers that are told resolve them.
const DOMAIN: &str = "allium.example";

/// An authority for certificates, with its files in a folder.
#[derive(Debug)]
pub struct Issuer {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
    name: String,
}

/// A certificate for every node of a network, and its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The chain, as a PEM file.
    pub cert: PathBuf,
    /// The key, as a PEM file.
    pub key: PathBuf,
    /// The SHA-256 of the public key in base64, by which a browser can be told to accept it.
    pub fingerprint: String,
}

impl Issuer {
    /// Makes an authority of this name.
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("an authority is no host");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("the system gives randomness");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a key signs");
        let this = Self { issuer, folder: folder.to_owned(), name: name.to_owned() };
        fs::write(this.root(), this.issuer.pem()).expect("the folder can be written");
        this
    }

    /// The file with the authority's own certificate, for those who are to trust it.
    pub fn root(&self) -> PathBuf {
        self.folder.join(format!("{}.root.pem", self.name))
    }

    /// Issues a certificate for these names and addresses.
    pub fn issue(&self, names: &[String]) -> Certificate {
        let key = KeyPair::generate().expect("the system gives randomness");
        let params = CertificateParams::new(names).expect("the names are names");
        let cert = params.signed_by(&key, &self.issuer).expect("a key signs");
        let fingerprint = BASE64.encode(&Sha256::digest(key.subject_public_key_info()));
        let file = |kind: &str| self.folder.join(format!("{}.{kind}.pem", self.name));
        let certificate = Certificate { cert: file("fullchain"), key: file("privkey"), fingerprint };
        fs::write(&certificate.cert, cert.pem()).expect("the folder can be written");
        fs::write(&certificate.key, key.serialize_pem()).expect("the folder can be written");
        certificate
    }
}

/// What a network is to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of relays that serve TLS.
    pub relays: u8,
    /// Number of relays that do not.
    pub plain: u8,
    /// Whether nodes reach each other by TLS too, where they can.
    pub everywhere: bool,
    /// Whether the authority serves the page.
    pub page: bool,
}

/// A network of one authority and some relays, each a process with an address of its own.
#[derive(Debug)]
pub struct SecureNetwork {
    nodes: Vec<Process>,
    folder: TempDir,
    issuer: Issuer,
    certificate: Certificate,
    options: Options,
    port: u16,
}

impl SecureNetwork {
    /// Starts a network and waits until all nodes take part.
    #[track_caller]
    pub fn start(options: Options) -> Self {
        let folder = tempfile::Builder::new().prefix("allium-secure-").tempdir().expect("there is a place for files");
        let issuer = Issuer::new(folder.path(), "trusted");
        let port = free_port();
        let certificate = issuer.issue(&names());
        let mut network = Self { nodes: Vec::new(), folder, issuer, certificate, options, port };
        network.add(1);
        await_consensus(&network.urls(), 0);
        let relays = network.options.relays + network.options.plain;
        (2..=1 + relays).for_each(|number| network.add(number));
        await_consensus(&network.urls(), relays.into());
        network
    }

    fn add(&mut self, number: u8) {
        let (listen, secure) = (self.plain_address(number), self.secure_address(number));
        let mut text = format!("nickname = \"node{number}\"\nlisten = \"{listen}\"\ndata = \"node{number}\"\n");
        let has_tls = number <= 1 + self.options.relays;
        if has_tls {
            let Certificate { cert, key, .. } = &self.certificate;
            text += &format!("tls-listen = \"{secure}\"\ntls-cert = {cert:?}\ntls-key = {key:?}\n");
        }
        let by_tls = has_tls && self.options.everywhere;
        let role = if number == 1 {
            if by_tls {
                text += &format!("url = \"https://{secure}\"\n");
            }
            if self.options.page {
                text += &format!("page = {:?}\n", artifacts::page());
            }
            "authority"
        } else {
            text += &format!("directory = [\"{}\"]\npublish-every = 5\n", self.directory());
            match (has_tls, by_tls) {
                (true, true) => text += &format!("url = \"wss://{secure}/link\"\n"),
                (true, false) => text += &format!("secure-url = \"wss://{}/link\"\n", self.name(number)),
                (false, _) => {}
            }
            "relay"
        };
        let file = self.folder.path().join(format!("node{number}.toml"));
        fs::write(&file, text).expect("the folder can be written");
        let mut command = process::command(artifacts::allium());
        command.arg(role).arg("--config").arg(&file).env(TRUSTED, self.trusted());
        self.nodes.push(Process::start(role, &mut command, &self.log(number)));
    }

    /// The authority's address, as programs reach it.
    pub fn directory(&self) -> String {
        if self.options.everywhere {
            format!("https://{}", self.secure_address(1))
        } else {
            format!("http://{}", self.plain_address(1))
        }
    }

    /// The address of the page.
    pub fn page(&self) -> String {
        format!("https://{}/", self.name(1))
    }

    /// What a browser has to be told to find the nodes by their names and to accept their certificate.
    pub fn browser_arguments(&self) -> Vec<String> {
        let numbers = 1..=1 + self.options.relays + self.options.plain;
        let rules: Vec<_> = numbers.map(|number| format!("MAP node{number}.{DOMAIN} {}", ip(number))).collect();
        vec![
            format!("--host-resolver-rules={}", rules.join(",")),
            format!("--ignore-certificate-errors-spki-list={}", self.certificate.fingerprint),
        ]
    }

    /// The file with the certificates that are to be trusted.
    pub fn trusted(&self) -> PathBuf {
        self.issuer.root()
    }

    /// The files of every node's certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// A certificate for the same names by an authority that nobody trusts.
    pub fn strangers_certificate(&self) -> Certificate {
        Issuer::new(self.folder.path(), "stranger").issue(&names())
    }

    /// What the authority has logged.
    pub fn authority_log(&self) -> String {
        self.nodes.first().map(Process::errors).unwrap_or_default()
    }

    /// Where relays take links by TLS.
    pub fn secure_addresses(&self) -> Vec<SocketAddr> {
        (2..=1 + self.options.relays).map(|number| self.secure_address(number)).collect()
    }

    /// Where relays take links without.
    pub fn plain_addresses(&self) -> Vec<SocketAddr> {
        (2..=1 + self.options.relays + self.options.plain).map(|number| self.plain_address(number)).collect()
    }

    fn urls(&self) -> Vec<String> {
        (1..=self.nodes.len() as u8).map(|number| format!("http://{}", self.plain_address(number))).collect()
    }

    fn plain_address(&self, number: u8) -> SocketAddr {
        (ip(number), self.port).into()
    }

    fn secure_address(&self, number: u8) -> SocketAddr {
        (ip(number), self.port + 1).into()
    }

    fn name(&self, number: u8) -> String {
        format!("node{number}.{DOMAIN}:{}", self.port + 1)
    }

    fn log(&self, number: u8) -> PathBuf {
        self.folder.path().join(format!("node{number}.log"))
    }
}

impl Drop for SecureNetwork {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for number in 1..=self.nodes.len() as u8 {
                eprintln!("--- node{number}\n{}", tail(&self.log(number), 15));
            }
        }
    }
}

/// The address of a node: each has its own, as on a machine of its own.
fn ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 3, number)
}

fn names() -> Vec<String> {
    (1..=20).map(|number| ip(number).to_string()).chain([format!("*.{DOMAIN}")]).collect()
}
