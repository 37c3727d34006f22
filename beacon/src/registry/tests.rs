//! Validators through their lives: queues, limits, refusals, and where every unit of stake is.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::{
    fixture::{self, SEAT, UNBONDING, account, secret, staked},
    rewards::Attendance,
};
use kakera_chain::{
    BlockId, Committee, Member,
    bond::Bond,
    certificate::{Certificate, Finality, Seats},
    codec,
    keys::Signature,
    receipt::ReturnReason as Refused,
    units::Height,
};

/// The owner of all genesis validators.
const OWNER: Address = Address([7; 32]);

fn registry() -> (Network, Registry) {
    let network = staked();
    let registry = Registry::genesis(&network);
    (network, registry)
}

fn bond_of(network: &Network, n: u32, owner: Address, role: Role, seats: u32) -> Bond {
    let end = (format!("host:{}", 1 + n), Hash::of(&[b"end"]));
    Bond::sign(&secret(n), &owner, (role, seats), end, network.id)
}

/// Bonds validator key `n` for account `n` of shard 0.
fn join(registry: &mut Registry, network: &Network, n: u8, seats: u32, epoch: u64) -> ValidatorId {
    let owner = account(0, n);
    let bond = bond_of(network, n.into(), owner, Role::Shard, seats);
    registry.bond(owner, SEAT * u64::from(seats), &bond, Epoch(epoch), network.id).unwrap()
}

fn turn(registry: &mut Registry, epoch: u64, seated: &[u32]) -> Turned {
    let seated = seated.iter().map(|id| ValidatorId(*id)).collect();
    registry.turn(Epoch(epoch), &seated, &Attendance::default())
}

fn status(registry: &Registry, id: ValidatorId) -> Status {
    registry.get(id).unwrap().status
}

/// Attendance in which these validators were asked four times, and never there.
fn silence(silent: &[u32]) -> Attendance {
    let seats = Seats {
        keys: vec![PublicKey([0; 32]); silent.len()],
        validators: silent.iter().map(|id| ValidatorId(*id)).collect(),
        committee: Committee::new(vec![1; silent.len()]).unwrap(),
        signatures: Default::default(),
    };
    let mut attendance = Attendance::default();
    for height in 1..=Attendance::ENOUGH_ROUNDS {
        let (root, block, chain) = (BlockId::default(), BlockId::default(), ChainId::Beacon);
        let finality = Finality { chain, epoch: Epoch(0), root, height: Height(height), block };
        attendance.certificate(&seats, &Certificate { finality, signatures: Vec::new() });
    }
    attendance
}

#[test]
fn without_stake_the_bytes_are_the_plain_list_and_nothing_ever_happens() {
    let network = fixture::network();
    let mut registry = Registry::genesis(&network);
    let plain: Vec<_> = registry
        .iter()
        .map(|(_, v)| (v.key, v.role, v.seats, v.owner, v.endpoint.clone(), v.commitment, v.status))
        .collect();
    assert_eq!(codec::encode(&registry), codec::encode(&plain));
    assert_eq!(codec::decode(&codec::encode(&registry), 1 << 20), Ok(registry.clone()));
    let before = registry.clone();
    assert_eq!(registry.turn(Epoch(9), &BTreeSet::new(), &silence(&[0, 1])), Turned::default());
    assert_eq!(registry.exit(OWNER, ValidatorId(1), Epoch(0)), Err(Refused::WrongStatus));
    let bond = bond_of(&network, 99, OWNER, Role::Shard, 1);
    assert_eq!(registry.bond(OWNER, 0, &bond, Epoch(0), network.id), Err(Refused::Full));
    let offence = fixture::offence(ValidatorId(1), Epoch(0));
    let source = Source { from: ChainId::Beacon, seq: 0, who: OWNER };
    assert_eq!(registry.slash(offence, Epoch(0), source), Err(Refused::InvalidEvidence));
    assert_eq!(registry, before);
    assert_eq!((registry.stake(), registry.minted(), registry.burned()), (0, 0, 0));
}

