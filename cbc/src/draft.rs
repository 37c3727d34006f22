//! Drafts: the own next message, except for its estimate and id.

use crate::arena::{FAULTY, NOTHING};
use crate::engine::Engine;
use crate::forkchoice::Protocol;
use crate::ids::{Member, MessageId, Slot};
use crate::message::{Cite, cites_digest};
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
        let place = usize::from(me.0);
        let tip = self.tip(me);
        let previous = self.dag.node(tip);
        let nothing = vec![NOTHING; self.committee.len()];
        let old = self.dag.row(tip).unwrap_or(&nothing);
        let merged = self.merge(&[row, &Row(old.into())]);
        let mut row = merged.0.to_vec();
        row[place] = tip;
        let mut advances = Vec::new();
        for (member, (new, old)) in self.committee.members().zip(row.iter().zip(old)) {
            let changed = new != old || (member == me && previous.is_some());
            match *new {
                NOTHING => {}
                FAULTY if changed => advances.push((member, Cite::Faulty)),
                at if changed => {
                    let node = self.dag.node(at).expect("merge() keeps only held messages");
                    advances.push((member, Cite::Seq(node.seq)));
                }
                _ => {}
            }
        }
        Draft {
            sender: me,
            seq: previous.map_or(0, |node| node.seq + 1),
            slot,
            base,
            previous: previous.map(|node| node.id),
            advances,
            cites: cites_digest(&self.named_row(&row)),
            value: self.named(self.estimate_of(&base, &row)),
            row: Row(row.into()),
        }
    }
}
