//! One set-up at a time.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::step::{StepError, Steps};

/// Holds the lock `name` until the returned file is dropped; waits, and says so, while another process holds it.
pub fn acquire(steps: &Steps, cache: &Path, name: &str) -> Result<File, StepError> {
    fs::create_dir_all(cache).map_err(StepError::file(cache))?;
    let path = cache.join(format!("{name}.lock"));
    let file = File::create(&path).map_err(StepError::file(&path))?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(source)) => return Err(StepError::file(path)(source)),
        }
        if !told {
            steps.note(format!("  wait  another set-up is at work ({})", path.display()));
            told = true;
        }
        if steps.ended() {
            return Err(StepError::Interrupted);
        }
        thread::sleep(Duration::from_millis(200));
    }
}
