//! What strangers' messages may cost: no panic, and no more memory than the limits say.
//!
//! Bytes are counted by an allocator from a crate (`peak_alloc`: live and greatest use, `realloc` counted rightly, no
//! dependencies), since the workspace forbids the unsafe code that one of our own would need.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_types, reason = "the count is the process's: one measurement at a time")]

mod common;
mod bounds {
    mod hostile;
}

use common::crowd::Crowd;
use common::*;
use kakera_cbc::*;
use peak_alloc::PeakAlloc;
use proptest::prelude::*;
use std::sync::{Mutex, MutexGuard};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;
static ONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Bytes that `work` leaves behind, and the most it took while it ran.
fn cost<T>(work: impl FnOnce() -> T) -> (T, usize, usize) {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let left = work();
    (left, HEAP.current_usage().saturating_sub(before), HEAP.peak_usage().saturating_sub(before))
}

/// A message with room for its advances: a vector has up to twice the room it needs, and at least that of four.
fn message_bytes(members: usize) -> usize {
    size_of::<Message<Blocks>>() + 2 * members.max(4) * size_of::<(Member, Cite)>()
}

/// What waiting may cost: `pending_total` messages, each with its entries in four maps (three nodes of at most half
/// empty places, one vector), and one supplied justification a sender.
fn pending_bytes(limits: Limits, members: usize) -> usize {
    const MAPS: usize = 1200;
    limits.pending_total * (message_bytes(members) + MAPS)
        + members * (2 * members.max(4) * size_of::<Observation>() + MAPS)
}

/// What holding a message may cost: its row and its entries in arena, ids and thread.
fn held_bytes(members: usize) -> usize {
    4 * members + 1200
}

/// Room for vectors that double, and for what does not depend on the number of messages.
fn constant_bytes(members: usize) -> usize {
    64 * 1024 + 256 * members
}

fn limited(members: usize, limits: Limits) -> Engine<Blocks> {
    let cycle = (0..members as u16).map(Member).collect();
    let blocks = Blocks::new(ROOT, 0, Slot(0), Leaders::new(cycle));
    Engine::new(Committee::new(vec![1; members]).unwrap(), None, limits, blocks)
}

/// A message that can never be judged: its own previous one does not exist.
fn stub(member: u16, seq: u64, number: u64, template: &Message<Blocks>) -> Message<Blocks> {
    let mut cites = [0xee; 32];
    cites[..8].copy_from_slice(&number.to_be_bytes());
    named(Message { sender: Member(member), seq, cites, ..template.clone() })
}

/// Any flood, of any senders, missing anything, with every answer to it.
#[test]
fn what_waits_costs_no_more_than_the_limits_say() {
    let _heap = alone();
    for members in [1usize, 4, 40] {
        let limits = Limits { pending_total: 64, pending_per_sender: 16 };
        let mut chance = Chance(members as u64);
        let mut author = engine(vec![1; members], Some(0));
        let first = vote(&author, 1, &author.view());
        say(&mut author, &first);
        let second = vote(&author, 2, &author.view());
        let ((), _, peak) = {
            let mut engine = limited(members, limits);
            cost(|| {
                for number in 0..6000u64 {
                    let member = chance.below(members + 1) as u16;
                    let seq = chance.next() % 40;
                    let message = stub(member, seq, number, if chance.percent(50) { &first } else { &second });
                    let id = message.id;
                    let missing = match chance.below(7) {
                        0 => Missing::Message { member: Member(chance.below(members) as u16), seq },
                        1 => Missing::Id(MessageId(message.cites)),
                        2 => Missing::FullCites(id),
                        3 => Missing::Evidence(Member(chance.below(members) as u16)),
                        4 => Missing::Certificate(BlockId(message.cites)),
                        5 => Missing::Slot(Slot(chance.next())),
                        _ => Missing::Block(BlockId(message.cites)),
                    };
                    match engine.park(message, missing) {
                        Ok(()) | Err(Full::Sender { .. } | Full::Total { .. }) => {}
                        Err(Full::Outsider { member }) => assert_eq!(usize::from(member.0), members),
                    }
                    let list = vec![Observation::Latest(id); chance.below(members + 2)];
                    engine.supply_cites(&id, list);
                    let _ = engine.is_wanted(&id, Member(0), seq);
                    if chance.percent(20) {
                        engine.release(Slot(chance.next() >> chance.below(64)));
                    }
                    assert!(engine.parked() <= limits.pending_total && engine.missing().count() <= engine.parked());
                }
            })
        };
        let bound = pending_bytes(limits, members) + constant_bytes(members);
        assert!(peak <= bound, "{members} members: {peak} bytes, {bound} are allowed");
        assert!(peak * 40 > bound, "the bound of {bound} means something: {peak}");
    }
}

