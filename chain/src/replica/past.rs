//! The past on disk: what was said below the pruning line is judged in an engine that holds it again.
//!
//! A member that went on speaking while it was cut off has messages whose bases the others have pruned. They wait for
//! [`Missing::Past`]; so do, in effect, messages that cite one that was stored and has left memory. While any such
//! message is wanted, the stored messages are inserted into a second engine, a few at a time beside everything else,
//! with a line low enough; that engine then takes the place of the first, and the line stays low until the returning
//! thread has come. What is believed does not change by it: all that is stored was judged before.
//!
//! Bounds. One rebuild in [`SPACING`] slots at the very most, and only while a message waits that needs it. For a member
//! alone: one in `slots_kept` slots, and twice as many after each that left it on a base below the line. Sooner only
//! when others wait behind it: honest members cite only what they have judged themselves, in a rebuild that is bounded
//! so. Pruning resumes [`QUIET`] slots after the last old message, `slots_kept` slots after the rebuild at the latest;
//! until then old messages are taken of those that the rebuild was made for, and otherwise only what others cite.

use super::{
    Breach, Replica, record,
    replay::{Phase, Replay, begin},
    restart::InvalidStore,
};
use crate::{
    application::Application,
    codec,
    store::{StoreFailure, Table},
    units::Timestamp,
};
use kakera_cbc::{BlockId, Blocks, Engine, Member, MessageId, Missing, Protocol, Slot, Standing};
use std::collections::{BTreeMap, BTreeSet};

/// Messages inserted again at a time: a few milliseconds' work.
const AT_ONCE: usize = 256;
/// Time from one such step to the next, so that all the rest goes on meanwhile.
const STEP_MS: u64 = 20;
/// Slots from one rebuild to the next at least: time for what a rebuild lets in to be taken and cited everywhere.
const SPACING: u64 = 64;
/// Slots without an old message after which pruning resumes: several rounds of asking for what follows.
const QUIET: u64 = 128;
/// Things on disk looked up in one slot because a message misses them: what honest members miss comes first to be
/// asked for and is few; a flood of unknown ids must not keep the disk busy.
const LOOKED_UP: usize = 64;

/// A rebuild under way.
struct Work {
    replay: Replay,
    line: u64,
    served: BTreeSet<Member>,
    next_step: Timestamp,
}

/// The line stays where it is for messages that come now.
struct Hold {
    since: Slot,
    until: Slot,
    /// Whose old messages are taken as they come: those that had rested when the rebuild began.
    served: BTreeSet<Member>,
}

/// Until when nothing is rebuilt for a member alone.
#[derive(Clone, Copy, Default)]
struct Rest {
    until: Slot,
    /// Rebuilds since it last spoke on a base above the line.
    times: u32,
}

/// What is needed to hold the past again, and how often that was done.
pub(super) struct Past {
    /// Slots below the certified block's of which messages stay in memory.
    pub(super) slots_kept: u64,
    /// The engine that every replay starts from.
    pub(super) empty: Engine<Blocks>,
    pub(super) phases: Vec<Phase>,
    work: Option<Work>,
    hold: Option<Hold>,
    rests: BTreeMap<Member, Rest>,
    /// When an engine was last replaced.
    rebuilt: Option<Slot>,
    /// The last slot in which it was looked whether that is due.
    looked: Slot,
    /// Engines replaced since the start.
    pub(super) rebuilds: u64,
}

impl Past {
    pub(super) fn new(empty: Engine<Blocks>, slots_kept: u64, phases: Option<Vec<Phase>>) -> Self {
        Past {
            slots_kept,
            empty,
            phases: phases.unwrap_or_default(),
            work: None,
            hold: None,
            rests: BTreeMap::new(),
            rebuilt: None,
            looked: Slot(0),
            rebuilds: 0,
        }
    }

