//! What can be taken away from a scenario, what helps most first.

use crate::{
    checks::Violation,
    links::Links,
    scenario::{Chains, Clocks, Cpu, Fault, Scenario, Share},
};

/// Smaller scenarios, each one step away, with what was taken.
pub(super) fn steps(scenario: &Scenario, violation: &Violation) -> Vec<(String, Scenario)> {
    let mut steps = Steps { from: scenario, list: Vec::new() };
    steps.time(violation);
    steps.faults();
    steps.byzantine();
    steps.network();
    steps.load();
    steps.links();
    steps.list
}

struct Steps<'a> {
    from: &'a Scenario,
    list: Vec<(String, Scenario)>,
}

impl Steps<'_> {
    /// A step, unless it changes nothing.
    fn add(&mut self, what: impl Into<String>, change: impl FnOnce(&mut Scenario)) {
        let mut smaller = self.from.clone();
        change(&mut smaller);
        if smaller != *self.from {
            self.list.push((what.into(), smaller));
        }
    }

    /// The end comes soon after what broke, or phases are shorter.
    fn time(&mut self, violation: &Violation) {
        let phases = self.from.phases;
        let until = violation.at.0 / 1_000 + 1;
        if until < phases.end() {
            self.add(format!("what comes after {until} ms"), |scenario| {
                let phases = &mut scenario.phases;
                phases.drain_ms = phases.drain_ms.min(until.saturating_sub(phases.load_until()));
                phases.healed_ms = phases.healed_ms.min(until.saturating_sub(phases.heal_at()));
                phases.faults_ms = phases.faults_ms.min(until.saturating_sub(phases.calm_ms));
            });
        }
        self.add("all of the end", |scenario| scenario.phases.drain_ms = 0);
        self.add("all of the time after faults", |scenario| scenario.phases.healed_ms = 0);
        self.add("half of the time with faults", |scenario| scenario.phases.faults_ms /= 2);
        self.add("half of the time after faults", |scenario| scenario.phases.healed_ms /= 2);
        self.add("half of the calm", |scenario| scenario.phases.calm_ms /= 2);
        self.add("a third of the end", |scenario| scenario.phases.drain_ms -= scenario.phases.drain_ms / 3);
    }

    fn faults(&mut self) {
        for (at, fault) in self.from.faults.iter().enumerate() {
            let kind = kind(fault);
            self.add(format!("all {kind}"), |scenario| {
                scenario.faults.remove(at);
            });
            self.add(format!("half of the {kind}"), |scenario| {
                fewer(&mut scenario.faults[at], |count| count.div_ceil(2))
            });
            self.add(format!("one of the {kind}"), |scenario| {
                fewer(&mut scenario.faults[at], |count| (count - count.min(1)).max(1));
            });
            self.add(format!("half the length of {kind}"), |scenario| shorter(&mut scenario.faults[at]));
        }
    }

    fn byzantine(&mut self) {
        for (at, byzantine) in self.from.byzantine.iter().enumerate() {
            let tactic = byzantine.tactic;
            self.add(format!("members that do {tactic:?}"), |scenario| {
                scenario.byzantine.remove(at);
            });
            let less = match byzantine.share {
                Share::Whole => Share::TooMany,
                Share::TooMany => Share::Tolerable,
                Share::Tolerable | Share::One => Share::One,
            };
            self.add(format!("some of those that do {tactic:?}"), |scenario| scenario.byzantine[at].share = less);
            for chains in [Chains::Beacon, Chains::FirstShard] {
                if matches!(byzantine.chains, Chains::All | Chains::Shards) {
                    self.add(format!("those that do {tactic:?} elsewhere than on {chains:?}"), |scenario| {
                        scenario.byzantine[at].chains = chains;
                    });
                }
            }
        }
    }

    fn network(&mut self) {
        self.add("half of the shards", |scenario| scenario.network.shards = scenario.network.shards.div_ceil(2));
        self.add("a shard", |scenario| scenario.network.shards = one_less(scenario.network.shards));
        self.add("half of each shard's members", |scenario| {
            scenario.network.members = scenario.network.members.div_ceil(2);
        });
        self.add("a member of each shard", |scenario| scenario.network.members = one_less(scenario.network.members));
        self.add("half of the beacon's members", |scenario| {
            scenario.network.beacon = scenario.network.beacon.div_ceil(2);
        });
        self.add("half of those that stand by", |scenario| scenario.network.standbys /= 2);
        self.add("one that stands by", |scenario| {
            scenario.network.standbys = scenario.network.standbys.saturating_sub(1);
        });
        self.add("a member of the beacon", |scenario| scenario.network.beacon = one_less(scenario.network.beacon));
    }

    fn load(&mut self) {
        self.add("all orders", |scenario| scenario.load.per_second = 0);
        self.add("half of the orders", |scenario| scenario.load.per_second = scenario.load.per_second.div_ceil(2));
        self.add("orders across shards", |scenario| scenario.load.cross_percent = 0);
        self.add("odd orders", |scenario| scenario.load.odd_percent = 0);
        self.add("wrong orders", |scenario| scenario.load.wrong_percent = 0);
        self.add("half of the accounts", |scenario| {
            scenario.load.accounts = scenario.load.accounts.div_ceil(2).max(2);
        });
    }

    fn links(&mut self) {
        let usual = Links::default();
        self.add("losses", |scenario| scenario.links.loss_ppm = 0);
        self.add("duplicates", |scenario| scenario.links.duplicate_ppm = 0);
        self.add("stragglers", |scenario| scenario.links.straggler_ppm = 0);
        self.add("disorder", |scenario| scenario.links.ordered = true);
        self.add("the limit of bandwidth", |scenario| scenario.links.bandwidth = 0);
        self.add("unusual latencies", |scenario| scenario.links.latency = usual.latency);
        self.add("the price of work", |scenario| scenario.cpu = Cpu::default());
        self.add("wrong clocks", |scenario| scenario.clocks = Clocks::default());
        self.add("the clock astray", |scenario| scenario.clocks.astray_ms = 0);
        self.add("skew", |scenario| scenario.clocks.skew_ms = 0);
        self.add("drift", |scenario| scenario.clocks.drift_ppm = 0);
    }
}

