//! The engine: one CBC instance, from checked messages to a head and finalized candidates.

use crate::arena::{FAULTY, NOTHING};
use crate::committee::Committee;
use crate::dag::{Dag, NewNode};
use crate::detector::Support;
use crate::forkchoice::{CertifyError, Protocol, Standing, Value};
use crate::ids::{Member, MessageId, Slot};
use crate::message::Observation;
use crate::pending::{Limits, Pending};
use crate::row::Row;
use crate::validity::Checked;
use crate::watch::Watch;
use std::collections::BTreeMap;

/// What changed by an input.
#[derive(Clone, Debug)]
pub enum Event<P: Protocol> {
    /// The message is in the DAG.
    Inserted(MessageId),
    /// Two messages of one member and `seq`: the whole evidence.
    Equivocation {
        /// Who.
        member: Member,
        /// The message held first.
        first: MessageId,
        /// The other one.
        second: MessageId,
    },
    /// The own fork choice moved.
    HeadChanged(P::Candidate),
    /// A newly finalized candidate and the level of the summit that shows it, in height order.
    Finalized(P::Candidate, u32),
}

impl<P: Protocol> PartialEq for Event<P> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Inserted(a), Self::Inserted(b)) => a == b,
            (Self::Equivocation { member, first, second }, Self::Equivocation { member: m, first: f, second: s }) => {
                (member, first, second) == (m, f, s)
            }
            (Self::HeadChanged(a), Self::HeadChanged(b)) => a == b,
            (Self::Finalized(a, k), Self::Finalized(b, l)) => (a, k) == (b, l),
            _ => false,
        }
    }
}

/// One CBC instance with a fixed committee.
#[derive(Clone, Debug)]
pub struct Engine<P: Protocol> {
    pub(crate) committee: Committee,
    pub(crate) me: Option<Member>,
    pub(crate) protocol: P,
    pub(crate) dag: Dag,
    pub(crate) pending: Pending<P>,
    /// The own view: latest of each member, or faulty.
    pub(crate) view: Vec<u32>,
    /// The deepest message of each member, faulty or not.
    tips: Vec<u32>,
    evidence: BTreeMap<Member, (MessageId, MessageId)>,
    /// First proposal held of each slot.
    proposals: BTreeMap<Slot, u32>,
    finalized: Value,
    pub(crate) watch: Option<Watch>,
    pub(crate) line: Slot,
    era_start: Slot,
    pub(crate) prunings: u64,
}

impl<P: Protocol> Engine<P> {
    /// An empty engine; `me` is the member this node speaks for, if any.
    #[must_use]
    pub fn new(committee: Committee, me: Option<Member>, limits: Limits, protocol: P) -> Self {
        let members = committee.len();
        Self {
            me: me.filter(|member| committee.contains(*member)),
            dag: Dag::new(members),
            pending: Pending::new(limits, members),
            view: vec![NOTHING; members],
            tips: vec![NOTHING; members],
            evidence: BTreeMap::new(),
            proposals: BTreeMap::new(),
            finalized: protocol.root(),
            watch: None,
            line: Slot(0),
            era_start: protocol.slot_of(protocol.root()),
            prunings: 0,
            committee,
            protocol,
        }
    }

    /// Takes a checked message into the DAG.
    ///
    /// # Panics
    /// When the message was checked by another engine, or before a pruning of this one.
    pub fn insert(&mut self, checked: Checked<P>) -> Vec<Event<P>> {
        let Checked { message, row, prev, base, prunings } = checked;
        assert_eq!(prunings, self.prunings, "a message is checked again after pruning");
        if self.dag.index_of(&message.id).is_some() {
            return Vec::new();
        }
        let before = self.protocol.head();
        let vote = self.protocol.admit(&message.estimate);
        let old_vote = self.dag.vote(prev);
        let proposes = P::proposes(&message.estimate);
        let place = usize::from(message.sender.0);
        let index = self.dag.push(NewNode {
            id: message.id,
            sender: message.sender,
            slot: message.slot,
            prev,
            base,
            vote,
            proposes,
            extends: old_vote != NOTHING && self.protocol.agrees(vote, old_vote),
            row: row.into_boxed_slice(),
        });
        if proposes {
            self.proposals.entry(message.slot).or_insert(index);
        }
        let mut events = vec![Event::Inserted(message.id)];
        let held = self.dag.at(message.sender, message.seq);
        let twin = held.first().filter(|first| **first != index).and_then(|first| self.dag.node(*first));
        if let Some(first) = twin.map(|node| node.id) {
            self.convict(message.sender, first, message.id, &mut events);
        } else if self.view[place] != FAULTY {
            let weight = self.committee.weight(message.sender);
            let old = (self.view[place] != NOTHING).then_some(old_vote);
            self.protocol.shift(old, Some(vote), weight);
            self.view[place] = index;
            if let Some(watch) = &mut self.watch {
                let agrees = self.protocol.agrees(vote, watch.candidate);
                watch.advance(&self.dag, &self.committee, (place, index), agrees);
            }
        }
        if self.dag.node(self.tips[place]).is_none_or(|tip| tip.seq < message.seq) {
            self.tips[place] = index;
        }
        if self.dag.at(message.sender, message.seq).len() > 1 {
            self.grant(message.id, message.sender, message.seq);
        }
        self.pending.came(message.sender, message.seq, message.id);
        self.settle(before, &mut events);
        events
    }

