//! Names of contacts: clean, short, and unique within a profile.

use crate::client::api::MAX_NAME_LEN;

/// A name that no other contact has: the wanted one, shortened, with a number behind it where it is taken.
pub(super) fn unique_name<'a>(wanted: &str, taken: impl Iterator<Item = &'a str> + Clone) -> String {
    let cleaned: String = wanted.chars().filter(|c| !c.is_control()).collect();
    let wanted = match shorten(cleaned.trim(), MAX_NAME_LEN) {
        "" => "Somebody",
        wanted => wanted,
    };
    let is_taken = |name: &str| taken.clone().any(|other| other == name);
    if !is_taken(wanted) {
        return wanted.to_owned();
    }
    let mut number = 2_u64;
    loop {
        let suffix = format!(" ({number})");
        let name = format!("{}{suffix}", shorten(wanted, MAX_NAME_LEN.saturating_sub(suffix.len())));
        if !is_taken(&name) {
            return name;
        }
        number += 1;
    }
}

fn shorten(text: &str, len: usize) -> &str {
    let mut end = len.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_unique_and_stay_short() {
        let taken = ["Ada", "Ada (2)", "Somebody"];
        let name = |wanted: &str| unique_name(wanted, taken.iter().copied());
        assert_eq!(name("Bob"), "Bob");
        assert_eq!(name(" Ada\u{7}\n"), "Ada (3)");
        assert_eq!(name("  "), "Somebody (2)");
        let long = name(&"ü".repeat(100));
        assert!(long.len() <= MAX_NAME_LEN && long.chars().all(|c| c == 'ü'), "{long}");
    }
}
