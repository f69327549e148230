//! Where an exit relay opens connections to.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::RangeInclusive;
use core::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::wire::{DecodeError, Reader, Writer};

/// The most rules of one policy.
pub const MAX_EXIT_RULES: usize = 24;

const WHAT: &str = "the exit policy";

/// Why text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no rule like \"accept *:443\", \"reject 10.0.0.0/8:*\" or \"accept [2001:db8::]/32:1-1024\"")]
pub struct ParseRuleError(String);

/// Rules in their order: the first that fits an address decides. What fits none is refused.
///
/// Encoding: number of rules (1 byte), then each: kind (1: bit 0 for accept; 0, 2 or 4 more for any address, IPv4, IPv6) ·
/// length of the prefix in bits (1) and address (4 or 16), both missing for any address · first and last port (2 each).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExitPolicy(Vec<ExitRule>);

/// One rule of an [`ExitPolicy`]; as text, `accept *:443` or `reject 10.0.0.0/8:1-1024`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExitRule {
    accept: bool,
    /// The network's first address and the length of its prefix; none for any address.
    network: Option<(IpAddr, u8)>,
    ports: RangeInclusive<u16>,
}

impl ExitPolicy {
    /// The policy of these rules.
    ///
    /// # Errors
    ///
    /// If there are more than [`MAX_EXIT_RULES`].
    pub fn new(rules: Vec<ExitRule>) -> Result<Self, DecodeError> {
        match rules.len() {
            len if len > MAX_EXIT_RULES => Err(DecodeError::TooLong { what: WHAT, len, max: MAX_EXIT_RULES }),
            _ => Ok(Self(rules)),
        }
    }

    /// The rules, in their order.
    pub fn rules(&self) -> &[ExitRule] {
        &self.0
    }

    /// Whether nothing is let through.
    pub fn refuses_all(&self) -> bool {
        !self.0.iter().any(|rule| rule.accept)
    }

    /// Whether connections to this address and port are let through.
    pub fn allows(&self, address: IpAddr, port: u16) -> bool {
        self.0.iter().find(|rule| rule.fits(address, port)).is_some_and(|rule| rule.accept)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u8(u8::try_from(self.0.len()).unwrap_or(u8::MAX));
        for rule in &self.0 {
            let accept = u8::from(rule.accept);
            match rule.network {
                None => writer.u8(accept),
                Some((IpAddr::V4(address), prefix)) => writer.u8(accept | 2).u8(prefix).raw(&address.octets()),
                Some((IpAddr::V6(address), prefix)) => writer.u8(accept | 4).u8(prefix).raw(&address.octets()),
            };
            writer.u16(*rule.ports.start()).u16(*rule.ports.end());
        }
        writer.into_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let len = usize::from(reader.u8()?);
        if len > MAX_EXIT_RULES {
            return Err(DecodeError::TooLong { what: WHAT, len, max: MAX_EXIT_RULES });
        }
        let mut rules = Vec::with_capacity(len);
        for _ in 0..len {
            let kind = reader.u8()?;
            let network = match kind & !1 {
                0 => None,
                2 => Some((reader.u8()?, IpAddr::from(reader.array::<4>()?))),
                4 => Some((reader.u8()?, IpAddr::from(reader.array::<16>()?))),
                _ => return Err(DecodeError::Invalid(WHAT)),
            };
            let network = match network {
                Some((prefix, address)) => match masked(address, prefix) {
                    Some(network) if network == address => Some((address, prefix)),
                    _ => return Err(DecodeError::Invalid(WHAT)),
                },
                None => None,
            };
            let ports = reader.u16()?..=reader.u16()?;
            if ports.is_empty() {
                return Err(DecodeError::Invalid(WHAT));
            }
            rules.push(ExitRule { accept: kind & 1 == 1, network, ports });
        }
        reader.finish()?;
        Ok(Self(rules))
    }
}

/// An address without the bits behind its prefix; nothing for a prefix that is too long.
fn masked(address: IpAddr, prefix: u8) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => {
            let shift = 32_u32.checked_sub(u32::from(prefix))?;
            Some(Ipv4Addr::from(u32::from(address) & u32::MAX.checked_shl(shift).unwrap_or(0)).into())
        }
        IpAddr::V6(address) => {
            let shift = 128_u32.checked_sub(u32::from(prefix))?;
            Some(Ipv6Addr::from(u128::from(address) & u128::MAX.checked_shl(shift).unwrap_or(0)).into())
        }
    }
}

impl ExitRule {
    fn fits(&self, address: IpAddr, port: u16) -> bool {
        let inside = self.network.is_none_or(|(network, prefix)| {
            network.is_ipv4() == address.is_ipv4() && masked(address, prefix) == Some(network)
        });
        inside && self.ports.contains(&port)
    }
}

