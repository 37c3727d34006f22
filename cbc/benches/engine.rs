//! What the engine costs: messages, fork choice, the speaking rule and the lab.

mod dag;
mod figures;

use dag::{ROOT, Script, check, hash, insert, script};
use figures::{Figures, timed};
use kakera_cbc::{lab::Case, lab::replay, *};
use std::time::Duration;

/// Members and slots: some 10,000 messages each; 1,000 members: as many as are made in a few seconds.
const SIZES: [(u16, u64); 3] = [(4, 1_250), (100, 50), (1_000, 4)];

fn main() {
    let mut figures = Figures::new();
    for (members, slots) in SIZES {
        let (time, script) = timed(|| script(members, slots));
        let size = format!("{members} members x {} messages", script.ids.len());
        println!("{size}: made in {:.1} s", time.as_secs_f64());
        messages(&mut figures, &size, &script);
        choices(&mut figures, &size, &script);
        decisions(&mut figures, &size, &script);
    }
    own_view(&mut figures);
    laboratory(&mut figures);
    figures.print();
}

/// Votes and confirmations in equal parts, into an engine that holds all before them.
fn messages(figures: &mut Figures, size: &str, script: &Script) {
    let parts = script.tail.len();
    let both = || {
        let mut engine = script.before_tail.clone();
        timed(|| script.tail.iter().map(|message| insert(&mut engine, message).len()).sum::<usize>()).0
    };
    figures.passes(&format!("check + insert, {size}"), parts, both);
    let insertion = || {
        let mut engine = script.before_tail.clone();
        let one = |message: &Message<Blocks>| {
            let checked = check(&mut engine, message);
            timed(|| engine.insert(checked)).0
        };
        script.tail.iter().map(one).sum::<Duration>()
    };
    figures.passes(&format!("insert (head, finality), {size}"), parts, insertion);
}

/// Of justifications from all over the DAG, from the era's root; and of the own view.
fn choices(figures: &mut Figures, size: &str, script: &Script) {
    let spread = script.ids.iter().step_by(script.ids.len() / 64);
    let rows: Vec<Row> = spread.filter_map(|id| script.engine.row_of(id)).collect();
    let mut rows = rows.iter().cycle();
    let any = || rows.next().map(|row| script.engine.fork_choice(ROOT, row));
    figures.repeat(&format!("fork_choice of any justification, {size}"), any);
    figures.repeat(&format!("head of the own view, {size}"), || script.engine.head());
}

/// The speaking rule at a new proposal, and when it looks for a higher level.
fn decisions(figures: &mut Figures, size: &str, script: &Script) {
    let config = SpeakerConfig { slot_ms: 200, delay_ms: 40 };
    let now = script.slot.0 * config.slot_ms;
    let mut speaker = Speaker::new(config);
    speaker.on_slot(&script.proposed, script.slot);
    for (moment, engine) in [("at a proposal", &script.proposed), ("after the votes", &script.voted)] {
        let decision = speaker.decide(now, script.slot, engine);
        assert!(!matches!(decision, Decision::Silent), "{moment} there is something to say");
        let name = format!("decide {moment}, {size}");
        figures.repeat(&name, || speaker.decide(now, script.slot, engine));
    }
}

/// The incremental fork choice alone: members of equal weight, one after the other, move their votes to newer blocks.
fn own_view(figures: &mut Figures) {
    // Blocks are numbered from 1. A block a slot is what the protocol makes; a block a message is the hardest: a vote
    // moves past as many blocks as there are members, or as many as its branch has of them.
    own_view_of(figures, "a block a slot", |block| block - 1, |message| message / VOTERS + 1);
    own_view_of(figures, "a block a message, straight chain", |block| block - 1, |message| message + 1);
    own_view_of(figures, "a block a message, ten branches", |block| block.saturating_sub(10), |message| message + 1);
}

const VOTERS: usize = 1_000;
const VOTES: usize = 100_000;
/// The last of them are measured.
const MEASURED: usize = 10_000;

fn own_view_of(figures: &mut Figures, shape: &str, parent_of: fn(usize) -> usize, block_of: fn(usize) -> usize) {
    let mut blocks = Blocks::new(ROOT, 0, Slot(0), Leaders::default());
    let mut held = vec![NewBlock { id: ROOT, parent: ROOT, height: 0, slot: Slot(0) }];
    let mut values = vec![blocks.root()];
    for number in 1..=block_of(VOTES - 1) {
        let parent = held[parent_of(number)];
        let id = BlockId(hash(b"block", number as u64));
        let new = NewBlock { id, parent: parent.id, height: parent.height + 1, slot: Slot(number as u64) };
        held.push(new);
        values.push(blocks.admit(&BlockEstimate::Proposal(new)));
    }
    let vote = |message: usize| values[block_of(message)];
    let moves: Vec<_> =
        (0..VOTES).map(|message| (message.checked_sub(VOTERS).map(vote), Some(vote(message)))).collect();
    let (before, measured) = moves.split_at(VOTES - MEASURED);
    before.iter().for_each(|(from, to)| blocks.shift(*from, *to, 1));
    let last = || {
        let mut view = blocks.clone();
        let run = || {
            let shift = |(from, to): &(Option<_>, Option<_>)| {
                view.shift(*from, *to, 1);
                u64::from(view.head())
            };
            measured.iter().map(shift).sum::<u64>()
        };
        timed(run).0
    };
    figures.passes(&format!("own view update, {shape}, {VOTERS} members x {VOTES} messages"), MEASURED, last);
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
