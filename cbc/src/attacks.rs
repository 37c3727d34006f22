//! Attacks from the literature against the engine and the speaking rule: named, seeded, each with the outcome that
//! must hold.
//!
//! ```text
//!   script (balancing, forks, ..) --> net (engines, speakers, faces) --> figures, log
//!                                                                    \-> claim held or not
//! ```
//!
//! A script with the word *without* in its name switches the defence off and claims the bad outcome: it shows that the
//! scenario is an attack at all.

mod balancing;
mod equivocation;
mod fork_bomb;
mod greedy;
mod partition;
mod withholding;

use crate::net::Net;
use serde::Serialize;
use thiserror::Error;

/// A scenario.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// Its name, as given to [`run`].
    pub name: &'static str,
    /// What the adversary does, and who described it.
    pub about: &'static str,
    /// What must hold.
    pub claim: &'static str,
    script: fn(u64) -> Outcome,
}

/// What a scenario showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Name of the scenario.
    pub name: String,
    /// Where all chance came from.
    pub seed: u64,
    /// What must hold.
    pub claim: String,
    /// Whether it did.
    pub held: bool,
    /// What was measured, by name.
    pub figures: Vec<(String, String)>,
    /// What happened, by slot.
    pub log: Vec<String>,
}

/// There is no attack of this name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no attack is named {name}")]
pub struct UnknownAttack {
    /// The name.
    pub name: String,
}

/// What a script answers.
#[derive(Clone, Debug)]
struct Outcome {
    held: bool,
    figures: Vec<(String, String)>,
    log: Vec<String>,
}

impl Outcome {
    /// The outcome of a network: whatever is claimed, no two honest members may disagree on what is final.
    fn of(net: &Net, held: bool, figures: Vec<(&str, String)>) -> Self {
        let mut figures: Vec<(String, String)> =
            figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        figures.push(("finalized height".to_owned(), net.finalized_height().to_string()));
        figures.push(("reorganisations".to_owned(), net.record().reorgs.len().to_string()));
        Self { held: held && net.agrees(), figures, log: net.record().log.clone() }
    }
}

/// All scenarios.
#[must_use]
pub fn all() -> &'static [Attack] {
    ATTACKS
}

/// Runs one.
///
/// # Errors
/// There is none of this name.
pub fn run(name: &str, seed: u64) -> Result<Report, UnknownAttack> {
    let attack = ATTACKS.iter().find(|attack| attack.name == name);
    let attack = attack.ok_or_else(|| UnknownAttack { name: name.to_owned() })?;
    let Outcome { held, figures, log } = (attack.script)(seed);
    Ok(Report { name: name.to_owned(), seed, claim: attack.claim.to_owned(), held, figures, log })
}

/// How many blocks honest leaders proposed in slots up to this one, and how many of them every honest member has
/// finalized.
fn finality_of_honest_blocks(net: &Net, slot: u64) -> (usize, usize) {
    let blocks = net.record().proposed.iter().filter(|(_, (of, _))| *of <= slot);
    let blocks: Vec<_> = blocks.map(|(block, _)| *block).collect();
    (blocks.len(), blocks.iter().filter(|block| net.all_finalized(block)).count())
}

/// A number that there may not be.
fn shown(number: Option<u64>) -> String {
    number.map_or_else(|| "none".to_owned(), |number| number.to_string())
}

