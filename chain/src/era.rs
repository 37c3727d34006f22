//! Eras: the succession of committees that one chain has.
//!
//! An era is one instance of CBC consensus: (network, chain, epoch, root) with a fixed committee. Its last block, the
//! *switch block*, is the first that belongs to a later epoch: a beacon block by its own slot, a shard's block by its
//! reference's. Nothing is built on it in its era. The beacon's next era has the certified switch block for its root; a
//! shard's next era has the root that a certified beacon state names.

use crate::{
    block::Header,
    certificate::Seats,
    genesis::Network,
    hash::NetworkId,
    keys::PublicKey,
    signatures::Signatures,
    units::{ChainId, Epoch, Height, ValidatorId},
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_cbc::{BlockId, Committee, Member, Slot};

/// One CBC instance: network, chain, epoch and root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Era {
    /// The network.
    pub network: NetworkId,
    /// The chain.
    pub chain: ChainId,
    /// The epoch.
    pub epoch: Epoch,
    /// The root block.
    pub root: BlockId,
}

impl Era {
    /// Whether a header says that it is of this era.
    pub fn holds(&self, header: &Header) -> bool {
        (header.chain, header.epoch, header.root) == (self.chain, self.epoch, self.root)
    }

    /// Whether a block of this era is its switch block.
    pub fn is_closed_by(&self, header: &Header, network: &Network) -> bool {
        epoch_reached(header, network) > self.epoch
    }
}

/// The epoch that a block has reached: a beacon block by its slot, a shard's by its reference's.
pub fn epoch_reached(header: &Header, network: &Network) -> Epoch {
    match header.chain {
        ChainId::Beacon => network.epoch_of(header.slot),
        ChainId::Shard(_) => network.epoch_of(header.reference.slot),
    }
}

/// An era as whoever takes part in it must know it.
#[derive(Clone, Debug)]
pub struct EraPlan {
    /// The epoch.
    pub epoch: Epoch,
    /// The root block: height and id.
    pub root: (Height, BlockId),
    /// The committee.
    pub seats: Seats,
    /// Who leads which slot, in turns.
    pub leaders: Vec<Member>,
}

/// An era as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct StoredEra {
    epoch: Epoch,
    root: (Height, BlockId),
    root_slot: Slot,
    members: Vec<(ValidatorId, PublicKey, u64)>,
    leaders: Vec<Member>,
}

impl EraPlan {
    /// The form that is stored.
    pub(crate) fn stored(&self, root_slot: Slot) -> StoredEra {
        let seats = &self.seats;
        let weights = seats.committee.members().map(|member| seats.committee.weight(member));
        let members = seats.validators.iter().zip(&seats.keys).zip(weights);
        StoredEra {
            epoch: self.epoch,
            root: self.root,
            root_slot,
            members: members.map(|((validator, key), weight)| (*validator, *key, weight)).collect(),
            leaders: self.leaders.clone(),
        }
    }
}

impl StoredEra {
    /// The era that was stored, and its root's slot; nothing if it has no committee.
    pub(crate) fn plan(self, signatures: Signatures) -> Option<(EraPlan, Slot)> {
        let committee = Committee::new(self.members.iter().map(|(_, _, weight)| *weight).collect()).ok()?;
        let seats = Seats {
            keys: self.members.iter().map(|(_, key, _)| *key).collect(),
            validators: self.members.iter().map(|(validator, ..)| *validator).collect(),
            committee,
            signatures,
        };
        Some((EraPlan { epoch: self.epoch, root: self.root, seats, leaders: self.leaders }, self.root_slot))
    }
}
