//! What is missing, asked for with bounded retries; and answers to peers that miss something.

use super::{
    Effect, Refused, Replica,
    fetches::{Asker, Want},
    record,
};
use crate::{
    application::Application,
    certificate::Certificate,
    message::{Estimate, SignedMessage},
    peer::{Carried, CiteEntry, PeerMessage, PeerStatus},
    store::{StoreFailure, Table},
    units::Height,
};
use kakera_cbc::{BlockId, Member, MessageId, Observation};
use std::collections::BTreeSet;

/// Bytes of one answer, before the message that exceeds it.
pub(super) const ANSWER_BYTES: usize = 1024 * 1024;
impl<A: Application> Replica<A> {
    /// Asks for what is missing and due.
    pub(super) fn fetch(&mut self) {
        // What waits here itself need not be asked for, only what it lacks.
        let is_here = |want: &Want| matches!(want, Want::ById(id) if self.waiting.contains_key(id));
        let wants = self.engine.missing().filter_map(Want::of);
        let mut missing: BTreeSet<Want> = wants.filter(|want| !is_here(want)).collect();
        missing.extend(self.doubted().into_iter().map(Want::Cites));
        for want in self.fetches.due(missing, self.now) {
            self.request(want);
        }
    }

    fn request(&mut self, want: Want) {
        let asker = Asker { chain: self.era.chain, me: self.engine.me(), members: self.seats.committee.len() };
        let Some((to, tries)) = self.fetches.turn(want, asker, self.now) else { return };
        let message = match want {
            Want::Since => PeerMessage::Since(self.first_wanted(tries % 2 == 1)),
            Want::ById(id) => PeerMessage::ById(vec![id]),
            Want::Cites(id) => PeerMessage::WantCites(id),
            Want::Certificate(block) => PeerMessage::WantCertificate(block),
            Want::Evidence(member) => PeerMessage::WantEvidence(member),
        };
        self.out.sent.push(Effect::Send(to, message));
    }

    /// Every other try leaves out known equivocators: what they say on branches that nobody cites must not fill the
    /// answers.
    fn first_wanted(&self, honest: bool) -> Vec<u64> {
        let next = |member| match self.engine.latest(member) {
            _ if honest && self.engine.is_faulty(member) => u64::MAX,
            latest => latest.map_or(0, |(seq, _)| seq + 1),
        };
        self.seats.committee.members().map(next).collect()
    }

    pub(super) fn hear_status(&mut self, from: Member, status: PeerStatus) -> Result<(), Refused> {
        let expected = self.seats.committee.len();
        if status.tips.len() != expected {
            return Err(Refused::Length { found: status.tips.len(), expected });
        }
        if let Some(question) = status.question
            && self.fetches.may_answer(from, self.now)
        {
            self.show_own(from, &status);
            let answer = self.own_status(None, Some(question));
            self.out.sent.push(Effect::Send(from, PeerMessage::Status(answer)));
            self.offer(from, question);
        }
        self.heed(from, &status);
        for (member, tip) in self.seats.committee.members().zip(&status.tips) {
            let Some((seq, id)) = tip else { continue };
            if self.engine.is_faulty(member) {
                continue;
            }
            match self.engine.latest(member) {
                Some((own, _)) if own > *seq => {}
                Some((own, _)) if own == *seq => {
                    if !self.engine.contains(id) {
                        self.fetches.tell(Want::ById(*id), from, self.now);
                    }
                }
                _ => self.fetches.tell(Want::Since, from, self.now),
            }
        }
        let certified = self.ledger.certified().height();
        if status.certified.0 > certified {
            self.fetches.tell(Want::Certificate(status.certified.1), from, self.now);
        }
        self.repeat_shares(from, status.certified.0);
        Ok(())
    }

    /// Shows a peer that asks how far it is the latest message of its own that it lacks.
    fn show_own(&mut self, to: Member, status: &PeerStatus) {
        let Some((seq, id)) = self.engine.latest(to) else { return };
        let known = status.tips.get(to.index()).copied().flatten();
        if known.is_some_and(|(known, _)| known >= seq) {
            return;
        }
        if let Some(message) = self.signed(&id) {
            let carried = self.carry(message).map(|carried| vec![carried]);
            self.answer(to, carried);
        }
    }

    /// Gives a member that has just started what waits here, once a start: its own went with its last process.
    fn offer(&mut self, to: Member, question: u64) {
        const OFFERED_BYTES: usize = 512 * 1024;
        if self.voice.offered.insert(to, question) == Some(question) {
            return;
        }
        let offers = self.app.offers(OFFERED_BYTES).into_iter();
        self.out.sent.extend(offers.map(|bytes| Effect::Send(to, PeerMessage::Application(bytes))));
    }

