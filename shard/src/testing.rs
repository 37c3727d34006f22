//! A small world for tests: shards that really execute, and a hand-built beacon chain that certifies their crosslinks.
#![allow(clippy::unwrap_used, reason = "tests")]

pub(crate) mod events;
mod fold;
mod store;

pub(crate) use fold::Fold;
pub(crate) use store::MemoryStore;

use crate::{
    account::Account,
    action::Action,
    beacon_view::first_reading,
    pool::PoolLimits,
    rules::Rules,
    shard::{Input, Reply, Shard, ShardConfig},
    state::ShardState,
    transaction::{SignedTransaction, Transaction},
};
use kakera_chain::{
    BlockId, Member, Slot,
    address::Address,
    application::{Application, Change, Context, Executed, Proposal, ReferenceStatus},
    block::{Block, Figures, Header, outbox_root},
    certificate::{Certificate, Finality},
    codec,
    crosslink::{BeaconItem, Crosslink},
    era::Era,
    genesis::{Epochs, Fees, Genesis, GenesisAccount, Lanes, Network, Staking, Timing},
    hash::{Hash, NetworkId, merkle_root},
    keys::SecretKey,
    lanes::Reading,
    receipt::{Receipt, Reference},
    signatures::Signatures,
    store::Write,
    units::{ChainId, Epoch, Height, ShardId, Timestamp, ValidatorId},
};
use std::sync::Arc;

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
    pub(crate) epochs: Option<Epochs>,
    pub(crate) staking: Option<Staking>,
    pub(crate) pool: PoolLimits,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            shards: 2,
            balance: 1_000_000_000,
            fees: Fees { block_gas: 1_000_000, block_bytes: 65_536, base_fee: 10, receipt_gas_percent: 50 },
            lanes: Lanes { bound: 100, lifetime_slots: 1_000 },
            epochs: None,
            staking: None,
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
            epochs: self.epochs,
            staking: self.staking,
            risk: None,
            validators: Vec::new(),
            accounts: accounts.map(account).collect(),
        };
        Network { id: NetworkId(Hash([0x77; 32])), genesis }
    }
}

/// A beacon chain that certifies whatever it is given, and what each shard reads of it.
pub(crate) struct Beacon {
    pub(crate) network: NetworkId,
    pub(crate) tip: Reference,
    pub(crate) folds: Vec<Fold>,
}

impl Beacon {
    pub(crate) fn new(folds: Vec<Fold>, network: NetworkId) -> Beacon {
        Beacon { network, tip: beacon_genesis(), folds }
    }

    /// The next block, `slots` later, which emits these receipts: what it says to each shard.
    pub(crate) fn readings(&mut self, slots: u64, crosslinks: Vec<Crosslink>, emitted: &[Receipt]) -> Vec<Reading> {
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
            outbox_root: outbox_root(emitted),
            figures: Figures::default(),
        };
        self.tip = Reference { height: header.height, slot: header.slot, id: header.id(self.network) };
        let block = Block { header, body, witnesses: Vec::new() };
        self.folds.iter_mut().map(|fold| fold.read(&block, emitted)).collect()
    }
}

/// The beacon's genesis block, as a reference.
pub(crate) fn beacon_genesis() -> Reference {
    Reference { height: Height(0), slot: Slot(0), id: BEACON_GENESIS }
}

/// A shard's genesis block, near enough.
fn genesis_header(network: &Network, shard: ShardId) -> Header {
    let rules = Rules::of(network, shard);
    let state = ShardState::genesis(network, &rules);
    Header {
        chain: ChainId::Shard(shard),
        epoch: Epoch(0),
        root: BlockId::default(),
        parent: BlockId::default(),
        height: Height(0),
        slot: Slot(0),
        proposer: Member(0),
        reference: beacon_genesis(),
        state_root: state.root(),
        body_root: Hash::ZERO,
        witness_root: Hash::ZERO,
        outbox_root: Hash::ZERO,
        figures: state.figures(&rules, 0, state.base_fee()),
    }
}

