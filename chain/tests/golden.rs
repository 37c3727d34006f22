//! Golden vectors: the exact bytes and identities of everything that is hashed, signed or sent. A change here is a change
//! of the protocol.
#![allow(clippy::unwrap_used, reason = "tests")]

use kakera_cbc::Cite;
use kakera_chain::{
    BlockId, Member, MessageId, Slot,
    address::Address,
    advances::Advances,
    block::{Figures, Header, outbox_root},
    certificate::{Certificate, Finality, FinalitySignature, Seats},
    codec,
    hash::{Hash, NetworkId},
    keys::SecretKey,
    message::{Estimate, SignedMessage, Statement},
    peer::{CiteEntry, Hello, PeerMessage, PeerStatus},
    receipt::{Lane, LaneCursor, Receipt, ReceiptAction, Reference},
    units::{ChainId, Epoch, Height, ShardId, Timestamp, ValidatorId},
};

const NETWORK: NetworkId = NetworkId(Hash([9; 32]));

fn hex(bytes: &[u8]) -> String {
    hex::encode(bytes)
}

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

fn header() -> Header {
    Header {
        chain: ChainId::Shard(ShardId(1)),
        epoch: Epoch(0),
        root: BlockId([1; 32]),
        parent: BlockId([2; 32]),
        height: Height(7),
        slot: Slot(11),
        proposer: Member(3),
        reference: Reference { height: Height(5), slot: Slot(6), id: BlockId([3; 32]) },
        state_root: Hash([4; 32]),
        body_root: Hash([5; 32]),
        witness_root: Hash([6; 32]),
        outbox_root: Hash([7; 32]),
        figures: Figures {
            base_fee: 10,
            inbox: vec![LaneCursor { from: ChainId::Beacon, next: 2 }],
            ..Figures::default()
        },
    }
}

fn statement() -> Statement {
    Statement {
        chain: ChainId::Beacon,
        epoch: Epoch(0),
        root: BlockId([1; 32]),
        sender: Member(2),
        seq: 4,
        slot: Slot(9),
        base: BlockId([2; 32]),
        advances: Advances::new(vec![
            (Member(0), Cite::Ahead(8)),
            (Member(1), Cite::Faulty),
            (Member(3), Cite::Ahead(1)),
        ]),
        cites: [5; 32],
        estimate: Estimate::Proposal { block: BlockId([6; 32]), parent: BlockId([7; 32]), height: 3 },
    }
}

fn receipt() -> Receipt {
    Receipt {
        lane: Lane { from: ChainId::Shard(ShardId(0)), to: ChainId::Shard(ShardId(1)) },
        seq: 12,
        action: ReceiptAction::Transfer {
            from: Address([1; 32]),
            to: Address([2; 32]),
            amount: 500,
            expires_at: Slot(99),
            transaction: Hash([3; 32]),
        },
    }
}

#[test]
fn headers() {
    assert_eq!(Hash::of(&[&codec::encode(&header())]).to_string(), HEADER_BYTES);
    assert_eq!(header().id(NETWORK).to_string(), HEADER_ID);
}

#[test]
fn messages() {
    let bytes = codec::encode(&statement());
    assert_eq!(hex(&bytes), STATEMENT);
    assert_eq!(statement().id(NETWORK).to_string(), STATEMENT_ID);
    let signed = SignedMessage::sign(statement(), &key(1), NETWORK);
    assert_eq!(hex(&signed.signature.0), STATEMENT_SIGNATURE);
    assert_eq!(codec::decode::<SignedMessage>(&codec::encode(&signed), SignedMessage::MAX_BYTES), Ok(signed));
}

#[test]
fn receipts() {
    assert_eq!(hex(&codec::encode(&receipt())), RECEIPT);
    assert_eq!(outbox_root(&[receipt()]).to_string(), OUTBOX);
}

