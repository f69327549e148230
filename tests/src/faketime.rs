//! A clock for a process that is not the machine's, and can be set while the process runs: by libfaketime.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The clock of a process.
#[derive(Clone, Debug)]
pub struct FakeClock {
    library: PathBuf,
    file: PathBuf,
}

impl FakeClock {
    /// A clock that is so many seconds ahead of the machine's. What it says is kept in `file`.
    ///
    /// # Errors
    ///
    /// What is missing, for people.
    pub fn new(file: &Path, ahead: i64) -> Result<Self, String> {
        let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
        let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
        let library =
            libraries.find(|path| path.is_file()).ok_or("there is no libfaketime; Debian's package has it")?;
        let clock = Self { library, file: file.to_owned() };
        clock.set(ahead);
        Ok(clock)
    }

    /// Sets it to so many seconds ahead of the machine's.
    #[track_caller]
    pub fn set(&self, ahead: i64) {
        let next = self.file.with_extension("next");
        fs::write(&next, format!("{ahead:+}s\n")).expect("the folder can be written");
        fs::rename(&next, &self.file).expect("the folder can be written");
    }

    /// Has a program go by it. Time that passes is the machine's, as when a clock is set.
    pub fn give_to(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", &self.file);
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_NO_CACHE", "1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer;

    #[test]
    fn a_program_goes_by_the_clock_it_is_given() {
        let folder = tempfile::tempdir().unwrap();
        let clock = match FakeClock::new(&folder.path().join("clock"), -86_400) {
            Ok(clock) => clock,
            Err(reason) => return eprintln!("SKIPPED: {reason}"),
        };
        let ahead = || {
            let mut command = Command::new("date");
            clock.give_to(command.arg("+%s"));
            let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
            output.trim().parse::<i64>().unwrap() - i64::try_from(peer::now().as_secs()).unwrap()
        };
        assert!((-86_401..=-86_399).contains(&ahead()));
        clock.set(30);
        assert!((29..=31).contains(&ahead()));
    }
}
