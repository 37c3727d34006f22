//! Statements about every DAG, tried on random ones.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;
use kakera_cbc::*;
use proptest::prelude::*;

fn script(length: usize) -> impl Strategy<Value = Vec<(u8, u8, u16)>> {
    prop::collection::vec(any::<(u8, u8, u16)>(), 1..length)
}

fn weights() -> impl Strategy<Value = Vec<u64>> {
    prop_oneof![
        Just(vec![1; 4]),
        Just(vec![1; 7]),
        Just(vec![3, 0, 2, 4, 1]),
        Just(vec![u64::MAX / 4; 4]),
        Just(vec![1]),
    ]
}

/// A permutation of 0..n with repeats, from a seed.
fn shuffled(n: usize, mut seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).chain((0..n).filter(|i| i % 3 == 0)).collect();
    for i in (1..order.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(i, (seed >> 33) as usize % (i + 1));
    }
    order
}

/// The slot-by-slot world: everybody speaks twice a slot, and each delivery may be late.
fn rounds(weights: &[u64], equivocators: usize, late: &[u64]) -> World {
    let mut world = World::new(weights, equivocators);
    let faces = world.faces.len();
    for (round, mask) in late.iter().enumerate() {
        let leader = (world.slot % weights.len() as u64) as u16;
        let order = (0..faces).filter(|f| world.faces[*f].engine.me() == Some(Member(leader)));
        let order: Vec<usize> = order.chain(0..faces).collect();
        for (place, face) in order.into_iter().enumerate() {
            if mask >> (place % 64) & 1 == 0 {
                (0..world.said.len()).for_each(|which| world.deliver(face, which));
            }
            world.speak(face);
        }
        world.slot += u64::from(round % 2 == 1);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn delivery_order_and_duplicates_do_not_matter(
        weights in weights(),
        script in script(160),
        equivocators in 0usize..3,
        seed in any::<u64>(),
    ) {
        let equivocators = equivocators.min(weights.len() - 1);
        let mut world = World::new(&weights, equivocators);
        world.run(&script);
        let plain = world.observer(0..world.said.len());
        let mixed = world.observer(shuffled(world.said.len(), seed));
        prop_assert_eq!(plain.len(), world.said.len());
        prop_assert_eq!(mixed.len(), world.said.len());
        prop_assert_eq!((plain.parked(), mixed.parked()), (0, 0));
        prop_assert_eq!(plain.head(), mixed.head());
        prop_assert_eq!(plain.resolve(&plain.view()), mixed.resolve(&mixed.view()));
        let faulty = |engine: &Engine<Blocks>| engine.faulty().map(|f| f.0).collect::<Vec<_>>();
        prop_assert_eq!(faulty(&plain), faulty(&mixed));
        for message in &world.said {
            prop_assert_eq!(plain.observations(&message.id), mixed.observations(&message.id));
        }
        if equivocators == 0 {
            prop_assert_eq!(plain.finalized(), mixed.finalized());
        }
    }

    #[test]
    fn incremental_index_equals_recomputation(
        weights in weights(),
        script in script(120),
        equivocators in 0usize..3,
        seed in any::<u64>(),
        certify in any::<bool>(),
    ) {
        let mut world = World::new(&weights, equivocators.min(weights.len() - 1));
        world.run(&script);
        let mut observer = engine(weights, None);
        for which in shuffled(world.said.len(), seed) {
            let (events, _) = feed(&mut observer, world.slot, &world.said[which], &world.archive);
            prop_assert_eq!(observer.head(), observer.fork_choice(observer.base(), &observer.view()));
            let view = observer.view();
            for next in observer.unfinalized(&observer.head(), 1) {
                for k in 1..=observer.committee().levels() {
                    let q = observer.committee().quorum(k);
                    prop_assert!(!q.is_some_and(|q| observer.is_summit(&view, &next, q, k)));
                }
            }
            if certify && events.iter().any(|event| matches!(event, Event::Finalized(..))) {
                observer.certify(observer.finalized()).unwrap();
                prop_assert_eq!(observer.base(), observer.finalized());
                let head = observer.fork_choice(observer.base(), &observer.view());
                prop_assert_eq!(observer.head(), head);
            }
        }
    }

    #[test]
    fn finalized_is_never_undone_with_tolerable_faults(
        seven in any::<bool>(),
        late in prop::collection::vec(any::<u64>(), 2..14),
        sparse in any::<bool>(),
    ) {
        let (weights, equivocators) = if seven { (vec![1; 7], 2) } else { (vec![1; 4], 1) };
        let late: Vec<u64> = late.iter().map(|m| if sparse { m & (m >> 7) } else { *m }).collect();
        let world = rounds(&weights, equivocators, &late);
        let observer = world.observer(0..world.said.len());
        let mut finals: Vec<BlockId> = world.faces.iter().map(|f| f.engine.finalized()).collect();
        finals.push(observer.finalized());
        for a in &finals {
            for b in &finals {
                let blocks = observer.protocol();
                prop_assert!(blocks.descends(a, b) || blocks.descends(b, a));
            }
        }
    }

    #[test]
    fn level_one_quorum_at_least_clique(
        weights in weights(),
        late in prop::collection::vec(any::<u64>(), 2..8),
        equivocators in 0usize..2,
    ) {
        let equivocators = equivocators.min(weights.len() - 1);
        let world = rounds(&weights, equivocators, &late);
        let observer = world.observer(0..world.said.len());
        let view = observer.view();
        for message in &world.said {
            let block = message.estimate.block();
            let clique = observer.clique_weight(&view, &block, 1 << 20).unwrap();
            if u128::from(clique) * 2 > u128::from(observer.committee().total()) {
                prop_assert!(observer.largest_quorum(&view, &block, 1) >= Some(clique));
            }
        }
    }

    #[test]
    fn restart_from_the_stored_order_gives_the_same_engine(
        late in prop::collection::vec(any::<u64>(), 2..10),
        equivocators in 0usize..2,
    ) {
        let world = rounds(&[1; 4], equivocators, &late);
        let first = world.observer(0..world.said.len());
        let again = world.observer(0..world.said.len());
        prop_assert_eq!(first.finalized(), again.finalized());
        prop_assert_eq!(first.head(), again.head());
        prop_assert_eq!(first.view(), again.view());
    }

    #[test]
    fn arbitrary_mutation_never_panics(
        late in prop::collection::vec(any::<u64>(), 2..6),
        changes in prop::collection::vec((any::<u16>(), 0u8..12, any::<u64>(), any::<u16>()), 1..60),
    ) {
        let world = rounds(&[1; 4], 1, &late);
        let mut target = world.observer((0..world.said.len()).filter(|which| which % 4 != 3));
        for (which, what, number, member) in changes {
            let mut message = world.said[usize::from(which) % world.said.len()].clone();
            let other = &world.said[number as usize % world.said.len()];
            let small = number % 6;
            match what {
                0 => message.sender = Member(member % 6),
                1 => message.seq = if number % 5 == 0 { number } else { small },
                2 => message.slot = Slot(if number % 5 == 0 { number } else { small }),
                3 => message.base = other.estimate.block(),
                4 => message.advances.push((Member(member), Cite::Ahead(number))),
                5 => message.advances.insert(0, (Member(member % 5), Cite::Faulty)),
                6 => message.advances.clone_from(&other.advances),
                7 => message.cites = other.cites,
                8 => message.estimate = other.estimate,
                9 => message.estimate = BlockEstimate::Proposal(NewBlock {
                    id: other.estimate.block(),
                    parent: message.estimate.block(),
                    height: number,
                    slot: message.slot,
                }),
                10 => message.advances.clear(),
                _ => {
                    message.advances.retain(|advance| advance.0.0 != member % 4);
                }
            }
            let message = named(message);
            let mut cites = world.archive[&other.id].clone();
            if let Some(place) = cites.get_mut(usize::from(member) % 4) {
                *place = if number % 2 == 0 { Observation::Latest(other.id) } else { Observation::Faulty };
            }
            let mut honest = message.clone();
            honest.cites = cites_digest(&cites);
            if let Verdict::Valid(checked) = target.check_full(Slot(world.slot), &named(honest), &cites) {
                target.insert(checked);
            }
            let now = if number % 7 == 0 { number } else { world.slot };
            feed(&mut target, now, &message, &world.archive);
            prop_assert_eq!(target.head(), target.fork_choice(target.base(), &target.view()));
        }
        target.prune(Slot(world.slot));
        for message in &world.said {
            feed(&mut target, world.slot, message, &world.archive);
        }
    }
}

/// The worlds above do finalize, with and without equivocators: their statements are not empty.
#[test]
fn worlds_finalize() {
    for (weights, equivocators) in [(vec![1; 4], 0), (vec![1; 4], 1), (vec![1; 7], 2)] {
        let mut seed = 7u64;
        let mut full = 0;
        for _ in 0..20 {
            let mut late = vec![0; 20];
            for mask in &mut late[..8] {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *mask = (seed >> 20) & (seed >> 31);
            }
            let world = rounds(&weights, equivocators, &late);
            let observer = world.observer(0..world.said.len());
            let all_final = world.faces.iter().all(|face| face.engine.finalized() != ROOT);
            full += u32::from(all_final && observer.faulty().count() == equivocators);
        }
        assert!(full >= 5, "{} members, {equivocators} equivocators: {full} of 20", weights.len());
    }
}
