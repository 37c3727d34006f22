//! From what a peer said to what the engine holds: bounded, checked, then believed.

use super::{
    Effect, Refused, Replica, agrees,
    ledger::Held,
    record,
    sync::{ANSWER_BYTES, length},
};
use crate::{
    application::{Application, ReferenceStatus},
    block::Block,
    codec,
    evidence::Equivocation,
    message::{Estimate, SignedMessage},
    peer::{Carried, CiteEntry, PeerMessage},
    store::Table,
};
use kakera_cbc::{BlockId, Checked, Event, Invalid, Member, MessageId, Missing, Observation, Slot, Verdict};
use std::sync::Arc;

/// Bytes of blocks that wait with messages of one sender at most.
pub(super) const WAITING_BYTES: usize = 4 * Block::MAX_BYTES;

/// Heights below the certified block whose blocks stay in memory.
pub(super) const BLOCKS_KEPT: u64 = 64;

/// What a message proposes, as far as it can be judged now.
enum Content<S> {
    Nothing,
    Sound(Held<S>),
    Waits(BlockId),
    Refused(Refused),
}

impl<A: Application> Replica<A> {
    pub(super) fn hear(&mut self, from: Member, message: PeerMessage) {
        let heard = match message {
            PeerMessage::Message(carried) => self.receive(from, *carried),
            PeerMessage::Messages(list) => self.receive_answer(from, list),
            PeerMessage::Finality(share) => self.hear_share(share),
            PeerMessage::Certificate(certificate) => self.hear_certificate(*certificate),
            PeerMessage::Status(status) => self.hear_status(from, status),
            PeerMessage::Since(first) => self.answer_since(from, &first),
            PeerMessage::ById(ids) => self.answer_by_id(from, &ids),
            PeerMessage::WantCites(id) => self.answer_cites(from, id),
            PeerMessage::Cites { message, cites } => self.hear_cites(message, &cites),
            PeerMessage::WantCertificate(block) => self.answer_certificate(from, &block),
            PeerMessage::WantEvidence(member) => self.answer_evidence(from, member),
            PeerMessage::Evidence(pair) => self.hear_equivocation(*pair),
            PeerMessage::Conflict(conflict) => self.hear_conflict(*conflict),
            PeerMessage::Application(bytes) => {
                self.gossip(&bytes);
                Ok(())
            }
        };
        if let Err(reason) = heard {
            self.out.sent.push(Effect::Refused { from, reason });
        }
    }

    /// Takes one consensus message with what it carries.
    pub(super) fn receive(&mut self, from: Member, mut carried: Carried) -> Result<(), Refused> {
        let statement = &carried.message.statement;
        if (statement.chain, statement.epoch, statement.root) != (self.era.chain, self.era.epoch, self.era.root) {
            return Err(Refused::OtherEra);
        }
        let id = statement.id(self.era.network);
        if self.engine.contains(&id) {
            return Ok(());
        }
        if self.waiting.contains_key(&id) {
            // It may wait for this very certificate, which it lacked when it came first or which found no room.
            return carried.certificate.take().map_or(Ok(()), |certificate| self.hear_certificate(certificate));
        }
        carried.message.clone().verify(&self.seats, self.era.network).map_err(|_| Refused::Signature)?;
        // Advances are expanded only where they name members: before that they take no more than on the wire.
        let cited = carried.message.statement.advances.last();
        if let Some(member) = cited.filter(|member| member.index() >= self.seats.committee.len()) {
            return Err(Refused::Message(Invalid::UnknownCited { member }));
        }
        if Some(carried.message.statement.sender) == self.engine.me() {
            // Anybody may repeat what this member said long ago: that has left memory, not the store.
            if self.is_stored(&id) {
                return Ok(());
            }
            self.hear_own();
        }
        // Before it may wait: a signed message with another block must not stand in the way of the whole one.
        let block = self.proposed(&carried)?;
        if let Some(certificate) = carried.certificate.take() {
            self.hear_certificate(certificate)?;
        }
        self.admit(from, id, carried, block)
    }

