//! The fields of relay messages that concern streams: ids, services and reasons for an end (`docs/protocol.md`, 9.2).

use core::fmt;

/// Identifies a stream within a circuit; zero where a message concerns the circuit itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u16);

impl StreamId {
    /// The circuit itself.
    pub const CIRCUIT: Self = Self(0);
}

/// The announced length of a body that has none: the sender writes until one side ends the stream.
pub const OPEN_ENDED: u64 = u64::MAX;

/// Numbers of one byte that other versions may extend: an unknown one is kept, and shown as a number.
macro_rules! numbers {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $constant:ident = $number:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u8);

        impl $name {
            $($(#[$doc])* pub const $constant: Self = Self($number);)*

            /// Every number that has a name.
            pub const ALL: &'static [Self] = &[$(Self::$constant,)*];

            /// The name, if there is one.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($constant)),)*
                    _ => None,
                }
            }
        }

        /// The name, or the number of one without a name.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "unknown ({})", self.0),
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

numbers! {
    /// What a relay does at the far end of a stream. A relay refuses services that it does not offer.
    Service {
        /// Sends as many bytes as requested; for measurements, in networks that were started for them.
        SOURCE = 1,
        /// Brings a client's copy of the directory up to date.
        DIRECTORY = 2,
        /// Tells the time.
        TIME = 3,
        /// Looks up what a user has published.
        FIND_KEY = 4,
        /// Stores what a user publishes.
        PUBLISH_KEY = 5,
    }
}

numbers! {
    /// Why a stream ended, with Tor's numbers (tor-spec, "Closing streams").
    EndReason {
        /// None of the others.
        MISC = 1,
        /// The hostname couldn't be resolved.
        RESOLVEFAILED = 2,
        /// The relay doesn't offer the service, or the destination refused the connection.
        CONNECTREFUSED = 3,
        /// The relay's exit policy doesn't allow the destination.
        EXITPOLICY = 4,
        /// The circuit is being destroyed.
        DESTROY = 5,
        /// Everything was sent.
        DONE = 6,
        /// The service or the destination took too long.
        TIMEOUT = 7,
        /// The destination can't be reached.
        NOROUTE = 8,
        /// The relay is hibernating.
        HIBERNATING = 9,
        /// The sender failed for a reason of its own.
        INTERNAL = 10,
        /// The sender has no capacity left for the stream.
        RESOURCELIMIT = 11,
        /// The destination reset the connection.
        CONNRESET = 12,
        /// The peer sent something that the service doesn't accept.
        TORPROTOCOL = 13,
        /// The relay has no consensus yet.
        NOTDIRECTORY = 14,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_tors_numbers() {
        let numbers: Vec<u8> = EndReason::ALL.iter().map(|reason| reason.0).collect();
        assert_eq!(numbers, (1..=14).collect::<Vec<u8>>());
    }

    #[test]
    fn an_unknown_number_is_kept_and_shown() {
        assert_eq!(EndReason(200).to_string(), "unknown (200)");
        assert_eq!(EndReason::DONE.to_string(), "DONE");
        assert_eq!(format!("{:?}", Service(99)), "unknown (99)");
    }
}
