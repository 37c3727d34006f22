//! Real shards and a real beacon, blocks made by hand: whatever honest shards order of the beacon, it records, and every
//! unit that went there is there, or burned, or came back.
#![allow(clippy::unwrap_used, reason = "tests")]

mod life {
    mod reports;
}

use kakera_beacon::{Attendance, Beacon, BeaconState, genesis_header, receipts_toward};
use kakera_chain::{
    BlockId, Member, Slot,
    address::Address,
    application::{Application, Context, Executed},
    block::{Block, Header, outbox_root},
    bond::Bond,
    certificate::{Certificate, Finality, FinalitySignature, Seats},
    codec,
    crosslink::{BeaconItem, Crosslink},
    genesis::{Epochs, Fees, Genesis, GenesisAccount, GenesisValidator, Lanes, Network, Role, Staking, Timing},
    hash::{Hash, NetworkId, merkle_root},
    keys::SecretKey,
    lanes::Reading,
    receipt::{Receipt, Reference},
    signatures::Signatures,
    units::{ChainId, Epoch, Height, ShardId, Timestamp, ValidatorId},
};
use kakera_shard::{Action, Input, PoolLimits, Reply, Shard, ShardConfig, ShardState, Transaction, first_reading};
use std::{collections::VecDeque, sync::Arc};

const SHARDS: u16 = 2;
const ACCOUNTS: u64 = 3;
const BALANCE: u64 = 1_000_000_000;
const SEAT: u64 = 1_000;
const BOUND: u64 = 3;
const VALIDATORS: u64 = 7;

/// A small generator; the order of what happens follows from its seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }
}

fn secret(kind: u8, n: u64) -> SecretKey {
    let mut seed = [kind; 32];
    seed[..8].copy_from_slice(&n.to_le_bytes());
    SecretKey::from_seed(seed)
}

/// The `n`th account of a shard.
fn owner(shard: u16, n: u64) -> SecretKey {
    let on_shard = |key: &SecretKey| Address::of(&key.public()).shard(SHARDS) == ShardId(shard);
    (0..).map(|seed| secret(1, seed)).filter(on_shard).nth(usize::try_from(n).unwrap()).unwrap()
}

fn address(shard: u16, n: u64) -> Address {
    Address::of(&owner(shard, n).public())
}

fn network() -> Network {
    let validator = |n: u64| GenesisValidator {
        name: format!("v{n}"),
        role: if n == 0 { Role::Beacon } else { Role::Shard },
        key: secret(2, n).public(),
        seats: 1,
        endpoint: format!("host:{}", n + 1),
        owner: address(u16::try_from(n).unwrap() % SHARDS, 0),
        commitment: "0c".repeat(32),
    };
    let accounts = (0..SHARDS).flat_map(|shard| (0..ACCOUNTS).map(move |n| address(shard, n)));
    let timing = Timing { slot_ms: 200, delay_ms: 40, heartbeat_slots: 4 };
    let genesis = Genesis {
        name: "life".into(),
        genesis_time_ms: 0,
        seed: "11".repeat(32),
        shards: SHARDS,
        committee_seats: 1,
        beacon: timing,
        shard: timing,
        fees: Fees { block_gas: 1_000_000, block_bytes: 65_536, base_fee: 1, receipt_gas_percent: 50 },
        lanes: Lanes { bound: BOUND, lifetime_slots: 1_000 },
        // Epochs are turned by hand, whatever slot it is.
        epochs: Some(Epochs {
            slots: 1 << 20,
            fallback_slots: 2,
            rotation_per_mille: 250,
            beacon_seats: None,
            unbonding: 2,
        }),
        staking: Some(Staking { seat: SEAT, churn_seats: 3, reward: 10, reporter_per_mille: 100 }),
        risk: None,
        validators: (0..VALIDATORS).map(validator).collect(),
        accounts: accounts.map(|address| GenesisAccount { address, balance: BALANCE }).collect(),
    };
    Network { id: NetworkId(Hash([5; 32])), genesis }
}

/// A shard, and the beacon blocks that it has not heard of.
struct Chain {
    shard: Shard,
    head: Executed<ShardState>,
    header: Header,
    unrecorded: Vec<(Header, Vec<Receipt>)>,
    unheard: VecDeque<Reading>,
}

struct World {
    network: Network,
    beacon: Beacon,
    state: BeaconState,
    tip: Header,
    genesis: BlockId,
    chains: Vec<Chain>,
    epoch: u64,
    /// Stakes paid out.
    paid: usize,
}

