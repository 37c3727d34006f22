//! The fault lab on real processes: links that are cut or corrupted, a full disk, and clocks that are wrong.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use kakera_chain::units::{ChainId, ShardId};
use kakera_deploy::{
    Profile,
    links::{Between, Change, Cut},
    orchestrator::Ended,
    settings,
};
use kakera_proto::v1::MemberStatus;
use kakera_tests::{
    facts,
    load::Sender,
    net::Net,
    program,
    wait::{PATIENCE, check, until},
};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

const SHARD: ShardId = ShardId(0);
const CHAIN: ChainId = ChainId::Shard(SHARD);

fn change(net: &Net, between: &Between, change: Change) {
    assert!(net.orchestrator().links().unwrap().apply(between, change).unwrap() > 0);
}

/// What `name` knows of `member`.
fn seen_by(net: &Net, name: &str, member: &str) -> Result<MemberStatus, String> {
    let status = net.status(name).map_err(|status| status.to_string())?;
    Ok(status.members.into_iter().find(|other| other.validator == member).expect("a member of the committee"))
}

/// The chain certifies so many more blocks while orders come.
fn goes_on(net: &Net, name: &str, sender: &mut Sender, blocks: u64) {
    let start = net.status(name).unwrap().certified_height;
    until(&format!("{name} to certify {blocks} more blocks"), || {
        sender.push(net, name);
        let status = net.status(name).map_err(|status| status.to_string())?;
        check(status.certified_height >= start + blocks, || {
            format!("{}: {}", status.certified_height, status.stall_reason)
        })
    });
}

/// All that was ordered is applied once, on all nodes alike, and nobody was caught saying two things.
fn all_is_well(net: &Net, sender: &Sender) {
    let members = net.members(CHAIN);
    net.wait_active(&members);
    sender.finish(net, &members[0]);
    let tip = net.status(&members[0]).unwrap().certified_height;
    for name in &members {
        net.wait_certified(name, tip);
    }
    let blocks = facts::agreed_blocks(net, &members);
    facts::check_supply(net, SHARD, &blocks);
    facts::check_exactly_once(&blocks, sender.ids());
    for chain in net.chains() {
        facts::check_no_equivocation(net, chain);
    }
}

#[test]
fn a_member_that_nobody_hears_still_hears_all_and_a_silent_beacon_link_is_left_for_another() {
    let net = Net::start_relayed(&Profile::small());
    let members = net.members(CHAIN);
    let mut sender = Sender::crowd(&net, "one-way", SHARD, 1, 100_000).remove(0);
    let mute = &members[3];
    // Not from the beacon: whoever cannot ask it for its blocks understands no block that refers to them.
    let others = Between { to: members[..3].to_vec(), one_way: true, ..Between::around(&[mute]) };
    change(&net, &others, Change::Cut(Cut::Closed));
    until("the others to hear nothing of it", || {
        sender.push(&net, &members[0]);
        let member = seen_by(&net, &members[0], mute)?;
        check(member.silent, || format!("{member:?}"))
    });
    let tip = net.status(&members[0]).unwrap().certified_height;
    let status = net.wait_certified(mute, tip);
    println!(
        "{mute} is heard by nobody and knows height {} of {tip}; {}",
        status.certified_height, status.stall_reason
    );
    let said = seen_by(&net, &members[1], mute).unwrap().messages;
    goes_on(&net, &members[0], &mut sender, 3);
    assert_eq!(seen_by(&net, &members[1], mute).unwrap().messages, said, "nothing that it says arrives");
    change(&net, &Between::around(&["all"]), Change::Heal);
    until("it to be heard again", || {
        sender.push(&net, &members[0]);
        let member = seen_by(&net, &members[1], mute)?;
        check(!member.silent && member.messages > said, || format!("{member:?}"))
    });

    // All beacon nodes but one fall silent for one member; it finds the one, whichever it followed.
    let beacon = net.members(ChainId::Beacon);
    for left in &beacon {
        let to = beacon.iter().filter(|name| *name != left).cloned().collect();
        let silent = Between { from: vec![members[0].clone()], to, ..Between::default() };
        change(&net, &silent, Change::Cut(Cut::Silent));
        let started = Instant::now();
        let height = net.status(&members[1]).unwrap().beacon_height;
        until("it to follow the beacon again", || {
            sender.push(&net, &members[1]);
            let status = net.status(&members[0]).map_err(|status| status.to_string())?;
            check(status.beacon_height > height + 2, || format!("beacon height {}", status.beacon_height))
        });
        println!("only {left} is left: followed again after {:?}", started.elapsed());
        assert!(started.elapsed() < Duration::from_secs(20), "three silent links cost three times the keepalive");
        change(&net, &Between::around(&["all"]), Change::Heal);
    }
    all_is_well(&net, &sender);
}

