//! The handshake of links: Noise, in the pattern that the initiator's kind asks for.
//!
//! - A page, or whoever does not say who he is: `Noise_NK_25519_ChaChaPoly_SHA256`, two messages.
//! - A relay: `Noise_XK_25519_AESGCM_SHA256`, three messages, of which the last proves the initiator's link key.
//!
//! The initiator knows the responder's identity and link key from the consensus. The first message begins with three
//! bytes in the open, `version (2, big-endian) ‖ kind (1)`; all else is Noise's own. The prologue binds them, the network
//! and the responder's identity, so two sides that differ in any of those fail to authenticate. No message has a payload,
//! and no cell travels before the end: NK's first message can be replayed.

mod noise;
#[cfg(test)]
mod tests;

use core::fmt;

use rand_core::CryptoRng;
use snow::HandshakeState;
use zeroize::Zeroizing;

use self::noise::{Ephemeral, initiator, responder};
use super::record::{Cipher, Opener, Sealer};
use crate::cell::commands;
use crate::crypto::keys::{KEY_LEN, LinkPublic, LinkSecret, RelayIdentity};

/// The version of the link protocol that this code speaks.
pub const VERSION: u16 = 1;

/// The first message's bytes before Noise's.
const HEADER_LEN: usize = 3;

/// Length of the first Noise message and of the second, in both patterns: an ephemeral key and a tag.
const OPENING_LEN: usize = 32 + 16;

/// Length of the third Noise message of XK: a static key and two tags.
const CLOSING_LEN: usize = 32 + 16 + 16;

commands! {
    /// What a side of a link is; the number is that on the wire.
    Kind {
        /// A page or another client.
        Anonymous = 1,
        /// A relay, known by its link key.
        Relay = 2,
    }
}

/// Why a link's handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkHandshakeError {
    /// A message of a wrong size.
    #[error("the peer sent a link handshake message of {len} bytes instead of {expected}")]
    Length {
        /// How many bytes came.
        len: usize,
        /// How many there must be.
        expected: usize,
    },
    /// A version that this code does not speak.
    #[error("the peer speaks version {0} of the link protocol, not {VERSION}")]
    Version(u16),
    /// A kind of initiator that does not exist.
    #[error("the peer calls itself an initiator of kind {0}, which does not exist")]
    Kind(u8),
    /// The peer holds another key, thinks that this side does, or is of another network.
    #[error("the peer's link handshake does not authenticate: another key, identity or network, or changed bytes")]
    Authentication,
    /// A public key would make the secret known to everybody.
    #[error("the peer's X25519 key is of small order")]
    SmallOrder,
    /// A message came after the handshake had ended, well or badly.
    #[error("the link's handshake is already over")]
    Over,
    /// The Noise library refused something that no peer has a part in.
    #[error("the Noise library failed")]
    Library,
}

impl From<snow::Error> for LinkHandshakeError {
    fn from(error: snow::Error) -> Self {
        match error {
            snow::Error::Decrypt => Self::Authentication,
            snow::Error::Dh => Self::SmallOrder,
            _ => Self::Library,
        }
    }
}

/// The relay that a link goes to, as the consensus lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayAddressee {
    /// Its identity.
    pub identity: RelayIdentity,
    /// Its link key.
    pub link_key: LinkPublic,
}

/// Who is at the other end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A page or another client.
    Anonymous,
    /// Who holds this link key. Whether the consensus lists it for a relay remains to be checked.
    Relay(LinkPublic),
}

/// An established link.
#[derive(Debug)]
pub struct Link {
    /// For records to the peer.
    pub sealer: Sealer,
    /// For records from the peer.
    pub opener: Opener,
    /// The other end.
    pub peer: Peer,
    /// A value that names this link and no other, the same at both ends (Noise's handshake hash).
    pub binding: [u8; 32],
}

/// What to do after a message was received.
#[derive(Debug)]
pub enum LinkStep {
    /// Send this and wait for the next message.
    Send(Vec<u8>),
    /// Send this, if there is anything; the link is ready.
    Established {
        /// The last message, if this side has it.
        send: Option<Vec<u8>>,
        /// The link.
        link: Box<Link>,
    },
}

