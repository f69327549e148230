use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::database::tests::write_plain;
use super::*;

const RECORDS: [(&str, &[u8]); 3] = [
    ("contact/0000000000000001", b"a name that nobody else has to know"),
    ("message/0000000000000001/0000000000000000", b"a text that nobody else has to know"),
    ("profile", b"a key that nobody else has to know"),
];

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("profile")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// A file with a passphrase, beside the profile.
    fn passphrase(&self, text: &str) -> Passphrase {
        let file = self.0.path().join("passphrase");
        fs::write(&file, text).unwrap();
        Passphrase { file: Some(file) }
    }

    fn open(&self, passphrase: &Passphrase) -> Result<Profile, ProfileError> {
        Profile::open(&self.path(), passphrase)
    }

    /// A profile with records, opened by its key file.
    fn filled() -> Self {
        let folder = Self::new();
        let mut profile = folder.open(&NONE).unwrap();
        profile.write(RECORDS.map(|(key, value)| put(key, value))).unwrap();
        folder
    }

    /// All of its files.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries.map(|path| (path.clone(), fs::read(&path).unwrap())).collect();
        files.sort();
        files
    }
}

const NONE: Passphrase = Passphrase { file: None };

fn put(key: &str, value: &[u8]) -> Write {
    Write { key: key.to_owned(), value: Some(value.to_vec()) }
}

#[track_caller]
fn assert_whole(profile: &Profile) {
    let records = profile.load().unwrap();
    let records: Vec<(&str, &[u8])> = records.iter().map(|(key, value)| (key.as_str(), value.as_slice())).collect();
    assert_eq!(records, RECORDS);
}

/// Checks that nothing of the records can be read in any file, neither their keys nor their values.
#[track_caller]
fn assert_unreadable(folder: &Folder) {
    for (path, bytes) in folder.files() {
        for part in RECORDS.iter().flat_map(|(key, value)| [key.as_bytes(), value]).chain([&b"contact/"[..]]) {
            // The file's own name is no secret.
            let found = part != b"profile" && bytes.windows(part.len()).any(|window| window == part);
            assert!(!found, "{:?} is in {}", String::from_utf8_lossy(part), path.display());
        }
    }
}

#[test]
fn a_new_profile_has_a_key_file_of_its_owner_s_alone_and_nothing_to_read() {
    let folder = Folder::filled();
    assert_whole(&folder.open(&NONE).unwrap());
    assert_unreadable(&folder);
    let mode = fs::metadata(folder.file("key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_key_file_that_others_may_read_is_refused() {
    let folder = Folder::filled();
    let key = folder.file("key");
    for mode in [0o640, 0o604, 0o620, 0o666] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let error = folder.open(&NONE).unwrap_err();
        assert!(matches!(error, ProfileError::KeyExposed { mode: found, .. } if found == mode), "{error}");
        assert!(error.to_string().contains(&format!("{mode:o}")), "{error}");
    }
    for mode in [0o600, 0o400] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        assert_whole(&folder.open(&NONE).unwrap());
    }
}

#[test]
fn a_profile_without_its_key_file_or_header_stays_as_it_is() {
    let folder = Folder::filled();
    let (key, header) = (folder.file("key"), folder.file("header"));
    let (secret, sealed) = (fs::read(&key).unwrap(), fs::read(&header).unwrap());
    let open = || folder.open(&NONE).unwrap_err();
    let restore = || {
        fs::write(&header, &sealed).unwrap();
        files::write_atomic(&key, &secret).unwrap();
    };

    fs::remove_file(&key).unwrap();
    assert!(matches!(open(), ProfileError::KeyMissing(_)));
    for bytes in [&secret[..33], &[&*secret, &[0]].concat(), &[&[0, 2], &secret[2..]].concat(), &[]] {
        files::write_atomic(&key, bytes).unwrap();
        assert!(matches!(open(), ProfileError::KeyDamaged(_)));
        assert_eq!(fs::read(&key).unwrap(), bytes);
    }
    files::write_atomic(&key, &[&[0, 1], &[9; 32][..]].concat()).unwrap();
    assert!(matches!(open(), ProfileError::Unlock(UnlockError::WrongDevice)));

    restore();
    fs::remove_file(&header).unwrap();
    assert!(matches!(open(), ProfileError::HeaderMissing(_)));
    assert!(!header.exists());
    for bytes in [&sealed[..50], &[0; 500], &[]] {
        fs::write(&header, bytes).unwrap();
        assert!(matches!(open(), ProfileError::Header { source: HeaderError::Damaged, .. }));
        assert_eq!(fs::read(&header).unwrap(), bytes);
    }

    restore();
    assert_whole(&folder.open(&NONE).unwrap());
}

#[test]
fn a_passphrase_is_set_changed_and_removed() {
    let folder = Folder::filled();
    folder.open(&NONE).unwrap().set_passphrase("first").unwrap();
    assert!(!folder.file("key").exists(), "the key file would still open an old header");
    let first = folder.passphrase("first\n");
    let mut profile = folder.open(&first).unwrap();
    assert_whole(&profile);
    profile.set_passphrase("second").unwrap();
    drop(profile);

    let before = folder.files();
    let error = folder.open(&first).unwrap_err();
    assert_eq!(error.to_string(), "the passphrase is wrong; nothing was changed");
    assert!(matches!(folder.open(&NONE), Err(ProfileError::Passphrase(PassphraseError::NoTerminal))));
    assert!(folder.files() == before, "a file has changed");
    let second = folder.passphrase("second\r\n");
    let mut profile = folder.open(&second).unwrap();
    assert_whole(&profile);
    assert!(matches!(profile.set_passphrase(""), Err(ProfileError::Wrap(WrapError::Empty))));
    profile.remove_passphrase().unwrap();
    drop(profile);

    assert!(matches!(folder.open(&second), Err(ProfileError::NoPassphrase)));
    assert_whole(&folder.open(&NONE).unwrap());
    assert_unreadable(&folder);
}

