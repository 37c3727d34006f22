//! What the network does while nobody uses it, and how fast single transfers are then.

use super::{
    cast::{Ledger, Player},
    flight::{Flight, Landed},
    report::{Idle, Percentiles},
    rng::Rng,
    scene::Scene,
};
use crate::{
    failure::{Failure, Result},
    order::{self, Terms},
    progress::Progress,
};
use kakera_chain::{address::Address, units::ShardId};
use kakera_proto::v1;
use kakera_shard::Action;
use std::time::{Duration, Instant};

/// How long the processes' idleness is measured.
const CPU_WINDOW: Duration = Duration::from_secs(5);

/// Single transfers, half of them across shards.
const SINGLES: usize = 20;

/// What each wallet gets from the faucet.
pub(crate) const FUNDS: u64 = 1_000_000_000;

/// For how many beacon slots a demo transaction stays valid: longer than the demo.
const VALID_FOR: u64 = 100_000;

/// Makes transactions under the fees as they were once asked; fees stay at their least under this load.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    fees: v1::Fees,
    network: kakera_chain::hash::NetworkId,
    shards: u16,
}

impl Desk {
    /// Asks for the fees.
    pub(crate) async fn open(scene: &Scene) -> Result<Desk> {
        let fees = scene.client.fees(0).await?;
        Ok(Desk { fees, network: scene.genesis.id, shards: scene.shards() })
    }

    /// The terms of a player's next transaction to these destinations.
    pub(crate) fn terms(&self, from: &Player, to: impl IntoIterator<Item = ShardId>) -> Terms {
        let mut terms = Terms::usual(self.network, from.nonce, order::gas_of(from.shard, to), &self.fees, VALID_FOR);
        // Room for the base fee to double many times.
        terms.max_fee = terms.max_fee.saturating_mul(100);
        terms
    }

    /// A player's next transaction: one payment is a transfer, several are a batch. Counts its nonce.
    pub(crate) fn flight(&self, from: &mut Player, payments: Vec<(Address, u64)>) -> Flight {
        let destinations: Vec<ShardId> = payments.iter().map(|(to, _)| to.shard(self.shards)).collect();
        let terms = self.terms(from, destinations.iter().copied());
        let action = match payments[..] {
            [(to, amount)] => order::transfer(to, amount),
            _ => Action::Batch { transfers: payments.clone() },
        };
        from.nonce += 1;
        Flight {
            order: terms.sign(&from.key, action),
            from: from.address,
            shard: from.shard,
            payments,
            gas: terms.gas_limit,
        }
    }
}

/// Gives every player its funds from its shard's faucet, in batches.
pub(crate) async fn fund(scene: &Scene, desk: &Desk, players: &[Player], ledger: &mut Ledger) -> Result<()> {
    let progress = Progress::new("funding the wallets", players.len() as u64);
    for shard in (0..scene.shards()).map(ShardId) {
        let mut faucet = Player::of(scene.network().faucet(shard)?, scene.shards());
        let local: Vec<&Player> = players.iter().filter(|player| player.shard == shard).collect();
        for group in local.chunks(Action::MAX_TRANSFERS) {
            let payments = group.iter().map(|player| (player.address, FUNDS)).collect();
            let airborne = desk.flight(&mut faucet, payments).submit(&scene.client, scene.client.turn()).await?;
            ledger.entries.push(airborne.land(&scene.client).await?.entry);
            group.iter().for_each(|_| progress.advance());
        }
    }
    progress.finish(&format!("{} wallets", players.len()));
    Ok(())
}

/// The share of one core that all processes together use while nothing is asked of them, in percent.
pub(crate) async fn cpu_percent(scene: &Scene) -> Result<f64> {
    let progress = Progress::new("measuring the idle network", 0);
    // What the funding set off comes to rest first.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, started) = (scene.cpu_us()?, Instant::now());
    tokio::time::sleep(CPU_WINDOW).await;
    let used = scene.cpu_us()?.saturating_sub(before);
    #[allow(clippy::cast_precision_loss, reason = "microseconds of a few seconds")]
    let percent = used as f64 / started.elapsed().as_secs_f64() / 10_000.0;
    progress.finish(&format!("{percent:.1}% of one core"));
    Ok(percent)
}

/// Single transfers one after another, within and across shards in turn, each followed to its end.
pub(crate) async fn singles(
    scene: &Scene,
    desk: &Desk,
    (players, rng): (&mut [Player], &mut Rng),
    ledger: &mut Ledger,
) -> Result<Idle> {
    let progress = Progress::new("single transfers, one after another", SINGLES as u64);
    let (mut shard_final, mut delivered) = (Vec::new(), Vec::new());
    for index in 0..SINGLES {
        let cross = index % 2 == 1;
        let from = rng.below(players.len());
        let to = partner(players, from, cross, rng)?;
        let amount = 1 + rng.next() % 1_000;
        let flight = desk.flight(&mut players[from], vec![(to, amount)]);
        // The end of the one before falls together with slots; the next begins anywhere in a slot.
        tokio::time::sleep(Duration::from_millis(rng.next() % 200)).await;
        let airborne = flight.submit(&scene.client, rng.below(scene.client.len())).await?;
        let Landed { entry, levels, .. } = airborne.land(&scene.client).await?;
        let (level, values) =
            if cross { (levels.delivered, &mut delivered) } else { (levels.shard_final, &mut shard_final) };
        values.push(level.ok_or_else(|| Failure::Check(format!("an idle transfer ended as {:?}", entry.stage)))?);
        ledger.entries.push(entry);
        progress.advance();
    }
    let idle =
        Idle { cpu_percent: 0.0, shard_final: Percentiles::of(shard_final), delivered: Percentiles::of(delivered) };
    progress.finish(&format!(
        "intra-shard shard-final p50 {} ms p95 {} ms, cross-shard delivered p50 {} ms p95 {} ms",
        idle.shard_final.p50_ms, idle.shard_final.p95_ms, idle.delivered.p50_ms, idle.delivered.p95_ms
    ));
    Ok(idle)
}

/// Another player, in the same shard or not.
pub(crate) fn partner(players: &[Player], from: usize, cross: bool, rng: &mut Rng) -> Result<Address> {
    let home = players[from].shard;
    let fits = |index: &usize| *index != from && (players[*index].shard != home) == cross;
    let candidates: Vec<usize> = (0..players.len()).filter(fits).collect();
    if candidates.is_empty() {
        return Err(Failure::Usage("the demo needs several shards with several wallets each".to_owned()));
    }
    Ok(players[candidates[rng.below(candidates.len())]].address)
}
