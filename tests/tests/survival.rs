//! Killed processes: one of each committee, all at once, and two of four.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use kakera_chain::units::{ChainId, ShardId};
use kakera_deploy::Profile;
use kakera_proto::v1::{NodeStatus, Stage, explain_request::Which};
use kakera_tests::{
    facts,
    load::Sender,
    net::Net,
    orders::{CROSS_FEE, FEE},
    program,
    wait::{PATIENCE, check, until},
};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// Blocks looked at per chain and number of live members.
const SAMPLES: usize = 8;

#[test]
fn one_of_each_committee_may_die_and_a_block_takes_few_messages() {
    let net = Net::start(&Profile::demo());
    let shards = [ShardId(0), ShardId(1)];
    let mut senders: Vec<Sender> =
        shards.iter().flat_map(|shard| Sender::crowd(&net, "survival", *shard, 1, 100_000)).collect();
    let witnesses: Vec<(ChainId, String)> =
        net.chains().into_iter().map(|chain| (chain, net.members(chain)[0].clone())).collect();
    let victims: Vec<String> = net.chains().into_iter().map(|chain| net.members(chain)[2].clone()).collect();

    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for (sender, (_, witness)) in senders.iter_mut().zip(&witnesses[1..]) {
                    sender.push(&net, witness);
                }
                // The load's own pace: a few orders a block.
                thread::sleep(Duration::from_millis(70));
            }
        });
        let counted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let four = count_messages(&net, &witnesses, 4);
            net.kill(&victims);
            println!("killed {}", victims.join(", "));
            let three = count_messages(&net, &witnesses, 3);
            (four, three)
        }));
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap();
        let (four, three) = counted.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        for (alive, medians) in [(4, four), (3, three)] {
            for (chain, median) in medians {
                assert!((7..=12).contains(&median), "{chain}: {median} messages a block with {alive} alive");
            }
        }
    });

    for name in &victims {
        net.restart(name);
    }
    net.wait_active(&victims);
    for (sender, (_, witness)) in senders.iter().zip(&witnesses[1..]) {
        sender.finish(&net, witness);
    }
    for (chain, _) in &witnesses {
        facts::check_no_equivocation(&net, *chain);
    }
}

/// The median number of messages that a block took on each chain, over blocks made from now on, as the witnesses
/// hold them once a later block is certified.
fn count_messages(net: &Net, witnesses: &[(ChainId, String)], alive: u32) -> BTreeMap<String, u64> {
    // The block that was being voted on when somebody died is of neither kind.
    let first: Vec<u64> = witnesses.iter().map(|(_, name)| net.status(name).unwrap().head_height + 2).collect();
    let mut counts: Vec<BTreeMap<u64, u64>> = vec![BTreeMap::new(); witnesses.len()];
    until(&format!("{SAMPLES} blocks a chain with {alive} alive"), || {
        for (((_, name), first), counts) in witnesses.iter().zip(&first).zip(&mut counts) {
            let certified = net.status(name).map_err(|status| status.to_string())?.certified_height;
            for height in (*first).max(certified.saturating_sub(3))..certified {
                let block = net.block(name, height).map_err(|status| status.to_string())?;
                let messages: u64 = block.messages_per_member.iter().sum();
                if messages > 0 {
                    let most = counts.entry(height).or_default();
                    *most = messages.max(*most);
                }
            }
        }
        let least = counts.iter().map(BTreeMap::len).min().unwrap();
        check(least >= SAMPLES, || format!("{least} on the slowest chain"))
    });
    let mut medians = BTreeMap::new();
    for ((chain, _), counts) in witnesses.iter().zip(&counts) {
        let mut sorted: Vec<u64> = counts.values().copied().collect();
        sorted.sort_unstable();
        println!("{chain}, {alive} alive, messages a block: {:?}", counts.values().collect::<Vec<_>>());
        medians.insert(chain.to_string(), sorted[sorted.len() / 2]);
    }
    medians
}

