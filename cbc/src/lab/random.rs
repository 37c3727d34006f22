//! Random cases: the same bytes for the same settings, on every machine.
//!
//! Validators gossip in steps. At each step one of them hears what is due, cites the latest it knows
//! of everybody, and extends the fork choice of exactly that; so what honest validators say always
//! follows. An equivocator has two faces that know nothing of each other.

mod network;
mod seeded;

use super::case::{CASE_CELLS, Case, CaseMessage, CaseValidator, CaseView, Name, ROOT};
use crate::committee::Committee;
use network::Network;
use seeded::Seeded;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use thiserror::Error;

/// Validators that a random case may have.
const VALIDATORS: usize = 256;
/// Messages that a random case may have.
const MESSAGES: usize = 20_000;
/// Candidates of a view.
const CANDIDATES: usize = 5;

/// What kind of case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Everybody has everything before the next message is said.
    InOrder,
    /// Every message takes its own time to everybody.
    Delays,
    /// The network splits in two and heals.
    Partitions,
    /// Everybody hears of a few others at a time, so votes swing between branches.
    Swing,
    /// Equivocators fork their threads: two messages of one place, told to different halves.
    EquivocationPeer,
    /// Equivocators speak again from an old view of theirs, leaving out what they said since.
    EquivocationPaper,
    /// Some validators weigh nothing.
    ZeroWeight,
    /// Two equal halves, so that branches weigh the same.
    Ties,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::InOrder,
        Self::Delays,
        Self::Partitions,
        Self::Swing,
        Self::EquivocationPeer,
        Self::EquivocationPaper,
        Self::ZeroWeight,
        Self::Ties,
    ];

    /// Its name in files and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InOrder => "honest-sync",
            Self::Delays => "honest-delay",
            Self::Partitions => "partition",
            Self::Swing => "swing",
            Self::EquivocationPeer => "equiv-peer",
            Self::EquivocationPaper => "equiv-paper",
            Self::ZeroWeight => "zero-weight",
            Self::Ties => "tie",
        }
    }

    fn is_equivocation(self) -> bool {
        matches!(self, Self::EquivocationPeer | Self::EquivocationPaper)
    }
}

impl FromStr for Family {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|family| family.name() == text)
            .ok_or_else(|| format!("the families are {}", known()))
    }
}

/// How weights are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// All 1.
    Equal,
    /// Between 1 and 400.
    Random,
    /// As `Random`, but about a third weigh nothing.
    Zero,
}

/// What a random case is made from; what is left open the seed decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RandomCase {
    /// Everything follows from it and the settings.
    pub seed: u64,
    /// The kind of case.
    pub family: Option<Family>,
    /// Validators, 1 to 256.
    pub validators: Option<usize>,
    /// Messages, 1 to 20,000.
    pub messages: Option<usize>,
    /// How many validators equivocate.
    pub equivocators: Option<usize>,
    /// How often the network splits in two and heals.
    pub partitions: Option<usize>,
    /// How weights are chosen.
    pub weights: Option<Weights>,
}

/// Why a random case is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidRandom {
    /// A number out of its range.
    #[error("{found} {what} are not between {least} and {most}")]
    Range {
        /// Of what.
        what: &'static str,
        /// The number.
        found: usize,
        /// The least allowed.
        least: usize,
        /// The most allowed.
        most: usize,
    },
}

fn within(what: &'static str, found: usize, least: usize, most: usize) -> Result<usize, InvalidRandom> {
    if (least..=most).contains(&found) { Ok(found) } else { Err(InvalidRandom::Range { what, found, least, most }) }
}

/// The settings with nothing left open.
#[derive(Clone, Copy, Debug)]
struct Settled {
    family: Family,
    validators: usize,
    messages: usize,
    equivocators: usize,
    partitions: usize,
    weights: Weights,
}

impl RandomCase {
    /// Makes the case.
    ///
    /// # Errors
    /// A setting is out of its range.
    ///
    /// # Panics
    /// Never with settings in range: the committee has weight.
    pub fn make(&self) -> Result<Case, InvalidRandom> {
        let mut seeded = Seeded::new(self.seed);
        let settled = self.settle(&mut seeded)?;
        let weights = weights(&settled, &mut seeded);
        let committee = Committee::new(weights.clone()).expect("some weight is above zero, and few are small");
        let mut network = Network::new(committee, &settled, &mut seeded);
        network.run(&settled, &mut seeded);
        let views = views(&network, &mut seeded);
        let validators =
            (0..).zip(&weights).map(|(name, weight)| CaseValidator { name: Name::Number(name), weight: *weight });
        let name = |at: u32| format!("m{}", at - 1);
        let message = |at: u32| {
            let free = &network.free;
            let parent = free.parent(at);
            let cited = free.cited(at).iter().map(|cited| (free.sender(*cited).to_string(), name(*cited)));
            CaseMessage {
                id: name(at),
                sender: Name::Number(free.sender(at).0.into()),
                seq: network.seqs[at as usize - 1],
                parent: if parent == super::free::ROOT_BLOCK { ROOT.to_owned() } else { name(parent - 1) },
                justification: cited.collect::<BTreeMap<_, _>>(),
            }
        };
        Ok(Case {
            id: format!("{}-{}", settled.family.name(), self.seed),
            family: Some(settled.family.name().to_owned()),
            validators: validators.collect(),
            messages: network.all().map(message).collect(),
            views,
        })
    }

