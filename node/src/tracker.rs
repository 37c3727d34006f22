//! Follows transactions and receipts of this shard through their lives and tells those who asked.
//!
//! ```text
//!   Track ──> watch ──> life ──> step, step, ... terminal        one watch a transaction, any number of listeners
//!               ▲
//!   core events ┴ progress: head path, certified blocks, recorded height; destinations' answers about receipts
//! ```
//!
//! A watch exists while somebody listens. Events touch only what is watched: a block's transactions are looked up once,
//! and nothing asks about every watch at every block. A watch made late (or after a restart) begins with what the
//! store says.

mod delivery;
mod life;
mod progress;

use crate::{
    core::{Core, Stopped, now},
    errors::ApiError,
    forward::Forwarder,
    store::RocksStore,
};
use kakera_chain::{
    BlockId, Slot,
    address::Address,
    hash::Hash,
    units::{ChainId, Height, ShardId},
};
use kakera_proto::v1;
use kakera_shard::{ConsumedRecord, Shard, SignedTransaction, Transaction};
use life::Life;
use progress::Path;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::Duration,
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Listeners to transactions at once at most.
pub const MAX_LISTENERS: usize = 65_536;
/// Listeners to receipts at once at most.
pub const MAX_RECEIPTS: usize = 65_536;
/// A listener that takes nothing for this long is dropped.
const PATIENCE: Duration = Duration::from_secs(60);

/// A handle; clones share everything.
#[derive(Clone)]
pub struct Tracker {
    inner: Arc<Inner>,
}

struct Inner {
    shard: ShardId,
    core: Core<Shard>,
    /// Whoever listens does not keep a shard's store open that is let go.
    store: Weak<RocksStore>,
    forwarder: Arc<Forwarder>,
    watches: Mutex<Watches>,
    /// Room for listeners to transactions.
    listeners: Arc<Semaphore>,
    /// Room for listeners to receipts.
    receivers: Arc<Semaphore>,
    /// Something new is watched that no event may speak of.
    added: Notify,
}

/// What is watched, and how far the chain was when it was last looked at.
#[derive(Default)]
struct Watches {
    transactions: BTreeMap<Hash, Watch>,
    /// By height: certified transactions that wait for their crosslink.
    unrecorded: BTreeMap<Height, Vec<Hash>>,
    /// By last slot.
    expiring: BTreeSet<(Slot, Hash)>,
    /// By lane's source and `seq`, and by listener.
    receipts: BTreeMap<(ShardId, u64, u64), Receiver>,
    /// Listeners to receipts so far.
    numbered: u64,
    /// Uncertified blocks from the head down.
    path: Path,
    recorded: Height,
    beacon_height: Height,
}

struct Watch {
    life: watch::Sender<Life>,
    brief: Option<Brief>,
}

/// Somebody who waits for a receipt.
struct Receiver {
    told: oneshot::Sender<ConsumedRecord>,
    _room: OwnedSemaphorePermit,
}

/// Somebody who listens to a transaction; the watch goes with the last one.
struct Listener {
    inner: Arc<Inner>,
    id: Hash,
    life: Option<watch::Receiver<Life>>,
    _room: OwnedSemaphorePermit,
}

/// What must be known of a transaction to tell when it can never be included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Brief {
    pub(crate) valid_until: Slot,
    pub(crate) sender: Address,
    pub(crate) nonce: u64,
}

impl Brief {
    pub(crate) fn of(transaction: &Transaction) -> Brief {
        let (valid_until, nonce) = (transaction.valid_until, transaction.nonce);
        Brief { valid_until, sender: Address::of(&transaction.sender), nonce }
    }
}

/// Steps of one transaction, for a gRPC stream.
pub type Steps<T> = ReceiverStream<Result<T, Status>>;

