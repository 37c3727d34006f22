//! Byzantine members: honest replicas whose effects are twisted on the way out, and whose own rules may differ
//! ([`crate::bend`]).
//!
//! Equivocators are several whole replicas of one key, each with its own disk, process and audience (Bano et al.,
//! "Twins: BFT Systems Made Robust", 2020). They are one until a drawn moment; then the further ones wake on a copy of
//! the first one's disk. What tells an instance of its siblings is kept from it, as it would fall silent.

mod answers;
mod cast;
pub mod evidence;
mod forge;

pub use cast::{cast, one_side, share};

use crate::{
    clock::Moment,
    node::{Answer, Delivery, Node, NodeId},
    random::Random,
    scenario::Tactic,
    setup::Setup,
    world::World,
};
use kakera_chain::{
    Member,
    crosslink::Crosslink,
    keys::SecretKey,
    peer::{Carried, PeerMessage, PeerStatus},
    replica::Effect,
    units::{ChainId, Height},
};
use kakera_shard::SignedTransaction;
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

/// Things held back at most; what is more is never said.
const HELD: usize = 256;
/// Old things remembered at most.
const HEARD: usize = 64;
/// Longer messages are not remembered.
const HEARD_BYTES: usize = 64 * 1024;

/// What one Byzantine node keeps in mind.
#[derive(Debug)]
pub struct Twist {
    tactics: BTreeSet<Tactic>,
    random: Random,
    /// Byzantine members of the chain, this one among them, with their keys.
    colluders: Vec<(Member, SecretKey)>,
    /// A further instance that does not run yet.
    asleep: bool,
    /// Whom it is to know once there are several.
    audience: Option<BTreeSet<NodeId>>,
    /// The further instances, in the mind of the first.
    siblings: Vec<NodeId>,
    /// When they wake.
    split_at: Option<Moment>,
    /// Said later.
    held: Vec<(Moment, Said)>,
    /// Said again.
    heard: VecDeque<Arc<PeerMessage>>,
    crosslinks: VecDeque<Arc<Crosslink>>,
    forged: u64,
}

/// Something to be said, to all or to one.
#[derive(Clone, Debug)]
struct Said {
    to: Option<Member>,
    message: PeerMessage,
}

/// What a twist needs to know of its world.
struct Scene<'a> {
    setup: &'a Setup,
    now: Moment,
    chain: ChainId,
    me: Member,
    key: &'a SecretKey,
    slot_ms: u64,
}

/// What comes of twisting.
#[derive(Default)]
struct Twisted {
    effects: Vec<Effect<Answer>>,
    acts: Vec<&'static str>,
    release_at: Vec<Moment>,
    vouch: Option<u64>,
    /// Crosslinks for the beacon are to be forged.
    crosslinks: bool,
}

impl Scene<'_> {
    fn others(&self) -> Vec<Member> {
        let members = self.setup.seats(self.chain).keys.len();
        (0..members)
            .filter_map(|index| u16::try_from(index).ok())
            .map(Member)
            .filter(|other| *other != self.me)
            .collect()
    }
}

/// What is known of a node besides its twist.
fn scene<'a>(setup: &'a Setup, node: &Node, now: Moment) -> Scene<'a> {
    let genesis = &setup.network.genesis;
    let timing = if node.chain == ChainId::Beacon { &genesis.beacon } else { &genesis.shard };
    Scene { setup, now, chain: node.chain, me: node.member, key: &setup.keys[node.validator], slot_ms: timing.slot_ms }
}

impl Twist {
    fn has(&self, tactic: Tactic) -> bool {
        self.tactics.contains(&tactic)
    }

    /// Who does nothing else is always silent; others fall silent now and then.
    fn is_silent(&self, now: Moment) -> bool {
        const TURN_US: u64 = 1_500_000;
        self.has(Tactic::Silent) && (self.tactics.len() == 1 || (now.0 / TURN_US) % 2 == 1)
    }

    fn twist(&mut self, scene: &Scene<'_>, effects: Vec<Effect<Answer>>) -> Twisted {
        let mut out = Twisted::default();
        for effect in effects {
            let said = match effect {
                Effect::Broadcast(message) => Said { to: None, message },
                Effect::Send(to, message) => Said { to: Some(to), message },
                other => {
                    out.effects.push(other);
                    continue;
                }
            };
            if let PeerMessage::Status(PeerStatus { question: Some(question), .. }) = &said.message
                && self.audience.is_some()
            {
                out.vouch = Some(*question);
            }
            if self.is_silent(scene.now) {
                out.acts.push("says nothing");
                continue;
            }
            let again = self.again(scene, &said.message, &mut out);
            let forged = self.forge(scene, &said.message, &mut out);
            for said in self.lie(scene, said, &mut out) {
                self.withhold(scene, said, &mut out);
            }
            out.effects.extend(forged.into_iter().chain(again).map(Said::effect));
        }
        out
    }

