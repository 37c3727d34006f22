//! A shard's state handed over on loopback: a process fetches a million accounts over gRPC from twenty nodes, of which six
//! corrupt every other part, into RocksDB; it is killed half-way and started again. Time and peak memory of that process. An
//! argument sets the number of accounts.

use kakera_chain::{
    BlockId,
    address::Address,
    codec,
    hash::{Hash, NetworkId},
    units::{ChainId, Height, ShardId, ValidatorId},
};
use kakera_node::{api::Answers, forward::Forwarder, handover::Download, store::RocksStore};
use kakera_proto::v1::{
    CanonicalBytes, CertifiedBlocks, FollowChainRequest, GetCheckpointRequest, GetClosedEraRequest, GetReceiptsRequest,
    GetWholeBlockRequest, HandOverRequest, sync_server,
};
use kakera_shard::{
    Account, Meta, ShardState, Trie,
    handover::{Answer, Request as Wanted, Target},
};
use std::{
    collections::BTreeMap,
    env, fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

const ACCOUNTS: u64 = 1_000_000;
const NODES: u32 = 20;
/// Of ten nodes.
const CORRUPT: u32 = 3;
const SHARD: ShardId = ShardId(0);
const NETWORK: NetworkId = NetworkId(Hash([5; 32]));
/// The word that makes this program the fetching process.
const FETCH: &str = "fetch";

/// A node that holds the state.
#[derive(Clone)]
struct Holder {
    state: Arc<ShardState>,
    corrupts: bool,
    served: Arc<AtomicU64>,
    corrupted: Arc<AtomicU64>,
}

fn elsewhere<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("this node hands a state over and does nothing else"))
}

#[tonic::async_trait]
impl sync_server::Sync for Holder {
    type FollowStream = Answers<CertifiedBlocks>;
    type GetCheckpointStream = Answers<CanonicalBytes>;

    async fn hand_over(&self, request: Request<HandOverRequest>) -> Result<Response<CanonicalBytes>, Status> {
        let number = self.served.fetch_add(1, Ordering::Relaxed);
        let wanted =
            Wanted::decode(&request.get_ref().canonical).map_err(|_| Status::invalid_argument("no request"))?;
        let state = Arc::clone(&self.state);
        let mut canonical = tokio::task::block_in_place(|| codec::encode(&Answer::to(&wanted.ask, Some(&state))));
        if self.corrupts && number.is_multiple_of(2) {
            self.corrupted.fetch_add(1, Ordering::Relaxed);
            let middle = canonical.len() / 2;
            canonical[middle] ^= 1;
        }
        Ok(Response::new(CanonicalBytes { canonical }))
    }

    async fn follow(&self, _: Request<FollowChainRequest>) -> Result<Response<Self::FollowStream>, Status> {
        elsewhere()
    }

    async fn get_closed_era(&self, _: Request<GetClosedEraRequest>) -> Result<Response<CanonicalBytes>, Status> {
        elsewhere()
    }

    async fn get_whole_block(&self, _: Request<GetWholeBlockRequest>) -> Result<Response<CanonicalBytes>, Status> {
        elsewhere()
    }

    async fn get_checkpoint(
        &self,
        _: Request<GetCheckpointRequest>,
    ) -> Result<Response<Self::GetCheckpointStream>, Status> {
        elsewhere()
    }

    async fn get_receipts(&self, _: Request<GetReceiptsRequest>) -> Result<Response<CanonicalBytes>, Status> {
        elsewhere()
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().position(|argument| argument == FETCH) {
        Some(place) => runtime.block_on(fetch(&arguments[place + 1..])),
        None => {
            runtime.block_on(serve(arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(ACCOUNTS)))
        }
    }
}

/// The nodes, and the process that fetches from them.
async fn serve(accounts: u64) {
    let state = Arc::new(state(accounts));
    let (served, corrupted) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut endpoints = Vec::new();
    for node in 0..NODES {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        endpoints.push(listener.local_addr().expect("an address").to_string());
        let (served, corrupted) = (Arc::clone(&served), Arc::clone(&corrupted));
        let holder = Holder { state: Arc::clone(&state), corrupts: node % 10 < CORRUPT, served, corrupted };
        let service = sync_server::SyncServer::new(holder);
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
    }
    let dir = tempfile::tempdir().expect("a directory");
    let start = || child(dir.path(), state.root(), &endpoints);
    // Its pieces come in parts of 4,096 accounts: half of them.
    let half = accounts / 4_096 / 2;
    let began = Instant::now();
    let mut first = start();
    while served.load(Ordering::Relaxed) < half {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    first.kill().expect("it runs");
    first.wait().expect("it ended");
    let (until_killed, before) = (began.elapsed(), served.load(Ordering::Relaxed));
    let again = Instant::now();
    let ended = tokio::task::block_in_place(|| start().wait_with_output().expect("it ends"));
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    println!(
        "{accounts} accounts from {NODES} nodes, {} of them corrupt: {:.1?} until the kill, {:.1?} after it, the process's \
         start and the rebuilt trie included",
        NODES / 10 * CORRUPT,
        until_killed,
        again.elapsed()
    );
    let all = served.load(Ordering::Relaxed);
    println!("{before} and {} requests, {} answers corrupt", all - before, corrupted.load(Ordering::Relaxed));
    print!("{}", String::from_utf8_lossy(&ended.stdout));
}

fn child(dir: &Path, root: Hash, endpoints: &[String]) -> Child {
    let program = env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.arg(FETCH).arg(dir).arg(root.to_string()).args(endpoints);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
}

/// The fetching process: its store's directory, the state root, and the nodes.
async fn fetch(arguments: &[String]) {
    let [dir, root, endpoints @ ..] = arguments else { panic!("a directory, a root and nodes") };
    let root = Hash(kakera_chain::keys::parse_hex(root).expect("a root"));
    let chain = ChainId::Shard(SHARD);
    let store = RocksStore::open(Path::new(dir), NETWORK, chain).expect("a store");
    let forwarder = Arc::new(Forwarder::default());
    forwarder.set_holders(chain, (0..).map(ValidatorId).zip(endpoints.iter().cloned()).collect());
    let download = Download { shard: SHARD, shards: 1, store: Arc::new(store), forwarder };
    let target = Target { block: BlockId([7; 32]), height: Height(7), state_root: root };
    let began = Instant::now();
    let fetched = download.run(|| async { Ok(Some((target, ()))) }).await;
    let (_, (), completed) = fetched.unwrap_or_else(|reason| panic!("{reason}"));
    assert_eq!(completed.state.root(), root, "the state fetched is the one asked for");
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or(" unknown").trim();
    println!("the process that went on: {:.1?}, peak memory {peak}", began.elapsed());
}

fn state(accounts: u64) -> ShardState {
    let account = |number: u64| {
        let key = Address(Hash::of(&[&number.to_be_bytes()]).0);
        (key, Account { balance: 1 + number, nonce: number })
    };
    let meta = Meta {
        inbox: BTreeMap::new(),
        outbox: BTreeMap::new(),
        pointer: ChainId::Beacon,
        base_fee: 10,
        balances: 0,
        held: 0,
        burned: 0,
        sent: 0,
        received: 0,
        tips: BTreeMap::new(),
    };
    let accounts: Trie = (0..accounts).map(account).collect();
    ShardState { accounts, meta: Arc::new(meta), outcome: Arc::default() }
}
