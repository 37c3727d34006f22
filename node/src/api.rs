//! The gRPC services. Each answers for its own chain and forwards the rest to a node of the chain asked about.

pub mod accounts;
pub mod admin;
pub mod beacon;
pub mod chains;
pub mod explain;
pub mod sync;
pub mod transactions;
pub mod validators;

use crate::{
    core::{Core, Stopped},
    errors::ApiError,
    forward::{self, Forwarder},
    metrics::Metrics,
    store::RocksStore,
    tracker::Tracker,
};
use kakera_chain::{
    genesis::Network,
    units::{ChainId, ShardId},
};
use kakera_shard::Shard;
use std::{pin::Pin, sync::Arc};
use tokio_stream::Stream;
use tonic::{Request, Status};

/// What every service needs.
#[derive(Clone)]
pub struct Api {
    /// The network.
    pub network: Arc<Network>,
    /// The way to the other chains' nodes.
    pub forwarder: Arc<Forwarder>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// A shard that this process hosts.
#[derive(Clone)]
pub struct LocalShard {
    /// Which.
    pub shard: ShardId,
    /// Its core.
    pub core: Core<Shard>,
    /// Its tables.
    pub store: Arc<RocksStore>,
    /// Its transactions' lives.
    pub tracker: Tracker,
}

/// A stream of answers.
pub type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Api {
    /// A shard of this network.
    pub(crate) fn shard(&self, shard: u32) -> Result<ShardId, ApiError> {
        let shards = self.network.genesis.shards;
        let known = u16::try_from(shard).ok().filter(|shard| *shard < shards);
        known.map(ShardId).ok_or(ApiError::UnknownShard { shard, shards })
    }

    /// Epochs for which evidence is taken; 0 where there is one epoch.
    pub(crate) fn unbonding(&self) -> u64 {
        self.network.genesis.epochs.map_or(0, |epochs| epochs.unbonding)
    }

    /// A chain of this network.
    pub(crate) fn chain(&self, name: kakera_proto::v1::ChainName) -> Result<ChainId, ApiError> {
        if name.beacon { Ok(ChainId::Beacon) } else { self.shard(name.shard).map(ChainId::Shard) }
    }

    /// Refuses a request that another node forwarded here by mistake: forwarding it again could go round for ever.
    pub(crate) fn forwardable<T>(&self, request: &Request<T>, chain: ChainId) -> Result<(), ApiError> {
        if forward::is_forwarded(request.metadata()) { Err(ApiError::Misrouted { chain }) } else { Ok(()) }
    }

    /// Counts a refusal on its way out.
    pub(crate) fn refuse(&self, error: ApiError) -> Status {
        self.metrics.count_request_refused(error.kind().1);
        error.into()
    }
}

impl From<Stopped> for ApiError {
    fn from(Stopped: Stopped) -> ApiError {
        ApiError::Stopped
    }
}

/// A 32-byte id.
pub(crate) fn id(field: &'static str, bytes: &[u8]) -> Result<[u8; 32], ApiError> {
    bytes.try_into().map_err(|_| ApiError::IdLength { field, found: bytes.len() })
}
