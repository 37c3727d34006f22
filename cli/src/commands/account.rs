//! `kakera account`: what an account holds.

use crate::{
    failure::Result,
    locate::Place,
    output::{grouped, short},
};
use serde_json::json;

/// Shows an account as a node knows it.
pub(crate) async fn run(account: &str, head: bool, place: &Place) -> Result<()> {
    let address = place.wallets()?.address(account)?;
    let account = place.client()?.account(address.to_string(), head).await?;
    let value = json!({
        "address": account.address, "shard": account.shard, "balance": account.balance, "nonce": account.nonce,
        "pending_nonce": account.pending_nonce, "height": account.height, "state_root": hex::encode(&account.state_root),
    });
    place.output.data(&value, || {
        format!(
            "{}\nshard    {}\nbalance  {}\nnonce    {} (with what waits: {})\nat       {} block {}, state {}",
            account.address,
            account.shard,
            grouped(account.balance),
            account.nonce,
            account.pending_nonce,
            if head { "head" } else { "certified" },
            account.height,
            short(&account.state_root),
        )
    });
    Ok(())
}
