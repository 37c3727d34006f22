//! When a member speaks: joining, proposing and voting. A schedule, outside validity.

use super::{Effect, Replica, SignState, Totals, ledger::Held};
use crate::{
    advances::Advances,
    application::{Application, Context},
    block::{Block, Header},
    codec,
    hash::merkle_root,
    message::{Estimate, SignedMessage, Statement},
    peer::{Carried, PeerMessage, PeerStatus},
    units::{ChainId, Height, SlotClock, Timestamp},
};
use kakera_cbc::{BlockId, Decision, Draft, Member, Missing, Slot, Verdict};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// Blocks above the last certified one past which leaders propose only empty ones, at the heartbeat.
const UNCERTIFIED_BLOCKS: u64 = 16;
/// How often a member tells its peers how far it is.
const STATUS_MS: u64 = 1_000;
/// A member that is further behind than so many blocks catches up before it speaks: what it would say builds on a
/// base that others may have forgotten.
const JOINED_WITHIN: u64 = 16;
/// How often a joining member asks.
const ASK_MS: u64 = 300;

/// What a replica may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Asks its peers whether it has said more than it remembers, and catches up; says nothing else.
    Joining,
    /// Speaks.
    Active,
    /// Has no seat: follows.
    Observer,
    /// Has said more than it remembers, and so stays silent for this era.
    Silent,
    /// Stopped by a safety breach.
    Halted,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Joining => "joining",
            Phase::Active => "active",
            Phase::Observer => "observer",
            Phase::Silent => "silent",
            Phase::Halted => "halted",
        })
    }
}

/// The schedule's state.
pub(super) struct Voice {
    pub(super) phase: Phase,
    pub(super) totals: Totals,
    /// What the guard beside the store remembers.
    pub(super) guard: SignState,
    /// When the last certificate was adopted, or the replica was started.
    pub(super) certified_at: Timestamp,
    /// When the era, or this start in it, began.
    pub(super) began: Timestamp,
    /// Identifies this start's question.
    question: u64,
    /// Who has answered, and how far it is.
    answers: BTreeMap<Member, Height>,
    /// The question of each member's latest start that was given what waits here.
    pub(super) offered: BTreeMap<Member, u64>,
    proposed: Option<Slot>,
    speak_at: Option<Timestamp>,
    next_ask: Timestamp,
    next_status: Timestamp,
    /// The base of the own previous message, where known.
    last_base: Option<BlockId>,
}

impl Voice {
    pub(super) fn new(phase: Phase, totals: Totals, guard: SignState, now: Timestamp) -> Self {
        Voice {
            phase,
            totals,
            guard,
            certified_at: now,
            began: now,
            question: now.0,
            answers: BTreeMap::new(),
            offered: BTreeMap::new(),
            proposed: None,
            speak_at: None,
            next_ask: now,
            next_status: now,
            last_base: None,
        }
    }

    /// A new era begins.
    pub(super) fn begin(&mut self, phase: Phase, now: Timestamp) {
        *self = Voice::new(phase, self.totals, self.guard, now);
    }

    /// What is held of peers.
    pub(super) fn weigh(&self, members: u64, hold: &mut impl FnMut(&'static str, usize, u64)) {
        hold("answers to this start", self.answers.len(), members);
        hold("starts that were offered what waits", self.offered.len(), members);
    }

    #[cfg(test)]
    pub(super) fn question(&self) -> u64 {
        self.question
    }

    /// The next slot, ask, status or planned message.
    pub(super) fn next_wakeup(&self, clock: &SlotClock, now: Timestamp) -> Timestamp {
        let mut next = clock.start_of(Slot(clock.slot_at(now).0 + 1)).max(clock.genesis);
        if self.phase == Phase::Joining {
            next = next.min(self.next_ask);
        }
        if self.phase != Phase::Observer {
            next = next.min(self.next_status);
        }
        self.speak_at.filter(|at| *at > now).map_or(next, |at| next.min(at))
    }
}

impl<A: Application> Replica<A> {
    /// Says whatever is due.
    pub(super) fn speak(&mut self) {
        if self.now >= self.voice.next_status && self.voice.phase != Phase::Observer {
            self.voice.next_status = self.now.plus(STATUS_MS);
            let status = self.own_status(None, None);
            self.out.sent.push(Effect::Broadcast(PeerMessage::Status(status)));
        }
        match self.voice.phase {
            Phase::Joining => self.ask(),
            Phase::Active => self.speak_actively(),
            Phase::Observer | Phase::Silent | Phase::Halted => {}
        }
    }

    fn ask(&mut self) {
        self.join_if_answered();
        if self.voice.phase == Phase::Joining && self.now >= self.voice.next_ask {
            self.voice.next_ask = self.now.plus(ASK_MS);
            let status = self.own_status(Some(self.voice.question), None);
            self.out.sent.push(Effect::Broadcast(PeerMessage::Status(status)));
        }
        if self.voice.phase == Phase::Active {
            self.speak_actively();
        }
    }

