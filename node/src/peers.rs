//! Streams between those who speak about one chain: each keeps one open to each other and speaks only on its own.
//!
//! ```text
//!   core ──> PeerOutbox ──> queue a peer ──> stream ──> peer's PeerService ──> Switchboard ──> its core
//! ```
//!
//! A queue is bounded in envelopes and bytes, and full means dropped: the replicas ask each other for what they miss.
//! While a peer is away nothing is queued for it. Who the others are changes with the committees ([`Peers::set`]).

mod dial;
mod greeting;
mod queue;
mod service;

pub(crate) use dial::{PING_ANSWER, PING_EVERY};
pub use greeting::RefusedHello;
pub use service::{Deliver, PeerService, Switchboard};

use crate::{core::Outbox, metrics::Metrics, run::lasting::lasting};
use kakera_chain::{
    codec,
    hash::NetworkId,
    keys::{PublicKey, SecretKey},
    peer::Spoken,
    units::{ChainId, ValidatorId},
};
use queue::Sender;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, RwLock},
};
use tokio::task::JoinSet;

/// An envelope's bytes beside its message: protobuf's tag and length.
const ENVELOPE_BYTES: usize = 64;
/// Bytes of one frame between peers at most.
pub const FRAME_BYTES: usize = Spoken::MAX_BYTES + ENVELOPE_BYTES;

/// Another validator: who, and where it is dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Who.
    pub validator: ValidatorId,
    /// Its key.
    pub key: PublicKey,
    /// Where it is dialled, `host:port`.
    pub endpoint: String,
}

/// The others that this node speaks with about one chain.
#[derive(Clone)]
pub struct Peers {
    inner: Arc<Inner>,
    /// The streams that are kept open; they end with the last handle.
    dialling: Arc<Mutex<BTreeMap<ValidatorId, JoinSet<()>>>>,
}

struct Inner {
    network: NetworkId,
    chain: ChainId,
    me: ValidatorId,
    key: SecretKey,
    peers: RwLock<BTreeMap<ValidatorId, Arc<Peer>>>,
    metrics: Arc<Metrics>,
}

struct Peer {
    contact: Contact,
    /// The open stream's queue, if one is open.
    queue: Mutex<Option<Sender>>,
}

impl Peers {
    /// Nobody yet.
    pub fn new(network: NetworkId, chain: ChainId, me: ValidatorId, key: SecretKey, metrics: Arc<Metrics>) -> Peers {
        let inner = Inner { network, chain, me, key, peers: RwLock::default(), metrics };
        Peers { inner: Arc::new(inner), dialling: Arc::default() }
    }

    /// What the core sends through.
    pub fn outbox(&self) -> PeerOutbox {
        PeerOutbox(self.clone())
    }

    /// From now on these are the others; `me` among them is left out. Streams to whoever stays stay open.
    pub fn set(&self, contacts: Vec<Contact>) {
        let wanted: BTreeMap<ValidatorId, Contact> = contacts
            .into_iter()
            .filter(|contact| contact.validator != self.inner.me)
            .map(|contact| (contact.validator, contact))
            .collect();
        let mut dialling = self.dialling.lock().expect("no holder panics");
        let mut peers = self.inner.peers.write().expect("no holder panics");
        peers.retain(|validator, peer| wanted.get(validator) == Some(&peer.contact));
        dialling.retain(|validator, _| peers.contains_key(validator));
        for (validator, contact) in wanted {
            peers.entry(validator).or_insert_with(|| {
                let peer = Arc::new(Peer { contact, queue: Mutex::default() });
                let (inner, dialled) = (Arc::clone(&self.inner), Arc::clone(&peer));
                let mut tasks = JoinSet::new();
                lasting(&mut tasks, "peer", move || dial::keep_stream(Arc::clone(&inner), Arc::clone(&dialled)));
                dialling.insert(validator, tasks);
                peer
            });
        }
    }

    /// Peers that this node's stream reaches.
    pub fn connected(&self) -> u32 {
        let peers = self.inner.peers.read().expect("no holder panics");
        let open = peers.values().filter(|peer| peer.queue.lock().expect("no holder panics").is_some());
        u32::try_from(open.count()).unwrap_or(u32::MAX)
    }
}

impl Peer {
    fn push(&self, bytes: Vec<u8>, metrics: &Metrics) {
        let queue = self.queue.lock().expect("no holder panics");
        metrics.count_sent(queue.as_ref().is_some_and(|queue| queue.push(bytes)));
    }
}

/// Puts the core's messages into the peers' queues; never blocks.
#[derive(Clone)]
pub struct PeerOutbox(Peers);

impl Outbox for PeerOutbox {
    fn send(&self, to: &[ValidatorId], message: Spoken) {
        let bytes = codec::encode(&message);
        let inner = &self.0.inner;
        let peers = inner.peers.read().expect("no holder panics");
        for peer in to.iter().filter_map(|validator| peers.get(validator)) {
            peer.push(bytes.clone(), &inner.metrics);
        }
    }
}

#[cfg(test)]
mod tests;
