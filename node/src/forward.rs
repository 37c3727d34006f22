//! Any node answers for any chain: requests about another chain go to a node of its committee.
//!
//! Channels are made once, lazily, and recover by themselves; one to a name leads where the name does (`names`). A call begins with the node that answered last and tries
//! each other node once when one does not answer. A forwarded request carries the metadata key [`FORWARDED`] and is
//! never forwarded again.

pub(crate) mod names;

use crate::{
    checked::{Checked, Way},
    errors::ApiError,
    peers::{PING_ANSWER, PING_EVERY},
};
use kakera_chain::units::{ChainId, ValidatorId};
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    net::SocketAddr,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::timeout;
use tonic::{Code, Request, Response, Status, metadata::MetadataMap, transport::Endpoint};

/// The metadata key of a forwarded request.
pub const FORWARDED: &str = "kakera-forwarded";

/// How long one node has for its answer (of a stream: for its beginning).
const ATTEMPT: Duration = Duration::from_secs(3);
const CONNECT: Duration = Duration::from_secs(1);

/// Who serves which chain, and the ways there.
#[derive(Debug, Default)]
pub struct Forwarder {
    /// Those who answer clients: the committees in office.
    chains: RwLock<BTreeMap<ChainId, Arc<Nodes>>>,
    /// All who hold a chain's state, where that is more than its committee.
    holders: RwLock<BTreeMap<ChainId, Arc<Nodes>>>,
    channels: Mutex<BTreeMap<String, Route>>,
}

/// A channel, and of one to a name whether that is known to lead nowhere.
#[derive(Debug)]
struct Route {
    way: Way,
    nowhere: Arc<AtomicBool>,
}

#[derive(Debug, PartialEq, Eq)]
struct Node {
    validator: ValidatorId,
    endpoint: String,
}

#[derive(Debug)]
struct Nodes {
    nodes: Vec<Node>,
    /// Where the next call begins.
    first: AtomicUsize,
}

impl Forwarder {
    /// From now on these nodes serve a chain, each dialled at its endpoint. `spread`: which of them is asked first, so
    /// that not everybody asks the same one.
    pub fn set(&self, chain: ChainId, nodes: Vec<(ValidatorId, String)>, spread: usize) {
        replace(&self.chains, chain, nodes, spread);
        self.let_go();
    }

    /// From now on these nodes hold the state of a chain, the ones to be asked first in front.
    pub fn set_holders(&self, chain: ChainId, nodes: Vec<(ValidatorId, String)>) {
        replace(&self.holders, chain, nodes, 0);
        self.let_go();
    }

    /// Drops the channels to whoever serves nothing any more.
    fn let_go(&self) {
        let used: BTreeSet<String> = [&self.chains, &self.holders]
            .iter()
            .flat_map(|map| {
                let map = map.read().expect("no holder panics");
                map.values().flat_map(|nodes| nodes.nodes.iter().map(|node| node.endpoint.clone())).collect::<Vec<_>>()
            })
            .collect();
        self.channels.lock().expect("no holder panics").retain(|endpoint, _| used.contains(endpoint));
    }

    fn nodes(&self, chain: ChainId) -> Option<Arc<Nodes>> {
        self.chains.read().expect("no holder panics").get(&chain).cloned()
    }

    /// Whoever holds a chain's state: its committee where no more is known.
    fn holding(&self, chain: ChainId) -> Option<Arc<Nodes>> {
        let holders = self.holders.read().expect("no holder panics").get(&chain).cloned();
        holders.or_else(|| self.nodes(chain))
    }

    /// How many other nodes serve a chain.
    pub fn count(&self, chain: ChainId) -> usize {
        self.nodes(chain).map_or(0, |nodes| nodes.nodes.len())
    }

    /// The way to the `index`th holder of a chain's state, counted round.
    pub fn channel(&self, chain: ChainId, index: usize) -> Option<(String, Way)> {
        let nodes = self.holding(chain)?;
        let node = nodes.nodes.get(index.checked_rem(nodes.nodes.len())?)?;
        self.way(&node.endpoint).map(|way| (node.endpoint.clone(), way))
    }

    /// The way to the `index`th node of a chain's committee, counted round.
    pub fn member(&self, chain: ChainId, index: usize) -> Option<(String, Way)> {
        let nodes = self.nodes(chain)?;
        let node = nodes.nodes.get(index.checked_rem(nodes.nodes.len())?)?;
        self.way(&node.endpoint).map(|way| (node.endpoint.clone(), way))
    }

