//! How a shard process follows the beacon chain: one stream of certified blocks from one beacon node at a time, left for
//! the next node's when it is silent, ends or sends what is refused. A schedule; what is believed is up to
//! [`crate::BeaconView`].

use kakera_chain::{Member, genesis::Timing, units::ShardId};

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

/// Whose stream is read, and for how long.
#[derive(Clone, Debug)]
pub struct Following {
    index: usize,
    pause_ms: u64,
    silence_ms: u64,
}

impl Following {
    /// Begins with a node that depends on who follows, so that the members of a committee spread evenly: if less than a
    /// third of the beacon's nodes are gone, about as many members hear nothing, and the others finalize without them.
    /// `beacon` is the beacon's timing.
    pub fn new(shard: ShardId, me: Member, beacon: Timing) -> Following {
        Following {
            index: usize::from(shard.0) + me.index(),
            pause_ms: FIRST_PAUSE_MS,
            // A beacon that certifies nothing for a heartbeat and some slots more is stuck, or this node does not tell us.
            silence_ms: ((beacon.heartbeat_slots + SLACK_SLOTS) * beacon.slot_ms).max(SHORTEST_SILENCE_MS),
        }
    }

    /// The beacon node to read from, counted round all of them.
    pub fn index(&self) -> usize {
        self.index
    }

    /// A stream that has sent nothing for so many ms is left.
    pub fn silence_ms(&self) -> u64 {
        self.silence_ms
    }

    /// A node that has not said after so many ms that the stream is open is left for the next.
    pub fn answer_ms(&self) -> u64 {
        ANSWER_MS.min(self.silence_ms)
    }

    /// The stream was left; `useful`: it had brought new blocks. The next node's is opened after so many ms.
    pub fn left(&mut self, useful: bool) -> u64 {
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