    /// Takes evidence from outside: two messages of one member and `seq`, signatures checked.
    pub fn accuse(&mut self, member: Member, first: MessageId, second: MessageId) -> Vec<Event<P>> {
        let mut events = Vec::new();
        if first != second && self.committee.contains(member) {
            let before = self.protocol.head();
            self.convict(member, first, second, &mut events);
            self.settle(before, &mut events);
        }
        events
    }

    fn convict(&mut self, member: Member, first: MessageId, second: MessageId, events: &mut Vec<Event<P>>) {
        if self.evidence.contains_key(&member) {
            return;
        }
        self.evidence.insert(member, (first, second));
        events.push(Event::Equivocation { member, first, second });
        let latest = &mut self.view[usize::from(member.0)];
        if *latest != NOTHING {
            let vote = self.dag.vote(*latest);
            self.protocol.shift(Some(vote), None, self.committee.weight(member));
        }
        *latest = FAULTY;
        if let Some(watch) = &mut self.watch {
            watch.forget(&self.dag, &self.committee, member.index());
        }
        self.pending.convicted(member);
    }

    /// Reports what an input did to head and finality.
    fn settle(&mut self, before: Value, events: &mut Vec<Event<P>>) {
        let head = self.protocol.head();
        if head != before {
            events.push(Event::HeadChanged(self.named(head)));
        }
        while let Some(next) = self.protocol.toward(self.finalized, head) {
            let agrees = |vote| self.protocol.agrees(vote, next);
            let support = || Support::new(&self.dag, &self.committee, &self.view, &agrees);
            let held = self.watch.take().filter(|watch| watch.candidate == next);
            let mut watch = held.unwrap_or_else(|| Watch::new(&support(), &self.committee, next));
            if watch.is_due(self.me.is_some()) {
                watch.recount(&support());
            }
            let level = watch.finality(&self.dag, &self.committee, &self.view);
            self.watch = Some(watch);
            let Some(level) = level else { break };
            assert!(self.protocol.agrees(next, self.finalized), "finality only moves forward");
            self.finalized = next;
            self.watch = None;
            events.push(Event::Finalized(self.named(next), level));
        }
    }

    pub(crate) fn named(&self, value: Value) -> P::Candidate {
        self.protocol.candidate(value).expect("pruning keeps head, bases and the finalized")
    }

    /// Takes over what another engine has finalized that held the same messages: finality never goes back, also not
    /// with evidence that came later. Answers whether it lies on one chain with what is finalized here.
    pub fn resume(&mut self, finalized: &P::Candidate) -> bool {
        let Some(value) = self.protocol.value(finalized) else { return false };
        if self.protocol.agrees(value, self.finalized) {
            self.finalized = value;
            self.watch = None;
            return true;
        }
        self.protocol.agrees(self.finalized, value)
    }

    /// Marks a base certified: messages may build on it.
    ///
    /// # Errors
    /// It is not held, or conflicts with a finalized or certified one.
    pub fn certify(&mut self, base: P::Base) -> Result<(), CertifyError> {
        self.protocol.certify(base, self.finalized)?;
        self.pending.certified(base);
        Ok(())
    }