    /// What is held besides the engine; a rebuild under way holds another one.
    pub(super) fn weigh(&self, members: u64, hold: &mut impl FnMut(&'static str, usize, u64)) {
        hold("members that rest", self.rests.len(), members);
        hold("stretches with a lower line", self.phases.len(), super::replay::PHASES as u64);
    }

    /// When a rebuild that is under way goes on.
    pub(super) fn next_wakeup(&self) -> Timestamp {
        self.work.as_ref().map_or(Timestamp(u64::MAX), |work| work.next_step)
    }

    /// Whether messages stay in memory for now whatever their age.
    pub(super) fn holds(&self, slot: Slot) -> bool {
        self.hold.as_ref().is_some_and(|hold| slot < hold.until)
    }

    /// Those that no rebuild was made for of late.
    fn rested(&self, slot: Slot, members: &BTreeSet<Member>) -> BTreeSet<Member> {
        let rested = |member: &Member| self.rests.get(member).is_none_or(|rest| rest.until <= slot);
        members.iter().copied().filter(rested).collect()
    }

    fn rest(&mut self, slot: Slot, members: &BTreeSet<Member>) {
        for member in members {
            let rest = self.rests.entry(*member).or_default();
            rest.until = Slot(slot.0.saturating_add(self.slots_kept.saturating_mul(1 << rest.times.min(16))));
            rest.times = rest.times.saturating_add(1);
        }
    }
}

/// Called before an input is handled: all that was taken so far is in the store.
impl<A: Application> Replica<A> {
    /// Goes on with a rebuild, or begins one that is due.
    pub(super) fn revisit(&mut self) {
        if let Some(work) = self.past.work.take() {
            self.go_on(work);
            return;
        }
        let slot = self.slot();
        if slot <= self.past.looked || self.waiting.is_empty() {
            return;
        }
        self.past.looked = slot;
        self.ask_again();
        if self.past.rebuilt.is_some_and(|at| slot.0 < at.0.saturating_add(SPACING)) {
            return;
        }
        let lacking = self.lacking();
        let Some(lacking) = self.read(lacking) else { return };
        let Some(oldest) = lacking.values().min() else { return };
        let members = self.behind(lacking.keys().copied().collect());
        let weight: u64 = members.iter().map(|member| self.seats.committee.weight(*member)).sum();
        let served = self.past.rested(slot, &members);
        if weight > self.seats.committee.threshold() || !served.is_empty() {
            self.past.rest(slot, &members);
            // What such messages cite is a little older than their bases.
            self.begin_rebuild(oldest.0.saturating_sub(self.past.slots_kept), served);
        }
    }

    fn begin_rebuild(&mut self, line: u64, served: BTreeSet<Member>) {
        let mut phases = self.past.phases.clone();
        begin(&mut phases, line);
        let empty = self.past.empty.clone();
        match Replay::new(empty, self.era.network, phases, self.past.slots_kept, &*self.store) {
            Ok(replay) => self.past.work = Some(Work { replay, line, served, next_step: self.now.plus(STEP_MS) }),
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: InvalidStore) {
        self.out.halt(match error {
            InvalidStore::Failure(failure) => Breach::Store(failure),
            other => Breach::InvalidStore(other),
        });
    }

    fn go_on(&mut self, mut work: Work) {
        if self.now < work.next_step {
            self.past.work = Some(work);
            return;
        }
        work.next_step = self.now.plus(STEP_MS);
        let store = self.store.clone();
        match work.replay.step(&*store, AT_ONCE) {
            Ok(taken) if work.replay.next() < self.next_insertion => {
                if taken.is_empty() {
                    self.fail(InvalidStore::Lacks { what: "a message" });
                }
                self.past.work = Some(work);
            }
            Ok(_) => match work.replay.finish(self.ledger.certified().id) {
                Ok(engine) => self.exchange(engine, work.served),
                Err(error) => self.fail(error),
            },
            Err(InvalidStore::Contradiction { .. } | InvalidStore::Lacks { .. }) if work.line > 0 => {
                self.begin_rebuild(0, work.served);
            }
            Err(error) => self.fail(error),
        }
    }

    /// Members without evidence against them of whom a message waits for the past, and the slot it reaches back to.
    fn lacking(&self) -> Result<BTreeMap<Member, Slot>, StoreFailure> {
        let engine = &self.engine;
        let mut first: BTreeMap<Member, (u64, MessageId)> = BTreeMap::new();
        let mut stored = Vec::new();
        for missing in engine.missing() {
            match missing {
                Missing::Past(_) => {
                    for (id, sender, seq) in self.waiters(missing) {
                        let held = first.entry(sender).or_insert((seq, id));
                        *held = (*held).min((seq, id));
                    }
                }
                Missing::Message { member, seq } => {
                    let passed = engine.latest(*member).is_some_and(|(latest, _)| latest >= *seq);
                    if passed && engine.by_seq(*member, *seq).is_empty() {
                        stored.push(missing);
                    }
                }
                Missing::Id(_) => stored.push(missing),
                _ => {}
            }
        }
        let mut lacking: BTreeMap<Member, Slot> = BTreeMap::new();
        let mut lacks = |member: Member, slot: Slot| {
            let held = lacking.entry(member).or_insert(slot);
            *held = (*held).min(slot);
        };
        for (sender, (seq, id)) in first {
            let Some((_, carried)) = self.waiting.get(&id) else { continue };
            let base = &carried.message.statement.base;
            if engine.protocol().standing(base) == Standing::Pruned {
                lacks(sender, self.base_slot(base));
            }
            for twin in record::load_at(&*self.store, sender, seq)? {
                lacks(sender, twin.statement.slot);
            }
        }
        for missing in stored.into_iter().take(LOOKED_UP) {
            let found = match missing {
                Missing::Message { member, seq } => record::load_at(&*self.store, *member, *seq)?,
                Missing::Id(id) => record::load_message(&*self.store, id)?.into_iter().collect(),
                _ => Vec::new(),
            };
            for message in found {
                self.waiters(missing).for_each(|(_, sender, _)| lacks(sender, message.statement.slot));
            }
        }
        Ok(lacking)
    }

    /// Messages that wait for this, of members without evidence against them: id, sender and `seq`.
    fn waiters<'a>(&'a self, missing: &Missing<Blocks>) -> impl Iterator<Item = (MessageId, Member, u64)> + 'a {
        self.engine.waiting_for(missing).iter().filter_map(|id| {
            let statement = &self.waiting.get(id)?.1.message.statement;
            (!self.engine.is_faulty(statement.sender)).then_some((*id, statement.sender, statement.seq))
        })
    }

