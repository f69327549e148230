//! What a native client has on its disk: sealed, by a key file or a passphrase, also after a kill at any moment.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Instant;

use allium_tests::chat::{self, Chat, PATIENCE, Pair};
use allium_tests::network::Network;
use allium_tests::process::{self, Process};
use allium_tests::{artifacts, profile};

const TEXT: &str = "a text that no disk is to show";

/// `allium passphrase` for a profile.
fn passphrase(profile: &Path) -> Command {
    let mut command = process::command(artifacts::allium());
    command.arg("passphrase").arg("--profile").arg(profile);
    command
}

/// What a command that ends by itself has come to: whether it succeeded, and what it said on standard error.
fn outcome(command: &mut Command) -> (bool, String) {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut process = Process::start("allium", command, log.path());
    let status = process.wait(PATIENCE);
    assert!(matches!(status.code(), Some(0 | 1)), "{status}");
    (status.success(), process.errors())
}

#[track_caller]
fn succeeds(command: &mut Command) {
    let (success, errors) = outcome(command);
    assert!(success, "{errors}");
}

#[track_caller]
fn fails(command: &mut Command, saying: &str) {
    let (success, errors) = outcome(command);
    assert!(!success && errors.contains(saying), "{errors:?} does not say {saying:?}");
}

/// A folder with files that have a passphrase each.
struct Words(tempfile::TempDir);

impl Words {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, words: &str) -> PathBuf {
        let file = self.0.path().join(words.replace(' ', "-"));
        fs::write(&file, format!("{words}\n")).unwrap();
        file
    }
}

/// All files of a folder with what is in them.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn a_profile_shows_nothing_on_disk_and_one_of_old_is_taken_over() {
    let network = Network::shared();
    let pair = Pair::meet(&network.url());
    pair.assert_talking(TEXT);
    pair.inviter.kill();
    let folder = pair.inviter.profile();
    let records = profile::records(&folder);
    let secrets = profile::secrets(&records);
    for known in [format!("{TEXT}?"), format!("{TEXT}!")] {
        assert!(secrets.contains(&known), "{known:?} is not in the records");
    }
    assert!(secrets.len() > 10, "keys of contacts and records are among them: {}", secrets.len());
    assert_eq!(profile::find(&folder, &secrets), None);

    profile::write_plain(&folder, &records);
    assert!(profile::find(&folder, &secrets).is_some(), "what would be found is there to be found");
    pair.inviter.restart();
    pair.assert_talking("After it was sealed");
    pair.inviter.kill();
    assert_eq!(profile::find(&folder, &secrets), None);
    pair.inviter.restart();
    pair.assert_talking("And once more");
    pair.inviter.assert_nothing_twice();
}

#[test]
fn a_passphrase_is_set_changed_and_removed_and_nothing_is_lost() {
    let network = Network::shared();
    let pair = Pair::meet(&network.url());
    let (folder, words) = (pair.inviter.profile(), Words::new());
    let (first, second) = (words.file("the first passphrase"), words.file("the second passphrase"));

    fails(passphrase(&folder).arg("--new-passphrase-file").arg(&first), "another Allium is using this profile");
    pair.inviter.kill();
    succeeds(passphrase(&folder).arg("--new-passphrase-file").arg(&first));
    assert!(!folder.join("key").exists());
    let before = files(&folder);
    let start = |passphrase: Option<&Path>| {
        let mut command = chat::command(&network.url(), &folder);
        if let Some(passphrase) = passphrase {
            command.arg("--passphrase-file").arg(passphrase);
        }
        command
    };
    fails(&mut start(Some(&second)), "the passphrase is wrong");
    fails(&mut start(None), "--passphrase-file");
    fails(&mut start(Some(&words.0.path().join("missing"))), "missing");
    fails(passphrase(&folder).arg("--remove").arg("--passphrase-file").arg(&second), "the passphrase is wrong");
    assert!(files(&folder) == before, "a wrong passphrase has changed a file");

    pair.inviter.use_passphrase(Some(&first));
    pair.inviter.restart();
    pair.assert_talking("With a passphrase");
    pair.inviter.kill();
    succeeds(passphrase(&folder).env("ALLIUM_PASSPHRASE_FILE", &first).arg("--new-passphrase-file").arg(&second));
    fails(&mut start(Some(&first)), "the passphrase is wrong");
    pair.inviter.use_passphrase(Some(&second));
    pair.inviter.restart();
    pair.assert_talking("With another one");
    pair.inviter.kill();
    succeeds(passphrase(&folder).arg("--remove").arg("--passphrase-file").arg(&second));
    fails(&mut start(Some(&second)), "has no passphrase");
    pair.inviter.use_passphrase(None);
    pair.inviter.restart();
    pair.assert_talking("Without one");
    pair.inviter.assert_nothing_twice();
}