    /// The block that a proposal carries, as far as it can be judged by itself.
    pub(super) fn proposed(&self, carried: &Carried) -> Result<Option<Block>, Refused> {
        let statement = &carried.message.statement;
        let Estimate::Proposal { block: id, parent, height } = statement.estimate else {
            return if carried.block.is_none() { Ok(None) } else { Err(Refused::Block) };
        };
        let block = carried.block.as_ref().and_then(|bytes| Block::decode(bytes).ok()).ok_or(Refused::Block)?;
        let header = &block.header;
        if header.id(self.era.network) != id {
            return Err(Refused::Block);
        }
        let era = (header.chain, header.epoch, header.root);
        let place = (header.parent, header.height.0, header.slot, header.proposer);
        if era != (self.era.chain, self.era.epoch, self.era.root)
            || place != (parent, height, statement.slot, statement.sender)
        {
            return Err(Refused::Header);
        }
        Ok(Some(block))
    }

    fn receive_answer(&mut self, from: Member, list: Vec<Carried>) -> Result<(), Refused> {
        if list.len() > PeerMessage::MAX_MESSAGES {
            return Err(Refused::Length { found: list.len(), expected: PeerMessage::MAX_MESSAGES });
        }
        let more = list.len() == PeerMessage::MAX_MESSAGES || list.iter().map(length).sum::<usize>() > ANSWER_BYTES;
        let held = self.engine.len();
        for carried in list {
            // One bad message spoils nothing but itself: an honest peer may have put it beside good ones.
            if let Err(reason) = self.receive(from, carried) {
                self.out.sent.push(Effect::Refused { from, reason });
            }
        }
        self.fetches.answered(from, self.engine.len() > held, more, self.now);
        Ok(())
    }

    /// Inserts a message whose signature was checked, or parks it, or refuses it.
    pub(super) fn admit(
        &mut self,
        from: Member,
        id: MessageId,
        carried: Carried,
        block: Option<Block>,
    ) -> Result<(), Refused> {
        let message = carried.message.statement.to_message(id);
        let (sender, seq) = (message.sender, message.seq);
        // More branches of a known equivocator are of use only below what others cite: they could be without end.
        if self.engine.is_faulty(sender)
            && !self.engine.by_seq(sender, seq).is_empty()
            && !self.engine.is_wanted(&id, sender, seq)
        {
            return Ok(());
        }
        let verdict = match self.doubts.told(sender, &id) {
            Some(cites) => self.engine.check_full(self.slot(), &message, cites),
            None => self.engine.check(self.slot(), &message),
        };
        let missing = match verdict {
            Verdict::Known => return Ok(()),
            Verdict::Invalid(reason) => return Err(Refused::Message(reason)),
            // What is stored and has left memory was judged before.
            Verdict::Waiting(Missing::Past(_)) if self.is_stored(&id) => return Ok(()),
            Verdict::Waiting(missing) => missing,
            Verdict::Valid(_) if self.is_unasked(&id, sender, seq, &message.base) => Missing::Past(message.base),
            Verdict::Valid(checked) => {
                let held = match block.map_or(Content::Nothing, |block| self.content(block)) {
                    Content::Nothing => Ok(None),
                    Content::Sound(held) => Ok(Some(held)),
                    Content::Waits(block) => Err(Missing::Block(block)),
                    Content::Refused(reason) => return Err(reason),
                };
                match held {
                    Ok(held) => {
                        let told = self.doubts.told(sender, &id).or_else(|| self.engine.supplied_cites(&id));
                        if let Some(cites) = told.map(<[Observation]>::to_vec) {
                            self.keep_cites(&id, &cites);
                        }
                        self.insert(id, carried, checked, held);
                        return Ok(());
                    }
                    Err(missing) => missing,
                }
            }
        };
        if self.waiting_bytes(sender) + carried.block.as_ref().map_or(0, Vec::len) > WAITING_BYTES {
            return Err(Refused::Full);
        }
        self.engine.park(message, missing.clone()).map_err(|_| Refused::Full)?;
        self.fetches.lacks(&missing, from, self.now);
        self.waiting.insert(id, (from, carried));
        if self.waiting.len() > self.engine.parked() {
            let engine = &self.engine;
            self.waiting.retain(|id, _| engine.is_parked(id));
        }
        Ok(())
    }

    fn is_stored(&mut self, id: &MessageId) -> bool {
        let loaded = self.store.load(Table::MessageIds, &id.0);
        self.read(loaded).is_none_or(|number| number.is_some())
    }

