//! The head of a state: the two things that make up its state root.

use crate::state::{Meta, ShardState, state_root};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{
    codec::{self, InvalidBytes},
    hash::Hash,
};
use thiserror::Error;

/// The root of the accounts, and everything besides the accounts.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StateHead {
    /// The root of the accounts.
    pub accounts_root: Hash,
    /// The rest of the state.
    pub meta: Meta,
}

/// Why a head is refused. No honest peer that holds the block can have made it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidHead {
    /// Not canonical, or too long.
    #[error(transparent)]
    Bytes(#[from] InvalidBytes),
    /// It belongs to another state.
    #[error("the head leads to state root {found}, not to {expected}")]
    StateRoot {
        /// The root it leads to.
        found: Hash,
        /// The root that the block commits to.
        expected: Hash,
    },
}

impl StateHead {
    /// Canonical bytes at most: lanes with 65,535 shards both ways, and tips of 65,535 members, are less.
    pub const MAX_BYTES: usize = 7 * 512 * 1024;

    /// Decodes canonical bytes from a peer.
    pub fn decode(bytes: &[u8]) -> Result<StateHead, InvalidHead> {
        Ok(codec::decode(bytes, StateHead::MAX_BYTES)?)
    }

    /// Checks that this is the head of the state with root `expected`.
    pub fn verify(&self, expected: Hash) -> Result<(), InvalidHead> {
        let found = state_root(&self.accounts_root, &self.meta.hash());
        if found == expected { Ok(()) } else { Err(InvalidHead::StateRoot { found, expected }) }
    }
}

impl ShardState {
    /// The head of this version.
    pub fn head(&self) -> StateHead {
        StateHead { accounts_root: self.accounts.root(), meta: (*self.meta).clone() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::testing::{Setup, World};

    #[test]
    fn every_changed_bit_of_a_head_is_refused() {
        let world = World::new(Setup::default());
        let state = &world.chains[0].head.state;
        let bytes = codec::encode(&state.head());
        assert_eq!(StateHead::decode(&bytes).unwrap().verify(state.root()), Ok(()));
        for bit in 0..8 * bytes.len() {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let refused = StateHead::decode(&changed).and_then(|head| head.verify(state.root()));
            assert!(refused.is_err(), "bit {bit}");
        }
        assert!(StateHead::decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(StateHead::decode(&[&bytes[..], &[0]].concat()).is_err());
        let long = vec![0; StateHead::MAX_BYTES + 1];
        assert!(matches!(StateHead::decode(&long), Err(InvalidHead::Bytes(InvalidBytes::TooLong { .. }))));
    }

    #[test]
    fn the_greatest_head_is_within_its_limit() {
        use kakera_chain::{
            lanes::LaneCount,
            units::{ChainId, ShardId, ValidatorId},
        };
        let world = World::new(Setup::default());
        let mut head = world.chains[0].head.state.head();
        let chains = (0..u16::MAX).map(|shard| ChainId::Shard(ShardId(shard))).chain([ChainId::Beacon]);
        head.meta.inbox = chains.map(|chain| (chain, LaneCount::default())).collect();
        head.meta.outbox = head.meta.inbox.clone();
        head.meta.tips = (0..u16::MAX).map(|member| (ValidatorId(member.into()), 1)).collect();
        assert!(codec::encode(&head).len() <= StateHead::MAX_BYTES);
    }
}