#[test]
fn all_processes_may_die_at_once_and_nothing_final_is_lost() {
    let net = Net::start(&Profile::demo());
    let (here, there) = (ShardId(0), ShardId(1));
    let [node, other] = [here, there].map(|shard| net.members(ChainId::Shard(shard))[0].clone());
    let (alice, bob, carol) = (net.wallet("alice", here), net.wallet("bob", here), net.wallet("carol", there));
    net.fund(&[&alice], 1_000_000);
    let end = net.settle(&node, here, &alice.transfer(&net, 0, bob.address, 5_000)).pop().unwrap();
    assert_eq!(end.stage(), Stage::Recorded);
    let end = net.settle(&node, here, &alice.transfer(&net, 1, carol.address, 7_000)).pop().unwrap();
    assert_eq!(end.stage(), Stage::Delivered);
    // On its way when everything ends: applied once or, after it is submitted again, once.
    let under_way = alice.transfer(&net, 2, bob.address, 11);
    net.submit(&node, &under_way.bytes).unwrap();

    let before: Vec<(String, Vec<_>)> = net
        .chains()
        .into_iter()
        .map(|chain| (net.members(chain)[1].clone(), facts::agreed_blocks(&net, &net.members(chain))))
        .collect();
    net.kill(&net.all());
    println!("killed all {}", net.all().len());
    net.orchestrator().start_all().unwrap();
    net.wait_listening(&net.all());
    net.wait_active(&net.all());

    for (name, blocks) in &before {
        for old in blocks {
            let now = net.block(name, old.height).unwrap();
            assert!(now.certified);
            assert_eq!((now.id, now.state_root), (old.id.clone(), old.state_root.clone()), "{name}, {}", old.height);
        }
        let last = blocks.last().unwrap().height;
        assert!(last > 0);
        net.wait_certified(name, last + 2);
    }
    if let Err(status) = net.submit(&other, &under_way.bytes) {
        println!("what was on its way was applied before: {}", status.message());
    }
    let end = net.settle(&node, here, &alice.transfer(&net, 3, carol.address, 13)).pop().unwrap();
    assert_eq!(end.stage(), Stage::Delivered);

    let account = |name: &str, wallet: &kakera_tests::orders::Wallet| net.account(name, &wallet.address).unwrap();
    let paid = 5_000 + 7_000 + 11 + 13 + 2 * FEE + 2 * CROSS_FEE;
    assert_eq!((account(&node, &alice).balance, account(&node, &alice).nonce), (1_000_000 - paid, 4));
    assert_eq!(account(&node, &bob).balance, 5_011);
    assert_eq!(account(&other, &carol).balance, 7_013);
    for chain in net.chains() {
        let blocks = facts::agreed_blocks(&net, &net.members(chain));
        if let ChainId::Shard(shard) = chain {
            facts::check_supply(&net, shard, &blocks);
            facts::check_exactly_once(&blocks, std::iter::empty());
        }
        facts::check_no_equivocation(&net, chain);
    }
}

#[test]
fn a_frozen_member_holds_nobody_up_and_catches_up() {
    let net = Net::start(&Profile::small());
    let shard = ShardId(0);
    let members = net.members(ChainId::Shard(shard));
    let frozen = members[3].clone();
    let mut senders = Sender::crowd(&net, "frozen", shard, 1, 10_000);
    net.network().pause(&frozen).unwrap();
    let start = net.status(&members[0]).unwrap();
    // Longer than silence is forgiven, so that the others notice.
    until("the others to go on without it", || {
        senders[0].push(&net, &members[0]);
        let status = net.status(&members[0]).map_err(|status| status.to_string())?;
        let noticed = status.members.iter().any(|member| member.validator == frozen && member.silent);
        let went_on = status.certified_height >= start.certified_height + 10;
        check(noticed && went_on, || format!("noticed: {noticed}, certified {}", status.certified_height))
    });
    net.network().resume(&frozen).unwrap();
    senders[0].finish(&net, &members[0]);
    let tip = net.status(&members[0]).unwrap().certified_height;
    net.wait_certified(&frozen, tip);
    let blocks = facts::agreed_blocks(&net, &members);
    facts::check_exactly_once(&blocks, senders[0].ids());
    facts::check_no_equivocation(&net, ChainId::Shard(shard));
}