    fn join_if_answered(&mut self) {
        let Some(me) = self.engine.me() else { return };
        let weight = |member: &Member| self.seats.committee.weight(*member);
        let answered: u64 = self.voice.answers.keys().chain([&me]).map(weight).sum();
        let own = self.ledger.certified().height().0;
        if self.seats.is_supermajority(answered) && own.saturating_add(JOINED_WITHIN) >= self.answered_height().0 {
            self.voice.phase = Phase::Active;
        }
    }

    /// The height that answers of more than the fault threshold's weight have reached: one honest member at least.
    fn answered_height(&self) -> Height {
        let mut heights: Vec<(Height, Member)> =
            self.voice.answers.iter().map(|(member, height)| (*height, *member)).collect();
        heights.sort_unstable_by(|a, b| b.cmp(a));
        let mut weight = 0u64;
        let past = heights.into_iter().find(|(_, member)| {
            weight = weight.saturating_add(self.seats.committee.weight(*member));
            weight > self.seats.committee.threshold()
        });
        past.map_or(Height(0), |(height, _)| height)
    }

    /// Takes a peer's answer. One that claims to know more of this member than it remembers does not count, and
    /// silences nobody: whoever answers truly shows the message as well, see [`Replica::hear_own`].
    pub(super) fn heed(&mut self, from: Member, status: &PeerStatus) {
        let Some(me) = self.engine.me() else { return };
        if status.answer != Some(self.voice.question) || from == me {
            return;
        }
        let claimed = status.tips.get(me.index()).copied().flatten();
        if claimed.is_some_and(|(seq, _)| self.engine.latest(me).is_none_or(|(own, _)| seq > own)) {
            self.voice.answers.remove(&from);
        } else {
            self.voice.answers.insert(from, status.certified.0);
        }
    }

    /// A message under this member's own signature that it does not hold: it has said more than it remembers, or
    /// another process speaks with its key.
    pub(super) fn hear_own(&mut self) {
        if matches!(self.voice.phase, Phase::Joining | Phase::Active) {
            self.voice.phase = Phase::Silent;
        }
    }

    fn speak_actively(&mut self) {
        if self.now < self.clock.genesis {
            return;
        }
        self.voice.speak_at = None;
        self.propose();
        // Each turn says something, and the rules allow M messages a slot.
        for _ in 0..=self.seats.committee.messages_per_slot() {
            match self.speaker.decide(self.now.0, self.slot(), &self.engine) {
                Decision::Silent => return,
                Decision::WaitUntil(at) => {
                    self.voice.speak_at = Some(Timestamp(at));
                    return;
                }
                Decision::Speak { row, .. } => {
                    let draft = self.engine.draft(self.slot(), self.ledger.certified().id, &row);
                    let estimate = Estimate::Vote(draft.value);
                    if !self.say(draft, estimate, None) {
                        return;
                    }
                }
            }
        }
    }

    /// Proposes when this member leads the slot and something is due.
    fn propose(&mut self) {
        let (slot, Some(me)) = (self.slot(), self.engine.me()) else { return };
        if self.engine.protocol().leader(slot) != Some(me) || self.voice.proposed >= Some(slot) {
            return;
        }
        let late = self.timing.slot_ms.saturating_sub(2 * self.timing.delay_ms);
        if self.now > self.clock.start_of(slot).plus(late) || self.engine.is_faulty(me) {
            return;
        }
        let parent = self.ledger.at_or_below(self.engine.head()).clone();
        if parent.block.header.slot >= slot {
            return;
        }
        if self.is_over(&parent) {
            self.urge(&parent, slot);
            return;
        }
        let Some(empty) = self.due(&parent, slot) else { return };
        let draft = self.engine.draft(slot, self.ledger.certified().id, &self.engine.view());
        if draft.value != parent.id {
            return;
        }
        let Some(block) = self.make_block(&parent, slot, me, empty) else { return };
        let bytes = codec::encode(&*block.block);
        let proposal = Estimate::Proposal { block: block.id, parent: parent.id, height: block.block.header.height.0 };
        self.voice.proposed = Some(slot);
        self.say(draft, proposal, Some((block, bytes)));
    }

    /// Nothing is built on an era's last block that would help it: while it stays uncertified, who leads a slot votes again
    /// with all that it has heard, and the others have something new to answer.
    fn urge(&mut self, last: &Held<A::State>, slot: Slot) {
        if last.height() <= self.ledger.certified().height() || slot.0 - last.block.header.slot.0 < 2 {
            return;
        }
        let draft = self.engine.draft(slot, self.ledger.certified().id, &self.engine.view());
        let estimate = Estimate::Vote(draft.value);
        self.voice.proposed = Some(slot);
        self.say(draft, estimate, None);
    }

