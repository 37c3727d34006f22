//! When a member hands its shard's crosslink to the beacon: the proposer of the newest certified block at once, the
//! others in turn if it is still not recorded. Crosslinks of empty blocks alone wait for a beacon heartbeat.
//!
//! A schedule, outside validity: whoever submits, and when, the beacon records the same headers.

use kakera_chain::{
    Member,
    application::Application,
    block::Figures,
    genesis::Timing,
    replica::Replica,
    units::{Height, Timestamp},
};

/// Decides for one member of a shard.
#[derive(Clone, Debug)]
pub struct Submitter {
    shard: Timing,
    beacon: Timing,
    plan: Option<Plan>,
}

/// What decides whether and when to submit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct View {
    recorded: Height,
    certified: Height,
    /// This member's turn: 0 for the proposer of the newest certified block. Followers never have one.
    rank: Option<u32>,
    /// Whether what is not recorded holds transactions or receipts, or ends an era: the next one waits for that.
    content: bool,
}

/// When a height is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    height: Height,
    recorded: Height,
    at: Timestamp,
}

impl Submitter {
    /// For a shard with this timing below a beacon with that.
    pub fn new(shard: Timing, beacon: Timing) -> Submitter {
        Submitter { shard, beacon, plan: None }
    }

    /// Looks at the chain, whenever something was certified or recorded and at [`Submitter::next_wakeup`]. `recorded` is
    /// the last recorded height as of the newest beacon block known. Returns the first height to submit if that is due.
    pub fn look<A: Application>(&mut self, replica: &Replica<A>, recorded: Height, now: Timestamp) -> Option<Height> {
        let view = View::of(replica, recorded);
        self.decide(&view, now)
    }

    /// When to look again if nothing happens before.
    pub fn next_wakeup(&self) -> Option<Timestamp> {
        self.plan.map(|plan| plan.at)
    }

    fn decide(&mut self, view: &View, now: Timestamp) -> Option<Height> {
        self.plan = self.next_plan(view, now);
        let again = self.again_after();
        let due = self.plan.as_mut().filter(|plan| plan.at <= now)?;
        due.at = now.plus(again);
        Some(view.recorded.next())
    }

    fn next_plan(&self, view: &View, now: Timestamp) -> Option<Plan> {
        let rank = view.rank.filter(|_| view.certified > view.recorded)?;
        let lazy = if view.content { 0 } else { self.beacon.heartbeat_slots * self.beacon.slot_ms };
        let at = now.plus(u64::from(rank) * self.shard.slot_ms + lazy);
        match self.plan {
            Some(plan) if plan.height == view.certified && plan.recorded == view.recorded => Some(plan),
            // Empty blocks that follow each other must not put the first one off for ever.
            Some(plan) if !view.content && plan.recorded == view.recorded => {
                Some(Plan { height: view.certified, at: plan.at.min(at), ..plan })
            }
            _ => Some(Plan { height: view.certified, recorded: view.recorded, at }),
        }
    }

    /// A crosslink is recorded within some beacon slots; after that it may have been lost. In ms.
    fn again_after(&self) -> u64 {
        (4 * self.beacon.slot_ms).max(4 * self.shard.slot_ms)
    }
}

impl View {
    fn of<A: Application>(replica: &Replica<A>, recorded: Height) -> View {
        let certified = replica.certified().header;
        let members = u32::try_from(replica.seats().keys.len()).unwrap_or(u32::MAX);
        let rank = replica.me().map(|me| turn(me, certified.proposer, members));
        // The newest block alone says so under load; only otherwise are blocks loaded.
        let closes = replica.era().holds(certified) && replica.era().is_closed_by(certified, replica.network());
        let content = closes
            || certified.figures.transactions > 0
            || has_moved(replica, recorded, &certified.figures)
            || holds_transactions(replica, recorded, certified.height);
        View { recorded, certified: certified.height, rank, content }
    }
}

/// Whether receipts were consumed or emitted since the recorded block.
fn has_moved<A: Application>(replica: &Replica<A>, recorded: Height, now: &Figures) -> bool {
    let below = replica.certified_id(recorded).and_then(|id| replica.block(&id));
    let (received, sent) = below.map_or((0, 0), |block| (block.header.figures.received, block.header.figures.sent));
    now.received != received || now.sent != sent
}

fn holds_transactions<A: Application>(replica: &Replica<A>, recorded: Height, certified: Height) -> bool {
    const LOOKED_AT: u64 = 64;
    if certified.0.saturating_sub(recorded.0) > LOOKED_AT {
        return true;
    }
    (recorded.0 + 1..=certified.0).any(|height| {
        let block = replica.certified_id(Height(height)).and_then(|id| replica.block(&id));
        block.is_some_and(|block| block.header.figures.transactions > 0)
    })
}

/// Places after the proposer, counted round the committee.
fn turn(me: Member, proposer: Member, members: u32) -> u32 {
    (u32::from(me.0) + members - u32::from(proposer.0) % members.max(1)) % members.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: Timing = Timing { slot_ms: 200, delay_ms: 50, heartbeat_slots: 5 };
    const BEACON: Timing = Timing { slot_ms: 400, delay_ms: 50, heartbeat_slots: 5 };
    const NOW: Timestamp = Timestamp(10_000);

    fn view(certified: u64, rank: u32, content: bool) -> View {
        View { recorded: Height(3), certified: Height(certified), rank: Some(rank), content }
    }

    fn wait(submitter: &Submitter) -> Option<u64> {
        submitter.next_wakeup().map(|at| at.0 - NOW.0)
    }

    #[test]
    fn the_proposer_goes_first_and_the_others_in_turn() {
        let turns: Vec<u32> = (0..4).map(|me| turn(Member(me), Member(2), 4)).collect();
        assert_eq!(turns, [2, 3, 0, 1]);
        let new = || Submitter::new(SHARD, BEACON);
        let mut first = new();
        assert_eq!(first.decide(&view(5, 0, true), NOW), Some(Height(4)), "at once");
        assert_eq!(wait(&first), Some(1_600), "and again if it is not recorded");
        let mut third = new();
        assert_eq!(third.decide(&view(5, 2, true), NOW), None);
        assert_eq!(wait(&third), Some(400));
        assert_eq!(third.decide(&view(5, 2, true), NOW.plus(400)), Some(Height(4)));
        let mut idle = new();
        assert_eq!((idle.decide(&view(3, 0, true), NOW), wait(&idle)), (None, None), "all is recorded");
        let follower = View { rank: None, ..view(5, 0, true) };
        assert_eq!((idle.decide(&follower, NOW), wait(&idle)), (None, None));
    }

    #[test]
    fn empty_blocks_wait_for_a_heartbeat_but_not_for_ever_and_content_at_once() {
        let mut submitter = Submitter::new(SHARD, BEACON);
        assert_eq!(submitter.decide(&view(5, 0, false), NOW), None);
        assert_eq!(wait(&submitter), Some(2_000));
        let later = NOW.plus(1_000);
        assert_eq!(submitter.decide(&view(6, 1, false), later), None);
        assert_eq!(wait(&submitter), Some(2_000), "a further empty block changes nothing");
        assert_eq!(submitter.decide(&view(7, 0, true), later), Some(Height(4)));
    }
}
