//! From the core's events to the watched lives.

use super::{Brief, Inner, Watches};
use crate::core::{ChainEvent, now};
use kakera_chain::{
    BlockId, Slot,
    block::Block,
    hash::{Hash, NetworkId},
    receipt::Receipt,
    replica::Replica,
    units::{ChainId, Height},
};
use kakera_proto::v1::{Refusal, Stage};
use kakera_shard::{Shard, records, transactions_of};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{sync::broadcast::error::RecvError, time::sleep};

/// How often transactions that no event has moved are looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Looked at in one go at most; the others have their turn next.
const LOOK_AT: usize = 1024;
/// A transaction that stays unknown for this long is given up, in ms.
const UNKNOWN_MS: u64 = 30_000;

/// How far the chain is, in one look.
pub(super) struct View {
    /// Uncertified blocks from the head down.
    path: Vec<(BlockId, Arc<Block>)>,
    network: NetworkId,
    certified: Height,
    recorded: Height,
    beacon: Height,
}

/// The uncertified blocks that lead to the head. Their transactions are decoded when somebody asks.
#[derive(Default)]
pub(super) struct Path {
    blocks: BTreeMap<Height, PathBlock>,
    /// Blocks that left the path: certified, or of a lost fork. Which, shows when their height's event has come.
    left: BTreeMap<(Height, BlockId), PathBlock>,
    /// The height up to which certified blocks were taken in.
    taken: Height,
}

struct PathBlock {
    id: BlockId,
    block: Arc<Block>,
    network: NetworkId,
    transactions: OnceLock<BTreeMap<Hash, Brief>>,
}

impl PathBlock {
    fn transactions(&self) -> &BTreeMap<Hash, Brief> {
        self.transactions.get_or_init(|| {
            let all = transactions_of(&self.block, self.network);
            all.iter().map(|(id, transaction)| (*id, Brief::of(transaction))).collect()
        })
    }
}

impl Path {
    /// Where a transaction is on the path.
    pub(super) fn find(&self, id: &Hash) -> Option<((Height, BlockId), Brief)> {
        self.blocks.iter().find_map(|(height, block)| Some(((*height, block.id), *block.transactions().get(id)?)))
    }
}

/// Looks how far the chain is.
pub(super) fn look(replica: &Replica<Shard>) -> View {
    let certified = replica.certified().header.height;
    let mut path = Vec::new();
    let (mut id, mut height) = (replica.head().id, replica.head().header.height);
    while height > certified
        && let Some(block) = replica.block(&id)
    {
        let (below, parent) = (Height(height.0 - 1), block.header.parent);
        path.push((id, block));
        (id, height) = (parent, below);
    }
    let app = replica.app();
    let (network, recorded, beacon) = (replica.network().id, app.recorded().0, app.tip().height);
    View { path, network, certified: replica.certified().header.height, recorded, beacon }
}

/// Until the core stops.
pub(super) async fn run(inner: &Arc<Inner>) {
    let mut events = inner.core.events();
    loop {
        let waiting = inner.lock().transactions.values().any(|watch| watch.life.borrow().uncertain());
        let (mut certified, mut undone) = (Vec::new(), Vec::new());
        let mut lagged = false;
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) => keep(event, &mut certified, &mut undone),
                Err(RecvError::Lagged(_)) => lagged = true,
                Err(RecvError::Closed) => break,
            },
            () = sleep(LOOK_AGAIN), if waiting => {
                if look_again(inner).await.is_none() {
                    break;
                }
                continue;
            }
            () = inner.added.notified() => continue,
        }
        while let Ok(event) = events.try_recv() {
            keep(event, &mut certified, &mut undone);
        }
        let Ok(view) = inner.core.query(|replica, _| look(replica)).await else { break };
        for (id, block, receipts) in certified {
            inner.certified(id, &block, &receipts, view.network);
        }
        if lagged {
            inner.catch_up(view.certified);
        }
        inner.undone(undone).await;
        let mut watches = inner.lock();
        watches.advance(view);
        watches.settle_recorded();
    }
    // Listeners are told that the node stops.
    *inner.lock() = Watches::default();
}

type Certified = (BlockId, Arc<Block>, Arc<Vec<Receipt>>);

type Place = (Height, BlockId);

