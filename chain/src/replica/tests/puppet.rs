//! A member that says what it likes.

use super::{bench::key, *};
use crate::{
    advances::Advances,
    message::{Estimate, Statement},
};
use kakera_cbc::Verdict;

/// What a member's engine held when it was taken over, and its key.
pub(super) struct Puppet {
    pub(super) engine: Engine<Blocks>,
    pub(super) me: usize,
    pub(super) era: Era,
}

impl Puppet {
    /// The member's process ends, and its key speaks for somebody else.
    pub(super) fn of(bench: &mut Bench, me: usize) -> Puppet {
        let replica = bench.replicas[me].as_ref().unwrap();
        let puppet = Puppet { engine: replica.engine.clone(), me, era: replica.era };
        bench.crash(me);
        puppet
    }

    /// Its next vote, as valid as any, said in a slot.
    pub(super) fn statement(&self, slot: u64) -> Statement {
        let draft = self.engine.draft(Slot(slot), self.engine.base(), &self.engine.view());
        Statement {
            chain: self.era.chain,
            epoch: self.era.epoch,
            root: self.era.root,
            sender: draft.sender,
            seq: draft.seq,
            slot: draft.slot,
            base: draft.base,
            advances: Advances::new(draft.advances.clone()),
            cites: draft.cites,
            estimate: Estimate::Vote(draft.value),
        }
    }

    pub(super) fn sign(&self, statement: Statement) -> SignedMessage {
        SignedMessage::sign(statement, &key(self.me), self.era.network)
    }

    pub(super) fn vote(&self, slot: u64) -> PeerMessage {
        carried(self.sign(self.statement(slot)))
    }

    /// Takes a message that is as valid as any.
    pub(super) fn take(&mut self, message: &SignedMessage) {
        let id = message.statement.id(self.era.network);
        if let Verdict::Valid(checked) = self.engine.check(Slot(u64::MAX), &message.statement.to_message(id)) {
            self.engine.insert(checked);
        }
    }

    /// Its next vote, after which it goes on.
    pub(super) fn say(&mut self, slot: u64) -> PeerMessage {
        let message = self.sign(self.statement(slot));
        self.take(&message);
        carried(message)
    }

    /// Takes all that a member holds now.
    pub(super) fn take_all(&mut self, bench: &Bench, of: usize) {
        for (_, bytes) in bench.stores[of].scan(Table::Messages, &[], usize::MAX).unwrap() {
            let message: SignedMessage = crate::codec::decode(&bytes, usize::MAX).unwrap();
            let _ = self.engine.certify(message.statement.base);
            self.take(&message);
        }
    }

    /// Asks a member for what is missing until nothing new comes.
    pub(super) fn catch_up(&mut self, bench: &mut Bench, with: usize) {
        loop {
            let latest = |member| self.engine.latest(member).map_or(0, |(seq, _)| seq + 1);
            let first: Vec<u64> = bench.seats.committee.members().map(latest).collect();
            bench.run(1_000);
            let Some(PeerMessage::Messages(list)) = bench.hear(with, self.me, PeerMessage::Since(first)).pop() else {
                return;
            };
            let held = self.engine.len();
            for carried in &list {
                let _ = self.engine.certify(carried.message.statement.base);
                self.take(&carried.message);
            }
            if self.engine.len() == held {
                return;
            }
        }
    }
}

pub(super) fn carried(message: SignedMessage) -> PeerMessage {
    PeerMessage::Message(Box::new(Carried { message, block: None, certificate: None }))
}

pub(super) fn slot(bench: &Bench) -> u64 {
    bench.status(0).slot.0
}