#[test]
fn two_of_four_dead_stop_a_shard_which_says_so_and_goes_on_when_one_returns() {
    let net = Net::start(&Profile::small());
    let shard = ShardId(0);
    let members = net.members(ChainId::Shard(shard));
    let (living, dead) = (members[..2].to_vec(), members[2..].to_vec());
    let mut senders = Sender::crowd(&net, "stalled", shard, 2, 50);
    net.kill(&dead);

    for name in &living {
        until(&format!("{name} to say what is wrong"), || says_who_is_silent(&net, name, &dead));
    }
    let shown = program::run(program::kakera(net.network().dir()).args(["--json", "status"]), PATIENCE);
    assert_eq!(shown.code, Some(0), "{}", shown.all());
    println!("kakera status: {}", notes(&shown.output));
    assert!(notes(&shown.output).contains("stands still"), "{}", shown.output);
    for name in &dead {
        assert!(notes(&shown.output).contains(&format!("{name} is silent")), "{}", shown.output);
    }

    let stalled = living.iter().map(|name| net.status(name).unwrap().certified_height).max().unwrap();
    for (index, sender) in (0..).zip(&mut senders) {
        for round in 0..5 {
            assert!(sender.push(&net, &living[(index + round) % 2]), "a stalled shard's pool still takes orders");
        }
    }
    let slot = net.status(&living[0]).unwrap().slot;
    let later = until("fifty more slots to pass", || {
        let status = net.status(&living[0]).map_err(|status| status.to_string())?;
        check(status.slot >= slot + 50, || format!("slot {}", status.slot)).map(|()| status.clone())
    });
    assert_eq!(later.certified_height, stalled, "two of four certify nothing");
    assert!(later.stalled);

    what_holds_it_back(&net, &living[0], &dead, stalled);
    net.restart(&dead[0]);
    net.wait_active(&dead[..1]);
    for name in [&living[..], &dead[..1]].concat() {
        let status = net.wait_certified(&name, stalled + 2);
        assert!(!status.stalled, "{name}: {}", status.stall_reason);
    }
    for sender in &senders {
        sender.finish(&net, &living[0]);
    }
    let alive = [&living[..], &dead[..1]].concat();
    let blocks = facts::agreed_blocks(&net, &alive);
    facts::check_supply(&net, shard, &blocks);
    facts::check_exactly_once(&blocks, senders.iter().flat_map(Sender::ids));
    net.restart(&dead[1]);
    net.wait_active(&dead[1..]);
    net.wait_certified(&dead[1], blocks.last().unwrap().height);
    facts::check_no_equivocation(&net, ChainId::Shard(shard));
}

/// A node, and `kakera lab explain`, name who has not voted on the first block that is not certified.
fn what_holds_it_back(net: &Net, name: &str, dead: &[String], certified: u64) {
    let height = |height| net.explain(name, Which::Height(height));
    let done = height(certified).unwrap();
    assert!(done.certified && done.r#final && done.reason == "FINAL", "{done:?}");
    let waiting = until("a block to wait for votes", || height(certified + 1).map_err(|status| status.to_string()));
    assert_eq!((waiting.certified, waiting.r#final, waiting.reason.as_str()), (false, false, "VOTES"), "{waiting:?}");
    assert_eq!((waiting.total_weight, waiting.threshold, waiting.members.len()), (4, 1, 4));
    assert!(waiting.sentence.contains("2 members of weight 2 have not voted"), "{}", waiting.sentence);
    for dead in dead {
        assert!(waiting.sentence.contains(&format!("{dead} silent since slot")), "{}", waiting.sentence);
    }
    let ask = |words: &str| {
        let mut command = program::kakera(net.network().dir());
        program::run(command.args(["--json", "lab", "explain"]).args(words.split(' ')), PATIENCE)
    };
    let shown = ask(&format!("--chain shard-0 --height {}", certified + 1));
    let value: serde_json::Value = serde_json::from_str(&shown.output).unwrap_or_else(|_| panic!("{}", shown.all()));
    println!("kakera lab explain: {}", value["sentence"]);
    assert_eq!((&value["final"], &value["reason"]), (&false.into(), &"VOTES".into()), "{value}");
    let shown = ask(&format!("--block {}", value["block"].as_str().unwrap()));
    assert_eq!(shown.code, Some(0), "{}", shown.all());
    assert_eq!(ask(&format!("--block {}", "ab".repeat(32))).code, Some(5), "a block of no chain");
    assert_eq!(ask("--height 1").code, Some(2), "every chain has heights");
    assert_eq!(ask("--height 1 --chain shard-7").code, Some(5), "there is no such chain");
}

fn says_who_is_silent(net: &Net, name: &str, dead: &[String]) -> Result<(), String> {
    let status: NodeStatus = net.status(name).map_err(|status| status.to_string())?;
    let silent: Vec<&String> = status
        .members
        .iter()
        .filter(|member| member.silent && member.validator != name)
        .map(|member| &member.validator)
        .collect();
    let mut expected: Vec<&String> = dead.iter().collect();
    expected.sort();
    let mut named = silent.clone();
    named.sort();
    check(
        status.stalled && named == expected && dead.iter().all(|name| status.stall_reason.contains(name.as_str())),
        || format!("stalled {}: {:?}, silent {silent:?}", status.stalled, status.stall_reason),
    )
}

/// The notes of `kakera status --json`, in one line.
fn notes(output: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(output).unwrap();
    value["notes"].as_array().unwrap().iter().filter_map(|note| note.as_str()).collect::<Vec<_>>().join("; ")
}
