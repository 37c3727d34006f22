//! Why the beacon sent a request back: its lane to the sender's shard says so.

use super::request::Recorded;
use crate::{client::Client, failure::Result};
use kakera_chain::receipt::{Receipt, ReceiptAction, ReturnReason};
use std::time::Duration;

/// Receipts near the lane's end that are looked at.
const NEAR: u64 = 4_096;
/// No lane is as long.
const LONGEST: u64 = 1 << 40;
/// How often nodes are asked: the next one may not have heard of it yet.
const TRIES: u32 = 10;

/// What the beacon says, in words; without an answer, that there is none.
pub(super) async fn why(client: &Client, recorded: &Recorded) -> String {
    for _ in 0..TRIES {
        // Nodes that cannot say are no reason to say nothing of the rest.
        if let Ok(Some(reason)) = reason(client, recorded).await {
            return words(reason).to_owned();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    "no node says why".to_owned()
}

async fn reason(client: &Client, recorded: &Recorded) -> Result<Option<ReturnReason>> {
    let (mut next, mut found) = (end(client, recorded.shard).await?.saturating_sub(NEAR), None);
    loop {
        let page = client.receipts(recorded.shard, next).await?;
        let Some(last) = page.last().filter(|last| last.seq >= next) else { return Ok(found) };
        next = last.seq.saturating_add(1);
        found = page.iter().filter_map(|receipt| returned(receipt, recorded)).next_back().or(found);
    }
}

/// A place at the end of the beacon's lane to a shard, or shortly before it.
async fn end(client: &Client, shard: u32) -> Result<u64> {
    let (mut held, mut beyond) = (0, NEAR);
    while beyond < LONGEST && !client.receipts(shard, beyond).await?.is_empty() {
        (held, beyond) = (beyond, beyond * 2);
    }
    while beyond - held > NEAR {
        let middle = held + (beyond - held) / 2;
        if client.receipts(shard, middle).await?.is_empty() {
            beyond = middle;
        } else {
            held = middle;
        }
    }
    Ok(held)
}

fn returned(receipt: &Receipt, recorded: &Recorded) -> Option<ReturnReason> {
    match receipt.action {
        ReceiptAction::Return { reason, transaction, .. } if transaction == recorded.transaction => Some(reason),
        _ => None,
    }
}

fn words(reason: ReturnReason) -> &'static str {
    match reason {
        ReturnReason::Expired => "it came too late",
        ReturnReason::WrongShard => "the account is another shard's",
        ReturnReason::InvalidBond => "the bond's shape or its proof of the key is refused",
        ReturnReason::WrongAmount => "the amount is not what the seats cost",
        ReturnReason::KeyTaken => "the key belongs to a validator already",
        ReturnReason::Full => "there is no room for another validator of this role, or for more seats of this one",
        ReturnReason::UnknownValidator => "there is no such validator any more",
        ReturnReason::NotOwner => "the validator belongs to another account",
        ReturnReason::WrongStatus => "the validator's status does not allow it any more",
        ReturnReason::InvalidEvidence => "the evidence proves nothing",
        ReturnReason::StaleEvidence => "the evidence is of an epoch too long ago",
        ReturnReason::AlreadySlashed => "the validator is slashed already",
    }
}