#[test]
fn a_key_file_that_others_may_read_opens_nothing() {
    let network = Network::shared();
    let chat = Chat::open("Ada", &network.url());
    chat.kill();
    let key = chat.profile().join("key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let mut start = chat::command(&network.url(), &chat.profile());
    fails(&mut start, "chmod 600");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    chat.restart();
}

#[test]
fn profiles_that_cannot_be_opened_are_told_why() {
    let network = Network::shared();
    let chat = Chat::open("Ada", &network.url());
    chat.kill();
    let folder = chat.profile();
    let header = folder.join("header");
    let whole = fs::read(&header).unwrap();
    let start = || chat::command(&network.url(), &folder);
    let mut damaged = whole.clone();
    damaged[40] ^= 1;
    fs::write(&header, &damaged).unwrap();
    fails(&mut start(), "header is damaged");
    assert_eq!(fs::read(&header).unwrap(), damaged);
    fs::remove_file(&header).unwrap();
    fails(&mut start(), "header");
    assert!(!header.exists(), "another header would open none of the records");
    fs::write(&header, &whole).unwrap();
    chat.restart();

    let nowhere = tempfile::tempdir().unwrap();
    fails(&mut passphrase(&nowhere.path().join("nobody")), "there is no profile");
    assert_eq!(fs::read_dir(nowhere.path()).unwrap().count(), 0);
}

#[test]
fn a_change_that_is_killed_leaves_the_old_or_the_new_passphrase() {
    let network = Network::shared();
    let chat = Chat::open("Ada", &network.url());
    chat.kill();
    let (folder, words) = (chat.profile(), Words::new());
    let files = [words.file("one"), words.file("two")];
    // What opens the profile: one of the passphrases, or the key file.
    let opens = |with: Option<usize>| {
        let mut command = passphrase(&folder);
        match with {
            Some(number) => {
                command.arg("--passphrase-file").arg(&files[number]).arg("--new-passphrase-file").arg(&files[number])
            }
            // Fails for want of a new passphrase, but only after the profile has been opened.
            None => command.arg("--new-passphrase-file").arg(words.0.path().join("missing")),
        };
        let (success, errors) = outcome(&mut command);
        success || errors.contains("missing:")
    };
    // How long a change takes here that nobody kills.
    let begin = Instant::now();
    assert!(opens(None));
    succeeds(passphrase(&folder).arg("--remove"));
    succeeds(passphrase(&folder).arg("--new-passphrase-file").arg(&files[0]));
    let whole = begin.elapsed();

    let ways = [None, Some(0), Some(1)];
    let mut now = Some(0);
    let mut changed = 0;
    for round in 0..24_usize {
        let next = ways[(ways.iter().position(|way| *way == now).unwrap() + 1 + round % 2) % 3];
        let mut change = passphrase(&folder);
        if let Some(number) = now {
            change.arg("--passphrase-file").arg(&files[number]);
        }
        match next {
            Some(number) => change.arg("--new-passphrase-file").arg(&files[number]),
            None => change.arg("--remove"),
        };
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut process = Process::start("allium passphrase", &mut change, log.path());
        // Over the whole time that a change takes, and beyond.
        thread::sleep(whole * u32::try_from(round % 12).unwrap() / 8);
        process.kill();
        let open: Vec<Option<usize>> = ways.into_iter().filter(|way| opens(*way)).collect();
        assert_eq!(open.len(), 1, "round {round}: from {now:?} to {next:?}, and {open:?} open the profile");
        assert!([now, next].contains(&open[0]), "round {round}: from {now:?} to {next:?} became {open:?}");
        changed += usize::from(open[0] == next);
        now = open[0];
    }
    assert!((1..24).contains(&changed), "of 24 changes {changed} were done before the kill");
    chat.use_passphrase(now.map(|number| files[number].as_path()));
    chat.restart();
}