    /// Whether messages may build on this base.
    #[must_use]
    pub fn is_certified(&self, base: &P::Base) -> bool {
        self.protocol.standing(base) != Standing::Uncertified
    }

    /// The newest certified base.
    #[must_use]
    pub fn base(&self) -> P::Base {
        self.protocol.newest_base()
    }

    /// Forgets messages and values of slots below the line, which never passes the finalized
    /// candidate or the newest base. Latest and cited messages stay as tombstones.
    pub fn prune(&mut self, line: Slot) {
        let line = match self.protocol.standing(&self.protocol.newest_base()) {
            Standing::Certified(base) => line.min(self.protocol.slot_of(base)),
            _ => return,
        };
        let line = line.min(self.protocol.slot_of(self.finalized));
        if line <= self.line {
            return;
        }
        self.line = line;
        self.prunings += 1;
        let latest: Vec<u32> = self.view.iter().chain(&self.tips).copied().collect();
        self.dag.prune(line, &latest);
        self.protocol.prune(line);
        self.proposals = self.proposals.split_off(&line);
        self.forget_grants();
    }

    /// The pruning line: nothing below it is held whole.
    #[must_use]
    pub fn line(&self) -> Slot {
        self.line
    }
}

/// Questions; none changes anything.
impl<P: Protocol> Engine<P> {
    /// The committee.
    #[must_use]
    pub fn committee(&self) -> &Committee {
        &self.committee
    }

    /// The member this node speaks for.
    #[must_use]
    pub fn me(&self) -> Option<Member> {
        self.me
    }

    /// The protocol with its values (for blocks: the tree).
    #[must_use]
    pub fn protocol(&self) -> &P {
        &self.protocol
    }

    /// Slot of the era's root.
    #[must_use]
    pub fn era_start(&self) -> Slot {
        self.era_start
    }

    /// Messages held whole.
    #[must_use]
    pub fn len(&self) -> usize {
        self.dag.len()
    }