/// Justifications that peers supply: one a sender, whatever is asked.
#[test]
fn supplied_justifications_are_one_a_sender() {
    let _heap = alone();
    let members = 200;
    let limits = Limits { pending_total: 4096, pending_per_sender: 256 };
    let mut engine = limited(members, limits);
    let author = common::engine(vec![1; members], Some(0));
    let template = vote(&author, 1, &author.view());
    let lists: Vec<Vec<Observation>> =
        (0..=255u8).map(|n| vec![Observation::Latest(MessageId([n; 32])); members]).collect();
    for (number, list) in lists.iter().enumerate() {
        let message = named(Message { seq: number as u64, cites: cites_digest(list), ..template.clone() });
        engine.park(message.clone(), Missing::FullCites(message.id)).unwrap();
    }
    let ids: Vec<MessageId> = engine
        .missing()
        .map(|missing| match missing {
            Missing::FullCites(id) => *id,
            other => panic!("{other:?}"),
        })
        .collect();
    let ((), left, _) = cost(|| {
        for id in &ids {
            let kept = lists.iter().filter(|list| engine.supply_cites(id, list.to_vec())).count();
            assert_eq!(kept, 1);
        }
    });
    let bound = members * size_of::<Observation>() + 16 * 1024;
    assert!(left <= bound, "{left} bytes of 256 lists of one sender, {bound} are allowed");
}

/// What woke up waits for its release once, however often it is parked and woken before that.
#[test]
fn what_is_ready_is_bounded_by_what_is_parked() {
    let _heap = alone();
    let limits = Limits { pending_total: 8, pending_per_sender: 8 };
    let mut engine = limited(4, limits);
    let author = common::engine(vec![1; 4], Some(0));
    let message = vote(&author, 1, &author.view());
    let block = BlockId([7; 32]);
    let ((), left, _) = cost(|| {
        for _ in 0..50_000 {
            engine.park(message.clone(), Missing::Block(block)).unwrap();
            engine.provide_block(block);
        }
    });
    let bound = pending_bytes(limits, 4) + constant_bytes(4);
    assert!(left <= bound, "{left} bytes for {} parked, {bound} are allowed", engine.parked());
}

/// Holding a message costs a row and a little more, in committees of all sizes.
#[test]
fn a_held_message_costs_its_row_and_a_little_more() {
    let _heap = alone();
    for members in [1usize, 4, 100, 1000] {
        let mut author = engine(vec![1; members], Some(0));
        let count = 2000u64;
        let ((), left, _) = cost(|| {
            for slot in 1..=count {
                let message = vote(&author, slot, &author.view());
                say(&mut author, &message);
            }
        });
        let bound = count as usize * held_bytes(members) + constant_bytes(members);
        assert!(left <= bound, "{members} members: {left} bytes for {count} messages, {bound} are allowed");
    }
}

/// A chain that is pruned as it grows costs what its last messages cost, and its certified bases.
#[test]
fn a_pruned_chain_costs_its_last_messages_and_its_bases() {
    let _heap = alone();
    let mut author = engine(vec![1], Some(0));
    let mut grow = |slots: std::ops::Range<u64>| {
        cost(|| {
            for slot in slots {
                let message = proposal(&author, slot, 0);
                say(&mut author, &message);
                if slot % 100 == 0 {
                    author.certify(author.finalized()).unwrap();
                    author.prune(Slot(slot));
                }
            }
        })
        .1
    };
    let first = grow(1..1001);
    let more = grow(1001..21_001);
    assert!(first <= 101 * held_bytes(1) + constant_bytes(1), "{first}");
    // Two hundred bases more: an id and a slot each.
    assert!(more <= 200 * 160 + 16 * 1024, "{more} bytes more after twenty times as many messages");
}

