//! `kakera.v1.Beacon`: the certified chain, crosslinks, and the recorded state.

use super::{Answers, Api, chains::BeaconHere, sync::feed};
use crate::{
    config,
    core::Core,
    errors::ApiError,
    peers::FRAME_BYTES,
    server::{Caller, Holding, Limits, Shares},
};
use kakera_beacon::{Beacon, BeaconState, Reply, draw::Row};
use kakera_chain::{
    crosslink::Crosslink,
    genesis::Network,
    replica::Replica,
    units::{ChainId, Height, ValidatorId},
};
use kakera_proto::v1::{
    self, CertifiedBlocks, CommitteeSeat, FollowRequest, GetBeaconStateRequest, LaneState, RecordedShard,
    SubmitCrosslinkRequest, SubmitCrosslinkResponse, beacon_client::BeaconClient, beacon_server,
};
use std::sync::atomic::Ordering;
use tonic::{Request, Response, Status};

/// Followers at once at most. Another node brings those of all its clients over one connection.
const FOLLOWERS: Limits = Limits { all: 1024, address: 256, connection: 64 };

/// The service.
#[derive(Clone)]
pub struct BeaconService {
    /// What every service needs.
    pub api: Api,
    /// The beacon chain here; it is answered for by those who have a seat in its committee.
    pub here: BeaconHere,
    /// Room for followers.
    pub followers: Shares,
}

impl BeaconService {
    /// The service with its room for followers.
    pub fn new(api: Api, here: BeaconHere) -> BeaconService {
        BeaconService { api, here, followers: Shares::new("followers", FOLLOWERS) }
    }

    fn local(&self) -> Option<&Core<Beacon>> {
        self.here.seated.load(Ordering::Acquire).then_some(&self.here.core)
    }

    /// As a tonic service with its limits set.
    pub fn into_server(self) -> beacon_server::BeaconServer<BeaconService> {
        beacon_server::BeaconServer::new(self).max_decoding_message_size(Crosslink::MAX_BYTES + 1024)
    }
}

fn state(replica: &Replica<Beacon>) -> v1::BeaconState {
    let certified = replica.certified();
    let state: &BeaconState = certified.state;
    // An imbalance is an invariant broken: the figure shows it.
    let conserved = state.conservation().unwrap_or_else(|imbalance| u64::try_from(imbalance.found).unwrap_or(u64::MAX));
    v1::BeaconState {
        height: certified.header.height.0,
        block_id: certified.id.0.to_vec(),
        epoch: state.epoch.0,
        shards: (0..).zip(&state.shards).map(|(shard, record)| recorded_shard(shard, record)).collect(),
        lanes: state.lanes.iter().filter_map(|(lane, log)| lane_state(lane, log)).collect(),
        conserved_total: conserved,
        genesis_supply: state.parameters.supply,
        seats: all_seats(replica.network(), state),
        minted: state.registry.minted(),
        staked: u64::try_from(state.registry.stake()).unwrap_or(u64::MAX),
        stake_burned: state.registry.burned(),
    }
}

fn recorded_shard(shard: u32, record: &kakera_beacon::ShardRecord) -> RecordedShard {
    let (header, figures) = (&record.last.header, &record.last.header.figures);
    RecordedShard {
        shard,
        height: header.height.0,
        block_id: record.last.id.0.to_vec(),
        state_root: header.state_root.0.to_vec(),
        balances: figures.balances,
        held: figures.held,
        burned: figures.burned,
        sent: figures.sent,
        received: figures.received,
    }
}

fn lane_state(lane: &kakera_chain::receipt::Lane, log: &kakera_beacon::LaneLog) -> Option<LaneState> {
    let (ChainId::Shard(from), ChainId::Shard(to)) = (lane.from, lane.to) else { return None };
    let pending = log.pending.iter().fold(0u64, |sum, pending| sum.saturating_add(pending.amount));
    Some(LaneState {
        from_shard: from.0.into(),
        to_shard: to.0.into(),
        recorded: log.recorded(),
        consumed: log.consumed,
        pending_amount: pending,
    })
}

