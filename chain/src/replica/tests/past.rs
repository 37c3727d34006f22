//! Messages from below the pruning line: who said them is heard again, and nobody makes a habit of it.

use super::{
    hostile::goes_on,
    puppet::{Puppet, carried, slot},
    *,
};
use crate::{
    advances::Advances,
    message::{Estimate, Statement},
    store::Table,
};
use kakera_cbc::Cite;
use std::collections::BTreeSet;

/// Slots for which members of these benches keep messages.
const KEPT: u64 = 200;

/// Members 0 to 2 go on past the line while member 3 speaks alone; returns the slot in which it was cut off.
fn cut_off(bench: &mut Bench, slots: u64) -> u64 {
    bench.run(6_000);
    let slot = bench.status(0).slot.0;
    bench.cut.insert(3);
    for item in 100..110u8 {
        bench.give(usize::from(item % 3), item);
        bench.run(slots * 200 / 10);
    }
    assert!(line(bench, 0) > slot, "the others have pruned");
    let replica = bench.replicas[3].as_ref().unwrap();
    assert!(replica.engine.latest_slot(Member(3)).unwrap().0 > slot + slots - 50, "it went on speaking");
    slot
}

fn line(bench: &Bench, member: usize) -> u64 {
    bench.replicas[member].as_ref().unwrap().engine.line().0
}

fn rebuilds(bench: &Bench, member: usize) -> u64 {
    bench.replicas[member].as_ref().unwrap().past.rebuilds
}

/// Whether all that a member stored can be inserted again, with or without regard to the phases on record.
fn replays(bench: &Bench, member: usize, phases: bool) -> bool {
    let replica = bench.replicas[member].as_ref().unwrap();
    let phases = if phases { replica.past.phases.clone() } else { Vec::new() };
    let (empty, store) = (replica.past.empty.clone(), &*bench.stores[member]);
    let mut replay = replay::Replay::new(empty, bench.network.id, phases, KEPT, store).unwrap();
    while replay.next() < replica.next_insertion {
        if replay.step(store, 256).is_err() {
            return false;
        }
    }
    true
}

/// All that live hold the latest message of all that live.
fn assert_all_heard(bench: &Bench) {
    let live: Vec<_> = bench.replicas.iter().flatten().collect();
    for speaker in live.iter().filter_map(|replica| replica.me()) {
        let seen: BTreeSet<_> = live.iter().map(|replica| replica.engine.latest(speaker).map(|(seq, _)| seq)).collect();
        let (low, high) = (seen.first().unwrap().unwrap(), seen.last().unwrap().unwrap());
        assert!(high - low <= 3, "member {speaker:?}: {seen:?}");
    }
}

fn restart_all(bench: &mut Bench) {
    for member in 0..4 {
        bench.crash(member);
        bench.restart(member);
        bench.run(3_000);
    }
}

#[test]
fn a_member_that_spoke_alone_beyond_the_pruning_line_is_heard_again() {
    let mut bench = Bench::keeping(Some(KEPT), 4, 201);
    cut_off(&mut bench, 3 * KEPT);
    bench.cut.clear();
    bench.run(20_000);
    assert!((0..3).all(|member| rebuilds(&bench, member) == 1), "one rebuild lets all of it in");
    assert_all_heard(&bench);
    // Nothing is certified without it now.
    bench.crash(0);
    goes_on(&mut bench, 0..5);
    bench.assert_agreement(15);
    bench.restart(0);
    bench.run(5_000);
    // Restarted while the line is still low, and again once it has risen.
    restart_all(&mut bench);
    bench.run(KEPT * 200 * 3);
    assert!((0..4).all(|member| line(&bench, member) > 3 * KEPT), "memory is free again");
    restart_all(&mut bench);
    goes_on(&mut bench, 5..10);
    bench.assert_agreement(20);
    assert_eq!(bench.equivocators(), 0);
}

#[test]
fn a_thread_of_many_pieces_is_heard_through_losses_and_crashes() {
    for seed in 210..212 {
        let mut bench = Bench::keeping(Some(KEPT), 4, seed);
        bench.refused = Some(Vec::new());
        cut_off(&mut bench, 15 * KEPT);
        bench.lose_percent = 20;
        bench.cut.clear();
        for _ in 0..6 {
            let pause = bench.random(4_000) as u64;
            bench.run(pause);
            let victim = bench.random(4);
            bench.crash(victim);
            bench.run(300);
            bench.restart(victim);
        }
        bench.lose_percent = 0;
        bench.run(60_000);
        assert_all_heard(&bench);
        bench.crash(0);
        goes_on(&mut bench, 0..5);
        bench.assert_agreement(15);
        bench.restart(0);
        bench.run(KEPT * 200 * 3);
        restart_all(&mut bench);
        goes_on(&mut bench, 5..10);
        bench.assert_agreement(20);
        assert_eq!(bench.equivocators(), 0);
        // Each start above took the low line from its record, and had to.
        let replays: Vec<_> =
            (0..4).map(|member| (replays(&bench, member, false), replays(&bench, member, true))).collect();
        assert!(replays.iter().all(|(_, recorded)| *recorded), "{replays:?}");
        assert!(replays.iter().any(|(pruned, _)| !pruned), "{replays:?}");
        let mut refused = bench.refused.iter().flatten();
        assert!(refused.all(|(_, reason)| *reason == Refused::Full), "more waits than there is room for");
    }
}

