//! Steps that were counted from the wrong one of an equivocator's messages.

use super::{
    puppet::{Puppet, slot},
    *,
};

/// What of the puppet's branches member 0 holds, of those said from a place on.
fn held(bench: &Bench, puppet: &Puppet, seq: u64) -> usize {
    bench.replicas[0].as_ref().unwrap().engine.by_seq(Member(puppet.me as u16), seq).len()
}

fn signed(message: &PeerMessage) -> &SignedMessage {
    let PeerMessage::Message(carried) = message else { panic!("a message was said") };
    &carried.message
}

#[test]
fn the_other_branch_is_found_by_what_its_messages_cite_in_full() {
    let mut bench = Bench::new(4, 240);
    bench.lose_evidence = true;
    bench.run(2_000);
    // What the puppet sees at first, and what it sees a minute later.
    let mut b = Puppet::of(&mut bench, 3);
    bench.run(60_000);
    let mut a = Puppet { engine: b.engine.clone(), me: 3, era: b.era };
    a.catch_up(&mut bench, 1);
    let (seq, now) = (b.statement(0).seq, slot(&bench));
    assert_eq!(a.statement(now).seq, seq);
    // The first branch starts where the others are; the second long before, and then goes as many steps at once.
    let first = a.say(now);
    let second = b.say(now);
    b.catch_up(&mut bench, 1);
    let third = b.say(slot(&bench));
    bench.cut.insert(0);
    for to in 1..3 {
        bench.hear(to, 3, second.clone());
        bench.hear(to, 3, third.clone());
    }
    bench.hear(0, 3, first);
    bench.cut.clear();
    assert_eq!(held(&bench, &b, seq), 1);
    bench.run(8_000);
    assert_eq!(held(&bench, &b, seq), 2, "both branches are here");
    bench.give(1, 1);
    bench.run(5_000);
    bench.assert_agreement(1);
}

/// An answer brings what the sender's earlier messages cite as well. While one of those waits for something else, what
/// was told of both is remembered and not asked for again.
#[test]
fn what_was_told_is_remembered_until_the_senders_earlier_messages_have_come() {
    (241..247).for_each(remembers_what_was_told);
}

fn remembers_what_was_told(seed: u64) {
    let mut bench = Bench::new(4, seed);
    bench.run(2_000);
    let mut one = Puppet::of(&mut bench, 3);
    let mut other = Puppet { engine: one.engine.clone(), me: 3, era: one.era };
    let mut honest = Puppet::of(&mut bench, 2);
    bench.run(1_000);
    let now = slot(&bench);
    let told_to_0 = [one.say(now), one.say(now)];
    let told_to_1 = [other.say(now - 1), other.say(now - 1)];
    // Each of the honest member's two messages cites one more of the branch that member 0 does not know.
    let cited = told_to_1.clone().map(|message| {
        honest.take(signed(&message));
        honest.say(now)
    });
    (bench.lose_answers, bench.lose_evidence) = (true, true);
    for (from, message) in [(3, &told_to_1[0]), (3, &told_to_1[1]), (2, &cited[0]), (2, &cited[1])] {
        bench.hear(1, from, message.clone());
    }
    bench.sends = Some(Vec::new());
    for (from, message) in [(3, &told_to_0[0]), (3, &told_to_0[1]), (2, &cited[0]), (2, &cited[1])] {
        bench.hear(0, from, message.clone());
    }
    bench.run(5_000);
    let last = honest.engine.latest(Member(2)).unwrap().1;
    let holds = |bench: &Bench| bench.replicas[0].as_ref().unwrap().engine.contains(&last);
    let sends = bench.sends.take().unwrap().into_iter();
    let asked = sends.filter(|(_, from, _, message)| *from == 0 && *message == PeerMessage::WantCites(last)).count();
    assert!((1..=3).contains(&asked), "each of the others once, not {asked} times");
    assert!(!holds(&bench));
    told_to_1.into_iter().for_each(|message| drop(bench.hear(0, 3, message)));
    assert!(holds(&bench), "nothing is left to ask for");
}

/// What a message in doubt is found to cite may be here, and cite one more of the same sender that is in doubt: that one has
/// its turn at once.
#[test]
fn a_turn_passes_to_what_it_waits_for() {
    let mut bench = Bench::new(4, 250);
    (bench.lose_evidence, bench.lose_answers) = (true, true);
    bench.run(2_000);
    let mut b = Puppet::of(&mut bench, 3);
    bench.run(60_000);
    let mut a = Puppet { engine: b.engine.clone(), me: 3, era: b.era };
    let mut honest = Puppet::of(&mut bench, 2);
    bench.run(50);
    // The second branch starts long before the first, and then goes as many steps at once.
    let now = slot(&bench);
    let first = b.say(now);
    [&mut a, &mut b, &mut honest].into_iter().for_each(|puppet| puppet.take_all(&bench, 1));
    let second = b.say(now);
    [&first, &second].into_iter().for_each(|message| honest.take(signed(message)));
    let citing = honest.say(now);
    b.take(signed(&citing));
    let third = b.say(now);
    let last = b.engine.latest(Member(3)).unwrap().1;
    for (from, message) in [(3, &first), (3, &second), (2, &citing), (3, &third)] {
        bench.hear(1, from, message.clone());
    }
    let holds = |bench: &Bench, member: usize| bench.replica(member).engine.contains(&last);
    assert!(holds(&bench, 1));
    [a.say(now), a.say(now), a.say(now)].into_iter().for_each(|message| drop(bench.hear(0, 3, message)));
    bench.hear(0, 3, third);
    bench.run(2_000);
    assert!(bench.replica(0).doubts.told(Member(3), &last).is_some(), "it has its turn");
    bench.hear(0, 3, second);
    bench.hear(0, 2, citing);
    bench.run(1_500);
    assert!(bench.replica(0).doubts.told(Member(3), &last).is_none(), "it waits for one that has its turn");
    bench.lose_answers = false;
    bench.run(3_000);
    assert!(holds(&bench, 0));
}
