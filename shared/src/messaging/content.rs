//! What two contacts say to each other, before Olm encrypts it: `kind u8 ‖ the rest`.

use crate::cell::commands;

commands! {
    /// What a message is.
    ContentKind {
        /// A text: UTF-8.
        Text = 1,
    }
}

/// A text as a content.
pub fn content_of(text: &str) -> Vec<u8> {
    let mut content = vec![ContentKind::Text as u8];
    content.extend_from_slice(text.as_bytes());
    content
}

/// The text of a content; nothing where it is of another kind, or no text.
pub fn text_of(content: &[u8]) -> Option<String> {
    let (kind, rest) = content.split_first()?;
    match ContentKind::from_u8(*kind)? {
        ContentKind::Text => core::str::from_utf8(rest).ok().map(str::to_owned),
    }
}
