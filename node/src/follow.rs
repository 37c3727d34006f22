//! A shard's view of the beacon: one stream of certified blocks from any beacon node, switched when it is silent.

use crate::{core::Core, forward::Forwarder, peers::FRAME_BYTES};
use kakera_chain::{
    application::CertifiedBlocks,
    codec,
    genesis::Timing,
    units::{ChainId, ValidatorId},
};
use kakera_proto::v1::{FollowRequest, beacon_client::BeaconClient};
use kakera_shard::{Input, Reply, Shard};
use std::{sync::Arc, time::Duration};
use thiserror::Error;
use tokio::time::{sleep, timeout};
use tonic::Status;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

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
pub async fn follow(core: Core<Shard>, forwarder: Arc<Forwarder>, me: ValidatorId, timing: Timing) {
    // A beacon that certifies nothing for three heartbeats is stuck, or this node does not tell us.
    let silence = Duration::from_millis(3 * timing.heartbeat_slots * timing.slot_ms).max(Duration::from_secs(2));
    let mut index = usize::try_from(me.0).unwrap_or(0);
    let mut pause = FIRST_PAUSE;
    loop {
        let mut blocks = 0;
        let ended = listen(&core, &forwarder, index, silence, &mut blocks).await;
        if matches!(ended, Ended::Stopped) {
            return;
        }
        pause = if blocks > 0 { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        let endpoint = forwarder.channel(ChainId::Beacon, index).map(|(endpoint, _)| endpoint);
        tracing::info!(?endpoint, reason = %ended, "the beacon's stream is left for the next node's");
        index = index.wrapping_add(1);
        sleep(pause).await;
    }
}

async fn listen(core: &Core<Shard>, forwarder: &Forwarder, index: usize, silence: Duration, blocks: &mut u64) -> Ended {
    match take(core, forwarder, index, silence, blocks).await {
        Ok(never) => match never {},
        Err(ended) => ended,
    }
}

async fn take(
    core: &Core<Shard>,
    forwarder: &Forwarder,
    index: usize,
    silence: Duration,
    blocks: &mut u64,
) -> Result<std::convert::Infallible, Ended> {
    let next = core.query(|replica, _| replica.app().tip().height.next()).await.map_err(|_| Ended::Stopped)?;
    let (_, channel) = forwarder.channel(ChainId::Beacon, index).ok_or(Ended::NoNode)?;
    let mut client = BeaconClient::new(channel).max_decoding_message_size(FRAME_BYTES);
    let asked = client.follow(FollowRequest { from_height: next.0 });
    let mut stream = timeout(silence, asked).await.map_err(|_| Ended::Silent(silence))??.into_inner();
    loop {
        let message = timeout(silence, stream.message()).await.map_err(|_| Ended::Silent(silence))??;
        let bytes = message.ok_or(Ended::Closed)?.canonical;
        let certified: CertifiedBlocks =
            codec::decode(&bytes, CertifiedBlocks::MAX_BYTES).map_err(|invalid| Ended::Refused(invalid.to_string()))?;
        match core.submit(Input::Beacon(certified)).await.map_err(|_| Ended::Stopped)? {
            Reply::BeaconAdvanced(height) => {
                tracing::debug!(%height, "the beacon is known further");
                *blocks += 1;
            }
            Reply::BeaconRefused(invalid) => return Err(Ended::Refused(invalid.to_string())),
            _ => return Err(Ended::Refused("another answer than to beacon blocks".into())),
        }
    }
}
