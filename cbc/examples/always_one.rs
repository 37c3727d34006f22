//! Two validators that always say 1: all protocol states up to a depth, as a lattice.
//!
//! A protocol state is a set of messages closed under justification: it holds whatever its messages
//! cite. A state can become another when one message more makes it that. Both validators are honest,
//! so a state has one thread of messages each. That everybody says 1 does not make 1 final: a
//! validator has to know that the other has seen it say 1, which takes three messages in turn.
//!
//! `cargo run --release -p kakera-cbc --example always_one -- [--depth N] [--svg FILE]`

#[path = "always_one/drawing.rs"]
pub(crate) mod drawing;

use kakera_cbc::{
    Binary, Committee, Draft, Engine, Limits, Member, Message, MessageId, Row, Slot, Stance, Verdict, cites_digest,
};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// The deepest lattice that is still worth looking at.
pub(crate) const DEPTH: usize = 6;

/// Each validator's thread: for each of its messages, how many of the other's it has seen.
pub(crate) type Threads = [Vec<usize>; 2];

/// For whom 1 is final.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Final {
    /// For the validators, each in the view of its own newest message.
    pub(crate) validators: [bool; 2],
    /// For a bystander who holds all messages of the state.
    pub(crate) bystander: bool,
}

/// One protocol state.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) threads: Threads,
    pub(crate) final_for: Final,
    /// Numbers of the states that one more message makes of it; empty at the last rank.
    pub(crate) next: Vec<usize>,
    /// One engine a validator, both holding the whole state.
    engines: [Engine<Binary>; 2],
}

/// All states, by rank: the number of messages.
#[derive(Clone, Debug)]
pub(crate) struct Lattice {
    pub(crate) states: Vec<State>,
    /// The first state of each rank.
    pub(crate) ranks: Vec<usize>,
}

impl Lattice {
    /// All states of at most this many messages.
    pub(crate) fn explore(depth: usize) -> Self {
        let committee = Committee::new(vec![1, 1]).expect("two members are a committee");
        let engine = |me| Engine::new(committee.clone(), Some(Member(me)), Limits::default(), Binary::new());
        let empty = State {
            threads: [Vec::new(), Vec::new()],
            final_for: Final::default(),
            next: Vec::new(),
            engines: [engine(0), engine(1)],
        };
        let mut lattice = Self { states: vec![empty], ranks: vec![0] };
        for _ in 0..depth.min(DEPTH) {
            lattice.deepen();
        }
        lattice
    }

    /// States of one rank, by number.
    pub(crate) fn rank(&self, rank: usize) -> std::ops::Range<usize> {
        let end = self.ranks.get(rank + 1).copied().unwrap_or(self.states.len());
        self.ranks[rank]..end
    }

    fn deepen(&mut self) {
        let last = self.rank(self.ranks.len() - 1);
        self.ranks.push(self.states.len());
        let mut known: BTreeMap<Threads, usize> = BTreeMap::new();
        for number in last {
            for speaker in 0..2 {
                let [own, other] = [&self.states[number].threads[speaker], &self.states[number].threads[1 - speaker]];
                for seen in own.last().copied().unwrap_or(0)..=other.len() {
                    let next = self.states[number].after(speaker, seen);
                    let at = *known.entry(next.threads.clone()).or_insert_with(|| {
                        self.states.push(next);
                        self.states.len() - 1
                    });
                    self.states[number].next.push(at);
                }
            }
        }
    }
}

impl State {
    /// The state after one more message, which has seen so many of the other's.
    fn after(&self, speaker: usize, seen: usize) -> Self {
        let mut next = self.clone();
        next.next = Vec::new();
        let slot = Slot((next.threads[speaker].len() + seen) as u64);
        let [first, second] = &mut next.engines;
        let (own, other) = if speaker == 0 { (first, second) } else { (second, first) };
        let view = match seen.checked_sub(1) {
            Some(last) => own.row_of(&own.by_seq(Member(1 - speaker as u16), last as u64)[0]),
            None => Some(own.merge(&[])),
        };
        let view: Row = view.expect("messages are held whole");
        let said = own.say(slot, (), &view, |draft| (named(draft), true));
        let (message, _) = said.expect("1 always follows from votes for 1");
        hear(other, &message);
        next.threads[speaker].push(seen);
        next.final_for = next.judge();
        next
    }

