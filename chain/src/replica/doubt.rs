//! Messages that wait in vain: perhaps for something that does not exist.
//!
//! The steps of a message count from its sender's previous one. Of an equivocator another message may be held at that
//! place than the one that was meant; then the steps lead to a message that nobody has said. What a message cites in
//! full tells; it is asked for once a few rounds of asking for the step's end have brought nothing.
//!
//! One message of each sender has its turn at a time. What it is found to cite may be here and in doubt itself, or wait for
//! one that is: then that one is first.

use super::Replica;
use crate::{application::Application, message::Statement, units::Timestamp};
use kakera_cbc::{Blocks, Engine, Member, MessageId, Missing, Observation, cites_digest};
use std::collections::BTreeMap;

/// How long a message waits for another before it is doubted, in network delays: three rounds of asking.
const PATIENCE_DELAYS: u64 = 16;
/// How long one message of a sender is doubted before it is the next one's turn: all members of a small committee can
/// be asked.
const TURN_MS: u64 = 10_000;

/// Since when a message waits for another, and how many turns it has had.
#[derive(Clone, Copy)]
struct Doubt {
    since: Timestamp,
    turns: u32,
}

/// Whose turn it is of a sender's messages.
struct Turn {
    id: MessageId,
    until: Timestamp,
    /// What it cites in full, once a peer has told. Not with the engine, which keeps one such list of each sender: an
    /// answer brings those of the sender's earlier messages too, and each would take the other's place.
    told: Option<Vec<Observation>>,
}

/// At most one message of each sender is doubted at a time, so that nobody's junk hides what others said.
#[derive(Default)]
pub(super) struct Doubts {
    waiting: BTreeMap<MessageId, Doubt>,
    turns: BTreeMap<Member, Turn>,
    next_review: Timestamp,
}

impl Doubts {
    /// What is held: reviewed once a network delay, so that a few of those that were parked then may be gone now.
    pub(super) fn weigh(&self, members: u64, hold: &mut impl FnMut(&'static str, usize, u64)) {
        let limits = kakera_cbc::Limits::default();
        let most = (limits.pending_total as u64).min(members * limits.pending_per_sender as u64);
        hold("messages in doubt", self.waiting.len(), most);
        // Each with one justification at most.
        hold("turns of doubt", self.turns.len(), members);
    }

    /// What a sender's message cites in full, if it has its turn and a peer has told.
    pub(super) fn told(&self, sender: Member, id: &MessageId) -> Option<&[Observation]> {
        self.turns.get(&sender).filter(|turn| turn.id == *id)?.told.as_deref()
    }
}

impl<A: Application> Replica<A> {
    /// Messages whose full justification is worth asking for.
    pub(super) fn doubted(&mut self) -> Vec<MessageId> {
        if self.now >= self.doubts.next_review {
            self.doubts.next_review = self.now.plus(self.timing.delay_ms);
            self.review_doubts();
        }
        let untold = self.doubts.turns.values().filter(|turn| turn.told.is_none()).map(|turn| turn.id);
        untold.filter(|id| self.engine.is_parked(id)).collect()
    }

    /// Takes what a message cites, as a peer has told it: answers whether this message has its turn.
    pub(super) fn clear_doubt(&mut self, id: &MessageId, cites: &[Observation]) -> bool {
        let Some((_, carried)) = self.waiting.get(id) else { return false };
        let Statement { sender, cites: digest, .. } = &carried.message.statement;
        let Some(turn) = self.doubts.turns.get_mut(sender).filter(|turn| turn.id == *id) else { return false };
        if turn.told.is_none() && cites_digest(cites) == *digest {
            turn.told = Some(cites.to_vec());
            self.judge_again(id);
        }
        true
    }

    fn review_doubts(&mut self) {
        let (now, engine, doubts) = (self.now, &self.engine, &mut self.doubts);
        let of_messages = engine.missing().filter(|missing| matches!(missing, Missing::Message { .. }));
        let ids = of_messages.flat_map(|missing| engine.waiting_for(missing));
        let waiting: BTreeMap<MessageId, (Member, u64)> = ids
            .filter_map(|id| {
                let statement = &self.waiting.get(id)?.1.message.statement;
                Some((*id, (statement.sender, statement.seq)))
            })
            .collect();
        doubts.waiting.retain(|id, _| engine.is_parked(id));
        // One that waits for what it was found to cite keeps its turn, and with it the full justification.
        let is_kept = |turn: &Turn| match doubt_below(engine, &turn.id) {
            Some(below) => below == turn.id,
            None => engine.is_parked(&turn.id),
        };
        doubts.turns.retain(|_, turn| now < turn.until && is_kept(turn));
        let patience = self.timing.delay_ms.saturating_mul(PATIENCE_DELAYS);
        let mut next = BTreeMap::new();
        for (id, (sender, seq)) in &waiting {
            let doubt = doubts.waiting.entry(*id).or_insert(Doubt { since: now, turns: 0 });
            if now < doubt.since.plus(patience) || doubts.turns.contains_key(sender) {
                continue;
            }
            // First those that another member is known to cite: an equivocator can say as many others as it likes.
            let citing = engine.waiting_for(&Missing::Id(*id));
            let of_others = |id: &MessageId| {
                self.waiting.get(id).is_some_and(|(_, carried)| carried.message.statement.sender != *sender)
            };
            let rank = (!citing.iter().any(of_others), citing.is_empty(), doubt.turns, *seq, *id);
            let best = next.entry(*sender).or_insert(rank);
            *best = (*best).min(rank);
        }
        for (sender, (.., id)) in next {
            if let Some(doubt) = doubts.waiting.get_mut(&id) {
                doubt.turns = doubt.turns.saturating_add(1);
            }
            doubts.turns.insert(sender, Turn { id, until: now.plus(TURN_MS), told: None });
        }
    }
}

/// The message in doubt that a parked one waits for through those that it cites: it may be that one itself. Nothing if what
/// it waits for in the end is not here.
fn doubt_below(engine: &Engine<Blocks>, id: &MessageId) -> Option<MessageId> {
    let mut at = *id;
    for _ in 0..engine.parked() {
        match engine.missed_by(&at)? {
            Missing::Message { .. } => return Some(at),
            Missing::Id(next) => at = *next,
            _ => return None,
        }
    }
    None
}