#[test]
fn a_new_profile_may_have_a_passphrase_from_the_start() {
    let folder = Folder::new();
    let passphrase = folder.passphrase("from the start");
    let mut profile = folder.open(&passphrase).unwrap();
    profile.write(RECORDS.map(|(key, value)| put(key, value))).unwrap();
    drop(profile);
    assert!(!folder.file("key").exists());
    assert_whole(&folder.open(&passphrase).unwrap());
}

#[test]
fn only_a_line_of_text_is_a_passphrase() {
    let folder = Folder::new();
    for text in ["", "\n", "two\nlines\n", &"a".repeat(1027)] {
        assert!(folder.passphrase(text).given().is_err(), "{text:?}");
    }
    let file = folder.0.path().join("passphrase");
    fs::write(&file, [0xff, 0xfe]).unwrap();
    assert!(matches!(Passphrase { file: Some(file) }.given(), Err(PassphraseError::Empty(_))));
    let missing = Passphrase { file: Some(folder.0.path().join("missing")) };
    assert!(missing.given().unwrap_err().to_string().contains("missing"));
    for (text, passphrase) in [("a b ", "a b "), ("ä\n", "ä"), (" \r\n", " ")] {
        assert_eq!(folder.passphrase(text).given().unwrap().unwrap().as_str(), passphrase);
    }
}

#[test]
fn a_profile_of_old_is_sealed_when_it_is_opened() {
    for with_passphrase in [false, true] {
        let folder = Folder::new();
        files::create_private_dir(&folder.path()).unwrap();
        write_plain(&folder.path(), &RECORDS);
        let passphrase = if with_passphrase { folder.passphrase("new") } else { NONE };
        assert_whole(&folder.open(&passphrase).unwrap());
        assert_unreadable(&folder);
        assert_whole(&folder.open(&passphrase).unwrap());
        assert_eq!(folder.file("key").exists(), !with_passphrase);
    }
}

#[test]
fn taking_over_a_profile_of_old_can_be_cut_short_anywhere() {
    let folder = Folder::new();
    files::create_private_dir(&folder.path()).unwrap();
    write_plain(&folder.path(), &RECORDS);
    // What a crash may leave behind: a key file, then a header, then a part of the new file.
    fs::write(folder.file("key.new"), b"half").unwrap();
    let vault = Vault::create(&mut random::rng().unwrap());
    write_key(&folder.path(), &vault, &mut random::rng().unwrap()).unwrap();
    fs::write(folder.file("profile.redb.new"), vec![0; 5000]).unwrap();
    assert_whole(&folder.open(&NONE).unwrap());
    assert_whole(&folder.open(&NONE).unwrap());
    assert!(!folder.file("profile.redb.new").exists());
}

#[test]
fn a_change_of_the_passphrase_can_be_cut_short_anywhere() {
    let folder = Folder::filled();
    let passphrase = folder.passphrase("words");
    folder.open(&NONE).unwrap().set_passphrase("words").unwrap();
    // The next key file is there, and its header not yet.
    key_file::write(&folder.path(), &DeviceSecret::from_bytes(&[5; 32])).unwrap();
    fs::write(folder.file("header.new"), b"half").unwrap();
    assert_whole(&folder.open(&passphrase).unwrap());
    assert!(!folder.file("key").exists());
}

#[test]
fn damaged_and_swapped_records_are_refused_and_left_alone() {
    let folder = Folder::filled();
    let swap = |swap: bool| {
        let database = redb::Database::open(folder.file("profile.redb")).unwrap();
        let table = redb::TableDefinition::<&[u8], &[u8]>::new("sealed");
        let transaction = database.begin_write().unwrap();
        {
            use redb::ReadableTable as _;
            let mut table = transaction.open_table(table).unwrap();
            let all: Vec<(Vec<u8>, Vec<u8>)> = table
                .iter()
                .unwrap()
                .map(|entry| entry.map(|(name, value)| (name.value().to_vec(), value.value().to_vec())).unwrap())
                .collect();
            if swap {
                table.insert(&*all[0].0, &*all[1].1).unwrap();
                table.insert(&*all[1].0, &*all[0].1).unwrap();
            } else {
                let mut changed = all[2].1.clone();
                changed[30] ^= 1;
                table.insert(&*all[2].0, &*changed).unwrap();
            }
        }
        transaction.commit().unwrap();
    };
    let refused = || {
        let error = folder.open(&NONE).unwrap().load().unwrap_err();
        assert!(matches!(error, ProfileError::Record(RecordError::Sealed)), "{error}");
    };
    swap(true);
    refused();
    swap(true);
    assert_whole(&folder.open(&NONE).unwrap());
    swap(false);
    refused();
    swap(false);
    assert_whole(&folder.open(&NONE).unwrap());
}
