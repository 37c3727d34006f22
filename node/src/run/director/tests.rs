//! The director of one process, on a disk of its own, whose beacon chain stands at its first block.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::{
    config::Identity,
    forward::Forwarder,
    home::Home,
    hosts::Hosts,
    lab::Hooks,
    metrics::Metrics,
    peers::Switchboard,
    run::Opened,
    testing::{self, secret},
};
use kakera_chain::{
    genesis::Network,
    store::{Store, Table, Write},
};
use std::{path::PathBuf, sync::mpsc as blocking};
use tokio::{net::TcpListener, time::timeout};

const SHARD: ShardId = ShardId(0);
/// Much longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// A network with epochs that began so many milliseconds ago.
fn network(ago_ms: u64) -> Network {
    let text =
        testing::genesis_text().replace("genesis_time_ms = 0", &format!("genesis_time_ms = {}", now().0 - ago_ms));
    let tables = "[epochs]\nslots = 100\nfallback_slots = 30\nrotation_per_mille = 250\nunbonding = 2\n\
                  [staking]\nseat = 1000\nchurn_seats = 4\nreward = 10\nreporter_per_mille = 100\n";
    Network::parse(&text.replacen("[[validators]]", &format!("{tables}[[validators]]"), 1)).unwrap()
}

struct Process {
    director: Director,
    hosts: Hosts,
    home: Home,
    _dir: tempfile::TempDir,
}

impl Process {
    /// The process of a validator with a seat in the shard; it has begun.
    async fn start(network: &Network, me: u8) -> Process {
        let (dir, network) = (tempfile::tempdir().unwrap(), Arc::new(network.clone()));
        let identity = Identity {
            network: (*network).clone(),
            genesis_text: testing::genesis_text().into(),
            key: secret(me),
            role: Role::Shard,
            validator: Some(ValidatorId(me.into())),
            name: format!("validator-{me}"),
            randomness: None,
            ways: Ways::default(),
        };
        let opened = Opened {
            identity,
            network: Arc::clone(&network),
            home: Home::new(dir.path(), network.id),
            restored: false,
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            metrics_listener: None,
            started: now(),
            hooks: Hooks::default(),
            checkpoint: None,
        };
        let origin = Arc::new(Origin::of(&network).unwrap());
        let chain = BeaconChain::start(&opened, origin.beacon.clone(), origin.beacon_genesis.clone());
        let chain = Arc::new(chain.unwrap_or_else(|failure| panic!("{failure}")));
        let (metrics, hosts) = (Arc::new(Metrics::new()), Hosts::default());
        let (sender, news) = mpsc::channel(8);
        let ground = Ground {
            network: Arc::clone(&network),
            home: opened.home.clone(),
            key: secret(me),
            beacon: chain.core.clone(),
            beacon_store: Arc::clone(&chain.store),
            forwarder: Arc::new(Forwarder::default()),
            board: Switchboard::new(network.id, Arc::clone(&metrics)),
            hosts: hosts.clone(),
            metrics,
            hooks: Hooks::default(),
            news: sender,
        };
        let mut director = Director::new(ground, chain, origin, (Role::Shard, Ways::default()), news, false);
        director.begin().await.unwrap();
        Process { director, hosts, home: opened.home, _dir: dir }
    }

    fn is_hosted(&self) -> bool {
        assert_eq!(self.director.running.contains_key(&SHARD), self.hosts.of(SHARD).is_some());
        self.hosts.of(SHARD).is_some()
    }

    /// Lets the shard and its data go.
    async fn forget(&mut self) {
        let running = self.director.running.remove(&SHARD).unwrap();
        timeout(LONG, self.director.forget(SHARD, running)).await.expect("it ends").unwrap();
    }

    /// Marks the shard's database, so that another one is known from it.
    fn mark(&self) {
        let store = self.hosts.of(SHARD).unwrap().local.store;
        store.write(&[Write::put(Table::Meta, b"mark", [1])], false).unwrap();
    }

    fn is_marked(&self) -> bool {
        self.hosts.of(SHARD).unwrap().local.store.load(Table::Meta, b"mark").unwrap().is_some()
    }

    /// What is fetched at the moment is whole, so it is said; it is the state before the first block.
    async fn is_fetched(&mut self) {
        self.director.fetching.end();
        let ended = timeout(LONG, self.director.fetching.next()).await.expect("it ends");
        assert!(ended.unwrap_err().is_cancelled());
        timeout(LONG, self.director.fetched(Ok((SHARD, Ok(()))))).await.expect("it ends").unwrap();
    }

    fn beside(&self) -> PathBuf {
        self.home.path().join("shard-0/db-anew")
    }

    async fn end(self) {
        let core = self.director.beacon.core.clone();
        self.director.end().await;
        core.stop();
        core.stopped().await;
    }
}

