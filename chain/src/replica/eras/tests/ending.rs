//! The last block of an era, on which nothing is built: signed, unheard of, proved.

use super::*;

/// The last block of the era is signed by all who are not cut off, and no signature has come to anybody.
fn signed_and_unheard(seed: u64, cut: Option<usize>) -> Bench {
    let mut bench = Bench::turning(MEMBERS, SIZE, SLOTS, seed);
    load(&mut bench, 0..10, 200);
    let slot = |bench: &Bench| bench.replica(0).slot().0;
    while slot(&bench) + 2 < SLOTS {
        bench.run_fed(50);
    }
    bench.lose_signatures = true;
    bench.cut.extend(cut);
    let signed_last = |replica: &Replica<_>| {
        let own = replica.shares.own.and_then(|(_, id)| replica.block(&id));
        own.is_some_and(|block| block.header.slot.0 >= SLOTS)
    };
    let here: Vec<usize> = (0..SIZE).filter(|member| Some(*member) != cut).collect();
    while !here.iter().all(|member| signed_last(bench.replica(*member))) {
        bench.run(10);
        assert!(slot(&bench) < SLOTS + 20, "all of them sign the last block");
    }
    assert!(here.iter().all(|at| bench.certified_height(*at) < bench.replica(*at).shares.own.unwrap().0.0));
    bench
}

/// Nothing is built on an era's last block, so that nobody signs a later one in its stead.
#[test]
fn who_signed_the_last_block_and_died_before_anybody_heard_it_says_it_again() {
    let mut bench = signed_and_unheard(90, None);
    (0..SIZE).for_each(|member| bench.crash(member));
    bench.lose_signatures = false;
    (0..SIZE).for_each(|member| bench.restart(member));
    bench.run_fed(2_000);
    assert_eq!(epochs(&bench), [1; MEMBERS]);
    assert_eq!(bench.equivocators(), 0);
}

#[test]
fn a_member_on_an_old_copy_says_nothing_again() {
    let mut bench = signed_and_unheard(95, None);
    for restored in [true, false] {
        bench.crash(1);
        bench.restored = restored;
        bench.restart(1);
        // What was declared once needs no declaration again.
        assert_eq!(bench.replica(1).phase(), Phase::Silent);
        assert_eq!(bench.replica(1).shares.of(Member(1), Height(0)).count(), 0);
    }
    bench.crash(0);
    bench.restart(0);
    assert!(bench.replica(0).shares.of(Member(0), Height(0)).count() > 0);
}

/// Whoever shows that the era is over may be the only one who has heard all signatures, and never speak again.
#[test]
fn a_proof_that_the_era_is_over_certifies_its_last_block_where_that_is_held() {
    let mut bench = signed_and_unheard(91, None);
    let (header, certificate) = bench.signed_last(0, 3);
    bench.closed(1, ClosedEra { header: header.clone(), certificate });
    assert_eq!(bench.certified_height(1), header.height.0);
    assert_eq!(bench.replica(1).phase(), Phase::Active);
    bench.run_fed(2_000);
    assert_eq!(epochs(&bench), [1; MEMBERS]);
}

#[test]
fn who_does_not_hold_the_last_block_keeps_the_proof_for_those_who_do() {
    let mut bench = signed_and_unheard(92, Some(3));
    let (header, certificate) = bench.signed_last(0, 3);
    let (root, closed) = (header.root, ClosedEra { header, certificate });
    bench.closed(3, closed.clone());
    bench.crash(3);
    bench.restart(3);
    assert_eq!(bench.replica(3).phase(), Phase::Observer);
    assert_eq!(bench.replica(3).closed(&root), Some(closed));
    assert!((0..3).all(|member| bench.replica(member).closed(&root).is_none()));
    bench.cut.clear();
    bench.run_fed(2_000);
    assert_eq!(epochs(&bench), [1; MEMBERS]);
    assert_eq!(bench.replica(3).closed(&root).unwrap().header, bench.replica(0).closed(&root).unwrap().header);
}

/// The beacon may have recorded a block of which the others have heard too few signatures, and name it a root.
#[test]
fn a_recorded_certificate_certifies_what_a_member_holds() {
    let mut bench = Bench::new(4, 93);
    bench.run(3_000);
    bench.lose_signatures = true;
    let ahead =
        |bench: &Bench, at: usize| bench.replica(at).shares.own.is_some_and(|own| own.0.0 > bench.certified_height(at));
    bench.give(0, 1);
    while !(0..4).all(|member| ahead(&bench, member)) {
        bench.run(10);
        assert!(bench.now() < 9_000);
    }
    let (header, certificate) = bench.signed_last(1, 3);
    let before = bench.certified_height(1);
    let mut of_another_era = certificate.clone();
    of_another_era.finality.epoch = Epoch(1);
    bench.recorded(1, of_another_era);
    assert_eq!(bench.certified_height(1), before);
    bench.recorded(1, certificate);
    assert_eq!(bench.certified_height(1), header.height.0);
    let (seats, root) = (bench.seats.clone(), (header.height, header.id(bench.network.id)));
    for member in [1, 2] {
        bench.announce(member, plan(&seats, 4, Epoch(1), root));
        bench.tick(member);
    }
    assert_eq!((bench.replica(1).era().epoch, bench.replica(1).phase()), (Epoch(1), Phase::Joining));
    assert_eq!(bench.replica(2).phase(), Phase::Observer, "nobody has shown it that its root is certified");
}
