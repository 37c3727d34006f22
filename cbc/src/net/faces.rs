//! What an adversary can do: see everything at once, make any valid message, and show it to whom it wants, when it
//! wants.
//!
//! A face keeps the rules of validity, because what breaks them is refused by everybody alike; it keeps no other rule.
//! What it makes is shown to nobody until [`Net::show`]; what an honest node then fetches, faces that hold it answer.

use super::craft::{self, Unsayable};
use super::{Conduct, Happening, Net, Node};
use crate::{BlockId, Blocks, Member, Message, MessageId, Row, Slot};
use std::sync::Arc;

/// A message of the adversary.
pub type Crafted = Result<Arc<Message<Blocks>>, Unsayable>;

impl Net {
    /// One more face of a member, which knows nothing yet and hears everybody.
    pub fn face(&mut self, member: Member) -> usize {
        self.add(member, Conduct::Face)
    }

    /// One more face of a member that knows what this face knows.
    pub fn twin(&mut self, face: usize) -> usize {
        assert_eq!(self.nodes[face].conduct(), Conduct::Face, "only the adversary has faces");
        let twin: Node = self.nodes[face].clone();
        self.nodes.push(twin);
        self.nodes.len() - 1
    }

    /// From now on a face hears nothing, and answers nobody; or it does again.
    pub fn deafen(&mut self, face: usize, deaf: bool) {
        self.nodes[face].deaf = deaf;
    }

    /// Shows a face a message and all that it cites, deaf or not.
    pub fn teach(&mut self, face: usize, id: &MessageId) {
        self.show_face(face, *id);
    }

    /// A face makes a vote that cites all it holds.
    ///
    /// # Errors
    /// The rules refuse it, or the face lacks something.
    pub fn craft_vote(&mut self, face: usize, slot: u64) -> Crafted {
        let row = self.nodes[face].engine().view();
        self.craft(face, slot, &row, None)
    }

    /// A face makes a block on what it holds; `salt` tells several of one slot apart.
    ///
    /// # Errors
    /// The rules refuse it, or the face lacks something.
    pub fn craft_block(&mut self, face: usize, slot: u64, salt: u64) -> Crafted {
        let row = self.nodes[face].engine().view();
        self.craft(face, slot, &row, Some(salt))
    }

    /// A face makes a message that cites this row and its own past; a block when a salt is given.
    ///
    /// # Errors
    /// The rules refuse it, or the face lacks something.
    pub fn craft(&mut self, face: usize, slot: u64, row: &Row, propose: Option<u64>) -> Crafted {
        assert_eq!(self.nodes[face].conduct(), Conduct::Face, "the adversary moves its own members only");
        let engine = self.nodes[face].engine();
        let checked = craft::draft(engine, Slot(slot), engine.base(), row, propose)?;
        Ok(self.nodes[face].take_crafted(checked, &mut self.library))
    }

    /// A message that a face makes past all rules: what it would say next, changed at will, under a true id. The face
    /// itself does not take it.
    pub fn forge(&mut self, face: usize, slot: u64, change: impl FnOnce(&mut Message<Blocks>)) -> Arc<Message<Blocks>> {
        let engine = self.nodes[face].engine();
        let draft = engine.draft(Slot(slot), engine.base(), &engine.view());
        let cites = engine.resolve(&draft.row);
        let mut message = craft::from_draft(engine, &draft, None).expect("a vote needs no block");
        change(&mut message);
        let message = Arc::new(craft::named(message));
        if let crate::BlockEstimate::Proposal(block) = message.estimate {
            self.library.blocks.entry(block.id).or_insert(block);
        }
        self.library.cites.insert(message.id, cites);
        self.library.messages.insert(message.id, message.clone());
        message
    }

    /// Shows a message to some nodes, so that it arrives at this time (the next millisecond at the earliest).
    pub fn show(&mut self, message: &Arc<Message<Blocks>>, to: &[usize], at_ms: u64) {
        let at = at_ms.max(self.now + 1);
        let from = (0..self.nodes.len()).find(|node| self.nodes[*node].engine().contains(&message.id));
        for node in to {
            if self.nodes[*node].conduct() != Conduct::Silent {
                self.schedule(at, *node, Happening::Hear(from.unwrap_or(*node), message.clone()));
            }
        }
    }

    /// All messages said so far that support a block or a descendant of it, oldest slots first.
    #[must_use]
    pub fn supporters(&self, block: &BlockId) -> Vec<MessageId> {
        let supports = self.library.messages.values().filter(|message| self.descends(&message.estimate.block(), block));
        let mut found: Vec<_> = supports.map(|message| (message.slot, message.seq, message.id)).collect();
        found.sort_unstable();
        found.into_iter().map(|(.., id)| id).collect()
    }

    /// Forgets a twin that was only a try. Nothing has happened since it was made.
    pub fn discard(&mut self, twin: usize) {
        assert_eq!(twin + 1, self.nodes.len(), "only the newest face is discarded");
        assert_eq!(self.nodes[twin].conduct(), Conduct::Face, "only faces are discarded");
        self.nodes.pop();
    }

    /// A face goes on as this twin of it, the newest face there is.
    pub fn replace(&mut self, face: usize, twin: usize) {
        assert_eq!(twin + 1, self.nodes.len(), "only the newest face takes another's place");
        self.nodes.swap_remove(face);
    }

    /// How many messages are under way to a node.
    #[must_use]
    pub fn coming(&self, node: usize) -> usize {
        self.agenda.values().filter(|(to, what)| *to == node && matches!(what, Happening::Hear(..))).count()
    }

    /// The head that a node will have once all that is under way to it has come.
    #[must_use]
    pub fn foresee(&mut self, node: usize) -> BlockId {
        let coming: Vec<MessageId> = self
            .agenda
            .values()
            .filter_map(|(to, what)| match what {
                Happening::Hear(_, message) if *to == node => Some(message.id),
                _ => None,
            })
            .collect();
        let mut copy = self.nodes[node].clone();
        copy.become_face();
        self.nodes.push(copy);
        let at = self.nodes.len() - 1;
        for id in coming {
            self.show_face(at, id);
        }
        let head = self.nodes[at].engine().head();
        self.nodes.pop();
        head
    }

    /// Signs a block's finality under a face's name and shows that to all.
    pub fn sign(&mut self, face: usize, block: BlockId) {
        if let Some(me) = self.nodes[face].engine().me() {
            self.send_all(face, &Happening::Share(me, block));
        }
    }
}
