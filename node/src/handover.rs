//! Fetching a shard's state over the network: who is named for a shard begins there at its last recorded block.
//!
//! ```text
//!   beacon state here ── last recorded block ──> Fetch ──asks──> holders (Sync.HandOver)
//!                                                  │ rows, proved part by part
//!        the block itself (Sync.GetWholeBlock, checked by id) + what the beacon said ──> a store to start from
//! ```
//!
//! What is asked of whom, and what is believed, is up to [`kakera_shard::handover`]; this drives it.

use crate::{
    checked::Way,
    core::{Core, Stopped, now},
    follow::name,
    forward::Forwarder,
    peers::FRAME_BYTES,
    store::RocksStore,
};
use kakera_beacon::{Beacon, due_reading};
use kakera_chain::{
    BlockId,
    block::Block,
    codec,
    hash::NetworkId,
    replica::{EraPlan, adopt},
    store::StoreFailure,
    units::{ChainId, ShardId, ValidatorId},
};
use kakera_proto::v1::{GetWholeBlockRequest, HandOverRequest, sync_client::SyncClient};
use kakera_shard::{
    BeaconView,
    handover::{Completed, Effect, Fetch, FetchConfig, Input, Request, Target},
};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};
use thiserror::Error;
use tokio::{
    runtime::Handle,
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};

/// How often new holders, and another target where nobody has this one, are looked for.
const LOOK: Duration = Duration::from_millis(500);
/// How long one answer may take: much longer than until somebody else is asked, because it still counts when it comes, and
/// on a slow link no other does.
const ANSWER: Duration = Duration::from_secs(30);
/// How long one holder is waited for alone for a block before the next one is asked, too.
const ALONE: Duration = Duration::from_secs(2);
/// How often progress is logged.
const LOG: Duration = Duration::from_secs(5);

/// What a hand-over needs.
#[derive(Clone)]
pub struct Newcomer {
    /// The beacon chain here.
    pub beacon: Core<Beacon>,
    /// Its store.
    pub beacon_store: Arc<RocksStore>,
    /// The state itself.
    pub download: Download,
}

/// What fetching a state needs.
#[derive(Clone)]
pub struct Download {
    /// Which shard's.
    pub shard: ShardId,
    /// Shards of the network.
    pub shards: u16,
    /// The shard's store, to be filled.
    pub store: Arc<RocksStore>,
    /// The ways to the holders.
    pub forwarder: Arc<Forwarder>,
}

/// Why a hand-over ended without a state.
#[derive(Debug, Error)]
pub enum Failed {
    /// The process stops.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// A store.
    #[error(transparent)]
    Store(#[from] StoreFailure),
    /// The disk's words.
    #[error("{0:#}")]
    Disk(anyhow::Error),
}

impl Newcomer {
    /// Fetches the state; when this returns the store holds all that a replica starts from.
    ///
    /// # Errors
    /// The process stops, or a disk fails. Peers that do not answer, or answer badly, are waited out.
    pub async fn fetch(self) -> Result<(), Failed> {
        let (shard, store) = (self.download.shard, &self.download.store);
        loop {
            let newest = || {
                let this = self.clone();
                async move { this.start().await }
            };
            let (target, plan, completed) = self.download.run(newest).await?;
            let network = self.beacon.query(|replica, _| replica.network().id).await?;
            let Some(block) = self.download.block(target.block, network).await else {
                sleep(LOOK).await;
                continue;
            };
            let beacon_store = Arc::clone(&self.beacon_store);
            let (reference, inbox) = (block.header.reference, completed.state.meta.inbox.clone());
            let due = self.beacon.query(move |_, _| due_reading(&*beacon_store, shard, &reference, &inbox)).await??;
            let Some(due) = due else {
                let height = target.height;
                tracing::warn!(%shard, %height, "the beacon's word at that block is not held here; a later block is tried");
                sleep(LOOK).await;
                continue;
            };
            let follows = target.block != plan.root.1;
            let mut writes = completed.writes;
            // The root's slot decides nothing for who follows; for everybody else this block is the root.
            writes.extend(adopt(&plan, block.header.slot, &block, target.block, follows));
            writes.extend(BeaconView::begin_with(&due));
            store.write(&writes, true).map_err(Failed::Disk)?;
            tracing::info!(%shard, height = %target.height, epoch = %plan.epoch, "the state of a shard is handed over");
            return Ok(());
        }
    }