fn one_less(count: u16) -> u16 {
    count.saturating_sub(1).max(1)
}

fn kind(fault: &Fault) -> &'static str {
    match fault {
        Fault::Crashes { .. } => "crashes",
        Fault::Blackout { .. } => "blackouts",
        Fault::Pauses { .. } => "pauses",
        Fault::Partitions { .. } => "partitions",
        Fault::Damage { .. } => "damage",
        Fault::Restores { .. } => "restores",
        Fault::Committee { .. } => "committees killed",
        Fault::ClockSteps { .. } => "clock steps",
    }
}

fn fewer(fault: &mut Fault, less: impl FnOnce(u32) -> u32) {
    match fault {
        Fault::Crashes { count, .. }
        | Fault::Blackout { count, .. }
        | Fault::Pauses { count, .. }
        | Fault::Partitions { count, .. }
        | Fault::Damage { count }
        | Fault::Restores { count }
        | Fault::Committee { count, .. }
        | Fault::ClockSteps { count, .. } => *count = less(*count),
    }
}

fn shorter(fault: &mut Fault) {
    match fault {
        Fault::Crashes { least_down_ms, most_down_ms, .. } => {
            *most_down_ms = most_down_ms.div_ceil(2);
            *least_down_ms = (*least_down_ms).min(*most_down_ms);
        }
        Fault::Blackout { most_down_ms, .. } => *most_down_ms = most_down_ms.div_ceil(2),
        Fault::Pauses { most_ms, .. } | Fault::Partitions { most_ms, .. } | Fault::ClockSteps { most_ms, .. } => {
            *most_ms = most_ms.div_ceil(2);
        }
        Fault::Committee { down_ms, .. } => *down_ms = down_ms.div_ceil(2),
        Fault::Damage { .. } | Fault::Restores { .. } => {}
    }
}
