//! Counter Galois Onion: the layers of encryption that a cell wears on a circuit (Tor proposal 359, AES-128).
//!
//! A body is a tag of 16 bytes and a payload of 493, enciphered as one wide block: a bit that anybody flips on the way
//! turns the whole body into noise at the next honest hop, and everything after it. Relays only ever encrypt and clients
//! only ever decrypt, so a cell from the client is "decrypted" first and comes out plain at the hop it is for. That hop
//! recognises it by a nonce that nobody else knows in the place of the tag. Whenever a hop is one end of a cell, its keys
//! for that direction move on by a one-way step.
//!
//! Each hop has a state per direction, made of 80 bytes of key material: a relay holds a [`RelayForward`] and a
//! [`RelayBackward`], the client a [`ClientForward`] and a [`ClientBackward`] for each hop:
//!
//! - client to hop h: [`ClientForward::originate`] of hop h, then [`ClientForward::pass`] of h−1, …, 1; on the way
//!   [`RelayForward::process`] of each relay
//! - hop h to client: [`RelayBackward::originate`] at hop h, then [`RelayBackward::pass`] at h−1, …, 1;
//!   [`ClientBackward::process`] of hop 1, 2, … until one recognises the cell
//!
//! All of them work on a body in place and take the cell's command, which is authenticated with it. The side that
//! originates a cell and the one that recognises it get the same [`Tag`] back, for authenticated SENDMEs.
//!
//! # Layout
//!
//! - `uiv`: the wide-block cipher, of `et` (a tweakable block cipher for the tag) and `prf` (a stream for the payload)
//! - `hash`: POLYVAL for both
//! - `hazmat` and `vectors`, with the feature `vectors`: the parts on their own, states in the open, published vectors

mod et;
mod hash;
#[cfg(any(test, feature = "vectors"))]
pub mod hazmat;
mod prf;
#[cfg(test)]
mod tests;
mod uiv;
#[cfg(any(test, feature = "vectors"))]
pub mod vectors;

use core::fmt;

use aes::cipher::array::Array;
use aes::cipher::consts::{U16, U509};
use aes::{Aes128Dec, Aes128Enc};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use self::et::BlockCipher;
use self::uiv::Uiv;

/// Length of a tag, in bytes.
pub const TAG_LEN: usize = 16;

/// Length of a body's payload, in bytes.
pub const PAYLOAD_LEN: usize = 493;

/// Length of a body, tag and payload, in bytes.
pub const BODY_LEN: usize = TAG_LEN + PAYLOAD_LEN;

/// Length of the key material for one hop in one direction, `KB ‖ KU ‖ K ‖ B ‖ N`, in bytes.
pub const SEED_LEN: usize = 80;

/// The first 16 bytes of a body, or the value by which a SENDME names a cell.
pub type Tag = [u8; TAG_LEN];

/// A cell's body as it travels: tag, then payload.
pub type Body = [u8; BODY_LEN];

type Payload = [u8; PAYLOAD_LEN];

/// What is authenticated beside a body: the tag of the cell before, then the command.
type Header = [u8; TAG_LEN + 1];

/// `KB`, `KU`, `K`, `B`.
type Keys = [[u8; 16]; 4];

/// The relay's half of a hop, from the client: encrypts each cell and recognises those for this relay.
#[derive(Debug)]
pub struct RelayForward(State<Aes128Enc>);

impl RelayForward {
    /// Starts from a circuit's forward key material.
    pub fn new(seed: &[u8; SEED_LEN]) -> Self {
        Self(State::new(seed))
    }

    /// Processes a cell that came from the client's side.
    ///
    /// `Some`: the cell is for this relay, its payload is plain, and the value is the SENDME tag. `None`: pass it on.
    pub fn process(&mut self, command: u8, body: &mut Body) -> Option<Tag> {
        let received = *split(body).0;
        self.0.encrypt(command, body);
        self.0.is_nonce(split(body).0).then(|| {
            self.0.update();
            received
        })
    }
}

/// The relay's half of a hop, to the client: encrypts cells that pass and those that this relay makes.
#[derive(Debug)]
pub struct RelayBackward(State<Aes128Enc>);

impl RelayBackward {
    /// Starts from a circuit's backward key material.
    pub fn new(seed: &[u8; SEED_LEN]) -> Self {
        Self(State::new(seed))
    }

    /// Adds this hop's layer to a cell that comes from a hop further out.
    pub fn pass(&mut self, command: u8, body: &mut Body) {
        self.0.encrypt(command, body);
    }

