//! A small network for tests: shards whose chains are made by hand, certified by their real committees.
#![allow(clippy::unwrap_used, reason = "tests")]

pub(crate) mod history;

use crate::{
    Attendance, Beacon, BeaconState, Court, InvalidCrosslink, Offence, ShardRecord, Turned, draw::Bench, genesis_header,
};
use kakera_chain::{
    BlockId, Member, Slot,
    address::Address,
    application::{Application, Context},
    block::{Figures, Header, outbox_root},
    certificate::{Certificate, Finality, FinalitySignature, Seats},
    codec,
    crosslink::Crosslink,
    evidence,
    genesis::{Epochs, Fees, Genesis, GenesisAccount, GenesisValidator, Lanes, Network, Role, Staking, Timing},
    hash::{Hash, NetworkId, merkle_root},
    keys::SecretKey,
    receipt::{Lane, LaneCursor, Receipt, ReceiptAction, Reference, ReturnReason},
    store::{Row, Store, StoreFailure, Table, Write},
    units::{ChainId, Epoch, Height, ShardId, ValidatorId},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(crate) const SHARDS: u16 = 3;
pub(crate) const SEATS: u32 = 6;
/// Each shard's allocation in [`network`].
pub(crate) const ALLOCATION: u64 = 1_000_000;
pub(crate) const LANE_BOUND: u64 = 8;
/// The beacon among shards, in [`Step`] and [`lane`].
pub(crate) const BEACON: u16 = u16::MAX;
/// What a seat costs in [`staked`].
pub(crate) const SEAT: u64 = 1_000;

pub(crate) fn secret(validator: u32) -> SecretKey {
    let mut seed = [9; 32];
    seed[..4].copy_from_slice(&validator.to_le_bytes());
    SecretKey::from_seed(seed)
}

/// A network with this registry and no accounts.
pub(crate) fn network_of(shards: u16, committee_seats: u32, registry: &[(Role, u32)]) -> Network {
    let validator = |(index, (role, seats)): (u32, &(Role, u32))| GenesisValidator {
        name: format!("v{index}"),
        role: *role,
        key: secret(index).public(),
        seats: *seats,
        endpoint: format!("127.0.0.1:{}", 4000 + index),
        owner: Address([7; 32]),
        commitment: "0c".repeat(32),
    };
    let timing = Timing { slot_ms: 200, delay_ms: 40, heartbeat_slots: 16 };
    let genesis = Genesis {
        name: "sample".into(),
        genesis_time_ms: 1,
        seed: "11".repeat(32),
        shards,
        committee_seats,
        beacon: timing,
        shard: timing,
        fees: Fees { block_gas: 1_000_000, block_bytes: 65_536, base_fee: 1, receipt_gas_percent: 50 },
        lanes: Lanes { bound: LANE_BOUND, lifetime_slots: 1000 },
        epochs: None,
        staking: None,
        risk: None,
        validators: (0..).zip(registry).map(validator).collect(),
        accounts: Vec::new(),
    };
    Network { id: NetworkId(Hash([5; 32])), genesis }
}

/// One beacon validator, and for each of three shards six shard validators of one seat; each shard has one account.
pub(crate) fn network() -> Network {
    let mut registry = vec![(Role::Shard, 1); usize::from(SHARDS) * usize::try_from(SEATS).unwrap() + 2];
    registry[0] = (Role::Beacon, 1);
    let mut network = network_of(SHARDS, SEATS, &registry);
    network.genesis.accounts =
        [0x11, 0x77, 0xdd].map(|first| GenesisAccount { address: Address([first; 32]), balance: ALLOCATION }).to_vec();
    network
}

/// The same with stake: each seat costs [`SEAT`], earns at most 10 an epoch, and four seats come or go in one.
pub(crate) fn staked() -> Network {
    let mut network = network();
    let epochs =
        Epochs { slots: 8, fallback_slots: 2, rotation_per_mille: 250, beacon_seats: None, unbonding: UNBONDING };
    network.genesis.epochs = Some(epochs);
    network.genesis.staking = Some(Staking { seat: SEAT, churn_seats: 4, reward: 10, reporter_per_mille: 100 });
    network
}

/// Epochs from leaving until the stake is paid out in [`staked`].
pub(crate) const UNBONDING: u64 = 3;

/// Evidence that [`judge`] believes.
pub(crate) fn evidence(validator: ValidatorId, epoch: Epoch) -> Vec<u8> {
    codec::encode(&(validator, epoch))
}

/// Believes [`evidence`].
pub(crate) fn judge(_: &BeaconState, bytes: &[u8], _: NetworkId) -> Result<Offence, ReturnReason> {
    let (validator, epoch) = codec::decode(bytes, 12).map_err(|_| ReturnReason::InvalidEvidence)?;
    Ok(offence(validator, epoch))
}

/// What [`judge`] makes of evidence: an equivocation in shard 0.
pub(crate) fn offence(validator: ValidatorId, epoch: Epoch) -> Offence {
    Offence { validator, chain: ChainId::Shard(ShardId(0)), epoch, act: evidence::Offence::Equivocation { seq: 7 } }
}

/// The `n`th account of a shard.
pub(crate) fn account(shard: u16, n: u8) -> Address {
    let mut bytes = [n; 32];
    bytes[0] = [0x11, 0x77, 0xdd][usize::from(shard)];
    Address(bytes)
}

/// What one block of a shard does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    /// Transfers: destination and amount.
    pub(crate) sends: Vec<(u16, u64)>,
    /// Requests to the beacon.
    pub(crate) asks: Vec<ReceiptAction>,
    /// Returns: the source of what is returned and its `seq`.
    pub(crate) returns: Vec<(u16, u64)>,
    /// How many receipts to take from each source.
    pub(crate) takes: Vec<(u16, u64)>,
    /// What to burn.
    pub(crate) burns: u64,
    /// Transactions to claim.
    pub(crate) transactions: u32,
}