    /// For whom 1 is final: who sees a summit for it that tolerates the committee's threshold.
    fn judge(&self) -> Final {
        let engine = &self.engines[0];
        let committee = engine.committee();
        let shown = |view: &Row| {
            let mut levels = (1..=committee.levels()).filter_map(|level| Some((committee.quorum(level)?, level)));
            levels.any(|(quorum, level)| engine.is_summit(view, &Stance::Decided(true), quorum, level))
        };
        let own = |member| {
            let latest = engine.latest(Member(member)).and_then(|(_, id)| engine.row_of(&id));
            latest.is_some_and(|view| shown(&view))
        };
        let bystander = shown(&engine.view());
        assert_eq!(bystander, engine.finalized() == Stance::Decided(true), "the engine finalizes what it shows");
        Final { validators: [own(0), own(1)], bystander }
    }

    /// The messages: a letter for the validator, its count, and what is new in its justification.
    pub(crate) fn describe(&self) -> String {
        let mut words = Vec::new();
        for (speaker, (name, other)) in [("A", "B"), ("B", "A")].into_iter().enumerate() {
            let mut before = 0;
            for (seq, seen) in self.threads[speaker].iter().enumerate() {
                let cited = if *seen > before { format!("({other}{})", seen - 1) } else { String::new() };
                words.push(format!("{name}{seq}{cited}"));
                before = *seen;
            }
        }
        if words.is_empty() { "nothing said".to_owned() } else { words.join(" ") }
    }
}

fn hear(engine: &mut Engine<Binary>, message: &Message<Binary>) {
    match engine.check(message.slot, message) {
        Verdict::Valid(checked) => drop(engine.insert(checked)),
        other => panic!("both hold the whole state, so no message is {other:?}"),
    }
}

/// The same message of different states has the same id.
fn named(draft: &Draft<Binary>) -> MessageId {
    let Draft { sender, seq, cites, .. } = draft;
    let place = [sender.0.to_be_bytes().as_slice(), &seq.to_be_bytes()].concat();
    let mut digest = *cites;
    digest.iter_mut().zip(place).for_each(|(byte, place)| *byte ^= place);
    MessageId(cites_digest(&[kakera_cbc::Observation::Latest(MessageId(digest))]))
}

/// Who finds 1 final, in words.
pub(crate) fn finality(final_for: Final) -> &'static str {
    match (final_for.validators, final_for.bystander) {
        ([true, true], _) => "final for A and B",
        ([true, false], _) => "final for A",
        ([false, true], _) => "final for B",
        (_, true) => "final for a bystander",
        _ => "",
    }
}

/// The lattice as text, rank by rank.
pub(crate) fn text(lattice: &Lattice) -> String {
    let mut lines = Vec::new();
    for rank in 0..lattice.ranks.len() {
        let states = lattice.rank(rank);
        let plural = if states.len() == 1 { "" } else { "s" };
        lines.push(format!("rank {rank}: {} state{plural}", states.len()));
        for number in states {
            let state = &lattice.states[number];
            let next: Vec<String> = state.next.iter().map(|next| format!("s{next}")).collect();
            let arrow = if next.is_empty() { String::new() } else { format!("-> {}", next.join(" ")) };
            let (name, described) = (format!("s{number}"), state.describe());
            let line = format!("  {name:<5}{described:<30}{:<22}{arrow}", finality(state.final_for));
            lines.push(line.trim_end().to_owned());
        }
    }
    lines.join("\n")
}

struct Asked {
    depth: usize,
    svg: Option<String>,
}

fn asked() -> Option<Asked> {
    let mut asked = Asked { depth: 4, svg: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--depth" => asked.depth = words.next()?.parse().ok().filter(|depth| (1..=DEPTH).contains(depth))?,
            "--svg" => asked.svg = Some(words.next()?),
            _ => return None,
        }
    }
    Some(asked)
}

fn main() -> ExitCode {
    let Some(Asked { depth, svg }) = asked() else {
        eprintln!("usage: always_one [--depth 1..{DEPTH}] [--svg FILE]");
        return ExitCode::FAILURE;
    };
    let lattice = Lattice::explore(depth);
    println!("Two validators, A and B, that always say 1. A1(B0): A's second message, the first to cite B0.");
    println!("{}", text(&lattice));
    let count = |holds: &dyn Fn(Final) -> bool| lattice.states.iter().filter(|state| holds(state.final_for)).count();
    println!("states: {}", lattice.states.len());
    println!("1 is final for A in {}, for B in {}", count(&|f| f.validators[0]), count(&|f| f.validators[1]));
    println!("1 is final for both in {}", count(&|f| f.validators == [true; 2]));
    println!("1 is final for a bystander only in {}", count(&|f| f.bystander && f.validators == [false; 2]));
    if let Some(path) = svg
        && let Err(error) = std::fs::write(&path, drawing::svg(&lattice))
    {
        eprintln!("cannot write {path}: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
