//! Threads that answer the handshakes of circuits, so that no link has to wait for a handshake of another.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use allium_shared::relay::handshakes::{Answered, HandshakeQueue, Request};

use crate::link_handle::{Item, LinkHandle};
use crate::random;

/// Handshakes that may wait at a relay, over all links, each of which may have a few only: 22 MB.
const MAX_WAITING: usize = 16_384;

/// The threads of one relay; they end when this is dropped, which is when the last link has ended.
#[derive(Debug)]
pub(crate) struct Handshakes {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug)]
struct State {
    queue: HandshakeQueue<u64, LinkHandle>,
    ended: bool,
}

impl Handshakes {
    /// Starts as many threads as half of the machine's cores: the other half is left to cells.
    pub(crate) fn start() -> io::Result<Self> {
        let state = State { queue: HandshakeQueue::new(MAX_WAITING), ended: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), wake: Condvar::new() });
        let handshakes = Self { shared };
        let threads = thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
        for _ in 0..threads {
            let shared = Arc::clone(&handshakes.shared);
            let rng = random::rng()?;
            thread::Builder::new().name("handshakes".to_owned()).spawn(move || shared.work(rng))?;
        }
        Ok(handshakes)
    }

    /// Has a handshake answered; its link hears of it.
    pub(crate) fn push(&self, request: Request<LinkHandle>) {
        let link = request.link().id();
        match self.shared.lock().queue.push(link, request) {
            Ok(()) => self.shared.wake.notify_one(),
            Err(request) => send(request.refuse()),
        }
    }

    /// A link is gone, and with it whoever waits for its answers.
    pub(crate) fn forget(&self, link: &LinkHandle) {
        self.shared.lock().queue.forget(&link.id());
    }
}

impl Drop for Handshakes {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, mut rng: rand_chacha::ChaCha20Rng) {
        loop {
            let mut state = self.lock();
            let request = loop {
                if state.ended {
                    return;
                }
                match state.queue.pop() {
                    Some(request) => break request,
                    None => state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(state);
            send(request.answer(&mut rng));
        }
    }
}

fn send((link, answered): (LinkHandle, Answered)) {
    // When the link is gone, nobody waits for the answer.
    let _ = link.send(Item::LinkEvent(Box::new(answered.into())));
}