/// A beacon, the state it has recorded, and the shards' chains.
pub(crate) struct World {
    pub(crate) network: Network,
    pub(crate) beacon: Beacon,
    pub(crate) state: BeaconState,
    /// What the shards' blocks have read.
    pub(crate) reference: Reference,
    tips: Vec<Header>,
    /// The first committees, whose members a history made by hand may have let go.
    first: Vec<(Bench, Seats)>,
    /// All receipts ever emitted.
    pub(crate) lanes: BTreeMap<Lane, Vec<Receipt>>,
}

pub(crate) fn lane(from: u16, to: u16) -> Lane {
    Lane { from: chain(from), to: chain(to) }
}

fn chain(id: u16) -> ChainId {
    if id == BEACON { ChainId::Beacon } else { ChainId::Shard(ShardId(id)) }
}

impl World {
    pub(crate) fn new() -> World {
        World::of(network())
    }

    pub(crate) fn of(network: Network) -> World {
        let figures = Figures { balances: ALLOCATION, ..Figures::default() };
        let tips: Vec<Header> = (0..SHARDS)
            .map(|shard| genesis_header(ChainId::Shard(ShardId(shard)), Hash([1; 32]), figures.clone()))
            .collect();
        let beacon = Beacon::new(&network, tips.clone());
        let state = beacon.genesis().state;
        let reference = tips[0].reference;
        let seats = |record: &Arc<ShardRecord>| state.seats(&record.bench.seats(), beacon.signatures());
        let first = state.shards.iter().map(|record| (record.bench.clone(), seats(record))).collect();
        World { network, beacon, state, reference, tips, first, lanes: BTreeMap::new() }
    }

    /// The shards' genesis headers.
    pub(crate) fn genesis_headers(&self) -> Vec<Header> {
        self.beacon.genesis().state.shards.iter().map(|record| record.last.header.clone()).collect()
    }

    /// Extends a shard's chain by one block a step and makes the crosslink over them.
    pub(crate) fn extend(&mut self, shard: u16, steps: &[Step]) -> Crosslink {
        let (headers, receipts) = steps.iter().map(|step| self.block(shard, step)).unzip();
        let finality = Finality {
            chain: ChainId::Shard(ShardId(shard)),
            epoch: Epoch(0),
            root: BlockId::default(),
            height: Height(0),
            block: BlockId::default(),
        };
        let certificate = Certificate { finality, signatures: Vec::new() };
        let mut crosslink = Crosslink { shard: ShardId(shard), headers, receipts, certificate };
        self.seal(&mut crosslink);
        crosslink
    }