impl FromStr for ExitRule {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<Self, ParseRuleError> {
        parse(text).ok_or_else(|| ParseRuleError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<ExitRule> {
    let (verb, target) = text.trim().split_once(' ')?;
    let accept = match verb {
        "accept" => true,
        "reject" => false,
        _ => return None,
    };
    let (network, ports) = target.trim().rsplit_once(':')?;
    let network = match network {
        "*" => None,
        _ => {
            let (address, prefix) = match network.split_once('/') {
                Some((address, prefix)) => (address, Some(prefix.parse().ok()?)),
                None => (network, None),
            };
            let address: IpAddr = match address.strip_prefix('[') {
                Some(v6) => v6.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.into(),
                None => address.parse::<Ipv4Addr>().ok()?.into(),
            };
            let prefix = prefix.unwrap_or(if address.is_ipv4() { 32 } else { 128 });
            Some((masked(address, prefix)?, prefix))
        }
    };
    let ports = match ports.split_once('-') {
        _ if ports == "*" => 0..=u16::MAX,
        Some((first, last)) => first.parse().ok()?..=last.parse().ok()?,
        None => {
            let port = ports.parse().ok()?;
            port..=port
        }
    };
    (!ports.is_empty()).then_some(ExitRule { accept, network, ports })
}

impl TryFrom<String> for ExitRule {
    type Error = ParseRuleError;

    fn try_from(text: String) -> Result<Self, ParseRuleError> {
        text.parse()
    }
}

impl From<ExitRule> for String {
    fn from(rule: ExitRule) -> Self {
        rule.to_string()
    }
}

impl fmt::Display for ExitRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.accept { "accept " } else { "reject " })?;
        match self.network {
            None => f.write_str("*")?,
            Some((IpAddr::V4(address), prefix)) => write!(f, "{address}/{prefix}")?,
            Some((IpAddr::V6(address), prefix)) => write!(f, "[{address}]/{prefix}")?,
        }
        match (*self.ports.start(), *self.ports.end()) {
            (0, u16::MAX) => f.write_str(":*"),
            (first, last) if first == last => write!(f, ":{first}"),
            (first, last) => write!(f, ":{first}-{last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &[&str]) -> ExitPolicy {
        ExitPolicy::new(rules.iter().map(|rule| rule.parse().unwrap()).collect()).unwrap()
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let policy = policy(&["reject 10.0.0.0/8:*", "accept *:443", "accept [2001:db8::]/32:1-1024"]);
        let allows = |address: &str, port| policy.allows(address.parse().unwrap(), port);
        assert!(!allows("10.1.2.3", 443));
        assert!(allows("11.1.2.3", 443));
        assert!(!allows("11.1.2.3", 80));
        assert!(allows("2001:db8:1::1", 80));
        assert!(!allows("2001:db9::1", 80));
        assert!(!policy.refuses_all());
        assert!(ExitPolicy::default().refuses_all());
    }

    #[test]
    fn rules_are_read_as_they_are_written() {
        for text in ["accept *:443", "reject 10.0.0.0/8:*", "accept [2001:db8::]/32:1-1024", "accept 192.0.2.1/32:0-1"]
        {
            assert_eq!(text.parse::<ExitRule>().unwrap().to_string(), text);
        }
        assert_eq!("accept 10.9.9.9/8:80".parse::<ExitRule>().unwrap().to_string(), "accept 10.0.0.0/8:80");
        for text in
            ["", "allow *:1", "accept *", "accept *:2-1", "accept 1.2.3.4/33:1", "accept ::1:1", "accept *:99999"]
        {
            assert!(text.parse::<ExitRule>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_encoding_is_canonical() {
        let policy = policy(&["reject 10.0.0.0/8:*", "accept *:443", "accept [2001:db8::]/32:1-1024"]);
        let bytes = policy.encode();
        assert_eq!(ExitPolicy::decode(&bytes), Ok(policy));
        // Bits behind the prefix, a prefix that is too long, ports that go backwards, an unknown kind.
        for (at, value) in [(4, 1), (2, 33), (7, 0xff), (1, 8)] {
            let mut bad = bytes.clone();
            bad[at] = value;
            if at == 7 {
                bad[9] = 0;
            }
            assert!(ExitPolicy::decode(&bad).is_err(), "byte {at}");
        }
        assert!(ExitPolicy::decode(&[25]).is_err());
        let many = vec!["accept *:1".parse().unwrap(); MAX_EXIT_RULES + 1];
        assert!(ExitPolicy::new(many).is_err());
    }
}