/// An equivocator's twins that a colluder asks for, one by one, with messages that are refused in the end.
#[test]
fn a_colluder_cannot_make_twins_wanted_without_end() {
    let _heap = alone();
    let (equivocator, colluder) = (engine(vec![1; 4], Some(1)), engine(vec![1; 4], Some(2)));
    let mut observer = engine(vec![1; 4], None);
    for salt in 0..2 {
        say(&mut observer, &proposal(&equivocator, 1, salt));
    }
    let template = vote(&colluder, 1, &colluder.view());
    for salt in 2..=200 {
        let twin = proposal(&equivocator, 1, salt);
        let mut knowing = colluder.clone();
        say(&mut knowing, &twin);
        let draft = knowing.draft(Slot(1), ROOT, &knowing.view());
        let cites = knowing.resolve(&draft.row);
        let wrong = from_draft(&Draft { slot: template.slot, ..draft }, BlockEstimate::Vote(ROOT));
        let ask = observer.check(Slot(1), &wrong).missing().cloned().unwrap();
        observer.park(wrong.clone(), ask).unwrap();
        assert!(observer.supply_cites(&wrong.id, cites));
        let again = observer.release(Slot(1)).pop().unwrap();
        let missing =
            observer.check_full(Slot(1), &again, &knowing.resolve(&draft_row(&knowing, &again))).missing().cloned();
        let Some(missing) = missing else { break };
        observer.park(again, missing).unwrap();
        if observer.is_wanted(&twin.id, Member(1), 0) {
            say(&mut observer, &twin);
        }
        for released in observer.release(Slot(1)) {
            assert!(!matches!(observer.check(Slot(1), &released), Verdict::Valid(_)));
        }
    }
    let limit = observer.committee().messages_per_slot() as usize;
    assert!(observer.len() <= 2 * limit, "{} twins of one member and slot are held", observer.len());
}

/// A message that waits for a place of an equivocator's thread does not say yet which of two branches it cites: what was
/// taken of one of them meanwhile does not keep the other out.
#[test]
fn a_branch_taken_for_a_place_keeps_no_cited_branch_out() {
    let _heap = alone();
    let equivocator = engine(vec![1; 4], Some(1));
    let mut observer = engine(vec![1; 4], None);
    for salt in 0..2 {
        say(&mut observer, &proposal(&equivocator, 1, salt));
    }
    let (taken, cited) = (proposal(&equivocator, 1, 2), proposal(&equivocator, 1, 3));
    let after = |first: &Message<Blocks>| {
        let mut own = equivocator.clone();
        say(&mut own, first);
        vote(&own, 2, &own.view())
    };
    let (beside, above) = (after(&taken), after(&cited));
    observer.park(beside, Missing::Id(taken.id)).unwrap();
    observer.park(above.clone(), Missing::Id(cited.id)).unwrap();
    let waiter = engine(vec![1; 4], Some(2));
    let waiter = vote(&waiter, 2, &waiter.view());
    observer.park(waiter.clone(), Missing::Message { member: Member(1), seq: 1 }).unwrap();
    assert!(observer.is_wanted(&taken.id, Member(1), 0));
    say(&mut observer, &taken);
    assert!(!observer.is_wanted(&cited.id, Member(1), 0), "one is taken for a place");
    observer.park(waiter, Missing::Id(above.id)).unwrap();
    assert!(observer.is_wanted(&cited.id, Member(1), 0));
    say(&mut observer, &cited);
    let third = proposal(&equivocator, 1, 4);
    observer.park(above, Missing::Id(third.id)).unwrap();
    assert!(!observer.is_wanted(&third.id, Member(1), 0), "one is taken for a name");
}

/// The justification of a message, as who wrote it knows it.
fn draft_row(knowing: &Engine<Blocks>, message: &Message<Blocks>) -> Row {
    knowing.draft(message.slot, message.base, &knowing.view()).row
}

