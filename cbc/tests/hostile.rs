//! Hostile inputs, one by one: each is a typed refusal or a bounded wait.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;
use kakera_cbc::*;

fn judge(engine: &Engine<Blocks>, message: Message<Blocks>) -> Verdict<Blocks> {
    engine.check(Slot(100), &named(message))
}

#[track_caller]
fn refuses(engine: &Engine<Blocks>, message: Message<Blocks>, reason: Invalid) {
    match judge(engine, message) {
        Verdict::Invalid(invalid) => assert_eq!(invalid, reason),
        other => panic!("{other:?} instead of {reason:?}"),
    }
}

#[track_caller]
fn waits(engine: &Engine<Blocks>, message: Message<Blocks>, wanted: Missing<Blocks>) {
    assert_eq!(judge(engine, message).missing(), Some(&wanted));
}

/// Four members; slot 1 is proposed by member 1 and voted on by all who are named.
fn four(voters: &[u16]) -> (Vec<Engine<Blocks>>, Vec<Message<Blocks>>) {
    let mut engines: Vec<_> = (0..4).map(|me| engine(vec![1; 4], Some(me))).collect();
    let mut said = vec![proposal(&engines[1], 1, 0)];
    for engine in &mut engines {
        say(engine, &said[0]);
    }
    for voter in voters {
        said.push(vote(&engines[usize::from(*voter)], 1, &engines[usize::from(*voter)].view()));
    }
    for engine in &mut engines {
        said[1..].iter().for_each(|message| drop(say(engine, message)));
    }
    (engines, said)
}

/// One slot in lockstep: the leader proposes, then two rounds of votes; all certify what is final.
fn lockstep(engines: &mut [Engine<Blocks>], slot: u64, alive: &[usize], archive: &mut Archive) -> Vec<Message<Blocks>> {
    let mut said = Vec::new();
    for round in 0..4 {
        let mut spoken = Vec::new();
        for who in alive {
            let engine = &engines[*who];
            let leads = engine.protocol().leader(Slot(slot)) == engine.me();
            if round == 0 && leads {
                spoken.push(proposal(engine, slot, 0));
            } else if round > 0 {
                spoken.push(vote(engine, slot, &engine.view()));
            }
        }
        for message in &spoken {
            let author = usize::from(message.sender.0);
            say(&mut engines[author], message);
            archive.insert(message.id, engines[author].observations(&message.id).unwrap());
        }
        for who in alive {
            for message in &spoken {
                let (_, refused) = feed(&mut engines[*who], slot, message, archive);
                assert_eq!(refused, []);
            }
        }
        said.extend(spoken);
    }
    for who in alive {
        let finalized = engines[*who].finalized();
        engines[*who].certify(finalized).unwrap();
    }
    said
}

#[test]
fn shapes_are_refused() {
    let (engines, _) = four(&[0]);
    let e = &engines[0];
    let good = vote(e, 1, &e.view());
    assert!(matches!(judge(e, good.clone()), Verdict::Valid(_)));
    refuses(e, Message { sender: Member(4), ..good.clone() }, Invalid::UnknownSender { member: Member(4) });
    let outsider = vec![(Member(1), Cite::Ahead(1)), (Member(9), Cite::Ahead(1))];
    refuses(e, Message { advances: outsider, ..good.clone() }, Invalid::UnknownCited { member: Member(9) });
    let twice = vec![(Member(1), Cite::Ahead(1)), (Member(1), Cite::Ahead(1))];
    refuses(e, Message { advances: twice, ..good.clone() }, Invalid::AdvancesUnsorted);
    let none = vec![(Member(1), Cite::Ahead(0))];
    refuses(e, Message { advances: none, ..good.clone() }, Invalid::NoAdvance { member: Member(1) });
    let itself = vec![(Member(0), Cite::Ahead(1))];
    refuses(e, Message { advances: itself, ..good.clone() }, Invalid::OwnPrevious);
    let last = Missing::Message { member: Member(0), seq: u64::MAX - 1 };
    waits(e, Message { seq: u64::MAX, ..good.clone() }, last);
    refuses(e, Message { slot: Slot(0), ..good.clone() }, Invalid::BeforeCited { member: Member(0) });
    let far = vec![(Member(2), Cite::Ahead(u64::MAX))];
    waits(e, Message { advances: far, ..good.clone() }, Missing::Message { member: Member(2), seq: u64::MAX - 1 });
    waits(e, Message { seq: 9, ..good }, Missing::Message { member: Member(0), seq: 8 });
}

