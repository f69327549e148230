//! ntor v3: a one-round handshake with a server that is known by identity and onion key (Tor proposal 332).
//!
//! Each side sends the other a message inside; the client's is encrypted to the onion key, so without forward secrecy,
//! the server's to both fresh keys. The server is authenticated, the client is not. Both must know the same verification
//! string, and learn nothing about the other's if they do not. What comes out is a [`KeyStream`].
//!
//! The caller names the usage by a [`Protocol`]; which messages are inside and how long they are is the usage's part.
//!
//! ```text
//! client handshake: identity (32) ‖ onion key B (32) ‖ ephemeral X (32) ‖ encrypted message ‖ MAC (32)
//! server handshake: ephemeral Y (32) ‖ AUTH (32) ‖ encrypted message
//! ```

use core::fmt;

use aes::Aes256;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use rand_core::CryptoRng;
use sha3::{Digest as _, Sha3_256};
use shake::{ExtendableOutput as _, Shake256, Update};
use subtle::ConstantTimeEq as _;
use x25519_dalek::SharedSecret;
use zeroize::Zeroizing;

use super::key_stream::KeyStream;
use super::keys::{OnionPublic, OnionSecret};

/// How much longer than the message inside a client's handshake is, in bytes.
pub const CLIENT_OVERHEAD: usize = 4 * 32;

/// How much longer than the message inside a server's handshake is, in bytes.
pub const SERVER_OVERHEAD: usize = 2 * 32;

/// What a handshake is for, and what both sides must know beside the keys.
#[derive(Clone, Copy)]
pub struct Protocol<'a> {
    /// Names the usage and what the messages inside mean; another meaning must get another name.
    pub protoid: &'static [u8],
    /// The verification string. It may be a secret.
    pub verification: &'a [u8],
}

/// The keys by which a client knows a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerPublic {
    /// Ed25519 identity; only compared here.
    pub identity: [u8; 32],
    /// X25519 onion key.
    pub onion_key: [u8; 32],
}

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NtorError {
    /// Bytes are missing.
    #[error("the peer sent {len} bytes, fewer than the {min} of a handshake without a message")]
    TooShort {
        /// How many came.
        len: usize,
        /// How many there must be.
        min: usize,
    },
    /// The client wants another server.
    #[error("the client addressed another identity")]
    OtherIdentity,
    /// The client uses an onion key that is not the one tried: an old one, or another server's.
    #[error("the client used another onion key")]
    OtherOnionKey,
    /// A public key would make the secret known to everybody.
    #[error("the peer's X25519 key is of small order")]
    SmallOrder,
    /// The peer has other keys or another verification string, or the bytes were changed on the way.
    #[error("the peer's handshake does not authenticate")]
    Authentication,
}

/// A client between its handshake and the server's.
pub struct Client {
    transcript: Transcript,
    ephemeral: OnionSecret,
}

impl Client {
    /// Begins a handshake that carries a message; returns what to send.
    ///
    /// Takes 32 bytes of randomness. Fails only if the server's onion key is of small order.
    pub fn start<R: CryptoRng + ?Sized>(
        rng: &mut R,
        protocol: Protocol<'_>,
        server: &ServerPublic,
        message: &[u8],
    ) -> Result<(Self, Vec<u8>), NtorError> {
        Self::start_with(OnionSecret::generate(rng), protocol, server, message)
    }

    fn start_with(
        ephemeral: OnionSecret,
        protocol: Protocol<'_>,
        server: &ServerPublic,
        message: &[u8],
    ) -> Result<(Self, Vec<u8>), NtorError> {
        let static_secret = ephemeral.agree(&server.onion_key).ok_or(NtorError::SmallOrder)?;
        let mut transcript = Transcript::new(protocol, *server, ephemeral.public(), static_secret);
        let mut encrypted = message.to_vec();
        let mac_key = transcript.encrypt_client_message(&mut encrypted);
        transcript.mac = transcript.client_mac(&mac_key, &encrypted);

        let handshake =
            [&server.identity, &server.onion_key, &transcript.client.0, &encrypted[..], &transcript.mac].concat();
        Ok((Self { transcript, ephemeral }, handshake))
    }