    fn block(&mut self, shard: u16, step: &Step) -> (Header, Vec<Receipt>) {
        let below = self.tips[usize::from(shard)].clone();
        let mut figures = Figures { transactions: step.transactions, ..below.figures.clone() };
        for (from, count) in &step.takes {
            let from_chain = chain(*from);
            let at = match figures.inbox.binary_search_by_key(&from_chain, |cursor| cursor.from) {
                Ok(at) => at,
                Err(at) => {
                    figures.inbox.insert(at, LaneCursor { from: from_chain, next: 0 });
                    at
                }
            };
            let next = figures.inbox[at].next;
            let log = self.lanes.get(&lane(*from, shard)).map_or(&[][..], Vec::as_slice);
            let taken: u64 = log
                .iter()
                .skip(usize::try_from(next).unwrap())
                .take(usize::try_from(*count).unwrap())
                .map(Receipt::amount)
                .sum();
            figures.inbox[at].next += count;
            figures.received += taken;
            figures.balances += taken;
        }
        let mut receipts = Vec::new();
        for (to, amount) in &step.sends {
            let action = ReceiptAction::Transfer {
                from: Address([1; 32]),
                to: Address([2; 32]),
                amount: *amount,
                expires_at: Slot(99),
                transaction: Hash([4; 32]),
            };
            receipts.push(self.push(shard, *to, action));
        }
        for action in &step.asks {
            receipts.push(self.push(shard, BEACON, action.clone()));
        }
        for (source, original) in &step.returns {
            let returned = &self.lanes[&lane(*source, shard)][usize::try_from(*original).unwrap()];
            let action = ReceiptAction::Return {
                original: *original,
                to: Address([1; 32]),
                amount: returned.amount(),
                reason: ReturnReason::Expired,
                transaction: Hash([4; 32]),
            };
            receipts.push(self.push(shard, *source, action));
        }
        let sent: u64 = receipts.iter().map(Receipt::amount).sum();
        figures.sent += sent;
        figures.burned += step.burns;
        figures.balances = figures.balances.saturating_sub(sent + step.burns);
        let record = &self.state.shards[usize::from(shard)];
        let header = Header {
            root: record.root,
            epoch: record.era,
            reference: self.reference,
            parent: below.id(self.network.id),
            height: below.height.next(),
            slot: Slot(below.slot.0 + 1),
            outbox_root: outbox_root(&receipts),
            state_root: Hash([u8::try_from(below.height.0 % 200).unwrap(); 32]),
            body_root: merkle_root::<Vec<u8>>(&[]),
            figures,
            ..below
        };
        self.tips[usize::from(shard)] = header.clone();
        (header, receipts)
    }

    fn push(&mut self, from: u16, to: u16, action: ReceiptAction) -> Receipt {
        let log = self.lanes.entry(lane(from, to)).or_default();
        let receipt = Receipt { lane: lane(from, to), seq: log.len() as u64, action };
        log.push(receipt.clone());
        receipt
    }

    /// Makes a changed crosslink consistent again: outbox roots, parents and the certificate, as a captured committee
    /// could.
    pub(crate) fn seal(&self, crosslink: &mut Crosslink) {
        let mut below = None;
        for (header, receipts) in crosslink.headers.iter_mut().zip(&crosslink.receipts) {
            header.outbox_root = outbox_root(receipts);
            header.parent = below.unwrap_or(header.parent);
            below = Some(header.id(self.network.id));
        }
        crosslink.certificate = self.certificate(crosslink, SEATS);
    }

    /// The last header's certificate by the first `signers` members.
    pub(crate) fn certificate(&self, crosslink: &Crosslink, signers: u32) -> Certificate {
        let finality = Finality::of(crosslink.headers.last().unwrap(), self.network.id);
        let seats = self.seats(crosslink.shard);
        let sign = |(member, validator): (u16, &ValidatorId)| {
            let key = secret(validator.0);
            let signed = FinalitySignature::sign(finality, Member(member), &key, self.network.id);
            (signed.signer, signed.signature)
        };
        let signers = usize::try_from(signers).unwrap();
        Certificate { finality, signatures: (0..).zip(&seats.validators).take(signers).map(sign).collect() }
    }

