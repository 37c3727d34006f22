//! A ledger of what clients ordered: every account, fee, tip and receipt, kept beside the chains from their certified
//! blocks, by the rules as the documents state them and with none of the chains' code for amounts.
//!
//! Of a block it takes what was decided (which orders stand there, how far each lane is consumed, under which
//! reference) and works out everything that follows. Nothing here is read from a state.

mod books;
mod lanes;

pub use books::{Books, Totals};
pub use lanes::{Entry, Fate, LaneBook};

use crate::{
    setup::Setup,
    workload::{Request, Workload},
};
use kakera_chain::{
    BlockId,
    address::Address,
    block::Block,
    receipt::{Lane, Receipt, ReturnReason},
    units::{ChainId, Height, ShardId},
};
use kakera_shard::{Transaction, transactions_of};
use std::collections::BTreeMap;

/// Gas of any transaction, whatever it does: its signature and its sender's account.
const ORDER_GAS: u64 = 1_000 + 200;
/// Gas of each payment in it: an account here, or a receipt emitted.
const PAYMENT_GAS: u64 = 200;
/// Gas of processing a receipt, at the destination; paid at the source at the first base fee.
const DELIVERY_GAS: u64 = 400;

/// The ledger of all shards that are followed.
pub struct Ledger {
    /// By shard.
    pub books: BTreeMap<ShardId, Books>,
    /// All lanes that ever held a receipt.
    pub lanes: BTreeMap<Lane, LaneBook>,
    /// All balances and stakes at genesis.
    pub supply: u128,
    shards: u16,
    first_base_fee: u64,
    block_gas: u64,
    lifetime: u64,
}

impl Ledger {
    /// The ledger at genesis, of these shards; of others, and of the beacon itself, it learns what the beacon records.
    pub fn new(setup: &Setup, followed: impl Fn(ShardId) -> bool) -> Ledger {
        let genesis = &setup.network.genesis;
        let all = (0..genesis.shards).map(ShardId).filter(|shard| followed(*shard));
        let mut ledger = Ledger {
            books: all.map(|shard| (shard, Books::new(genesis.fees.base_fee))).collect(),
            lanes: BTreeMap::new(),
            supply: genesis.accounts.iter().map(|account| u128::from(account.balance)).sum::<u128>()
                + u128::from(setup.network.staked()),
            shards: genesis.shards,
            first_base_fee: genesis.fees.base_fee,
            block_gas: genesis.fees.block_gas,
            lifetime: genesis.lanes.lifetime_slots,
        };
        for account in &genesis.accounts {
            if let Some(books) = ledger.books.get_mut(&shard_of(&account.address, genesis.shards)) {
                books.credit(account.address, account.balance);
            }
        }
        let root = |shard: ShardId| setup.genesis[&ChainId::Shard(shard)].id(setup.network.id);
        for (shard, books) in &mut ledger.books {
            books.close(Height(0), root(*shard), genesis.fees.base_fee);
        }
        ledger
    }

    /// Whether everything that a block consumes is known here.
    pub fn can_apply(&self, block: &Block) -> bool {
        block.header.figures.inbox.iter().all(|cursor| {
            let lane = Lane { from: cursor.from, to: block.header.chain };
            self.lanes.get(&lane).map_or(0, LaneBook::len) >= cursor.next
        })
    }

    /// Follows a shard's next block.
    ///
    /// # Errors
    /// What the block does that it must not, in words.
    pub fn apply(&mut self, id: BlockId, block: &Block, workload: &Workload, setup: &Setup) -> Result<(), String> {
        let header = &block.header;
        let ChainId::Shard(shard) = header.chain else { return Ok(()) };
        let Some(mut books) = self.books.remove(&shard) else { return Ok(()) };
        books.open();
        let applied = self.run(&mut books, shard, block, workload, setup);
        let gas = applied?;
        if gas != header.figures.gas_used {
            return Err(format!("used {} gas, by the ledger {gas}", header.figures.gas_used));
        }
        let next = base_fee_after(books.base_fee, gas, self.block_gas);
        books.close(header.height, id, next);
        self.books.insert(shard, books);
        Ok(())
    }

    fn run(
        &mut self,
        books: &mut Books,
        shard: ShardId,
        block: &Block,
        workload: &Workload,
        setup: &Setup,
    ) -> Result<u64, String> {
        let header = &block.header;
        if header.figures.base_fee != books.base_fee {
            return Err(format!("has base fee {}, by the ledger {}", header.figures.base_fee, books.base_fee));
        }
        let mut gas = 0;
        for cursor in &header.figures.inbox {
            let lane = Lane { from: cursor.from, to: header.chain };
            let consumed = books.consumed.insert(cursor.from, cursor.next).unwrap_or_default();
            for seq in consumed..cursor.next {
                self.deliver(books, shard, lane, seq, header.reference.slot.0)?;
                gas += DELIVERY_GAS;
            }
        }
        for (id, transaction) in transactions_of(block, setup.network.id) {
            let order = workload.order_of(&id).ok_or_else(|| format!("executes {id}, which nobody ordered"))?;
            gas += self.execute(books, shard, order, &transaction, header.reference.slot.0)?;
        }
        Ok(gas)
    }

