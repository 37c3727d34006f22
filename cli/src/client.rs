//! The API over several nodes: a call goes on to the next node while nodes do not answer, and ends at the first
//! answer or refusal.

use crate::failure::{Failure, Result};
use kakera_beacon::RecordedReceipts;
use kakera_chain::receipt::Receipt;
use kakera_proto::v1::{
    self, accounts_client::AccountsClient, beacon_client::BeaconClient, chains_client::ChainsClient,
    sync_client::SyncClient, transactions_client::TransactionsClient, validators_client::ValidatorsClient,
};
use std::{
    future::Future,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tonic::{
    Code, Response, Status, Streaming,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// How long one call that is not a stream may take.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// Bytes of a genesis file at most: 65,535 validators and as many accounts.
const GENESIS_BYTES: usize = 64 << 20;

/// How often all nodes are tried.
const ROUNDS: u32 = 2;

/// What to do about nodes that do not answer, where nobody says otherwise.
const ADVICE: &str = "start the network with `kakera testnet up`, or name a node with --node HOST:PORT";

/// The domain of the nodes' `google.rpc.ErrorInfo`.
const DOMAIN: &str = "kakera";

/// One node.
#[derive(Clone, Debug)]
struct Node {
    endpoint: String,
    channel: Channel,
}

/// Nodes of one network.
#[derive(Debug)]
pub(crate) struct Client {
    nodes: Vec<Node>,
    next: AtomicUsize,
    advice: &'static str,
}

impl Client {
    /// Over nodes at `host:port` each; connects when first used, again after a node was gone.
    pub(crate) fn new<E: AsRef<str>>(endpoints: &[E]) -> Result<Client> {
        if endpoints.is_empty() {
            return Err(Failure::Usage("name at least one node with --node HOST:PORT".to_owned()));
        }
        let nodes = endpoints.iter().map(|endpoint| Node::new(endpoint.as_ref())).collect::<Result<_>>()?;
        Ok(Client { nodes, next: AtomicUsize::new(0), advice: ADVICE })
    }

    /// The same, with other advice for when no node answers.
    pub(crate) fn advising(self, advice: &'static str) -> Client {
        Client { advice, ..self }
    }

    /// Over one of these nodes alone.
    pub(crate) fn only(&self, index: usize) -> Client {
        self.subset(&[index])
    }

    /// Over some of these nodes, at least one.
    pub(crate) fn subset(&self, indices: &[usize]) -> Client {
        let nodes = indices.iter().map(|index| self.nodes[index % self.nodes.len()].clone()).collect();
        Client { nodes, next: AtomicUsize::new(0), advice: self.advice }
    }

    /// How many nodes there are.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The endpoint of a node.
    pub(crate) fn endpoint(&self, index: usize) -> &str {
        &self.nodes[index % self.nodes.len()].endpoint
    }

    /// A node to begin with: each in turn.
    pub(crate) fn turn(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % self.nodes.len()
    }

    /// Submits a signed transaction, first to the node `first`.
    pub(crate) async fn submit(&self, first: usize, bytes: Vec<u8>) -> Result<v1::SubmitResponse> {
        self.call(first, |channel| {
            let request = v1::SubmitRequest { signed_transaction: bytes.clone() };
            async move { TransactionsClient::new(channel).submit(request).await }
        })
        .await
    }

    /// An account; at the head rather than certified, if `head`.
    pub(crate) async fn account(&self, address: String, head: bool) -> Result<v1::Account> {
        self.call(self.turn(), |channel| {
            let request = v1::GetAccountRequest { address: address.clone(), head };
            async move { AccountsClient::new(channel).get_account(request).await }
        })
        .await
    }

    /// A shard's fees.
    pub(crate) async fn fees(&self, shard: u32) -> Result<v1::Fees> {
        let request = v1::GetFeesRequest { shard };
        self.call(self.turn(), |channel| async move { AccountsClient::new(channel).get_fees(request).await }).await
    }

    /// What a node knows of itself and its chain.
    pub(crate) async fn status(&self) -> Result<v1::NodeStatus> {
        let ask = |channel| async move { ChainsClient::new(channel).get_status(v1::GetStatusRequest::default()).await };
        self.call(self.turn(), ask).await
    }

    /// A certified block of the answering node's chain.
    pub(crate) async fn block_at(&self, height: u64) -> Result<v1::BlockInfo> {
        self.call(self.turn(), |channel| {
            let request =
                v1::GetBlockRequest { which: Some(v1::get_block_request::Which::Height(height)), chain: None };
            async move { ChainsClient::new(channel).get_block(request).await }
        })
        .await
    }

    /// Why a block of the answering node's chain is final, or what holds it back.
    pub(crate) async fn explain(&self, which: v1::explain_request::Which) -> Result<v1::BlockExplanation> {
        self.call(self.turn(), |channel| {
            let request = v1::ExplainRequest { which: Some(which.clone()), chain: None };
            async move { ChainsClient::new(channel).explain(request).await }
        })
        .await
    }

    /// The beacon's last certified state; only beacon nodes answer.
    pub(crate) async fn beacon_state(&self) -> Result<v1::BeaconState> {
        let ask = |channel| async move { BeaconClient::new(channel).get_state(v1::GetBeaconStateRequest {}).await };
        self.call(self.turn(), ask).await
    }

    /// Validators from a number on, or the one with a key.
    pub(crate) async fn validators(&self, from: u32, key: Vec<u8>) -> Result<v1::ListValidatorsResponse> {
        self.call(self.turn(), |channel| {
            let request = v1::ListValidatorsRequest { from, key: key.clone() };
            async move { ValidatorsClient::new(channel).list(request).await }
        })
        .await
    }

    /// Who lost its stake, from a number on.
    pub(crate) async fn slashings(&self, from: u32) -> Result<v1::SlashingsResponse> {
        let request = v1::SlashingsRequest { from };
        self.call(self.turn(), |channel| async move { ValidatorsClient::new(channel).slashings(request).await }).await
    }

    /// The epoch and its committees.
    pub(crate) async fn epoch(&self) -> Result<v1::EpochState> {
        let request = v1::GetEpochRequest { shard: None };
        self.call(self.turn(), |channel| async move { ValidatorsClient::new(channel).get_epoch(request).await }).await
    }

    /// The committees' risk, at the share that the network assumes.
    pub(crate) async fn risk(&self) -> Result<v1::Risk> {
        let request = v1::GetRiskRequest { adversary_per_mille: None };
        self.call(self.turn(), |channel| async move { ValidatorsClient::new(channel).get_risk(request).await }).await
    }

    /// The genesis file.
    pub(crate) async fn genesis(&self) -> Result<v1::GenesisFile> {
        let ask = |channel| async move {
            let mut client = ValidatorsClient::new(channel).max_decoding_message_size(GENESIS_BYTES);
            client.get_genesis(v1::GetGenesisRequest {}).await
        };
        self.call(self.turn(), ask).await
    }

    /// The checkpoint at a block, or the newest one that a node has, of so many bytes at most; empty if it has none.
    pub(crate) async fn checkpoint(&self, root: Option<[u8; 32]>, limit: usize) -> Result<Vec<u8>> {
        let ask = |channel| async move {
            let mut client = SyncClient::new(channel).max_decoding_message_size(2 << 20);
            let root = root.map(Vec::from).unwrap_or_default();
            client.get_checkpoint(v1::GetCheckpointRequest { root }).await
        };
        let mut pieces = self.call(self.turn(), ask).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = piece(&mut pieces).await.map_err(|status| self.unreachable(&status))? {
            bytes.extend(piece.canonical);
            if bytes.len() > limit {
                return Err(anyhow::anyhow!("the node's checkpoint has more than {limit} bytes").into());
            }
        }
        Ok(bytes)
    }

    /// What the answering node holds of the beacon's lane to a shard from a place on, as much as one answer holds.
    pub(crate) async fn receipts(&self, shard: u32, from_seq: u64) -> Result<Vec<Receipt>> {
        let ask = |channel| async move {
            let (from, to) = (v1::ChainName { beacon: true, shard: 0 }, v1::ChainName { beacon: false, shard });
            let request = v1::GetReceiptsRequest { from: Some(from), to: Some(to), from_seq };
            SyncClient::new(channel).get_receipts(request).await
        };
        let answer = self.call(self.turn(), ask).await?;
        let found = RecordedReceipts::decode(&answer.canonical)
            .map_err(|reason| anyhow::anyhow!("the node's receipts are damaged: {reason}"))?;
        Ok(found.bodies)
    }

    /// Opens the life cycle of a transaction on one node.
    pub(crate) async fn track_on(
        &self,
        node: usize,
        request: v1::TrackRequest,
    ) -> std::result::Result<Streaming<v1::TransactionStatus>, Status> {
        let channel = self.nodes[node % self.nodes.len()].channel.clone();
        let mut client = TransactionsClient::new(channel);
        bounded(client.track(request)).await.map(Response::into_inner)
    }

    /// Opens the fate of a receipt on one node.
    pub(crate) async fn track_receipt_on(
        &self,
        node: usize,
        request: v1::TrackReceiptRequest,
    ) -> std::result::Result<Streaming<v1::ReceiptStatus>, Status> {
        let channel = self.nodes[node % self.nodes.len()].channel.clone();
        let mut client = TransactionsClient::new(channel);
        bounded(client.track_receipt(request)).await.map(Response::into_inner)
    }

    async fn call<T, F>(&self, first: usize, ask: impl Fn(Channel) -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        let mut last = Status::unavailable("no node was asked");
        for round in 0..ROUNDS {
            for offset in 0..self.nodes.len() {
                let node = &self.nodes[(first + offset) % self.nodes.len()];
                match bounded(ask(node.channel.clone())).await {
                    Ok(response) => return Ok(response.into_inner()),
                    Err(status) if is_transient(&status) => last = status,
                    Err(status) => return Err(failure_of(&status)),
                }
            }
            if round + 1 < ROUNDS {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }
        Err(self.unreachable(&last))
    }

    fn unreachable(&self, last: &Status) -> Failure {
        let endpoints: Vec<&str> = self.nodes.iter().map(|node| node.endpoint.as_str()).collect();
        Failure::Connection(format!(
            "no node answers ({}; the last said: {}); {}",
            endpoints.join(", "),
            last.message(),
            self.advice
        ))
    }
}

impl Node {
    fn new(endpoint: &str) -> Result<Node> {
        let address = endpoint.strip_prefix("http://").unwrap_or(endpoint).to_owned();
        let wrong = |why: &str| Failure::Usage(format!("{endpoint} is not a node's address ({why}); it is HOST:PORT"));
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        port.ok_or_else(|| wrong("no port"))?;
        let built = Endpoint::from_shared(format!("http://{address}")).map_err(|error| wrong(&error.to_string()))?;
        // A node that is frozen, not gone, is noticed by its silence only.
        let channel = built
            .connect_timeout(CONNECT_LIMIT)
            .http2_keep_alive_interval(Duration::from_secs(3))
            .keep_alive_timeout(Duration::from_secs(3))
            .connect_lazy();
        Ok(Node { endpoint: address, channel })
    }
}

async fn bounded<T>(call: impl Future<Output = std::result::Result<T, Status>>) -> std::result::Result<T, Status> {
    tokio::time::timeout(CALL_LIMIT, call)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("no answer in {} s", CALL_LIMIT.as_secs()))))
}