#[test]
fn what_is_missing_is_named() {
    let (engines, _) = four(&[0]);
    let e = &engines[0];
    let good = vote(e, 1, &e.view());
    waits(e, Message { slot: Slot(101), ..good.clone() }, Missing::Slot(Slot(101)));
    let far = BlockId([9; 32]);
    waits(e, Message { base: far, ..good.clone() }, Missing::Certificate(far));
    let advances = vec![(Member(3), Cite::Ahead(1))];
    waits(e, Message { advances, ..good.clone() }, Missing::Message { member: Member(3), seq: 0 });
    let other = named(Message { cites: [1; 32], ..good.clone() });
    waits(e, other.clone(), Missing::FullCites(other.id));
    let mut marked = e.observations(&e.latest(Member(0)).unwrap().1).unwrap();
    marked[0] = Observation::Latest(e.latest(Member(0)).unwrap().1);
    marked[3] = Observation::Faulty;
    let advances = vec![(Member(3), Cite::Faulty)];
    waits(e, Message { advances, cites: cites_digest(&marked), ..good }, Missing::Evidence(Member(3)));
}

#[test]
fn estimates_must_follow() {
    let (engines, said) = four(&[0, 2]);
    let e = &engines[2];
    let block = said[0].estimate.block();
    let good = vote(e, 2, &e.view());
    assert_eq!(good.estimate, BlockEstimate::Vote(block));
    let wrong = |estimate, reason| {
        refuses(e, Message { estimate, ..good.clone() }, Invalid::Estimate(reason));
    };
    wrong(BlockEstimate::Vote(ROOT), InvalidEstimate::DoesNotFollow);
    wrong(BlockEstimate::Vote(BlockId([7; 32])), InvalidEstimate::DoesNotFollow);
    let new = NewBlock { id: BlockId([5; 32]), parent: block, height: 2, slot: Slot(2) };
    let propose = |change: &dyn Fn(&mut NewBlock)| {
        let mut changed = new;
        change(&mut changed);
        BlockEstimate::Proposal(changed)
    };
    let estimate = propose(&|_| {});
    assert!(matches!(judge(e, Message { estimate, ..good.clone() }), Verdict::Valid(_)));
    wrong(propose(&|b| b.parent = ROOT), InvalidEstimate::ParentDoesNotFollow);
    wrong(propose(&|b| b.parent = b.id), InvalidEstimate::OwnParent);
    wrong(propose(&|b| b.height = 3), InvalidEstimate::WrongHeight);
    wrong(propose(&|b| b.slot = Slot(3)), InvalidEstimate::OtherSlot);
    wrong(propose(&|b| b.id = ROOT), InvalidEstimate::IdTaken);
    let late = Message { slot: Slot(3), estimate: propose(&|b| b.slot = Slot(3)), ..good.clone() };
    refuses(e, late, Invalid::Estimate(InvalidEstimate::NotLeader));
}

#[test]
fn justifications_must_be_closed_and_must_not_regress() {
    let (engines, said) = four(&[0, 2]);
    let e = &engines[0];
    let own = e.latest(Member(0)).unwrap().1;
    let with = |list: [Observation; 4], advances: Vec<(Member, Cite)>| {
        let good = vote(e, 1, &e.view());
        let message = named(Message { cites: cites_digest(&list), advances, ..good });
        e.check_full(Slot(9), &message, &list)
    };
    let (p, v2) = (Observation::Latest(said[0].id), Observation::Latest(said[2].id));
    let own = Observation::Latest(own);
    let ahead = |members: &[u16]| members.iter().map(|member| (Member(*member), Cite::Ahead(1))).collect();
    let nothing = Observation::Nothing;
    assert!(matches!(with([own, p, v2, nothing], ahead(&[2])), Verdict::Valid(_)));
    let reason = Invalid::AdvancesDisagree { member: Member(1) };
    assert!(matches!(with([own, nothing, v2, nothing], ahead(&[2])), Verdict::Invalid(r) if r == reason));
    // Member 3 starts fresh and cites member 2 without the proposal that member 2 saw.
    let fresh = &engines[3];
    let list = [nothing, nothing, v2, nothing];
    let good = vote(fresh, 1, &fresh.view());
    let message = named(Message { cites: cites_digest(&list), advances: ahead(&[2]), ..good });
    let verdict = fresh.check(Slot(9), &message);
    assert!(matches!(verdict, Verdict::Invalid(Invalid::NotClosed { member: Member(1) })), "{verdict:?}");
}

