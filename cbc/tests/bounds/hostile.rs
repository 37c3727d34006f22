//! Hostile histories, one by one: circles, the distant past, open branches, hoarded votes, ties.

use crate::common::*;
use crate::{alone, limited};
use kakera_cbc::*;
use std::collections::BTreeSet;

/// Two that wait for each other wait for ever, within the bounds, and what follows from neither goes on.
#[test]
fn justifications_in_a_circle_wait_and_never_enter() {
    let _heap = alone();
    let mut engines: Vec<_> = (0..4).map(|me| engine(vec![1; 4], Some(me))).collect();
    let (first, second) = (vote(&engines[0], 1, &engines[0].view()), vote(&engines[1], 1, &engines[1].view()));
    let (mut ahead, mut behind) = (engines[0].clone(), engines[1].clone());
    say(&mut ahead, &second);
    say(&mut behind, &first);
    // Each cites the other's message; the ids of both are those of messages that cite.
    let circle = [vote(&ahead, 1, &ahead.view()), vote(&behind, 1, &behind.view())];
    let observer = &mut engines[3];
    for message in &circle {
        let missing = observer.check(Slot(1), message).missing().cloned().unwrap();
        observer.park(message.clone(), missing).unwrap();
        assert_eq!(observer.release(Slot(9)), []);
    }
    assert_eq!((observer.parked(), observer.len()), (2, 0));
    let itself = named(Message { advances: circle[1].advances.clone(), ..circle[0].clone() });
    let verdict = observer.check(Slot(1), &itself);
    assert!(!matches!(verdict, Verdict::Valid(_)), "{verdict:?}");
    let other = proposal(&engines[2], 2, 0);
    say(&mut engines[3], &other);
    assert_eq!(engines[3].head(), other.estimate.block());
}

/// Who was silent since the era began may cite what it saw then; it is judged as then, and moves no head.
#[test]
fn a_justification_of_the_distant_past_is_judged_like_any_other() {
    let _heap = alone();
    let mut sleeper = engine(vec![1; 4], Some(3));
    let mut others: Vec<_> = (0..3).map(|me| engine(vec![1; 4], Some(me))).collect();
    let first = proposal(&others[1], 1, 0);
    say(&mut sleeper, &first);
    let early = vote(&sleeper, 1, &sleeper.view());
    say(&mut sleeper, &early);
    for engine in &mut others {
        say(engine, &first);
        say(engine, &early);
    }
    for slot in 2..3000u64 {
        let Some(author) = others.iter().position(|engine| engine.protocol().leader(Slot(slot)) == engine.me()) else {
            continue;
        };
        let message = proposal(&others[author], slot, 0);
        others.iter_mut().for_each(|engine| drop(say(engine, &message)));
    }
    let (head, finalized) = (others[0].head(), others[0].finalized());
    let late = vote(&sleeper, 3000, &sleeper.view());
    assert_eq!(late.estimate, BlockEstimate::Vote(first.estimate.block()));
    for engine in &mut others {
        say(engine, &late);
        assert_eq!((engine.head(), engine.finalized()), (head, finalized));
    }
    let engine = &mut others[0];
    engine.certify(finalized).unwrap();
    engine.prune(Slot(u64::MAX));
    say(&mut sleeper, &late);
    let later = vote(&sleeper, 3001, &sleeper.view());
    let verdict = engine.check(Slot(3001), &later);
    assert_eq!(verdict.missing(), Some(&Missing::Past(ROOT)), "it takes the past on disk to judge it");
}

/// A partition into twenty, each with blocks of its own; after it heals all follow one branch and finalize again.
#[test]
fn twenty_open_branches_become_one_when_the_partition_heals() {
    let _heap = alone();
    let mut world = World::new(&[1; 20], 0);
    for slot in 1..=100u64 {
        world.slot = slot;
        (0..20).for_each(|face| world.speak(face));
    }
    let tips: BTreeSet<BlockId> = world.faces.iter().map(|face| face.engine.head()).collect();
    assert_eq!(tips.len(), 20, "each has its own branch");
    for face in 0..20 {
        for which in 0..world.said.len() {
            world.deliver(face, which);
        }
    }
    let heads: BTreeSet<BlockId> = world.faces.iter().map(|face| face.engine.head()).collect();
    assert_eq!(heads.len(), 1, "all hear all");
    for slot in 101..=106u64 {
        world.slot = slot;
        for _ in 0..2 {
            let heard = world.said.len();
            (0..20).for_each(|face| world.speak(face));
            for face in 0..20 {
                (heard..world.said.len()).for_each(|which| world.deliver(face, which));
            }
        }
    }
    let branch = heads.into_iter().next().unwrap();
    for Face { engine, .. } in &world.faces {
        assert!(engine.protocol().descends(&engine.finalized(), &branch), "finality goes on above the chosen branch");
    }
}

