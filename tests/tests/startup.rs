//! Processes that must not start: each says what is wrong, ends with its code, and leaves everything as it was.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use kakera_chain::units::{ChainId, ShardId};
use kakera_deploy::Profile;
use kakera_tests::{
    facts,
    load::Sender,
    net::Net,
    program::{self, Ended},
    wait::PATIENCE,
};
use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

fn refused(command: &mut Command, code: i32, names: &[&str]) -> Ended {
    let ended = program::run(command, PATIENCE);
    assert_eq!(ended.code, Some(code), "{command:?} said:\n{}", ended.all());
    for name in names {
        assert!(ended.all().contains(name), "{name} is not named by {command:?}:\n{}", ended.all());
    }
    assert!(!ended.all().contains("panicked"), "{}", ended.all());
    println!("{}", ended.errors.trim());
    ended
}

/// Every file below a directory with its contents.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn a_configuration_that_is_wrong_is_named_by_file_and_key() {
    let net = Net::create(&Profile::small());
    let network = net.network();
    let config = network.process_dir("beacon-0").join("node.toml");
    let sound = fs::read_to_string(&config).unwrap();
    let shown = config.display().to_string();
    let run = |text: String, names: &[&str]| {
        fs::write(&config, text).unwrap();
        refused(&mut program::node(network, "beacon-0"), 2, names);
    };
    run(format!("speed = 3\n{sound}"), &[&shown, "speed"]);
    run(sound.replace("data = ", "date = "), &[&shown, "date"]);
    run(sound.replace("127.0.0.1:", "127.0.0.1:9"), &[&shown]);
    run("listen = [".to_owned(), &[&shown]);
    run(sound.replace("../genesis.toml", "../nowhere.toml"), &["nowhere.toml"]);
    run(sound.replace("key = \"key\"", "key = \"../faucet/shard-0.key\""), &["shard-0.key", "no validator"]);
    let shard_key = format!("key = \"../{}/key\"", net.members(ChainId::Shard(ShardId(0)))[0]);
    run(sound.replace("key = \"key\"", &shard_key), &["kakera-shard"]);
    fs::remove_file(&config).unwrap();
    refused(&mut program::node(network, "beacon-0"), 2, &[&shown]);
    fs::write(&config, sound).unwrap();
    refused(program::node(network, "beacon-0").arg("--speed"), 2, &["--speed"]);
    refused(program::node(network, "beacon-0").args(["--listen", "nonsense"]), 2, &["nonsense"]);
    assert_eq!(fs::read_dir(network.process_dir("beacon-0").join("data")).unwrap().count(), 0, "nothing was begun");
}

#[test]
fn a_port_in_use_is_named() {
    let net = Net::create(&Profile::small());
    let process = net.network().process("beacon-1").unwrap();
    for address in [&process.endpoint, &process.metrics] {
        let taken = TcpListener::bind(address).unwrap();
        refused(&mut program::node(net.network(), "beacon-1"), 4, &[address]);
        drop(taken);
    }
}

#[test]
fn a_data_directory_of_another_network_or_process_is_refused_untouched() {
    // A network's lock is held by one at a time: its directory is copied before the next one is made.
    let kept = tempfile::tempdir().unwrap();
    let (id, data) = {
        let net = Net::create(&Profile::small());
        net.orchestrator().start("beacon-0").unwrap();
        net.wait_listening(&["beacon-0".to_owned()]);
        two_on_one_directory(&net);
        net.network().stop(&["beacon-0".to_owned()], PATIENCE).unwrap();
        let data = kept.path().join("data");
        copy(&net.network().process_dir("beacon-0").join("data"), &data);
        (net.genesis().id, data)
    };
    let net = Net::create(&Profile::small());
    let before = contents(&data);
    let mut command = program::node(net.network(), "beacon-0");
    let shown = data.display().to_string();
    refused(command.arg("--data").arg(&data), 3, &[&shown, &id.to_string(), &net.genesis().id.to_string()]);
    assert_same_data(&before, &data);
}

