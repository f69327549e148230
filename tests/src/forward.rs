//! A port that is passed on to another, as a router or an old machine does for one that has moved.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

/// Passes connections on until it is dropped.
#[derive(Debug)]
pub struct Forward {
    port: u16,
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    passed: AtomicUsize,
}

impl Forward {
    /// Passes what comes to one port of 127.0.0.1 on to another one.
    #[track_caller]
    pub fn open(port: u16, to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("nobody is at the old port");
        let shared = Arc::new(Shared::default());
        let listening = thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for stream in listener.incoming().flatten() {
                    if shared.ended.load(Ordering::SeqCst) {
                        return;
                    }
                    shared.passed.fetch_add(1, Ordering::SeqCst);
                    thread::spawn(move || pass(stream, to));
                }
            }
        });
        Self { port, shared, listening: Some(listening) }
    }

    /// How many connections were passed on.
    pub fn passed(&self) -> usize {
        self.shared.passed.load(Ordering::SeqCst)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for one more.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

/// Passes bytes on both ways. Connections that break are the business of their ends.
fn pass(stream: TcpStream, to: u16) -> io::Result<()> {
    let there = TcpStream::connect(("127.0.0.1", to))?;
    let back = (there.try_clone()?, stream.try_clone()?);
    let copy = |(mut from, mut to): (TcpStream, TcpStream)| {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    thread::spawn(move || copy(back));
    copy((stream, there));
    Ok(())
}
