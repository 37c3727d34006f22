//! From what a peer said to what a node's engine holds: known equivocators' branches dropped, the undecidable parked
//! and looked at again, certificates and pruning, and the engine made anew when something old has to be judged.
//!
//! The same steps as a replica's, without signatures and blocks' contents.

use super::node::Node;
use super::{Library, ROOT};
use crate::{BlockId, Blocks, Committee, Event, Member, Message, MessageId, Missing, Observation, Slot, Verdict};
use std::sync::Arc;

/// Slots for which nothing is pruned after an engine was made anew from the journal.
const REBUILT_SLOTS: u64 = 4;

impl Node {
    /// Takes a message from a peer, with the certificate of its base where that has one, and whatever waited for it.
    pub(super) fn hear(
        &mut self,
        slot: Slot,
        from: usize,
        message: Arc<Message<Blocks>>,
        certificate: Option<BlockId>,
        library: &Library,
    ) -> Vec<Event<Blocks>> {
        if self.deaf || self.engine.contains(&message.id) || self.waiting.contains_key(&message.id) {
            return Vec::new();
        }
        let mut events = certificate.map_or_else(Vec::new, |base| self.learn(slot, base, library));
        events.extend(self.admit(slot, from, message, library));
        events.extend(self.release(slot, library));
        events
    }

    fn admit(
        &mut self,
        slot: Slot,
        from: usize,
        message: Arc<Message<Blocks>>,
        library: &Library,
    ) -> Vec<Event<Blocks>> {
        let (sender, seq, id) = (message.sender, message.seq, message.id);
        // More branches of a known equivocator are of use only below what others cite: they could be without end.
        if self.engine.is_faulty(sender)
            && !self.engine.by_seq(sender, seq).is_empty()
            && !self.engine.is_wanted(&id, sender, seq)
        {
            self.dropped += 1;
            return Vec::new();
        }
        let mut verdict = self.engine.check(slot, &message);
        // Its base was forgotten here, and not by its sender: it is judged by the same rules, with all that was stored.
        if matches!(verdict, Verdict::Waiting(Missing::Past(_))) && self.engine.line() > Slot(0) {
            self.rebuild(slot, library);
            verdict = self.engine.check(slot, &message);
        }
        match verdict {
            Verdict::Known => Vec::new(),
            Verdict::Invalid(reason) => {
                self.refused.push((id, reason));
                Vec::new()
            }
            Verdict::Waiting(missing) => {
                self.wants.parked(from, &missing);
                if self.engine.park((*message).clone(), missing).is_ok() {
                    self.waiting.insert(id, (from, message));
                    self.most_waiting = self.most_waiting.max(self.engine.parked());
                } else {
                    self.dropped += 1;
                }
                if self.waiting.len() > self.engine.parked() {
                    let engine = &self.engine;
                    self.waiting.retain(|id, _| engine.is_parked(id));
                }
                Vec::new()
            }
            Verdict::Valid(checked) => {
                let mut events = self.insert(message, checked);
                events.extend(self.certify_early(slot));
                events
            }
        }
    }

    /// Looks again at what waited.
    pub(super) fn release(&mut self, slot: Slot, library: &Library) -> Vec<Event<Blocks>> {
        let mut events = Vec::new();
        loop {
            let released = self.engine.release(slot);
            if released.is_empty() {
                return events;
            }
            // All are taken out before the first is admitted, which looks after what no longer waits.
            let taken: Vec<_> = released.iter().filter_map(|message| self.waiting.remove(&message.id)).collect();
            for (from, message) in taken {
                events.extend(self.admit(slot, from, message, library));
            }
        }
    }

    /// Takes a full justification, as a peer would show it.
    pub(super) fn hear_cites(&mut self, slot: Slot, id: &MessageId, library: &Library) -> Vec<Event<Blocks>> {
        if let Some(cites) = library.cites.get(id) {
            self.engine.supply_cites(id, cites.clone());
        }
        self.release(slot, library)
    }

    /// Counts a finality signature; answers whether they are a certificate now that was not known.
    pub(super) fn hear_share(&mut self, member: Member, block: BlockId, committee: &Committee) -> bool {
        let signers = self.shares.entry(block).or_default();
        signers.insert(member);
        let weight: u128 = signers.iter().map(|member| u128::from(committee.weight(*member))).sum();
        weight * 3 > u128::from(committee.total()) * 2 && !self.certificates.contains(&block)
    }

