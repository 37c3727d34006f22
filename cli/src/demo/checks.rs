//! What must hold at the end, found out by asking the nodes themselves.

use super::{
    cast::{Ledger, Player},
    load::{SETTLE_LIMIT, Victims},
    report::{Check, ShardRow},
    scene::Scene,
};
use crate::{
    client::Client,
    failure::{Failure, Result},
    progress::Progress,
    tracking,
};
use anyhow::Context;
use kakera_chain::{address::Address, genesis::Role, units::ShardId};
use kakera_proto::v1::{BeaconState, NodeStatus, Stage, TrackReceiptRequest};
use kakera_shard::rules::Rules;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::Semaphore, task::JoinSet};

/// Questions that are asked at once.
const AT_ONCE: usize = 32;

/// How long a node may be behind the others when a figure is asked for.
const PATIENCE: Duration = Duration::from_secs(8);

/// Heights at which all nodes of a chain are compared, besides the last common one.
const COMPARED: u64 = 12;

/// All checks, in order; `Err` only when nodes cannot be asked at all.
pub(crate) async fn run(scene: &Scene, players: &[Player], victims: &Victims, ledger: &Ledger) -> Result<Vec<Check>> {
    let progress = Progress::new("checking, by asking the nodes", 7);
    let mut checks = Vec::new();
    let mut add = |name: &str, outcome: Result<String>| {
        progress.advance();
        let (ok, found) = match outcome {
            Ok(found) => (true, found),
            Err(failure) => (false, failure.to_string()),
        };
        checks.push(Check { name: name.to_owned(), ok, found });
    };
    add("the killed ones caught up", caught_up(scene, victims).await);
    add("every lane is settled", settled(scene).await);
    add("supply is conserved to the unit", supply(scene, players).await);
    add("every receipt was credited or returned exactly once", receipts(scene, ledger).await);
    add("every balance and nonce is what the ledger says", eventually(|| balances(scene, players, ledger)).await);
    add("all nodes of a chain hold the same certified blocks and state", agreement(scene).await);
    add("nobody equivocated", no_equivocation(scene).await);
    progress.finish(&format!("{} of {} hold", checks.iter().filter(|check| check.ok).count(), checks.len()));
    Ok(checks)
}

/// The figures of each shard, from the node that has executed most.
pub(crate) async fn shard_rows(scene: &Scene) -> Result<Vec<ShardRow>> {
    let statuses = all_statuses(scene).await?;
    let mut rows = Vec::new();
    for shard in 0..scene.shards() {
        let of_shard = || statuses.iter().filter(|status| status.role == "shard" && status.shard == u32::from(shard));
        let most = |figure: fn(&NodeStatus) -> u64| of_shard().map(figure).max().unwrap_or(0);
        rows.push(ShardRow {
            shard,
            height: most(|status| status.certified_height),
            transactions: most(|status| status.totals.unwrap_or_default().transactions),
            receipts_out: most(|status| status.totals.unwrap_or_default().receipts_out),
            receipts_in: most(|status| status.totals.unwrap_or_default().receipts_in),
            forks: most(|status| status.totals.unwrap_or_default().forks),
        });
    }
    Ok(rows)
}

fn fail<T>(text: impl Into<String>) -> Result<T> {
    Err(Failure::Check(text.into()))
}

async fn all_statuses(scene: &Scene) -> Result<Vec<NodeStatus>> {
    let mut asked = JoinSet::new();
    for process in scene.network().processes() {
        let node = scene.node(&process.name);
        asked.spawn(async move { node.status().await });
    }
    let mut statuses = Vec::new();
    while let Some(joined) = asked.join_next().await {
        statuses.push(joined.context("asking a node panicked")??);
    }
    Ok(statuses)
}

