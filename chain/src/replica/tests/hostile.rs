//! What a peer may say to break a replica, and what must come of it.

use super::{
    bench::key,
    puppet::{Puppet, carried, slot},
    *,
};
use crate::{
    advances::Advances,
    certificate::{Finality, FinalitySignature},
    codec,
    evidence::Equivocation,
    hash::Hash,
    keys::Signature,
    message::{Estimate, Statement},
    peer::{CiteEntry, PeerStatus},
    store::Table,
};
use crate::{hash::NetworkId, units::ChainId};
use kakera_cbc::Cite;

fn status(bench: &Bench, tip: Option<(u64, MessageId)>) -> PeerStatus {
    let tips = vec![tip; bench.replicas.len()];
    PeerStatus { tips, certified: (Height(u64::MAX), BlockId([9; 32])), question: None, answer: None }
}

/// All that live go on: each certifies what is given now.
pub(super) fn goes_on(bench: &mut Bench, items: std::ops::Range<u8>) {
    let live: Vec<usize> = (0..bench.replicas.len()).filter(|member| bench.replicas[*member].is_some()).collect();
    for item in items {
        bench.give(live[usize::from(item) % live.len()], item);
        bench.run(400);
    }
    bench.run(6_000);
}

#[test]
fn numbers_at_the_end_of_their_types_panic_nobody() {
    let mut bench = Bench::new(4, 101);
    bench.refused = Some(Vec::new());
    bench.run(2_000);
    let end = status(&bench, Some((u64::MAX, MessageId([8; 32]))));
    for to in 0..3 {
        bench.hear(to, 3, PeerMessage::Status(PeerStatus { question: Some(u64::MAX), ..end.clone() }));
        bench.hear(to, 3, PeerMessage::Status(PeerStatus { answer: Some(u64::MAX), ..end.clone() }));
        bench.hear(to, 3, PeerMessage::Since(vec![u64::MAX; 4]));
        bench.hear(to, 3, PeerMessage::WantEvidence(Member(u16::MAX)));
    }
    let puppet = Puppet::of(&mut bench, 3);
    let limits = |base: Statement| {
        let far = Statement { slot: Slot(u64::MAX), ..base.clone() };
        let last = Statement {
            seq: u64::MAX,
            advances: Advances::new(vec![(Member(2), Cite::Ahead(u64::MAX))]),
            ..base.clone()
        };
        let high = Estimate::Proposal { block: BlockId([7; 32]), parent: base.base, height: u64::MAX };
        [far, last, Statement { estimate: high, ..base }]
    };
    for statement in limits(puppet.statement(slot(&bench))) {
        (0..3).for_each(|to| drop(bench.hear(to, 3, carried(puppet.sign(statement.clone())))));
    }
    let era = puppet.era;
    let finality =
        Finality { chain: era.chain, epoch: era.epoch, root: era.root, height: Height(u64::MAX), block: era.root };
    let share = FinalitySignature::sign(finality, Member(3), &key(3), era.network);
    (0..3).for_each(|to| drop(bench.hear(to, 3, PeerMessage::Finality(share.clone()))));
    goes_on(&mut bench, 0..5);
    bench.assert_agreement(5);
}

#[test]
fn a_lie_about_what_a_member_said_silences_nobody() {
    let mut bench = Bench::new(4, 102);
    bench.run(2_000);
    bench.crash(3);
    bench.crash(2);
    bench.restart(2);
    for _ in 0..20 {
        for to in 0..3 {
            let question = bench.replicas[to].as_ref().unwrap().voice.question();
            let lie = PeerStatus { answer: Some(question), ..status(&bench, Some((1_000, MessageId([8; 32])))) };
            bench.hear(to, 3, PeerMessage::Status(lie));
        }
        bench.run(100);
    }
    goes_on(&mut bench, 0..5);
    bench.assert_agreement(5);
    assert!((0..3).all(|member| bench.status(member).phase == Phase::Active));
}

#[test]
fn a_second_process_with_the_same_key_ends_both_voices() {
    let mut bench = Bench::new(4, 103);
    bench.run(2_000);
    let replica = bench.replicas[1].as_ref().unwrap();
    let rival = Puppet { engine: replica.engine.clone(), me: 1, era: replica.era };
    bench.run(100);
    let vote = rival.vote(slot(&bench));
    bench.hear(1, 0, vote);
    assert_eq!(bench.status(1).phase, Phase::Silent);
}

