//! Members that were away or cut off for long, and what a start makes of a long history.

use super::{hostile::goes_on, *};

#[test]
fn who_returns_after_the_pruning_line_has_passed_speaks_and_all_can_start_again() {
    let mut bench = Bench::new(4, 104);
    bench.run(6_000);
    bench.crash(3);
    // Busy enough that the others' messages are stored between each other's in many orders.
    for item in 100..220u8 {
        bench.give(usize::from(item % 3), item);
        bench.run(700);
    }
    bench.run(5_600 * 200);
    bench.restart(3);
    bench.run(20_000);
    bench.crash(0);
    goes_on(&mut bench, 0..5);
    bench.assert_agreement(125);
    bench.restart(0);
    bench.run(10_000);
    for member in 0..4 {
        bench.crash(member);
        bench.restart(member);
        bench.run(3_000);
    }
    goes_on(&mut bench, 5..10);
    bench.assert_agreement(130);
    assert_eq!(bench.equivocators(), 0);
}

#[test]
fn who_was_cut_off_for_longer_than_blocks_are_kept_is_heard_again() {
    let mut bench = Bench::new(4, 105);
    bench.run(2_000);
    bench.cut.insert(3);
    let before = bench.certified_height(0);
    bench.run(170_000);
    assert!(bench.certified_height(0) > before + 64);
    bench.cut.clear();
    bench.run(10_000);
    bench.crash(0);
    goes_on(&mut bench, 0..5);
    bench.assert_agreement(5);
}

#[test]
fn a_long_history_with_late_messages_is_reloaded_as_it_was_taken() {
    let mut bench = Bench::new(4, 119);
    bench.run(300_000);
    bench.cut.insert(3);
    bench.run(300_000);
    bench.cut.clear();
    bench.run(5_600 * 200);
    for member in 0..4 {
        bench.crash(member);
        bench.restart(member);
        bench.run(3_000);
    }
    goes_on(&mut bench, 0..5);
    bench.assert_agreement(5);
}

#[test]
fn an_orphan_is_taken_by_one_who_has_just_started_again() {
    let mut bench = Bench::new(4, 106);
    bench.run(2_000);
    bench.cut.insert(3);
    bench.run(30_000);
    for member in 0..3 {
        bench.crash(member);
        bench.restart(member);
        bench.run(3_000);
    }
    bench.cut.clear();
    bench.run(10_000);
    bench.crash(0);
    goes_on(&mut bench, 0..5);
    bench.assert_agreement(5);
}

/// A loaded chain goes on for so many slots.
fn loaded(bench: &mut Bench, slots: usize) {
    for slot in 0..slots {
        bench.give(slot % 3, u8::try_from(slot % 251).unwrap());
        bench.run(200);
    }
}

#[test]
fn who_is_far_behind_catches_up_although_the_others_go_on() {
    for (seed, waiting) in [(201, 0), (202, 60), (203, 130), (204, 200), (205, 300)] {
        let mut bench = Bench::new(4, seed);
        bench.run(2_000);
        bench.crash(3);
        loaded(&mut bench, 100);
        bench.restart(3);
        // Much waits for what is missing, and each of that has something to ask for.
        bench.lose_answers = true;
        bench.refused = Some(Vec::new());
        loaded(&mut bench, waiting);
        bench.lose_answers = false;
        loaded(&mut bench, 40);
        let (behind, ahead) = (bench.certified_height(3), bench.certified_height(0));
        assert!(behind + 3 >= ahead, "seed {seed}: at {behind} of {ahead}");
    }
}
