//! `kakera validator join`: from an empty directory to a running validator, in one command that can be given again.

use super::{
    bond::{self, Bonded, Wish},
    checkpoint, owner,
    request::no_stake,
    settings::{Asked, Settings},
};
use crate::{
    args::{JoinArgs, RoleName},
    client::Client,
    failure::{Failure, Result},
    locate::Place,
};
use anyhow::{Context, anyhow};
use kakera_chain::{
    BlockId,
    address::Address,
    genesis::Network,
    hash::{Hash, NetworkId},
    keys::{SecretKey, parse_hex},
};
use kakera_deploy::{
    Binaries, NodeFile, Secrets,
    files::{self, CheckpointFile},
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

/// The directory of a validator, where none is named.
const VALIDATOR_DIR: &str = "kakera-validator";
/// What to do about a node that does not answer.
const NO_BEACON: &str = "name another node of the network with --beacon HOST:PORT";

/// `kakera validator join`.
pub(super) async fn run(args: JoinArgs, place: &Place) -> Result<()> {
    let dir = directory(place.named_dir())?;
    let (listen, endpoint) = addresses(args.listen, args.endpoint.as_deref())?;
    let wanted = args.network.as_deref().map(|text| id("--network", text)).transpose()?;
    let checkpoint = args.checkpoint.as_deref().map(|text| id("--checkpoint", text)).transpose()?.map(BlockId);
    let program = match args.role {
        RoleName::Shard => "kakera-shard",
        RoleName::Beacon => "kakera-beacon",
    };
    // Whatever is missing is missed before anything is written or paid for.
    let binary = if args.no_start { None } else { Some(Binaries::program(program)?) };
    let named = args.from.as_deref().map(|text| owner::named(place, text)).transpose()?;
    let client = Client::new(&[&args.beacon])?.advising(NO_BEACON);
    let (text, network) = genesis(&client, wanted.map(|id| NetworkId(Hash(id)))).await?;
    if wanted.is_none() {
        place.output.note(&format!("network {} ({}), as {} says", network.id, network.genesis.name, args.beacon));
    }
    let wish = Wish { role: args.role.into(), seats: args.seats, endpoint };
    let asked = Asked { listen, exactly: args.listen.is_some(), checkpoint, from: client.endpoint(0) };
    let settings = look(&dir, &text, &asked)?;
    begins(&client, &network, settings.as_ref(), &asked).await?;
    let standing = standing(&dir, &client, &network, (named.as_ref(), &wish)).await?;
    if standing.is_none() {
        bond::check_seats(wish.seats(), &network.genesis.staking.ok_or_else(no_stake)?)?;
    }
    let secrets = prepare(&dir, &text, settings, &asked, place)?;
    let owner = match named {
        Some(owner) => owner,
        None => own_account(&dir)?,
    };
    let bonded = bond::bond(place, &client, &network, (&owner, &secrets), &wish).await?;
    let config = dir.join("node.toml");
    let mut value = bonded.value();
    value["dir"] = json!(dir);
    value["network_id"] = json!(network.id.to_string());
    value["start"] = json!([program, "--config", config]);
    place.output.data(&value, || bonded.card());
    if let Some(binary) = binary {
        // It takes this process's place: Ctrl-C, a service manager and a terminal reach it directly.
        let error = Command::new(&binary).arg("--config").arg(&config).exec();
        return Err(anyhow!(error).context(format!("cannot start {}", binary.display())).into());
    }
    place.output.note(&format!("start it: {program} --config {}", config.display()));
    Ok(())
}

/// The genesis file that a node has, checked; another network's than the one wanted is refused.
pub(super) async fn genesis(client: &Client, wanted: Option<NetworkId>) -> Result<(String, Network)> {
    let file = client.genesis().await?;
    let text = String::from_utf8(file.text).map_err(|_| anyhow!("the node's genesis file is not text"))?;
    let network = Network::parse(&text).map_err(|reason| anyhow!("the node's genesis file is refused: {reason}"))?;
    match wanted {
        Some(wanted) if wanted != network.id => {
            let message = format!("the node is of network {}, not {wanted}", network.id);
            Err(Failure::refused("OTHER_NETWORK", message))
        }
        _ => Ok((text, network)),
    }
}

fn id(option: &str, text: &str) -> Result<[u8; 32]> {
    parse_hex(text).ok_or_else(|| Failure::Usage(format!("{option}: an id is 64 hexadecimal digits")))
}

/// Where the validator's files go.
fn directory(named: Option<&Path>) -> Result<PathBuf> {
    let named = named.unwrap_or(Path::new(VALIDATOR_DIR));
    if kakera_deploy::Network::exists(named) {
        let message = format!("{} holds a network: name a directory for the validator with --dir", named.display());
        return Err(Failure::Usage(message));
    }
    Ok(named.to_owned())
}

/// Where the process listens, and where others reach it.
fn addresses(listen: Option<SocketAddr>, endpoint: Option<&str>) -> Result<(SocketAddr, String)> {
    let port = |text: &str| {
        let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).filter(|port| *port > 0);
        port.ok_or_else(|| Failure::Usage(format!("{text} is not where a process is reached: HOST:PORT")))
    };
    match (listen, endpoint) {
        (Some(listen), None) if listen.ip().is_unspecified() || listen.port() == 0 => {
            let message = format!("nobody can reach {listen}: add --endpoint HOST:PORT, as others see this machine");
            Err(Failure::Usage(message))
        }
        (Some(listen), None) => Ok((listen, listen.to_string())),
        (Some(listen), Some(endpoint)) => port(endpoint).map(|_| (listen, endpoint.to_owned())),
        (None, Some(endpoint)) => {
            let port = port(endpoint)?;
            let here = endpoint.parse::<SocketAddr>().ok().filter(|address| address.ip().is_loopback());
            let anywhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
            Ok((here.unwrap_or(anywhere), endpoint.to_owned()))
        }
        (None, None) => Err(Failure::Usage("add --endpoint HOST:PORT or --listen ADDRESS".to_owned())),
    }
}

