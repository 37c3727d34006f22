//! How a shard process follows the beacon chain: one stream of certified blocks from one beacon node at a time, left for
//! the next node's when it is silent, ends, sends what is refused or brings what is past too slowly. A schedule; what is
//! believed is up to [`crate::BeaconView`].

use kakera_chain::{Member, Slot, genesis::Timing, units::ShardId};

/// The first wait after a stream without news, in ms; it doubles with each that follows.
const FIRST_PAUSE_MS: u64 = 50;
/// The longest wait between two streams, in ms.
const LONGEST_PAUSE_MS: u64 = 500;
/// How long the answer to an opening may take, in ms: some round trips around the world. Where a way is cut without a
/// word, this and the longest pause are all that is lost once it is mended.
const ANSWER_MS: u64 = 1_000;
/// The shortest silence after which a stream is left, in ms.
const SHORTEST_SILENCE_MS: u64 = 2_000;

/// Slots beside a heartbeat that a beacon may take for a block: leaders that are gone.
const SLACK_SLOTS: u64 = 3;

/// What is certified may be so many slots behind the clock before it matters how fast a stream brings the rest.
const BEHIND_SLOTS: u64 = 32;
/// Then the slots that it brings are counted over so many silences.
const MEASURED: u64 = 4;
/// And for each slot that goes by it must bring so many.
const CATCHING_UP: u64 = 2;

/// Whose stream is read, and for how long.
#[derive(Clone, Debug)]
pub struct Following {
    index: usize,
    pause_ms: u64,
    silence_ms: u64,
    /// Over so many slots it is counted what a stream brings.
    measured_slots: u64,
    /// What was reached, and the clock, when that began.
    began: Option<(Slot, Slot)>,
}

impl Following {
    /// Begins with a node that depends on who follows, so that the members of a committee spread evenly: if less than a
    /// third of the beacon's nodes are gone, about as many members hear nothing, and the others finalize without them.
    /// `beacon` is the beacon's timing.
    pub fn new(shard: ShardId, me: Member, beacon: Timing) -> Following {
        // A beacon that certifies nothing for a heartbeat and some slots more is stuck, or this node does not tell us.
        let silence_ms = ((beacon.heartbeat_slots + SLACK_SLOTS) * beacon.slot_ms).max(SHORTEST_SILENCE_MS);
        Following {
            index: usize::from(shard.0) + me.index(),
            pause_ms: FIRST_PAUSE_MS,
            silence_ms,
            measured_slots: MEASURED * silence_ms / beacon.slot_ms.max(1),
            began: None,
        }
    }

    /// The beacon node to read from, counted round all of them.
    pub fn index(&self) -> usize {
        self.index
    }

    /// A stream that has brought nothing new for so many ms is left.
    pub fn silence_ms(&self) -> u64 {
        self.silence_ms
    }

    /// A node that has not said after so many ms that the stream is open is left for the next.
    pub fn answer_ms(&self) -> u64 {
        ANSWER_MS.min(self.silence_ms)
    }

    /// Blocks up to this slot are known, and the clock says that one: whether the node that brings them is left for the
    /// next, because with it the end is never reached. To be asked with each block that is new.
    pub fn is_too_slow(&mut self, reached: Slot, clock: Slot) -> bool {
        if clock.0.saturating_sub(reached.0) <= BEHIND_SLOTS {
            self.began = None;
            return false;
        }
        let (from, began) = *self.began.get_or_insert((reached, clock));
        let passed = clock.0.saturating_sub(began.0);
        if passed < self.measured_slots {
            return false;
        }
        self.began = Some((reached, clock));
        reached.0.saturating_sub(from.0) < passed.saturating_mul(CATCHING_UP)
    }

    /// The stream was left; `useful`: it had brought new blocks. The next node's is opened after so many ms.
    pub fn left(&mut self, useful: bool) -> u64 {
        self.began = None;
        self.index = self.index.wrapping_add(1);
        self.pause_ms = if useful { FIRST_PAUSE_MS } else { (self.pause_ms * 2).min(LONGEST_PAUSE_MS) };
        self.pause_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn useless_streams_are_left_for_the_next_with_growing_pauses_up_to_half_a_second() {
        let timing = Timing { slot_ms: 200, delay_ms: 50, heartbeat_slots: 10 };
        let mut following = Following::new(ShardId(2), Member(3), timing);
        assert_eq!((following.index(), following.answer_ms(), following.silence_ms()), (5, 1_000, 2_600));
        let pauses: Vec<u64> = (0..6).map(|_| following.left(false)).collect();
        assert_eq!(pauses, [100, 200, 400, 500, 500, 500]);
        assert_eq!((following.left(true), following.index()), (50, 12));
        let short = Timing { slot_ms: 100, ..timing };
        assert_eq!(Following::new(ShardId(0), Member(0), Timing { heartbeat_slots: 1, ..short }).silence_ms(), 2_000);
    }

    #[test]
    fn who_brings_what_is_past_no_faster_than_time_goes_by_is_left_and_who_is_up_to_date_never() {
        let timing = Timing { slot_ms: 200, delay_ms: 50, heartbeat_slots: 10 };
        let following = || Following::new(ShardId(0), Member(0), timing);
        // Four silences are 52 slots. One block of one slot each second, a thousand slots behind.
        let slow = |per_second: u64, behind: u64| {
            let (mut following, reached) = (following(), 5_000);
            let at = |second: u64| (Slot(reached + per_second * second), Slot(reached + behind + 5 * second));
            (0..60u64).find(|second| following.is_too_slow(at(*second).0, at(*second).1))
        };
        assert_eq!((slow(1, 1_000), slow(9, 1_000)), (Some(11), Some(11)));
        assert_eq!((slow(10, 1_000), slow(60, 1_000)), (None, None));
        assert_eq!((slow(5, 32), slow(5, 33)), (None, Some(11)), "as fast as the clock is enough near the end");
        // The next node has its own time, and a clock that jumps costs nobody more than its turn.
        let mut one = following();
        assert!(!one.is_too_slow(Slot(0), Slot(100)));
        one.left(true);
        assert!(!one.is_too_slow(Slot(1), Slot(152)));
        assert!(one.is_too_slow(Slot(2), Slot(u64::MAX)));
        assert!(!one.is_too_slow(Slot(3), Slot(0)));
    }

    #[test]
    fn no_two_members_of_a_committee_begin_with_one_beacon_node_while_another_has_none() {
        let timing = Timing { slot_ms: 200, delay_ms: 50, heartbeat_slots: 10 };
        for (beacon, members) in [(4usize, 4u16), (4, 7), (7, 4), (7, 7), (4, 16)] {
            for shard in (0..9).map(ShardId) {
                let mut followers = vec![0; beacon];
                for member in (0..members).map(Member) {
                    followers[Following::new(shard, member, timing).index() % beacon] += 1;
                }
                let (least, most) = (followers.iter().min(), followers.iter().max());
                assert!(
                    most <= least.map(|least| least + 1).as_ref(),
                    "{shard} of {members} by {beacon}: {followers:?}"
                );
            }
        }
    }
}
