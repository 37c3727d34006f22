//! Many seeds of many scenarios on several threads. Results come in order, whatever the threads do, so that a campaign's
//! figures do not depend on their number.

use crate::{
    checks::Violation,
    clock::Moment,
    measures::Measures,
    scenario::Scenario,
    trace::Trace,
    world::{Outcome, World},
};
use kakera_chain::units::ChainId;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

/// The name of the check that fails when a world itself panics.
pub const WORLD: &str = "world";

/// What is to be run, and how.
#[derive(Clone, Copy, Debug)]
pub struct Campaign<'a> {
    /// The scenarios, in turn.
    pub scenarios: &'a [Scenario],
    /// The first seed of each.
    pub first: u64,
    /// How many seeds of each.
    pub seeds: u64,
    /// Threads; 0 is 1.
    pub jobs: usize,
    /// Whether it goes on after a seed that fails.
    pub keep_going: bool,
    /// Microseconds of work by the calling thread so far, by whatever clock the caller has: worlds have none.
    pub worked_us: fn() -> u64,
}

/// A seed that was run.
#[derive(Debug)]
pub struct Ran {
    /// Which of the scenarios.
    pub scenario: usize,
    /// The seed.
    pub seed: u64,
    /// How its world ended.
    pub outcome: Outcome,
    /// Microseconds that it took.
    pub took_us: u64,
}

/// A seed that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What broke.
    pub violation: Violation,
}

/// The figures of one scenario's seeds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// Seeds run.
    pub seeds: u64,
    /// Those that failed.
    #[serde(skip)]
    pub failures: Vec<Failure>,
    /// Events handled.
    pub events: u64,
    /// Virtual time of all worlds, in microseconds; of one that failed, up to its failure.
    pub virtual_us: u64,
    /// Microseconds that they took.
    pub took_us: u64,
    /// The fewest certified blocks on any chain of any seed.
    pub least_blocks: u64,
    /// What was measured, summed over the seeds.
    pub measures: Measures,
    /// What came of more faults than a committee tolerates, where the scenario has so many.
    pub excess: Option<Excess>,
}

/// Seeds of a scenario in which more members may be faulty than a committee tolerates, by what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Excess {
    /// Some chain certified nothing after all was healed.
    pub stalled: u64,
    /// Two branches of some chain were certified, and evidence shows who did it.
    pub broken: u64,
    /// In every chain evidence is held against more weight than it tolerates.
    pub proven: u64,
    /// In some chain.
    pub proven_somewhere: u64,
}

impl Excess {
    fn add(&mut self, scenario: &Scenario, measures: &Measures) {
        let shape = &scenario.network;
        let tolerated = |chain: &String| match chain == &ChainId::Beacon.to_string() {
            true => u64::from(shape.beacon.saturating_sub(1)) / 3,
            false => u64::from(shape.members.saturating_sub(1)) / 3,
        };
        let proven = measures.evidence_weight.iter().filter(|(chain, weight)| **weight > tolerated(chain)).count();
        let healed = Moment::ms(scenario.phases.heal_at()).0;
        let goes_on = measures.last_certified_us.values().filter(|at| **at > healed).count();
        self.stalled += u64::from(goes_on <= usize::from(shape.shards));
        self.broken += u64::from(measures.broken);
        self.proven += u64::from(proven > usize::from(shape.shards));
        self.proven_somewhere += u64::from(proven > 0);
    }
}