/// The side that opened the WebSocket.
pub struct Initiator {
    kind: Kind,
    addressee: RelayAddressee,
    /// Nothing once it is over.
    noise: Option<HandshakeState>,
}

impl Initiator {
    /// Begins a link as a page or another client; returns the first message.
    ///
    /// Takes 32 bytes of randomness. Fails only if the relay's link key is of small order.
    pub fn new_anonymous<R: CryptoRng + ?Sized>(
        rng: &mut R,
        network: &[u8; 32],
        addressee: &RelayAddressee,
    ) -> Result<(Self, Vec<u8>), LinkHandshakeError> {
        Self::start(Kind::Anonymous, Ephemeral::generate(rng), network, addressee, None)
    }

    /// Begins a link as a relay with this link key; returns the first message.
    ///
    /// Takes 32 bytes of randomness. Fails only if the other relay's link key is of small order.
    pub fn new_relay<R: CryptoRng + ?Sized>(
        rng: &mut R,
        network: &[u8; 32],
        addressee: &RelayAddressee,
        link_secret: &LinkSecret,
    ) -> Result<(Self, Vec<u8>), LinkHandshakeError> {
        Self::start(Kind::Relay, Ephemeral::generate(rng), network, addressee, Some(link_secret))
    }

    fn start(
        kind: Kind,
        ephemeral: Ephemeral,
        network: &[u8; 32],
        addressee: &RelayAddressee,
        link_secret: Option<&LinkSecret>,
    ) -> Result<(Self, Vec<u8>), LinkHandshakeError> {
        let prologue = prologue(kind, network, &addressee.identity);
        let mut noise = initiator(kind, ephemeral, &prologue, &addressee.link_key, link_secret)?;
        let mut message = VERSION.to_be_bytes().to_vec();
        message.push(kind as u8);
        message.extend(write::<OPENING_LEN>(&mut noise)?);
        Ok((Self { kind, addressee: *addressee, noise: Some(noise) }, message))
    }

    /// Receives the relay's answer, the only message it sends.
    pub fn receive(&mut self, message: &[u8]) -> Result<LinkStep, LinkHandshakeError> {
        let mut noise = self.noise.take().ok_or(LinkHandshakeError::Over)?;
        read::<OPENING_LEN>(&mut noise, message)?;
        let send = match self.kind {
            Kind::Anonymous => None,
            Kind::Relay => Some(write::<CLOSING_LEN>(&mut noise)?.to_vec()),
        };
        let link = Box::new(establish(self.kind, noise, Peer::Relay(self.addressee.link_key)));
        Ok(LinkStep::Established { send, link })
    }
}

/// The relay that a WebSocket was opened to.
pub struct Responder(ResponderState);

enum ResponderState {
    /// Waits for the first message.
    Fresh {
        ephemeral: Ephemeral,
        network: [u8; 32],
        identity: RelayIdentity,
        link_secret: LinkSecret,
    },
    /// Waits for a relay's proof.
    Answered(Box<HandshakeState>),
    Over,
}

impl Responder {
    /// Waits for a link to the relay with this identity and link key. Takes 32 bytes of randomness.
    pub fn new<R: CryptoRng + ?Sized>(
        rng: &mut R,
        network: &[u8; 32],
        identity: &RelayIdentity,
        link_secret: &LinkSecret,
    ) -> Self {
        Self::with(Ephemeral::generate(rng), network, identity, link_secret)
    }

    fn with(ephemeral: Ephemeral, network: &[u8; 32], identity: &RelayIdentity, link_secret: &LinkSecret) -> Self {
        Self(ResponderState::Fresh {
            ephemeral,
            network: *network,
            identity: *identity,
            link_secret: link_secret.clone(),
        })
    }

