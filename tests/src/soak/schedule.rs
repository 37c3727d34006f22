//! A round's faults, drawn from the seed alone: what the network does meanwhile changes nothing about them.

use crate::{net::Net, random::Random};
use kakera_chain::units::{ChainId, ShardId};
use kakera_deploy::links::{Between, Change, Cut};
use std::time::Duration;

/// How long faults begin in one round.
const ROUND_MS: u64 = 14_000;
/// From one fault's beginning to the next one's at most.
const PAUSE_MS: u64 = 1_400;
/// How long one fault lasts at most.
const LONGEST_MS: u64 = 7_000;

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Links.
    Links(&'static str, Between, Change),
    /// SIGKILL, and a start at the end.
    Kill(String),
    /// SIGSTOP, and SIGCONT at the end.
    Pause(String),
}

/// A fault and when it begins and ends, from the round's beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) begins: Duration,
    pub(super) ends: Duration,
    pub(super) fault: Fault,
}

impl Fault {
    /// Its kind, for the figures.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Fault::Links(kind, ..) => kind,
            Fault::Kill(_) => "kill -9",
            Fault::Pause(_) => "freeze",
        }
    }
}

/// One round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Round {
    /// A member that is dead throughout, the mending and the recovery included: all that its committee tolerates.
    pub(super) absent: Option<String>,
    pub(super) steps: Vec<Step>,
}

/// Draws one round.
pub(super) fn round(net: &Net, random: &mut Random) -> Round {
    let absent = (random.below(3) == 0).then(|| random.pick(&net.all()).clone());
    Round { absent, steps: steps(net, random) }
}

fn steps(net: &Net, random: &mut Random) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut begins = 0;
    while begins < ROUND_MS {
        let lasts = 300 + random.below(LONGEST_MS - 300);
        let (begin, end) = (Duration::from_millis(begins), Duration::from_millis(begins + lasts));
        steps.push(Step { begins: begin, ends: end, fault: fault(net, random) });
        begins += 100 + random.below(PAUSE_MS);
    }
    steps
}

fn fault(net: &Net, random: &mut Random) -> Fault {
    let all = net.all();
    let node = random.pick(&all).clone();
    match random.below(20) {
        0..=2 => Fault::Kill(node),
        3..=5 => Fault::Pause(node),
        6 | 7 => Fault::Links("cut", between(net, random), Change::Cut(Cut::Closed)),
        8 | 9 => Fault::Links("silent cut", between(net, random), Change::Cut(Cut::Silent)),
        10 | 11 => Fault::Links("one-way cut", one_way(net, random), Change::Cut(Cut::Closed)),
        12 => Fault::Links("silent one-way cut", one_way(net, random), Change::Cut(Cut::Silent)),
        13 | 14 => {
            let (ms, jitter_ms) = (20 + random.below(400), random.below(200));
            Fault::Links("delay", between(net, random), Change::Delay { ms, jitter_ms })
        }
        15 | 16 => {
            let bytes_per_second = 1_000 + random.below(20_000);
            Fault::Links("throttle", between(net, random), Change::Throttle { bytes_per_second })
        }
        17 => Fault::Links("reset", between(net, random), Change::Reset),
        _ => {
            let per_million = u32::try_from(20 + random.below(2_000)).expect("small");
            Fault::Links("corruption", checked(net, random), Change::Corrupt { per_million })
        }
    }
}

/// A node and everybody, two nodes, half a committee and the rest of it, or a whole shard and the beacon.
fn between(net: &Net, random: &mut Random) -> Between {
    let all = net.all();
    let (node, other) = (random.pick(&all).clone(), random.pick(&all).clone());
    match random.below(10) {
        0..=4 => Between::around(&[&node]),
        5 | 6 if node != other => Between::pair(&node, &other),
        7 => {
            let chains = net.chains();
            let members = net.members(*random.pick(&chains));
            let half = members.len() / 2;
            Between { from: members[..half].to_vec(), to: members[half..].to_vec(), ..Between::default() }
        }
        8 => Between::pair(&format!("shard-{}", random.below(net.shards().into())), "beacon"),
        _ => Between::around(&[&node]),
    }
}

/// What one node says to everybody, or everybody to it, or one node to one other.
fn one_way(net: &Net, random: &mut Random) -> Between {
    let all = net.all();
    let (node, other) = (random.pick(&all).clone(), random.pick(&all).clone());
    match random.below(3) {
        0 => Between { one_way: true, ..Between::around(&[&node]) },
        1 => Between { from: all.into_iter().filter(|name| *name != node).collect(), ..Between::one_way("", &node) },
        _ if node == other => Between { one_way: true, ..Between::around(&[&node]) },
        _ => Between::one_way(&node, &other),
    }
}

/// Links on which every byte that counts is signed: within a committee, and between a shard and the beacon.
fn checked(net: &Net, random: &mut Random) -> Between {
    let chains = net.chains();
    let chain = *random.pick(&chains);
    let members = net.members(chain);
    let node = random.pick(&members).clone();
    let shard = ShardId(u16::try_from(random.below(net.shards().into())).expect("shards are counted in 16 bits"));
    match random.below(3) {
        0 => Between { from: net.members(ChainId::Shard(shard)), to: vec!["beacon".to_owned()], ..Between::default() },
        _ => {
            let others = members.into_iter().filter(|name| *name != node).collect();
            Between { from: vec![node], to: others, ..Between::default() }
        }
    }
}