    /// These members, and all whose messages wait for messages of theirs, directly or through others.
    fn behind(&self, mut members: BTreeSet<Member>) -> BTreeSet<Member> {
        let statement = |id: &MessageId| self.waiting.get(id).map(|(_, carried)| &carried.message.statement);
        loop {
            let mut more = BTreeSet::new();
            for missing in self.engine.missing() {
                let cited = match missing {
                    Missing::Message { member, .. } => Some(*member),
                    Missing::Id(id) => statement(id).map(|statement| statement.sender),
                    _ => continue,
                };
                for (id, sender, _) in self.waiters(missing) {
                    // Nobody knows yet who said what is asked for by its id alone; it is of somebody whom this cites.
                    let named = || statement(&id).is_some_and(|s| s.advances.iter().any(|(m, _)| members.contains(&m)));
                    if cited.map_or_else(named, |cited| members.contains(&cited)) {
                        more.insert(sender);
                    }
                }
            }
            let before = members.len();
            members.extend(more);
            if members.len() == before {
                return members;
            }
        }
    }

    /// The slot of a certified block, also of one that has left memory.
    fn base_slot(&self, base: &BlockId) -> Slot {
        match self.engine.protocol().block(base) {
            Some(block) => block.slot,
            None => self.block(base).map_or(self.engine.era_start(), |block| block.header.slot),
        }
    }

    /// The engine that holds the past takes the place of the other, which has shown all that it believes.
    fn exchange(&mut self, mut engine: Engine<Blocks>, served: BTreeSet<Member>) {
        if let Err(what) = self.compare(&mut engine) {
            self.out.halt(Breach::Past { what });
            return;
        }
        let found: Vec<_> = engine.faulty().filter(|(member, ..)| !self.engine.is_faulty(*member)).collect();
        let old = std::mem::replace(&mut self.engine, engine);
        for (member, first, second) in found {
            self.convict(member, &first, &second);
        }
        let slot = self.slot();
        self.past.rebuilt = Some(slot);
        self.past.rebuilds += 1;
        self.past.hold = Some(Hold { since: slot, until: Slot(slot.0.saturating_add(QUIET)), served });
        begin(&mut self.past.phases, self.engine.line().0);
        self.out.put(Table::Meta, record::PHASES, codec::encode(&self.past.phases));
        let mut waiting: Vec<_> = std::mem::take(&mut self.waiting).into_iter().collect();
        waiting.retain(|(id, _)| old.is_parked(id));
        waiting.sort_by_key(|(id, (_, carried))| (carried.message.statement.seq, *id));
        for (id, (from, carried)) in waiting {
            self.admit_again(from, id, carried);
            if let Some(cites) = old.supplied_cites(&id) {
                self.engine.supply_cites(&id, cites.to_vec());
            }
        }
    }

