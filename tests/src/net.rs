//! A network of real processes in a temporary directory, and questions to its nodes.

use crate::{
    orders::{Signed, Wallet},
    wait::{PATIENCE, check, until},
};
use kakera_chain::{
    address::Address,
    genesis,
    hash::Hash,
    units::{ChainId, ShardId},
};
use kakera_deploy::{Binaries, Network, Orchestrator, Profile, Wiring, logs, orchestrator::CommandOf};
use kakera_proto::v1::{
    self, TransactionStatus, accounts_client::AccountsClient, beacon_client::BeaconClient, chains_client::ChainsClient,
    transactions_client::TransactionsClient,
};
use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    runtime::Runtime,
    time::{Instant, timeout, timeout_at},
};
use tonic::{
    Response, Status,
    transport::{Channel, Endpoint},
};

/// One network at a time in a test program: the machine is small.
static ONE: Mutex<()> = Mutex::new(());

/// How long one call may take.
const CALL: Duration = Duration::from_secs(10);

/// A network of processes; they end with it.
pub struct Net {
    orchestrator: Orchestrator,
    genesis: genesis::Network,
    channels: Mutex<BTreeMap<String, Channel>>,
    runtime: Runtime,
    dir: TempDir,
    _one: MutexGuard<'static, ()>,
}

impl Net {
    /// Creates the network of a profile; starts nothing.
    pub fn create(profile: &Profile) -> Net {
        Net::create_wired(profile, Wiring::Direct)
    }

    /// Creates the network of a profile, after which `prepare` may change its files, and whose processes run what
    /// `commands` makes of the node binaries; starts nothing.
    pub fn create_with(
        profile: &Profile,
        prepare: impl FnOnce(&Network),
        commands: impl FnOnce(Binaries) -> CommandOf,
    ) -> Net {
        Net::build(profile, Wiring::Direct, prepare, commands)
    }

    fn create_wired(profile: &Profile, wiring: Wiring) -> Net {
        let honest =
            |binaries: Binaries| -> CommandOf { Box::new(move |network, process| binaries.command(network, process)) };
        Net::build(profile, wiring, |_| {}, honest)
    }

    fn build(
        profile: &Profile,
        wiring: Wiring,
        prepare: impl FnOnce(&Network),
        commands: impl FnOnce(Binaries) -> CommandOf,
    ) -> Net {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::Builder::new().prefix("kakera-tests-").tempdir().expect("a temporary directory");
        let network = kakera_deploy::create_wired(&dir.path().join("net"), profile, wiring);
        let network = network.expect("the profile makes a network");
        prepare(&network);
        let genesis = network.genesis().expect("create() wrote a sound genesis");
        let binaries = Binaries::find().expect("the node binaries are built");
        let orchestrator = Orchestrator::with_commands(network, commands(binaries)).expect("an orchestrator");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime for the clients");
        Net { orchestrator, genesis, channels: Mutex::default(), runtime, dir, _one: one }
    }

    /// Creates and starts the network of a profile; returns when every chain certifies.
    pub fn start(profile: &Profile) -> Net {
        Net::create(profile).started()
    }

    /// Like [`Net::start`], with relays on the links.
    pub fn start_relayed(profile: &Profile) -> Net {
        Net::create_wired(profile, Wiring::Relayed).started()
    }

    /// Starts a network that was created; returns when every chain certifies.
    pub fn started(self) -> Net {
        let net = self;
        net.orchestrator.start_all().expect("all processes start");
        net.wait_listening(&net.all());
        net.wait_active(&net.seated());
        for chain in net.chains() {
            net.wait_certified(&net.members(chain)[0], 1);
        }
        net
    }

    /// The processes' owner.
    pub fn orchestrator(&self) -> &Orchestrator {
        &self.orchestrator
    }

    /// The directory and its processes.
    pub fn network(&self) -> &Network {
        self.orchestrator.network()
    }

    /// The genesis.
    pub fn genesis(&self) -> &genesis::Network {
        &self.genesis
    }

    /// Number of shards.
    pub fn shards(&self) -> u16 {
        self.genesis.genesis.shards
    }

    /// The clients' runtime.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Every process.
    pub fn all(&self) -> Vec<String> {
        self.network().processes().iter().map(|process| process.name.clone()).collect()
    }

    /// Every process that has a seat at genesis.
    pub fn seated(&self) -> Vec<String> {
        // Who sits in a sampled committee of the beacon is drawn: the others follow.
        let sampled = self.genesis.genesis.epochs.and_then(|epochs| epochs.beacon_seats).is_some();
        let chains = self.chains().into_iter().filter(|chain| !sampled || *chain != ChainId::Beacon);
        chains.flat_map(|chain| self.members(chain)).collect()
    }

    /// The beacon and every shard.
    pub fn chains(&self) -> Vec<ChainId> {
        let shards = (0..self.shards()).map(|shard| ChainId::Shard(ShardId(shard)));
        std::iter::once(ChainId::Beacon).chain(shards).collect()
    }

