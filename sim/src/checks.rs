//! What must always hold, looked at after every event. Each check has a mutant that it catches (see the tests).

mod agreement;
mod equivocation;
mod eras;
mod growth;
mod progress;
mod receipts;
mod roots;
mod sequence;
mod soundness;
mod stake;
mod supply;
mod undone;

use crate::{
    clock::Moment,
    eras::Eras,
    node::{Node, NodeId},
    rules::Certified,
    scenario::Scenario,
    setup::Setup,
    workload::Workload,
};
use kakera_beacon::{BeaconState, InvalidCrosslink};
use kakera_chain::{
    BlockId,
    crosslink::Crosslink,
    era::EraPlan,
    peer::PeerMessage,
    replica::{Breach, InvalidBlocks, InvalidStore, Refused},
    units::{Height, ValidatorId},
};
use kakera_shard::{InvalidBeacon, Reply, ShardState};
use std::fmt;

/// What checkers see. Of Byzantine members they see nothing but what honest ones make of it.
#[derive(Debug)]
pub enum Happening<'a> {
    /// An honest member says something, to one or to all.
    Said {
        /// Who.
        node: NodeId,
        /// What.
        message: &'a PeerMessage,
    },
    /// A beacon block became certified at an honest node, in height order.
    Beacon {
        /// Where.
        node: NodeId,
        /// The block and the state after it.
        certified: &'a Certified<BeaconState>,
    },
    /// A shard's block became certified at an honest node, in height order.
    Shard {
        /// Where.
        node: NodeId,
        /// The block and the state after it.
        certified: &'a Certified<ShardState>,
    },
    /// A node refused what a peer sent.
    Refused {
        /// Who refuses.
        node: NodeId,
        /// Whose: nobody's, if it is of no member of the era.
        from: Option<ValidatorId>,
        /// Why.
        reason: &'a Refused,
    },
    /// A shard node refused what a beacon node fed it.
    FeedRefused {
        /// Who refuses.
        node: NodeId,
        /// Why.
        reason: &'a InvalidBlocks,
    },
    /// A shard's replica refused what its own process read of the beacon chain.
    ReadingRefused {
        /// Who refuses.
        node: NodeId,
        /// Why.
        reason: &'a InvalidBeacon,
    },
    /// A replica entered an era.
    Entered {
        /// Whose.
        node: NodeId,
        /// Which.
        plan: &'a EraPlan,
    },
    /// Certified blocks were taken back, ascending.
    Undone {
        /// Where.
        node: NodeId,
        /// Which.
        blocks: &'a [(Height, BlockId)],
    },
    /// A beacon node refused a crosslink.
    CrosslinkRefused {
        /// Who refuses.
        node: NodeId,
        /// Who gave it.
        from: NodeId,
        /// The crosslink.
        crosslink: &'a Crosslink,
        /// Why.
        reason: &'a InvalidCrosslink,
    },
    /// A client was answered.
    Answered {
        /// By whom.
        node: NodeId,
        /// The order's number.
        order: usize,
        /// What.
        reply: &'a Reply,
    },
    /// A process started.
    Started {
        /// Whose.
        node: NodeId,
    },
    /// A process was killed, and what it had not synced may be lost.
    Killed {
        /// Whose.
        node: NodeId,
    },
    /// A replica stopped itself.
    Halted {
        /// Whose.
        node: NodeId,
        /// Why.
        breach: &'a Breach,
    },
    /// A replica panicked.
    Panicked {
        /// Whose.
        node: NodeId,
        /// What it said.
        words: &'a str,
    },
    /// A disk that was not damaged does not open.
    Unopened {
        /// Whose.
        node: NodeId,
        /// Why.
        reason: &'a InvalidStore,
    },
    /// All faults are over.
    Healed,
}

/// What checkers may look at.
pub struct View<'a> {
    /// True time.
    pub now: Moment,
    /// What the world was made from.
    pub scenario: &'a Scenario,
    /// What does not change.
    pub setup: &'a Setup,
    /// All nodes.
    pub nodes: &'a [Node],
    /// The eras that honest nodes have entered.
    pub eras: &'a Eras,
    /// What clients ordered.
    pub workload: &'a Workload,
}

impl View<'_> {
    /// A node's name.
    pub fn name(&self, node: NodeId) -> String {
        self.nodes[node].name()
    }
}

/// A statement that must hold.
pub trait Check {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Looks at what has just happened.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn after(&mut self, view: &View<'_>, happening: &Happening<'_>) -> Result<(), String>;

    /// Looks once more at the end of the world.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn at_end(&mut self, view: &View<'_>) -> Result<(), String> {
        let _ = view;
        Ok(())
    }

    /// Whether safety is lost as the scenario allows it: then nothing else is promised but that nobody panics.
    fn is_broken(&self) -> bool {
        false
    }

    /// Whether this holds even then.
    fn outlives_agreement(&self) -> bool {
        false
    }
}

/// A statement that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub check: &'static str,
    /// When this was seen.
    pub at: Moment,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} s: {}", self.check, self.at, self.what)
    }
}

/// All checks of a world.
pub struct Checks {
    all: Vec<Box<dyn Check>>,
    broken: bool,
}

impl Default for Checks {
    fn default() -> Checks {
        Checks::new()
    }
}

impl Checks {
    /// All checks: the first that fails names what is wrong, so that causes come before what follows from them.
    pub fn new() -> Checks {
        let all: Vec<Box<dyn Check>> = vec![
            Box::new(soundness::Soundness),
            Box::new(equivocation::Equivocation::default()),
            Box::new(agreement::Agreement::default()),
            Box::new(eras::Eras::default()),
            Box::new(roots::Roots::default()),
            Box::new(undone::Undone::default()),
            Box::new(receipts::Receipts::default()),
            Box::new(stake::Stake::default()),
            Box::new(supply::Supply::default()),
            Box::new(growth::Growth::default()),
            Box::new(progress::Progress::default()),
        ];
        Checks { all, broken: false }
    }

    /// Whether two branches of a chain were certified where the scenario allows it, with evidence of who did it.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// The names of all, in order.
    pub fn names(&self) -> Vec<&'static str> {
        self.all.iter().map(|check| check.name()).collect()
    }

    /// Has every check look at what happened.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn after(&mut self, view: &View<'_>, happening: &Happening<'_>) -> Result<(), Violation> {
        self.each(view, |check| check.after(view, happening))
    }

    /// Has every check look once more.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn at_end(&mut self, view: &View<'_>) -> Result<(), Violation> {
        self.each(view, |check| check.at_end(view))
    }

    fn each(
        &mut self,
        view: &View<'_>,
        mut look: impl FnMut(&mut dyn Check) -> Result<(), String>,
    ) -> Result<(), Violation> {
        for check in &mut self.all {
            if self.broken && !check.outlives_agreement() {
                continue;
            }
            let looked = look(&mut **check);
            looked.map_err(|what| Violation { check: check.name(), at: view.now, what })?;
            self.broken |= check.is_broken();
        }
        Ok(())
    }
}
