//! What may be found nowhere on the way, and the spellings in which it would still be found.

use allium_shared::contact::invite::Invite;
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use memchr::memmem::Finder;

/// The shortest secret that noise does not contain by accident, in bytes.
const SHORTEST: usize = 8;

/// Byte strings to look for.
#[derive(Debug, Default)]
pub struct Secrets {
    list: Vec<Needle>,
}

#[derive(Debug)]
struct Needle {
    name: String,
    spelling: &'static str,
    finder: Finder<'static>,
}

impl Secrets {
    /// Adds a secret of at least eight bytes, in all its spellings.
    #[track_caller]
    pub fn add(&mut self, name: &str, secret: &[u8]) {
        assert!(secret.len() >= SHORTEST, "{name} is too short to be told from noise");
        for (spelling, bytes) in spellings(secret) {
            self.list.push(Needle { name: name.to_owned(), spelling, finder: Finder::new(&bytes).into_owned() });
        }
    }

    /// Adds a text, also as programs write it that count in 16 bits.
    #[track_caller]
    pub fn add_text(&mut self, name: &str, text: &str) {
        self.add(name, text.as_bytes());
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        self.list.push(Needle { name: name.to_owned(), spelling: "UTF-16", finder: Finder::new(&wide).into_owned() });
    }

    /// Adds all that an invite link keeps secret: its key, its secret, its cookies, and any stretch of the link itself.
    #[track_caller]
    pub fn add_invite(&mut self, link: &str) {
        let invite = Invite::parse(link).expect("the link is an invite");
        self.add("the invite's key", &invite.key);
        self.add("the invite's secret", &invite.secret);
        for (_, cookie) in &invite.places {
            self.add("an invite's cookie", &cookie.0);
        }
        let (_, fragment) = link.split_once('#').expect("the link has a fragment");
        for stretch in fragment.as_bytes().chunks_exact(24) {
            self.add("a stretch of the invite link", stretch);
        }
    }

    /// The names and spellings of the secrets that are in `bytes`.
    pub fn found_in(&self, bytes: &[u8]) -> Vec<String> {
        let found = self.list.iter().filter(|needle| needle.finder.find(bytes).is_some());
        found.map(|needle| format!("{} ({})", needle.name, needle.spelling)).collect()
    }
}

/// How a secret may be written.
fn spellings(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut list = vec![
        ("as it is", secret.to_vec()),
        ("hexadecimal", HEXLOWER.encode(secret).into_bytes()),
        ("hexadecimal", HEXUPPER.encode(secret).into_bytes()),
        ("reversed", secret.iter().rev().copied().collect()),
    ];
    for before in 0..3 {
        // Within a longer text the letters depend on where it begins; those that its neighbours have a part in are left out.
        let shifted = [&[0; 3][..before], secret].concat();
        let whole = shifted.len() / 3 * 4;
        let first = [0, 2, 3][before];
        for encoding in [BASE64_NOPAD, BASE64URL_NOPAD] {
            let letters = encoding.encode(&shifted).into_bytes();
            list.push(("base64", letters[first..whole].to_vec()));
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;

    use super::*;

    #[test]
    fn a_secret_is_found_in_every_spelling_and_place() {
        let mut secrets = Secrets::default();
        let secret = "Grüße an Adalbertine";
        secrets.add_text("the text", secret);
        assert!(secrets.found_in(b"nothing of the kind, Adalbertine").is_empty());
        for before in 0..9 {
            let text = [&vec![b'x'; before][..], secret.as_bytes(), b"yyyyy"].concat();
            assert!(!secrets.found_in(&text).is_empty(), "as it is, after {before} bytes");
            for (name, encoding) in
                [("hex", HEXLOWER), ("HEX", HEXUPPER), ("base64", BASE64), ("base64url", BASE64URL_NOPAD)]
            {
                let text = encoding.encode(&text);
                assert!(!secrets.found_in(text.as_bytes()).is_empty(), "{name}, after {before} bytes");
            }
        }
        let wide: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(!secrets.found_in(&wide).is_empty());
    }
}
