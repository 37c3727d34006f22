//! Accounts and the transactions that they sign.

use crate::net::Net;
use kakera_chain::{Slot, address::Address, codec, hash::Hash, keys::SecretKey, units::ShardId};
use kakera_shard::{
    Action, SignedTransaction, Transaction,
    fees::{ACCOUNT_GAS, DELIVERY_GAS, EMIT_GAS, TRANSACTION_GAS},
};

/// What a transfer within a shard costs at base fee 1, which an unhurried network keeps.
pub const FEE: u64 = TRANSACTION_GAS + 2 * ACCOUNT_GAS;

/// What a transfer to another shard costs at base fee 1, its delivery included.
pub const CROSS_FEE: u64 = TRANSACTION_GAS + ACCOUNT_GAS + EMIT_GAS + DELIVERY_GAS;

/// A beacon slot that no suite reaches.
pub const FOREVER: Slot = Slot(1 << 40);

/// A key and its account.
#[derive(Clone, Debug)]
pub struct Wallet {
    /// The key.
    pub key: SecretKey,
    /// Its account.
    pub address: Address,
    /// The account's shard.
    pub shard: ShardId,
}

impl Wallet {
    /// Of a key.
    pub fn of(key: SecretKey, shards: u16) -> Wallet {
        let address = Address::of(&key.public());
        Wallet { key, address, shard: address.shard(shards) }
    }

    /// The wallet of a label in a shard: the same for the same arguments.
    pub fn fresh(label: &str, shard: ShardId, shards: u16) -> Wallet {
        (0u64..)
            .map(|tried| SecretKey::from_seed(Hash::of(&[b"kakera-tests", label.as_bytes(), &tried.to_le_bytes()]).0))
            .map(|key| Wallet::of(key, shards))
            .find(|wallet| wallet.shard == shard)
            .expect("every shard has addresses")
    }

    /// An unsigned transfer.
    pub fn order(&self, net: &Net, nonce: u64, to: Address, amount: u64) -> Transaction {
        Transaction {
            network: net.genesis().id,
            sender: self.key.public(),
            nonce,
            valid_until: FOREVER,
            gas_limit: 10_000,
            max_fee: 1_000,
            tip: 0,
            action: Action::Transfer { to, amount },
        }
    }

    /// A signed transfer.
    pub fn transfer(&self, net: &Net, nonce: u64, to: Address, amount: u64) -> Signed {
        Signed::of(self.order(net, nonce, to, amount).sign(&self.key))
    }
}

/// A signed transaction as it is submitted.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Its id.
    pub id: Hash,
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
}

impl Signed {
    /// Encodes it.
    pub fn of(signed: SignedTransaction) -> Signed {
        Signed { id: signed.transaction.id(), bytes: codec::encode(&signed) }
    }
}
