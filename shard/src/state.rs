//! A shard's state after a block: accounts, and everything else that the state root commits to.

use crate::{
    account::Account,
    lanes::LaneCounts,
    records::ConsumedOutcome,
    rules::Rules,
    trie::{AccountProof, InvalidProof, Trie},
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{
    address::Address,
    block::Figures,
    codec,
    genesis::Network,
    hash::{Hash, Tag},
    receipt::{LaneCursor, Receipt},
    units::{ChainId, ValidatorId},
};
use std::{collections::BTreeMap, sync::Arc};
use thiserror::Error;

/// A version of the state; cheap to clone, sharing structure with its parent's.
#[derive(Clone, Debug)]
pub struct ShardState {
    /// The accounts.
    pub accounts: Trie,
    /// Everything else.
    pub meta: Arc<Meta>,
    /// What the block that led here did; not part of the state root.
    pub outcome: Arc<BlockOutcome>,
}

/// The state besides the accounts. Amounts in the smallest unit.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Meta {
    /// By source: what was consumed of the lane toward this shard.
    pub inbox: LaneCounts,
    /// By destination: what was emitted into the lane from this shard.
    pub outbox: LaneCounts,
    /// The source that the next block begins with, if something of it is due; else the next one after it.
    pub pointer: ChainId,
    /// Base fee of the next block, per gas.
    pub base_fee: u64,
    /// Sum of all balances.
    pub balances: u64,
    /// Sum of all tips not yet collected.
    pub held: u64,
    /// Burned so far.
    pub burned: u64,
    /// Value of all receipts emitted so far.
    pub sent: u64,
    /// Value of all receipts consumed so far.
    pub received: u64,
    /// Tips by the validator that proposed.
    pub tips: BTreeMap<ValidatorId, u64>,
}

/// What one block did, besides the state it led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockOutcome {
    /// Accounts that were written, ascending.
    pub touched: Vec<Address>,
    /// Receipts consumed, in order.
    pub consumed: Vec<(Receipt, ConsumedOutcome)>,
    /// Transactions executed, in order, each with the receipts that it emitted.
    pub transactions: Vec<(Hash, Vec<Receipt>)>,
}

/// Proves what an address holds under a block's state root.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StateProof {
    /// Under the root of the accounts.
    pub account: AccountProof,
    /// The root of the accounts.
    pub accounts_root: Hash,
    /// The hash of [`Meta`].
    pub meta: Hash,
}

/// Why a state proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidStateProof {
    /// Parts that do not make up the state root.
    #[error("the proof is for another state root")]
    StateRoot,
    /// The account's proof.
    #[error(transparent)]
    Account(#[from] InvalidProof),
}

impl ShardState {
    /// The state before the first block.
    pub(crate) fn genesis(network: &Network, rules: &Rules) -> ShardState {
        let accounts = network
            .accounts_of(rules.shard)
            .map(|account| (account.address, Account { balance: account.balance, nonce: 0 }))
            .collect();
        let meta = Meta {
            inbox: BTreeMap::new(),
            outbox: BTreeMap::new(),
            pointer: ChainId::Beacon,
            base_fee: rules.fees.base_fee,
            balances: rules.allocation,
            held: 0,
            burned: 0,
            sent: 0,
            received: 0,
            tips: BTreeMap::new(),
        };
        ShardState { accounts, meta: Arc::new(meta), outcome: Arc::default() }
    }

    /// What an address holds.
    pub fn account(&self, address: &Address) -> Account {
        self.accounts.account(address)
    }

    /// Base fee of the next block, in the smallest unit per gas.
    pub fn base_fee(&self) -> u64 {
        self.meta.base_fee
    }

    /// The commitment: `SHA-256("kakera/state    " ‖ root of the accounts ‖ SHA-256(borsh(meta)))`.
    pub fn root(&self) -> Hash {
        state_root(&self.accounts.root(), &self.meta.hash())
    }

    /// Proves what an address holds.
    pub fn prove(&self, address: &Address) -> StateProof {
        StateProof {
            account: self.accounts.prove(address),
            accounts_root: self.accounts.root(),
            meta: self.meta.hash(),
        }
    }

    /// What the header states about this state. `base_fee` is that of the block itself.
    pub(crate) fn figures(&self, rules: &Rules, gas_used: u64, base_fee: u64) -> Figures {
        let meta = &self.meta;
        let inbox = meta.inbox.iter().map(|(from, count)| LaneCursor { from: *from, next: count.next }).collect();
        let transactions = u32::try_from(self.outcome.transactions.len()).expect("bounded by the block's bytes");
        Figures {
            gas_used,
            gas_limit: rules.fees.block_gas,
            base_fee,
            balances: meta.balances,
            held: meta.held,
            burned: meta.burned,
            sent: meta.sent,
            received: meta.received,
            transactions,
            inbox,
        }
    }
}

impl Meta {
    pub(crate) fn hash(&self) -> Hash {
        Hash::of(&[&codec::encode(self)])
    }

    /// Whether value was neither made nor lost since genesis.
    pub fn conserves(&self, allocation: u64) -> bool {
        let sum = |parts: &[u64]| parts.iter().map(|part| u128::from(*part)).sum::<u128>();
        sum(&[allocation, self.received]) == sum(&[self.balances, self.held, self.burned, self.sent])
    }
}

impl StateProof {
    /// What `address` holds under `state_root`; an empty account if it was never used.
    pub fn verify(&self, root: Hash, address: &Address) -> Result<Account, InvalidStateProof> {
        if state_root(&self.accounts_root, &self.meta) != root {
            return Err(InvalidStateProof::StateRoot);
        }
        Ok(self.account.verify(self.accounts_root, address)?)
    }
}

pub(crate) fn state_root(accounts: &Hash, meta: &Hash) -> Hash {
    Hash::of(&[Tag::STATE.bytes(), &accounts.0, &meta.0])
}