impl World {
    fn new() -> World {
        let network = network();
        let shard = |id: u16, first| {
            let (network, shard) = (Arc::new(network.clone()), ShardId(id));
            let (pool, signatures) = (PoolLimits::default(), Signatures::default());
            Shard::new(ShardConfig { network, shard, first, signatures, pool }, None).unwrap()
        };
        let headers: Vec<Header> = (0..SHARDS)
            .map(|id| {
                // A shard's genesis does not depend on what it knows of the beacon.
                let genesis = shard(id, first_reading(BlockId::default(), BlockId::default())).genesis();
                genesis_header(ChainId::Shard(ShardId(id)), genesis.state_root, genesis.figures)
            })
            .collect();
        let beacon = Beacon::new(&network, headers.clone());
        let first = beacon.genesis();
        let tip = genesis_header(ChainId::Beacon, first.state_root, first.figures);
        let genesis = tip.id(network.id);
        let chains = (0..SHARDS).zip(headers).map(|(id, header)| {
            let root = header.id(network.id);
            let shard = shard(id, first_reading(genesis, root));
            let header = Header { root, reference: Reference { id: genesis, ..header.reference }, ..header };
            let (unrecorded, unheard) = (Vec::new(), VecDeque::new());
            Chain { head: shard.genesis(), shard, header, unrecorded, unheard }
        });
        let chains = chains.collect();
        World { state: first.state, beacon, tip, genesis, chains, network, epoch: 0, paid: 0 }
    }

    /// An order of some account to do something, sensible or not.
    fn order(&mut self, dice: &mut Dice) {
        let shard = u16::try_from(dice.below(SHARDS.into())).unwrap();
        let n = dice.below(ACCOUNTS);
        let sender = owner(shard, n);
        let validator = ValidatorId(u32::try_from(dice.below(VALIDATORS + 4)).unwrap());
        let seats = 1 + u32::try_from(dice.below(3)).unwrap();
        let action = match dice.below(7) {
            0 => Action::Transfer { to: address(1 - shard, dice.below(ACCOUNTS)), amount: 7 },
            1 | 2 => {
                let owner = Address::of(&sender.public());
                let key = secret(3, dice.below(6));
                let end = ("host:9".to_owned(), Hash([8; 32]));
                let bond = Bond::sign(&key, &owner, (Role::Shard, seats), end, self.network.id);
                Action::Bond { bond: Box::new(bond) }
            }
            3 => Action::TopUp { validator, seats },
            4 => Action::Exit { validator },
            5 => Action::Resume { validator },
            _ => Action::SubmitEvidence { bytes: vec![1; 9] },
        };
        let chain = &mut self.chains[usize::from(shard)];
        let nonce = chain.shard.pending_nonce(&chain.head.state, &Address::of(&sender.public()));
        let order = Transaction {
            network: self.network.id,
            sender: sender.public(),
            nonce,
            valid_until: Slot(u64::MAX),
            gas_limit: 100_000,
            max_fee: 1_000,
            tip: 1,
            action,
        };
        let reply = chain.shard.handle(Timestamp(0), &chain.head.state, Input::Submit(order.sign(&sender))).reply;
        assert!(matches!(reply, Reply::Accepted { .. } | Reply::Refused(_)), "{reply:?}");
    }

    /// A shard hears of some beacon blocks, and makes a block.
    fn step(&mut self, shard: usize, hears: usize) {
        let chain = &mut self.chains[shard];
        let readings: Vec<Reading> = chain.unheard.drain(..hears.min(chain.unheard.len())).collect();
        let reply = chain.shard.handle(Timestamp(0), &chain.head.state, Input::Beacon(readings)).reply;
        assert!(matches!(reply, Reply::BeaconAdvanced(_)), "{reply:?}");
        let (height, slot) = (chain.header.height.next(), Slot(chain.header.slot.0 + 1));
        let reference = chain.header.reference;
        let (proposer, validator) = (Member(0), ValidatorId(1));
        let context = Context { chain: chain.header.chain, height, slot, proposer, validator, reference };
        let proposal = chain.shard.propose(&chain.head.state, &context, false).unwrap();
        let executed = proposal.executed;
        let header = Header {
            parent: chain.parent(self.network.id),
            height,
            slot,
            reference: proposal.reference,
            state_root: executed.state_root,
            body_root: merkle_root(&proposal.body),
            witness_root: merkle_root(&proposal.witnesses),
            outbox_root: outbox_root(&executed.receipts),
            figures: executed.figures.clone(),
            ..chain.header.clone()
        };
        let block = Block { header: header.clone(), body: proposal.body, witnesses: proposal.witnesses };
        chain.shard.certified(header.id(self.network.id), &block, &chain.head.state, &executed);
        chain.unrecorded.push((header.clone(), executed.receipts.clone()));
        (chain.header, chain.head) = (header, executed);
    }

    fn certify(&self, header: &Header, seats: &Seats) -> Certificate {
        let finality = Finality::of(header, self.network.id);
        let sign = |(member, id): (u16, &ValidatorId)| {
            let key = secret(2, id.0.into());
            (Member(member), FinalitySignature::sign(finality, Member(member), &key, self.network.id).signature)
        };
        Certificate { finality, signatures: (0..).zip(&seats.validators).map(sign).collect() }
    }