    /// While the past is here, what waits for it is judged again: somebody may have cited it since.
    fn ask_again(&mut self) {
        if self.past.hold.is_none() {
            return;
        }
        let past = self.engine.missing().filter(|missing| matches!(missing, Missing::Past(_)));
        let ids: Vec<MessageId> = past.flat_map(|missing| self.engine.waiting_for(missing)).copied().collect();
        let near = |id: &MessageId| {
            let statement = &self.waiting.get(id)?.1.message.statement;
            let held = self.engine.protocol().standing(&statement.base) != Standing::Pruned;
            (held && !self.engine.is_faulty(statement.sender)).then_some(statement.sender)
        };
        // Whoever has rested need not wait for a rebuild of its own where this one reaches far enough.
        let (slot, near) = (self.slot(), ids.iter().filter_map(near).collect());
        let served = self.past.rested(slot, &near);
        self.past.rest(slot, &served);
        if let Some(hold) = &mut self.past.hold {
            hold.served.extend(served);
        }
        let mut waiting: Vec<_> = ids.iter().filter_map(|id| Some((*id, self.waiting.remove(id)?))).collect();
        waiting.sort_by_key(|(id, (_, carried))| (carried.message.statement.seq, *id));
        for (id, (from, carried)) in waiting {
            self.engine.unpark(&id);
            self.admit_again(from, id, carried);
        }
    }

    /// Whether a valid message is as old as those that the past was fetched for, of a member that it was not fetched
    /// for, and nobody else's messages wait for it: one that came with each would let its sender keep the past in
    /// memory without end, now at one member and now at another.
    pub(super) fn is_unasked(&self, id: &MessageId, sender: Member, seq: u64, base: &BlockId) -> bool {
        let Some(hold) = &self.past.hold else { return false };
        if hold.served.contains(&sender) || !self.is_old(base) {
            return false;
        }
        let wanted = self.engine.missing().any(|missing| {
            let place = match missing {
                Missing::Message { member, seq } => Some((*member, *seq)),
                // While it is judged it does not wait.
                Missing::Id(wanted) if wanted == id => Some((sender, seq)),
                Missing::Id(id) => self.waiting.get(id).map(|(_, carried)| {
                    let statement = &carried.message.statement;
                    (statement.sender, statement.seq)
                }),
                _ => None,
            };
            let reaches = place.is_some_and(|(member, place)| member == sender && place >= seq);
            reaches && self.waiters(missing).any(|(_, other, _)| other != sender)
        });
        !wanted
    }

    /// Whether a base is older than what stays in memory as a rule.
    fn is_old(&self, base: &BlockId) -> bool {
        let certified = self.ledger.certified().block.header.slot;
        self.base_slot(base).0.saturating_add(self.past.slots_kept) < certified.0
    }

    /// What both engines must agree on. Evidence may grow: with the past at hand a twin may be found that had left
    /// memory; then the fork choice may move, as it does whenever evidence comes.
    fn compare(&self, engine: &mut Engine<Blocks>) -> Result<(), &'static str> {
        let old = &self.engine;
        if engine.base() != old.base() {
            return Err("the newest certified block");
        }
        if !old.faulty().all(|(member, ..)| engine.is_faulty(member)) {
            return Err("the evidence");
        }
        let same = |member: &Member| engine.is_faulty(*member) || engine.latest(*member) == old.latest(*member);
        if !self.seats.committee.members().all(|member| same(&member)) {
            return Err("what members said last");
        }
        if !engine.resume(&old.finalized()) {
            return Err("what is finalized");
        }
        if engine.faulty().count() == old.faulty().count() && engine.head() != old.head() {
            return Err("the fork choice");
        }
        Ok(())
    }

    /// A message was taken: while old ones come, the line stays.
    pub(super) fn keep_line(&mut self, base: &BlockId) {
        if self.past.hold.is_none() || !self.is_old(base) {
            return;
        }
        let (slot, kept) = (self.slot(), self.past.slots_kept);
        if let Some(hold) = &mut self.past.hold {
            hold.until = Slot(slot.0.saturating_add(QUIET).min(hold.since.0.saturating_add(kept)));
        }
    }

    /// The line has moved: what is taken from now on needs nothing that has left memory with it.
    pub(super) fn end_phases(&mut self) {
        let (line, next) = (self.engine.line().0, self.next_insertion);
        self.past.hold = None;
        let mut ended = false;
        for phase in self.past.phases.iter_mut().filter(|phase| phase.until == Phase::OPEN && phase.line < line) {
            (phase.until, ended) = (next, true);
        }
        if !ended {
            return;
        }
        self.out.put(Table::Meta, record::PHASES, codec::encode(&self.past.phases));
        let returned: Vec<Member> =
            self.past.rests.keys().copied().filter(|member| self.speaks_above(*member)).collect();
        for member in returned {
            self.past.rests.entry(member).or_default().times = 0;
        }
    }

    /// Whether a member's latest message has a base that is in memory.
    fn speaks_above(&self, member: Member) -> bool {
        let latest = self.engine.latest(member).and_then(|(_, id)| record::load_message(&*self.store, &id).ok()?);
        latest.is_some_and(|message| {
            matches!(self.engine.protocol().standing(&message.statement.base), Standing::Certified(_))
        })
    }
}