    /// Says the own finality signatures again to a peer that has no certificate above its height.
    fn repeat_shares(&mut self, to: Member, above: Height) {
        const AT_ONCE: usize = 8;
        let Some(me) = self.engine.me() else { return };
        let shares = self.shares.of(me, above).take(AT_ONCE).cloned();
        self.out.sent.extend(shares.map(|share| Effect::Send(to, PeerMessage::Finality(share))));
    }

    /// Messages that the asker lacks, in insertion order: each follows all that it cites.
    pub(super) fn answer_since(&mut self, to: Member, first: &[u64]) -> Result<(), Refused> {
        let expected = self.seats.committee.len();
        if first.len() != expected {
            return Err(Refused::Length { found: first.len(), expected });
        }
        if self.fetches.may_answer(to, self.now) {
            let found = self.messages_since(first);
            self.answer(to, found);
        }
        Ok(())
    }

    pub(super) fn answer_by_id(&mut self, to: Member, ids: &[MessageId]) -> Result<(), Refused> {
        if ids.len() > PeerMessage::MAX_MESSAGES {
            return Err(Refused::Length { found: ids.len(), expected: PeerMessage::MAX_MESSAGES });
        }
        if self.fetches.may_answer(to, self.now) {
            let found = self.messages_by_id(ids);
            self.answer(to, found);
        }
        Ok(())
    }

    fn answer(&mut self, to: Member, found: Result<Vec<Carried>, StoreFailure>) {
        if let Some(list) = self.read(found)
            && !list.is_empty()
        {
            self.out.sent.push(Effect::Send(to, PeerMessage::Messages(list)));
        }
    }

    fn messages_by_id(&self, ids: &[MessageId]) -> Result<Vec<Carried>, StoreFailure> {
        let (mut list, mut bytes) = (Vec::new(), 0);
        for id in ids.iter().copied().collect::<BTreeSet<MessageId>>() {
            let Some(message) = record::load_message(&*self.store, &id)? else { continue };
            let carried = self.carry(message)?;
            bytes += length(&carried);
            list.push(carried);
            if bytes > ANSWER_BYTES {
                break;
            }
        }
        Ok(list)
    }

    fn messages_since(&self, first: &[u64]) -> Result<Vec<Carried>, StoreFailure> {
        let mut numbers = Vec::new();
        for (member, first) in self.seats.committee.members().zip(first) {
            let from = record::thread_key(member, *first, 0);
            let rows = self.store.scan(Table::Threads, &from, PeerMessage::MAX_MESSAGES)?;
            let entries = rows.iter().filter_map(|(key, _)| record::thread_entry(key));
            numbers.extend(entries.take_while(|(of, _)| *of == member).map(|(_, number)| number));
        }
        numbers.sort_unstable();
        numbers.truncate(PeerMessage::MAX_MESSAGES);
        let (mut list, mut bytes, mut base) = (Vec::new(), 0, None);
        for number in numbers {
            let Some(message) = record::load::<SignedMessage>(&*self.store, Table::Messages, &number.to_be_bytes())?
            else {
                break;
            };
            let new_base = base != Some(message.statement.base);
            base = Some(message.statement.base);
            let mut carried = self.carry(message)?;
            if !new_base {
                carried.certificate = None;
            }
            bytes += length(&carried);
            list.push(carried);
            if bytes > ANSWER_BYTES {
                break;
            }
        }
        Ok(list)
    }

    /// A stored message with its block and its base's certificate.
    fn carry(&self, message: SignedMessage) -> Result<Carried, StoreFailure> {
        let block = match message.statement.estimate {
            Estimate::Proposal { block, .. } => self.store.load(Table::Blocks, &block.0)?,
            Estimate::Vote(_) => None,
        };
        let certificate = self.certificate_of(&message.statement.base)?;
        Ok(Carried { message, block, certificate })
    }

    fn certificate_of(&self, block: &BlockId) -> Result<Option<Certificate>, StoreFailure> {
        if *block == self.era.root {
            return Ok(None);
        }
        let Some(bytes) = self.store.load(Table::Blocks, &block.0)? else { return Ok(None) };
        let Ok(held) = crate::block::Block::decode(&bytes) else { return Ok(None) };
        let found: Option<Certificate> =
            record::load(&*self.store, Table::Certificates, &held.header.height.0.to_be_bytes())?;
        Ok(found.filter(|certificate| certificate.finality.block == *block))
    }