#[test]
fn citing_one_of_two_branches_survives_a_restart() {
    let mut bench = Bench::new(4, 107);
    bench.run(2_000);
    let puppet = Puppet::of(&mut bench, 3);
    bench.run(1_000);
    let now = slot(&bench);
    let (a, b) = (puppet.vote(now), puppet.vote(now - 1));
    bench.hear(0, 3, a);
    bench.hear(1, 3, b.clone());
    bench.hear(2, 3, b);
    goes_on(&mut bench, 0..5);
    assert_eq!(bench.equivocators(), 3, "all three have the evidence");
    for member in 0..3 {
        bench.crash(member);
        bench.restart(member);
        bench.run(2_000);
    }
    goes_on(&mut bench, 5..10);
    bench.assert_agreement(10);
    // One that remembers nothing follows all of it.
    bench.replace_store(3, Disk::default());
    bench.restart(3);
    bench.run(10_000);
    assert_eq!(bench.certified_height(3), bench.certified_height(0));
    assert_eq!(bench.status(3).phase, Phase::Silent);
}

#[test]
fn a_known_equivocator_cannot_fill_memory_or_disk() {
    let mut bench = Bench::new(4, 108);
    bench.run(2_000);
    let puppet = Puppet::of(&mut bench, 3);
    bench.run(60_000);
    let now = slot(&bench);
    let held = |bench: &Bench| {
        let engine = &bench.replicas[0].as_ref().unwrap().engine;
        let next = puppet.engine.latest(Member(3)).map_or(0, |(seq, _)| seq + 1);
        engine.by_seq(Member(3), next).len()
    };
    for twin in 0..250 {
        bench.hear(0, 3, puppet.vote(now - twin));
    }
    assert_eq!(held(&bench), 2, "two are the whole evidence");
    goes_on(&mut bench, 0..5);
    bench.assert_agreement(5);
    assert_eq!(bench.equivocators(), 3);
}

#[test]
fn empty_answers_for_ever_do_not_end_the_search() {
    let mut bench = Bench::new(4, 109);
    bench.run(2_000);
    bench.crash(3);
    bench.cut.insert(0);
    bench.run(10_000);
    bench.cut.clear();
    for _ in 0..1_000 {
        bench.hear(0, 3, PeerMessage::Messages(Vec::new()));
        bench.run(10);
    }
    bench.assert_agreement(0);
    goes_on(&mut bench, 0..5);
    bench.assert_agreement(5);
}

#[test]
fn a_flood_of_what_cannot_be_found_hides_nothing_honest() {
    let mut bench = Bench::new(4, 110);
    bench.refused = Some(Vec::new());
    bench.run(4_000);
    let puppet = Puppet::of(&mut bench, 3);
    bench.lose_percent = 30;
    let mut noise = 0u64;
    for round in 0..300u64 {
        let base = puppet.statement(slot(&bench));
        for kind in 0..4 {
            noise += 1;
            let junk = Hash::of(&[&noise.to_le_bytes()]).0;
            let statement = match kind {
                0 => Statement { cites: junk, ..base.clone() },
                1 => Statement { base: BlockId(junk), ..base.clone() },
                2 => Statement {
                    advances: Advances::new(vec![(Member(2), Cite::Ahead(noise))]),
                    seq: noise + 1,
                    ..base.clone()
                },
                _ => Statement { slot: Slot(base.slot.0 + noise), ..base.clone() },
            };
            bench.hear(0, 3, carried(puppet.sign(statement)));
            let tip = bench.replicas[0].as_ref().unwrap().engine.latest(Member(1)).unwrap();
            bench.hear(0, 3, PeerMessage::Status(status(&bench, Some((tip.0, MessageId(junk))))));
        }
        if round % 30 == 0 {
            bench.give(1, (round / 30) as u8);
        }
        bench.run(50);
    }
    bench.lose_percent = 0;
    goes_on(&mut bench, 20..25);
    bench.assert_agreement(15);
    let replica = bench.replicas[0].as_ref().unwrap();
    assert!(replica.engine.parked() <= 256 && replica.waiting.len() <= 257, "{}", replica.waiting.len());
}

