//! Statements about every DAG, tried on random ones: crowds that hear, cite, split and keep silent by chance.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::crowd::{Crowd, uneven};
use common::*;
use kakera_cbc::*;
use proptest::prelude::*;

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

/// A crowd of up to `most` members; those who may split weigh at most `faults` of W, in the committee's terms.
fn crowd(seed: u64, most: usize, faults: Faults, happenings: usize) -> Crowd {
    let mut chance = Chance(seed);
    let weights = uneven(&mut chance, most);
    let committee = Committee::new(weights.clone()).unwrap();
    let faults = match faults {
        Faults::None => 0,
        Faults::Tolerable => committee.threshold(),
        Faults::Any => committee.total() / 4 * 3,
    };
    let mut crowd = Crowd::new(weights, faults, chance.next());
    crowd.run(happenings);
    crowd
}

#[derive(Clone, Copy, Debug)]
enum Faults {
    None,
    Tolerable,
    Any,
}

/// What an observer concludes that must not depend on the order.
fn conclusions(crowd: &Crowd, engine: &Engine<Blocks>) -> impl PartialEq + use<> {
    let faulty: Vec<Member> = engine.faulty().map(|found| found.0).collect();
    let rows: Vec<_> = crowd.said.iter().map(|message| engine.observations(&message.id)).collect();
    (engine.head(), engine.resolve(&engine.view()), faulty, rows, engine.len(), engine.parked())
}

fn same_in_any_order(crowd: &mut Crowd) -> Result<(), TestCaseError> {
    let mut observers = Vec::new();
    for turn in 0..3 {
        let order: Vec<usize> = if turn == 0 { (0..crowd.said.len()).collect() } else { crowd.order() };
        let mut observer = crowd.nobody();
        for which in order {
            prop_assert_eq!(crowd.deliver(&mut observer, which, &mut |_, _| {}), []);
        }
        observers.push(observer);
    }
    prop_assert_eq!((observers[0].len(), observers[0].parked()), (crowd.said.len(), 0));
    for other in &observers[1..] {
        prop_assert!(conclusions(crowd, &observers[0]) == conclusions(crowd, other));
        if crowd.proofs.is_empty() {
            prop_assert_eq!(observers[0].finalized(), other.finalized());
        }
    }
    Ok(())
}

/// Follows an engine step by step and recomputes everything from scratch after each.
struct Auditor<'a> {
    crowd: &'a Crowd,
    finalized: BlockId,
    head: BlockId,
    /// How many steps are checked against the definitions too: one of so many, or none.
    naive_every: usize,
    steps: usize,
    finals: usize,
}

impl Auditor<'_> {
    fn check(&mut self, engine: &Engine<Blocks>, events: &[Event<Blocks>]) {
        self.steps += 1;
        let view = engine.view();
        let head = engine.head();
        assert_eq!(head, engine.fork_choice(engine.base(), &view), "the head is the fork choice of the view");
        let moved = events.iter().filter(|event| matches!(event, Event::HeadChanged(_))).count();
        if let Some(Event::HeadChanged(to)) = events.iter().rfind(|event| matches!(event, Event::HeadChanged(_))) {
            assert_eq!((*to, moved), (head, 1));
        } else if !events.is_empty() {
            assert_eq!(head, self.head, "a head that moves is reported");
        }
        self.head = head;
        let naive = self.naive_every > 0 && self.steps.is_multiple_of(self.naive_every);
        let seen = engine.resolve(&view);
        let (book, weights) = (&self.crowd.book, &self.crowd.weights);
        if naive {
            assert_eq!(head, book.head(engine.base(), &seen, weights), "the head by the definition");
        }
        let committee = engine.committee();
        let mut reports = events.iter().filter_map(|event| match event {
            Event::Finalized(block, level) => Some((*block, *level)),
            _ => None,
        });
        while let Some(next) = engine.protocol().path(&self.finalized, &head).first().copied() {
            let summit = |k: u32| committee.quorum(k).is_some_and(|q| engine.is_summit(&view, &next, q, k));
            if naive {
                for k in 1..=committee.levels() {
                    let exists = committee.quorum(k).is_some_and(|q| book.is_summit(&seen, weights, next, q, k));
                    assert_eq!(summit(k), exists, "a summit of level {k} by the definition");
                }
            }
            if !(1..=committee.levels()).any(summit) {
                break;
            }
            let (reported, level) = reports.next().expect("a summit is found at once");
            assert_eq!(reported, next);
            assert!(summit(level), "the reported level {level} is that of a summit");
            self.finalized = next;
            self.finals += 1;
        }
        assert_eq!(reports.next(), None, "nothing is finalized without a summit");
        assert_eq!(engine.finalized(), self.finalized);
    }
}