/// A certified block, and how to take it back.
#[derive(Clone)]
pub(crate) struct Done {
    pub(crate) block: Block,
    /// What was before it.
    pub(crate) below: (Header, Executed<ShardState>),
    /// The writes that take it back.
    pub(crate) undo: Vec<Write>,
    /// Receipts it emitted.
    pub(crate) receipts: Vec<Receipt>,
}

/// One shard chain: a proposer with its store, and a validator that recomputes everything.
pub(crate) struct Chain {
    pub(crate) config: ShardConfig,
    pub(crate) shard: Shard,
    pub(crate) validator: Shard,
    pub(crate) store: MemoryStore,
    pub(crate) era: Era,
    pub(crate) head: Executed<ShardState>,
    pub(crate) header: Header,
    /// All blocks, from the first.
    pub(crate) blocks: Vec<Done>,
    pub(crate) unrecorded: Vec<(Header, Vec<Receipt>)>,
    /// Every receipt ever emitted.
    pub(crate) emitted: Vec<Receipt>,
}

impl Chain {
    fn new(config: ShardConfig) -> Chain {
        let shard = Shard::new(config.clone(), None).unwrap();
        let (head, header) = (shard.genesis(), genesis_header(&config.network, config.shard));
        let era = Era {
            network: config.network.id,
            chain: header.chain,
            epoch: Epoch(0),
            root: header.id(config.network.id),
        };
        Chain {
            validator: shard.clone(),
            shard,
            store: MemoryStore::default(),
            era,
            head,
            header,
            blocks: Vec::new(),
            unrecorded: Vec::new(),
            emitted: Vec::new(),
            config,
        }
    }

    pub(crate) fn id(&self) -> BlockId {
        self.header.id(self.config.network.id)
    }

    pub(crate) fn context(&self, reference: Reference) -> Context {
        Context {
            chain: self.header.chain,
            height: self.header.height.next(),
            slot: Slot(self.header.slot.0 + 1),
            proposer: Member(1),
            validator: ValidatorId(1),
            reference,
        }
    }

    /// What is proposed above the head now.
    pub(crate) fn proposal(&mut self) -> Option<Proposal<ShardState>> {
        self.shard.propose(&self.head.state, &self.context(self.header.reference), false)
    }

    pub(crate) fn has_work(&self) -> bool {
        self.shard.has_work(&self.head.state, &self.header.reference, self.header.slot)
    }

    /// Proposes, validates and certifies the next block.
    pub(crate) fn step(&mut self) -> Block {
        let proposal = self.proposal().expect("a reference of this era is known");
        let status = self.validator.reference_status(&proposal.reference, &self.header.reference);
        assert_eq!(status, ReferenceStatus::Known);
        let context = self.context(proposal.reference);
        let again = self.validator.execute(&self.head.state, &context, &proposal.body, &proposal.witnesses).unwrap();
        let executed = proposal.executed;
        assert_eq!((again.state_root, &again.receipts), (executed.state_root, &executed.receipts));
        assert_eq!(again.figures, executed.figures);
        let header = Header {
            chain: self.header.chain,
            epoch: self.era.epoch,
            root: self.era.root,
            parent: self.id(),
            height: context.height,
            slot: context.slot,
            proposer: context.proposer,
            reference: proposal.reference,
            state_root: executed.state_root,
            body_root: merkle_root(&proposal.body),
            witness_root: merkle_root(&proposal.witnesses),
            outbox_root: outbox_root(&executed.receipts),
            figures: executed.figures.clone(),
        };
        let block = Block { header, body: proposal.body, witnesses: proposal.witnesses };
        self.certify(block.clone(), executed, &again);
        block
    }

    /// Executes a block that was certified before, and certifies it.
    pub(crate) fn follow(&mut self, block: Block) {
        let header = &block.header;
        assert_eq!(header.parent, self.id());
        let status = self.shard.reference_status(&header.reference, &self.header.reference);
        assert_eq!(status, ReferenceStatus::Known);
        let context = self.context(header.reference);
        let execute =
            |shard: &mut Shard| shard.execute(&self.head.state, &context, &block.body, &block.witnesses).unwrap();
        let (executed, again) = (execute(&mut self.shard), execute(&mut self.validator));
        assert_eq!((executed.state_root, &executed.figures), (header.state_root, &header.figures));
        assert_eq!(outbox_root(&executed.receipts), header.outbox_root);
        self.certify(block, executed, &again);
    }

