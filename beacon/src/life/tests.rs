//! Requests through crosslinks, and what comes back. How the registry judges each is tested beside it.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::{
    InvalidCrosslink, Status,
    fixture::{
        ALLOCATION, BEACON, LANE_BOUND, SEAT, Step, UNBONDING, World, account, context, evidence, lane, secret, staked,
    },
    index,
    registry::Cause,
};
use kakera_chain::{
    Slot,
    application::Application,
    block::outbox_root,
    bond::Bond,
    crosslink::BeaconItem,
    genesis::{Network, Role},
    hash::Hash,
    units::{Height, ShardId},
};

mod books;

const TRANSACTION: Hash = Hash([4; 32]);
/// The owner of all genesis validators; on shard 0.
const OWNER: Address = Address([7; 32]);

fn bond(network: &Network, key: u32, from: Address, seats: u32) -> ReceiptAction {
    let end = (format!("host:{}", 1 + key), Hash([8; 32]));
    let bond = Bond::sign(&secret(key), &from, (Role::Shard, seats), end, network.id);
    ReceiptAction::Bond { from, amount: SEAT * u64::from(seats), bond: Box::new(bond), transaction: TRANSACTION }
}

fn exit(from: Address, id: u32) -> ReceiptAction {
    ReceiptAction::Exit { from, validator: ValidatorId(id), transaction: TRANSACTION }
}

fn report(from: Address, id: u32, epoch: u64) -> ReceiptAction {
    let bytes = evidence(ValidatorId(id), Epoch(epoch));
    ReceiptAction::Evidence { from, bytes, transaction: TRANSACTION }
}

fn ask(asks: Vec<ReceiptAction>) -> Step {
    Step { asks, transactions: 1, ..Step::default() }
}

fn returned(action: &ReceiptAction) -> (u64, Address, u64, ReturnReason) {
    let ReceiptAction::Return { original, to, amount, reason, transaction } = action else { panic!("{action:?}") };
    assert_eq!(*transaction, TRANSACTION);
    (*original, *to, *amount, *reason)
}

fn turn_to(world: &mut World, epoch: u64) -> Turned {
    let turned = world.turn(Epoch(epoch), &BTreeSet::new(), &Attendance::default());
    assert!(world.state.conservation().is_ok());
    turned
}

#[test]
fn a_newcomer_bonds_becomes_active_leaves_and_gets_its_stake_and_rewards_back() {
    let mut world = World::of(staked());
    let (owner, id) = (account(2, 9), ValidatorId(20));
    let supply = world.state.conservation().unwrap();
    let request = bond(&world.network, 77, owner, 3);
    world.advance(2, &[ask(vec![request])]);
    assert_eq!(world.state.conservation(), Ok(supply));
    assert_eq!(world.state.in_flight(), 0, "what the beacon gets is not under way");
    assert_eq!(world.state.lane(&lane(2, BEACON)).unwrap().consumed, 1);
    assert_eq!(world.state.registry.get(id).unwrap().status, Status::Pending { since: Epoch(0) });
    assert_eq!(turn_to(&mut world, 1).activated, [id]);
    // It sits in a committee alone, signs everything, and leaves.
    let crosslink = world.extend(1, &[Step::default()]);
    let mut seats = world.seats(ShardId(1));
    seats.validators = vec![id];
    let mut attendance = Attendance::default();
    attendance.crosslink(&seats, &crosslink);
    assert_eq!(world.record(crosslink), Ok(()));
    let earned = world.turn(Epoch(2), &[id].into(), &attendance).minted;
    assert_eq!(earned, 10, "of the one seat that it held there");
    assert_eq!(world.state.conservation(), Ok(supply));
    world.advance(2, &[ask(vec![exit(owner, 20)])]);
    let paid: Vec<(u64, Turned)> = (3..20).map(|epoch| (epoch, turn_to(&mut world, epoch))).collect();
    let (epoch, turned) = paid.iter().find(|(_, turned)| !turned.withdrawals.is_empty()).unwrap();
    assert_eq!((*epoch, &turned.withdrawals), (4 + UNBONDING, &vec![(id, owner, 3 * SEAT + 10)]));
    let withdrawal = ReceiptAction::Withdraw { validator: id, to: owner, amount: 3 * SEAT + 10 };
    assert_eq!(world.answers(2), [Receipt { lane: lane(BEACON, 2), seq: 0, action: withdrawal }]);
    assert_eq!(world.state.in_flight(), u128::from(3 * SEAT + 10));
    world.advance(2, &[Step { takes: vec![(BEACON, 1)], ..Step::default() }]);
    assert_eq!((world.state.in_flight(), world.state.conservation()), (0, Ok(supply)));
    let solvency = world.state.shard(ShardId(2)).unwrap().solvency();
    assert_eq!((solvency.sent, solvency.received), (3 * SEAT, 3 * SEAT + 10));
}