fn keep(event: ChainEvent, certified: &mut Vec<Certified>, undone: &mut Vec<Place>) {
    match event {
        ChainEvent::Certified { id, block, receipts } => certified.push((id, block, receipts)),
        // What was certified before and is taken back is not to be told any more.
        ChainEvent::Undone(blocks) => {
            certified.retain(|(id, block, _)| !blocks.contains(&(block.header.height, *id)));
            undone.extend(blocks.iter().copied());
        }
        _ => {}
    }
}

impl Inner {
    fn certified(self: &Arc<Self>, id: BlockId, block: &Block, receipts: &[Receipt], network: NetworkId) {
        let place = (block.header.height, id);
        let mut started = Vec::new();
        let mut watches = self.lock();
        if !watches.transactions.is_empty() && !block.body.is_empty() {
            let mut emitted: BTreeMap<Hash, Vec<Receipt>> = BTreeMap::new();
            for receipt in receipts {
                if let kakera_chain::receipt::ReceiptAction::Transfer { transaction, .. } = receipt.action {
                    emitted.entry(transaction).or_default().push(receipt.clone());
                }
            }
            for (transaction, _) in transactions_of(block, network) {
                if watches.transactions.contains_key(&transaction) {
                    let receipts = emitted.remove(&transaction).unwrap_or_default();
                    started
                        .extend(watches.certify(transaction, place, &receipts).map(|receipts| (transaction, receipts)));
                }
            }
        }
        watches.path.taken = watches.path.taken.max(block.header.height);
        watches.expire(block.header.reference.slot);
        drop(watches);
        for (transaction, receipts) in started {
            self.follow_receipts(transaction, receipts);
        }
        for cursor in &block.header.figures.inbox {
            if let ChainId::Shard(from) = cursor.from {
                self.tell_consumed(from, cursor.next);
            }
        }
    }

    /// Certified blocks were taken back: their transactions are lost, each by name.
    async fn undone(self: &Arc<Self>, blocks: Vec<Place>) {
        for place in blocks {
            let found = self.core.query(move |replica, _| Some((replica.block(&place.1)?, replica.network().id)));
            let Ok(Some((block, network))) = found.await else { continue };
            let refusal = || Refusal {
                reason: "LOST".into(),
                message: "its block was final on its shard alone when the beacon began the shard's next era below it: \
                          submit it again"
                    .into(),
            };
            for (transaction, _) in transactions_of(&block, network) {
                tracing::warn!(%transaction, block = %place.1, height = %place.0, "a transaction is lost with its block");
                self.lock().change(&transaction, |life| life.undone(place, refusal(), now()));
            }
        }
    }

    /// Events were missed: asks the store about everything watched.
    fn catch_up(self: &Arc<Self>, certified: Height) {
        let ids: Vec<Hash> = self.lock().transactions.keys().copied().collect();
        let Ok(store) = self.store() else { return };
        for id in ids {
            let Ok(Some(record)) = records::transaction_record(&*store, &id) else { continue };
            let started = self.lock().certify(id, (record.height, record.block), &record.receipts);
            if let Some(receipts) = started {
                self.follow_receipts(id, receipts);
            }
        }
        let mut lanes: Vec<_> = {
            let mut watches = self.lock();
            watches.path.taken = watches.path.taken.max(certified);
            watches.receipts.keys().map(|(from, seq, _)| (*from, *seq)).collect()
        };
        lanes.dedup();
        for (from, seq) in lanes {
            self.tell_consumed_at(from, seq);
        }
    }
}

impl Watches {
    /// Takes a new head: transactions enter blocks and leave them.
    pub(super) fn advance(&mut self, view: View) {
        (self.recorded, self.beacon_height) = (self.recorded.max(view.recorded), self.beacon_height.max(view.beacon));
        let mut before = std::mem::take(&mut self.path.blocks);
        let mut fresh = Vec::new();
        for (id, block) in view.path {
            let height = block.header.height;
            let block = match before.remove(&height) {
                Some(known) if known.id == id => known,
                other => {
                    self.path.left.extend(other.map(|other| ((height, other.id), other)));
                    fresh.push(height);
                    PathBlock { id, block, network: view.network, transactions: OnceLock::new() }
                }
            };
            self.path.blocks.insert(height, block);
        }
        self.path.left.extend(before.into_iter().map(|(height, block)| ((height, block.id), block)));
        self.revert(view.certified);
        for height in fresh.into_iter().rev() {
            let Some(block) = self.path.blocks.get(&height) else { continue };
            let place = (height, block.id);
            let watched: Vec<(Hash, Brief)> = block
                .transactions()
                .iter()
                .filter(|(id, _)| self.transactions.contains_key(*id))
                .map(|(id, brief)| (*id, *brief))
                .collect();
            for (id, brief) in watched {
                self.note(id, Some(brief));
                self.change(&id, |life| life.included(place, now()));
            }
        }
    }