    /// Ends the handshake; returns the server's message and the key stream. A message that is not the server's answer to this
    /// handshake changes nothing.
    pub fn finish(&self, handshake: &[u8]) -> Result<(Vec<u8>, KeyStream), NtorError> {
        let too_short = NtorError::TooShort { len: handshake.len(), min: SERVER_OVERHEAD };
        let (server, rest) = handshake.split_first_chunk().ok_or(too_short)?;
        let (auth, encrypted) = rest.split_first_chunk::<32>().ok_or(too_short)?;

        let ephemeral_secret = self.ephemeral.agree(server).ok_or(NtorError::SmallOrder)?;
        let secrets = self.transcript.secrets(&ephemeral_secret, server);
        let expected = self.transcript.auth(&secrets.verify, server, encrypted);
        if !bool::from(expected.ct_eq(auth)) {
            return Err(NtorError::Authentication);
        }
        let mut message = encrypted.to_vec();
        let stream = self.transcript.final_stream(&secrets.key_seed, &mut message);
        Ok((message, stream))
    }
}

/// A server between a client's handshake and its own.
pub struct Server {
    transcript: Transcript,
}

impl Server {
    /// Receives a client's handshake; returns the client's message.
    pub fn receive(
        protocol: Protocol<'_>,
        identity: &[u8; 32],
        onion_key: &OnionSecret,
        handshake: &[u8],
    ) -> Result<(Self, Vec<u8>), NtorError> {
        let too_short = NtorError::TooShort { len: handshake.len(), min: CLIENT_OVERHEAD };
        let (wanted_identity, rest) = handshake.split_first_chunk::<32>().ok_or(too_short)?;
        let (wanted_key, rest) = rest.split_first_chunk::<32>().ok_or(too_short)?;
        let (client, rest) = rest.split_first_chunk().ok_or(too_short)?;
        let (encrypted, mac) = rest.split_last_chunk().ok_or(too_short)?;

        let server = ServerPublic { identity: *identity, onion_key: onion_key.public().0 };
        if !bool::from(wanted_identity.ct_eq(&server.identity)) {
            return Err(NtorError::OtherIdentity);
        }
        if !bool::from(wanted_key.ct_eq(&server.onion_key)) {
            return Err(NtorError::OtherOnionKey);
        }

        let static_secret = onion_key.agree(client).ok_or(NtorError::SmallOrder)?;
        let mut transcript = Transcript::new(protocol, server, OnionPublic(*client), static_secret);
        let mut message = encrypted.to_vec();
        let mac_key = transcript.encrypt_client_message(&mut message);
        transcript.mac = *mac;
        if !bool::from(transcript.client_mac(&mac_key, encrypted).ct_eq(mac)) {
            return Err(NtorError::Authentication);
        }
        Ok((Self { transcript }, message))
    }

    /// Answers with a message; returns what to send and the key stream.
    ///
    /// Takes 32 bytes of randomness.
    pub fn reply<R: CryptoRng + ?Sized>(self, rng: &mut R, message: &[u8]) -> Result<(Vec<u8>, KeyStream), NtorError> {
        self.reply_with(&OnionSecret::generate(rng), message)
    }

