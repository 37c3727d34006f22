//! A witness with a copy of the beacon chain, and a node of the shard that its account is on.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::{
    api::{Api, accounts::AccountsService, transactions::TransactionsService},
    hosts::Hosts,
    metrics::Metrics,
    testing::{self, Chains, SHARD, secret},
};
use kakera_beacon::Committees;
use kakera_chain::{
    BlockId,
    certificate::{Finality, FinalitySignature},
    evidence::Conflict,
    store::{Table, Write},
    units::{Height, ShardId},
};
use std::time::Instant;
use tokio::{net::TcpListener, task::JoinSet, time::sleep};
use tokio_stream::{StreamExt, wrappers::TcpListenerStream};

const ME: ValidatorId = ValidatorId(0);

/// A network with stake, in whose shard the witness's account holds so much.
fn network(balance: u64) -> Arc<Network> {
    let mut text = testing::genesis_text();
    for (slot, short) in [("1000", "20"), ("500", "20")] {
        text = text.replace(&format!("slot_ms = {slot}\ndelay_ms = 100"), &format!("slot_ms = {short}\ndelay_ms = 10"));
    }
    let account = format!("accounts = [{{ address = '{}', balance = {balance} }}, ", Address::of(&secret(0).public()));
    text = text.replace("accounts = [", &account);
    text.push_str(
        "[epochs]\nslots = 4294967296\nfallback_slots = 2\nrotation_per_mille = 250\nunbonding = 2\n\
         [staking]\nseat = 1000\nchurn_seats = 1\nreward = 1\nreporter_per_mille = 100\n",
    );
    Arc::new(Network::parse(&text).unwrap())
}

/// Everything that runs.
struct World {
    chains: Chains,
    tasks: JoinSet<()>,
}

impl World {
    async fn new(balance: u64) -> World {
        let chains = Chains::of(network(balance), None);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (network, forwarder) = (Arc::clone(&chains.network), Arc::clone(&chains.forwarder));
        forwarder.set(SHARD, vec![(ValidatorId(1), address.to_string())], 0);
        let api = Api { network, forwarder, metrics: Arc::new(Metrics::new()) };
        let hosts = Hosts::default();
        hosts.insert(ShardId(0), chains.host());
        let served = tonic::transport::Server::builder()
            .add_service(TransactionsService { api: api.clone(), hosts: hosts.clone() }.into_server())
            .add_service(AccountsService { api, hosts }.into_server())
            .serve_with_incoming(TcpListenerStream::new(listener));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { served.await.unwrap() });
        World { chains, tasks }
    }

    /// The witness holds that a member of the shard signed two blocks of one height, as its committee was drawn.
    fn accuse(&self, member: u16) {
        let id = Committees::draw(&self.chains.network).chain(SHARD).unwrap().validators[usize::from(member)];
        let sign = |block: u8| {
            let (epoch, height, block) = (Epoch(0), Height(7), BlockId([block; 32]));
            let finality = Finality { chain: SHARD, epoch, root: BlockId([1; 32]), height, block };
            let key = secret(u8::try_from(id.0).unwrap());
            FinalitySignature::sign(finality, Member(member), &key, self.chains.network.id)
        };
        let conflict = Conflict::of(&sign(1), &sign(2), |_| None).unwrap();
        let key = [&member.to_be_bytes()[..], &[1]].concat();
        let row = Write::Put { table: Table::Evidence, key, value: codec::encode(&conflict) };
        self.chains.beacon.store.write(&[row], false).unwrap();
    }

    /// Starts the witness.
    fn witness(&mut self) {
        let (core, beacon) = (self.chains.beacon.core.clone(), self.chains.beacon.core.clone());
        let (forwarder, network) = (Arc::clone(&self.chains.forwarder), Arc::clone(&self.chains.network));
        self.tasks.spawn(submit(core, beacon, forwarder, network, secret(0), ME));
    }

    /// Transactions that wait at the shard's node.
    async fn waiting(&self) -> usize {
        self.chains.shard.core.query(|replica, _| replica.app().pool_size().0).await.unwrap()
    }

    async fn stop(mut self) {
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        drop(self.chains.beacon.stop().await);
        drop(self.chains.shard.stop().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_is_reported_by_the_validators_own_account_one_at_a_time() {
    let mut world = World::new(1_000_000).await;
    world.accuse(0);
    world.accuse(2);
    world.witness();
    let started = Instant::now();
    while world.waiting().await == 0 {
        assert!(started.elapsed() < Duration::from_secs(30), "no report came");
        sleep(Duration::from_millis(50)).await;
    }
    let sender = Address::of(&secret(0).public());
    let next =
        world.chains.shard.core.query(move |replica, _| replica.app().pending_nonce(replica.head().state, &sender));
    assert_eq!(next.await, Ok(1), "it would be executed next");
    // The beacon never hears of it here. Past all its slots the report is due again, under the same nonce.
    sleep(Duration::from_millis(20 * (VALID_SLOTS + JUDGED_SLOTS + 40)) + LOOK_EVERY).await;
    assert_eq!(world.waiting().await, 1, "two are accused, and what waits is never two reports");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_pay_or_would_accuse_itself_reports_nothing() {
    let mut world = World::new(5_000).await;
    world.accuse(0);
    world.witness();
    sleep(2 * LOOK_EVERY).await;
    assert_eq!(world.waiting().await, 0);
    let witness = Paying::new(Arc::clone(&world.chains.forwarder), &world.chains.network, secret(0));
    let refused = witness.report(&[0; 500], 0).await.err().unwrap();
    let NotReported::Poor { address, have, need } = refused else { panic!("{refused}") };
    assert_eq!((address, have), (Address::of(&secret(0).public()), 5_000));
    assert!(need > 5_000 && refused.to_string().contains(&address.to_string()), "{refused}");
    world.stop().await;
}

/// Whoever had followed a chain that was hosted no more waited for it in vain: handles of its core keep its events open.
#[tokio::test(flavor = "multi_thread")]
async fn who_listens_to_a_chain_or_tracks_on_it_is_told_when_it_ends() {
    let world = World::new(0).await;
    let core = world.chains.shard.core.clone();
    let tracker = world.chains.tracker();
    let running = tokio::spawn(tracker.clone().run());
    let mut steps = tracker.track(Hash([7; 32]), 0).await.unwrap();
    assert!(steps.next().await.unwrap().is_ok(), "nothing is known of it yet");
    let mut events = core.events();
    core.stop();
    while !matches!(events.recv().await.unwrap(), ChainEvent::Ended) {}
    assert!(steps.next().await.unwrap().is_err(), "and nothing will be");
    running.await.unwrap();
}