    /// Receives the initiator's next message. Failing once is failing for good.
    pub fn receive(&mut self, message: &[u8]) -> Result<LinkStep, LinkHandshakeError> {
        match core::mem::replace(&mut self.0, ResponderState::Over) {
            ResponderState::Fresh { ephemeral, network, identity, link_secret } => {
                let (kind, opening) = split_first(message)?;
                let prologue = prologue(kind, &network, &identity);
                let mut noise = responder(kind, ephemeral, &prologue, &link_secret)?;
                read::<OPENING_LEN>(&mut noise, opening)?;
                let answer = write::<OPENING_LEN>(&mut noise)?.to_vec();
                Ok(match kind {
                    Kind::Anonymous => LinkStep::Established {
                        send: Some(answer),
                        link: Box::new(establish(kind, noise, Peer::Anonymous)),
                    },
                    Kind::Relay => {
                        self.0 = ResponderState::Answered(Box::new(noise));
                        LinkStep::Send(answer)
                    }
                })
            }
            ResponderState::Answered(mut noise) => {
                read::<CLOSING_LEN>(&mut noise, message)?;
                let key = noise.get_remote_static().and_then(|key| key.try_into().ok());
                let peer = Peer::Relay(LinkPublic(key.ok_or(LinkHandshakeError::Library)?));
                Ok(LinkStep::Established { send: None, link: Box::new(establish(Kind::Relay, *noise, peer)) })
            }
            ResponderState::Over => Err(LinkHandshakeError::Over),
        }
    }
}

impl fmt::Debug for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Initiator").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder").finish_non_exhaustive()
    }
}

/// Splits the first message into what is in the open and what is Noise's.
fn split_first(message: &[u8]) -> Result<(Kind, &[u8]), LinkHandshakeError> {
    let wrong_length = LinkHandshakeError::Length { len: message.len(), expected: HEADER_LEN + OPENING_LEN };
    let (&[high, low, kind], opening) = message.split_first_chunk::<HEADER_LEN>().ok_or(wrong_length)?;
    match u16::from_be_bytes([high, low]) {
        VERSION if opening.len() != OPENING_LEN => Err(wrong_length),
        VERSION => Ok((Kind::from_u8(kind).ok_or(LinkHandshakeError::Kind(kind))?, opening)),
        // Another version may have another length: what is wrong with it is the version.
        version => Err(LinkHandshakeError::Version(version)),
    }
}

/// What both sides must agree on beside the keys.
pub(crate) fn prologue(initiator: Kind, network: &[u8; 32], responder: &RelayIdentity) -> Vec<u8> {
    let roles = [initiator as u8, Kind::Relay as u8];
    [b"allium link", &VERSION.to_be_bytes()[..], network, &roles, responder.as_bytes()].concat()
}

/// Writes the next Noise message, without a payload.
fn write<const N: usize>(noise: &mut HandshakeState) -> Result<[u8; N], LinkHandshakeError> {
    let mut message = [0; N];
    match noise.write_message(&[], &mut message)? {
        len if len == N => Ok(message),
        _ => Err(LinkHandshakeError::Library),
    }
}

/// Reads the next Noise message; its length leaves no room for a payload.
fn read<const N: usize>(noise: &mut HandshakeState, message: &[u8]) -> Result<(), LinkHandshakeError> {
    if message.len() != N {
        return Err(LinkHandshakeError::Length { len: message.len(), expected: N });
    }
    noise.read_message(message, &mut [])?;
    Ok(())
}

/// Takes the keys of an ended handshake; the first is the initiator's to seal with.
fn establish(kind: Kind, mut noise: HandshakeState, peer: Peer) -> Link {
    let mut binding = [0; KEY_LEN];
    for (byte, hash) in binding.iter_mut().zip(noise.get_handshake_hash()) {
        *byte = *hash;
    }
    let (initiator, responder) = noise.dangerously_get_raw_split();
    let (initiator, responder) = (Zeroizing::new(initiator), Zeroizing::new(responder));
    let cipher = match kind {
        Kind::Anonymous => Cipher::cha_cha_poly,
        Kind::Relay => Cipher::aes_gcm,
    };
    let (own, peers) = if noise.is_initiator() { (initiator, responder) } else { (responder, initiator) };
    Link { sealer: cipher(&own).into_sealer(), opener: cipher(&peers).into_opener(), peer, binding }
}
