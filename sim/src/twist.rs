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
mod hooks;

pub use cast::{cast, one_side, share};

use crate::{
    clock::Moment,
    node::{Answer, Node, NodeId},
    random::Random,
    scenario::Tactic,
    setup::Setup,
};
use kakera_chain::{
    Member,
    certificate::Seats,
    crosslink::Crosslink,
    keys::SecretKey,
    peer::{Carried, PeerMessage, PeerStatus},
    replica::Effect,
    units::{Epoch, ValidatorId},
};
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
    /// Byzantine validators of the chain, this one among them, with their keys, ascending.
    colluders: Vec<(ValidatorId, SecretKey)>,
    /// A further instance that does not run yet.
    asleep: bool,
    /// Whom it is to know once there are several.
    audience: Option<BTreeSet<NodeId>>,
    /// The further instances, in the mind of the first.
    siblings: Vec<NodeId>,
    /// When they wake.
    split_at: Option<Moment>,
    /// Said later.
    held: Vec<Held>,
    /// Said again.
    heard: VecDeque<Arc<PeerMessage>>,
    crosslinks: VecDeque<Arc<Crosslink>>,
    forged: u64,
    /// Crosslinks for the beacon are to be forged.
    forges: bool,
}

/// Something to be said, to all or to one.
#[derive(Clone, Debug)]
struct Said {
    to: Option<Member>,
    message: PeerMessage,
}

/// Something that is said later, to one of the era in which it was said first.
#[derive(Clone, Debug)]
struct Held {
    at: Moment,
    epoch: Epoch,
    to: ValidatorId,
    message: PeerMessage,
}

/// What a twist needs to know of its world.
struct Scene<'a> {
    setup: &'a Setup,
    now: Moment,
    epoch: Epoch,
    seats: &'a Seats,
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
}

impl Scene<'_> {
    fn others(&self) -> Vec<Member> {
        self.seats.committee.members().filter(|other| *other != self.me).collect()
    }

    /// Those of some validators that have a seat, ascending.
    fn seated(&self, colluders: &[(ValidatorId, SecretKey)]) -> Vec<(Member, SecretKey)> {
        let seated =
            colluders.iter().filter_map(|(validator, key)| Some((self.seats.member(*validator)?, key.clone())));
        seated.collect()
    }
}

/// What is known of a node besides its twist; nothing where its replica does not run, or has no seat.
fn scene<'a>(setup: &'a Setup, node: &'a Node, now: Moment) -> Option<Scene<'a>> {
    let machine = &node.process.as_ref()?.machine;
    Some(Scene {
        setup,
        now,
        epoch: machine.era().epoch,
        seats: machine.seats(),
        me: machine.me()?,
        key: setup.key(node.validator),
        slot_ms: setup.network.timing(node.chain).slot_ms,
    })
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
                    if matches!(other, Effect::Certified { .. }) && self.has(Tactic::ForgeCertificates) {
                        // Once it is written: then there is a crosslink to change.
                        self.forges = true;
                        out.release_at.push(scene.now.plus(100));
                    }
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
        if let Some(carried) = own_proposal(&said)
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
                self.hold(scene, at, to, said.message.clone(), out);
            }
        }
    }

    fn later(&mut self, scene: &Scene<'_>) -> Moment {
        scene.now.plus(self.random.between(1_000, 4 * scene.slot_ms * 1_000))
    }

    fn hold(&mut self, scene: &Scene<'_>, at: Moment, to: Member, message: PeerMessage, out: &mut Twisted) {
        if let Some(to) = scene.seats.validators.get(to.index()).filter(|_| self.held.len() < HELD) {
            self.held.push(Held { at, epoch: scene.epoch, to: *to, message });
            out.release_at.push(at);
        }
    }

    /// Forged finality, whenever there is true one to forge; and forged certificates beside own votes.
    fn forge(&mut self, scene: &Scene<'_>, message: &PeerMessage, out: &mut Twisted) -> Vec<Said> {
        let PeerMessage::Finality(share) = message else { return Vec::new() };
        if !self.has(Tactic::ForgeCertificates) || share.signer != scene.me {
            return Vec::new();
        }
        let (mut forged, colluders) = (Vec::new(), scene.seated(&self.colluders));
        for _ in 0..self.random.below(3) {
            let (what, message) = forge::finality(share.finality, &colluders, scene, &mut self.random);
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

#[cfg(test)]
mod tests;
