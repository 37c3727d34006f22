//! A small world for tests: shards that really execute, and a hand-built beacon chain that certifies their crosslinks.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::{
    account::Account,
    action::Action,
    pool::PoolLimits,
    shard::{Input, Reply, Shard, ShardConfig},
    state::ShardState,
    transaction::{SignedTransaction, Transaction},
};
use kakera_chain::{
    BlockId, Committee, Member, Slot,
    address::Address,
    application::{Application, CertifiedBlocks, Context, Executed, ReferenceStatus},
    block::{Block, Figures, Header, outbox_root},
    certificate::{Certificate, Finality, FinalitySignature, Seats},
    codec,
    crosslink::{BeaconItem, Crosslink},
    genesis::{Fees, Genesis, GenesisAccount, Lanes, Network, Timing},
    hash::{Hash, NetworkId, merkle_root},
    keys::SecretKey,
    receipt::{Receipt, Reference},
    store::{Row, Store, StoreFailure, Table, Write},
    units::{ChainId, Epoch, Height, ShardId, Timestamp, ValidatorId},
};
use std::{collections::BTreeMap, sync::Arc};

pub(crate) const BEACON_GENESIS: BlockId = BlockId([0xbe; 32]);
pub(crate) const NOW: Timestamp = Timestamp(0);
pub(crate) const ACCOUNTS: u64 = 4;

/// The `n`th test key whose account lives on `shard` of `shards`.
pub(crate) fn key_on(shard: u16, n: u64, shards: u16) -> SecretKey {
    let key = |seed: u64| {
        let mut bytes = [9; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        SecretKey::from_seed(bytes)
    };
    (0..).map(key).filter(|key| address(key).shard(shards) == ShardId(shard)).nth(n as usize).unwrap()
}

pub(crate) fn address(key: &SecretKey) -> Address {
    Address::of(&key.public())
}

/// What a test network is made of.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) shards: u16,
    pub(crate) balance: u64,
    pub(crate) fees: Fees,
    pub(crate) lanes: Lanes,
    pub(crate) pool: PoolLimits,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            shards: 2,
            balance: 1_000_000_000,
            fees: Fees { block_gas: 1_000_000, block_bytes: 65_536, base_fee: 10, receipt_gas_percent: 50 },
            lanes: Lanes { bound: 100, lifetime_slots: 1_000 },
            pool: PoolLimits::default(),
        }
    }
}

impl Setup {
    pub(crate) fn network(&self) -> Network {
        let timing = Timing { slot_ms: 200, delay_ms: 40, heartbeat_slots: 16 };
        let accounts = (0..self.shards).flat_map(|shard| (0..ACCOUNTS).map(move |n| (shard, n)));
        let account =
            |(shard, n)| GenesisAccount { address: address(&key_on(shard, n, self.shards)), balance: self.balance };
        let genesis = Genesis {
            name: "test".into(),
            genesis_time_ms: 0,
            seed: "11".repeat(32),
            shards: self.shards,
            committee_seats: 1,
            beacon: timing,
            shard: timing,
            fees: self.fees,
            lanes: self.lanes,
            validators: Vec::new(),
            accounts: accounts.map(account).collect(),
        };
        Network { id: NetworkId(Hash([0x77; 32])), genesis }
    }
}

/// A beacon chain of four members that certifies whatever it is given.
pub(crate) struct Beacon {
    pub(crate) network: NetworkId,
    pub(crate) keys: Vec<SecretKey>,
    pub(crate) tip: Reference,
}

impl Beacon {
    pub(crate) fn new(network: NetworkId) -> Beacon {
        let keys = (0..4).map(|n| SecretKey::from_seed([n + 1; 32])).collect();
        Beacon { network, keys, tip: Reference { height: Height(0), slot: Slot(0), id: BEACON_GENESIS } }
    }

    pub(crate) fn seats(&self) -> Seats {
        Seats {
            keys: self.keys.iter().map(SecretKey::public).collect(),
            validators: (0..4).map(ValidatorId).collect(),
            committee: Committee::new(vec![1; 4]).unwrap(),
            signatures: Default::default(),
        }
    }

    /// The next block, `slots` later.
    pub(crate) fn block(&mut self, slots: u64, crosslinks: Vec<Crosslink>) -> Block {
        let body: Vec<Vec<u8>> =
            crosslinks.into_iter().map(|link| codec::encode(&BeaconItem::Crosslink(Box::new(link)))).collect();
        let header = Header {
            chain: ChainId::Beacon,
            epoch: Epoch(0),
            root: BEACON_GENESIS,
            parent: self.tip.id,
            height: self.tip.height.next(),
            slot: Slot(self.tip.slot.0 + slots),
            proposer: Member(0),
            reference: self.tip,
            state_root: Hash::ZERO,
            body_root: merkle_root(&body),
            witness_root: Hash::ZERO,
            outbox_root: Hash::ZERO,
            figures: Figures::default(),
        };
        self.tip = Reference { height: header.height, slot: header.slot, id: header.id(self.network) };
        Block { header, body, witnesses: Vec::new() }
    }

