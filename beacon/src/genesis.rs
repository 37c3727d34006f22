//! Genesis blocks: the root of every chain's first era.

use kakera_chain::{
    BlockId, Member, Slot,
    block::{Figures, Header},
    hash::{Hash, merkle_root},
    receipt::Reference,
    units::{ChainId, Epoch, Height},
};

/// The header of a chain's genesis block, whose id is the root of its first era.
///
/// Height 0, slot 0, epoch 0, proposer member 0, nothing below it (parent and era root are zero), nothing read of the
/// beacon (the reference is zero), and neither items, witnesses nor receipts. `state_root` and `figures` are those of the
/// chain's state before its first block: `Application::genesis`. It is known to all and never signed.
pub fn genesis_header(chain: ChainId, state_root: Hash, figures: Figures) -> Header {
    let nothing = merkle_root::<Vec<u8>>(&[]);
    Header {
        chain,
        epoch: Epoch(0),
        root: BlockId::default(),
        parent: BlockId::default(),
        height: Height(0),
        slot: Slot(0),
        proposer: Member(0),
        reference: Reference { height: Height(0), slot: Slot(0), id: BlockId::default() },
        state_root,
        body_root: nothing,
        witness_root: nothing,
        outbox_root: nothing,
        figures,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kakera_chain::{hash::NetworkId, units::ShardId};

    #[test]
    fn the_genesis_block_id_is_golden() {
        let figures = Figures { balances: 5, ..Figures::default() };
        let header = genesis_header(ChainId::Shard(ShardId(1)), Hash([2; 32]), figures);
        assert_eq!(
            header.id(NetworkId(Hash([3; 32]))).to_string(),
            "3422d0e6c9cdba25321dc8da438f079cd396979b7c30d095113668807241aa4a"
        );
    }
}