#[test]
fn members_catch_up_while_one_direction_between_two_of_them_is_dead() {
    let net = Net::start_relayed(&Profile::small());
    let members = net.members(CHAIN);
    let mut sender = Sender::crowd(&net, "detour", SHARD, 1, 100_000).remove(0);
    let dead = Between::one_way(&members[0], &members[2]);
    change(&net, &dead, Change::Cut(Cut::Closed));
    for (round, victim) in (1..).zip([&members[1], &members[3], &members[1], &members[2], &members[0]]) {
        goes_on(&net, &members[0], &mut sender, 5);
        net.kill(std::slice::from_ref(victim));
        goes_on(&net, if *victim == members[0] { &members[3] } else { &members[0] }, &mut sender, 5);
        net.restart(victim);
        let started = Instant::now();
        let height = |name: &String| net.status(name).unwrap().certified_height;
        let tip = members.iter().map(height).max().unwrap();
        until("every member to go on", || {
            sender.push(&net, &members[3]);
            let late: Vec<_> = members.iter().filter(|name| height(name) <= tip).collect();
            check(late.is_empty(), || format!("{late:?} are not above {tip}"))
        });
        println!("round {round}: all go on {:?} after {victim} listened again", started.elapsed());
        assert!(started.elapsed() < Duration::from_secs(20), "what is not heard directly comes by others");
    }
    change(&net, &dead, Change::Heal);
    all_is_well(&net, &sender);
}

#[test]
fn corrupted_bytes_between_members_and_toward_the_beacon_accuse_nobody() {
    let net = Net::start_relayed(&Profile::small());
    let members = net.members(CHAIN);
    let mut sender = Sender::crowd(&net, "corrupt", SHARD, 1, 100_000).remove(0);
    let inside = |name: &str| Between { inside: true, ..Between::around(&[name]) };
    change(&net, &inside("all"), Change::Corrupt { per_million: 300 });
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(10) {
        sender.push(&net, &members[0]);
        thread::sleep(Duration::from_millis(100));
    }
    let flipped: u64 = net.orchestrator().links().unwrap().states().iter().map(|state| state.flipped).sum();
    assert!(flipped > 10, "{flipped} bytes were corrupted");
    println!("{flipped} corrupted bytes");
    change(&net, &Between::around(&["all"]), Change::Heal);
    goes_on(&net, &members[0], &mut sender, 5);
    all_is_well(&net, &sender);
}

#[test]
fn a_node_whose_disk_is_full_ends_clearly_and_comes_back_when_there_is_room() {
    let net = Net::start(&Profile::small());
    let members = net.members(CHAIN);
    let victim = &members[2];
    let mut sender = Sender::crowd(&net, "disk", SHARD, 1, 100_000).remove(0);
    goes_on(&net, &members[0], &mut sender, 5);
    settings::limit_disk(net.network(), victim, Some(128 * 1024)).unwrap();
    net.orchestrator().restart(victim).unwrap();
    net.wait_listening(std::slice::from_ref(victim));
    let ended: Ended = until("its disk to be full", || {
        sender.push(&net, &members[0]);
        net.orchestrator().collect().into_iter().next().ok_or("it runs")
    });
    assert_eq!((&ended.name, ended.code), (victim, Some(5)), "{}", ended.how);
    let log = fs::read_to_string(net.network().log_path(victim)).unwrap();
    let said = log.lines().last().unwrap();
    println!("{victim}: {said}");
    assert!(said.starts_with("error: halted: writing to") && said.contains("File too large"), "{said}");
    assert!(!log.contains("panicked"), "{log}");
    goes_on(&net, &members[0], &mut sender, 10);

    // Nothing of it is with the others that it does not have itself.
    let heard = members.iter().filter(|name| *name != victim);
    let heard = heard.map(|name| seen_by(&net, name, victim).unwrap()).max_by_key(|member| member.messages).unwrap();
    net.orchestrator().stop_all(Duration::from_secs(20)).unwrap();
    let kept = facts::last_said(&net, victim, u16::try_from(heard.member).unwrap()).expect("it has spoken");
    println!("others hold {} messages of it, it kept {}", heard.messages, kept + 1);
    assert!(kept + 1 >= heard.messages, "it said {} things and kept {}", heard.messages, kept + 1);

    settings::limit_disk(net.network(), victim, None).unwrap();
    net.orchestrator().start_all().unwrap();
    net.wait_listening(&net.all());
    net.wait_active(&net.all());
    goes_on(&net, victim, &mut sender, 5);
    all_is_well(&net, &sender);
    net.orchestrator().stop_all(Duration::from_secs(20)).unwrap();
    facts::check_stores(&net, &net.all());
}