#[test]
fn one_block_and_m_messages_a_slot() {
    let mut e = engine(vec![1; 4], Some(1));
    let limit = e.committee().messages_per_slot();
    let first = proposal(&e, 1, 0);
    say(&mut e, &first);
    let draft = e.draft(Slot(1), ROOT, &e.view());
    let new = NewBlock { id: BlockId([3; 32]), parent: draft.value, height: 2, slot: Slot(1) };
    refuses(&e, from_draft(&draft, BlockEstimate::Proposal(new)), Invalid::SecondBlockInSlot);
    for _ in 1..limit {
        let next = vote(&e, 1, &e.view());
        say(&mut e, &next);
    }
    refuses(&e, vote(&e, 1, &e.view()), Invalid::TooManyInSlot { limit });
    assert!(matches!(judge(&e, vote(&e, 2, &e.view())), Verdict::Valid(_)));
}

#[test]
fn fanned_out_equivocations_are_found_and_weigh_nothing() {
    let e = engine(vec![1; 4], Some(1));
    let mut observer = engine(vec![1; 4], Some(0));
    let twins: Vec<_> = (0..20).map(|salt| proposal(&e, 1, salt)).collect();
    let mut found = 0;
    for twin in &twins {
        let events = say(&mut observer, twin);
        found += events.iter().filter(|e| matches!(e, Event::Equivocation { .. })).count();
    }
    assert_eq!(found, 1);
    assert_eq!(observer.faulty().next(), Some((Member(1), twins[0].id, twins[1].id)));
    assert_eq!(observer.by_seq(Member(1), 0).len(), 20);
    assert_eq!(observer.head(), ROOT, "the equivocator's weight is gone");
    // Citing the known equivocator as honest, with both branches below: refused.
    let mut two = engine(vec![1; 4], Some(2));
    say(&mut two, &twins[0]);
    let a = vote(&two, 1, &two.view());
    let mut three = engine(vec![1; 4], Some(3));
    say(&mut three, &twins[1]);
    let b = vote(&three, 1, &three.view());
    for message in [&a, &b] {
        let cites = if message.id == a.id { two.resolve(&two.view()) } else { three.resolve(&three.view()) };
        match observer.check_full(Slot(1), message, &cites) {
            Verdict::Valid(checked) => drop(observer.insert(checked)),
            other => panic!("votes on one branch are honest: {other:?}"),
        }
    }
    let list =
        [Observation::Nothing, Observation::Latest(twins[0].id), Observation::Latest(a.id), Observation::Latest(b.id)];
    let draft = observer.draft(Slot(1), ROOT, &observer.view());
    let mut message = from_draft(&draft, BlockEstimate::Vote(draft.value));
    message.cites = cites_digest(&list);
    message.advances = [1, 2, 3].map(|m| (Member(m), Cite::Ahead(1))).to_vec();
    let verdict = observer.check_full(Slot(1), &named(message), &list);
    let reason = Invalid::UnmarkedEquivocator { member: Member(1) };
    assert!(matches!(verdict, Verdict::Invalid(r) if r == reason), "{verdict:?}");
    assert!(matches!(judge(&observer, vote(&observer, 1, &observer.view())), Verdict::Valid(_)));
}

#[test]
fn evidence_from_outside_silences_a_vote_and_releases_who_waits() {
    let (mut engines, said) = four(&[0, 2]);
    let (x, y) = (MessageId([1; 32]), MessageId([2; 32]));
    engines[0].accuse(Member(1), x, y);
    let marked = vote(&engines[0], 1, &engines[0].view());
    let missing = engines[3].check(Slot(1), &marked).missing().cloned().unwrap();
    assert_eq!(missing, Missing::Evidence(Member(1)));
    engines[3].park(marked.clone(), missing).unwrap();
    assert!(engines[3].release(Slot(9)).is_empty());
    assert!(engines[3].accuse(Member(1), x, x).is_empty(), "one message is no evidence");
    let events = engines[3].accuse(Member(1), x, y);
    assert!(matches!(events[0], Event::Equivocation { member: Member(1), .. }));
    assert!(engines[3].accuse(Member(1), y, x).is_empty(), "only once");
    assert_eq!(engines[3].release(Slot(9)), std::slice::from_ref(&marked));
    say(&mut engines[3], &marked);
    assert_eq!(engines[3].head(), said[0].estimate.block());
}