    /// The processes of a chain's committee.
    pub fn members(&self, chain: ChainId) -> Vec<String> {
        let name = |process: &kakera_deploy::Process| process.name.clone();
        match chain {
            ChainId::Beacon => self.network().beacons().map(name).collect(),
            ChainId::Shard(shard) => self.network().members_of(shard).map(name).collect(),
        }
    }

    /// Starts a process that does not run and waits until it listens.
    pub fn restart(&self, name: &str) {
        self.orchestrator.start(name).expect("it starts");
        self.wait_listening(&[name.to_owned()]);
    }

    /// Waits until processes accept connections.
    pub fn wait_listening(&self, names: &[String]) {
        self.orchestrator.wait_listening(names, PATIENCE, |_| {}).expect("they listen");
    }

    /// Kills processes at once, all in the same moment.
    pub fn kill(&self, names: &[String]) {
        thread::scope(|scope| {
            for name in names {
                scope.spawn(move || self.network().kill(name).expect("it runs and can be killed"));
            }
        });
        self.orchestrator.collect();
    }

    /// Waits until nodes may speak.
    pub fn wait_active(&self, names: &[String]) {
        for name in names {
            until(&format!("{name} to be active"), || {
                let status = self.status(name).map_err(|status| status.to_string())?;
                check(status.phase.eq_ignore_ascii_case("active"), || format!("its phase is {:?}", status.phase))
            });
        }
    }

    /// Waits until a node's chain is certified at least up to `height`.
    pub fn wait_certified(&self, name: &str, height: u64) -> v1::NodeStatus {
        until(&format!("{name} to certify height {height}"), || {
            let status = self.status(name).map_err(|status| status.to_string())?;
            let reason = || format!("certified {}, {}", status.certified_height, status.stall_reason);
            check(status.certified_height >= height, reason).map(|()| status.clone())
        })
    }

    /// The way to a node; made once, connects when needed.
    pub fn channel(&self, name: &str) -> Channel {
        let endpoint = &self.network().process(name).expect("a process of this network").endpoint;
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let _inside = self.runtime.enter();
        let connect = || {
            let endpoint = Endpoint::from_shared(format!("http://{endpoint}")).expect("an address of the profile");
            endpoint.connect_timeout(Duration::from_secs(3)).connect_lazy()
        };
        channels.entry(name.to_owned()).or_insert_with(connect).clone()
    }

    /// One call to one node.
    ///
    /// # Errors
    /// The node's status, or DEADLINE_EXCEEDED after ten seconds.
    pub fn ask<T, F>(&self, name: &str, call: impl FnOnce(Channel) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.ask_within(CALL, name, call)
    }

