//! Randomness from the operating system, to be passed into the protocol.

use std::io;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// 32 bytes that nobody else knows.
pub fn seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::from)?;
    Ok(seed)
}

/// A generator seeded by the operating system.
pub fn rng() -> io::Result<ChaCha20Rng> {
    seed().map(ChaCha20Rng::from_seed)
}