    /// Whether a block has closed the era: nothing is built on it.
    fn is_over(&self, parent: &Held<A::State>) -> bool {
        self.era.is_closed_by(&parent.block.header, &self.network)
    }

    /// Whether a block is due on this parent, and whether it has to be an empty one.
    fn due(&self, parent: &Held<A::State>, slot: Slot) -> Option<bool> {
        let header = &parent.block.header;
        let certified = self.ledger.certified();
        let waited = slot.0 - header.slot.0;
        if waited >= self.timing.heartbeat_slots {
            return Some(header.height.0 - certified.height().0 >= UNCERTIFIED_BLOCKS);
        }
        if header.height.0 - certified.height().0 >= UNCERTIFIED_BLOCKS {
            return None;
        }
        // The first slot of a new epoch closes the beacon's era.
        let turned = self.era.chain == ChainId::Beacon && self.network.epoch_of(slot) > self.era.epoch;
        let work = turned || self.app.has_work(&parent.executed.state, &header.reference, slot);
        // A block with content that stays uncertified is helped by another one on top.
        let path = self.ledger.path(&certified.id, &parent.id).unwrap_or_default();
        let stuck = waited >= 2 && path.iter().any(|held| !held.block.body.is_empty());
        (work || stuck).then_some(false)
    }

    fn make_block(&mut self, parent: &Held<A::State>, slot: Slot, me: Member, empty: bool) -> Option<Held<A::State>> {
        let height = parent.height().next();
        let reference = parent.block.header.reference;
        let validator = self.seats.validators[me.index()];
        let context = Context { chain: self.era.chain, height, slot, proposer: me, validator, reference };
        let made = self.app.propose(&parent.executed.state, &context, empty)?;
        let header = Header {
            chain: self.era.chain,
            epoch: self.era.epoch,
            root: self.era.root,
            parent: parent.id,
            height,
            slot,
            proposer: me,
            reference: made.reference,
            state_root: made.executed.state_root,
            body_root: merkle_root(&made.body),
            witness_root: merkle_root(&made.witnesses),
            outbox_root: crate::block::outbox_root(&made.executed.receipts),
            figures: made.executed.figures.clone(),
        };
        let id = header.id(self.era.network);
        let block = Block { header, body: made.body, witnesses: made.witnesses };
        Some(Held { id, block: Arc::new(block), executed: made.executed })
    }

    /// Says a message: into the engine and the synced store, then to all. Nothing is said that the own rules refuse
    /// (a closure at its limit): answers whether it was said.
    fn say(
        &mut self,
        draft: Draft<kakera_cbc::Blocks>,
        estimate: Estimate,
        block: Option<(Held<A::State>, Vec<u8>)>,
    ) -> bool {
        let statement = Statement {
            chain: self.era.chain,
            epoch: self.era.epoch,
            root: self.era.root,
            sender: draft.sender,
            seq: draft.seq,
            slot: draft.slot,
            base: draft.base,
            advances: Advances::new(draft.advances.clone()),
            cites: draft.cites,
            estimate,
        };
        let id = statement.id(self.era.network);
        let message = statement.to_message(id);
        let checked = match self.engine.check(self.slot(), &message) {
            Verdict::Valid(checked) => checked,
            // The own previous message has left memory: whoever returns after long has to say all that it cites.
            Verdict::Waiting(Missing::FullCites(_)) => {
                let cites = self.engine.resolve(&draft.row);
                let Verdict::Valid(checked) = self.engine.check_full(self.slot(), &message, &cites) else {
                    return false;
                };
                self.keep_cites(&id, &cites);
                checked
            }
            _ => return false,
        };
        let key = self.key.as_ref().expect("only a member with its key is active");
        let message = SignedMessage::sign(statement, key, self.era.network);
        let new_base = self.voice.last_base != Some(draft.base);
        self.voice.last_base = Some(draft.base);
        let certificate =
            self.newest_certificate.clone().filter(|newest| new_base && newest.finality.block == draft.base);
        let (held, bytes) = block.unzip();
        let carried = Carried { message, block: bytes, certificate };
        self.insert(id, carried.clone(), checked, held);
        self.guard();
        self.out.sent.push(Effect::Broadcast(PeerMessage::Message(Box::new(carried))));
        self.speaker.spoke();
        true
    }

    /// How far this member is.
    pub(super) fn own_status(&self, question: Option<u64>, answer: Option<u64>) -> PeerStatus {
        let certified = self.ledger.certified();
        let tips = self.seats.committee.members().map(|member| self.engine.latest(member)).collect();
        PeerStatus { tips, certified: (certified.height(), certified.id), question, answer }
    }
}