/// Each killed process is active again and has certified what the others had when this was asked.
async fn caught_up(scene: &Scene, victims: &Victims) -> Result<String> {
    let deadline = Instant::now() + SETTLE_LIMIT;
    let mut found = Vec::new();
    for victim in [&victims.shard, &victims.beacon] {
        let peers = match victim.role {
            Role::Beacon => scene.beacon_nodes(),
            Role::Shard => scene.shard_nodes(ShardId(victim.shard.unwrap_or(0))),
        };
        let mut wanted = 0;
        for index in 0..peers.len() {
            wanted = wanted.max(peers.only(index).status().await?.certified_height);
        }
        let node = scene.node(&victim.name);
        let height = loop {
            let status = node.status().await?;
            if status.certified_height >= wanted && status.phase == "active" {
                break status.certified_height;
            }
            if Instant::now() > deadline {
                let (height, phase) = (status.certified_height, status.phase);
                return fail(format!("{} is {phase} at height {height}, the others had {wanted}", victim.name));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        found.push(format!("{} active at height {height}", victim.name));
    }
    Ok(found.join(", "))
}

/// Every recorded receipt is consumed, and the beacon knows it.
async fn settled(scene: &Scene) -> Result<String> {
    let deadline = Instant::now() + SETTLE_LIMIT;
    let beacon = scene.beacon_nodes();
    loop {
        let state = beacon.beacon_state().await?;
        let open: Vec<String> = state
            .lanes
            .iter()
            .filter(|lane| lane.recorded != lane.consumed || lane.pending_amount != 0)
            .map(|lane| format!("{} to {}: {} of {}", lane.from_shard, lane.to_shard, lane.consumed, lane.recorded))
            .collect();
        if open.is_empty() {
            let recorded: u64 = state.lanes.iter().map(|lane| lane.recorded).sum();
            return Ok(format!("{recorded} receipts recorded and consumed at beacon height {}", state.height));
        }
        if Instant::now() > deadline {
            return fail(format!("consumed of recorded: {}", open.join(", ")));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn supply(scene: &Scene, players: &[Player]) -> Result<String> {
    let genesis = scene.genesis.supply();
    let beacons = scene.beacon_nodes();
    let mut burned = 0;
    for index in 0..beacons.len() {
        let state = beacons.only(index).beacon_state().await?;
        burned = conserved(&state, genesis)
            .map_err(|reason| Failure::Check(format!("{}: {reason}", beacons.endpoint(index))))?;
    }
    for status in all_statuses(scene).await?.iter().filter(|status| status.role == "shard") {
        let shard = ShardId(u16::try_from(status.shard).context("a shard is 16 bits")?);
        let figures = status.supply.unwrap_or_default();
        let came = u128::from(scene.genesis.allocation(shard)) + u128::from(figures.received);
        let is = [figures.balances, figures.held, figures.burned, figures.sent].map(u128::from).iter().sum::<u128>();
        if came != is {
            return fail(format!("{} accounts for {is} of {came}", status.validator));
        }
    }
    let held = eventually(|| held(scene, players, genesis - burned)).await?;
    Ok(format!("{genesis} = {held} in accounts + {burned} burned, on every node"))
}

/// What the accounts hold together, which must be this.
async fn held(scene: &Scene, players: &[Player], expected: u64) -> Result<u128> {
    let mut held = 0u128;
    for address in owned(scene, players)? {
        held += u128::from(scene.client.account(address.to_string(), false).await?.balance);
    }
    if held != u128::from(expected) {
        return fail(format!("accounts hold {held} instead of {expected}"));
    }
    Ok(held)
}

/// Asks again for a while: any node answers, and the slowest may be a block behind the one that settled first.
async fn eventually<T, F: Future<Output = Result<T>>>(ask: impl Fn() -> F) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(Failure::Check(_)) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(500)).await,
            outcome => return outcome,
        }
    }
}

/// Whether a beacon state conserves the supply, by its own sum and by ours; returns what is burned.
fn conserved(state: &BeaconState, genesis: u64) -> std::result::Result<u64, String> {
    let shards = state.shards.iter().flat_map(|shard| [shard.balances, shard.held, shard.burned]);
    let sum: u128 = shards.chain(state.lanes.iter().map(|lane| lane.pending_amount)).map(u128::from).sum();
    if state.conserved_total != genesis || state.genesis_supply != genesis || sum != u128::from(genesis) {
        return Err(format!(
            "the beacon counts {}, its figures sum to {sum}, genesis made {genesis}",
            state.conserved_total
        ));
    }
    Ok(state.shards.iter().map(|shard| shard.burned).sum())
}

/// Every account that can hold anything: the faucets and the players.
fn owned(scene: &Scene, players: &[Player]) -> Result<BTreeSet<Address>> {
    let mut owned: BTreeSet<Address> = players.iter().map(|player| player.address).collect();
    owned.extend(scene.genesis.genesis.accounts.iter().map(|account| account.address));
    Ok(owned)
}

async fn receipts(scene: &Scene, ledger: &Ledger) -> Result<String> {
    let refs: Vec<_> =
        ledger.entries.iter().flat_map(|entry| entry.receipts.iter().map(move |one| (*one, entry.stage))).collect();
    let places: BTreeSet<_> = refs.iter().map(|(one, _)| (one.from_shard, one.to_shard, one.seq)).collect();
    if places.len() != refs.len() {
        return fail(format!("{} receipts share {} places in lanes", refs.len(), places.len()));
    }
    let returned = refs.iter().filter(|(_, stage)| *stage == Stage::Returned).count();
    let recorded: u64 = scene.beacon_nodes().beacon_state().await?.lanes.iter().map(|lane| lane.recorded).sum();
    if recorded != (refs.len() + returned) as u64 {
        return fail(format!("{recorded} receipts are recorded, {} were emitted and {returned} returned", refs.len()));
    }
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    let deadline = Instant::now() + SETTLE_LIMIT;
    let mut asked = JoinSet::new();
    for (one, stage) in refs {
        let (gate, client) = (Arc::clone(&gate), Arc::clone(&scene.client));
        asked.spawn(async move {
            let _permit = gate.acquire_owned().await.context("the gate is never closed")?;
            let request = TrackReceiptRequest { from_shard: one.from_shard, to_shard: one.to_shard, seq: one.seq };
            let fate = tracking::follow_receipt(&client, client.turn(), request, deadline).await?;
            let amount = fate.receipt.unwrap_or_default().amount;
            if fate.stage() != stage || amount != one.amount {
                return fail(format!(
                    "receipt {} from shard {} to {}: {} of {amount}, but its transaction says {} of {}",
                    one.seq,
                    one.from_shard,
                    one.to_shard,
                    tracking::name(fate.stage()),
                    tracking::name(stage),
                    one.amount
                ));
            }
            Ok(())
        });
    }
    let mut count = 0;
    while let Some(joined) = asked.join_next().await {
        joined.context("asking for a receipt panicked")??;
        count += 1;
    }
    Ok(format!("{} credited, {returned} returned", count - returned))
}

async fn balances(scene: &Scene, players: &[Player], ledger: &Ledger) -> Result<String> {
    let mut base_fees = BTreeMap::new();
    for entry in &ledger.entries {
        if let std::collections::btree_map::Entry::Vacant(place) = base_fees.entry((entry.shard, entry.height)) {
            place.insert(scene.shard_nodes(entry.shard).block_at(entry.height).await?.base_fee);
        }
    }
    // The fixed price of a delivery is the same on every shard.
    let delivery_fee = Rules::of(&scene.genesis, ShardId(0)).delivery_fee();
    let expected = ledger.balances(&scene.genesis.genesis, &base_fees, delivery_fee)?;
    let nonces = ledger.nonces();
    let accounts = owned(scene, players)?;
    for address in &accounts {
        let account = scene.client.account(address.to_string(), false).await?;
        let balance = expected.get(address).copied().unwrap_or(0);
        if i128::from(account.balance) != balance {
            return fail(format!("{address} holds {}, the ledger says {balance}", account.balance));
        }
        let nonce = nonces.get(address).copied().unwrap_or(0);
        if account.nonce != nonce {
            return fail(format!("{address} has nonce {}, the ledger says {nonce}", account.nonce));
        }
    }
    Ok(format!("{} accounts after {} transactions", accounts.len(), ledger.entries.len()))
}

async fn agreement(scene: &Scene) -> Result<String> {
    let mut found = vec![agreement_of("beacon", &scene.beacon_nodes()).await?];
    for shard in (0..scene.shards()).map(ShardId) {
        found.push(agreement_of(&format!("shard {shard}"), &scene.shard_nodes(shard)).await?);
    }
    Ok(found.join(", "))
}

async fn agreement_of(chain: &str, nodes: &Client) -> Result<String> {
    let mut common = u64::MAX;
    for index in 0..nodes.len() {
        common = common.min(nodes.only(index).status().await?.certified_height);
    }
    let mut heights: BTreeSet<u64> =
        (0..COMPARED).map(|part| common * part / COMPARED).filter(|height| *height > 0).collect();
    heights.insert(common);
    for height in heights {
        let mut seen = BTreeMap::new();
        for index in 0..nodes.len() {
            let block = nodes.only(index).block_at(height).await?;
            if !block.certified {
                return fail(format!("{}: block {height} is not certified", nodes.endpoint(index)));
            }
            seen.insert((block.id, block.state_root), nodes.endpoint(index).to_owned());
        }
        if seen.len() != 1 {
            let who: Vec<&String> = seen.values().collect();
            return fail(format!("{chain}: nodes differ at height {height}: {who:?}"));
        }
    }
    Ok(format!("{chain} at height {common}"))
}

async fn no_equivocation(scene: &Scene) -> Result<String> {
    let statuses = all_statuses(scene).await?;
    for status in &statuses {
        let count = status.totals.unwrap_or_default().equivocators;
        let faulty: Vec<&str> =
            status.members.iter().filter(|member| member.faulty).map(|member| member.validator.as_str()).collect();
        if count > 0 || !faulty.is_empty() {
            return fail(format!("{} holds evidence against {count} ({})", status.validator, faulty.join(", ")));
        }
    }
    Ok(format!("{} nodes hold no evidence", statuses.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kakera_proto::v1::{LaneState, RecordedShard};

    #[test]
    fn a_single_missing_unit_is_noticed() {
        let shard = RecordedShard { balances: 70, held: 5, burned: 10, ..Default::default() };
        let lane = LaneState { pending_amount: 15, ..Default::default() };
        let state = |total| BeaconState {
            shards: vec![shard.clone()],
            lanes: vec![lane],
            conserved_total: total,
            genesis_supply: 100,
            ..Default::default()
        };
        assert_eq!(conserved(&state(100), 100), Ok(10));
        assert!(conserved(&state(99), 100).is_err(), "the beacon's own count");
        assert!(conserved(&state(100), 101).is_err(), "another genesis");
        let mut lost = state(100);
        lost.lanes[0].pending_amount = 14;
        assert!(conserved(&lost, 100).is_err(), "our sum of its figures");
    }
}
