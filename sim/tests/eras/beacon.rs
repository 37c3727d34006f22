//! What the beacon does: turning epochs, recording crosslinks and naming roots, after `beacon/src/epochs.rs` and
//! `beacon/src/record.rs`.

use super::{
    model::Eras,
    mutants::Mutant,
    state::{BeaconState, BlockId, Chain, Era, Named, Order, State, epoch_of, is_late},
};

/// Why a crosslink is refused: `InvalidCrosslink` (`beacon/src/crosslink.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nothing in it is above what is recorded.
    Stale,
    /// A header of another era than the one named.
    OtherEra,
    /// It does not continue what is recorded.
    Parent,
    /// It goes on above a switch block.
    PastEra,
    /// A reference that lies in an epoch that the beacon has not come to.
    Future,
}

impl Eras {
    /// A beacon block: `Beacon::execute` (`beacon/src/application.rs`). It may carry a crosslink of everything above what
    /// is recorded up to a certified block.
    pub(crate) fn beacon_block(
        &self,
        below: &BeaconState,
        chains: &[Chain],
        slot: u8,
        crosslink: Option<BlockId>,
    ) -> Result<BeaconState, Refusal> {
        let mut state = below.clone();
        state.slot = slot;
        state.visited |= 1 << epoch_of(slot);
        match self.setup.order {
            Order::TurnRecordFallback => {
                self.record(&mut state, epoch_of(slot), crosslink)?;
                self.fall_back(&mut state, below, chains);
            }
            Order::RecordTurnFallback => {
                self.record(&mut state, below.epoch(), crosslink)?;
                self.fall_back(&mut state, below, chains);
            }
            Order::TurnFallbackRecord => {
                self.fall_back(&mut state, below, chains);
                self.record(&mut state, epoch_of(slot), crosslink)?;
            }
        }
        state.waited |= u8::from(state.era().epoch < state.epoch()) << state.epoch();
        Ok(state)
    }

    /// `BeaconState::place`: whether a crosslink up to a certified block may be recorded in a state of this epoch.
    pub(crate) fn judge(&self, state: &BeaconState, epoch: u8, last: BlockId) -> Result<(), Refusal> {
        if last.height() <= state.last().height() {
            return Err(Refusal::Stale);
        }
        for header in last.path(state.last()) {
            let era = header.era();
            let late = self.mutant == Some(Mutant::TakesLateCrosslinks) && era.epoch < state.era().epoch;
            if era != state.era() && !late {
                return Err(Refusal::OtherEra);
            }
            if header.reference() > epoch && self.mutant != Some(Mutant::BelievesReferences) {
                return Err(Refusal::Future);
            }
            if header != last && header.is_switch() {
                return Err(Refusal::PastEra);
            }
        }
        if last.descends(state.last()) { Ok(()) } else { Err(Refusal::Parent) }
    }

    /// `BeaconState::record`: the headers, and the root if the last one is a switch block.
    fn record(&self, state: &mut BeaconState, epoch: u8, crosslink: Option<BlockId>) -> Result<(), Refusal> {
        let Some(last) = crosslink else { return Ok(()) };
        self.judge(state, epoch, last)?;
        let below = state.last();
        state.recorded.extend(last.path(below));
        if last.is_switch() {
            state.named.push(Named { era: Era { epoch, root: last }, fallback: false });
        }
        Ok(())
    }

    /// Past the deadline a shard without a root for the epoch goes on from what is recorded, with another committee.
    fn fall_back(&self, state: &mut BeaconState, below: &BeaconState, chains: &[Chain]) {
        let (era, last) = (state.era(), state.last());
        let due = match self.mutant {
            Some(Mutant::NeverFallsBack) => false,
            Some(Mutant::FallsBackAlways) => is_late(state.slot) && era != Era { epoch: state.epoch(), root: last },
            Some(Mutant::FallsBackABlockLater) => era.epoch < state.epoch() && is_late(below.slot),
            _ => era.epoch < state.epoch() && is_late(state.slot),
        };
        if !due {
            return;
        }
        let root = match self.mutant {
            // The newest block of the era that has a certificate, recorded or not.
            Some(Mutant::FallsBackToFinal) => {
                let chain = chains.iter().find(|chain| chain.era == era);
                chain.map_or(last, |chain| chain.certified)
            }
            Some(Mutant::FallsBackToTheRoot) => {
                let root = era.root;
                state.recorded.truncate(usize::from(root.height()) + 1);
                root
            }
            _ => last,
        };
        state.named.push(Named { era: Era { epoch: state.epoch(), root }, fallback: true });
    }
}

/// Everything certified: anybody may hand it to the beacon, at any time and again.
pub(crate) fn certified(state: &State) -> impl Iterator<Item = BlockId> {
    state.chains.iter().flat_map(|chain| chain.certified.path(chain.era.root))
}