#[test]
fn a_leader_whose_clock_is_wrong_harms_nobody_and_is_heard_once_it_is_right() {
    let net = Net::start(&Profile::small());
    let members = net.members(CHAIN);
    let (victim, others) = (&members[1], [&members[0], &members[2], &members[3]]);
    let mut sender = Sender::crowd(&net, "clock", SHARD, 1, 100_000).remove(0);
    const DAY_MS: i64 = 86_400_000;
    for offset_ms in [2_000, -2_000, DAY_MS, -DAY_MS] {
        settings::offset_clock(net.network(), victim, offset_ms).unwrap();
        net.orchestrator().restart(victim).unwrap();
        net.wait_listening(std::slice::from_ref(victim));
        let started = Instant::now();
        let slot = net.status(others[0]).unwrap().slot;
        goes_on(&net, others[0], &mut sender, 20);
        let slots = net.status(others[0]).unwrap().slot - slot;
        println!("{victim} {offset_ms} ms off: 20 blocks in {slots} slots ({:?})", started.elapsed());
        facts::agreed_blocks(&net, &others.map(Clone::clone));
        facts::check_no_equivocation(&net, CHAIN);
        assert!(net.orchestrator().collect().is_empty(), "everybody runs");

        settings::offset_clock(net.network(), victim, 0).unwrap();
        net.orchestrator().restart(victim).unwrap();
        net.wait_listening(std::slice::from_ref(victim));
        let said = seen_by(&net, others[0], victim).unwrap().messages;
        until("it to be heard with the right time", || {
            sender.push(&net, others[0]);
            let member = seen_by(&net, others[0], victim)?;
            let own = net.status(victim).map_err(|status| status.to_string())?;
            check(!member.silent && member.messages > said + 3, || format!("{member:?}; it is {}", own.phase))
        });
    }
    all_is_well(&net, &sender);
    net.orchestrator().stop_all(Duration::from_secs(20)).unwrap();
    facts::check_stores(&net, &net.all());
}

/// Runs `kakera --json` with these words; what it printed, a value a line. Panics unless it ends with `code`.
fn kakera(dir: &Path, words: &str, code: i32) -> Vec<Value> {
    let ended = program::run(program::kakera(dir).arg("--json").args(words.split(' ')), PATIENCE);
    assert_eq!(ended.code, Some(code), "kakera {words}: {}", ended.all());
    ended.output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Takes a network down with the test.
struct Down<'a>(&'a Path);

impl Drop for Down<'_> {
    fn drop(&mut self) {
        program::run(program::kakera(self.0).args(["testnet", "down"]), PATIENCE);
    }
}

#[test]
fn links_disks_and_clocks_are_broken_and_mended_from_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("net");
    let run = |words: &str, code| kakera(&place, words, code);
    run("testnet partition beacon-0", 5);
    run("testnet up --profile small", 0);
    let _down = Down(&place);
    let answer = run("testnet partition validator-3", 0).remove(0);
    assert_eq!((&answer["change"], &answer["directions"]), (&"cut".into(), &14.into()), "{answer}");
    run("testnet delay --from beacon --to shard-0 --ms 30 --jitter 10 --one-way", 0);
    let links = run("testnet links", 0).remove(0);
    let wrong = links.as_array().unwrap();
    assert_eq!(wrong.len(), 14 + 16 - 4, "{links}");
    let faults = |from: &str, to: &str| {
        let link = wrong.iter().find(|link| link["from"] == from && link["to"] == to).unwrap();
        link["faults"].as_str().unwrap().to_owned()
    };
    assert_eq!(faults("validator-3", "validator-0"), "cut");
    assert_eq!(faults("beacon-1", "validator-3"), "cut, 30 to 40 ms late");
    assert_eq!(faults("beacon-1", "validator-0"), "30 to 40 ms late");
    run("testnet heal", 0);
    assert_eq!(run("testnet links", 0).remove(0).as_array().unwrap().len(), 0);
    assert_eq!(run("testnet links --all", 0).remove(0).as_array().unwrap().len(), 8 * 7);
    run("testnet partition nobody", 5);
    run("testnet partition", 2);

    let restarted = run("testnet clock validator-0 --offset-ms 1500", 0).remove(0);
    assert_eq!((&restarted["clock_offset_ms"], &restarted["restarted"]), (&1500.into(), &true.into()));
    run("testnet clock validator-0 --offset-ms 0", 0);
    run("testnet disk validator-1 --bytes 131072", 0);
    run("wallet new alice", 0);
    until("the disk to be full", || {
        run("faucet alice 1000", 0);
        let status = run("testnet status", 0).remove(0);
        let process = status["processes"].as_array().unwrap().iter().find(|one| one["name"] == "validator-1").unwrap();
        check(process["state"] == "dead" && process["ended"].as_str().unwrap().starts_with("exit code 5"), || {
            process.to_string()
        })
    });
    let lifted = run("testnet disk validator-1 --unlimited", 0).remove(0);
    assert_eq!(lifted["restarted"], false, "{lifted}");
    run("testnet start validator-1", 0);
    run("testnet down", 0);

    let direct = dir.path().join("direct");
    kakera(&direct, "testnet up --profile small --direct", 0);
    let _down = Down(&direct);
    let ended = program::run(program::kakera(&direct).args(["testnet", "partition", "beacon-0"]), PATIENCE);
    assert_eq!(ended.code, Some(4), "{}", ended.all());
    assert!(ended.errors.contains("kakera testnet up"), "it says what to do: {}", ended.errors);
}
