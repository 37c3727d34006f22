//! Random `kill -9` and restart, again and again, on a loaded shard of four: twenty times, or `KAKERA_KILL_CYCLES`.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use kakera_chain::units::{ChainId, ShardId};
use kakera_deploy::Profile;
use kakera_tests::{facts, load::Sender, net::Net, random::Random};
use std::{
    env,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

const CYCLES: u64 = 20;

#[test]
fn random_kills_on_a_loaded_shard_break_nothing() {
    let cycles = env::var("KAKERA_KILL_CYCLES").ok().map_or(CYCLES, |text| text.parse().expect("a number of cycles"));
    let mut random = Random::seeded("kills");
    let net = Net::start(&Profile::small());
    let shard = ChainId::Shard(ShardId(0));
    let members = net.members(shard);
    let mut senders = Sender::crowd(&net, "kills", ShardId(0), 4, 1_000_000);

    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let pushed = scope.spawn(|| push_until(&stop, &net, &members, &mut senders));
        let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for cycle in 1..=cycles {
                one_cycle(&net, &members, &mut random, cycle);
            }
        }));
        stop.store(true, Ordering::Relaxed);
        pushed.join().unwrap();
        killed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });

    net.wait_active(&members);
    for sender in &senders {
        sender.finish(&net, &members[0]);
    }
    // Every node holds all of it, and the same.
    let tip = members.iter().map(|name| net.status(name).unwrap().certified_height).max().unwrap();
    for name in &members {
        net.wait_certified(name, tip);
    }
    let blocks = facts::agreed_blocks(&net, &members);
    facts::check_supply(&net, ShardId(0), &blocks);
    facts::check_exactly_once(&blocks, senders.iter().flat_map(Sender::ids));
    facts::check_no_equivocation(&net, shard);
    let orders = senders.iter().map(|sender| sender.ids().count()).sum::<usize>();
    let slots = blocks.last().unwrap().slot - blocks[0].slot;
    println!("{cycles} kills, {} blocks in {slots} slots, the same on {} nodes", blocks.len(), members.len());
    println!("{orders} orders, each applied once");

    net.orchestrator().stop_all(Duration::from_secs(20)).unwrap();
    facts::check_stores(&net, &net.all());
}

/// Each sender's orders go to the members in turn, dead or alive; ever again those that died with one are repeated.
fn push_until(stop: &AtomicBool, net: &Net, members: &[String], senders: &mut [Sender]) {
    let turns = members.iter().cycle().zip(0u64..);
    for (node, turn) in turns.take_while(|_| !stop.load(Ordering::Relaxed)) {
        for sender in &mut *senders {
            sender.push(net, node);
            if turn % 9 == 0 {
                sender.repair(net, node);
            }
        }
        // The load's own pace: some ten orders a block.
        thread::sleep(Duration::from_millis(60));
    }
}

/// Kills a member at a random moment, starts it again at another, and waits for a random one of: it listens, it
/// speaks again, the chain has gone on.
fn one_cycle(net: &Net, members: &[String], random: &mut Random, cycle: u64) {
    let victim = random.pick(members).clone();
    let observer = members.iter().find(|name| **name != victim).unwrap();
    let mut pause = |most: u64| thread::sleep(Duration::from_millis(random.below(most)));
    pause(400);
    net.kill(std::slice::from_ref(&victim));
    pause(600);
    net.restart(&victim);
    let goal = match random.below(4) {
        // The next kill may hit it, or another, while it still asks its peers.
        0 => "listening",
        1 | 2 => {
            net.wait_active(std::slice::from_ref(&victim));
            "active"
        }
        _ => {
            net.wait_active(members);
            let height = net.status(observer).unwrap().certified_height;
            net.wait_certified(&victim, height + 1);
            "caught up"
        }
    };
    println!("kill {cycle}: {victim}, then {goal}");
}
