//! Making transactions: gas, fees and the validity window around an action.

use kakera_chain::{
    Slot,
    address::Address,
    codec,
    hash::{Hash, NetworkId},
    keys::SecretKey,
    units::ShardId,
};
use kakera_proto::v1;
use kakera_shard::{
    Action, SignedTransaction, Transaction,
    fees::{ACCOUNT_GAS, EMIT_GAS, TRANSACTION_GAS},
};

/// What a transaction is made with, besides its action.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// The network.
    pub(crate) network: NetworkId,
    /// The sender's nonce.
    pub(crate) nonce: u64,
    /// Gas at most.
    pub(crate) gas_limit: u64,
    /// Per gas, tip included.
    pub(crate) max_fee: u64,
    /// Per gas.
    pub(crate) tip: u64,
    /// A beacon slot.
    pub(crate) valid_until: u64,
}

/// A signed transaction, ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// Its id.
    pub(crate) id: Hash,
    /// Canonical bytes.
    pub(crate) bytes: Vec<u8>,
}

impl Terms {
    /// Generous ones: they bound what is paid, they do not set it.
    pub(crate) fn usual(network: NetworkId, nonce: u64, gas: u64, fees: &v1::Fees, valid_for: u64) -> Terms {
        Terms {
            network,
            nonce,
            gas_limit: gas,
            max_fee: fees.base_fee.saturating_mul(2).max(fees.base_fee.saturating_add(2)),
            tip: 0,
            valid_until: fees.beacon_slot.saturating_add(valid_for),
        }
    }

    /// Signs an action under these terms.
    pub(crate) fn sign(self, key: &SecretKey, action: Action) -> Order {
        Order::of(&self.transaction(key, action).sign(key))
    }

    fn transaction(self, key: &SecretKey, action: Action) -> Transaction {
        Transaction {
            network: self.network,
            sender: key.public(),
            nonce: self.nonce,
            valid_until: Slot(self.valid_until),
            gas_limit: self.gas_limit,
            max_fee: self.max_fee,
            tip: self.tip,
            action,
        }
    }
}

impl Order {
    /// Of a signed transaction.
    pub(crate) fn of(signed: &SignedTransaction) -> Order {
        Order { id: signed.transaction.id(), bytes: codec::encode(signed) }
    }

    /// The same transaction with one bit of its signature wrong.
    pub(crate) fn with_bad_signature(mut self) -> Order {
        if let Some(byte) = self.bytes.last_mut() {
            *byte ^= 1;
        }
        self
    }
}

/// Gas of transfers from one shard: a signature, the sender's account, and for each an account or a receipt.
pub(crate) fn gas_of(from: ShardId, destinations: impl IntoIterator<Item = ShardId>) -> u64 {
    let each = destinations.into_iter().map(|to| if to == from { ACCOUNT_GAS } else { EMIT_GAS });
    TRANSACTION_GAS + ACCOUNT_GAS + each.sum::<u64>()
}

/// A transfer.
pub(crate) fn transfer(to: Address, amount: u64) -> Action {
    Action::Transfer { to, amount }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn an_order_decodes_and_verifies_and_a_bad_one_does_not() {
        let key = SecretKey::from_seed([3; 32]);
        let fees = v1::Fees { base_fee: 1, beacon_slot: 50, ..Default::default() };
        let terms = Terms::usual(NetworkId(Hash([1; 32])), 4, 1_400, &fees, 100);
        assert_eq!((terms.max_fee, terms.valid_until), (3, 150));
        let order = terms.sign(&key, transfer(Address([2; 32]), 5));
        let signed = SignedTransaction::decode(&order.bytes).unwrap();
        assert_eq!(signed.transaction.id(), order.id);
        assert!(key.public().verify(&order.id, &signed.signature).is_ok());
        let bad = SignedTransaction::decode(&order.clone().with_bad_signature().bytes).unwrap();
        assert!(key.public().verify(&order.id, &bad.signature).is_err());
    }

    #[test]
    fn gas_counts_each_destination() {
        let one = gas_of(ShardId(0), [ShardId(0)]);
        assert_eq!(gas_of(ShardId(0), vec![ShardId(0); 3]), one + 2 * ACCOUNT_GAS);
        assert_eq!(gas_of(ShardId(0), [ShardId(1)]), TRANSACTION_GAS + ACCOUNT_GAS + EMIT_GAS);
    }
}
