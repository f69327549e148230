//! Where passphrases come from: a file, or whoever sits at the terminal. Never the command line, which others can see.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::files;

/// The variable that says what `--passphrase-file` would.
pub const FILE_VARIABLE: &str = "ALLIUM_PASSPHRASE_FILE";

/// The longest passphrase, in bytes.
const MAX_LEN: usize = 1024;

/// Why there is no passphrase.
#[derive(Debug, Error)]
pub enum PassphraseError {
    /// The file cannot be read.
    #[error("cannot read the passphrase from {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is nothing that could be one.
    #[error("there is no passphrase in {0}: it has to be one line of text")]
    Empty(PathBuf),
    /// Nobody can be asked.
    #[error(
        "the profile has a passphrase, and standard input is no terminal to ask for it: name a file with --passphrase-file"
    )]
    NoTerminal,
    /// Whoever was asked gave none.
    #[error("no passphrase was typed: {0}")]
    Prompt(#[source] io::Error),
    /// The new one was typed in two ways.
    #[error("the two passphrases are not the same; nothing was changed")]
    Different,
}

/// Where one passphrase comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passphrase {
    /// The file with it in its only line; without one, whoever sits at the terminal is asked, if need be.
    pub file: Option<PathBuf>,
}

impl Passphrase {
    /// Whether a file was named.
    pub fn is_given(&self) -> bool {
        self.file.is_some()
    }

    /// The passphrase in the file, if one was named.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or has no passphrase.
    pub fn given(&self) -> Result<Option<Zeroizing<String>>, PassphraseError> {
        let Some(path) = &self.file else { return Ok(None) };
        let read = files::read_bounded(path, MAX_LEN + 2)
            .and_then(|read| read.map(Zeroizing::new).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound)));
        let bytes = read.map_err(|source| PassphraseError::File { path: path.clone(), source })?;
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match str::from_utf8(line) {
            Ok(text) if !text.is_empty() && !text.contains('\n') => Ok(Some(Zeroizing::new(text.to_owned()))),
            _ => Err(PassphraseError::Empty(path.clone())),
        }
    }

    /// The passphrase of a profile that has one.
    ///
    /// # Errors
    ///
    /// If it cannot be read, and nobody can be asked.
    pub fn get(&self) -> Result<Zeroizing<String>, PassphraseError> {
        match self.given()? {
            Some(passphrase) => Ok(passphrase),
            None => ask("Passphrase of the profile: "),
        }
    }

    /// A new passphrase, which whoever is asked has to type twice.
    ///
    /// # Errors
    ///
    /// If it cannot be read, nobody can be asked, or the two are not the same.
    pub fn choose(&self) -> Result<Zeroizing<String>, PassphraseError> {
        if let Some(passphrase) = self.given()? {
            return Ok(passphrase);
        }
        let first = ask("New passphrase: ")?;
        if *ask("The same again: ")? != *first {
            return Err(PassphraseError::Different);
        }
        Ok(first)
    }
}

fn ask(prompt: &str) -> Result<Zeroizing<String>, PassphraseError> {
    // A program that talks to this one would wait for an answer while nobody sees the question.
    if !io::stdin().is_terminal() {
        return Err(PassphraseError::NoTerminal);
    }
    rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(PassphraseError::Prompt)
}
