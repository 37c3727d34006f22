//! Statements about every protocol of the family: orders, indices, majorities and safety.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "a program's main is not run here")]
#[path = "../examples/always_one.rs"]
mod always_one;
#[path = "family/positions.rs"]
mod positions;
#[allow(dead_code, reason = "a program's main is not run here")]
#[path = "../examples/switches_and_light.rs"]
mod switches_and_light;

use always_one::Lattice;
use kakera_cbc::*;
use positions::Positions;
use proptest::prelude::*;
use switches_and_light::world::{Follow, Seed, World};
use switches_and_light::{Claimed, LIGHT_ON, Switches, totals};

/// What a suite needs to know about a protocol besides how to follow it.
trait Compared: Follow {
    /// Whether both candidates can be true.
    fn fits(one: Self::Candidate, other: Self::Candidate) -> bool;
}

impl Compared for Binary {
    fn fits(one: Stance, other: Stance) -> bool {
        one == other || one == Stance::Undecided || other == Stance::Undecided
    }
}

impl Follow for Integer {
    fn follow(&self, value: Range, liking: u64) -> i64 {
        value.single().unwrap_or((liking % 40) as i64 - 5)
    }
}

impl Compared for Integer {
    fn fits(one: Range, other: Range) -> bool {
        one.meets(other)
    }
}

impl Follow for Order {
    fn follow(&self, value: Ranking, liking: u64) -> Ranking {
        if self.is_whole(&value) { value } else { shuffled_ranking(4, liking) }
    }
}

impl Compared for Order {
    fn fits(one: Ranking, other: Ranking) -> bool {
        one.begins_with(&other) || other.begins_with(&one)
    }
}

impl Compared for Switches {
    fn fits(one: Claimed, other: Claimed) -> bool {
        one == other || one == Claimed::Anything || other == Claimed::Anything
    }
}

fn shuffled_ranking(items: u8, liking: u64) -> Ranking {
    let mut seed = Seed(liking);
    let mut order: Vec<u8> = (0..items).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, seed.below(i + 1));
    }
    Ranking::new(&order).unwrap()
}

fn integer() -> Integer {
    let ranges = [(0, 9), (10, 19), (0, 19), (5, 14)].map(|(low, high)| Range::between(low, high).unwrap());
    Integer::new(&ranges).unwrap()
}

fn order() -> Order {
    Order::new(["a", "b", "c", "d"]).unwrap()
}

/// Everything once, some twice, in an order that the seed says.
fn shuffled(n: usize, seed: u64) -> Vec<usize> {
    let mut seed = Seed(seed);
    let mut order: Vec<usize> = (0..n).chain((0..n).filter(|i| i % 3 == 0)).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, seed.below(i + 1));
    }
    order
}

fn committee(weights: &[u64]) -> Committee {
    Committee::new(weights.to_vec()).unwrap()
}

#[derive(Clone, Debug)]
struct Setting {
    weights: Vec<u64>,
    equivocators: usize,
    likings: Vec<u64>,
    script: Vec<(u8, u8, u16)>,
    seed: u64,
}

impl Setting {
    fn world<P: Follow>(&self, protocol: &P) -> World<P> {
        let equivocators = self.equivocators.min(self.weights.len() - 1);
        let mut world = World::new(&committee(&self.weights), equivocators, protocol, &self.likings);
        world.run(&self.script);
        world
    }
}

fn setting() -> impl Strategy<Value = Setting> {
    let weights = prop_oneof![
        Just(vec![1; 4]),
        Just(vec![1; 7]),
        Just(vec![3, 0, 2, 4, 1]),
        Just(vec![u64::MAX / 4; 4]),
        Just(vec![1]),
    ];
    let likings = prop::collection::vec(any::<u64>(), 1..6);
    let script = prop::collection::vec(any::<(u8, u8, u16)>(), 1..120);
    (weights, 0usize..3, likings, script, any::<u64>()).prop_map(|(weights, equivocators, likings, script, seed)| {
        Setting { weights, equivocators, likings, script, seed }
    })
}

