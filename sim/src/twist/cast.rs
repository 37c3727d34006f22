//! Who is Byzantine, in which company, and with how many instances: all drawn from the seed.

use super::Twist;
use crate::{
    bend::{Forgery, Mint},
    clock::Moment,
    disk::Disk,
    node::{Node, NodeFigures, NodeId},
    random::Random,
    scenario::{Byzantine, Chains, Scenario, Share, Tactic},
    setup::{BALANCE, Setup},
    world::Instances,
};
use kakera_chain::units::{ChainId, Height, ShardId, ValidatorId};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Instances of one key at most: what a committee of many members costs stays within reason.
const INSTANCES: usize = 6;

/// Chooses who is Byzantine, and makes further instances of those that equivocate. A chain's Byzantine members are the
/// first of one drawn order, so that several entries together make no more than the greatest of them alone.
pub fn cast(scenario: &Scenario, setup: &Setup, seed: u64, nodes: &mut Vec<Node>, instances: &mut Instances) {
    for chain in setup.chains() {
        let entries: Vec<&Byzantine> = scenario.byzantine.iter().filter(|entry| concerns(entry, chain)).collect();
        if entries.is_empty() {
            continue;
        }
        let mut random = Random::stream(seed, &format!("cast-{chain}"));
        let mut order: Vec<NodeId> = (0..nodes.len()).filter(|node| nodes[*node].chain == chain).collect();
        // Committees change, but never hold more of them than they tolerate.
        let members = setup.seats(chain).keys.len();
        random.shuffle(&mut order);
        for (place, id) in order.iter().enumerate() {
            let mine: Vec<Tactic> =
                entries.iter().filter(|entry| place < share(entry.share, members)).map(|entry| entry.tactic).collect();
            nodes[*id].tactics = some_of(&mine, &mut random);
        }
        bend(setup, chain, nodes, &mut random);
        let twins: Vec<NodeId> = order.into_iter().filter(|id| count(&nodes[*id], nodes, chain) > 1).collect();
        for id in twins {
            for _ in 1..count(&nodes[id], nodes, chain) {
                let twin = instance(&nodes[id]);
                instances.entry((chain, twin.validator)).or_default().push(nodes.len());
                nodes.push(twin);
            }
        }
    }
}

/// Everything, where there is one thing to do; where there are several, some of them.
fn some_of(tactics: &[Tactic], random: &mut Random) -> BTreeSet<Tactic> {
    let mut some: BTreeSet<Tactic> = tactics.iter().copied().filter(|_| random.chance(500_000)).collect();
    if tactics.len() <= 1 {
        some = tactics.iter().copied().collect();
    } else if some.is_empty() {
        some.extend(random.pick(tactics));
    }
    some
}

/// How many instances of a member's key there are.
fn count(node: &Node, nodes: &[Node], chain: ChainId) -> usize {
    if node.tactics.contains(&Tactic::EquivocateEach) {
        let honest = nodes.iter().filter(|node| node.chain == chain && node.is_honest()).count();
        honest.clamp(2, INSTANCES)
    } else if node.tactics.contains(&Tactic::EquivocateHalves) {
        2
    } else {
        1
    }
}

/// A further instance: it sleeps, and nobody knows it, until it is given its audience.
fn instance(first: &Node) -> Node {
    Node {
        chain: first.chain,
        place: first.place,
        validator: first.validator,
        clock: first.clock,
        disk: Arc::new(Disk::default()),
        beacon_disk: Arc::new(Disk::default()),
        guard: Default::default(),
        tactics: first.tactics.clone(),
        bend: first.bend.clone(),
        audience: Some(BTreeSet::new()),
        process: None,
        lives: 0,
        figures: NodeFigures::default(),
    }
}

/// Gives the members of a shard that have bent rules the same ones.
fn bend(setup: &Setup, chain: ChainId, nodes: &mut [Node], random: &mut Random) {
    let ChainId::Shard(shard) = chain else { return };
    let accounts = &setup.accounts[usize::from(shard.0)];
    // Not the last account: it belongs to clients that order wrongly.
    let censored = accounts[random.index(accounts.len() - 1)].0;
    let mint = mint(setup, shard, random);
    for tactic in [Tactic::Censor, Tactic::SkipReceipts, Tactic::ReorderReceipts, Tactic::Mint] {
        let bent = nodes.iter().filter(|node| node.chain == chain && bends(node)).map(|node| node.validator);
        let bent: Arc<BTreeSet<ValidatorId>> = Arc::new(bent.collect());
        for node in nodes.iter_mut().filter(|node| node.chain == chain && node.tactics.contains(&tactic)) {
            node.bend.bent = bent.clone();
            match tactic {
                Tactic::Censor => node.bend.censor = Some(censored),
                Tactic::SkipReceipts => node.bend.skip = true,
                Tactic::ReorderReceipts => node.bend.reorder = true,
                _ => node.bend.mint = mint,
            }
        }
    }
}

fn bends(node: &Node) -> bool {
    [Tactic::SkipReceipts, Tactic::ReorderReceipts, Tactic::Mint].iter().any(|tactic| node.tactics.contains(tactic))
}

