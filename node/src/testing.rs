//! A small network for tests: one beacon validator, then shard validators of one shard.

#![allow(clippy::unwrap_used, reason = "tests")]
use crate::{
    api::{LocalShard, chains::Served},
    core::{self, Core, Nobody, Outbox, now},
    duties::Duty,
    forward::Forwarder,
    hosts::{Host, Told},
    metrics::Metrics,
    peers::Peers,
    run::{Origin, shard_app},
    store::RocksStore,
    tracker::Tracker,
    versions::Versions,
};
use kakera_beacon::{Beacon, Committees, leader_seed};
use kakera_chain::{
    address::Address,
    block::Header,
    genesis::Network,
    keys::SecretKey,
    leaders::leader_cycle,
    replica::{Replica, ReplicaConfig, SignState},
    store::Store,
    units::{ChainId, ShardId, ValidatorId},
};
use kakera_shard::{Shard, first_reading};
use std::{
    fmt::Write as _,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    thread::JoinHandle,
};

/// Validators in the network.
pub(crate) const VALIDATORS: u8 = 4;

/// Validator `index`'s key.
pub(crate) fn secret(index: u8) -> SecretKey {
    SecretKey::from_seed([index + 1; 32])
}

/// The genesis file.
pub(crate) fn genesis_text() -> String {
    let mut text = format!(
        "name = 'test'\ngenesis_time_ms = 0\nseed = '{}'\nshards = 1\ncommittee_seats = 3\n\
         accounts = [{{ address = '{}', balance = 1000 }}]\n\
         [beacon]\nslot_ms = 1000\ndelay_ms = 100\nheartbeat_slots = 4\n\
         [shard]\nslot_ms = 500\ndelay_ms = 100\nheartbeat_slots = 4\n\
         [fees]\nblock_gas = 10000000\nblock_bytes = 500000\nbase_fee = 1\nreceipt_gas_percent = 50\n\
         [lanes]\nbound = 100\nlifetime_slots = 100\n",
        "05".repeat(32),
        Address([1; 32]),
    );
    for index in 0..VALIDATORS {
        let role = if index == 0 { "beacon" } else { "shard" };
        write!(
            text,
            "[[validators]]\nname = 'validator-{index}'\nrole = '{role}'\nkey = '{}'\nseats = 1\n\
             endpoint = '127.0.0.1:{}'\nowner = '{}'\ncommitment = '{}'\n",
            secret(index).public(),
            4000 + u16::from(index),
            Address([index; 32]),
            "06".repeat(32),
        )
        .unwrap();
    }
    text
}

/// The network of [`genesis_text`].
pub(crate) fn network() -> Network {
    Network::parse(&genesis_text()).unwrap()
}

/// The network of [`genesis_text`] with epochs and stake.
pub(crate) fn staked() -> Network {
    Network::parse(&staked_text()).unwrap()
}

fn staked_text() -> String {
    let tables = "[epochs]\nslots = 100\nfallback_slots = 30\nrotation_per_mille = 250\nunbonding = 2\n\
                  [staking]\nseat = 1000\nchurn_seats = 4\nreward = 10\nreporter_per_mille = 100\n";
    genesis_text().replacen("[[validators]]", &format!("{tables}[[validators]]"), 1)
}

/// The network of [`staked`], born now, with so many seats in the shard, and with short slots: those of the beacon take
/// 100 ms, so many are an epoch, and a committee is waited for during half of them.
pub(crate) fn brisk(seats: u8, slots: u64) -> Network {
    let late = slots / 2;
    let text = staked_text()
        .replace("genesis_time_ms = 0", &format!("genesis_time_ms = {}", now().0))
        .replace("committee_seats = 3", &format!("committee_seats = {seats}"))
        .replace("slots = 100\nfallback_slots = 30", &format!("slots = {slots}\nfallback_slots = {late}"))
        .replace("slot_ms = 1000\ndelay_ms = 100", "slot_ms = 100\ndelay_ms = 5")
        .replace("slot_ms = 500\ndelay_ms = 100", "slot_ms = 50\ndelay_ms = 5")
        .replace("heartbeat_slots = 4", "heartbeat_slots = 1");
    Network::parse(&text).unwrap()
}

/// The chain of the shard.
pub(crate) const SHARD: ChainId = ChainId::Shard(ShardId(0));

/// A chain that runs.
pub(crate) struct Running<A: Served> {
    pub(crate) core: Core<A>,
    pub(crate) store: Arc<RocksStore>,
    thread: JoinHandle<()>,
}

