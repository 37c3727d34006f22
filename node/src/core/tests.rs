//! A core that clients crowd, and its peers beside them.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::testing::{Chains, Running, SHARD, brisk};
use kakera_beacon::Committees;
use kakera_chain::units::Epoch;
use kakera_shard::Shard;
use std::{
    future::Future,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};
use tokio::task::JoinSet;

/// Keeps the core busy until the sender is dropped.
async fn busy(core: &Core<Shard>) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let (begun, begins) = oneshot::channel();
    let core = core.clone();
    tokio::spawn(async move {
        let wait = move |_: &Replica<Shard>, _| {
            begun.send(()).unwrap();
            // The sender is dropped, never used.
            let _over = held.recv();
        };
        core.query(wait).await
    });
    begins.await.unwrap();
    release
}

/// Lets so many clients ask at once; returns when all have done so.
async fn crowd<F>(clients: usize, ask: impl Fn() -> F) -> JoinSet<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (mut all, asking) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..clients {
        let (asking, asks) = (Arc::clone(&asking), ask());
        all.spawn(async move {
            asking.fetch_add(1, Ordering::Relaxed);
            asks.await;
        });
    }
    while asking.load(Ordering::Relaxed) < clients {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_is_heard_however_many_clients_ask() {
    let chains = Chains::start();
    let core = &chains.shard.core;
    let release = busy(core).await;
    let clients = crowd(2 * QUEUE, || {
        let core = core.clone();
        async move { core.query(|_, _| ()).await.unwrap() }
    });
    let clients = clients.await;
    let said = || Spoken { epoch: Epoch(0), message: PeerMessage::Since(vec![0]) };
    assert!((0..PEER_QUEUE).all(|_| core.deliver(ValidatorId(3), said())), "clients have taken the peers' room");
    assert!(!core.deliver(ValidatorId(3), said()), "a flood crowds out only itself");
    drop(release);
    clients.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_readings_of_history_are_before_whoever_comes_next() {
    let chains = Chains::start();
    let core = &chains.shard.core;
    let release = busy(core).await;
    let read = Arc::new(AtomicUsize::new(0));
    let readers = crowd(500, || {
        let (core, read) = (core.clone(), Arc::clone(&read));
        async move { assert!(core.history(move |_, _| read.fetch_add(1, Ordering::Relaxed)).await.is_ok()) }
    });
    let readers = readers.await;
    let next = {
        let (core, read) = (core.clone(), Arc::clone(&read));
        tokio::spawn(async move { core.query(move |_, _| read.load(Ordering::Relaxed)).await.unwrap() })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(release);
    assert!(next.await.unwrap() <= HISTORIES, "it waited for all the readers");
    readers.join_all().await;
    assert_eq!(read.load(Ordering::Relaxed), 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_and_goes_away_takes_no_more_turns_than_others_and_nothing_is_done_for_it() {
    let chains = Chains::start();
    let core = &chains.shard.core;
    let release = busy(core).await;
    let read = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let (core, read) = (core.clone(), Arc::clone(&read));
        let asked = core.history(move |_, _| read.fetch_add(1, Ordering::Relaxed));
        drop(tokio::time::timeout(Duration::from_millis(1), asked).await);
    }
    assert_eq!(core.histories.available_permits(), 0, "its turns are over when the core has seen them");
    assert!(core.room.available_permits() >= CLIENTS - HISTORIES);
    drop(release);
    core.history(|_, _| ()).await.unwrap();
    assert_eq!(read.load(Ordering::Relaxed), 0);
}

/// Whoever waits for the end of a core must not take a panic for an orderly end.
#[tokio::test]
async fn a_core_that_panics_says_that_it_has_failed() {
    let chains = Chains::start();
    let core = chains.shard.core.clone();
    let asked: Result<(), Stopped> = core.query(|_, _| panic!("on purpose")).await;
    assert_eq!(asked, Err(Stopped));
    assert_eq!(core.stopped().await.as_deref(), Some("the core panicked"));
}

/// A process that begins anew reads several eras at once, and nobody would name the second again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_era_is_not_lost_that_is_named_right_after_one_for_which_the_replica_opens_again() {
    let (dir, network) = (tempfile::tempdir().unwrap(), Arc::new(brisk(1, 10_000)));
    let drawn = Committees::draw(&network).chain(SHARD).unwrap().clone();
    let member = u8::try_from(drawn.validators[0].0).unwrap();
    let shard = Running::shard(&network, dir.path(), Some(member));
    let core = &shard.core;
    // By then the state of the first block has left memory.
    let far = |replica: &Replica<Shard>, _| {
        let first = replica.certified_id(Height(1))?;
        replica.held(&first).is_none().then_some((Height(1), first))
    };
    let reached = async {
        loop {
            match core.query(far).await.unwrap() {
                Some(root) => return root,
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let root = tokio::time::timeout(Duration::from_secs(60), reached).await.unwrap();
    let mut events = core.events();
    let release = busy(core).await;
    for epoch in [Epoch(1), Epoch(2)] {
        let (seats, leaders) = (drawn.clone(), vec![Member(0)]);
        core.enter(EraPlan { epoch, root, seats, leaders }).await.unwrap();
    }
    drop(release);
    assert_eq!(core.query(|replica, _| replica.era().epoch).await.unwrap(), Epoch(2));
    let mut undone = 0;
    while let Ok(event) = events.try_recv() {
        undone += if let ChainEvent::Undone(blocks) = event { blocks.len() } else { 0 };
    }
    assert!(undone > 0, "the root lies below what was certified");
    drop(shard.stop().await);
}
