//! How soon every chain certifies again once everything is mended.

use super::RECOVERY_SLOTS;
use crate::{net::Net, wait::PATIENCE};
use kakera_chain::units::ChainId;
use std::{
    fmt, thread,
    time::{Duration, Instant},
};

/// A node that takes longer than this is shown.
const LATE_SLOTS: u64 = 15;

/// One chain's recovery, in its slots from the mending on.
#[derive(Clone, Debug)]
pub(super) struct ChainRecovery {
    pub(super) chain: ChainId,
    /// Until a block above all that were certified before is certified on some node.
    pub(super) first: u64,
    /// Until it is on every node.
    pub(super) all: u64,
}

/// Every chain's.
#[derive(Clone, Debug)]
pub(super) struct Recovery(pub(super) Vec<ChainRecovery>);

/// Measures it from now on, on the nodes that are `present`.
pub(super) fn measure(net: &Net, present: &[String]) -> Recovery {
    let started = Instant::now();
    let chains = net.chains();
    let mut found = Vec::new();
    thread::scope(|scope| {
        let measured: Vec<_> =
            chains.iter().map(|chain| scope.spawn(move || one(net, *chain, present, started))).collect();
        found.extend(measured.into_iter().map(|thread| thread.join().expect("a chain recovers")));
    });
    Recovery(found)
}

fn one(net: &Net, chain: ChainId, present: &[String], started: Instant) -> ChainRecovery {
    let members: Vec<String> = net.members(chain).into_iter().filter(|name| present.contains(name)).collect();
    let genesis = &net.genesis().genesis;
    let timing = if chain == ChainId::Beacon { genesis.beacon } else { genesis.shard };
    let heights = || -> Vec<u64> {
        members.iter().filter_map(|name| net.status(name).ok()).map(|status| status.certified_height).collect()
    };
    let before = heights().into_iter().max().unwrap_or_default();
    let slots = |passed: Duration| u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).div_ceil(timing.slot_ms);
    let mut first = None;
    let mut told = Duration::ZERO;
    loop {
        let now = heights();
        let passed = started.elapsed();
        if now.iter().any(|height| *height > before) {
            first.get_or_insert(slots(passed));
        }
        if let Some(first) = first
            && now.len() == members.len()
            && now.iter().all(|height| *height > before)
        {
            return ChainRecovery { chain, first, all: slots(passed) };
        }
        if slots(passed) > LATE_SLOTS && passed >= told + Duration::from_secs(3) {
            told = passed;
            println!("{chain}, {} slots after the last fault, above {before} is wanted:", slots(passed));
            members.iter().for_each(|name| println!("  {}", describe(net, name)));
        }
        assert!(passed < PATIENCE, "{chain} certifies nothing above {before} on every node: see above");
        thread::sleep(Duration::from_millis(25));
    }
}

/// What a node knows of itself, in one line.
fn describe(net: &Net, name: &str) -> String {
    let status = match net.status(name) {
        Ok(status) => status,
        Err(error) => return format!("{name}: {error}"),
    };
    let members: Vec<String> = status
        .members
        .iter()
        .map(|member| format!("{} {} in slot {}", member.validator, member.messages, member.latest_slot))
        .collect();
    format!(
        "{name}: {}, slot {}, head {}, finalized {}, certified {}, beacon {}, {} peers; heard: {}; {}",
        status.phase,
        status.slot,
        status.head_height,
        status.finalized_height,
        status.certified_height,
        status.beacon_height,
        status.connected_peers,
        members.join(", "),
        status.stall_reason
    )
}

impl Recovery {
    /// Every chain certified again in time.
    pub(super) fn check(&self) {
        for chain in &self.0 {
            let ChainRecovery { chain, first, .. } = chain;
            assert!(*first <= RECOVERY_SLOTS, "{chain} certified again only {first} slots after the last fault");
        }
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "slots to the next certified block (on every node):")?;
        for ChainRecovery { chain, first, all } in &self.0 {
            write!(out, " {chain} {first} ({all})")?;
        }
        Ok(())
    }
}