#[test]
fn answers_are_bounded_in_bytes_and_in_number() {
    let mut bench = Bench::new(4, 111);
    bench.run(5_000);
    let id = bench.replicas[0].as_ref().unwrap().engine.latest(Member(0)).unwrap().1;
    match &bench.hear(0, 3, PeerMessage::ById(vec![id; 256]))[..] {
        [PeerMessage::Messages(list)] => assert_eq!(list.len(), 1, "one for many times the same"),
        other => panic!("{other:?}"),
    }
    let requests = [PeerMessage::Since(vec![0; 4]), PeerMessage::WantCites(id), PeerMessage::ById(vec![id])];
    let asked = requests.iter().cycle().take(600);
    let answered: usize = asked.map(|request| bench.hear(0, 3, request.clone()).len()).sum();
    assert!((1..=64).contains(&answered), "{answered} answers to 600 requests in one second");
    assert_eq!(bench.hear(0, 2, PeerMessage::ById(vec![id])).len(), 1, "others are answered");
    bench.run(1_000);
    assert_eq!(bench.hear(0, 3, PeerMessage::ById(vec![id])).len(), 1, "and the next second it is, too");
}

/// What member 0 holds of others' proposals, newest last.
fn proposals(bench: &mut Bench, asker: usize) -> Vec<Carried> {
    let all = bench.hear(0, asker, PeerMessage::Since(vec![0; 4]));
    let Some(PeerMessage::Messages(list)) = all.into_iter().next() else { panic!("no answer") };
    list.into_iter().filter(|carried| carried.block.is_some()).collect()
}

#[test]
fn the_same_header_with_another_body_does_not_stand_in_the_way_of_the_honest_block() {
    let mut bench = Bench::new(4, 112);
    bench.run(2_000);
    bench.cut.insert(3);
    bench.run(6_000);
    bench.refused = Some(Vec::new());
    let last = proposals(&mut bench, 2).pop().unwrap();
    assert!(!bench.replicas[3].as_ref().unwrap().engine.contains(&last.message.statement.id(bench.network.id)));
    let mut block = Block::decode(last.block.as_ref().unwrap()).unwrap();
    block.body.push(vec![200]);
    for block in [Some(codec::encode(&block)), Some(vec![1, 2, 3]), Some(Vec::new()), None] {
        bench.hear(3, 2, PeerMessage::Message(Box::new(Carried { block, ..last.clone() })));
        assert_eq!(bench.refused.as_mut().unwrap().pop(), Some((2, Refused::Block)));
        assert!(bench.replicas[3].as_ref().unwrap().waiting.is_empty(), "what is spoiled does not wait");
    }
    bench.hear(3, 2, PeerMessage::Message(Box::new(last)));
    assert_eq!(bench.replicas[3].as_ref().unwrap().waiting.len(), 1, "the honest one does");
    bench.cut.clear();
    bench.run(5_000);
    bench.assert_agreement(0);
    assert_eq!(bench.refused, Some(Vec::new()));
}

#[test]
fn blocks_that_wait_are_bounded_in_bytes_for_each_sender() {
    let mut bench = Bench::new(4, 113);
    bench.run(3_000);
    bench.refused = Some(Vec::new());
    let honest = proposals(&mut bench, 2).pop().unwrap();
    let puppet = Puppet::of(&mut bench, 3);
    let base = puppet.statement(slot(&bench));
    let template = Block::decode(honest.block.as_ref().unwrap()).unwrap();
    for n in 0..12u8 {
        let mut block = template.clone();
        block.body = vec![vec![n; Block::MAX_BYTES - 2_000]];
        block.header.body_root = crate::hash::merkle_root(&block.body);
        (block.header.proposer, block.header.slot) = (Member(3), base.slot);
        let header = &block.header;
        let estimate =
            Estimate::Proposal { block: header.id(bench.network.id), parent: header.parent, height: header.height.0 };
        let message = puppet.sign(Statement { base: BlockId([n; 32]), estimate, ..base.clone() });
        let bytes = codec::encode(&block);
        bench.hear(0, 3, PeerMessage::Message(Box::new(Carried { message, block: Some(bytes), certificate: None })));
    }
    assert_eq!(bench.refused.as_ref().unwrap().len(), 8);
    assert!(bench.refused.iter().flatten().all(|refused| *refused == (3, Refused::Full)));
    assert_eq!(bench.replicas[0].as_ref().unwrap().waiting.len(), 4);
}

