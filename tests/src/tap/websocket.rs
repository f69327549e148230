//! From bytes to WebSocket messages, masking undone (RFC 6455).

use std::fmt;

/// One direction of a connection after the upgrade.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Messages {
    /// The head of the HTTP request or answer, without the empty line.
    pub head: String,
    /// All whole messages, control frames among them, in their order.
    pub messages: Vec<Message>,
}

/// A message, or a control frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// Its payload, unmasked and put together.
    pub payload: Vec<u8>,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Opcode 1.
    Text,
    /// Opcode 2.
    Binary,
    /// Opcode 8.
    Close,
    /// Opcode 9.
    Ping,
    /// Opcode 10.
    Pong,
}

/// The side that sent the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Opened the connection; must mask.
    Client,
    /// Accepted it; must not.
    Server,
}

/// Why bytes are no WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoWebSocket {
    /// There is not even a whole HTTP head.
    NoHead,
    /// The HTTP head asks for, or grants, no upgrade to WebSocket.
    NoUpgrade(String),
    /// An extension was agreed that changes what bytes mean.
    Extension(String),
    /// Reserved bits are set.
    ReservedBits(u8),
    /// No such opcode.
    Opcode(u8),
    /// A client that does not mask, or a server that does.
    Masking(Side),
    /// Fragments in an order that makes no sense.
    Fragments,
}

impl fmt::Display for NoWebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHead => f.write_str("no whole HTTP head"),
            Self::NoUpgrade(line) => write!(f, "no upgrade to WebSocket: {line}"),
            Self::Extension(line) => write!(f, "an extension: {line}"),
            Self::ReservedBits(byte) => write!(f, "reserved bits in a frame that begins with {byte:#04x}"),
            Self::Opcode(code) => write!(f, "opcode {code}"),
            Self::Masking(side) => write!(f, "wrong masking by the {side:?}"),
            Self::Fragments => f.write_str("fragments out of order"),
        }
    }
}

/// Reads one direction of a connection. A frame whose end was not recorded is left out.
pub fn read(side: Side, bytes: &[u8]) -> Result<Messages, NoWebSocket> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or(NoWebSocket::NoHead)?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    check_head(side, &head)?;
    let mut frames = Frames { side, rest: &bytes[end + 4..] };
    let mut messages = Vec::new();
    let mut open: Option<Message> = None;
    while let Some(frame) = frames.next()? {
        match (frame.opcode, &mut open) {
            (0, Some(message)) => {
                message.payload.extend(frame.payload);
                if frame.last {
                    messages.extend(open.take());
                }
            }
            (0, None) | (1 | 2, Some(_)) => return Err(NoWebSocket::Fragments),
            (code, _) => {
                let message = Message { kind: kind(code)?, payload: frame.payload };
                if frame.last {
                    messages.push(message);
                } else if code < 8 {
                    open = Some(message);
                } else {
                    return Err(NoWebSocket::Fragments);
                }
            }
        }
    }
    Ok(Messages { head, messages })
}

fn check_head(side: Side, head: &str) -> Result<(), NoWebSocket> {
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    let header = |name: &str| {
        let mut headers = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        headers.find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    let asks = header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    let granted = side == Side::Client || first.split(' ').nth(1) == Some("101");
    if !asks || !granted {
        return Err(NoWebSocket::NoUpgrade(first.to_owned()));
    }
    // Browsers offer extensions with every request; what counts is what the server takes.
    match header("sec-websocket-extensions") {
        Some(extension) if side == Side::Server => Err(NoWebSocket::Extension(extension)),
        _ => Ok(()),
    }
}

fn kind(opcode: u8) -> Result<Kind, NoWebSocket> {
    match opcode {
        1 => Ok(Kind::Text),
        2 => Ok(Kind::Binary),
        8 => Ok(Kind::Close),
        9 => Ok(Kind::Ping),
        10 => Ok(Kind::Pong),
        _ => Err(NoWebSocket::Opcode(opcode)),
    }
}

struct Frame {
    last: bool,
    opcode: u8,
    payload: Vec<u8>,
}

struct Frames<'a> {
    side: Side,
    rest: &'a [u8],
}

