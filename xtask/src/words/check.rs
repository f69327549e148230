//! Finds refused phrases and names, and lines that are too long.

use std::fmt;

pub use super::list::Finding;
use super::list::{Exception, List};
use super::prose::{self, Code, Word};
use super::source::{self, Kind, Part};

/// An entry of the list found in a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The file.
    pub file: String,
    /// The line, 1-based.
    pub line: usize,
    /// The text of the line.
    pub text: String,
    /// The entry.
    pub finding: Finding,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.finding)
    }
}

/// Searches one file.
pub fn findings(file: &str, text: &str, list: &List) -> Vec<Found> {
    let kind = file.rsplit_once('.').map_or("", |(_, kind)| kind);
    let mut found = match kind {
        "rs" => in_rust(text, list),
        "md" => in_prose(prose::part(text, 1), list),
        "toml" => in_prose((prose::words(&text.replace('#', " "), 1), Vec::new()), list),
        "html" => in_prose((prose::words(&text.replace(['<', '>', '=', '"'], " "), 1), Vec::new()), list),
        _ => in_prose((prose::words(text, 1), Vec::new()), list),
    };
    for (_, most, finding) in list.columns.iter().filter(|(of, ..)| of == kind) {
        found.extend(long_lines(kind, text, *most).map(|line| (line, finding)));
    }
    found.sort();
    let lines: Vec<_> = text.lines().collect();
    let found = found.into_iter().map(|(line, finding)| Found {
        file: file.to_owned(),
        line,
        text: lines.get(line.saturating_sub(1)).copied().unwrap_or_default().to_owned(),
        finding: finding.clone(),
    });
    found.collect()
}

/// Messages for findings that no exception permits, and for exceptions that permit nothing.
pub fn without_exceptions(found: Vec<Found>, exceptions: &[Exception]) -> Vec<String> {
    let allows = |exception: &Exception, found: &Found| {
        exception.file == found.file && exception.what == found.finding.what && found.text.contains(&exception.line)
    };
    let unused = exceptions.iter().filter(|exception| !found.iter().any(|found| allows(exception, found)));
    let unused: Vec<_> = unused
        .map(|Exception { file, what, .. }| {
            format!("{}: the exception for `{what}` in {file} is no longer needed; remove it", super::LIST)
        })
        .collect();
    let refused = found.iter().filter(|found| !exceptions.iter().any(|exception| allows(exception, found)));
    refused.map(ToString::to_string).chain(unused).collect()
}

type Lines<'a> = Vec<(usize, &'a Finding)>;

fn in_rust<'a>(text: &str, list: &'a List) -> Lines<'a> {
    let mut found = Vec::new();
    for Part { kind, line, text } in source::parts(text) {
        match kind {
            Kind::Doc | Kind::Comment => {
                let whole = list.comments.iter().filter(|(comment, _)| *comment == text.trim());
                found.extend(whole.map(|(_, finding)| (line, finding)));
                found.extend(in_prose(prose::part(&text, line), list));
            }
            Kind::Literal => found.extend(phrases(&prose::words(&text, line), list)),
            Kind::Code => found.extend(names(&Code { text, line }, list)),
        }
    }
    found
}

fn in_prose<'a>((words, codes): (Vec<Word>, Vec<Code>), list: &'a List) -> Lines<'a> {
    let mut found: Vec<_> = phrases(&words, list).collect();
    found.extend(codes.iter().flat_map(|code| names(code, list)));
    found
}

/// Finds phrases in prose.
fn phrases<'a>(words: &[Word], list: &'a List) -> impl Iterator<Item = (usize, &'a Finding)> {
    words.iter().enumerate().flat_map(move |(at, first)| {
        let candidates = list.phrases.get(&first.text).into_iter().flatten();
        candidates.filter_map(move |phrase| {
            let rest = words.get(at + 1..at + phrase.words.len())?;
            let goes_on =
                rest.iter().zip(&phrase.words[1..]).all(|(word, wanted)| word.text == *wanted && !word.after_break);
            (goes_on && (first.is_head || !phrase.at_head)).then_some((first.line, &phrase.finding))
        })
    })
}

/// Finds names in code.
fn names<'a>(code: &Code, list: &'a List) -> Lines<'a> {
    let mut found = Vec::new();
    for (line, text) in (code.line..).zip(code.text.lines()) {
        for name in text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|name| !name.is_empty()) {
            let is_meant = |pattern: &str| match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
                (Some(begin), _) => name.starts_with(begin),
                (None, Some(end)) => name.ends_with(end),
                (None, None) => name == pattern,
            };
            let meant = list.names.iter().filter(|(pattern, _)| is_meant(pattern));
            found.extend(meant.map(|(_, finding)| (line, finding)));
        }
    }
    found
}

/// Lines of prose longer than `most` columns. Code and tables are exempt, and link targets do not count.
fn long_lines(kind: &str, text: &str, most: usize) -> impl Iterator<Item = usize> {
    let is_rust = kind == "rs";
    let mut fenced = false;
    text.lines().zip(1..).filter_map(move |(text, line)| {
        let prose = text.trim_start().trim_start_matches(['/', '!']).trim_start();
        fenced ^= prose.starts_with("```") && (!is_rust || text.trim_start().starts_with("//"));
        let is_prose = !fenced && !prose.starts_with('|') && (!is_rust || text.trim_start().starts_with("//"));
        (is_prose && text.chars().count() > most && without_links(text).chars().count() > most).then_some(line)
    })
}

/// Removes link targets from a line.
fn without_links(text: &str) -> String {
    let mut parts = text.split("](");
    let mut line = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        line.push_str(part.split_once(')').map_or(part, |(_, rest)| rest));
    }
    line.split(' ').filter(|word| !word.contains("://")).collect::<Vec<_>>().join(" ")
}
