//! Noise by `snow`, with the caller's randomness and with keys that are wiped.

use rand_core::CryptoRng;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::Kind;
use crate::crypto::keys::{KEY_LEN, LinkPublic, LinkSecret};

/// Builds an initiator's state.
pub(super) fn initiator(
    kind: Kind,
    ephemeral: Ephemeral,
    prologue: &[u8],
    responder: &LinkPublic,
    link_secret: Option<&LinkSecret>,
) -> Result<HandshakeState, snow::Error> {
    let link_secret = link_secret.map(LinkSecret::to_bytes);
    let mut builder = builder(kind, ephemeral)?.prologue(prologue)?.remote_public_key(responder.as_bytes())?;
    if let Some(secret) = &link_secret {
        builder = builder.local_private_key(&**secret)?;
    }
    builder.build_initiator()
}

/// Builds a responder's state.
pub(super) fn responder(
    kind: Kind,
    ephemeral: Ephemeral,
    prologue: &[u8],
    link_secret: &LinkSecret,
) -> Result<HandshakeState, snow::Error> {
    builder(kind, ephemeral)?.prologue(prologue)?.local_private_key(&*link_secret.to_bytes())?.build_responder()
}

fn builder<'a>(kind: Kind, ephemeral: Ephemeral) -> Result<Builder<'a>, snow::Error> {
    let pattern = match kind {
        Kind::Anonymous => "Noise_NK_25519_ChaChaPoly_SHA256",
        Kind::Relay => "Noise_XK_25519_AESGCM_SHA256",
    };
    Ok(Builder::with_resolver(pattern.parse()?, Box::new(Resolver(ephemeral))))
}

/// The randomness of one handshake: the bytes of this side's ephemeral secret.
#[derive(Clone)]
pub(super) struct Ephemeral(pub(super) Zeroizing<[u8; KEY_LEN]>);

impl Ephemeral {
    pub(super) fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        rng.fill_bytes(&mut *bytes);
        Self(bytes)
    }
}

/// Gives the bytes out once, and whole.
struct Once(Option<Ephemeral>);

impl Random for Once {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), snow::Error> {
        let Ephemeral(bytes) = self.0.take().ok_or(snow::Error::Rng)?;
        let out: &mut [u8; KEY_LEN] = out.try_into().map_err(|_| snow::Error::Rng)?;
        *out = *bytes;
        Ok(())
    }
}

/// Randomness and X25519 from here, the rest from snow.
struct Resolver(Ephemeral);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.0.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::new(X25519::new([0; KEY_LEN]))),
            _ => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// X25519 whose secrets are wiped and which agrees with no key of small order; snow's own has neither.
struct X25519 {
    secret: StaticSecret,
    public: PublicKey,
}

impl X25519 {
    fn new(bytes: [u8; KEY_LEN]) -> Self {
        let secret = StaticSecret::from(bytes);
        let public = PublicKey::from(&secret);
        Self { secret, public }
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        KEY_LEN
    }

    fn priv_len(&self) -> usize {
        KEY_LEN
    }

    fn set(&mut self, secret: &[u8]) {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        for (byte, secret) in bytes.iter_mut().zip(secret) {
            *byte = *secret;
        }
        *self = Self::new(*bytes);
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        rng.try_fill_bytes(&mut *bytes)?;
        *self = Self::new(*bytes);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn privkey(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let public: [u8; KEY_LEN] = *public.first_chunk().ok_or(snow::Error::Input)?;
        let out: &mut [u8; KEY_LEN] = out.first_chunk_mut().ok_or(snow::Error::Input)?;
        let shared = self.secret.diffie_hellman(&PublicKey::from(public));
        if !shared.was_contributory() {
            return Err(snow::Error::Dh);
        }
        *out = shared.to_bytes();
        Ok(())
    }
}
