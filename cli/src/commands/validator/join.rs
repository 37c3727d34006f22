//! `kakera validator join`: from an empty directory to a running validator, in one command that can be given again.

use super::{
    bond::{self, Wish},
    owner, registry,
    request::no_stake,
};
use crate::{
    args::{JoinArgs, RoleName},
    client::Client,
    failure::{Failure, Result},
    locate::Place,
};
use anyhow::{Context, anyhow};
use kakera_chain::{
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

/// The directory that commands use for a network; a validator is put elsewhere.
const NETWORK_DIR: &str = "kakera-testnet";
/// The directory of a validator, where none is named.
const VALIDATOR_DIR: &str = "kakera-validator";

/// `kakera validator join`.
pub(super) async fn run(args: JoinArgs, place: &Place) -> Result<()> {
    let dir = directory(&place.dir)?;
    let (listen, endpoint) = addresses(args.listen, args.endpoint.as_deref())?;
    let wanted = args.network.as_deref().map(wanted_id).transpose()?;
    let program = match args.role {
        RoleName::Shard => "kakera-shard",
        RoleName::Beacon => "kakera-beacon",
    };
    // Whatever is missing is missed before anything is paid for.
    let binary = if args.no_start { None } else { Some(Binaries::program(program)?) };
    let client = Client::new(&[&args.beacon])?;
    let (text, network) = genesis(&client, wanted).await?;
    if wanted.is_none() {
        place.output.note(&format!("network {} ({}), as {} says", network.id, network.genesis.name, args.beacon));
    }
    bond::check_seats(args.seats, &network.genesis.staking.ok_or_else(no_stake)?)?;
    let from = args.checkpoint.as_deref().map(|root| CheckpointFile { root, from: vec![&args.beacon] });
    if let Some(root) = &args.checkpoint {
        wanted_id(root).map_err(|_| Failure::Usage("--checkpoint: an id is 64 hexadecimal digits".to_owned()))?;
    }
    let secrets = prepare(&dir, &text, &listen, from)?;
    let owner = match &args.from {
        Some(text) => owner::named(place, text)?,
        None => own_account(&dir)?,
    };
    let wish = Wish { role: args.role.into(), seats: args.seats, endpoint };
    let (epoch, validator) = bond::bond(place, &client, &network, (&owner, &secrets), &wish).await?;
    let config = dir.join("node.toml");
    let mut value = registry::to_json(&validator);
    value["dir"] = json!(dir);
    value["network_id"] = json!(network.id.to_string());
    value["start"] = json!([program, "--config", config]);
    place.output.data(&value, || registry::card(&validator, epoch));
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

fn wanted_id(text: &str) -> Result<NetworkId> {
    let id = parse_hex(text).ok_or_else(|| Failure::Usage("a network id is 64 hexadecimal digits".to_owned()))?;
    Ok(NetworkId(Hash(id)))
}

/// Where the validator's files go.
fn directory(named: &Path) -> Result<PathBuf> {
    if named == Path::new(NETWORK_DIR) {
        return Ok(PathBuf::from(VALIDATOR_DIR));
    }
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

/// Writes the directory, or finds it as an earlier call left it.
fn prepare(dir: &Path, genesis: &str, listen: &SocketAddr, checkpoint: Option<CheckpointFile<'_>>) -> Result<Secrets> {
    files::make_private(dir)?;
    let path = dir.join("genesis.toml");
    match fs::read_to_string(&path) {
        Ok(there) if there != genesis => {
            let message = format!("{} is of another network: choose another directory with --dir", path.display());
            return Err(Failure::refused("OTHER_NETWORK", message));
        }
        Ok(_) => {}
        Err(_) => fs::write(&path, genesis).with_context(|| format!("cannot write {}", path.display()))?,
    }
    let secrets = bond::secrets_in(dir)?;
    let listen = listen.to_string();
    let node = NodeFile {
        genesis: "genesis.toml",
        key: "key",
        data: "data",
        listen: &listen,
        metrics: None,
        log: "info",
        log_format: "text",
        checkpoint,
        via: BTreeMap::new(),
    };
    // What its operator has changed stays.
    if !dir.join("node.toml").exists() {
        node.write(dir)?;
    }
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
        let listen = "127.0.0.1:7000".parse().unwrap();
        let first = prepare(&dir, "text", &listen, None).unwrap();
        fs::write(dir.join("node.toml"), "changed").unwrap();
        let again = prepare(&dir, "text", &listen, None).unwrap();
        assert_eq!(first.key.public(), again.key.public());
        assert_eq!(fs::read_to_string(dir.join("node.toml")).unwrap(), "changed");
        assert_eq!(prepare(&dir, "other", &listen, None).err().unwrap().exit_code(), 4);
        assert_eq!(own_account(&dir).unwrap().public(), own_account(&dir).unwrap().public());
    }
}