#[test]
fn signatures_are_good_for_one_network_chain_era_member_and_purpose() {
    let mut bench = Bench::new(4, 114);
    bench.refused = Some(Vec::new());
    bench.run(2_000);
    let puppet = Puppet::of(&mut bench, 3);
    let good = puppet.statement(slot(&bench));
    let elsewhere = SignedMessage::sign(good.clone(), &key(3), NetworkId(Hash([7; 32])));
    let by_another = SignedMessage::sign(good.clone(), &key(2), puppet.era.network);
    let outsider = puppet.sign(Statement { sender: Member(4), ..good.clone() });
    let shard = puppet.sign(Statement { chain: ChainId::Shard(crate::units::ShardId(0)), ..good.clone() });
    let epoch = puppet.sign(Statement { epoch: Epoch(1), ..good.clone() });
    let root = puppet.sign(Statement { root: BlockId([3; 32]), ..good.clone() });
    let era = puppet.era;
    let finality = Finality { chain: era.chain, epoch: era.epoch, root: era.root, height: Height(9), block: era.root };
    let share = FinalitySignature::sign(finality, Member(3), &key(3), era.network);
    let purpose = SignedMessage { statement: good.clone(), signature: share.signature };
    let outside = FinalitySignature { signer: Member(4), ..share.clone() };
    let identity = FinalitySignature { signature: Signature([0; 64]), ..share };
    let cases = [
        (carried(elsewhere), Refused::Signature),
        (carried(by_another), Refused::Signature),
        (carried(outsider), Refused::Signature),
        (carried(shard), Refused::OtherEra),
        (carried(epoch), Refused::OtherEra),
        (carried(root), Refused::OtherEra),
        (carried(purpose), Refused::Signature),
        (PeerMessage::Finality(outside), Refused::Signature),
        (PeerMessage::Finality(identity), Refused::Signature),
        (PeerMessage::Since(vec![0; 5]), Refused::Length { found: 5, expected: 4 }),
        (PeerMessage::ById(vec![MessageId([0; 32]); 257]), Refused::Length { found: 257, expected: 256 }),
        (
            PeerMessage::Cites { message: MessageId([0; 32]), cites: vec![CiteEntry::Nothing; 3] },
            Refused::Length { found: 3, expected: 4 },
        ),
    ];
    for (message, reason) in cases {
        let what = format!("{message:?}");
        bench.hear(0, 3, message);
        assert_eq!(bench.refused.as_mut().unwrap().pop(), Some((3, reason)), "{what}");
    }
    bench.hear(0, 3, carried(puppet.sign(good)));
    assert_eq!(bench.refused, Some(Vec::new()), "and the good one is taken");
}

#[test]
fn evidence_needs_two_messages_that_the_accused_signed_at_one_place() {
    let mut bench = Bench::new(4, 115);
    bench.refused = Some(Vec::new());
    bench.run(3_000);
    let puppet = Puppet::of(&mut bench, 3);
    let now = slot(&bench);
    let (a, b) = (puppet.sign(puppet.statement(now)), puppet.sign(puppet.statement(now + 1)));
    let forged = SignedMessage { signature: a.signature, ..b.clone() };
    let elsewhere = puppet.sign(Statement { seq: a.statement.seq + 1, ..a.statement.clone() });
    let outside = |message: &SignedMessage| puppet.sign(Statement { sender: Member(9), ..message.statement.clone() });
    for (second, reason) in
        [(a.clone(), Refused::Evidence), (forged, Refused::Signature), (elsewhere, Refused::Evidence)]
    {
        let pair = Equivocation::of(a.clone(), second, puppet.era.network);
        bench.hear(0, 3, PeerMessage::Evidence(Box::new(pair)));
        assert_eq!(bench.refused.as_mut().unwrap().pop(), Some((3, reason)));
    }
    let stranger = Equivocation::of(outside(&a), outside(&b), puppet.era.network);
    bench.hear(0, 3, PeerMessage::Evidence(Box::new(stranger)));
    assert_eq!(bench.refused.as_mut().unwrap().pop(), Some((3, Refused::Signature)));
    assert_eq!(bench.equivocators(), 0);
    let pair = Equivocation::of(a, b, puppet.era.network);
    let swapped = Equivocation { first: pair.second.clone(), second: pair.first.clone() };
    bench.hear(0, 3, PeerMessage::Evidence(Box::new(swapped)));
    assert_eq!(bench.refused.as_mut().unwrap().pop(), Some((3, Refused::Evidence)), "the other order");
    bench.hear(0, 3, PeerMessage::Evidence(Box::new(pair)));
    bench.run(100);
    assert_eq!(bench.equivocators(), 3, "true evidence reaches everybody");
    assert_eq!(bench.refused, Some(Vec::new()));
    goes_on(&mut bench, 0..5);
    bench.assert_agreement(5);
}