impl Campaign<'_> {
    /// Runs; `each` sees every seed as it ends, in order. Returns the figures of each scenario. A campaign that stops at a
    /// failure has that as its last seed.
    pub fn run(&self, mut each: impl FnMut(&Ran)) -> Vec<Figures> {
        let mut figures = vec![Figures::default(); self.scenarios.len()];
        let per = usize::try_from(self.seeds).unwrap_or(usize::MAX);
        let total = per.saturating_mul(self.scenarios.len());
        let next = AtomicUsize::new(0);
        // Nothing from here on is begun.
        let stop = AtomicUsize::new(total);
        // A bound keeps threads from running far ahead of a slow first seed.
        let jobs = self.jobs.clamp(1, 256);
        let (sender, receiver) = mpsc::sync_channel(4 * jobs);
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                let sender = sender.clone();
                let (next, stop) = (&next, &stop);
                scope.spawn(move || {
                    loop {
                        let index = next.fetch_add(1, Ordering::SeqCst);
                        if index >= stop.load(Ordering::SeqCst) {
                            break;
                        }
                        let ran = self.one(index / per, self.first + (index % per) as u64);
                        if !self.keep_going && ran.outcome.violation.is_some() {
                            stop.fetch_min(index + 1, Ordering::SeqCst);
                        }
                        if sender.send((index, ran)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            let mut waiting = BTreeMap::new();
            let mut turn = 0;
            for (index, ran) in receiver {
                waiting.insert(index, ran);
                while let Some(ran) = waiting.remove(&turn).filter(|_| turn < stop.load(Ordering::SeqCst)) {
                    turn += 1;
                    figures[ran.scenario].add(&self.scenarios[ran.scenario], &ran);
                    each(&ran);
                }
            }
        });
        figures
    }

    fn one(&self, scenario: usize, seed: u64) -> Ran {
        let before = (self.worked_us)();
        let outcome = outcome(&self.scenarios[scenario], seed, false);
        Ran { scenario, seed, outcome, took_us: (self.worked_us)().saturating_sub(before) }
    }
}

/// The outcome of one world. A world that panics itself has failed as well.
pub fn outcome(scenario: &Scenario, seed: u64, keep_trace: bool) -> Outcome {
    let ran = catch_unwind(AssertUnwindSafe(|| World::new(scenario, seed, keep_trace).run(|_| {})));
    ran.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|&words| words.to_owned()));
        let what = format!("panicked: {}", words.unwrap_or_default());
        let (digest, trace) = Trace::new(keep_trace).finish();
        Outcome {
            violation: Some(Violation { check: WORLD, at: Moment(0), what }),
            digest,
            trace,
            events: 0,
            measures: Measures::default(),
        }
    })
}

impl Figures {
    fn add(&mut self, scenario: &Scenario, ran: &Ran) {
        let Outcome { violation, events, measures, .. } = &ran.outcome;
        let least = measures.blocks.values().copied().min().unwrap_or(0);
        self.least_blocks = if self.seeds == 0 { least } else { self.least_blocks.min(least) };
        self.seeds += 1;
        self.events += events;
        self.took_us += ran.took_us;
        self.virtual_us += violation.as_ref().map_or(scenario.phases.end() * 1_000, |violation| violation.at.0);
        if let Some(violation) = violation {
            self.failures.push(Failure { seed: ran.seed, violation: violation.clone() });
        }
        if scenario.expect.may_break_with_evidence {
            self.excess.get_or_insert_default().add(scenario, measures);
        }
        join(&mut self.measures, measures);
    }

    /// Certified blocks of all chains.
    pub fn blocks(&self) -> u64 {
        self.measures.blocks.values().sum()
    }
}

/// Adds one seed's measures to those of others.
fn join(all: &mut Measures, one: &Measures) {
    for (all, one) in [
        (&mut all.order_final, &one.order_final),
        (&mut all.order_recorded, &one.order_recorded),
        (&mut all.order_delivered, &one.order_delivered),
        (&mut all.shard_finality, &one.shard_finality),
        (&mut all.beacon_finality, &one.beacon_finality),
    ] {
        all.join(one);
    }
    for (chain, blocks) in &one.blocks {
        *all.blocks.entry(chain.clone()).or_default() += blocks;
    }
    for (all, one) in [
        (&mut all.ordered, one.ordered),
        (&mut all.finalized, one.finalized),
        (&mut all.ended, one.ended),
        (&mut all.returned, one.returned),
        (&mut all.orphans, one.orphans),
        (&mut all.eras, one.eras),
        (&mut all.fallbacks, one.fallbacks),
        (&mut all.left_out, one.left_out),
        (&mut all.bonded, one.bonded),
        (&mut all.paid_out, one.paid_out),
        (&mut all.slashed, one.slashed),
        (&mut all.crashes, one.crashes),
        (&mut all.lost_batches, one.lost_batches),
        (&mut all.replaced_disks, one.replaced_disks),
        (&mut all.halted, one.halted),
        (&mut all.refused, one.refused),
        (&mut all.shard_messages, one.shard_messages),
        (&mut all.shard_bytes, one.shard_bytes),
        (&mut all.beacon_messages, one.beacon_messages),
        (&mut all.beacon_bytes, one.beacon_bytes),
        (&mut all.busy_us.0, one.busy_us.0),
        (&mut all.busy_us.1, one.busy_us.1),
        (&mut all.nodes.0, one.nodes.0),
        (&mut all.nodes.1, one.nodes.1),
        (&mut all.signatures.0, one.signatures.0),
        (&mut all.signatures.1, one.signatures.1),
    ] {
        *all += one;
    }
}
