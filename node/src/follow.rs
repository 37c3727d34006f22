//! Following the beacon chain: one stream of certified blocks from any beacon node, switched when it is silent. What
//! comes is checked and executed by the process's own observer of the beacon chain.

use crate::{core::Core, forward::Forwarder, peers::FRAME_BYTES};
use kakera_beacon::Beacon;
use kakera_chain::{
    Member,
    application::CertifiedBlocks,
    codec,
    genesis::Timing,
    units::{ChainId, Height, ShardId},
};
use kakera_proto::v1::{FollowRequest, beacon_client::BeaconClient};
use kakera_shard::Following;
use std::{sync::Arc, time::Duration};
use thiserror::Error;
use tokio::time::{sleep, timeout};
use tonic::Status;

/// Why a stream was left.
#[derive(Debug, Error)]
enum Ended {
    #[error("no beacon node is known")]
    NoNode,
    #[error("{}", .0.message())]
    Status(#[from] Status),
    #[error("silent for {0:?}")]
    Silent(Duration),
    #[error("the stream ended")]
    Closed,
    #[error("what it sent is refused: {0}")]
    Refused(String),
    #[error("the core has stopped")]
    Stopped,
}

/// Follows the beacon chain until the core stops. `timing` is the beacon's.
pub async fn follow(core: Core<Beacon>, forwarder: Arc<Forwarder>, shard: ShardId, me: Member, timing: Timing) {
    let mut following = Following::new(shard, me, timing);
    let limits = Limits {
        answer: Duration::from_millis(following.answer_ms()),
        silence: Duration::from_millis(following.silence_ms()),
    };
    loop {
        let (index, mut blocks) = (following.index(), 0);
        let ended = listen(&core, &forwarder, index, limits, &mut blocks).await;
        if matches!(ended, Ended::Stopped) {
            return;
        }
        let endpoint = forwarder.channel(ChainId::Beacon, index).map(|(endpoint, _)| endpoint);
        tracing::info!(?endpoint, reason = %ended, "the beacon's stream is left for the next node's");
        sleep(Duration::from_millis(following.left(blocks > 0))).await;
    }
}

/// How long a stream may take to open, and to send something.
#[derive(Clone, Copy)]
struct Limits {
    answer: Duration,
    silence: Duration,
}

async fn listen(core: &Core<Beacon>, forwarder: &Forwarder, index: usize, limits: Limits, blocks: &mut u64) -> Ended {
    match take(core, forwarder, index, limits, blocks).await {
        Ok(never) => match never {},
        Err(ended) => ended,
    }
}

async fn take(
    core: &Core<Beacon>,
    forwarder: &Forwarder,
    index: usize,
    Limits { answer, silence }: Limits,
    blocks: &mut u64,
) -> Result<std::convert::Infallible, Ended> {
    let next = core.query(|replica, _| replica.certified().header.height.next()).await.map_err(|_| Ended::Stopped)?;
    let (_, channel) = forwarder.channel(ChainId::Beacon, index).ok_or(Ended::NoNode)?;
    let mut client = BeaconClient::new(channel).max_decoding_message_size(FRAME_BYTES);
    let asked = client.follow(FollowRequest { from_height: next.0 });
    let mut stream = timeout(answer, asked).await.map_err(|_| Ended::Silent(answer))??.into_inner();
    loop {
        let message = timeout(silence, stream.message()).await.map_err(|_| Ended::Silent(silence))??;
        let bytes = message.ok_or(Ended::Closed)?.canonical;
        let certified: CertifiedBlocks =
            codec::decode(&bytes, CertifiedBlocks::MAX_BYTES).map_err(|invalid| Ended::Refused(invalid.to_string()))?;
        let last = certified.certificate.finality.height;
        match core.import(certified).await.map_err(|_| Ended::Stopped)? {
            Ok(()) => *blocks += u64::from(is_certified(core, last).await?),
            Err(invalid) => return Err(Ended::Refused(invalid.to_string())),
        }
    }
}

/// Whether a height is certified here.
async fn is_certified(core: &Core<Beacon>, height: Height) -> Result<bool, Ended> {
    core.query(move |replica, _| replica.certified().header.height >= height).await.map_err(|_| Ended::Stopped)
}
