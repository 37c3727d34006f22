//! Drafts: the own next message, except for its estimate and id.

use crate::arena::{FAULTY, NOTHING};
use crate::engine::Engine;
use crate::forkchoice::Protocol;
use crate::ids::{Member, MessageId, Slot};
use crate::message::Cite;
use crate::row::Row;

/// What the own next message will carry.
#[derive(Clone, Debug)]
pub struct Draft<P: Protocol> {
    /// Who speaks.
    pub sender: Member,
    /// Next in the own thread.
    pub seq: u64,
    /// As asked for.
    pub slot: Slot,
    /// As asked for.
    pub base: P::Base,
    /// The own previous message.
    pub previous: Option<MessageId>,
    /// What changed against it.
    pub advances: Vec<(Member, Cite)>,
    /// Digest of the full justification.
    pub cites: [u8; 32],
    /// The estimator's value: what a vote supports, what a proposal extends.
    pub value: P::Candidate,
    /// The justification itself.
    pub row: Row,
}

impl<P: Protocol> Engine<P> {
    /// The next message of `me`, citing `row` and everything its own previous message cites.
    ///
    /// # Panics
    /// When the engine speaks for nobody.
    #[must_use]
    pub fn draft(&self, slot: Slot, base: P::Base, row: &Row) -> Draft<P> {
        let me = self.me.expect("only an engine with a seat drafts");
        let tip = self.tip(me);
        let previous = self.dag.node(tip);
        let merged = match self.dag.row(tip) {
            Some(own) => self.merge(&[row, &Row(own.into())]),
            None => self.merge(&[row]),
        };
        let mut row = merged.0.to_vec();
        row[me.index()] = tip;
        let advances = self.advances(me, &row, self.before(tip, self.floor(&base)));
        Draft {
            sender: me,
            seq: previous.map_or(0, |node| node.seq + 1),
            slot,
            base,
            previous: previous.map(|node| node.id),
            advances,
            cites: self.dag.digest(&row),
            value: self.named(self.estimate_of(&base, &row)),
            row: Row(row.into()),
        }
    }

    /// What a row adds to an older one, by member.
    fn advances(&self, sender: Member, row: &[u32], old: Option<&[u32]>) -> Vec<(Member, Cite)> {
        let seq = |at: u32| self.dag.node(at).map(|node| node.seq);
        let mut advances = Vec::new();
        for (member, new) in self.committee.members().zip(row) {
            let old = old.map_or(NOTHING, |old| old[member.index()]);
            if member == sender || *new == old {
                continue;
            }
            advances.push(match (*new, seq(old)) {
                (FAULTY, _) => (member, Cite::Faulty),
                (at, old) => {
                    let now = seq(at).expect("merge() keeps only held messages");
                    (member, Cite::Ahead(old.map_or(now + 1, |old| now - old)))
                }
            });
        }
        advances
    }
}
