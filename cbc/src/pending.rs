//! Messages that wait outside the DAG: bounded per sender and in total, woken by what they miss.

use crate::engine::Engine;
use crate::forkchoice::Protocol;
use crate::ids::{BlockId, Member, MessageId, Slot};
use crate::message::{Message, Observation, cites_digest};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// Bounds of the pending buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages waiting in all.
    pub pending_total: usize,
    /// Messages waiting of one sender.
    pub pending_per_sender: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { pending_total: 4096, pending_per_sender: 256 }
    }
}

/// What a message waits for.
#[derive(Clone, Debug)]
pub enum Missing<P: Protocol> {
    /// A message at this member and `seq`.
    Message {
        /// Its sender.
        member: Member,
        /// Its place.
        seq: u64,
    },
    /// A message by id.
    Id(MessageId),
    /// The full justification of this message: its advances do not resolve to its digest.
    FullCites(MessageId),
    /// Evidence against a member.
    Evidence(Member),
    /// The certificate of a base.
    Certificate(P::Base),
    /// The local clock.
    Slot(Slot),
    /// A block the application wants first.
    Block(BlockId),
    /// What was said above this certified base and has left memory: the base lies below the pruning line, or what the
    /// sender said at this place does. Whoever holds the past on disk judges the message in an engine that holds it all.
    Past(P::Base),
}

impl<P: Protocol> Missing<P> {
    /// Kind, numbers, id and base: what orders and equals.
    fn key(&self) -> (u8, u64, u64, [u8; 32], Option<P::Base>) {
        let none = [0; 32];
        match self {
            Self::Message { member, seq } => (0, member.0.into(), *seq, none, None),
            Self::Id(id) => (1, 0, 0, id.0, None),
            Self::FullCites(id) => (2, 0, 0, id.0, None),
            Self::Evidence(member) => (3, member.0.into(), 0, none, None),
            Self::Certificate(base) => (4, 0, 0, none, Some(*base)),
            Self::Slot(slot) => (5, slot.0, 0, none, None),
            Self::Block(id) => (6, 0, 0, id.0, None),
            Self::Past(base) => (7, 0, 0, none, Some(*base)),
        }
    }
}

impl<P: Protocol> PartialEq for Missing<P> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<P: Protocol> Eq for Missing<P> {}

impl<P: Protocol> PartialOrd for Missing<P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P: Protocol> Ord for Missing<P> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// Why a message cannot wait here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Full {
    /// Its sender has its share of waiting messages, all of them earlier than this one.
    #[error("member {member} has {limit} messages waiting")]
    Sender {
        /// Whose share.
        member: Member,
        /// The share.
        limit: usize,
    },
    /// The buffer is full, and no sender holds more of it than this one.
    #[error("{limit} messages are waiting")]
    Total {
        /// The bound.
        limit: usize,
    },
    /// The sender is not in the committee.
    #[error("member {member} is not in the committee")]
    Outsider {
        /// The claimed sender.
        member: Member,
    },
}

#[derive(Clone, Debug)]
struct Parked<P: Protocol> {
    message: Message<P>,
    /// None once it has come.
    missing: Option<Missing<P>>,
}

/// The buffer.
#[derive(Clone, Debug)]
pub(crate) struct Pending<P: Protocol> {
    limits: Limits,
    parked: BTreeMap<MessageId, Parked<P>>,
    /// Waiting messages of each sender, by (seq, id).
    shares: Vec<BTreeMap<(u64, MessageId), ()>>,
    waiting: BTreeMap<Missing<P>, Vec<MessageId>>,
    ready: Vec<MessageId>,
    /// Full justifications that peers supplied, one a sender.
    cites: BTreeMap<Member, (MessageId, Vec<Observation>)>,
    /// For whom which of an equivocator's messages at a place was taken.
    granted: BTreeMap<(Want, Member, u64), MessageId>,
}

/// A need for a message that an equivocator said beside another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Want {
    /// Somebody without evidence against it.
    who: Member,
    /// The sender of what cites the message directly.
    through: Member,
    /// Whether what waits names the message by its id, and each that waits for that one does. A place is wanted of
    /// whichever message turns out to be meant: what was taken for its sake must not stand in the way of that one.
    named: bool,
}

impl<P: Protocol> Pending<P> {
    pub(crate) fn new(limits: Limits, members: usize) -> Self {
        Self {
            limits,
            parked: BTreeMap::new(),
            shares: vec![BTreeMap::new(); members],
            waiting: BTreeMap::new(),
            ready: Vec::new(),
            cites: BTreeMap::new(),
            granted: BTreeMap::new(),
        }
    }

