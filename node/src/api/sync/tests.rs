//! Followers: many of one connection, and one that never reads.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::{
    api::{beacon::BeaconService, chains::BeaconHere},
    errors::reason_of,
    metrics::Metrics,
    server,
    testing::Chains,
};
use kakera_chain::units::ShardId;
use kakera_proto::v1::{FollowRequest, beacon_client::BeaconClient, sync_client::SyncClient, sync_server::Sync as _};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint};

fn service(chains: &Chains) -> SyncService {
    let hosts = Hosts::default();
    hosts.insert(ShardId(0), chains.host());
    SyncService::new(api(chains), (chains.beacon.core.clone(), Arc::clone(&chains.beacon.store)), hosts)
}

fn api(chains: &Chains) -> Api {
    let (network, forwarder) = (Arc::clone(&chains.network), Arc::clone(&chains.forwarder));
    Api { network, forwarder, metrics: Arc::new(Metrics::new()) }
}

fn from(height: u64) -> FollowChainRequest {
    FollowChainRequest { chain: Some(ChainName { beacon: false, shard: 0 }), from_height: height }
}

/// A server of both services; returns where it listens.
async fn served(chains: &Chains) -> String {
    let here = BeaconHere { core: chains.beacon.core.clone(), peers: Arc::default(), seated: Arc::new(true.into()) };
    let mut routes = server::base_routes(&[]).await;
    routes.add_service(service(chains).into_server());
    routes.add_service(BeaconService::new(api(chains), here).into_server());
    let listener = server::listen("127.0.0.1:0".parse().unwrap(), "listen").await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = Arc::new(Metrics::new());
    tokio::spawn(server::serve(listener, routes.routes(), metrics, std::future::pending()));
    format!("http://{address}")
}

async fn channel(address: &str) -> Channel {
    Endpoint::from_shared(address.to_owned()).unwrap().connect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_streams_of_one_connection_leave_places_for_another() {
    let chains = Chains::start();
    let address = served(&chains).await;
    let greedy = channel(&address).await;
    let (mut streams, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..FOLLOWERS.all {
        match SyncClient::new(greedy.clone()).follow(from(u64::MAX)).await {
            Ok(stream) => streams.push(stream),
            Err(status) => refused.push(status),
        }
    }
    let honest = channel(&address).await;
    assert!(SyncClient::new(honest.clone()).follow(from(u64::MAX)).await.is_ok(), "no place is left");
    assert_eq!(streams.len(), FOLLOWERS.connection);
    assert!(refused.iter().all(|status| reason_of(status).as_deref() == Some("BUSY")));

    let mut followers = Vec::new();
    while let Ok(stream) = BeaconClient::new(greedy.clone()).follow(FollowRequest { from_height: u64::MAX }).await {
        followers.push(stream);
        assert!(followers.len() <= 1024, "no place is left");
    }
    assert!(BeaconClient::new(honest).follow(FollowRequest { from_height: u64::MAX }).await.is_ok());

    drop(streams);
    let began = Instant::now();
    while SyncClient::new(greedy.clone()).follow(from(u64::MAX)).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(10), "a place that was left is not free");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certified_blocks_come_in_order_as_they_are_certified_and_end_with_the_chain() {
    let chains = Chains::start();
    let mut blocks = service(&chains).follow(Request::new(from(0))).await.unwrap().into_inner();
    let mut next = Height(1);
    while next < Height(12) {
        let piece = timeout(Duration::from_secs(30), blocks.next()).await.unwrap().unwrap().unwrap();
        let certified: kakera_chain::application::CertifiedBlocks =
            codec::decode(&piece.canonical, kakera_chain::application::CertifiedBlocks::MAX_BYTES).unwrap();
        for block in certified.blocks {
            assert_eq!(block.header.height, next);
            next = next.next();
        }
    }
    chains.shard.stop().await;
    let rest = async { while let Some(Ok(_)) = blocks.next().await {} };
    timeout(Duration::from_secs(5), rest).await.expect("it ends");
}

/// The store of a shard that was let go could not be removed, or opened again, for as long as a stream was left unread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_takes_nothing_keeps_no_store_open() {
    let chains = Chains::start();
    let service = service(&chains);
    let mut unread = Vec::new();
    for _ in 0..4 {
        unread.push(service.follow(Request::new(from(1))).await.unwrap().into_inner());
    }
    let certified = chains.shard.core.clone();
    let height = async || certified.query(|replica, _| replica.certified().header.height).await.unwrap();
    let began = Instant::now();
    while height().await < Height(8) {
        assert!(began.elapsed() < Duration::from_secs(30), "the chain stands still");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(service.hosts.remove(ShardId(0)));
    let store = chains.shard.stop().await;
    let stopped = Instant::now();
    while Arc::strong_count(&store) > 1 {
        assert!(stopped.elapsed() < Duration::from_secs(5), "{} others hold the store", Arc::strong_count(&store) - 1);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(unread);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_is_taken_by_few_at_a_time() {
    let chains = Chains::start();
    let mut client = SyncClient::new(channel(&served(&chains).await).await);
    let request = || GetCheckpointRequest { root: vec![1; 32] };
    let shares = Shares::new("checkpoints", CHECKPOINTS);
    let bytes: Arc<Vec<u8>> = Arc::new((0..3 * 1024 * 1024).map(|index: u32| index.to_be_bytes()[3]).collect());
    let caller = Caller::from(None);
    let mut taken = Vec::new();
    let mut stream = pieces(Arc::clone(&bytes), shares.take(caller, 1).unwrap());
    while let Some(piece) = stream.next().await {
        taken.extend(piece.unwrap().canonical);
    }
    assert_eq!((&taken, shares.held()), (&*bytes, 1));
    let other = pieces(Arc::clone(&bytes), shares.take(caller, 1).unwrap());
    assert!(shares.take(caller, 1).is_err(), "a connection has few places");
    assert_eq!(Arc::strong_count(&bytes), 3, "nobody has a copy");
    drop((stream, other));
    assert!(client.get_checkpoint(request()).await.unwrap().into_inner().message().await.unwrap().is_none());
}
