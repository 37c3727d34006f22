//! The speaking rule: when a member says what. A schedule, outside validity.

use crate::engine::Engine;
use crate::forkchoice::Protocol;
use crate::forkchoice::blocks::Blocks;
use crate::ids::{BlockId, Member, MessageId, Slot};
use crate::row::Row;

/// How many unfinalized blocks, lowest first, are looked at for higher levels.
const BLOCKS_WATCHED: usize = 8;

/// Times of the schedule, on the clock that [`Speaker::decide`] is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpeakerConfig {
    /// When slot 0 begins, milliseconds.
    pub genesis_ms: u64,
    /// Length of a slot, milliseconds.
    pub slot_ms: u64,
    /// One network delay, milliseconds.
    pub delay_ms: u64,
    /// How long at either end of a slot a member is calm, milliseconds; two fifths of a slot at most. It follows no
    /// fork choice that has moved, and at the end no new proposal either. So the leader of a slot has had its say
    /// before others go on without it, and whatever they say reaches the next leader in time. 0: it follows at once.
    pub calm_ms: u64,
}

impl SpeakerConfig {
    /// Calm for three network delays: a vote, what it makes the next leader ask for, and the answer.
    #[must_use]
    pub fn new(genesis_ms: u64, slot_ms: u64, delay_ms: u64) -> Self {
        Self { genesis_ms, slot_ms, delay_ms, calm_ms: delay_ms.saturating_mul(3) }
    }

    /// Never so long that nothing is left of a slot.
    fn calm(&self) -> u64 {
        self.calm_ms.min(self.slot_ms / 5 * 2)
    }

    /// When a slot begins.
    fn start(&self, slot: Slot) -> u64 {
        self.genesis_ms.saturating_add(slot.0.saturating_mul(self.slot_ms))
    }
}

/// Why a member speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The slot's first valid proposal.
    Proposal(MessageId),
    /// The own fork choice left what the own latest message votes for.
    ForkChoice(BlockId),
    /// The next message reaches this level for this block.
    Level {
        /// The block.
        block: BlockId,
        /// The level.
        level: u32,
    },
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing, until something arrives.
    Silent,
    /// Decide again at this time, milliseconds, or when something arrives.
    WaitUntil(u64),
    /// Say a message that cites this row.
    Speak {
        /// What to cite, for [`Engine::draft`].
        row: Row,
        /// Why.
        reason: Reason,
    },
}

/// The state of the rule: when a proposal was voted on, and since when a level is within reach.
///
/// View merge (D'Amato, Neu, Tas, Tse 2022, "Goldfish") by the leader's view: the vote on a slot's proposal cites the
/// closures of that proposal and of the own previous message, and nothing else that is held. Goldfish adds what was held
/// one delay before the slot, as the leader holds that too; but here members do not pass on what they hear, so
/// that a leader may lack it, and the two sides of a balancing attack would each stay with what only they know.
#[derive(Clone, Debug)]
pub struct Speaker {
    config: SpeakerConfig,
    /// When the last vote on a slot's proposal was decided on.
    voted_at: Option<u64>,
    /// Own latest message then, and when a next level first became possible.
    reachable: Option<(Option<MessageId>, u64)>,
}

/// A level within reach: whether all heard members have reached the one below.
struct Climb {
    block: BlockId,
    level: u32,
    all_below: bool,
}

impl Speaker {
    /// A speaker that has not looked yet.
    #[must_use]
    pub fn new(config: SpeakerConfig) -> Self {
        Self { config, voted_at: None, reachable: None }
    }

    /// Called when an own message was said.
    pub fn spoke(&mut self) {
        self.reachable = None;
    }

    /// Called after each insert and at each wake-up; `slot` is the one at `now_ms`, or a later one.
    pub fn decide(&mut self, now_ms: u64, slot: Slot, engine: &Engine<Blocks>) -> Decision {
        let Some(me) = engine.me().filter(|me| !engine.is_faulty(*me)) else {
            return Decision::Silent;
        };
        if engine.said_in_slot(me, slot) >= engine.committee().messages_per_slot() {
            return Decision::Silent;
        }
        let closing = self.config.start(slot).saturating_add(self.config.slot_ms - self.config.calm());
        if now_ms < closing
            && let Some((proposal, row)) = unanswered(slot, engine, me)
        {
            self.voted_at = Some(now_ms);
            return Decision::Speak { row, reason: Reason::Proposal(proposal) };
        }
        let head = engine.head();
        let finalized = engine.finalized();
        let supported = engine.latest_vote(me).unwrap_or(finalized);
        if head != supported && head != finalized {
            if let Some(until) = self.calm_until(now_ms, slot) {
                return Decision::WaitUntil(until);
            }
            return Decision::Speak { row: engine.view(), reason: Reason::ForkChoice(head) };
        }
        self.climb(now_ms, slot, engine, me, supported)
    }