/// One mutation of a message: another's part, or a number at the end of its type.
fn mutate(crowd: &Crowd, chance: &mut Chance) -> (Message<Blocks>, Vec<Observation>) {
    let said = &crowd.said;
    let mut message = said[chance.below(said.len())].clone();
    let mut cites = crowd.archive[&message.id].clone();
    for _ in 0..=chance.below(3) {
        let other = &said[chance.below(said.len())];
        let number = [0, 1, chance.next() % 9, chance.next(), u64::MAX, u64::MAX - 1][chance.below(6)];
        match chance.below(14) {
            0 => message.sender = Member(number as u16),
            1 => message.seq = number,
            2 => message.slot = Slot(number),
            3 => message.base = other.estimate.block(),
            4 => message.base = BlockId(hash(&[&number.to_be_bytes()])),
            5 => message.advances.extend(&other.advances),
            6 => message.advances.push((Member(number as u16), Cite::Faulty)),
            7 => message.advances.clone_from(&other.advances),
            8 => message.cites = other.cites,
            9 => message.estimate = other.estimate,
            10 => {
                let (id, parent) = (other.estimate.block(), message.estimate.block());
                message.estimate = BlockEstimate::Proposal(NewBlock { id, parent, height: number, slot: message.slot });
            }
            11 => message.advances.truncate(number as usize % 4),
            12 => cites.clone_from(&crowd.archive[&other.id]),
            _ => {
                let place = chance.below(cites.len());
                let new = [Observation::Nothing, Observation::Faulty, Observation::Latest(other.id)];
                cites[place] = new[chance.below(3)];
                message.cites = cites_digest(&cites);
            }
        }
    }
    (named(message), cites)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_mutation_of_a_valid_dag_panics_or_costs_more_than_what_is_held_and_waits(
        seed in any::<u64>(),
        happenings in 10usize..60,
    ) {
        let _heap = alone();
        let members = 5;
        let mut crowd = Crowd::new(vec![3, 1, 2, 2, 1], 5, seed);
        crowd.run(happenings);
        prop_assume!(!crowd.said.is_empty());
        let limits = Limits { pending_total: 40, pending_per_sender: 12 };
        let cycle = (0..members as u16).map(Member).collect();
        let blocks = Blocks::new(ROOT, 0, Slot(0), Leaders::new(cycle));
        let mut engine = Engine::new(Committee::new(crowd.weights.clone()).unwrap(), None, limits, blocks);
        let mut chance = Chance(seed ^ 1);
        let (outcome, _, peak) = cost(|| {
            let mut inserted = 0;
            for _ in 0..400 {
                let (message, cites) = if chance.percent(40) {
                    let message = crowd.said[chance.below(crowd.said.len())].clone();
                    let cites = crowd.archive[&message.id].clone();
                    (message, cites)
                } else {
                    mutate(&crowd, &mut chance)
                };
                let now = Slot(if chance.percent(5) { u64::MAX } else { crowd.slot });
                let verdict = match chance.below(3) {
                    0 => engine.check_full(now, &message, &cites),
                    _ => engine.check(now, &message),
                };
                match verdict {
                    Verdict::Valid(checked) => inserted += engine.insert(checked).len().min(1),
                    Verdict::Waiting(missing) => {
                        let _ = engine.park(message.clone(), missing);
                        engine.supply_cites(&message.id, cites);
                    }
                    Verdict::Known | Verdict::Invalid(_) => {}
                }
                for message in engine.release(now) {
                    if let Verdict::Valid(checked) = engine.check(now, &message) {
                        inserted += engine.insert(checked).len().min(1);
                    }
                }
                match chance.below(60) {
                    0 => drop(engine.accuse(Member(chance.next() as u16), MessageId([1; 32]), MessageId([2; 32]))),
                    1 => drop(engine.certify(message.base)),
                    2 => drop(engine.certify(engine.finalized())),
                    3 => engine.prune(Slot(chance.next() >> chance.below(64))),
                    _ => {}
                }
                assert_eq!(engine.head(), engine.fork_choice(engine.base(), &engine.view()));
                assert!(engine.parked() <= limits.pending_total);
            }
            inserted
        });
        let bound = outcome * held_bytes(members) + pending_bytes(limits, members) + constant_bytes(members);
        prop_assert!(peak <= bound, "{peak} bytes for {outcome} messages, {bound} are allowed");
    }
}