    fn settle(&self, seeded: &mut Seeded) -> Result<Settled, InvalidRandom> {
        // Drawn in this order whatever is given, so that one setting does not change the others.
        let drawn = Family::ALL[seeded.below(Family::ALL.len())];
        let validators = 3 + seeded.below(6);
        let messages = 12 + seeded.below(49);
        let one_or_two = 1 + seeded.below(2);
        let family = self.family.unwrap_or(drawn);
        let validators = within("validators", self.validators.unwrap_or(validators), 1, VALIDATORS)?;
        let most = MESSAGES.min(CASE_CELLS / validators);
        let messages = within("messages", self.messages.unwrap_or(messages), 1, most)?;
        let equivocators = if family.is_equivocation() { one_or_two.min(validators) } else { 0 };
        let equivocators = within("equivocators", self.equivocators.unwrap_or(equivocators), 0, validators)?;
        let partitions = if family == Family::Partitions { one_or_two } else { 0 };
        let partitions = within("partitions", self.partitions.unwrap_or(partitions), 0, messages)?;
        let weights = match family {
            Family::ZeroWeight => Weights::Zero,
            Family::Ties => Weights::Equal,
            _ => Weights::Random,
        };
        let weights = self.weights.unwrap_or(weights);
        Ok(Settled { family, validators, messages, equivocators, partitions, weights })
    }
}

fn weights(settled: &Settled, seeded: &mut Seeded) -> Vec<u64> {
    let mut weights: Vec<u64> = (0..settled.validators)
        .map(|_| {
            let (random, third) = (1 + seeded.below(400) as u64, seeded.below(3));
            match settled.weights {
                Weights::Equal => 1,
                Weights::Zero if third == 0 => 0,
                Weights::Random | Weights::Zero => random,
            }
        })
        .collect();
    let lucky = seeded.below(settled.validators);
    if weights.iter().all(|weight| *weight == 0) {
        weights[lucky] = 1;
    }
    weights
}

/// Everything in order and shuffled, what one validator holds, and the closure of a few messages.
fn views(network: &Network, seeded: &mut Seeded) -> Vec<CaseView> {
    let all: Vec<u32> = network.all().collect();
    let mut shuffled = all.clone();
    seeded.shuffle(&mut shuffled);
    let who = seeded.below(network.free.committee.len());
    let heard = network.heard(who);
    let tops: BTreeSet<u32> = (0..1 + seeded.below(3)).map(|_| all[seeded.below(all.len())]).collect();
    let names: Vec<String> = tops.iter().map(|at| format!("m{}", at - 1)).collect();
    let closure = network.closure(tops.into_iter().collect());
    vec![
        view("global".to_owned(), network, &all, seeded),
        view("global-reordered".to_owned(), network, &shuffled, seeded),
        view(format!("validator-{who}"), network, &heard, seeded),
        view(format!("closure-of-{}", names.join("+")), network, &closure, seeded),
    ]
}

/// A view with the blocks around its head, and any others, to judge.
fn view(name: String, network: &Network, held: &[u32], seeded: &mut Seeded) -> CaseView {
    let free = &network.free;
    let path = free.path(free.ghost(&free.closure(held)));
    let mut candidates: BTreeSet<u32> = BTreeSet::new();
    if let Some(first) = path.first() {
        candidates.insert(first - 1);
        candidates.insert(path[path.len() / 2] - 1);
        candidates.insert(path[seeded.below(path.len())] - 1);
    }
    while candidates.len() < CANDIDATES.min(held.len()) {
        candidates.insert(held[seeded.below(held.len())]);
    }
    let names = |messages: &mut dyn Iterator<Item = u32>| messages.map(|at| format!("m{}", at - 1)).collect();
    CaseView { name, delivery_order: names(&mut held.iter().copied()), candidates: names(&mut candidates.into_iter()) }
}

#[cfg(test)]
mod tests;
