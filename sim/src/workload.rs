//! Clients: they order transfers, usual, odd and wrong ones, try again when they hear nothing, and remember what they
//! ordered.

mod orders;
mod requests;

pub use orders::{Fate, Order, Payment, Request};
pub use requests::{Report, Requests};

use crate::{
    clock::Moment,
    node::{Node, NodeId},
    random::Random,
    rules::Certified,
    scenario::{Load, Scenario},
    setup::Setup,
};
use kakera_beacon::BeaconState;
use kakera_chain::{
    Slot,
    address::Address,
    hash::Hash,
    receipt::ReceiptAction,
    replica::Phase,
    units::{ChainId, Epoch, Height, ShardId},
};
use kakera_shard::{Action, ConsumedOutcome, Reply, ShardState, SignedTransaction, Transaction};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// How often clients look at what is due, in microseconds.
const TICK_US: u64 = 50_000;
/// Gas that clients allow; more than any of their orders uses.
const GAS_LIMIT: u64 = 100_000;

/// All clients of a world.
pub struct Workload {
    load: Load,
    random: Random,
    /// Everything ordered.
    pub orders: Vec<Order>,
    by_id: BTreeMap<Hash, usize>,
    /// Orders whose first step is not certified, by the time of their last try.
    open: BTreeSet<usize>,
    /// Next nonce of each account, by shard and place.
    nonces: Vec<Vec<u64>>,
    /// Thousandths of an order that each shard's clients owe.
    owed: u64,
    /// Certified heights that were looked at, by chain.
    seen: BTreeMap<ChainId, Height>,
    /// Each chain's newest era: its epoch and its root's height. Blocks of earlier eras above it are left out.
    floors: BTreeMap<ChainId, (Epoch, Height)>,
    /// Certified and not recorded, by shard: heights and orders.
    unrecorded: Vec<VecDeque<(Height, usize)>>,
    /// What is asked of the beacon.
    pub requests: Requests,
    /// What was answered otherwise than its order deserved, in words.
    pub surprises: Vec<String>,
}

impl Workload {
    /// Clients that have ordered nothing yet.
    pub fn new(scenario: &Scenario, setup: &Setup, seed: u64) -> Workload {
        Workload {
            load: scenario.load.clone(),
            random: Random::stream(seed, "workload"),
            orders: Vec::new(),
            by_id: BTreeMap::new(),
            open: BTreeSet::new(),
            nonces: setup.accounts.iter().map(|accounts| vec![0; accounts.len()]).collect(),
            owed: 0,
            seen: BTreeMap::new(),
            floors: BTreeMap::new(),
            unrecorded: setup.accounts.iter().map(|_| VecDeque::new()).collect(),
            requests: Requests::new(setup, seed),
            surprises: Vec::new(),
        }
    }

    /// The order whose transaction has this id; of those that must be refused none.
    pub fn order_of(&self, id: &Hash) -> Option<&Order> {
        self.by_id.get(id).and_then(|number| self.orders.get(*number))
    }

    /// When clients look again.
    pub fn next_at(&self, now: Moment) -> Moment {
        now.plus(TICK_US)
    }

    /// What is to be submitted now, and to which node; `more`: new orders are made.
    pub fn due(
        &mut self,
        now: Moment,
        more: bool,
        setup: &Setup,
        nodes: &[Node],
    ) -> Vec<(NodeId, usize, Arc<SignedTransaction>)> {
        let mut due = Vec::new();
        if more {
            self.bond_newcomers(setup);
            self.owed += self.load.per_second * TICK_US / 1_000;
            for _ in 0..self.owed / 1_000 {
                for shard in 0..setup.accounts.len() {
                    let made = self.orders.len();
                    self.make(now, shard, setup);
                    due.extend(made..self.orders.len());
                }
            }
            self.owed %= 1_000;
        }
        let patience = self.load.again_ms * 1_000;
        due.extend(self.open.iter().copied().filter(|order| now.since(self.orders[*order].tried) >= patience));
        due.sort_unstable();
        due.dedup();
        due.into_iter().filter_map(|order| self.submit(now, order, nodes)).collect()
    }

    fn submit(
        &mut self,
        now: Moment,
        number: usize,
        nodes: &[Node],
    ) -> Option<(NodeId, usize, Arc<SignedTransaction>)> {
        let order = &mut self.orders[number];
        order.tried = now;
        let chain = ChainId::Shard(order.shard);
        let up: Vec<NodeId> =
            (0..nodes.len()).filter(|node| nodes[*node].chain == chain && is_served_by(&nodes[*node])).collect();
        if up.is_empty() {
            return None;
        }
        // Who does not answer is not asked again at once.
        let place = order.asked.map_or_else(|| self.random.index(up.len()), |last| last + 1) % up.len();
        order.asked = Some(place);
        let to = up[place];
        Some((to, number, order.signed.clone()))
    }

