//! Byzantine members: honest replicas whose effects are twisted on the way out.

use crate::{
    node::{Answer, Node, NodeId},
    scenario::{Byzantine, Chains, Scenario, Share, Tactic},
    setup::Setup,
    world::World,
};
use kakera_chain::{
    Member,
    peer::PeerMessage,
    replica::Effect,
    units::{ChainId, ShardId},
};
use kakera_shard::SignedTransaction;
use std::collections::BTreeMap;

/// What one Byzantine node keeps in mind.
#[derive(Debug)]
pub struct Twist {
    tactic: Tactic,
}

/// Chooses who is Byzantine, and makes further instances of those that equivocate.
pub fn cast(
    scenario: &Scenario,
    setup: &Setup,
    seed: u64,
    nodes: &mut Vec<Node>,
    instances: &mut BTreeMap<ChainId, Vec<Vec<NodeId>>>,
) {
    let _ = (setup, seed, instances);
    for byzantine in &scenario.byzantine {
        for chain in setup.chains().filter(|chain| concerns(byzantine, *chain)) {
            let members = setup.seats(chain).keys.len();
            let count = share(byzantine.share, members);
            for node in nodes.iter_mut().filter(|node| node.chain == chain).take(count) {
                node.tactics.insert(byzantine.tactic);
            }
        }
    }
}

fn concerns(byzantine: &Byzantine, chain: ChainId) -> bool {
    match byzantine.chains {
        Chains::All => true,
        Chains::Beacon => chain == ChainId::Beacon,
        Chains::Shards => chain != ChainId::Beacon,
        Chains::FirstShard => chain == ChainId::Shard(ShardId(0)),
    }
}

/// How many of so many members.
pub fn share(share: Share, members: usize) -> usize {
    let tolerable = members.saturating_sub(1) / 3;
    match share {
        Share::One => 1,
        Share::Tolerable => tolerable,
        Share::TooMany => tolerable + 1,
        Share::Whole => members,
    }
}

impl Twist {
    /// The twists of all Byzantine nodes.
    pub fn all(scenario: &Scenario, setup: &Setup, nodes: &[Node], seed: u64) -> BTreeMap<NodeId, Twist> {
        let _ = (scenario, setup, seed);
        let twists = nodes.iter().enumerate();
        twists.filter_map(|(id, node)| Some((id, Twist { tactic: *node.tactics.first()? }))).collect()
    }
}

impl World {
    /// Twists what a node's replica wants done.
    pub(crate) fn twisted(&mut self, id: NodeId, effects: Vec<Effect<Answer>>) -> Vec<Effect<Answer>> {
        let Some(twist) = self.twists.get(&id) else { return effects };
        match twist.tactic {
            Tactic::Silent => {
                let says = |effect: &Effect<Answer>| matches!(effect, Effect::Broadcast(_) | Effect::Send(..));
                effects.into_iter().filter(|effect| !says(effect)).collect()
            }
            _ => effects,
        }
    }

    /// Whether a Byzantine node keeps what it hears from its replica.
    pub(crate) fn twist_hears(&mut self, _to: NodeId, _from: Member, _message: &PeerMessage) -> bool {
        false
    }

    /// Whether a Byzantine node ignores a client.
    pub(crate) fn twist_ignores(&self, _id: NodeId, _signed: &SignedTransaction) -> bool {
        false
    }

    /// What was held back leaves a Byzantine node.
    pub(crate) fn release(&mut self, _id: NodeId) {}
}
