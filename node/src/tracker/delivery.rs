//! Receipts: what becomes of those that come in, asked here, and of those that went out, asked at their destinations.

use super::{Inner, MAX_RECEIPTS, Receiver, Watches};
use crate::{core::now, errors::ApiError};
use kakera_chain::{
    hash::Hash,
    receipt::{Receipt, ReturnReason},
    units::{ChainId, ShardId},
};
use kakera_proto::v1::{
    ReceiptRef, ReceiptStatus, Refusal, Stage, TrackReceiptRequest, transactions_client::TransactionsClient,
};
use kakera_shard::{ConsumedOutcome, ConsumedRecord, records::consumed_record};
use std::{sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::sleep};
use tonic::Status;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A receipt between shards, as the API names it.
pub(super) fn reference(receipt: &Receipt) -> Option<ReceiptRef> {
    let (ChainId::Shard(from), ChainId::Shard(to)) = (receipt.lane.from, receipt.lane.to) else { return None };
    Some(ReceiptRef { from_shard: from.0.into(), to_shard: to.0.into(), seq: receipt.seq, amount: receipt.amount() })
}

/// A consumed receipt, as the API tells it.
fn receipt_status(receipt: ReceiptRef, record: &ConsumedRecord) -> ReceiptStatus {
    let height = record.height.0;
    match record.outcome {
        ConsumedOutcome::Credited => {
            ReceiptStatus { receipt: Some(receipt), stage: Stage::Delivered.into(), height, ..Default::default() }
        }
        ConsumedOutcome::Returned { reason, seq } => {
            let reason = reason_name(reason).to_owned();
            ReceiptStatus { receipt: Some(receipt), stage: Stage::Returned.into(), height, return_seq: seq, reason }
        }
    }
}

fn reason_name(reason: ReturnReason) -> &'static str {
    match reason {
        ReturnReason::Expired => "RECEIPT_EXPIRED",
        ReturnReason::WrongShard => "WRONG_SHARD",
        ReturnReason::InvalidBond => "INVALID_BOND",
        ReturnReason::WrongAmount => "WRONG_AMOUNT",
        ReturnReason::KeyTaken => "KEY_TAKEN",
        ReturnReason::Full => "REGISTRY_FULL",
        ReturnReason::UnknownValidator => "UNKNOWN_VALIDATOR",
        ReturnReason::NotOwner => "NOT_OWNER",
        ReturnReason::WrongStatus => "WRONG_STATUS",
        ReturnReason::InvalidEvidence => "INVALID_EVIDENCE",
        ReturnReason::StaleEvidence => "STALE_EVIDENCE",
        ReturnReason::AlreadySlashed => "ALREADY_SLASHED",
    }
}

fn explain(reason: &str) -> String {
    let cause = match reason {
        "RECEIPT_EXPIRED" => "the destination came to it after its time",
        "WRONG_SHARD" => "the credited account does not belong to the destination",
        _ => "the destination did not credit it",
    };
    format!("{cause}: the value is back in the sender's account, send it again")
}

/// What becomes of a receipt toward this shard, for one who waits for it.
pub(super) struct Awaited {
    pub(super) inner: Arc<Inner>,
    pub(super) record: oneshot::Receiver<ConsumedRecord>,
    place: (ShardId, u64, u64),
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.inner.lock().receipts.remove(&self.place);
    }
}

impl Inner {
    /// Resolves with what became of a receipt toward this shard, once certified.
    pub(super) fn await_consumed(self: &Arc<Self>, from: ShardId, seq: u64) -> Result<Awaited, ApiError> {
        let full = |_| ApiError::Busy { what: "listeners to receipts", limit: MAX_RECEIPTS };
        let room = Arc::clone(&self.receivers).try_acquire_owned().map_err(full)?;
        let (told, record) = oneshot::channel();
        let place = {
            let mut watches = self.lock();
            watches.numbered += 1;
            let place = (from, seq, watches.numbered);
            watches.receipts.insert(place, Receiver { told, _room: room });
            place
        };
        let awaited = Awaited { inner: Arc::clone(self), record, place };
        // Asked after it is waited for: an event in between is not missed.
        if let Some(record) = self.consumed(from, seq)? {
            self.lock().answer(from, seq, record);
        }
        Ok(awaited)
    }

