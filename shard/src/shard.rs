//! One shard chain as a replica runs it.

#[cfg(test)]
mod tests;

use crate::{
    action::Action,
    beacon_view::{BeaconView, InvalidBeacon},
    checks::InvalidTransaction,
    execution::{self, InvalidBlock, Refused, Work, delivery},
    fees::{Quote, TRANSACTION_GAS},
    pool::{Head, Pool, PoolLimits, PoolStatus, Refusal},
    records,
    rules::Rules,
    state::ShardState,
    transaction::{SignedTransaction, Transaction},
};
use kakera_chain::{
    BlockId, Slot,
    address::Address,
    application::{Application, Change, Context, Executed, Handled, Proposal, ReferenceStatus},
    block::{Block, Header},
    certificate::Certificate,
    codec,
    era::{Era, EraPlan},
    genesis::Network,
    hash::{Hash, NetworkId},
    lanes::Reading,
    receipt::Reference,
    signatures::Signatures,
    store::{Store, StoreFailure, Table},
    units::{ChainId, Height, ShardId, Timestamp},
};
use std::sync::Arc;

/// Transactions that may fail to fit before a proposal is closed.
const MISFITS: usize = 64;

/// What a shard is made of.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// The network.
    pub network: Arc<Network>,
    /// Which shard.
    pub shard: ShardId,
    /// What the beacon chain says to this shard where nothing is stored.
    pub first: Reading,
    /// How transactions' signatures are checked.
    pub signatures: Signatures,
    /// How much the pool holds.
    pub pool: PoolLimits,
}

/// What clients and the beacon feed give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A transaction, decoded from canonical bytes.
    Submit(SignedTransaction),
    /// What certified beacon blocks say to this shard, by who has executed them.
    Beacon(Vec<Reading>),
}

/// What they are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The transaction is in the pool.
    Accepted {
        /// Its id.
        id: Hash,
    },
    /// It was in the pool before.
    Known {
        /// Its id.
        id: Hash,
    },
    /// It is not taken.
    Refused(Refusal),
    /// The beacon chain is known up to this height.
    BeaconAdvanced(Height),
    /// The readings are refused; nothing changed.
    BeaconRefused(InvalidBeacon),
}

/// The rules of one shard chain and what they need to know besides blocks: the beacon's view and the pool.
#[derive(Clone, Debug)]
pub struct Shard {
    rules: Rules,
    genesis: ShardState,
    view: BeaconView,
    pool: Pool,
    signatures: Signatures,
}

impl Shard {
    /// A shard that goes on from what is stored, if anything is.
    pub fn new(config: ShardConfig, store: Option<&dyn Store>) -> Result<Shard, StoreFailure> {
        let rules = Rules::of(&config.network, config.shard);
        let signatures = config.signatures;
        let view = match store {
            Some(store) => BeaconView::load(config.first, store)?,
            None => BeaconView::new(config.first),
        };
        let genesis = ShardState::genesis(&config.network, &rules);
        Ok(Shard { rules, genesis, view, pool: Pool::new(config.pool), signatures })
    }

    /// The constants.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What is known of the beacon chain.
    pub fn view(&self) -> &BeaconView {
        &self.view
    }

    /// The newest certified beacon block known.
    pub fn tip(&self) -> Reference {
        self.view.tip()
    }

    /// This shard's last recorded crosslink: where the next one begins. See [`BeaconView::recorded`].
    pub fn recorded(&self) -> (Height, BlockId) {
        self.view.recorded()
    }

    #[cfg(test)]
    pub(crate) fn pool_for_test(&self) -> &Pool {
        &self.pool
    }

    /// Transactions in the pool, and their canonical bytes.
    pub fn pool_size(&self) -> (usize, usize) {
        (self.pool.len(), self.pool.bytes())
    }

    /// What a pooled transaction waits for at this state; nothing if it is not in the pool.
    pub fn pool_status(&self, state: &ShardState, id: &Hash) -> Option<PoolStatus> {
        let lanes = self.view.lanes();
        self.pool.status(id, &self.head(state), |to| execution::unsettled(&state.meta, lanes, to))
    }

    /// The nonce that an account's next transaction needs above this state, counting what waits here without a gap.
    pub fn pending_nonce(&self, state: &ShardState, address: &Address) -> u64 {
        self.pool.next_nonce(address, state.account(address).nonce)
    }

    /// A pooled transaction.
    pub fn pooled(&self, id: &Hash) -> Option<&SignedTransaction> {
        self.pool.entry(id).map(|entry| &entry.signed)
    }