/// The next piece of a stream.
async fn piece(pieces: &mut Streaming<v1::CanonicalBytes>) -> std::result::Result<Option<v1::CanonicalBytes>, Status> {
    tokio::time::timeout(CALL_LIMIT, pieces.message())
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("no more in {} s", CALL_LIMIT.as_secs()))))
}

/// Whether another node may answer: the node could not, rather than would not.
pub(crate) fn is_transient(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded | Code::Aborted => true,
        Code::Internal => reason_of(status).is_none(),
        Code::ResourceExhausted => reason_of(status).is_none_or(|reason| reason == "BUSY"),
        _ => false,
    }
}

/// A refusal's stable reason.
pub(crate) fn reason_of(status: &Status) -> Option<String> {
    status.get_details_error_info().filter(|info| info.domain == DOMAIN).map(|info| info.reason)
}

/// A node's final word as this program's failure.
pub(crate) fn failure_of(status: &Status) -> Failure {
    let reason = reason_of(status);
    match (status.code(), reason) {
        (Code::NotFound, _) => Failure::NotFound(status.message().to_owned()),
        (Code::Unimplemented, None) => {
            Failure::refused("NOT_SERVED_HERE", "this node does not serve that; ask another")
        }
        (code, reason) => Failure::Refused {
            reason: reason.unwrap_or_else(|| format!("{code:?}").to_uppercase()),
            message: status.message().to_owned(),
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    fn typed(code: Code, reason: &str) -> Status {
        let details = ErrorDetails::with_error_info(reason, DOMAIN, []);
        Status::with_error_details(code, "why", details)
    }

    #[test]
    fn refusals_are_final_and_failures_to_answer_are_not() {
        assert!(is_transient(&Status::unavailable("gone")));
        assert!(is_transient(&Status::resource_exhausted("load shed")));
        assert!(is_transient(&typed(Code::ResourceExhausted, "BUSY")));
        assert!(!is_transient(&typed(Code::ResourceExhausted, "POOL_FULL")));
        assert!(!is_transient(&typed(Code::FailedPrecondition, "NONCE_USED")));
    }

    #[test]
    fn reasons_survive_the_wire_form() {
        let failure = failure_of(&typed(Code::FailedPrecondition, "NONCE_USED"));
        assert!(matches!(failure, Failure::Refused { reason, message } if reason == "NONCE_USED" && message == "why"));
        assert_eq!(failure_of(&Status::not_found("block")).exit_code(), 5);
        assert_eq!(failure_of(&Status::invalid_argument("bad")).exit_code(), 4);
    }

    #[tokio::test]
    async fn a_dead_node_is_a_connection_failure_and_a_bad_address_is_usage() {
        // Port 1 on loopback: nothing listens there.
        let client = Client::new(&["127.0.0.1:1"]).unwrap();
        let dead = client.status().await.unwrap_err();
        assert!(dead.exit_code() == 3 && dead.to_string().contains("--node"), "{dead}");
        let dead = client.advising("name another with --beacon").only(0).status().await.unwrap_err();
        assert!(dead.to_string().ends_with("name another with --beacon"), "{dead}");
        for wrong in ["not an address", "host", "host:port", "host:70000", ":1:"] {
            assert_eq!(Client::new(&[wrong]).unwrap_err().exit_code(), 2, "{wrong}");
        }
        assert_eq!(Client::new::<&str>(&[]).unwrap_err().exit_code(), 2);
    }
}
