//! The load: a thousand signed transfers to random nodes, two of which are killed and started again meanwhile.

use super::{
    cast::{Ledger, Player},
    flight::{Flight, Landed},
    idle::{Desk, partner},
    report::{Level, Load, Percentiles},
    rng::Rng,
    scene::Scene,
};
use crate::{
    client::Client,
    failure::{Failure, Result},
    progress::Progress,
};
use anyhow::Context;
use kakera_chain::{genesis::Role, units::ShardId};
use kakera_deploy::Process;
use kakera_proto::v1::Stage;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

/// Of ten transfers, so many go to another shard.
const CROSS_OF_TEN: usize = 3;

/// Transactions of one wallet that are under way at once.
const WINDOW: usize = 2;

/// How many blocks are looked at for their number of messages.
const SAMPLE: u64 = 10;

/// Who is killed.
#[derive(Clone, Debug)]
pub(crate) struct Victims {
    /// A shard's process.
    pub(crate) shard: Process,
    /// A beacon's process.
    pub(crate) beacon: Process,
}

impl Victims {
    /// One of each kind.
    pub(crate) fn choose(scene: &Scene, rng: &mut Rng) -> Result<Victims> {
        let mut pick = |role: Role| {
            let all: Vec<&Process> = scene
                .network()
                .processes()
                .iter()
                .filter(|process| process.role == role && (role == Role::Beacon || process.shard.is_some()))
                .collect();
            if all.is_empty() {
                return Err(Failure::Usage("the demo needs shard and beacon processes".to_owned()));
            }
            Ok(all[rng.below(all.len())].clone())
        };
        Ok(Victims { shard: pick(Role::Shard)?, beacon: pick(Role::Beacon)? })
    }

    /// Their names.
    pub(crate) fn names(&self) -> [String; 2] {
        [self.shard.name.clone(), self.beacon.name.clone()]
    }
}

/// What the load showed.
pub(crate) struct Loaded {
    /// Its figures.
    pub(crate) load: Load,
    /// Messages a block in the victim's committee: before, and while it was dead.
    pub(crate) messages_per_block: [Option<u64>; 2],
}

/// One wallet's part: its transactions in the order of their nonces, each with the node to try first.
type Part = Vec<(Flight, usize)>;

/// Submits `transfers` transfers and follows each to its end; kills and restarts the victims on the way.
pub(crate) async fn run(
    scene: &Scene,
    desk: &Desk,
    (players, rng, transfers): (&mut [Player], &mut Rng, usize),
    victims: &Victims,
    ledger: &mut Ledger,
) -> Result<Loaded> {
    let cross = transfers * CROSS_OF_TEN / 10;
    let parts = plan(scene, desk, (players, rng), (transfers, cross))?;
    let progress = Arc::new(Progress::new("transfers followed to their end", transfers as u64));
    let (landed_sender, landed) = watch::channel(0usize);
    let landed_sender = Arc::new(landed_sender);
    let started = Instant::now();
    let mut wallets = JoinSet::new();
    for part in parts {
        let (client, progress, counter) =
            (Arc::clone(&scene.client), Arc::clone(&progress), Arc::clone(&landed_sender));
        wallets.spawn(async move {
            fly_all(client, part, move || {
                progress.advance();
                counter.send_modify(|count| *count += 1);
            })
            .await
        });
    }
    drop(landed_sender);
    let faults = faults(scene, victims, landed, transfers, &progress);
    let (results, messages_per_block) = tokio::try_join!(collect(wallets), faults)?;
    let seconds = started.elapsed().as_secs_f64();
    progress.finish(&format!("{} in {seconds:.1} s", results.len()));
    let load = figures(&results, seconds);
    ledger.entries.extend(results.into_iter().map(|landed| landed.entry));
    Ok(Loaded { load, messages_per_block })
}

fn plan(
    scene: &Scene,
    desk: &Desk,
    (players, rng): (&mut [Player], &mut Rng),
    (transfers, cross): (usize, usize),
) -> Result<Vec<Part>> {
    let mut kinds: Vec<bool> = (0..transfers).map(|index| index < cross).collect();
    rng.shuffle(&mut kinds);
    let mut parts: Vec<Part> = players.iter().map(|_| Vec::new()).collect();
    for (index, cross) in kinds.into_iter().enumerate() {
        let from = index % players.len();
        let to = partner(players, from, cross, rng)?;
        let amount = 1 + rng.next() % 1_000;
        let flight = desk.flight(&mut players[from], vec![(to, amount)]);
        parts[from].push((flight, rng.below(scene.client.len())));
    }
    Ok(parts)
}