fn orders_do_not_matter<P: Compared>(protocol: &P, setting: &Setting) -> Result<(), TestCaseError> {
    let world = setting.world(protocol);
    let plain = world.observer(protocol, 0..world.said.len());
    let mixed = world.observer(protocol, shuffled(world.said.len(), setting.seed));
    prop_assert_eq!((plain.len(), plain.parked()), (world.said.len(), 0));
    prop_assert_eq!((mixed.len(), mixed.parked()), (world.said.len(), 0));
    prop_assert_eq!(plain.head(), mixed.head());
    prop_assert_eq!(plain.resolve(&plain.view()), mixed.resolve(&mixed.view()));
    let faulty = |engine: &Engine<P>| engine.faulty().map(|f| f.0).collect::<Vec<_>>();
    prop_assert_eq!(faulty(&plain), faulty(&mixed));
    Ok(())
}

fn indices_equal_recomputation<P: Compared>(protocol: &P, setting: &Setting) -> Result<(), TestCaseError> {
    let world = setting.world(protocol);
    let mut observer = world.bystander(protocol);
    for which in shuffled(world.said.len(), setting.seed) {
        world.show(&mut observer, which);
        prop_assert_eq!(observer.head(), observer.fork_choice((), &observer.view()));
        for next in observer.unfinalized(&observer.head(), 1) {
            for k in 1..=observer.committee().levels() {
                let q = observer.committee().quorum(k);
                prop_assert!(!q.is_some_and(|q| observer.is_summit(&observer.view(), &next, q, k)));
            }
        }
    }
    Ok(())
}

/// Members of equal weight, the first of which tell two stories each, as many as are tolerable. Two
/// sides may hear nothing of each other for half of the time.
fn rounds<P: Compared>(protocol: &P, likings: &[u64], seed: u64, late: u64) -> World<P> {
    let (members, equivocators) = if seed.is_multiple_of(2) { (4, 1) } else { (7, 2) };
    let mut world = World::new(&committee(&vec![1; members]), equivocators, protocol, likings);
    let mut seed = Seed(seed);
    world.round(&mut seed, 8);
    let sides = if late.is_multiple_of(2) { seed.next() } else { 0 };
    for round in 0..8 {
        world.sides = if round < 4 { sides } else { 0 };
        world.slot += 1;
        world.round(&mut seed, late / 2);
    }
    world
}

/// Answers how many decided something.
fn decisions_fit<P: Compared>(protocol: &P, likings: &[u64], seed: u64, late: u64) -> Result<usize, TestCaseError> {
    let world = rounds(protocol, likings, seed, late);
    let observer = world.observer(protocol, shuffled(world.said.len(), seed));
    let faces = world.faces.iter().filter(|face| face.honest).map(|face| face.engine.finalized());
    let finals: Vec<P::Candidate> = faces.chain([observer.finalized()]).collect();
    for one in &finals {
        for other in &finals {
            prop_assert!(P::fits(*one, *other), "{one:?} and {other:?}");
        }
    }
    let undecided = protocol.candidate(protocol.root());
    Ok(finals.iter().filter(|decided| Some(**decided) != undecided).count())
}

/// Every candidate that votes of more than W/2 agree with is one that the estimate agrees with.
///
fn majorities_win<P: Protocol>(
    mut protocol: P,
    root: Value,
    votes: &[(P::Estimate, u64)],
    asked: &[P::Candidate],
) -> Result<(), TestCaseError> {
    let votes: Vec<(Value, u64)> = votes.iter().map(|(estimate, weight)| (protocol.admit(estimate), *weight)).collect();
    // Of the votes given: whoever is silent or faulty takes no side, and need not be outweighed.
    let total = votes.iter().map(|vote| u128::from(vote.1)).sum::<u128>();
    let estimate = protocol.estimate(root, votes.clone());
    let asked = asked.iter().filter_map(|candidate| protocol.value(candidate));
    let voted = votes.iter().map(|vote| vote.0);
    for candidate in asked.chain(voted) {
        prop_assert!(candidate != 0, "0 is never a value");
        let agreeing = votes.iter().filter(|vote| protocol.agrees(vote.0, candidate));
        if agreeing.map(|vote| u128::from(vote.1)).sum::<u128>() * 2 > total {
            prop_assert!(protocol.agrees(estimate, candidate), "{:?}", protocol.candidate(candidate));
        }
    }
    Ok(())
}