/// One member keeps its votes of three hundred slots to itself and lets all go at once, the last ones first.
#[test]
fn old_votes_saved_up_and_released_wait_within_bounds_and_move_nothing() {
    let _heap = alone();
    let limits = Limits { pending_total: 256, pending_per_sender: 64 };
    let mut observer = limited(4, limits);
    let mut hoarder = engine(vec![1; 4], Some(3));
    let saved: Vec<Message<Blocks>> = (1..=300)
        .flat_map(|slot| {
            let count = u64::from(hoarder.committee().messages_per_slot());
            let said: Vec<_> = (0..count)
                .map(|_| {
                    let message = vote(&hoarder, slot, &hoarder.view());
                    say(&mut hoarder, &message);
                    message
                })
                .collect();
            said
        })
        .collect();
    let mut others: Vec<_> = (0..3).map(|me| engine(vec![1; 4], Some(me))).collect();
    for slot in (301..360u64).filter(|slot| slot % 4 != 3) {
        let message = proposal(&others[(slot % 4) as usize], slot, 0);
        others.iter_mut().for_each(|engine| drop(say(engine, &message)));
        say(&mut observer, &message);
    }
    let (head, finalized) = (observer.head(), observer.finalized());
    assert_ne!(finalized, ROOT);
    let (mut checks, mut refused) = (0, 0);
    for message in saved.iter().rev().chain(&saved) {
        let mut open = vec![message.clone()];
        while let Some(message) = open.pop() {
            checks += 1;
            match observer.check(Slot(400), &message) {
                Verdict::Valid(checked) => drop(observer.insert(checked)),
                Verdict::Waiting(missing) => refused += usize::from(observer.park(message, missing).is_err()),
                Verdict::Known => {}
                Verdict::Invalid(reason) => panic!("{reason:?}"),
            }
            assert!(observer.parked() <= limits.pending_per_sender);
            assert_eq!((observer.head(), observer.finalized()), (head, finalized));
            open.extend(observer.release(Slot(400)));
        }
    }
    assert!(checks <= 3 * saved.len(), "{checks} checks of {} messages", saved.len());
    assert_eq!(refused, 0, "an earlier one takes the place of a later one");
    assert_eq!(observer.latest(Member(3)), hoarder.latest(Member(3)), "in the end all are held");
}

/// Equal weights: the later slot wins, and of one slot the higher id, whatever comes first.
#[test]
fn ties_go_to_the_later_slot_then_to_the_higher_id() {
    let _heap = alone();
    let authors: Vec<_> = (0..4).map(|me| engine(vec![2, 2, 2, 2], Some(me))).collect();
    let (early, late) = (proposal(&authors[1], 1, 0), proposal(&authors[2], 2, 0));
    // Of one slot there are two blocks only where its leader has two faces; each has a vote then.
    let twins = [proposal(&authors[3], 3, 0), proposal(&authors[3], 3, 1)];
    let votes: Vec<Message<Blocks>> = [0, 1]
        .map(|at| {
            let mut voter = engine(vec![2, 2, 2, 2], Some(at));
            say(&mut voter, &twins[usize::from(at)]);
            vote(&voter, 3, &voter.view())
        })
        .to_vec();
    let high = twins.iter().map(|twin| twin.estimate.block()).max().unwrap();
    for turned in [false, true] {
        let mut observer = engine(vec![2, 2, 2, 2], None);
        let mut order = [&early, &late];
        let mut forked = [&twins[0], &twins[1]];
        if turned {
            order.reverse();
            forked.reverse();
        }
        order.iter().for_each(|message| drop(say(&mut observer, message)));
        assert_eq!(observer.head(), late.estimate.block());
        let mut observer = engine(vec![2, 2, 2, 2], None);
        forked.iter().for_each(|message| drop(say(&mut observer, message)));
        for (message, twin) in votes.iter().zip(&twins) {
            let mut cites = vec![Observation::Nothing; 4];
            cites[3] = Observation::Latest(twin.id);
            let Verdict::Valid(checked) = observer.check_full(Slot(3), message, &cites) else { panic!("a vote") };
            observer.insert(checked);
        }
        assert_eq!(observer.head(), high);
    }
}
