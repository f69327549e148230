//! Ctrl-C and SIGTERM, and children that end with their parent.

use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// How long a child may take to end after SIGTERM. The local network promises five seconds.
const GRACE: Duration = Duration::from_secs(10);

/// The longest pause between two looks at a child.
const PAUSE: Duration = Duration::from_millis(50);

/// The handler for signals could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot handle Ctrl-C: {0}")]
pub struct InstallError(#[from] ctrlc::Error);

/// Why a child did not end by itself.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The person asked for the end, or another step of the same chore has failed.
    #[error("interrupted")]
    Interrupted,
    /// The time limit has passed.
    #[error("not done within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The system does not say how the child is.
    #[error("cannot wait for the process: {0}")]
    Io(#[from] std::io::Error),
}

/// Makes SIGINT, SIGTERM and SIGHUP a request that [`requested`] shows, from now on.
pub fn install() -> Result<(), InstallError> {
    ctrlc::set_handler(|| REQUESTED.store(true, Ordering::Relaxed))?;
    Ok(())
}

/// Whether a signal has asked this process to end.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Waits until `child` ends, `cancelled` says that it should, or `limit` has passed; in the last two cases the child
/// is ended first.
pub fn wait(child: &mut Child, limit: Option<Duration>, cancelled: impl Fn() -> bool) -> Result<ExitStatus, WaitError> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if requested() || cancelled() {
            terminate(child)?;
            return Err(WaitError::Interrupted);
        }
        if let Some(limit) = limit.filter(|limit| start.elapsed() >= *limit) {
            terminate(child)?;
            return Err(WaitError::TimedOut(limit));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE);
    }
}

/// Ends `child`: by SIGTERM, and by SIGKILL when that does not help.
pub fn terminate(child: &mut Child) -> std::io::Result<()> {
    if let Ok(pid) = i32::try_from(child.id()) {
        // It may have ended by itself in this moment; the loop below sees that.
        let _ = signal::kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() >= GRACE {
            child.kill()?;
            child.wait()?;
            break;
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").spawn().unwrap()
    }

    #[test]
    fn a_child_that_ends_gives_its_status() {
        let mut child = Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap();
        assert_eq!(wait(&mut child, None, || false).unwrap().code(), Some(3));
    }

    #[test]
    fn a_time_limit_ends_the_child() {
        let mut child = sleeper();
        let outcome = wait(&mut child, Some(Duration::from_millis(20)), || false);
        assert!(matches!(outcome, Err(WaitError::TimedOut(_))), "{outcome:?}");
        assert!(child.try_wait().unwrap().is_some());
    }

    #[test]
    fn a_cancelled_chore_ends_the_child() {
        let mut child = sleeper();
        assert!(matches!(wait(&mut child, None, || true), Err(WaitError::Interrupted)));
        assert!(child.try_wait().unwrap().is_some());
    }
}
