//! Following a transaction to its terminal state, over several nodes: when one dies, the next goes on.

use crate::{
    client::{self, Client},
    failure::{Failure, Result},
};
use kakera_proto::v1::{ReceiptStatus, Stage, TrackReceiptRequest, TrackRequest, TransactionStatus};
use std::time::{Duration, Instant};
use tonic::Streaming;

/// How long a node may keep saying that it does not know a transaction before the caller submits it again.
const UNKNOWN_LIMIT: Duration = Duration::from_secs(3);

/// Pause before the next node is asked.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// How following ended.
#[derive(Debug)]
pub(crate) enum Followed {
    /// In a terminal state.
    Terminal(Box<TransactionStatus>),
    /// Nobody knows it (any more): it may be submitted again.
    Lost,
}

/// The stage's place in a life, for telling news from repetition; terminal failures stand last.
pub(crate) fn rank(stage: Stage) -> u8 {
    match stage {
        Stage::Unspecified | Stage::Unknown => 0,
        Stage::Accepted => 1,
        Stage::Included => 2,
        Stage::ShardFinal => 3,
        Stage::Recorded => 4,
        Stage::Delivered => 5,
        Stage::Returned | Stage::Refused | Stage::Expired | Stage::Lost => 6,
    }
}

/// The stage's name.
pub(crate) fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Unspecified | Stage::Unknown => "unknown",
        Stage::Accepted => "accepted",
        Stage::Included => "included",
        Stage::ShardFinal => "shard-final",
        Stage::Recorded => "recorded",
        Stage::Delivered => "delivered",
        Stage::Refused => "refused",
        Stage::Expired => "expired",
        Stage::Returned => "returned",
        Stage::Lost => "lost",
    }
}

/// Follows a transaction, first on the node `first`; `step` hears each stage that is further than all before, once.
/// A block can be replaced before it is final: then `included` may come again and is not repeated here.
pub(crate) async fn follow(
    client: &Client,
    first: usize,
    (shard, id): (u32, &[u8]),
    deadline: Instant,
    mut step: impl FnMut(&TransactionStatus),
) -> Result<Followed> {
    let mut node = first;
    let mut reached = 0;
    let mut unknown_since: Option<Instant> = None;
    let mut last = "nothing yet".to_owned();
    while Instant::now() < deadline {
        // From the beginning on each node: cursors count what one node saw.
        let request = TrackRequest { transaction_id: id.to_vec(), shard, after: 0 };
        match client.track_on(node, request).await {
            Ok(mut stream) => loop {
                let wait = if unknown_since.is_some() { UNKNOWN_LIMIT } else { deadline - Instant::now() };
                match next(&mut stream, wait.min(deadline.saturating_duration_since(Instant::now()))).await {
                    Ok(Some(status)) => {
                        let stage = status.stage();
                        last = name(stage).to_owned();
                        if stage == Stage::Unknown {
                            let since = *unknown_since.get_or_insert_with(Instant::now);
                            if since.elapsed() > UNKNOWN_LIMIT {
                                return Ok(Followed::Lost);
                            }
                            if status.terminal {
                                break;
                            }
                            continue;
                        }
                        unknown_since = None;
                        if rank(stage) > reached {
                            reached = rank(stage);
                            step(&status);
                        }
                        if status.terminal {
                            return Ok(Followed::Terminal(Box::new(status)));
                        }
                    }
                    Ok(None) => break,
                    Err(reason) => {
                        last = reason;
                        break;
                    }
                }
            },
            Err(status) if client::is_transient(&status) => last = status.message().to_owned(),
            Err(status) => return Err(client::failure_of(&status)),
        }
        if unknown_since.is_some_and(|since| since.elapsed() > UNKNOWN_LIMIT) {
            return Ok(Followed::Lost);
        }
        node += 1;
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    Err(Failure::Other(anyhow::anyhow!(
        "transaction {} reached no terminal state in time (last: {last}); follow it with `kakera track`",
        hex::encode(id)
    )))
}

/// Follows a receipt to its end at its destination.
pub(crate) async fn follow_receipt(
    client: &Client,
    first: usize,
    request: TrackReceiptRequest,
    deadline: Instant,
) -> Result<ReceiptStatus> {
    let mut node = first;
    while Instant::now() < deadline {
        match client.track_receipt_on(node, request).await {
            Ok(mut stream) => {
                while let Ok(Some(status)) = next(&mut stream, deadline.saturating_duration_since(Instant::now())).await
                {
                    if matches!(status.stage(), Stage::Delivered | Stage::Returned) {
                        return Ok(status);
                    }
                }
            }
            Err(status) if client::is_transient(&status) => {}
            Err(status) => return Err(client::failure_of(&status)),
        }
        node += 1;
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    let TrackReceiptRequest { from_shard, to_shard, seq } = request;
    Err(Failure::Check(format!("receipt {seq} from shard {from_shard} to {to_shard} is neither credited nor returned")))
}

async fn next<T>(stream: &mut Streaming<T>, wait: Duration) -> std::result::Result<Option<T>, String> {
    match tokio::time::timeout(wait, stream.message()).await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_) => Err("silence".to_owned()),
    }
}

#[cfg(test)]
mod relay_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_rank_in_the_order_of_a_life() {
        let life =
            [Stage::Unknown, Stage::Accepted, Stage::Included, Stage::ShardFinal, Stage::Recorded, Stage::Delivered];
        assert!(life.windows(2).all(|pair| rank(pair[0]) < rank(pair[1])));
        assert!(rank(Stage::Returned) > rank(Stage::Recorded));
        assert_eq!(name(Stage::ShardFinal), "shard-final");
    }
}
