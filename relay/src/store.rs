//! The native client's disk: writes to its profile in a thread of their own.

use std::path::Path;
use std::thread::JoinHandle;

use allium_shared::client::api::{BatchId, Write};
use tokio::sync::mpsc;

use crate::profile::passphrase::Passphrase;
use crate::profile::{Profile, ProfileError};

/// All records that a profile holds, with their keys.
pub type Records = Vec<(String, Vec<u8>)>;

/// Writes batches in their order, each durable before it is reported.
#[derive(Debug)]
pub struct Store {
    batches: Option<mpsc::UnboundedSender<(BatchId, Vec<Write>)>>,
    writer: Option<JoinHandle<()>>,
}

impl Store {
    /// Opens the profile in a folder, or makes it; gives it with all that it holds.
    ///
    /// `done` gets the last batch of each group that has become durable, or the error after which nothing is written any
    /// more.
    ///
    /// # Errors
    ///
    /// If the profile cannot be used, or its passphrase is wrong.
    pub fn open(
        folder: &Path,
        passphrase: &Passphrase,
        done: impl Fn(Result<BatchId, ProfileError>) + Send + 'static,
    ) -> Result<(Self, Records), ProfileError> {
        let mut profile = Profile::open(folder, passphrase)?;
        let records = profile.load()?;
        let (batches, mut queue) = mpsc::unbounded_channel::<(BatchId, Vec<Write>)>();
        let writer = std::thread::Builder::new().name("store".to_owned()).spawn(move || {
            while let Some(first) = queue.blocking_recv() {
                // What has queued up meanwhile shares one sync of the disk.
                let mut group = vec![first];
                while let Ok(next) = queue.try_recv() {
                    group.push(next);
                }
                let Some(last) = group.last().map(|(batch, _)| *batch) else { continue };
                let written = profile.write(group.into_iter().flat_map(|(_, writes)| writes));
                let failed = written.is_err();
                done(written.map(|()| last));
                if failed {
                    return;
                }
            }
        })?;
        Ok((Self { batches: Some(batches), writer: Some(writer) }, records))
    }

    /// Writes one batch, atomically; reported by `done` once it survives a crash.
    pub fn write(&self, batch: BatchId, writes: Vec<Write>) {
        if let Some(batches) = &self.batches {
            // Fails only after `done` has been told that nothing is written any more.
            let _ = batches.send((batch, writes));
        }
    }

    /// Waits until all batches are written and reported; takes no more.
    pub fn close(&mut self) {
        drop(self.batches.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