    fn certify(&mut self, block: Block, executed: Executed<ShardState>, again: &Executed<ShardState>) {
        let id = block.header.id(self.config.network.id);
        let Change { writes, undo } = self.shard.certified(id, &block, &self.head.state, &executed);
        self.validator.certified(id, &block, &self.head.state, again);
        self.store.write(writes);
        self.emitted.extend(executed.receipts.iter().cloned());
        self.unrecorded.push((block.header.clone(), executed.receipts.clone()));
        let below =
            (std::mem::replace(&mut self.header, block.header.clone()), std::mem::replace(&mut self.head, executed));
        self.blocks.push(Done { block, below, undo, receipts: self.head.receipts.clone() });
    }

    /// Takes the newest `count` blocks back; returns them, the oldest first.
    pub(crate) fn undo(&mut self, count: usize) -> Vec<Block> {
        let undone = self.blocks.split_off(self.blocks.len() - count);
        for done in undone.iter().rev() {
            self.store.write(done.undo.clone());
            self.emitted.truncate(self.emitted.len() - done.receipts.len());
            (self.header, self.head) = done.below.clone();
        }
        self.unrecorded.retain(|(header, _)| header.height <= self.header.height);
        self.shard.undone(&self.header, &self.head.state);
        self.validator.undone(&self.header, &self.head.state);
        undone.into_iter().map(|done| done.block).collect()
    }

    /// Goes on in the era that the newest reading names, with the head for its root.
    pub(crate) fn enter(&mut self) {
        self.era = Era { epoch: self.shard.view().named_era(), root: self.id(), ..self.era };
        self.shard.enter(&self.era);
        self.validator.enter(&self.era);
    }

    /// A second process on the same store.
    pub(crate) fn restarted(&self) -> (Shard, ShardState) {
        let mut again = Shard::new(self.config.clone(), Some(&self.store)).unwrap();
        let state = again.restore(&self.header, &self.store).unwrap().unwrap_or_else(|| again.genesis().state);
        again.enter(&self.era);
        (again, state)
    }

    pub(crate) fn read(&mut self, readings: Vec<Reading>) -> Reply {
        let input = Input::Beacon(readings);
        self.validator.handle(NOW, &self.head.state, input.clone());
        let handled = self.shard.handle(NOW, &self.head.state, input);
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
        let genesis = |shard| genesis_header(&network, shard).id(network.id);
        let config = |shard| ShardConfig {
            network: Arc::clone(&network),
            shard,
            first: first_reading(BEACON_GENESIS, genesis(shard)),
            signatures: Signatures::default(),
            pool: setup.pool,
        };
        let shards = || (0..setup.shards).map(ShardId);
        let folds = shards().map(|shard| Fold::genesis(Rules::of(&network, shard), genesis(shard))).collect();
        let beacon = Beacon::new(folds, network.id);
        let chains = shards().map(|shard| Chain::new(config(shard))).collect();
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
        self.record_emitting(slots, &[]);
    }

    /// The same in a block that emits receipts itself.
    pub(crate) fn record_emitting(&mut self, slots: u64, emitted: &[Receipt]) {
        let links = self.chains.iter_mut().filter_map(Chain::crosslink).collect();
        self.beacon_block(slots, links, emitted);
    }

    /// Records what one shard has certified.
    pub(crate) fn record_one(&mut self, shard: u16) {
        let links = self.chains[usize::from(shard)].crosslink().into_iter().collect();
        self.beacon_block(1, links, &[]);
    }

    /// A beacon block, `slots` later, that records nothing.
    pub(crate) fn pass(&mut self, slots: u64) {
        self.beacon_block(slots, Vec::new(), &[]);
    }

    fn beacon_block(&mut self, slots: u64, links: Vec<Crosslink>, emitted: &[Receipt]) {
        let readings = self.beacon.readings(slots, links, emitted);
        for (chain, reading) in self.chains.iter_mut().zip(readings) {
            let reply = chain.read(vec![reading]);
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
