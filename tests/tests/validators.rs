//! A newcomer's whole life on a live network, by the commands that its operator gives: it joins with one command, becomes
//! active, is drawn, votes, leaves, and is paid its stake and what it earned.

#![allow(clippy::unwrap_used, reason = "tests")]
use kakera_chain::{
    keys::PublicKey,
    units::{ChainId, ShardId},
};
use kakera_proto::v1::{self, chains_client::ChainsClient, validators_client::ValidatorsClient};
use kakera_tests::{
    epochs::rotation,
    net::Net,
    orders::Wallet,
    program::{self, Ended},
    wait::{check, until_within},
};
use serde_json::Value;
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Slots an epoch: 8 s.
const SLOTS: u64 = 40;
const SEATS: u32 = 4;
/// What they cost.
const STAKE: u64 = 4_000_000_000;
/// How long a step that takes a few epochs may take.
const EPOCHS: Duration = Duration::from_secs(240);

/// A process of its own, ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already: nothing to do.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn kakera(net: &Net, arguments: &[&str]) -> Ended {
    let mut command = Command::new(program::kakera_path());
    command.arg("--json").args(arguments).env("KAKERA_WALLETS", net.network().dir().join("wallets"));
    program::run(&mut command, Duration::from_secs(120))
}

fn json(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{}", ended.all());
    serde_json::from_str(ended.output.lines().last().unwrap()).unwrap_or_else(|_| panic!("{}", ended.all()))
}

fn listed(net: &Net, key: &PublicKey) -> Result<v1::Validator, String> {
    let request = v1::ListValidatorsRequest { from: 0, key: key.0.to_vec() };
    let answer = net.ask("beacon-1", |channel| async { ValidatorsClient::new(channel).list(request).await });
    answer.map_err(|status| status.to_string())?.validators.pop().ok_or_else(|| "not listed".to_owned())
}

/// The shard in whose committee a validator sits, by the beacon's word.
fn seat(net: &Net, id: u32) -> Option<ShardId> {
    let state = net.epoch("beacon-1").ok()?;
    let here = |shard: &&v1::ShardEpoch| shard.committee.iter().any(|holder| holder.validator == id);
    state.shards.iter().find(here).map(|shard| ShardId(u16::try_from(shard.shard).unwrap()))
}

/// A validator that joins by the command that its operator gives, in a directory of its own.
struct Newcomer<'a> {
    net: &'a Net,
    dir: PathBuf,
    endpoint: String,
    beacon: String,
    checkpoint: Option<String>,
}

