//! Taking the streams of peers: greeting first, then envelopes at a bounded rate.

use super::{FRAME_BYTES, Inner, Peers, greeting::RefusedHello};
use crate::{core::now, errors, metrics::Metrics};
use kakera_chain::{
    hash::NetworkId,
    peer::{Hello, Spoken},
    units::{ChainId, Timestamp, ValidatorId},
};
use kakera_proto::v1::{Envelope, TalkEnd, peer_server};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};
use tonic::{Code, Request, Response, Status, Streaming};

/// Hands a peer's message to the core; false when its queue is full.
pub type Deliver = Arc<dyn Fn(ValidatorId, Spoken) -> bool + Send + Sync>;

/// How long a stream may stay without its greeting.
const GREETING: Duration = Duration::from_secs(5);
/// How long a stream may go without a whole envelope. A member says every second how far it is, so one that completes
/// nothing for this long has lost its place in the bytes (a wrong length makes up to 4 MiB of what follows one
/// envelope) or takes longer than any link should: a new stream is better.
pub(super) const SILENCE: Duration = Duration::from_secs(30);

/// The chains that this process speaks about: what comes for one goes to its core.
#[derive(Clone)]
pub struct Switchboard {
    network: NetworkId,
    metrics: Arc<Metrics>,
    lines: Arc<Mutex<BTreeMap<ChainId, Line>>>,
}

struct Line {
    inner: Arc<Inner>,
    deliver: Deliver,
    /// Each peer's open stream: dropping the sender ends it.
    open: BTreeMap<ValidatorId, oneshot::Sender<()>>,
}

impl Switchboard {
    /// Of no chain yet.
    pub fn new(network: NetworkId, metrics: Arc<Metrics>) -> Switchboard {
        Switchboard { network, metrics, lines: Arc::default() }
    }

    /// From now on streams about the chain of `peers` are taken.
    pub fn connect(&self, peers: &Peers, deliver: Deliver) {
        let inner = Arc::clone(&peers.inner);
        let line = Line { inner, deliver, open: BTreeMap::new() };
        self.lines().insert(peers.inner.chain, line);
    }

    /// The chain's streams end, and no others are taken.
    pub fn disconnect(&self, chain: ChainId) {
        self.lines().remove(&chain);
    }

    /// As a tonic service with its limits set.
    pub fn service(&self) -> PeerService {
        PeerService { board: self.clone(), silence: SILENCE }
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<ChainId, Line>> {
        self.lines.lock().expect("no holder panics")
    }

    /// Checks a greeting; returns what it is about and who greets.
    pub(super) fn check_hello(&self, bytes: &[u8], now: Timestamp) -> Result<(ChainId, ValidatorId), RefusedHello> {
        let hello = Hello::decode(bytes).map_err(RefusedHello::Malformed)?;
        if hello.network != self.network {
            return Err(RefusedHello::OtherNetwork { expected: self.network, found: hello.network });
        }
        let inner = self.lines().get(&hello.chain).map(|line| Arc::clone(&line.inner));
        let inner = inner.ok_or(RefusedHello::OtherChain { found: hello.chain })?;
        inner.check(&hello, now).map(|from| (hello.chain, from))
    }
}

/// Serves `kakera.v1.Peer`.
pub struct PeerService {
    board: Switchboard,
    pub(super) silence: Duration,
}

impl PeerService {
    /// As a tonic service with its limits set.
    pub fn into_server(self) -> peer_server::PeerServer<PeerService> {
        peer_server::PeerServer::new(self).max_decoding_message_size(FRAME_BYTES).max_encoding_message_size(1024)
    }

