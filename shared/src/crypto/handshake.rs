//! The circuit handshake: ntor v3 with ML-KEM-768 inside, so that recorded circuits stay closed to quantum computers.
//!
//! The client's ntor v3 message is a fresh encapsulation key, the server's the ciphertext; both secrets go into the key
//! stream. There is no variant without ML-KEM. Authentication of the server is ntor v3's, so classical; that the ML-KEM
//! half agrees shows when the first cell is recognised.
//!
//! The verification string is empty between a client and a relay. Between contacts it is their common secret, which then
//! protects this handshake even from somebody who breaks both key agreements.
//!
//! Between contacts the client's message also carries where the server is to come, and leaves out the server's identity and
//! key, which both know: so the relay that hands it on sees nothing that it could recognise another time.
//!
//! ```text
//! client message: version (2, big-endian) ‖ ntor v3 client handshake(encapsulation key (1184)), together 1314 bytes
//! introduction:   version (2, big-endian) ‖ ntor v3 client handshake(encapsulation key (1184) ‖ payload (60)) without its
//!                 first 64 bytes, together 1310 bytes
//! server message: version (2, big-endian) ‖ ntor v3 server handshake(ciphertext (1088)), together 1154 bytes
//! key stream:     SHAKE256(ENCAP(label) ‖ ENCAP(first 64 bytes of the ntor v3 key stream)
//!                          ‖ ENCAP(ML-KEM secret) ‖ ENCAP(SHA3-256(client message ‖ server message)))
//! ```

use core::fmt;

use ml_kem::array::Array;
use ml_kem::kem::{Decapsulate as _, Encapsulate as _, KeyExport as _};
use ml_kem::{DecapsulationKey768, EncapsulationKey768, SharedKey};
use rand_core::CryptoRng;
use sha3::{Digest as _, Sha3_256};
use shake::{ExtendableOutput as _, Shake256};
use zeroize::Zeroizing;

pub use super::key_stream::{BINDING_LEN, CircuitKeys, KeyStream};
use super::keys::OnionSecret;
pub use super::ntor_v3::ServerPublic;
use super::ntor_v3::{CLIENT_OVERHEAD, Client, NtorError, Protocol, SERVER_OVERHEAD, Server, encapsulate};

/// The version of this handshake that this code speaks.
pub const VERSION: u16 = 1;

/// Length of a client's message, in bytes: with a circuit's framing, three cells.
pub const CLIENT_MESSAGE_LEN: usize = size_of::<u16>() + CLIENT_OVERHEAD + ENCAPSULATION_KEY_LEN;

/// Length of a server's message, in bytes: with a circuit's framing, three cells.
pub const SERVER_MESSAGE_LEN: usize = size_of::<u16>() + SERVER_OVERHEAD + CIPHERTEXT_LEN;

/// Length of what an introduction carries, in bytes.
pub const PAYLOAD_LEN: usize = 60;

/// Length of an introduction, in bytes.
pub const INTRODUCTION_LEN: usize = CLIENT_MESSAGE_LEN + PAYLOAD_LEN - SERVER_LEN;

/// Length of what names the server in a client's message, in bytes.
const SERVER_LEN: usize = 2 * 32;

const ENCAPSULATION_KEY_LEN: usize = 1184;
const CIPHERTEXT_LEN: usize = 1088;

/// ntor v3's PROTOID for this usage; changes with [`VERSION`].
const PROTOID: &[u8] = b"allium-ntor3-curve25519-mlkem768-sha3_256-1";

/// The same for introductions.
const INTRODUCTION_PROTOID: &[u8] = b"allium-introduction-ntor3-curve25519-mlkem768-sha3_256-1";

/// What the hybrid key stream's derivation begins with; changes with [`VERSION`].
const LABEL: &[u8] = b"allium circuit key stream 1";

/// Why a circuit handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// A message of a wrong size.
    #[error("the peer sent a handshake message of {len} bytes instead of {expected}")]
    Length {
        /// How many bytes came.
        len: usize,
        /// How many there must be.
        expected: usize,
    },
    /// A version that this code does not speak.
    #[error("the peer speaks version {0} of the circuit handshake, not {VERSION}")]
    Version(u16),
    /// The classical half failed.
    #[error(transparent)]
    Ntor(#[from] NtorError),
    /// The client's ML-KEM key is out of range (FIPS 203, section 7.2).
    #[error("the client's ML-KEM encapsulation key is malformed")]
    EncapsulationKey,
}

