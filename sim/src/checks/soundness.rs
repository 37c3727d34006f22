//! No input panics a node; no honest node refuses another's words, halts, or cannot read its own disk.

use super::{Check, Happening, View};
use kakera_chain::replica::Refused;

/// Statement 6; what a node holds is weighed by [`super::growth::Growth`].
pub(super) struct Soundness;

impl Check for Soundness {
    fn name(&self) -> &'static str {
        "soundness"
    }

    fn after(&mut self, view: &View<'_>, happening: &Happening<'_>) -> Result<(), String> {
        match happening {
            Happening::Panicked { node, words } => Err(format!("{} panicked: {words}", view.name(*node))),
            Happening::Unopened { node, reason } => Err(format!("{} does not open: {reason}", view.name(*node))),
            // Where agreement may break, the check of agreement judges who stops and why.
            Happening::Halted { node, breach }
                if view.nodes[*node].is_honest() && !view.scenario.expect.may_break_with_evidence =>
            {
                Err(format!("{} halted: {breach}", view.name(*node)))
            }
            // A member passes on what others said, also a block beside its certified ones that it never executed: of a
            // chain with Byzantine members such a block can be invalid.
            Happening::Refused { node, reason: Refused::Content, .. } if has_byzantine(view, *node) => Ok(()),
            Happening::Refused { node, from, reason } if view.nodes[*node].is_honest() => {
                let chain = view.nodes[*node].chain;
                let is_it = |node: &&crate::node::Node| node.chain == chain && Some(node.validator) == *from;
                match view.nodes.iter().filter(is_it).find(|node| node.is_honest()) {
                    Some(from) => Err(format!("{} refused what {} said: {reason}", view.name(*node), from.name())),
                    None => Ok(()),
                }
            }
            Happening::ReadingRefused { node, reason } => {
                Err(format!("{} refused what it read itself: {reason}", view.name(*node)))
            }
            _ => Ok(()),
        }
    }

    fn outlives_agreement(&self) -> bool {
        true
    }
}

fn has_byzantine(view: &View<'_>, node: usize) -> bool {
    let chain = view.nodes[node].chain;
    view.nodes.iter().any(|other| other.chain == chain && !other.is_honest())
}