#[test]
fn every_refused_request_bounces_with_its_value_and_its_reason() {
    let mut world = World::of(staked());
    let owner = account(1, 1);
    let good = bond(&world.network, 77, owner, 1);
    let wrong_amount = match good.clone() {
        ReceiptAction::Bond { from, bond, transaction, .. } => {
            ReceiptAction::Bond { from, amount: SEAT + 5, bond, transaction }
        }
        _ => unreachable!(),
    };
    let stolen = match good.clone() {
        ReceiptAction::Bond { amount, bond, transaction, .. } => {
            ReceiptAction::Bond { from: account(1, 2), amount, bond, transaction }
        }
        _ => unreachable!(),
    };
    let validator = ValidatorId(20);
    let top_up =
        |amount, validator| ReceiptAction::TopUp { from: owner, amount, validator, seats: 1, transaction: TRANSACTION };
    let resume = ReceiptAction::Resume { from: owner, validator, transaction: TRANSACTION };
    let nonsense = ReceiptAction::Evidence { from: owner, bytes: vec![1, 2, 3], transaction: TRANSACTION };
    let asks = vec![
        wrong_amount,
        stolen,
        good.clone(),
        good,
        top_up(SEAT, ValidatorId(3)),
        top_up(SEAT + 1, validator),
        exit(owner, 99),
        resume,
    ];
    world.advance(1, &[ask(asks)]);
    let back: Vec<_> = world.answers(1).iter().map(|receipt| returned(&receipt.action)).collect();
    use ReturnReason as R;
    let expected = [
        (0, owner, SEAT + 5, R::WrongAmount),
        (1, account(1, 2), SEAT, R::InvalidBond),
        (3, owner, SEAT, R::KeyTaken),
        (4, owner, SEAT, R::NotOwner),
        (5, owner, SEAT + 1, R::WrongAmount),
        (6, owner, 0, R::UnknownValidator),
        (7, owner, 0, R::WrongStatus),
    ];
    assert_eq!(back, expected);
    assert_eq!(world.state.conservation(), Ok(world.state.parameters.supply));
    world.advance(1, &[Step { takes: vec![(BEACON, 7)], ..ask(vec![nonsense, report(owner, 3, 5)]) }]);
    let back: Vec<_> = world.answers(1)[7..].iter().map(|receipt| returned(&receipt.action)).collect();
    assert_eq!(back, [(8, owner, 0, R::InvalidEvidence), (9, owner, 0, R::InvalidEvidence)]);
    let log = world.state.lane(&lane(1, BEACON)).unwrap();
    assert_eq!((log.consumed, log.pending.len(), log.ordinary), (10, 0, 0));
}