/// A member says something every two seconds on one old base, to whom it likes; what is given meanwhile is certified.
fn speaks_on_an_old_base(seed: u64, whom: impl Fn(&mut Bench) -> Vec<usize>) -> Bench {
    let mut bench = Bench::keeping(Some(KEPT), 4, seed);
    bench.refused = Some(Vec::new());
    bench.run(6_000);
    let mut puppet = Puppet::of(&mut bench, 3);
    bench.run(3 * KEPT * 200);
    let start = slot(&bench);
    for round in 0..400u64 {
        let now = slot(&bench);
        let message = puppet.say(now);
        for to in whom(&mut bench) {
            bench.hear(to, 3, message.clone());
        }
        if round % 20 == 0 {
            let item = (round / 20) as u8;
            bench.give(usize::from(item % 3), item);
        }
        bench.run(2_000);
        if round % 20 == 19 {
            bench.assert_agreement((round / 20 + 1) as usize);
        }
    }
    let slots = slot(&bench) - start;
    // One for the member alone each time it has rested, and one more when others wait behind it meanwhile.
    let most = 2 * (u64::from((slots / KEPT).ilog2()) + 1);
    let made: Vec<u64> = (0..3).map(|member| rebuilds(&bench, member)).collect();
    assert!(made.iter().all(|made| *made <= most), "{made:?} rebuilds in {slots} slots");
    assert!(made.iter().any(|made| *made > 0), "there were some");
    bench
}

#[test]
fn who_speaks_on_an_old_base_for_ever_costs_few_rebuilds_and_the_others_go_on() {
    let to_some = |bench: &mut Bench| (0..3).filter(|_| bench.random(3) > 0).collect();
    let mut bench = speaks_on_an_old_base(220, to_some);
    bench.run(2 * KEPT * 200);
    assert!((0..3).all(|member| line(&bench, member) + 2 * KEPT > slot(&bench)), "memory is free again");
    for member in 0..3 {
        bench.crash(member);
        bench.restart(member);
        bench.run(3_000);
    }
    goes_on(&mut bench, 30..35);
    bench.assert_agreement(25);
}

#[test]
fn old_messages_told_only_to_who_may_still_take_them_divide_nobody() {
    let to_holders = |bench: &mut Bench| -> Vec<usize> {
        let now = Slot(slot(bench));
        let holds = |member: &usize| bench.replicas[*member].as_ref().unwrap().past.holds(now);
        let holders: Vec<usize> = (0..3).filter(holds).collect();
        if holders.is_empty() || holders.len() == 3 { vec![bench.random(3)] } else { vec![holders[0]] }
    };
    speaks_on_an_old_base(221, to_holders);
}

#[test]
fn who_starts_its_thread_again_after_the_first_message_has_left_memory_is_convicted() {
    let mut bench = Bench::keeping(Some(KEPT), 4, 222);
    bench.run(6_000);
    let mut puppet = Puppet::of(&mut bench, 3);
    bench.run(3 * KEPT * 200);
    puppet.catch_up(&mut bench, 0);
    let now = slot(&bench);
    // It cites nothing, so nothing in it shows that it has spoken before.
    let cites = kakera_cbc::cites_digest(&[kakera_cbc::Observation::Nothing; 4]);
    let next = puppet.statement(now);
    let estimate = Estimate::Vote(next.base);
    let again = Statement { seq: 0, advances: Advances::new(Vec::new()), cites, estimate, ..next };
    bench.hear(0, 3, carried(puppet.sign(again)));
    assert_eq!(bench.equivocators(), 0, "the twin is on disk only");
    bench.run(5_000);
    assert_eq!(bench.equivocators(), 3);
    for member in 0..3 {
        bench.crash(member);
        bench.restart(member);
        bench.run(3_000);
    }
    goes_on(&mut bench, 0..5);
    bench.assert_agreement(5);
}

