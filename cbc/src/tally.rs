//! What a candidate cost: how many messages each member said for it.

use crate::engine::Engine;
use crate::forkchoice::Protocol;
use crate::ids::Member;

impl<P: Protocol> Engine<P> {
    /// Messages held of a member's thread whose estimate is this very candidate: its proposal and the votes for it,
    /// not those for its descendants. Walks back from the member's deepest message to the first one as old as the
    /// candidate.
    #[must_use]
    pub fn messages_for(&self, member: Member, candidate: &P::Candidate) -> u64 {
        let Some(value) = self.protocol.value(candidate) else { return 0 };
        let oldest = self.protocol.slot_of(value);
        let mut count = 0;
        let mut at = self.tip(member);
        while let Some(node) = self.dag.node(at) {
            if node.slot < oldest {
                break;
            }
            count += u64::from(node.vote == value);
            at = node.prev;
        }
        count
    }
}
