//! Layouts and limits of receipts.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::{
    codec::{self, InvalidBytes},
    genesis::Role,
    hash::NetworkId,
    keys::SecretKey,
    units::ShardId,
};

const FROM: Address = Address([1; 32]);
const TRANSACTION: Hash = Hash([3; 32]);

fn bond(endpoint: String) -> Box<Bond> {
    let key = SecretKey::from_seed([2; 32]);
    Box::new(Bond::sign(&key, &FROM, (Role::Shard, 3), (endpoint, Hash([4; 32])), NetworkId(Hash([9; 32]))))
}

/// One action of every kind, in the order of their first byte.
fn actions() -> Vec<ReceiptAction> {
    let (from, transaction, validator) = (FROM, TRANSACTION, ValidatorId(5));
    vec![
        ReceiptAction::Transfer { from, to: Address([2; 32]), amount: 7, expires_at: Slot(9), transaction },
        ReceiptAction::Return { original: 6, to: from, amount: 7, reason: ReturnReason::KeyTaken, transaction },
        ReceiptAction::Bond { from, amount: 7, bond: bond("h:1".into()), transaction },
        ReceiptAction::TopUp { from, amount: 7, validator, seats: 2, transaction },
        ReceiptAction::Exit { from, validator, transaction },
        ReceiptAction::Resume { from, validator, transaction },
        ReceiptAction::Evidence { from, bytes: vec![0xe0, 0xe1], transaction },
        ReceiptAction::Withdraw { validator, to: from, amount: 7 },
        ReceiptAction::Reward { validator, to: from, amount: 7, transaction },
    ]
}

fn shard(id: u16) -> ChainId {
    ChainId::Shard(ShardId(id))
}

#[test]
fn the_bytes_of_every_action_are_golden() {
    let (from, tx) = ("01".repeat(32), "03".repeat(32));
    let amount = "0700000000000000";
    let encoded: Vec<String> = actions().iter().map(|action| hex::encode(codec::encode(action))).collect();
    let bond = hex::encode(codec::encode(&bond("h:1".into())));
    let expected = [
        format!("00{from}{}{amount}0900000000000000{tx}", "02".repeat(32)),
        format!("010600000000000000{from}{amount}04{tx}"),
        format!("02{from}{amount}{bond}{tx}"),
        format!("03{from}{amount}0500000002000000{tx}"),
        format!("04{from}05000000{tx}"),
        format!("05{from}05000000{tx}"),
        format!("06{from}02000000e0e1{tx}"),
        format!("0705000000{from}{amount}"),
        format!("0805000000{from}{amount}{tx}"),
    ];
    assert_eq!(encoded, expected);
    for action in actions() {
        assert_eq!(codec::decode(&codec::encode(&action), Receipt::MAX_BYTES), Ok(action));
    }
}

#[test]
fn reasons_keep_their_numbers() {
    use ReturnReason as R;
    let all = [
        R::Expired,
        R::WrongShard,
        R::InvalidBond,
        R::WrongAmount,
        R::KeyTaken,
        R::Full,
        R::UnknownValidator,
        R::NotOwner,
        R::WrongStatus,
        R::InvalidEvidence,
        R::StaleEvidence,
        R::AlreadySlashed,
    ];
    let bytes: Vec<u8> = all.iter().flat_map(codec::encode).collect();
    assert_eq!(bytes, (0..12).collect::<Vec<u8>>());
}

#[test]
fn no_receipt_is_longer_than_its_bounds_say() {
    let length = |lane: Lane, action: ReceiptAction| codec::encode(&Receipt { lane, seq: 0, action }).len();
    let between = Lane { from: shard(0), to: shard(1) };
    let up = Lane { to: ChainId::Beacon, ..between };
    assert_eq!(length(between, actions().swap_remove(0)), Receipt::TRANSFER_BYTES);
    assert!(length(between, actions().swap_remove(1)) < Receipt::TRANSFER_BYTES);
    let longest = format!("{}:1", "h".repeat(Bond::MAX_ENDPOINT - 2));
    let longest = ReceiptAction::Bond { from: FROM, amount: 1, bond: bond(longest), transaction: TRANSACTION };
    assert_eq!(length(up, longest), Receipt::REQUEST_BYTES);
    for action in actions().into_iter().filter(ReceiptAction::is_request) {
        assert!(length(up, action) <= Receipt::REQUEST_BYTES);
    }
    let evidence = |bytes| ReceiptAction::Evidence { from: FROM, bytes: vec![0; bytes], transaction: TRANSACTION };
    assert!(length(up, evidence(Receipt::MAX_EVIDENCE)) <= Receipt::MAX_BYTES);
    let much = codec::encode(&evidence(Receipt::MAX_EVIDENCE + 1));
    assert!(matches!(codec::decode::<ReceiptAction>(&much, 1 << 20), Err(InvalidBytes::Malformed { .. })));
    // A length that is not there is refused as well.
    let mut short = codec::encode(&evidence(10));
    short[33] = 200;
    assert!(codec::decode::<ReceiptAction>(&short, 1 << 20).is_err());
}

#[test]
fn each_kind_of_lane_holds_its_own_actions() {
    let holds = |from, to| -> Vec<usize> {
        let lane = Lane { from, to };
        let actions = actions();
        (0..actions.len()).filter(|kind| actions[*kind].belongs_in(&lane)).collect()
    };
    assert_eq!(holds(shard(0), shard(1)), [0, 1]);
    assert_eq!(holds(shard(0), ChainId::Beacon), [2, 3, 4, 5, 6]);
    assert_eq!(holds(ChainId::Beacon, shard(0)), [1, 7, 8]);
    assert_eq!(holds(ChainId::Beacon, ChainId::Beacon), []);
    assert_eq!(holds(shard(1), shard(1)), []);
    let values: Vec<u64> = actions().iter().map(ReceiptAction::amount).collect();
    assert_eq!(values, [7, 7, 7, 7, 0, 0, 0, 7, 7]);
}