    /// One call to one node, which has `limit` for its answer.
    ///
    /// # Errors
    /// The node's status, or DEADLINE_EXCEEDED.
    pub fn ask_within<T, F>(&self, limit: Duration, name: &str, call: impl FnOnce(Channel) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let channel = self.channel(name);
        self.runtime.block_on(async {
            let answer = timeout(limit, call(channel)).await;
            answer.unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("{limit:?}")))).map(Response::into_inner)
        })
    }

    /// What a node knows of itself.
    ///
    /// # Errors
    /// The node's status.
    pub fn status(&self, name: &str) -> Result<v1::NodeStatus, Status> {
        self.status_within(CALL, name)
    }

    /// What a node knows of itself, if it says so within `limit`.
    ///
    /// # Errors
    /// The node's status.
    pub fn status_within(&self, limit: Duration, name: &str) -> Result<v1::NodeStatus, Status> {
        self.ask_within(limit, name, |channel| async {
            ChainsClient::new(channel).get_status(v1::GetStatusRequest::default()).await
        })
    }

    /// An account at the last certified block, as a node answers.
    ///
    /// # Errors
    /// The node's status.
    pub fn account(&self, name: &str, address: &Address) -> Result<v1::Account, Status> {
        self.account_within(CALL, name, address)
    }

    /// An account at the last certified block, if a node answers within `limit`.
    ///
    /// # Errors
    /// The node's status.
    pub fn account_within(&self, limit: Duration, name: &str, address: &Address) -> Result<v1::Account, Status> {
        let request = v1::GetAccountRequest { address: address.to_string(), head: false };
        self.ask_within(limit, name, |channel| async { AccountsClient::new(channel).get_account(request).await })
    }

    /// A block of a node's own chain by height.
    ///
    /// # Errors
    /// The node's status.
    pub fn block(&self, name: &str, height: u64) -> Result<v1::BlockInfo, Status> {
        self.block_within(CALL, name, height)
    }

    /// A block of a node's own chain by height, if it answers within `limit`.
    ///
    /// # Errors
    /// The node's status.
    pub fn block_within(&self, limit: Duration, name: &str, height: u64) -> Result<v1::BlockInfo, Status> {
        let request = v1::GetBlockRequest { which: Some(v1::get_block_request::Which::Height(height)), chain: None };
        self.ask_within(limit, name, |channel| async { ChainsClient::new(channel).get_block(request).await })
    }

    /// Why a block of a node's own chain is final, or what holds it back.
    ///
    /// # Errors
    /// The node's status.
    pub fn explain(&self, name: &str, which: v1::explain_request::Which) -> Result<v1::BlockExplanation, Status> {
        let request = v1::ExplainRequest { which: Some(which), chain: None };
        self.ask(name, |channel| async { ChainsClient::new(channel).explain(request).await })
    }

    /// The beacon's certified state.
    ///
    /// # Errors
    /// The node's status.
    pub fn beacon_state(&self, name: &str) -> Result<v1::BeaconState, Status> {
        self.beacon_state_within(CALL, name)
    }

    /// The beacon's certified state, if a node answers within `limit`.
    ///
    /// # Errors
    /// The node's status.
    pub fn beacon_state_within(&self, limit: Duration, name: &str) -> Result<v1::BeaconState, Status> {
        let request = v1::GetBeaconStateRequest {};
        self.ask_within(limit, name, |channel| async { BeaconClient::new(channel).get_state(request).await })
    }

    /// Submits canonical bytes.
    ///
    /// # Errors
    /// The node's status.
    pub fn submit(&self, name: &str, bytes: &[u8]) -> Result<v1::SubmitResponse, Status> {
        self.submit_within(CALL, name, bytes)
    }

    /// Submits canonical bytes to a node that has `limit` for its answer.
    ///
    /// # Errors
    /// The node's status.
    pub fn submit_within(&self, limit: Duration, name: &str, bytes: &[u8]) -> Result<v1::SubmitResponse, Status> {
        let request = v1::SubmitRequest { signed_transaction: bytes.to_vec() };
        self.ask_within(limit, name, |channel| async { TransactionsClient::new(channel).submit(request).await })
    }

    /// The steps of a transaction after a cursor, up to its terminal one.
    ///
    /// # Errors
    /// The node's status, or DEADLINE_EXCEEDED when no terminal step came in time.
    pub fn follow(&self, name: &str, id: Hash, shard: ShardId, after: u64) -> Result<Vec<TransactionStatus>, Status> {
        let request = v1::TrackRequest { transaction_id: id.0.to_vec(), shard: shard.0.into(), after };
        let channel = self.channel(name);
        self.runtime.block_on(async {
            let deadline = Instant::now() + PATIENCE;
            let late = |steps: &[TransactionStatus]| Status::deadline_exceeded(format!("only {steps:?}"));
            let mut steps = Vec::new();
            let opened = timeout_at(deadline, TransactionsClient::new(channel).track(request)).await;
            let mut stream = opened.map_err(|_| late(&steps))??.into_inner();
            while let Some(step) = timeout_at(deadline, stream.message()).await.map_err(|_| late(&steps))?? {
                steps.push(step);
            }
            Ok(steps)
        })
    }

    /// Submits to a node and follows it there to its terminal step.
    pub fn settle(&self, name: &str, shard: ShardId, signed: &Signed) -> Vec<TransactionStatus> {
        let accepted = self.submit(name, &signed.bytes).unwrap_or_else(|status| panic!("{name} refuses: {status}"));
        assert_eq!((accepted.transaction_id, accepted.shard), (signed.id.0.to_vec(), u32::from(shard.0)));
        let steps = self.follow(name, signed.id, shard, 0).unwrap_or_else(|status| panic!("{name}: {status}"));
        assert!(steps.last().is_some_and(|step| step.terminal), "the stream ended before the end: {steps:?}");
        steps
    }

    /// The wallet of a shard's faucet.
    pub fn faucet(&self, shard: ShardId) -> Wallet {
        Wallet::of(self.network().faucet(shard).expect("create() wrote it"), self.shards())
    }

    /// A wallet of a label in a shard.
    pub fn wallet(&self, label: &str, shard: ShardId) -> Wallet {
        Wallet::fresh(label, shard, self.shards())
    }

    /// Gives wallets of one shard tokens from its faucet and waits until they are certified.
    pub fn fund(&self, wallets: &[&Wallet], amount: u64) {
        let shard = wallets[0].shard;
        let (faucet, node) = (self.faucet(shard), self.members(ChainId::Shard(shard)).remove(0));
        let first = self.account(&node, &faucet.address).expect("the faucet's account").pending_nonce;
        for (nonce, wallet) in (first..).zip(wallets) {
            assert_eq!(wallet.shard, shard, "one shard at a time");
            let gift = faucet.transfer(self, nonce, wallet.address, amount);
            self.submit(&node, &gift.bytes).unwrap_or_else(|status| panic!("the faucet is refused: {status}"));
        }
        for wallet in wallets {
            until("the faucet's gift", || {
                let account = self.account(&node, &wallet.address).map_err(|status| status.to_string())?;
                check(account.balance >= amount, || format!("the balance is {}", account.balance))
            });
        }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        if thread::panicking() {
            self.dir.disable_cleanup(true);
            eprintln!("the network's directory is kept: {}", self.dir.path().display());
            for name in self.all() {
                let log = logs::tail(&self.network().log_path(&name), 6);
                eprintln!(
                    "--- {name} ({}):\n{log}",
                    self.network().state(&name).map_or("unknown", |state| state.word())
                );
            }
        }
    }
}
