//! Makes keys: an authority's, or that of a family of relays.

// What stands before arguments is their help text too, where an address has no brackets.
#![allow(rustdoc::bare_urls)]

use std::path::PathBuf;

use allium_shared::netdir::{Authority, Nickname};
use clap::{ArgGroup, Args};
use thiserror::Error;

use crate::config::{self, ConfigError};
use crate::keys::{self, KeysError};

/// What key is to be made.
#[derive(Args, Clone, Debug)]
#[command(group(ArgGroup::new("key").args(["data", "family"]).required(true)))]
pub struct KeygenOptions {
    /// Make an authority's key in this folder, which is made if need be
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Make the key of a family of relays, those of one operator, in this file
    #[arg(long, value_name = "FILE")]
    pub family: Option<PathBuf>,
    /// With --url: print the authority's entry for the file with all authorities, and not its key alone
    #[arg(long, value_name = "NAME", requires = "url", conflicts_with = "family")]
    pub nickname: Option<Nickname>,
    /// The address under which others will reach the authority, such as http://authority.example:7000
    #[arg(long, value_name = "URL", requires = "nickname", conflicts_with = "family")]
    pub url: Option<String>,
}

/// Why no key was made.
#[derive(Debug, Error)]
pub enum KeygenError {
    /// There is one already, or it cannot be written.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The address is none.
    #[error(transparent)]
    Url(#[from] ConfigError),
    /// It is not said which key.
    #[error("give --data DIR for an authority's key, or --family FILE")]
    Nothing,
}

/// Makes a key and gives what others have to know of it: the public half in hexadecimal, or an authority's entry as JSON.
///
/// # Errors
///
/// If there is a key already: none is ever replaced. Or if it cannot be written.
pub fn run(options: KeygenOptions) -> Result<String, KeygenError> {
    // Before there is a key that nobody has been told of.
    let url = options.url.as_deref().map(config::directory_url).transpose()?;
    match (options.data, options.family) {
        (Some(data), _) => {
            let key = keys::create_authority(&data)?.identity();
            Ok(match (options.nickname, url) {
                (Some(nickname), Some(url)) => Authority { nickname, key, url }.to_json(),
                _ => key.to_hex(),
            })
        }
        (None, Some(file)) => Ok(keys::create_family(&file)?.identity().to_hex()),
        (None, None) => Err(KeygenError::Nothing),
    }
}

#[cfg(test)]
mod tests {
    use allium_shared::netdir::Authorities;

    use super::*;
    use crate::files::tests::TestDir;

    fn options(data: PathBuf) -> KeygenOptions {
        KeygenOptions { data: Some(data), family: None, nickname: None, url: None }
    }

    #[test]
    fn an_entry_is_that_of_the_authority_that_starts_there() {
        let dir = TestDir::new();
        let data = dir.0.join("a");
        let named = KeygenOptions {
            nickname: Some("first".parse().unwrap()),
            url: Some("http://authority.example:7000/".to_owned()),
            ..options(data.clone())
        };
        let bad = KeygenOptions { url: Some("authority.example".to_owned()), ..named.clone() };
        assert!(matches!(run(bad), Err(KeygenError::Url(_))));
        assert!(!data.exists(), "nothing is made where something is wrong");
        let entry = run(named.clone()).unwrap();
        let list = Authorities::from_json(format!("{{\"authorities\":[{entry}]}}").as_bytes()).unwrap();
        let authority = list.iter().next().unwrap();
        assert_eq!((authority.nickname.as_str(), authority.url.as_str()), ("first", "http://authority.example:7000"));
        assert_eq!(authority.key, keys::authority(&data).unwrap().identity());
        assert!(matches!(run(named), Err(KeygenError::Keys(KeysError::Exists(_)))));
    }

    #[test]
    fn a_key_alone_is_printed_in_hexadecimal() {
        let dir = TestDir::new();
        let printed = run(options(dir.0.join("a"))).unwrap();
        assert_eq!(printed, keys::authority(&dir.0.join("a")).unwrap().identity().to_hex());
        let file = dir.0.join("family.key");
        let family = KeygenOptions { data: None, family: Some(file.clone()), ..options(PathBuf::new()) };
        assert_eq!(run(family.clone()).unwrap(), keys::family(&file).unwrap().identity().to_hex());
        assert!(run(family).unwrap_err().to_string().contains("already"));
    }
}
