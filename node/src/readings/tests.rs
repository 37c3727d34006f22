//! A committee of which one member hears no certificate and nobody's signatures, and a beacon that records its blocks.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::{
    core::Outbox,
    testing::{Running, brisk},
};
use kakera_chain::{
    peer::{PeerMessage, Spoken},
    replica::Phase,
    units::ValidatorId,
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, OnceLock},
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

/// Who hears nothing that certifies.
const DEAF: ValidatorId = ValidatorId(3);

/// What members of one process say to each other.
type Wire = Arc<OnceLock<BTreeMap<ValidatorId, Core<Shard>>>>;

/// One member's way to the others.
struct Speaks {
    me: ValidatorId,
    wire: Wire,
    /// How many messages [`DEAF`] has not heard.
    spared: Arc<Mutex<u64>>,
}

/// What is left of it for [`DEAF`].
fn without_certificates(mut said: Spoken) -> Option<Spoken> {
    match &mut said.message {
        PeerMessage::Finality(_) | PeerMessage::Certificate(_) => return None,
        PeerMessage::Message(carried) => carried.certificate = None,
        PeerMessage::Messages(all) => all.iter_mut().for_each(|carried| carried.certificate = None),
        _ => {}
    }
    Some(said)
}

impl Outbox for Speaks {
    fn send(&self, to: &[ValidatorId], message: Spoken) {
        let Some(wire) = self.wire.get() else { return };
        for to in to.iter().filter(|to| **to != self.me) {
            let said = if *to == DEAF { without_certificates(message.clone()) } else { Some(message.clone()) };
            match said {
                Some(said) => {
                    wire[to].deliver(self.me, said);
                }
                None => *self.spared.lock().unwrap() += 1,
            }
        }
    }
}

/// Records whatever a member has certified.
async fn record(shard: Core<Shard>, beacon: Core<Beacon>) {
    loop {
        let due = shard.query(|replica, _| replica.crosslink(replica.app().recorded().0.next())).await;
        match due {
            Ok(Some(crosslink)) => drop(beacon.submit(crosslink).await),
            Ok(None) => {}
            Err(Stopped) => return,
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// A member may hold a block that all have signed, and not have heard enough of them when the beacon names it a root.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hears_no_signatures_goes_on_by_what_the_beacon_records_before_it_is_told_the_next_era() {
    let (network, dir) = (Arc::new(brisk(3, 30)), tempfile::tempdir().unwrap());
    let beacon = Running::beacon(&network, &dir.path().join("beacon"), Some(0));
    let (wire, spared) = (Wire::default(), Arc::<Mutex<u64>>::default());
    let members: Vec<Running<Shard>> = (1..=3)
        .map(|index: u8| {
            let speaks = Speaks { me: ValidatorId(index.into()), wire: Arc::clone(&wire), spared: Arc::clone(&spared) };
            Running::shard_heard(&network, &dir.path().join(index.to_string()), Some(index), speaks)
        })
        .collect();
    let cores = (1..).map(ValidatorId).zip(members.iter().map(|member| member.core.clone()));
    assert!(wire.set(cores.collect()).is_ok());

    let mut tasks = JoinSet::new();
    for member in &members {
        let (beacon, store) = (beacon.core.clone(), Arc::clone(&beacon.store));
        let (core, shard, told) = (member.core.clone(), ShardId(0), Told::default());
        tasks.spawn(async move { drop(pass_on(Reader { beacon, store, core, shard, told }).await) });
    }
    tasks.spawn(record(members[0].core.clone(), beacon.core.clone()));

    let look = |replica: &Replica<Shard>, _| (replica.era().epoch, replica.phase(), replica.certified().header.height);
    let core = &members[2].core;
    let through = timeout(Duration::from_secs(60), async {
        loop {
            let (epoch, phase, height) = core.query(look).await.unwrap();
            assert_ne!(phase, Phase::Observer, "it left epoch {epoch} at height {height}");
            if epoch >= Epoch(2) && height > Height(0) {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    });
    through.await.expect("it holds every block that is certified");
    assert!(*spared.lock().unwrap() > 0);

    tasks.shutdown().await;
    for member in members {
        drop(member.stop().await);
    }
    drop(beacon.stop().await);
}
