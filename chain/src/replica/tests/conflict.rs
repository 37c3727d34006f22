//! Who signs two blocks as final that no chain can hold is convicted wherever that is seen.

use super::{
    bench::{Bench, key},
    hostile::goes_on,
    *,
};
use crate::{
    certificate::FinalitySignature,
    evidence::{Evidence, Offence},
};

const BAD: usize = 3;

fn finality(bench: &Bench, height: u64, block: BlockId) -> Finality {
    let era = bench.replicas[0].as_ref().unwrap().era;
    Finality { chain: era.chain, epoch: era.epoch, root: era.root, height: Height(height), block }
}

fn share(bench: &Bench, member: usize, height: u64, block: BlockId) -> PeerMessage {
    let network = bench.network.id;
    let finality = finality(bench, height, block);
    PeerMessage::Finality(FinalitySignature::sign(finality, Member(member as u16), &key(member), network))
}

fn certified(bench: &Bench, height: u64) -> BlockId {
    bench.replicas[0].as_ref().unwrap().certified_id(Height(height)).unwrap()
}

fn evidence(bench: &Bench, member: usize) -> Vec<Evidence> {
    bench.replicas[member].as_ref().unwrap().evidence().unwrap()
}

/// What members 0 to 2 hold against the last one, which every one of them does, and which anybody can check.
fn proven(bench: &Bench) -> Offence {
    let seats = &bench.seats;
    let keys = |_, _, member: Member| Some((seats.validators[member.index()], *seats.key(member)?));
    let offences: Vec<Offence> = (0..3)
        .map(|member| {
            let held = evidence(bench, member);
            assert_eq!(held.len(), 1, "member {member}");
            let bytes = held[0].to_bytes().unwrap();
            let guilty = Evidence::decode(&bytes).unwrap().verify(bench.network.id, keys).unwrap();
            assert_eq!(guilty.validator.0 as usize, BAD);
            assert!(bench.status(member).members[BAD].faulty, "and it weighs nothing at member {member}");
            guilty.offence
        })
        .collect();
    assert!(offences.iter().all(|offence| *offence == offences[0]), "{offences:?}");
    offences[0]
}

/// A network whose last member is gone, after a while in which it took part or not.
fn without_the_last(seed: u64, took_part: bool) -> Bench {
    let mut bench = Bench::new(4, seed);
    bench.refused = Some(Vec::new());
    if took_part {
        bench.run(4_000);
    }
    bench.crash(BAD);
    bench.run(6_000);
    bench
}

#[test]
fn two_blocks_of_one_height_are_evidence_for_all_and_after_a_restart() {
    let mut bench = without_the_last(201, false);
    let height = bench.certified_height(0) + 100;
    for block in [1, 1, 2, 3] {
        let share = share(&bench, BAD, height, BlockId([block; 32]));
        bench.hear(0, BAD, share);
    }
    bench.run(100);
    let at = Height(height);
    assert_eq!(proven(&bench), Offence::ConflictingFinality { low: at, high: at });
    bench.crash(0);
    bench.restart(0);
    bench.run(2_000);
    assert_eq!(proven(&bench), Offence::ConflictingFinality { low: at, high: at });
    goes_on(&mut bench, 0..5);
    bench.assert_agreement(5);
    assert_eq!(bench.refused, Some(Vec::new()), "honest members refuse each other nothing");
}

#[test]
fn a_late_signature_beside_the_certified_chain_is_evidence_with_what_its_signer_signed_on_it() {
    let mut bench = without_the_last(202, true);
    let signed = |bench: &Bench, height: u64| {
        let certificate = bench.replicas[0].as_ref().unwrap().certificate(Height(height));
        certificate.is_some_and(|held| held.signatures.iter().any(|(member, _)| member.index() == BAD))
    };
    let height = (1..bench.certified_height(0)).find(|height| signed(&bench, *height)).expect("it took part");
    let share = share(&bench, BAD, height, BlockId([1; 32]));
    bench.hear(1, BAD, share);
    bench.run(100);
    assert_eq!(proven(&bench), Offence::ConflictingFinality { low: Height(height), high: Height(height) });
}

#[test]
fn signatures_at_different_heights_are_evidence_once_the_headers_between_them_are_at_hand() {
    let mut bench = without_the_last(203, false);
    goes_on(&mut bench, 0..4);
    let top = bench.certified_height(0);
    assert!(top > 4);
    let stray = share(&bench, BAD, top - 3, BlockId([1; 32]));
    bench.hear(0, BAD, stray);
    // It might stand on this one, as far as anybody knows.
    let below = share(&bench, BAD, top - 4, certified(&bench, top - 4));
    bench.hear(0, BAD, below);
    assert!(evidence(&bench, 0).is_empty());
    let on_chain = share(&bench, BAD, top, certified(&bench, top));
    bench.hear(0, BAD, on_chain);
    bench.run(100);
    assert_eq!(proven(&bench), Offence::ConflictingFinality { low: Height(top - 3), high: Height(top) });
}

#[test]
fn where_signing_is_paid_whoever_took_part_is_in_the_certificates_however_late_its_signature_came() {
    let signers = |bench: &mut Bench| -> Vec<usize> {
        goes_on(bench, 0..8);
        let replica = bench.replicas[0].as_ref().unwrap();
        let top = bench.certified_height(0);
        let certificates = (1..top).filter_map(|height| replica.certificate(Height(height)));
        certificates.map(|certificate| certificate.signatures.len()).collect()
    };
    let paid = signers(&mut Bench::turning(4, 4, 1_000, 211));
    let all = paid.iter().filter(|signers| **signers == 4).count();
    assert!(paid.len() > 3 && 10 * all >= 9 * paid.len(), "{paid:?}");
    let unpaid = signers(&mut Bench::new(4, 211));
    assert!(unpaid.contains(&3), "nobody waits for the last one: {unpaid:?}");
}

