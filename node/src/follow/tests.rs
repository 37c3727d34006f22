//! A chain of one member, nodes that serve it well and badly, and a copy that follows.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::{
    api::Answers,
    core::now,
    testing::{self, Running},
};
use kakera_beacon::Beacon;
use kakera_chain::{genesis::Network, units::ValidatorId};
use kakera_proto::v1::{
    CanonicalBytes, CertifiedBlocks as Bytes, GetCheckpointRequest, GetReceiptsRequest, GetWholeBlockRequest,
    HandOverRequest, sync_server,
};
use std::sync::atomic::AtomicUsize;
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, transport::Server};

/// The first blocks that the member certified, as one answer.
type First = Arc<[u8]>;

/// What a node does with those who follow.
#[derive(Clone)]
enum Serves {
    /// Everything.
    All,
    /// What all have, for ever, as often as it may.
    Again(First),
}

/// A node of the chain.
#[derive(Clone)]
struct Node {
    core: Core<Beacon>,
    serves: Serves,
    followers: Arc<AtomicUsize>,
}

fn elsewhere<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("this node is followed and does nothing else"))
}

impl Node {
    async fn serve(self, asked: u64, sender: mpsc::Sender<Result<Bytes, Status>>) {
        let mut next = Height(asked);
        loop {
            let found = match &self.serves {
                Serves::Again(first) => Some(first.to_vec()),
                Serves::All => {
                    let found = self.core.query(move |replica, _| replica.certified_blocks(next)).await.unwrap();
                    next = found.as_ref().map_or(next, |found| found.blocks.last().unwrap().header.height.next());
                    found.map(|found| codec::encode(&found))
                }
            };
            if let Some(canonical) = found
                && sender.send(Ok(Bytes { canonical })).await.is_err()
            {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tonic::async_trait]
impl sync_server::Sync for Node {
    type FollowStream = Answers<Bytes>;
    type GetCheckpointStream = Answers<CanonicalBytes>;

    async fn follow(&self, request: Request<FollowChainRequest>) -> Result<Response<Self::FollowStream>, Status> {
        self.followers.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(self.clone().serve(request.get_ref().from_height, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn get_closed_era(&self, _: Request<GetClosedEraRequest>) -> Result<Response<CanonicalBytes>, Status> {
        elsewhere()
    }

    async fn get_whole_block(&self, _: Request<GetWholeBlockRequest>) -> Result<Response<CanonicalBytes>, Status> {
        elsewhere()
    }

    async fn get_checkpoint(
        &self,
        _: Request<GetCheckpointRequest>,
    ) -> Result<Response<Self::GetCheckpointStream>, Status> {
        elsewhere()
    }

    async fn get_receipts(&self, _: Request<GetReceiptsRequest>) -> Result<Response<CanonicalBytes>, Status> {
        elsewhere()
    }

    async fn hand_over(&self, _: Request<HandOverRequest>) -> Result<Response<CanonicalBytes>, Status> {
        elsewhere()
    }
}

async fn height(core: &Core<Beacon>) -> Height {
    core.query(|replica, _| replica.certified().header.height).await.unwrap()
}

/// Waits for a height.
async fn reach(core: &Core<Beacon>, wanted: Height) -> Result<(), tokio::time::error::Elapsed> {
    timeout(Duration::from_secs(30), async {
        while height(core).await < wanted {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

/// A node that repeated one block every other second was read for ever: what is known is not looked at, and each message
/// was taken for news.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_repeats_what_is_known_is_left_for_the_next() {
    let text = testing::genesis_text()
        .replace("genesis_time_ms = 0", &format!("genesis_time_ms = {}", now().0))
        .replace("slot_ms = 1000\ndelay_ms = 100", "slot_ms = 20\ndelay_ms = 10");
    let (network, dir) = (Arc::new(Network::parse(&text).unwrap()), tempfile::tempdir().unwrap());
    let speaking = Running::beacon(&network, &dir.path().join("member"), Some(0));
    let following = Running::beacon(&network, &dir.path().join("copy"), None);
    let (member, copy) = (speaking.core.clone(), following.core.clone());
    reach(&member, Height(1)).await.unwrap();
    let first = member.query(|replica, _| replica.certified_blocks(Height(1)).unwrap()).await.unwrap();
    let known = first.blocks.last().unwrap().header.height;

    let (mut tasks, mut nodes, mut followers) = (JoinSet::new(), Vec::new(), Vec::new());
    for serves in [Serves::Again(codec::encode(&first).into()), Serves::All] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        nodes.push((ValidatorId(u32::try_from(nodes.len()).unwrap()), listener.local_addr().unwrap().to_string()));
        let node = Node { core: member.clone(), serves, followers: Arc::default() };
        followers.push(Arc::clone(&node.followers));
        let served = Server::builder().add_service(sync_server::SyncServer::new(node));
        tasks.spawn(async move { served.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap() });
    }
    let forwarder = Arc::new(Forwarder::default());
    forwarder.set(ChainId::Beacon, nodes, 0);
    let followed = Followed {
        chain: ChainId::Beacon,
        timing: network.genesis.beacon,
        core: copy.clone(),
        forwarder,
        spread: 0,
        seated: Arc::default(),
        readers: None,
    };
    tasks.spawn(follow(followed));
    reach(&copy, known).await.expect("what the first node repeats is new once");
    reach(&copy, Height(known.0 + 5)).await.expect("the second node is followed");
    assert!(followers.iter().all(|followers| followers.load(Ordering::Relaxed) > 0), "both were asked");

    tasks.shutdown().await;
    for chain in [speaking, following] {
        drop(chain.stop().await);
    }
}
