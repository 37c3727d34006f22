//! Any node answers for any chain: requests about another chain go to a node of its committee.
//!
//! Channels are made once, lazily, and recover by themselves. A call begins with the node that answered last and tries
//! each other node once when one does not answer. A forwarded request carries the metadata key [`FORWARDED`] and is
//! never forwarded again.

use crate::{
    checked::{Checked, Way},
    errors::ApiError,
    peers::{PING_ANSWER, PING_EVERY},
    ways::Ways,
};
use kakera_beacon::Committees;
use kakera_chain::{
    genesis::Network,
    units::{ChainId, ValidatorId},
};
use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
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
#[derive(Debug)]
pub struct Forwarder {
    chains: BTreeMap<ChainId, Nodes>,
    channels: Mutex<BTreeMap<String, Way>>,
}

#[derive(Debug)]
struct Nodes {
    endpoints: Vec<String>,
    /// Where the next call begins.
    first: AtomicUsize,
}

impl Forwarder {
    /// The other nodes of every chain; `me` begins at a place of its own, so that not all ask the same node.
    /// They are dialled where `ways` says.
    pub fn new(network: &Network, committees: &Committees, me: ValidatorId, ways: &Ways) -> Forwarder {
        let shards = (0..network.genesis.shards).map(|shard| ChainId::Shard(kakera_chain::units::ShardId(shard)));
        let chains = std::iter::once(ChainId::Beacon).chain(shards).map(|chain| {
            let seats = committees.chain(chain).expect("every chain of the network has a committee");
            let others = seats.validators.iter().filter(|validator| **validator != me);
            let endpoints: Vec<String> = others.filter_map(|validator| ways.to(network, *validator)).collect();
            let first = usize::try_from(me.0).unwrap_or(0) % endpoints.len().max(1);
            (chain, Nodes { endpoints, first: AtomicUsize::new(first) })
        });
        Forwarder { chains: chains.collect(), channels: Mutex::default() }
    }

    /// How many other nodes serve a chain.
    pub fn count(&self, chain: ChainId) -> usize {
        self.chains.get(&chain).map_or(0, |nodes| nodes.endpoints.len())
    }

    /// The way to a chain's node at `index`, counted round.
    pub fn channel(&self, chain: ChainId, index: usize) -> Option<(String, Way)> {
        let endpoints = &self.chains.get(&chain)?.endpoints;
        let endpoint = endpoints.get(index.checked_rem(endpoints.len())?)?;
        let mut channels = self.channels.lock().expect("no holder panics");
        if let Some(channel) = channels.get(endpoint) {
            return Some((endpoint.clone(), channel.clone()));
        }
        let channel = Endpoint::from_shared(format!("http://{endpoint}"))
            .inspect_err(|error| tracing::error!(endpoint, %error, "an endpoint in the genesis file is no host:port"))
            .ok()?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_ANSWER)
            .connect_lazy();
        let channel = Checked(channel);
        channels.insert(endpoint.clone(), channel.clone());
        Some((endpoint.clone(), channel))
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
        let first = self.chains.get(&chain).map_or(0, |nodes| nodes.first.load(Ordering::Relaxed));
        for step in 0..self.count(chain) {
            let Some((endpoint, channel)) = self.channel(chain, first + step) else { continue };
            let mut request = Request::new(message.clone());
            request.metadata_mut().insert(FORWARDED, "1".parse().expect("an ASCII value"));
            let status = match timeout(ATTEMPT, send(channel, request)).await {
                Ok(Ok(response)) => {
                    self.chains[&chain].first.store(first + step, Ordering::Relaxed);
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

/// Whether a request was forwarded by another node already.
pub fn is_forwarded(metadata: &MetadataMap) -> bool {
    metadata.contains_key(FORWARDED)
}

/// Whether a status says that the node is not there rather than what it thinks of the request.
fn is_silence(status: &Status) -> bool {
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
    use crate::testing;
    use kakera_chain::units::ShardId;

    #[tokio::test]
    async fn every_node_is_tried_once_and_then_it_says_who_does_not_answer() {
        let network = testing::network();
        let forwarder = Forwarder::new(&network, &Committees::draw(&network), ValidatorId(1), &Ways::default());
        let shard = ChainId::Shard(ShardId(0));
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
    async fn a_refusal_is_an_answer_and_the_node_that_answers_is_asked_first_again() {
        let network = testing::network();
        let forwarder = Forwarder::new(&network, &Committees::draw(&network), ValidatorId(1), &Ways::default());
        let shard = ChainId::Shard(ShardId(0));
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
        assert_eq!(forwarder.chains[&shard].first.load(Ordering::Relaxed), 2, "counted round: the node that answered");
    }
}
