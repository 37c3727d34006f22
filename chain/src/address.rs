//! Account addresses, their text form, and the shard each belongs to.

use crate::{hash::Hash, keys::PublicKey, units::ShardId};
use bech32::{Bech32m, Hrp};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};
use thiserror::Error;

/// An account: SHA-256 of its public key. Text form: bech32m with the prefix `kk`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Address(pub [u8; 32]);

/// Why text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidAddress {
    /// Bad characters, length or checksum.
    #[error("not bech32m text, or a character of it is wrong")]
    Text,
    /// Another kind of bech32m text.
    #[error("an address begins with 'kk1'")]
    Prefix,
    /// Not 32 bytes.
    #[error("an address holds 32 bytes")]
    Length,
}

const PREFIX: Hrp = Hrp::parse_unchecked("kk");

impl Address {
    /// The account of a key.
    pub fn of(key: &PublicKey) -> Address {
        Address(Hash::of(&[&key.0]).0)
    }

    /// The shard that holds this account: `floor(first 8 bytes, big-endian, * shard_count / 2^64)`.
    pub fn shard(&self, shard_count: u16) -> ShardId {
        let prefix = u64::from_be_bytes(self.0[..8].try_into().expect("eight of thirty-two bytes"));
        let shard = (u128::from(prefix) * u128::from(shard_count)) >> 64;
        ShardId(u16::try_from(shard).expect("below the shard count"))
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Address, InvalidAddress> {
        let checked =
            bech32::primitives::decode::CheckedHrpstring::new::<Bech32m>(text).map_err(|_| InvalidAddress::Text)?;
        if checked.hrp() != PREFIX {
            return Err(InvalidAddress::Prefix);
        }
        let bytes: Vec<u8> = checked.byte_iter().collect();
        bytes.try_into().map(Address).map_err(|_| InvalidAddress::Length)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bech32::encode::<Bech32m>(PREFIX, &self.0).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_a_wrong_character_is_noticed() {
        let address = Address([7; 32]);
        let text = address.to_string();
        assert!(text.starts_with("kk1"));
        assert_eq!(text.parse(), Ok(address));
        let wrong = text.replacen('1', "q", 2);
        assert!(wrong.parse::<Address>().is_err());
        assert!("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4".parse::<Address>().is_err());
    }

    #[test]
    fn shards_split_the_address_space_evenly() {
        let at = |first: u8| Address([first; 32]).shard(2).0;
        assert_eq!((at(0), at(0x7f), at(0x80), at(0xff)), (0, 0, 1, 1));
        assert_eq!(Address([0xff; 32]).shard(u16::MAX).0, u16::MAX - 1);
    }
}
