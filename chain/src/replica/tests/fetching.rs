//! What waits, what is asked of whom for it, and what the answers bring.

use super::{
    puppet::{Puppet, carried, slot},
    *,
};
use crate::{advances::Advances, message::Statement};
use kakera_cbc::{Cite, Invalid};

fn holds(bench: &Bench, id: &MessageId) -> bool {
    bench.replicas[0].as_ref().unwrap().engine.contains(id)
}

#[test]
fn messages_that_are_released_together_are_all_judged() {
    let mut bench = Bench::new(7, 300);
    bench.run(2_000);
    let (first, second) = (Puppet::of(&mut bench, 5), Puppet::of(&mut bench, 6));
    bench.run(2_000);
    let early = slot(&bench) + 5;
    // Both wait for their slot. Then the first waits for a certificate that nobody has, and the second is sound.
    let stays = first.sign(Statement { base: BlockId([9; 32]), ..first.statement(early) });
    let sound = second.sign(second.statement(early));
    let (stays_id, id) = (stays.statement.id(first.era.network), sound.statement.id(second.era.network));
    bench.hear(0, 5, carried(stays));
    bench.hear(0, 6, carried(sound));
    let replica = bench.replicas[0].as_ref().unwrap();
    assert!(replica.waiting.contains_key(&stays_id) && replica.waiting.contains_key(&id));
    bench.run(1_200);
    assert!(holds(&bench, &id), "nobody else has it to give");
    let replica = bench.replicas[0].as_ref().unwrap();
    assert!(replica.waiting.contains_key(&stays_id) && replica.waiting.len() == replica.engine.parked());
}

#[test]
fn advances_past_the_committee_are_refused_before_they_are_expanded() {
    let mut bench = Bench::new(4, 301);
    bench.refused = Some(Vec::new());
    bench.run(2_000);
    let puppet = Puppet::of(&mut bench, 3);
    let advances = Advances::new((4..u16::MAX).map(|member| (Member(member), Cite::Ahead(1))).collect());
    let far = puppet.sign(Statement { advances, ..puppet.statement(slot(&bench)) });
    bench.hear(0, 3, carried(far));
    let member = Member(u16::MAX - 1);
    assert_eq!(bench.refused, Some(vec![(3, Refused::Message(Invalid::UnknownCited { member }))]));
}

/// Whom member 0 has asked for messages past what it holds, and when.
fn asked(bench: &mut Bench) -> Vec<(u64, usize)> {
    let sends = bench.sends.replace(Vec::new()).unwrap();
    let since = |message: &PeerMessage| matches!(message, PeerMessage::Since(_));
    sends.iter().filter(|(_, from, _, message)| *from == 0 && since(message)).map(|(at, _, to, _)| (*at, *to)).collect()
}

/// A vote of a puppet whose last one nobody has.
fn orphan(bench: &Bench, puppet: &mut Puppet) -> PeerMessage {
    puppet.say(slot(bench));
    puppet.say(slot(bench))
}

#[test]
fn a_run_of_silent_members_is_not_asked_member_by_member() {
    let mut bench = Bench::new(16, 302);
    bench.run(2_000);
    let mut puppet = Puppet::of(&mut bench, 1);
    (2..6).for_each(|member| bench.crash(member));
    bench.run(1_000);
    let orphan = orphan(&bench, &mut puppet);
    bench.cut.insert(0);
    bench.sends = Some(Vec::new());
    bench.hear(0, 1, orphan);
    bench.run(35_000);
    let asked = asked(&mut bench);
    let order: Vec<usize> = asked.iter().map(|(_, to)| *to).collect();
    assert_eq!(order[0], 1, "who said it is the first");
    let mut round = order[1..16].to_vec();
    assert!(round.iter().take_while(|member| (1..6).contains(*member)).count() <= 2, "{order:?}");
    round.sort_unstable();
    assert_eq!(round, (1..16).collect::<Vec<_>>());
}

#[test]
fn who_says_something_new_that_lacks_something_is_asked_at_once() {
    let mut bench = Bench::new(16, 303);
    bench.run(2_000);
    let (mut lost, mut new) = (Puppet::of(&mut bench, 1), Puppet::of(&mut bench, 2));
    let (lost, first) = (orphan(&bench, &mut lost), orphan(&bench, &mut new));
    bench.cut.insert(0);
    bench.sends = Some(Vec::new());
    bench.hear(0, 1, lost);
    bench.run(20_000);
    asked(&mut bench);
    let now = bench.now();
    bench.hear(0, 2, first);
    bench.run(1_000);
    let after = asked(&mut bench);
    assert_eq!(after[0].1, 2);
    assert!(after[0].0 <= now + 40 && after.len() >= 3, "and the others soon after it: {after:?}");
    // However much of it is said: others are asked as well, and not without end.
    for _ in 0..40 {
        let more = orphan(&bench, &mut new);
        bench.hear(0, 2, more);
        bench.run(100);
    }
    let after = asked(&mut bench);
    assert!(after.iter().filter(|(_, to)| *to == 2).count() <= 4, "{after:?}");
    assert!((8..=20).contains(&after.len()), "{after:?}");
}

#[test]
fn a_deep_branch_is_fetched_in_few_round_trips() {
    const DEEP: usize = 20;
    let mut bench = Bench::new(4, 304);
    bench.in_order = true;
    bench.run(2_000);
    let mut a = Puppet::of(&mut bench, 3);
    let mut b = Puppet { engine: a.engine.clone(), me: 3, era: a.era };
    let (mut one, mut other) = (Vec::new(), Vec::new());
    other.push(b.say(slot(&bench)));
    for _ in 0..DEEP {
        bench.run(400);
        one.push(a.say(slot(&bench)));
        other.push(b.say(slot(&bench)));
    }
    // One branch is told to two members, the other to the third, all at once.
    bench.cut.insert(0);
    for (one, other) in one.iter().zip(&other) {
        bench.hear(1, 3, one.clone());
        bench.hear(2, 3, one.clone());
        bench.hear(0, 3, other.clone());
    }
    bench.run(1_000);
    bench.cut.clear();
    bench.sends = Some(Vec::new());
    let (last, now) = (a.engine.latest(Member(3)).unwrap().1, bench.now());
    while !holds(&bench, &last) {
        bench.run(5);
        assert!(bench.now() < now + 20_000, "the branch does not come");
    }
    let took = bench.now() - now;
    let asked = bench.sends.take().unwrap().into_iter();
    let asked = asked.filter(|(_, from, _, message)| {
        *from == 0 && matches!(message, PeerMessage::ById(_) | PeerMessage::WantCites(_))
    });
    let asked = asked.count();
    println!("{DEEP} messages in {took} ms with {asked} requests");
    assert!(asked <= 16, "{asked} requests for {DEEP} messages, {took} ms");
    bench.give(1, 1);
    bench.run(5_000);
    bench.assert_agreement(1);
    assert_eq!(bench.equivocators(), 3);
}
