//! The largest network that there can be, as far as a client sees it before it opens links: one authority of nine, which serves
//! the page and the list of 10,000 relays that all nine have signed. No relay of it runs.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, SystemTime};

use allium_shared::netdir::{Authorities, Consensus};
use allium_shared::time::UnixTime;
use tempfile::TempDir;

use crate::network::free_port;
use crate::process::{self, Process};
use crate::{artifacts, wait};

#[path = "../../shared/benches/directory.rs"]
mod directory;

pub use self::directory::Directory;

const STARTED_WITHIN: Duration = Duration::from_secs(20);

/// The authority, until it is dropped.
#[derive(Debug)]
pub struct Largest {
    port: u16,
    consensus: Consensus,
    _process: Process,
    _folder: TempDir,
}

impl Largest {
    /// Starts it, with the page that has been built.
    #[track_caller]
    pub fn serve() -> Self {
        Self::serve_with(&artifacts::page())
    }

    /// Starts it, with the page in this folder.
    #[track_caller]
    pub fn serve_with(page: &Path) -> Self {
        let directory = Directory::largest().expect("the directory can be made");
        let folder = tempfile::Builder::new().prefix("allium-largest-").tempdir().expect("there is a place for files");
        let port = free_port();
        let url = format!("http://127.0.0.1:{port}");
        let authorities = directory.authorities.iter().enumerate().map(|(index, authority)| {
            let mut authority = authority.clone();
            if index == 0 {
                authority.url.clone_from(&url);
            }
            authority
        });
        let authorities = Authorities::new(authorities.collect()).expect("a list of authorities");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let bytes = directory.consensus(now - 600).expect("the consensus can be made");
        let unix = UnixTime::from_millis(now * 1_000);
        let consensus = Consensus::verify(&bytes, &authorities, unix).expect("the consensus counts");

        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("the folder can be made");
            fs::write(&path, bytes).expect("the file can be written");
            path
        };
        write("data/consensus", &bytes);
        write("data/keys", &[&[0, 1][..], &directory.seeds[0]].concat());
        let list = write("authorities.json", authorities.to_json().as_bytes());
        let mut command = process::command(artifacts::allium());
        command.args([
            "authority",
            "--nickname",
            "authority0",
            "--url",
            &url,
            "--listen",
            &format!("127.0.0.1:{port}"),
        ]);
        command.arg("--data").arg(folder.path().join("data")).arg("--authorities").arg(list).arg("--page").arg(page);
        let process = Process::start("authority0", &mut command, &folder.path().join("log"));
        wait::until(STARTED_WITHIN, "an authority that listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        Self { port, consensus, _process: process, _folder: folder }
    }

    /// Its address, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The list that it serves.
    pub const fn consensus(&self) -> &Consensus {
        &self.consensus
    }
}
