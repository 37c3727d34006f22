//! `kakera.v1.Chains`: what this node is, how far its chains are, and the blocks it holds.

use super::{Api, explain, id};
use crate::{
    core::Core,
    errors::ApiError,
    follow::name,
    hosts::{Host, Hosts},
    peers::Peers,
};
use kakera_beacon::Beacon;
use kakera_chain::{
    BlockId,
    application::Application,
    block::{Figures, Header},
    codec,
    genesis::Role,
    hash::{Hash, NetworkId, Tag},
    replica::{MemberStatus, Replica, Status as ReplicaStatus},
    units::{ChainId, Height, Timestamp},
};
use kakera_proto::v1::{
    self, BlockExplanation, BlockInfo, ChainName, ExplainRequest, GetBlockRequest, GetStatusRequest, HostedChain,
    NodeStatus, chains_server, explain_request, get_block_request::Which,
};
use kakera_shard::Shard;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};
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
#[derive(Clone)]
pub struct ChainsService {
    /// What every service needs.
    pub api: Api,
    /// The beacon chain, which every process follows.
    pub beacon: BeaconHere,
    /// The shards hosted.
    pub hosts: Hosts,
    /// What this process is registered as, or is to be.
    pub role: Role,
    /// This validator's name.
    pub name: Arc<str>,
    /// When the process started.
    pub started: Timestamp,
    /// How often finality is explained.
    pub explaining: explain::Turns,
}

/// The beacon chain in this process.
#[derive(Clone)]
pub struct BeaconHere {
    /// Its core.
    pub core: Core<Beacon>,
    /// Those it speaks with; not set in a process that only follows.
    pub peers: Arc<OnceLock<Peers>>,
    /// Whether it has a seat in the committee of the beacon's era.
    pub seated: Arc<AtomicBool>,
}

/// A chain that a request is about.
enum Chosen {
    Beacon,
    Shard(Box<Host>),
}

impl ChainsService {
    /// As a tonic service with its limits set.
    pub fn into_server(self) -> chains_server::ChainsServer<ChainsService> {
        chains_server::ChainsServer::new(self).max_decoding_message_size(64 * 1024)
    }

    /// The chain asked about; the one that is served first if none is.
    fn choose(&self, chain: Option<ChainName>) -> Result<Chosen, ApiError> {
        match chain.map(|name| self.api.chain(name)).transpose()? {
            None if self.role == Role::Shard => {
                Ok(self.hosts.first().map_or(Chosen::Beacon, |host| Chosen::Shard(Box::new(host))))
            }
            None | Some(ChainId::Beacon) => Ok(Chosen::Beacon),
            Some(chain @ ChainId::Shard(shard)) => {
                self.hosts.of(shard).map(|host| Chosen::Shard(Box::new(host))).ok_or(ApiError::NotHosted { chain })
            }
        }
    }

    /// What this node is and how far a chain is here.
    ///
    /// # Errors
    /// A chain that is not hosted, or the core has stopped.
    pub async fn status(&self, chain: Option<ChainName>) -> Result<NodeStatus, ApiError> {
        let mut status = match self.choose(chain)? {
            Chosen::Beacon => {
                let mut status = self.beacon.core.query(node_status).await?;
                status.connected_peers = self.beacon.peers.get().map_or(0, Peers::connected);
                if self.role == Role::Shard && chain.is_none() {
                    status.role = "standby".into();
                }
                status
            }
            Chosen::Shard(host) => {
                let mut status = host.local.core.query(node_status).await?;
                status.connected_peers = host.peers.connected();
                status
            }
        };
        status.validator = self.name.to_string();
        status.started_at_ms = self.started.0;
        status.hosted = self.hosted().await?;
        Ok(status)
    }

    /// How often peers' messages were refused, by reason, of all chains together.
    pub fn refusals(&self) -> BTreeMap<&'static str, u64> {
        let mut all = self.beacon.core.refused().counts();
        for (_, host) in self.hosts.all() {
            for (reason, count) in host.local.core.refused().counts() {
                *all.entry(reason).or_default() += count;
            }
        }
        all
    }

    /// All that is hosted, the beacon chain first.
    async fn hosted(&self) -> Result<Vec<HostedChain>, ApiError> {
        let duty = if self.beacon.seated.load(Ordering::Acquire) { "member" } else { "follower" };
        let mut all = vec![self.beacon.core.query(|replica, _| hosted(replica)).await?];
        all[0].duty = duty.into();
        for (_, host) in self.hosts.all() {
            let mut one = host.local.core.query(|replica, _| hosted(replica)).await?;
            one.duty = host.duty.to_string();
            all.push(one);
        }
        all.extend(self.hosts.fetching().into_iter().map(|(shard, duty)| HostedChain {
            chain: Some(name(ChainId::Shard(shard))),
            duty: duty.to_string(),
            phase: "fetching".into(),
            ..HostedChain::default()
        }));
        Ok(all)
    }
}

fn hosted<A: Served>(replica: &Replica<A>) -> HostedChain {
    HostedChain {
        chain: Some(name(replica.chain())),
        phase: replica.phase().to_string(),
        epoch: replica.era().epoch.0,
        certified_height: replica.certified().header.height.0,
        ..HostedChain::default()
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
        epoch: replica.era().epoch.0,
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
        undone: totals.undone,
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
impl chains_server::Chains for ChainsService {
    async fn get_status(&self, request: Request<GetStatusRequest>) -> Result<Response<NodeStatus>, Status> {
        let status = self.status(request.into_inner().chain).await;
        status.map(Response::new).map_err(|error| self.api.refuse(error))
    }

    async fn get_block(&self, request: Request<GetBlockRequest>) -> Result<Response<BlockInfo>, Status> {
        let refuse = |error| self.api.refuse(error);
        let request = request.into_inner();
        let wanted = match request.which {
            Some(Which::Height(height)) => Wanted::Height(Height(height)),
            Some(Which::Id(bytes)) => Wanted::Id(BlockId(id("id", &bytes).map_err(refuse)?)),
            None => return Err(refuse(ApiError::Missing { field: "height or id" })),
        };
        let found = match self.choose(request.chain).map_err(refuse)? {
            Chosen::Beacon => self.beacon.core.history(move |replica, _| block_info(replica, &wanted)).await,
            Chosen::Shard(host) => host.local.core.history(move |replica, _| block_info(replica, &wanted)).await,
        };
        let found = found.map_err(|stopped| refuse(stopped.into()))?;
        found.map(Response::new).ok_or_else(|| refuse(ApiError::UnknownBlock))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<BlockExplanation>, Status> {
        let refuse = |error| self.api.refuse(error);
        let request = request.into_inner();
        let wanted = match request.which {
            Some(explain_request::Which::Height(height)) => explain::Wanted::Height(Height(height)),
            Some(explain_request::Which::Id(bytes)) => explain::Wanted::Id(BlockId(id("id", &bytes).map_err(refuse)?)),
            None => return Err(refuse(ApiError::Missing { field: "height or id" })),
        };
        let chosen = self.choose(request.chain).map_err(refuse)?;
        let turn = self.explaining.take().await.map_err(refuse)?;
        let found = match chosen {
            Chosen::Beacon => self.beacon.core.query(move |replica, _| explain::explain(replica, &wanted, turn)).await,
            Chosen::Shard(host) => {
                host.local.core.query(move |replica, _| explain::explain(replica, &wanted, turn)).await
            }
        };
        let found = found.map_err(|stopped| refuse(stopped.into()))?;
        found.map(Response::new).ok_or_else(|| refuse(ApiError::UnknownBlock))
    }
}