#[test]
fn with_stake_the_bytes_round_trip_and_no_status_but_active_hides_in_a_plain_list() {
    let (network, mut registry) = registry();
    let one = join(&mut registry, &network, 30, 2, 0);
    join(&mut registry, &network, 31, 3, 0);
    registry.exit(OWNER, ValidatorId(4), Epoch(0)).unwrap();
    turn(&mut registry, 1, &[4]);
    registry.top_up(account(0, 30), SEAT, one, 1).unwrap();
    let bytes = codec::encode(&registry);
    assert_eq!(codec::decode(&bytes, 1 << 20), Ok(registry));
    for cut in 0..bytes.len() {
        assert!(codec::decode::<Registry>(&bytes[..cut], 1 << 20).is_err());
    }
    let mut plain = codec::encode(&Registry::genesis(&fixture::network_of(1, 1, &[(Role::Shard, 1)])));
    assert_eq!(plain.pop(), Some(0));
    plain.extend([1, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(codec::decode::<Registry>(&plain, 1 << 20).is_err(), "a pending one");
}

#[test]
fn a_bond_is_refused_for_its_shape_price_key_and_proof() {
    let (network, mut registry) = registry();
    let owner = account(0, 1);
    let before = registry.clone();
    let good = bond_of(&network, 30, owner, Role::Shard, 2);
    let mut refused = |owner, amount, bond: &Bond| {
        let refused = registry.bond(owner, amount, bond, Epoch(0), network.id).unwrap_err();
        assert_eq!(registry, before, "nothing changed");
        refused
    };
    assert_eq!(refused(owner, 2 * SEAT + 1, &good), Refused::WrongAmount);
    assert_eq!(refused(owner, 2 * SEAT - 1, &good), Refused::WrongAmount);
    assert_eq!(refused(account(0, 2), 2 * SEAT, &good), Refused::InvalidBond, "somebody else's proof");
    let taken = bond_of(&network, 3, owner, Role::Shard, 2);
    assert_eq!(refused(owner, 2 * SEAT, &taken), Refused::KeyTaken);
    for seats in [0, 5, u32::MAX] {
        let bond = bond_of(&network, 30, owner, Role::Shard, seats);
        assert_eq!(refused(owner, SEAT.wrapping_mul(seats.into()), &bond), Refused::InvalidBond, "{seats} of 4");
    }
    let forged = Bond { proof: Signature([7; 64]), ..good.clone() };
    assert_eq!(refused(owner, 2 * SEAT, &forged), Refused::InvalidBond);
    let mut weak = [0; 32];
    weak[0] = 1;
    let weak = Bond { key: PublicKey(weak), ..good.clone() };
    assert_eq!(refused(owner, 2 * SEAT, &weak), Refused::InvalidBond);
    assert_eq!(registry.bond(owner, 2 * SEAT, &good, Epoch(0), network.id), Ok(ValidatorId(20)));
    assert_eq!(registry.bond(owner, 2 * SEAT, &good, Epoch(0), network.id), Err(Refused::KeyTaken), "twice");
    assert_eq!(registry.by_key(&good.key), Some(ValidatorId(20)));
}

#[test]
fn newcomers_become_active_in_bond_order_within_the_churn_limit() {
    let (network, mut registry) = registry();
    let ids: Vec<ValidatorId> =
        [3, 2, 2, 1, 4].iter().zip(30..).map(|(seats, n)| join(&mut registry, &network, n, *seats, 0)).collect();
    assert!(ids.iter().all(|id| status(&registry, *id) == Status::Pending { since: Epoch(0) }));
    assert_eq!(registry.rows(Role::Shard).len(), 19);
    // Four seats an epoch: nobody overtakes.
    assert_eq!(turn(&mut registry, 1, &[]).activated, [ids[0]]);
    assert_eq!(turn(&mut registry, 2, &[]).activated, [ids[1], ids[2]]);
    assert_eq!(turn(&mut registry, 3, &[]).activated, [ids[3]]);
    assert_eq!(turn(&mut registry, 7, &[]).activated, [ids[4]], "epochs slept through give no more room");
    assert_eq!(registry.rows(Role::Shard)[19..], [(ids[0], 3), (ids[1], 2), (ids[2], 2), (ids[3], 1), (ids[4], 4)]);
    assert_eq!(registry.stake(), 20 * u128::from(SEAT) + 12 * u128::from(SEAT));
}

#[test]
fn a_top_up_is_the_owners_paid_for_and_queued() {
    let (network, mut registry) = registry();
    let owner = account(0, 30);
    let id = join(&mut registry, &network, 30, 2, 0);
    assert_eq!(registry.top_up(account(0, 31), SEAT, id, 1), Err(Refused::NotOwner));
    assert_eq!(registry.top_up(owner, SEAT, ValidatorId(99), 1), Err(Refused::UnknownValidator));
    assert_eq!(registry.top_up(owner, SEAT, id, 2), Err(Refused::WrongAmount));
    assert_eq!(registry.top_up(owner, 0, id, 0), Err(Refused::Full));
    assert_eq!(registry.top_up(owner, 5 * SEAT, id, 5), Err(Refused::Full), "more than come in an epoch");
    registry.top_up(owner, 3 * SEAT, id, 3).unwrap();
    assert_eq!(turn(&mut registry, 1, &[]).activated, [id]);
    assert_eq!((registry.get(id).unwrap().seats, registry.get(id).unwrap().stake), (2, 5 * SEAT));
    assert_eq!(turn(&mut registry, 2, &[]).activated, [id]);
    assert_eq!(registry.get(id).unwrap().seats, 5);
    registry.exit(owner, id, Epoch(2)).unwrap();
    assert_eq!(registry.top_up(owner, SEAT, id, 1), Err(Refused::WrongStatus));
}

#[test]
fn who_leaves_serves_until_its_turn_and_is_paid_after_the_unbonding_delay() {
    let (_, mut registry) = registry();
    let id = ValidatorId(5);
    assert_eq!(registry.exit(account(0, 1), id, Epoch(0)), Err(Refused::NotOwner));
    registry.exit(OWNER, id, Epoch(0)).unwrap();
    assert_eq!(registry.exit(OWNER, id, Epoch(0)), Err(Refused::WrongStatus), "twice");
    assert!(status(&registry, id).is_eligible(), "it waits for its turn");
    assert_eq!(turn(&mut registry, 1, &[5]).leaving, [id]);
    assert!(!status(&registry, id).is_eligible());
    turn(&mut registry, 2, &[5]);
    assert!(matches!(status(&registry, id), Status::Exiting { .. }), "still seated");
    turn(&mut registry, 3, &[]);
    assert_eq!(status(&registry, id), Status::Withdrawable { at: Epoch(3 + UNBONDING) });
    for epoch in 4..3 + UNBONDING {
        assert!(turn(&mut registry, epoch, &[]).withdrawals.is_empty());
    }
    assert_eq!(turn(&mut registry, 3 + UNBONDING, &[]).withdrawals, [(id, OWNER, SEAT)]);
    assert_eq!(status(&registry, id), Status::Withdrawn { at: Epoch(3 + UNBONDING) });
    assert_eq!(registry.stake(), 19 * u128::from(SEAT));
    let key = registry.get(id).unwrap().key;
    for epoch in 4 + UNBONDING..=3 + 2 * UNBONDING + 2 {
        assert!(turn(&mut registry, epoch, &[]).forgotten.is_empty());
        assert_eq!(registry.by_key(&key), Some(id), "light clients may ask for its key");
    }
    assert_eq!(turn(&mut registry, 4 + 2 * UNBONDING + 2, &[]).forgotten, [id]);
    assert_eq!((registry.get(id), registry.by_key(&key)), (None, None));
}

#[test]
fn exits_keep_the_churn_limit_but_a_great_one_goes_alone() {
    let mut network = staked();
    network.genesis.validators[2].seats = 9;
    let mut registry = Registry::genesis(&network);
    let all = [1, 2, 3, 4, 5, 6, 7].map(ValidatorId);
    for id in all {
        registry.exit(OWNER, id, Epoch(0)).unwrap();
    }
    assert_eq!(turn(&mut registry, 1, &[]).leaving, all[..1], "nobody overtakes the great one");
    assert_eq!(turn(&mut registry, 2, &[]).leaving, all[1..2]);
    assert_eq!(turn(&mut registry, 3, &[]).leaving, all[2..6]);
    assert_eq!(turn(&mut registry, 4, &[]).leaving, all[6..]);
}

#[test]
fn the_last_beacon_validator_stays() {
    let (_, mut registry) = registry();
    let (beacon, other) = (ValidatorId(0), ValidatorId(1));
    registry.exit(OWNER, beacon, Epoch(0)).unwrap();
    registry.exit(OWNER, other, Epoch(0)).unwrap();
    assert_eq!(turn(&mut registry, 1, &[]).leaving, [other], "it holds up nobody else");
    assert!(status(&registry, beacon).is_eligible());
    let turned = registry.turn(Epoch(2), &BTreeSet::new(), &silence(&[0, 3]));
    assert_eq!(turned.suspended, [ValidatorId(3)]);
    assert_eq!(registry.rows(Role::Beacon), [(beacon, 1)]);
}

#[test]
fn an_epoch_of_silence_suspends_until_the_owner_resumes() {
    let (network, mut registry) = registry();
    let id = ValidatorId(6);
    assert_eq!(registry.resume(OWNER, id, Epoch(0)), Err(Refused::WrongStatus));
    assert_eq!(registry.turn(Epoch(1), &BTreeSet::new(), &silence(&[6])).suspended, [id]);
    assert_eq!(status(&registry, id), Status::Suspended { since: Epoch(1) });
    assert_eq!(registry.turn(Epoch(2), &BTreeSet::new(), &silence(&[6])).suspended, [], "once is enough");
    assert_eq!(registry.resume(account(0, 1), id, Epoch(2)), Err(Refused::NotOwner));
    let first = join(&mut registry, &network, 30, 4, 2);
    registry.resume(OWNER, id, Epoch(2)).unwrap();
    assert_eq!(turn(&mut registry, 3, &[]).activated, [id], "before those that are new");
    assert_eq!(turn(&mut registry, 4, &[]).activated, [first]);
    assert_eq!((status(&registry, id), registry.get(id).unwrap().stake), (Status::Active, SEAT));
    // One that waits to leave begins to at once; one that is suspended may leave.
    registry.exit(OWNER, id, Epoch(4)).unwrap();
    assert_eq!(registry.turn(Epoch(5), &[id].into(), &silence(&[6])).suspended, [id]);
    assert_eq!(status(&registry, id), Status::Exiting { since: Epoch(4), begun: Some(Epoch(5)) });
    assert_eq!(registry.leaving().count(), 0);
    registry.turn(Epoch(6), &BTreeSet::new(), &silence(&[7]));
    registry.exit(OWNER, ValidatorId(7), Epoch(6)).unwrap();
    assert_eq!(status(&registry, ValidatorId(7)), Status::Exiting { since: Epoch(6), begun: Some(Epoch(6)) });
}

#[test]
fn however_many_wait_to_join_who_is_back_and_who_has_another_role_does_not_wait_for_them() {
    let (network, mut registry) = registry();
    let ids: Vec<ValidatorId> = (30..90).map(|n| join(&mut registry, &network, n, 4, 0)).collect();
    let bond = bond_of(&network, 99, account(0, 99), Role::Beacon, 1);
    let beacon = registry.bond(account(0, 99), SEAT, &bond, Epoch(0), network.id).unwrap();
    let back = [6, 7].map(ValidatorId);
    assert_eq!(registry.turn(Epoch(1), &BTreeSet::new(), &silence(&[6, 7])).activated, [ids[0], beacon]);
    back.iter().rev().for_each(|id| registry.resume(OWNER, *id, Epoch(1)).unwrap());
    assert_eq!(turn(&mut registry, 2, &[]).activated, [back[1], back[0]], "in the order in which they asked");
    assert_eq!(turn(&mut registry, 3, &[]).activated, [ids[1]]);
}

#[test]
fn a_newcomer_may_change_its_mind_and_is_never_active() {
    let (network, mut registry) = registry();
    let id = join(&mut registry, &network, 30, 3, 0);
    registry.top_up(account(0, 30), SEAT, id, 1).unwrap();
    registry.exit(account(0, 30), id, Epoch(0)).unwrap();
    assert_eq!(registry.joining().count(), 0);
    let paid: Vec<_> = (1..=1 + UNBONDING).flat_map(|epoch| turn(&mut registry, epoch, &[]).withdrawals).collect();
    assert_eq!(paid, [(id, account(0, 30), 4 * SEAT)]);
}

#[test]
fn a_slashing_takes_everything_once_until_the_stake_is_paid_out() {
    let source = Source { from: ChainId::Beacon, seq: 4, who: OWNER };
    let offence = |validator, epoch| fixture::offence(validator, Epoch(epoch));
    let (_, mut registry) = registry();
    let id = ValidatorId(5);
    assert_eq!(registry.slash(offence(ValidatorId(99), 0), Epoch(0), source), Err(Refused::StaleEvidence));
    assert_eq!(registry.slash(offence(id, 1), Epoch(0), source), Err(Refused::InvalidEvidence), "of the future");
    registry.exit(OWNER, id, Epoch(0)).unwrap();
    turn(&mut registry, 1, &[5]);
    turn(&mut registry, 2, &[]);
    assert!(matches!(status(&registry, id), Status::Withdrawable { .. }));
    for late in [2 + UNBONDING, 9] {
        let refused = registry.clone().slash(offence(id, 1), Epoch(late), source);
        assert_eq!(refused, Err(Refused::StaleEvidence));
    }
    // The last epoch in which it can be reported is still before its stake is paid out.
    let mut late = registry.clone();
    (3..=1 + UNBONDING).for_each(|epoch| drop(turn(&mut late, epoch, &[])));
    let taken = Slashed { reporter_share: 100, burned: 900 };
    assert_eq!(late.slash(offence(id, 1), Epoch(1 + UNBONDING), source), Ok(taken));
    assert_eq!(late.slash(offence(id, 1), Epoch(1 + UNBONDING), source), Err(Refused::AlreadySlashed));
    let at = Epoch(1 + UNBONDING);
    assert_eq!(status(&late, id), Status::Slashed { at, from: ChainId::Beacon, seq: 4 });
    let Offence { chain, epoch, act, .. } = offence(id, 1);
    let told = Slashing { chain, epoch, act, reporter: OWNER, reporter_share: 100, burned: 900 };
    assert_eq!(late.get(id).unwrap().slashing, Some(told));
    assert_eq!(codec::decode(&codec::encode(&late), 1 << 20), Ok(late.clone()));
    assert_eq!((late.burned(), late.stake(), late.slashed()), (900, 19 * u128::from(SEAT), [id].into()));
    assert!(turn(&mut late, 2 + UNBONDING, &[]).withdrawals.is_empty());
    // Who was paid out has nothing left.
    (3..=2 + UNBONDING).for_each(|epoch| drop(turn(&mut registry, epoch, &[])));
    let refused = registry.slash(offence(id, 2 + UNBONDING), Epoch(2 + UNBONDING), source);
    assert_eq!(refused, Err(Refused::StaleEvidence));
}

#[test]
fn a_slashed_one_that_waits_in_a_queue_is_taken_out_of_it() {
    let (network, mut registry) = registry();
    let source = Source { from: ChainId::Beacon, seq: 0, who: OWNER };
    let id = join(&mut registry, &network, 30, 2, 0);
    registry.exit(OWNER, ValidatorId(5), Epoch(0)).unwrap();
    for validator in [id, ValidatorId(5)] {
        registry.slash(fixture::offence(validator, Epoch(0)), Epoch(0), source).unwrap();
    }
    assert_eq!((registry.joining().count(), registry.leaving().count()), (0, 0));
    let turned = turn(&mut registry, 1, &[]);
    assert_eq!((turned.activated, turned.leaving), (vec![], vec![]));
}

#[test]
fn a_slashed_one_is_known_for_as_long_as_its_committees() {
    let (_, mut registry) = registry();
    let id = ValidatorId(5);
    let source = Source { from: ChainId::Beacon, seq: 0, who: OWNER };
    registry.slash(fixture::offence(id, Epoch(0)), Epoch(0), source).unwrap();
    (1..9).for_each(|epoch| assert!(turn(&mut registry, epoch, &[5]).forgotten.is_empty(), "nobody takes its seat"));
    let gone = (9..30).find(|epoch| turn(&mut registry, *epoch, &[]).forgotten == [id]);
    assert_eq!(gone, Some(8 + UNBONDING + 3));
}

#[test]
fn numbers_are_never_given_twice_and_a_forgotten_key_may_come_back() {
    let (network, mut registry) = registry();
    let id = join(&mut registry, &network, 30, 1, 0);
    registry.exit(account(0, 30), id, Epoch(0)).unwrap();
    assert!((1..30).any(|epoch| turn(&mut registry, epoch, &[]).forgotten == [id]));
    assert_eq!(join(&mut registry, &network, 30, 1, 30), ValidatorId(21));
}

#[test]
fn beacon_validators_are_no_more_than_a_certificate_has_room_for() {
    let mut network = staked();
    let one = network.genesis.validators[0].clone();
    let more = |n: u32| kakera_chain::genesis::GenesisValidator { key: secret(n).public(), ..one.clone() };
    network.genesis.validators.extend((100..100 + Registry::MAX_BEACON - 1).map(more));
    let owner = account(0, 1);
    let bond = bond_of(&network, 50, owner, Role::Beacon, 1);
    let mut registry = Registry::genesis(&network);
    assert_eq!(registry.bond(owner, SEAT, &bond, Epoch(0), network.id), Err(Refused::Full));
    registry.exit(OWNER, ValidatorId(0), Epoch(0)).unwrap();
    assert_eq!(registry.bond(owner, SEAT, &bond, Epoch(0), network.id), Err(Refused::Full), "it is still here");
    network.genesis.epochs.as_mut().unwrap().beacon_seats = Some(16);
    let mut sampled = Registry::genesis(&network);
    assert!(sampled.bond(owner, SEAT, &bond, Epoch(0), network.id).is_ok());
}

#[test]
fn nothing_is_minted_past_what_fits_64_bits() {
    let mut network = staked();
    network.genesis.accounts[0].balance += u64::MAX - network.supply() - 7;
    let mut registry = Registry::genesis(&network);
    assert_eq!(registry.terms().unwrap().mintable, 7);
    let mut attendance = silence(&[0]);
    let seats = Seats {
        keys: vec![PublicKey([0; 32]); 2],
        validators: vec![ValidatorId(1), ValidatorId(2)],
        committee: Committee::new(vec![1, 1]).unwrap(),
        signatures: Default::default(),
    };
    let chain = ChainId::Shard(kakera_chain::units::ShardId(0));
    let (root, block) = (BlockId::default(), BlockId::default());
    let finality = Finality { chain, epoch: Epoch(0), root, height: Height(1), block };
    let signatures = vec![(Member(0), Signature([0; 64])), (Member(1), Signature([0; 64]))];
    attendance.certificate(&seats, &Certificate { finality, signatures });
    assert_eq!(registry.turn(Epoch(1), &BTreeSet::new(), &attendance).minted, 7, "10 each, as far as it goes");
    assert_eq!(registry.turn(Epoch(2), &BTreeSet::new(), &attendance).minted, 0);
    assert_eq!(registry.minted(), 7);
}

#[test]
fn a_link_is_revealed_from_the_commitment_back() {
    let (_, mut registry) = registry();
    let (id, secret) = (ValidatorId(0), Hash([1; 32]));
    let link = Hash::of(&[&secret.0]);
    let end = Hash::of(&[&link.0]);
    registry.edit(id).unwrap().commitment = Commitment::new(end, Epoch(0));
    let mut reveal = |id, link| registry.reveal(id, &Reveal { link, next: None }, Epoch(0));
    assert_eq!(reveal(id, secret), Err(InvalidReveal::NotBelow { commitment: end }));
    assert_eq!(reveal(id, link), Ok(()));
    assert_eq!(reveal(id, link), Err(InvalidReveal::NotBelow { commitment: link }), "twice");
    assert_eq!(reveal(id, secret), Ok(()));
    let nobody = ValidatorId(99);
    assert_eq!(reveal(nobody, link), Err(InvalidReveal::NotBelow { commitment: Hash::ZERO }));
}
