//! What the demo found: as a table for people, as one JSON object for programs.

use crate::output::{grouped, table};
use serde::Serialize;
use std::collections::BTreeMap;

/// The figures of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Whether every check held.
    pub(crate) ok: bool,
    /// Repeats the run's choices.
    pub(crate) seed: u64,
    /// The network's directory.
    pub(crate) dir: String,
    /// From the first process's start to the last check, in seconds.
    pub(crate) seconds: f64,
    /// Each part, in seconds.
    pub(crate) phases: Vec<Phase>,
    /// While nothing else happened.
    pub(crate) idle: Idle,
    /// Under load.
    pub(crate) load: Load,
    /// Who was killed and started again.
    pub(crate) killed: Vec<String>,
    /// Each shard.
    pub(crate) shards: Vec<ShardRow>,
    /// Submissions refused as they must be, by reason.
    pub(crate) refusals: BTreeMap<String, u64>,
    /// Peak memory of each process, in KiB.
    pub(crate) peak_memory_kib: BTreeMap<String, u64>,
    /// Consensus messages of one block in the killed process's committee, median: all alive, then one dead.
    pub(crate) messages_per_block: [Option<u64>; 2],
    /// What was checked by asking the nodes.
    pub(crate) checks: Vec<Check>,
}

/// Figures of an idle network.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Idle {
    /// Of all processes together, in percent of one core.
    pub(crate) cpu_percent: f64,
    /// Within a shard.
    pub(crate) shard_final: Percentiles,
    /// Across shards.
    pub(crate) delivered: Percentiles,
}

/// Figures of the load.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Load {
    /// Transfers that reached their end.
    pub(crate) transfers: usize,
    /// Of them, across shards.
    pub(crate) cross: usize,
    /// Sent back to the sender.
    pub(crate) returned: usize,
    /// Submissions repeated because a node died with them.
    pub(crate) resubmitted: u64,
    /// From the first submission to the last end.
    pub(crate) seconds: f64,
    /// Time to each finality level, from submission.
    pub(crate) levels: Vec<Level>,
}

/// A part of the run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Phase {
    /// Which.
    pub(crate) name: &'static str,
    /// How long it took.
    pub(crate) seconds: f64,
}

/// How long something took to reach a finality level.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Level {
    /// Which.
    pub(crate) level: &'static str,
    /// From submission.
    #[serde(flatten)]
    pub(crate) percentiles: Percentiles,
}

/// Percentiles by the nearest rank, in ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Percentiles {
    /// Values.
    pub(crate) count: usize,
    /// Half are at most this.
    pub(crate) p50_ms: u64,
    /// 95 of 100 are at most this.
    pub(crate) p95_ms: u64,
}

impl Percentiles {
    /// Of these values.
    pub(crate) fn of(mut values: Vec<u64>) -> Percentiles {
        values.sort_unstable();
        let at = |percent: usize| {
            let rank = (values.len() * percent).div_ceil(100).max(1);
            values.get(rank - 1).copied().unwrap_or(0)
        };
        Percentiles { count: values.len(), p50_ms: at(50), p95_ms: at(95) }
    }
}

/// One shard's figures, as its nodes tell them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ShardRow {
    /// Which.
    pub(crate) shard: u16,
    /// Certified height.
    pub(crate) height: u64,
    /// Transactions executed.
    pub(crate) transactions: u64,
    /// Receipts emitted.
    pub(crate) receipts_out: u64,
    /// Receipts consumed.
    pub(crate) receipts_in: u64,
    /// Blocks that lost against another at their height, the most that one node saw.
    pub(crate) forks: u64,
}

/// One thing that was checked.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    /// What must hold.
    pub(crate) name: String,
    /// Whether it does.
    pub(crate) ok: bool,
    /// What was found.
    pub(crate) found: String,
}