#[test]
fn a_shard_speaks_for_its_own_accounts_only() {
    // Whoever captures shard 1 signs what it likes there: the owner of the genesis validators lives on shard 0.
    let mut world = World::of(staked());
    let validator = ValidatorId(3);
    let top_up = ReceiptAction::TopUp { from: OWNER, amount: SEAT, validator, seats: 1, transaction: TRANSACTION };
    let resume = ReceiptAction::Resume { from: OWNER, validator, transaction: TRANSACTION };
    let bond = bond(&world.network, 77, OWNER, 1);
    let before = world.state.registry.clone();
    world.advance(1, &[ask(vec![exit(OWNER, 3), top_up, resume, bond])]);
    let back: Vec<_> = world.answers(1).iter().map(|receipt| returned(&receipt.action).3).collect();
    assert_eq!(back, [ReturnReason::NotOwner; 4]);
    assert_eq!(world.state.registry, before);
    assert_eq!(world.state.conservation(), Ok(world.state.parameters.supply));
    world.advance(0, &[ask(vec![exit(OWNER, 3)])]);
    assert_eq!(world.state.registry.get(validator).unwrap().status, Status::Exiting { since: Epoch(0), begun: None });
}

#[test]
fn evidence_slashes_once_and_pays_the_reporter_on_its_shard() {
    let mut world = World::of(staked());
    let reporter = account(2, 5);
    world.advance(2, &[ask(vec![report(reporter, 4, 0), report(reporter, 4, 0)])]);
    let validator = ValidatorId(4);
    let reward = ReceiptAction::Reward { validator, to: reporter, amount: SEAT / 10, transaction: TRANSACTION };
    assert_eq!(world.answers(2)[0].action, reward);
    assert_eq!(returned(&world.answers(2)[1].action), (1, reporter, 0, ReturnReason::AlreadySlashed));
    let status = world.state.registry.get(validator).unwrap().status;
    assert_eq!(status, Status::Slashed { at: Epoch(0), from: lane(2, BEACON).from, seq: 0 }, "where the evidence is");
    assert_eq!(world.state.registry.burned(), SEAT - SEAT / 10);
    assert_eq!(world.state.conservation(), Ok(world.state.parameters.supply));
    // Of what the beacon pays, nothing can be sent back.
    let mut crosslink = world.extend(2, &[Step { takes: vec![(BEACON, 1)], ..Step::default() }]);
    let action = ReceiptAction::Return {
        original: 0,
        to: reporter,
        amount: SEAT / 10,
        reason: ReturnReason::Expired,
        transaction: TRANSACTION,
    };
    crosslink.receipts[0].push(Receipt { lane: lane(2, BEACON), seq: 2, action });
    crosslink.headers[0].figures.sent += SEAT / 10;
    crosslink.headers[0].figures.balances -= SEAT / 10;
    world.seal(&mut crosslink);
    assert_eq!(world.record(crosslink), Err(InvalidCrosslink::LaneAction { lane: lane(2, BEACON), seq: 2 }));
}

#[test]
fn lanes_hold_what_belongs_in_them() {
    let transfer = ReceiptAction::Transfer {
        from: OWNER,
        to: account(1, 1),
        amount: 1,
        expires_at: Slot(9),
        transaction: TRANSACTION,
    };
    let withdraw = ReceiptAction::Withdraw { validator: ValidatorId(1), to: OWNER, amount: 1 };
    let refused = |to: u16, action: ReceiptAction| {
        let mut world = World::of(staked());
        let mut crosslink = world.extend(0, &[Step::default()]);
        crosslink.headers[0].figures.sent = action.amount();
        crosslink.headers[0].figures.balances -= action.amount();
        crosslink.receipts[0].push(Receipt { lane: lane(0, to), seq: 0, action });
        world.seal(&mut crosslink);
        let before = world.state.clone();
        let refused = world.record(crosslink).unwrap_err();
        assert_eq!(world.state, before);
        refused == InvalidCrosslink::LaneAction { lane: lane(0, to), seq: 0 }
    };
    assert!(refused(BEACON, transfer), "the beacon has no accounts");
    assert!(refused(BEACON, withdraw.clone()) && refused(1, withdraw) && refused(1, exit(OWNER, 1)));
}

