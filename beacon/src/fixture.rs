//! A small network for tests: shards whose chains are made by hand, certified by their real committees.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::{Beacon, BeaconState, InvalidCrosslink, genesis_header};
use kakera_chain::{
    BlockId, Member, Slot,
    address::Address,
    application::{Application, Context},
    block::{Figures, Header, outbox_root},
    certificate::{Certificate, Finality, FinalitySignature},
    crosslink::Crosslink,
    genesis::{Fees, Genesis, GenesisAccount, GenesisValidator, Lanes, Network, Role, Timing},
    hash::{Hash, NetworkId, merkle_root},
    keys::SecretKey,
    receipt::{Lane, LaneCursor, Receipt, ReceiptAction, Reference, ReturnReason},
    store::{Row, Store, StoreFailure, Table, Write},
    units::{ChainId, Height, ShardId},
};
use std::collections::BTreeMap;

pub(crate) const SHARDS: u16 = 3;
pub(crate) const SEATS: u32 = 6;
/// Each shard's allocation in [`network`].
pub(crate) const ALLOCATION: u64 = 1_000_000;
pub(crate) const LANE_BOUND: u64 = 8;

fn secret(validator: u32) -> SecretKey {
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

/// What one block of a shard does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    /// Transfers: destination and amount.
    pub(crate) sends: Vec<(u16, u64)>,
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
    tips: Vec<Header>,
    /// All receipts ever emitted.
    pub(crate) lanes: BTreeMap<Lane, Vec<Receipt>>,
}

pub(crate) fn lane(from: u16, to: u16) -> Lane {
    Lane { from: ChainId::Shard(ShardId(from)), to: ChainId::Shard(ShardId(to)) }
}

impl World {
    pub(crate) fn new() -> World {
        let network = network();
        let figures = Figures { balances: ALLOCATION, ..Figures::default() };
        let tips: Vec<Header> = (0..SHARDS)
            .map(|shard| genesis_header(ChainId::Shard(ShardId(shard)), Hash([1; 32]), figures.clone()))
            .collect();
        let beacon = Beacon::new(&network, tips.clone());
        let state = beacon.genesis().state;
        World { network, beacon, state, tips, lanes: BTreeMap::new() }
    }

    /// Extends a shard's chain by one block a step and makes the crosslink over them.
    pub(crate) fn extend(&mut self, shard: u16, steps: &[Step]) -> Crosslink {
        let (headers, receipts) = steps.iter().map(|step| self.block(shard, step)).unzip();
        let finality = Finality {
            chain: ChainId::Shard(ShardId(shard)),
            epoch: self.state.epoch,
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
            let from_chain = ChainId::Shard(ShardId(*from));
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
        let root = self.state.shards[usize::from(shard)].root;
        let header = Header {
            root,
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
        log.push(receipt);
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
        let seats = self.beacon.committees().shard(crosslink.shard).unwrap();
        let sign = |(member, validator): (u16, &kakera_chain::units::ValidatorId)| {
            let key = secret(validator.0);
            let signed = FinalitySignature::sign(finality, Member(member), &key, self.network.id);
            (signed.signer, signed.signature)
        };
        let signers = usize::try_from(signers).unwrap();
        Certificate { finality, signatures: (0..).zip(&seats.validators).take(signers).map(sign).collect() }
    }

    /// Checks and records.
    pub(crate) fn record(&mut self, crosslink: Crosslink) -> Result<(), InvalidCrosslink> {
        let sound = self.beacon.examine(&self.state, crosslink)?;
        self.state.record(&sound)
    }

    /// Extends and records, which must hold.
    pub(crate) fn advance(&mut self, shard: u16, steps: &[Step]) {
        let crosslink = self.extend(shard, steps);
        assert_eq!(self.record(crosslink), Ok(()));
    }
}

pub(crate) fn context(height: u64) -> Context {
    let reference = Reference { height: Height(0), slot: Slot(0), id: BlockId::default() };
    Context { chain: ChainId::Beacon, height: Height(height), slot: Slot(height), proposer: Member(0), reference }
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
