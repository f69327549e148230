//! A profile at rest: headers and records.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::fields::Bytes;
use super::{Outcome, same, same_bytes, text};
use crate::vault::{Cost, DeviceSecret, Header, Vault};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderFields {
    profile: Bytes,
    key: Bytes,
    passphrase: Option<PassphraseFields>,
    secret: Option<Bytes>,
    nonce: Bytes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PassphraseFields {
    text: String,
    memory: u32,
    passes: u32,
    lanes: u8,
    salt: Bytes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RecordFields {
    profile: Bytes,
    key: Bytes,
    nonce: Bytes,
    record: String,
    value: Bytes,
}

impl HeaderFields {
    pub(super) fn check(&self, bytes: &[u8]) -> Outcome {
        let vault = vault(&self.profile, &self.key)?;
        let header = Header::decode(bytes).map_err(text)?;
        let (built, opened, name) = match (&self.passphrase, &self.secret) {
            (Some(fields), None) => {
                let PassphraseFields { text: passphrase, memory, passes, lanes, salt } = fields;
                let cost = Cost { memory: *memory, passes: *passes, lanes: *lanes };
                let mut drawn = Drawn([salt.get()?, self.nonce.get()?].concat());
                let built = vault.header_for_passphrase(&mut drawn, passphrase, cost).map_err(text)?;
                (built, header.unlock_by_passphrase(passphrase), "profile header, passphrase")
            }
            (None, Some(secret)) => {
                let secret = DeviceSecret::from_bytes(&secret.array()?);
                let built = vault.header_for_device(&mut Drawn(self.nonce.get()?), &secret);
                (built, header.unlock_by_device(&secret), "profile header, device")
            }
            _ => return Err("a header has either a passphrase or a secret".to_owned()),
        };
        same_bytes(&built, bytes)?;
        same("the profile's key", opened.map_err(text)?.parts(), vault.parts())?;
        Ok(vec![name.to_owned()])
    }
}

impl RecordFields {
    pub(super) fn check(&self, bytes: &[u8]) -> Outcome {
        let (vault, value) = (vault(&self.profile, &self.key)?, self.value.get()?);
        let mut drawn = Drawn(self.nonce.get()?);
        let (name, sealed) = vault.seal_record(&mut drawn, &self.record, &value).map_err(text)?;
        same_bytes(&[&name, &*sealed].concat(), bytes)?;
        let opened = vault.open_record(&name, &sealed).map_err(text)?;
        same("the record", opened, (self.record.clone(), value))?;
        Ok(vec!["profile record".to_owned()])
    }
}

fn vault(id: &Bytes, key: &Bytes) -> Result<Vault, String> {
    Ok(Vault::new(id.array()?, Zeroizing::new(key.array()?)))
}

/// Gives out these bytes, in their order, and then zeros.
struct Drawn(Vec<u8>);

impl TryRng for Drawn {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(0)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        let len = out.len().min(self.0.len());
        for (to, from) in out.iter_mut().zip(self.0.drain(..len)) {
            *to = from;
        }
        Ok(())
    }
}

impl TryCryptoRng for Drawn {}
