//! Three observers of two switches and a light: dependent decisions fit together.
//!
//! The light is on when both switches are. The observers agree about all three with *one* protocol,
//! written here, outside the crate: an estimate is the pair of switches, and the light follows from it.
//! Then nobody decides "light on" while somebody decides "switch A off", whatever is late and even
//! when the lightest of them tells two stories.
//!
//! Three separate instances about one bit each have no such guarantee: with observations on/off,
//! off/on and on/on, two of three see each switch on and two of three see the light off. The same
//! schedules are run that way too, and contradict themselves.
//!
//! For the same reason "light off" is no proposition that a majority of votes decides: whoever decides
//! that a switch is off has decided it.
//!
//! `cargo run --release -p kakera-cbc --example switches_and_light -- [RUNS]`

#[path = "world/mod.rs"]
pub(crate) mod world;

use kakera_cbc::{
    Binary, CertifyError, Claim, Committee, Engine, InvalidEstimate, Protocol, Slot, Stance, Standing, Value,
};
use std::process::ExitCode;
use world::{Follow, Seed, World};

/// What can be decided about the switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Claimed {
    /// Nothing yet: every message agrees with that.
    Anything,
    /// Both switches, and so the light.
    Both(bool, bool),
    /// Switch A alone.
    A(bool),
    /// Switch B alone.
    B(bool),
}

/// The light is on: the same proposition as both switches on.
pub(crate) const LIGHT_ON: Claimed = Claimed::Both(true, true);

const CLAIMS: [Claimed; 9] = [
    Claimed::Anything,
    Claimed::Both(false, false),
    Claimed::Both(false, true),
    Claimed::Both(true, false),
    LIGHT_ON,
    Claimed::A(false),
    Claimed::A(true),
    Claimed::B(false),
    Claimed::B(true),
];

const ANYTHING: Value = 1;

/// Consensus on two switches: each is as the greater weight of the latest honest votes says, off
/// between equals.
///
/// When votes of more than W/2 say that switch A is on, so does the estimate; the same for off, for
/// switch B, and, as both switches follow, for every pair. That is what finality needs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Switches {
    /// Own-view weight for each of the four pairs.
    weights: [u64; 4],
}

fn claimed(value: Value) -> Option<Claimed> {
    CLAIMS.get(usize::try_from(value.checked_sub(ANYTHING)?).ok()?).copied()
}

fn number(claimed: Claimed) -> Value {
    let place = CLAIMS.iter().position(|other| *other == claimed).expect("all claims are listed");
    ANYTHING + Value::try_from(place).expect("claims are few")
}

fn pair(value: Value) -> Option<(bool, bool)> {
    match claimed(value)? {
        Claimed::Both(a, b) => Some((a, b)),
        _ => None,
    }
}

fn majorities(votes: impl Iterator<Item = ((bool, bool), u64)>) -> Value {
    let (mut total, mut a_on, mut b_on) = (0u64, 0u64, 0u64);
    for ((a, b), weight) in votes {
        total += weight;
        a_on += if a { weight } else { 0 };
        b_on += if b { weight } else { 0 };
    }
    if total == 0 { ANYTHING } else { number(Claimed::Both(a_on > total - a_on, b_on > total - b_on)) }
}

impl Protocol for Switches {
    type Base = ();
    type Estimate = (bool, bool);
    type Candidate = Claimed;

    fn standing(&self, (): &()) -> Standing {
        Standing::Certified(ANYTHING)
    }

    fn newest_base(&self) {}

    fn slot_of(&self, _: Value) -> Slot {
        Slot(0)
    }

    fn certify(&mut self, (): (), _: Value) -> Result<(), CertifyError> {
        Ok(())
    }

    fn agrees(&self, value: Value, candidate: Value) -> bool {
        match (pair(value), claimed(candidate)) {
            (_, Some(Claimed::Anything)) => true,
            (Some(both), Some(Claimed::Both(a, b))) => both == (a, b),
            (Some((a, _)), Some(Claimed::A(on))) => a == on,
            (Some((_, b)), Some(Claimed::B(on))) => b == on,
            _ => false,
        }
    }

    fn estimate(&self, _: Value, votes: Vec<(Value, u64)>) -> Value {
        majorities(votes.into_iter().filter_map(|(value, weight)| Some((pair(value)?, weight))))
    }

    fn judge(&self, claim: &Claim<'_, (bool, bool)>) -> Result<(), InvalidEstimate> {
        if claim.follows == ANYTHING || pair(claim.follows) == Some(*claim.estimate) {
            Ok(())
        } else {
            Err(InvalidEstimate::DoesNotFollow)
        }
    }

    fn proposes(_: &(bool, bool)) -> bool {
        false
    }