/// Its reader had read so far, and had told so; as it ended with the shard it told nothing more, and the beacon chain was
/// followed no further.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_the_reader_of_a_shard_that_is_let_go() {
    let mut process = Process::start(&network(0), 1).await;
    let hosts = process.hosts.clone();
    let mut waiting = Box::pin(hosts.caught_up(Height(5)));
    assert!(timeout(Duration::ZERO, &mut waiting).await.is_err(), "there are no such blocks");
    process.forget().await;
    timeout(LONG, waiting).await.expect("it does not wait for what is gone");
    process.end().await;
}

/// Lookups of names that nobody answers may hold all of a runtime's threads that may block.
#[test]
fn a_shard_is_stopped_and_forgotten_though_no_thread_may_block() {
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(2).max_blocking_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut process = Process::start(&network(0), 1).await;
        let core = process.hosts.of(SHARD).unwrap().local.core;
        let (release, held) = blocking::channel::<()>();
        let (begun, begins) = blocking::channel();
        let taken = tokio::task::spawn_blocking(move || {
            begun.send(()).unwrap();
            held.recv()
        });
        begins.recv().unwrap();
        process.forget().await;
        assert!(!core.is_running() && process.home.shards(1).is_empty());
        drop(release);
        taken.await.unwrap().unwrap_err();
        process.end().await;
    });
}

/// It went on to say that it kept the state, as it had done before, until nothing was left of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_no_duty_any_more_says_so_as_long_as_it_holds_the_state_for_others() {
    let mut process = Process::start(&network(0), 1).await;
    let duty = |process: &Process| process.hosts.of(SHARD).unwrap().duty;
    assert_eq!(duty(&process), Duty::Member);
    let mut state = process.director.look().await.unwrap().state;
    let beacon_member = ValidatorId(0);
    state.epoch.0 += 1;
    process.director.let_go(&state, beacon_member).await.unwrap();
    assert_eq!(duty(&process), Duty::Left, "the shard has not followed into the epoch");
    state.epoch.0 -= 1;
    process.director.let_go(&state, beacon_member).await.unwrap();
    assert!(!process.is_hosted());
    process.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_still_read_is_not_removed_and_the_shard_is_hosted_again_once_it_is_not() {
    let mut process = Process::start(&network(0), 1).await;
    process.mark();
    let reader = process.hosts.of(SHARD).unwrap().local.store;
    process.forget().await;
    for _ in 0..2 {
        process.director.look_around().await.expect("it is no reason to end");
        assert!(!process.is_hosted());
        assert_eq!(process.home.shards(1), [SHARD], "its files are there");
        assert!(reader.load(Table::Meta, b"mark").unwrap().is_some());
    }
    drop(reader);
    process.director.look_around().await.unwrap();
    assert!(process.is_hosted() && !process.is_marked(), "begun anew");
    process.end().await;
}

/// The last holder of a state gave it up before anybody else had shown to have it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_here_is_given_up_for_nothing_less_than_a_whole_state() {
    let mut process = Process::start(&network(0), 1).await;
    process.mark();
    // Nobody answers at the endpoints in the registry.
    process.director.begin_anew(SHARD, true, "a test").unwrap();
    process.director.begin_anew(SHARD, true, "a test").unwrap();
    process.director.look_around().await.unwrap();
    assert!(process.is_hosted() && process.is_marked() && process.beside().exists());
    process.is_fetched().await;
    assert!(process.is_hosted() && !process.is_marked(), "what was fetched is in its place");
    assert!(!process.beside().exists());

    // Who gets on while it is fetched keeps what it has.
    process.mark();
    process.director.begin_anew(SHARD, false, "a test").unwrap();
    process.is_fetched().await;
    assert!(process.is_hosted() && process.is_marked() && !process.beside().exists());
    process.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_beacon_state_begins_nothing_that_is_not_here() {
    let mut process = Process::start(&network(3_600_000), 1).await;
    assert!(!process.is_hosted() && process.home.shards(1).is_empty());
    process.director.look_around().await.unwrap();
    assert!(!process.is_hosted() && process.home.shards(1).is_empty());
    process.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_whose_place_had_been_made_takes_it_at_the_next_start_and_other_rests_go() {
    let mut process = Process::start(&network(0), 1).await;
    process.forget().await;
    let (database, beside) = (process.home.path().join("shard-0/db"), process.beside());
    std::fs::create_dir(&beside).unwrap();
    process.director.sort_out().unwrap();
    assert!(database.exists() && !beside.exists());
    std::fs::create_dir(&beside).unwrap();
    std::fs::write(beside.join("rest"), "").unwrap();
    process.director.sort_out().unwrap();
    assert!(database.exists() && !beside.exists() && !database.join("rest").exists());
    process.end().await;
}
