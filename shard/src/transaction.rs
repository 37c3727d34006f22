//! Transactions, and their canonical bytes.
//!
//! All integers are little-endian, nothing is padded. `Transaction`:
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 32 | network id: the hash of the genesis file |
//! | 32 | 32 | sender: Ed25519 public key |
//! | 64 | 8 | nonce: u64 |
//! | 72 | 8 | valid_until: u64, beacon slot |
//! | 80 | 8 | gas_limit: u64 |
//! | 88 | 8 | max_fee: u64, per gas, tip included |
//! | 96 | 8 | tip: u64, per gas |
//! | 104 | 1 | action: its number in the table below |
//! | 105 | .. | what the action needs |
//!
//! | action | number | what it needs |
//! | --- | --- | --- |
//! | transfer | 0 | to (32 bytes), amount (u64) |
//! | batch | 1 | count (u32), then count times to (32), amount (u64) |
//! | bond | 2 | validator key (32), role (u8: 0 beacon, 1 shard), seats (u32), endpoint (length u32, ASCII), commitment (32), proof (64) |
//! | top-up | 3 | validator (u32), seats (u32) |
//! | exit | 4 | validator (u32) |
//! | resume | 5 | validator (u32) |
//! | evidence | 6 | length (u32), bytes |
//!
//! A transfer is therefore 145 bytes, a batch of n transfers 109 + 40 n. A bond's proof is the validator key's signature
//! over [`kakera_chain::bond::Bond::statement`], which names the sender's account as the owner.
//!
//! The id is `SHA-256("kakera/tx       " ‖ network id ‖ transaction bytes)`: a tag of 16 ASCII bytes padded with
//! spaces, then the 32 bytes of the network id, then all bytes above (so the network id stands twice). The signature is
//! plain Ed25519 (RFC 8032) over the 32 bytes of the id. `SignedTransaction` is the transaction's bytes and the 64
//! bytes of the signature, with nothing between them. A block's body holds the transactions' bytes, its witnesses the
//! signatures.

use crate::action::Action;
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{
    Slot,
    codec::{self, InvalidBytes},
    hash::{Hash, NetworkId, Tag},
    keys::{PublicKey, SecretKey, Signature},
    receipt::Receipt,
};

/// An order of an account's owner.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Transaction {
    /// The network it is for.
    pub network: NetworkId,
    /// Who orders and pays; its account is [`kakera_chain::address::Address::of`] the key.
    pub sender: PublicKey,
    /// Transactions of the sender before this one.
    pub nonce: u64,
    /// The last beacon slot of a block's reference under which it may be executed.
    pub valid_until: Slot,
    /// Gas that it may use at most.
    pub gas_limit: u64,
    /// What the sender pays at most, in the smallest unit per gas, base fee and tip together.
    pub max_fee: u64,
    /// What the proposer gets, in the smallest unit per gas, as far as `max_fee` leaves room above the base fee.
    pub tip: u64,
    /// What to do.
    pub action: Action,
}

/// A transaction and its sender's signature over its id; not necessarily a valid one.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedTransaction {
    /// The order.
    pub transaction: Transaction,
    /// Over [`Transaction::id`].
    pub signature: Signature,
}

impl Transaction {
    /// Canonical bytes at most: a report of the most evidence.
    pub const MAX_BYTES: usize = 105 + 4 + Receipt::MAX_EVIDENCE;

    /// Decodes canonical bytes.
    pub fn decode(bytes: &[u8]) -> Result<Transaction, InvalidBytes> {
        codec::decode(bytes, Transaction::MAX_BYTES)
    }

    /// Its identity.
    pub fn id(&self) -> Hash {
        Transaction::id_of(self.network, &codec::encode(self))
    }

    /// The identity of the transaction with these canonical bytes.
    pub(crate) fn id_of(network: NetworkId, bytes: &[u8]) -> Hash {
        Hash::of(&[Tag::TRANSACTION.bytes(), &network.0.0, bytes])
    }

    /// Signs it.
    pub fn sign(self, key: &SecretKey) -> SignedTransaction {
        let signature = key.sign(&self.id());
        SignedTransaction { transaction: self, signature }
    }
}

impl SignedTransaction {
    /// Canonical bytes at most.
    pub const MAX_BYTES: usize = Transaction::MAX_BYTES + 64;