    pub(crate) fn certify(&self, blocks: Vec<Block>, signers: usize) -> CertifiedBlocks {
        let finality = Finality::of(&blocks.last().unwrap().header, self.network);
        let sign = |(n, key)| (Member(n), FinalitySignature::sign(finality, Member(n), key, self.network).signature);
        let signatures = (0..).zip(&self.keys).take(signers).map(sign).collect();
        CertifiedBlocks { blocks, certificate: Certificate { finality, signatures } }
    }
}

/// A store in memory.
#[derive(Clone, Default)]
pub(crate) struct MemoryStore {
    pub(crate) rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

impl MemoryStore {
    pub(crate) fn write(&mut self, writes: Vec<Write>) {
        for write in writes {
            match write {
                Write::Put { table, key, value } => self.rows.insert((table, key), value),
                Write::Delete { table, key } => self.rows.remove(&(table, key)),
            };
        }
    }
}

impl Store for MemoryStore {
    fn load(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreFailure> {
        Ok(self.rows.get(&(table, key.to_vec())).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<Row>, StoreFailure> {
        let rows = self.rows.range((table, from.to_vec())..).take_while(|((other, _), _)| *other == table);
        Ok(rows.take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn last(&self, table: Table) -> Result<Option<Row>, StoreFailure> {
        let row = self.rows.iter().rfind(|((other, _), _)| *other == table);
        Ok(row.map(|((_, key), value)| (key.clone(), value.clone())))
    }
}

/// One shard chain: a proposer with its store, and a validator that recomputes everything.
pub(crate) struct Chain {
    pub(crate) config: ShardConfig,
    pub(crate) shard: Shard,
    pub(crate) validator: Shard,
    pub(crate) store: MemoryStore,
    pub(crate) head: Executed<ShardState>,
    pub(crate) header: Header,
    pub(crate) unrecorded: Vec<(Header, Vec<Receipt>)>,
    /// Every receipt ever emitted.
    pub(crate) emitted: Vec<Receipt>,
}

impl Chain {
    fn new(config: ShardConfig) -> Chain {
        let shard = Shard::new(config.clone(), None).unwrap();
        let head = shard.genesis();
        let header = Header {
            chain: ChainId::Shard(config.shard),
            epoch: Epoch(0),
            root: BlockId::default(),
            parent: BlockId::default(),
            height: Height(0),
            slot: Slot(0),
            proposer: Member(0),
            reference: shard.tip(),
            state_root: head.state_root,
            body_root: Hash::ZERO,
            witness_root: Hash::ZERO,
            outbox_root: Hash::ZERO,
            figures: head.figures.clone(),
        };
        Chain {
            validator: shard.clone(),
            shard,
            store: MemoryStore::default(),
            head,
            header,
            unrecorded: Vec::new(),
            emitted: Vec::new(),
            config,
        }
    }

    pub(crate) fn context(&self, reference: Reference) -> Context {
        Context {
            chain: self.header.chain,
            height: self.header.height.next(),
            slot: Slot(self.header.slot.0 + 1),
            proposer: Member(1),
            reference,
        }
    }

    /// Proposes, validates and certifies the next block.
    pub(crate) fn step(&mut self) -> Block {
        let proposal = self.shard.propose(&self.head.state, &self.context(self.header.reference), false);
        let status = self.validator.reference_status(&proposal.reference, &self.header.reference);
        assert_eq!(status, ReferenceStatus::Known);
        let context = self.context(proposal.reference);
        let again = self.validator.execute(&self.head.state, &context, &proposal.body, &proposal.witnesses).unwrap();
        let executed = proposal.executed;
        assert_eq!((again.state_root, &again.receipts), (executed.state_root, &executed.receipts));
        assert_eq!(again.figures, executed.figures);
        let header = Header {
            parent: self.header.id(self.config.network.id),
            height: context.height,
            slot: context.slot,
            proposer: context.proposer,
            reference: proposal.reference,
            state_root: executed.state_root,
            body_root: merkle_root(&proposal.body),
            witness_root: merkle_root(&proposal.witnesses),
            outbox_root: outbox_root(&executed.receipts),
            figures: executed.figures.clone(),
            ..self.header.clone()
        };
        let block = Block { header, body: proposal.body, witnesses: proposal.witnesses };
        let id = block.header.id(self.config.network.id);
        let writes = self.shard.certified(id, &block, &self.head.state, &executed);
        self.validator.certified(id, &block, &self.head.state, &again);
        self.store.write(writes);
        self.emitted.extend(&executed.receipts);
        self.unrecorded.push((block.header.clone(), executed.receipts.clone()));
        self.header = block.header.clone();
        self.head = executed;
        block
    }

    pub(crate) fn take_beacon(&mut self, blocks: &CertifiedBlocks) -> Reply {
        self.validator.handle(NOW, &self.head.state, Input::Beacon(blocks.clone()));
        let handled = self.shard.handle(NOW, &self.head.state, Input::Beacon(blocks.clone()));
        self.store.write(handled.writes);
        handled.reply
    }

    pub(crate) fn crosslink(&mut self) -> Option<Crosslink> {
        let (headers, receipts): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unrecorded).into_iter().unzip();
        let finality = Finality::of(headers.last()?, self.config.network.id);
        let certificate = Certificate { finality, signatures: Vec::new() };
        Some(Crosslink { shard: self.config.shard, headers, receipts, certificate })
    }

    pub(crate) fn submit(&mut self, signed: SignedTransaction) -> Reply {
        self.shard.handle(NOW, &self.head.state, Input::Submit(signed)).reply
    }

    pub(crate) fn account(&self, address: &Address) -> Account {
        self.head.state.account(address)
    }
}

/// Shards and their beacon.
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) beacon: Beacon,
    pub(crate) chains: Vec<Chain>,
}

impl World {
    pub(crate) fn new(setup: Setup) -> World {
        let network = Arc::new(setup.network());
        let beacon = Beacon::new(network.id);
        let config = |shard| ShardConfig {
            network: Arc::clone(&network),
            shard: ShardId(shard),
            beacon_seats: beacon.seats(),
            beacon_genesis: BEACON_GENESIS,
            pool: setup.pool,
        };
        let chains = (0..setup.shards).map(|shard| Chain::new(config(shard))).collect();
        World { setup, beacon, chains }
    }

    pub(crate) fn key(&self, shard: u16, n: u64) -> SecretKey {
        key_on(shard, n, self.setup.shards)
    }

    pub(crate) fn address(&self, shard: u16, n: u64) -> Address {
        address(&self.key(shard, n))
    }

    /// A transaction of test account (`shard`, `n`) with the next nonce of the head's state.
    pub(crate) fn order(&self, shard: u16, n: u64, action: Action) -> Transaction {
        let key = self.key(shard, n);
        Transaction {
            network: self.beacon.network,
            sender: key.public(),
            nonce: self.chains[usize::from(shard)].account(&address(&key)).nonce,
            valid_until: Slot(u64::MAX),
            gas_limit: 100_000,
            max_fee: 1_000,
            tip: 1,
            action,
        }
    }

    /// Submits a transfer from test account (`shard`, `n`).
    pub(crate) fn send(&mut self, shard: u16, n: u64, to: Address, amount: u64) -> Reply {
        let order = self.order(shard, n, Action::Transfer { to, amount });
        let key = self.key(shard, n);
        self.chains[usize::from(shard)].submit(order.sign(&key))
    }

    /// Records everything certified in one beacon block, `slots` later, and tells all shards.
    pub(crate) fn record(&mut self, slots: u64) {
        let links = self.chains.iter_mut().filter_map(Chain::crosslink).collect();
        let block = self.beacon.block(slots, links);
        let certified = self.beacon.certify(vec![block], 3);
        for chain in &mut self.chains {
            let reply = chain.take_beacon(&certified);
            assert_eq!(reply, Reply::BeaconAdvanced(self.beacon.tip.height));
        }
    }

    pub(crate) fn step_all(&mut self) {
        self.chains.iter_mut().for_each(|chain| {
            chain.step();
        });
    }

    /// Value is neither made nor lost: on the shards, and under way.
    pub(crate) fn assert_conserved(&self) {
        let mut total = 0i128;
        for chain in &self.chains {
            let meta = &chain.head.state.meta;
            let balances: u128 = chain.head.state.accounts.iter().map(|(_, account)| u128::from(account.balance)).sum();
            assert_eq!(balances, u128::from(meta.balances));
            assert_eq!(meta.held, meta.tips.values().sum::<u64>());
            assert!(meta.conserves(self.chains[0].config.network.allocation(chain.config.shard)));
            let parts = [meta.balances, meta.held, meta.burned, meta.sent];
            total += parts.iter().map(|part| i128::from(*part)).sum::<i128>() - i128::from(meta.received);
        }
        assert_eq!(total, i128::from(self.chains[0].config.network.supply()));
    }
}