    /// What was included in a block of a lost fork waits again, unless another block took it.
    fn revert(&mut self, certified: Height) {
        let taken = self.path.taken;
        let (known, open) = std::mem::take(&mut self.path.left)
            .into_iter()
            .partition(|((height, _), _)| *height > certified || *height <= taken);
        self.path.left = open;
        if self.transactions.is_empty() {
            return;
        }
        let known: BTreeMap<(Height, BlockId), PathBlock> = known;
        for (place, block) in known {
            for id in block.transactions().keys().filter(|id| self.transactions.contains_key(*id)) {
                if self.path.find(id).is_none() {
                    // A certified one's life is past this and stays.
                    self.change(id, |life| life.uncertified() == Some(place) && life.reverted(now()));
                }
            }
        }
    }

    /// A certified block has read up to `slot`: no block above it can include what was valid for less.
    fn expire(&mut self, slot: Slot) {
        let valid = self.expiring.split_off(&(slot, Hash::ZERO));
        for (valid_until, id) in std::mem::replace(&mut self.expiring, valid) {
            let message = format!(
                "it was valid until beacon slot {valid_until} and is in no block: sign it again with a later slot"
            );
            let refusal = Refusal { reason: "EXPIRED".into(), message };
            if !self.change(&id, |life| life.lost(Stage::Expired, refusal, now()))
                && self.transactions.get(&id).is_some_and(|watch| watch.life.borrow().uncertified().is_some())
            {
                // Still in a block that may lose its fork.
                self.expiring.insert((valid_until, id));
            }
        }
    }
}

/// Looks again at transactions that are unknown or wait: they may have come into the pool, or been displaced.
async fn look_again(inner: &Arc<Inner>) -> Option<()> {
    let ids: Vec<(Hash, Option<Brief>)> = {
        let watches = inner.lock();
        let uncertain = watches.transactions.iter().filter(|(_, watch)| watch.life.borrow().uncertain());
        let total = uncertain.clone().count();
        // Another part each second, if there are many.
        let turn = usize::try_from(now().0 / 1000).unwrap_or(0) % total.div_ceil(LOOK_AT).max(1);
        uncertain.skip(turn * LOOK_AT).take(LOOK_AT).map(|(id, watch)| (*id, watch.brief)).collect()
    };
    let asked = inner.core.query(move |replica, _| {
        let state = replica.certified().state;
        let look = |(id, brief): (Hash, Option<Brief>)| {
            let pooled = replica.app().pooled(&id).map(|signed| Brief::of(&signed.transaction));
            let next = pooled.or(brief).map(|brief| state.account(&brief.sender).nonce);
            (id, pooled, next)
        };
        ids.into_iter().map(look).collect::<Vec<_>>()
    });
    let found = asked.await.ok()?;
    let store = inner.store().ok()?;
    let mut watches = inner.lock();
    for (id, pooled, next) in found {
        if pooled.is_some() {
            watches.note(id, pooled);
            continue;
        }
        let Some(watch) = watches.transactions.get(&id) else { continue };
        match (watch.brief, next) {
            (Some(brief), Some(next)) if next > brief.nonce => {
                // In the store already, perhaps, and the event is on its way: the store decides.
                if matches!(records::transaction_record(&*store, &id), Ok(None)) {
                    let message = format!("another transaction used nonce {}: the next is {next}", brief.nonce);
                    let refusal = Refusal { reason: "NONCE_USED".into(), message };
                    watches.change(&id, |life| life.lost(Stage::Refused, refusal, now()));
                }
            }
            (None, _) => {
                let given_up = |life: &mut super::Life| {
                    let refusal = Refusal {
                        reason: "NOT_KNOWN".into(),
                        message: "no pool or block here knows it: submit it (again), then follow it".into(),
                    };
                    now().0.saturating_sub(life.since().0) > UNKNOWN_MS && life.lost(Stage::Unknown, refusal, now())
                };
                watches.change(&id, given_up);
            }
            _ => {}
        }
    }
    Some(())
}

impl super::Life {
    /// Whether it is in no block and may need another look.
    fn uncertain(&self) -> bool {
        !self.is_over() && matches!(self.stage(), Stage::Unknown | Stage::Accepted)
    }
}

#[cfg(test)]
mod tests;
