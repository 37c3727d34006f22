//! `kakera.v1.Transactions`: submitting and following.

use super::{Answers, Api, LocalShard, id};
use crate::{errors::ApiError, hosts::Hosts, peers::FRAME_BYTES};
use kakera_chain::{
    address::Address,
    hash::Hash,
    units::{ChainId, ShardId},
};
use kakera_proto::v1::{
    self, SubmitManyRequest, SubmitManyResponse, SubmitRequest, SubmitResponse, SubmitResult, TrackReceiptRequest,
    TrackRequest, submit_result::Outcome, transactions_client::TransactionsClient, transactions_server,
};
use kakera_shard::{Input, Refusal, Reply, SignedTransaction};
use std::collections::BTreeMap;
use tokio::task::JoinSet;
use tonic::{Request, Response, Status};

/// Transactions in one request at most.
const MANY: usize = 256;

/// The service.
#[derive(Clone)]
pub struct TransactionsService {
    /// What every service needs.
    pub api: Api,
    /// The shards answered for here are those in whose committee this process sits.
    pub hosts: Hosts,
}

impl TransactionsService {
    /// As a tonic service with its limits set.
    pub fn into_server(self) -> transactions_server::TransactionsServer<TransactionsService> {
        transactions_server::TransactionsServer::new(self).max_decoding_message_size(2 * 1024 * 1024)
    }

    fn local(&self, shard: ShardId) -> Option<LocalShard> {
        self.hosts.serving(shard)
    }

    fn shard_of(&self, signed: &SignedTransaction) -> ShardId {
        Address::of(&signed.transaction.sender).shard(self.api.network.genesis.shards)
    }

    /// Submits one here, or sends several to their shard.
    async fn submit_group(self, shard: ShardId, group: Vec<(usize, Vec<u8>)>) -> Vec<(usize, Outcome)> {
        let (places, signed_transactions): (Vec<usize>, Vec<Vec<u8>>) = group.into_iter().unzip();
        let request = SubmitManyRequest { signed_transactions };
        let answer = self.api.forwarder.call(ChainId::Shard(shard), request, |channel, request| async move {
            let mut client = TransactionsClient::new(channel).max_decoding_message_size(FRAME_BYTES);
            client.submit_many(request).await
        });
        let lost = |message: String| Outcome::Refused(v1::Refusal { reason: "UNREACHABLE".into(), message });
        match answer.await {
            Ok(response) => {
                let mut results = response.results.into_iter();
                let next = |place| {
                    let outcome = results.next().and_then(|result| result.outcome);
                    (place, outcome.unwrap_or_else(|| lost("the shard's node gave no answer for it".into())))
                };
                places.into_iter().map(next).collect()
            }
            Err(status) => places.into_iter().map(|place| (place, lost(status.message().to_owned()))).collect(),
        }
    }
}

impl LocalShard {
    /// Gives a transaction to the pool.
    async fn submit(&self, signed: SignedTransaction) -> Result<SubmitResponse, ApiError> {
        match self.core.submit(Input::Submit(signed)).await? {
            Reply::Accepted { id } | Reply::Known { id } => {
                Ok(SubmitResponse { transaction_id: id.0.to_vec(), shard: self.shard.0.into() })
            }
            Reply::Refused(refusal) => Err(ApiError::Transaction(refusal)),
            Reply::BeaconAdvanced(_) | Reply::BeaconRefused(_) => Err(ApiError::Stopped),
        }
    }
}

fn decode(bytes: &[u8]) -> Result<SignedTransaction, ApiError> {
    let (found, limit) = (bytes.len(), SignedTransaction::MAX_BYTES);
    if found > limit {
        return Err(ApiError::Transaction(Refusal::TooLong { found, limit }));
    }
    SignedTransaction::decode(bytes).map_err(|reason| ApiError::MalformedTransaction { reason })
}

fn outcome(result: Result<SubmitResponse, ApiError>) -> Outcome {
    result.map_or_else(|error| Outcome::Refused(error.to_refusal()), Outcome::Accepted)
}

