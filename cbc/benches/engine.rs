//! What the engine costs: messages, memory, fork choice, the detector, the speaking rule and the lab.
//!
//! `--quick` as an argument leaves out the DAGs of 100,000 messages.

mod dag;
mod figures;

use dag::{Kind, Moment, Plan, ROOT, Script, hash};
use figures::{Figures, readable, timed};
use kakera_cbc::{lab::Case, lab::replay, *};
use peak_alloc::PeakAlloc;
use std::time::Duration;

/// Counts what is allocated.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

fn main() {
    let mut figures = Figures::new();
    let sizes: &[(u16, u64)] = if std::env::args().any(|argument| argument == "--quick") {
        &[(4, 1_250), (100, 50)]
    } else {
        &[(4, 1_250), (100, 50), (100, 500), (1_000, 5), (1_000, 50)]
    };
    for (members, slots) in sizes {
        // A tenth of four is nobody.
        for kind in Kind::ALL.into_iter().filter(|kind| *members > 10 || *kind == Kind::Honest) {
            engine(&mut figures, Plan { members: *members, slots: *slots, kind });
        }
    }
    for members in [100, 1_000] {
        for votes in [10_000, 100_000] {
            own_view(&mut figures, members, votes);
        }
    }
    laboratory(&mut figures);
    figures.print();
}

fn engine(figures: &mut Figures, plan: Plan) {
    let messages = u64::from(plan.members) * plan.slots * 2;
    let size = format!("{} members x {messages}, {}", plan.members, plan.kind.name());
    let memory = || MEMORY.current_usage();
    let mut look = |moment, script: &Script| decision(figures, &size, moment, script);
    let (took, script) = timed(|| plan.make(&memory, &mut look));
    println!("{size}: made in {:.1} s", took.as_secs_f64());
    let time = |time: Duration| readable(time.as_secs_f64() * 1e9);
    let [check, insert] = script.costs.means();
    figures.add(&format!("check, {size}"), time(check));
    figures.add(&format!("insert: DAG, own view and detector, {size}"), time(insert));
    figures.add(&format!("insert, the longest, {size}"), time(script.costs.longest));
    figures.add(&format!("memory a message, {size}"), format!("{} B", script.costs.bytes / script.costs.held));
    choices(figures, &size, &script);
}

/// Of justifications from all over the DAG, from the era's root; of the own view; and the detector from scratch.
fn choices(figures: &mut Figures, size: &str, script: &Script) {
    let engine = &script.engine;
    let spread = script.ids.iter().step_by(script.ids.len() / 64);
    let rows: Vec<Row> = spread.filter_map(|id| engine.row_of(id)).collect();
    let mut rows = rows.iter().cycle();
    let any = || rows.next().map(|row| engine.fork_choice(ROOT, row));
    figures.repeat(&format!("fork choice of any justification, {size}"), any);
    let (view, head) = (engine.view(), engine.head());
    let quorum = engine.committee().quorum(1).expect("W tolerates the threshold");
    assert!(engine.is_summit(&view, &head, quorum, 1), "the head is final");
    figures.repeat(&format!("one level from scratch, {size}"), || engine.is_summit(&view, &head, quorum, 1));
}

/// The speaking rule at a new proposal, and when it looks for a higher level.
fn decision(figures: &mut Figures, size: &str, moment: Moment, script: &Script) {
    let config = SpeakerConfig::new(0, 200, 40);
    let now = script.slot.0 * config.slot_ms;
    let mut speaker = Speaker::new(config);
    let name = match moment {
        Moment::Proposed => "at a proposal",
        Moment::Voted => "after the votes",
    };
    let decision = speaker.decide(now, script.slot, &script.engine);
    assert!(!matches!(decision, Decision::Silent), "{name} there is something to say");
    figures.repeat(&format!("decide {name}, {size}"), || speaker.decide(now, script.slot, &script.engine));
}

/// A name, the block that a block extends, and how many messages vote for one.
type Shape = (&'static str, fn(usize) -> usize, usize);

/// The incremental fork choice alone: members of equal weight, one after the other, move their votes to newer blocks.
fn own_view(figures: &mut Figures, members: usize, votes: usize) {
    // Blocks are numbered from 1. A block a slot is what the protocol makes; a block a message is the hardest: a vote
    // moves past as many blocks as there are members, or as many as its branch has of them.
    let shapes: [Shape; 3] = [
        ("a block a slot", |block| block - 1, members),
        ("a block a message, straight", |block| block - 1, 1),
        ("a block a message, ten branches", |block| block.saturating_sub(10), 1),
    ];
    for (shape, parent_of, messages_a_block) in shapes {
        for equivocating in [false, true] {
            let kind = if equivocating { "a tenth equivocating" } else { "honest" };
            let name = format!("own view update, {shape}, {members} members x {votes}, {kind}");
            own_view_of(figures, &name, (members, votes, equivocating), parent_of, messages_a_block);
        }
    }
}

fn own_view_of(
    figures: &mut Figures,
    name: &str,
    (members, votes, equivocating): (usize, usize, bool),
    parent_of: fn(usize) -> usize,
    messages_a_block: usize,
) {
    let mut blocks = Blocks::new(ROOT, 0, Slot(0), Leaders::default());
    let mut held = vec![NewBlock { id: ROOT, parent: ROOT, height: 0, slot: Slot(0) }];
    let mut values = vec![blocks.root()];
    for number in 1..=(votes - 1) / messages_a_block + 1 {
        let parent = held[parent_of(number)];
        let id = BlockId(hash(b"block", number as u64));
        let new = NewBlock { id, parent: parent.id, height: parent.height + 1, slot: Slot(number as u64) };
        held.push(new);
        values.push(blocks.admit(&BlockEstimate::Proposal(new)));
    }
    let vote = |message: usize| values[message / messages_a_block + 1];
    let measured = votes / 10;
    // Every tenth member falls silent for good at a time of its own: its weight goes.
    let falls = |message: usize| {
        let member = message % members;
        (equivocating && member % 10 == 3).then(|| member * votes / members).filter(|at| *at < message)
    };
    let step = |message: usize| {
        let gone = |message: &usize| falls(*message).is_none();
        (message.checked_sub(members).filter(gone).map(vote), Some(message).filter(gone).map(vote))
    };
    let moves: Vec<_> = (0..votes).map(step).collect();
    let (before, last) = moves.split_at(votes - measured);
    before.iter().for_each(|(from, to)| blocks.shift(*from, *to, 1));
    let pass = || {
        let mut view = blocks.clone();
        let run = || {
            let shift = |(from, to): &(Option<_>, Option<_>)| {
                view.shift(*from, *to, 1);
                u64::from(view.head())
            };
            last.iter().map(shift).sum::<u64>()
        };
        timed(run).0
    };
    figures.passes(name, measured, pass);
}

/// The lab on all samples.
fn laboratory(figures: &mut Figures) {
    let samples = include_str!("../samples/cbc-cases.jsonl");
    let parse = |line| serde_json::from_str(line).expect("the samples are cases");
    let cases: Vec<Case> = samples.lines().map(parse).collect();
    let name = format!("lab: replay of all {} samples", cases.len());
    let all = || cases.iter().map(|case| replay(case).expect("the samples are sound").views.len()).sum::<usize>();
    figures.repeat(&name, all);
}