    fn reply_with(self, ephemeral: &OnionSecret, message: &[u8]) -> Result<(Vec<u8>, KeyStream), NtorError> {
        let transcript = self.transcript;
        let server = ephemeral.public().0;
        let ephemeral_secret = ephemeral.agree(&transcript.client.0).ok_or(NtorError::SmallOrder)?;
        let secrets = transcript.secrets(&ephemeral_secret, &server);
        let mut encrypted = message.to_vec();
        let stream = transcript.final_stream(&secrets.key_seed, &mut encrypted);
        let auth = transcript.auth(&secrets.verify, &server, &encrypted);
        Ok(([&server, &auth, &encrypted[..]].concat(), stream))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

/// What both sides know once the client has spoken, with the proposal's formulas over it.
struct Transcript {
    protoid: &'static [u8],
    /// VER
    verification: Zeroizing<Vec<u8>>,
    /// ID and B
    server: ServerPublic,
    /// X
    client: OnionPublic,
    /// Bx = Xb
    static_secret: SharedSecret,
    /// The client handshake's MAC, once it is known.
    mac: [u8; 32],
}

struct Secrets {
    key_seed: Zeroizing<[u8; 32]>,
    verify: Zeroizing<[u8; 32]>,
}

impl Transcript {
    fn new(
        Protocol { protoid, verification }: Protocol<'_>,
        server: ServerPublic,
        client: OnionPublic,
        static_secret: SharedSecret,
    ) -> Self {
        let verification = Zeroizing::new(verification.to_vec());
        Self { protoid, verification, server, client, static_secret, mac: [0; 32] }
    }

    /// Encrypts the client's message or, the same thing, decrypts it; returns the MAC's key.
    fn encrypt_client_message(&self, message: &mut [u8]) -> Zeroizing<[u8; 32]> {
        let mut kdf: Shake256 = self.tweaked(b":kdf_phase1");
        kdf.update(self.static_secret.as_bytes());
        kdf.update(&self.server.identity);
        kdf.update(&self.client.0);
        kdf.update(&self.server.onion_key);
        kdf.update(self.protoid);
        encapsulate(&mut kdf, &self.verification);
        let mut keys = KeyStream::from(kdf.finalize_xof());
        encrypt(&mut keys, message);
        let mut mac_key = Zeroizing::new([0; 32]);
        keys.read(&mut *mac_key);
        mac_key
    }

    fn client_mac(&self, key: &[u8; 32], encrypted: &[u8]) -> [u8; 32] {
        let mut mac: Sha3_256 = self.tweaked(b":msg_mac");
        encapsulate(&mut mac, key);
        Update::update(&mut mac, &self.server.identity);
        Update::update(&mut mac, &self.server.onion_key);
        Update::update(&mut mac, &self.client.0);
        Update::update(&mut mac, encrypted);
        mac.finalize().into()
    }

    /// From the ephemeral secret Xy = Yx and the server's ephemeral key Y.
    fn secrets(&self, ephemeral_secret: &SharedSecret, server: &[u8; 32]) -> Secrets {
        let digest = |tweak| {
            let mut hash: Sha3_256 = self.tweaked(tweak);
            Update::update(&mut hash, ephemeral_secret.as_bytes());
            Update::update(&mut hash, self.static_secret.as_bytes());
            Update::update(&mut hash, &self.server.identity);
            Update::update(&mut hash, &self.server.onion_key);
            Update::update(&mut hash, &self.client.0);
            Update::update(&mut hash, server);
            Update::update(&mut hash, self.protoid);
            encapsulate(&mut hash, &self.verification);
            Zeroizing::new(hash.finalize().into())
        };
        Secrets { key_seed: digest(b":key_seed"), verify: digest(b":verify") }
    }

    fn auth(&self, verify: &[u8; 32], server: &[u8; 32], encrypted: &[u8]) -> [u8; 32] {
        let mut hash: Sha3_256 = self.tweaked(b":auth_final");
        Update::update(&mut hash, verify);
        Update::update(&mut hash, &self.server.identity);
        Update::update(&mut hash, &self.server.onion_key);
        Update::update(&mut hash, server);
        Update::update(&mut hash, &self.client.0);
        Update::update(&mut hash, &self.mac);
        encapsulate(&mut hash, encrypted);
        Update::update(&mut hash, self.protoid);
        Update::update(&mut hash, b"Server");
        hash.finalize().into()
    }

    /// Encrypts the server's message or, the same thing, decrypts it; returns what follows of the key stream.
    fn final_stream(&self, key_seed: &[u8; 32], message: &mut [u8]) -> KeyStream {
        let mut kdf: Shake256 = self.tweaked(b":kdf_final");
        kdf.update(key_seed);
        let mut stream = KeyStream::from(kdf.finalize_xof());
        encrypt(&mut stream, message);
        stream
    }

    /// A hash that has taken `ENCAP(PROTOID ‖ tweak)`.
    fn tweaked<H: Update + Default>(&self, tweak: &[u8]) -> H {
        let mut hash = H::default();
        hash.update(&((self.protoid.len() + tweak.len()) as u64).to_be_bytes());
        hash.update(self.protoid);
        hash.update(tweak);
        hash
    }
}

/// `ENCAP(s)`: a length of 8 bytes, then the bytes.
pub(super) fn encapsulate<H: Update>(hash: &mut H, bytes: &[u8]) {
    hash.update(&(bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

/// `ENC(k,m)`: AES-256 in counter mode from zero, under the next 32 bytes of a stream.
fn encrypt(keys: &mut KeyStream, message: &mut [u8]) {
    let mut key = Zeroizing::new([0; 32]);
    keys.read(&mut *key);
    Ctr128BE::<Aes256>::new((&*key).into(), &[0; 16].into()).apply_keystream(message);
}

/// Runs the vectors of a file like `tests/vectors/ntor_v3.json` through both sides; gives their number, or what differs.
#[cfg(any(test, feature = "vectors"))]
pub fn check_vectors(json: &str) -> Result<usize, String> {
    let file: serde_json::Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let vectors = file["vectors"].as_array().ok_or("no vectors")?;
    vectors.iter().try_for_each(check_vector)?;
    Ok(vectors.len())
}

#[cfg(any(test, feature = "vectors"))]
fn check_vector(vector: &serde_json::Value) -> Result<(), String> {
    let field = |name: &str| {
        let text = vector[name].as_str().ok_or_else(|| format!("{name} is missing"))?;
        data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|error| format!("{name}: {error}"))
    };
    let key = |name: &str| <[u8; 32]>::try_from(field(name)?).map_err(|_| format!("{name} is no key"));
    let same = |name: &str, got: &[u8]| if field(name)? == got { Ok(()) } else { Err(format!("{name} differs")) };
    let failed = |error: NtorError| error.to_string();

    let verification = field("VER")?;
    let protocol = Protocol { protoid: b"ntor3-curve25519-sha3_256-1", verification: &verification };
    let onion_key = OnionSecret::from_bytes(&key("b")?);
    let server = ServerPublic { identity: key("ID")?, onion_key: onion_key.public().0 };
    same("B", &server.onion_key)?;

    let x = OnionSecret::from_bytes(&key("x")?);
    let (client, sent) = Client::start_with(x, protocol, &server, &field("CM")?).map_err(failed)?;
    same("client_handshake", &sent)?;

    let (server, received) = Server::receive(protocol, &server.identity, &onion_key, &sent).map_err(failed)?;
    same("CM", &received)?;
    let y = OnionSecret::from_bytes(&key("y")?);
    let (sent, mut server_keys) = server.reply_with(&y, &field("SM")?).map_err(failed)?;
    same("server_handshake", &sent)?;

    let (received, mut client_keys) = client.finish(&sent).map_err(failed)?;
    same("SM", &received)?;
    for keys in [&mut server_keys, &mut client_keys] {
        let mut stream = [0; 256];
        keys.read(&mut stream);
        same("KEYSTREAM", &stream)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    use super::*;

    #[test]
    fn the_published_vector_is_reproduced() {
        assert_eq!(check_vectors(include_str!("../../../tests/vectors/ntor_v3.json")), Ok(1));
    }

    #[test]
    fn a_changed_vector_is_not() {
        let json = include_str!("../../../tests/vectors/ntor_v3.json");
        let mut vectors: serde_json::Value = serde_json::from_str(json).unwrap();
        for name in ["VER", "b", "ID", "B", "x", "CM", "client_handshake", "y", "SM", "server_handshake", "KEYSTREAM"] {
            let mut vectors = vectors.clone();
            let field = &mut vectors["vectors"][0][name];
            let text = field.as_str().unwrap();
            // X25519 ignores the highest bit and three of the lowest.
            let middle = text.len() / 2;
            let other = if &text[middle..=middle] == "0" { "1" } else { "0" };
            *field = format!("{}{other}{}", &text[..middle], &text[middle + 1..]).into();
            assert!(check_vectors(&vectors.to_string()).is_err(), "{name}");
        }
        vectors["vectors"] = serde_json::Value::Null;
        assert!(check_vectors(&vectors.to_string()).is_err());
    }

    const PROTOCOL: Protocol<'static> = Protocol { protoid: b"test", verification: b"known to both" };

    struct Pair {
        rng: ChaCha20Rng,
        onion_key: OnionSecret,
        server: ServerPublic,
    }

    fn pair() -> Pair {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let onion_key = OnionSecret::generate(&mut rng);
        let server = ServerPublic { identity: [7; 32], onion_key: onion_key.public().0 };
        Pair { rng, onion_key, server }
    }

    #[test]
    fn who_does_not_know_the_same_fails() {
        let Pair { mut rng, onion_key, server } = pair();
        let (_, sent) = Client::start(&mut rng, PROTOCOL, &server, b"hello").unwrap();
        let receive =
            |protocol, identity, key| Server::receive(protocol, identity, key, &sent).map(|(_, message)| message);

        assert_eq!(receive(PROTOCOL, &[7; 32], &onion_key), Ok(b"hello".to_vec()));
        assert_eq!(receive(PROTOCOL, &[8; 32], &onion_key), Err(NtorError::OtherIdentity));
        let other_key = OnionSecret::from_bytes(&[1; 32]);
        assert_eq!(receive(PROTOCOL, &[7; 32], &other_key), Err(NtorError::OtherOnionKey));
        let other_verification = Protocol { verification: b"another", ..PROTOCOL };
        assert_eq!(receive(other_verification, &[7; 32], &onion_key), Err(NtorError::Authentication));
        let other_protocol = Protocol { protoid: b"another", ..PROTOCOL };
        assert_eq!(receive(other_protocol, &[7; 32], &onion_key), Err(NtorError::Authentication));
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let Pair { mut rng, onion_key, server } = pair();
        let (_, sent) = Client::start(&mut rng, PROTOCOL, &server, b"hello").unwrap();
        for at in 0..sent.len() {
            let mut changed = sent.clone();
            changed[at] ^= 1;
            assert!(Server::receive(PROTOCOL, &[7; 32], &onion_key, &changed).is_err(), "byte {at}");
            assert!(Server::receive(PROTOCOL, &[7; 32], &onion_key, &sent[..at]).is_err(), "length {at}");
        }
        let short = Server::receive(PROTOCOL, &[7; 32], &onion_key, &sent[..127]).map(drop);
        assert_eq!(short, Err(NtorError::TooShort { len: 127, min: 128 }));

        for at in 0..SERVER_OVERHEAD + 5 {
            for cut in [false, true] {
                let (client, sent) = Client::start(&mut rng, PROTOCOL, &server, b"hello").unwrap();
                let (server, _) = Server::receive(PROTOCOL, &[7; 32], &onion_key, &sent).unwrap();
                let (mut reply, _) = server.reply(&mut rng, b"hello").unwrap();
                if cut {
                    reply.truncate(at);
                } else {
                    reply[at] ^= 1;
                }
                let error = client.finish(&reply).map(drop).unwrap_err();
                let too_short = NtorError::TooShort { len: at, min: SERVER_OVERHEAD };
                let expected = if cut && at < SERVER_OVERHEAD { too_short } else { NtorError::Authentication };
                assert_eq!(error, expected);
            }
        }
    }

    #[test]
    fn keys_of_small_order_are_refused() {
        let Pair { mut rng, onion_key, server } = pair();
        let weak = ServerPublic { onion_key: [0; 32], ..server };
        assert_eq!(Client::start(&mut rng, PROTOCOL, &weak, b"").map(drop), Err(NtorError::SmallOrder));

        let (client, mut sent) = Client::start(&mut rng, PROTOCOL, &server, b"").unwrap();
        sent[64..96].fill(0);
        assert_eq!(Server::receive(PROTOCOL, &[7; 32], &onion_key, &sent).map(drop), Err(NtorError::SmallOrder));
        assert_eq!(client.finish(&[0; 64]).map(drop), Err(NtorError::SmallOrder));
    }
}
