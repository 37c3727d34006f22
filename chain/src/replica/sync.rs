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
use kakera_cbc::{BlockId, Member, MessageId, Missing, Observation};
use std::collections::BTreeMap;

/// Things asked for at a time.
const WANTS: usize = 64;
/// The longest wait between two requests for one thing.
const LONGEST_WAIT_MS: u64 = 2_000;
/// Bytes of one answer, before the message that exceeds it.
const ANSWER_BYTES: usize = 1024 * 1024;

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
    /// Asked for because of a peer's status, not because a message waits.
    told: bool,
}

/// Requests under way.
pub(super) struct Fetches {
    wants: BTreeMap<Want, Fetch>,
    /// Whom to ask next.
    next: Member,
    delay_ms: u64,
}

impl Fetches {
    pub(super) fn new(delay_ms: u64) -> Self {
        Fetches { wants: BTreeMap::new(), next: Member(0), delay_ms }
    }

    pub(super) fn next_wakeup(&self) -> Timestamp {
        self.wants.values().map(|fetch| fetch.at).min().unwrap_or(Timestamp(u64::MAX))
    }

    /// Whoever said something that cannot be judged yet is the first to ask.
    pub(super) fn heard_from(&mut self, from: Member) {
        self.next = from;
    }

    /// Messages were answered; with `more`, the same peer is asked for the rest at once.
    pub(super) fn answered(&mut self, from: Member, more: bool, now: Timestamp) {
        self.wants.remove(&Want::Since);
        if more {
            self.next = from;
            self.wants.insert(Want::Since, Fetch { at: now, tries: 0, told: true });
        }
    }

    fn tell(&mut self, want: Want, from: Member, now: Timestamp) {
        if self.wants.len() < WANTS && !self.wants.contains_key(&want) {
            self.next = from;
            self.wants.insert(want, Fetch { at: now, tries: 0, told: true });
        }
    }
}

impl<A: Application> Replica<A> {
    /// Asks for what is missing and due.
    pub(super) fn fetch(&mut self) {
        let now = self.now;
        let missing: Vec<Want> = self.engine.missing().filter_map(want_for).take(WANTS).collect();
        let wants = &mut self.fetches.wants;
        wants.retain(|want, fetch| (fetch.told && fetch.tries < 4) || missing.contains(want));
        for want in missing {
            if wants.len() < WANTS {
                // What a message cites is most often under way from somebody else.
                let fetch = Fetch { at: now.plus(self.fetches.delay_ms / 2), tries: 0, told: false };
                wants.entry(want).or_insert(fetch);
            }
        }
        let due: Vec<Want> = wants.iter().filter(|(_, fetch)| fetch.at <= now).map(|(want, _)| *want).collect();
        for want in due {
            self.request(want);
        }
    }

    fn request(&mut self, want: Want) {
        let members = self.seats.committee.len();
        let mut to = self.fetches.next;
        if Some(to) == self.engine.me() {
            to = following(to, members);
        }
        self.fetches.next = following(to, members);
        let delay = self.fetches.delay_ms;
        if let Some(fetch) = self.fetches.wants.get_mut(&want) {
            let wait = delay.saturating_mul(2 << fetch.tries.min(16)).min(LONGEST_WAIT_MS);
            *fetch = Fetch { at: self.now.plus(wait), tries: fetch.tries + 1, ..*fetch };
        }
        if Some(to) == self.engine.me() {
            return;
        }
        let message = match want {
            Want::Since => PeerMessage::Since(self.first_wanted()),
            Want::ById(id) => PeerMessage::ById(vec![id]),
            Want::Cites(id) => PeerMessage::WantCites(id),
            Want::Certificate(block) => PeerMessage::WantCertificate(block),
            Want::Evidence(member) => PeerMessage::WantEvidence(member),
        };
        self.out.sent.push(Effect::Send(to, message));
    }

    fn first_wanted(&self) -> Vec<u64> {
        let next = |member| self.engine.latest(member).map_or(0, |(seq, _)| seq + 1);
        self.seats.committee.members().map(next).collect()
    }

    pub(super) fn hear_status(&mut self, from: Member, status: PeerStatus) -> Result<(), Refused> {
        let expected = self.seats.committee.len();
        if status.tips.len() != expected {
            return Err(Refused::Length { found: status.tips.len(), expected });
        }
        if let Some(question) = status.question {
            let answer = self.own_status(None, Some(question));
            self.out.sent.push(Effect::Send(from, PeerMessage::Status(answer)));
        }
        self.heed(from, &status);
        for (member, tip) in self.seats.committee.members().zip(&status.tips) {
            let Some((seq, id)) = tip else { continue };
            match self.engine.latest(member) {
                Some((own, _)) if own > *seq => {}
                Some((own, _)) if own == *seq => {
                    if !self.engine.contains(id) && !self.engine.is_faulty(member) {
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
        let found = self.messages_since(first);
        self.answer(to, found)
    }

    pub(super) fn answer_by_id(&mut self, to: Member, ids: &[MessageId]) -> Result<(), Refused> {
        if ids.len() > PeerMessage::MAX_MESSAGES {
            return Err(Refused::Length { found: ids.len(), expected: PeerMessage::MAX_MESSAGES });
        }
        let load = |id| record::load_message(&*self.store, id).map(|message| message.and_then(|m| self.carry(m).ok()));
        let found = ids.iter().filter_map(|id| load(id).transpose()).collect();
        self.answer(to, found)
    }

    fn answer(&mut self, to: Member, found: Result<Vec<Carried>, StoreFailure>) -> Result<(), Refused> {
        if let Some(list) = self.read(found)
            && !list.is_empty()
        {
            self.out.sent.push(Effect::Send(to, PeerMessage::Messages(list)));
        }
        Ok(())
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
            bytes += carried.block.as_ref().map_or(0, Vec::len) + 1024;
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
        let exact = self.certificate_of(block);
        if let Some(certificate) = self.read(exact).flatten().or_else(|| self.newest_certificate.clone()) {
            self.out.sent.push(Effect::Send(to, PeerMessage::Certificate(Box::new(certificate))));
        }
        Ok(())
    }

    pub(super) fn answer_cites(&mut self, to: Member, message: MessageId) -> Result<(), Refused> {
        if let Some(observations) = self.engine.observations(&message) {
            let entry = |observation: &Observation| match observation {
                Observation::Nothing => CiteEntry::Nothing,
                Observation::Latest(id) => CiteEntry::Latest(*id),
                Observation::Faulty => CiteEntry::Faulty,
            };
            let cites = observations.iter().map(entry).collect();
            self.out.sent.push(Effect::Send(to, PeerMessage::Cites { message, cites }));
        }
        Ok(())
    }

    pub(super) fn answer_evidence(&mut self, to: Member, member: Member) -> Result<(), Refused> {
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
        Missing::Slot(_) | Missing::Block(_) => None,
    }
}