/// A client between its message and the server's.
pub struct ClientHandshake {
    ntor: Client,
    decapsulation_key: DecapsulationKey768,
    /// Has taken the client's message.
    messages: Sha3_256,
}

impl ClientHandshake {
    /// Begins a handshake; returns the message to send.
    ///
    /// Takes 96 bytes of randomness: the seed d ‖ z of the ML-KEM key pair, then the X25519 secret. Fails only if the
    /// server's onion key is of small order.
    pub fn start<R: CryptoRng + ?Sized>(
        rng: &mut R,
        server: &ServerPublic,
        verification: &[u8],
    ) -> Result<(Self, [u8; CLIENT_MESSAGE_LEN]), HandshakeError> {
        let (handshake, inner) = Self::begin(rng, protocol(verification), server, &[])?;
        Ok((handshake, framed(&inner)))
    }

    /// Begins a handshake between contacts; returns the introduction to send.
    ///
    /// Takes the same randomness as [`Self::start`], and fails like it.
    pub fn introduce<R: CryptoRng + ?Sized>(
        rng: &mut R,
        server: &ServerPublic,
        verification: &[u8],
        payload: &[u8; PAYLOAD_LEN],
    ) -> Result<(Self, [u8; INTRODUCTION_LEN]), HandshakeError> {
        let protocol = Protocol { protoid: INTRODUCTION_PROTOID, verification };
        let (handshake, inner) = Self::begin(rng, protocol, server, payload)?;
        Ok((handshake, framed(inner.get(SERVER_LEN..).unwrap_or_default())))
    }

    fn begin<R: CryptoRng + ?Sized>(
        rng: &mut R,
        protocol: Protocol<'_>,
        server: &ServerPublic,
        payload: &[u8],
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        let mut seed = Zeroizing::new([0; 64]);
        rng.fill_bytes(&mut *seed);
        let decapsulation_key = DecapsulationKey768::from_seed(Array::from(*seed));
        let encapsulation_key = decapsulation_key.encapsulation_key().to_bytes();
        let (ntor, inner) = Client::start(rng, protocol, server, &[&encapsulation_key, payload].concat())?;
        let messages = Sha3_256::new_with_prefix(VERSION.to_be_bytes()).chain_update(&inner);
        Ok((Self { ntor, decapsulation_key, messages }, inner))
    }

    /// Ends the handshake with the server's message. One that does not answer this handshake changes nothing.
    pub fn finish(&self, server_message: &[u8]) -> Result<KeyStream, HandshakeError> {
        let inner = unframe::<SERVER_MESSAGE_LEN>(server_message)?;
        let (ciphertext, ntor_stream) = self.ntor.finish(inner)?;
        let wrong_length = HandshakeError::Length { len: server_message.len(), expected: SERVER_MESSAGE_LEN };
        let secret = decapsulate(&self.decapsulation_key, &ciphertext).ok_or(wrong_length)?;
        Ok(combine(ntor_stream, &secret, self.messages.clone().chain_update(server_message)))
    }
}

impl fmt::Debug for ClientHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientHandshake").finish_non_exhaustive()
    }
}

/// Answers a client's message as the server with this identity and onion key; returns the message to send.
///
/// Takes 64 bytes of randomness: the ML-KEM message, then the X25519 secret. A server with several onion keys finds the
/// right one by [`wanted_onion_key`].
pub fn respond<R: CryptoRng + ?Sized>(
    rng: &mut R,
    identity: &[u8; 32],
    onion_key: &OnionSecret,
    verification: &[u8],
    client_message: &[u8],
) -> Result<([u8; SERVER_MESSAGE_LEN], KeyStream), HandshakeError> {
    let inner = unframe::<CLIENT_MESSAGE_LEN>(client_message)?;
    let (ntor, encapsulation_key) = Server::receive(protocol(verification), identity, onion_key, inner)?;
    let messages = Sha3_256::new_with_prefix(client_message);
    ServerHandshake { ntor, encapsulation_key, messages }.reply(rng)
}

/// A server between an introduction and its answer.
pub struct ServerHandshake {
    ntor: Server,
    encapsulation_key: Vec<u8>,
    /// Has taken the client's message.
    messages: Sha3_256,
}

