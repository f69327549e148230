//! Reading and writing of binary formats: big-endian, total, bounded.
//!
//! A [`Reader`] never panics and never allocates: what it gives are borrows of its input. Each format ends with
//! [`Reader::finish`], so that no two encodings decode to the same value by way of trailing bytes.

use thiserror::Error;

/// What is wrong with bytes that a peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The input ended within a field.
    #[error("the input ends {missing} bytes too early")]
    Truncated {
        /// How many bytes were missing for the field that was read.
        missing: usize,
    },
    /// Bytes are left over after the last field.
    #[error("{0} bytes follow after the end")]
    Trailing(usize),
    /// A length field names more than the format allows.
    #[error("{what} has a length of {len}, more than the {max} allowed")]
    TooLong {
        /// The field.
        what: &'static str,
        /// The length that was named.
        len: usize,
        /// The longest that is allowed.
        max: usize,
    },
    /// A field's value is not one that the format allows.
    #[error("{0} is not valid")]
    Invalid(&'static str),
    /// The format's version is not one that is known here.
    #[error("{what} has the unknown version {version}")]
    Version {
        /// The format.
        what: &'static str,
        /// The version that it names.
        version: u16,
    },
}

/// A value is longer than its length field can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{len} bytes do not fit a length field for at most {max}")]
pub struct EncodeError {
    /// The value's length.
    pub len: usize,
    /// The longest that fits.
    pub max: usize,
}

/// Takes fields off the front of a byte slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `input`.
    pub const fn new(input: &'a [u8]) -> Self {
        Self { left: input }
    }

    /// How many bytes have not been read yet.
    pub const fn remaining(&self) -> usize {
        self.left.len()
    }

    /// Whether everything has been read.
    pub const fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let Some((taken, left)) = self.left.split_at_checked(len) else {
            return Err(DecodeError::Truncated { missing: len - self.left.len() });
        };
        self.left = left;
        Ok(taken)
    }

    /// The next `N` bytes by value.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let Some((taken, left)) = self.left.split_first_chunk::<N>() else {
            return Err(DecodeError::Truncated { missing: N - self.left.len() });
        };
        self.left = left;
        Ok(*taken)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    /// Two bytes, big-endian.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    /// The version that a format begins with, in two bytes; an error, which names the format by `what`, if it is not `known`.
    pub fn version(&mut self, what: &'static str, known: u16) -> Result<(), DecodeError> {
        match self.u16()? {
            version if version == known => Ok(()),
            version => Err(DecodeError::Version { what, version }),
        }
    }

    /// Four bytes, big-endian.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes, big-endian.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Eight bytes, big-endian two's complement.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    /// Bytes behind a one-byte length, at most `max`; `what` names the field in errors.
    pub fn bytes_u8(&mut self, what: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
        let len = usize::from(self.u8()?);
        self.bounded(what, len, max)
    }

    /// Bytes behind a two-byte length, at most `max`; `what` names the field in errors.
    pub fn bytes_u16(&mut self, what: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
        let len = usize::from(self.u16()?);
        self.bounded(what, len, max)
    }

    /// Bytes behind a four-byte length, at most `max`; `what` names the field in errors.
    pub fn bytes_u32(&mut self, what: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        self.bounded(what, len, max)
    }

    /// UTF-8 text behind a two-byte length, at most `max` bytes; `what` names the field in errors.
    pub fn text_u16(&mut self, what: &'static str, max: usize) -> Result<&'a str, DecodeError> {
        core::str::from_utf8(self.bytes_u16(what, max)?).map_err(|_| DecodeError::Invalid(what))
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.left)
    }

    /// Ends the reading; an error when something is left.
    pub const fn finish(self) -> Result<(), DecodeError> {
        match self.left.len() {
            0 => Ok(()),
            len => Err(DecodeError::Trailing(len)),
        }
    }

    fn bounded(&mut self, what: &'static str, len: usize, max: usize) -> Result<&'a [u8], DecodeError> {
        if len > max {
            return Err(DecodeError::TooLong { what, len, max });
        }
        self.take(len)
    }
}