const ATTACKS: &[Attack] = &[
    Attack {
        name: "balancing",
        about: "Votes released late keep two halves on two branches (Neu, Tas, Tse 2021, \"Ebb-and-flow protocols\"; \
                Schwarz-Schilling et al. 2022, \"Three attacks on proof-of-stake Ethereum\"). View merge is the defence.",
        claim: "the first or second slot with an honest leader finalizes, however long the adversary goes on",
        script: balancing::with_view_merge,
    },
    Attack {
        name: "balancing-without-view-merge",
        about: "The same against members that cite all they hold when they vote on a proposal, and follow at once \
                whatever they see.",
        claim: "nothing conflicting is finalized, and finality resumes within two slots after the adversary stops; \
                while it goes on, finality may stall",
        script: balancing::without_view_merge,
    },
    Attack {
        name: "avalanche",
        about: "Leaders release many equivocating blocks, another one to each member first (Neu, Tas, Tse 2022, \"Two more attacks on proof-of-stake GHOST/Ethereum\").",
        claim: "every block of an honest leader becomes final, every equivocator is convicted by all, and what a node holds stays bounded",
        script: equivocation::avalanche,
    },
    Attack {
        name: "split-equivocation",
        about: "A leader shows one block to one half and another to the other; all colluders vote, and sign, on both sides.",
        claim: "all honest members convict all colluders and agree on one head; the next slot at the latest finalizes, and nothing conflicting",
        script: equivocation::split,
    },
    Attack {
        name: "ex-ante-reorg",
        about: "A block and votes for it are withheld, and shown to all but the next leader shortly before its \
                slot (Schwarz-Schilling et al. 2022, \"Three attacks on proof-of-stake Ethereum\").",
        claim: "the honest block becomes final",
        script: withholding::ex_ante_reorg,
    },
    Attack {
        name: "ex-ante-reorg-without-view-merge",
        about: "The same against members that cite all they hold: see balancing-without-view-merge.",
        claim: "at most the one honest block is displaced, and the block after it becomes final",
        script: withholding::ex_ante_without_view_merge,
    },
    Attack {
        name: "late-leader",
        about: "A leader shows its block to every second member at the very end of its slot, against its successor's.",
        claim: "the successor's block becomes final",
        script: withholding::late_leader,
    },
    Attack {
        name: "late-leader-without-view-merge",
        about: "The same against members that cite all they hold: see balancing-without-view-merge.",
        claim: "at most the one honest block is displaced, and the block after it becomes final",
        script: withholding::late_without_view_merge,
    },
    Attack {
        name: "saved-votes",
        about: "Votes for an old branch, as many as the rules allow for nine slots, are shown at once.",
        claim: "no head moves, every block of an honest leader becomes final, and nothing waits or stays beyond what was shown",
        script: withholding::saved_votes,
    },
    Attack {
        name: "greedy-leader",
        about: "A leader chains blocks within its slot, and proposes for slots of others and of the far future.",
        claim: "the first are refused with a typed reason, the others wait within bounds, and every honest block becomes final",
        script: greedy::greedy_leader,
    },
    Attack {
        name: "fork-bomb",
        about: "Twenty colluders offer 2^20 branches none of which cites an equivocation (Gągol, Leśniak, Straszak, Świętek 2019, \"Aleph\").",
        claim: "a node holds at most what honest members said and two messages of each forker for each of them; finality is back within ten slots after the bomb",
        script: fork_bomb::fork_bomb,
    },
    Attack {
        name: "twenty-branches",
        about: "Twenty members are cut off from each other for twenty slots, and each builds its own branch.",
        claim: "two slots after the links heal there is one head, and finality",
        script: partition::twenty_branches,
    },
    Attack {
        name: "cut-off-member",
        about: "A member is cut off, and silent, while the others forget what it knows.",
        claim: "three slots after the link heals all others hear it again",
        script: partition::silent,
    },
    Attack {
        name: "cut-off-member-speaking",
        about: "A member is cut off, and speaks to itself on a base that the others forget.",
        claim: "three slots after the link heals all others hear it again, by judging what it said with all they ever stored",
        script: partition::speaking,
    },
    Attack {
        name: "split-beyond-threshold",
        about: "Half of the weight votes on both sides of a cut link, which is more than the fault threshold.",
        claim: "two honest members finalize conflicting blocks, as nothing can prevent, and afterwards every honest \
                member holds evidence against more than the fault threshold (accountable safety)",
        script: equivocation::beyond_threshold,
    },
];
