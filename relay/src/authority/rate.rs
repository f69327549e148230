//! How many descriptors an authority takes from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use allium_shared::time::Instant;

/// What an address may send at once; several relays may share one.
const BURST: u32 = 256;

/// What it may send a second after that.
const PER_SECOND: u64 = 32;

/// Addresses that are remembered at once. They are never written anywhere.
const MAX_ADDRESSES: usize = 16_384;

/// A bucket of tokens for each address.
#[derive(Debug, Default)]
pub struct Limiter {
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: u32,
    refilled: Instant,
}

impl Bucket {
    fn refill(&mut self, now: Instant) {
        let tokens = now.saturating_since(self.refilled).as_millis() * u128::from(PER_SECOND) / 1000;
        if tokens > 0 {
            self.tokens = u32::try_from(tokens).unwrap_or(BURST).saturating_add(self.tokens).min(BURST);
            self.refilled = now;
        }
    }
}

impl Limiter {
    /// A limiter that has seen nobody yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether this address may send one now.
    pub fn allow(&self, now: Instant, address: IpAddr) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_ADDRESSES && !buckets.contains_key(&network(address)) {
            buckets.retain(|_, bucket| {
                bucket.refill(now);
                bucket.tokens < BURST
            });
            if buckets.len() >= MAX_ADDRESSES {
                return false;
            }
        }
        let bucket = buckets.entry(network(address)).or_insert(Bucket { tokens: BURST, refilled: now });
        bucket.refill(now);
        bucket.tokens.checked_sub(1).map(|tokens| bucket.tokens = tokens).is_some()
    }
}

/// One subscriber has a whole /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.into(),
            None => std::net::Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_sends_too_much_waits_and_others_do_not() {
        let limiter = Limiter::new();
        let (one, other) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let at = Instant::from_millis;
        assert_eq!((0..1000).filter(|_| limiter.allow(at(0), one)).count(), 256);
        assert!(limiter.allow(at(0), other));
        assert_eq!((0..1000).filter(|_| limiter.allow(at(1000), one)).count(), 32);
    }

    #[test]
    fn a_subscribers_addresses_count_together_and_the_table_is_bounded() {
        let limiter = Limiter::new();
        let at = Instant::from_millis;
        let v6 = |high: u128, low: u128| IpAddr::from(std::net::Ipv6Addr::from_bits(high << 64 | low));
        assert_eq!((0..1000).filter(|low| limiter.allow(at(0), v6(1, *low))).count(), 256);
        for high in 2..20_000 {
            limiter.allow(at(0), v6(high, 0));
        }
        assert_eq!(limiter.buckets.lock().unwrap().len(), MAX_ADDRESSES);
        assert!(limiter.allow(at(60_000), v6(30_000, 0)), "those that are full again are forgotten");
    }
}
