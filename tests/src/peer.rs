//! A peer that does not keep to the protocol: it speaks WebSocket, links and cells just as far as a test wants.

mod circuits;

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use allium_shared::cell::{Cell, CircId, Command};
use allium_shared::circuit::{Circuit, Received};
use allium_shared::link::{CELL_LEN, Initiator, Link, LinkStep, MAX_CELLS, RelayAddressee};
use allium_shared::netdir::{Authorities, Consensus, RelayEntry};
use allium_shared::time::UnixTime;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Error, Message, WebSocket};

/// How long a relay may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a peer knows of a network: what anybody can fetch.
#[derive(Debug)]
pub struct Directory {
    authorities: Authorities,
    consensus: Consensus,
}

/// How a relay ended a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With a close frame that gives this reason.
    Reason(String),
    /// With a close frame without a reason.
    Close,
    /// Without a word.
    Silent,
}

/// A peer with a WebSocket to a relay, and perhaps a link on it.
#[derive(Debug)]
pub struct Peer {
    socket: WebSocket<TcpStream>,
    link: Option<Box<Link>>,
    rng: ChaCha20Rng,
    circuits: HashMap<CircId, Circuit>,
    next_id: u32,
    received: VecDeque<(CircId, Received)>,
}

impl Directory {
    /// Fetches what the directory at `url` has, and checks it.
    #[track_caller]
    pub fn fetch(url: &str) -> Self {
        let get = |path: &str| {
            let url = format!("{}/directory/{path}", url.trim_end_matches('/'));
            let mut answer = ureq::get(&url).call().unwrap_or_else(|error| panic!("{url}: {error}"));
            answer.body_mut().read_to_vec().expect("the whole document arrives")
        };
        let authorities = Authorities::from_json(&get("authorities")).expect("a list of authorities");
        let consensus = verify(&get("consensus"), &authorities);
        Self { authorities, consensus }
    }

    /// The same network, going by a consensus that came some other way.
    #[track_caller]
    pub fn with(&self, consensus: &[u8]) -> Self {
        Self { authorities: self.authorities.clone(), consensus: verify(consensus, &self.authorities) }
    }

    /// The consensus.
    pub const fn consensus(&self) -> &Consensus {
        &self.consensus
    }

    /// The relay of this name.
    #[track_caller]
    pub fn relay(&self, nickname: &str) -> &RelayEntry {
        let relay = self.consensus.relays().iter().find(|relay| relay.nickname.as_str() == nickname);
        relay.unwrap_or_else(|| panic!("{nickname} is not in the consensus"))
    }
}

impl Peer {
    /// Opens a WebSocket to a relay, and no link.
    #[track_caller]
    pub fn websocket(relay: &RelayEntry) -> Self {
        let url = &relay.url;
        let stream = TcpStream::connect((url.host(), url.port())).expect("the relay takes connections");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit can be set");
        stream.set_nodelay(true).expect("small messages can go at once");
        let (socket, _) = tungstenite::client(url.as_str(), stream).expect("the relay takes WebSockets");
        let (circuits, received) = (HashMap::new(), VecDeque::new());
        Self { socket, link: None, rng: rng(), circuits, next_id: 0, received }
    }

    /// Opens a WebSocket to a relay and an anonymous link on it, as a page would.
    #[track_caller]
    pub fn link(directory: &Directory, relay: &RelayEntry) -> Self {
        let mut peer = Self::websocket(relay);
        let (mut initiator, hello) = hello(directory, relay);
        peer.send(Message::binary(hello));
        let answer = peer.socket.read().expect("the relay answers").into_data();
        match initiator.receive(&answer).expect("the relay keeps to the protocol") {
            LinkStep::Established { send: None, link } => peer.link = Some(link),
            other => panic!("an anonymous link takes another message: {other:?}"),
        }
        peer
    }

