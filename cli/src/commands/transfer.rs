//! `kakera send`, `faucet` and `track`: transactions and their life cycles.

use crate::{
    args::{FaucetArgs, SendArgs, TrackArgs},
    client::Client,
    failure::{Failure, Result},
    locate::{self, Place},
    order::{self, Terms},
    output::{grouped, short},
    progress::Progress,
    tracking::{self, Followed},
};
use kakera_chain::{
    address::Address,
    keys::{self, SecretKey},
    units::ShardId,
};
use kakera_proto::v1::{Stage, TransactionStatus};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long `send` and `faucet` follow a transaction.
const FOLLOW_LIMIT: Duration = Duration::from_secs(120);

/// What a person chose about a transfer.
struct Wish {
    to: Address,
    amount: u64,
    tip: u64,
    max_fee: Option<u64>,
    valid_for: u64,
    nonce: Option<u64>,
    no_wait: bool,
}

/// `kakera send`.
pub(crate) async fn send(args: SendArgs, place: &Place) -> Result<()> {
    let wallets = place.wallets()?;
    let from = wallets.open(&args.from)?;
    let SendArgs { to, amount, no_wait, tip, max_fee, valid_for, nonce, .. } = args;
    let to = wallets.address(&to)?;
    pay(place, &from.key, Wish { to, amount, tip, max_fee, valid_for, nonce, no_wait }).await
}

/// `kakera faucet`.
pub(crate) async fn faucet(args: FaucetArgs, place: &Place) -> Result<()> {
    let network = place.network()?;
    let to = place.wallets()?.address(&args.account)?;
    let key = network.faucet(to.shard(network.shards()))?;
    let FaucetArgs { amount, no_wait, .. } = args;
    pay(place, &key, Wish { to, amount, tip: 0, max_fee: None, valid_for: 600, nonce: None, no_wait }).await
}

/// `kakera track`.
pub(crate) async fn track(args: TrackArgs, place: &Place) -> Result<()> {
    let id = keys::parse_hex(&args.transaction)
        .ok_or_else(|| Failure::Usage("a transaction id is 64 hexadecimal digits".to_owned()))?;
    let client = place.client()?;
    let started = Instant::now();
    let deadline = started + Duration::from_secs(args.timeout);
    follow(place, &client, args.shard.into(), &id, (started, deadline)).await.map(drop)
}

async fn pay(place: &Place, key: &SecretKey, wish: Wish) -> Result<()> {
    let client = place.client()?;
    let network = locate::network_id(&client.status().await?.network_id)?;
    let from = client.account(Address::of(&key.public()).to_string(), true).await?;
    let to = client.account(wish.to.to_string(), true).await?;
    let fees = client.fees(from.shard).await?;
    let gas = order::gas_of(shard_of(from.shard)?, [shard_of(to.shard)?]);
    let usual = Terms::usual(network, wish.nonce.unwrap_or(from.pending_nonce), gas, &fees, wish.valid_for);
    let terms = Terms {
        tip: wish.tip,
        max_fee: wish.max_fee.unwrap_or_else(|| usual.max_fee.saturating_add(wish.tip)),
        ..usual
    };
    if fees.full_lanes.contains(&to.shard) {
        place.output.note(&format!("the lane to shard {} is full: the transaction will wait for room", to.shard));
    }
    let order = terms.sign(key, order::transfer(wish.to, wish.amount));
    let started = Instant::now();
    let accepted = client.submit(client.turn(), order.bytes).await?;
    let value = json!({
        "transaction_id": order.id.to_string(), "shard": accepted.shard, "nonce": terms.nonce, "to_shard": to.shard,
        "amount": wish.amount, "max_fee": terms.max_fee, "gas_limit": terms.gas_limit, "valid_until": terms.valid_until,
    });
    place.output.data(&value, || {
        format!(
            "transaction {} on shard {}: {} to {} (shard {}), nonce {}",
            order.id,
            accepted.shard,
            grouped(wish.amount),
            wish.to,
            to.shard,
            terms.nonce
        )
    });
    if wish.no_wait {
        return Ok(());
    }
    follow(place, &client, accepted.shard, &order.id.0, (started, started + FOLLOW_LIMIT)).await.map(drop)
}