impl<A: Served + Clone> Running<A> {
    fn start(
        network: &Arc<Network>,
        dir: &Path,
        chain: ChainId,
        app: A,
        genesis: Header,
        speaks: Option<u8>,
        outbox: impl Outbox,
    ) -> Running<A> {
        let store = Arc::new(RocksStore::open(&dir.join(chain.to_string()), network.id, chain).unwrap());
        let seats = Committees::draw(network).chain(chain).unwrap().clone();
        let leaders = leader_cycle(&seats.committee, leader_seed(network, chain));
        let (network, rocks): (_, Arc<dyn Store>) = (Arc::clone(network), store.clone());
        let open = move || {
            let config = ReplicaConfig {
                network: Arc::clone(&network),
                chain,
                seats: seats.clone(),
                validator: speaks.map(|index| (ValidatorId(index.into()), secret(index))),
                genesis: genesis.clone(),
                leaders: leaders.clone(),
                guard: SignState::default(),
                restored: false,
                now: now(),
            };
            Replica::open(config, app.clone(), Arc::clone(&rocks))
        };
        let (core, thread) = core::start(Box::new(open), Arc::clone(&store), None, outbox).unwrap();
        Running { core, store, thread }
    }
}

impl Running<Beacon> {
    /// The beacon chain of a network.
    pub(crate) fn beacon(network: &Arc<Network>, dir: &Path, speaks: Option<u8>) -> Running<Beacon> {
        let Origin { beacon, beacon_genesis, .. } = Origin::of(network).unwrap();
        Running::start(network, dir, ChainId::Beacon, beacon, beacon_genesis, speaks, Nobody)
    }
}

impl Running<Shard> {
    /// The first shard of a network, with a member that nobody hears.
    pub(crate) fn shard(network: &Arc<Network>, dir: &Path, speaks: Option<u8>) -> Running<Shard> {
        Running::shard_heard(network, dir, speaks, Nobody)
    }

    /// The same with a member that others hear.
    pub(crate) fn shard_heard(
        network: &Arc<Network>,
        dir: &Path,
        speaks: Option<u8>,
        outbox: impl Outbox,
    ) -> Running<Shard> {
        let Origin { beacon_genesis, mut shards, .. } = Origin::of(network).unwrap();
        let genesis = shards.remove(0);
        let first = first_reading(beacon_genesis.id(network.id), genesis.id(network.id));
        let app = shard_app(network, ShardId(0), first, None).unwrap();
        Running::start(network, dir, SHARD, app, genesis, speaks, outbox)
    }
}

impl<A: Served + Clone> Running<A> {
    /// Ends it and gives back its store.
    pub(crate) async fn stop(self) -> Arc<RocksStore> {
        let Running { core, store, thread } = self;
        let end = move || {
            core.stop();
            thread.join().unwrap();
        };
        tokio::task::spawn_blocking(end).await.unwrap();
        store
    }
}

/// A beacon chain that nothing happens on, and a shard.
pub(crate) struct Chains {
    pub(crate) network: Arc<Network>,
    pub(crate) beacon: Running<Beacon>,
    pub(crate) shard: Running<Shard>,
    pub(crate) forwarder: Arc<Forwarder>,
    _dir: tempfile::TempDir,
}

impl Chains {
    /// Starts both; the shard has one member, and makes blocks all the time.
    pub(crate) fn start() -> Chains {
        let mut text = genesis_text().replace("committee_seats = 3", "committee_seats = 1");
        for (slot, short) in [("1000", "100"), ("500", "20")] {
            text =
                text.replace(&format!("slot_ms = {slot}\ndelay_ms = 100"), &format!("slot_ms = {short}\ndelay_ms = 5"));
        }
        let network = Arc::new(Network::parse(&text).unwrap());
        let member = Committees::draw(&network).chain(SHARD).unwrap().validators[0].0;
        Chains::of(network, u8::try_from(member).ok())
    }

    /// Those of a network, with a replica of the shard that speaks for this validator, or for nobody.
    pub(crate) fn of(network: Arc<Network>, speaks: Option<u8>) -> Chains {
        let dir = tempfile::tempdir().unwrap();
        let beacon = Running::beacon(&network, dir.path(), None);
        let shard = Running::shard(&network, dir.path(), speaks);
        Chains { network, beacon, shard, forwarder: Arc::default(), _dir: dir }
    }

    /// A tracker of the shard.
    pub(crate) fn tracker(&self) -> Tracker {
        let (core, store) = (self.shard.core.clone(), Arc::clone(&self.shard.store));
        Tracker::new(ShardId(0), core, store, Arc::clone(&self.forwarder))
    }

    /// The shard with what stands around it.
    pub(crate) fn host(&self) -> Host {
        let (core, store) = (self.shard.core.clone(), Arc::clone(&self.shard.store));
        Host {
            peers: Peers::new(self.network.id, SHARD, ValidatorId(1), secret(1), Arc::new(Metrics::new())),
            versions: Versions::new(core.clone()),
            seated: Arc::new(AtomicBool::new(true)),
            told: Told::default(),
            duty: Duty::Member,
            local: LocalShard { shard: ShardId(0), core, store, tracker: self.tracker() },
        }
    }
}
