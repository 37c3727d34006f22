//! States that are being handed over: kept while somebody asks for them, though the chain goes on.

use crate::core::Core;
use kakera_chain::BlockId;
use kakera_shard::{
    Shard, ShardState,
    handover::{Answer, Request},
};
use std::{
    sync::{Arc, Mutex},
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
    kept: Arc<Mutex<Vec<Kept>>>,
    room: Arc<Semaphore>,
}

struct Kept {
    block: BlockId,
    state: ShardState,
    asked: Instant,
}

impl Versions {
    /// None yet.
    pub fn new(core: Core<Shard>) -> Versions {
        Versions { core, kept: Arc::default(), room: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The answer to a request that was decoded.
    pub async fn answer(&self, request: &Request) -> Answer {
        let Ok(_permit) = self.room.acquire().await else { return Answer::Unavailable };
        let state = self.state(request.block).await;
        tokio::task::block_in_place(|| Answer::to(&request.ask, state.as_ref()))
    }

    async fn state(&self, block: BlockId) -> Option<ShardState> {
        if let Some(kept) = self.look(block) {
            return Some(kept);
        }
        // Only a certified block's: any other may never be handed over.
        let found = self.core.query(move |replica, _| {
            let held = replica.held(&block)?;
            let certified = replica.certified();
            let on_chain = certified.id == block || replica.certified_id(held.header.height) == Some(block);
            on_chain.then(|| held.state.clone())
        });
        let state = found.await.ok()??;
        self.keep(block, state.clone()).then_some(state)
    }

    fn look(&self, block: BlockId) -> Option<ShardState> {
        let mut kept = self.kept.lock().expect("no holder panics");
        kept.retain(|kept| kept.asked.elapsed() < FORGOTTEN);
        let found = kept.iter_mut().find(|kept| kept.block == block)?;
        found.asked = Instant::now();
        Some(found.state.clone())
    }

    /// Whether there was room.
    fn keep(&self, block: BlockId, state: ShardState) -> bool {
        let mut kept = self.kept.lock().expect("no holder panics");
        if kept.len() >= KEPT {
            kept.retain(|kept| kept.asked.elapsed() < UNASKED);
        }
        let room = kept.len() < KEPT;
        if room && !kept.iter().any(|kept| kept.block == block) {
            kept.push(Kept { block, state, asked: Instant::now() });
        }
        room
    }
}
