//! Checks for phrases that read like a translation, and for names that were abandoned.
//!
//! # Layout
//!
//! - [`list`]: reads `xtask/words.toml`: phrases and names, and what to write instead
//! - [`source`]: splits a Rust file into comments, strings and code
//! - [`prose`]: splits prose into words, and separates inline code
//! - [`check`]: finds phrases, names and long lines

mod check;
mod list;
mod prose;
mod source;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use check::{Finding, Found};
use list::{List, ListError};

/// The list. It contains every phrase, so it is not searched itself.
const LIST: &str = "xtask/words.toml";

/// Folders without hand-written files. Hidden folders are skipped too.
const FOREIGN: [&str; 5] = ["target", "dist", "data", "corpus", "artifacts"];

/// Extensions of the files to search.
const KINDS: [&str; 4] = ["rs", "md", "html", "toml"];

/// Why the check failed.
#[derive(Debug, thiserror::Error)]
pub enum WordsError {
    /// The list is malformed.
    #[error("{LIST}: {0}")]
    List(#[from] ListError),
    /// A file or folder could not be read.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Refused words were found; one message per place.
    #[error("{}\n{}; see docs/development.md", .0.join("\n"), count(.0.len()))]
    Broken(Vec<String>),
}

fn count(findings: usize) -> String {
    if findings == 1 { "1 refused word or phrase".to_owned() } else { format!("{findings} refused words and phrases") }
}

/// Searches the repository at `root`. With `all`, also prints where pending words occur.
pub fn run(root: &Path, all: bool) -> Result<(), WordsError> {
    let file = |path: &Path| fs::read_to_string(path).map_err(|source| WordsError::File { path: path.into(), source });
    let list = List::parse(&file(&root.join(LIST))?)?;
    let mut found = Vec::new();
    for path in files(root)? {
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        if name != LIST {
            found.extend(check::findings(&name, &file(&path)?, &list));
        }
    }
    let (later, refused): (Vec<_>, _) = found.into_iter().partition(|Found { finding, .. }| finding.later);
    if all {
        later.iter().for_each(|found| println!("{found}"));
    }
    for line in counts(&list, &later) {
        println!("{line}");
    }
    let refused = check::without_exceptions(refused, &list.exceptions);
    if refused.is_empty() { Ok(()) } else { Err(WordsError::Broken(refused)) }
}

/// How often each pending word occurs, most frequent first.
fn counts(list: &List, later: &[Found]) -> Vec<String> {
    let mut counts: BTreeMap<&Finding, usize> = list.later().map(|finding| (finding, 0)).collect();
    for found in later {
        *counts.entry(&found.finding).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    counts.into_iter().map(|(finding, count)| format!("{count:>6}  pending: {finding}")).collect()
}

/// All files to search, sorted by path.
fn files(folder: &Path) -> Result<Vec<PathBuf>, WordsError> {
    let failed = |source| WordsError::File { path: folder.into(), source };
    let mut files = Vec::new();
    let mut entries = fs::read_dir(folder).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if name.starts_with('.') || FOREIGN.contains(&&*name) {
            continue;
        }
        if entry.file_type().map_err(failed)?.is_dir() {
            files.extend(self::files(&path)?);
        } else if path.extension().is_some_and(|kind| KINDS.iter().any(|one| kind == *one)) {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests;
