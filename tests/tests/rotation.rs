//! Committees change every epoch while all goes on: who is named fetches the state in time, nothing that was recorded is
//! lost, and no chain pauses. And what happens at the edge: kills at a change of era, a committee that dies.

#![allow(clippy::unwrap_used, reason = "tests")]
use kakera_chain::units::{ChainId, ShardId};
use kakera_proto::v1::{HostedChain, SeatHolder};
use kakera_tests::{
    epochs::{agree, assert_unpaused, rotation, sampled},
    stage::Stage,
    wait::{check, until},
};
use std::{collections::BTreeSet, time::Instant};

/// Slots an epoch: 12 s.
const SLOTS: u64 = 60;

#[test]
fn ten_epochs_of_rotation_under_load_lose_nothing_and_pause_nobody() {
    let mut stage = Stage::new(&rotation(SLOTS, SLOTS / 2));
    for epoch in 1..=10 {
        stage.run_until(epoch);
        let state = agree(&stage.net, &stage.alive, epoch);
        stage.seen.take_down(&stage.net, &state, &stage.alive);
    }
    assert_eq!(stage.seen.late, Vec::<String>::new(), "named validators that were not ready");
    let (looked, looks) = (stage.seen.looked_at, stage.seen.conserved);
    let state = stage.net.epoch(&stage.node()).unwrap();
    for node in &stage.alive {
        let hosted = stage.net.status(node).unwrap().hosted;
        for chain in hosted.iter().filter_map(|hosted| hosted.chain.filter(|chain| !chain.beacon)) {
            let chain = ChainId::Shard(ShardId(u16::try_from(chain.shard).unwrap()));
            let Ok(status) = stage.net.status_of(node, chain) else { continue };
            // A machine that stands still for seconds brings a fallback: then, and only then, something is taken back.
            let replaced = state.shards.iter().any(|shard| shard.fallbacks > 0);
            assert!(replaced || status.totals.unwrap().undone == 0, "{node} undid certified blocks of {chain}");
        }
    }
    let (changes, pause) = stage.finish();
    let gaps: Vec<u64> = changes.iter().map(|change| change.gap).collect();
    println!("{} changes of era, slots between their blocks {gaps:?}; within eras at most {pause}", changes.len());
    println!("{looked} named validators looked at, none late; {looks} looks at the supply");
    assert!(changes.len() >= 36, "three shards and the beacon, ten epochs: {changes:?}");
    assert!(looked >= 60, "{looked} named validators were looked at");
    assert_unpaused(&changes, pause, state.shards.iter().map(|shard| shard.fallbacks).sum());
}

#[test]
fn two_processes_killed_at_a_change_of_era_come_back_into_it() {
    let mut stage = Stage::new(&rotation(SLOTS, SLOTS / 2));
    stage.run_until(1);
    let state = stage.net.epoch(&stage.node()).unwrap();
    // One that sits in both epochs, and a beacon validator.
    let shard = &state.shards[1];
    let stays = |name: &str| shard.next.iter().any(|holder| holder.name == name);
    let victim = shard.committee.iter().find(|holder| stays(&holder.name)).unwrap().name.clone();
    let victims = [victim, "beacon-2".to_owned()];
    loop {
        if let Some((epoch, slot)) = stage.round()
            && (epoch > 1 || slot + 2 >= SLOTS)
        {
            break;
        }
    }
    stage.net.kill(&victims);
    stage.alive.retain(|name| !victims.contains(name));
    stage.run_until(2);
    for name in &victims {
        stage.net.restart(name);
        stage.alive.insert(name.clone());
    }
    let state = agree(&stage.net, &stage.alive, 2);
    stage.seen.take_down(&stage.net, &state, &stage.alive);
    stage.run_until(4);
    let state = agree(&stage.net, &stage.alive, 4);
    assert!(state.shards.iter().all(|shard| shard.fallbacks == 0), "one of four away is no reason to fall back");
    let (changes, _) = stage.finish();
    println!("changes of era with two processes away at the second: {changes:?}");
}

