//! `kakera.v1.Sync`: what other nodes need of the chains that this one hosts: certified blocks, ends of eras, whole
//! blocks, and parts of a shard's state.

use super::{Answers, Api, LocalShard, chains::Served, id};
use crate::{
    core::{ChainEvent, Core},
    errors::ApiError,
    hosts::Hosts,
    store::RocksStore,
};
use kakera_beacon::{Beacon, RecordedReceipts, checkpoint_at, checkpoint_of, newest_checkpoint};
use kakera_chain::{
    BlockId, codec,
    receipt::Lane,
    replica::Replica,
    units::{ChainId, Epoch, Height},
};
use kakera_proto::v1::{
    CanonicalBytes, CertifiedBlocks, ChainName, FollowChainRequest, GetCheckpointRequest, GetClosedEraRequest,
    GetReceiptsRequest, GetWholeBlockRequest, HandOverRequest, sync_server,
};
use kakera_shard::{Shard, handover};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, broadcast::error::RecvError, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Followers at once at most, of all chains.
pub(super) const FOLLOWERS: usize = 1024;
/// A follower that takes nothing for this long is dropped.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a checkpoint in one message.
const PIECE: usize = 1024 * 1024;

/// The service.
#[derive(Clone)]
pub struct SyncService {
    /// What every service needs.
    pub api: Api,
    /// The beacon chain, which every process follows.
    pub beacon: Core<Beacon>,
    /// The beacon chain's tables.
    pub beacon_store: Arc<RocksStore>,
    /// The shards.
    pub hosts: Hosts,
    /// One checkpoint is read at a time.
    pub reading: Arc<Semaphore>,
    /// Room for followers.
    pub followers: Arc<Semaphore>,
}

/// A chain that is hosted here.
enum Hosted {
    Beacon(Core<Beacon>),
    Shard(LocalShard),
}

impl SyncService {
    /// The service with its room for followers.
    pub fn new(api: Api, (beacon, beacon_store): (Core<Beacon>, Arc<RocksStore>), hosts: Hosts) -> SyncService {
        let (reading, followers) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(FOLLOWERS)));
        SyncService { api, beacon, beacon_store, hosts, reading, followers }
    }

    /// The bytes of a checkpoint that is held here, if it is.
    async fn checkpoint(&self, root: Option<BlockId>) -> Result<Vec<u8>, ApiError> {
        let _turn = self.reading.acquire().await.map_err(|_| ApiError::Stopped)?;
        let newest = self.beacon.query(|replica, _| replica.certified().state.clone()).await?;
        let (store, network) = (Arc::clone(&self.beacon_store), self.api.network.id);
        let read = tokio::task::block_in_place(|| match root {
            None => newest_checkpoint(&*store, &newest, true),
            Some(root) => {
                let oldest = newest.epoch.0.saturating_sub(self.api.unbonding());
                let is_it =
                    |epoch: &u64| matches!(checkpoint_at(&*store, Epoch(*epoch)), Ok(Some((_, id))) if id == root);
                let epoch = (oldest..=newest.epoch.0).find(is_it);
                epoch.map_or(Ok(None), |epoch| checkpoint_of(&*store, Epoch(epoch)))
            }
        })?;
        let held = read.filter(|checkpoint| root.is_none_or(|root| checkpoint.block.header.id(network) == root));
        Ok(held.and_then(|checkpoint| checkpoint.to_bytes()).unwrap_or_default())
    }

    /// As a tonic service with its limits set.
    pub fn into_server(self) -> sync_server::SyncServer<SyncService> {
        sync_server::SyncServer::new(self).max_decoding_message_size(4096)
    }

    fn hosted(&self, chain: Option<ChainName>) -> Result<Hosted, ApiError> {
        let chain = self.api.chain(chain.ok_or(ApiError::Missing { field: "chain" })?)?;
        match chain {
            ChainId::Beacon => Ok(Hosted::Beacon(self.beacon.clone())),
            ChainId::Shard(shard) => {
                let host = self.hosts.of(shard).ok_or(ApiError::NotHosted { chain })?;
                Ok(Hosted::Shard(host.local))
            }
        }
    }
}

/// Sends certified blocks from `next` on, each answer as long as one may be, until the reader goes.
pub(super) async fn feed<A: Served>(
    core: Core<A>,
    mut next: Height,
    sender: mpsc::Sender<Result<CertifiedBlocks, Status>>,
) {
    let mut events = core.events();
    loop {
        let Ok(found) = core.query(move |replica, _| certified(replica, next)).await else {
            let _gone = sender.send(Err(ApiError::Stopped.into())).await;
            return;
        };
        if let Some((canonical, last)) = found {
            if !matches!(timeout(PATIENCE, sender.send(Ok(CertifiedBlocks { canonical }))).await, Ok(Ok(()))) {
                return;
            }
            next = last.next();
            continue;
        }
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                () = sender.closed() => return,
            };
            match event {
                Ok(ChainEvent::Certified { .. }) | Err(RecvError::Lagged(_)) => break,
                // The heights above the root are certified again: whoever has read on has read what is lost.
                Ok(ChainEvent::Undone(_) | ChainEvent::Ended) => return,
                Ok(_) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }
}

