//! The eras of all chains, with their committees, as honest nodes entered them.

use crate::setup::Setup;
use kakera_chain::{
    BlockId, Member,
    certificate::Seats,
    era::EraPlan,
    units::{ChainId, Epoch, Height, ValidatorId},
};
use std::collections::BTreeMap;

/// All eras that any honest node has entered.
#[derive(Debug)]
pub struct Eras(BTreeMap<(ChainId, Epoch, BlockId), (Height, Seats)>);

impl Eras {
    /// The first ones.
    pub fn new(setup: &Setup) -> Eras {
        let first = |chain: ChainId| {
            let root = setup.genesis[&chain].id(setup.network.id);
            ((chain, Epoch(0), root), (Height(0), setup.seats(chain).clone()))
        };
        Eras(setup.chains().map(first).collect())
    }

    /// A node entered one.
    pub fn entered(&mut self, chain: ChainId, plan: &EraPlan) {
        self.0.entry((chain, plan.epoch, plan.root.1)).or_insert_with(|| (plan.root.0, plan.seats.clone()));
    }

    /// An era's committee.
    pub fn seats(&self, chain: ChainId, epoch: Epoch, root: BlockId) -> Option<&Seats> {
        self.0.get(&(chain, epoch, root)).map(|(_, seats)| seats)
    }

    /// Who a member of an era is.
    pub fn validator(&self, chain: ChainId, epoch: Epoch, root: BlockId, member: Member) -> Option<ValidatorId> {
        self.seats(chain, epoch, root)?.validators.get(member.index()).copied()
    }

    /// How many eras of all chains honest nodes have entered.
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// A chain's newest era and its committee.
    ///
    /// # Panics
    /// If there is no such chain.
    pub fn newest(&self, chain: ChainId) -> (Epoch, BlockId, &Seats) {
        let last = (chain, Epoch(u64::MAX), BlockId([u8::MAX; 32]));
        let newest = self.0.range(..=last).next_back().filter(|((of, ..), _)| *of == chain);
        let ((_, epoch, root), (_, seats)) = newest.expect("every chain has a first era");
        (*epoch, *root, seats)
    }
}
