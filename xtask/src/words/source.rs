//! Splits a Rust file into comments, strings and code.

/// The kind of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A doc comment without its slashes; consecutive lines are joined.
    Doc,
    /// Any other comment, likewise.
    Comment,
    /// The content of a string. Escapes are resolved as far as they affect words.
    Literal,
    /// Everything else.
    Code,
}

/// A part of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    /// Its kind.
    pub kind: Kind,
    /// Its first line, 1-based.
    pub line: usize,
    /// Its text, with the line breaks of the file.
    pub text: String,
}

/// Splits a Rust file. Accepts any text: if it is not valid Rust, the kinds of its parts are unspecified.
pub fn parts(text: &str) -> Vec<Part> {
    let mut reader = Reader { rest: text, line: 1, parts: Vec::new() };
    while let Some(first) = reader.rest.chars().next() {
        reader.step(first);
    }
    reader.parts
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    parts: Vec<Part>,
}

impl Reader<'_> {
    fn step(&mut self, first: char) {
        let rest = self.rest;
        if rest.starts_with("//") {
            return self.comment_line();
        }
        if let Some(comment) = rest.strip_prefix("/*") {
            let comment = comment.split("*/").next().unwrap_or_default();
            return self.push(Kind::Comment, comment.to_owned(), rest.len().min(comment.len() + 4));
        }
        if let Some((open, close)) = raw_string(rest) {
            let end = rest[open..].find(&close).map_or(rest.len(), |at| open + at);
            return self.push(Kind::Literal, rest[open..end].to_owned(), rest.len().min(end + close.len()));
        }
        match first {
            '"' => {
                let len = quoted_len(rest);
                self.push(Kind::Literal, unescape(rest[1..len].strip_suffix('"').unwrap_or(&rest[1..len])), len);
            }
            '\'' => self.code(character_len(rest)),
            // The whole identifier, so that an `r` at its end is not taken for a raw string.
            _ if first.is_alphanumeric() || first == '_' => {
                self.code(rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()));
            }
            _ => self.code(first.len_utf8()),
        }
    }

    fn comment_line(&mut self) {
        let len = self.rest.find('\n').unwrap_or(self.rest.len());
        let comment = &self.rest[..len];
        let (kind, text) = match comment.strip_prefix("///").or_else(|| comment.strip_prefix("//!")) {
            Some(doc) => (Kind::Doc, doc),
            None => (Kind::Comment, &comment[2..]),
        };
        // Lines of one comment are separated by a line break and indentation only.
        if let [.., above, margin] = &mut *self.parts
            && above.kind == kind
            && margin.text.trim().is_empty()
            && margin.text.matches('\n').count() == 1
        {
            above.text.push('\n');
            above.text.push_str(text);
            self.parts.pop();
            self.advance(len);
        } else {
            self.push(kind, text.to_owned(), len);
        }
    }

    fn code(&mut self, len: usize) {
        let text = &self.rest[..len];
        match self.parts.last_mut() {
            Some(last) if last.kind == Kind::Code => last.text.push_str(text),
            _ => self.parts.push(Part { kind: Kind::Code, line: self.line, text: text.to_owned() }),
        }
        self.advance(len);
    }

    fn push(&mut self, kind: Kind, text: String, len: usize) {
        self.parts.push(Part { kind, line: self.line, text });
        self.advance(len);
    }

    fn advance(&mut self, len: usize) {
        self.line += self.rest[..len].matches('\n').count();
        self.rest = &self.rest[len..];
    }
}

/// If `text` starts with a raw string: the offset of its content, and its closing delimiter.
fn raw_string(text: &str) -> Option<(usize, String)> {
    let raw = ["r", "br", "cr"].into_iter().find_map(|prefix| text.strip_prefix(prefix))?;
    let quote = raw.find(|c| c != '#').filter(|&at| raw[at..].starts_with('"'))?;
    Some((text.len() - raw.len() + quote + 1, format!("\"{}", "#".repeat(quote))))
}

/// The length of a string literal with its quotes, in bytes.
fn quoted_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Resolves escapes, keeping the line breaks of the file.
fn unescape(text: &str) -> String {
    text.replace("\\\\", "/").replace("\\n", " ").replace("\\t", " ").replace("\\\"", "\"").replace("\\\n", "\n")
}

/// The length of a character literal with its quotes, in bytes; 1 if this is a lifetime.
fn character_len(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), _) => text.get(3..).and_then(|rest| rest.find('\'')).map_or(1, |at| at + 4),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}
