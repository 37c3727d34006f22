//! Looks at every certified block of every node as it appears, and at old ones again: all nodes must say the same, and
//! always have. Also sees how processes end.

use crate::{net::Net, random::Random};
use kakera_chain::units::ChainId;
use kakera_proto::v1::BlockInfo;
use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// How long a node has for one answer under faults.
const ANSWER: Duration = Duration::from_millis(500);
/// Blocks of one node that are read in one look.
const AT_ONCE: u64 = 64;

/// By sending and receiving shard: how many receipts are recorded, and how many consumed.
type Lanes = BTreeMap<(u32, u32), (u64, u64)>;

/// What has been seen.
pub(super) struct Witness {
    nodes: Vec<(String, ChainId)>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Every certified block, by chain and height, as it was first told.
    blocks: BTreeMap<(ChainId, u64), BlockInfo>,
    /// Up to which height each node's blocks were compared.
    compared: BTreeMap<String, u64>,
    /// The beacon's newest state on each node: its height, and what each lane has recorded and consumed.
    lanes: BTreeMap<String, (u64, Lanes)>,
    /// Reads of blocks that were compared before.
    again: u64,
    kills: BTreeMap<String, u64>,
    ends: u64,
}

impl Witness {
    pub(super) fn new(net: &Net) -> Witness {
        let nodes =
            net.chains().into_iter().flat_map(|chain| net.members(chain).into_iter().map(move |name| (name, chain)));
        Witness { nodes: nodes.collect(), seen: Mutex::default() }
    }

