//! Network namespaces of Linux: machines of their own as far as the network goes, with wires that can be cut.
//!
//! Each has one interface, wired to a switch that is a bridge in a namespace of its own. All addresses are in 10.0.0.0/8, and
//! nothing of it can be reached from outside. It takes root and `ip` of iproute2.

use std::fs::File;
use std::net::Ipv4Addr;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns};
use nix::unistd::Uid;

use crate::process;

/// What the names of all namespaces of tests begin with; then follows the process id.
const PREFIX: &str = "allium-test-";

/// A switch, and the namespaces that are wired to it. All of it is gone with this value.
#[derive(Debug)]
pub struct Switch {
    prefix: String,
    machines: Mutex<u32>,
}

impl Switch {
    /// Sets up a switch; where that is not possible, says why.
    ///
    /// # Errors
    ///
    /// What is missing, for people.
    pub fn new() -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !Uid::effective().is_root() {
            return Err("network namespaces take root".to_owned());
        }
        sweep();
        // Who else runs tests has other names.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let switch = Self { prefix: format!("{PREFIX}{}-{number}-", std::process::id()), machines: Mutex::new(0) };
        let hub = switch.hub();
        switch.try_ip(&["netns", "add", &hub])?;
        switch.try_ip(&["-n", &hub, "link", "add", "br0", "type", "bridge"])?;
        switch.try_ip(&["-n", &hub, "link", "set", "br0", "up"])?;
        Ok(switch)
    }

    /// Adds a namespace with this address, and gives its name.
    #[track_caller]
    pub fn add(&self, ip: Ipv4Addr) -> String {
        let number = {
            let mut machines = self.machines.lock().expect("no test has panicked in there");
            *machines += 1;
            *machines
        };
        let (namespace, hub, port) = (format!("{}{number}", self.prefix), self.hub(), format!("port{number}"));
        self.ip(&["netns", "add", &namespace]);
        self.ip(&["-n", &hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &namespace]);
        self.ip(&["-n", &hub, "link", "set", &port, "master", "br0", "up"]);
        self.ip(&["-n", &namespace, "addr", "add", &format!("{ip}/8"), "dev", "eth0"]);
        self.ip(&["-n", &namespace, "link", "set", "lo", "up"]);
        self.ip(&["-n", &namespace, "link", "set", "eth0", "up"]);
        namespace
    }

    /// Cuts the wire of a namespace.
    #[track_caller]
    pub fn cut(&self, namespace: &str) {
        self.ip(&["-n", &self.hub(), "link", "set", &self.port(namespace), "down"]);
    }

    /// Mends the wire of a namespace.
    #[track_caller]
    pub fn mend(&self, namespace: &str) {
        self.ip(&["-n", &self.hub(), "link", "set", &self.port(namespace), "up"]);
    }

    fn hub(&self) -> String {
        format!("{}hub", self.prefix)
    }

    #[track_caller]
    fn port(&self, namespace: &str) -> String {
        let number = namespace.strip_prefix(&self.prefix).expect("a namespace of this switch");
        format!("port{number}")
    }

    #[track_caller]
    fn ip(&self, arguments: &[&str]) {
        self.try_ip(arguments).unwrap_or_else(|error| panic!("{error}"));
    }

    fn try_ip(&self, arguments: &[&str]) -> Result<Output, String> {
        let command = format!("ip {}", arguments.join(" "));
        match Command::new("ip").args(arguments).output() {
            Ok(output) if output.status.success() => Ok(output),
            Ok(output) => Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Err(format!("{command}: {error}; it is in Debian's package iproute2")),
        }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let machines = self.machines.get_mut().map_or_else(|error| *error.into_inner(), |machines| *machines);
        let namespaces = (1..=machines).map(|number| format!("{}{number}", self.prefix)).chain([self.hub()]);
        for namespace in namespaces {
            // A namespace lives on while a process is in it; what is dropped before this has ended those.
            if let Err(error) = self.try_ip(&["netns", "del", &namespace]) {
                eprintln!("{error}");
            }
        }
    }
}

/// Removes what tests have left that were killed themselves: namespaces with the process id of nobody.
fn sweep() {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse().ok());
        if pid.is_some_and(|pid| !process::runs(pid)) {
            // Somebody else may be sweeping too.
            let _ = Command::new("ip").args(["netns", "del", &name]).output();
        }
    }
}

/// Does something inside a namespace: sockets that are opened there are its own.
///
/// On a thread of its own, because a thread that has entered a namespace would stay in it.
#[track_caller]
pub fn inside<T: Send>(namespace: &str, act: impl FnOnce() -> T + Send) -> T {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap_or_else(|error| panic!("{namespace}: {error}"));
    let acted = thread::scope(|scope| {
        let entered = scope.spawn(move || {
            setns(file, CloneFlags::CLONE_NEWNET).expect("root may enter a namespace");
            act()
        });
        entered.join()
    });
    acted.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use super::*;
    use crate::wait;

    #[test]
    fn a_wire_can_be_cut_and_mended_and_nothing_is_left() {
        let switch = match Switch::new() {
            Ok(switch) => switch,
            Err(reason) => return eprintln!("SKIPPED: {reason}"),
        };
        let (there, here) = (switch.add([10, 1, 0, 1].into()), switch.add([10, 2, 0, 1].into()));
        let listener = inside(&there, || TcpListener::bind("10.1.0.1:7000").unwrap());
        let connects = || {
            let address = "10.1.0.1:7000".parse().unwrap();
            inside(&here, || TcpStream::connect_timeout(&address, Duration::from_millis(300)).is_ok())
        };
        wait::until(Duration::from_secs(5), "the switch", || connects().then_some(()));
        switch.cut(&there);
        assert!(!connects());
        switch.mend(&there);
        wait::until(Duration::from_secs(10), "the wire", || connects().then_some(()));
        drop(listener);
        let prefix = switch.prefix.clone();
        drop(switch);
        let left = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
        assert!(left.into_iter().all(|entry| !entry.file_name().to_string_lossy().starts_with(&prefix)));
    }
}
