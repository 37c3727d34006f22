//! One transaction's life as a list of steps: only ever forward, except that a block may lose its fork.

use kakera_chain::{
    BlockId,
    hash::Hash,
    units::{Height, Timestamp},
};
use kakera_proto::v1::{ReceiptRef, Refusal, Stage, TransactionStatus};

/// Steps kept; older ones go. A transaction passes through five, and two more each time its block loses a fork.
const STEPS: usize = 64;

/// A transaction's life so far.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    id: Hash,
    since: Timestamp,
    steps: Vec<TransactionStatus>,
    over: bool,
}

impl Life {
    /// A transaction of which nothing is known.
    pub(crate) fn new(id: Hash, now: Timestamp) -> Life {
        Life { id, since: now, steps: Vec::new(), over: false }
    }

    /// Since when it is watched.
    pub(crate) fn since(&self) -> Timestamp {
        self.since
    }

    /// Whether its last step has come.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Where it is.
    pub(crate) fn stage(&self) -> Stage {
        self.steps.last().map_or(Stage::Unknown, |step| step.stage())
    }

    /// The block that it is in, if it is in one that is not certified.
    pub(crate) fn uncertified(&self) -> Option<(Height, BlockId)> {
        let step = self.steps.last().filter(|step| step.stage() == Stage::Included)?;
        Some((Height(step.height), BlockId(step.block_id.as_slice().try_into().ok()?)))
    }

    /// The steps past a cursor; of a life that is over at least the last, whatever the cursor (another node may have
    /// counted more steps).
    pub(crate) fn past(&self, cursor: u64) -> Vec<TransactionStatus> {
        let last = self.steps.len().saturating_sub(1);
        let wanted =
            |(index, step): &(usize, &TransactionStatus)| step.cursor > cursor || (self.over && *index == last);
        self.steps.iter().enumerate().filter(wanted).map(|(_, step)| step.clone()).collect()
    }

    /// What is said while nothing is known: no step, so it has no cursor.
    pub(crate) fn unknown(&self) -> TransactionStatus {
        TransactionStatus {
            transaction_id: self.id.0.to_vec(),
            stage: Stage::Unknown.into(),
            at_ms: self.since.0,
            ..TransactionStatus::default()
        }
    }

    /// It is in the pool. Returns, as all of these do, whether that is news.
    pub(crate) fn accepted(&mut self, now: Timestamp) -> bool {
        self.steps.is_empty() && self.push(Stage::Accepted, now, |_| {})
    }

    /// It is in a block on the head's path.
    pub(crate) fn included(&mut self, place: (Height, BlockId), now: Timestamp) -> bool {
        if self.over || rank(self.stage()) > rank(Stage::Included) || self.uncertified() == Some(place) {
            return false;
        }
        self.accepted(now);
        self.push(Stage::Included, now, |step| set_place(step, place))
    }

    /// Its block is not on the head's path any more: it waits again.
    pub(crate) fn reverted(&mut self, now: Timestamp) -> bool {
        self.stage() == Stage::Included
            && self.push(Stage::Accepted, now, |step| {
                (step.height, step.block_id) = (0, Vec::new());
            })
    }

    /// It is in a certified block.
    pub(crate) fn shard_final(&mut self, place: (Height, BlockId), receipts: Vec<ReceiptRef>, now: Timestamp) -> bool {
        if self.over || rank(self.stage()) >= rank(Stage::ShardFinal) {
            return false;
        }
        self.included(place, now);
        self.push(Stage::ShardFinal, now, |step| step.receipts = receipts)
    }

    /// Its block is recorded by the beacon; the end of one without receipts.
    pub(crate) fn recorded(&mut self, beacon: Height, now: Timestamp) -> bool {
        if self.stage() != Stage::ShardFinal {
            return false;
        }
        self.over = self.steps.last().is_some_and(|step| step.receipts.is_empty());
        self.push(Stage::Recorded, now, |step| step.beacon_height = beacon.0)
    }

    /// All its receipts have ended; if one came back, why.
    pub(crate) fn settled(&mut self, beacon: Height, returned: Option<Refusal>, now: Timestamp) -> bool {
        // A destination may have read further than this node: what it consumed was recorded.
        self.recorded(beacon, now);
        if self.stage() != Stage::Recorded || self.over {
            return false;
        }
        let stage = if returned.is_some() { Stage::Returned } else { Stage::Delivered };
        self.end(stage, returned, now)
    }

    /// The beacon began the shard's next era below its block, which no crosslink had recorded.
    pub(crate) fn undone(&mut self, place: (Height, BlockId), refusal: Refusal, now: Timestamp) -> bool {
        let there =
            self.steps.last().is_some_and(|step| (step.height, &step.block_id[..]) == (place.0.0, &place.1.0[..]));
        self.stage() == Stage::ShardFinal && there && self.end(Stage::Lost, Some(refusal), now)
    }

    /// It can never be included.
    pub(crate) fn lost(&mut self, stage: Stage, refusal: Refusal, now: Timestamp) -> bool {
        !self.over && rank(self.stage()) < rank(Stage::Included) && self.end(stage, Some(refusal), now)
    }

    fn end(&mut self, stage: Stage, refusal: Option<Refusal>, now: Timestamp) -> bool {
        self.over = true;
        self.push(stage, now, |step| step.refusal = refusal)
    }