impl Newcomer<'_> {
    fn new<'a>(net: &'a Net, dir: PathBuf, checkpoint: Option<String>) -> Newcomer<'a> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let beacon = net.network().process("beacon-0").unwrap().endpoint.clone();
        Newcomer { net, dir, endpoint: format!("127.0.0.1:{port}"), beacon, checkpoint }
    }

    fn join(&self) -> Ended {
        let (id, at, seats) = (self.net.genesis().id.to_string(), self.dir.display().to_string(), SEATS.to_string());
        let mut arguments = vec!["validator", "join", "--beacon", &self.beacon, "--network", &id, "--dir", &at];
        arguments.extend(["--endpoint", &self.endpoint, "--seats", &seats, "--no-start"]);
        arguments.extend(self.checkpoint.iter().flat_map(|root| ["--checkpoint", root]));
        kakera(self.net, &arguments)
    }

    fn owner(&self) -> Wallet {
        let key = kakera_deploy::files::read_key(&self.dir.join("owner.key")).unwrap();
        Wallet::of(key, self.net.shards())
    }

    fn key(&self) -> PublicKey {
        kakera_deploy::files::read_key(&self.dir.join("key")).unwrap().public()
    }

    /// Joins: it is told what is missing, is given that, and bonds. Returns its number.
    fn bond(&self) -> u32 {
        // Nobody has paid yet: it says what is missing, and where to.
        let poor = self.join();
        assert_eq!(poor.code, Some(4), "{}", poor.all());
        let owner = self.owner();
        assert!(poor.all().contains(&owner.address.to_string()), "{}", poor.all());
        self.net.fund(&[&owner], STAKE + 10_000_000);
        let bonded = json(&self.join());
        assert_eq!((bonded["seats"].as_u64(), bonded["stake"].as_u64()), (Some(SEATS.into()), Some(STAKE)));
        assert_eq!(self.join().code, Some(0), "given again, it bonds nothing again");
        assert_eq!(listed(self.net, &self.key()).unwrap().seats, SEATS);
        u32::try_from(bonded["id"].as_u64().unwrap()).unwrap()
    }

    fn start(&self) -> Running {
        let log = fs::File::create(self.dir.join("log.txt")).unwrap();
        let mut command = Command::new(program::kakera_path().with_file_name("kakera-shard"));
        command.arg("--config").arg(self.dir.join("node.toml")).stdin(Stdio::null());
        Running(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap())
    }

    fn said(&self) -> String {
        fs::read_to_string(self.dir.join("log.txt")).unwrap_or_default()
    }

    /// Waits until it is drawn, and until others have counted its votes.
    fn serves(&self, validator: u32) {
        let (net, key) = (self.net, self.key());
        until_within(EPOCHS, "the newcomer to be active", || {
            let status = listed(net, &key)?.status;
            check(status == "active", || status)
        });
        until_within(EPOCHS, "its votes to count", || {
            let sits = seat(net, validator).ok_or("it sits nowhere")?;
            let state = net.epoch("beacon-1").map_err(|status| status.to_string())?;
            let members = &state.shards[usize::from(sits.0)].committee;
            let other = members.iter().find(|holder| holder.validator != validator && !holder.name.is_empty());
            let Some(other) = other else { return Err("it sits alone".to_owned()) };
            let status = net.status_of(&other.name, ChainId::Shard(sits)).map_err(|status| status.to_string())?;
            let place = members.iter().position(|holder| holder.validator == validator);
            let messages = place.and_then(|place| status.members.get(place)).map_or(0, |member| member.messages);
            check(messages > 0, || format!("{messages} messages of {}", status.epoch))
        });
        until_within(EPOCHS, "it to earn", || {
            let rewards = listed(net, &key)?.rewards;
            check(rewards > 0, || "nothing".to_owned())
        });
    }
}

#[test]
fn a_newcomer_joins_is_drawn_votes_leaves_and_gets_back_its_stake_and_rewards() {
    let net = Net::start(&rotation(SLOTS, SLOTS / 2));
    let place = tempfile::tempdir().unwrap();
    let newcomer = Newcomer::new(&net, place.path().join("newcomer"), None);
    let validator = newcomer.bond();
    let (owner, key, beacon) = (newcomer.owner(), newcomer.key(), newcomer.beacon.clone());
    let mut running = newcomer.start();
    newcomer.serves(validator);

    let first = checkpoint(&net);
    let before = net.account("beacon-1", &owner.address).unwrap().balance;
    let owner_key = newcomer.dir.join("owner.key").display().to_string();
    let number = validator.to_string();
    let left = kakera(&net, &["validator", "exit", &number, "--node", &beacon, "--from", &owner_key]);
    assert_eq!(left.code, Some(0), "{}", left.all());
    let fees = before - net.account("beacon-1", &owner.address).unwrap().balance;
    // Meanwhile another one joins, and knows of the chain only what follows a checkpoint.
    let second = Newcomer::new(&net, place.path().join("second"), Some(first.0.clone()));
    let its_number = second.bond();
    let mut also_running = second.start();
    let last = until_within(EPOCHS, "it to be let go", || {
        let listed = listed(&net, &key)?;
        check(listed.status == "withdrawable", || listed.status.clone()).map(|()| listed)
    });
    let (stake, rewards) = (last.stake, last.rewards);
    until_within(EPOCHS, "its stake to be paid", || {
        let status = listed(&net, &key)?.status;
        check(status == "withdrawn", || status)
    });
    until_within(EPOCHS, "the payment to arrive", || {
        let balance = net.account("beacon-1", &owner.address).map_err(|status| status.to_string())?.balance;
        check(balance == before - fees + stake + rewards, || {
            format!("{balance}, not {before} - {fees} + {stake} + {rewards}")
        })
    });
    assert_eq!(stake, STAKE);
    println!("paid back: stake {stake} and rewards {rewards}");
    assert!(running.0.try_wait().unwrap().is_none(), "the newcomer's process ended: {}", newcomer.said());
    second.serves(its_number);
    assert!(second.said().contains("followed from a checkpoint"), "{}", second.said());
    assert!(also_running.0.try_wait().unwrap().is_none(), "the second one's process ended: {}", second.said());
    let state = net.beacon_state("beacon-1").unwrap();
    assert_eq!(state.conserved_total, state.genesis_supply);
    drop((running, also_running));
    a_machine_that_begins_at_a_checkpoint(&net, place.path(), &first);
}