#[test]
fn without_stake_nothing_goes_to_the_beacon() {
    let mut world = World::new();
    let crosslink = world.extend(0, &[ask(vec![exit(OWNER, 1)])]);
    let to = lane(0, BEACON).to;
    assert_eq!(world.record(crosslink), Err(InvalidCrosslink::LaneDestination { to }));
    let before = world.state.clone();
    assert_eq!(turn_to(&mut world, 0), Turned::default());
    assert_eq!(world.state, before);
}

#[test]
fn returns_that_a_shard_leaves_lying_are_bounded() {
    let mut world = World::of(staked());
    let bound = usize::try_from(LANE_BOUND).unwrap();
    // Payments do not count: the shard did not ask for them.
    world.advance(1, &[ask(vec![report(account(0, 3), 4, 0)])]);
    world.advance(0, &[ask(vec![exit(OWNER, 99); bound - 1])]);
    assert_eq!(world.answers(0).len(), bound);
    let mut full = World::of(staked());
    full.advance(0, &[ask(vec![exit(OWNER, 99); bound])]);
    let over = full.extend(0, &[ask(vec![exit(OWNER, 99)])]);
    assert_eq!(full.record(over), Err(InvalidCrosslink::LaneFull { lane: lane(0, BEACON), bound: LANE_BOUND }));
    // What it takes makes room, in the same block and before what that block asks.
    let takes = vec![(BEACON, 2)];
    world.advance(0, &[Step { takes, ..ask(vec![exit(OWNER, 99), exit(OWNER, 99)]) }]);
    let over = world.extend(0, &[ask(vec![exit(OWNER, 99)])]);
    assert!(matches!(world.record(over), Err(InvalidCrosslink::LaneFull { .. })));
}

#[test]
fn a_block_emits_what_its_crosslinks_ask_for_in_order_and_indexes_it() {
    let mut world = World::of(staked());
    let first = world.extend(2, &[ask(vec![exit(account(2, 1), 99)])]);
    let second = world.extend(0, &[ask(vec![exit(OWNER, 3), exit(account(0, 1), 3)])]);
    let body: Vec<Vec<u8>> = [&first, &second]
        .map(|crosslink| kakera_chain::codec::encode(&BeaconItem::Crosslink(Box::new(crosslink.clone()))))
        .into();
    let executed = world.beacon.execute(&world.state, &context(1), &body, &[]).unwrap();
    let places: Vec<_> = executed.receipts.iter().map(|receipt| (receipt.lane, receipt.seq)).collect();
    assert_eq!(places, [(lane(BEACON, 2), 0), (lane(BEACON, 0), 0)]);
    assert_eq!(returned(&executed.receipts[1].action).3, ReturnReason::NotOwner);
    // A proposer comes to the same, and the header would commit to it.
    for crosslink in [&first, &second] {
        world.beacon.handle(kakera_chain::units::Timestamp(0), &world.state.clone(), crosslink.clone());
    }
    let proposal = world.beacon.propose(&world.state, &context(2), false).unwrap();
    assert_eq!(proposal.body, body, "in the shards' turns: shard 2 first at height 2");
    assert_eq!(outbox_root(&proposal.executed.receipts), outbox_root(&executed.receipts));
    assert_eq!(proposal.executed.state_root, executed.state_root);

    let mut store = crate::fixture::Memory::default();
    store.persist(index::crosslink_rows(&world.state.shards[0].last.header, &second, Height(7)));
    store.persist(index::emitted_rows(&executed.receipts, Height(7)));
    let at = index::consumed_at(&store, lane(0, BEACON), 1).unwrap().unwrap();
    assert_eq!((at.beacon, at.shard), (Height(7), Height(7)), "consumed by the block that recorded it");
    let rows = index::recorded_receipts(&store, lane(BEACON, 0), 0, 9).unwrap();
    assert_eq!((rows.len(), &rows[0].receipt), (1, &executed.receipts[1]));
}
