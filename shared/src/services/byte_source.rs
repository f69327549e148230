//! Bytes for measurements: the length is requested, and each message says where it stands in the whole.

/// The most that one stream carries, in bytes.
pub const MAX_SOURCE_LEN: u64 = 1 << 40;

/// The argument that requests so many bytes.
pub const fn source_argument(len: u64) -> [u8; 8] {
    len.to_be_bytes()
}

/// How many bytes an argument requests; none if it is invalid.
pub fn read_source_argument(argument: &[u8]) -> Option<u64> {
    argument.try_into().ok().map(u64::from_be_bytes).filter(|len| *len <= MAX_SOURCE_LEN)
}