    /// The last recorded block by the newest certified beacon state here.
    async fn start(&self) -> Result<Option<(Target, EraPlan)>, Stopped> {
        let shard = self.download.shard;
        let read = self.beacon.query(move |replica, _| {
            let state = replica.certified().state;
            let record = state.shard(shard)?;
            let (block, header) = (record.last.id, &record.last.header);
            let target = Target { block, height: header.height, state_root: header.state_root };
            Some((target, state.era_of(shard, replica.app().signatures())?))
        });
        read.await
    }
}

impl Download {
    /// Fetches the state at the block that `newest` names, and at a later one if nobody serves that; with what `newest`
    /// says beside. What an earlier call has fetched of the same is not fetched again.
    ///
    /// # Errors
    /// `newest` says that there is nothing to fetch any more, or a disk fails.
    pub async fn run<T, F>(&self, newest: impl Fn() -> F) -> Result<(Target, T, Completed), Failed>
    where
        F: Future<Output = Result<Option<(Target, T)>, Stopped>>,
    {
        let (mut target, mut beside) = newest().await?.ok_or(Stopped)?;
        let config = FetchConfig::of(self.shard, self.shards);
        let mut fetch = Fetch::open(config, target, &*self.store)?;
        let (sender, mut answers) = mpsc::channel(64);
        let mut inputs = VecDeque::from([Input::Tick]);
        let (began, mut logged, mut looked) = (Instant::now(), Instant::now(), None::<Instant>);
        tracing::info!(shard = %self.shard, height = %target.height, "a shard's state is fetched");
        loop {
            let given = inputs.pop_front().unwrap_or(Input::Tick);
            for effect in self.step(&mut fetch, given)? {
                match effect {
                    Effect::Persist(_) => {}
                    Effect::Ask { peer, ticket, request } => self.ask(peer, ticket, request, sender.clone()),
                    Effect::Complete(completed) => {
                        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                        tracing::info!(shard = %self.shard, height = %target.height, took_ms, "a shard's state is whole");
                        return Ok((target, beside, *completed));
                    }
                    other => self.report(&other),
                }
            }
            if logged.elapsed() >= LOG
                && let Some((done, all)) = fetch.progress()
            {
                logged = Instant::now();
                tracing::info!(shard = %self.shard, done, all, "fetching a shard's state");
            }
            if looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
                looked = Some(Instant::now());
                let holders = self.forwarder.all(ChainId::Shard(self.shard));
                inputs.extend(holders.into_iter().map(|(validator, _)| Input::Peer(validator)));
                if fetch.wants_another(now())
                    && let Some((next, with)) = newest().await?
                    && next != target
                {
                    (target, beside) = (next, with);
                    inputs.push_back(Input::Target(target));
                }
            }
            if inputs.is_empty() {
                let until = fetch.next_wakeup().map_or(u64::MAX, |at| at.0.saturating_sub(now().0));
                let wait = Duration::from_millis(until).min(LOOK);
                inputs.extend(timeout(wait, answers.recv()).await.ok().flatten());
            }
        }
    }

    /// One input, and its rows on the disk. Parts are proved and tries are built here, so that it may take a while.
    fn step(&self, fetch: &mut Fetch, input: Input) -> Result<Vec<Effect>, Failed> {
        tokio::task::block_in_place(|| {
            let effects = fetch.handle(now(), input, &*self.store)?;
            for effect in &effects {
                if let Effect::Persist(writes) = effect {
                    self.store.write(writes, false).map_err(Failed::Disk)?;
                }
            }
            Ok(effects)
        })
    }

    fn report(&self, effect: &Effect) {
        let shard = self.shard;
        match effect {
            Effect::Dropped { peer, fault } => {
                tracing::warn!(%shard, validator = %peer, %fault, "a holder is asked no more for the state");
            }
            Effect::Mismatch { found, expected } => {
                tracing::error!(%shard, %found, %expected, "the disk does not hold what was written: all is fetched again");
            }
            Effect::Stalled(stall) => tracing::info!(%shard, %stall, "the state of a shard is not served now"),
            Effect::Persist(_) | Effect::Ask { .. } | Effect::Complete(_) => {}
        }
    }

    fn ask(&self, peer: ValidatorId, ticket: u64, request: Request, answers: mpsc::Sender<Input>) {
        let chain = ChainId::Shard(self.shard);
        let way = self.forwarder.all(chain).into_iter().find(|(validator, _)| *validator == peer);
        let (shard, limit) = (self.shard, request.ask.answer_bytes() + 64);
        Handle::current().spawn(async move {
            let answer = async {
                let (_, channel) = way?;
                let mut client = SyncClient::new(channel).max_decoding_message_size(limit);
                let asked =
                    client.hand_over(HandOverRequest { shard: shard.0.into(), canonical: codec::encode(&request) });
                Some(timeout(ANSWER, asked).await.ok()?.ok()?.into_inner().canonical)
            };
            let input = match answer.await {
                Some(bytes) => Input::Answered { peer, ticket, bytes },
                None => Input::Lost { peer, ticket },
            };
            // The fetch may be over.
            let _over = answers.send(input).await;
        });
    }

    /// A block, from whoever has it; nothing when nobody has.
    async fn block(&self, id: BlockId, network: NetworkId) -> Option<Block> {
        let chain = ChainId::Shard(self.shard);
        let (mut holders, mut asked) = (self.forwarder.all(chain).into_iter(), JoinSet::new());
        loop {
            let one_more = holders.next().map(|holder| asked.spawn(whole(chain, holder, id, network))).is_some();
            match timeout(if one_more { ALONE } else { ANSWER }, asked.join_next()).await {
                Ok(Some(Ok(Some(block)))) => return Some(block),
                Ok(None) if !one_more => return None,
                _ => {}
            }
        }
    }
}

/// A block as one holder has it, if it is the one.
async fn whole(chain: ChainId, holder: (ValidatorId, Way), id: BlockId, network: NetworkId) -> Option<Block> {
    let (validator, channel) = holder;
    let mut client = SyncClient::new(channel).max_decoding_message_size(FRAME_BYTES);
    let asked = client.get_whole_block(GetWholeBlockRequest { chain: Some(name(chain)), id: id.0.to_vec() });
    let bytes = timeout(ANSWER, asked).await.ok()?.ok()?.into_inner().canonical;
    match Block::decode(&bytes) {
        Ok(block) if block.header.id(network) == id && block.is_whole() => return Some(block),
        _ if bytes.is_empty() => {}
        _ => tracing::warn!(%validator, block = %id, "a holder sent another block than the one asked for"),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both once were five seconds: an answer that took longer was cut off though it would have been taken.
    #[test]
    fn an_answer_has_much_longer_than_until_another_is_asked_and_less_than_until_another_target_is_in_the_end() {
        let config = FetchConfig::of(ShardId(0), 1);
        let (timeout, patience) = (Duration::from_millis(config.timeout_ms), Duration::from_millis(config.patience_ms));
        assert!(ANSWER >= 4 * timeout && ANSWER < 4 * patience);
    }
}