#[test]
fn what_comes_before_its_slot_is_taken_when_that_begins() {
    let mut bench = Bench::new(4, 116);
    bench.run(2_000);
    let puppet = Puppet::of(&mut bench, 3);
    let early = puppet.statement(slot(&bench) + 5);
    let id = early.id(puppet.era.network);
    bench.hear(0, 3, carried(puppet.sign(early)));
    let has = |bench: &Bench| bench.replicas[0].as_ref().unwrap().engine.contains(&id);
    bench.run(600);
    assert!(!has(&bench));
    bench.run(600);
    assert!(has(&bench));
}

#[test]
fn a_bad_message_in_an_answer_spoils_nothing_but_itself() {
    let mut bench = Bench::new(4, 117);
    bench.run(2_000);
    bench.cut.insert(3);
    bench.run(6_000);
    bench.refused = Some(Vec::new());
    let first = bench.replicas[3].as_ref().unwrap().seats.committee.members();
    let engine = &bench.replicas[3].as_ref().unwrap().engine;
    let wanted = first.map(|member| engine.latest(member).map_or(0, |(seq, _)| seq + 1)).collect();
    let Some(PeerMessage::Messages(mut list)) = bench.hear(0, 2, PeerMessage::Since(wanted)).pop() else {
        panic!("no answer")
    };
    let held = list.len();
    let mut bad = list[0].clone();
    bad.message.signature = Signature([5; 64]);
    list.insert(0, bad);
    let before = bench.replicas[3].as_ref().unwrap().engine.len();
    bench.hear(3, 2, PeerMessage::Messages(list));
    assert_eq!(bench.refused, Some(vec![(2, Refused::Signature)]));
    let taken = bench.replicas[3].as_ref().unwrap().engine.len() - before;
    assert!(taken + 2 >= held, "{taken} of {held} taken");
}

#[test]
fn a_conflicting_certificate_halts_and_says_so_and_weak_ones_are_refused() {
    let mut bench = Bench::new(4, 118);
    bench.run(3_000);
    let era = bench.replicas[0].as_ref().unwrap().era;
    let height = Height(bench.certified_height(0));
    let finality = Finality { chain: era.chain, epoch: era.epoch, root: era.root, height, block: BlockId([6; 32]) };
    let sign = |member: u16| {
        let share = FinalitySignature::sign(finality, Member(member), &key(member.into()), era.network);
        (share.signer, share.signature)
    };
    let certificate = |signers: &[u16]| {
        let signatures = signers.iter().map(|member| sign(*member)).collect();
        PeerMessage::Certificate(Box::new(Certificate { finality, signatures }))
    };
    bench.refused = Some(Vec::new());
    for signers in [&[1, 2][..], &[1, 1, 2], &[2, 1, 3], &[1, 2, 9], &[]] {
        bench.hear(0, 3, certificate(signers));
        assert!(matches!(bench.refused.as_mut().unwrap().pop(), Some((3, Refused::Certificate(_)))), "{signers:?}");
    }
    assert_eq!(bench.status(0).phase, Phase::Active);
    bench.halted = Some(Vec::new());
    bench.hear(0, 3, certificate(&[1, 2, 3]));
    assert!(matches!(bench.halted.as_deref(), Some([Breach::ConflictingCertificates { .. }])));
    assert_eq!(bench.status(0).phase, Phase::Halted);
    let said = bench.stores[0].0.lock().unwrap().rows.keys().filter(|(table, _)| *table == Table::Messages).count();
    bench.run(5_000);
    let after = bench.stores[0].0.lock().unwrap().rows.keys().filter(|(table, _)| *table == Table::Messages).count();
    assert_eq!(said, after, "it says and takes nothing any more");
}