    /// Makes one order of a shard's clients.
    fn make(&mut self, now: Moment, shard: usize, setup: &Setup) {
        let percent = |random: &mut Random| u8::try_from(random.below(100)).expect("below 100");
        if percent(&mut self.random) < self.load.wrong_percent {
            return self.make_wrong(now, shard, setup);
        }
        let accounts = &setup.accounts[shard];
        // The last account of each shard belongs to those that order wrongly.
        let from = self.random.index(accounts.len() - 1);
        let odd = percent(&mut self.random) < self.load.odd_percent;
        let payments: Vec<Payment> =
            if odd { self.odd_payments(shard, from, setup) } else { vec![self.payment(shard, setup)] };
        let nonce = self.nonces[shard][from];
        self.nonces[shard][from] += 1;
        let signed = self.transaction(shard, from, nonce, &payments, setup).sign(&accounts[from].1);
        self.keep(now, shard, signed, payments, Fate::Succeeds);
    }

    fn keep(&mut self, now: Moment, shard: usize, signed: SignedTransaction, payments: Vec<Payment>, fate: Fate) {
        let id = signed.transaction.id();
        let number = self.orders.len();
        if fate == Fate::Succeeds {
            self.by_id.insert(id, number);
            self.open.insert(number);
        }
        let shard = ShardId(u16::try_from(shard).expect("at most 256 shards"));
        self.orders.push(Order::new(id, shard, signed, payments, fate, now));
    }

    /// A payment to a random account: across shards as often as the load says.
    fn payment(&mut self, shard: usize, setup: &Setup) -> Payment {
        let shards = setup.accounts.len();
        let across = shards > 1 && self.random.below(100) < u64::from(self.load.cross_percent);
        let to_shard = if across { (shard + 1 + self.random.index(shards - 1)) % shards } else { shard };
        let to = setup.accounts[to_shard][self.random.index(setup.accounts[to_shard].len())].0;
        Payment { to, amount: self.random.between(1, 1_000_000) }
    }

    /// Several payments, one to oneself, or one to an account that does not exist yet, wherever that lies.
    fn odd_payments(&mut self, shard: usize, from: usize, setup: &Setup) -> Vec<Payment> {
        match self.random.below(3) {
            0 => {
                let count = self.random.between(2, 6);
                (0..count).map(|_| self.payment(shard, setup)).collect()
            }
            1 => vec![Payment { to: setup.accounts[shard][from].0, amount: self.random.between(1, 1_000) }],
            _ => {
                let fresh = Hash::of(&[&self.random.number().to_le_bytes()]);
                vec![Payment { to: Address(fresh.0), amount: self.random.between(1, 1_000) }]
            }
        }
    }

    fn transaction(
        &mut self,
        shard: usize,
        from: usize,
        nonce: u64,
        payments: &[Payment],
        setup: &Setup,
    ) -> Transaction {
        let action = match payments {
            [one] => Action::Transfer { to: one.to, amount: one.amount },
            many => Action::Batch { transfers: many.iter().map(|payment| (payment.to, payment.amount)).collect() },
        };
        let tip = self.random.below(4);
        transaction(setup, (shard, from), nonce, tip, action)
    }

    /// An order that must be refused: forged, of more than there is, of nothing, past its nonce, for another network.
    fn make_wrong(&mut self, now: Moment, shard: usize, setup: &Setup) {
        let accounts = &setup.accounts[shard];
        let from = accounts.len() - 1;
        let mut payment = self.payment(shard, setup);
        let mut key = &accounts[from].1;
        let kind = self.random.below(4);
        match kind {
            0 => key = &accounts[0].1,
            1 => payment.amount = u64::MAX,
            2 => payment.amount = 0,
            _ => {}
        }
        let payments = vec![payment];
        // Its number makes it another transaction than the last wrong one; nothing of this account is ever executed.
        let mut transaction = self.transaction(shard, from, 0, &payments, setup);
        transaction.gas_limit += self.orders.len() as u64;
        if kind == 3 {
            transaction.network.0.0[0] ^= 1;
        }
        self.keep(now, shard, transaction.sign(key), payments, Fate::Refused);
    }

    /// A node has answered.
    pub fn answered(&mut self, now: Moment, number: usize, reply: &Reply) {
        let order = &mut self.orders[number];
        match (reply, order.fate) {
            (Reply::Accepted { .. } | Reply::Known { .. }, Fate::Succeeds) => {
                order.accepted.get_or_insert(now);
            }
            (Reply::Accepted { .. }, Fate::Refused) => {
                self.surprises.push(format!("wrong order {number} was accepted"));
            }
            // Executed meanwhile, full for now, or a nonce that waits for an earlier one: tried again.
            _ => {}
        }
    }

