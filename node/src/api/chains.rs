//! `kakera.v1.Chains`: what this node is, how far it is, and the blocks it holds.

use super::{Api, explain, id};
use crate::{
    core::{Core, Stopped},
    errors::ApiError,
    peers::Peers,
};
use kakera_beacon::Beacon;
use kakera_chain::{
    BlockId,
    application::Application,
    block::{Figures, Header},
    codec,
    hash::{Hash, NetworkId, Tag},
    replica::{MemberStatus, Replica, Status as ReplicaStatus},
    units::{ChainId, Height, Timestamp},
};
use kakera_proto::v1::{
    self, BlockExplanation, BlockInfo, ExplainRequest, GetBlockRequest, GetStatusRequest, NodeStatus, chains_server,
    explain_request, get_block_request::Which,
};
use kakera_shard::Shard;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// An application that a node serves: what the API says of it beyond its replica.
pub trait Served: Application<State: Send + Sync, Input: Send, Reply: Send> + Send + 'static {
    /// Transactions or crosslinks that wait.
    fn waiting(&self) -> usize;
    /// The newest certified beacon block known, where that is another chain's.
    fn beacon_height(&self) -> Height;
    /// The ids of a block's transactions.
    fn transaction_ids(body: &[Vec<u8>], network: NetworkId) -> Vec<Hash>;
}

impl Served for Shard {
    fn waiting(&self) -> usize {
        self.pool_size().0
    }

    fn beacon_height(&self) -> Height {
        self.tip().height
    }

    fn transaction_ids(body: &[Vec<u8>], network: NetworkId) -> Vec<Hash> {
        // As `kakera_shard::Transaction::id`: a body's items are the canonical bytes.
        body.iter().map(|item| Hash::of(&[Tag::TRANSACTION.bytes(), &network.0.0, item])).collect()
    }
}

impl Served for Beacon {
    fn waiting(&self) -> usize {
        self.pool().len()
    }

    fn beacon_height(&self) -> Height {
        Height(0)
    }

    fn transaction_ids(_: &[Vec<u8>], _: NetworkId) -> Vec<Hash> {
        Vec::new()
    }
}

/// The service.
pub struct ChainsService<A: Application> {
    /// What every service needs.
    pub api: Api,
    /// This node's chain.
    pub core: Core<A>,
    /// This node's peers.
    pub peers: Peers,
    /// This validator's name.
    pub name: Arc<str>,
    /// When the process started.
    pub started: Timestamp,
    /// How often finality is explained.
    pub explaining: explain::Turns,
}

impl<A: Application> Clone for ChainsService<A> {
    fn clone(&self) -> Self {
        let (api, core, peers) = (self.api.clone(), self.core.clone(), self.peers.clone());
        let (name, explaining) = (Arc::clone(&self.name), self.explaining.clone());
        ChainsService { api, core, peers, name, started: self.started, explaining }
    }
}

impl<A: Served> ChainsService<A> {
    /// As a tonic service with its limits set.
    pub fn into_server(self) -> chains_server::ChainsServer<ChainsService<A>> {
        chains_server::ChainsServer::new(self).max_decoding_message_size(64 * 1024)
    }

    /// What this node is and how far it is.
    ///
    /// # Errors
    /// The core has stopped.
    pub async fn status(&self) -> Result<NodeStatus, Stopped> {
        let mut status = self.core.query(|replica, now| node_status(replica, now)).await?;
        status.validator = self.name.to_string();
        status.connected_peers = self.peers.connected();
        status.started_at_ms = self.started.0;
        Ok(status)
    }
}

fn node_status<A: Served>(replica: &Replica<A>, now: Timestamp) -> NodeStatus {
    let (chain, app, status) = (replica.chain(), replica.app(), replica.status(now));
    let (role, shard) = match chain {
        ChainId::Beacon => ("beacon", 0),
        ChainId::Shard(shard) => ("shard", shard.0),
    };
    let supply = matches!(chain, ChainId::Shard(_)).then(|| supply(&replica.certified().header.figures));
    NodeStatus {
        network_id: replica.network().id.0.0.to_vec(),
        network_name: replica.network().genesis.name.clone(),
        role: role.into(),
        shard: shard.into(),
        slot: status.slot.0,
        head_height: status.head_height.0,
        head_id: status.head_id.0.to_vec(),
        finalized_height: status.finalized_height.0,
        certified_height: status.certified_height.0,
        certified_id: status.certified_id.0.to_vec(),
        state_root: status.state_root.0.to_vec(),
        phase: status.phase.to_string(),
        totals: Some(totals(&status)),
        members: status.members.iter().map(|member| member_status(replica, member)).collect(),
        pool_size: u32::try_from(app.waiting()).unwrap_or(u32::MAX),
        stalled: status.stalled.is_some(),
        stall_reason: status.stalled.unwrap_or_default(),
        supply,
        beacon_height: app.beacon_height().0,
        slot_ms: replica.network().timing(chain).slot_ms,
        ..NodeStatus::default()
    }
}