impl Report {
    /// The failed checks in one line each.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.checks.iter().filter(|check| !check.ok).map(|check| format!("{}: {}", check.name, check.found)).collect()
    }

    /// For people.
    pub(crate) fn to_text(&self) -> String {
        let mut parts = vec![self.idle_text(), self.shards_text(), self.load_text()];
        let refusals: Vec<String> = self.refusals.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        parts.push(format!("refused, as they must be: {}", refusals.join(", ")));
        parts.push(format!("killed (SIGKILL) and started again under load: {}", self.killed.join(", ")));
        if let [Some(whole), Some(less)] = self.messages_per_block {
            parts
                .push(format!("messages a block in a committee of four: {whole} with all alive, {less} with one dead"));
        }
        let most = self.peak_memory_kib.iter().max_by_key(|(_, kib)| **kib);
        if let Some((name, kib)) = most {
            let sum: u64 = self.peak_memory_kib.values().sum();
            parts.push(format!(
                "peak memory a process: at most {} MiB ({name}), together {} MiB",
                kib / 1024,
                sum / 1024
            ));
        }
        let checks: Vec<String> = self
            .checks
            .iter()
            .map(|check| format!("{} {}: {}", if check.ok { "ok  " } else { "FAIL" }, check.name, check.found))
            .collect();
        parts.push(format!("checks, by asking the nodes:\n{}", checks.join("\n")));
        let phases: Vec<String> =
            self.phases.iter().map(|phase| format!("{} {:.1} s", phase.name, phase.seconds)).collect();
        parts.push(format!("{:.1} s in all ({}), seed {}", self.seconds, phases.join(", "), self.seed));
        parts.join("\n\n")
    }

    fn idle_text(&self) -> String {
        format!(
            "idle: {:.1}% of one core for {} processes\n{}",
            self.idle.cpu_percent,
            self.peak_memory_kib.len(),
            levels_table(&[
                Level { level: "intra-shard shard-final", percentiles: self.idle.shard_final },
                Level { level: "cross-shard delivered", percentiles: self.idle.delivered },
            ])
        )
    }

    fn shards_text(&self) -> String {
        let row = |row: &ShardRow| {
            let numbers = [row.height, row.transactions, row.receipts_out, row.receipts_in, row.forks];
            [format!("shard {}", row.shard)].into_iter().chain(numbers.map(grouped)).collect()
        };
        let rows: Vec<Vec<String>> = self.shards.iter().map(row).collect();
        table(&["chain", "height", "transactions", "receipts out", "receipts in", "forks seen"], &rows)
    }

    fn load_text(&self) -> String {
        format!(
            "under load: {} transfers ({} across shards, {} returned, {} submitted again) in {:.1} s\n{}",
            grouped(self.load.transfers as u64),
            self.load.cross,
            self.load.returned,
            self.load.resubmitted,
            self.load.seconds,
            levels_table(&self.load.levels)
        )
    }
}

fn levels_table(levels: &[Level]) -> String {
    let row = |Level { level, percentiles }: &Level| {
        vec![
            (*level).to_owned(),
            percentiles.count.to_string(),
            format!("{} ms", percentiles.p50_ms),
            format!("{} ms", percentiles.p95_ms),
        ]
    };
    table(&["latency", "count", "p50", "p95"], &levels.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        assert_eq!(Percentiles::of(vec![]), Percentiles::default());
        assert_eq!(Percentiles::of(vec![5]), Percentiles { count: 1, p50_ms: 5, p95_ms: 5 });
        assert_eq!(Percentiles::of((1..=100).rev().collect()), Percentiles { count: 100, p50_ms: 50, p95_ms: 95 });
        assert_eq!(Percentiles::of(vec![1, 2, 3, 4]), Percentiles { count: 4, p50_ms: 2, p95_ms: 4 });
    }

    #[test]
    fn failed_checks_are_named() {
        let check = |ok| Check { name: "supply".to_owned(), ok, found: "1 short".to_owned() };
        let report = Report { checks: vec![check(true), check(false)], ..Report::default() };
        assert_eq!(report.failures(), ["supply: 1 short"]);
        assert!(report.to_text().contains("FAIL supply: 1 short"));
    }
}