/// Shows each step of a transaction and returns the last one; one that ended badly is a failure.
pub(crate) async fn follow(
    place: &Place,
    client: &Client,
    shard: u32,
    id: &[u8],
    (started, deadline): (Instant, Instant),
) -> Result<TransactionStatus> {
    let progress = Progress::new("waiting for finality", 0);
    let outcome = tracking::follow(client, client.turn(), (shard, id), deadline, |status| {
        let elapsed_ms = started.elapsed().as_millis();
        progress.event_data(place.output, &step(status, elapsed_ms), || line(status, elapsed_ms));
    })
    .await;
    drop(progress);
    match outcome? {
        Followed::Terminal(last) => ending(&last).map(|()| *last),
        Followed::Lost => Err(Failure::NotFound(format!(
            "no node of shard {shard} knows transaction {}: check the id and the shard, or send it again",
            hex::encode(id)
        ))),
    }
}

fn ending(last: &TransactionStatus) -> Result<()> {
    let why = last.refusal.clone().unwrap_or_default();
    match last.stage() {
        Stage::Refused => Err(Failure::Refused { reason: why.reason, message: why.message }),
        Stage::Expired => Err(Failure::refused("EXPIRED", "its window passed before a block took it: send it again")),
        Stage::Returned => {
            Err(Failure::refused("RETURNED", format!("the amount came back to the sender: {}", why.message)))
        }
        _ => Ok(()),
    }
}

fn step(status: &TransactionStatus, elapsed_ms: u128) -> Value {
    json!({
        "stage": tracking::name(status.stage()), "terminal": status.terminal, "elapsed_ms": elapsed_ms,
        "at_ms": status.at_ms, "height": status.height, "block_id": hex::encode(&status.block_id),
        "beacon_height": status.beacon_height,
        "receipts": status.receipts.iter().map(|receipt| json!({
            "from_shard": receipt.from_shard, "to_shard": receipt.to_shard, "seq": receipt.seq, "amount": receipt.amount,
        })).collect::<Vec<_>>(),
        "refusal": status.refusal.as_ref().map(|why| json!({"reason": why.reason, "message": why.message})),
    })
}

fn line(status: &TransactionStatus, elapsed_ms: u128) -> String {
    let stage = status.stage();
    let place = match stage {
        Stage::Included | Stage::ShardFinal => format!("block {} ({})", status.height, short(&status.block_id)),
        Stage::Recorded => format!("beacon block {}", status.beacon_height),
        Stage::Delivered => "credited at the destination".to_owned(),
        _ => status.refusal.as_ref().map(|why| format!("{}: {}", why.reason, why.message)).unwrap_or_default(),
    };
    format!("{elapsed_ms:>8} ms  {:<12} {place}", tracking::name(stage))
}

fn shard_of(number: u32) -> Result<ShardId> {
    let shard = u16::try_from(number).map_err(|_| anyhow::anyhow!("a node answered with shard {number}"))?;
    Ok(ShardId(shard))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kakera_proto::v1::Refusal;

    #[test]
    fn a_life_that_ends_badly_is_an_exit_code() {
        let ended = |stage: Stage| {
            let refusal = Some(Refusal { reason: "OVERDRAFT".to_owned(), message: "too much".to_owned() });
            ending(&TransactionStatus { stage: stage.into(), terminal: true, refusal, ..Default::default() })
        };
        assert!(ended(Stage::Delivered).is_ok() && ended(Stage::Recorded).is_ok());
        for stage in [Stage::Refused, Stage::Expired, Stage::Returned] {
            assert_eq!(ended(stage).map_err(|failure| failure.exit_code()), Err(4));
        }
    }

    #[test]
    fn steps_are_shown_with_what_matters_in_them() {
        let status = TransactionStatus {
            stage: Stage::ShardFinal.into(),
            height: 7,
            block_id: vec![0xab; 32],
            ..Default::default()
        };
        assert_eq!(line(&status, 312), "     312 ms  shard-final  block 7 (abababab)");
        assert_eq!(step(&status, 312)["stage"], "shard-final");
    }
}
