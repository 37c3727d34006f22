//! What is remembered beside the store, and what an old copy of the store may say.

use super::{bench::Bench, *};

fn state(epoch: u64, root: u8, next_seq: u64, finality_height: u64) -> SignState {
    SignState { epoch: Epoch(epoch), root: BlockId([root; 32]), next_seq, finality_height }
}

#[test]
fn an_interlock_grows_within_an_era_begins_afresh_with_the_next_and_never_goes_back() {
    let now = state(3, 1, 10, 20);
    assert_eq!(now.then(state(3, 1, 11, 19)), Some(state(3, 1, 11, 20)));
    assert_eq!(now.then(state(4, 2, 0, 0)), Some(state(4, 2, 0, 0)));
    assert_eq!(now.then(state(2, 1, 99, 99)), None);
    assert_eq!(now.then(state(3, 2, 99, 99)), None, "another root of the same epoch");
    let any = SignState { root: SignState::ANY_ROOT, ..now };
    assert_eq!((any.then(now), now.then(any)), (Some(now), Some(now)));
    assert_eq!(SignState::default().then(now), Some(now));
}

#[test]
fn a_store_that_remembers_less_than_the_interlock_is_an_old_copy() {
    let guard = state(3, 1, 10, 20);
    for held in [guard, state(3, 1, 11, 20), state(3, 1, 10, 21), state(4, 2, 0, 0)] {
        assert!(guard.is_within(held), "{held:?}");
    }
    for old in [state(3, 1, 9, 20), state(3, 1, 10, 19), state(2, 9, 500, 500), state(3, 2, 10, 20)] {
        assert!(!guard.is_within(old), "{old:?}");
    }
    let spent = SignState::spent(Epoch(3));
    assert!(!spent.is_within(state(3, 1, 10, 20)) && !spent.is_within(state(2, 1, 10, 20)));
    assert!(spent.is_within(state(4, 2, 0, 0)), "the next era begins afresh");
}

/// Whether a member speaks after a start with this interlock.
fn phase_with(guard: impl FnOnce(SignState) -> SignState) -> Phase {
    let mut bench = Bench::new(4, 301);
    bench.run(3_000);
    bench.crash(3);
    bench.guards[3] = guard(bench.guards[3]);
    bench.restart(3);
    bench.run(3_000);
    assert_eq!(bench.equivocators(), 0);
    bench.status(3).phase
}

#[test]
fn an_interlock_of_a_later_epoch_or_another_root_silences_an_old_copy() {
    assert_eq!(phase_with(|guard| guard), Phase::Active);
    assert_eq!(phase_with(|guard| SignState { root: SignState::ANY_ROOT, ..guard }), Phase::Active);
    assert_eq!(
        phase_with(|guard| SignState { epoch: Epoch(1), next_seq: 0, finality_height: 0, ..guard }),
        Phase::Silent
    );
    assert_eq!(phase_with(|guard| SignState { root: BlockId([7; 32]), ..guard }), Phase::Silent);
    assert_eq!(phase_with(|guard| SignState { next_seq: guard.next_seq + 1, ..guard }), Phase::Silent);
    assert_eq!(phase_with(|guard| SignState { finality_height: guard.finality_height + 1, ..guard }), Phase::Silent);
}

#[test]
fn who_declares_a_restore_observes_for_this_era_at_further_starts_too() {
    let mut bench = Bench::new(4, 302);
    bench.run(3_000);
    assert!(bench.guards[3].next_seq > 0);
    bench.crash(3);
    bench.restored = true;
    bench.restart(3);
    let spent = SignState { root: bench.guards[3].root, ..SignState::spent(Epoch(0)) };
    assert_eq!(bench.guards[3], spent, "durable with the first effects");
    bench.run(3_000);
    assert_eq!(bench.status(3).phase, Phase::Silent);
    let said = bench.status(0).members[3].messages;
    hostile::goes_on(&mut bench, 0..5);
    bench.assert_agreement(5);
    bench.crash(3);
    bench.restart(3);
    bench.run(3_000);
    assert_eq!(bench.status(3).phase, Phase::Silent, "without another declaration");
    assert_eq!(bench.status(0).members[3].messages, said);
}