    pub(crate) fn cites_of(&self, id: &MessageId) -> Option<&[Observation]> {
        let sender = self.parked.get(id).map(|parked| parked.message.sender);
        let mut held = self.cites.iter().filter(|(member, _)| sender.is_none_or(|s| s == **member));
        held.find(|(_, (message, _))| message == id).map(|(_, (_, cites))| cites.as_slice())
    }

    /// A message was inserted.
    pub(crate) fn came(&mut self, member: Member, seq: u64, id: MessageId) {
        self.take(&id);
        self.cites.retain(|_, (message, _)| *message != id);
        self.wake(&Missing::Message { member, seq });
        self.wake(&Missing::Id(id));
    }

    /// Wakes those that wait for the evidence, and what the member itself said: it may follow another message than
    /// the one it was judged after.
    pub(crate) fn convicted(&mut self, member: Member) {
        self.wake(&Missing::Evidence(member));
        let own: Vec<MessageId> = self.shares[member.index()].keys().map(|(_, id)| *id).collect();
        own.iter().for_each(|id| self.rouse(id));
    }

    /// Makes one message ready, whatever it misses.
    fn rouse(&mut self, id: &MessageId) {
        let Some(missing) = self.parked.get_mut(id).and_then(|parked| parked.missing.take()) else { return };
        self.stop_waiting(id, &missing);
        self.ready.push(*id);
    }

    fn stop_waiting(&mut self, id: &MessageId, missing: &Missing<P>) {
        if let Some(ids) = self.waiting.get_mut(missing) {
            ids.retain(|other| other != id);
            if ids.is_empty() {
                self.waiting.remove(missing);
            }
        }
    }

    pub(crate) fn certified(&mut self, base: P::Base) {
        self.wake(&Missing::Certificate(base));
    }

    fn wake(&mut self, missing: &Missing<P>) {
        for id in self.waiting.remove(missing).unwrap_or_default() {
            if let Some(parked) = self.parked.get_mut(&id) {
                parked.missing = None;
                self.ready.push(id);
            }
        }
    }

    fn take(&mut self, id: &MessageId) -> Option<Message<P>> {
        let Parked { message, missing } = self.parked.remove(id)?;
        self.shares[usize::from(message.sender.0)].remove(&(message.seq, *id));
        match missing {
            Some(missing) => self.stop_waiting(id, &missing),
            None => self.ready.retain(|other| other != id),
        }
        Some(message)
    }

    /// Makes room for a message, or says why there is none.
    ///
    /// A sender past its share loses its own latest message; a full buffer loses the latest
    /// message of whoever holds most of it, so a flood evicts only itself.
    fn make_room(&mut self, message: &Message<P>) -> Result<(), Full> {
        let member = message.sender;
        let own = self.shares.get(usize::from(member.0)).ok_or(Full::Outsider { member })?;
        let later = |share: &BTreeMap<(u64, MessageId), ()>| share.last_key_value().map(|(key, ())| *key);
        let limit = self.limits.pending_per_sender;
        if own.len() >= limit {
            let last = later(own).filter(|last| *last > (message.seq, message.id));
            let (_, victim) = last.ok_or(Full::Sender { member, limit })?;
            self.take(&victim);
        } else if self.parked.len() >= self.limits.pending_total {
            let limit = self.limits.pending_total;
            let largest = self.shares.iter().max_by_key(|share| share.len());
            let largest = largest.filter(|share| share.len() > own.len() + 1);
            let (_, victim) = largest.and_then(later).ok_or(Full::Total { limit })?;
            self.take(&victim);
        }
        Ok(())
    }
}

impl<P: Protocol> Engine<P> {
    /// Keeps a message until what it misses has come.
    ///
    /// # Errors
    /// The buffer, or the sender's share of it, is full.
    pub fn park(&mut self, message: Message<P>, missing: Missing<P>) -> Result<(), Full> {
        let pending = &mut self.pending;
        pending.take(&message.id);
        pending.make_room(&message)?;
        let id = message.id;
        pending.shares[usize::from(message.sender.0)].insert((message.seq, id), ());
        pending.waiting.entry(missing.clone()).or_default().push(id);
        pending.parked.insert(id, Parked { message, missing: Some(missing) });
        Ok(())
    }

    /// The parked messages whose missing thing has come, clock included; check them again.
    pub fn release(&mut self, now: Slot) -> Vec<Message<P>> {
        let pending = &mut self.pending;
        let (low, high) = (Missing::Slot(Slot(0)), Missing::Slot(now));
        let due: Vec<Missing<P>> = pending.waiting.range(low..=high).map(|(missing, _)| missing.clone()).collect();
        due.iter().for_each(|missing| pending.wake(missing));
        let ready = std::mem::take(&mut pending.ready);
        ready.iter().filter_map(|id| pending.take(id)).collect()
    }

