//! The secret that opens a profile without a passphrase, sealed by a key that the browser reveals to no program.
//!
//! The browser generates the key as not extractable, and the database holds a handle to it. Pages of this origin can use
//! the key but not read it. Pages on insecure origins other than localhost have no such keys; there the database holds
//! the plain secret.

use allium_shared::vault::DeviceSecret;
use js_sys::{Array, Object, Promise, Reflect, Uint8Array};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Crypto, CryptoKey, SubtleCrypto};
use zeroize::Zeroizing;

use super::ProfileError;

const ALGORITHM: &str = "AES-GCM";
const KEY_BITS: u32 = 256;
const NONCE_LEN: usize = 12;

// The fields of the stored object.
const KEY: &str = "key";
const NONCE: &str = "nonce";
const SECRET: &str = "secret";

/// The stored form of a secret: sealed by a new key of the browser, with that key; or plain, if there are no keys.
pub(super) async fn keep(secret: &DeviceSecret) -> Result<JsValue, ProfileError> {
    keep_by(subtle(), secret).await.map_err(|_| ProfileError::Browser)
}

async fn keep_by(subtle: Option<SubtleCrypto>, secret: &DeviceSecret) -> Result<JsValue, JsValue> {
    let kept = Object::new();
    let secret = Uint8Array::from(secret.as_bytes().as_slice());
    let Some(subtle) = subtle else {
        Reflect::set(&kept, &SECRET.into(), &secret)?;
        return Ok(kept.into());
    };
    let algorithm = named(&[("length", &KEY_BITS.into())])?;
    let usages = Array::of2(&"encrypt".into(), &"decrypt".into());
    let key: CryptoKey = wait(subtle.generate_key_with_object(&algorithm, false, &usages)?).await?.dyn_into()?;
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce).map_err(|_| JsValue::NULL)?;
    let nonce = Uint8Array::from(nonce.as_slice());
    let algorithm = named(&[("iv", &nonce)])?;
    let sealed = wait(subtle.encrypt_with_object_and_js_u8_array(&algorithm, &key, &secret)?).await?;
    secret.fill(0, 0, secret.length());
    Reflect::set(&kept, &KEY.into(), &key)?;
    Reflect::set(&kept, &NONCE.into(), &nonce)?;
    Reflect::set(&kept, &SECRET.into(), &Uint8Array::new(&sealed))?;
    Ok(kept.into())
}

/// Recovers the secret from its stored form.
pub(super) async fn take(kept: &JsValue) -> Result<DeviceSecret, ProfileError> {
    take_by(subtle(), kept).await.map_err(|_| ProfileError::Browser)
}

async fn take_by(subtle: Option<SubtleCrypto>, kept: &JsValue) -> Result<DeviceSecret, JsValue> {
    let mut secret: Uint8Array = Reflect::get(kept, &SECRET.into())?.dyn_into()?;
    if is_guarded(kept) {
        let key: CryptoKey = Reflect::get(kept, &KEY.into())?.dyn_into()?;
        let algorithm = named(&[("iv", &Reflect::get(kept, &NONCE.into())?)])?;
        let subtle = subtle.ok_or(JsValue::NULL)?;
        secret = Uint8Array::new(&wait(subtle.decrypt_with_object_and_js_u8_array(&algorithm, &key, &secret)?).await?);
    }
    let bytes = Zeroizing::new(secret.to_vec());
    let opened = bytes.as_slice().try_into().map(DeviceSecret::from_bytes).map_err(|_| JsValue::NULL);
    secret.fill(0, 0, secret.length());
    opened
}

/// True if the secret is sealed by a key of the browser.
pub(super) fn is_guarded(kept: &JsValue) -> bool {
    Reflect::has(kept, &KEY.into()).unwrap_or(false)
}

/// `None` on insecure origins.
fn subtle() -> Option<SubtleCrypto> {
    let crypto = Reflect::get(&js_sys::global(), &"crypto".into()).ok()?.dyn_into::<Crypto>().ok()?;
    Reflect::get(&crypto, &"subtle".into()).ok()?.dyn_into().ok()
}

fn named(parameters: &[(&str, &JsValue)]) -> Result<Object, JsValue> {
    let algorithm = Object::new();
    Reflect::set(&algorithm, &"name".into(), &ALGORITHM.into())?;
    for (name, value) in parameters {
        Reflect::set(&algorithm, &(*name).into(), value)?;
    }
    Ok(algorithm)
}

async fn wait(promise: Promise) -> Result<JsValue, JsValue> {
    JsFuture::from(promise).await
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test]
    async fn a_secret_comes_back_and_its_key_stays_with_the_browser() {
        let secret = DeviceSecret::from_bytes(&[7; 32]);
        let kept = keep(&secret).await.unwrap();
        assert!(is_guarded(&kept));
        let key: CryptoKey = Reflect::get(&kept, &KEY.into()).unwrap().dyn_into().unwrap();
        assert!(!key.extractable());
        let sealed: Uint8Array = Reflect::get(&kept, &SECRET.into()).unwrap().dyn_into().unwrap();
        assert_eq!(sealed.length(), 32 + 16);
        assert_eq!(take(&kept).await.unwrap().as_bytes(), secret.as_bytes());

        sealed.set_index(3, sealed.get_index(3) ^ 1);
        assert_eq!(take(&kept).await.unwrap_err(), ProfileError::Browser);
    }

    #[wasm_bindgen_test]
    async fn without_keys_of_the_browser_s_the_secret_is_kept_as_it_is() {
        let secret = DeviceSecret::from_bytes(&[7; 32]);
        let kept = keep_by(None, &secret).await.unwrap();
        assert!(!is_guarded(&kept));
        assert_eq!(take_by(None, &kept).await.unwrap().as_bytes(), secret.as_bytes());
    }
}
