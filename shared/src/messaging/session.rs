//! Olm between two contacts, by vodozemac. Each contact gets an account of its own, so that nothing links them.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vodozemac::Curve25519PublicKey;
use vodozemac::olm::{Account, AccountPickle, OlmMessage, Session, SessionConfig, SessionPickle};

/// One's own long-term Olm keys towards one contact.
pub struct OlmAccount(Account);

impl OlmAccount {
    /// New keys, a one-time key among them; vodozemac draws them from the system.
    pub fn generate() -> Self {
        let mut account = Account::new();
        account.generate_one_time_keys(1);
        Self(account)
    }

    /// The identity key.
    pub fn identity(&self) -> [u8; 32] {
        self.0.curve25519_key().to_bytes()
    }

    /// The one-time key for the contact to begin a session with, until a session has used it; then zeros.
    pub fn one_time_key(&self) -> [u8; 32] {
        // Marking a key as published takes it out of this list; we publish to one contact only and never mark.
        self.0.one_time_keys().values().next().map(Curve25519PublicKey::to_bytes).unwrap_or_default()
    }

    /// Begins a session with a contact, and the first message that it must see.
    ///
    /// # Errors
    ///
    /// If the contact's keys are none.
    pub fn begin(
        &self,
        identity: [u8; 32],
        one_time_key: [u8; 32],
        first: &[u8],
    ) -> Result<(OlmSession, Vec<u8>), SessionError> {
        let mut session = self
            .0
            .create_outbound_session(
                SessionConfig::version_1(),
                Curve25519PublicKey::from_bytes(identity),
                Curve25519PublicKey::from_bytes(one_time_key),
            )
            .map_err(|_| SessionError::Keys)?;
        let message = session.encrypt(first).map_err(|_| SessionError::Encrypt)?;
        Ok((OlmSession(session), encode(&message)))
    }

    /// Takes up the session that a contact began; gives it with the first message's content.
    ///
    /// # Errors
    ///
    /// If the message is none that begins a session with these keys.
    pub fn accept(&mut self, identity: [u8; 32], message: &[u8]) -> Result<(OlmSession, Vec<u8>), SessionError> {
        let OlmMessage::PreKey(message) = decode(message)? else { return Err(SessionError::Message) };
        let identity = Curve25519PublicKey::from_bytes(identity);
        let created = self
            .0
            .create_inbound_session(SessionConfig::version_1(), identity, &message)
            .map_err(|_| SessionError::Keys)?;
        Ok((OlmSession(created.session), created.plaintext))
    }
}

/// An Olm session with one contact.
pub struct OlmSession(Session);

impl OlmSession {
    /// Encrypts a message.
    ///
    /// # Errors
    ///
    /// If the session has come to its end.
    pub fn encrypt(&mut self, content: &[u8]) -> Result<Vec<u8>, SessionError> {
        Ok(encode(&self.0.encrypt(content).map_err(|_| SessionError::Encrypt)?))
    }

    /// Decrypts a message.
    ///
    /// # Errors
    ///
    /// If it is none that the contact encrypted in this session.
    pub fn decrypt(&mut self, message: &[u8]) -> Result<Vec<u8>, SessionError> {
        self.0.decrypt(&decode(message)?).map_err(|_| SessionError::Decrypt)
    }
}

fn encode(message: &OlmMessage) -> Vec<u8> {
    let (kind, bytes) = message.to_parts();
    let mut out = vec![kind as u8];
    out.extend_from_slice(&bytes);
    out
}

fn decode(message: &[u8]) -> Result<OlmMessage, SessionError> {
    let (kind, bytes) = message.split_first().ok_or(SessionError::Message)?;
    OlmMessage::from_parts(usize::from(*kind), bytes).map_err(|_| SessionError::Message)
}

macro_rules! pickled {
    ($name:ident, $inner:ident, $pickle:ident) => {
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.pickle().serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(Self($inner::from_pickle($pickle::deserialize(deserializer)?)))
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}
pickled!(OlmAccount, Account, AccountPickle);
pickled!(OlmSession, Session, SessionPickle);

/// Why Olm could not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SessionError {
    /// Keys that do not make a session.
    #[error("the contact's keys do not make a session")]
    Keys,
    /// Bytes that are no Olm message.
    #[error("the contact sent bytes that are no Olm message")]
    Message,
    /// Nothing can be encrypted any more.
    #[error("the session has come to its end")]
    Encrypt,
    /// The session and the message do not fit.
    #[error("the contact's message does not decrypt")]
    Decrypt,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_survives_storing_at_any_point() {
        fn stored<T: Serialize + for<'de> Deserialize<'de>>(value: &T) -> T {
            serde_json::from_slice(&serde_json::to_vec(value).unwrap()).unwrap()
        }
        let visitor = OlmAccount::generate();
        let key = visitor.one_time_key();
        let mut visitor = stored(&visitor);
        assert_eq!(visitor.one_time_key(), key);

        let host = OlmAccount::generate();
        let (host_session, first) = host.begin(visitor.identity(), key, b"welcome").unwrap();
        let mut host_session = stored(&host_session);
        let (session, content) = visitor.accept(host.identity(), &first).unwrap();
        assert_eq!(content, b"welcome");
        let mut session = stored(&session);
        for n in 0..5_u8 {
            let there = session.encrypt(&[n]).unwrap();
            assert_eq!(stored(&host_session).decrypt(&there).unwrap(), [n]);
            assert_eq!(host_session.decrypt(&there).unwrap(), [n]);
            assert_eq!(host_session.decrypt(&there), Err(SessionError::Decrypt));
            let back = host_session.encrypt(&[n, n]).unwrap();
            assert_eq!(session.decrypt(&back).unwrap(), [n, n]);
        }
    }

    #[test]
    fn a_session_of_somebody_else_is_refused() {
        let mut visitor = OlmAccount::generate();
        let key = visitor.one_time_key();
        let (host, other) = (OlmAccount::generate(), OlmAccount::generate());
        let (_, first) = host.begin(visitor.identity(), key, b"").unwrap();
        assert_eq!(visitor.accept(other.identity(), &first).err(), Some(SessionError::Keys));
        assert_eq!(visitor.accept(host.identity(), b"").err(), Some(SessionError::Message));
    }
}
