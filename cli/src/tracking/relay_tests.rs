//! Following and submitting over nodes that die, forget and refuse: real gRPC, scripted nodes.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::*;
use kakera_proto::v1::{
    Refusal, SubmitManyRequest, SubmitManyResponse, SubmitRequest, SubmitResponse,
    transactions_server::{Transactions, TransactionsServer},
};
use std::pin::Pin;
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

type Steps<T> = Pin<Box<dyn Stream<Item = std::result::Result<T, Status>> + Send>>;

/// How a node's stream goes on after the last step.
#[derive(Clone, Copy)]
enum Then {
    Dies,
    Ends,
    Waits,
}

/// A node that tells these stages, and answers submissions like this.
#[derive(Clone)]
struct Script {
    stages: Vec<(Stage, bool)>,
    then: Then,
    submit: std::result::Result<(), Status>,
}

#[tonic::async_trait]
impl Transactions for Script {
    async fn submit(&self, _: Request<SubmitRequest>) -> std::result::Result<Response<SubmitResponse>, Status> {
        self.submit.clone().map(|()| Response::new(SubmitResponse { transaction_id: vec![7; 32], shard: 1 }))
    }

    async fn submit_many(
        &self,
        _: Request<SubmitManyRequest>,
    ) -> std::result::Result<Response<SubmitManyResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    type TrackStream = Steps<TransactionStatus>;

    async fn track(&self, _: Request<TrackRequest>) -> std::result::Result<Response<Self::TrackStream>, Status> {
        let step = |(stage, terminal): &(Stage, bool)| {
            let refusal = (*stage == Stage::Refused).then(Refusal::default);
            Ok(TransactionStatus { stage: (*stage).into(), terminal: *terminal, refusal, ..Default::default() })
        };
        let told: Vec<_> = self.stages.iter().map(step).collect();
        let told = tokio_stream::iter(told);
        Ok(Response::new(match self.then {
            Then::Dies => Box::pin(told.chain(tokio_stream::once(Err(Status::unavailable("killed"))))),
            Then::Ends => Box::pin(told),
            Then::Waits => Box::pin(told.chain(tokio_stream::pending())),
        }))
    }

    type TrackReceiptStream = Steps<ReceiptStatus>;

    async fn track_receipt(
        &self,
        _: Request<TrackReceiptRequest>,
    ) -> std::result::Result<Response<Self::TrackReceiptStream>, Status> {
        let step = ReceiptStatus { stage: Stage::Delivered.into(), ..Default::default() };
        Ok(Response::new(match self.then {
            Then::Dies => Box::pin(tokio_stream::once(Err(Status::unavailable("killed")))),
            _ => Box::pin(tokio_stream::once(Ok(step))),
        }))
    }
}

async fn node(stages: &[(Stage, bool)], then: Then, submit: std::result::Result<(), Status>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let service = TransactionsServer::new(Script { stages: stages.to_vec(), then, submit });
    let serving = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

async fn followed(nodes: &[String], limit: Duration) -> (Result<Followed>, Vec<Stage>) {
    let client = Client::new(nodes).unwrap();
    let mut steps = Vec::new();
    let deadline = Instant::now() + limit;
    let outcome = follow(&client, 0, (1, &[7; 32]), deadline, |status| steps.push(status.stage())).await;
    (outcome, steps)
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn following_goes_on_where_a_dead_node_stopped_and_repeats_nothing() {
    let life = [(Stage::Accepted, false), (Stage::Included, false)];
    let rest =
        [(Stage::Accepted, false), (Stage::Included, false), (Stage::ShardFinal, false), (Stage::Recorded, true)];
    let nodes = [
        node(&life, Then::Dies, Ok(())).await,
        // Nothing listens on port 1.
        "127.0.0.1:1".to_owned(),
        node(&rest, Then::Ends, Ok(())).await,
    ];
    let (outcome, steps) = followed(&nodes, LONG).await;
    assert!(matches!(outcome.unwrap(), Followed::Terminal(last) if last.stage() == Stage::Recorded));
    assert_eq!(steps, [Stage::Accepted, Stage::Included, Stage::ShardFinal, Stage::Recorded]);
}

#[tokio::test]
async fn a_transaction_that_nobody_knows_is_lost_after_a_while() {
    for then in [Then::Waits, Then::Ends] {
        let nodes = [node(&[(Stage::Unknown, false)], then, Ok(())).await];
        let (outcome, steps) = followed(&nodes, LONG).await;
        assert!(matches!(outcome.unwrap(), Followed::Lost));
        assert!(steps.is_empty());
    }
}

#[tokio::test]
async fn a_refusal_is_an_end_and_silence_is_a_failure() {
    let nodes = [node(&[(Stage::Accepted, false), (Stage::Refused, true)], Then::Ends, Ok(())).await];
    assert!(matches!(followed(&nodes, LONG).await.0.unwrap(), Followed::Terminal(_)));
    let nodes = [node(&[(Stage::Accepted, false)], Then::Waits, Ok(())).await];
    let failure = followed(&nodes, Duration::from_millis(500)).await.0.unwrap_err().to_string();
    assert!(failure.contains("no terminal state") && failure.contains("kakera track"), "{failure}");
}

#[tokio::test]
async fn submission_passes_over_dead_nodes_and_stops_at_a_refusal() {
    let details = ErrorDetails::with_error_info("NONCE_USED", "kakera", []);
    let refusal = Status::with_error_details(tonic::Code::FailedPrecondition, "the next is 5", details);
    let dead = "127.0.0.1:1".to_owned();
    let refusing = node(&[], Then::Ends, Err(refusal)).await;
    let taking = node(&[], Then::Ends, Ok(())).await;
    let taken = Client::new(&[dead.clone(), taking.clone()]).unwrap().submit(0, vec![1]).await.unwrap();
    assert_eq!((taken.transaction_id, taken.shard), (vec![7; 32], 1));
    let refused = Client::new(&[dead, refusing, taking]).unwrap().submit(0, vec![1]).await.unwrap_err();
    assert!(matches!(refused, Failure::Refused { reason, .. } if reason == "NONCE_USED"));
}

#[tokio::test]
async fn a_receipt_is_followed_past_a_dead_node() {
    let nodes = [node(&[], Then::Dies, Ok(())).await, node(&[], Then::Ends, Ok(())).await];
    let client = Client::new(&nodes).unwrap();
    let request = TrackReceiptRequest { from_shard: 0, to_shard: 1, seq: 3 };
    let fate = follow_receipt(&client, 0, request, Instant::now() + LONG).await.unwrap();
    assert_eq!(fate.stage(), Stage::Delivered);
}
