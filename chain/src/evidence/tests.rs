//! What convicts, what does not, and in which one form.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::{
    advances::Advances,
    block::Figures,
    certificate::Finality,
    keys::SecretKey,
    message::{Estimate, Statement},
    receipt::{LaneCursor, Reference},
    units::ShardId,
};
use kakera_cbc::{Cite, Slot};
use proptest::prelude::*;

const NETWORK: NetworkId = NetworkId(Hash([9; 32]));
const CHAIN: ChainId = ChainId::Shard(ShardId(1));
const EPOCH: Epoch = Epoch(5);
const ROOT: BlockId = BlockId([1; 32]);
const SIGNER: Member = Member(2);

fn key(member: Member) -> SecretKey {
    SecretKey::from_seed([member.0 as u8 + 1; 32])
}

/// Four members of one chain and epoch.
fn keys(chain: ChainId, epoch: Epoch, member: Member) -> Option<(ValidatorId, PublicKey)> {
    let seated = chain == CHAIN && epoch == EPOCH && member.0 < 4;
    seated.then(|| (ValidatorId(40 + u32::from(member.0)), key(member).public()))
}

fn statement(seq: u64, vote: u8) -> Statement {
    Statement {
        chain: CHAIN,
        epoch: EPOCH,
        root: ROOT,
        sender: SIGNER,
        seq,
        slot: Slot(9),
        base: ROOT,
        advances: Advances::new(vec![(Member(0), Cite::Ahead(1)), (Member(3), Cite::Ahead(2))]),
        cites: [5; 32],
        estimate: Estimate::Vote(BlockId([vote; 32])),
    }
}

fn say(statement: Statement) -> SignedMessage {
    let key = key(statement.sender);
    SignedMessage::sign(statement, &key, NETWORK)
}

fn equivocation() -> Evidence {
    Evidence::Equivocation(Box::new(Equivocation::of(say(statement(4, 1)), say(statement(4, 2)), NETWORK)))
}

/// A chain of headers from height 11 on; `branch` makes it another one.
fn chain(length: u64, branch: u8, lanes: u16) -> Vec<Header> {
    let mut parent = BlockId([branch; 32]);
    let grow = |height: u64| {
        let header = Header {
            chain: CHAIN,
            epoch: EPOCH,
            root: ROOT,
            parent,
            height: Height(height),
            slot: Slot(2 * height),
            proposer: Member(1),
            reference: Reference { height: Height(5), slot: Slot(6), id: BlockId([3; 32]) },
            state_root: Hash([branch; 32]),
            body_root: Hash([5; 32]),
            witness_root: Hash([6; 32]),
            outbox_root: Hash([7; 32]),
            figures: Figures {
                inbox: (0..lanes).map(|shard| LaneCursor { from: ChainId::Shard(ShardId(shard)), next: 7 }).collect(),
                ..Figures::default()
            },
        };
        parent = header.id(NETWORK);
        header
    };
    (11..11 + length).map(grow).collect()
}

fn sign(header: &Header) -> FinalitySignature {
    FinalitySignature::sign(Finality::of(header, NETWORK), SIGNER, &key(SIGNER), NETWORK)
}

fn conflict_of(a: &Header, b: &Header, held: &[Header]) -> Option<Conflict> {
    let find = |id: &BlockId| held.iter().find(|header| header.id(NETWORK) == *id).cloned();
    Conflict::of(&sign(a), &sign(b), find)
}

/// Signatures on height 11 of one branch and `above` heights further up on another.
fn conflict(above: usize) -> Evidence {
    let (low, high) = (chain(1, 1, 2), chain(above as u64 + 1, 2, 2));
    Evidence::Conflict(Box::new(conflict_of(&low[0], &high[above], &high).unwrap()))
}

fn swapped(evidence: &Evidence) -> Evidence {
    let mut evidence = evidence.clone();
    match &mut evidence {
        Evidence::Equivocation(pair) => std::mem::swap(&mut pair.first, &mut pair.second),
        Evidence::Conflict(conflict) => std::mem::swap(&mut conflict.first, &mut conflict.second),
    }
    evidence
}

