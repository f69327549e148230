//! What is in a client's profile: opened with the key file that lies beside it, as its owner could.

use std::fs;
use std::path::Path;

use allium_shared::vault::{DeviceSecret, Header};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::Value;

const FILE: &str = "profile.redb";
const SEALED: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("sealed");
const PLAIN: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");

/// Records by their keys.
pub type Records = Vec<(String, Vec<u8>)>;

/// The records of a native client that has ended, and that is opened by its key file.
pub fn records(profile: &Path) -> Records {
    let header = Header::decode(&fs::read(profile.join("header")).expect("there is a header")).expect("it is whole");
    let key = fs::read(profile.join("key")).expect("there is a key file");
    let secret = DeviceSecret::from_bytes(key[2..].try_into().expect("the key has 32 bytes"));
    let vault = header.unlock_by_device(&secret).expect("the key fits");
    let database = Database::open(profile.join(FILE)).expect("there are records");
    let table = database.begin_read().expect("they can be read").open_table(SEALED).expect("they are sealed");
    let mut records = Records::new();
    for entry in table.iter().expect("they can be listed") {
        let (name, sealed) = entry.expect("a record can be read");
        records.push(vault.open_record(name.value(), sealed.value()).expect("a record can be opened"));
    }
    records.sort_unstable();
    records
}

/// Makes a profile what it would be if it had been written before profiles were sealed.
pub fn write_plain(profile: &Path, records: &Records) {
    for file in ["header", "key", FILE] {
        fs::remove_file(profile.join(file)).expect("the file is there");
    }
    let database = Database::create(profile.join(FILE)).expect("a file can be made");
    let transaction = database.begin_write().expect("it can be written");
    {
        let mut table = transaction.open_table(PLAIN).expect("it has a table");
        for (key, value) in records {
            table.insert(key.as_str(), value.as_slice()).expect("a record can be written");
        }
    }
    transaction.commit().expect("the disk takes it");
}

/// What of these records nobody else is to read: keys of records, and every longer text in their values, such as names,
/// messages and secrets. The list of relays is public.
pub fn secrets(records: &Records) -> Vec<String> {
    let mut secrets = Vec::new();
    for (key, value) in records.iter().filter(|(key, _)| key != "consensus") {
        if key.contains('/') {
            secrets.push(key.clone());
        }
        if let Ok(value) = serde_json::from_slice(value) {
            collect(&value, &mut secrets);
        }
    }
    secrets
}

fn collect(value: &Value, secrets: &mut Vec<String>) {
    match value {
        Value::String(text) if text.len() >= 8 => secrets.push(text.clone()),
        Value::Array(list) => list.iter().for_each(|value| collect(value, secrets)),
        Value::Object(members) => members.values().for_each(|value| collect(value, secrets)),
        _ => {}
    }
}

/// The first of these texts that stands in a file of this folder, or of those in it, and in which.
pub fn find(folder: &Path, secrets: &[String]) -> Option<String> {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            if let Some(found) = find(&path, secrets) {
                return Some(found);
            }
            continue;
        }
        let bytes = fs::read(&path).expect("a file can be read");
        let found = secrets.iter().find(|secret| memchr::memmem::find(&bytes, secret.as_bytes()).is_some());
        if let Some(found) = found {
            return Some(format!("{found:?} in {}", path.display()));
        }
    }
    None
}