/// Submits one wallet's transactions in order, a few ahead of the last that ended, and follows each.
async fn fly_all(client: Arc<Client>, part: Part, landed: impl Fn() + Clone + Send + 'static) -> Result<Vec<Landed>> {
    let window = Arc::new(Semaphore::new(WINDOW));
    let mut following = JoinSet::new();
    for (flight, node) in part {
        let permit = Arc::clone(&window).acquire_owned().await.context("the window is never closed")?;
        let airborne = flight.submit(&client, node).await?;
        let (client, landed) = (Arc::clone(&client), landed.clone());
        following.spawn(async move {
            let outcome = airborne.land(&client).await;
            drop(permit);
            if outcome.is_ok() {
                landed();
            }
            outcome
        });
    }
    let mut results = Vec::new();
    while let Some(joined) = following.join_next().await {
        results.push(joined.context("following a transaction panicked")??);
    }
    Ok(results)
}

async fn collect(mut wallets: JoinSet<Result<Vec<Landed>>>) -> Result<Vec<Landed>> {
    let mut results = Vec::new();
    while let Some(joined) = wallets.join_next().await {
        results.extend(joined.context("a wallet's task panicked")??);
    }
    Ok(results)
}

/// At a third of the way both victims are killed, at two thirds they are started again.
async fn faults(
    scene: &Scene,
    victims: &Victims,
    mut landed: watch::Receiver<usize>,
    transfers: usize,
    progress: &Progress,
) -> Result<[Option<u64>; 2]> {
    let shard = ShardId(victims.shard.shard.unwrap_or(0));
    // An error here means that all wallets have ended: the load failed and says why itself.
    if landed.wait_for(|count| *count >= transfers / 3).await.is_err() {
        return Ok([None; 2]);
    }
    let newest = newest_height(scene, shard).await;
    let whole = messages_per_block(scene, shard, newest.saturating_sub(SAMPLE)).await;
    for name in victims.names() {
        scene.kill(&name).await?;
        progress.event(&format!("killed {name} (SIGKILL)"));
    }
    // Blocks after this one were made without the victim (the one after may have been under way).
    let killed_at = newest_height(scene, shard).await + 1;
    if landed.wait_for(|count| *count >= transfers * 2 / 3).await.is_err() {
        return Ok([whole, None]);
    }
    let less = messages_per_block(scene, shard, killed_at).await;
    for name in victims.names() {
        scene.start(&name).await?;
        progress.event(&format!("started {name} again"));
    }
    Ok([whole, less])
}

async fn newest_height(scene: &Scene, shard: ShardId) -> u64 {
    scene.shard_nodes(shard).status().await.map_or(0, |status| status.certified_height)
}

/// The median number of consensus messages on the certified blocks above `above`, as the nodes of the shard hold them;
/// the newest is left out: votes for it are still on their way.
async fn messages_per_block(scene: &Scene, shard: ShardId, above: u64) -> Option<u64> {
    let nodes = scene.shard_nodes(shard);
    let newest = newest_height(scene, shard).await;
    let mut counts = Vec::new();
    for height in above + 1..newest {
        if let Ok(block) = nodes.block_at(height).await {
            counts.push(block.messages_per_member.iter().sum::<u64>());
        }
    }
    counts.retain(|count| *count > 0);
    counts.sort_unstable();
    counts.get(counts.len() / 2).copied()
}

fn figures(results: &[Landed], seconds: f64) -> Load {
    let level = |level: &'static str, choose: fn(&Landed) -> Option<u64>| Level {
        level,
        percentiles: Percentiles::of(results.iter().filter_map(choose).collect()),
    };
    Load {
        transfers: results.len(),
        cross: results.iter().filter(|landed| !landed.entry.receipts.is_empty()).count(),
        returned: results.iter().filter(|landed| landed.entry.stage == Stage::Returned).count(),
        resubmitted: results.iter().map(|landed| landed.resubmitted).sum(),
        seconds,
        levels: vec![
            level("included", |landed| landed.levels.included),
            level("shard-final", |landed| landed.levels.shard_final),
            level("recorded", |landed| landed.levels.recorded),
            level("delivered", |landed| landed.levels.delivered),
        ],
    }
}

/// How long the network may take to settle everything after the load.
pub(crate) const SETTLE_LIMIT: Duration = Duration::from_secs(40);
