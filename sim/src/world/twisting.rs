//! What Byzantine members need of the world's machinery.

use super::{Event, World};
use crate::{
    clock::Moment,
    node::{Delivery, NodeId},
};

impl World {
    /// Plans that a Byzantine node lets go of what it holds.
    pub(crate) fn plan_release(&mut self, node: NodeId, at: Moment) {
        let life = self.nodes[node].lives;
        self.queue.plan(at.max(self.now), Event::Release { node, life });
    }

    /// Has a Byzantine node's own replica hear something that nobody said.
    pub(crate) fn whisper(&mut self, to: NodeId, delivery: Delivery) {
        let life = self.nodes[to].lives;
        self.queue.plan(self.now.plus(500), Event::Arrive { to, life, delivery });
    }

    /// What crosses from one chain's nodes to another's, Byzantine ones' as they twist it.
    pub(crate) fn send_shell(&mut self, from: NodeId, to: NodeId, delivery: Delivery) {
        for (to, delivery) in self.twisted_shell(from, to, delivery) {
            self.dispatch_shell(from, to, delivery);
        }
    }
}
