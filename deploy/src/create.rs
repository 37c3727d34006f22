//! Creating a network in a directory: keys, ports, the genesis file and each node's configuration.

use crate::{
    error::{Error, Result},
    keys, links,
    network::{FORMAT, Network, NetworkFile, Process, relay},
    ports,
    profiles::Profile,
};
use anyhow::{Context, anyhow};
use kakera_beacon::Committees;
use kakera_chain::{
    address::Address,
    genesis::{self, Genesis, GenesisAccount, GenesisValidator, Role},
    keys::SecretKey,
    units::{ShardId, ValidatorId},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// From the creation to slot 0: about what a dozen processes need to start. Later starts only find slots passed.
const START_MS: u64 = 1_500;

/// The contents of a `node.toml`; paths are relative to the file.
#[derive(Debug, Serialize)]
struct NodeFile<'a> {
    genesis: &'a str,
    key: &'a str,
    data: &'a str,
    listen: &'a str,
    metrics: &'a str,
    log: &'a str,
    log_format: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    via: BTreeMap<&'a str, SocketAddr>,
}

/// How the nodes of a network reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// At the endpoints in the genesis file.
    Direct,
    /// Through relays that the orchestrator keeps, so that links can be broken.
    Relayed,
}

/// The contents of a `randomness` file.
#[derive(Debug, Serialize)]
struct RandomnessFile {
    seed: String,
    links: u32,
}

/// One validator before it is written down.
struct Fresh {
    process: Process,
    key: SecretKey,
    randomness: [u8; 32],
    seats: u32,
}

/// Creates the network of a profile in `dir`, which must be empty or not exist. Starts nothing.
///
/// `network.toml` is written last, so that a directory left by a failure is not taken for a network.
pub fn create(dir: &Path, profile: &Profile) -> Result<Network> {
    create_wired(dir, profile, Wiring::Direct)
}

/// Like [`create`], with relays if asked for.
pub fn create_wired(dir: &Path, profile: &Profile, wiring: Wiring) -> Result<Network> {
    let most = links::MAX_RELAYED;
    if wiring == Wiring::Relayed && profile.processes() as usize > most {
        let reason = format!("{} processes; a network with relays has at most {most}", profile.processes());
        return Err(Error::Profile { profile: profile.name.clone(), reason });
    }
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::NotEmpty { dir: dir.to_owned() });
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(dir).with_context(|| format!("cannot create {}", dir.display()))?;

    let mut ports = ports::free_ports(2 * profile.processes() as usize + 1)?;
    let relays = ports.pop().filter(|_| wiring == Wiring::Relayed);
    let mut validators = fresh_validators(profile, ports)?;
    let faucets = (0..profile.shards)
        .map(|shard| keys::fresh_key_in(ShardId(shard), profile.shards))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let genesis = genesis_of(profile, &validators, &faucets)?;
    let text = toml::to_string(&genesis).context("the genesis does not fit TOML")?;
    // Judged before anything is written: a wrong profile leaves an empty directory.
    let checked = genesis::Network::parse(&text)
        .map_err(|error| Error::Profile { profile: profile.name.clone(), reason: error.to_string() })?;
    let committees = Committees::draw(&checked);
    for (id, fresh) in (0..).map(ValidatorId).zip(&mut validators) {
        let seated = committees.shards.iter().position(|seats| seats.validators.contains(&id));
        fresh.process.shard = seated.map(|shard| u16::try_from(shard).expect("shards are counted in 16 bits"));
    }

    write(&dir.join("genesis.toml"), &text)?;
    write(&dir.join("profile.toml"), &profile.to_toml())?;
    builder.create(dir.join("faucet")).context("cannot create the faucet directory")?;
    for (shard, key) in faucets.iter().enumerate() {
        keys::write_secret(&dir.join("faucet").join(format!("shard-{shard}.key")), &hex_line(&key.to_seed()))?;
    }
    for (place, fresh) in validators.iter().enumerate() {
        let via = relays.map(|port| ways(port, place, &validators)).unwrap_or_default();
        write_node(&dir.join(&fresh.process.name), fresh, via, profile, &builder)?;
    }
    let file = NetworkFile {
        format: FORMAT,
        name: profile.name.clone(),
        shards: profile.shards,
        relays,
        processes: validators.into_iter().map(|fresh| fresh.process).collect(),
    };
    let text = toml::to_string(&file).context("network.toml")?;
    crate::process::write_whole(&dir.join("network.toml"), &text)?;
    Network::open(dir)
}

fn fresh_validators(profile: &Profile, ports: Vec<u16>) -> Result<Vec<Fresh>> {
    let mut ports = ports.into_iter();
    let mut next = (0, 0);
    let mut validators = Vec::new();
    for group in &profile.validators {
        for _ in 0..group.count {
            let (prefix, number) = match group.role {
                Role::Beacon => ("beacon", &mut next.0),
                Role::Shard => ("validator", &mut next.1),
            };
            let name = format!("{prefix}-{number}");
            *number += 1;
            let mut address = || format!("127.0.0.1:{}", ports.next().expect("two ports a process were found"));
            let process = Process { name, role: group.role, shard: None, endpoint: address(), metrics: address() };
            validators.push(Fresh {
                process,
                key: keys::fresh_key()?,
                randomness: keys::entropy()?,
                seats: group.seats,
            });
        }
    }
    Ok(validators)
}

