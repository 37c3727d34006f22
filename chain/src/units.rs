//! Units that must not be mixed: chains, heights, epochs, times and amounts.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
                 BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

unit! {
    /// Blocks since genesis, which has height 0.
    Height(u64)
}
unit! {
    /// A fixed number of beacon slots with fixed committees.
    Epoch(u64)
}
unit! {
    /// Milliseconds since the Unix epoch.
    Timestamp(u64)
}
unit! {
    /// One shard chain, from 0.
    ShardId(u16)
}
unit! {
    /// A validator's index in the registry, from 0.
    ValidatorId(u32)
}

impl Timestamp {
    /// This moment `ms` milliseconds later; stops at the end of time.
    #[must_use]
    pub fn plus(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }
}

impl Height {
    /// The height above.
    #[must_use]
    pub fn next(self) -> Height {
        Height(self.0.checked_add(1).expect("a chain never reaches 2^64 blocks"))
    }
}

/// A chain of the network.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub enum ChainId {
    /// The chain that draws committees and records crosslinks.
    Beacon,
    /// A shard chain.
    Shard(ShardId),
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChainId::Beacon => write!(f, "beacon"),
            ChainId::Shard(shard) => write!(f, "shard {shard}"),
        }
    }
}

/// The network's one clock: slots of a chain counted from the genesis time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotClock {
    /// When slot 0 begins.
    pub genesis: Timestamp,
    /// A slot's length; above zero.
    pub slot_ms: u64,
}

impl SlotClock {
    /// The slot at `now`; slot 0 before genesis.
    pub fn slot_at(&self, now: Timestamp) -> kakera_cbc::Slot {
        kakera_cbc::Slot(now.0.saturating_sub(self.genesis.0) / self.slot_ms)
    }

    /// When `slot` begins.
    pub fn start_of(&self, slot: kakera_cbc::Slot) -> Timestamp {
        Timestamp(self.genesis.0.saturating_add(slot.0.saturating_mul(self.slot_ms)))
    }
}
