//! Submitting this shard's crosslinks to the beacon: the proposer of the newest certified block at once, the others in
//! turn if it is still not recorded. Crosslinks of empty blocks alone wait for a beacon heartbeat.

use crate::{
    core::{ChainEvent, Core, Stopped},
    errors,
    forward::Forwarder,
};
use kakera_chain::{
    Member,
    block::Figures,
    codec,
    genesis::Timing,
    replica::Replica,
    units::{ChainId, Height},
};
use kakera_proto::v1::{SubmitCrosslinkRequest, beacon_client::BeaconClient};
use kakera_shard::Shard;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant, sleep_until},
};

/// What decides whether and when to submit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct View {
    recorded: Height,
    certified: Height,
    /// This member's turn: 0 for the proposer of the newest certified block. Followers never have one.
    rank: Option<u32>,
    /// Whether what is not recorded holds transactions or receipts.
    content: bool,
}

/// When a height is submitted.
#[derive(Clone, Copy, Debug)]
struct Plan {
    height: Height,
    recorded: Height,
    at: Instant,
}

/// Submits crosslinks until the core stops.
pub async fn submit(core: Core<Shard>, forwarder: Arc<Forwarder>, shard: Timing, beacon: Timing) {
    let mut events = core.events();
    let mut plan: Option<Plan> = None;
    loop {
        let due = plan.map(|plan| plan.at);
        tokio::select! {
            event = events.recv() => match event {
                Ok(ChainEvent::Included { .. }) => continue,
                Ok(_) | Err(RecvError::Lagged(_)) => while events.try_recv().is_ok() {},
                Err(RecvError::Closed) => return,
            },
            () = wait(due) => {}
        }
        let Ok(view) = core.query(|replica, _| view(replica)).await else { return };
        let now = Instant::now();
        plan = next_plan(plan, &view, now, &shard, &beacon);
        if let Some(due) = &mut plan
            && due.at <= now
        {
            if send(&core, &forwarder, view.recorded.next()).await.is_err() {
                return;
            }
            due.at = Instant::now() + again_after(&shard, &beacon);
        }
    }
}

