use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use super::*;

type Done = Receiver<Result<BatchId, ProfileError>>;

fn open(folder: &Path) -> (Store, Records, Done) {
    let (told, done) = channel();
    // Tests may have stopped listening before the last batch is written.
    let (store, records) = Store::open(folder, &Passphrase::default(), move |batch| drop(told.send(batch))).unwrap();
    (store, records, done)
}

fn put(key: &str, value: &[u8]) -> Write {
    Write { key: key.to_owned(), value: Some(value.to_vec()) }
}

fn delete(key: &str) -> Write {
    Write { key: key.to_owned(), value: None }
}

#[test]
fn what_was_acknowledged_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, records, done) = open(folder.path());
    assert!(records.is_empty());
    store.write(BatchId(0), vec![put("b", b"1"), put("a", b"2")]);
    store.write(BatchId(1), vec![delete("b"), put("c/7", b""), put("a", b"3")]);
    while done.recv().unwrap().unwrap() != BatchId(1) {}
    store.close();
    let (_store, records, _done) = open(folder.path());
    assert_eq!(records, [("a".to_owned(), b"3".to_vec()), ("c/7".to_owned(), vec![])]);
}

#[test]
fn a_profile_is_its_owners_alone_and_open_once() {
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("profile");
    let (mut store, _, _done) = open(&profile);
    assert!(matches!(Store::open(&profile, &Passphrase::default(), |_| ()), Err(ProfileError::InUse)));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&profile), 0o700);
    for entry in std::fs::read_dir(&profile).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
    store.close();
    open(&profile).0.close();
}

#[test]
fn a_damaged_profile_is_an_error_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("profile.redb");
    std::fs::write(&file, vec![7; 5000]).unwrap();
    assert!(matches!(Store::open(folder.path(), &Passphrase::default(), |_| ()), Err(ProfileError::Database(_))));
    assert_eq!(std::fs::read(&file).unwrap(), vec![7; 5000]);
}

const WRITER_DIR: &str = "ALLIUM_TEST_STORE";

/// Not a test by itself: what [`killed_writers_lose_nothing_acknowledged`] runs as a process and kills.
#[test]
fn writer() {
    let Some(folder) = std::env::var_os(WRITER_DIR) else { return };
    let (store, records, done) = open(Path::new(&folder));
    let mut next = u64::try_from(records.len()).unwrap() / 2;
    loop {
        for _ in 0..10 {
            // Each batch has two records, of which a crash must leave both or none.
            let value = vec![0xaa; 2000];
            let writes = vec![put(&format!("left/{next:08}"), &value), put(&format!("right/{next:08}"), &value)];
            store.write(BatchId(next), writes);
            next += 1;
        }
        let BatchId(last) = done.recv().unwrap().unwrap();
        println!("\nacknowledged {last}");
    }
}

#[test]
fn killed_writers_lose_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["store::tests::writer", "--exact", "--nocapture", "--test-threads=1"])
            .env(WRITER_DIR, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut acknowledged = lines.filter_map(|line| line.strip_prefix("acknowledged ")?.parse::<usize>().ok());
        let before = acknowledged.by_ref().take(3 + round).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let last = acknowledged.last().unwrap_or(before);

        let (_store, records, _done) = open(folder.path());
        let (left, right) = records.split_at(records.len() / 2);
        assert!(left.len() > last, "{} batches after {last} was acknowledged", left.len());
        assert_eq!(left.len(), right.len());
        for (number, (left, right)) in left.iter().zip(right).enumerate() {
            assert_eq!(left.0, format!("left/{number:08}"));
            assert_eq!(right.0, format!("right/{number:08}"));
            assert_eq!((left.1.len(), right.1.len()), (2000, 2000));
        }
    }
}
