//! Canonical bytes: borsh, refusing whatever would not encode back to the same bytes.

use borsh::{
    BorshDeserialize, BorshSerialize,
    io::{Error, ErrorKind, Read},
};
use thiserror::Error;

/// Why bytes are not the canonical form of a value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidBytes {
    /// More bytes than anything of this kind may have.
    #[error("{found} bytes exceed the limit of {limit}")]
    TooLong {
        /// Bytes present.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Truncated, trailing bytes, an unknown variant, or another encoding of the same value.
    #[error("not canonical borsh for {what}")]
    Malformed {
        /// The type expected.
        what: &'static str,
    },
}

/// The canonical bytes of a value.
pub fn encode<T: BorshSerialize>(value: &T) -> Vec<u8> {
    borsh::to_vec(value).expect("writing to memory cannot fail and lengths fit u32")
}

/// The value that `bytes` are the canonical form of; at most `limit` bytes are looked at.
///
/// borsh reads a list's elements one by one and reserves a page ahead at most, so a declared length far above the
/// bytes present costs next to nothing; only ahead of a list of bytes it reserves up to a mebibyte, for one such list
/// at a time. What a list's elements take is another matter: see [`by_member`].
pub fn decode<T: BorshDeserialize + BorshSerialize>(bytes: &[u8], limit: usize) -> Result<T, InvalidBytes> {
    if bytes.len() > limit {
        return Err(InvalidBytes::TooLong { found: bytes.len(), limit });
    }
    let malformed = || InvalidBytes::Malformed { what: std::any::type_name::<T>() };
    let value: T = borsh::from_slice(bytes).map_err(|_| malformed())?;
    if encode(&value) != bytes {
        return Err(malformed());
    }
    Ok(value)
}

/// Reads a list with an entry a member: more entries than a committee may have members are refused before they are
/// read.
///
/// An entry that says nothing is one byte on the wire and dozens in memory; four mebibytes of them would take half a
/// gibibyte. Nothing is reserved ahead.
pub fn by_member<T: BorshDeserialize, R: Read>(reader: &mut R) -> borsh::io::Result<Vec<T>> {
    let length = u32::deserialize_reader(reader)?;
    if length > u32::from(u16::MAX) {
        return Err(Error::new(ErrorKind::InvalidData, "more entries than there can be members"));
    }
    let mut list = Vec::new();
    for _ in 0..length {
        list.push(T::deserialize_reader(reader)?);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn trailing_truncated_and_overlong_bytes_are_refused() {
        let bytes = encode(&vec![1u64, 2, 3]);
        assert_eq!(decode::<Vec<u64>>(&bytes, 100), Ok(vec![1, 2, 3]));
        assert!(decode::<Vec<u64>>(&[&bytes[..], &[0]].concat(), 100).is_err());
        assert!(decode::<Vec<u64>>(&bytes[..bytes.len() - 1], 100).is_err());
        assert!(decode::<Vec<u64>>(&u32::MAX.to_le_bytes(), 100).is_err());
        assert_eq!(decode::<Vec<u64>>(&bytes, 10), Err(InvalidBytes::TooLong { found: 28, limit: 10 }));
    }

    proptest! {
        #[test]
        fn decoding_never_panics_and_round_trips(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = decode::<Vec<(u16, Option<u8>)>>(&bytes, 200) {
                prop_assert_eq!(encode(&value), bytes);
            }
        }
    }
}
