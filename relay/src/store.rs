//! The native client's disk: the engine's records in one redb file.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread::JoinHandle;

use allium_shared::client::api::{BatchId, Write};
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use thiserror::Error;
use tokio::sync::mpsc;

use crate::files;

const FILE: &str = "profile.redb";
const FRESH_FILE: &str = "profile.redb.new";
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");

/// Why a profile cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The folder or file cannot be made or read.
    #[error("cannot use the profile's folder: {0}")]
    Io(#[from] io::Error),
    /// Another process uses the profile.
    #[error("another Allium is using this profile; end it first, or name another folder with --profile")]
    InUse,
    /// The file cannot be read or written.
    #[error("cannot use the profile's file: {0}")]
    Database(#[source] Box<redb::Error>),
}

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
    /// If the folder or the file cannot be used, or another process uses it.
    pub fn open(
        folder: &Path,
        done: impl Fn(Result<BatchId, StoreError>) + Send + 'static,
    ) -> Result<(Self, Records), StoreError> {
        files::create_private_dir(folder)?;
        let path = folder.join(FILE);
        if !path.exists() {
            // A file that a kill leaves half made could never be opened again, so it gets its name when it is whole.
            let fresh = folder.join(FRESH_FILE);
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&fresh)?;
            write(&Database::create(&fresh).map_err(database)?, [])?;
            fs::rename(&fresh, &path)?;
            files::sync_dir(folder)?;
        }
        let database = Database::create(&path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => StoreError::InUse,
            error => self::database(error),
        })?;
        let records = load(&database)?;
        let (batches, mut queue) = mpsc::unbounded_channel::<(BatchId, Vec<Write>)>();
        let writer = std::thread::Builder::new().name("store".to_owned()).spawn(move || {
            while let Some(first) = queue.blocking_recv() {
                // What has queued up meanwhile shares one sync of the disk.
                let mut group = vec![first];
                while let Ok(next) = queue.try_recv() {
                    group.push(next);
                }
                let Some(last) = group.last().map(|(batch, _)| *batch) else { continue };
                let written = write(&database, group.into_iter().flat_map(|(_, writes)| writes));
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

fn load(database: &Database) -> Result<Records, StoreError> {
    let transaction = database.begin_read().map_err(self::database)?;
    let table = transaction.open_table(RECORDS).map_err(self::database)?;
    let mut records = Vec::new();
    for record in table.iter().map_err(self::database)? {
        let (key, value) = record.map_err(self::database)?;
        records.push((key.value().to_owned(), value.value().to_owned()));
    }
    Ok(records)
}

fn write(database: &Database, writes: impl IntoIterator<Item = Write>) -> Result<(), StoreError> {
    // Transactions are synced to the disk by default.
    let transaction = database.begin_write().map_err(self::database)?;
    {
        let mut table = transaction.open_table(RECORDS).map_err(self::database)?;
        for Write { key, value } in writes {
            match value {
                Some(value) => table.insert(key.as_str(), value.as_slice()).map_err(self::database)?,
                None => table.remove(key.as_str()).map_err(self::database)?,
            };
        }
    }
    transaction.commit().map_err(self::database)
}

fn database(error: impl Into<redb::Error>) -> StoreError {
    StoreError::Database(Box::new(error.into()))
}

#[cfg(test)]
mod tests;