fn genesis_of(profile: &Profile, validators: &[Fresh], faucets: &[SecretKey]) -> Result<Genesis> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| anyhow!("the clock is set before 1970"))?;
    let now_ms = u64::try_from(now.as_millis()).context("the clock is set absurdly late")?;
    Ok(Genesis {
        name: profile.name.clone(),
        genesis_time_ms: now_ms + START_MS,
        seed: hex::encode(keys::entropy()?),
        shards: profile.shards,
        committee_seats: profile.committee_seats,
        beacon: profile.beacon,
        shard: profile.shard,
        fees: profile.fees,
        lanes: profile.lanes,
        epochs: None,
        staking: None,
        risk: None,
        validators: validators
            .iter()
            .map(|fresh| GenesisValidator {
                name: fresh.process.name.clone(),
                role: fresh.process.role,
                key: fresh.key.public(),
                seats: fresh.seats,
                endpoint: fresh.process.endpoint.clone(),
                // On one machine the operator owns itself; a deployment names an account kept elsewhere.
                owner: Address::of(&fresh.key.public()),
                commitment: keys::commitment(fresh.randomness).to_string(),
            })
            .collect(),
        accounts: faucets
            .iter()
            .map(|key| GenesisAccount { address: Address::of(&key.public()), balance: profile.faucet_balance })
            .collect(),
    })
}

/// The relays from one validator to each other.
fn ways(port: u16, place: usize, validators: &[Fresh]) -> BTreeMap<&str, SocketAddr> {
    let others = validators.iter().enumerate().filter(|(other, _)| *other != place);
    others.filter_map(|(other, to)| Some((to.process.name.as_str(), relay(port, place, other)?))).collect()
}

fn write_node(
    dir: &Path,
    fresh: &Fresh,
    via: BTreeMap<&str, SocketAddr>,
    profile: &Profile,
    builder: &fs::DirBuilder,
) -> Result<()> {
    builder.create(dir.join("data")).with_context(|| format!("cannot create {}", dir.display()))?;
    keys::write_secret(&dir.join("key"), &hex_line(&fresh.key.to_seed()))?;
    let randomness = RandomnessFile { seed: hex::encode(fresh.randomness), links: keys::CHAIN_LINKS };
    keys::write_secret(&dir.join("randomness"), &toml::to_string(&randomness).context("randomness")?)?;
    let config = NodeFile {
        genesis: "../genesis.toml",
        key: "key",
        data: "data",
        listen: &fresh.process.endpoint,
        metrics: &fresh.process.metrics,
        log: &profile.log,
        log_format: "text",
        via,
    };
    write(&dir.join("node.toml"), &toml::to_string(&config).context("node.toml")?)
}

fn hex_line(bytes: &[u8]) -> String {
    format!("{}\n", hex::encode(bytes))
}

fn write(path: &Path, text: &str) -> Result<()> {
    Ok(fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use crate::process::ProcessState;

    #[test]
    fn a_created_network_is_complete_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("net");
        let network = create(&dir, &Profile::demo()).unwrap();
        let genesis = network.genesis().unwrap();
        assert_eq!((network.processes().len(), network.shards(), network.name()), (12, 2, "demo"));
        assert_eq!(network.beacons().count(), 4);
        for shard in [ShardId(0), ShardId(1)] {
            assert_eq!(network.members_of(shard).count(), 4);
            let faucet = Address::of(&network.faucet(shard).unwrap().public());
            assert_eq!(genesis.accounts_of(shard).map(|account| account.address).collect::<Vec<_>>(), [faucet]);
        }
        for (process, validator) in network.processes().iter().zip(&genesis.genesis.validators) {
            assert_eq!((&process.name, &process.endpoint), (&validator.name, &validator.endpoint));
            assert_eq!(network.state(&process.name).unwrap(), ProcessState::Stopped);
            let key = fs::read_to_string(network.process_dir(&process.name).join("key")).unwrap();
            assert_eq!(SecretKey::parse(key.trim()).unwrap().public(), validator.key);
        }
        assert!(matches!(network.state("nobody"), Err(Error::UnknownProcess { .. })));
        assert!(matches!(network.kill("beacon-0"), Err(Error::NotRunning { .. })));
    }

    #[test]
    fn a_directory_with_anything_in_it_is_refused_untouched() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "dear").unwrap();
        assert!(matches!(create(dir.path(), &Profile::small()), Err(Error::NotEmpty { .. })));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(matches!(Network::open(dir.path()), Err(Error::NoNetwork { .. })));
    }

    #[test]
    fn a_profile_that_genesis_refuses_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let mut profile = Profile::small();
        profile.committee_seats = 5;
        let error = create(&dir.path().join("net"), &profile).unwrap_err();
        assert!(error.to_string().contains("5 are needed"), "{error}");
        assert!(!Network::exists(&dir.path().join("net")));
    }
}
