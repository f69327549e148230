//! The listeners and the recordings.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::owner::owner;

/// Proxies that record.
#[derive(Debug, Default)]
pub struct Tap {
    shared: Arc<Shared>,
    listeners: Vec<(SocketAddr, JoinHandle<()>)>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    wires: Mutex<Vec<Arc<Wire>>>,
}

/// One connection that passes the tap.
#[derive(Debug)]
struct Wire {
    relay: String,
    number: usize,
    initiator: Option<u32>,
    sockets: [TcpStream; 2],
    to_relay: Mutex<Vec<u8>>,
    from_relay: Mutex<Vec<u8>>,
}

/// Everything that passed on one connection to a relay.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// The relay.
    pub relay: String,
    /// Tells the relay's connections apart.
    pub number: usize,
    /// The process that opened the connection, if it was seen.
    pub initiator: Option<u32>,
    /// What the initiator sent.
    pub to_relay: Vec<u8>,
    /// What the relay sent.
    pub from_relay: Vec<u8>,
}

impl Recording {
    /// The recording's name in a failed test's output.
    pub fn name(&self) -> String {
        format!("{}#{}", self.relay, self.number)
    }
}

impl Tap {
    /// Begins to listen for connections to the relay of this name, which itself listens at `upstream` or soon will.
    /// Returns the address to which peers are to connect.
    #[track_caller]
    pub fn before(&mut self, relay: &str, upstream: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let (shared, relay) = (Arc::clone(&self.shared), relay.to_owned());
        let accept = move || {
            for (number, client) in listener.incoming().enumerate() {
                if shared.stop.load(Ordering::Relaxed) {
                    break;
                }
                // Where the relay is dead, the peer finds a closed connection, as it should.
                if let Ok(client) = client
                    && let Ok(wire) = Wire::connect(&relay, number, client, upstream)
                {
                    let wire = Arc::new(wire);
                    lock(&shared.wires).push(Arc::clone(&wire));
                    Wire::carry(&wire);
                }
            }
        };
        self.listeners.push((address, thread::spawn(accept)));
        address
    }

    /// Everything that was recorded until now.
    pub fn recordings(&self) -> Vec<Recording> {
        let copy = |wire: &Arc<Wire>| Recording {
            relay: wire.relay.clone(),
            number: wire.number,
            initiator: wire.initiator,
            to_relay: lock(&wire.to_relay).clone(),
            from_relay: lock(&wire.from_relay).clone(),
        };
        lock(&self.shared.wires).iter().map(copy).collect()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for (address, thread) in self.listeners.drain(..) {
            // Wakes the listener, which then sees that it is to stop.
            drop(TcpStream::connect(address));
            let _ = thread.join();
        }
        for wire in lock(&self.shared.wires).drain(..) {
            wire.close();
        }
    }
}

impl Wire {
    fn connect(relay: &str, number: usize, client: TcpStream, upstream: SocketAddr) -> io::Result<Self> {
        let initiator = owner(client.peer_addr()?, client.local_addr()?);
        let server = match upstream.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => TcpStream::connect((Ipv4Addr::LOCALHOST, upstream.port()))?,
            _ => TcpStream::connect(upstream)?,
        };
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        Ok(Self {
            relay: relay.to_owned(),
            number,
            initiator,
            sockets: [client, server],
            to_relay: Mutex::default(),
            from_relay: Mutex::default(),
        })
    }

    /// Moves bytes both ways on threads that end with the connection.
    fn carry(wire: &Arc<Self>) {
        let way = |wire: &Arc<Self>, forward: bool| {
            let wire = Arc::clone(wire);
            thread::spawn(move || {
                let [client, server] = &wire.sockets;
                let _ = match forward {
                    true => copy(client, server, &wire.to_relay),
                    false => copy(server, client, &wire.from_relay),
                };
            });
        };
        way(wire, true);
        way(wire, false);
    }

    fn close(&self) {
        for socket in &self.sockets {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// Moves bytes one way until its end; each is on record before it goes on.
fn copy(mut from: &TcpStream, mut to: &TcpStream, record: &Mutex<Vec<u8>>) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let result = loop {
        match from.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(length) => {
                lock(record).extend_from_slice(&buffer[..length]);
                if let Err(error) = to.write_all(&buffer[..length]) {
                    break Err(error);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    // An end is passed on as an end; anything else, a reset for one, ends both ways.
    let _ = to.shutdown(if result.is_ok() { Shutdown::Write } else { Shutdown::Both });
    let _ = from.shutdown(if result.is_ok() { Shutdown::Read } else { Shutdown::Both });
    result
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
