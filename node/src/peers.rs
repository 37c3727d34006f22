//! Streams between the members of one committee: each member keeps one open to each other and speaks only on its own.
//!
//! ```text
//!   core ──> PeerOutbox ──> queue a peer ──> stream ──> peer's PeerService ──> its core
//! ```
//!
//! A queue is bounded in envelopes and bytes, and full means dropped: the replicas ask each other for what they miss.
//! While a peer is away nothing is queued for it.

mod dial;
mod greeting;
mod queue;
mod service;

pub(crate) use dial::{PING_ANSWER, PING_EVERY};
pub use greeting::RefusedHello;
pub use service::{Deliver, PeerService};

use crate::{core::Outbox, metrics::Metrics, run::lasting::lasting, ways::Ways};
use kakera_chain::{
    certificate::Seats,
    codec,
    genesis::Network,
    hash::NetworkId,
    keys::{PublicKey, SecretKey},
    peer::Spoken,
    units::{ChainId, ValidatorId},
};
use queue::Sender;
use std::sync::{Arc, Mutex};
use tokio::task::JoinSet;

/// An envelope's bytes beside its message: protobuf's tag and length.
const ENVELOPE_BYTES: usize = 64;
/// Bytes of one frame between peers at most.
pub const FRAME_BYTES: usize = Spoken::MAX_BYTES + ENVELOPE_BYTES;

/// The other members of this node's committee.
#[derive(Clone, Debug)]
pub struct Peers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    network: NetworkId,
    chain: ChainId,
    me: ValidatorId,
    key: SecretKey,
    peers: Vec<Peer>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Peer {
    validator: ValidatorId,
    key: PublicKey,
    endpoint: String,
    /// The open stream's queue, if one is open.
    queue: Mutex<Option<Sender>>,
}

impl Peers {
    /// The committee's members without `me`, dialled where `ways` says.
    ///
    /// # Panics
    /// If a member is not in the registry that the committee was drawn from.
    pub fn new(
        network: &Network,
        chain: ChainId,
        seats: &Seats,
        me: ValidatorId,
        key: SecretKey,
        ways: &Ways,
        metrics: Arc<Metrics>,
    ) -> Peers {
        let others = seats.validators.iter().zip(&seats.keys).filter(|(validator, _)| **validator != me);
        let peers = others
            .map(|(validator, key)| {
                let endpoint = ways.to(network, *validator).expect("committees are drawn from the registry");
                Peer { validator: *validator, key: *key, endpoint, queue: Mutex::default() }
            })
            .collect();
        Peers { inner: Arc::new(Inner { network: network.id, chain, me, key, peers, metrics }) }
    }

    /// What the core sends through.
    pub fn outbox(&self) -> PeerOutbox {
        PeerOutbox(self.clone())
    }

    /// Starts to dial every peer, and goes on for ever.
    pub fn dial(&self, tasks: &mut JoinSet<()>) {
        for index in 0..self.inner.peers.len() {
            let inner = Arc::clone(&self.inner);
            lasting(tasks, "peer", move || dial::keep_stream(Arc::clone(&inner), index));
        }
    }

    /// Peers that this node's stream reaches.
    pub fn connected(&self) -> u32 {
        let open = self.inner.peers.iter().filter(|peer| peer.queue.lock().expect("no holder panics").is_some());
        u32::try_from(open.count()).unwrap_or(u32::MAX)
    }

    /// The service that takes the peers' streams.
    pub fn service(&self, deliver: Deliver) -> PeerService {
        PeerService::new(Arc::clone(&self.inner), deliver)
    }
}

impl Peer {
    fn push(&self, bytes: Vec<u8>, metrics: &Metrics) {
        let queue = self.queue.lock().expect("no holder panics");
        metrics.count_sent(queue.as_ref().is_some_and(|queue| queue.push(bytes)));
    }
}

/// Puts the core's messages into the peers' queues; never blocks.
#[derive(Clone, Debug)]
pub struct PeerOutbox(Peers);

impl Outbox for PeerOutbox {
    fn send(&self, to: &[ValidatorId], message: Spoken) {
        let bytes = codec::encode(&message);
        for peer in self.0.inner.peers.iter().filter(|peer| to.contains(&peer.validator)) {
            peer.push(bytes.clone(), &self.0.inner.metrics);
        }
    }
}

#[cfg(test)]
mod tests;