    /// Whoever holds a chain's state, and the ways there.
    pub fn all(&self, chain: ChainId) -> Vec<(ValidatorId, Way)> {
        let Some(nodes) = self.holding(chain) else { return Vec::new() };
        nodes.nodes.iter().filter_map(|node| Some((node.validator, self.way(&node.endpoint)?))).collect()
    }

    fn way(&self, endpoint: &str) -> Option<Way> {
        let mut channels = self.channels.lock().expect("no holder panics");
        if let Some(Route { way, nowhere }) = channels.get(endpoint) {
            return (!nowhere.load(Ordering::Relaxed)).then(|| way.clone());
        }
        let (channel, nowhere) = match endpoint.parse::<SocketAddr>() {
            Ok(address) => (way_to(address)?.connect_lazy(), Arc::default()),
            Err(_) => {
                Endpoint::from_shared(format!("http://{endpoint}"))
                    .inspect_err(
                        |error| tracing::error!(endpoint, %error, "an endpoint in the registry is no host:port"),
                    )
                    .ok()?;
                names::channel(endpoint.to_owned(), way_to)
            }
        };
        let way = Checked(channel);
        channels.insert(endpoint.to_owned(), Route { way: way.clone(), nowhere });
        Some(way)
    }

    /// Sends a request to a node of `chain`, trying each once. `send` is one method of a client over the channel.
    ///
    /// # Errors
    /// What the first node that answers says, or [`ApiError::Unreachable`] when none does.
    pub async fn call<T, R, F, Answer>(&self, chain: ChainId, message: T, send: F) -> Result<R, Status>
    where
        T: Clone,
        F: Fn(Way, Request<T>) -> Answer,
        Answer: Future<Output = Result<Response<R>, Status>>,
    {
        let mut last = "none is known".to_owned();
        let nodes = self.nodes(chain);
        let (first, count) =
            nodes.as_ref().map_or((0, 0), |nodes| (nodes.first.load(Ordering::Relaxed), nodes.nodes.len()));
        for step in 0..count {
            let node = nodes.as_ref().and_then(|nodes| nodes.nodes.get((first + step) % count));
            let Some((endpoint, channel)) = node.and_then(|node| Some((&node.endpoint, self.way(&node.endpoint)?)))
            else {
                continue;
            };
            let mut request = Request::new(message.clone());
            request.metadata_mut().insert(FORWARDED, "1".parse().expect("an ASCII value"));
            let status = match timeout(ATTEMPT, send(channel, request)).await {
                Ok(Ok(response)) => {
                    if let Some(nodes) = &nodes {
                        nodes.first.store(first + step, Ordering::Relaxed);
                    }
                    return Ok(response.into_inner());
                }
                Ok(Err(status)) if !is_silence(&status) => return Err(status),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded("no answer in time"),
            };
            tracing::debug!(%chain, endpoint, %status, "a node does not answer; the next one is asked");
            last = format!("{endpoint}: {}", status.message());
        }
        Err(ApiError::Unreachable { chain, last }.into())
    }
}

fn way_to(address: SocketAddr) -> Option<Endpoint> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
    let endpoint = endpoint.connect_timeout(CONNECT).tcp_nodelay(true);
    Some(endpoint.http2_keep_alive_interval(PING_EVERY).keep_alive_timeout(PING_ANSWER))
}

fn replace(
    map: &RwLock<BTreeMap<ChainId, Arc<Nodes>>>,
    chain: ChainId,
    nodes: Vec<(ValidatorId, String)>,
    spread: usize,
) {
    let nodes: Vec<Node> = nodes.into_iter().map(|(validator, endpoint)| Node { validator, endpoint }).collect();
    let mut map = map.write().expect("no holder panics");
    if !map.get(&chain).is_some_and(|known| known.nodes == nodes) {
        let first = AtomicUsize::new(spread.checked_rem(nodes.len()).unwrap_or(0));
        map.insert(chain, Arc::new(Nodes { nodes, first }));
    }
}

/// Whether a request was forwarded by another node already.
pub fn is_forwarded(metadata: &MetadataMap) -> bool {
    metadata.contains_key(FORWARDED)
}