    /// The committee of the era that a shard is in.
    pub(crate) fn seats(&self, shard: ShardId) -> Seats {
        let record = self.state.shard(shard).unwrap();
        let (bench, seats) = &self.first[usize::from(shard.0)];
        if record.bench == *bench {
            return seats.clone();
        }
        self.state.seats(&record.bench.seats(), self.beacon.signatures())
    }

    /// Checks and records; what the beacon emits is appended to its lanes.
    pub(crate) fn record(&mut self, crosslink: Crosslink) -> Result<(), InvalidCrosslink> {
        let sound = self.beacon.examine(&self.state, crosslink)?;
        let court = Court { network: self.network.id, judge: &judge };
        let emitted = self.state.record(&sound, &court)?;
        self.append(emitted);
        Ok(())
    }

    /// A shard goes on from what is recorded of it: its blocks above are lost, and what they emitted.
    pub(crate) fn forget_unrecorded(&mut self, shard: u16) {
        self.tips[usize::from(shard)] = self.state.shards[usize::from(shard)].last.header.clone();
        for (lane, log) in self.lanes.iter_mut().filter(|(lane, _)| lane.from == chain(shard)) {
            let recorded = self.state.lane(lane).map_or(0, crate::LaneLog::recorded);
            log.truncate(usize::try_from(recorded).unwrap());
        }
    }

    /// The beacon state turns to an epoch.
    pub(crate) fn turn(&mut self, epoch: Epoch, seated: &BTreeSet<ValidatorId>, attendance: &Attendance) -> Turned {
        self.state.epoch = epoch;
        let (turned, emitted) = self.state.turn_registry(epoch, seated, attendance);
        self.append(emitted);
        turned
    }

    /// All receipts that the beacon ever emitted toward a shard.
    pub(crate) fn answers(&self, shard: u16) -> &[Receipt] {
        self.lanes.get(&lane(BEACON, shard)).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn append(&mut self, emitted: Vec<Receipt>) {
        for receipt in emitted {
            let log = self.lanes.entry(receipt.lane).or_default();
            assert_eq!(receipt.seq, log.len() as u64, "the beacon's own lanes have no gaps");
            log.push(receipt);
        }
    }

    /// Extends and records, which must hold.
    pub(crate) fn advance(&mut self, shard: u16, steps: &[Step]) {
        let crosslink = self.extend(shard, steps);
        assert_eq!(self.record(crosslink), Ok(()));
    }
}

pub(crate) fn context(height: u64) -> Context {
    let reference = Reference { height: Height(0), slot: Slot(0), id: BlockId::default() };
    let (chain, proposer, validator) = (ChainId::Beacon, Member(0), ValidatorId(0));
    Context { chain, height: Height(height), slot: Slot(height), proposer, validator, reference }
}

/// A store in memory.
#[derive(Debug, Default)]
pub(crate) struct Memory(pub(crate) BTreeMap<(Table, Vec<u8>), Vec<u8>>);

impl Memory {
    pub(crate) fn persist(&mut self, writes: Vec<Write>) {
        for write in writes {
            match write {
                Write::Put { table, key, value } => drop(self.0.insert((table, key), value)),
                Write::Delete { table, key } => drop(self.0.remove(&(table, key))),
                Write::Clear { table } => self.0.retain(|(other, _), _| *other != table),
                Write::Below { table, key } => self.0.retain(|(other, at), _| *other != table || *at >= key),
            }
        }
    }
}

impl Store for Memory {
    fn load(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreFailure> {
        Ok(self.0.get(&(table, key.to_vec())).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<Row>, StoreFailure> {
        let rows = self.0.range((table, from.to_vec())..).take_while(|((other, _), _)| *other == table);
        Ok(rows.take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn last(&self, table: Table) -> Result<Option<Row>, StoreFailure> {
        Ok(self.scan(table, &[], usize::MAX)?.pop())
    }
}
