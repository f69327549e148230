//! Project Wycheproof's vectors for what this crate takes from others, checked where this crate calls it.
//!
//! The files are lists of JSON objects in `tests/vectors/wycheproof/`; what is in them is said there. Each check returns
//! how many vectors it has run, or what it found wrong.

use core::convert::Infallible;

use data_encoding::HEXLOWER;
use ml_kem::DecapsulationKey768;
use rand_core::{TryCryptoRng, TryRng};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::crypto::handshake::{decapsulate, encapsulate_to};
use crate::crypto::keys::{OnionSecret, RelayIdentity};
use crate::link::record::Cipher;

/// X25519 as circuit handshakes use it.
pub fn x25519(json: &str) -> Result<usize, String> {
    check(json, |vector: &X25519| {
        let shared = OnionSecret::from_bytes(&vector.private).agree(&vector.public);
        outcome(vector.valid, shared.is_some_and(|shared| shared.as_bytes() == &vector.shared)).and_then(|()| {
            outcome(vector.valid, OnionSecret::from_bytes(&vector.private).agree(&vector.public).is_some())
        })
    })
}

/// Ed25519 as signatures of relays and authorities are verified with it.
pub fn ed25519(json: &str) -> Result<usize, String> {
    check(json, |vector: &Ed25519| {
        // Our signatures are of one length, and of none other by their type.
        let signature = vector.sig.0.as_slice().try_into();
        let verified =
            signature.is_ok_and(|signature| RelayIdentity(vector.key).verify_text(&vector.msg.0, signature).is_ok());
        outcome(vector.valid, verified)
    })
}

/// AES-256-GCM as link records use it.
pub fn aes_256_gcm(json: &str) -> Result<usize, String> {
    check(json, |vector| aead(&Cipher::aes_gcm, vector))
}

/// ChaCha20-Poly1305 as link records use it.
pub fn chacha20_poly1305(json: &str) -> Result<usize, String> {
    check(json, |vector| aead(&Cipher::cha_cha_poly, vector))
}

fn aead(cipher: &dyn Fn(&[u8; 32]) -> Cipher, vector: &Aead) -> Result<(), &'static str> {
    let cipher = cipher(&vector.key);
    let mut text = vector.ct.0.clone();
    let opened = cipher.decrypt(&vector.iv, &vector.aad.0, &mut text, &vector.tag).is_ok();
    outcome(vector.valid, opened && text == vector.msg.0)?;
    outcome(vector.valid, opened)?;
    let mut text = vector.msg.0.clone();
    let tag = cipher.encrypt(&vector.iv, &vector.aad.0, &mut text);
    outcome(vector.valid, tag == Ok(vector.tag) && text == vector.ct.0)
}

/// ML-KEM-768 as the client of a circuit handshake uses it.
pub fn ml_kem_768_decaps(json: &str) -> Result<usize, String> {
    check(json, |vector: &Decaps| {
        // Our seeds are of one length, and of none other by their type.
        let seed: Option<[u8; 64]> = vector.seed.0.as_slice().try_into().ok();
        let secret = seed.and_then(|seed| decapsulate(&DecapsulationKey768::from_seed(seed.into()), &vector.c.0));
        outcome(vector.valid, secret.as_ref().is_some_and(|secret| secret.as_slice() == vector.secret.0))?;
        outcome(vector.valid, secret.is_some())
    })
}

/// ML-KEM-768 as the server of a circuit handshake uses it.
pub fn ml_kem_768_encaps(json: &str) -> Result<usize, String> {
    check(json, |vector: &Encaps| {
        let made = encapsulate_to(&mut Fixed(vector.m), &vector.ek.0);
        let same = |(ciphertext, secret): &(_, zeroize::Zeroizing<ml_kem::SharedKey>)| {
            let ciphertext: &[u8; 1088] = ciphertext;
            ciphertext[..] == vector.c.0 && secret.as_slice() == vector.secret.0
        };
        outcome(vector.valid, made.as_ref().is_some_and(same))?;
        outcome(vector.valid, made.is_some())
    })
}

/// Whether what must work did, and nothing else.
fn outcome(valid: bool, worked: bool) -> Result<(), &'static str> {
    match (valid, worked) {
        (true, false) => Err("a valid vector is refused, or gives another result"),
        (false, true) => Err("an invalid vector is accepted"),
        _ => Ok(()),
    }
}