#[test]
fn both_offences_are_proved_at_equal_heights_and_along_a_path() {
    let guilty = |offence| Guilty {
        validator: ValidatorId(42),
        member: SIGNER,
        chain: CHAIN,
        epoch: EPOCH,
        root: ROOT,
        offence,
    };
    assert_eq!(equivocation().verify(NETWORK, keys), Ok(guilty(Offence::Equivocation { seq: 4 })));
    for above in [0, 1, 2, 60] {
        let offence = Offence::ConflictingFinality { low: Height(11), high: Height(11 + above as u64) };
        assert_eq!(conflict(above).verify(NETWORK, keys), Ok(guilty(offence)));
        assert_eq!(conflict(above).accused(), (CHAIN, EPOCH, SIGNER));
    }
}

#[test]
fn the_bytes_of_both_kinds_are_fixed() {
    let digest = |evidence: &Evidence| {
        let bytes = evidence.to_bytes().unwrap();
        assert_eq!(Evidence::decode(&bytes), Ok(evidence.clone()));
        format!("{} {}", bytes.len(), Hash::of(&[&bytes]))
    };
    let golden = [
        "459 94a20c6758c769e9ad7a3d0e0cc43a8bcb88bde35bf4a024d12906d701ae5c2e",
        "303 e1ad066dd9b5a47a835526e423f3629839adac77de82393d3258945c687363d7",
        "1029 0b6d92f533b26d8aaf72e656e7c90872005833798a8f859e5500519b8874c166",
    ];
    assert_eq!([equivocation(), conflict(0), conflict(2)].each_ref().map(digest), golden);
    let bytes = conflict(2).to_bytes().unwrap();
    // Kind, then the lower signature: chain, epoch, root, height.
    assert_eq!(hex::encode(&bytes[..52]), format!("010101000500000000000000{}0b00000000000000", "01".repeat(32)));
}

#[test]
fn a_pair_has_one_order() {
    let (a, b) = (say(statement(4, 1)), say(statement(4, 2)));
    assert_eq!(Equivocation::of(a.clone(), b.clone(), NETWORK), Equivocation::of(b, a, NETWORK));
    let (low, high) = (chain(1, 1, 0), chain(3, 2, 0));
    assert_eq!(conflict_of(&low[0], &high[2], &high), conflict_of(&high[2], &low[0], &high));
    for evidence in [equivocation(), conflict(0), conflict(2)] {
        assert_eq!(swapped(&evidence).verify(NETWORK, keys), Err(InvalidEvidence::Order));
    }
}

#[test]
fn what_proves_nothing_is_refused_with_its_reason() {
    let pair = |first: Statement, second: Statement| {
        Equivocation::of(say(first), say(second), NETWORK).verify(NETWORK, keys).unwrap_err()
    };
    let one = || statement(4, 1);
    let other = || statement(4, 2);
    assert_eq!(pair(one(), one()), InvalidEvidence::Same);
    assert!(matches!(pair(one(), statement(5, 2)), InvalidEvidence::DifferentSeq { .. }));
    assert!(matches!(
        pair(one(), Statement { sender: Member(1), ..other() }),
        InvalidEvidence::DifferentMembers { .. }
    ));
    for elsewhere in [
        Statement { epoch: Epoch(6), ..other() },
        Statement { root: BlockId([2; 32]), ..other() },
        Statement { chain: ChainId::Beacon, ..other() },
    ] {
        assert_eq!(pair(one(), elsewhere), InvalidEvidence::DifferentEras);
    }
    let outside = |statement: Statement| Statement { sender: Member(4), ..statement };
    assert!(matches!(pair(outside(one()), outside(other())), InvalidEvidence::UnknownSeat { .. }));
    let past = |statement: Statement| Statement { epoch: Epoch(4), ..statement };
    assert!(matches!(pair(past(one()), past(other())), InvalidEvidence::UnknownSeat { .. }));

    // A finality signature is no message's, and a signature is good for one network.
    let Evidence::Conflict(found) = conflict(0) else { panic!("a conflict") };
    let borrowed = Equivocation::of(say(one()), SignedMessage { statement: other(), ..say(one()) }, NETWORK);
    let mut borrowed = borrowed;
    (borrowed.first.signature, borrowed.second.signature) = (found.first.signature, found.second.signature);
    assert_eq!(borrowed.verify(NETWORK, keys), Err(InvalidEvidence::Signature { position: 0 }));
    // Their identities are others there, and with them their order.
    let other_network = NetworkId(Hash([8; 32]));
    let Evidence::Equivocation(messages) = equivocation() else { panic!("an equivocation") };
    let there = Equivocation::of(messages.first.clone(), messages.second.clone(), other_network);
    assert_eq!(there.verify(other_network, keys), Err(InvalidEvidence::Signature { position: 0 }));
    assert_eq!(found.verify(other_network, keys), Err(InvalidEvidence::Signature { position: 0 }));
}