#[test]
fn certificates_hold_from_two_thirds_on_and_for_nothing_else() {
    let finality = Finality::of(&header(), NETWORK);
    assert_eq!(finality.id(NETWORK).to_string(), FINALITY_ID);
    let seats = Seats {
        keys: (0..4).map(|n| key(n).public()).collect(),
        validators: (0..4).map(ValidatorId).collect(),
        committee: kakera_chain::Committee::new(vec![1; 4]).unwrap(),
        signatures: Default::default(),
    };
    let by = |signers: &[u8]| Certificate {
        finality,
        signatures: signers
            .iter()
            .map(|n| {
                let share = FinalitySignature::sign(finality, Member(u16::from(*n)), &key(*n), NETWORK);
                (share.signer, share.signature)
            })
            .collect(),
    };
    let holds = |certificate: Certificate| {
        certificate.verify(finality.chain, finality.epoch, finality.root, &seats, NETWORK).is_ok()
    };
    assert!(holds(by(&[0, 1, 3])) && holds(by(&[0, 1, 2, 3])));
    assert!(!holds(by(&[0, 1])), "two of four");
    assert!(!holds(by(&[0, 1, 1])), "one signer twice");
    assert!(!holds(by(&[1, 0, 2])), "out of order");
    let mut forged = by(&[0, 1, 2]);
    forged.signatures[1].1.0[0] ^= 1;
    assert!(!holds(forged));
    let mut other = by(&[0, 1, 2]);
    other.finality.height = Height(8);
    assert!(!holds(other), "a signature is good for its own height");
}

#[test]
fn peer_messages_round_trip_and_greetings_name_their_listener() {
    let all = [
        PeerMessage::Since(vec![1, 2]),
        PeerMessage::ById(vec![MessageId([1; 32])]),
        PeerMessage::Cites { message: MessageId([2; 32]), cites: vec![CiteEntry::Nothing, CiteEntry::Faulty] },
        PeerMessage::Status(PeerStatus {
            tips: vec![None, Some((4, MessageId([3; 32])))],
            certified: (Height(2), BlockId([4; 32])),
            question: Some(5),
            answer: None,
        }),
        PeerMessage::Application(vec![1, 2, 3]),
    ];
    let bytes: Vec<u8> = all.iter().flat_map(codec::encode).collect();
    assert_eq!(Hash::of(&[&bytes]).to_string(), PEER_MESSAGES);
    for message in all {
        assert_eq!(PeerMessage::decode(&codec::encode(&message)), Ok(message));
    }
    let hello = Hello::sign(NETWORK, ChainId::Beacon, ValidatorId(1), ValidatorId(2), Timestamp(3), &key(1));
    assert_eq!(hello.verify(&key(1).public()), Ok(()));
    assert!(Hello { to: ValidatorId(3), ..hello.clone() }.verify(&key(1).public()).is_err());
    assert!(hello.verify(&key(2).public()).is_err());
    assert_eq!(Hello::decode(&codec::encode(&hello)), Ok(hello));
}

const HEADER_BYTES: &str = "65212e28a59829ac6c382b83cb1db1e376a8aa28df45720cc02939f82d42a2a7";
const HEADER_ID: &str = "de5af4d47574cab00e8c9c903e7d8eec3cefd68821b5852f90842abc68bc6176";
const STATEMENT: &str = "00000000000000000001010101010101010101010101010101010101010101010101010101010101010200040000000000000009000000000000000202020202020202020202020202020202020202020202020202020202020202010008020000080000050505050505050505050505050505050505050505050505050505050505050501060606060606060606060606060606060606060606060606060606060606060607070707070707070707070707070707070707070707070707070707070707070300000000000000";
const STATEMENT_ID: &str = "024d763bed690b8eb2c95b7b13cf959e2f17a27522594b8f3ea6662729d75e60";
const STATEMENT_SIGNATURE: &str = "e8a8b23e3649107f74eed8b7c3d67dce20bbb1b33840d948638bd3a5b4f51449b20b2c10cacd4748ca11fed5348e1b596a8b97131e0918f9b45f6d1ae53d240b";
const RECEIPT: &str = "0100000101000c000000000000000001010101010101010101010101010101010101010101010101010101010101010202020202020202020202020202020202020202020202020202020202020202f40100000000000063000000000000000303030303030303030303030303030303030303030303030303030303030303";
const OUTBOX: &str = "9388c1eb0089a787f70304289d0ad4a1abdb32df0dae3357033f87c81d6dc9a0";
const FINALITY_ID: &str = "e65b93de253f3a2d52e3202879ca5bfb1183fedeb339f31f345c3b2c7ea93b04";
const PEER_MESSAGES: &str = "18f883a3b37f5d56145b6a34a3a84ff42ad7221cc50de8379ac6ae6a55496470";
