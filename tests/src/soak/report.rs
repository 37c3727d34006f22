//! The figures of a soak, and how to have it again.

use super::{director::Director, recovery::Recovery, traffic::Traffic, witness::Witness};
use std::{collections::BTreeMap, time::Duration};

/// Prints them.
pub(super) fn print(
    seed: u64,
    took: Duration,
    length: Duration,
    director: &Director<'_>,
    traffic: &Traffic,
    witness: &Witness,
    recoveries: &[Recovery],
) {
    let row = |name: &str, value: String| println!("  {name:<44} {value}");
    println!("\nsoak of {} s, {} rounds", took.as_secs(), recoveries.len());
    for (kind, count) in &director.counts {
        row(&format!("faults: {kind}"), count.to_string());
    }
    row("faults in all", director.counts.values().sum::<u64>().to_string());
    let (made, crossing) = traffic.made();
    row("transfers, each ended once", format!("{made}, {crossing} of them across shards"));
    let (compared, again) = witness.counts();
    row("certified blocks compared", format!("{compared}, and {again} of them once more later"));
    let mut chains: BTreeMap<String, (Vec<u64>, Vec<u64>)> = BTreeMap::new();
    for one in recoveries.iter().flat_map(|recovery| &recovery.0) {
        let (first, all) = chains.entry(one.chain.to_string()).or_default();
        first.push(one.first);
        all.push(one.all);
    }
    for (chain, (mut first, mut all)) in chains {
        let last = (first.last().copied().unwrap_or_default(), all.last().copied().unwrap_or_default());
        first.sort_unstable();
        all.sort_unstable();
        let figures = |sorted: &[u64]| (sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
        let ((median, most), (all_median, all_most)) = (figures(&first), figures(&all));
        row(
            &format!("{chain}: slots to certify again"),
            format!("{} after the last fault; median {median}, most {most}", last.0),
        );
        row(
            &format!("{chain}: slots until every node has it"),
            format!("{} after the last fault; median {all_median}, most {all_most}", last.1),
        );
    }
    println!(
        "repeat: KAKERA_SEED={seed} KAKERA_SOAK_SECONDS={} cargo test --release -p kakera-tests --test soak -- \
         --nocapture\n",
        length.as_secs()
    );
}