    fn admit(&mut self, (a, b): &(bool, bool)) -> Value {
        number(Claimed::Both(*a, *b))
    }

    fn candidate(&self, value: Value) -> Option<Claimed> {
        claimed(value)
    }

    fn value(&self, candidate: &Claimed) -> Option<Value> {
        Some(number(*candidate))
    }

    fn root(&self) -> Value {
        ANYTHING
    }

    fn toward(&self, from: Value, to: Value) -> Option<Value> {
        (from == ANYTHING && to != ANYTHING).then_some(to)
    }

    fn shift(&mut self, from: Option<Value>, to: Option<Value>, weight: u64) {
        for (value, joins) in [(from, false), (to, true)] {
            let Some((a, b)) = value.and_then(pair) else { continue };
            let sum = &mut self.weights[usize::from(a) * 2 + usize::from(b)];
            let moved = if joins { sum.checked_add(weight) } else { sum.checked_sub(weight) };
            *sum = moved.expect("what leaves was added before, and all weights fit 64 bits");
        }
    }

    fn head(&self) -> Value {
        let pairs = [(false, false), (false, true), (true, false), (true, true)];
        majorities(pairs.into_iter().zip(self.weights))
    }

    fn prune(&mut self, _: Slot) {}
}

impl Follow for Switches {
    fn follow(&self, value: Claimed, liking: u64) -> (bool, bool) {
        match value {
            Claimed::Both(a, b) => (a, b),
            _ => (liking & 1 == 1, liking & 2 == 2),
        }
    }
}

/// One of the three bits by itself.
impl Follow for Binary {
    fn follow(&self, value: Stance, liking: u64) -> bool {
        match value {
            Stance::Decided(bit) => bit,
            Stance::Undecided => liking & 1 == 1,
        }
    }
}

/// What one observer has decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decided {
    pub(crate) a: Option<bool>,
    pub(crate) b: Option<bool>,
    pub(crate) light: Option<bool>,
}

impl Decided {
    /// Decided with the one protocol: what its summits show in this view.
    fn jointly(engine: &Engine<Switches>) -> Self {
        let view = engine.view();
        let committee = engine.committee();
        let shown = |claimed: Claimed| {
            let mut levels = (1..=committee.levels()).filter_map(|level| Some((committee.quorum(level)?, level)));
            levels.any(|(quorum, level)| engine.is_summit(&view, &claimed, quorum, level))
        };
        let a = [false, true].into_iter().find(|on| shown(Claimed::A(*on)));
        let b = [false, true].into_iter().find(|on| shown(Claimed::B(*on)));
        let off = a == Some(false) || b == Some(false);
        Self { a, b, light: if shown(LIGHT_ON) { Some(true) } else { off.then_some(false) } }
    }

    /// Keeps what was decided before: a decision is never undone.
    fn then(self, now: Self) -> Self {
        Self { a: self.a.or(now.a), b: self.b.or(now.b), light: self.light.or(now.light) }
    }

    /// Whether both can be true of one world.
    pub(crate) fn fits(self, other: Self) -> bool {
        let same = |one: Option<bool>, other: Option<bool>| one.is_none() || other.is_none() || one == other;
        let a = self.a.or(other.a);
        let b = self.b.or(other.b);
        let light = self.light.or(other.light);
        let lit = match (light, a, b) {
            (Some(true), a, b) => a != Some(false) && b != Some(false),
            (Some(false), Some(true), Some(true)) => false,
            _ => true,
        };
        same(self.a, other.a) && same(self.b, other.b) && same(self.light, other.light) && lit
    }
}

/// What the honest observers decided in one run.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// What each face saw: switch A, switch B.
    pub(crate) saw: Vec<(bool, bool)>,
    /// With the one protocol.
    pub(crate) joint: Vec<Decided>,
    /// With three instances about one bit each.
    pub(crate) separate: Vec<Decided>,
}

impl Run {
    /// Whether decisions of these observers contradict each other, or one contradicts itself.
    pub(crate) fn contradicts(decided: &[Decided]) -> bool {
        decided.iter().any(|one| decided.iter().any(|other| !one.fits(*other)))
    }
}

/// Three observers; the first weighs less, and its faults are tolerable (t = 1).
fn committee() -> Committee {
    Committee::new(vec![1, 2, 2]).expect("three members are a committee")
}

fn bit(engine: &Engine<Binary>) -> Option<bool> {
    match engine.finalized() {
        Stance::Decided(bit) => Some(bit),
        Stance::Undecided => None,
    }
}