    /// Looks round until told to stop.
    pub(super) fn watch(&self, net: &Net, stop: &AtomicBool) {
        let mut random = Random::from_seed(1);
        while !stop.load(Ordering::Relaxed) {
            for (name, chain) in &self.nodes {
                self.advance(net, name, *chain, AT_ONCE);
                self.look_again(net, name, *chain, &mut random);
                self.watch_lanes(net, name, *chain);
            }
            self.collect(net);
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Compares all that is certified now.
    pub(super) fn look(&self, net: &Net) {
        for (name, chain) in &self.nodes {
            self.advance(net, name, *chain, u64::MAX);
        }
    }

    fn advance(&self, net: &Net, name: &str, chain: ChainId, most: u64) {
        let Ok(status) = net.status_within(ANSWER, name) else { return };
        let compared = self.lock().compared.get(name).copied().unwrap_or_default();
        assert!(
            status.certified_height >= compared,
            "{name} had certified height {compared}, and now only {}",
            status.certified_height
        );
        assert!(!status.phase.eq_ignore_ascii_case("halted"), "{name} has halted: {}", status.stall_reason);
        let faulty: Vec<_> = status.members.iter().filter(|member| member.faulty).collect();
        assert!(faulty.is_empty(), "{name} marks honest members as faulty: {faulty:?}");
        for height in (compared + 1..=status.certified_height).take(usize::try_from(most).unwrap_or(usize::MAX)) {
            let Ok(block) = net.block_within(ANSWER, name, height) else { return };
            self.compare(name, chain, height, block);
            self.lock().compared.insert(name.to_owned(), height);
        }
    }

    fn compare(&self, name: &str, chain: ChainId, height: u64, block: BlockInfo) {
        assert!(block.certified, "{name} no longer calls height {height} certified");
        let mut seen = self.lock();
        let first = seen.blocks.entry((chain, height)).or_insert_with(|| block.clone());
        assert_eq!(block.id, first.id, "{name} has another certified block at height {height} of {chain}");
        assert_eq!(block.state_root, first.state_root, "{name} has another state at height {height} of {chain}");
        assert_eq!(block.transaction_ids, first.transaction_ids, "{name}, height {height} of {chain}");
    }

    /// Reads one old block of a node once more: what was certified stays so, also after a restart.
    fn look_again(&self, net: &Net, name: &str, chain: ChainId, random: &mut Random) {
        let compared = self.lock().compared.get(name).copied().unwrap_or_default();
        if compared == 0 {
            return;
        }
        let height = 1 + random.below(compared);
        if let Ok(block) = net.block_within(ANSWER, name, height) {
            self.compare(name, chain, height, block);
            self.lock().again += 1;
        }
    }

    /// What is recorded and delivered on a lane only grows, and value is conserved at every height looked at.
    fn watch_lanes(&self, net: &Net, name: &str, chain: ChainId) {
        if chain != ChainId::Beacon {
            return;
        }
        let Ok(state) = net.beacon_state_within(ANSWER, name) else { return };
        assert_eq!(state.conserved_total, state.genesis_supply, "{name}: {state:?}");
        let lanes: BTreeMap<(u32, u32), (u64, u64)> =
            state.lanes.iter().map(|lane| ((lane.from_shard, lane.to_shard), (lane.recorded, lane.consumed))).collect();
        let mut seen = self.lock();
        if let Some((height, before)) = seen.lanes.get(name) {
            assert!(state.height >= *height, "{name} went back from beacon height {height} to {}", state.height);
            for (lane, (recorded, consumed)) in before {
                let now = lanes.get(lane).copied().unwrap_or_default();
                assert!(now.0 >= *recorded && now.1 >= *consumed, "{name}, lane {lane:?}: {now:?} after {before:?}");
            }
        }
        seen.lanes.insert(name.to_owned(), (state.height, lanes));
    }

    /// The next end of this process is the director's doing.
    pub(super) fn expect_kill(&self, name: &str) {
        *self.lock().kills.entry(name.to_owned()).or_default() += 1;
    }

    /// Collects processes that ended: only those that were killed may have.
    pub(super) fn collect(&self, net: &Net) {
        // Held while collecting, so that a kill is expected before its end is seen.
        let mut seen = self.lock();
        for ended in net.orchestrator().collect() {
            let expected = seen.kills.get_mut(&ended.name).filter(|count| **count > 0);
            let Some(count) = expected.filter(|_| ended.how == "signal SIGKILL") else {
                panic!("{} ended by itself: {}", ended.name, ended.how);
            };
            *count -= 1;
            seen.ends += 1;
        }
    }

    /// Every node's blocks were compared up to the same tip of its chain.
    pub(super) fn check_whole(&self, net: &Net) {
        let seen = self.lock();
        for chain in net.chains() {
            let members = net.members(chain);
            let least = members.iter().map(|name| seen.compared.get(name).copied().unwrap_or_default()).min();
            let tip = seen.blocks.keys().filter(|(of, _)| *of == chain).map(|(_, height)| *height).max();
            let (least, tip) = (least.unwrap_or_default(), tip.unwrap_or_default());
            assert!(
                least > 0 && least + 20 >= tip,
                "{chain}: blocks up to {least} of {tip} were compared on every node"
            );
        }
    }

    /// A chain's certified blocks, in order from height 1.
    pub(super) fn blocks(&self, chain: ChainId) -> Vec<BlockInfo> {
        self.lock().blocks.iter().filter(|((of, _), _)| *of == chain).map(|(_, block)| block.clone()).collect()
    }

    /// Blocks compared, counted once a node, and those read again.
    pub(super) fn counts(&self) -> (u64, u64) {
        let seen = self.lock();
        (seen.compared.values().sum(), seen.again)
    }

    /// No log holds a panic, an error or a halt.
    pub(super) fn check_ends(&self, net: &Net) {
        for (name, _) in &self.nodes {
            let text = fs::read_to_string(net.network().log_path(name)).expect("every process has a log");
            let bad =
                |line: &&str| line.starts_with("error: ") || line.contains(" ERROR ") || line.contains("panicked at");
            let line = text.lines().find(bad);
            assert!(line.is_none(), "{name}'s log says: {line:?}");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