impl ServerHandshake {
    /// Receives an introduction as the server with this identity and key; gives what it carries.
    pub fn receive(
        identity: &[u8; 32],
        onion_key: &OnionSecret,
        verification: &[u8],
        introduction: &[u8],
    ) -> Result<(Self, [u8; PAYLOAD_LEN]), HandshakeError> {
        let rest = unframe::<INTRODUCTION_LEN>(introduction)?;
        let inner = [identity, &onion_key.public().0, rest].concat();
        let protocol = Protocol { protoid: INTRODUCTION_PROTOID, verification };
        let (ntor, mut encapsulation_key) = Server::receive(protocol, identity, onion_key, &inner)?;
        let payload = encapsulation_key.split_off(ENCAPSULATION_KEY_LEN.min(encapsulation_key.len()));
        let wrong_length = HandshakeError::Length { len: introduction.len(), expected: INTRODUCTION_LEN };
        let payload = payload.try_into().map_err(|_| wrong_length)?;
        let messages = Sha3_256::new_with_prefix(VERSION.to_be_bytes()).chain_update(&inner);
        Ok((Self { ntor, encapsulation_key, messages }, payload))
    }

    /// Answers; returns the message to send.
    ///
    /// Takes the same randomness as [`respond`].
    pub fn reply<R: CryptoRng + ?Sized>(
        self,
        rng: &mut R,
    ) -> Result<([u8; SERVER_MESSAGE_LEN], KeyStream), HandshakeError> {
        let (ciphertext, secret) =
            encapsulate_to(rng, &self.encapsulation_key).ok_or(HandshakeError::EncapsulationKey)?;
        let (inner, ntor_stream) = self.ntor.reply(rng, &ciphertext)?;
        let message = framed(&inner);
        Ok((message, combine(ntor_stream, &secret, self.messages.chain_update(message))))
    }
}

impl fmt::Debug for ServerHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandshake").finish_non_exhaustive()
    }
}

/// The onion key that a client's message was made for; nothing if the message is too short to say.
pub fn wanted_onion_key(client_message: &[u8]) -> Option<[u8; 32]> {
    client_message.get(size_of::<u16>() + 32..)?.first_chunk().copied()
}

/// Makes a secret and its ciphertext for the holder of an ML-KEM-768 key; nothing if that is malformed. Takes 32 bytes of
/// randomness.
pub(crate) fn encapsulate_to<R: CryptoRng + ?Sized>(
    rng: &mut R,
    encapsulation_key: &[u8],
) -> Option<([u8; CIPHERTEXT_LEN], Zeroizing<SharedKey>)> {
    let key = EncapsulationKey768::new(encapsulation_key.try_into().ok()?).ok()?;
    let (ciphertext, secret) = key.encapsulate_with_rng(rng);
    Some((ciphertext.into(), Zeroizing::new(secret)))
}

/// The secret in an ML-KEM-768 ciphertext; nothing if its length is wrong.
pub(crate) fn decapsulate(key: &DecapsulationKey768, ciphertext: &[u8]) -> Option<Zeroizing<SharedKey>> {
    key.decapsulate_slice(ciphertext).ok().map(Zeroizing::new)
}

fn protocol(verification: &[u8]) -> Protocol<'_> {
    Protocol { protoid: PROTOID, verification }
}

/// Puts the version before a handshake of ntor v3.
fn framed<const N: usize>(inner: &[u8]) -> [u8; N] {
    let mut message = [0; N];
    let (version, rest) = message.split_at_mut(size_of::<u16>());
    version.copy_from_slice(&VERSION.to_be_bytes());
    rest.copy_from_slice(inner);
    message
}

/// Checks length and version of a message; returns the handshake of ntor v3.
fn unframe<const N: usize>(message: &[u8]) -> Result<&[u8], HandshakeError> {
    let wrong_length = HandshakeError::Length { len: message.len(), expected: N };
    let (version, inner) = message.split_first_chunk().ok_or(wrong_length)?;
    match u16::from_be_bytes(*version) {
        // Another version may have another length: what is wrong with it is the version.
        version if version != VERSION => Err(HandshakeError::Version(version)),
        _ if message.len() != N => Err(wrong_length),
        _ => Ok(inner),
    }
}

/// The hybrid key stream; needs both secrets, and every bit of both messages.
fn combine(mut ntor_stream: KeyStream, ml_kem_secret: &SharedKey, messages: Sha3_256) -> KeyStream {
    let mut ntor_secret = Zeroizing::new([0; 64]);
    ntor_stream.read(&mut *ntor_secret);
    let mut kdf = Shake256::default();
    encapsulate(&mut kdf, LABEL);
    encapsulate(&mut kdf, &*ntor_secret);
    encapsulate(&mut kdf, ml_kem_secret);
    encapsulate(&mut kdf, &messages.finalize());
    KeyStream::from(kdf.finalize_xof())
}

#[cfg(test)]
mod tests;
