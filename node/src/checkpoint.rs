//! Beginning to follow the beacon chain at a checkpoint: the root of an era under an id that the operator trusts.
//!
//! ```text
//!   node.toml [checkpoint] ── root, from ──> Sync.GetCheckpoint ── every bit checked against the id ──> the first rows
//!                                            Sync.GetReceipts ── each checked against the state ──> what waits for shards
//! ```
//!
//! Everything after it is followed by certificates, as everywhere. What makes a checkpoint sound, and how old it may be, is
//! said in [`kakera_beacon::Checkpoint`].

use crate::{core::now, follow::name, peers::FRAME_BYTES, store::RocksStore};
use kakera_beacon::{
    Checkpoint, InvalidBodies, InvalidCheckpoint, Lacking, RecordedReceipts, adopt, missing_bodies, verify_bodies,
};
use kakera_chain::{
    BlockId,
    genesis::Network,
    keys::parse_hex,
    replica::is_begun,
    signatures::Signatures,
    store::{StoreFailure, Write},
    units::ShardId,
};
use kakera_proto::v1::{GetCheckpointRequest, GetReceiptsRequest, sync_client::SyncClient};
use serde::Deserialize;
use std::time::Duration;
use thiserror::Error;
use tokio::time::timeout;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

/// How long a connection, or the next piece, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one node may take for all of it, before the next one is asked.
const WHOLE: Duration = Duration::from_secs(300);

/// Where a node is to begin.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// The id of the root of an era of the beacon chain, 64 hexadecimal digits, from somebody the operator trusts.
    pub root: String,
    /// Nodes that may have it, `host:port`. None of them needs to be trusted.
    pub from: Vec<String>,
}

/// Why a node has nowhere to begin; nothing was stored.
#[derive(Debug, Error)]
pub enum NoCheckpoint {
    /// The id.
    #[error("checkpoint: root = {root:?} is no id: 64 hexadecimal digits")]
    Root {
        /// What was given.
        root: String,
    },
    /// Each node asked, and why not.
    #[error("checkpoint {root}: {}", reasons.join("; "))]
    Refused {
        /// What was asked for.
        root: BlockId,
        /// By node.
        reasons: Vec<String>,
    },
    /// The own disk.
    #[error("{0}")]
    Store(#[from] StoreFailure),
    /// The disk's words.
    #[error("{0:#}")]
    Disk(anyhow::Error),
}

/// Why one node's is not taken.
#[derive(Debug, Error)]
enum Refused {
    #[error("{}", .0.message())]
    Status(#[from] Status),
    #[error("it cannot be reached: {0}")]
    Unreachable(#[from] tonic::transport::Error),
    #[error("it does not answer")]
    Silent,
    #[error(
        "it does not hold this checkpoint: it knows another history, or the checkpoint is older than the unbonding delay"
    )]
    Unknown,
    #[error("{0}")]
    Invalid(#[from] InvalidCheckpoint),
    #[error("its receipts are refused: {0}")]
    Bodies(#[from] InvalidBodies),
    #[error("it does not hold a receipt that waits for a shard")]
    Lacks,
    #[error(transparent)]
    Store(#[from] StoreFailure),
}

/// Fills the beacon's store with what a checkpoint says, unless it has begun already.
///
/// # Errors
/// Nobody serves a sound one, or the disk fails.
pub async fn begin(store: &RocksStore, network: &Network, wish: &Wish) -> Result<(), NoCheckpoint> {
    if is_begun(store)? {
        return Ok(());
    }
    let root = parse_hex(&wish.root).map(BlockId).ok_or_else(|| NoCheckpoint::Root { root: wish.root.clone() })?;
    let mut reasons = Vec::new();
    for endpoint in &wish.from {
        let fetched = timeout(WHOLE, fetch(endpoint, store, network, root)).await;
        match fetched.unwrap_or(Err(Refused::Silent)) {
            Ok((writes, checkpoint)) => {
                store.write(&writes, true).map_err(NoCheckpoint::Disk)?;
                let (height, epoch) = (checkpoint.block.header.height, checkpoint.state.epoch);
                tracing::info!(%root, %height, %epoch, endpoint, "the beacon chain is followed from a checkpoint on");
                return Ok(());
            }
            Err(reason) => reasons.push(format!("{endpoint}: {reason}")),
        }
    }
    if reasons.is_empty() {
        reasons.push("name nodes that may have it, from = [\"host:port\"]".to_owned());
    }
    Err(NoCheckpoint::Refused { root, reasons })
}

async fn fetch(
    endpoint: &str,
    store: &RocksStore,
    network: &Network,
    root: BlockId,
) -> Result<(Vec<Write>, Checkpoint), Refused> {
    let channel = Endpoint::from_shared(format!("http://{endpoint}"))?.connect_timeout(PATIENCE).connect().await?;
    let mut client = SyncClient::new(channel).max_decoding_message_size(FRAME_BYTES);
    let asked = client.get_checkpoint(GetCheckpointRequest { root: root.0.to_vec() });
    let mut pieces = timeout(PATIENCE, asked).await.map_err(|_| Refused::Silent)??.into_inner();
    let mut bytes = Vec::new();
    while let Some(piece) = timeout(PATIENCE, pieces.message()).await.map_err(|_| Refused::Silent)?? {
        // One more than allowed is refused by its length, and no more than that is read.
        if piece.canonical.is_empty() || bytes.len() > Checkpoint::MAX_BYTES {
            break;
        }
        bytes.extend(piece.canonical);
    }
    if bytes.is_empty() {
        return Err(Refused::Unknown);
    }
    let checkpoint = tokio::task::block_in_place(|| Checkpoint::open(&bytes, network, root, now()))?;
    let mut writes = adopt(&checkpoint, network, &Signatures::default());
    for shard in (0..network.genesis.shards).map(ShardId) {
        for lacking in missing_bodies(store, &checkpoint.state, shard)? {
            bodies(&mut client, &checkpoint, lacking, &mut writes).await?;
        }
    }
    Ok((writes, checkpoint))
}

/// The bodies of receipts that wait for a shard at the checkpoint.
async fn bodies(
    client: &mut SyncClient<Channel>,
    checkpoint: &Checkpoint,
    Lacking { lane, from, until }: Lacking,
    writes: &mut Vec<Write>,
) -> Result<(), Refused> {
    let mut next = from;
    while next < until {
        let asked = GetReceiptsRequest { from: Some(name(lane.from)), to: Some(name(lane.to)), from_seq: next };
        let answer = timeout(PATIENCE, client.get_receipts(asked)).await.map_err(|_| Refused::Silent)??;
        let found = RecordedReceipts::decode(&answer.into_inner().canonical).map_err(InvalidCheckpoint::Bytes)?;
        let wanted = usize::try_from(until - next).unwrap_or(usize::MAX);
        let bodies = &found.bodies[..found.bodies.len().min(wanted)];
        if found.lane != lane || bodies.is_empty() {
            return Err(Refused::Lacks);
        }
        writes.extend(verify_bodies(&checkpoint.state, lane, next, bodies)?);
        next += u64::try_from(bodies.len()).unwrap_or(0);
    }
    Ok(())
}