/// The settings of a directory that this call does not contradict; nothing where there are none.
fn look(dir: &Path, genesis: &str, asked: &Asked<'_>) -> Result<Option<Settings>> {
    let path = dir.join("genesis.toml");
    if fs::read_to_string(&path).is_ok_and(|there| there != genesis) {
        let message = format!("{} is of another network: choose another directory with --dir", path.display());
        return Err(Failure::refused("OTHER_NETWORK", message));
    }
    let settings = Settings::read(dir)?;
    if let Some(settings) = &settings {
        settings.check(asked)?;
    }
    Ok(settings)
}

/// Whether the process can begin where it is told to. One that has run before does not ask again.
async fn begins(client: &Client, network: &Network, there: Option<&Settings>, asked: &Asked<'_>) -> Result<()> {
    if there.is_some_and(Settings::has_run) {
        return Ok(());
    }
    if let Some(root) = asked.checkpoint {
        return checkpoint::check(client, network, root).await;
    }
    let Some((root, nodes)) = there.map(Settings::checkpoint).transpose()?.flatten() else { return Ok(()) };
    let advice = "they are those of checkpoint.from in node.toml: give --checkpoint ID anew, with another --beacon";
    checkpoint::check(&Client::new(&nodes)?.advising(advice), network, root).await
}

