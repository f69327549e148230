//! Checks this implementation against files of vectors: published ones of Counter Galois Onion, and those of every message.
//!
//! `check-vectors FILE…` names each vector that fails on standard error, prints `N vectors, N failed` as its last line,
//! whatever it was given, and exits with 1 if any failed or a file could not be read or was not one of vectors.

use std::env;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use allium_shared::crypto::cgo::vectors::{self, FormatError, Report};
use allium_shared::vectors as messages;

fn main() -> ExitCode {
    let files: Vec<_> = env::args_os().skip(1).collect();
    if files.is_empty() {
        eprintln!("usage: check-vectors FILE…");
    }
    let (mut total, mut failed, mut unreadable) = (0, 0, usize::from(files.is_empty()));
    for file in files.iter().map(Path::new) {
        match check(file) {
            Ok(report) => {
                for failure in &report.failures {
                    eprintln!("{}: {failure}", file.display());
                }
                total += report.vectors;
                failed += report.failures.len();
            }
            Err(reason) => {
                eprintln!("{}: {reason}", file.display());
                unreadable += 1;
            }
        }
    }
    println!("{total} vectors, {failed} failed");
    if failed + unreadable == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn check(file: &Path) -> Result<Report, String> {
    let json = fs::read_to_string(file).map_err(|error| error.to_string())?;
    match vectors::check(&json) {
        Err(FormatError::Scheme) => messages::check(&json).map_err(|error| error.to_string()),
        checked => checked.map_err(|error| error.to_string()),
    }
}