#[test]
fn what_is_certified_past_a_signature_makes_evidence_of_the_next_one() {
    let mut bench = without_the_last(204, false);
    let height = bench.certified_height(0) + 1;
    let stray = share(&bench, BAD, height, BlockId([1; 32]));
    bench.hear(0, BAD, stray);
    goes_on(&mut bench, 0..4);
    let top = bench.certified_height(0);
    assert!(top > height && evidence(&bench, 0).is_empty());
    let on_chain = share(&bench, BAD, top, certified(&bench, top));
    bench.hear(0, BAD, on_chain);
    bench.run(100);
    assert_eq!(proven(&bench), Offence::ConflictingFinality { low: Height(height), high: Height(top) });
}

#[test]
fn a_second_signature_is_believed_only_when_it_holds_and_counts_for_no_certificate() {
    let mut bench = without_the_last(205, false);
    let height = bench.certified_height(0) + 100;
    let block = BlockId([1; 32]);
    let PeerMessage::Finality(mut forged) = share(&bench, 2, height, BlockId([2; 32])) else { panic!("a share") };
    forged.signer = Member(BAD as u16);
    let first = share(&bench, BAD, height, block);
    bench.hear(0, 2, first);
    bench.hear(0, 2, PeerMessage::Finality(forged));
    assert_eq!(bench.refused, Some(vec![(2, Refused::Signature)]));
    assert!(evidence(&bench, 0).is_empty());
    // One member's signature on a block, and the double signer's, over and over, with others between them.
    for (member, block) in [(2, block), (BAD, BlockId([2; 32])), (BAD, block), (BAD, BlockId([3; 32])), (BAD, block)] {
        let share = share(&bench, member, height, block);
        bench.hear(0, 2, share);
    }
    let footprint = bench.replicas[0].as_ref().unwrap().footprint();
    assert_eq!(footprint.of("certificates in wait"), Some(0), "two of four make no certificate");
    assert_eq!(footprint.excess(), None);
    assert_eq!(evidence(&bench, 0).len(), 1);
}

#[test]
fn shown_evidence_is_checked_and_of_this_era() {
    let mut bench = without_the_last(206, false);
    let sign = |bench: &Bench, block: u8| {
        let PeerMessage::Finality(share) = share(bench, BAD, 50, BlockId([block; 32])) else { panic!("a share") };
        share
    };
    let conflict = crate::evidence::Conflict::of(&sign(&bench, 1), &sign(&bench, 2), |_| None).unwrap();
    let mut forged = conflict.clone();
    forged.second.signature = forged.first.signature;
    let mut framed = conflict.clone();
    (framed.first.signer, framed.second.signer) = (Member(2), Member(2));
    let mut outside = conflict.clone();
    (outside.first.signer, outside.second.signer) = (Member(9), Member(9));
    let mut elsewhere = conflict.clone();
    (elsewhere.first.finality.epoch, elsewhere.second.finality.epoch) = (Epoch(1), Epoch(1));
    let mut swapped = conflict.clone();
    std::mem::swap(&mut swapped.first, &mut swapped.second);
    for (evidence, reason) in [
        (forged, Refused::Signature),
        (framed, Refused::Signature),
        (outside, Refused::Signature),
        (elsewhere, Refused::Evidence),
        (swapped, Refused::Evidence),
    ] {
        bench.hear(0, 2, PeerMessage::Conflict(Box::new(evidence)));
        assert_eq!(bench.refused.as_mut().unwrap().pop(), Some((2, reason)));
    }
    assert!((0..3).all(|member| evidence(&bench, member).is_empty()));
    bench.hear(0, 2, PeerMessage::Conflict(Box::new(conflict.clone())));
    bench.run(100);
    proven(&bench);
    // Who asks is answered, and who returns hears of it.
    let answers = bench.hear(0, 2, PeerMessage::WantEvidence(Member(BAD as u16)));
    assert_eq!(answers, [PeerMessage::Conflict(Box::new(conflict))]);
}

#[test]
fn a_member_that_hears_of_its_own_two_signatures_is_silent() {
    let mut bench = Bench::new(4, 207);
    bench.run(3_000);
    let height = bench.certified_height(0) + 100;
    for block in [1, 2] {
        let share = share(&bench, BAD, height, BlockId([block; 32]));
        bench.hear(BAD, 0, share);
    }
    assert_eq!(bench.status(BAD).phase, Phase::Silent);
    goes_on(&mut bench, 0..5);
    bench.assert_agreement(5);
}

#[test]
fn nobody_honest_is_accused_through_losses_and_crashes() {
    let mut bench = Bench::new(7, 208);
    bench.lose_percent = 15;
    for item in 0..40 {
        bench.give(usize::from(item % 7), item);
        bench.run(200);
        let member = bench.random(7);
        bench.crash(member);
        bench.restart(member);
    }
    bench.lose_percent = 0;
    bench.run(4_000);
    assert!((0..7).all(|member| evidence(&bench, member).is_empty()));
    bench.assert_agreement(1);
}
