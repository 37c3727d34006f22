//! Where the world asks Byzantine nodes: what they say, hear, hold back and become.

use super::{HEARD, forge, scene};
use crate::{
    clock::Moment,
    node::{Answer, Delivery, NodeId},
    scenario::Tactic,
    world::World,
};
use kakera_chain::{
    peer::{PeerMessage, PeerStatus},
    replica::Effect,
    units::{ChainId, Height},
};
use kakera_shard::SignedTransaction;
use std::sync::Arc;

impl World {
    /// Twists what a node's replica wants done.
    pub(crate) fn twisted(&mut self, id: NodeId, effects: Vec<Effect<Answer>>) -> Vec<Effect<Answer>> {
        let Some(mut twist) = self.twists.remove(&id) else { return effects };
        let Some(scene) = scene(&self.setup, &self.nodes[id], self.now) else {
            self.twists.insert(id, twist);
            return effects;
        };
        let out = twist.twist(&scene, effects);
        self.twists.insert(id, twist);
        out.acts.iter().for_each(|act| self.act(id, act));
        out.release_at.iter().for_each(|at| self.plan_release(id, *at));
        if let Some(question) = out.vouch {
            self.vouch(id, question);
        }
        out.effects
    }

    fn act(&mut self, id: NodeId, what: &'static str) {
        self.trace.twisted(self.now, id, what);
        self.measures.acted(what);
    }

    /// Plans when those that equivocate begin to.
    pub(crate) fn begin_twists(&mut self) {
        let splits: Vec<(NodeId, Moment)> =
            self.twists.iter().filter_map(|(id, twist)| Some((*id, twist.split_at?))).collect();
        splits.into_iter().for_each(|(id, at)| self.plan_release(id, at));
    }

    /// Whether a further instance is not to run yet.
    pub(crate) fn twist_sleeps(&self, id: NodeId) -> bool {
        self.twists.get(&id).is_some_and(|twist| twist.asleep)
    }

    /// What a Byzantine node lets its replica hear.
    pub(crate) fn twist_hears(&mut self, to: NodeId, message: Arc<PeerMessage>) -> Option<Arc<PeerMessage>> {
        let Some(twist) = self.twists.get_mut(&to) else { return Some(message) };
        if twist.has(Tactic::Replay) && twist.random.chance(200_000) {
            twist.remember(&message);
        }
        if twist.audience.is_none() {
            return Some(message);
        }
        // An instance does not hear of its siblings: it would know that it has said more than it remembers.
        let Some(me) = self.nodes[to].process.as_ref().and_then(|process| process.machine.me()) else {
            return Some(message);
        };
        match &*message {
            PeerMessage::Message(carried) if carried.message.statement.sender == me => None,
            PeerMessage::Evidence(evidence) if evidence.first.statement.sender == me => None,
            PeerMessage::Conflict(conflict) if conflict.first.signer == me => None,
            PeerMessage::Messages(list) if list.iter().any(|carried| carried.message.statement.sender == me) => {
                let list = list.iter().filter(|carried| carried.message.statement.sender != me).cloned().collect();
                Some(Arc::new(PeerMessage::Messages(list)))
            }
            _ => Some(message),
        }
    }

    /// Whether a Byzantine node ignores a client.
    pub(crate) fn twist_ignores(&mut self, id: NodeId, signed: &SignedTransaction) -> bool {
        let Some(twist) = self.twists.get(&id) else { return false };
        let silent = twist.is_silent(self.now);
        let sender = kakera_chain::address::Address::of(&signed.transaction.sender);
        let censored = self.nodes[id].bend.censor == Some(sender);
        if censored {
            self.act(id, "ignores a client");
        }
        silent || censored
    }

    /// What was held back leaves a Byzantine node, or it becomes several.
    pub(crate) fn release(&mut self, id: NodeId) {
        let now = self.now;
        let Some(twist) = self.twists.get_mut(&id) else { return };
        let splits = twist.split_at.take_if(|at| *at <= now).is_some();
        let (due, held): (Vec<_>, Vec<_>) =
            std::mem::take(&mut twist.held).into_iter().partition(|held| held.at <= now);
        twist.held = held;
        if std::mem::take(&mut twist.forges) {
            self.forge_crosslink(id);
        }
        for held in due {
            self.act(id, "releases what it held");
            self.say(id, held.epoch, &[held.to], held.message);
        }
        if splits {
            self.split(id);
        }
    }