/// What is bonded already for the key in a directory, if there is one; refused where it is otherwise than wished.
async fn standing(
    dir: &Path,
    client: &Client,
    network: &Network,
    (named, wish): (Option<&SecretKey>, &Wish),
) -> Result<Option<Bonded>> {
    let staking = network.genesis.staking.ok_or_else(no_stake)?;
    let read = |name: &str| Some(dir.join(name)).filter(|path| path.exists()).map(|path| files::read_key(&path));
    let Some(key) = read("key").transpose()? else { return Ok(None) };
    let own = if named.is_none() { read("owner.key").transpose()? } else { None };
    let owner = named.or(own.as_ref()).map(|key| Address::of(&key.public()));
    bond::standing(client, &key.public(), owner.as_ref(), wish, &staking).await
}

/// Writes the directory, or finds it as an earlier call left it.
fn prepare(dir: &Path, genesis: &str, there: Option<Settings>, asked: &Asked<'_>, place: &Place) -> Result<Secrets> {
    files::make_private(dir)?;
    let path = dir.join("genesis.toml");
    if !path.exists() {
        fs::write(&path, genesis).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let secrets = bond::secrets_in(dir)?;
    if let Some(settings) = there {
        if let Some(what) = settings.replace(asked)? {
            place.output.note(&what);
        }
        return Ok(secrets);
    }
    let (listen, root) = (asked.listen.to_string(), asked.checkpoint.map(|root| root.to_string()));
    let node = NodeFile {
        genesis: "genesis.toml",
        key: "key",
        data: "data",
        listen: &listen,
        metrics: None,
        log: "info",
        log_format: "text",
        checkpoint: root.as_deref().map(|root| CheckpointFile { root, from: vec![asked.from] }),
        via: BTreeMap::new(),
    };
    node.write(dir)?;
    Ok(secrets)
}

/// The account of a key that is made in the directory, for those who name none.
fn own_account(dir: &Path) -> Result<SecretKey> {
    let path = dir.join("owner.key");
    if !path.exists() {
        files::write_key(&path, &Secrets::fresh()?.key)?;
    }
    Ok(files::read_key(&path)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::Parser;

    #[test]
    fn it_listens_where_it_is_reached_unless_told_otherwise() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(addresses(None, Some("a.example:70")).unwrap(), (at("0.0.0.0:70"), "a.example:70".to_owned()));
        assert_eq!(addresses(None, Some("127.0.0.1:70")).unwrap(), (at("127.0.0.1:70"), "127.0.0.1:70".to_owned()));
        assert_eq!(addresses(Some(at("10.0.0.1:7")), None).unwrap(), (at("10.0.0.1:7"), "10.0.0.1:7".to_owned()));
        let behind = addresses(Some(at("10.0.0.1:7")), Some("out.example:99")).unwrap();
        assert_eq!(behind, (at("10.0.0.1:7"), "out.example:99".to_owned()));
        for (listen, endpoint) in [
            (Some(at("0.0.0.0:7")), None),
            (Some(at("10.0.0.1:0")), None),
            (None, Some("host")),
            (None, Some("host:0")),
            (None, None),
        ] {
            assert_eq!(addresses(listen, endpoint).unwrap_err().exit_code(), 2, "{listen:?} {endpoint:?}");
        }
    }

    #[test]
    fn a_directory_is_prepared_once_and_found_again() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("new");
        let place = Place::of(&Cli::parse_from(["kakera", "status"]));
        let asked = Asked { listen: "127.0.0.1:7000".parse().unwrap(), exactly: false, checkpoint: None, from: "a:1" };
        let prepare = || prepare(&dir, "text", look(&dir, "text", &asked).unwrap(), &asked, &place).unwrap();
        let first = prepare();
        let changed = fs::read_to_string(dir.join("node.toml")).unwrap().replace("info", "debug");
        fs::write(dir.join("node.toml"), &changed).unwrap();
        assert_eq!(first.key.public(), prepare().key.public());
        assert_eq!(fs::read_to_string(dir.join("node.toml")).unwrap(), changed);
        assert_eq!(look(&dir, "other", &asked).err().unwrap().exit_code(), 4);
        assert_eq!(own_account(&dir).unwrap().public(), own_account(&dir).unwrap().public());
    }
}