    /// Decodes canonical bytes; the signature is not checked.
    pub fn decode(bytes: &[u8]) -> Result<SignedTransaction, InvalidBytes> {
        codec::decode(bytes, SignedTransaction::MAX_BYTES)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use kakera_chain::{address::Address, bond::Bond, genesis::Role, hash::identity, units::ValidatorId};
    use proptest::prelude::*;

    fn sample(action: Action) -> SignedTransaction {
        let key = SecretKey::from_seed([1; 32]);
        Transaction {
            network: NetworkId(Hash([0xaa; 32])),
            sender: key.public(),
            nonce: 1,
            valid_until: Slot(2),
            gas_limit: 3,
            max_fee: 4,
            tip: 5,
            action,
        }
        .sign(&key)
    }

    #[test]
    fn bytes_id_and_signature_are_golden() {
        let transfer = sample(Action::Transfer { to: Address([0xbb; 32]), amount: 6 });
        let bytes = codec::encode(&transfer);
        assert_eq!(bytes.len(), 145 + 64);
        let head = concat!(
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c",
            "01000000000000000200000000000000030000000000000004000000000000000500000000000000",
        );
        let to = "bb".repeat(32);
        assert_eq!(hex::encode(&bytes[..145]), format!("{head}00{to}0600000000000000"));
        assert_eq!(
            transfer.transaction.id().to_string(),
            "75ed7a9897cf991724852cc2e3d2fba590fd7a8288fe48a43a6f8b4a8e97ac76"
        );
        assert_eq!(
            hex::encode(&bytes[145..]),
            "74133e1adcc1ce458f3812837f00f7586bd5b4a42361981b4a91c9d4e2bcde1d21d0cffe7b2d1dfde7f4e99956f255daacd2ceff45021bc710c711bb9f6f2205"
        );

        let batch = sample(Action::Batch { transfers: vec![(Address([0xbb; 32]), 6), (Address([0xbb; 32]), 6)] });
        let entry = format!("{to}0600000000000000");
        assert_eq!(hex::encode(codec::encode(&batch.transaction)), format!("{head}0102000000{entry}{entry}"));
        assert_eq!(
            batch.transaction.id().to_string(),
            "291d7e5fe8a907e964165496028775af411763a694a0dec40709cbe1417331a1"
        );
    }

    #[test]
    fn the_bytes_of_what_goes_to_the_beacon_are_golden() {
        let of = |action| hex::encode(&codec::encode(&sample(action).transaction)[104..]);
        let owner = Address::of(&SecretKey::from_seed([1; 32]).public());
        let key = SecretKey::from_seed([2; 32]);
        let end = ("node.example:7000".to_owned(), Hash([4; 32]));
        let bond = Bond::sign(&key, &owner, (Role::Shard, 3), end, NetworkId(Hash([0xaa; 32])));
        let proof = hex::encode(bond.proof.0);
        let bytes = of(Action::Bond { bond: Box::new(bond.clone()) });
        let endpoint = hex::encode("node.example:7000");
        let commitment = "04".repeat(32);
        assert_eq!(bytes, format!("02{}010300000011000000{endpoint}{commitment}{proof}", bond.key));
        assert_eq!(
            sample(Action::Bond { bond: Box::new(bond) }).transaction.id().to_string(),
            "ca1d8ee4f24e75792a3295f245245f5246d2a3ffe4f635dcae0231afe4dcd82d"
        );
        let validator = ValidatorId(0x0102_0304);
        assert_eq!(of(Action::TopUp { validator, seats: 5 }), "030403020105000000");
        assert_eq!(of(Action::Exit { validator }), "0404030201");
        assert_eq!(of(Action::Resume { validator }), "0504030201");
        assert_eq!(of(Action::SubmitEvidence { bytes: vec![0xe0, 0xe1] }), "0602000000e0e1");
    }

    #[test]
    fn the_most_evidence_fits_and_no_more() {
        let longest = sample(Action::SubmitEvidence { bytes: vec![1; Receipt::MAX_EVIDENCE] });
        assert_eq!(codec::encode(&longest).len(), SignedTransaction::MAX_BYTES);
        assert!(SignedTransaction::decode(&codec::encode(&longest)).is_ok());
        let over = sample(Action::SubmitEvidence { bytes: vec![1; Receipt::MAX_EVIDENCE + 1] });
        assert!(SignedTransaction::decode(&codec::encode(&over)).is_err());
    }

    #[test]
    fn the_id_is_the_identity_under_its_tag_and_the_signature_verifies() {
        let signed = sample(Action::Transfer { to: Address([1; 32]), amount: 1 });
        let transaction = &signed.transaction;
        assert_eq!(transaction.id(), identity(Tag::TRANSACTION, transaction.network, transaction));
        assert!(transaction.sender.verify(&transaction.id(), &signed.signature).is_ok());
    }

    #[test]
    fn the_largest_batch_fits_and_unknown_actions_are_refused() {
        let transfers = vec![(Address([1; 32]), u64::MAX); Action::MAX_TRANSFERS];
        let mut bytes = codec::encode(&sample(Action::Batch { transfers }));
        assert!(SignedTransaction::decode(&bytes).is_ok());
        bytes[104] = 7;
        assert!(SignedTransaction::decode(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn decoding_never_panics(at in 0usize..209, byte in any::<u8>(), cut in 0usize..209) {
            let mut bytes = codec::encode(&sample(Action::Transfer { to: Address([1; 32]), amount: 1 }));
            bytes[at] = byte;
            if let Ok(signed) = SignedTransaction::decode(&bytes) {
                prop_assert_eq!(codec::encode(&signed), bytes.clone());
            }
            prop_assert!(SignedTransaction::decode(&bytes[..cut]).is_err());
        }
    }
}