/// Picks from a few likings, with weights: one member weighs about as much as all others.
fn ballots() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((0u64..5, prop_oneof![Just(0u64), 1u64..4, 6u64..14]), 0..9)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn delivery_order_and_duplicates_do_not_matter(setting in setting()) {
        orders_do_not_matter(&Binary::new(), &setting)?;
        orders_do_not_matter(&integer(), &setting)?;
        orders_do_not_matter(&order(), &setting)?;
        orders_do_not_matter(&Switches::default(), &setting)?;
    }

    #[test]
    fn incremental_index_equals_recomputation(setting in setting()) {
        indices_equal_recomputation(&Binary::new(), &setting)?;
        indices_equal_recomputation(&integer(), &setting)?;
        indices_equal_recomputation(&order(), &setting)?;
        indices_equal_recomputation(&Switches::default(), &setting)?;
    }

    #[test]
    fn honest_views_never_finalize_what_cannot_both_be_with_tolerable_faults(
        likings in prop::collection::vec(any::<u64>(), 1..8),
        seed in any::<u64>(),
        late in 0u64..8,
    ) {
        decisions_fit(&Binary::new(), &likings, seed, late)?;
        decisions_fit(&integer(), &likings, seed, late)?;
        decisions_fit(&order(), &likings, seed, late)?;
        decisions_fit(&Switches::default(), &likings, seed, late)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_majority_for_a_candidate_wins_binary(ballots in ballots()) {
        let votes: Vec<(bool, u64)> = ballots.iter().map(|(liking, weight)| (liking % 2 == 1, *weight)).collect();
        let protocol = Binary::new();
        majorities_win(protocol.clone(), protocol.root(), &votes, &[Stance::Undecided])?;
    }

    #[test]
    fn a_majority_for_a_candidate_wins_integer(
        ballots in ballots(),
        bounds in prop::collection::vec((-2i64..18, 0i64..9), 0..20),
    ) {
        let votes: Vec<(i64, u64)> = ballots.iter().map(|(liking, weight)| (*liking as i64 * 3, *weight)).collect();
        let mut asked: Vec<Range> =
            bounds.iter().map(|(low, width)| Range::between(*low, low + width).unwrap()).collect();
        asked.extend([Range::at_least(6), Range::at_most(6), Range::at_most(2), Range::at_least(7), Range::ALL]);
        let protocol = Integer::new(&asked).unwrap();
        majorities_win(protocol.clone(), protocol.root(), &votes, &asked)?;
    }

    #[test]
    fn a_majority_for_a_candidate_wins_order(ballots in ballots(), salt in 0u64..1000) {
        let ranking = |liking: u64| shuffled_ranking(4, salt * 5 + liking);
        let votes: Vec<(Ranking, u64)> = ballots.iter().map(|(liking, weight)| (ranking(*liking), *weight)).collect();
        let beginnings = (0..5).flat_map(|liking| (0..4).map(move |length| (liking, length)));
        let asked: Vec<Ranking> =
            beginnings.map(|(liking, length)| Ranking::new(&ranking(liking).items()[..length]).unwrap()).collect();
        let protocol = order();
        majorities_win(protocol.clone(), protocol.root(), &votes, &asked)?;
    }

    #[test]
    fn a_majority_for_a_candidate_wins_blocks(
        ballots in ballots(),
        parents in prop::collection::vec(any::<prop::sample::Index>(), 5),
    ) {
        let id = |block: usize| BlockId([block as u8; 32]);
        let mut protocol = Blocks::new(id(0), 0, Slot(0), Leaders::new(vec![Member(0)]));
        let mut heights = vec![0];
        for (block, parent) in (1..).zip(&parents) {
            let parent = parent.index(block);
            let height = heights[parent] + 1;
            heights.push(height);
            let new = NewBlock { id: id(block), parent: id(parent), height, slot: Slot(block as u64) };
            protocol.admit(&BlockEstimate::Proposal(new));
        }
        let vote = |liking: u64| BlockEstimate::Vote(id(liking as usize + 1));
        let votes: Vec<(BlockEstimate, u64)> = ballots.iter().map(|(liking, weight)| (vote(*liking), *weight)).collect();
        let asked: Vec<BlockId> = (0..6).map(id).collect();
        majorities_win(protocol.clone(), protocol.root(), &votes, &asked)?;
    }

    #[test]
    fn a_majority_for_a_candidate_wins_switches(ballots in ballots()) {
        let votes: Vec<((bool, bool), u64)> =
            ballots.iter().map(|(liking, weight)| ((liking & 1 == 1, liking & 2 == 2), *weight)).collect();
        let protocol = Switches::default();
        let switches = [false, true].map(|on| [Claimed::A(on), Claimed::B(on)]).concat();
        majorities_win(protocol.clone(), protocol.root(), &votes, &[switches, vec![LIGHT_ON]].concat())?;
    }
}