/// Runs every vector of a file; names those that fail.
fn check<V: DeserializeOwned>(json: &str, run: impl Fn(&V) -> Result<(), &'static str>) -> Result<usize, String> {
    #[derive(Deserialize)]
    struct Numbered<V> {
        id: u32,
        #[serde(flatten)]
        vector: V,
    }

    let vectors: Vec<Numbered<V>> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let wrong = |Numbered { id, vector }: &Numbered<V>| run(vector).err().map(|what| format!("{id}: {what}"));
    let failures: Vec<String> = vectors.iter().filter_map(wrong).collect();
    if failures.is_empty() { Ok(vectors.len()) } else { Err(failures.join("\n")) }
}

#[derive(Deserialize)]
struct X25519 {
    valid: bool,
    #[serde(deserialize_with = "array")]
    private: [u8; 32],
    #[serde(deserialize_with = "array")]
    public: [u8; 32],
    #[serde(deserialize_with = "array")]
    shared: [u8; 32],
}

#[derive(Deserialize)]
struct Ed25519 {
    valid: bool,
    #[serde(deserialize_with = "array")]
    key: [u8; 32],
    msg: Bytes,
    sig: Bytes,
}

#[derive(Deserialize)]
struct Aead {
    valid: bool,
    #[serde(deserialize_with = "array")]
    key: [u8; 32],
    #[serde(deserialize_with = "array")]
    iv: [u8; 12],
    aad: Bytes,
    msg: Bytes,
    ct: Bytes,
    #[serde(deserialize_with = "array")]
    tag: [u8; 16],
}

#[derive(Deserialize)]
struct Decaps {
    valid: bool,
    seed: Bytes,
    c: Bytes,
    #[serde(rename = "K")]
    secret: Bytes,
}

#[derive(Deserialize)]
struct Encaps {
    valid: bool,
    #[serde(deserialize_with = "array")]
    m: [u8; 32],
    ek: Bytes,
    c: Bytes,
    #[serde(rename = "K")]
    secret: Bytes,
}

/// Bytes in hexadecimal.
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        HEXLOWER.decode(text.as_bytes()).map(Self).map_err(serde::de::Error::custom)
    }
}

/// As many bytes in hexadecimal as the array has.
fn array<'de, const N: usize, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; N], D::Error> {
    let Bytes(bytes) = Bytes::deserialize(deserializer)?;
    bytes.try_into().map_err(|_| serde::de::Error::custom(format_args!("not {N} bytes")))
}

/// Gives out the same 32 bytes each time.
struct Fixed([u8; 32]);

impl TryRng for Fixed {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes([self.0[0], self.0[1], self.0[2], self.0[3]]))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        Ok(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for (out, byte) in out.iter_mut().zip(self.0.iter().cycle()) {
            *out = *byte;
        }
        Ok(())
    }
}

impl TryCryptoRng for Fixed {}

#[cfg(test)]
mod tests {

    macro_rules! vectors {
        ($($name:ident = $count:literal)*) => {$(
            #[test]
            fn $name() {
                let json = include_str!(concat!("../../tests/vectors/wycheproof/", stringify!($name), ".json"));
                assert_eq!(super::$name(json), Ok($count));
                // What is valid must not count as invalid, nor the other way round: so the checks check something.
                let swapped = json.replace("\"valid\":true", "\"valid\":null").replace("\"valid\":false", "\"valid\":true");
                let swapped = swapped.replace("\"valid\":null", "\"valid\":false");
                assert_eq!(super::$name(&swapped).unwrap_err().lines().count(), $count);
            }
        )*};
    }

    vectors! {
        x25519 = 518
        ed25519 = 151
        aes_256_gcm = 66
        chacha20_poly1305 = 236
        ml_kem_768_decaps = 43
        ml_kem_768_encaps = 35
    }

    #[test]
    fn a_vector_that_cannot_be_read_is_no_success() {
        assert!(super::x25519("[{}]").is_err());
        assert!(super::x25519("{}").is_err());
        assert_eq!(super::x25519("[]"), Ok(0));
    }
}
