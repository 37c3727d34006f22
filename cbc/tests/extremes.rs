//! Extremes: a million messages, weights at the limit of the type, one member, no weight, silence for ever.
//!
//! Time is compared with itself, the last quarter of a chain with the first, so no machine is too slow for it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "these tests measure time and bound a stack")]

mod common;

use common::*;
use kakera_cbc::*;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Small enough that a recursion as deep as the chain, or a hundredth of it, ends the process.
const STACK: usize = 256 * 1024;
/// How much slower the last quarter may be than the first: quadratic time makes it seven times as slow.
const RATIO: f64 = 4.0;
/// Messages of a chain that is long enough to time.
const LONG: u64 = 40_000;
const MILLION: u64 = 1_000_000;

/// One measurement at a time.
static CLOCK: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    CLOCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Runs with a small stack.
fn confined(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(work).unwrap();
    assert!(thread.join().is_ok(), "the work in the small stack failed");
}

/// A straight chain: in each slot its leader proposes on what was said before, and nobody else speaks.
struct Chain {
    /// Holds everything, where the authors do not.
    whole: Option<Engine<Blocks>>,
    /// One for each member that speaks.
    authors: Vec<Engine<Blocks>>,
    slot: u64,
    /// Slots between certificates, and how far those lag behind; authors prune what lies below them.
    certifies: Option<(u64, u64)>,
}

/// Checks and inserts, with all cites where the sender's previous message was pruned; how long that took.
fn take(engine: &mut Engine<Blocks>, message: &Message<Blocks>, cites: &[Observation]) -> Duration {
    let begun = Instant::now();
    let mut verdict = engine.check(message.slot, message);
    if let Verdict::Waiting(Missing::FullCites(_)) = verdict {
        verdict = engine.check_full(message.slot, message, cites);
    }
    match verdict {
        Verdict::Valid(checked) => drop(engine.insert(checked)),
        other => panic!("a chain is valid, not {other:?}"),
    }
    begun.elapsed()
}

fn final_slot(engine: &Engine<Blocks>) -> u64 {
    engine.protocol().block(&engine.finalized()).unwrap().slot.0
}

impl Chain {
    fn new(weights: &[u64], speakers: u16, certifies: Option<(u64, u64)>) -> Self {
        let with = |me: Option<Member>| {
            let cycle: Vec<Member> = (0..speakers).map(Member).collect();
            let blocks = Blocks::new(ROOT, 0, Slot(0), Leaders::new(cycle));
            Engine::new(Committee::new(weights.to_vec()).unwrap(), me, Limits::default(), blocks)
        };
        let authors = (0..speakers).map(|me| with(Some(Member(me)))).collect();
        Self { whole: certifies.map(|_| with(None)), authors, slot: 0, certifies }
    }

    fn block(slot: u64) -> BlockId {
        let mut id = BlockId([0xb1; 32]);
        id.0[..8].copy_from_slice(&slot.to_be_bytes());
        if slot == 0 { ROOT } else { id }
    }

    /// One slot; answers how long it took the engine that holds everything, and the first author.
    fn step(&mut self) -> (Duration, Duration) {
        self.slot += 1;
        let slot = Slot(self.slot);
        let speakers = self.authors.len() as u64;
        let author = &self.authors[(self.slot % speakers) as usize];
        let draft = author.draft(slot, author.base(), &author.view());
        assert_eq!(draft.value, Self::block(self.slot - 1));
        let cites = author.resolve(&draft.row);
        let (id, parent) = (Self::block(self.slot), draft.value);
        let estimate = BlockEstimate::Proposal(NewBlock { id, parent, height: self.slot, slot });
        let message = Message {
            id: MessageId(id.0),
            sender: draft.sender,
            seq: draft.seq,
            slot,
            base: draft.base,
            advances: draft.advances,
            cites: draft.cites,
            estimate,
        };
        let whole = self.whole.as_mut().map_or(Duration::ZERO, |whole| take(whole, &message, &cites));
        let times: Vec<Duration> = self.authors.iter_mut().map(|author| take(author, &message, &cites)).collect();
        if let Some((every, lag)) = self.certifies
            && self.slot.is_multiple_of(every)
        {
            let line = Slot(self.slot.saturating_sub(lag).min(final_slot(&self.authors[0])));
            let base = Self::block(line.0);
            if let Some(whole) = &mut self.whole {
                whole.certify(base).unwrap();
            }
            for author in &mut self.authors {
                author.certify(base).unwrap();
                author.prune(line);
            }
        }
        (whole, times[0])
    }

    /// So many slots; the last quarter takes no more than [`RATIO`] times the first, for both.
    fn run(&mut self, slots: u64) {
        let mut quarters = Vec::new();
        for _ in 0..4 {
            let mut sums = (Duration::ZERO, Duration::ZERO);
            for _ in 0..slots / 4 {
                let (whole, author) = self.step();
                sums = (sums.0 + whole, sums.1 + author);
            }
            quarters.push(sums);
        }
        println!("{} speakers, {slots} slots, bases {:?}: {quarters:?}", self.authors.len(), self.certifies);
        let ratio = |first: Duration, last: Duration| last.as_secs_f64() / first.as_secs_f64().max(1e-9);
        let ratios = [ratio(quarters[0].0, quarters[3].0), ratio(quarters[0].1, quarters[3].1)];
        assert!(slots < LONG || ratios.iter().all(|ratio| *ratio < RATIO), "{ratios:?}, {quarters:?}");
        let whole = self.whole.as_ref().unwrap_or(&self.authors[0]);
        assert_eq!(whole.len() as u64, slots);
        for engine in self.authors.iter().chain(&self.whole) {
            assert_eq!(engine.head(), Self::block(self.slot));
            assert!(final_slot(engine) + 40 > self.slot, "slot {} is final", final_slot(engine));
        }
    }
}

