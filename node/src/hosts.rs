//! The shards that this process hosts at the moment.

use crate::{api::LocalShard, duties::Duty, peers::Peers, versions::Versions};
use kakera_chain::units::{Height, ShardId};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};

/// A shard's replica with what stands around it.
#[derive(Clone)]
pub struct Host {
    /// What the API needs.
    pub local: LocalShard,
    /// Those it speaks with.
    pub peers: Peers,
    /// States that are handed over.
    pub versions: Versions,
    /// Whether it sits in the committee of its era and may answer clients.
    pub seated: Arc<AtomicBool>,
    /// How far the beacon chain has been read to it.
    pub told: Told,
    /// Why it is hosted.
    pub duty: Duty,
}

/// How far the beacon chain has been read to a shard.
#[derive(Clone, Debug, Default)]
pub struct Told {
    height: Arc<AtomicU64>,
    changed: Arc<Notify>,
}

impl Told {
    /// Up to this height; `u64::MAX`: nothing more will be.
    pub fn up_to(&self, height: u64) {
        self.height.store(height, Ordering::Release);
        self.changed.notify_waiters();
    }

    fn has_reached(&self, height: u64) -> bool {
        self.height.load(Ordering::Acquire) >= height
    }

    /// Returns when there may be something new.
    async fn change(&self) {
        // A change between a look and the wait is noticed by no one else, and neither is a shard that goes.
        let _looked = timeout(Duration::from_millis(20), self.changed.notified()).await;
    }
}

/// A handle; clones share everything.
#[derive(Clone, Default)]
pub struct Hosts {
    inner: Arc<RwLock<Inner>>,
}

#[derive(Default)]
struct Inner {
    running: BTreeMap<ShardId, Host>,
    /// Those whose state is being handed over.
    fetching: BTreeMap<ShardId, Duty>,
}

impl Hosts {
    /// Adds one that runs, in the place of its hand-over if there was one.
    pub(crate) fn insert(&self, shard: ShardId, host: Host) {
        let mut inner = self.inner.write().expect("no holder panics");
        inner.fetching.remove(&shard);
        inner.running.insert(shard, host);
    }

    /// Notes that a shard's state is being handed over.
    pub(crate) fn fetch(&self, shard: ShardId, duty: Duty) {
        self.inner.write().expect("no holder panics").fetching.insert(shard, duty);
    }

    /// It is hosted no more.
    pub(crate) fn remove(&self, shard: ShardId) -> Option<Host> {
        let mut inner = self.inner.write().expect("no holder panics");
        inner.fetching.remove(&shard);
        inner.running.remove(&shard)
    }

    /// Notes another reason for hosting.
    pub(crate) fn set_duty(&self, shard: ShardId, duty: Duty) {
        if let Some(host) = self.inner.write().expect("no holder panics").running.get_mut(&shard) {
            host.duty = duty;
        }
    }

    /// A hosted shard.
    pub fn of(&self, shard: ShardId) -> Option<Host> {
        self.inner.read().expect("no holder panics").running.get(&shard).cloned()
    }

    /// All, ascending.
    pub fn all(&self) -> Vec<(ShardId, Host)> {
        let inner = self.inner.read().expect("no holder panics");
        inner.running.iter().map(|(shard, host)| (*shard, host.clone())).collect()
    }

    /// Those whose state is being handed over.
    pub fn fetching(&self) -> Vec<(ShardId, Duty)> {
        let inner = self.inner.read().expect("no holder panics");
        inner.fetching.iter().map(|(shard, duty)| (*shard, *duty)).collect()
    }

    /// A shard about which clients are answered here: its committee has a seat for this process.
    pub fn serving(&self, shard: ShardId) -> Option<LocalShard> {
        self.of(shard).filter(|host| host.seated.load(Ordering::Acquire)).map(|host| host.local)
    }

    /// The shard that this process serves first: the lowest one that it has a seat in, else the lowest that it hosts.
    pub fn first(&self) -> Option<Host> {
        let all = self.all();
        let seated = all.iter().find(|(_, host)| host.seated.load(Ordering::Acquire));
        seated.or(all.first()).map(|(_, host)| host.clone())
    }

    /// Waits until every shard that is hosted now has been read the beacon chain up to a height, or is hosted no more.
    pub async fn caught_up(&self, height: Height) {
        for (shard, Host { told, .. }) in self.all() {
            // Whoever read to it may have ended with it and told nobody.
            let here = || self.of(shard).is_some_and(|host| Arc::ptr_eq(&host.told.height, &told.height));
            while !told.has_reached(height.0) && here() {
                told.change().await;
            }
        }
    }
}