/// One run: what is seen, what is late and who speaks when follow from the seed.
pub(crate) fn run(seed: u64, equivocates: bool) -> Run {
    let mut random = Seed(seed);
    let faults = usize::from(equivocates);
    let saw: Vec<u64> = (0..3 + faults).map(|_| random.next() % 4).collect();
    let bits = |of: &dyn Fn(u64) -> bool| saw.iter().map(|saw| u64::from(of(*saw))).collect::<Vec<_>>();
    let (a, b, light) = (bits(&|saw| saw & 1 == 1), bits(&|saw| saw & 2 == 2), bits(&|saw| saw == 3));
    let mut joint = World::new(&committee(), faults, &Switches::default(), &saw);
    let mut separate = [a, b, light].map(|likings| World::new(&committee(), faults, &Binary::new(), &likings));
    let mut decided = vec![Decided::default(); joint.faces.len()];
    for round in 0..8 {
        // All say first what they saw themselves; then a message is late with a chance of a quarter.
        let late = if round == 0 { 8 } else { 2 };
        let schedule = random.next();
        joint.round(&mut Seed(schedule), late);
        separate.iter_mut().for_each(|world| world.round(&mut Seed(schedule), late));
        for (decided, face) in decided.iter_mut().zip(&joint.faces) {
            *decided = decided.then(Decided::jointly(&face.engine));
        }
        joint.slot += 1;
        separate.iter_mut().for_each(|world| world.slot += 1);
    }
    let honest: Vec<usize> = (0..joint.faces.len()).filter(|face| joint.faces[*face].honest).collect();
    let [a, b, light] = separate.map(|world| world.faces.iter().map(|face| bit(&face.engine)).collect::<Vec<_>>());
    Run {
        saw: saw.iter().map(|saw| (saw & 1 == 1, saw & 2 == 2)).collect(),
        joint: honest.iter().map(|face| decided[*face]).collect(),
        separate: honest.iter().map(|face| Decided { a: a[*face], b: b[*face], light: light[*face] }).collect(),
    }
}

/// What many runs came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) runs: u64,
    /// Observers who decided the light, and one switch but not the other.
    pub(crate) lights: usize,
    pub(crate) one_switch: usize,
    /// Runs that contradict themselves, with one protocol and with three instances.
    pub(crate) joint_contradictions: usize,
    pub(crate) separate_contradictions: usize,
}

/// Runs for seeds from 0.
pub(crate) fn totals(runs: u64, equivocates: bool) -> Totals {
    let mut totals = Totals { runs, ..Totals::default() };
    for run in (0..runs).map(|seed| run(seed, equivocates)) {
        totals.lights += run.joint.iter().filter(|decided| decided.light.is_some()).count();
        totals.one_switch += run.joint.iter().filter(|decided| decided.a.is_some() != decided.b.is_some()).count();
        totals.joint_contradictions += usize::from(Run::contradicts(&run.joint));
        totals.separate_contradictions += usize::from(Run::contradicts(&run.separate));
    }
    totals
}

fn shown(decided: Option<bool>) -> &'static str {
    match decided {
        Some(true) => "on ",
        Some(false) => "off",
        None => "-  ",
    }
}

fn main() -> ExitCode {
    let asked = std::env::args().nth(1);
    let Ok(runs) = asked.as_deref().unwrap_or("1000").parse::<u64>() else {
        eprintln!("usage: switches_and_light [RUNS]");
        return ExitCode::FAILURE;
    };
    println!("Three observers, two switches, and a light that is on when both are.\n");
    let contradictory = (1..runs).find(|seed| Run::contradicts(&run(*seed, false).separate));
    for seed in [0].into_iter().chain(contradictory) {
        let run = run(seed, false);
        println!("run {seed}: what was seen (A B), and what was decided (A B light)");
        for ((saw, joint), separate) in run.saw.iter().zip(&run.joint).zip(&run.separate) {
            let [a, b] = [shown(Some(saw.0)), shown(Some(saw.1))];
            let row = |d: &Decided| format!("{} {} {}", shown(d.a), shown(d.b), shown(d.light));
            println!("  saw {a} {b}   one protocol: {}   three instances: {}", row(joint), row(separate));
        }
    }
    let mut sound = true;
    for equivocates in [false, true] {
        let totals = totals(runs, equivocates);
        let faults = if equivocates { "one observer tells two stories" } else { "all are honest" };
        println!("\n{runs} runs, {faults}:");
        println!("  observers who decided the light: {}", totals.lights);
        println!("  observers who decided one switch and not the other: {}", totals.one_switch);
        println!("  runs with contradictory decisions, one protocol: {}", totals.joint_contradictions);
        println!("  runs with contradictory decisions, three instances: {}", totals.separate_contradictions);
        sound &= totals.joint_contradictions == 0;
    }
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