/// Bases lag so far behind that L never falls below what is held: see the next but one.
#[test]
fn a_million_messages_whole_and_pruned_take_linear_time_and_little_stack() {
    let _clock = alone();
    confined(|| {
        let mut chain = Chain::new(&[1, 1, 1], 3, Some((1000, 30_000)));
        chain.run(MILLION);
        assert!(chain.authors.iter().all(|author| author.len() < 31_100), "{} stay", chain.authors[0].len());
    });
}

#[test]
fn a_million_messages_of_one_member_take_linear_time_and_little_stack() {
    let _clock = alone();
    confined(|| {
        let mut chain = Chain::new(&[1], 1, None);
        chain.run(MILLION);
        assert_eq!((final_slot(&chain.authors[0]), chain.authors[0].len() as u64), (MILLION, MILLION));
    });
}

/// Bases that keep up with a DAG which is not pruned: what is held below them costs nothing.
#[test]
fn certified_bases_on_a_long_dag_take_linear_time_and_little_stack() {
    let _clock = alone();
    confined(|| Chain::new(&[1, 1, 1], 3, Some((10, 0))).run(LONG));
}

/// Weight sums of nearly all that 64 bits hold: quorums, fork choice and finality are those of small weights.
#[test]
fn weights_that_sum_to_just_under_the_limit_of_the_type() {
    let _clock = alone();
    for weights in
        [vec![u64::MAX / 4; 4], vec![u64::MAX - 3, 1, 1, 1], vec![u64::MAX / 2, u64::MAX / 2, 1], vec![u64::MAX]]
    {
        let committee = Committee::new(weights.clone()).unwrap();
        let (total, t) = (i128::from(committee.total()), i128::from(committee.threshold()));
        assert_eq!(t, (total - 1) / 3);
        for k in 1..=committee.levels() {
            let tolerates = |q: i128| (2 * q - total) * ((1 << k) - 1) > t << k;
            let q = committee.quorum(k).map(i128::from);
            assert!(q.is_none_or(|q| tolerates(q) && !tolerates(q - 1)), "level {k}");
            assert!(q.is_some() || !tolerates(total), "level {k}");
        }
        Chain::new(&weights, weights.len() as u16, Some((16, 0))).run(400);
    }
    let over = vec![u64::MAX / 2, u64::MAX / 2, 2];
    assert_eq!(Committee::new(over), Err(InvalidCommittee::Overflow));
}

/// One has all the weight, the others none: what it says is final, what they say changes nothing.
#[test]
fn members_without_weight_change_nothing() {
    let _clock = alone();
    let mut engines: Vec<_> = (0..3).map(|me| engine(vec![0, 7, 0], Some(me))).collect();
    let idle = proposal(&engines[2], 2, 0);
    for engine in &mut engines {
        assert!(!say(engine, &idle).iter().any(|event| matches!(event, Event::HeadChanged(_) | Event::Finalized(..))));
        assert_eq!((engine.head(), engine.finalized()), (ROOT, ROOT), "a block without weight is no head");
    }
    let heavy = proposal(&engines[1], 4, 0);
    let block = heavy.estimate.block();
    assert_eq!(heavy.estimate, BlockEstimate::Proposal(NewBlock { id: block, parent: ROOT, height: 1, slot: Slot(4) }));
    for engine in &mut engines {
        assert!(say(engine, &heavy).contains(&Event::Finalized(block, 1)));
        let events = engine.accuse(Member(2), MessageId([1; 32]), MessageId([2; 32]));
        assert_eq!(events.len(), 1, "a weightless equivocator moves nothing: {events:?}");
        assert_eq!((engine.head(), engine.finalized()), (block, block));
    }
}

/// Of equal members one, at most t, is silent for ever: the rest goes on and finalizes, with and without pruning.
#[test]
fn a_member_silent_for_ever_delays_nothing_and_holds_nothing_up() {
    let _clock = alone();
    for (weights, alive) in [(vec![1; 4], 3), (vec![1; 7], 5), (vec![5, 4, 4, 6], 3), (vec![2, 2, 2, 0], 3)] {
        let mut chain = Chain::new(&weights, alive, Some((50, 0)));
        chain.run(2000);
        assert!(chain.authors[0].len() < 200, "{} messages stay", chain.authors[0].len());
        assert_eq!(chain.whole.as_ref().unwrap().latest(Member(alive)), None);
    }
}

/// Silence of more than that: nothing is final, the head grows on, nothing breaks.
#[test]
fn without_two_thirds_nothing_is_final_and_the_head_grows_on() {
    let _clock = alone();
    let mut chain = Chain::new(&[1; 4], 2, None);
    for _ in 0..500 {
        chain.step();
    }
    let engine = &chain.authors[0];
    assert_eq!((engine.head(), engine.finalized()), (Chain::block(500), ROOT));
    assert_eq!(engine.unfinalized(&engine.head(), 1000).len(), 500);
}
