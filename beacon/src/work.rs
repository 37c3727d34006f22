//! A beacon block in the making: items in their order, and what every block ends with.

use crate::{
    randomness::{InvalidReveal, Reveal},
    registry::Offence,
    slashing::{InvalidReport, Window},
    state::BeaconState,
};
use kakera_chain::{
    Member,
    application::{Context, Executed},
    block::Figures,
    certificate::{Certificate, Seats},
    crosslink::Crosslink,
    evidence::Guilty,
    hash::NetworkId,
    receipt::{Receipt, ReturnReason},
    signatures::Signatures,
    units::{ChainId, ValidatorId},
};
use std::sync::Arc;

/// Whom evidence convicts, by the committees that a state remembers.
///
/// # Errors
/// Why it changes nothing: what its reporter would be told.
pub fn convicts(state: &BeaconState, bytes: &[u8], network: NetworkId) -> Result<Offence, ReturnReason> {
    let unbonding = state.parameters.epochs.ok_or(ReturnReason::InvalidEvidence)?.unbonding;
    let window = Window { network, current: state.epoch, unbonding };
    let seat = |chain, epoch, member: Member| {
        let (validator, _) = state.eras.get(&(chain, epoch))?.get(member.index())?;
        Some((*validator, state.registry.get(*validator)?.key))
    };
    let slashed = |id| state.registry.get(id).is_none_or(|validator| validator.status.is_gone());
    match window.judge(bytes, seat, slashed) {
        Ok(Guilty { validator, chain, epoch, offence: act, .. }) => Ok(Offence { validator, chain, epoch, act }),
        Err(InvalidReport::Stale { .. }) => Err(ReturnReason::StaleEvidence),
        Err(InvalidReport::Duplicate { validator }) => Err(state.registry.why_not_slashed(validator)),
        Err(_) => Err(ReturnReason::InvalidEvidence),
    }
}

/// A beacon block in the making.
pub(crate) struct Work {
    pub(crate) state: BeaconState,
    pub(crate) items: Vec<Vec<u8>>,
    pub(crate) bytes: usize,
    pub(crate) receipts: Vec<Receipt>,
    revealed: bool,
    pub(crate) attended: bool,
}

impl Work {
    pub(crate) fn new(parent: &BeaconState) -> Work {
        let (state, items, receipts) = (parent.clone(), Vec::new(), Vec::new());
        Work { state, items, bytes: 0, receipts, revealed: false, attended: false }
    }

    pub(crate) fn push(&mut self, item: Vec<u8>) {
        self.bytes += item.len();
        self.items.push(item);
    }

    pub(crate) fn reveal(&mut self, proposer: ValidatorId, reveal: &Reveal) -> Result<(), InvalidReveal> {
        let state = &mut self.state;
        Arc::make_mut(&mut state.registry).reveal(proposer, reveal, state.epoch)?;
        state.mix = state.mix.with(proposer, reveal.link);
        self.revealed = true;
        Ok(())
    }

    /// Counts who signed a certificate of this chain; says whether it is new and holds. Whatever root it names: more
    /// than two thirds of the epoch's committee have signed it.
    pub(crate) fn attend(&mut self, certificate: Certificate, network: NetworkId, signatures: &Signatures) -> bool {
        let state = &mut self.state;
        let seats = state.seats(&state.seating.current.beacon, signatures);
        let root = certificate.finality.root;
        let Ok(checked) = certificate.verify(ChainId::Beacon, state.epoch, root, &seats, network) else { return false };
        self.attended = true;
        Arc::make_mut(&mut state.attendance).certificate(&seats, &checked.into_inner())
    }

    pub(crate) fn count(&mut self, seats: &Seats, crosslink: &Crosslink) {
        if self.state.has_stake() {
            Arc::make_mut(&mut self.state.attendance).crosslink(seats, crosslink);
        }
    }

    /// What every block ends with; `items` in its body.
    pub(crate) fn finish(mut self, context: &Context, items: usize) -> (Executed<BeaconState>, Vec<Vec<u8>>) {
        if self.state.has_stake() {
            Arc::make_mut(&mut self.state.attendance).proposal(context.validator, self.revealed);
        }
        self.receipts.extend(self.state.end_block(context.slot));
        (executed(self.state, items, self.receipts), self.items)
    }
}

/// The outcome of a block with so many items.
pub(crate) fn executed(state: BeaconState, items: usize, receipts: Vec<Receipt>) -> Executed<BeaconState> {
    state.conservation().expect("what is recorded conserves the supply, shard by shard and lane by lane");
    let transactions = u32::try_from(items).expect("at most one item a shard");
    let figures = Figures { transactions, ..Figures::default() };
    Executed { state_root: state.root(), state, receipts, figures }
}