    /// Adds a step that repeats what the last one knew.
    fn push(&mut self, stage: Stage, now: Timestamp, fill: impl FnOnce(&mut TransactionStatus)) -> bool {
        let mut step = self.steps.last().cloned().unwrap_or_else(|| self.unknown());
        step.set_stage(stage);
        step.cursor += 1;
        step.terminal = self.over;
        step.at_ms = now.0;
        fill(&mut step);
        if self.steps.len() >= STEPS {
            self.steps.remove(0);
        }
        self.steps.push(step);
        true
    }
}

fn set_place(step: &mut TransactionStatus, (height, block): (Height, BlockId)) {
    (step.height, step.block_id) = (height.0, block.0.to_vec());
}

/// The order of stages on the way to the end.
fn rank(stage: Stage) -> u8 {
    match stage {
        Stage::Unspecified | Stage::Unknown => 0,
        Stage::Accepted => 1,
        Stage::Included => 2,
        Stage::ShardFinal => 3,
        Stage::Recorded => 4,
        Stage::Delivered | Stage::Refused | Stage::Expired | Stage::Returned | Stage::Lost => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: (Height, BlockId) = (Height(4), BlockId([4; 32]));
    const THERE: (Height, BlockId) = (Height(4), BlockId([5; 32]));
    const NOW: Timestamp = Timestamp(9);

    fn stages(life: &Life, cursor: u64) -> Vec<(u64, Stage, bool)> {
        life.past(cursor).iter().map(|step| (step.cursor, step.stage(), step.terminal)).collect()
    }

    fn fresh() -> Life {
        Life::new(Hash([1; 32]), NOW)
    }

    #[test]
    fn a_transaction_within_the_shard_ends_recorded_and_steps_are_filled_in() {
        let mut life = fresh();
        assert!(life.shard_final(HERE, Vec::new(), NOW), "known from the store only");
        assert!(life.recorded(Height(2), NOW));
        assert!(life.is_over());
        let all = [
            (1, Stage::Accepted, false),
            (2, Stage::Included, false),
            (3, Stage::ShardFinal, false),
            (4, Stage::Recorded, true),
        ];
        assert_eq!(stages(&life, 0), all);
        assert_eq!(stages(&life, 2), all[2..]);
        assert_eq!(stages(&life, 9), all[3..], "the end is always told");
        let last = &life.past(3)[0];
        assert_eq!((last.height, last.beacon_height, last.block_id.len()), (4, 2, 32));
    }

    #[test]
    fn a_lost_fork_leads_back_to_accepted_and_on_again() {
        let mut life = fresh();
        life.accepted(NOW);
        assert!(life.included(HERE, NOW) && !life.included(HERE, NOW));
        assert!(life.reverted(NOW) && !life.reverted(NOW));
        assert!(life.included(THERE, NOW));
        assert!(life.included(HERE, NOW), "moved to another block");
        let seen: Vec<Stage> = life.past(0).iter().map(TransactionStatus::stage).collect();
        assert_eq!(seen, [Stage::Accepted, Stage::Included, Stage::Accepted, Stage::Included, Stage::Included]);
        assert_eq!(life.past(2)[0].height, 0);
    }

    #[test]
    fn receipts_end_a_life_delivered_or_returned_also_ahead_of_the_own_view() {
        let receipt = ReceiptRef { from_shard: 0, to_shard: 1, seq: 7, amount: 3 };
        let mut life = fresh();
        life.shard_final(HERE, vec![receipt], NOW);
        let mut returned = life.clone();
        assert!(life.settled(Height(8), None, NOW));
        assert_eq!(stages(&life, 3), [(4, Stage::Recorded, false), (5, Stage::Delivered, true)]);
        assert!(!life.settled(Height(8), None, NOW), "once");
        returned.recorded(Height(8), NOW);
        assert!(!returned.is_over());
        let why = Refusal { reason: "EXPIRED".into(), message: "late".into() };
        assert!(returned.settled(Height(8), Some(why), NOW));
        assert_eq!(stages(&returned, 4), [(5, Stage::Returned, true)]);
    }

    #[test]
    fn what_its_shard_alone_made_final_may_be_lost_and_what_is_recorded_may_not() {
        let why = || Refusal { reason: "LOST".into(), message: "re-rooted".into() };
        let mut life = fresh();
        life.shard_final(HERE, Vec::new(), NOW);
        let mut recorded = life.clone();
        recorded.recorded(Height(8), NOW);
        assert!(!recorded.undone(HERE, why(), NOW));
        assert!(!life.undone(THERE, why(), NOW), "another block");
        assert!(life.undone(HERE, why(), NOW) && !life.undone(HERE, why(), NOW));
        assert_eq!(stages(&life, 3), [(4, Stage::Lost, true)]);
    }

    #[test]
    fn only_what_waits_can_expire_and_nothing_follows_the_end() {
        let why = || Refusal { reason: "EXPIRED".into(), message: "late".into() };
        let mut life = fresh();
        life.accepted(NOW);
        let mut included = life.clone();
        included.included(HERE, NOW);
        assert!(!included.lost(Stage::Expired, why(), NOW));
        assert!(life.lost(Stage::Expired, why(), NOW));
        assert!(!life.included(HERE, NOW) && !life.shard_final(HERE, Vec::new(), NOW) && !life.accepted(NOW));
        assert_eq!(stages(&life, 1), [(2, Stage::Expired, true)]);
    }

    #[test]
    fn steps_are_bounded_and_cursors_go_on() {
        let mut life = fresh();
        for _ in 0..200 {
            life.included(HERE, NOW);
            life.reverted(NOW);
        }
        assert_eq!(life.past(0).len(), STEPS);
        assert_eq!(life.past(0).last().map(|step| step.cursor), Some(401));
    }
}
