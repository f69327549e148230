//! Reads `xtask/words.toml`: phrases and names that are refused, and what to write instead.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

/// Why the list is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// Not the expected TOML.
    #[error(transparent)]
    Syntax(#[from] Box<toml::de::Error>),
    /// An exception without a reason.
    #[error("the exception for `{0}` in {1} has no reason")]
    NoReason(String, String),
    /// A phrase without words.
    #[error("`{0}` has no words")]
    Empty(String),
}

/// What to search for.
#[derive(Debug)]
pub struct List {
    /// Phrases, by their first word.
    pub phrases: BTreeMap<String, Vec<Phrase>>,
    /// Refused comments: the whole text of a comment.
    pub comments: Vec<(String, Finding)>,
    /// Refused names in code.
    pub names: Vec<(String, Finding)>,
    /// The longest line of prose in columns, by file extension.
    pub columns: Vec<(String, usize, Finding)>,
    /// Permitted uses.
    pub exceptions: Vec<Exception>,
}

/// A refused phrase.
#[derive(Debug)]
pub struct Phrase {
    /// Its words in lower case.
    pub words: Vec<String>,
    /// True if it is refused only at the beginning of a sentence.
    pub at_head: bool,
    /// The list's entry.
    pub finding: Finding,
}

/// An entry of the list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The phrase or name.
    pub what: String,
    /// What to write instead.
    pub better: String,
    /// True if it is pending: counted, but not refused yet.
    pub later: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.what, self.better)
    }
}

/// A permitted use of a phrase or name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// The file.
    pub file: String,
    /// The phrase or name as listed.
    pub what: String,
    /// A part of the line, to identify it.
    pub line: String,
    /// Why it is permitted.
    pub reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default)]
    phrases: BTreeMap<String, String>,
    #[serde(default)]
    comments: BTreeMap<String, String>,
    #[serde(default)]
    names: BTreeMap<String, String>,
    #[serde(default)]
    columns: BTreeMap<String, usize>,
    #[serde(default)]
    later: Words,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    #[serde(default)]
    phrases: BTreeMap<String, String>,
    #[serde(default)]
    comments: BTreeMap<String, String>,
    #[serde(default)]
    names: BTreeMap<String, String>,
    #[serde(default)]
    columns: BTreeMap<String, usize>,
}

impl List {
    /// Parses the list.
    pub fn parse(text: &str) -> Result<Self, ListError> {
        let Text { phrases, comments, names, columns, later, exceptions } = toml::from_str(text).map_err(Box::new)?;
        let mut list =
            Self { phrases: BTreeMap::new(), comments: Vec::new(), names: Vec::new(), columns: Vec::new(), exceptions };
        if let Some(Exception { file, what, .. }) = list.exceptions.iter().find(|one| one.reason.trim().is_empty()) {
            return Err(ListError::NoReason(what.clone(), file.clone()));
        }
        list.take(Words { phrases, comments, names, columns }, false)?;
        list.take(later, true)?;
        Ok(list)
    }

    fn take(&mut self, Words { phrases, comments, names, columns }: Words, later: bool) -> Result<(), ListError> {
        let with = |(what, better): (String, String)| (what.clone(), Finding { what, better, later });
        for (what, finding) in phrases.into_iter().map(with) {
            let at_head = what.starts_with('^');
            let words: Vec<_> = what.trim_start_matches('^').split_whitespace().map(str::to_lowercase).collect();
            let first = words.first().ok_or(ListError::Empty(what))?.clone();
            self.phrases.entry(first).or_default().push(Phrase { words, at_head, finding });
        }
        self.comments.extend(comments.into_iter().map(with));
        self.names.extend(names.into_iter().map(with));
        self.columns.extend(columns.into_iter().map(|(kind, most)| {
            let what = format!("lines over {most} columns in *.{kind}");
            (kind, most, Finding { what, better: "break the line".to_owned(), later })
        }));
        Ok(())
    }

    /// All pending entries.
    pub fn later(&self) -> impl Iterator<Item = &Finding> {
        let phrases = self.phrases.values().flatten().map(|phrase| &phrase.finding);
        let columns = self.columns.iter().map(|(_, _, finding)| finding);
        let others = self.comments.iter().chain(&self.names).map(|(_, finding)| finding);
        phrases.chain(others).chain(columns).filter(|finding| finding.later)
    }
}
