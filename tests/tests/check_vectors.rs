//! What `check-vectors` says and how it ends, for files that are right, wrong, or no files of vectors at all.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "all of this is tests")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

const PUBLISHED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/cgo.json");

/// Runs the program; gives its last line, whether it succeeded, and what it says about failures.
fn run(files: &[impl AsRef<OsStr>]) -> (String, bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_check-vectors")).args(files).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{:?}", output.status);
    let last = stdout.lines().last().unwrap_or_default().to_owned();
    (last, output.status.success(), String::from_utf8(output.stderr).unwrap())
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// The last line and the success for one file with this content.
    fn run(&self, content: impl AsRef<[u8]>) -> (String, bool) {
        let (last, success, _) = run(&[self.file("vectors.json", content)]);
        (last, success)
    }
}

fn published() -> Value {
    serde_json::from_str(&fs::read_to_string(PUBLISHED).unwrap()).unwrap()
}

fn lists(file: &Value) -> Vec<String> {
    file.as_object().unwrap().iter().filter(|(_, value)| value.is_array()).map(|(name, _)| name.clone()).collect()
}

#[track_caller]
fn says(got: (String, bool), line: &str, success: bool) {
    assert_eq!((got.0.as_str(), got.1), (line, success));
}

#[test]
fn the_published_vectors_pass() {
    let (last, success, errors) = run(&[PUBLISHED]);
    says((last, success), "47 vectors, 0 failed", true);
    assert_eq!(errors, "");
}

#[test]
fn several_files_are_counted_together() {
    let folder = Folder::new();
    let wrong = folder.file("wrong.json", "[]");
    let (last, success, errors) =
        run(&[Path::new(PUBLISHED), &wrong, Path::new("/no/such/file"), Path::new(PUBLISHED)]);
    says((last, success), "94 vectors, 0 failed", false);
    assert_eq!(errors.lines().count(), 2, "{errors}");
    let (last, success, _) = run(&[PUBLISHED, PUBLISHED]);
    says((last, success), "94 vectors, 0 failed", true);
}

#[test]
fn lists_may_be_missing_or_empty() {
    let folder = Folder::new();
    let file = published();
    for name in lists(&file) {
        let mut without = file.clone();
        let removed = without.as_object_mut().unwrap().remove(&name).unwrap().as_array().unwrap().len();
        says(folder.run(without.to_string()), &format!("{} vectors, 0 failed", 47 - removed), true);
        let only = json!({ "scheme": "cgo-aes128", name.as_str(): file[name.as_str()] });
        says(folder.run(only.to_string()), &format!("{removed} vectors, 0 failed"), true);
        let empty = json!({ "scheme": "cgo-aes128", name.as_str(): [] });
        says(folder.run(empty.to_string()), "0 vectors, 0 failed", true);
    }
    says(folder.run(r#"{"scheme":"cgo-aes128"}"#), "0 vectors, 0 failed", true);
}

#[test]
fn uppercase_and_unknown_remarks_do_no_harm() {
    let folder = Folder::new();
    let mut file = published();
    for name in lists(&file) {
        for vector in file[name.as_str()].as_array_mut().unwrap() {
            vector["comment"] = json!("a remark");
            uppercase(vector);
        }
    }
    file["source"] = json!("somewhere");
    file["version"] = json!(2);
    says(folder.run(file.to_string()), "47 vectors, 0 failed", true);
}

/// Byte strings to upper case; words stay.
fn uppercase(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > 1 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            *text = text.to_uppercase();
        }
        Value::Array(values) => values.iter_mut().for_each(uppercase),
        Value::Object(values) => values.values_mut().for_each(uppercase),
        _ => {}
    }
}

/// Every byte string of every vector, changed in one digit or made longer or shorter, makes that vector fail.
#[test]
fn whatever_is_changed_fails() {
    let folder = Folder::new();
    let file = published();
    for name in lists(&file) {
        let mut broken = Vec::new();
        // The first ones are all zeros: of those some bytes make no difference.
        let last = file[name.as_str()].as_array().unwrap().last().unwrap();
        for at in 0.. {
            let mut any = false;
            for change in [
                flip as fn(&mut String),
                |text| text.push_str("00"),
                |text| drop(text.split_off(2.min(text.len() - 2))),
            ] {
                let mut vector = last.clone();
                let mut left = at;
                if change_string(&mut vector, &mut left, change) {
                    any = true;
                    broken.push(vector);
                }
            }
            if !any {
                break;
            }
        }
        assert!(broken.len() >= 9);
        let count = broken.len();
        let file = json!({ "scheme": "cgo-aes128", name: broken });
        says(folder.run(file.to_string()), &format!("{count} vectors, {count} failed"), false);
    }
}

fn flip(text: &mut String) {
    let last = text.pop().unwrap();
    text.push(if last == '0' { '1' } else { '0' });
}

/// Changes the `left`-th byte string in a value, the first one being number 0.
fn change_string(value: &mut Value, left: &mut usize, change: fn(&mut String)) -> bool {
    match value {
        Value::String(text) if text.len() > 1 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            if *left == 0 {
                change(text);
                return true;
            }
            *left -= 1;
            false
        }
        Value::Array(values) => values.iter_mut().any(|value| change_string(value, left, change)),
        Value::Object(values) => values.values_mut().any(|value| change_string(value, left, change)),
        _ => false,
    }
}

#[test]
fn vectors_that_are_none_fail() {
    let folder = Folder::new();
    for entry in [json!(null), json!(7), json!("00"), json!([]), json!({}), json!({ "op": "dance" })] {
        for name in lists(&published()) {
            let file = json!({ "scheme": "cgo-aes128", name: [entry] });
            says(folder.run(file.to_string()), "1 vectors, 1 failed", false);
        }
    }
    let mut file = published();
    for hop in [json!(0), json!(4), json!(-1), json!(u64::MAX), json!("1")] {
        file["client_originate"][0]["hop"] = hop;
        says(folder.run(file.to_string()), "47 vectors, 1 failed", false);
    }
}

#[test]
fn files_of_no_known_format_fail() {
    let folder = Folder::new();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let files: [&[u8]; 12] = [
        b"",
        b"{",
        b"not JSON",
        b"[]",
        b"null",
        b"{}",
        br#"{"scheme":"cgo-aes256","et":[]}"#,
        br#"{"scheme":7}"#,
        br#"{"scheme":"cgo-aes128","et":{}}"#,
        br#"{"scheme":"cgo-aes128","more":[]}"#,
        b"\xff\xfe",
        deep.as_bytes(),
    ];
    for content in files {
        says(folder.run(content), "0 vectors, 0 failed", false);
    }
    let (last, success, _) = run(&["/no/such/file"]);
    says((last, success), "0 vectors, 0 failed", false);
    let (last, success, _) = run(&[folder.0.path()]);
    says((last, success), "0 vectors, 0 failed", false);
    let (last, success, errors) = run(&[] as &[&str]);
    says((last, success), "0 vectors, 0 failed", false);
    assert!(errors.starts_with("usage:"), "{errors}");
}