    /// Takes a certificate: its block is a base from now on, as soon as it is held.
    pub(super) fn learn(&mut self, slot: Slot, block: BlockId, library: &Library) -> Vec<Event<Blocks>> {
        if block == ROOT || !self.certificates.insert(block) {
            return Vec::new();
        }
        self.early.insert(block);
        let mut events = self.certify_early(slot);
        events.extend(self.release(slot, library));
        events
    }

    fn certify_early(&mut self, slot: Slot) -> Vec<Event<Blocks>> {
        let before = self.engine.base();
        let held: Vec<BlockId> =
            self.early.iter().filter(|block| self.engine.protocol().contains(block)).copied().collect();
        for block in held {
            self.early.remove(&block);
            if self.engine.certify(block).is_err() {
                self.breach = self.breach.or(Some(block));
            }
        }
        if self.engine.base() == before {
            return Vec::new();
        }
        self.news = true;
        self.prune(slot);
        let head = self.engine.head();
        if head == self.head { Vec::new() } else { vec![Event::HeadChanged(head)] }
    }

    fn prune(&mut self, slot: Slot) {
        let Some(keep) = self.keep_slots.filter(|_| slot.0 >= self.whole_until) else { return };
        let base = self.engine.protocol().block(&self.engine.base());
        let line = base.map_or(0, |block| block.slot.0.saturating_sub(keep));
        // In steps: pruning looks at everything held.
        if line > self.engine.line().0 + keep / 4 {
            self.engine.prune(Slot(line));
        }
    }

    /// Makes the engine anew from everything it ever took in, in the stored order, without pruning.
    pub(super) fn rebuild(&mut self, slot: Slot, library: &Library) {
        let evidence: Vec<(Member, MessageId, MessageId)> = self.engine.faulty().collect();
        let mut engine = self.empty.clone();
        let mut certificates = self.certificates.clone();
        for message in &self.journal {
            certificates.retain(|block| engine.certify(*block).is_err());
            let mut verdict = engine.check(slot, message);
            for (member, first, second) in &evidence {
                if verdict.missing() == Some(&Missing::Evidence(*member)) {
                    engine.accuse(*member, *first, *second);
                    verdict = engine.check(slot, message);
                }
            }
            if verdict.missing() == Some(&Missing::FullCites(message.id))
                && let Some(cites) = library.cites.get(&message.id)
            {
                verdict = engine.check_full(slot, message, cites);
            }
            if let Verdict::Valid(checked) = verdict {
                engine.insert(checked);
            }
        }
        certificates.retain(|block| engine.certify(*block).is_err());
        for (member, first, second) in evidence {
            engine.accuse(member, first, second);
        }
        assert!(engine.len() >= self.engine.len(), "what was valid when it was stored is valid again");
        self.engine = engine;
        self.rebuilt += 1;
        self.whole_until = slot.0 + REBUILT_SLOTS;
        let waiting = std::mem::take(&mut self.waiting);
        for (id, (from, message)) in waiting {
            // Whatever it waited for: it is looked at again at once.
            if self.engine.park((*message).clone(), Missing::Slot(Slot(0))).is_ok() {
                self.waiting.insert(id, (from, message));
            }
        }
    }

    /// Takes what the adversary made for one of its faces.
    pub(super) fn take_crafted(
        &mut self,
        checked: crate::Checked<Blocks>,
        library: &mut Library,
    ) -> Arc<Message<Blocks>> {
        self.take_own(checked, library).0
    }

    /// Takes a message with its full justification, all of which is held.
    pub(super) fn take_in(
        &mut self,
        slot: Slot,
        message: Arc<Message<Blocks>>,
        cites: &[Observation],
        library: &Library,
    ) -> Vec<Event<Blocks>> {
        if library.certificates.contains(&message.base) {
            self.learn(slot, message.base, library);
        }
        match self.engine.check_full(slot, &message, cites) {
            Verdict::Valid(checked) => {
                let mut events = self.insert(message, checked);
                events.extend(self.certify_early(slot));
                events
            }
            Verdict::Invalid(reason) => {
                self.refused.push((message.id, reason));
                Vec::new()
            }
            Verdict::Known | Verdict::Waiting(_) => Vec::new(),
        }
    }
}