/// The statement above can fail: the sum of positions breaks it.
#[test]
fn the_majority_statement_catches_the_sum_of_positions() {
    let votes = [([0, 1, 2, 3], 3), ([1, 2, 3, 0], 2)].map(|(items, weight)| (Ranking::new(&items).unwrap(), weight));
    let root = order().root();
    assert!(majorities_win(order(), root, &votes, &[]).is_ok());
    assert!(majorities_win(Positions(order()), root, &votes, &[]).is_err());
}

/// How many of this many seeds make somebody decide, when little is late.
fn deciding<P: Compared>(protocol: &P, seeds: u64) -> usize {
    let likings = |seed: u64| (0..8).map(|place| Seed(seed * 8 + place).next()).collect::<Vec<_>>();
    (0..seeds).filter(|seed| decisions_fit(protocol, &likings(*seed), *seed, 1).unwrap() > 0).count()
}

/// The safety statement above can fail: with more faults than the threshold, decisions do conflict.
#[test]
fn decisions_conflict_with_more_faults_than_the_threshold() {
    fn conflicts<P: Compared>(protocol: &P) -> usize {
        let careless = committee(&[1; 3]).with_threshold(0).unwrap();
        let conflict = |start: &u64| {
            let mut seed = Seed(*start);
            let likings: Vec<u64> = (0..4).map(|_| seed.next()).collect();
            let mut world = World::new(&careless, 1, protocol, &likings);
            for round in 0..5 {
                world.slot += 1;
                world.round(&mut seed, if round == 0 { 8 } else { 5 });
            }
            let finals: Vec<_> = world.faces.iter().filter(|f| f.honest).map(|f| f.engine.finalized()).collect();
            !P::fits(finals[0], finals[1])
        };
        (0..400).filter(conflict).count()
    }
    let found = [conflicts(&Binary::new()), conflicts(&integer()), conflicts(&order())];
    assert!(found.iter().all(|count| *count > 0), "{found:?}");
}

#[test]
fn every_protocol_decides_when_little_is_late() {
    let decided = [deciding(&Binary::new(), 40), deciding(&integer(), 40), deciding(&order(), 40)];
    assert!(decided.iter().all(|count| *count >= 30), "{decided:?} of 40");
}

#[test]
fn ranges_are_finalized_before_integers_and_orders_from_their_top() {
    fn finals<P: Follow>(protocol: &P, likings: &[u64]) -> Vec<P::Candidate> {
        let mut world = World::new(&committee(&[1; 4]), 0, protocol, likings);
        let mut finals = Vec::new();
        for round in 0..4 {
            world.slot += 1;
            for face in 0..4 {
                let what = if round == 0 { 0..0 } else { 0..world.said.len() };
                let given = what.flat_map(|which| world.deliver(face, which)).collect::<Vec<_>>();
                let events = given.into_iter().chain(world.speak(face));
                finals.extend(events.filter(|_| face == 3).filter_map(|event| match event {
                    Event::Finalized(candidate, _) => Some(candidate),
                    _ => None,
                }));
            }
        }
        finals
    }
    let range = |low, high| Range::between(low, high).unwrap();
    // Likings are 5 above the integers that they make.
    let path = finals(&integer(), &[17, 9, 18, 38]);
    assert_eq!(path, [range(0, 19), range(5, 14), Range::exactly(12)]);
    let places = finals(&order(), &[7]);
    let whole = shuffled_ranking(4, 7);
    let beginnings: Vec<Ranking> = (1..=4).map(|length| Ranking::new(&whole.items()[..length]).unwrap()).collect();
    assert_eq!(places, beginnings);
}