#[test]
fn what_a_member_said_long_ago_silences_nobody_and_is_not_taken_twice() {
    let mut bench = Bench::keeping(Some(KEPT), 4, 230);
    bench.run(6_000);
    let old = bench.hear(0, 1, PeerMessage::Since(vec![0; 4]));
    bench.run(3 * KEPT * 200);
    assert!((0..4).all(|member| line(&bench, member) > 100));
    let messages = |bench: &Bench| {
        let disk = bench.stores[2].0.lock().unwrap();
        disk.rows.keys().filter(|(table, _)| *table == Table::Messages).count()
    };
    let stored = messages(&bench);
    for message in &old {
        (0..4).for_each(|to| drop(bench.hear(to, (to + 1) % 4, message.clone())));
    }
    assert_eq!(messages(&bench), stored, "nothing is taken twice");
    bench.run(100);
    for member in 0..4 {
        let replica = bench.replicas[member].as_ref().unwrap();
        assert_eq!((replica.phase(), replica.waiting.len()), (Phase::Active, 0));
    }
    assert_eq!(rebuilds(&bench, 0), 0);
}

#[test]
fn a_cite_of_what_has_left_memory_is_found_on_disk() {
    let mut bench = Bench::keeping(Some(KEPT), 4, 223);
    bench.run(6_000);
    let puppet = Puppet::of(&mut bench, 3);
    bench.run(3 * KEPT * 200);
    // A base as new as any, and a view as old as its sender's absence: it has just not seen more.
    let next = puppet.statement(slot(&bench));
    let base = bench.replicas[0].as_ref().unwrap().certified().id;
    let steps = (0..3).map(|member| (Member(member), Cite::Ahead(puppet.engine.latest(Member(member)).unwrap().0 + 1)));
    let cites = kakera_cbc::cites_digest(&puppet.engine.resolve(&puppet.engine.view()));
    let estimate = Estimate::Vote(base);
    let message = puppet.sign(Statement { base, advances: Advances::new(steps.collect()), cites, estimate, ..next });
    let id = message.statement.id(bench.network.id);
    (0..3).for_each(|to| drop(bench.hear(to, 3, carried(message.clone()))));
    let has = |bench: &Bench, member: usize| bench.replicas[member].as_ref().unwrap().engine.contains(&id);
    assert!((0..3).all(|member| !has(&bench, member)));
    bench.run(5_000);
    assert!((0..3).all(|member| has(&bench, member) && rebuilds(&bench, member) == 1));
    for member in 0..3 {
        bench.crash(member);
        bench.restart(member);
        bench.run(3_000);
    }
    goes_on(&mut bench, 0..5);
    bench.assert_agreement(5);
}

#[test]
fn a_store_that_lacks_what_was_believed_halts_its_member_alone() {
    for last in [true, false] {
        let mut bench = Bench::keeping(Some(KEPT), 4, 224);
        bench.halted = Some(Vec::new());
        cut_off(&mut bench, 3 * KEPT);
        bench.run(1);
        let mut disk = bench.stores[0].0.lock().unwrap();
        let mut numbers = disk.rows.keys().filter(|(table, _)| *table == Table::Messages);
        let key = if last { numbers.next_back() } else { numbers.nth(200) }.unwrap().clone();
        disk.rows.remove(&key);
        drop(disk);
        bench.cut.clear();
        bench.run(20_000);
        let halted = bench.halted.take().unwrap();
        assert!(matches!(halted[..], [Breach::InvalidStore(_)]), "{halted:?}");
        assert_eq!(bench.status(0).phase, Phase::Halted);
        bench.replicas[0] = None;
        goes_on(&mut bench, 0..5);
        bench.assert_agreement(15);
    }
}

#[test]
fn two_that_cite_each_others_old_messages_for_ever_divide_nobody() {
    let mut bench = Bench::keeping(Some(KEPT), 7, 225);
    bench.refused = Some(Vec::new());
    bench.run(6_000);
    let (mut old, mut citing) = (Puppet::of(&mut bench, 5), Puppet::of(&mut bench, 6));
    bench.run(3 * KEPT * 200);
    let start = slot(&bench);
    for round in 0..100u8 {
        citing.catch_up(&mut bench, usize::from(round % 5));
        let now = slot(&bench);
        let said = old.say(now);
        if let PeerMessage::Message(said) = &said {
            citing.take(&said.message);
        }
        let cites = citing.say(now);
        for to in 0..5 {
            for message in [&said, &cites] {
                if bench.random(3) > 0 {
                    bench.hear(to, 6, message.clone());
                }
            }
        }
        if round % 10 == 0 {
            bench.give(usize::from(round % 5), round);
        }
        bench.run(2_000);
        if round % 10 == 9 {
            bench.run(4_000);
            bench.assert_agreement(usize::from(round) / 10 + 1);
        }
    }
    let slots = slot(&bench) - start;
    let made: Vec<u64> = (0..5).map(|member| rebuilds(&bench, member)).collect();
    let most = 2 * (u64::from((slots / KEPT).ilog2()) + 2);
    assert!(made.iter().all(|made| *made <= most), "{made:?} rebuilds in {slots} slots");
    bench.run(2 * KEPT * 200);
    for member in 0..5 {
        bench.crash(member);
        bench.restart(member);
        bench.run(3_000);
    }
    goes_on(&mut bench, 200..205);
    bench.assert_agreement(15);
}
