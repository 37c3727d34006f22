//! What the beacon does with a crosslink, after `beacon/src/record.rs`.

use super::{
    model::Lanes,
    mutants::Mutant,
    shard::other,
    state::{Block, Receipt, State},
};
use std::collections::BTreeMap;

/// `InvalidCrosslink` (`beacon/src/crosslink.rs`), as far as an honest shard's numbers could bring it about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    Parent,
    ReferenceOrder,
    CursorRegresses,
    CursorAhead,
    LaneOrder,
    UnfoundedReturn,
    LaneFull,
    Sent,
    Received,
    Insolvent,
    Unbalanced,
}

/// The lanes as the headers of one crosslink change them: `record::Ledger`.
struct Ledger<'a> {
    model: &'a Lanes,
    shard: usize,
    /// The lane toward the shard.
    toward: Vec<Receipt>,
    /// The lane from the shard, its destination's cursor in it.
    away: Vec<Receipt>,
    away_consumed: u8,
}

impl Lanes {
    /// `BeaconState::record` and the certified beacon block around it.
    pub(crate) fn record(&self, state: &mut State, shard: usize, skipped: usize, headers: usize) {
        let chain = &state.chains[shard];
        let first = chain.recorded + skipped;
        let last = first + headers;
        let linked = chain.blocks.get(chain.recorded).map(recorded);
        if linked.as_ref() != Some(&state.beacon.records[shard]) || last >= chain.blocks.len() {
            state.refused = Some(Refusal::Parent);
            return;
        }
        let newest = state.beacon.newest();
        let mut ledger = Ledger {
            model: self,
            shard,
            toward: state.beacon.logs[other(shard)].clone(),
            away: state.beacon.logs[shard].clone(),
            away_consumed: newest.consumed[shard],
        };
        for pair in chain.blocks[first..=last].windows(2) {
            if let Err(refusal) = ledger.step(&pair[0], &pair[1]) {
                state.refused = Some(refusal);
                return;
            }
        }
        let mut mark = newest;
        mark.recorded[shard] = u8::try_from(ledger.away.len()).expect("a handful");
        mark.consumed[other(shard)] = chain.blocks[last].inbox.next;
        state.beacon.logs[shard] = ledger.away;
        state.beacon.records[shard] = recorded(&chain.blocks[last]);
        state.beacon.marks.push(mark);
        let chain = &mut state.chains[shard];
        chain.recorded = last;
        for block in &mut chain.blocks[..=last] {
            *block = recorded(block);
        }
    }
}

/// What stays of a recorded block: its receipts are in the lane and its body in the past.
fn recorded(block: &Block) -> Block {
    Block { body: 0, emitted: Vec::new(), ..block.clone() }
}

impl Ledger<'_> {
    /// `Ledger::step`, after `succeed`.
    fn step(&mut self, before: &Block, header: &Block) -> Result<(), Refusal> {
        if header.reference < before.reference {
            return Err(Refusal::ReferenceOrder);
        }
        let mut consumed = self.consume(before.inbox.next, header.inbox.next)?;
        let value = |receipt: &Receipt| u16::from(self.model.amount(receipt));
        let taken: u16 = consumed.values().map(value).sum();
        let given: u16 = header.emitted.iter().map(value).sum();
        for receipt in &header.emitted {
            self.emit(receipt, &mut consumed)?;
        }
        self.balance(before, header, given, taken)
    }

    /// `Ledger::consume`.
    fn consume(&self, consumed: u8, found: u8) -> Result<BTreeMap<u8, Receipt>, Refusal> {
        if found < consumed {
            return Err(Refusal::CursorRegresses);
        }
        if usize::from(found) > self.toward.len() {
            return Err(Refusal::CursorAhead);
        }
        let taken = &self.toward[usize::from(consumed)..usize::from(found)];
        Ok((consumed..).zip(taken.iter().copied()).collect())
    }

    /// `Ledger::emit`.
    fn emit(&mut self, receipt: &Receipt, consumed: &mut BTreeMap<u8, Receipt>) -> Result<(), Refusal> {
        let in_order = usize::from(receipt.seq) == self.away.len();
        if !in_order && self.model.mutant != Some(Mutant::RecordsOutOfOrder) {
            return Err(Refusal::LaneOrder);
        }
        if let Some(original) = receipt.original {
            let founded = |returned: Receipt| {
                returned.original.is_none() && self.model.amount(&returned) == self.model.amount(receipt)
            };
            if !consumed.remove(&original).is_some_and(founded) {
                return Err(Refusal::UnfoundedReturn);
            }
        }
        self.away.push(*receipt);
        let all = self.model.mutant == Some(Mutant::BeaconCountsReturns);
        let pending = self.away.iter().skip(usize::from(self.away_consumed));
        let counted = pending.filter(|receipt| all || receipt.original.is_none()).count();
        if counted > usize::from(self.model.setup.bound) { Err(Refusal::LaneFull) } else { Ok(()) }
    }

    /// `record::balance`.
    fn balance(&self, before: &Block, header: &Block, given: u16, taken: u16) -> Result<(), Refusal> {
        if u16::from(header.sent) != u16::from(before.sent) + given {
            return Err(Refusal::Sent);
        }
        if u16::from(header.received) != u16::from(before.received) + taken {
            return Err(Refusal::Received);
        }
        let forgets = self.model.mutant == Some(Mutant::SolvencyForgetsReceived);
        let received = if forgets { 0 } else { header.received };
        let had = u16::from(self.model.setup.allocation[self.shard]) + u16::from(received);
        let left = u16::from(header.sent) + u16::from(header.burned);
        let expected = had.checked_sub(left).ok_or(Refusal::Insolvent)?;
        if forgets || u16::from(header.balances) == expected { Ok(()) } else { Err(Refusal::Unbalanced) }
    }
}

/// The value of all receipts recorded and not consumed: `BeaconState::in_flight` (`beacon/src/state.rs`).
pub(crate) fn in_flight(model: &Lanes, state: &State) -> u16 {
    let newest = state.beacon.newest();
    let pending = |lane: usize| state.beacon.logs[lane].iter().skip(usize::from(newest.consumed[lane]));
    (0..state.beacon.logs.len()).flat_map(pending).map(|receipt| u16::from(model.amount(receipt))).sum()
}