impl Tracker {
    /// A tracker of `shard`'s transactions; [`Tracker::run`] feeds it.
    pub fn new(shard: ShardId, core: Core<Shard>, store: Arc<RocksStore>, forwarder: Arc<Forwarder>) -> Tracker {
        let room = |listeners| Arc::new(Semaphore::new(listeners));
        let inner = Inner {
            shard,
            core,
            store: Arc::downgrade(&store),
            forwarder,
            watches: Mutex::default(),
            listeners: room(MAX_LISTENERS),
            receivers: room(MAX_RECEIPTS),
            added: Notify::new(),
        };
        Tracker { inner: Arc::new(inner) }
    }

    /// Tells all who listen that the node follows nothing here any more.
    pub fn close(&self) {
        *self.inner.lock() = Watches::default();
    }

    /// Feeds events to the watches until the core stops.
    pub async fn run(self) {
        progress::run(&self.inner).await;
    }

    /// A transaction's life so far, past the step `after`, and what follows.
    ///
    /// # Errors
    /// Too many listen, the disk fails, or the core has stopped.
    pub async fn track(&self, id: Hash, after: u64) -> Result<Steps<v1::TransactionStatus>, ApiError> {
        let listener = Listener::new(&self.inner, id)?;
        // From here on events reach the watch; what happened before is looked up. Both only ever move it forward.
        self.inner.refresh(id).await?;
        self.inner.added.notify_one();
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(feed(listener, after, sender));
        Ok(ReceiverStream::new(receiver))
    }

    /// What becomes of a receipt of the lane from `from` toward this shard, once that is certified here.
    ///
    /// # Errors
    /// Too many are waited for, or the disk fails.
    pub fn track_receipt(&self, from: ShardId, seq: u64) -> Result<Steps<v1::ReceiptStatus>, ApiError> {
        let mut awaited = self.inner.await_consumed(from, seq)?;
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            tokio::select! {
                record = &mut awaited.record => if let Ok(record) = record {
                    let status = awaited.inner.describe(from, seq, &record);
                    // The client may have gone meanwhile.
                    let _gone = sender.send(Ok(status)).await;
                },
                () = sender.closed() => {}
            }
        });
        Ok(ReceiverStream::new(receiver))
    }
}

/// Sends one listener its steps; ends with the last one or with the listener.
async fn feed(mut listener: Listener, after: u64, sender: mpsc::Sender<Result<v1::TransactionStatus, Status>>) {
    let mut cursor = after;
    let mut told_unknown = false;
    let life = listener.life.as_mut().expect("taken only when the listener goes");
    loop {
        let (mut steps, over) = {
            let life = life.borrow_and_update();
            (life.past(cursor), life.is_over())
        };
        if steps.is_empty() && cursor == 0 && !told_unknown && !over {
            steps.push(life.borrow().unknown());
            told_unknown = true;
        }
        for step in steps {
            cursor = step.cursor;
            if !matches!(timeout(PATIENCE, sender.send(Ok(step))).await, Ok(Ok(()))) {
                return;
            }
        }
        if over {
            return;
        }
        let changed = tokio::select! {
            changed = life.changed() => changed.is_ok(),
            () = sender.closed() => return,
        };
        if !changed && life.borrow().past(cursor).is_empty() {
            // The tracker ended with the core.
            let _gone = sender.send(Err(ApiError::Stopped.into())).await;
            return;
        }
    }
}