    /// What an action would cost above this state.
    pub fn quote(&self, state: &ShardState, action: &Action) -> Result<Quote, InvalidTransaction> {
        let demand = action.program().demand(&self.rules)?;
        let base_fee = state.base_fee();
        let delivery_fee = demand.delivery_fee(&self.rules);
        let lanes = self.view.lanes();
        let full = |to: &ChainId| execution::unsettled(&state.meta, lanes, *to) >= self.rules.lanes.bound;
        Ok(Quote {
            gas: demand.gas,
            base_fee,
            delivery_fee,
            fee: demand.gas.saturating_mul(base_fee).saturating_add(delivery_fee),
            full_lanes: demand.receipts.keys().copied().filter(full).collect(),
        })
    }

    fn head<'a>(&'a self, state: &'a ShardState) -> Head<'a> {
        Head { rules: &self.rules, state, slot: self.view.tip().slot }
    }

    fn submit(&mut self, state: &ShardState, signed: SignedTransaction) -> Reply {
        let id = signed.transaction.id();
        if self.pool.entry(&id).is_some() {
            return Reply::Known { id };
        }
        let bytes = borsh::object_length(&signed).unwrap_or(usize::MAX);
        let lanes = self.view.lanes();
        let unsettled = |to| execution::unsettled(&state.meta, lanes, to);
        let demand = match self.pool.check(&signed, bytes, &self.head(state), unsettled) {
            Ok(demand) => demand,
            Err(refusal) => return Reply::Refused(refusal),
        };
        if self.signatures.verify(&signed.transaction.sender, &id, &signed.signature).is_err() {
            return Reply::Refused(Refusal::Invalid(InvalidTransaction::BadSignature));
        }
        self.pool.insert(id, signed, demand, bytes);
        Reply::Accepted { id }
    }

    fn advance(&mut self, readings: Vec<Reading>) -> Handled<Reply> {
        let before = self.view.tip();
        match self.view.advance(readings) {
            Ok(writes) => {
                let tip = self.view.tip();
                if tip.slot > before.slot {
                    self.pool.expire(tip.slot);
                }
                let references_grew = tip.height > before.height;
                Handled { reply: Reply::BeaconAdvanced(tip.height), gossip: None, writes, references_grew }
            }
            Err(reason) => Handled {
                reply: Reply::BeaconRefused(reason),
                gossip: None,
                writes: Vec::new(),
                references_grew: false,
            },
        }
    }

    /// Fills a block from the pool, best tips first.
    fn fill(&self, work: &mut Work<'_>, base_fee: u64) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let (mut body, mut witnesses) = (Vec::new(), Vec::new());
        let mut queue = self.pool.queue(base_fee, |sender| work.account(sender).nonce);
        let mut misfits = 0;
        while misfits < MISFITS && work.gas_left() >= TRANSACTION_GAS {
            let Some(entry) = queue.pop() else { break };
            let item = codec::encode(&entry.signed.transaction);
            match work.execute(entry.id, &entry.signed.transaction, &entry.demand, item.len()) {
                Ok(()) => {
                    body.push(item);
                    witnesses.push(entry.signed.signature.0.to_vec());
                    queue.follow(entry);
                }
                Err(Refused::Full(_)) => misfits += 1,
                // Waits in the pool: its sender's later ones with it.
                Err(Refused::Invalid(_)) => {}
            }
        }
        (body, witnesses)
    }
}

impl Application for Shard {
    type State = ShardState;
    type Input = Input;
    type Reply = Reply;
    type Invalid = InvalidBlock;

    fn genesis(&self) -> Executed<ShardState> {
        let state = self.genesis.clone();
        let figures = state.figures(&self.rules, 0, state.base_fee());
        Executed { state_root: state.root(), receipts: Vec::new(), figures, state }
    }

    fn restore(&mut self, header: &Header, store: &dyn Store) -> Result<Option<ShardState>, StoreFailure> {
        let Some(state) = records::load_state(store)? else { return Ok(None) };
        let (found, expected) = (state.root(), header.state_root);
        if found != expected {
            let reason =
                format!("the stored state has root {found}, but block {} commits to {expected}", header.height);
            return Err(StoreFailure { table: Table::State, reason });
        }
        self.view.certified(header.height, header.reference, &state.meta.inbox);
        Ok(Some(state))
    }

    fn reference_status(&self, reference: &Reference, parent: &Reference) -> ReferenceStatus {
        self.view.status(reference, parent)
    }