    /// Makes a cell of this relay's own out of a plain payload in `body[16..]`; returns its SENDME tag.
    pub fn originate(&mut self, command: u8, body: &mut Body) -> Tag {
        *split_mut(body).0 = *self.0.nonce;
        self.0.encrypt(command, body);
        let sent = *split(body).0;
        *self.0.nonce = sent;
        self.0.update();
        sent
    }
}

/// The client's half of a hop, to the relay: takes off beforehand what the relay will put on.
#[derive(Debug)]
pub struct ClientForward(State<Aes128Dec>);

impl ClientForward {
    /// Starts from a circuit's forward key material.
    pub fn new(seed: &[u8; SEED_LEN]) -> Self {
        Self(State::new(seed))
    }

    /// Makes a cell for this hop out of a plain payload in `body[16..]`; returns its SENDME tag.
    ///
    /// [`pass`](Self::pass) at every hop before this one, from the furthest to the first, must follow.
    pub fn originate(&mut self, command: u8, body: &mut Body) -> Tag {
        *split_mut(body).0 = *self.0.nonce;
        self.0.decrypt(command, body);
        self.0.update();
        *split(body).0
    }

    /// Prepares a cell for a hop further out.
    pub fn pass(&mut self, command: u8, body: &mut Body) {
        self.0.decrypt(command, body);
    }
}

/// The client's half of a hop, from the relay: takes off the relay's layer and recognises the relay's own cells.
#[derive(Debug)]
pub struct ClientBackward(State<Aes128Dec>);

impl ClientBackward {
    /// Starts from a circuit's backward key material.
    pub fn new(seed: &[u8; SEED_LEN]) -> Self {
        Self(State::new(seed))
    }

    /// Takes one layer off a cell.
    ///
    /// `Some`: the cell is from this hop, its payload is plain, and the value is the SENDME tag. `None`: it is from a hop
    /// further out; if there is none, the circuit must be destroyed.
    pub fn process(&mut self, command: u8, body: &mut Body) -> Option<Tag> {
        let received = *split(body).0;
        self.0.decrypt(command, body);
        self.0.is_nonce(split(body).0).then(|| {
            *self.0.nonce = received;
            self.0.update();
            received
        })
    }
}

/// One hop in one direction: keys, nonce N, and the tag T′ of the cell before as it is between this hop and the next.
struct State<C: BlockCipher> {
    uiv: Uiv<C>,
    nonce: Zeroizing<Tag>,
    last_tag: Tag,
}

impl<C: BlockCipher> State<C> {
    fn new(seed: &[u8; SEED_LEN]) -> Self {
        let mut blocks = Zeroizing::new([[0; 16]; SEED_LEN / 16]);
        blocks.as_flattened_mut().copy_from_slice(seed);
        let [kb, ku, k, b, nonce] = *blocks;
        Self { uiv: Uiv::new(Zeroizing::new([kb, ku, k, b])), nonce: Zeroizing::new(nonce), last_tag: [0; TAG_LEN] }
    }

    fn header(&self, command: u8) -> Header {
        let mut header = [command; TAG_LEN + 1];
        let (tag, _) = header.split_at_mut(TAG_LEN);
        tag.copy_from_slice(&self.last_tag);
        header
    }

    fn is_nonce(&self, tag: &Tag) -> bool {
        self.nonce.ct_eq(tag).into()
    }

    fn update(&mut self) {
        *self.nonce = self.uiv.update(&self.nonce);
    }
}

impl State<Aes128Enc> {
    fn encrypt(&mut self, command: u8, body: &mut Body) {
        let header = self.header(command);
        self.uiv.encrypt(&header, body);
        self.last_tag = *split(body).0;
    }
}

impl State<Aes128Dec> {
    fn decrypt(&mut self, command: u8, body: &mut Body) {
        let outer = *split(body).0;
        let header = self.header(command);
        self.uiv.decrypt(&header, body);
        self.last_tag = outer;
    }
}

impl<C: BlockCipher> fmt::Debug for State<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

/// Splits a body into tag and payload.
fn split(body: &Body) -> (&Tag, &Payload) {
    let (tag, payload) = Array::<u8, U509>::cast_from_core(body).split_ref::<U16>();
    (tag.into(), payload.into())
}

/// Splits a body into tag and payload.
fn split_mut(body: &mut Body) -> (&mut Tag, &mut Payload) {
    let (tag, payload) = Array::<u8, U509>::cast_from_core_mut(body).split_ref_mut::<U16>();
    (tag.into(), payload.into())
}

/// The bitwise exclusive or of two blocks.
///
/// By bytes, of which the compiler makes one vector; of two `u128` it would make four words.
#[inline(always)]
fn xor(a: &Tag, b: &Tag) -> Tag {
    let mut sum = *a;
    for (sum, b) in sum.iter_mut().zip(b) {
        *sum ^= b;
    }
    sum
}
