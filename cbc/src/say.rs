//! Saying something in one step: draft, check and insert the own next message.

use crate::draft::Draft;
use crate::engine::{Engine, Event};
use crate::forkchoice::Protocol;
use crate::ids::{MessageId, Slot};
use crate::message::Message;
use crate::pending::Missing;
use crate::row::Row;
use crate::validity::{Invalid, Verdict};
use thiserror::Error;

/// Why an own message was not said; nothing has changed.
#[derive(Clone, Debug, Error)]
pub enum Unsaid<P: Protocol> {
    /// A message of this id is held already.
    #[error("message {id} is held already")]
    Known {
        /// The id.
        id: MessageId,
    },
    /// Nobody would accept it.
    #[error(transparent)]
    Invalid(Invalid),
    /// It would have to wait, here as anywhere.
    #[error("the message waits for {missing:?}")]
    Waiting {
        /// For what.
        missing: Missing<P>,
    },
}

/// The message that was said, and what it changed.
pub type Said<P> = (Message<P>, Vec<Event<P>>);

impl<P: Protocol> Engine<P> {
    /// Drafts the next message of `me` citing `row`, checks it as a peer would in that slot and takes it in.
    ///
    /// `finish` is given the draft and answers the two things a draft lacks: the id (a hash of the
    /// message's canonical bytes, which the engine leaves to the caller) and the estimate. A node that
    /// can crash takes the three steps itself, and makes the message durable before it is sent.
    ///
    /// # Errors
    /// The message is known, invalid or would have to wait.
    ///
    /// # Panics
    /// When the engine speaks for nobody.
    pub fn say(
        &mut self,
        slot: Slot,
        base: P::Base,
        row: &Row,
        finish: impl FnOnce(&Draft<P>) -> (MessageId, P::Estimate),
    ) -> Result<Said<P>, Unsaid<P>> {
        let draft = self.draft(slot, base, row);
        let (id, estimate) = finish(&draft);
        let justification = self.resolve(&draft.row);
        let Draft { sender, seq, slot, base, advances, cites, .. } = draft;
        let message = Message { id, sender, seq, slot, base, advances, cites, estimate };
        match self.check_full(slot, &message, &justification) {
            Verdict::Valid(checked) => Ok((message, self.insert(checked))),
            Verdict::Known => Err(Unsaid::Known { id }),
            Verdict::Invalid(invalid) => Err(Unsaid::Invalid(invalid)),
            Verdict::Waiting(missing) => Err(Unsaid::Waiting { missing }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::{Binary, Committee, InvalidEstimate, Limits, Member, Stance};

    #[test]
    fn what_is_said_is_valid_and_what_is_not_changes_nothing() {
        let committee = Committee::new(vec![1]).unwrap();
        let mut engine = Engine::new(committee, Some(Member(0)), Limits::default(), Binary::new());
        let id = |n| MessageId([n; 32]);
        let (message, events) = engine.say(Slot(0), (), &engine.view(), |_| (id(0), true)).unwrap();
        assert_eq!(engine.latest(Member(0)), Some((0, message.id)));
        assert!(events.contains(&Event::Finalized(Stance::Decided(true), 1)));
        let known = engine.say(Slot(0), (), &engine.view(), |_| (id(0), true));
        assert!(matches!(known, Err(Unsaid::Known { .. })));
        let wrong = engine.say(Slot(0), (), &engine.view(), |_| (id(1), false));
        let Err(Unsaid::Invalid(invalid)) = wrong else { panic!("a bit that does not follow") };
        assert_eq!(invalid, Invalid::Estimate(InvalidEstimate::DoesNotFollow));
        assert_eq!(engine.len(), 1);
    }
}
