//! Checkpoints: `kakera validator checkpoint` says where somebody who trusts this node may begin to follow the beacon chain;
//! who joins there asks for it first, because its process would not start without it.

use super::join::genesis;
use crate::{
    client::Client,
    failure::{Failure, Result},
    locate::Place,
};
use anyhow::{Context, anyhow};
use kakera_beacon::{Checkpoint, InvalidCheckpoint};
use kakera_chain::{BlockId, genesis::Network, units::Timestamp};
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

/// What to do where nodes do not know a checkpoint.
const ASK: &str = "ask somebody you trust for the id of the newest one (`kakera validator checkpoint` on a node of theirs), \
                   or name another node";

/// `kakera validator checkpoint`.
pub(super) async fn run(place: &Place) -> Result<()> {
    let client = place.client()?;
    let (_, network) = genesis(&client, None).await?;
    let bytes = client.checkpoint(None, Checkpoint::MAX_BYTES).await?;
    if bytes.is_empty() {
        let message = "no era but the first has begun from which every shard can be begun: join at the genesis file";
        return Err(Failure::NotFound(message.to_owned()));
    }
    let checkpoint =
        Checkpoint::decode(&bytes).map_err(|reason| anyhow!("the node's checkpoint is damaged: {reason}"))?;
    let header = &checkpoint.block.header;
    let (id, epoch) = (header.id(network.id), checkpoint.state.epoch);
    let unbonding = network.genesis.epochs.map_or(0, |epochs| epochs.unbonding);
    let value = json!({
        "root": id.to_string(), "height": header.height.0, "slot": header.slot.0, "epoch": epoch.0,
        "good_until_epoch": epoch.0.saturating_add(unbonding), "bytes": bytes.len(),
    });
    place.output.data(&value, || id.to_string());
    if !place.output.json {
        place.output.note(&format!(
            "the beacon block at height {} that began epoch {epoch}; good until epoch {} is over",
            header.height,
            epoch.0.saturating_add(unbonding)
        ));
    }
    Ok(())
}

/// Refuses a checkpoint that a process could not begin at: one that the first node to answer does not hold, or that is not
/// sound, or too old.
pub(super) async fn check(client: &Client, network: &Network, root: BlockId) -> Result<()> {
    let bytes = client.checkpoint(Some(root.0), Checkpoint::MAX_BYTES).await?;
    if bytes.is_empty() {
        let unbonding = network.genesis.epochs.map_or(0, |epochs| epochs.unbonding);
        let message = format!(
            "checkpoint {root} is not held there: the node knows another history, or it is older than the unbonding delay of \
             {unbonding} epochs, or it is no root of an era; nothing was written or paid; {ASK}"
        );
        return Err(Failure::refused("UNKNOWN_CHECKPOINT", message));
    }
    let (network, now) = (network.clone(), now());
    let opened = tokio::task::spawn_blocking(move || Checkpoint::open(&bytes, &network, root, now).map(drop));
    opened.await.context("opening the checkpoint")?.map_err(|reason| {
        let message = format!("checkpoint {root}: {reason}; nothing was written or paid{}", advice(&reason));
        Failure::refused("INVALID_CHECKPOINT", message)
    })
}

/// What to do, where the reason itself does not say.
fn advice(reason: &InvalidCheckpoint) -> String {
    match reason {
        InvalidCheckpoint::TooOld { .. } | InvalidCheckpoint::NotYet { .. } | InvalidCheckpoint::OneEpoch => {
            String::new()
        }
        InvalidCheckpoint::Bytes(_)
        | InvalidCheckpoint::OtherBlock { .. }
        | InvalidCheckpoint::OtherChain { .. }
        | InvalidCheckpoint::NoRoot { .. }
        | InvalidCheckpoint::Torn
        | InvalidCheckpoint::OtherState { .. }
        | InvalidCheckpoint::Unsound { .. } => format!("; {ASK}"),
    }
}

/// The time by this machine's clock.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