#[test]
fn a_flood_of_one_sender_evicts_only_itself() {
    let limits = Limits { pending_total: 8, pending_per_sender: 6 };
    let blocks = Blocks::new(ROOT, 0, Slot(0), Leaders::default());
    let mut e = Engine::new(Committee::new(vec![1; 4]).unwrap(), None, limits, blocks);
    let stub = |member: u16, seq: u64| {
        named(Message {
            id: MessageId([0; 32]),
            sender: Member(member),
            seq,
            slot: Slot(1),
            base: ROOT,
            advances: vec![],
            cites: [0; 32],
            estimate: BlockEstimate::Vote(ROOT),
        })
    };
    let missing = |seq| Missing::Message { member: Member(0), seq };
    let honest = [stub(1, 5), stub(2, 5)];
    for message in &honest {
        e.park(message.clone(), missing(4)).unwrap();
    }
    let refused = (10..200).filter(|seq| e.park(stub(0, *seq), missing(*seq)).is_err()).count();
    assert_eq!((refused, e.parked()), (184, 8));
    assert_eq!(e.park(stub(0, 999), missing(1)), Err(Full::Sender { member: Member(0), limit: 6 }));
    e.park(stub(0, 3), missing(2)).expect("an earlier message replaces a later one of its sender");
    e.park(stub(3, 1), missing(0)).expect("the flooder makes room for another");
    assert_eq!(e.parked(), 8);
    for message in &honest {
        assert_eq!(e.unpark(&message.id).as_ref(), Some(message));
    }
    assert_eq!(e.park(stub(7, 1), missing(0)), Err(Full::Outsider { member: Member(7) }));
    assert!(e.missing().count() <= 8);
}

#[test]
fn blocks_and_clocks_release_what_waits() {
    let (mut engines, _) = four(&[0]);
    let later = vote(&engines[0], 5, &engines[0].view());
    let e = &mut engines[3];
    let missing = e.check(Slot(4), &later).missing().cloned().unwrap();
    assert_eq!(missing, Missing::Slot(Slot(5)));
    e.park(later.clone(), missing).unwrap();
    assert!(e.release(Slot(4)).is_empty());
    assert_eq!(e.release(Slot(5)), std::slice::from_ref(&later));
    let block = BlockId([8; 32]);
    e.park(later.clone(), Missing::Block(block)).unwrap();
    assert_eq!(e.missing().collect::<Vec<_>>(), [&Missing::Block(block)]);
    e.provide_block(block);
    assert_eq!(e.release(Slot(0)), [later]);
    assert_eq!(e.parked(), 0);
}

#[test]
fn certificates_need_their_block_and_must_not_conflict() {
    let (mut engines, said) = four(&[0, 2, 3]);
    let block = said[0].estimate.block();
    let e = &mut engines[0];
    assert_eq!(e.certify(BlockId([9; 32])), Err(CertifyError::Unknown));
    assert!(e.is_certified(&ROOT) && !e.is_certified(&block));
    e.certify(block).unwrap();
    assert_eq!(e.base(), block);
    let mut two = engine(vec![1; 4], Some(2));
    let rival = proposal(&two, 2, 0);
    say(&mut two, &rival);
    feed(e, 2, &rival, &Archive::new());
    assert_eq!(e.certify(rival.estimate.block()), Err(CertifyError::Conflict));
}

