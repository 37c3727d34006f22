//! Creating a network in a directory: keys, ports, the genesis file and each node's configuration.

use crate::{
    error::{Error, Result},
    files::{NodeFile, Secrets, hex_line},
    keys, links,
    network::{FORMAT, Network, NetworkFile, Process, relay},
    ports,
    profiles::Profile,
};
use anyhow::{Context, anyhow};
use kakera_beacon::{Committees, check_risk};
use kakera_chain::{
    address::Address,
    genesis::{self, Genesis, GenesisAccount, GenesisValidator, Role},
    keys::SecretKey,
    units::{ShardId, ValidatorId},
};
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

/// How the nodes of a network reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// At the endpoints in the genesis file.
    Direct,
    /// Through relays that the orchestrator keeps, so that links can be broken.
    Relayed,
}

/// One validator before it is written down.
struct Fresh {
    process: Process,
    secrets: Secrets,
    seats: u32,
}

impl Fresh {
    /// On one machine the operator owns itself; a deployment names an account kept elsewhere.
    fn owner(&self) -> Address {
        Address::of(&self.secrets.key.public())
    }
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
    check_risk(&checked)
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
        epochs: profile.epochs.is_some(),
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
            validators.push(Fresh { process, secrets: Secrets::fresh()?, seats: group.seats });
        }
    }
    Ok(validators)
}

fn genesis_of(profile: &Profile, validators: &[Fresh], faucets: &[SecretKey]) -> Result<Genesis> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| anyhow!("the clock is set before 1970"))?;
    let now_ms = u64::try_from(now.as_millis()).context("the clock is set absurdly late")?;
    let account = |address, balance| GenesisAccount { address, balance };
    let faucets = faucets.iter().map(|key| account(Address::of(&key.public()), profile.faucet_balance));
    let balance = profile.owner_balance;
    let owners = validators.iter().filter_map(|fresh| Some(account(fresh.owner(), balance?)));
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
        epochs: profile.epochs,
        staking: profile.staking,
        risk: profile.risk,
        validators: validators
            .iter()
            .map(|fresh| GenesisValidator {
                name: fresh.process.name.clone(),
                role: fresh.process.role,
                key: fresh.secrets.key.public(),
                seats: fresh.seats,
                endpoint: fresh.process.endpoint.clone(),
                owner: fresh.owner(),
                commitment: fresh.secrets.commitment().to_string(),
            })
            .collect(),
        accounts: faucets.chain(owners).collect(),
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
    fresh.secrets.write(dir)?;
    let config = NodeFile {
        genesis: "../genesis.toml",
        key: "key",
        data: "data",
        listen: &fresh.process.endpoint,
        metrics: Some(&fresh.process.metrics),
        log: &profile.log,
        log_format: "text",
        checkpoint: None,
        via,
    };
    config.write(dir)
}

fn write(path: &Path, text: &str) -> Result<()> {
    Ok(fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use crate::process::ProcessState;
    use kakera_chain::genesis::RiskLimit;

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
    fn where_committees_change_everybody_has_something_to_do_and_owners_have_money() {
        let dir = tempfile::tempdir().unwrap();
        let network = create_wired(&dir.path().join("net"), &Profile::rotation(), Wiring::Relayed).unwrap();
        let genesis = network.genesis().unwrap().genesis;
        let profile = Profile::rotation();
        assert_eq!((genesis.epochs, genesis.staking, genesis.risk), (profile.epochs, profile.staking, None));
        let standbys =
            network.processes().iter().filter(|process| process.role == Role::Shard && process.shard.is_none());
        assert_eq!((standbys.count(), network.running_ones().count(), network.has_epochs()), (5, 21, true));
        assert_eq!(genesis.accounts.len(), 3 + 21);
        for validator in &genesis.validators {
            assert_eq!(validator.owner, Address::of(&validator.key));
            let account = genesis.accounts.iter().find(|account| account.address == validator.owner).unwrap();
            assert_eq!(Some(account.balance), profile.owner_balance);
            let secrets = Secrets::read(&network.process_dir(&validator.name)).unwrap();
            assert_eq!(
                (secrets.key.public(), secrets.commitment().to_string()),
                (validator.key, validator.commitment.clone())
            );
        }
    }

    #[test]
    fn where_they_stay_standbys_are_not_started() {
        let dir = tempfile::tempdir().unwrap();
        let mut profile = Profile::small();
        profile.validators[1].count = 6;
        let network = create(&dir.path().join("net"), &profile).unwrap();
        assert_eq!((network.processes().len(), network.running_ones().count(), network.has_epochs()), (10, 8, false));
    }

    #[test]
    fn a_profile_that_genesis_refuses_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let mut profile = Profile::small();
        profile.committee_seats = 5;
        let error = create(&dir.path().join("net"), &profile).unwrap_err();
        assert!(error.to_string().contains("5 are needed"), "{error}");
        let risk = Some(RiskLimit { adversary_per_mille: 250, capture: 1e-6, stall: 1.0 });
        let error = create(&dir.path().join("net"), &Profile { risk, ..Profile::rotation() }).unwrap_err();
        assert!(error.to_string().contains("no committee size would do with 17 seats"), "{error}");
        assert!(!Network::exists(&dir.path().join("net")));
    }
}
