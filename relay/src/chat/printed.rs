//! Which messages were printed.
//!
//! The engine is told too, and keeps it in the profile for good; but that takes a sync of the disk, and a program that is
//! killed right after a line was printed would print it again. So each id goes into a file first: what was written survives
//! the program, though not the machine.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use allium_shared::client::api::MessageId;

const FILE: &str = "printed";
const ID_LEN: usize = 16;

/// The file, and what an earlier run has left in it.
#[derive(Debug)]
pub(super) struct Printed {
    file: File,
    earlier: BTreeSet<MessageId>,
    again: Vec<MessageId>,
}

impl Printed {
    /// Reads what an earlier run that was killed has printed last.
    pub(super) fn open(profile: &Path) -> io::Result<Self> {
        let path = profile.join(FILE);
        let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        // A last id that is not whole was never printed: it is written in one go, and after its line.
        let (ids, _) = bytes.as_chunks::<ID_LEN>();
        Ok(Self { file, earlier: ids.iter().copied().map(MessageId).collect(), again: Vec::new() })
    }

    /// Whether an earlier run has printed the message.
    pub(super) fn contains(&self, id: &MessageId) -> bool {
        self.earlier.contains(id)
    }

    /// A message is printed.
    pub(super) fn add(&mut self, id: MessageId) -> io::Result<()> {
        if self.earlier.contains(&id) {
            self.again.push(id);
            return Ok(());
        }
        self.file.write_all(&id.0)
    }

    /// All that an earlier run had left to say was handled: forgets the ids that the profile knew already.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        if self.again.len() < self.earlier.len() {
            self.clear()?;
            for id in std::mem::take(&mut self.again) {
                self.file.write_all(&id.0)?;
            }
        }
        self.earlier.clear();
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_printed_is_known_after_a_kill_and_forgotten_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let ids = [1, 2, 3].map(|n| MessageId([n; ID_LEN]));
        let open = || Printed::open(folder.path()).unwrap();
        let mut printed = open();
        ids.iter().for_each(|id| printed.add(*id).unwrap());
        printed.file.write_all(b"half").unwrap();
        drop(printed);

        let mut printed = open();
        assert!(ids.iter().all(|id| printed.contains(id)));
        // The profile did not know of the third one yet.
        printed.add(ids[2]).unwrap();
        printed.begin().unwrap();
        assert!(!printed.contains(&ids[2]), "from now on ids are new");
        drop(printed);

        let mut printed = open();
        assert_eq!(ids.map(|id| printed.contains(&id)), [false, false, true]);
        printed.begin().unwrap();
        assert!(!open().contains(&ids[2]));
    }
}
