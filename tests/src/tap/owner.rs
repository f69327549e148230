//! Which process opened a connection, as the system knows it: no word of the protocol is taken for it.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::process;

/// The process that holds the socket `near`, connected to `far`; both are on this machine.
pub(super) fn owner(near: SocketAddr, far: SocketAddr) -> Option<u32> {
    let socket = format!("socket:[{}]", inode(near, far)?);
    process::all().into_iter().find(|pid| holds(*pid, &socket))
}

/// The number of a connection's near socket, from the system's table.
fn inode(near: SocketAddr, far: SocketAddr) -> Option<u64> {
    let (near, far) = (table_form(near)?, table_form(far)?);
    fs::read_to_string("/proc/net/tcp").ok()?.lines().find_map(|line| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let same = columns.next() == Some(&near) && columns.next() == Some(&far);
        // Then come the state, queues, timers, retransmissions, the user and the timeout.
        if same { columns.nth(6)?.parse().ok() } else { None }
    })
}

/// An address as the table has it: the IP address as the machine's own number, in hexadecimal.
fn table_form(address: SocketAddr) -> Option<String> {
    match address.ip() {
        IpAddr::V4(ip) => Some(format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port())),
        IpAddr::V6(_) => None,
    }
}

fn holds(pid: u32, socket: &str) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    entries.flatten().any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == Path::new(socket)))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_has_an_owner() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (near, far) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        assert_eq!(owner(near, far), Some(std::process::id()));
        drop((client, listener));
        assert_eq!(owner(near, far), None);
    }
}