    /// A receipt ends at its destination, or goes back.
    fn deliver(&mut self, books: &mut Books, shard: ShardId, lane: Lane, seq: u64, slot: u64) -> Result<(), String> {
        let log = self.lanes.get_mut(&lane).ok_or_else(|| format!("consumes {lane:?}, which is empty"))?;
        let entry = log.end(seq)?;
        books.received += u128::from(entry.amount);
        let lost = match entry.fate {
            Fate::Return { .. } | Fate::Asked | Fate::Paid => None,
            Fate::Transfer { .. } if shard_of(&entry.to, self.shards) != shard => Some(ReturnReason::WrongShard),
            Fate::Transfer { expires_at } => (slot > expires_at).then_some(ReturnReason::Expired),
        };
        match lost {
            None => books.credit(entry.to, entry.amount),
            Some(reason) => {
                let back = Lane { from: lane.to, to: lane.from };
                let fate = Fate::Return { original: seq, reason };
                self.emit(books, back, Entry { from: entry.to, to: entry.from, fate, ..entry });
            }
        }
        Ok(())
    }

    fn emit(&mut self, books: &mut Books, lane: Lane, entry: Entry) {
        books.sent += u128::from(entry.amount);
        let seq = self.lanes.entry(lane).or_default().push(entry);
        books.emitted.extend(entry.action().map(|action| Receipt { lane, seq, action }));
    }

    /// The beacon is asked for something.
    fn ask(&mut self, books: &mut Books, shard: ShardId, from: Address, request: &Request) {
        let lane = Lane { from: ChainId::Shard(shard), to: ChainId::Beacon };
        let entry = Entry::asked(from, &request.action);
        books.sent += u128::from(entry.amount);
        let seq = self.lanes.entry(lane).or_default().push(entry);
        books.emitted.push(Receipt { lane, seq, action: request.action.clone() });
    }

    /// An order is executed: fees burned, tip kept for the proposer, and its payments made. Returns its gas.
    fn execute(
        &mut self,
        books: &mut Books,
        shard: ShardId,
        order: &crate::workload::Order,
        transaction: &Transaction,
        slot: u64,
    ) -> Result<u64, String> {
        if order.shard != shard {
            return Err(format!("executes order {} of shard {}", order.id, order.shard));
        }
        let sender = Address::of(&order.signed.transaction.sender);
        let ordered = &order.signed.transaction;
        let asked = order.request.as_ref();
        let outputs = order.payments.len() as u64 + u64::from(asked.is_some());
        let gas = ORDER_GAS + PAYMENT_GAS * outputs + asked.map_or(0, |request| request.gas);
        let away = |payment: &&crate::workload::Payment| shard_of(&payment.to, self.shards) != shard;
        let receipts = order.payments.iter().filter(away).count() as u64 + u64::from(asked.is_some());
        let burned = u128::from(gas) * u128::from(books.base_fee)
            + u128::from(receipts * DELIVERY_GAS) * u128::from(self.first_base_fee);
        let room = ordered.max_fee.checked_sub(books.base_fee).ok_or("executes an order that pays too little")?;
        let tip = u128::from(gas) * u128::from(ordered.tip.min(room));
        let value: u128 = order.payments.iter().map(|payment| u128::from(payment.amount)).sum();
        let value = value + asked.map_or(0, |request| u128::from(request.action.amount()));
        if transaction.nonce != ordered.nonce {
            return Err(format!("executes order {} with another nonce", order.id));
        }
        books.debit(sender, burned + tip + value, ordered.nonce)?;
        books.burned += burned;
        books.tips += tip;
        if let Some(request) = asked {
            self.ask(books, shard, sender, request);
        }
        for payment in &order.payments {
            let to = shard_of(&payment.to, self.shards);
            if to == shard {
                books.credit(payment.to, payment.amount);
                continue;
            }
            let lane = Lane { from: ChainId::Shard(shard), to: ChainId::Shard(to) };
            let fate = Fate::Transfer { expires_at: slot.saturating_add(self.lifetime) };
            let (amount, transaction) = (payment.amount, order.id);
            self.emit(books, lane, Entry { from: sender, to: payment.to, amount, fate, transaction });
        }
        Ok(gas)
    }

    /// The beacon recorded a receipt. One of a shard that is not followed becomes known by it.
    pub fn record(&mut self, receipt: &Receipt) {
        let followed = matches!(receipt.lane.from, ChainId::Shard(shard) if self.books.contains_key(&shard));
        let log = self.lanes.entry(receipt.lane).or_default();
        if !followed && log.len() == receipt.seq {
            log.push(Entry::of(receipt));
        }
        log.recorded = receipt.seq + 1;
    }
}

/// The shard that an account belongs to: its first eight bytes as a part of all that they can say.
pub fn shard_of(address: &Address, shards: u16) -> ShardId {
    let first = address.0[..8].iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
    let shard = first * u128::from(shards) / (1 << 64);
    ShardId(u16::try_from(shard).unwrap_or(u16::MAX))
}

/// The base fee of the next block: an eighth more at a full block, an eighth less at an empty one, at least one unit of
/// change, never below one.
fn base_fee_after(base_fee: u64, used: u64, limit: u64) -> u64 {
    let half = i128::from((limit / 2).max(1));
    let away = i128::from(used) - half;
    let change = (i128::from(base_fee) * away.abs() / half / 8).max(1);
    let next = i128::from(base_fee) + change * away.signum();
    u64::try_from(next.max(1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
