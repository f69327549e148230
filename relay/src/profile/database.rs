//! A profile's records in one redb file, sealed; and those of old, which were not.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use allium_shared::client::api::Write;
use allium_shared::vault::Vault;
use rand_core::CryptoRng;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition, TableHandle as _};

use super::ProfileError;
use crate::files;

pub(super) const FILE: &str = "profile.redb";
const FRESH_FILE: &str = "profile.redb.new";

/// Records by their names, sealed.
const SEALED: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("sealed");

/// Records by their keys, as they lay on the disk before there was a header.
const PLAIN: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");

/// What the file holds when it is opened.
#[derive(Debug)]
pub(super) enum Contents {
    /// There is none yet.
    Nothing,
    /// Records that everybody can read.
    Plain(Database),
    /// Records that the profile's key opens.
    Sealed(Database),
}

/// A profile's records, sealed on the disk.
#[derive(Debug)]
pub(super) struct Records(Database);

impl Contents {
    /// Opens the file in a profile's folder.
    pub(super) fn open(folder: &Path) -> Result<Self, ProfileError> {
        let path = folder.join(FILE);
        if !path.exists() {
            return Ok(Self::Nothing);
        }
        let database = Database::open(&path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => ProfileError::InUse,
            error => self::database(error),
        })?;
        let transaction = database.begin_read().map_err(self::database)?;
        let tables: Vec<String> =
            transaction.list_tables().map_err(self::database)?.map(|table| table.name().to_owned()).collect();
        drop(transaction);
        let has = |name: &str| tables.iter().any(|table| table == name);
        match (has(SEALED.name()), has(PLAIN.name())) {
            (true, false) => Ok(Self::Sealed(database)),
            (false, true) => Ok(Self::Plain(database)),
            _ => Err(ProfileError::Foreign),
        }
    }

    /// Whether only the profile's key opens them.
    pub(super) fn are_sealed(&self) -> bool {
        matches!(self, Self::Sealed(_))
    }

    /// The records, sealed now if they were not.
    pub(super) fn seal<R: CryptoRng>(self, folder: &Path, vault: &Vault, rng: &mut R) -> Result<Records, ProfileError> {
        let plain = match self {
            Self::Sealed(database) => return Ok(Records(database)),
            Self::Nothing => Vec::new(),
            Self::Plain(database) => load_plain(&database)?,
        };
        // A file that a kill leaves half made could never be opened again, so it gets its name when it is whole. And the pages
        // of the old one, which the database would only mark as free, go with it.
        let fresh = folder.join(FRESH_FILE);
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&fresh)?;
        let records = Records(Database::create(&fresh).map_err(database)?);
        let writes = plain.into_iter().map(|(key, value)| Write { key, value: Some(value) });
        records.write(vault, rng, writes)?;
        fs::rename(&fresh, folder.join(FILE))?;
        files::sync_dir(folder)?;
        Ok(records)
    }
}

impl Records {
    /// All records, in the order of their keys.
    pub(super) fn load(&self, vault: &Vault) -> Result<Vec<(String, Vec<u8>)>, ProfileError> {
        let transaction = self.0.begin_read().map_err(database)?;
        let table = transaction.open_table(SEALED).map_err(database)?;
        let mut records = Vec::new();
        for record in table.iter().map_err(database)? {
            let (name, sealed) = record.map_err(database)?;
            records.push(vault.open_record(name.value(), sealed.value())?);
        }
        records.sort_unstable();
        Ok(records)
    }

    /// Writes all or none.
    pub(super) fn write<R: CryptoRng>(
        &self,
        vault: &Vault,
        rng: &mut R,
        writes: impl IntoIterator<Item = Write>,
    ) -> Result<(), ProfileError> {
        // Transactions are synced to the disk by default.
        let transaction = self.0.begin_write().map_err(database)?;
        {
            let mut table = transaction.open_table(SEALED).map_err(database)?;
            for Write { key, value } in writes {
                match value {
                    Some(value) => {
                        let (name, sealed) = vault.seal_record(rng, &key, &value).map_err(std::io::Error::other)?;
                        table.insert(name.as_slice(), sealed.as_slice()).map_err(database)?;
                    }
                    None => drop(table.remove(vault.record_name(&key).as_slice()).map_err(database)?),
                }
            }
        }
        transaction.commit().map_err(database)
    }
}

fn load_plain(plain: &Database) -> Result<Vec<(String, Vec<u8>)>, ProfileError> {
    let transaction = plain.begin_read().map_err(database)?;
    let table = transaction.open_table(PLAIN).map_err(database)?;
    let mut records = Vec::new();
    for record in table.iter().map_err(database)? {
        let (key, value) = record.map_err(database)?;
        records.push((key.value().to_owned(), value.value().to_owned()));
    }
    Ok(records)
}

fn database(error: impl Into<redb::Error>) -> ProfileError {
    ProfileError::Database(Box::new(error.into()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Writes a profile as it was before there were headers.
    pub(in crate::profile) fn write_plain(folder: &Path, records: &[(&str, &[u8])]) {
        let database = Database::create(folder.join(FILE)).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut table = transaction.open_table(PLAIN).unwrap();
            for (key, value) in records {
                table.insert(*key, *value).unwrap();
            }
        }
        transaction.commit().unwrap();
    }
}