/// Whether a status says that the node is not there rather than what it thinks of the request.
fn is_silence(status: &Status) -> bool {
    // A committee that has just changed: another of its nodes knows.
    if crate::errors::reason_of(status).as_deref() == Some("MISROUTED") {
        return true;
    }
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => true,
        // Broken connections, as tonic reports them; our own refusals carry a reason.
        Code::Unknown | Code::Internal => crate::errors::reason_of(status).is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kakera_chain::units::ShardId;
    use kakera_proto::v1::{GetClosedEraRequest, sync_client::SyncClient};
    use tokio::net::TcpListener;

    const SHARD: ChainId = ChainId::Shard(ShardId(0));

    fn forwarder() -> Forwarder {
        let forwarder = Forwarder::default();
        let node = |id: u32| (ValidatorId(id), format!("127.0.0.1:{}", 4000 + id));
        forwarder.set(ChainId::Beacon, vec![node(0)], 1);
        forwarder.set(SHARD, vec![node(2), node(3)], 1);
        forwarder
    }

    #[tokio::test]
    async fn every_node_is_tried_once_and_then_it_says_who_does_not_answer() {
        let (forwarder, shard) = (forwarder(), SHARD);
        assert_eq!((forwarder.count(ChainId::Beacon), forwarder.count(shard)), (1, 2));
        let tried = Mutex::new(0);
        let answer = forwarder.call(shard, (), |_, request| {
            assert!(is_forwarded(request.metadata()));
            *tried.lock().expect("one thread") += 1;
            async { Err::<Response<()>, _>(Status::unavailable("away")) }
        });
        let status = answer.await.expect_err("nobody answers");
        assert_eq!(crate::errors::reason_of(&status).as_deref(), Some("UNREACHABLE"));
        assert!(status.message().contains("127.0.0.1:400"), "{status}");
        assert_eq!(*tried.lock().expect("one thread"), 2);
    }

    #[tokio::test]
    async fn a_node_at_a_name_is_reached_and_one_at_a_name_of_nobody_is_away() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let served = tonic::service::Routes::default().into_axum_router();
        let serving = tokio::spawn(async move { axum::serve(listener, served).await });
        let forwarder = Forwarder::default();
        let nodes = [(1, "validator.invalid:4001".to_owned()), (2, format!("localhost:{port}"))];
        forwarder.set(SHARD, nodes.map(|(id, endpoint)| (ValidatorId(id), endpoint)).to_vec(), 0);
        let answer = forwarder.call(SHARD, GetClosedEraRequest::default(), |way, request| async move {
            SyncClient::new(way).get_closed_era(request).await
        });
        // Nothing is served there, and it says so itself.
        assert_eq!(answer.await.expect_err("nothing is served").code(), Code::Unimplemented);
        assert!(forwarder.channel(SHARD, 0).is_none(), "it is passed over from now on");
        serving.abort();
    }

    #[tokio::test]
    async fn a_node_that_has_left_the_committee_is_passed_over() {
        let (forwarder, chain) = (forwarder(), SHARD);
        let tried = Mutex::new(0);
        let answer = forwarder.call(chain, (), |_, _| {
            let mut tried = tried.lock().expect("one thread");
            *tried += 1;
            let first = *tried == 1;
            async move { if first { Err(ApiError::Misrouted { chain }.into()) } else { Ok(Response::new(5)) } }
        });
        assert_eq!(answer.await.ok(), Some(5));
    }

    #[tokio::test]
    async fn a_refusal_is_an_answer_and_the_node_that_answers_is_asked_first_again() {
        let (forwarder, shard) = (forwarder(), SHARD);
        let tried = Mutex::new(0);
        let attempt = |refused: bool| {
            forwarder.call(shard, (), move |_, _| {
                let fails = refused;
                async move { if fails { Err(Status::invalid_argument("no")) } else { Ok(Response::new(7)) } }
            })
        };
        assert_eq!(attempt(true).await.expect_err("refused").code(), Code::InvalidArgument);
        assert_eq!(attempt(false).await.ok(), Some(7));
        let second = forwarder.call(shard, (), |_, _| {
            let mut tried = tried.lock().expect("one thread");
            *tried += 1;
            let first = *tried == 1;
            async move { if first { Err(Status::unavailable("away")) } else { Ok(Response::new(8)) } }
        });
        assert_eq!(second.await.ok(), Some(8));
        assert_eq!(forwarder.nodes(shard).map(|nodes| nodes.first.load(Ordering::Relaxed)), Some(2), "counted round");
        forwarder.set(SHARD, vec![(ValidatorId(2), "127.0.0.1:4002".into())], 1);
        assert_eq!(
            (forwarder.count(SHARD), forwarder.channel(SHARD, 7).map(|(endpoint, _)| endpoint)),
            (1, Some("127.0.0.1:4002".into()))
        );
        assert!(
            !forwarder.channels.lock().expect("one thread").contains_key("127.0.0.1:4003"),
            "who serves nothing is let go"
        );
    }
}
