//! A web server at one address whose answers come from another server, which can be changed: to a browser it is one origin all
//! the time, whoever is behind it.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behind {
    /// The server at this port of this machine.
    Port(u16),
    /// The same, but nobody at addresses that begin so.
    PortBut(u16, &'static str),
}

/// The address. It serves requests without a body, as those of a browser for a page are.
#[derive(Debug)]
pub struct Origin {
    port: u16,
    behind: Arc<Mutex<Behind>>,
}

impl Origin {
    /// Opens an address.
    #[track_caller]
    pub fn open(behind: Behind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let port = listener.local_addr().expect("it has an address").port();
        let behind = Arc::new(Mutex::new(behind));
        let shared = Arc::clone(&behind);
        // Ends with the tests: whoever still asks gets his answers.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let behind = Arc::clone(&shared);
                thread::spawn(move || serve(&stream, &behind));
            }
        });
        Self { port, behind }
    }

    /// The address of its page.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// From now on the answers come from there.
    pub fn set(&self, behind: Behind) {
        *self.behind.lock().unwrap_or_else(PoisonError::into_inner) = behind;
    }
}

/// Answers one request, and closes the connection. A connection that breaks is an answer too.
fn serve(stream: &TcpStream, behind: &Mutex<Behind>) -> Option<()> {
    let (mut head, mut path) = (String::new(), String::new());
    for line in BufReader::new(stream).lines() {
        let line = line.ok()?;
        if path.is_empty() {
            line.split(' ').nth(1)?.clone_into(&mut path);
        }
        if line.is_empty() {
            break;
        }
        if !line.to_ascii_lowercase().starts_with("connection:") {
            head += &line;
            head += "\r\n";
        }
    }
    let behind = behind.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let port = match behind {
        Behind::PortBut(_, nobody) if path.starts_with(nobody) => return None,
        Behind::Port(port) | Behind::PortBut(port, _) => port,
    };
    let mut server = TcpStream::connect(("127.0.0.1", port)).ok()?;
    server.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).ok()?;
    io::copy(&mut server, &mut &*stream).ok()?;
    stream.shutdown(Shutdown::Write).ok()
}
