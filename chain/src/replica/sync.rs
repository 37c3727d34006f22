//! What is missing, asked for with bounded retries; and answers to peers that miss something.

use super::{Effect, Refused, Replica, record};
use crate::{
    application::Application,
    certificate::Certificate,
    message::{Estimate, SignedMessage},
    peer::{Carried, CiteEntry, PeerMessage, PeerStatus},
    store::{StoreFailure, Table},
    units::{Height, Timestamp},
};
use kakera_cbc::{BlockId, Member, MessageId, Missing};
use std::collections::{BTreeMap, BTreeSet};

/// Things asked for at a time because one peer's status names them.
const TOLD: usize = 4;
/// The longest wait between two requests for one thing.
const LONGEST_WAIT_MS: u64 = 2_000;
/// Bytes of one answer, before the message that exceeds it.
pub(super) const ANSWER_BYTES: usize = 1024 * 1024;
/// Answers to one peer in one second at most: an honest one that catches up needs fewer.
const ANSWERS_A_SECOND: u32 = 64;

/// One thing to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Want {
    /// Messages past what is held.
    Since,
    ById(MessageId),
    Cites(MessageId),
    Certificate(BlockId),
    Evidence(Member),
}

#[derive(Clone, Copy, Debug)]
struct Fetch {
    at: Timestamp,
    tries: u32,
    /// Whom to ask next: every try asks somebody else.
    to: Member,
    /// Asked for because of this peer's status, not because a message waits.
    told: Option<Member>,
}

/// Requests under way: one for each thing that a parked message misses (the engine bounds those), and a few that the
/// status of each peer makes worth a try.
pub(super) struct Fetches {
    wants: BTreeMap<Want, Fetch>,
    /// Whom to ask first for something new.
    next: Member,
    /// Who was asked last for messages past what is held.
    asked: Option<Member>,
    /// Answers given to each peer in this second.
    answers: BTreeMap<Member, u32>,
    second: u64,
    delay_ms: u64,
}

impl Fetches {
    pub(super) fn new(delay_ms: u64) -> Self {
        let (wants, answers) = (BTreeMap::new(), BTreeMap::new());
        Fetches { wants, next: Member(0), asked: None, answers, second: 0, delay_ms }
    }

    pub(super) fn next_wakeup(&self) -> Timestamp {
        self.wants.values().map(|fetch| fetch.at).min().unwrap_or(Timestamp(u64::MAX))
    }

    /// Whoever said something that cannot be judged yet is the first to ask.
    pub(super) fn heard_from(&mut self, from: Member) {
        self.next = from;
    }

    /// Messages came. If they answer a request and something was new, the want is met, and where there may be more the
    /// same peer is asked for the rest at once. An answer that brings nothing leaves the want to others.
    pub(super) fn answered(&mut self, from: Member, news: bool, more: bool, now: Timestamp) {
        if self.asked != Some(from) || !news {
            return;
        }
        self.asked = None;
        self.wants.remove(&Want::Since);
        if more {
            self.wants.insert(Want::Since, Fetch { at: now, tries: 0, to: from, told: Some(from) });
        }
    }

    fn tell(&mut self, want: Want, from: Member, now: Timestamp) {
        let told = self.wants.values().filter(|fetch| fetch.told == Some(from)).count();
        if told < TOLD {
            self.wants.entry(want).or_insert(Fetch { at: now, tries: 0, to: from, told: Some(from) });
        }
    }

    /// Whether this peer may have one more answer now.
    fn may_answer(&mut self, to: Member, now: Timestamp) -> bool {
        let second = now.0 / 1000;
        if second != self.second {
            (self.second, self.answers) = (second, BTreeMap::new());
        }
        let given = self.answers.entry(to).or_default();
        *given = given.saturating_add(1);
        *given <= ANSWERS_A_SECOND
    }
}

impl<A: Application> Replica<A> {
    /// Asks for what is missing and due.
    pub(super) fn fetch(&mut self) {
        let now = self.now;
        let mut missing: BTreeSet<Want> = self.engine.missing().filter_map(want_for).collect();
        missing.extend(self.doubted().into_iter().map(Want::Cites));
        let wants = &mut self.fetches.wants;
        wants.retain(|want, fetch| (fetch.told.is_some() && fetch.tries < 4) || missing.contains(want));
        for want in missing {
            // What a message cites is most often under way from somebody else.
            let at = now.plus(self.fetches.delay_ms / 2);
            wants.entry(want).or_insert(Fetch { at, tries: 0, to: self.fetches.next, told: None });
        }
        let due: Vec<Want> = wants.iter().filter(|(_, fetch)| fetch.at <= now).map(|(want, _)| *want).collect();
        for want in due {
            self.request(want);
        }
    }

    fn request(&mut self, want: Want) {
        let (members, me) = (self.seats.committee.len(), self.engine.me());
        let delay = self.fetches.delay_ms;
        let Some(fetch) = self.fetches.wants.get_mut(&want) else { return };
        let to = if Some(fetch.to) == me { following(fetch.to, members) } else { fetch.to };
        let tries = fetch.tries;
        let wait = delay.saturating_mul(2 << tries.min(16)).min(LONGEST_WAIT_MS);
        *fetch =
            Fetch { at: self.now.plus(wait), tries: tries.saturating_add(1), to: following(to, members), ..*fetch };
        if Some(to) == me {
            return;
        }
        if want == Want::Since {
            self.fetches.asked = Some(to);
        }
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
        let stored = match self.engine.observations(&message) {
            Some(observations) => Ok(Some(observations)),
            None => record::load_cites(&*self.store, &message),
        };
        if let Some(observations) = self.read(stored).flatten() {
            let cites = observations.iter().map(CiteEntry::from).collect();
            self.out.sent.push(Effect::Send(to, PeerMessage::Cites { message, cites }));
        }
        Ok(())
    }

    pub(super) fn answer_evidence(&mut self, to: Member, member: Member) -> Result<(), Refused> {
        if !self.fetches.may_answer(to, self.now) {
            return Ok(());
        }
        let loaded = record::load(&*self.store, Table::Evidence, &member.0.to_be_bytes());
        if let Some(evidence) = self.read(loaded).flatten() {
            self.out.sent.push(Effect::Send(to, PeerMessage::Evidence(Box::new(evidence))));
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

fn following(member: Member, members: usize) -> Member {
    let next = (member.index() + 1) % members;
    Member(u16::try_from(next).expect("committees have at most 65,535 members"))
}

fn want_for(missing: &Missing<kakera_cbc::Blocks>) -> Option<Want> {
    match missing {
        Missing::Message { .. } => Some(Want::Since),
        Missing::Id(id) => Some(Want::ById(*id)),
        Missing::FullCites(id) => Some(Want::Cites(*id)),
        Missing::Evidence(member) => Some(Want::Evidence(*member)),
        Missing::Certificate(block) => Some(Want::Certificate(*block)),
        Missing::Slot(_) | Missing::Block(_) | Missing::Past(_) => None,
    }
}