/// Appends fields to a byte vector.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty writer.
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// An empty writer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Vec::with_capacity(capacity) }
    }

    /// How many bytes have been written.
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing has been written.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What has been written so far, to be signed or hashed for instance.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// What has been written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes without a length.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&[value])
    }

    /// Two bytes, big-endian.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Four bytes, big-endian.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Eight bytes, big-endian.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Eight bytes, big-endian two's complement.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// Bytes behind a one-byte length. On an error nothing is written.
    pub fn bytes_u8(&mut self, bytes: &[u8]) -> Result<&mut Self, EncodeError> {
        let len = u8::try_from(bytes.len()).map_err(|_| too_long(bytes, usize::from(u8::MAX)))?;
        Ok(self.u8(len).raw(bytes))
    }

    /// Bytes behind a two-byte length. On an error nothing is written.
    pub fn bytes_u16(&mut self, bytes: &[u8]) -> Result<&mut Self, EncodeError> {
        let len = u16::try_from(bytes.len()).map_err(|_| too_long(bytes, usize::from(u16::MAX)))?;
        Ok(self.u16(len).raw(bytes))
    }

    /// Bytes behind a four-byte length. On an error nothing is written.
    pub fn bytes_u32(&mut self, bytes: &[u8]) -> Result<&mut Self, EncodeError> {
        let max = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
        let len = u32::try_from(bytes.len()).map_err(|_| too_long(bytes, max))?;
        Ok(self.u32(len).raw(bytes))
    }
}

const fn too_long(bytes: &[u8], max: usize) -> EncodeError {
    EncodeError { len: bytes.len(), max }
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_big_endian_and_lengths_stand_before_bytes() {
        let mut writer = Writer::new();
        writer.u8(1).u16(0x0203).u32(0x0405_0607).u64(0x0809_0a0b_0c0d_0e0f).i64(-2).raw(b"\xaa\xbb");
        writer.bytes_u8(b"x").unwrap().bytes_u16(b"yz").unwrap().bytes_u32(b"").unwrap();
        assert_eq!(
            writer.into_bytes(),
            hex!("01 0203 04050607 08090a0b0c0d0e0f fffffffffffffffe aabb 0178 0002797a 00000000")
        );
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let mut reader = Reader::new(&[0, 9, 1]);
        assert_eq!(reader.clone().u32(), Err(DecodeError::Truncated { missing: 1 }));
        assert_eq!(reader.clone().bytes_u16("name", 9), Err(DecodeError::Truncated { missing: 8 }));
        let too_long = DecodeError::TooLong { what: "name", len: 9, max: 8 };
        assert_eq!(reader.clone().bytes_u16("name", 8), Err(too_long));
        assert_eq!(reader.u16(), Ok(9));
        assert_eq!(reader.clone().finish(), Err(DecodeError::Trailing(1)));
        assert_eq!(reader.rest(), [1]);
        assert_eq!(reader.finish(), Ok(()));
        assert_eq!(Reader::new(b"\x00\x01\xff").text_u16("text", 4), Err(DecodeError::Invalid("text")));
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let mut writer = Writer::new();
        let error = writer.bytes_u8(&[0; 256]).unwrap_err();
        assert_eq!(error, EncodeError { len: 256, max: 255 });
        assert!(writer.is_empty());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(a: u8, b: u16, c: u32, d: u64, e: i64, f: [u8; 7], g: Vec<u8>) {
            let mut writer = Writer::new();
            writer.u8(a).u16(b).u32(c).u64(d).i64(e).raw(&f);
            writer.bytes_u16(&g).unwrap().bytes_u32(&g).unwrap();
            let bytes = writer.into_bytes();

            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.u8(), Ok(a));
            prop_assert_eq!(reader.u16(), Ok(b));
            prop_assert_eq!(reader.u32(), Ok(c));
            prop_assert_eq!(reader.u64(), Ok(d));
            prop_assert_eq!(reader.i64(), Ok(e));
            prop_assert_eq!(reader.array(), Ok(f));
            prop_assert_eq!(reader.bytes_u16("g", g.len()), Ok(g.as_slice()));
            prop_assert_eq!(reader.bytes_u32("g", g.len()), Ok(g.as_slice()));
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }
}