    pub(super) fn answer_certificate(&mut self, to: Member, block: &BlockId) -> Result<(), Refused> {
        if !self.fetches.may_answer(to, self.now) {
            return Ok(());
        }
        let exact = self.certificate_of(block);
        if let Some(certificate) = self.read(exact).flatten().or_else(|| self.newest_certificate.clone()) {
            self.out.sent.push(Effect::Send(to, PeerMessage::Certificate(Box::new(certificate))));
        }
        Ok(())
    }

    pub(super) fn answer_cites(&mut self, to: Member, message: MessageId) -> Result<(), Refused> {
        if !self.fetches.may_answer(to, self.now) {
            return Ok(());
        }
        if let Some(cites) = self.cites_of(&message) {
            self.out.sent.push(Effect::Send(to, shown(message, &cites)));
            self.lead(to, message, cites);
        }
        Ok(())
    }

    fn cites_of(&mut self, message: &MessageId) -> Option<Vec<Observation>> {
        let stored = match self.engine.observations(message) {
            Some(observations) => Ok(Some(observations)),
            None => record::load_cites(&*self.store, message),
        };
        self.read(stored).flatten()
    }

    /// Gives to a peer that could not tell what a message cites also its sender's message before that, what this one
    /// cites, the one before, and so on: whoever knows another branch of an equivocator lacks all of them, and each is
    /// of use to it only once it knows who cites it. They stop at what the peer's own latest message cites.
    fn lead(&mut self, to: Member, message: MessageId, mut cites: Vec<Observation>) {
        let Some((sender, mut seq, _)) = self.engine.place(&message) else { return };
        let seen = self.seen_by(to, sender);
        let depth = self.fetches.depth(to, &message);
        let (mut end, mut bytes) = (message, 0);
        for step in 1..=depth {
            let Some(Observation::Latest(previous)) = cites.get(sender.index()).copied() else { break };
            seq = seq.saturating_sub(1);
            if bytes > ANSWER_BYTES || seen.is_some_and(|seen| seq <= seen) {
                break;
            }
            let found = self.messages_by_id(&[previous]);
            let Some(list) = self.read(found).filter(|list| !list.is_empty()) else { break };
            bytes += list.iter().map(length).sum::<usize>();
            self.out.sent.push(Effect::Send(to, PeerMessage::Messages(list)));
            end = previous;
            if step == depth {
                break;
            }
            let Some(next) = self.cites_of(&previous) else { break };
            bytes += next.len() * size_of::<MessageId>();
            self.out.sent.push(Effect::Send(to, shown(previous, &next)));
            cites = next;
        }
        if end != message {
            self.fetches.led_to(to, end, depth);
        }
    }

    /// The place of the message of a member that a peer's latest message cites; nothing where that tells no branch.
    fn seen_by(&self, peer: Member, member: Member) -> Option<u64> {
        if self.engine.is_faulty(member) {
            return None;
        }
        let (_, latest) = self.engine.latest(peer)?;
        match self.engine.observations(&latest)?.get(member.index())? {
            Observation::Latest(id) => self.engine.place(id).map(|(_, seq, _)| seq),
            Observation::Nothing | Observation::Faulty => None,
        }
    }

    pub(super) fn answer_evidence(&mut self, to: Member, member: Member) -> Result<(), Refused> {
        if !self.fetches.may_answer(to, self.now) {
            return Ok(());
        }
        let pair = record::load(&*self.store, Table::Evidence, &member.0.to_be_bytes());
        if let Some(pair) = self.read(pair).flatten() {
            self.out.sent.push(Effect::Send(to, PeerMessage::Evidence(Box::new(pair))));
            return Ok(());
        }
        let conflict = record::load(&*self.store, Table::Evidence, &record::conflict_key(member));
        if let Some(conflict) = self.read(conflict).flatten() {
            self.out.sent.push(Effect::Send(to, PeerMessage::Conflict(Box::new(conflict))));
        }
        Ok(())
    }

    /// What the store answered; its failure halts the replica.
    pub(super) fn read<T>(&mut self, loaded: Result<T, StoreFailure>) -> Option<T> {
        loaded.map_err(|failure| self.out.halt(super::Breach::Store(failure))).ok()
    }
}

/// What a message with all that it carries adds to an answer, in bytes.
pub(super) fn length(carried: &Carried) -> usize {
    borsh::object_length(carried).unwrap_or(ANSWER_BYTES)
}

fn shown(message: MessageId, cites: &[Observation]) -> PeerMessage {
    PeerMessage::Cites { message, cites: cites.iter().map(CiteEntry::from).collect() }
}