/// Every seat of every chain that is in office.
fn all_seats(network: &Network, state: &BeaconState) -> Vec<CommitteeSeat> {
    let beacon = seats_of(network, state, "beacon", 0, &state.seating.current.beacon);
    let shards = (0..).zip(&state.shards);
    let shards = shards.flat_map(|(shard, record)| seats_of(network, state, "shard", shard, &record.bench.seats()));
    beacon.into_iter().chain(shards).collect()
}

fn seats_of(network: &Network, state: &BeaconState, role: &str, shard: u32, row: &Row) -> Vec<CommitteeSeat> {
    let seat = |(member, (id, seats)): (u32, &(ValidatorId, u32))| {
        let entry = state.registry.get(*id)?;
        Some(CommitteeSeat {
            role: role.into(),
            shard,
            member,
            validator: config::name(network, *id),
            weight: (*seats).into(),
            endpoint: entry.endpoint.clone(),
        })
    };
    (0..).zip(row).filter_map(seat).collect()
}

#[tonic::async_trait]
impl beacon_server::Beacon for BeaconService {
    type FollowStream = Answers<CertifiedBlocks>;

    async fn follow(&self, request: Request<FollowRequest>) -> Result<Response<Self::FollowStream>, Status> {
        let refuse = |error| self.api.refuse(error);
        let share = self.followers.take(Caller::from(request.remote_addr()), 1).map_err(refuse)?;
        let Some(core) = self.local().cloned() else {
            self.api.forwardable(&request, ChainId::Beacon).map_err(refuse)?;
            let asked = request.into_inner();
            let forwarded = self.api.forwarder.call(ChainId::Beacon, asked, |channel, request| async move {
                BeaconClient::new(channel).max_decoding_message_size(FRAME_BYTES).follow(request).await
            });
            return Ok(Response::new(Box::pin(Holding::new(forwarded.await?, share))));
        };
        // The genesis block is known to all and never certified.
        let from = Height(request.get_ref().from_height.max(1));
        Ok(Response::new(feed(core, from, share)))
    }

    async fn submit_crosslink(
        &self,
        request: Request<SubmitCrosslinkRequest>,
    ) -> Result<Response<SubmitCrosslinkResponse>, Status> {
        let refuse = |error| self.api.refuse(error);
        let crosslink = Crosslink::decode(&request.get_ref().canonical)
            .map_err(|reason| refuse(ApiError::MalformedCrosslink { reason }))?;
        let Some(core) = self.local() else {
            self.api.forwardable(&request, ChainId::Beacon).map_err(refuse)?;
            let asked = request.into_inner();
            let forwarded = self.api.forwarder.call(ChainId::Beacon, asked, |channel, request| async move {
                BeaconClient::new(channel).submit_crosslink(request).await
            });
            return forwarded.await.map(Response::new);
        };
        match core.submit(crosslink).await.map_err(|stopped| refuse(stopped.into()))? {
            Reply::Accepted => Ok(Response::new(SubmitCrosslinkResponse { new: true })),
            Reply::Known => Ok(Response::new(SubmitCrosslinkResponse { new: false })),
            Reply::Refused(reason) => Err(refuse(ApiError::Crosslink(reason))),
        }
    }

    async fn get_state(&self, request: Request<GetBeaconStateRequest>) -> Result<Response<v1::BeaconState>, Status> {
        let refuse = |error| self.api.refuse(error);
        let Some(core) = self.local() else {
            self.api.forwardable(&request, ChainId::Beacon).map_err(refuse)?;
            let asked = request.into_inner();
            let forwarded = self.api.forwarder.call(ChainId::Beacon, asked, |channel, request| async move {
                BeaconClient::new(channel).max_decoding_message_size(FRAME_BYTES).get_state(request).await
            });
            return forwarded.await.map(Response::new);
        };
        let found = core.query(|replica, _| state(replica)).await.map_err(|stopped| refuse(stopped.into()))?;
        Ok(Response::new(found))
    }
}