/// What holds a node's memory: RocksDB's own logs, which each opening begins anew, are none of it.
fn assert_same_data(before: &BTreeMap<PathBuf, Vec<u8>>, dir: &Path) {
    let after = contents(dir);
    for (path, bytes) in before {
        let name = path.file_name().unwrap().to_string_lossy();
        if name.ends_with(".sst") || name == "sign-state" {
            assert_eq!(after.get(path), Some(bytes), "{} was changed", path.display());
        }
    }
}

fn two_on_one_directory(net: &Net) {
    let other = net.network().process("beacon-1").unwrap();
    let mut second = program::node(net.network(), "beacon-0");
    second.args(["--listen", &other.endpoint, "--metrics", &other.metrics]);
    let data = net.network().process_dir("beacon-0").join("data");
    refused(&mut second, 3, &[&data.display().to_string()]);
    assert!(net.status("beacon-0").is_ok(), "the first one goes on");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_corrupt_database_is_named_and_kept_byte_for_byte() {
    let net = Net::start(&Profile::small());
    let shard = ChainId::Shard(ShardId(0));
    let members = net.members(shard);
    let victim = members[0].clone();
    let mut senders = Sender::crowd(&net, "corrupt", ShardId(0), 4, 1_000);
    for _ in 0..30 {
        for sender in &mut senders {
            assert!(sender.push(&net, &members[1]));
        }
    }
    senders.iter().for_each(|sender| sender.finish(&net, &members[1]));
    // Killed, so that what it knows is still in the write-ahead log.
    net.kill(&net.all());
    let data = net.network().process_dir(&victim).join("data");
    let kept = tempfile::tempdir().unwrap();
    let pristine = kept.path().join("pristine");
    copy(&data, &pristine);

    let database = facts::database_in(&pristine);
    for (what, file, damage) in damages(&database) {
        let copied = kept.path().join(what.replace(' ', "-"));
        copy(&pristine, &copied);
        let target = copied.join(file.strip_prefix(&pristine).unwrap());
        damage(&target);
        let before = fs::read(&target).ok();
        println!("{what}: {}", target.display());
        let mut command = program::node(net.network(), &victim);
        refused(command.arg("--data").arg(&copied), 3, &[&copied.display().to_string()]);
        assert_eq!(fs::read(&target).ok(), before, "{what}: the damaged file was changed");
    }

    // The undamaged original starts: the refusals were about the damage.
    net.orchestrator().start_all().unwrap();
    net.wait_listening(&net.all());
    net.wait_active(&members);
    senders.iter().for_each(|sender| sender.finish(&net, &victim));
}

type Damage = (&'static str, PathBuf, fn(&Path));

fn damages(database: &Path) -> Vec<Damage> {
    let largest = |extension: &str| {
        let files =
            contents(database).into_iter().filter(|(path, _)| path.extension().is_some_and(|found| found == extension));
        files.max_by_key(|(_, bytes)| bytes.len()).map(|(path, _)| path)
    };
    let manifest =
        contents(database).into_keys().find(|path| path.file_name().unwrap().to_string_lossy().starts_with("MANIFEST"));
    let sign_state = database.parent().unwrap().join("sign-state");
    let mut damages: Vec<Damage> = vec![
        ("a flipped byte in the log", largest("log").expect("a write-ahead log"), |path| {
            change(path, |bytes| flip_middle(bytes))
        }),
        ("noise for the manifest", manifest.expect("a manifest"), |path| change(path, |bytes| bytes.fill(0xa5))),
        ("an empty current file", database.join("CURRENT"), |path| fs::write(path, "").unwrap()),
        ("no current file", database.join("CURRENT"), |path| fs::remove_file(path).unwrap()),
        ("noise for the second place", sign_state, |path| change(path, |bytes| bytes.fill(0x5a))),
    ];
    if let Some(table) = largest("sst") {
        damages.push(("a table cut short", table, |path| change(path, |bytes| bytes.truncate(bytes.len() / 2))));
    }
    damages
}

fn flip_middle(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}