    /// The beacon records what these shards have made; the epoch may turn before.
    fn record(&mut self, shards: &[usize], turn: bool) {
        let mut emitted = Vec::new();
        if turn {
            self.epoch += 1;
            // The committees stay, whoever comes and goes.
            let seated = self.state.seating.current.seated();
            let (_, paid) = self.state.turn_registry(Epoch(self.epoch), &seated, &Attendance::default());
            self.paid += paid.len();
            emitted.extend(paid);
        }
        let mut body = Vec::new();
        for shard in shards {
            let (headers, receipts): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.chains[*shard].unrecorded).into_iter().unzip();
            let Some(last) = headers.last() else { continue };
            let id = ShardId(u16::try_from(*shard).unwrap());
            let bench = self.state.shard(id).unwrap().bench.seats();
            let certificate = self.certify(last, &self.state.seats(&bench, &Signatures::default()));
            let crosslink = Crosslink { shard: id, headers, receipts, certificate };
            body.push(codec::encode(&BeaconItem::Crosslink(Box::new(crosslink))));
        }
        let (height, slot) = (self.tip.height.next(), Slot(self.tip.slot.0 + 1));
        let reference = Reference { height: Height(0), slot: Slot(0), id: BlockId::default() };
        let (proposer, validator) = (Member(0), ValidatorId(0));
        let context = Context { chain: ChainId::Beacon, height, slot, proposer, validator, reference };
        let executed = self.beacon.execute(&self.state, &context, &body, &[]);
        let executed = executed.expect("what honest shards send is recorded");
        emitted.extend(executed.receipts);
        self.state = executed.state;
        let header = Header {
            root: self.genesis,
            parent: self.tip.id(self.network.id),
            height,
            slot,
            state_root: executed.state_root,
            body_root: merkle_root(&body),
            outbox_root: outbox_root(&emitted),
            figures: executed.figures,
            ..self.tip.clone()
        };
        let reference = Reference { height, slot, id: header.id(self.network.id) };
        let block = Block { header: header.clone(), body, witnesses: Vec::new() };
        for (id, chain) in (0..).map(ShardId).zip(&mut self.chains) {
            let receipts = receipts_toward(id, &block, &emitted);
            chain.unheard.push_back(self.state.reading(id, reference, receipts).unwrap());
        }
        self.tip = header;
    }
}

impl Chain {
    fn parent(&self, network: NetworkId) -> BlockId {
        // The genesis header names no root of its own and no reference.
        if self.header.height == Height(0) { self.header.root } else { self.header.id(network) }
    }
}

/// Plays a history and says how many requests came back, and how many withdrawals were paid.
fn play(seed: u64) -> (usize, usize) {
    let (mut world, mut dice) = (World::new(), Dice(seed));
    for _ in 0..120 {
        match dice.below(6) {
            0..=2 => world.order(&mut dice),
            3 | 4 => {
                let (shard, hears) = (dice.below(SHARDS.into()), dice.below(4));
                world.step(usize::try_from(shard).unwrap(), usize::try_from(hears).unwrap());
            }
            _ => {
                let shards: Vec<usize> = (0..usize::from(SHARDS)).filter(|_| dice.below(3) > 0).collect();
                let turn = dice.below(2) == 0;
                world.record(&shards, turn);
            }
        }
    }
    // Everything arrives.
    for _ in 0..20 {
        (0..usize::from(SHARDS)).for_each(|shard| world.step(shard, usize::MAX));
        world.record(&[0, 1], true);
    }
    assert_eq!(world.state.in_flight(), 0);
    let inside: u128 = world
        .chains
        .iter()
        .map(|chain| &chain.head.figures)
        .map(|figures| u128::from(figures.balances) + u128::from(figures.held) + u128::from(figures.burned))
        .sum();
    let registry = &world.state.registry;
    let supply = u128::from(world.network.supply());
    assert_eq!(inside + registry.stake() + u128::from(registry.burned()), supply + u128::from(registry.minted()));
    let all = world.chains[0].unheard.len();
    assert!(all <= 1);
    let mut back = 0;
    for lane in world.state.lanes.iter().filter(|(lane, _)| lane.from == ChainId::Beacon) {
        back += usize::try_from(lane.1.consumed).unwrap();
    }
    (back, world.paid)
}

#[test]
fn what_honest_shards_ask_of_the_beacon_is_recorded_and_no_unit_is_lost() {
    let ends: Vec<(usize, usize)> = (0..40).map(play).collect();
    let (back, paid) = ends.iter().fold((0, 0), |sum, end| (sum.0 + end.0, sum.1 + end.1));
    assert!(back > 100 && paid > 0, "{back} came back, {paid} were paid out: too tame a history");
}