    /// Bytes of blocks that wait with one sender's messages.
    fn waiting_bytes(&self, sender: Member) -> usize {
        let of_sender = self.waiting.values().filter(|(_, carried)| carried.message.statement.sender == sender);
        of_sender.filter_map(|(_, carried)| carried.block.as_ref()).map(Vec::len).sum()
    }

    /// Looks again at parked messages whose missing thing has come.
    pub(super) fn release(&mut self) {
        loop {
            let released = self.engine.release(self.slot());
            if released.is_empty() {
                return;
            }
            // All leave before the first is admitted: one that waits again must not find the others there that the
            // engine does not hold any more. They had room together, so that each of them finds room again.
            let released: Vec<_> =
                released.into_iter().filter_map(|message| self.waiting.remove_entry(&message.id)).collect();
            for (id, (from, carried)) in released {
                self.admit_again(from, id, carried);
            }
        }
    }

    /// Looks again at a parked message of which more is known now.
    pub(super) fn judge_again(&mut self, id: &MessageId) {
        if self.engine.unpark(id).is_some()
            && let Some((from, carried)) = self.waiting.remove(id)
        {
            self.admit_again(from, *id, carried);
        }
    }

    /// Judges a message that has waited.
    pub(super) fn admit_again(&mut self, from: Member, id: MessageId, carried: Carried) {
        let admitted = self.proposed(&carried).and_then(|block| self.admit(from, id, carried, block));
        if let Err(reason) = admitted {
            self.out.sent.push(Effect::Refused { from, reason });
        }
    }

    /// Blocks that waited for their reference are looked at again.
    pub(super) fn references_grew(&mut self) {
        let waiting: Vec<BlockId> = self
            .engine
            .missing()
            .filter_map(|missing| if let Missing::Block(block) = missing { Some(*block) } else { None })
            .collect();
        waiting.into_iter().for_each(|block| self.engine.provide_block(block));
    }

    /// Executes what a proposal proposes. A block that is not above the certified one is never executed: it can become
    /// nothing any more, its states may be forgotten here, and whoever cites it as valid has certified past it too.
    fn content(&mut self, block: Block) -> Content<A::State> {
        let header = &block.header;
        let id = header.id(self.era.network);
        if !self.engine.protocol().descends(&header.parent, &self.ledger.certified().id) {
            return Content::Nothing;
        }
        let Some(parent) = self.ledger.block(&header.parent).cloned() else { return Content::Waits(id) };
        match self.app.reference_status(&header.reference, &parent.block.header.reference) {
            ReferenceStatus::Known => {}
            ReferenceStatus::Unknown => return Content::Waits(id),
            ReferenceStatus::Invalid => return Content::Refused(Refused::Content),
        }
        if self.era.is_closed_by(&parent.block.header, &self.network) {
            return Content::Refused(Refused::Closed);
        }
        let context = self.context(header);
        match self.app.execute(&parent.executed.state, &context, &block.body, &block.witnesses) {
            Ok(executed) if agrees(header, &executed) => Content::Sound(Held { id, block: Arc::new(block), executed }),
            _ => Content::Refused(Refused::Content),
        }
    }

    /// Takes a checked message into the engine and the store.
    pub(super) fn insert(
        &mut self,
        id: MessageId,
        carried: Carried,
        checked: Checked<kakera_cbc::Blocks>,
        held: Option<Held<A::State>>,
    ) {
        let statement = &carried.message.statement;
        let number = self.next_insertion;
        self.next_insertion += 1;
        let key = number.to_be_bytes();
        self.out.put(Table::Messages, key, codec::encode(&carried.message));
        self.out.put(Table::MessageIds, id.0, key);
        self.out.put(Table::Threads, record::thread_key(statement.sender, statement.seq, number), id.0);
        self.voice.totals.messages = self.voice.totals.messages.saturating_add(1);
        let events = self.engine.insert(checked);
        self.keep_ambiguous(&id);
        self.keep_line(&carried.message.statement.base);
        if let (Estimate::Proposal { block, .. }, Some(bytes)) = (carried.message.statement.estimate, carried.block) {
            self.out.put(Table::Blocks, block.0, bytes);
        }
        self.unwritten.insert(id, carried.message);
        if let Some(held) = held {
            let held = self.ledger.insert(held);
            self.out.sent.push(Effect::Included { id: held.id, block: held.block.clone() });
            self.adopt_stashed(&held.id);
        }
        self.follow(events);
    }

