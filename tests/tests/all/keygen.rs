//! `allium keygen`: keys that are made before anything runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use allium_shared::netdir::Authorities;
use allium_tests::artifacts;
use allium_tests::network::{await_consensus, free_port};
use allium_tests::process::{self, Process};

fn keygen(arguments: &[&str]) -> Output {
    Command::new(artifacts::allium()).arg("keygen").args(arguments).output().unwrap()
}

#[test]
fn an_authority_runs_with_the_key_that_was_made_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("authority");
    let address = format!("127.0.0.1:{}", free_port());
    let url = format!("http://{address}");
    let arguments = ["--data", data.to_str().unwrap(), "--nickname", "first", "--url", &url];
    let made = keygen(&arguments);
    assert!(made.status.success(), "{made:?}");
    let list = format!("{{\"authorities\":[{}]}}", String::from_utf8(made.stdout).unwrap());
    let authorities = Authorities::from_json(list.as_bytes()).unwrap();
    assert_eq!(authorities.iter().count(), 1);
    let file = folder.path().join("authorities.json");
    fs::write(&file, &list).unwrap();
    let key = fs::read(data.join("keys")).unwrap();
    assert_eq!(fs::metadata(data.join("keys")).unwrap().permissions().mode() & 0o777, 0o600);

    // It stays.
    let again = keygen(&arguments);
    assert!(!again.status.success() && again.stdout.is_empty());
    assert!(String::from_utf8_lossy(&again.stderr).contains("already"), "{again:?}");
    assert_eq!(fs::read(data.join("keys")).unwrap(), key);

    let mut command = process::command(artifacts::allium());
    command.args(["authority", "--nickname", "first", "--listen", &address, "--url", &url]);
    command.arg("--data").arg(&data).arg("--authorities").arg(&file);
    let _authority = Process::start("authority", &mut command, &folder.path().join("log"));
    await_consensus(&[url], 0);
}

#[test]
fn a_familys_key_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("family.key");
    let made = keygen(&["--family", file.to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    let public = String::from_utf8(made.stdout).unwrap();
    assert!(public.trim().len() == 64 && public.trim().bytes().all(|byte| byte.is_ascii_hexdigit()), "{public}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let key = fs::read(&file).unwrap();
    assert!(!keygen(&["--family", file.to_str().unwrap()]).status.success());
    assert_eq!(fs::read(&file).unwrap(), key);
    let nowhere = keygen(&["--family", folder.path().join("none/family.key").to_str().unwrap()]);
    assert!(!nowhere.status.success() && String::from_utf8_lossy(&nowhere.stderr).contains("none/family.key"));
}
