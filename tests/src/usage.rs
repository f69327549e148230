//! What a process uses, as Linux counts it.

use std::fs;
use std::time::Duration;

/// The time that all threads of a process have spent on a processor, to the nanosecond.
#[track_caller]
pub fn cpu_time(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let spent = threads.flatten().filter_map(|thread| {
        // Of a thread that has just ended nothing is left to read.
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}

/// The memory of a process that is in RAM, in bytes.
#[track_caller]
pub fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the system counts memory");
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().expect("a number of KiB");
    kib * 1024
}
