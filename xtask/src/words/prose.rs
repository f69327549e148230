//! Splits prose into words, and separates inline code.

/// A placeholder for inline code.
const CODE: char = '\u{fffc}';

/// A word with its context.
#[derive(Debug, PartialEq, Eq)]
pub struct Word {
    /// The word in lower case without surrounding punctuation; empty if there is only punctuation.
    pub text: String,
    /// Its line, 1-based.
    pub line: usize,
    /// True if punctuation or a new paragraph separates it from the previous word.
    pub after_break: bool,
    /// True if it starts a sentence.
    pub is_head: bool,
}

/// Code within prose.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// The code.
    pub text: String,
    /// Its first line, 1-based.
    pub line: usize,
}

/// Splits Markdown into words and code (spans and fenced blocks). The first line of `text` is `line`.
pub fn part(text: &str, line: usize) -> (Vec<Word>, Vec<Code>) {
    let (mut prose, mut codes) = (String::new(), Vec::new());
    let mut fenced = false;
    let mut open: Option<Code> = None;
    for (number, text) in (line..).zip(text.lines()) {
        let is_fence = text.trim_start().starts_with("```");
        if is_fence || fenced {
            fenced ^= is_fence;
            if !is_fence {
                codes.push(Code { text: text.to_owned(), line: number });
            }
            prose.push('\n');
            continue;
        }
        if text.trim().is_empty() {
            // A code span ends within its paragraph; this was a lone backtick.
            prose.extend(open.take().map(|code| code.text));
        }
        for c in text.chars() {
            match (c, &mut open) {
                ('`', None) => open = Some(Code { text: String::new(), line: number }),
                ('`', Some(_)) => {
                    codes.extend(open.take());
                    prose.push(CODE);
                }
                (c, Some(code)) => code.text.push(c),
                (c, None) => prose.push(c),
            }
        }
        // Keep line numbers in step with `text`, whether or not a span is open.
        prose.push('\n');
    }
    prose.extend(open.map(|code| code.text));
    (words(&prose, line), codes)
}

/// Splits plain text into words. The first line of `text` is `line`.
pub fn words(text: &str, line: usize) -> Vec<Word> {
    let mut words = Vec::new();
    let (mut after_break, mut is_head) = (true, true);
    for (number, text) in (line..).zip(text.lines()) {
        if text.trim().is_empty() {
            (after_break, is_head) = (true, true);
        }
        for word in text.split_whitespace() {
            let is_inside = |c: char| c.is_alphanumeric() || c == CODE;
            let begin = word.find(is_inside).unwrap_or(word.len());
            let end =
                word.rfind(is_inside).map_or(begin, |at| at + word[at..].chars().next().map_or(0, char::len_utf8));
            let (before, after) = (&word[..begin], &word[end..]);
            let opens = before.contains(['(', '[', '—', '–', '|']);
            words.push(Word {
                text: word[begin..end].to_lowercase(),
                line: number,
                after_break: after_break || opens,
                is_head: is_head || opens,
            });
            after_break = begin == end || after.contains(['.', ',', ';', ':', '!', '?', ')', ']', '—', '–', '|']);
            is_head = begin == end || after.contains(['.', ':', '!', '?', '|']);
        }
    }
    words
}