    /// What the engine says has changed.
    pub(super) fn follow(&mut self, events: Vec<Event<kakera_cbc::Blocks>>) {
        for event in events {
            if let Event::Equivocation { member, first, second } = event {
                self.convict(member, &first, &second);
            }
        }
    }

    pub(super) fn convict(&mut self, member: Member, first: &MessageId, second: &MessageId) {
        let (Some(first), Some(second)) = (self.signed(first), self.signed(second)) else { return };
        let evidence = Equivocation::of(first, second, self.era.network);
        self.out.put(Table::Evidence, member.0.to_be_bytes(), codec::encode(&evidence));
        self.out.sent.push(Effect::Broadcast(PeerMessage::Evidence(Box::new(evidence))));
    }

    /// A held message in its signed form.
    pub(super) fn signed(&mut self, id: &MessageId) -> Option<SignedMessage> {
        if let Some(message) = self.unwritten.get(id) {
            return Some(message.clone());
        }
        let loaded = record::load_message(&*self.store, id);
        self.read(loaded).flatten()
    }

    fn hear_cites(&mut self, message: MessageId, cites: &[CiteEntry]) -> Result<(), Refused> {
        let expected = self.seats.committee.len();
        if cites.len() != expected {
            return Err(Refused::Length { found: cites.len(), expected });
        }
        let cites: Vec<Observation> = cites.iter().map(Observation::from).collect();
        if !self.clear_doubt(&message, &cites) {
            self.engine.supply_cites(&message, cites);
        }
        Ok(())
    }

    /// Steps along an equivocator's thread, or after one, may lead to several messages once more of them are held than
    /// there are now: the next start and a rebuild hold more, and must resolve them as they were resolved now.
    fn keep_ambiguous(&mut self, id: &MessageId) {
        if self.engine.faulty().next().is_none() {
            return;
        }
        let Some(cites) = self.engine.observations(id) else { return };
        let members = self.seats.committee.members().zip(&cites);
        let ambiguous = |(member, seen): (Member, &Observation)| {
            matches!(seen, Observation::Latest(_)) && self.engine.is_faulty(member)
        };
        if members.into_iter().any(ambiguous) {
            self.keep_cites(id, &cites);
        }
    }

    /// Keeps the whole justification of a message whose advances alone do not tell it: for the next start, and for
    /// peers that ask when it has left memory.
    pub(super) fn keep_cites(&mut self, id: &MessageId, cites: &[Observation]) {
        let entries: Vec<CiteEntry> = cites.iter().map(CiteEntry::from).collect();
        self.out.put(Table::Cites, id.0, codec::encode(&entries));
    }

    /// Forgets what finality has made useless. Blocks and states go block by block, messages in large steps.
    pub(super) fn prune(&mut self) {
        let certified = &self.ledger.certified().block.header;
        let (height, slot) = (certified.height.0, certified.slot.0);
        self.ledger.forget_below(crate::units::Height(height.saturating_sub(BLOCKS_KEPT)));
        let (line, kept) = (slot.saturating_sub(self.past.slots_kept), self.past.slots_kept);
        if self.voice.phase == super::Phase::Observer {
            return;
        }
        if line > self.engine.line().0.saturating_add(kept / 4) && !self.past.holds(self.slot()) {
            self.engine.prune(Slot(line));
            self.end_phases();
        }
    }
}

impl From<&Observation> for CiteEntry {
    fn from(observation: &Observation) -> Self {
        match observation {
            Observation::Nothing => CiteEntry::Nothing,
            Observation::Latest(id) => CiteEntry::Latest(*id),
            Observation::Faulty => CiteEntry::Faulty,
        }
    }
}

impl From<&CiteEntry> for Observation {
    fn from(entry: &CiteEntry) -> Self {
        match entry {
            CiteEntry::Nothing => Observation::Nothing,
            CiteEntry::Latest(id) => Observation::Latest(*id),
            CiteEntry::Faulty => Observation::Faulty,
        }
    }
}
