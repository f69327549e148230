//! Fields that a document may have, and fields of newer versions that this one does not know.

use std::collections::BTreeMap;

use crate::wire::{DecodeError, Reader, Writer};

/// Fields by their numbers, in the order of these.
///
/// Encoding: length of all that follows (2 bytes), then each field's number (2), length (2) and bytes, by ascending
/// numbers. A program that does not know a number keeps the field, so that signatures over it go on holding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions(BTreeMap<u16, Vec<u8>>);

impl Extensions {
    /// The field with this number.
    pub fn get(&self, number: u16) -> Option<&[u8]> {
        self.0.get(&number).map(Vec::as_slice)
    }

    /// Adds a field, or replaces it.
    pub fn insert(&mut self, number: u16, value: Vec<u8>) {
        self.0.insert(number, value);
    }

    /// Takes a field out.
    pub fn remove(&mut self, number: u16) -> Option<Vec<u8>> {
        self.0.remove(&number)
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Length of the encoding, in bytes.
    pub fn encoded_len(&self) -> usize {
        2 + self.0.values().map(|value| 4 + value.len()).sum::<usize>()
    }

    /// Appends the encoding; what is longer than a length field can say is cut off, and no reader takes it.
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.u16(u16::try_from(self.encoded_len() - 2).unwrap_or(u16::MAX));
        for (number, value) in &self.0 {
            let _ = writer.u16(*number).bytes_u16(value);
        }
    }

    /// Reads what [`encode`](Self::encode) wrote; `what` names the fields in errors, `max` is the longest encoding
    /// without its length.
    pub(super) fn decode(reader: &mut Reader<'_>, what: &'static str, max: usize) -> Result<Self, DecodeError> {
        let mut fields = Reader::new(reader.bytes_u16(what, max)?);
        let mut extensions = BTreeMap::new();
        while !fields.is_empty() {
            let number = fields.u16()?;
            if extensions.last_key_value().is_some_and(|(last, _)| *last >= number) {
                return Err(DecodeError::Invalid(what));
            }
            extensions.insert(number, fields.bytes_u16(what, max)?.to_vec());
        }
        Ok(Self(extensions))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_ascend() {
        let decode = |bytes: &[u8]| Extensions::decode(&mut Reader::new(bytes), "the fields", 64);
        let good = [0, 9, 0, 1, 0, 0, 0, 2, 0, 1, 7];
        assert_eq!(decode(&good).unwrap().get(2), Some(&[7][..]));
        for bad in [[0, 9, 0, 2, 0, 0, 0, 2, 0, 1, 7], [0, 9, 0, 3, 0, 0, 0, 2, 0, 1, 7]] {
            assert_eq!(decode(&bad), Err(DecodeError::Invalid("the fields")));
        }
        assert!(matches!(decode(&[0, 65, 0]), Err(DecodeError::TooLong { len: 65, .. })));
        assert!(decode(&good[..10]).is_err());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(
            fields in prop::collection::btree_map(any::<u16>(), prop::collection::vec(any::<u8>(), 0..40), 0..8),
        ) {
            let extensions = Extensions(fields);
            let mut writer = Writer::new();
            extensions.encode(&mut writer);
            prop_assert_eq!(writer.len(), extensions.encoded_len());
            let mut reader = Reader::new(writer.as_slice());
            prop_assert_eq!(Extensions::decode(&mut reader, "the fields", 512), Ok(extensions));
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }
}