#[test]
fn a_committee_that_dies_is_replaced_within_an_epoch_and_what_it_alone_had_is_lost_by_name() {
    let (slots, fallback) = (SLOTS, SLOTS / 2);
    let mut stage = Stage::new(&rotation(slots, fallback));
    stage.run_until(2);
    let state = agree(&stage.net, &stage.alive, 2);
    stage.seen.take_down(&stage.net, &state, &stage.alive);
    let dead = ShardId(1);
    let committee: Vec<String> = state.shards[1].committee.iter().map(|holder| holder.name.clone()).collect();
    while stage.round().is_none_or(|(_, slot)| slot < slots / 3) {}
    // The beacon stands still for a moment, so that the shard certifies what is not recorded; then its committee dies.
    let beacons = stage.net.members(ChainId::Beacon);
    let before = recorded(&stage)[1];
    for name in &beacons {
        stage.net.network().pause(name).unwrap();
    }
    let follower = until("a follower to have what is not recorded", || {
        let mut others = stage.alive.iter().filter(|name| !committee.contains(name) && !beacons.contains(name));
        stage.senders[1].push(&stage.net, &committee[0]);
        // Whoever only sat there before is free to let its data go.
        let stays = |hosted: &HostedChain| {
            let here = hosted.chain.is_some_and(|chain| !chain.beacon && chain.shard == u32::from(dead.0));
            here && hosted.duty != "left"
        };
        let ahead = |name: &&String| {
            stage
                .net
                .status_of(name, ChainId::Shard(dead))
                .is_ok_and(|status| status.certified_height > before + 2 && status.hosted.iter().any(stays))
        };
        others.find(ahead).cloned().ok_or("nobody")
    });
    stage.net.kill(&committee);
    for name in &beacons {
        stage.net.network().resume(name).unwrap();
    }
    stage.alive.retain(|name| !committee.contains(name));
    let (killed, before) = (Instant::now(), stage.net.epoch(&stage.node()).unwrap());
    let others: Vec<u64> = recorded(&stage);
    stage.run_until(3);
    // The shard cannot follow into epoch 3: it is given another committee, which begins on what is recorded.
    let mut rooted = None;
    let replaced = loop {
        if let Some((epoch, _)) = stage.round() {
            let state = stage.net.epoch(&stage.node()).unwrap();
            let shard = &state.shards[1];
            if shard.fallbacks > before.shards[1].fallbacks && rooted.is_none() {
                rooted = Some((epoch, shard.era, shard.root_height, killed.elapsed()));
            }
            if let Some((_, era, height, _)) = rooted
                && stage.net.beacon_state(&stage.node()).unwrap().shards[1].height > height
            {
                break (state, era, height);
            }
            assert!(epoch <= 5, "no block of the new committee is recorded by epoch {epoch}: {rooted:?}");
        }
    };
    let (epoch, era, height, after) = rooted.unwrap();
    println!(
        "re-rooted in epoch {epoch} (era {era}, height {height}) {after:.1?} after the kill; again recorded after {:.1?}",
        killed.elapsed()
    );
    assert!(epoch <= 3, "re-rooted in epoch {epoch}, though the committee died in 2");
    assert!(replaced.0.epoch <= 4, "the new committee's first block was recorded in epoch {}", replaced.0.epoch);
    let new: Vec<String> = replaced.0.shards[1].committee.iter().map(|holder| holder.name.clone()).collect();
    // The epoch's own rotation had let one of the dead go, who stood by then like everybody else.
    let again = new.iter().filter(|name| committee.contains(name)).count();
    assert!(again <= 1, "{new:?} were drawn after {committee:?} died");
    for (shard, (before, now)) in others.iter().zip(recorded(&stage)).enumerate() {
        assert!(now > *before, "shard {shard} has stood still while shard {dead} was dead");
    }
    // What was final on the shard alone is lost, and said to be: by the nodes that had it.
    let undone: Vec<(String, u64)> = stage
        .alive
        .iter()
        .filter_map(|name| {
            let status = stage.net.status_of(name, ChainId::Shard(dead)).ok()?;
            Some((name.clone(), status.totals?.undone))
        })
        .filter(|(_, undone)| *undone > 0)
        .collect();
    println!("certified blocks taken back: {undone:?}");
    assert!(undone.iter().any(|(name, _)| *name == follower), "{follower} had blocks that nobody recorded");
    for (name, _) in &undone {
        let log = std::fs::read_to_string(stage.net.network().log_path(name)).unwrap();
        assert!(log.contains("certified blocks are lost"), "{name} does not name the blocks that are lost");
        let mut lost = stage.senders[1].ids().filter(|id| {
            log.lines().any(|line| line.contains("a transaction is lost") && line.contains(&id.to_string()))
        });
        assert!(lost.next().is_some(), "{name} does not name the transactions that are lost");
    }
    let (changes, _) = stage.finish();
    println!("{changes:?}");
}

#[test]
fn a_sampled_beacon_committee_changes_every_epoch_and_pauses_nobody() {
    let mut stage = Stage::new(&sampled(SLOTS, SLOTS / 2));
    let (mut committees, mut away, mut back) = (BTreeSet::new(), None, 0);
    for epoch in 1..=6 {
        stage.run_until(epoch);
        let state = agree(&stage.net, &stage.alive, epoch);
        stage.seen.take_down(&stage.net, &state, &stage.alive);
        let names =
            |holders: &[SeatHolder]| -> BTreeSet<String> { holders.iter().map(|holder| holder.name.clone()).collect() };
        let (seated, next) = (names(&state.beacon), names(&state.beacon_next));
        assert_eq!(state.beacon.iter().map(|holder| holder.seats).sum::<u32>(), 4, "{seated:?}");
        assert!(seated.iter().chain(&next).all(|name| name.starts_with("beacon-")), "{seated:?} {next:?}");
        // One that had no seat, was named, and was away for a while sits now, and takes part: that was waited for.
        back += usize::from(away.take().is_some_and(|name| seated.contains(&name)));
        if let Some(named) = next.difference(&seated).next() {
            stage.net.kill(std::slice::from_ref(named));
            stage.alive.remove(named);
            while stage.round().is_none_or(|(now, slot)| now == state.epoch && slot < SLOTS / 3) {}
            stage.net.restart(named);
            stage.alive.insert(named.clone());
            away = Some(named.clone());
        }
        committees.insert(seated);
    }
    let (changes, pause) = stage.finish();
    println!("beacon committees: {committees:?}");
    println!("{back} of its members were away while they were only named; within eras at most {pause} slots");
    println!("{changes:?}");
    assert!(committees.len() >= 2 && back >= 1, "{committees:?}, {back}");
    let beacon = changes.iter().filter(|change| change.chain == ChainId::Beacon).count();
    assert!(beacon >= 6, "{changes:?}");
    let state = stage.net.epoch(&stage.node()).unwrap();
    assert_unpaused(&changes, pause, state.shards.iter().map(|shard| shard.fallbacks).sum());
}

/// The recorded heights of all shards.
fn recorded(stage: &Stage) -> Vec<u64> {
    until("the beacon state", || {
        let state = stage.net.beacon_state(&stage.node()).map_err(|status| status.to_string())?;
        check(!state.shards.is_empty(), || "no shards".to_owned())
            .map(|()| state.shards.iter().map(|shard| shard.height).collect())
    })
}
