//! `kakera validator checkpoint`: where somebody who trusts this node may begin to follow the beacon chain.

use super::join::genesis;
use crate::{
    failure::{Failure, Result},
    locate::Place,
};
use anyhow::anyhow;
use kakera_beacon::Checkpoint;
use serde_json::json;

/// `kakera validator checkpoint`.
pub(super) async fn run(place: &Place) -> Result<()> {
    let client = place.client()?;
    let (_, network) = genesis(&client, None).await?;
    let bytes = client.checkpoint(Checkpoint::MAX_BYTES).await?;
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
    place.output.data(&value, || {
        format!(
            "{id}\nthe beacon block at height {} that began epoch {epoch}; good until epoch {} is over",
            header.height,
            epoch.0.saturating_add(unbonding)
        )
    });
    Ok(())
}