#[test]
fn two_validators_that_always_say_one_finalize_it_after_three_messages_in_turn() {
    let lattice = Lattice::explore(5);
    let counts: Vec<usize> = (0..lattice.ranks.len()).map(|rank| lattice.rank(rank).len()).collect();
    assert_eq!(counts, [1, 2, 5, 14, 42, 132], "the Catalan numbers");
    let first = lattice.states.iter().find(|state| state.final_for.validators[0]).unwrap();
    assert_eq!(first.describe(), "A0 A1(B0) B0(A0)");
    for (rank, number) in (0..counts.len()).flat_map(|rank| lattice.rank(rank).map(move |number| (rank, number))) {
        let state = &lattice.states[number];
        let [a, b] = state.final_for.validators;
        assert!(rank >= 3 || !state.final_for.bystander, "nothing is final before three messages");
        assert!(rank >= 4 || !(a && b), "both know only after four");
        assert!(state.final_for.bystander || !(a || b), "who holds more knows more");
        for next in state.next.iter().map(|next| &lattice.states[*next].final_for) {
            let kept = |before: bool, after: bool| after || !before;
            assert!(kept(a, next.validators[0]) && kept(b, next.validators[1]), "final stays final");
            assert!(kept(state.final_for.bystander, next.bystander), "final stays final");
        }
        // The mirrored state is there, with the mirrored answer.
        let mirrored = [state.threads[1].clone(), state.threads[0].clone()];
        let mirror = lattice.rank(rank).map(|other| &lattice.states[other]).find(|other| other.threads == mirrored);
        assert_eq!(mirror.unwrap().final_for.validators, [b, a]);
        assert_eq!(state.next.is_empty(), rank == 5);
    }
    let bystander = lattice.states.iter().find(|state| state.describe() == "A0 A1(B0) B0 B1(A0)").unwrap();
    assert!(bystander.final_for.bystander && bystander.final_for.validators == [false; 2]);
}

#[test]
fn the_lattice_is_drawn_with_every_state_and_transition() {
    let lattice = Lattice::explore(3);
    let drawing = always_one::drawing::svg(&lattice);
    let transitions: usize = lattice.states.iter().map(|state| state.next.len()).sum();
    assert_eq!(drawing.matches("<title>").count(), lattice.states.len());
    assert_eq!(drawing.matches("<path ").count(), transitions);
    assert!(drawing.starts_with("<svg xmlns=") && drawing.ends_with("</svg>\n"));
    let text = always_one::text(&lattice);
    assert_eq!(text.lines().count(), lattice.states.len() + lattice.ranks.len());
    assert_eq!(text.matches("final for A").count(), 1);
}

#[test]
fn nobody_decides_a_light_that_contradicts_a_switch() {
    for equivocates in [false, true] {
        let totals = totals(400, equivocates);
        assert_eq!(totals.joint_contradictions, 0);
        assert!(totals.lights > 400, "observers decide: {totals:?}");
        assert!(totals.one_switch > 0, "one switch can be decided without the other: {totals:?}");
        assert!(totals.separate_contradictions > 0, "separate instances do contradict each other: {totals:?}");
    }
}

#[test]
fn contradictions_are_seen() {
    use switches_and_light::{Decided, Run};
    let decided = |a, b, light| Decided { a, b, light };
    let lit = decided(None, None, Some(true));
    assert!(Run::contradicts(&[lit, decided(Some(false), None, None)]));
    assert!(Run::contradicts(&[lit, decided(None, None, Some(false))]));
    assert!(Run::contradicts(&[decided(Some(true), Some(true), Some(false))]));
    assert!(Run::contradicts(&[decided(Some(true), None, Some(false)), decided(None, Some(true), None)]));
    assert!(!Run::contradicts(&[lit, decided(Some(true), None, None), Decided::default()]));
}