    /// The replica's words, or others in their place.
    fn lie(&mut self, scene: &Scene<'_>, said: Said, out: &mut Twisted) -> Vec<Said> {
        if let (Tactic::InvalidState, Some(carried)) = (Tactic::InvalidState, own_proposal(&said))
            && self.has(Tactic::InvalidState)
            && self.random.chance(600_000)
            && let Some((what, forged)) = forge::proposal(carried, scene, &mut self.random)
        {
            out.acts.push(what);
            // To all, or to some: then the others hear the truth.
            let all = self.random.chance(500_000);
            let others = scene.others();
            let lie = PeerMessage::Message(Box::new(forged));
            let said = |to, lied| Said { to: Some(to), message: if lied { lie.clone() } else { said.message.clone() } };
            return others.into_iter().map(|to| said(to, all || self.random.chance(500_000))).collect();
        }
        if said.to.is_some()
            && self.has(Tactic::CorruptAnswers)
            && self.random.chance(700_000)
            && let Some((what, message)) = answers::corrupt(&said.message, &mut self.random)
        {
            out.acts.push(what);
            return vec![Said { to: said.to, message }];
        }
        vec![said]
    }

    fn withhold(&mut self, scene: &Scene<'_>, said: Said, out: &mut Twisted) {
        let (votes, blocks) = (self.has(Tactic::WithholdVotes), self.has(Tactic::WithholdBlocks));
        let (what, late) = match &said.message {
            PeerMessage::Message(carried) if carried.block.is_some() && blocks => ("block", true),
            PeerMessage::Message(carried) if carried.block.is_none() && votes => ("vote", false),
            PeerMessage::Finality(_) if votes => ("vote", false),
            _ => {
                out.effects.push(said.effect());
                return;
            }
        };
        let targets = said.to.map_or_else(|| scene.others(), |to| vec![to]);
        let nobody = self.random.chance(400_000);
        let part = self.random.between(100_000, 900_000);
        out.acts.push(match (what, nobody) {
            ("block", true) => "block to nobody",
            ("block", false) => "block to some",
            (_, true) => "vote to nobody",
            (_, false) => "vote to some",
        });
        let part = u32::try_from(part).unwrap_or(500_000);
        let mut kept = Vec::new();
        for to in targets {
            if !nobody && self.random.chance(part) {
                out.effects.push(Effect::Send(to, said.message.clone()));
            } else {
                kept.push(to);
            }
        }
        // Late by anything up to four slots, to those who have not heard it; each at a time of its own now and then.
        if late && self.random.chance(700_000) {
            out.acts.push("block held back");
            let apart = self.random.chance(300_000);
            let mut at = self.later(scene);
            for to in kept {
                if apart {
                    at = self.later(scene);
                }
                self.hold(at, Said { to: Some(to), message: said.message.clone() }, out);
            }
        }
    }

    fn later(&mut self, scene: &Scene<'_>) -> Moment {
        scene.now.plus(self.random.between(1_000, 4 * scene.slot_ms * 1_000))
    }

    fn hold(&mut self, at: Moment, said: Said, out: &mut Twisted) {
        if self.held.len() < HELD {
            self.held.push((at, said));
            out.release_at.push(at);
        }
    }

    /// Forged finality, whenever there is true one to forge; and forged certificates beside own votes.
    fn forge(&mut self, scene: &Scene<'_>, message: &PeerMessage, out: &mut Twisted) -> Vec<Said> {
        let PeerMessage::Finality(share) = message else { return Vec::new() };
        if !self.has(Tactic::ForgeCertificates) || share.signer != scene.me {
            return Vec::new();
        }
        out.crosslinks = true;
        let mut forged = Vec::new();
        for _ in 0..self.random.below(3) {
            let (what, message) = forge::finality(share.finality, &self.colluders, scene, &mut self.random);
            out.acts.push(what);
            let to = if self.random.chance(500_000) { None } else { self.random.pick(&scene.others()).copied() };
            forged.push(Said { to, message });
        }
        if self.random.chance(300_000) {
            out.acts.push("second share of one height");
            let message = forge::conflicting_share(share.finality, scene, &mut self.random);
            let said = Said { to: None, message };
            // Half of them come before the true one.
            if self.random.chance(500_000) { out.effects.push(said.effect()) } else { forged.push(said) }
        }
        forged
    }

    /// Old words, and the memory of these ones.
    fn again(&mut self, scene: &Scene<'_>, message: &PeerMessage, out: &mut Twisted) -> Option<Said> {
        if !self.has(Tactic::Replay) {
            return None;
        }
        self.remember(message);
        if !self.random.chance(300_000) {
            return None;
        }
        let message = self.heard.get(self.random.index(self.heard.len()))?;
        out.acts.push("says old things");
        let message = PeerMessage::clone(message);
        Some(Said { to: self.random.pick(&scene.others()).copied(), message })
    }