    async fn greeting(&self, stream: &mut Streaming<Envelope>) -> Result<(ChainId, ValidatorId), Status> {
        let refuse = |refused: &RefusedHello| {
            self.board.metrics.count_refused(refused.reason());
            tracing::debug!(%refused, "a peer's greeting is refused");
            refused.status()
        };
        let first = timeout(GREETING, stream.message()).await.map_err(|_| refuse(&RefusedHello::Missing))??;
        let first = first.ok_or_else(|| refuse(&RefusedHello::Missing))?;
        self.board.check_hello(&first.canonical, now()).map_err(|refused| refuse(&refused))
    }

    async fn listen(
        &self,
        validator: ValidatorId,
        deliver: &Deliver,
        stream: &mut Streaming<Envelope>,
    ) -> Result<(), Status> {
        let mut rate = Rate::new(Instant::now());
        let silent = |_| {
            let message = format!("no whole envelope came for {} s", self.silence.as_secs());
            errors::refusal(Code::DeadlineExceeded, "SILENT", message)
        };
        while let Some(envelope) = timeout(self.silence, stream.message()).await.map_err(silent)?? {
            if let Some(pause) = rate.charge(envelope.canonical.len(), Instant::now()) {
                sleep(pause).await;
            }
            let message = Spoken::decode(&envelope.canonical).map_err(|invalid| {
                self.board.metrics.count_refused("MALFORMED_MESSAGE");
                tracing::warn!(%validator, %invalid, "a peer sent what is no message; its stream ends");
                errors::refusal(
                    Code::InvalidArgument,
                    "MALFORMED_MESSAGE",
                    format!("the envelope holds no message: {invalid}"),
                )
            })?;
            self.board.metrics.count_received(deliver(validator, message));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl peer_server::Peer for PeerService {
    async fn talk(&self, request: Request<Streaming<Envelope>>) -> Result<Response<TalkEnd>, Status> {
        let mut stream = request.into_inner();
        let (chain, validator) = self.greeting(&mut stream).await?;
        let (ours, mut replaced) = oneshot::channel();
        let deliver = {
            let mut lines = self.board.lines();
            let line = lines.get_mut(&chain).ok_or_else(|| RefusedHello::OtherChain { found: chain }.status())?;
            // A newer stream of the same peer ends the older one: a half-open connection must not lock a peer out.
            line.open.insert(validator, ours);
            Arc::clone(&line.deliver)
        };
        tokio::select! {
            ended = self.listen(validator, &deliver, &mut stream) => ended.map(|()| Response::new(TalkEnd {})),
            _ = &mut replaced => Err(errors::refusal(Code::Aborted, "REPLACED", "a newer stream of this peer took its place, or the chain is left")),
        }
    }
}

/// Two buckets, messages and bytes: an honest peer never empties them, and one that does is read more slowly.
#[derive(Debug)]
pub(super) struct Rate {
    messages: f64,
    bytes: f64,
    at: Instant,
}

const MESSAGES: f64 = 20_000.0;
const MESSAGES_A_SECOND: f64 = 10_000.0;
const BYTES: f64 = 32.0 * 1024.0 * 1024.0;
const BYTES_A_SECOND: f64 = 16.0 * 1024.0 * 1024.0;

impl Rate {
    pub(super) fn new(now: Instant) -> Rate {
        Rate { messages: MESSAGES, bytes: BYTES, at: now }
    }

    /// Takes one message of `length` bytes; how long to wait before the next, if a bucket is empty.
    #[allow(clippy::cast_precision_loss, reason = "a frame's length is far below 2^52")]
    pub(super) fn charge(&mut self, length: usize, now: Instant) -> Option<Duration> {
        let passed = now.duration_since(self.at).as_secs_f64();
        self.at = now;
        self.messages = (self.messages + passed * MESSAGES_A_SECOND).min(MESSAGES) - 1.0;
        self.bytes = (self.bytes + passed * BYTES_A_SECOND).min(BYTES) - length as f64;
        let wait = (-self.messages / MESSAGES_A_SECOND).max(-self.bytes / BYTES_A_SECOND);
        (wait > 0.0).then(|| Duration::from_secs_f64(wait))
    }
}
