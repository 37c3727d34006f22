//! Listeners: so many and no more, also where all of them ask for the same.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::testing::Chains;
use std::time::Instant;
use tokio_stream::StreamExt;

async fn until(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_wait_for_one_receipt_count() {
    let chains = Chains::start();
    let tracker = chains.tracker();
    let track = || tracker.track_receipt(ShardId(0), 7);
    let listeners: Vec<_> = (0..MAX_RECEIPTS).map(|_| track().unwrap()).collect();
    assert!(matches!(track(), Err(ApiError::Busy { limit: MAX_RECEIPTS, .. })));
    drop(listeners);
    until("who goes leaves its place", || tracker.inner.receivers.available_permits() == MAX_RECEIPTS).await;
    assert!(tracker.inner.lock().receipts.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_who_listen_to_one_transaction_count_and_one_that_goes_early_leaves_nothing_behind() {
    let chains = Chains::start();
    let tracker = chains.tracker();
    let mut steps = tracker.track(Hash([7; 32]), 0).await.unwrap();
    steps.next().await;
    assert_eq!(tracker.inner.listeners.available_permits(), MAX_LISTENERS - 1);
    let rest =
        Arc::clone(&tracker.inner.listeners).try_acquire_many_owned(u32::try_from(MAX_LISTENERS - 1).unwrap()).unwrap();
    let refused = tracker.track(Hash([7; 32]), 0).await.err();
    assert!(matches!(refused, Some(ApiError::Busy { limit: MAX_LISTENERS, .. })));
    drop((rest, steps));
    until("nobody listens", || tracker.inner.lock().transactions.is_empty()).await;

    // The core answers later than the client waits.
    let (release, held) = std::sync::mpsc::channel::<()>();
    let core = chains.shard.core.clone();
    tokio::spawn(async move { core.query(move |_, _| held.recv().is_err()).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(timeout(Duration::from_millis(50), tracker.track(Hash([8; 32]), 0)).await.is_err());
    assert!(tracker.inner.lock().transactions.is_empty(), "a watch that nobody has");
    drop(release);
}