fn certified<A: Served>(replica: &Replica<A>, from: Height) -> Option<(Vec<u8>, Height)> {
    let found = replica.certified_blocks(from)?;
    let last = found.blocks.last()?.header.height;
    Some((codec::encode(&found), last))
}

fn closed<A: Served>(replica: &Replica<A>, root: BlockId) -> Vec<u8> {
    replica.closed(&root).map(|closed| codec::encode(&closed)).unwrap_or_default()
}

fn whole<A: Served>(replica: &Replica<A>, id: BlockId) -> Vec<u8> {
    replica.block(&id).map(|block| codec::encode(&*block)).unwrap_or_default()
}

#[tonic::async_trait]
impl sync_server::Sync for SyncService {
    type FollowStream = Answers<CertifiedBlocks>;

    async fn follow(&self, request: Request<FollowChainRequest>) -> Result<Response<Self::FollowStream>, Status> {
        let refuse = |error| self.api.refuse(error);
        let asked = request.into_inner();
        let hosted = self.hosted(asked.chain).map_err(refuse)?;
        let busy = |_| refuse(ApiError::Busy { what: "followers", limit: FOLLOWERS });
        let permit = Arc::clone(&self.followers).try_acquire_owned().map_err(busy)?;
        // The genesis block is known to all and never certified.
        let from = Height(asked.from_height.max(1));
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            match hosted {
                Hosted::Beacon(core) => feed(core, from, sender).await,
                Hosted::Shard(local) => feed(local.core, from, sender).await,
            }
            drop(permit);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    type GetCheckpointStream = Answers<CanonicalBytes>;

    async fn get_checkpoint(
        &self,
        request: Request<GetCheckpointRequest>,
    ) -> Result<Response<Self::GetCheckpointStream>, Status> {
        let refuse = |error| self.api.refuse(error);
        let root = request.into_inner().root;
        let root = (!root.is_empty()).then(|| id("root", &root)).transpose().map_err(refuse)?.map(BlockId);
        let bytes = self.checkpoint(root).await.map_err(refuse)?;
        let pieces: Vec<_> =
            bytes.chunks(PIECE).map(|piece| Ok(CanonicalBytes { canonical: piece.to_vec() })).collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(pieces))))
    }

    async fn get_receipts(&self, request: Request<GetReceiptsRequest>) -> Result<Response<CanonicalBytes>, Status> {
        let refuse = |error| self.api.refuse(error);
        let asked = request.into_inner();
        let chain = |name: Option<ChainName>, field| self.api.chain(name.ok_or(ApiError::Missing { field })?);
        let (from, to) = (chain(asked.from, "from").map_err(refuse)?, chain(asked.to, "to").map_err(refuse)?);
        let read = RecordedReceipts::of(&*self.beacon_store, Lane { from, to }, asked.from_seq);
        let found = read.map_err(|failure| refuse(failure.into()))?;
        Ok(Response::new(CanonicalBytes { canonical: codec::encode(&found) }))
    }

    async fn get_closed_era(&self, request: Request<GetClosedEraRequest>) -> Result<Response<CanonicalBytes>, Status> {
        let refuse = |error| self.api.refuse(error);
        let asked = request.into_inner();
        let root = BlockId(id("root", &asked.root).map_err(refuse)?);
        let found = match self.hosted(asked.chain).map_err(refuse)? {
            Hosted::Beacon(core) => core.query(move |replica, _| closed(replica, root)).await,
            Hosted::Shard(local) => local.core.query(move |replica, _| closed(replica, root)).await,
        };
        let canonical = found.map_err(|stopped| refuse(stopped.into()))?;
        Ok(Response::new(CanonicalBytes { canonical }))
    }

    async fn get_whole_block(
        &self,
        request: Request<GetWholeBlockRequest>,
    ) -> Result<Response<CanonicalBytes>, Status> {
        let refuse = |error| self.api.refuse(error);
        let asked = request.into_inner();
        let wanted = BlockId(id("id", &asked.id).map_err(refuse)?);
        let found = match self.hosted(asked.chain).map_err(refuse)? {
            Hosted::Beacon(core) => core.query(move |replica, _| whole(replica, wanted)).await,
            Hosted::Shard(local) => local.core.query(move |replica: &Replica<Shard>, _| whole(replica, wanted)).await,
        };
        let canonical = found.map_err(|stopped| refuse(stopped.into()))?;
        Ok(Response::new(CanonicalBytes { canonical }))
    }

    async fn hand_over(&self, request: Request<HandOverRequest>) -> Result<Response<CanonicalBytes>, Status> {
        let refuse = |error| self.api.refuse(error);
        let asked = request.into_inner();
        let shard = self.api.shard(asked.shard).map_err(refuse)?;
        let wanted = handover::Request::decode(&asked.canonical)
            .map_err(|reason| refuse(ApiError::MalformedHandOver { reason }))?;
        let host = self.hosts.of(shard).ok_or_else(|| refuse(ApiError::NotHosted { chain: ChainId::Shard(shard) }))?;
        let answer = host.versions.answer(&wanted).await;
        Ok(Response::new(CanonicalBytes { canonical: codec::encode(&answer) }))
    }
}
