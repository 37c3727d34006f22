//! A branch that an accused member says beside what pruning has forgotten must be a branch here too.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;
use kakera_cbc::*;

/// Three members that hear each other, and what they and the fourth said.
struct Net {
    engines: Vec<Engine<Blocks>>,
    archive: Archive,
    log: Vec<Message<Blocks>>,
}

impl Net {
    fn hear(&mut self, to: usize, message: &Message<Blocks>, now: u64) {
        let (_, refused) = feed(&mut self.engines[to], now, message, &self.archive);
        assert_eq!(refused, []);
    }

    fn say(&mut self, from: usize, message: Message<Blocks>, to: &[usize]) -> Message<Blocks> {
        say(&mut self.engines[from], &message);
        self.archive.insert(message.id, self.engines[from].observations(&message.id).unwrap());
        self.log.push(message.clone());
        for other in to.iter().copied().filter(|other| *other != from) {
            self.hear(other, &message, message.slot.0);
        }
        message
    }
}

/// What a list of observations adds to another, as advances.
fn advances(engine: &Engine<Blocks>, me: Member, old: &[Observation], new: &[Observation]) -> Vec<(Member, Cite)> {
    let seq = |seen: &Observation| match seen {
        Observation::Latest(id) => engine.place(id).map_or(0, |place| place.1 + 1),
        _ => 0,
    };
    let pairs = (0u16..).map(Member).zip(old.iter().zip(new));
    pairs
        .filter(|(member, (old, new))| *member != me && old != new)
        .map(|(member, (old, new))| (member, Cite::Ahead(seq(new) - seq(old))))
        .collect()
}

const X: usize = 3;
/// Observers: one holds everything, one prunes.
const WHOLE: usize = 4;
const PRUNED: usize = 5;

/// x's messages 1 to 3 come to the observers only; then three members finalize without x; then the second observer
/// prunes. Answers a second message 1 of x, above the new base.
fn setting() -> (Net, Message<Blocks>) {
    let engines = [Some(0), Some(1), Some(2), Some(3), None, None].map(|me| engine(vec![1; 4], me)).to_vec();
    let mut net = Net { engines, archive: Archive::new(), log: Vec::new() };
    let all = [0, 1, 2, X, WHOLE, PRUNED];
    let first = proposal(&net.engines[1], 1, 0);
    net.say(1, first, &all);
    let x0 = vote(&net.engines[X], 1, &net.engines[X].view());
    let x0 = net.say(X, x0, &all);
    for _ in 0..3 {
        let more = vote(&net.engines[X], 2, &net.engines[X].view());
        net.say(X, more, &[WHOLE, PRUNED]);
    }
    let heard = [0, 1, 2, WHOLE, PRUNED];
    for slot in [2, 4, 5, 6] {
        let leader = slot as usize % 4;
        let block = proposal(&net.engines[leader], slot, 0);
        net.say(leader, block, &heard);
        for _ in 0..4 {
            for member in 0..3 {
                let voting = vote(&net.engines[member], slot, &net.engines[member].view());
                net.say(member, voting, &heard);
            }
        }
    }
    let base = net.engines[PRUNED].finalized();
    let floor = net.engines[PRUNED].protocol().block(&base).unwrap().slot;
    assert_eq!(floor, Slot(6));
    for to in heard {
        net.engines[to].certify(base).unwrap();
    }
    net.engines[PRUNED].prune(floor);
    assert!(net.engines[PRUNED].by_seq(Member(3), 1).is_empty() && !net.engines[WHOLE].by_seq(Member(3), 1).is_empty());
    let beside = alone(&mut net, base, (1, 9), x0.id);
    (net, beside)
}

/// What x says that cites nothing but its own previous message.
fn alone(net: &mut Net, base: BlockId, (seq, slot): (u64, u64), previous: MessageId) -> Message<Blocks> {
    let mut cites = vec![Observation::Nothing; 4];
    cites[X] = Observation::Latest(previous);
    let message = named(Message {
        id: MessageId([0; 32]),
        sender: Member(3),
        seq,
        slot: Slot(slot),
        base,
        advances: Vec::new(),
        cites: cites_digest(&cites),
        estimate: BlockEstimate::Vote(base),
    });
    net.archive.insert(message.id, cites);
    message
}

/// What member 1 says that cites member 0, who has seen these of x, and another message of x.
fn unmarked(net: &mut Net, theirs: &[Message<Blocks>], ours: &Message<Blocks>) -> Message<Blocks> {
    for message in theirs {
        net.hear(0, message, 12);
    }
    let seen = vote(&net.engines[0], 12, &net.engines[0].view());
    let seen = net.say(0, seen, &[WHOLE, PRUNED]);
    assert_eq!(net.archive[&seen.id][X], Observation::Latest(theirs.last().unwrap().id));
    let whole = &net.engines[WHOLE];
    let last = whole.latest(Member(1)).unwrap();
    let mut old = net.archive[&last.1].clone();
    old[1] = Observation::Latest(last.1);
    let mut new = net.archive[&seen.id].clone();
    new[0] = Observation::Latest(seen.id);
    new[1] = old[1];
    new[X] = Observation::Latest(ours.id);
    let row = whole.row_from(&new).unwrap();
    let message = named(Message {
        id: MessageId([0; 32]),
        sender: Member(1),
        seq: last.0 + 1,
        slot: Slot(12),
        base: ours.base,
        advances: advances(whole, Member(1), &old, &new),
        cites: cites_digest(&new),
        estimate: BlockEstimate::Vote(whole.fork_choice(ours.base, &row)),
    });
    net.archive.insert(message.id, new);
    message
}

fn same_verdict(net: &Net, wrong: &Message<Blocks>) {
    let cites = &net.archive[&wrong.id];
    let verdict = net.engines[WHOLE].check_full(Slot(12), wrong, cites);
    assert!(matches!(verdict, Verdict::Invalid(Invalid::UnmarkedEquivocator { member: Member(3) })), "{verdict:?}");
    let verdict = net.engines[PRUNED].check_full(Slot(12), wrong, cites);
    assert!(!matches!(verdict, Verdict::Valid(_)), "one node takes what another refuses");
}

#[test]
fn a_verdict_does_not_depend_on_pruning_where_the_accused_speak_beside_the_forgotten() {
    let (mut net, beside) = setting();
    for to in [WHOLE, PRUNED] {
        net.engines[to].accuse(Member(3), MessageId([1; 32]), MessageId([2; 32]));
        net.hear(to, &beside, 12);
    }
    let own: Vec<Message<Blocks>> =
        net.log.iter().filter(|message| message.sender == Member(3) && message.seq > 0).cloned().collect();
    let wrong = unmarked(&mut net, &own, &beside);
    same_verdict(&net, &wrong);
}

#[test]
fn a_verdict_does_not_depend_on_pruning_where_the_thread_goes_on_after_the_forgotten() {
    let (mut net, beside) = setting();
    let base = beside.base;
    let third = net.log.iter().find(|message| message.sender == Member(3) && message.seq == 3).unwrap().id;
    let fourth = alone(&mut net, base, (4, 9), third);
    let twin = alone(&mut net, base, (4, 10), third);
    let fifth = alone(&mut net, base, (5, 11), fourth.id);
    for to in [WHOLE, PRUNED] {
        for message in [&fourth, &twin, &beside, &fifth] {
            net.hear(to, message, 12);
            assert!(net.engines[to].contains(&message.id));
        }
    }
    let wrong = unmarked(&mut net, std::slice::from_ref(&beside), &fifth);
    same_verdict(&net, &wrong);
}