/// Feeds an observer that accuses, certifies and prunes on the way, audited after every change. Answers how many
/// candidates it finalized.
fn audited(crowd: &mut Crowd, naive_every: usize, accuses: bool, certifies: bool, prunes: bool) -> usize {
    let order = crowd.order();
    let mut chance = crowd.chance.clone();
    let bases: Vec<u64> =
        crowd.faces.iter().map(|face| face.engine.protocol().block(&face.engine.base()).unwrap().slot.0).collect();
    let line = bases.into_iter().min().unwrap();
    let mut observer = crowd.nobody();
    let auditor = Auditor { crowd, finalized: ROOT, head: ROOT, naive_every, steps: 0, finals: 0 };
    let auditor = std::cell::RefCell::new(auditor);
    let mut look = |engine: &Engine<Blocks>, events: &[Event<Blocks>]| auditor.borrow_mut().check(engine, events);
    for which in order {
        crowd.deliver(&mut observer, which, &mut look);
        match chance.below(12) {
            0 if accuses => {
                // Real evidence, or what only another network's rules would call evidence: the engine trusts its caller.
                let member = Member(chance.below(crowd.weights.len()) as u16);
                let proof = crowd.proofs.get(&member).copied();
                let (first, second) = proof.unwrap_or((MessageId([1; 32]), MessageId([2; 32])));
                if proof.is_some() || chance.percent(8) {
                    let events = observer.accuse(member, first, second);
                    look(&observer, &events);
                }
            }
            1 | 2 if certifies => {
                // Refused where the accused finalized something else before.
                let _ = observer.certify(observer.finalized());
                look(&observer, &[]);
            }
            3 if prunes => {
                observer.prune(Slot(chance.next() % (line + 1)));
                look(&observer, &[]);
            }
            _ => {}
        }
    }
    auditor.into_inner().finals
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_result_does_not_depend_on_delivery_order_or_duplicates_without_equivocation(
        seed in any::<u64>(),
        happenings in 1usize..120,
    ) {
        same_in_any_order(&mut crowd(seed, 12, Faults::None, happenings))?;
    }

    #[test]
    fn the_result_does_not_depend_on_delivery_order_or_duplicates_with_equivocation(
        seed in any::<u64>(),
        happenings in 1usize..120,
    ) {
        same_in_any_order(&mut crowd(seed, 12, Faults::Any, happenings))?;
    }

    #[test]
    fn incremental_index_equals_recomputation_from_scratch_after_every_step(
        seed in any::<u64>(),
        happenings in 1usize..160,
        faults in prop_oneof![Just(Faults::None), Just(Faults::Tolerable), Just(Faults::Any)],
        (accuses, certifies) in any::<(bool, bool)>(),
    ) {
        audited(&mut crowd(seed, 12, faults, happenings), 0, accuses, certifies, false);
    }

    #[test]
    fn incremental_index_equals_recomputation_from_scratch_after_every_step_with_pruning(
        seed in any::<u64>(),
        happenings in 1usize..160,
        faults in prop_oneof![Just(Faults::None), Just(Faults::Tolerable), Just(Faults::Any)],
        accuses in any::<bool>(),
    ) {
        audited(&mut crowd(seed, 12, faults, happenings), 0, accuses, true, true);
    }

    #[test]
    fn head_and_finality_are_those_of_the_definitions_after_every_step(
        seed in any::<u64>(),
        happenings in 1usize..70,
        faults in prop_oneof![Just(Faults::None), Just(Faults::Tolerable), Just(Faults::Any)],
        accuses in any::<bool>(),
    ) {
        audited(&mut crowd(seed, 6, faults, happenings), 2, accuses, false, false);
    }

    #[test]
    fn pruning_changes_no_conclusion(seed in any::<u64>(), happenings in 20usize..200) {
        let mut crowd = crowd(seed, 7, Faults::Tolerable, 0);
        crowd.certifies = true;
        crowd.run(happenings);
        let (mut whole, mut pruned) = (crowd.nobody(), crowd.nobody());
        for which in 0..crowd.said.len() {
            prop_assert_eq!(crowd.deliver(&mut pruned, which, &mut |_, _| {}), []);
            crowd.deliver(&mut whole, which, &mut |_, _| {});
            // A message on a new base that still cites what only pruned messages cite waits to be fetched whole.
            if pruned.parked() > whole.parked() {
                break;
            }
            prop_assert_eq!((whole.head(), whole.finalized()), (pruned.head(), pruned.finalized()));
            let view = whole.view();
            for block in whole.unfinalized(&whole.head(), 3) {
                for k in 1..=whole.committee().levels() {
                    let largest = [&whole, &pruned].map(|engine| engine.largest_quorum(&engine.view(), &block, k));
                    prop_assert_eq!(largest[0], largest[1], "level {}", k);
                    let q = whole.committee().quorum(k).unwrap_or(u64::MAX);
                    for member in whole.committee().members() {
                        let of = |engine: &Engine<Blocks>| engine.levels(&engine.view(), &block, q, k).unwrap().of(member);
                        prop_assert_eq!(of(&whole), of(&pruned));
                    }
                }
            }
            prop_assert_eq!(whole.resolve(&view), pruned.resolve(&pruned.view()));
            // As far as no later message builds on what is pruned.
            let slot = |message: &Message<Blocks>| crowd.slot_of(message.base);
            let line = crowd.said[which..].iter().map(slot).min();
            pruned.prune(line.unwrap_or(Slot(0)));
        }
    }

    #[test]
    fn finalized_is_never_undone_under_any_valid_extension_with_faults_at_most_t(
        seed in any::<u64>(),
        before in 10usize..80,
        after in 1usize..80,
    ) {
        let mut crowd = crowd(seed, 9, Faults::Tolerable, before);
        let mut observer = crowd.nobody();
        // The observer knows a part, and what is withheld comes later, with whatever traitors add to it.
        let known = crowd.said.len();
        for which in (0..known).filter(|which| which % 11 != 3) {
            crowd.deliver(&mut observer, which, &mut |_, _| {});
        }
        crowd.loud = crowd.chance.below(60);
        crowd.run(after);
        let faulty: u64 = crowd.proofs.keys().map(|member| crowd.weights[member.index()]).sum();
        prop_assert!(faulty <= observer.committee().threshold());
        let order = crowd.order();
        for which in order {
            let mut last = observer.finalized();
            let refused = crowd.deliver(&mut observer, which, &mut |engine, _| {
                let (finalized, head) = (engine.finalized(), engine.head());
                assert!(engine.protocol().descends(&finalized, &last), "what is final stays final");
                assert!(engine.protocol().descends(&head, &finalized), "every later head builds on it");
                last = finalized;
            });
            prop_assert_eq!(refused, []);
        }
        let finals = crowd.faces.iter().map(|face| face.engine.finalized()).chain([observer.finalized()]);
        let finals: Vec<BlockId> = finals.collect();
        for a in &finals {
            for b in &finals {
                prop_assert!(crowd.book.descends(*a, *b) || crowd.book.descends(*b, *a), "{a:?} against {b:?}");
            }
        }
        for Face { engine, .. } in &crowd.faces {
            prop_assert!(crowd.book.descends(engine.head(), engine.finalized()));
        }
    }

    #[test]
    fn what_t2_finalizes_t1_has_finalized_too(seed in any::<u64>(), happenings in 1usize..140) {
        let mut crowd = crowd(seed, 9, Faults::Tolerable, happenings);
        let committee = Committee::new(crowd.weights.clone()).unwrap();
        let t2 = committee.threshold();
        let levels = |t: &u64| committee.clone().with_threshold(*t).unwrap().levels();
        // Of equal K: see `a_lower_threshold_looks_at_no_fewer_levels`.
        let lower = (0..64u64).filter_map(|_| crowd.chance.next().checked_rem(t2)).filter(|t1| levels(t1) == levels(&t2));
        let lower: Vec<u64> = lower.take(2).collect();
        for t1 in lower {
            thresholds(&mut crowd, t1, t2)?;
        }
    }

    #[test]
    fn evidence_held_by_one_honest_member_reaches_all_that_cite_it(seed in any::<u64>(), happenings in 1usize..120) {
        let crowd = crowd(seed, 8, Faults::Any, happenings);
        for (at, message) in crowd.said.iter().enumerate() {
            let marks = |id: &MessageId, member: &Member| crowd.archive[id][member.index()] == Observation::Faulty;
            let marked: Vec<Member> = crowd.proofs.keys().copied().filter(|member| marks(&message.id, member)).collect();
            for Face { engine, .. } in crowd.faces.iter().filter(|face| face.engine.contains(&message.id)) {
                prop_assert!(marked.iter().all(|member| engine.is_faulty(*member)));
            }
            for (later, citing) in crowd.said.iter().enumerate().skip(at + 1) {
                if crowd.book.closures[later].contains(&at) {
                    let told = marked.iter().filter(|member| **member != citing.sender);
                    prop_assert!(told.into_iter().all(|member| marks(&citing.id, member)));
                }
            }
        }
    }

    #[test]
    fn summit_quorum_at_level_1_is_at_least_the_clique_weight(
        seed in any::<u64>(),
        happenings in 1usize..120,
        faults in prop_oneof![Just(Faults::None), Just(Faults::Any)],
    ) {
        let crowd = crowd(seed, 9, faults, happenings);
        let mut observer = crowd.nobody();
        (0..crowd.said.len()).for_each(|which| drop(crowd.deliver(&mut observer, which, &mut |_, _| {})));
        let view = observer.view();
        for message in &crowd.said {
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

/// K, and with it M and the levels that are looked at, belong to the era: a lower threshold of one's own may not lower
/// them, or a summit of a higher level finalizes for the careful alone.
#[test]
fn a_lower_threshold_looks_at_no_fewer_levels() {
    let committee = Committee::new(vec![50, 12, 38]).unwrap();
    let (t1, t2) = (16, 17);
    let with = |t| committee.clone().with_threshold(t).unwrap();
    assert_eq!((with(t1).quorum(1), with(t2).quorum(2)), (Some(67), Some(62)));
    assert!(with(t1).levels() >= with(t2).levels(), "{} against {}", with(t1).levels(), with(t2).levels());
    assert_eq!(with(t1).messages_per_slot(), with(t2).messages_per_slot(), "what is valid depends on no report");
    let mut crowd = Crowd::new(committee.weights().to_vec(), 0, 1);
    crowd.propose(0);
    for _ in 0..4 {
        for face in [0, 1] {
            crowd.hear_all(face);
            crowd.vote(face);
        }
    }
    thresholds(&mut crowd, t1, t2).unwrap();
}

/// Feeds one order to two thresholds; what the careful one finalizes, the other has finalized.
fn thresholds(crowd: &mut Crowd, t1: u64, t2: u64) -> Result<(), TestCaseError> {
    let with = |threshold: u64| {
        let committee = Committee::new(crowd.weights.clone()).unwrap().with_threshold(threshold).unwrap();
        let cycle: Vec<Member> = committee.members().collect();
        Engine::new(committee, None, Limits::default(), Blocks::new(ROOT, 0, Slot(0), Leaders::new(cycle)))
    };
    let (mut bold, mut careful) = (with(t1), with(t2));
    for which in crowd.order() {
        prop_assert_eq!(crowd.deliver(&mut bold, which, &mut |_, _| {}), []);
        prop_assert_eq!(crowd.deliver(&mut careful, which, &mut |_, _| {}), []);
        let (bold, careful) = (bold.finalized(), careful.finalized());
        prop_assert!(crowd.book.descends(bold, careful), "{bold:?} at {t1} is behind {careful:?} at {t2}");
    }
    Ok(())
}

/// The crowds above do finalize, equivocate, flip and fork: their statements are not empty.
#[test]
fn crowds_finalize_and_equivocate() {
    let (mut finals, mut proofs, mut heads, mut said) = (0, 0, 0, 0);
    for seed in 0..40 {
        let mut crowd = crowd(seed, 12, Faults::Any, 120);
        let mut observer = crowd.nobody();
        for which in 0..crowd.said.len() {
            crowd.deliver(&mut observer, which, &mut |_, events| {
                heads += events.iter().filter(|event| matches!(event, Event::HeadChanged(_))).count();
            });
        }
        said += crowd.said.len();
        proofs += crowd.proofs.len();
        finals += audited(&mut crowd, 0, false, true, false);
    }
    assert!(finals > 100 && proofs > 20 && heads > 400 && said > 4000, "{finals} {proofs} {heads} {said}");
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