/// The newest checkpoint that a node names.
fn checkpoint(net: &Net) -> (String, u64) {
    let beacon = &net.network().process("beacon-2").unwrap().endpoint;
    let told = json(&kakera(net, &["validator", "checkpoint", "--node", beacon]));
    (told["root"].as_str().unwrap().to_owned(), told["epoch"].as_u64().unwrap())
}

/// It follows from there on, with a fraction of the chain; ids that are too old, or of no root, get it nowhere, and it says why.
fn a_machine_that_begins_at_a_checkpoint(net: &Net, place: &Path, (old, epoch): &(String, u64)) {
    let beacon = net.network().process("beacon-3").unwrap().endpoint.clone();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let machine = |name: &str, root: &str| {
        let dir = place.join(name);
        fs::create_dir(&dir).unwrap();
        fs::copy(net.network().dir().join("genesis.toml"), dir.join("genesis.toml")).unwrap();
        fs::write(dir.join("key"), "5b".repeat(32)).unwrap();
        let config = format!(
            "genesis = 'genesis.toml'\nkey = 'key'\ndata = 'data'\nlisten = '127.0.0.1:{port}'\n\
             [checkpoint]\nroot = '{root}'\nfrom = ['{beacon}']\n"
        );
        fs::write(dir.join("node.toml"), config).unwrap();
        let mut command = Command::new(program::kakera_path().with_file_name("kakera-shard"));
        command.arg("--config").arg(dir.join("node.toml"));
        command
    };
    let now = net.epoch("beacon-1").unwrap();
    assert!(now.epoch > epoch + now.unbonding, "the first checkpoint, of epoch {epoch}, is too old in {}", now.epoch);
    let (root, _) = checkpoint(net);
    let other = root.chars().rev().collect::<String>();
    for (name, wrong) in [("older", old.as_str()), ("other", &other), ("text", "here")] {
        let refused = program::run(&mut machine(name, wrong), Duration::from_secs(30));
        assert_eq!(refused.code, Some(2), "{}", refused.all());
        println!("{name}: {}", refused.errors.trim());
        assert!(refused.errors.contains("checkpoint"), "{}", refused.errors);
    }
    let mut command = machine("newer", &root);
    let _running = Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let channel = tonic::transport::Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
    let status = |chain: ChainId| {
        let request = v1::GetStatusRequest { chain: Some(kakera_tests::epochs::name(chain)) };
        net.runtime().block_on(async {
            let channel = channel.connect().await.map_err(|error| error.to_string())?;
            let answer = ChainsClient::new(channel).get_status(request).await;
            answer.map(tonic::Response::into_inner).map_err(|status| status.to_string())
        })
    };
    let height = net.status("beacon-1").unwrap().certified_height;
    let told = until_within(EPOCHS, "the new machine to follow", || {
        let status = status(ChainId::Beacon)?;
        check(status.certified_height > height + 5, || format!("{} of {height}", status.certified_height))
            .map(|()| status)
    });
    assert_eq!((told.phase.as_str(), told.stalled), ("observer", false));
    assert!(told.totals.unwrap().blocks < height / 2, "it began near the end: {told:?}");
}
