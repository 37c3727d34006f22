//! Why a block is final or not, through a replica's life.

use super::*;
use crate::units::Height;

fn sentence(bench: &Bench, member: usize, height: u64) -> String {
    let found = bench.replicas[member].as_ref().unwrap().explain_at(Height(height)).unwrap();
    found.sentence(|member| format!("v{member}"))
}

#[test]
fn certified_blocks_are_final_and_what_is_not_there_is_not_explained() {
    let mut bench = Bench::new(4, 41);
    bench.run(2_000);
    bench.give(0, 7);
    bench.run(2_000);
    let height = bench.certified_height(0);
    for height in 1..=height {
        let found = bench.replicas[0].as_ref().unwrap().explain_at(Height(height)).unwrap();
        assert_eq!((found.certified, found.height, found.reason()), (true, Height(height), "FINAL"));
        assert!(found.votes.as_ref().unwrap().is_final);
        assert!(sentence(&bench, 0, height).starts_with("certified, and final"));
    }
    let root = bench.replicas[0].as_ref().unwrap().explain_at(Height(0)).unwrap();
    assert!(root.certified && root.votes.unwrap().is_final);
    assert!(bench.replicas[0].as_ref().unwrap().explain_at(Height(height + 100)).is_none());
    assert!(bench.replicas[0].as_ref().unwrap().explain_at(Height(u64::MAX)).is_none());
    assert!(bench.replicas[0].as_ref().unwrap().explain(&BlockId([9; 32])).is_none());
}

#[test]
fn a_block_that_waits_for_votes_names_the_silent() {
    let mut bench = Bench::new(4, 42);
    bench.run(2_000);
    bench.give(0, 6);
    bench.run(2_000);
    bench.crash(1);
    bench.crash(2);
    bench.give(0, 7);
    bench.run(10_000);
    let waiting = bench.certified_height(0) + 1;
    let found = bench.replicas[0].as_ref().unwrap().explain_at(Height(waiting)).unwrap();
    assert_eq!((found.certified, found.reason()), (false, "VOTES"));
    let said = sentence(&bench, 0, waiting);
    assert!(said.contains("2 members of weight 2 have not voted: v1 silent since slot"), "{said}");
    assert!(said.contains("v2 silent since slot"), "{said}");
    assert!(said.starts_with("votes of weight 2 support it, 1 less than the smallest quorum 3"), "{said}");
}

#[test]
fn below_the_pruning_line_a_block_is_certified_and_its_votes_are_gone() {
    let mut bench = Bench::new(4, 43);
    bench.run(5_600 * 200);
    let found = bench.replicas[0].as_ref().unwrap().explain_at(Height(1)).unwrap();
    assert_eq!((found.certified, found.reason(), found.votes.is_none()), (true, "CERTIFIED", true));
    let said = sentence(&bench, 0, 1);
    assert_eq!(said, "certified: more than two thirds signed it as final; the votes on it have left memory");
}
