//! The demo's wallets, and the ledger that says to the unit what every account must hold.

use super::rng::Rng;
use crate::failure::{Failure, Result};
use kakera_chain::{address::Address, genesis, keys::SecretKey, units::ShardId};
use kakera_proto::v1::{ReceiptRef, Stage};
use std::collections::BTreeMap;

/// An account that the demo owns.
#[derive(Clone, Debug)]
pub(crate) struct Player {
    /// Its key.
    pub(crate) key: SecretKey,
    /// Its address.
    pub(crate) address: Address,
    /// Its shard.
    pub(crate) shard: ShardId,
    /// Transactions that it has submitted.
    pub(crate) nonce: u64,
}

impl Player {
    /// Of a key.
    pub(crate) fn of(key: SecretKey, shards: u16) -> Player {
        let address = Address::of(&key.public());
        Player { key, address, shard: address.shard(shards), nonce: 0 }
    }
}

/// `count` wallets, as many in each shard, in turn.
pub(crate) fn players(count: usize, shards: u16, rng: &mut Rng) -> Vec<Player> {
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        let wanted = all.len() % usize::from(shards);
        let player = Player::of(SecretKey::from_seed(rng.bytes()), shards);
        if usize::from(player.shard.0) == wanted {
            all.push(player);
        }
    }
    all
}

/// A transaction that reached its end: what it did to accounts.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Who paid.
    pub(crate) from: Address,
    /// Its shard.
    pub(crate) shard: ShardId,
    /// Who was paid.
    pub(crate) payments: Vec<(Address, u64)>,
    /// Gas that it used.
    pub(crate) gas: u64,
    /// The block that holds it.
    pub(crate) height: u64,
    /// Its receipts.
    pub(crate) receipts: Vec<ReceiptRef>,
    /// Its last stage.
    pub(crate) stage: Stage,
}

/// Every transaction that was executed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// In the order they ended.
    pub(crate) entries: Vec<Entry>,
}

impl Ledger {
    /// What every account must hold, from the genesis balances, the entries and the base fees of their blocks.
    /// Tips are zero in the demo, so a fee is gas times base fee and the fixed price of delivering receipts.
    pub(crate) fn balances(
        &self,
        genesis: &genesis::Genesis,
        base_fees: &BTreeMap<(ShardId, u64), u64>,
        delivery_fee: u64,
    ) -> Result<BTreeMap<Address, i128>> {
        let mut balances: BTreeMap<Address, i128> =
            genesis.accounts.iter().map(|account| (account.address, i128::from(account.balance))).collect();
        for entry in &self.entries {
            let base_fee = base_fees.get(&(entry.shard, entry.height)).ok_or_else(|| {
                Failure::Check(format!("shard {} does not show its block {}", entry.shard, entry.height))
            })?;
            let fee = i128::from(entry.gas) * i128::from(*base_fee)
                + i128::from(delivery_fee) * i128::try_from(entry.receipts.len()).unwrap_or(i128::MAX);
            let returned = entry.stage == Stage::Returned;
            for (to, amount) in &entry.payments {
                let receiver = if returned { entry.from } else { *to };
                *balances.entry(receiver).or_default() += i128::from(*amount);
                *balances.entry(entry.from).or_default() -= i128::from(*amount);
            }
            *balances.entry(entry.from).or_default() -= fee;
        }
        Ok(balances)
    }

    /// Transactions that each account has had executed.
    pub(crate) fn nonces(&self) -> BTreeMap<Address, u64> {
        let mut nonces = BTreeMap::new();
        for entry in &self.entries {
            *nonces.entry(entry.from).or_default() += 1;
        }
        nonces
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use kakera_deploy::Profile;

    #[test]
    fn wallets_are_spread_evenly_and_repeat_with_the_seed() {
        let all = players(50, 2, &mut Rng::new(1));
        assert_eq!(all.iter().filter(|player| player.shard == ShardId(0)).count(), 25);
        let again = players(50, 2, &mut Rng::new(1));
        assert!(all.iter().zip(&again).all(|(one, other)| one.address == other.address));
    }

    #[test]
    fn the_ledger_counts_amounts_fees_and_returns() {
        let dir = tempfile::tempdir().unwrap();
        let mut profile = Profile::small();
        profile.faucet_balance = 1_000_000;
        let genesis = kakera_deploy::create(&dir.path().join("net"), &profile).unwrap().genesis().unwrap().genesis;
        let faucet = genesis.accounts[0].address;
        let receipt = ReceiptRef { from_shard: 0, to_shard: 1, seq: 0, amount: 7 };
        let entry = |payments, receipts, stage| Entry {
            from: faucet,
            shard: ShardId(0),
            payments,
            gas: 100,
            height: 3,
            receipts,
            stage,
        };
        let friend = Address([9; 32]);
        let ledger = Ledger {
            entries: vec![
                entry(vec![(friend, 5), (faucet, 1)], vec![], Stage::Recorded),
                entry(vec![(friend, 7)], vec![receipt], Stage::Returned),
            ],
        };
        let base_fees = BTreeMap::from([((ShardId(0), 3), 2)]);
        let balances = ledger.balances(&genesis, &base_fees, 40).unwrap();
        assert_eq!(balances[&friend], 5);
        assert_eq!(balances[&faucet], 1_000_000 - 5 - 200 - 200 - 40);
        assert_eq!(ledger.nonces()[&faucet], 2);
        assert!(ledger.balances(&genesis, &BTreeMap::new(), 40).is_err());
    }
}