async fn wait(due: Option<Instant>) {
    match due {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn view(replica: &Replica<Shard>) -> View {
    let (recorded, _) = replica.app().recorded();
    let certified = replica.certified().header;
    let members = u32::try_from(replica.seats().keys.len()).unwrap_or(u32::MAX);
    let rank = replica.me().map(|me| turn(me, certified.proposer, members));
    // The newest block alone says so under load; only otherwise are blocks loaded.
    let content = certified.figures.transactions > 0
        || has_moved(replica, recorded, &certified.figures)
        || holds_transactions(replica, recorded, certified.height);
    View { recorded, certified: certified.height, rank, content }
}

/// Whether receipts were consumed or emitted since the recorded block.
fn has_moved(replica: &Replica<Shard>, recorded: Height, now: &Figures) -> bool {
    let below = replica.certified_id(recorded).and_then(|id| replica.block(&id));
    let (received, sent) = below.map_or((0, 0), |block| (block.header.figures.received, block.header.figures.sent));
    now.received != received || now.sent != sent
}

fn holds_transactions(replica: &Replica<Shard>, recorded: Height, certified: Height) -> bool {
    const LOOKED_AT: u64 = 64;
    if certified.0.saturating_sub(recorded.0) > LOOKED_AT {
        return true;
    }
    (recorded.0 + 1..=certified.0).any(|height| {
        let block = replica.certified_id(Height(height)).and_then(|id| replica.block(&id));
        block.is_some_and(|block| block.header.figures.transactions > 0)
    })
}

/// Places after the proposer, counted round the committee.
fn turn(me: Member, proposer: Member, members: u32) -> u32 {
    (u32::from(me.0) + members - u32::from(proposer.0) % members.max(1)) % members.max(1)
}

fn next_plan(plan: Option<Plan>, view: &View, now: Instant, shard: &Timing, beacon: &Timing) -> Option<Plan> {
    let rank = view.rank.filter(|_| view.certified > view.recorded)?;
    let lazy = if view.content { 0 } else { beacon.heartbeat_slots * beacon.slot_ms };
    let at = now + Duration::from_millis(u64::from(rank) * shard.slot_ms + lazy);
    match plan {
        Some(plan) if plan.height == view.certified && plan.recorded == view.recorded => Some(plan),
        // Empty blocks that follow each other must not put the first one off for ever.
        Some(plan) if !view.content && plan.recorded == view.recorded => {
            Some(Plan { height: view.certified, at: plan.at.min(at), ..plan })
        }
        _ => Some(Plan { height: view.certified, recorded: view.recorded, at }),
    }
}

/// A crosslink is recorded within some beacon slots; after that it may have been lost.
fn again_after(shard: &Timing, beacon: &Timing) -> Duration {
    Duration::from_millis((4 * beacon.slot_ms).max(4 * shard.slot_ms))
}

async fn send(core: &Core<Shard>, forwarder: &Forwarder, from: Height) -> Result<(), Stopped> {
    let Some(crosslink) = core.query(move |replica, _| replica.crosslink(from)).await? else { return Ok(()) };
    let heights = crosslink.headers.len();
    let request = SubmitCrosslinkRequest { canonical: codec::encode(&crosslink) };
    let answer = forwarder.call(ChainId::Beacon, request, |channel, request| async move {
        BeaconClient::new(channel).submit_crosslink(request).await
    });
    match answer.await {
        Ok(response) => tracing::debug!(%from, heights, new = response.new, "a crosslink is with the beacon"),
        Err(status) => match errors::reason_of(&status).as_deref() {
            // Recorded meanwhile, or the beacon node is behind: the view will say.
            Some("CROSSLINK_STALE" | "CROSSLINK_GAP") => {}
            reason => tracing::warn!(%from, ?reason, message = status.message(), "a crosslink is not taken"),
        },
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: Timing = Timing { slot_ms: 200, delay_ms: 50, heartbeat_slots: 5 };
    const BEACON: Timing = Timing { slot_ms: 400, delay_ms: 50, heartbeat_slots: 5 };

    fn view(certified: u64, rank: u32, content: bool) -> View {
        View { recorded: Height(3), certified: Height(certified), rank: Some(rank), content }
    }

    #[test]
    fn the_proposer_goes_first_and_the_others_in_turn() {
        let turns: Vec<u32> = (0..4).map(|me| turn(Member(me), Member(2), 4)).collect();
        assert_eq!(turns, [2, 3, 0, 1]);
        let now = Instant::now();
        let after = |rank| next_plan(None, &view(5, rank, true), now, &SHARD, &BEACON).map(|plan| plan.at - now);
        assert_eq!(after(0), Some(Duration::ZERO));
        assert_eq!(after(2), Some(Duration::from_millis(400)));
        assert!(next_plan(None, &view(3, 0, true), now, &SHARD, &BEACON).is_none(), "all is recorded");
        assert!(next_plan(None, &View { rank: None, ..view(5, 0, true) }, now, &SHARD, &BEACON).is_none());
    }

    #[test]
    fn empty_blocks_wait_for_a_heartbeat_but_not_for_ever_and_content_at_once() {
        let now = Instant::now();
        let plan = next_plan(None, &view(5, 0, false), now, &SHARD, &BEACON);
        assert_eq!(plan.map(|plan| plan.at - now), Some(Duration::from_secs(2)));
        let later = now + Duration::from_secs(1);
        let plan = next_plan(plan, &view(6, 1, false), later, &SHARD, &BEACON);
        assert_eq!(
            plan.map(|plan| plan.at - now),
            Some(Duration::from_secs(2)),
            "a further empty block changes nothing"
        );
        let plan = next_plan(plan, &view(7, 0, true), later, &SHARD, &BEACON);
        assert_eq!(plan.map(|plan| plan.at - later), Some(Duration::ZERO));
    }
}
