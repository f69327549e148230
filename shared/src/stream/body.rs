//! What an answer consists of.

use core::fmt;
use std::sync::{Arc, Weak};

/// Bytes that many streams may send at the same time.
pub type Document = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// The body of an answer.
#[derive(Clone)]
pub enum Body {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A document that others send too. Once nobody else holds it, the stream ends with `RESOURCELIMIT`: so a reader who is
    /// slow on purpose costs no memory.
    Document(Weak<dyn AsRef<[u8]> + Send + Sync>),
}

impl Body {
    /// Its length in bytes; none once the document is gone.
    pub fn len(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Document(document) => Some((*document.upgrade()?).as_ref().len() as u64),
        }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len().is_none_or(|len| len == 0)
    }

    /// Copies the bytes from `at` on to the front of `room`, as many as fit; returns how many, or none once the document is
    /// gone.
    pub(crate) fn read(&self, at: usize, room: &mut [u8]) -> Option<usize> {
        let mut copy = |bytes: &[u8]| {
            let bytes = bytes.get(at..)?;
            let len = bytes.len().min(room.len());
            room.get_mut(..len)?.copy_from_slice(bytes.get(..len)?);
            Some(len)
        };
        match self {
            Self::Bytes(bytes) => copy(bytes),
            Self::Document(document) => copy((*document.upgrade()?).as_ref()),
        }
    }

    /// Bytes of memory that this body holds for itself.
    pub(crate) const fn buffered(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.capacity(),
            Self::Document(_) => 0,
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes(_) => "Body::Bytes(..)",
            Self::Document(_) => "Body::Document(..)",
        })
    }
}
