//! The messages of the protocol, byte by byte: the format of `tests/vectors/messages.json`, and the check of this
//! implementation against it.
//!
//! A file is a JSON object with the member `"scheme": "allium-messages-1"` and the list `vectors`. Each entry has a `name`,
//! the `section` of `docs/protocol.md` that it belongs to, a `kind`, the message's `fields`, and its bytes as `hex`. Byte
//! strings are in hexadecimal, or a list of parts that follow each other, each of which is hexadecimal or
//! `{"repeat": HEX, "times": NUMBER}`.
//!
//! Every entry is built from its fields by the code that builds the message in use, and compared with the bytes; then the
//! bytes are read by the code that reads them in use, and compared with the message. A file that leaves out a message, a
//! command or a reason that exists fails.
//!
//! # Layout
//!
//! - `message`: the kinds of entries, and the check of each
//! - `documents`: the fields of the directory's documents
//! - `profile`: a profile at rest
//! - `fields`: byte strings, and the fields of the larger kinds

mod documents;
mod fields;
mod message;
mod profile;

use std::collections::BTreeSet;

use serde::Deserialize;
use thiserror::Error;

use self::fields::Bytes;
use self::message::Message;
use crate::cell::fragment::FRAGMENTS;
use crate::cell::message::{EndReason, RelayCommand, Service};
use crate::cell::{Command, DestroyReason};
use crate::crypto::cgo::vectors::{Failure, Report};
use crate::link::handshake::Kind;
use crate::messaging::content::ContentKind;
use crate::messaging::frame::FrameType;
use crate::netdir::RelayRole;
use crate::services::PublishAnswer;

/// The only scheme that files may name.
pub const SCHEME: &str = "allium-messages-1";

/// A file that is not one of message vectors.
#[derive(Debug, Error)]
pub enum FormatError {
    /// The file is not JSON of the expected form.
    #[error("the file is not one of message vectors: {0}")]
    Json(#[from] serde_json::Error),
    /// The scheme is another one.
    #[error("the file's scheme is not {SCHEME}")]
    Scheme,
}

#[derive(Deserialize)]
struct File {
    scheme: String,
    vectors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    section: String,
    hex: Bytes,
    #[serde(flatten)]
    message: Message,
}

/// Runs every vector of a file through the code that messages go through.
///
/// # Errors
///
/// If the file is not one of message vectors.
pub fn check(json: &str) -> Result<Report, FormatError> {
    let file: File = serde_json::from_str(json)?;
    if file.scheme != SCHEME {
        return Err(FormatError::Scheme);
    }
    let mut report = Report::default();
    let mut seen = BTreeSet::new();
    for (index, entry) in file.vectors.iter().enumerate() {
        report.vectors += 1;
        match entry.hex.get().and_then(|bytes| entry.message.check(&bytes)) {
            Ok(covered) => seen.extend(covered),
            Err(reason) => report.failures.push(Failure { list: entry.name.clone(), index, reason }),
        }
    }
    for missing in everything().difference(&seen) {
        let reason = "the file has no vector for it".to_owned();
        report.failures.push(Failure { list: missing.clone(), index: report.vectors, reason });
    }
    Ok(report)
}

/// The sections that a file names, to be looked up in the specification.
///
/// # Errors
///
/// If the file is not one of message vectors.
pub fn sections(json: &str) -> Result<BTreeSet<String>, FormatError> {
    let file: File = serde_json::from_str(json)?;
    Ok(file.vectors.into_iter().map(|entry| entry.section).collect())
}

/// Every message, command and reason that there is: each has to have a vector.
fn everything() -> BTreeSet<String> {
    fn all<T: core::fmt::Debug>(what: &str, list: &[T]) -> Vec<String> {
        list.iter().map(|item| format!("{what} {item:?}")).collect()
    }
    let mut names = [
        all("cell", Command::ALL),
        all("destroy", DestroyReason::ALL),
        all("relay message", RelayCommand::ALL),
        all("service", Service::ALL),
        all("end", EndReason::ALL),
        all("publish answer", PublishAnswer::ALL),
        all("link", Kind::ALL),
        all("frame", FrameType::ALL),
        all("content", ContentKind::ALL),
        all("role", &RelayRole::ALL),
    ]
    .concat();
    for command in [RelayCommand::Extend, RelayCommand::Rendezvous1] {
        names.extend((0..FRAGMENTS).map(|index| format!("relay message {command:?} {index}")));
    }
    for kind in Kind::ALL {
        let messages = if *kind == Kind::Relay { 3 } else { 2 };
        names.extend((1..=messages).map(|message| format!("link {kind:?} {message}")));
    }
    let others = [
        "record ChaChaPoly",
        "record AESGCM",
        "envelope",
        "invite",
        "signature",
        "relay entry",
        "descriptor",
        "consensus",
        "update Unchanged",
        "update Whole",
        "update Difference",
        "user record",
        "authorities",
        "vote",
        "echoes",
        "signatures",
        "proof of Votes",
        "proof of Consensuses",
        "tally",
        "derived value",
        "service",
        "safety number",
        "invitation",
        "introduction",
        "time answer",
        "user key answer, found",
        "user key answer, none",
        "user key publication",
        "profile header, passphrase",
        "profile header, device",
        "profile record",
    ];
    names.extend(others.map(str::to_owned));
    names.into_iter().collect()
}

/// What an entry is a vector for, or why it fails.
type Outcome = Result<Vec<String>, String>;

fn same<T: PartialEq>(what: &str, got: T, expected: T) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{what} differs")) }
}

