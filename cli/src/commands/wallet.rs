//! `kakera wallet`: keys that own accounts.

use crate::{
    args::WalletCommand,
    failure::{Failure, Result},
    locate::Place,
    output::table,
    wallet::Wallet,
};
use kakera_chain::units::ShardId;
use serde_json::{Value, json};

/// Runs a wallet command.
pub(crate) async fn run(command: WalletCommand, place: &Place) -> Result<()> {
    let wallets = place.wallets()?;
    // The shard is shown where a network is at hand to say how many there are.
    let shards = place.network().ok().map(|network| network.shards());
    match command {
        WalletCommand::New { name, shard, shards: given } => {
            let placed = match (shard, given.or(shards)) {
                (None, _) => None,
                (Some(shard), Some(shards)) => Some((ShardId(shard), shards)),
                (Some(_), None) => {
                    let message = "how many shards are there? Add --shards N, or --dir with the network's directory";
                    return Err(Failure::Usage(message.to_owned()));
                }
            };
            let wallet = wallets.create(&name, placed)?;
            place.output.data(&shown(&wallet, shards), || line(&wallet, shards));
        }
        WalletCommand::List => {
            let all = wallets.list()?;
            let value: Vec<Value> = all.iter().map(|wallet| shown(wallet, shards)).collect();
            place.output.data(&Value::Array(value), || {
                let shard =
                    |wallet: &Wallet| shards.map_or("?".to_owned(), |count| wallet.address().shard(count).to_string());
                let rows: Vec<Vec<String>> = all
                    .iter()
                    .map(|wallet| vec![wallet.name.clone(), shard(wallet), wallet.address().to_string()])
                    .collect();
                table(&["wallet", "shard", "address"], &rows)
            });
        }
        WalletCommand::Show { name, secret } => {
            let wallet = wallets.open(&name)?;
            let mut value = shown(&wallet, shards);
            let key = hex::encode(wallet.key.to_seed());
            if secret {
                value["secret"] = json!(key);
            }
            place.output.data(&value, || {
                let public = format!("{}\npublic key {}", line(&wallet, shards), wallet.key.public());
                if secret { format!("{public}\nsecret key {key}") } else { public }
            });
        }
    }
    Ok(())
}

fn shown(wallet: &Wallet, shards: Option<u16>) -> Value {
    json!({
        "name": wallet.name,
        "address": wallet.address().to_string(),
        "public_key": wallet.key.public().to_string(),
        "shard": shards.map(|count| wallet.address().shard(count).0),
    })
}

fn line(wallet: &Wallet, shards: Option<u16>) -> String {
    let shard = shards.map(|count| format!(" (shard {})", wallet.address().shard(count))).unwrap_or_default();
    format!("{}: {}{shard}", wallet.name, wallet.address())
}
