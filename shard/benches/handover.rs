//! Fetching a state of a million accounts from peers of which three in ten corrupt every other part, with one kill half-way:
//! time and peak memory, in one process and on a store in memory. An argument sets the number of accounts.

use criterion::measurement::{Measurement, WallTime};
use kakera_chain::{
    BlockId,
    address::Address,
    codec,
    hash::Hash,
    store::{Row, Store, StoreFailure, Table, Write},
    units::{ChainId, Height, ShardId, Timestamp, ValidatorId},
};
use kakera_shard::{
    Account, Meta, ShardState, Trie,
    handover::{Answer, Ask, Effect, Fetch, FetchConfig, Input, PART_ACCOUNTS, Target, Wanted},
};
use peak_alloc::PeakAlloc;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

/// Counts what is allocated.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const ACCOUNTS: u64 = 1_000_000;
const PEERS: u32 = 20;
/// Of ten peers.
const CORRUPT: u32 = 3;

/// A store in memory: one table of rows, each as long as its bytes.
#[derive(Default)]
struct Rows(BTreeMap<(Table, Vec<u8>), Box<[u8]>>);

impl Rows {
    fn write(&mut self, writes: Vec<Write>) {
        for write in writes {
            match write {
                Write::Put { table, key, value } => self.0.insert((table, key), value.into()),
                Write::Delete { table, key } => self.0.remove(&(table, key)),
                Write::Clear { table } => {
                    self.0.retain(|(other, _), _| *other != table);
                    None
                }
                Write::Below { table, key } => {
                    self.0.retain(|(other, row), _| *other != table || *row >= key);
                    None
                }
            };
        }
    }
}

impl Store for Rows {
    fn load(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreFailure> {
        Ok(self.0.get(&(table, key.to_vec())).map(|value| value.to_vec()))
    }

    fn scan(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<Row>, StoreFailure> {
        let rows = self.0.range((table, from.to_vec())..).take_while(|((other, _), _)| *other == table);
        Ok(rows.take(limit).map(|((_, key), value)| (key.clone(), value.to_vec())).collect())
    }

    fn last(&self, table: Table) -> Result<Option<Row>, StoreFailure> {
        let row = self.0.iter().rfind(|((other, _), _)| *other == table);
        Ok(row.map(|((_, key), value)| (key.clone(), value.to_vec())))
    }
}

fn main() {
    let accounts = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(ACCOUNTS);
    let (made, state) = timed(|| state(accounts));
    let served = MEMORY.current_usage_as_mb();
    println!("a state of {accounts} accounts: made and hashed in {made:.1?}, {served:.0} MB");
    serve(&state);

    MEMORY.reset_peak_usage();
    let mut store = Rows::default();
    let mut run = Run { state: &state, random: 7, asked: 0, corrupt: 0, dropped: 0, bytes: 0 };
    let (first, _) = timed(|| run.fetch(&mut store, true));
    let (second, fetched) = timed(|| run.fetch(&mut store, false));
    let fetched = fetched.expect("it is not killed again");
    assert_eq!(fetched.root(), state.root());
    let peak = MEMORY.peak_usage_as_mb();
    let held = MEMORY.current_usage_as_mb();
    drop(store);
    println!("fetched in {:.1?}: {first:.1?} until the kill half-way, {second:.1?} after it", first + second);
    println!(
        "{} requests, {:.0} MB of answers; {} were corrupt, {} times a peer of {PEERS} was left out",
        run.asked,
        run.bytes as f32 / 1e6,
        run.corrupt,
        run.dropped
    );
    println!(
        "peak {peak:.0} MB, of which the served state {served:.0} MB and the fetched one's rows and trie the rest"
    );
    println!("at the end {held:.0} MB, of which rows in memory {:.0} MB", held - MEMORY.current_usage_as_mb());
}

/// What serving one part costs.
fn serve(state: &ShardState) {
    let wanted = |n: u8| Wanted { from: Address([n; 32]), until: Address([0xff; 32]), limit: PART_ACCOUNTS };
    let root = state.head().accounts_root;
    let (made, parts) = timed(|| (0..100).map(|n| state.part(&wanted(n))).collect::<Vec<_>>());
    let (coded, bytes) = timed(|| parts.iter().map(codec::encode).collect::<Vec<_>>());
    let judge = || (0..100).all(|n| parts[usize::from(n)].verify(root, &wanted(n)).is_ok());
    let (checked, good) = timed(judge);
    assert!(good);
    let [made, coded, checked] = [made, coded, checked].map(|time| time / 100);
    println!(
        "a part of {PART_ACCOUNTS} accounts: {} bytes, made in {made:.1?}, encoded in {coded:.1?}, checked in {checked:.1?}",
        bytes[0].len()
    );
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
    let state = ShardState { accounts, meta: Arc::new(meta), outcome: Arc::default() };
    state.root();
    state
}

struct Run<'a> {
    state: &'a ShardState,
    random: u64,
    asked: usize,
    corrupt: usize,
    dropped: usize,
    bytes: usize,
}

impl Run<'_> {
    /// Fetches until the state is whole, or until half of the pieces are done.
    fn fetch(&mut self, store: &mut Rows, kill: bool) -> Option<ShardState> {
        let block = BlockId([7; 32]);
        let target = Target { block, height: Height(1), state_root: self.state.root() };
        let mut fetch = Fetch::open(FetchConfig::of(ShardId(0), 1), target, store).expect("memory does not fail");
        let mut inputs: VecDeque<Input> = (0..PEERS).map(|peer| Input::Peer(ValidatorId(peer))).collect();
        loop {
            // Time stands still: no peer is slow here.
            let now = Timestamp(1);
            let effects = fetch.handle(now, inputs.pop_front().unwrap_or(Input::Tick), store);
            for effect in effects.expect("memory does not fail") {
                match effect {
                    Effect::Ask { peer, ticket, request } => {
                        inputs.push_back(Input::Answered { peer, ticket, bytes: self.answer(peer, &request.ask) });
                    }
                    Effect::Persist(writes) => store.write(writes),
                    Effect::Dropped { .. } => self.dropped += 1,
                    Effect::Complete(completed) => {
                        store.write(completed.writes);
                        return Some(completed.state);
                    }
                    other => panic!("{other:?}"),
                }
            }
            if kill && fetch.progress().is_some_and(|(done, all)| 2 * done >= all) {
                return None;
            }
        }
    }

    fn answer(&mut self, peer: ValidatorId, ask: &Ask) -> Vec<u8> {
        let mut bytes = codec::encode(&Answer::to(ask, Some(self.state)));
        self.asked += 1;
        self.bytes += bytes.len();
        let random = self.draw();
        if peer.0 % 10 < CORRUPT && matches!(ask, Ask::Part(_)) && random & 1 == 1 {
            self.corrupt += 1;
            let bit = usize::try_from(random >> 1).expect("64 bits") % (8 * bytes.len());
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        bytes
    }

    /// splitmix64.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn timed<T>(operation: impl FnOnce() -> T) -> (Duration, T) {
    let start = WallTime.start();
    let answer = operation();
    (WallTime.end(start), answer)
}
