//! `kakera.v1.Sync`: what other nodes need of the chains that this one hosts: certified blocks, ends of eras, whole
//! blocks, and parts of a shard's state.

mod checkpoints;
mod feed;

pub(super) use feed::feed;

use super::{Answers, Api, chains::Served, id};
use crate::{
    core::Core,
    errors::ApiError,
    hosts::Hosts,
    server::{Caller, Limits, Shares},
    store::RocksStore,
};
use checkpoints::{Checkpoints, pieces};
use kakera_beacon::{Beacon, RecordedReceipts};
use kakera_chain::{
    BlockId,
    block::Block,
    codec,
    receipt::Lane,
    replica::{ClosedEra, Replica},
    units::{ChainId, Height},
};
use kakera_proto::v1::{
    CanonicalBytes, CertifiedBlocks, ChainName, FollowChainRequest, GetCheckpointRequest, GetClosedEraRequest,
    GetReceiptsRequest, GetWholeBlockRequest, HandOverRequest, sync_server,
};
use kakera_shard::{Shard, handover};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Followers at once at most, of all chains. A process reads each of its chains by one stream.
const FOLLOWERS: Limits = Limits { all: 1024, address: 128, connection: 16 };
/// Checkpoints that are sent at once at most.
const CHECKPOINTS: Limits = Limits { all: 16, address: 4, connection: 2 };

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
    /// The beacon chain's checkpoints.
    pub checkpoints: Checkpoints,
    /// Room for followers.
    pub followers: Shares,
    /// Room for those who take a checkpoint.
    pub taking: Shares,
}

/// The core of a chain that is hosted here. Nothing else of it: a chain may go while it is read.
enum Hosted {
    Beacon(Core<Beacon>),
    Shard(Core<Shard>),
}

impl SyncService {
    /// The service with its room for followers.
    pub fn new(api: Api, (beacon, beacon_store): (Core<Beacon>, Arc<RocksStore>), hosts: Hosts) -> SyncService {
        let checkpoints =
            Checkpoints::new((beacon.clone(), Arc::clone(&beacon_store)), api.network.id, api.unbonding());
        let (followers, taking) = (Shares::new("followers", FOLLOWERS), Shares::new("checkpoints", CHECKPOINTS));
        SyncService { api, beacon, beacon_store, hosts, checkpoints, followers, taking }
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
                Ok(Hosted::Shard(host.local.core))
            }
        }
    }
}

/// What proves the end of an era; empty if that is not held.
async fn closed<A: Served>(core: Core<A>, root: BlockId) -> Result<Vec<u8>, ApiError> {
    let found: Option<ClosedEra> = core.history(move |replica, _| replica.closed(&root)).await?;
    Ok(found.map(|closed| codec::encode(&closed)).unwrap_or_default())
}

/// A whole block; empty if it is not held.
async fn whole<A: Served>(core: Core<A>, id: BlockId) -> Result<Vec<u8>, ApiError> {
    let found: Option<Arc<Block>> = core.history(move |replica: &Replica<A>, _| replica.block(&id)).await?;
    Ok(found.map(|block| codec::encode(&*block)).unwrap_or_default())
}

#[tonic::async_trait]
impl sync_server::Sync for SyncService {
    type FollowStream = Answers<CertifiedBlocks>;

    async fn follow(&self, request: Request<FollowChainRequest>) -> Result<Response<Self::FollowStream>, Status> {
        let refuse = |error| self.api.refuse(error);
        let caller = Caller::from(request.remote_addr());
        let asked = request.into_inner();
        let hosted = self.hosted(asked.chain).map_err(refuse)?;
        let share = self.followers.take(caller, 1).map_err(refuse)?;
        // The genesis block is known to all and never certified.
        let from = Height(asked.from_height.max(1));
        Ok(Response::new(match hosted {
            Hosted::Beacon(core) => feed(core, from, share),
            Hosted::Shard(core) => feed(core, from, share),
        }))
    }

    type GetCheckpointStream = Answers<CanonicalBytes>;

    async fn get_checkpoint(
        &self,
        request: Request<GetCheckpointRequest>,
    ) -> Result<Response<Self::GetCheckpointStream>, Status> {
        let refuse = |error| self.api.refuse(error);
        let share = self.taking.take(Caller::from(request.remote_addr()), 1).map_err(refuse)?;
        let root = request.into_inner().root;
        let root = (!root.is_empty()).then(|| id("root", &root)).transpose().map_err(refuse)?.map(BlockId);
        let bytes = self.checkpoints.bytes(root).await.map_err(refuse)?;
        Ok(Response::new(pieces(bytes, share)))
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
            Hosted::Beacon(core) => closed(core, root).await,
            Hosted::Shard(core) => closed(core, root).await,
        };
        let canonical = found.map_err(refuse)?;
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
            Hosted::Beacon(core) => whole(core, wanted).await,
            Hosted::Shard(core) => whole(core, wanted).await,
        };
        let canonical = found.map_err(refuse)?;
        Ok(Response::new(CanonicalBytes { canonical }))
    }

    async fn hand_over(&self, request: Request<HandOverRequest>) -> Result<Response<CanonicalBytes>, Status> {
        let refuse = |error| self.api.refuse(error);
        let asked = request.into_inner();
        let shard = self.api.shard(asked.shard).map_err(refuse)?;
        let wanted = handover::Request::decode(&asked.canonical)
            .map_err(|reason| refuse(ApiError::MalformedHandOver { reason }))?;
        let versions = self.hosts.of(shard).map(|host| host.versions);
        let versions = versions.ok_or_else(|| refuse(ApiError::NotHosted { chain: ChainId::Shard(shard) }))?;
        let recorded = async {
            let last = self.beacon.query(move |replica, _| Some(replica.certified().state.shard(shard)?.last.id));
            last.await.ok().flatten()
        };
        let answer = versions.answer(&wanted, recorded).await;
        Ok(Response::new(CanonicalBytes { canonical: codec::encode(&answer) }))
    }
}

#[cfg(test)]
mod tests;