#[tonic::async_trait]
impl transactions_server::Transactions for TransactionsService {
    type TrackStream = Answers<v1::TransactionStatus>;
    type TrackReceiptStream = Answers<v1::ReceiptStatus>;

    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<SubmitResponse>, Status> {
        let signed = decode(&request.get_ref().signed_transaction).map_err(|error| self.api.refuse(error))?;
        let shard = self.shard_of(&signed);
        if let Some(local) = self.local(shard) {
            return local.submit(signed).await.map(Response::new).map_err(|error| self.api.refuse(error));
        }
        let chain = ChainId::Shard(shard);
        self.api.forwardable(&request, chain).map_err(|error| self.api.refuse(error))?;
        let forwarded = self.api.forwarder.call(chain, request.into_inner(), |channel, request| async move {
            TransactionsClient::new(channel).submit(request).await
        });
        forwarded.await.map(Response::new)
    }

    async fn submit_many(&self, request: Request<SubmitManyRequest>) -> Result<Response<SubmitManyResponse>, Status> {
        let forwardable = self.api.forwardable(&request, ChainId::Beacon).is_ok();
        let signed = request.into_inner().signed_transactions;
        let (total, mut groups) = (signed.len(), BTreeMap::<ShardId, Vec<(usize, Vec<u8>)>>::new());
        if total > MANY {
            return Err(self.api.refuse(ApiError::TooMany { what: "transactions", found: total, limit: MANY }));
        }
        let mut tasks: JoinSet<Vec<(usize, Outcome)>> = JoinSet::new();
        let mut outcomes: BTreeMap<usize, Outcome> = BTreeMap::new();
        for (place, bytes) in signed.into_iter().enumerate() {
            let transaction = match decode(&bytes) {
                Ok(transaction) => transaction,
                Err(error) => {
                    outcomes.insert(place, Outcome::Refused(error.to_refusal()));
                    continue;
                }
            };
            let shard = self.shard_of(&transaction);
            if let Some(local) = self.local(shard) {
                tasks.spawn(async move { vec![(place, outcome(local.submit(transaction).await))] });
            } else if forwardable {
                groups.entry(shard).or_default().push((place, bytes));
            } else {
                let error = ApiError::Misrouted { chain: ChainId::Shard(shard) };
                outcomes.insert(place, Outcome::Refused(error.to_refusal()));
            }
        }
        for (shard, group) in groups {
            tasks.spawn(self.clone().submit_group(shard, group));
        }
        while let Some(done) = tasks.join_next().await {
            outcomes.extend(done.map_err(|_| self.api.refuse(ApiError::Stopped))?);
        }
        let results = outcomes.into_values().map(|outcome| SubmitResult { outcome: Some(outcome) }).collect();
        Ok(Response::new(SubmitManyResponse { results }))
    }

    async fn track(&self, request: Request<TrackRequest>) -> Result<Response<Self::TrackStream>, Status> {
        let asked = request.get_ref();
        let refuse = |error| self.api.refuse(error);
        let shard = self.api.shard(asked.shard).map_err(refuse)?;
        let transaction = Hash(id("transaction_id", &asked.transaction_id).map_err(refuse)?);
        if let Some(local) = self.local(shard) {
            let steps = local.tracker.track(transaction, asked.after).await.map_err(refuse)?;
            return Ok(Response::new(Box::pin(steps)));
        }
        let chain = ChainId::Shard(shard);
        self.api.forwardable(&request, chain).map_err(refuse)?;
        let forwarded = self.api.forwarder.call(chain, request.into_inner(), |channel, request| async move {
            TransactionsClient::new(channel).track(request).await
        });
        Ok(Response::new(Box::pin(forwarded.await?)))
    }

    async fn track_receipt(
        &self,
        request: Request<TrackReceiptRequest>,
    ) -> Result<Response<Self::TrackReceiptStream>, Status> {
        let asked = request.get_ref();
        let refuse = |error| self.api.refuse(error);
        let (from, to) =
            (self.api.shard(asked.from_shard).map_err(refuse)?, self.api.shard(asked.to_shard).map_err(refuse)?);
        if let Some(local) = self.local(to) {
            let steps = local.tracker.track_receipt(from, asked.seq).map_err(refuse)?;
            return Ok(Response::new(Box::pin(steps)));
        }
        let chain = ChainId::Shard(to);
        self.api.forwardable(&request, chain).map_err(refuse)?;
        let forwarded = self.api.forwarder.call(chain, request.into_inner(), |channel, request| async move {
            TransactionsClient::new(channel).track_receipt(request).await
        });
        Ok(Response::new(Box::pin(forwarded.await?)))
    }
}