#[test]
fn pruning_forgets_the_past_and_lets_a_sleeper_speak_again() {
    let mut engines: Vec<_> = (0..4).map(|me| engine(vec![1; 4], Some(me))).collect();
    let mut archive = Archive::new();
    let mut all = lockstep(&mut engines, 1, &[0, 1, 2, 3], &mut archive);
    let old_base = vote(&engines[3], 1, &engines[3].view());
    let stale = named(Message { base: ROOT, slot: Slot(40), ..old_base });
    for slot in 2..40 {
        all.extend(lockstep(&mut engines, slot, &[0, 1, 2], &mut archive));
        let line = engines[0].protocol().block(&engines[0].finalized()).unwrap().slot;
        engines[0].prune(line);
        assert_eq!(engines[0].line(), line);
    }
    assert!(engines[0].len() < 40, "{} messages stay", engines[0].len());
    assert!(engines[1].len() > 300);
    let latest = engines[0].latest(Member(3)).expect("the sleeper's latest stays as a tombstone");
    assert_eq!(Some(latest), engines[1].latest(Member(3)));
    waits(&engines[0], stale, Missing::Past(ROOT));
    // A thread begun again where memory no longer reaches is no new thread: its weight must not count twice.
    let newcomer = engine(vec![1; 4], Some(1));
    let draft = newcomer.draft(Slot(40), engines[0].base(), &newcomer.view());
    let base = engines[0].base();
    let again = from_draft(&Draft { base, ..draft }, BlockEstimate::Vote(base));
    waits(&engines[0], again, Missing::Past(base));
    for message in &all {
        let (_, refused) = feed(&mut engines[3], 40, message, &archive);
        assert_eq!(refused, []);
    }
    let awake = vote(&engines[3], 40, &engines[3].view());
    say(&mut engines[3], &awake);
    archive.insert(awake.id, engines[3].observations(&awake.id).unwrap());
    assert!(awake.advances.len() > 2, "all it cites, since its previous message is older than its base");
    assert!(matches!(engines[0].check(Slot(40), &awake), Verdict::Valid(_)));
    for (who, engine) in engines.iter_mut().take(3).enumerate() {
        let (events, refused) = feed(engine, 40, &awake, &archive);
        assert_eq!(refused, []);
        assert!(events.contains(&Event::Inserted(awake.id)), "member {who}");
    }
    lockstep(&mut engines, 41, &[0, 1, 2, 3], &mut archive);
    assert_eq!(engines[0].finalized(), engines[3].finalized());
    assert_eq!(engines[0].head(), engines[1].head());
}

#[test]
fn a_long_straight_chain_inserts_in_linear_time() {
    let mut e: Vec<_> = (0..3).map(|me| engine(vec![1; 3], Some(me))).collect();
    let mut log = Vec::new();
    for slot in 0..33_334u64 {
        let who = (slot % 3) as usize;
        let message = proposal(&e[who], slot + 1, 0);
        let wrong_turn = e[who].protocol().leader(Slot(slot + 1)) != e[who].me();
        let message = if wrong_turn { vote(&e[who], slot + 1, &e[who].view()) } else { message };
        for engine in &mut e {
            say(engine, &message);
        }
        log.push(message);
    }
    let mut late = engine(vec![1; 3], None);
    for message in log.iter().rev().take(200) {
        let missing = late.check(Slot(40_000), message).missing().cloned().unwrap();
        late.park(message.clone(), missing).unwrap();
    }
    for message in &log {
        if let Verdict::Valid(checked) = late.check(Slot(40_000), message) {
            late.insert(checked);
        }
    }
    assert_eq!(late.head(), e[0].head());
    assert_eq!(late.len(), log.len());
}

#[test]
fn bits_are_decided_by_the_same_engine() {
    let members = 4;
    let committee = Committee::new(vec![1; members]).unwrap();
    let mut engines: Vec<_> = (0..members as u16)
        .map(|me| Engine::new(committee.clone(), Some(Member(me)), Limits::default(), Binary::new()))
        .collect();
    let mut decided = 0;
    for round in 0..4u64 {
        let spoken: Vec<Message<Binary>> = engines
            .iter()
            .map(|engine| {
                let draft = engine.draft(Slot(round), (), &engine.view());
                let estimate = match draft.value {
                    Stance::Decided(bit) => bit,
                    Stance::Undecided => draft.sender.0 != 0,
                };
                let id = MessageId(hash(&[&draft.sender.0.to_be_bytes(), &round.to_be_bytes()]));
                let Draft { sender, seq, slot, base, advances, cites, .. } = draft;
                Message { id, sender, seq, slot, base, advances, cites, estimate }
            })
            .collect();
        for engine in &mut engines {
            for message in &spoken {
                let Verdict::Valid(checked) = engine.check(Slot(round), message) else {
                    panic!("honest bits are valid")
                };
                let wrong = Message { estimate: false, ..message.clone() };
                let verdict = engine.check(Slot(round), &wrong);
                assert_eq!(matches!(verdict, Verdict::Invalid(Invalid::Estimate(_))), round > 0);
                for event in engine.insert(checked) {
                    decided += usize::from(matches!(event, Event::Finalized(Stance::Decided(true), _)));
                }
            }
        }
    }
    assert_eq!(decided, members);
    assert!(engines.iter().all(|engine| engine.finalized() == Stance::Decided(true)));
}