    /// A block was certified on a shard.
    pub fn shard(&mut self, now: Moment, certified: &Certified<ShardState>) {
        let header = &certified.block.header;
        let (epoch, root) = self.floors.get(&header.chain).copied().unwrap_or_default();
        let left_out = header.epoch < epoch && header.height > root;
        if left_out || !self.is_new(header.chain, header.height) {
            return;
        }
        let ChainId::Shard(shard) = header.chain else { return };
        let outcome = &certified.executed.state.outcome;
        for (id, receipts) in &outcome.transactions {
            let Some(number) = self.by_id.get(id).copied() else { continue };
            self.open.remove(&number);
            let order = &mut self.orders[number];
            order.final_at.get_or_insert(now);
            order.height = Some((header.height, header.epoch));
            order.receipts = receipts.iter().map(|receipt| (receipt.lane, receipt.seq)).collect();
            // What the beacon is asked for is its own affair.
            order.open_receipts = if order.request.is_some() { 0 } else { receipts.len() };
            if order.open_receipts == 0 {
                order.ended_at.get_or_insert(now);
            }
            self.unrecorded[usize::from(shard.0)].push_back((header.height, number));
        }
        for (receipt, how) in &outcome.consumed {
            let (transaction, returned) = match &receipt.action {
                ReceiptAction::Transfer { transaction, .. } => (*transaction, false),
                ReceiptAction::Return { transaction, .. } => (*transaction, true),
                _ => continue,
            };
            let Some(number) = self.by_id.get(&transaction).copied() else { continue };
            let order = &mut self.orders[number];
            order.returned += u32::from(returned);
            // What is sent back has not ended yet: its return has.
            if matches!(how, ConsumedOutcome::Credited) {
                order.open_receipts = order.open_receipts.saturating_sub(1);
                if order.open_receipts == 0 {
                    order.ended_at.get_or_insert(now);
                }
            }
        }
    }

    /// A block was certified on the beacon.
    pub fn beacon(&mut self, now: Moment, certified: &Certified<BeaconState>) {
        let header = &certified.block.header;
        if !self.is_new(header.chain, header.height) {
            return;
        }
        for (record, waiting) in certified.executed.state.shards.iter().zip(&mut self.unrecorded) {
            let recorded = record.last.header.height;
            while let Some((height, number)) = waiting.front().copied()
                && height <= recorded
            {
                waiting.pop_front();
                self.orders[number].recorded_at.get_or_insert(now);
            }
        }
    }

    /// A node entered an era. What its root leaves out is to be ordered again.
    pub fn entered(&mut self, chain: ChainId, epoch: Epoch, root: Height) {
        let ChainId::Shard(shard) = chain else { return };
        let floor = self.floors.entry(chain).or_default();
        if epoch <= floor.0 {
            return;
        }
        *floor = (epoch, root);
        let Some(seen) = self.seen.get_mut(&chain).filter(|seen| **seen > root) else { return };
        *seen = root;
        for (number, order) in self.orders.iter_mut().enumerate().filter(|(_, order)| order.shard == shard) {
            if order.height.is_some_and(|(height, of)| height > root && of < epoch) {
                order.undo();
                self.open.insert(number);
            }
        }
        self.unrecorded[usize::from(shard.0)].retain(|(height, _)| *height <= root);
    }

    fn is_new(&mut self, chain: ChainId, height: Height) -> bool {
        let seen = self.seen.entry(chain).or_default();
        // A block that nobody lived to tell of is passed over.
        let new = height > *seen;
        *seen = height.max(*seen);
        new
    }

    /// The highest certified block seen anywhere on a chain.
    pub fn certified(&self, chain: ChainId) -> Height {
        self.seen.get(&chain).copied().unwrap_or_default()
    }
}

/// A transaction of an account, by shard and place.
fn transaction(setup: &Setup, (shard, from): (usize, usize), nonce: u64, tip: u64, action: Action) -> Transaction {
    Transaction {
        network: setup.network.id,
        sender: setup.accounts[shard][from].1.public(),
        nonce,
        valid_until: Slot(1 << 40),
        gas_limit: GAS_LIMIT,
        max_fee: 1 << 30,
        tip,
        action,
    }
}

/// Whether clients give their orders to a node: it runs, and has a part in its chain.
fn is_served_by(node: &Node) -> bool {
    node.phase().is_some_and(|phase| phase != Phase::Observer)
}