#[test]
fn a_path_is_whole_linked_and_leads_past_the_lower_block() {
    let high = chain(6, 2, 1);
    // On one chain: no evidence is made of it, and none that is made by hand holds.
    assert_eq!(conflict_of(&high[1], &high[4], &high), None);
    let forged = Conflict { first: sign(&high[1]), second: sign(&high[4]), path: high[2..5].to_vec() };
    assert_eq!(forged.verify(NETWORK, keys), Err(InvalidEvidence::OneChain));
    // Nor when a header below is left out, one of the other branch put in, or the path ends elsewhere.
    let low = chain(6, 1, 1);
    for (path, reason) in [
        (high[2..4].to_vec(), InvalidEvidence::PathLength { found: 2, needed: 3, limit: 128 }),
        (high[1..5].to_vec(), InvalidEvidence::PathLength { found: 4, needed: 3, limit: 128 }),
        (Vec::new(), InvalidEvidence::PathLength { found: 0, needed: 3, limit: 128 }),
        (vec![low[2].clone(), high[3].clone(), high[4].clone()], InvalidEvidence::Path { position: 0 }),
        (vec![high[2].clone(), low[3].clone(), high[4].clone()], InvalidEvidence::Path { position: 1 }),
        (high[3..6].to_vec(), InvalidEvidence::Path { position: 2 }),
    ] {
        let forged = Conflict { path, ..forged.clone() };
        assert_eq!(forged.verify(NETWORK, keys), Err(reason));
    }
    // A header that lies about its height or era has another id.
    for change in [|header: &mut Header| header.height = Height(1), |header: &mut Header| header.epoch = Epoch(6)] {
        let mut path = high[2..5].to_vec();
        path.iter_mut().for_each(change);
        let forged = Conflict { path, ..forged.clone() };
        assert_eq!(forged.verify(NETWORK, keys), Err(InvalidEvidence::Path { position: 2 }));
    }
    // Missing headers make no evidence.
    assert_eq!(conflict_of(&low[0], &high[4], &high[2..]), None);
    assert!(conflict_of(&low[0], &high[4], &high[1..]).is_some());
}

#[test]
fn paths_that_do_not_fit_make_no_evidence() {
    let fits = |length: u64, lanes: u16| {
        let (low, high) = (chain(1, 1, lanes), chain(length + 1, 2, lanes));
        let conflict = conflict_of(&low[0], &high[length as usize], &high)?;
        let bytes = Evidence::Conflict(Box::new(conflict.clone())).to_bytes().unwrap();
        assert!(bytes.len() <= Evidence::MAX_BYTES);
        assert!(conflict.verify(NETWORK, keys).is_ok());
        Some(bytes.len())
    };
    let longest = |lanes| (1..=Conflict::MAX_PATH + 1).rev().find(|length| fits(*length, lanes).is_some());
    assert_eq!([0, 4, 100, 1_024].map(longest), [Some(128), Some(128), Some(45), Some(5)]);
    let (low, high) = (chain(1, 1, 0), chain(200, 2, 0));
    let long = Conflict { first: sign(&low[0]), second: sign(&high[129]), path: high[1..130].to_vec() };
    assert!(matches!(long.verify(NETWORK, keys), Err(InvalidEvidence::PathLength { .. })));
    let bytes = codec::encode(&Evidence::Conflict(Box::new(long)));
    assert!(matches!(Evidence::decode(&bytes), Err(InvalidBytes::Malformed { .. })), "refused before it is read");
    assert!(matches!(Evidence::decode(&[0; 65_537]), Err(InvalidBytes::TooLong { .. })));
    let wide = (0..30_000).map(|member| (Member(member), Cite::Ahead(2))).collect();
    let statement = Statement { advances: Advances::new(wide), ..statement(4, 1) };
    let pair = Equivocation::of(say(statement.clone()), say(Statement { cites: [6; 32], ..statement }), NETWORK);
    assert!(pair.verify(NETWORK, keys).is_ok());
    let evidence = Evidence::Equivocation(Box::new(pair));
    assert_eq!(evidence.to_bytes(), None);
    assert!(matches!(evidence.verify(NETWORK, keys), Err(InvalidEvidence::TooLong { .. })));
}

