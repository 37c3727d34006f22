//! A soak: a network under load, a drawn schedule of faults, and everything that must hold meanwhile and afterwards.
//!
//! ```text
//!   schedule  a round's faults, drawn from the seed ──▶ director  breaks, mends, and measures how soon chains go on
//!   traffic   transfers within and across shards          │       (recovery)
//!   witness   every certified block of every node: the same everywhere and at all times; supply; exit codes
//!   report    the figures, and the command that repeats them
//! ```
//!
//! Invariants: all that a round breaks is mended at its end, but for one node at most that stays dead until the
//! chains have gone on; no fault is let loose on what cannot tell a wrong byte (the API's answers between shards are unsigned).

mod director;
mod recovery;
mod report;
mod schedule;
mod traffic;
mod witness;

use crate::{facts, net::Net, random::Random, wait};
use director::Director;
use kakera_chain::units::{ChainId, ShardId};
use kakera_deploy::Profile;
use recovery::Recovery;
use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};
use traffic::Traffic;
use witness::Witness;

/// Slots after the last fault within which every chain certifies again.
pub const RECOVERY_SLOTS: u64 = 10;

/// Runs a soak for about `length` and checks everything; prints progress and figures.
///
/// # Panics
/// When anything is not as it must be.
pub fn run(length: Duration) {
    let mut random = Random::seeded("soak");
    let seed = random.seed();
    let net = Net::start_relayed(&Profile::demo());
    let traffic = Traffic::start(&net);
    let witness = Witness::new(&net);
    let mut director = Director::new(&net, &witness);
    let started = Instant::now();
    let stop = AtomicBool::new(false);
    let mut recoveries: Vec<Recovery> = Vec::new();
    thread::scope(|scope| {
        let watching = scope.spawn(|| witness.watch(&net, &stop));
        let paying: Vec<_> = traffic
            .groups()
            .map(|group| {
                let (net, stop, random) = (&net, &stop, Random::from_seed(seed ^ group.label()));
                scope.spawn(move || group.pay(net, stop, random))
            })
            .collect();
        let directed = catch_unwind(AssertUnwindSafe(|| {
            while started.elapsed() < length {
                let round = recoveries.len() + 1;
                let broken = director.round(&schedule::round(&net, &mut random));
                let recovery = recovery::measure(&net, &director.present());
                let without = director.complete().map(|name| format!(" without {name}")).unwrap_or_default();
                let passed = started.elapsed().as_secs();
                println!("round {round}, {passed} s: {broken} faults{without}; {recovery}; {traffic}");
                recovery.check();
                recoveries.push(recovery);
                assert!(!watching.is_finished(), "the witness has ended: see above");
                assert!(!paying.iter().any(thread::ScopedJoinHandle::is_finished), "the traffic has ended: see above");
                // A while without faults: what is late arrives, and the next round starts from a whole network.
                thread::sleep(Duration::from_secs(2));
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let ended: Vec<_> = std::iter::once(watching.join()).chain(paying.into_iter().map(|pay| pay.join())).collect();
        for outcome in ended.into_iter().chain([directed]) {
            outcome.unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
    finish(&net, &traffic, &witness);
    report::print(seed, started.elapsed(), length, &director, &traffic, &witness, &recoveries);
}

/// Everything is whole again and the traffic has ended: all that was promised must come true now.
fn finish(net: &Net, traffic: &Traffic, witness: &Witness) {
    net.wait_active(&net.all());
    let fates = traffic.finish(net);
    println!("{fates}");
    settle_lanes(net);
    for chain in net.chains() {
        let members = net.members(chain);
        let height = |name: &String| net.status(name).expect("it answers").certified_height;
        let tip = members.iter().map(height).max().expect("a committee has members");
        for name in &members {
            net.wait_certified(name, tip);
        }
    }
    witness.look(net);
    witness.check_whole(net);
    let mut on_chain = 0;
    for shard in (0..net.shards()).map(ShardId) {
        let blocks = witness.blocks(ChainId::Shard(shard));
        facts::check_supply(net, shard, &blocks);
        facts::check_exactly_once(&blocks, traffic.ids(shard));
        on_chain += blocks.iter().map(|block| block.transaction_ids.len()).sum::<usize>();
    }
    println!("{on_chain} transactions stand in certified blocks, each once; supply is conserved in every block");
    for chain in net.chains() {
        facts::check_no_equivocation(net, chain);
    }
    let killed = net.orchestrator().stop_all(Duration::from_secs(20)).expect("processes can be stopped");
    assert!(killed.is_empty(), "did not stop when asked: {killed:?}");
    witness.check_ends(net);
    facts::check_stores(net, &net.all());
}

/// Every lane's receipts are consumed, and what the beacon counts is what genesis gave.
fn settle_lanes(net: &Net) {
    for node in net.members(ChainId::Beacon) {
        wait::until("all receipts to be settled", || {
            let state = net.beacon_state(&node).map_err(|status| status.to_string())?;
            assert_eq!(state.conserved_total, state.genesis_supply, "{state:?}");
            let open: Vec<_> = state.lanes.iter().filter(|lane| lane.recorded != lane.consumed).collect();
            wait::check(open.is_empty(), || format!("open lanes: {open:?}"))
        });
    }
}