    /// Whether no message is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dag.len() == 0
    }

    /// Whether the message is held, whole or as a tombstone.
    #[must_use]
    pub fn contains(&self, id: &MessageId) -> bool {
        self.dag.index_of(id).is_some()
    }

    /// `seq` and id of the deepest message held of a member, faulty or not.
    #[must_use]
    pub fn latest(&self, member: Member) -> Option<(u64, MessageId)> {
        let node = self.dag.node(self.tip(member))?;
        Some((node.seq, node.id))
    }

    /// Slot of the deepest message held of a member.
    #[must_use]
    pub fn latest_slot(&self, member: Member) -> Option<Slot> {
        self.dag.node(self.tip(member)).map(|node| node.slot)
    }

    /// What the deepest message held of a member supports, while that is held.
    #[must_use]
    pub fn latest_vote(&self, member: Member) -> Option<P::Candidate> {
        self.protocol.candidate(self.dag.vote(self.tip(member)))
    }

    /// How many messages of this slot end the member's thread.
    #[must_use]
    pub fn said_in_slot(&self, member: Member, slot: Slot) -> u32 {
        let tip = self.dag.node(self.tip(member));
        tip.filter(|node| node.slot == slot).map_or(0, |node| node.in_slot.into())
    }

    pub(crate) fn tip(&self, member: Member) -> u32 {
        self.tips.get(usize::from(member.0)).copied().unwrap_or(NOTHING)
    }

    /// Ids held at one member and `seq`; several only after equivocation.
    #[must_use]
    pub fn by_seq(&self, member: Member, seq: u64) -> Vec<MessageId> {
        self.dag.at(member, seq).iter().filter_map(|at| Some(self.dag.node(*at)?.id)).collect()
    }

    /// Sender, `seq` and slot of a held message.
    #[must_use]
    pub fn place(&self, id: &MessageId) -> Option<(Member, u64, Slot)> {
        let node = self.dag.node(self.dag.index_of(id)?)?;
        Some((node.sender, node.seq, node.slot))
    }

    /// What a held message supports, while that is held.
    #[must_use]
    pub fn vote_of(&self, id: &MessageId) -> Option<P::Candidate> {
        self.protocol.candidate(self.dag.vote(self.dag.index_of(id)?))
    }

    /// The proposal of a slot that came first.
    #[must_use]
    pub fn first_proposal(&self, slot: Slot) -> Option<MessageId> {
        Some(self.dag.node(*self.proposals.get(&slot)?)?.id)
    }

    /// The fork choice of the own view above the newest base (incremental).
    #[must_use]
    pub fn head(&self) -> P::Candidate {
        self.named(self.protocol.head())
    }

    /// The fork choice of any justification: a pure function of base and row. A base that is not
    /// certified here counts as the newest one that is.
    #[must_use]
    pub fn fork_choice(&self, base: P::Base, row: &Row) -> P::Candidate {
        self.named(self.estimate_of(&base, &row.0))
    }

    pub(crate) fn estimate_of(&self, base: &P::Base, row: &[u32]) -> Value {
        let votes = self.dag.honest_votes(row, self.committee.weights());
        let newest = self.protocol.newest_base();
        let base = match (self.protocol.standing(base), self.protocol.standing(&newest)) {
            (Standing::Certified(at), _) | (_, Standing::Certified(at)) => at,
            _ => self.finalized,
        };
        self.protocol.estimate(base, votes)
    }

    /// The newest finalized candidate; never reverts.
    #[must_use]
    pub fn finalized(&self) -> P::Candidate {
        self.named(self.finalized)
    }

    pub(crate) fn finalized_value(&self) -> Value {
        self.finalized
    }

    /// Whether evidence against this member is held.
    #[must_use]
    pub fn is_faulty(&self, member: Member) -> bool {
        self.evidence.contains_key(&member)
    }

    /// All members with evidence against them, with the two ids.
    pub fn faulty(&self) -> impl Iterator<Item = (Member, MessageId, MessageId)> + '_ {
        self.evidence.iter().map(|(member, (first, second))| (*member, *first, *second))
    }

    pub(crate) fn faulty_members(&self) -> impl Iterator<Item = Member> + '_ {
        self.evidence.keys().copied()
    }

    /// The own view.
    #[must_use]
    pub fn view(&self) -> Row {
        Row(self.view.as_slice().into())
    }

    /// The closure of a message held whole, itself included.
    #[must_use]
    pub fn row_of(&self, id: &MessageId) -> Option<Row> {
        self.dag.row(self.dag.index_of(id)?).map(|row| Row(row.into()))
    }

    /// A row as ids. What left memory since the row was made shows as nothing.
    #[must_use]
    pub fn resolve(&self, row: &Row) -> Vec<Observation> {
        self.named_row(&row.0)
    }

    /// The row that observations say; none when they name what is not held.
    #[must_use]
    pub fn row_from(&self, observations: &[Observation]) -> Option<Row> {
        let index = |observation: &Observation| match observation {
            Observation::Nothing => Some(NOTHING),
            Observation::Faulty => Some(FAULTY),
            Observation::Latest(id) => self.dag.index_of(id),
        };
        let row: Option<Vec<u32>> = observations.iter().map(index).collect();
        row.filter(|row| row.len() == self.committee.len()).map(|row| Row(row.into()))
    }

    pub(crate) fn named_row(&self, row: &[u32]) -> Vec<Observation> {
        let name = |index: &u32| match *index {
            NOTHING => Observation::Nothing,
            FAULTY => Observation::Faulty,
            at => self.dag.node(at).map_or(Observation::Nothing, |n| Observation::Latest(n.id)),
        };
        row.iter().map(name).collect()
    }

    /// The full justification of a message held whole.
    #[must_use]
    pub fn observations(&self, id: &MessageId) -> Option<Vec<Observation>> {
        let node = self.dag.node(self.dag.index_of(id)?)?;
        let mut row = node.row.as_deref()?.to_vec();
        row[usize::from(node.sender.0)] = node.prev;
        Some(self.named_row(&row))
    }

    /// The join of views: of each member the later message; faulty where neither is later, or
    /// where evidence is held.
    #[must_use]
    pub fn merge(&self, rows: &[&Row]) -> Row {
        let mut joined = vec![NOTHING; self.committee.len()];
        for row in rows {
            for (member, seen) in self.committee.members().zip(row.0.iter()) {
                let place = &mut joined[usize::from(member.0)];
                let held = *seen == FAULTY || self.dag.node(*seen).is_some();
                if *seen != *place && held {
                    *place = self.dag.join(member, *place, *seen);
                }
            }
        }
        for member in self.evidence.keys() {
            joined[usize::from(member.0)] = FAULTY;
        }
        Row(joined.into())
    }
}