impl Listener {
    /// One more for a transaction.
    fn new(inner: &Arc<Inner>, id: Hash) -> Result<Listener, ApiError> {
        let full = |_| ApiError::Busy { what: "listeners to transactions", limit: MAX_LISTENERS };
        let room = Arc::clone(&inner.listeners).try_acquire_owned().map_err(full)?;
        let fresh = || Watch { life: watch::Sender::new(Life::new(id, now())), brief: None };
        let life = inner.lock().transactions.entry(id).or_insert_with(fresh).life.subscribe();
        Ok(Listener { inner: Arc::clone(inner), id, life: Some(life), _room: room })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut watches = self.inner.lock();
        drop(self.life.take());
        if watches.transactions.get(&self.id).is_some_and(|watch| watch.life.receiver_count() == 0) {
            watches.remove(&self.id);
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Watches> {
        self.watches.lock().expect("no holder panics")
    }

    fn lane(&self, from: ShardId) -> kakera_chain::receipt::Lane {
        kakera_chain::receipt::Lane { from: ChainId::Shard(from), to: ChainId::Shard(self.shard) }
    }

    /// The shard's tables, as long as it is here.
    fn store(&self) -> Result<Arc<RocksStore>, ApiError> {
        self.store.upgrade().ok_or(ApiError::Stopped)
    }

    /// Looks one transaction up: in the store, on the head's path, in the pool.
    async fn refresh(self: &Arc<Self>, id: Hash) -> Result<(), ApiError> {
        let record = kakera_shard::records::transaction_record(&*self.store()?, &id)?;
        let pooled = self.core.query(move |replica, _| {
            let pooled = replica.app().pooled(&id).map(|signed: &SignedTransaction| Brief::of(&signed.transaction));
            (pooled, progress::look(replica))
        });
        let (pooled, view) = pooled.await.map_err(|Stopped| ApiError::Stopped)?;
        let started = {
            let mut watches = self.lock();
            watches.advance(view);
            watches.note(id, pooled);
            record.map(|record| {
                let place = (record.height, record.block);
                watches.certify(id, place, &record.receipts)
            })
        };
        if let Some(Some(receipts)) = started {
            self.follow_receipts(id, receipts);
        }
        self.lock().settle_recorded();
        Ok(())
    }
}

impl Watches {
    fn remove(&mut self, id: &Hash) {
        if let Some(Watch { brief: Some(brief), .. }) = self.transactions.remove(id) {
            self.expiring.remove(&(brief.valid_until, *id));
        }
    }

    /// Changes a watched life, and tells its listeners only if it did change.
    fn change(&self, id: &Hash, change: impl FnOnce(&mut Life) -> bool) -> bool {
        self.transactions.get(id).is_some_and(|watch| watch.life.send_if_modified(change))
    }

    /// Notes that a transaction is in the pool (with what is known of it), or on the head's path.
    fn note(&mut self, id: Hash, pooled: Option<Brief>) {
        let on_path = self.path.find(&id);
        let brief = pooled.or(on_path.map(|(_, brief)| brief));
        let Some(watch) = self.transactions.get_mut(&id) else { return };
        if let Some(brief) = brief
            && watch.brief.is_none()
        {
            watch.brief = Some(brief);
            self.expiring.insert((brief.valid_until, id));
        }
        if brief.is_some() {
            self.change(&id, |life| life.accepted(now()));
        }
        if let Some((place, _)) = on_path {
            self.change(&id, |life| life.included(place, now()));
        }
    }

    /// Notes that a transaction is in a certified block; its receipts to follow, if that is news and there are any.
    fn certify(
        &mut self,
        id: Hash,
        place: (Height, BlockId),
        receipts: &[kakera_chain::receipt::Receipt],
    ) -> Option<Vec<v1::ReceiptRef>> {
        let references: Vec<v1::ReceiptRef> = receipts.iter().filter_map(delivery::reference).collect();
        if !self.change(&id, |life| life.shard_final(place, references.clone(), now())) {
            return None;
        }
        self.unrecorded.entry(place.0).or_default().push(id);
        (!references.is_empty()).then_some(references)
    }

    /// Tells all that the newest crosslink covers.
    fn settle_recorded(&mut self) {
        let above = self.unrecorded.split_off(&self.recorded.next());
        let (recorded, beacon) = (std::mem::replace(&mut self.unrecorded, above), self.beacon_height);
        for id in recorded.into_values().flatten() {
            self.change(&id, |life| life.recorded(beacon, now()));
        }
    }
}

#[cfg(test)]
mod tests;