fn totals(status: &ReplicaStatus) -> v1::Totals {
    let totals = status.totals;
    let equivocators = status.members.iter().filter(|member| member.faulty).count();
    v1::Totals {
        blocks: totals.blocks,
        transactions: totals.transactions,
        receipts_out: totals.receipts_out,
        receipts_in: totals.receipts_in,
        messages: totals.messages,
        forks: totals.forks,
        equivocators: u64::try_from(equivocators).unwrap_or(u64::MAX),
    }
}

fn member_status<A: Application>(replica: &Replica<A>, member: &MemberStatus) -> v1::MemberStatus {
    let entry = crate::config::validator(replica.network(), member.validator);
    v1::MemberStatus {
        member: member.member.0.into(),
        validator: entry.map(|entry| entry.name.clone()).unwrap_or_default(),
        weight: member.weight,
        messages: member.messages,
        latest_slot: member.latest_slot.0,
        faulty: member.faulty,
        silent: member.silent,
    }
}

fn supply(figures: &Figures) -> v1::Supply {
    let Figures { balances, held, burned, sent, received, .. } = *figures;
    v1::Supply { balances, held, burned, sent, received }
}

enum Wanted {
    Height(Height),
    Id(BlockId),
}

fn block_info<A: Served>(replica: &Replica<A>, wanted: &Wanted) -> Option<BlockInfo> {
    let id = match wanted {
        Wanted::Height(height) => replica.certified_id(*height)?,
        Wanted::Id(id) => *id,
    };
    let block = replica.block(&id)?;
    let header: &Header = &block.header;
    let certified = replica.certified_id(header.height) == Some(id);
    let certificate = replica.certificate(header.height).filter(|certificate| certificate.finality.block == id);
    let transactions = A::transaction_ids(&block.body, replica.network().id);
    Some(BlockInfo {
        id: id.0.to_vec(),
        height: header.height.0,
        slot: header.slot.0,
        parent: header.parent.0.to_vec(),
        proposer: header.proposer.0.into(),
        state_root: header.state_root.0.to_vec(),
        reference_height: header.reference.height.0,
        reference_slot: header.reference.slot.0,
        transaction_ids: transactions.into_iter().map(|id| id.0.to_vec()).collect(),
        supply: Some(supply(&header.figures)),
        base_fee: header.figures.base_fee,
        gas_used: header.figures.gas_used,
        certified,
        header: codec::encode(header),
        certificate: certificate.map(|certificate| codec::encode(&certificate)).unwrap_or_default(),
        messages_per_member: replica.messages_per_member(&id),
    })
}

#[tonic::async_trait]
impl<A: Served> chains_server::Chains for ChainsService<A> {
    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<NodeStatus>, Status> {
        self.status().await.map(Response::new).map_err(|stopped| self.api.refuse(stopped.into()))
    }

    async fn get_block(&self, request: Request<GetBlockRequest>) -> Result<Response<BlockInfo>, Status> {
        let refuse = |error| self.api.refuse(error);
        let wanted = match request.into_inner().which {
            Some(Which::Height(height)) => Wanted::Height(Height(height)),
            Some(Which::Id(bytes)) => Wanted::Id(BlockId(id("id", &bytes).map_err(refuse)?)),
            None => return Err(refuse(ApiError::Missing { field: "height or id" })),
        };
        let found = self.core.query(move |replica, _| block_info(replica, &wanted)).await;
        let found = found.map_err(|stopped| refuse(stopped.into()))?;
        found.map(Response::new).ok_or_else(|| refuse(ApiError::UnknownBlock))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<BlockExplanation>, Status> {
        let refuse = |error| self.api.refuse(error);
        let wanted = match request.into_inner().which {
            Some(explain_request::Which::Height(height)) => explain::Wanted::Height(Height(height)),
            Some(explain_request::Which::Id(bytes)) => explain::Wanted::Id(BlockId(id("id", &bytes).map_err(refuse)?)),
            None => return Err(refuse(ApiError::Missing { field: "height or id" })),
        };
        let turn = self.explaining.take().await.map_err(refuse)?;
        let found = self.core.query(move |replica, _| explain::explain(replica, &wanted, turn)).await;
        let found = found.map_err(|stopped| refuse(stopped.into()))?;
        found.map(Response::new).ok_or_else(|| refuse(ApiError::UnknownBlock))
    }
}
