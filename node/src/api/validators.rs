//! `kakera.v1.Validators`: who validates, with what stake, and how likely committees are an adversary's.
//!
//! Every process answers from its own replica of the beacon chain: beacon processes from their chain's, the others from
//! the one that they follow it with. The core hands out its last certified state, which is cheap to clone; the answer is
//! made outside of it.

mod epoch;
mod registry;
mod risk;
#[cfg(test)]
mod tests;

use super::{Api, id};
use crate::core::Core;
use kakera_beacon::{Beacon, BeaconState};
use kakera_chain::{
    Slot,
    keys::PublicKey,
    units::{ChainId, Height, ValidatorId},
};
use kakera_proto::v1::{
    EpochState, GenesisFile, GetEpochRequest, GetGenesisRequest, GetRiskRequest, ListValidatorsRequest,
    ListValidatorsResponse, Risk, SlashingsRequest, SlashingsResponse, validators_server,
};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Validators or slashings in one answer at most.
const PAGE: usize = 1_000;

/// The service.
#[derive(Clone)]
pub struct ValidatorsService {
    api: Api,
    beacon: Core<Beacon>,
    genesis: Arc<str>,
    risks: risk::Risks,
}

/// What answers are made from.
struct Snapshot {
    height: Height,
    state: BeaconState,
    /// The beacon slot by this node's clock.
    slot: Slot,
}

impl ValidatorsService {
    /// Answers from `beacon`; `genesis` is the text of the genesis file.
    pub fn new(api: Api, beacon: Core<Beacon>, genesis: Arc<str>) -> ValidatorsService {
        ValidatorsService { api, beacon, genesis, risks: Default::default() }
    }

    /// As a tonic service with its limits set.
    pub fn into_server(self) -> validators_server::ValidatorsServer<ValidatorsService> {
        validators_server::ValidatorsServer::new(self).max_decoding_message_size(1024)
    }

    async fn snapshot(&self) -> Result<Snapshot, Status> {
        let asked = self.beacon.query(|replica, now| {
            let certified = replica.certified();
            let slot = replica.network().clock(ChainId::Beacon).slot_at(now);
            Snapshot { height: certified.header.height, state: certified.state.clone(), slot }
        });
        asked.await.map_err(|stopped| self.api.refuse(stopped.into()))
    }
}

/// Where a validator sits, in words of the wire.
fn chain_words(chain: ChainId) -> (String, u32) {
    match chain {
        ChainId::Beacon => ("beacon".to_owned(), 0),
        ChainId::Shard(shard) => ("shard".to_owned(), shard.0.into()),
    }
}

/// A validator's name in the genesis file.
fn name(network: &kakera_chain::genesis::Network, validator: ValidatorId) -> String {
    crate::config::validator(network, validator).map(|entry| entry.name.clone()).unwrap_or_default()
}

#[tonic::async_trait]
impl validators_server::Validators for ValidatorsService {
    async fn list(&self, request: Request<ListValidatorsRequest>) -> Result<Response<ListValidatorsResponse>, Status> {
        let asked = request.into_inner();
        let key = match asked.key.as_slice() {
            [] => None,
            bytes => Some(PublicKey(id("key", bytes).map_err(|error| self.api.refuse(error))?)),
        };
        let snapshot = self.snapshot().await?;
        Ok(Response::new(registry::list(&self.api.network, &snapshot, ValidatorId(asked.from), key)))
    }

    async fn get_risk(&self, request: Request<GetRiskRequest>) -> Result<Response<Risk>, Status> {
        let share = risk::share(&self.api.network, request.get_ref().adversary_per_mille);
        let share = share.map_err(|error| self.api.refuse(error))?;
        let asked = risk::Asked::of(&self.api.network, &self.snapshot().await?.state, share);
        let found = self.risks.answer(asked).await;
        found.map(Response::new).map_err(|error| self.api.refuse(error))
    }

    async fn get_epoch(&self, request: Request<GetEpochRequest>) -> Result<Response<EpochState>, Status> {
        let shard = request.get_ref().shard.map(|shard| self.api.shard(shard)).transpose();
        let shard = shard.map_err(|error| self.api.refuse(error))?;
        let snapshot = self.snapshot().await?;
        Ok(Response::new(epoch::epoch(&self.api.network, &snapshot, shard)))
    }

    async fn slashings(&self, request: Request<SlashingsRequest>) -> Result<Response<SlashingsResponse>, Status> {
        let snapshot = self.snapshot().await?;
        let from = ValidatorId(request.get_ref().from);
        Ok(Response::new(registry::slashings(&self.api.network, &snapshot.state, from)))
    }

    async fn get_genesis(&self, _: Request<GetGenesisRequest>) -> Result<Response<GenesisFile>, Status> {
        let (id, text) = (self.api.network.id.0, self.genesis.as_bytes());
        Ok(Response::new(GenesisFile { network_id: id.0.to_vec(), text: text.to_vec() }))
    }
}