    /// Until when a fork choice that has moved is not followed, if that is still to come.
    fn calm_until(&self, now_ms: u64, slot: Slot) -> Option<u64> {
        let SpeakerConfig { slot_ms, delay_ms, .. } = self.config;
        let calm_ms = self.config.calm();
        if calm_ms == 0 {
            return None;
        }
        let start = self.config.start(slot);
        let end = start.saturating_add(slot_ms);
        let opening = start.saturating_add(calm_ms);
        let voted = self.voted_at.map_or(0, |at| at.saturating_add(delay_ms));
        let until =
            if now_ms >= end.saturating_sub(calm_ms) { end.saturating_add(calm_ms) } else { opening.max(voted) };
        (now_ms < until).then_some(until)
    }

    /// Whether a next message reaches a higher level, and whether it is time for it.
    fn climb(&mut self, now_ms: u64, slot: Slot, engine: &Engine<Blocks>, me: Member, supported: BlockId) -> Decision {
        let climbs = climbs(slot, engine, me, supported);
        let Some(first) = climbs.first() else {
            self.reachable = None;
            return Decision::Silent;
        };
        let latest = engine.latest(me).map(|(_, id)| id);
        let since = match self.reachable {
            Some((then, since)) if then == latest => since,
            _ => now_ms,
        };
        self.reachable = Some((latest, since));
        let deadline = since.saturating_add(self.config.delay_ms / 2);
        let ripe = climbs.iter().find(|climb| climb.all_below);
        match ripe.or((now_ms >= deadline).then_some(first)) {
            Some(Climb { block, level, .. }) => {
                let reason = Reason::Level { block: *block, level: *level };
                Decision::Speak { row: engine.view(), reason }
            }
            None => Decision::WaitUntil(deadline),
        }
    }

    /// The times this speaker was made with.
    #[must_use]
    pub fn config(&self) -> SpeakerConfig {
        self.config
    }
}

/// The slot's first proposal, if not voted on yet, and what the vote cites: the closures of the proposal and of the own
/// previous message.
fn unanswered(slot: Slot, engine: &Engine<Blocks>, me: Member) -> Option<(MessageId, Row)> {
    let proposal = engine.first_proposal(slot)?;
    let (proposer, seq, _) = engine.place(&proposal)?;
    let own = engine.latest(me).and_then(|(_, id)| engine.row_of(&id));
    let answered = own.as_ref().is_some_and(|own| {
        let spoken = engine.said_in_slot(me, slot) > 0;
        let seen = engine.seen(own, proposer).is_some_and(|seen| seen >= seq);
        seen || (spoken && (own.is_faulty(proposer) || engine.is_faulty(proposer)))
    });
    if answered {
        return None;
    }
    let closure = engine.row_of(&proposal)?;
    let rows: Vec<&Row> = [Some(&closure), own.as_ref()].into_iter().flatten().collect();
    Some((proposal, engine.merge(&rows)))
}

/// All higher levels within reach: for each unfinalized block the latest own message supports, at
/// each q_k, capped at k.
fn climbs(slot: Slot, engine: &Engine<Blocks>, me: Member, supported: BlockId) -> Vec<Climb> {
    let committee = engine.committee();
    let least = committee.quorum(committee.levels()).unwrap_or(u64::MAX);
    let mut heard: Option<Vec<Member>> = None;
    let mut climbs = Vec::new();
    for block in engine.unfinalized(&supported, BLOCKS_WATCHED) {
        // Whoever supports a block supports those below: none of the higher ones weighs more.
        if engine.protocol().weight(&block) < least {
            break;
        }
        let Some(watch) = engine.watched(&block) else { continue };
        for (ladder, level) in watch.next_levels(committee, me) {
            let all = || committee.members().filter(|member| is_heard(slot, engine, *member)).collect();
            let heard = heard.get_or_insert_with(all);
            let all_below = heard.iter().all(|member| watch.has(*member, ladder, level - 1));
            climbs.push(Climb { block, level, all_below });
        }
    }
    climbs
}

/// Whether a member spoke in this slot or the last two. In an era's first two slots, everybody did.
fn is_heard(slot: Slot, engine: &Engine<Blocks>, member: Member) -> bool {
    let recent = |last: Slot| last.0.saturating_add(2) >= slot.0;
    let last = engine.latest_slot(member).unwrap_or(engine.era_start());
    !engine.is_faulty(member) && recent(last)
}

impl<P: Protocol> Engine<P> {
    /// The `seq` of a member's message in a view.
    #[must_use]
    pub fn seen(&self, row: &Row, member: Member) -> Option<u64> {
        self.dag.node(row.at(member)).map(|node| node.seq)
    }
}