/// Who else could have signed: the same committee under every other member index, chain and epoch.
fn lenient(_: ChainId, _: Epoch, member: Member) -> Option<(ValidatorId, PublicKey)> {
    Some((ValidatorId(u32::from(member.0)), key(Member(member.0 % 200)).public()))
}

#[test]
fn every_changed_bit_is_refused() {
    for evidence in [equivocation(), conflict(0), conflict(1), conflict(3)] {
        let bytes = evidence.to_bytes().unwrap();
        for bit in 0..8 * bytes.len() {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let believed = Evidence::decode(&changed).ok().and_then(|evidence| evidence.verify(NETWORK, lenient).ok());
            assert_eq!(believed, None, "bit {bit} of {}", bytes.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_mutation_of_valid_evidence_is_refused(
        which in 0usize..4,
        cut in 0usize..400,
        paste in 0usize..400,
        length in 0usize..120,
        fill in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let bytes = [equivocation(), conflict(0), conflict(1), conflict(3)][which].to_bytes().unwrap();
        let at = |place: usize| place % (bytes.len() + 1);
        let (from, to) = (at(cut), (at(cut) + length).min(bytes.len()));
        let moved = [&bytes[..at(paste)], &bytes[from..to], &bytes[at(paste)..]].concat();
        let removed = [&bytes[..from], &bytes[to..]].concat();
        let replaced = [&bytes[..from], &fill[..], &bytes[to..]].concat();
        for changed in [moved, removed, replaced] {
            let believed = Evidence::decode(&changed).ok().and_then(|evidence| evidence.verify(NETWORK, lenient).ok());
            prop_assert!(believed.is_none() || changed == bytes);
        }
    }

    /// One message a `seq`, and finality signatures along one chain: whatever an adversary pairs, with whatever headers.
    #[test]
    fn no_evidence_against_an_honest_signer_can_be_made_from_what_it_said(
        a in 0usize..8,
        b in 0usize..8,
        from in 0usize..8,
        to in 0usize..8,
        lie in 0usize..4,
    ) {
        let messages: Vec<SignedMessage> = (0..8).map(|seq| say(statement(seq, seq as u8))).collect();
        let headers = chain(8, 1, 0);
        let shares: Vec<FinalitySignature> = headers.iter().map(sign).collect();
        let pair = Equivocation::of(messages[a].clone(), messages[b].clone(), NETWORK);
        prop_assert!(pair.verify(NETWORK, keys).is_err());
        let mut forged = pair;
        forged.second.statement.seq = forged.first.statement.seq;
        prop_assert!(forged.verify(NETWORK, keys).is_err());

        prop_assert_eq!(conflict_of(&headers[a], &headers[b], &headers), None);
        let mut path: Vec<Header> = headers.get(from..to).unwrap_or_default().to_vec();
        if let Some(first) = path.first_mut() {
            match lie {
                0 => first.parent = BlockId([7; 32]),
                1 => first.height = Height(first.height.0 + 1),
                2 => first.root = BlockId([7; 32]),
                _ => {}
            }
        }
        for (first, second) in [(a, b), (b, a)] {
            let conflict = Conflict { first: shares[first].clone(), second: shares[second].clone(), path: path.clone() };
            prop_assert!(conflict.verify(NETWORK, keys).is_err());
            let mut moved = conflict.clone();
            moved.first.finality.height = moved.second.finality.height;
            prop_assert!(moved.verify(NETWORK, keys).is_err());
        }
    }

    #[test]
    fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(evidence) = Evidence::decode(&bytes) {
            prop_assert_eq!(evidence.to_bytes(), Some(bytes));
            prop_assert!(evidence.verify(NETWORK, keys).is_err());
        }
    }
}