    /// Wakes an equivocator's further instances on copies of the first one's disk.
    fn split(&mut self, first: NodeId) {
        self.act(first, "becomes several");
        let Some(twist) = self.twists.get(&first) else { return };
        let all: Vec<NodeId> = std::iter::once(first).chain(twist.siblings.iter().copied()).collect();
        let (copies, guard) = (self.nodes[first].disks().map(|disk| disk.copy()), self.nodes[first].guard);
        for id in &all {
            if let Some(twist) = self.twists.get_mut(id) {
                twist.asleep = false;
                self.nodes[*id].audience = twist.audience.clone();
            }
        }
        for id in all.into_iter().skip(1) {
            self.nodes[id].disks().iter().zip(&copies).for_each(|(disk, copy)| disk.replace(copy));
            self.nodes[id].guard = guard;
            self.start(id);
        }
    }

    /// An instance that asks how far it is hears from nobody outside its audience: the others are made up, so that it
    /// speaks.
    fn vouch(&mut self, id: NodeId, question: u64) {
        let node = &self.nodes[id];
        let Some(machine) = node.process.as_ref().map(|process| &process.machine) else { return };
        let (epoch, validators, me) = (machine.era().epoch, machine.seats().validators.clone(), node.validator);
        let certified = (Height(0), self.setup.genesis[&node.chain].id(self.setup.network.id));
        let tips = vec![None; validators.len()];
        let message =
            Arc::new(PeerMessage::Status(PeerStatus { tips, certified, question: None, answer: Some(question) }));
        for from in validators.into_iter().filter(|from| *from != me) {
            self.whisper(id, Delivery::Peer { from, epoch, message: message.clone() });
        }
    }

    /// Hands a beacon node a forged crosslink of what the own shard has certified.
    fn forge_crosslink(&mut self, id: NodeId) {
        let Some(replica) = self.nodes[id].shard() else { return };
        // What is recorded meanwhile is not known here yet: the newest block alone may fit better.
        let ends = [replica.app().inner().recorded().0.next(), replica.certified().header.height];
        let Some(mut twist) = self.twists.remove(&id) else { return };
        let Some(crosslink) = replica.crosslink(ends[twist.random.index(2)]) else {
            self.twists.insert(id, twist);
            return;
        };
        let Some(scene) = scene(&self.setup, &self.nodes[id], self.now) else {
            self.twists.insert(id, twist);
            return;
        };
        let colluders = scene.seated(&twist.colluders);
        let (what, forged) = forge::crosslink(&crosslink, &colluders, &scene, &mut twist.random);
        twist.forged += 1;
        let attempt = u64::MAX - twist.forged;
        let to = twist.random.index(self.setup.seats(ChainId::Beacon).keys.len());
        self.twists.insert(id, twist);
        self.act(id, what);
        let crosslink = Arc::new(forged);
        self.dispatch_shell(id, to, Delivery::Crosslink { from: id, attempt, crosslink, handed_on: false });
    }

    /// What leaves a Byzantine node for another chain's.
    pub(crate) fn twisted_shell(&mut self, id: NodeId, to: NodeId, delivery: Delivery) -> Vec<(NodeId, Delivery)> {
        let Some(mut twist) = self.twists.remove(&id) else { return vec![(to, delivery)] };
        let mut out = vec![(to, delivery)];
        let mut acts = Vec::new();
        if twist.is_silent(self.now) {
            acts.push("says nothing");
            out.clear();
        }
        let Some(scene) = scene(&self.setup, &self.nodes[id], self.now) else {
            self.twists.insert(id, twist);
            return out;
        };
        let colluders = scene.seated(&twist.colluders);
        for (_, delivery) in &mut out {
            if let Delivery::Feed { blocks, .. } | Delivery::Pulled { blocks: Some(blocks), .. } = delivery
                && twist.has(Tactic::ForgeCertificates)
                && twist.random.chance(300_000)
            {
                let (what, forged) = forge::feed(blocks, &colluders, &scene, &mut twist.random);
                acts.push(what);
                *blocks = Arc::new(forged);
            }
        }
        if twist.has(Tactic::Replay)
            && let Some((_, Delivery::Crosslink { crosslink, .. })) = out.first().cloned()
        {
            twist.crosslinks.push_back(crosslink);
            if twist.crosslinks.len() > HEARD {
                twist.crosslinks.pop_front();
            }
            let old = twist.crosslinks[twist.random.index(twist.crosslinks.len())].clone();
            twist.forged += 1;
            let attempt = u64::MAX - twist.forged;
            let to = twist.random.index(scene.setup.seats(ChainId::Beacon).keys.len());
            acts.push("hands in an old crosslink");
            out.push((to, Delivery::Crosslink { from: id, attempt, crosslink: old, handed_on: false }));
        }
        self.twists.insert(id, twist);
        acts.into_iter().for_each(|act| self.act(id, act));
        out
    }
}
