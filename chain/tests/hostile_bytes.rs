//! Bytes of strangers: whatever they are, decoding refuses them or gives what encodes back to them, and never panics.
#![allow(clippy::unwrap_used, reason = "tests")]

use kakera_cbc::Cite;
use kakera_chain::{
    BlockId, Member, MessageId, Slot,
    advances::Advances,
    block::{Block, Figures, Header},
    certificate::{Certificate, Finality},
    codec::{self, InvalidBytes},
    crosslink::{BeaconItem, Crosslink},
    hash::{Hash, NetworkId, merkle_root},
    keys::{SecretKey, Signature},
    message::{Estimate, Evidence, SignedMessage, Statement},
    peer::{Carried, CiteEntry, Hello, PeerMessage, PeerStatus},
    receipt::Reference,
    units::{ChainId, Epoch, Height, ShardId, Timestamp, ValidatorId},
};
use proptest::prelude::*;

const NETWORK: NetworkId = NetworkId(Hash([9; 32]));

fn key() -> SecretKey {
    SecretKey::from_seed([1; 32])
}

fn block() -> Block {
    let (body, witnesses) = (vec![vec![1, 2], vec![3]], vec![vec![4; 64]; 2]);
    let header = Header {
        chain: ChainId::Shard(ShardId(1)),
        epoch: Epoch(0),
        root: BlockId([1; 32]),
        parent: BlockId([2; 32]),
        height: Height(7),
        slot: Slot(11),
        proposer: Member(3),
        reference: Reference { height: Height(5), slot: Slot(6), id: BlockId([3; 32]) },
        state_root: Hash([4; 32]),
        body_root: merkle_root(&body),
        witness_root: merkle_root(&witnesses),
        outbox_root: Hash([7; 32]),
        figures: Figures::default(),
    };
    Block { header, body, witnesses }
}

fn message() -> SignedMessage {
    let statement = Statement {
        chain: ChainId::Beacon,
        epoch: Epoch(0),
        root: BlockId([1; 32]),
        sender: Member(2),
        seq: 4,
        slot: Slot(9),
        base: BlockId([2; 32]),
        advances: Advances(vec![(Member(0), Cite::Ahead(8)), (Member(1), Cite::Faulty), (Member(3), Cite::Ahead(1))]),
        cites: [5; 32],
        estimate: Estimate::Proposal { block: block().header.id(NETWORK), parent: BlockId([2; 32]), height: 7 },
    };
    SignedMessage::sign(statement, &key(), NETWORK)
}

fn certificate() -> Certificate {
    let signatures = (0..3).map(|member| (Member(member), Signature([member as u8; 64]))).collect();
    Certificate { finality: Finality::of(&block().header, NETWORK), signatures }
}

fn peer_messages() -> Vec<Vec<u8>> {
    let carried =
        Carried { message: message(), block: Some(codec::encode(&block())), certificate: Some(certificate()) };
    let tips = vec![None, Some((3, MessageId([1; 32])))];
    let status = PeerStatus { tips, certified: (Height(3), BlockId([2; 32])), question: Some(1), answer: None };
    let messages = [
        PeerMessage::Message(Box::new(carried.clone())),
        PeerMessage::Messages(vec![carried; 2]),
        PeerMessage::Certificate(Box::new(certificate())),
        PeerMessage::Status(status),
        PeerMessage::Since(vec![1, 2, 3]),
        PeerMessage::ById(vec![MessageId([3; 32])]),
        PeerMessage::Cites { message: MessageId([2; 32]), cites: vec![CiteEntry::Nothing, CiteEntry::Faulty] },
        PeerMessage::Evidence(Box::new(Evidence { first: message(), second: message() })),
        PeerMessage::Application(vec![1, 2, 3]),
    ];
    messages.iter().map(codec::encode).collect()
}

/// Everything that a stranger's bytes are given to.
fn decode_all(bytes: &[u8]) {
    let canonical = [
        PeerMessage::decode(bytes).map(|value| codec::encode(&value)),
        Hello::decode(bytes).map(|value| codec::encode(&value)),
        Block::decode(bytes).map(|value| codec::encode(&value)),
        Crosslink::decode(bytes).map(|value| codec::encode(&value)),
        BeaconItem::decode(bytes).map(|value| codec::encode(&value)),
    ];
    canonical.into_iter().flatten().for_each(|again| assert_eq!(again, bytes));
}

#[test]
fn a_declared_length_far_above_the_bytes_present_costs_nothing() {
    for variant in 0..=20u8 {
        for length in [u32::MAX, 1 << 31, 1 << 20] {
            let bytes = [&[variant][..], &length.to_le_bytes(), &[1; 40]].concat();
            assert!(PeerMessage::decode(&bytes).is_err(), "variant {variant}");
            decode_all(&bytes);
        }
    }
}

#[test]
fn trailing_missing_and_too_many_bytes_and_unknown_kinds_are_refused() {
    for bytes in peer_messages() {
        assert!(PeerMessage::decode(&bytes).is_ok());
        for cut in 0..bytes.len() {
            assert!(PeerMessage::decode(&bytes[..cut]).is_err(), "{cut} of {} bytes", bytes.len());
        }
        assert!(PeerMessage::decode(&[&bytes[..], &[0]].concat()).is_err());
        for kind in 13..=u8::MAX {
            assert!(PeerMessage::decode(&[&[kind], &bytes[1..]].concat()).is_err());
        }
    }
    let long = vec![0; PeerMessage::MAX_BYTES + 1];
    assert!(matches!(PeerMessage::decode(&long), Err(InvalidBytes::TooLong { .. })));
    let (from, to) = (ValidatorId(1), ValidatorId(2));
    let hello = Hello::sign(NETWORK, ChainId::Beacon, from, to, Timestamp(3), &key());
    assert!(matches!(Hello::decode(&[0; Hello::MAX_BYTES + 1]), Err(InvalidBytes::TooLong { .. })));
    let bytes = codec::encode(&hello);
    assert!(Hello::decode(&bytes).is_ok() && Hello::decode(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn a_block_is_whole_or_refused() {
    let whole = block();
    assert!(Block::decode(&codec::encode(&whole)).is_ok());
    let refused = |change: &dyn Fn(&mut Block)| {
        let mut other = whole.clone();
        change(&mut other);
        assert!(Block::decode(&codec::encode(&other)).is_err());
    };
    refused(&|block| block.body.push(block.body[1].clone()));
    refused(&|block| block.body.swap(0, 1));
    refused(&|block| block.body.truncate(1));
    refused(&|block| block.witnesses[0][0] ^= 1);
    refused(&|block| std::mem::swap(&mut block.body, &mut block.witnesses));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_canonical(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        decode_all(&bytes);
    }

    #[test]
    fn any_change_of_valid_bytes_is_refused_or_canonical(
        which in 0usize..9,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = peer_messages().swap_remove(which);
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        decode_all(&bytes);
    }
}
