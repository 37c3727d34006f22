//! One transaction from submission to its end, whatever happens to nodes on the way.

use super::cast::Entry;
use crate::{
    client::Client,
    failure::{Failure, Result},
    order::Order,
    tracking::{self, Followed},
};
use kakera_chain::{address::Address, units::ShardId};
use kakera_proto::v1::{Stage, TransactionStatus};
use std::time::{Duration, Instant};

/// How long one transaction may take, with nodes dying and coming back meanwhile.
const FLIGHT_LIMIT: Duration = Duration::from_secs(60);

/// A transaction about to be submitted.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    /// It.
    pub(crate) order: Order,
    /// Who pays.
    pub(crate) from: Address,
    /// Its shard.
    pub(crate) shard: ShardId,
    /// Who is paid.
    pub(crate) payments: Vec<(Address, u64)>,
    /// Gas that it uses.
    pub(crate) gas: u64,
}

/// When a transaction reached each finality level, in ms from just before its submission.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Levels {
    /// In a block at the head.
    pub(crate) included: Option<u64>,
    /// Certified by its shard.
    pub(crate) shard_final: Option<u64>,
    /// In a certified beacon block.
    pub(crate) recorded: Option<u64>,
    /// Certified at the destination.
    pub(crate) delivered: Option<u64>,
}

/// A transaction at its end.
#[derive(Clone, Debug)]
pub(crate) struct Landed {
    /// What it did.
    pub(crate) entry: Entry,
    /// How long it took.
    pub(crate) levels: Levels,
    /// How often it had to be submitted again.
    pub(crate) resubmitted: u64,
}

/// A transaction that a node took.
#[derive(Debug)]
pub(crate) struct Airborne {
    flight: Flight,
    started: Instant,
    node: usize,
    // Why the only answer was a refusal that a lost first answer explains; following decides.
    doubt: Option<Failure>,
}

impl Flight {
    /// Submits it, first to the node `node`; goes on to others while none answers.
    pub(crate) async fn submit(self, client: &Client, node: usize) -> Result<Airborne> {
        let started = Instant::now();
        let doubt = submit_until(client, node, &self.order, started + FLIGHT_LIMIT).await?;
        Ok(Airborne { flight: self, started, node, doubt })
    }
}

impl Airborne {
    /// Follows it to its end; submits it again when no node knows it any more.
    pub(crate) async fn land(self, client: &Client) -> Result<Landed> {
        let Airborne { flight, started, mut node, mut doubt } = self;
        let deadline = started + FLIGHT_LIMIT;
        let mut levels = Levels::default();
        let mut resubmitted = 0;
        loop {
            let key = (flight.shard.0.into(), &flight.order.id.0[..]);
            let followed = tracking::follow(client, node, key, deadline, |status| levels.note(status, started)).await?;
            match (followed, doubt.take()) {
                (Followed::Terminal(last), _) => {
                    return Ok(Landed { entry: flight.entry(&last)?, levels, resubmitted });
                }
                (Followed::Lost, Some(refusal)) => return Err(refusal),
                (Followed::Lost, None) => {}
            }
            resubmitted += 1;
            node += 1;
            doubt = submit_until(client, node, &flight.order, deadline).await?;
        }
    }
}

/// Submits until a node takes it. A used nonce can mean that an earlier answer was lost: then the refusal is returned
/// and following decides.
async fn submit_until(client: &Client, node: usize, order: &Order, deadline: Instant) -> Result<Option<Failure>> {
    loop {
        match client.submit(node, order.bytes.clone()).await {
            Ok(accepted) if accepted.transaction_id == order.id.0 => return Ok(None),
            Ok(accepted) => {
                let theirs = hex::encode(accepted.transaction_id);
                return Err(Failure::Check(format!("transaction {} was accepted as {theirs}", order.id)));
            }
            Err(Failure::Refused { reason, message }) if reason == "NONCE_USED" || reason == "KNOWN" => {
                return Ok(Some(Failure::Refused { reason, message }));
            }
            Err(Failure::Connection(_)) if Instant::now() < deadline => {}
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

impl Levels {
    fn note(&mut self, status: &TransactionStatus, started: Instant) {
        let now = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let rank = tracking::rank(status.stage());
        // A stream that joins late skips stages: a level is reached at the latest when a further one is.
        let levels = [
            (Stage::Included, &mut self.included),
            (Stage::ShardFinal, &mut self.shard_final),
            (Stage::Recorded, &mut self.recorded),
            (Stage::Delivered, &mut self.delivered),
        ];
        for (stage, at) in levels {
            if rank >= tracking::rank(stage) && rank <= tracking::rank(Stage::Delivered) {
                at.get_or_insert(now);
            }
        }
    }
}

impl Flight {
    fn entry(self, last: &TransactionStatus) -> Result<Entry> {
        let Flight { order, from, shard, payments, gas } = self;
        let why = last.refusal.clone().unwrap_or_default();
        match last.stage() {
            Stage::Recorded | Stage::Delivered | Stage::Returned => {}
            stage => {
                return Err(Failure::Check(format!(
                    "transaction {} of shard {shard} ended as {} ({}: {})",
                    order.id,
                    tracking::name(stage),
                    why.reason,
                    why.message
                )));
            }
        }
        let receipts = last.receipts.clone();
        Ok(Entry { from, shard, payments, gas, height: last.height, receipts, stage: last.stage() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skipped_level_counts_when_a_further_one_is_reached() {
        let mut levels = Levels::default();
        let started = Instant::now();
        let status = |stage: Stage| TransactionStatus { stage: stage.into(), ..Default::default() };
        levels.note(&status(Stage::Accepted), started);
        assert!(levels.included.is_none());
        levels.note(&status(Stage::Recorded), started);
        assert!(levels.included.is_some() && levels.shard_final.is_some() && levels.recorded.is_some());
        assert!(levels.delivered.is_none());
        levels.note(&status(Stage::Returned), started);
        assert!(levels.delivered.is_none(), "a return is no delivery");
    }
}
