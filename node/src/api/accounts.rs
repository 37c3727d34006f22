//! `kakera.v1.Accounts`: balances, nonces and prices.

use super::{Api, LocalShard};
use crate::{errors::ApiError, hosts::Hosts};
use kakera_chain::{
    address::Address,
    replica::Replica,
    units::{ChainId, ShardId},
};
use kakera_proto::v1::{
    Account, Fees, GetAccountRequest, GetFeesRequest, accounts_client::AccountsClient, accounts_server,
};
use kakera_shard::{Action, Shard};
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone)]
pub struct AccountsService {
    /// What every service needs.
    pub api: Api,
    /// The shards answered for here are those in whose committee this process sits.
    pub hosts: Hosts,
}

impl AccountsService {
    /// As a tonic service with its limits set.
    pub fn into_server(self) -> accounts_server::AccountsServer<AccountsService> {
        accounts_server::AccountsServer::new(self).max_decoding_message_size(64 * 1024)
    }

    fn local(&self, shard: ShardId) -> Option<LocalShard> {
        self.hosts.serving(shard)
    }
}

fn account(replica: &Replica<Shard>, address: Address, head: bool) -> Account {
    let at = if head { replica.head() } else { replica.certified() };
    let (account, app) = (at.state.account(&address), replica.app());
    let next = app.pending_nonce(replica.head().state, &address);
    Account {
        address: address.to_string(),
        shard: app.rules().shard.0.into(),
        balance: account.balance,
        nonce: account.nonce,
        pending_nonce: next,
        height: at.header.height.0,
        state_root: at.header.state_root.0.to_vec(),
    }
}

/// What transfers cost above the head, as the shard itself quotes them.
fn fees(replica: &Replica<Shard>) -> Fees {
    let (state, app) = (replica.head().state, replica.app());
    let (here, shards) = (app.rules().shard, app.rules().shards);
    let gas = |to: ShardId| {
        let quote = app.quote(state, &Action::Transfer { to: somewhere(to, shards), amount: 1 });
        quote.map_or(0, |quote| quote.gas)
    };
    let others: Vec<ShardId> = (0..shards).map(ShardId).filter(|shard| *shard != here).collect();
    let full_lanes = others.chunks(Action::MAX_TRANSFERS).flat_map(|shards_asked| {
        let transfers = shards_asked.iter().map(|shard| (somewhere(*shard, shards), 1)).collect();
        app.quote(state, &Action::Batch { transfers }).map_or_else(|_| Vec::new(), |quote| quote.full_lanes)
    });
    Fees {
        shard: here.0.into(),
        base_fee: state.base_fee(),
        beacon_slot: app.tip().slot.0,
        transfer_gas: gas(here),
        cross_transfer_gas: others.first().map_or(0, |other| gas(*other)),
        full_lanes: full_lanes.filter_map(shard_of).collect(),
    }
}

/// A destination, if it is a shard.
fn shard_of(chain: ChainId) -> Option<u32> {
    match chain {
        ChainId::Beacon => None,
        ChainId::Shard(shard) => Some(shard.0.into()),
    }
}

/// The first address of a shard.
fn somewhere(shard: ShardId, shards: u16) -> Address {
    let prefix = (u128::from(shard.0) << 64).div_ceil(u128::from(shards.max(1)));
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&u64::try_from(prefix).unwrap_or(u64::MAX).to_be_bytes());
    Address(bytes)
}

#[tonic::async_trait]
impl accounts_server::Accounts for AccountsService {
    async fn get_account(&self, request: Request<GetAccountRequest>) -> Result<Response<Account>, Status> {
        let refuse = |error| self.api.refuse(error);
        let asked = request.get_ref();
        let address: Address = asked.address.parse().map_err(|reason| refuse(ApiError::MalformedAddress { reason }))?;
        let (shard, head) = (address.shard(self.api.network.genesis.shards), asked.head);
        if let Some(local) = self.local(shard) {
            let found = local.core.query(move |replica, _| account(replica, address, head)).await;
            return found.map(Response::new).map_err(|stopped| refuse(stopped.into()));
        }
        let chain = ChainId::Shard(shard);
        self.api.forwardable(&request, chain).map_err(refuse)?;
        let forwarded = self.api.forwarder.call(chain, request.into_inner(), |channel, request| async move {
            AccountsClient::new(channel).get_account(request).await
        });
        forwarded.await.map(Response::new)
    }

    async fn get_fees(&self, request: Request<GetFeesRequest>) -> Result<Response<Fees>, Status> {
        let refuse = |error| self.api.refuse(error);
        let shard = self.api.shard(request.get_ref().shard).map_err(refuse)?;
        if let Some(local) = self.local(shard) {
            let found = local.core.query(|replica, _| fees(replica)).await;
            return found.map(Response::new).map_err(|stopped| refuse(stopped.into()));
        }
        let chain = ChainId::Shard(shard);
        self.api.forwardable(&request, chain).map_err(refuse)?;
        let forwarded = self.api.forwarder.call(chain, request.into_inner(), |channel, request| async move {
            AccountsClient::new(channel).get_fees(request).await
        });
        forwarded.await.map(Response::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somewhere_is_in_its_shard() {
        for shards in [1, 2, 3, 7, 1024] {
            assert!((0..shards).map(ShardId).all(|shard| somewhere(shard, shards).shard(shards) == shard));
        }
    }
}