    fn consumed(&self, from: ShardId, seq: u64) -> Result<Option<ConsumedRecord>, ApiError> {
        Ok(consumed_record(&*self.store()?, &self.lane(from), seq)?)
    }

    /// A certified block has consumed the lane up to `next`.
    pub(super) fn tell_consumed(&self, from: ShardId, next: u64) {
        let mut due: Vec<u64> =
            self.lock().receipts.range((from, 0, 0)..(from, next, 0)).map(|((_, seq, _), _)| *seq).collect();
        due.dedup();
        for seq in due {
            self.tell_consumed_at(from, seq);
        }
    }

    pub(super) fn tell_consumed_at(&self, from: ShardId, seq: u64) {
        // A failure of the disk is in the log.
        if let Ok(Some(record)) = self.consumed(from, seq) {
            self.lock().answer(from, seq, record);
        }
    }

    /// The status of a receipt consumed here.
    pub(super) fn describe(&self, from: ShardId, seq: u64, record: &ConsumedRecord) -> ReceiptStatus {
        let receipt =
            ReceiptRef { from_shard: from.0.into(), to_shard: self.shard.0.into(), seq, amount: record.amount };
        receipt_status(receipt, record)
    }

    /// Follows a transaction's receipts to their ends, while somebody listens.
    pub(super) fn follow_receipts(self: &Arc<Self>, id: Hash, receipts: Vec<ReceiptRef>) {
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            let mut returned = None;
            for receipt in receipts {
                match inner.end_of(&id, receipt).await {
                    Some(None) => {}
                    Some(Some(refusal)) => returned = Some(refusal),
                    None => return,
                }
            }
            let watches = inner.lock();
            let beacon = watches.beacon_height;
            watches.change(&id, |life| life.settled(beacon, returned, now()));
        });
    }

    /// How a receipt ended: credited, or returned and credited back here. Nothing when nobody listens any more.
    async fn end_of(self: &Arc<Self>, id: &Hash, receipt: ReceiptRef) -> Option<Option<Refusal>> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.ask_destination(receipt).await {
                Ok(status) if status.stage() == Stage::Delivered => return Some(None),
                Ok(status) if status.stage() == Stage::Returned => {
                    let from = ShardId(u16::try_from(receipt.to_shard).ok()?);
                    let mut back = self.await_consumed(from, status.return_seq).ok()?;
                    (&mut back.record).await.ok()?;
                    let message = explain(&status.reason);
                    return Some(Some(Refusal { reason: status.reason, message }));
                }
                Ok(status) => tracing::warn!(?status, "a destination says what no receipt can end with"),
                Err(status) => {
                    tracing::debug!(%status, "a destination does not say what became of a receipt; asking again")
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            if !self.lock().transactions.contains_key(id) {
                return None;
            }
        }
    }

    async fn ask_destination(&self, receipt: ReceiptRef) -> Result<ReceiptStatus, Status> {
        let ReceiptRef { from_shard, to_shard, seq, .. } = receipt;
        let to = u16::try_from(to_shard).map_err(|_| Status::internal("a shard past u16"))?;
        let request = TrackReceiptRequest { from_shard, to_shard, seq };
        let opened = self.forwarder.call(ChainId::Shard(ShardId(to)), request, |channel, request| async move {
            TransactionsClient::new(channel).track_receipt(request).await
        });
        let mut stream = opened.await?;
        stream.message().await?.ok_or_else(|| Status::unavailable("the stream ended early"))
    }
}

impl Watches {
    fn answer(&mut self, from: ShardId, seq: u64, record: ConsumedRecord) {
        let due: Vec<_> =
            self.receipts.range((from, seq, 0)..=(from, seq, u64::MAX)).map(|(place, _)| *place).collect();
        for receiver in due.iter().filter_map(|place| self.receipts.remove(place)) {
            // A listener may have gone.
            let _gone = receiver.told.send(record);
        }
    }
}