    fn execute(
        &mut self,
        parent: &ShardState,
        context: &Context,
        body: &[Vec<u8>],
        witnesses: &[Vec<u8>],
    ) -> Result<Executed<ShardState>, InvalidBlock> {
        let lanes = self.view.lanes_at(&context.reference).ok_or(InvalidBlock::UnknownReference)?;
        let items = execution::decode_body(&self.rules, body, witnesses)?;
        let mut work = Work::new(&self.rules, parent, context, &lanes);
        work.deliver(&self.view)?;
        execution::run_items(&mut work, &items)?;
        // Last, as they cost the most.
        let unknown = |(_, item): &(usize, &execution::Item)| !self.pool.has_verified(&item.id, &item.signature);
        let unknown: Vec<(usize, &execution::Item)> = items.iter().enumerate().filter(unknown).collect();
        let signed: Vec<_> =
            unknown.iter().map(|(_, item)| (item.transaction.sender, item.id, item.signature)).collect();
        self.signatures.verify_all(&signed).map_err(|failed| InvalidBlock::Transaction {
            index: unknown[failed].0,
            reason: InvalidTransaction::BadSignature,
        })?;
        Ok(work.finish())
    }

    fn has_work(&self, parent: &ShardState, reference: &Reference, _slot: Slot) -> bool {
        let tip = self.view.tip();
        if self.view.named_era() != self.view.era() {
            return false;
        }
        let lanes = self.view.lanes();
        // The first reference in a later epoch closes the era.
        if self.rules.epochs.is_some_and(|epochs| epochs.of(tip.slot) > self.view.era()) {
            return true;
        }
        let due = tip.height >= reference.height && delivery::anything_due(&parent.meta, lanes);
        due || self.pool.has_executable(&self.head(parent), |to| execution::unsettled(&parent.meta, lanes, to))
    }

    fn propose(&mut self, parent: &ShardState, context: &Context, empty: bool) -> Option<Proposal<ShardState>> {
        let reference = self.view.newest_reference(&context.reference)?;
        let lanes = self.view.lanes_at(&reference)?;
        let context = Context { reference, ..*context };
        let mut work = Work::new(&self.rules, parent, &context, &lanes);
        work.deliver(&self.view).expect("what is due above a certified block is kept");
        let (body, witnesses) = if empty { Default::default() } else { self.fill(&mut work, parent.base_fee()) };
        Some(Proposal { reference, body, witnesses, executed: work.finish() })
    }

    fn certified(&mut self, id: BlockId, block: &Block, before: &ShardState, after: &Executed<ShardState>) -> Change {
        let (height, state) = (block.header.height, &after.state);
        let mut writes = records::state_writes(height, before, state);
        writes.extend(records::index_writes(height, id, &state.outcome, &after.receipts));
        let undo = records::undo_writes(height, before, state);
        self.view.certified(height, block.header.reference, &state.meta.inbox);
        writes.extend(self.view.checkpoint());
        let head = Head { rules: &self.rules, state, slot: self.view.tip().slot };
        self.pool.settle(&state.outcome.touched, &head);
        Change { writes, undo }
    }

    fn certificate(&mut self, _certificate: &Certificate) {}

    fn settled(&self) -> Height {
        self.view.recorded().0
    }

    fn undone(&mut self, header: &Header, _state: &ShardState) {
        self.view.undone(header.height);
    }

    fn enter(&mut self, era: &Era) {
        self.view.enter(era.epoch);
    }

    /// The beacon names a shard's eras.
    fn successor(&self, _id: BlockId, _header: &Header, _state: &ShardState) -> Option<EraPlan> {
        None
    }

    fn handle(&mut self, _now: Timestamp, head: &ShardState, input: Input) -> Handled<Reply> {
        match input {
            Input::Beacon(readings) => self.advance(readings),
            Input::Submit(signed) => {
                let bytes = codec::encode(&signed);
                let reply = self.submit(head, signed);
                let gossip = matches!(reply, Reply::Accepted { .. }).then_some(bytes);
                Handled { reply, gossip, writes: Vec::new(), references_grew: false }
            }
        }
    }

    fn offers(&self, limit: usize) -> Vec<Vec<u8>> {
        let mut left = limit;
        let fits = |bytes: &Vec<u8>| left.checked_sub(bytes.len()).map(|rest| left = rest).is_some();
        self.pool.all().map(codec::encode).take_while(fits).collect()
    }

    fn gossip(&mut self, _now: Timestamp, head: &ShardState, bytes: &[u8]) -> Handled<()> {
        let accepted = SignedTransaction::decode(bytes)
            .is_ok_and(|signed| matches!(self.submit(head, signed), Reply::Accepted { .. }));
        let gossip = accepted.then(|| bytes.to_vec());
        Handled { reply: (), gossip, writes: Vec::new(), references_grew: false }
    }
}

/// The transactions of a shard block with their ids, in order; what does not decode is left out (a valid block holds
/// no such item).
pub fn transactions_of(block: &Block, network: NetworkId) -> Vec<(Hash, Transaction)> {
    let decode = |item: &Vec<u8>| Some((Transaction::id_of(network, item), Transaction::decode(item).ok()?));
    block.body.iter().filter_map(decode).collect()
}