fn mint(setup: &Setup, shard: ShardId, random: &mut Random) -> Option<Mint> {
    let shards = setup.accounts.len();
    let home = usize::from(shard.0);
    let other = (home + 1 + random.index(shards.checked_sub(1)?)) % shards;
    let accounts = &setup.accounts[home];
    let own = random.index(accounts.len() - 1);
    let to = ShardId(u16::try_from(other).ok()?);
    let forgery = *random.pick(&Forgery::ALL)?;
    let whole = BALANCE * accounts.len() as u64;
    Some(Mint {
        height: Height(random.between(6, 14)),
        forgery,
        own: accounts[own].0,
        victim: accounts[(own + 1) % (accounts.len() - 1)].0,
        to: (ChainId::Shard(to), setup.accounts[other][0].0),
        amount: if forgery == Forgery::Insolvent { 2 * whole } else { random.between(1, whole) },
    })
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

/// A chain's honest members in so many parts, as every equivocator of the chain parts them.
pub(super) fn parts(nodes: &[Node], chain: ChainId, seed: u64, count: usize) -> Vec<BTreeSet<NodeId>> {
    let mut honest: Vec<NodeId> =
        (0..nodes.len()).filter(|id| nodes[*id].chain == chain && nodes[*id].is_honest()).collect();
    Random::stream(seed, &format!("parts-{chain}")).shuffle(&mut honest);
    let mut parts = vec![BTreeSet::new(); count.max(1)];
    for (index, node) in honest.into_iter().enumerate() {
        parts[index % count.max(1)].insert(node);
    }
    parts
}

/// Of an equivocator's instances the place of each: the first is 0, and stands where it was cast.
pub(super) fn place(nodes: &[Node], id: NodeId) -> usize {
    let same = |other: &&Node| other.chain == nodes[id].chain && other.validator == nodes[id].validator;
    nodes[..id].iter().filter(same).count()
}

/// Nodes on one side of the line that a chain's equivocators draw; nothing, if there is no such line.
pub fn one_side(nodes: &[Node], chain: ChainId, seed: u64) -> Option<BTreeSet<NodeId>> {
    let twins: Vec<NodeId> = (0..nodes.len())
        .filter(|id| nodes[*id].chain == chain && nodes[*id].tactics.contains(&Tactic::EquivocateHalves))
        .collect();
    if twins.is_empty() {
        return None;
    }
    let mut side = parts(nodes, chain, seed, 2).swap_remove(0);
    side.extend(twins.into_iter().filter(|id| place(nodes, *id) == 0));
    Some(side)
}

impl Twist {
    /// The twists of all Byzantine nodes.
    pub fn all(scenario: &Scenario, setup: &Setup, nodes: &[Node], seed: u64) -> BTreeMap<NodeId, Twist> {
        let byzantine = (0..nodes.len()).filter(|id| !nodes[*id].is_honest());
        byzantine.map(|id| (id, Twist::of(scenario, setup, nodes, id, seed))).collect()
    }

    fn of(scenario: &Scenario, setup: &Setup, nodes: &[Node], id: NodeId, seed: u64) -> Twist {
        let node = &nodes[id];
        let same = |other: &NodeId| nodes[*other].chain == node.chain && nodes[*other].validator == node.validator;
        let instances: Vec<NodeId> = (0..nodes.len()).filter(same).collect();
        let place = place(nodes, id);
        let mut audience = None;
        if instances.len() > 1 {
            let mut known = parts(nodes, node.chain, seed, instances.len()).swap_remove(place);
            let company = |other: &NodeId| {
                let other = &nodes[*other];
                other.chain == node.chain && !other.is_honest() && other.validator != node.validator
            };
            let all = (0..nodes.len()).filter(company);
            // Of another equivocator the instance of the same place; one that has fewer is known as a whole.
            known.extend(all.filter(|other| {
                let of_other = |third: &&Node| third.chain == node.chain && third.validator == nodes[*other].validator;
                let count = nodes.iter().filter(of_other).count();
                count != instances.len() || self::place(nodes, *other) == place
            }));
            audience = Some(known);
        }
        let mut random = Random::stream(seed.wrapping_add((id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)), "twist");
        // A quarter equivocates from the beginning on.
        let at_once = random.chance(250_000);
        let split = if at_once { 150 } else { random.between(300, scenario.phases.heal_at()) };
        let leads = place == 0 && instances.len() > 1;
        Twist {
            tactics: node.tactics.clone(),
            random,
            colluders: nodes
                .iter()
                .filter(|other| other.chain == node.chain && !other.is_honest())
                .map(|other| (other.validator, setup.key(other.validator).clone()))
                .collect::<BTreeMap<_, _>>()
                .into_iter()
                .collect(),
            asleep: place > 0,
            audience,
            siblings: if leads { instances[1..].to_vec() } else { Vec::new() },
            split_at: leads.then(|| Moment::ms(split)),
            held: Vec::new(),
            heard: Default::default(),
            crosslinks: Default::default(),
            forged: 0,
            forges: false,
        }
    }
}