    fn remember(&mut self, message: &PeerMessage) {
        if borsh::object_length(message).is_ok_and(|length| length <= HEARD_BYTES) {
            // Something old stays: which leaves is drawn.
            if self.heard.len() >= HEARD {
                let place = self.random.index(self.heard.len());
                self.heard.remove(place);
            }
            self.heard.push_back(Arc::new(message.clone()));
        }
    }
}

impl Said {
    fn effect(self) -> Effect<Answer> {
        match self.to {
            None => Effect::Broadcast(self.message),
            Some(to) => Effect::Send(to, self.message),
        }
    }
}

fn own_proposal(said: &Said) -> Option<&Carried> {
    match &said.message {
        PeerMessage::Message(carried) if said.to.is_none() && carried.block.is_some() => Some(carried),
        _ => None,
    }
}

impl World {
    /// Twists what a node's replica wants done.
    pub(crate) fn twisted(&mut self, id: NodeId, effects: Vec<Effect<Answer>>) -> Vec<Effect<Answer>> {
        let Some(mut twist) = self.twists.remove(&id) else { return effects };
        let out = twist.twist(&scene(&self.setup, &self.nodes[id], self.now), effects);
        self.twists.insert(id, twist);
        out.acts.iter().for_each(|act| self.act(id, act));
        out.release_at.iter().for_each(|at| self.plan_release(id, *at));
        if let Some(question) = out.vouch {
            self.vouch(id, question);
        }
        if out.crosslinks {
            self.forge_crosslink(id);
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
        let me = self.nodes[to].member;
        match &*message {
            PeerMessage::Message(carried) if carried.message.statement.sender == me => None,
            PeerMessage::Evidence(evidence) if evidence.first.statement.sender == me => None,
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
        let (due, held): (Vec<_>, Vec<_>) = std::mem::take(&mut twist.held).into_iter().partition(|(at, _)| *at <= now);
        twist.held = held;
        for (_, said) in due {
            self.act(id, "releases what it held");
            match said.to {
                None => self.broadcast(id, said.message),
                Some(to) => self.send(id, to, said.message),
            }
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
        let (copy, guard) = (self.nodes[first].disk.copy(), self.nodes[first].guard);
        for id in &all {
            if let Some(twist) = self.twists.get_mut(id) {
                twist.asleep = false;
                self.nodes[*id].audience = twist.audience.clone();
            }
        }
        for id in all.into_iter().skip(1) {
            self.nodes[id].disk.replace(&copy);
            self.nodes[id].guard = guard;
            self.start(id);
        }
    }

    /// An instance that asks how far it is hears from nobody outside its audience: the others are made up, so that it
    /// speaks.
    fn vouch(&mut self, id: NodeId, question: u64) {
        let (chain, me) = (self.nodes[id].chain, self.nodes[id].member);
        let members = self.setup.seats(chain).keys.len();
        let certified = (Height(0), self.setup.genesis[&chain].id(self.setup.network.id));
        let status = PeerStatus { tips: vec![None; members], certified, question: None, answer: Some(question) };
        let message = Arc::new(PeerMessage::Status(status));
        for from in (0..members).filter_map(|index| u16::try_from(index).ok()).map(Member).filter(|from| *from != me) {
            self.whisper(id, Delivery::Peer { from, message: message.clone() });
        }
    }

    /// Hands a beacon node a forged crosslink of what the own shard has certified.
    fn forge_crosslink(&mut self, id: NodeId) {
        let Some(replica) = self.nodes[id].shard() else { return };
        let from = replica.app().inner().recorded().0.next();
        let Some(crosslink) = replica.crosslink(from) else { return };
        let Some(mut twist) = self.twists.remove(&id) else { return };
        let scene = scene(&self.setup, &self.nodes[id], self.now);
        let (what, forged) = forge::crosslink(&crosslink, &twist.colluders, &scene, &mut twist.random);
        twist.forged += 1;
        let attempt = u64::MAX - twist.forged;
        let to = twist.random.index(self.setup.seats(ChainId::Beacon).keys.len());
        self.twists.insert(id, twist);
        self.act(id, what);
        self.dispatch_shell(id, to, Delivery::Crosslink { from: id, attempt, crosslink: Arc::new(forged) });
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
        let scene = scene(&self.setup, &self.nodes[id], self.now);
        for (_, delivery) in &mut out {
            if let Delivery::Feed { blocks, .. } = delivery
                && twist.has(Tactic::ForgeCertificates)
                && twist.random.chance(300_000)
            {
                let (what, forged) = forge::feed(blocks, &twist.colluders, &scene, &mut twist.random);
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
            out.push((to, Delivery::Crosslink { from: id, attempt, crosslink: old }));
        }
        self.twists.insert(id, twist);
        acts.into_iter().for_each(|act| self.act(id, act));
        out
    }
}

#[cfg(test)]
mod tests;
