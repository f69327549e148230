//! As much of HTTP as an authority that lies needs.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use allium_shared::netdir::RelayDescriptor;

use super::{Lie, State};

/// How long a peer may take for each step.
const PATIENCE: Duration = Duration::from_secs(5);

const MAX_HEAD_LEN: usize = 16 * 1024;
const MAX_BODY_LEN: usize = 64 * 1024;

/// What is answered.
pub(super) enum Answer {
    /// A document.
    Document(Vec<u8>),
    /// More than anybody takes.
    Endless,
    /// There is no such document.
    Nothing,
}

struct Request {
    method: String,
    path: String,
    body: Vec<u8>,
}

impl State {
    pub(super) fn serve(self: Arc<Self>, listener: &TcpListener, door: usize) {
        for stream in listener.incoming() {
            if self.ended.load(Ordering::Relaxed) {
                return;
            }
            let Ok(stream) = stream else { continue };
            let state = Arc::clone(&self);
            // Whoever hangs up on a lie has done nothing wrong.
            thread::spawn(move || drop(state.answer(stream, door)));
        }
    }

    fn answer(&self, mut stream: TcpStream, door: usize) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let request = read(&mut stream)?;
        let answer = match request.method.as_str() {
            "POST" => self.take(&request),
            _ => self.show(&request.path, door),
        };
        match answer {
            Answer::Document(body) => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                stream.write_all(&[head.as_bytes(), &body].concat())
            }
            Answer::Endless => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\nConnection: close\r\n\r\n")?;
                let zeros = vec![0; 1 << 20];
                while !self.ended.load(Ordering::Relaxed) {
                    stream.write_all(&zeros)?;
                }
                Ok(())
            }
            Answer::Nothing => {
                stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            }
        }
    }

    /// Keeps a descriptor.
    fn take(&self, request: &Request) -> Answer {
        let mut work = self.work();
        let network = work.authorities.as_ref().map(|authorities| *authorities.network());
        let descriptor = network.and_then(|network| RelayDescriptor::verify(&request.body, &network).ok());
        match descriptor {
            Some(descriptor) if request.path == "/directory/descriptor" => {
                work.descriptors.insert(descriptor.entry.identity, request.body.clone());
                Answer::Document(Vec::new())
            }
            _ => Answer::Nothing,
        }
    }

    fn show(&self, path: &str, door: usize) -> Answer {
        let Some(rest) = path.strip_prefix("/directory/") else { return Answer::Nothing };
        let (what, rest) = rest.split_once('/').unwrap_or((rest, ""));
        let what = match what {
            "authorities" => return self.authorities(),
            "consensus" => "consensus",
            "echoes" => "echoes",
            "vote" => "vote",
            "signatures" => "signatures",
            _ => return Answer::Nothing,
        };
        let lie = self.work().lie.clone();
        let answer = match (lie, what) {
            (Lie::Garbage, _) => Answer::Document(b"\0\x01you will not like this".repeat(40)),
            (Lie::Huge, _) => Answer::Endless,
            (_, "consensus") => self.old_consensus(),
            (lie, _) => {
                let (at, digest) = rest.split_once('/').unwrap_or((rest, ""));
                match (at.parse(), what) {
                    (Ok(at), "echoes") => self.echoes(&lie, at, door),
                    (Ok(at), "vote") => self.vote(&lie, at, digest),
                    (Ok(at), _) => self.signatures(&lie, at),
                    (Err(_), _) => Answer::Nothing,
                }
            }
        };
        if !matches!(answer, Answer::Nothing) {
            self.work().asked.insert((door, what));
        }
        answer
    }
}

fn read(stream: &mut TcpStream) -> io::Result<Request> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        let count = stream.read(&mut chunk)?;
        if count == 0 || bytes.len() > MAX_HEAD_LEN {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&chunk[..count]);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut words = head.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = bytes.split_off(end);
    let length = length.unwrap_or(0).min(MAX_BODY_LEN);
    let have = body.len().min(length);
    body.resize(length, 0);
    stream.read_exact(&mut body[have..])?;
    Ok(Request { method, path, body })
}
