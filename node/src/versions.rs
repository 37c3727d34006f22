//! States that are being handed over: kept while somebody asks for them, though the chain goes on.
//!
//! Anybody may ask, and whoever is named for the shard begins at its last recorded block: places belong first to states
//! that were asked for while the beacon chain named their blocks so.

use crate::core::Core;
use kakera_chain::BlockId;
use kakera_shard::{
    Shard, ShardState,
    handover::{Answer, Request},
};
use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};
use tokio::sync::Semaphore;

/// States kept at once at most; they share all that they have in common.
const KEPT: usize = 8;
/// A state that nobody has asked for in this time gives way to another.
const UNASKED: Duration = Duration::from_secs(30);
/// A state that nobody has asked for in this time is dropped.
const FORGOTTEN: Duration = Duration::from_secs(180);
/// Requests answered at once.
const AT_ONCE: usize = 8;

/// A handle; clones share everything.
#[derive(Clone)]
pub struct Versions {
    core: Core<Shard>,
    /// The longest kept first.
    kept: Arc<Mutex<Vec<Kept>>>,
    room: Arc<Semaphore>,
}

struct Kept {
    block: BlockId,
    state: ShardState,
    asked: Instant,
    /// It was asked for while its block was the last recorded one.
    recorded: bool,
}

impl Versions {
    /// None yet.
    pub fn new(core: Core<Shard>) -> Versions {
        Versions { core, kept: Arc::default(), room: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The answer to a request that was decoded. `recorded` says which block of the shard is the last recorded one.
    pub async fn answer(&self, request: &Request, recorded: impl Future<Output = Option<BlockId>>) -> Answer {
        let Ok(_permit) = self.room.acquire().await else { return Answer::Unavailable };
        let state = self.state(request.block, recorded).await;
        tokio::task::block_in_place(|| Answer::to(&request.ask, state.as_ref()))
    }

    async fn state(&self, block: BlockId, recorded: impl Future<Output = Option<BlockId>>) -> Option<ShardState> {
        let state = match self.look(block) {
            Some((state, true)) => return Some(state),
            Some((state, false)) => state,
            None => self.find(block).await?,
        };
        self.keep(block, &state, recorded.await == Some(block));
        Some(state)
    }

    /// Only a certified block's: any other may never be handed over.
    async fn find(&self, block: BlockId) -> Option<ShardState> {
        let found = self.core.query(move |replica, _| {
            let held = replica.held(&block)?;
            let certified = replica.certified();
            let on_chain = certified.id == block || replica.certified_id(held.header.height) == Some(block);
            on_chain.then(|| held.state.clone())
        });
        found.await.ok()?
    }

    /// A state that is kept, and whether its block was the last recorded one.
    fn look(&self, block: BlockId) -> Option<(ShardState, bool)> {
        let mut kept = self.lock();
        kept.retain(|kept| kept.asked.elapsed() < FORGOTTEN);
        let found = kept.iter_mut().find(|kept| kept.block == block)?;
        found.asked = Instant::now();
        Some((found.state.clone(), found.recorded))
    }

    /// Keeps a state if there is room, which the last recorded block's always finds.
    fn keep(&self, block: BlockId, state: &ShardState, recorded: bool) {
        let mut kept = self.lock();
        if let Some(known) = kept.iter_mut().find(|kept| kept.block == block) {
            known.recorded |= recorded;
            return;
        }
        if kept.len() >= KEPT {
            kept.retain(|kept| kept.asked.elapsed() < UNASKED);
        }
        if kept.len() >= KEPT && recorded {
            let oldest = kept.iter().position(|kept| !kept.recorded).unwrap_or(0);
            kept.remove(oldest);
        }
        if kept.len() < KEPT {
            kept.push(Kept { block, state: state.clone(), asked: Instant::now(), recorded });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().expect("no holder panics")
    }
}

#[cfg(test)]
mod tests;