    /// The peer's own address, as the relay sees it.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        self.socket.get_ref().local_addr().expect("a socket has an address")
    }

    /// Sets how long the relay may take to answer from now on.
    #[track_caller]
    pub fn set_patience(&mut self, patience: Duration) {
        self.socket.get_ref().set_read_timeout(Some(patience)).expect("a time limit can be set");
    }

    /// Sends a message. It does not matter here if the relay has already closed.
    pub fn send(&mut self, message: Message) {
        let _ = self.socket.send(message);
    }

    /// Sends bytes that need be no WebSocket frame.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let _: io::Result<()> = self.socket.get_mut().write_all(bytes);
    }

    /// Sends cells, in as few records as they fit.
    #[track_caller]
    pub fn send_cells(&mut self, cells: &[Cell]) {
        for cells in cells.chunks(MAX_CELLS) {
            let mut record = Vec::new();
            cells.iter().for_each(|cell| cell.encode(&mut record));
            self.send_record(record);
        }
    }

    /// Seals bytes that should be whole cells, and sends them.
    #[track_caller]
    pub fn send_record(&mut self, mut record: Vec<u8>) {
        let link = self.link.as_mut().expect("a link was opened");
        link.sealer.seal(&mut record).expect("a record that can be sealed");
        self.send(Message::binary(record));
    }

    /// The next cell that is no padding.
    #[track_caller]
    pub fn await_cell(&mut self) -> Cell {
        self.cells_until(|cell| cell.command != Command::Padding)
    }

    #[track_caller]
    fn cells_until(&mut self, wanted: impl Fn(&Cell) -> bool) -> Cell {
        loop {
            if let Some(cell) = self.read_cells().into_iter().find(&wanted) {
                return cell;
            }
        }
    }

    /// The cells of the next record.
    #[track_caller]
    fn read_cells(&mut self) -> Vec<Cell> {
        let message = self.socket.read().unwrap_or_else(|error| panic!("no cell, but: {error}"));
        let Message::Binary(record) = message else { panic!("no record, but: {message:?}") };
        let mut record = Vec::from(record);
        let link = self.link.as_mut().expect("a link was opened");
        let cells: &mut [[u8; CELL_LEN]] = link.opener.open(&mut record).expect("a record of this link");
        cells.iter().map(|cell| Cell::decode(cell).expect("a cell")).collect()
    }

    /// Waits until the relay ends the connection; whatever comes before is passed over.
    #[track_caller]
    pub fn await_end(&mut self) -> End {
        loop {
            match self.socket.read() {
                Ok(Message::Close(Some(CloseFrame { reason, .. }))) if !reason.is_empty() => {
                    return End::Reason(reason.to_string());
                }
                Ok(Message::Close(_)) => return End::Close,
                Ok(_) => {}
                Err(Error::Io(error))
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) =>
                {
                    panic!("the relay goes on as if nothing had happened");
                }
                Err(_) => return End::Silent,
            }
        }
    }

    /// Checks that the relay ends the connection and says why, in words and about nobody.
    #[track_caller]
    pub fn assert_told_off(&mut self) -> String {
        match self.await_end() {
            End::Reason(reason) => {
                assert!(reason.split_whitespace().count() >= 3, "the relay's reason is no sentence: {reason:?}");
                reason
            }
            other => panic!("the relay does not say what is wrong: {other:?}"),
        }
    }
}

/// The first message of an anonymous link to this relay, and the side that sent it.
#[track_caller]
pub fn hello(directory: &Directory, relay: &RelayEntry) -> (Initiator, Vec<u8>) {
    let addressee = RelayAddressee { identity: relay.identity, link_key: relay.link_key };
    let network = directory.authorities.network();
    Initiator::new_anonymous(&mut rng(), network.as_bytes(), &addressee).expect("the relay's key is good")
}

#[track_caller]
fn verify(consensus: &[u8], authorities: &Authorities) -> Consensus {
    Consensus::verify(consensus, authorities, now()).expect("a consensus that counts")
}

/// The system's clock.
pub fn now() -> UnixTime {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set");
    UnixTime::from_millis(u64::try_from(since_1970.as_millis()).expect("our own time"))
}

fn rng() -> ChaCha20Rng {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the system gives randomness");
    ChaCha20Rng::from_seed(seed)
}