fn same_bytes(got: &[u8], expected: &[u8]) -> Result<(), String> {
    match got.iter().zip(expected).position(|(got, expected)| got != expected) {
        Some(at) => Err(format!("byte {at} is {:02x}, not {:02x}", got[at], expected[at])),
        None if got.len() != expected.len() => Err(format!("{} bytes, not {}", got.len(), expected.len())),
        None => Ok(()),
    }
}

fn text(error: impl core::fmt::Display) -> String {
    error.to_string()
}

fn named<T: Copy + core::fmt::Debug>(all: &[T], name: &str) -> Result<T, String> {
    let found = all.iter().find(|item| format!("{item:?}") == name);
    found.copied().ok_or_else(|| format!("{name:?} does not exist"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = include_str!("../../tests/vectors/messages.json");

    #[test]
    fn every_message_is_its_vector() {
        let report = check(FILE).unwrap();
        let failures: Vec<_> = report.failures.iter().map(ToString::to_string).collect();
        assert!(failures.is_empty(), "{failures:#?}");
    }

    #[test]
    fn every_vector_belongs_to_a_section_of_the_specification() {
        let specification = include_str!("../../docs/protocol.md");
        for section in sections(FILE).unwrap() {
            let heading = |line: &str| line.trim_start_matches('#').trim_start().starts_with(&format!("{section} "));
            assert!(specification.lines().any(|line| line.starts_with('#') && heading(line)), "section {section}");
        }
    }

    #[test]
    fn a_file_without_a_message_fails() {
        let mut file: serde_json::Value = serde_json::from_str(FILE).unwrap();
        let vectors = file["vectors"].as_array_mut().unwrap();
        vectors.retain(|vector| vector["fields"]["command"] != "Sendme");
        let report = check(&file.to_string()).unwrap();
        assert_eq!(report.failures.len(), 1);
        assert_eq!(report.failures[0].list, "relay message Sendme");
    }

    #[test]
    fn a_changed_byte_fails() {
        let file: serde_json::Value = serde_json::from_str(FILE).unwrap();
        for at in 0..file["vectors"].as_array().unwrap().len() {
            let mut changed = file.clone();
            let hex = changed["vectors"][at]["hex"].take();
            changed["vectors"][at]["hex"] = serde_json::json!([hex, "00"]);
            assert!(!check(&changed.to_string()).unwrap().failures.is_empty(), "vector {at}");
        }
    }
}
