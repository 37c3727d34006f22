//! Steps that were counted from the wrong one of an equivocator's messages.

use super::{
    puppet::{Puppet, slot},
    *,
};

/// What of the puppet's branches member 0 holds, of those said from a place on.
fn held(bench: &Bench, puppet: &Puppet, seq: u64) -> usize {
    bench.replicas[0].as_ref().unwrap().engine.by_seq(Member(puppet.me as u16), seq).len()
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