    /// A block that the application waited for is here.
    pub fn provide_block(&mut self, block: BlockId) {
        self.pending.wake(&Missing::Block(block));
    }

    /// A peer's answer to [`Missing::FullCites`], or to an own question about a message that waits for long: kept when
    /// the message is parked and the digest agrees, and used by the next [`Engine::check`]. Answers whether it was kept.
    pub fn supply_cites(&mut self, id: &MessageId, cites: Vec<Observation>) -> bool {
        let Some(parked) = self.pending.parked.get(id) else { return false };
        let fits = cites.len() == self.committee.len();
        if !fits || cites_digest(&cites) != parked.message.cites {
            return false;
        }
        let sender = parked.message.sender;
        self.pending.cites.insert(sender, (*id, cites));
        self.pending.rouse(id);
        true
    }

    /// What a peer supplied for [`Missing::FullCites`] of this message, until that is inserted.
    #[must_use]
    pub fn supplied_cites(&self, id: &MessageId) -> Option<&[Observation]> {
        self.pending.cites_of(id)
    }

    /// Whether a message at this place is missed by a parked message of a member without evidence against it, directly
    /// or through parked messages of others.
    ///
    /// Of an equivocator's messages at one place a member can need one for each member through whose messages it came to
    /// it, itself included: what it cites of each is one thread. Whoever asks for more of them asks in vain. One more is
    /// taken for each while it is known by its place only, so that the thread which is cited can still come.
    #[must_use]
    pub fn is_wanted(&self, id: &MessageId, member: Member, seq: u64) -> bool {
        let granted = |want: &Want| self.pending.granted.get(&(*want, member, seq));
        self.wants(id, member, seq).iter().any(|want| granted(want).is_none_or(|other| other == id))
    }

    /// Who waits for a message: members without evidence against them, and the senders of what waits directly.
    fn wants(&self, id: &MessageId, member: Member, seq: u64) -> BTreeSet<Want> {
        let mut open: Vec<(MessageId, Member, u64, Option<Member>, bool)> = vec![(*id, member, seq, None, true)];
        let (mut seen, mut wants) = (BTreeSet::new(), BTreeSet::new());
        while let Some((id, member, seq, through, named)) = open.pop() {
            for (missing, by_id) in [(Missing::Id(id), true), (Missing::Message { member, seq }, false)] {
                for waiter in self.waiting_for(&missing) {
                    let Some(Parked { message, .. }) = self.pending.parked.get(waiter) else { continue };
                    let (through, named) = (through.unwrap_or(message.sender), named && by_id);
                    if !self.is_faulty(message.sender) {
                        wants.insert(Want { who: message.sender, through, named });
                    } else if seen.insert((*waiter, through, named)) {
                        open.push((*waiter, message.sender, message.seq, Some(through), named));
                    }
                }
            }
        }
        wants
    }

    /// Remembers for whom one more of an equivocator's messages at a place was taken.
    pub(crate) fn grant(&mut self, id: MessageId, member: Member, seq: u64) {
        for want in self.wants(&id, member, seq) {
            self.pending.granted.entry((want, member, seq)).or_insert(id);
        }
    }

    /// Forgets for whom messages were taken that have left memory.
    pub(crate) fn forget_grants(&mut self) {
        let dag = &self.dag;
        self.pending.granted.retain(|(_, member, seq), _| !dag.at(*member, *seq).is_empty());
    }

    /// Takes a parked message out, whatever it misses.
    pub fn unpark(&mut self, id: &MessageId) -> Option<Message<P>> {
        self.pending.take(id)
    }

    /// Whether this message waits.
    #[must_use]
    pub fn is_parked(&self, id: &MessageId) -> bool {
        self.pending.parked.contains_key(id)
    }

    /// How many messages wait.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.pending.parked.len()
    }

    /// What a parked message misses; nothing once that has come.
    #[must_use]
    pub fn missed_by(&self, id: &MessageId) -> Option<&Missing<P>> {
        self.pending.parked.get(id)?.missing.as_ref()
    }

    /// The messages that wait for this.
    #[must_use]
    pub fn waiting_for(&self, missing: &Missing<P>) -> &[MessageId] {
        self.pending.waiting.get(missing).map_or(&[], Vec::as_slice)
    }

    /// What is wanted, each once: drives fetching.
    pub fn missing(&self) -> impl Iterator<Item = &Missing<P>> {
        self.pending.waiting.keys()
    }
}