impl Frames<'_> {
    /// The next whole frame; nothing when there is none any more.
    fn next(&mut self) -> Result<Option<Frame>, NoWebSocket> {
        let &[first, second, ref rest @ ..] = self.rest else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(NoWebSocket::ReservedBits(first));
        }
        let masked = second & 0x80 != 0;
        if masked != (self.side == Side::Client) {
            return Err(NoWebSocket::Masking(self.side));
        }
        let mut rest = rest;
        let length = match second & 0x7f {
            126 => take::<2>(&mut rest).map(|bytes| u64::from(u16::from_be_bytes(bytes))),
            127 => take::<8>(&mut rest).map(u64::from_be_bytes),
            length => Some(u64::from(length)),
        };
        let mask = if masked { take::<4>(&mut rest) } else { Some([0; 4]) };
        let (Some(length), Some(mask)) = (length, mask) else { return Ok(None) };
        let Some((payload, rest)) = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length))
        else {
            return Ok(None);
        };
        let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        self.rest = rest;
        Ok(Some(Frame { last: first & 0x80 != 0, opcode: first & 0x0f, payload }))
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"GET /link HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
    const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\n\r\n";

    fn client(frames: &[u8]) -> Result<Vec<Message>, NoWebSocket> {
        read(Side::Client, &[REQUEST, frames].concat()).map(|read| read.messages)
    }

    fn server(frames: &[u8]) -> Result<Vec<Message>, NoWebSocket> {
        read(Side::Server, &[ANSWER, frames].concat()).map(|read| read.messages)
    }

    fn message(kind: Kind, payload: &[u8]) -> Message {
        Message { kind, payload: payload.to_vec() }
    }

    /// The examples of RFC 6455, section 5.7.
    #[test]
    fn the_standards_examples_are_read() {
        let hello = message(Kind::Text, b"Hello");
        assert_eq!(server(b"\x81\x05Hello"), Ok(vec![hello.clone()]));
        let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(client(&masked), Ok(vec![hello.clone()]));
        assert_eq!(
            server(b"\x01\x03Hel\x89\x05Hello\x80\x02lo").unwrap(),
            [message(Kind::Ping, b"Hello"), hello],
            "a control frame may stand between fragments"
        );
        let long = [&[0x82, 0x7e, 0x01, 0x00][..], &[7; 256]].concat();
        assert_eq!(server(&long).unwrap(), [message(Kind::Binary, &[7; 256])]);
        let longer = [&[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0][..], &[7; 65536]].concat();
        assert_eq!(server(&longer).unwrap(), [message(Kind::Binary, &[7; 65536])]);
    }

    #[test]
    fn what_was_cut_off_is_left_out() {
        let whole = b"\x82\x05Hello\x82\x7e\x00\x06World!";
        for cut in 0..whole.len() {
            let count = usize::from(cut >= 7);
            assert_eq!(server(&whole[..cut]).unwrap().len(), count, "after {cut} bytes");
        }
        assert_eq!(read(Side::Client, &REQUEST[..20]), Err(NoWebSocket::NoHead));
    }

    #[test]
    fn what_is_no_websocket_is_refused() {
        let http = b"GET /directory HTTP/1.1\r\nHost: a\r\n\r\n";
        assert!(matches!(read(Side::Client, http), Err(NoWebSocket::NoUpgrade(_))));
        let refused = b"HTTP/1.1 400 Bad Request\r\nupgrade: websocket\r\n\r\n";
        assert!(matches!(read(Side::Server, refused), Err(NoWebSocket::NoUpgrade(_))));
        let zipped = b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
        assert!(matches!(read(Side::Server, zipped), Err(NoWebSocket::Extension(_))));
        assert_eq!(client(b"\x82\x01a"), Err(NoWebSocket::Masking(Side::Client)));
        assert_eq!(server(b"\x82\x81aaaab"), Err(NoWebSocket::Masking(Side::Server)));
        assert_eq!(server(b"\xc2\x01a"), Err(NoWebSocket::ReservedBits(0xc2)));
        assert_eq!(server(b"\x83\x01a"), Err(NoWebSocket::Opcode(3)));
        assert_eq!(server(b"\x80\x01a"), Err(NoWebSocket::Fragments));
        assert_eq!(server(b"\x02\x01a\x82\x01b"), Err(NoWebSocket::Fragments));
        assert_eq!(server(b"\x09\x01a"), Err(NoWebSocket::Fragments));
    }
}
