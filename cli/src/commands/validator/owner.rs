//! Whose order it is: the keys on this machine that own accounts.

use crate::{
    failure::{Failure, Result},
    locate::Place,
};
use kakera_chain::{address::Address, keys::SecretKey, units::ShardId};
use kakera_deploy::files::read_key;
use kakera_proto::v1::Validator;
use std::path::Path;

/// The key that a person names: `faucet-N` of a network on this machine, a key file, or a wallet.
pub(super) fn named(place: &Place, text: &str) -> Result<SecretKey> {
    if let Some(shard) = text.strip_prefix("faucet-").and_then(|number| number.parse().ok()) {
        let network = place.network().map_err(|_| nowhere(place, text))?;
        if shard >= network.shards() {
            let message = format!("{text}: the network in {} has {} shards", place.dir.display(), network.shards());
            return Err(Failure::NotFound(message));
        }
        return Ok(network.faucet(ShardId(shard))?);
    }
    let path = Path::new(text);
    if text.contains('/') || path.is_file() {
        return Ok(read_key(path)?);
    }
    Ok(place.wallets()?.open(text)?.key)
}

fn nowhere(place: &Place, text: &str) -> Failure {
    Failure::NotFound(format!(
        "{text} names an account of a network's directory on this machine, and {} is none: give a wallet or a key file",
        place.dir.display()
    ))
}

/// The key of a validator's owner: the one named, or whichever on this machine it is.
pub(super) fn of(place: &Place, validator: &Validator, from: Option<&str>) -> Result<SecretKey> {
    let owns = |key: &SecretKey| Address::of(&key.public()).to_string() == validator.owner;
    if let Some(text) = from {
        let key = named(place, text)?;
        if owns(&key) {
            return Ok(key);
        }
        let message = format!(
            "validator {} belongs to {}, and {text} is {}: name its owner",
            validator.id,
            validator.owner,
            Address::of(&key.public())
        );
        return Err(Failure::refused("NOT_OWNER", message));
    }
    let wallets = place.wallets()?.list()?.into_iter().map(|wallet| wallet.key);
    if let Some(key) = wallets.into_iter().find(owns) {
        return Ok(key);
    }
    if let Ok(network) = place.network() {
        let keys = network.processes().iter().filter_map(|process| {
            // On a network on this machine, a validator's own key owns it.
            read_key(&network.process_dir(&process.name).join("key")).ok()
        });
        let faucets = (0..network.shards()).filter_map(|shard| network.faucet(ShardId(shard)).ok());
        if let Some(key) = keys.chain(faucets).find(owns) {
            return Ok(key);
        }
    }
    Err(Failure::NotFound(format!(
        "validator {} belongs to {}, and no key on this machine does: name its owner's wallet or key file with --from",
        validator.id, validator.owner
    )))
}
