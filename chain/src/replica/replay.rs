//! Stored messages inserted into an empty engine again, in their order, a few at a time.

use super::{
    record,
    restart::{InvalidStore, decode},
};
use crate::{
    evidence::Evidence,
    hash::NetworkId,
    message::{Estimate, SignedMessage},
    store::{Store, Table},
    units::Height,
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_cbc::{BlockId, Blocks, Engine, MessageId, Missing, Slot, Verdict};

/// Phases remembered one by one; past so many the two oldest count as one.
pub(super) const PHASES: usize = 64;

/// A stretch of the stored messages that was taken while the pruning line stood lower than usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Phase {
    /// The line.
    pub(super) line: u64,
    /// The insertion number of the first message taken after it; the greatest number while it lasts.
    pub(super) until: u64,
}

impl Phase {
    pub(super) const OPEN: u64 = u64::MAX;
}

/// Adds a phase that begins now, and drops those that it covers: no line passes its own before it has ended.
pub(super) fn begin(phases: &mut Vec<Phase>, line: u64) {
    phases.retain(|phase| phase.line < line);
    phases.push(Phase { line, until: Phase::OPEN });
    while phases.len() > PHASES {
        let oldest = phases.remove(0);
        phases[0] = Phase { line: phases[0].line.min(oldest.line), until: phases[0].until.max(oldest.until) };
    }
}

/// An engine on its way from nothing to all that is stored.
///
/// Whatever was in memory when a message came is there when it is inserted again, so that it resolves as it did then:
/// the newest base of the messages so far is no newer than the certified block was then, and the line follows it from
/// further off; a phase with a lower line is on record.
pub(super) struct Replay {
    engine: Engine<Blocks>,
    network: NetworkId,
    phases: Vec<Phase>,
    slots_kept: u64,
    base: Slot,
    next: u64,
}

impl Replay {
    /// Starts with an empty engine and the evidence of its era that is stored.
    pub(super) fn new(
        mut engine: Engine<Blocks>,
        network: NetworkId,
        phases: Vec<Phase>,
        slots_kept: u64,
        store: &dyn Store,
    ) -> Result<Self, InvalidStore> {
        for evidence in record::load_evidence(store)? {
            let (first, second) = match &evidence {
                Evidence::Equivocation(pair) => {
                    (pair.first.statement.id(network).0, pair.second.statement.id(network).0)
                }
                Evidence::Conflict(pair) => (pair.first.finality.id(network).0, pair.second.finality.id(network).0),
            };
            let (.., member) = evidence.accused();
            engine.accuse(member, MessageId(first), MessageId(second));
        }
        Ok(Replay { engine, network, phases, slots_kept, base: Slot(0), next: 0 })
    }

    /// The number of the message that comes next.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Inserts the next messages, at most so many; answers them.
    pub(super) fn step(&mut self, store: &dyn Store, at_once: usize) -> Result<Vec<SignedMessage>, InvalidStore> {
        let rows = store.scan(Table::Messages, &self.next.to_be_bytes(), at_once)?;
        let mut taken = Vec::with_capacity(rows.len());
        for (_, bytes) in &rows {
            let message = decode(Table::Messages, bytes)?;
            self.insert(store, &message)?;
            self.next += 1;
            taken.push(message);
        }
        self.prune();
        Ok(taken)
    }

    /// The engine, once the last stored message is in it, with the newest certified block for its base.
    pub(super) fn finish(mut self, certified: BlockId) -> Result<Engine<Blocks>, InvalidStore> {
        self.certify(certified, "certified block")?;
        Ok(self.engine)
    }

    fn insert(&mut self, store: &dyn Store, message: &SignedMessage) -> Result<(), InvalidStore> {
        let statement = &message.statement;
        let id = statement.id(self.network);
        if !self.engine.is_certified(&statement.base) {
            self.certify(statement.base, "base of a message")?;
        }
        let parsed = statement.to_message(id);
        let checked = match self.engine.check(Slot(u64::MAX), &parsed) {
            Verdict::Valid(checked) => checked,
            Verdict::Waiting(Missing::FullCites(_)) => {
                let cites =
                    record::load_cites(store, &id)?.ok_or(InvalidStore::Lacks { what: "what a message cites" })?;
                match self.engine.check_full(Slot(u64::MAX), &parsed, &cites) {
                    Verdict::Valid(checked) => checked,
                    _ => return Err(InvalidStore::Contradiction { what: "message and what it cites" }),
                }
            }
            _ => return Err(InvalidStore::Contradiction { what: "message" }),
        };
        self.engine.insert(checked);
        // Peers may still speak on any certified block, also on one that no stored message has for its base.
        if let Estimate::Proposal { block, height, .. } = statement.estimate
            && record::certified_id(store, Height(height))? == Some(block)
        {
            self.certify(block, "certified block")?;
        }
        let base = self.engine.protocol().block(&statement.base).map_or(Slot(0), |base| base.slot);
        self.base = self.base.max(base);
        Ok(())
    }

    /// Certifies a stored block that the store says is on the certified chain.
    fn certify(&mut self, id: BlockId, what: &'static str) -> Result<(), InvalidStore> {
        self.engine.certify(id).map_err(|_| InvalidStore::Contradiction { what })
    }

    fn prune(&mut self) {
        let ahead = self.phases.iter().filter(|phase| phase.until > self.next).map(|phase| phase.line);
        let line = self.base.0.saturating_sub(2 * self.slots_kept).min(ahead.min().unwrap_or(u64::MAX));
        if line > self.engine.line().0 + self.slots_kept / 4 {
            self.engine.prune(Slot(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_that_begins_keeps_only_what_says_more() {
        let open = |line| Phase { line, until: Phase::OPEN };
        let ended = |line, until| Phase { line, until };
        let mut phases = vec![ended(30, 9), ended(50, 12), open(70)];
        begin(&mut phases, 40);
        assert_eq!(phases, [ended(30, 9), open(40)]);
        let mut phases = vec![ended(10, 9), open(20)];
        begin(&mut phases, 40);
        assert_eq!(phases, [ended(10, 9), open(20), open(40)]);
        let mut phases: Vec<Phase> = (0..64).map(|n| ended(n, 10 + n)).collect();
        begin(&mut phases, 500);
        assert_eq!((phases.len(), phases[0]), (64, ended(0, 11)));
    }
}
