//! Submitting this shard's crosslinks to the beacon, when [`kakera_shard::Submitter`] says so.

use crate::{
    core::{ChainEvent, Core, Stopped, now},
    errors,
    forward::Forwarder,
};
use kakera_chain::{
    codec,
    genesis::Timing,
    units::{ChainId, Height, Timestamp},
};
use kakera_proto::v1::{SubmitCrosslinkRequest, beacon_client::BeaconClient};
use kakera_shard::{Shard, Submitter};
use std::{sync::Arc, time::Duration};
use tokio::{sync::broadcast::error::RecvError, time::sleep};

/// Submits crosslinks until the core stops.
pub async fn submit(core: Core<Shard>, forwarder: Arc<Forwarder>, shard: Timing, beacon: Timing) {
    let mut events = core.events();
    let mut submitter = Submitter::new(shard, beacon);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(ChainEvent::Included { .. }) => continue,
                Ok(_) | Err(RecvError::Lagged(_)) => while events.try_recv().is_ok() {},
                Err(RecvError::Closed) => return,
            },
            () = wait(submitter.next_wakeup()) => {}
        }
        let look = move |replica: &kakera_chain::replica::Replica<Shard>, now| {
            let due = submitter.look(replica, replica.app().recorded().0, now);
            (submitter, due)
        };
        let Ok((looked, due)) = core.query(look).await else { return };
        submitter = looked;
        if let Some(from) = due
            && send(&core, &forwarder, from).await.is_err()
        {
            return;
        }
    }
}

async fn wait(until: Option<Timestamp>) {
    match until {
        Some(at) => sleep(Duration::from_millis(at.0.saturating_sub(now().0))).await,
        None => std::future::pending().await,
    }
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
