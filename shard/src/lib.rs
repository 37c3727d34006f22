//! The rules of a shard chain, pure: accounts, transactions, fees, receipts in and out, and the pool.
//!
//! ```text
//!   clients, peers ──> pool ──┐             beacon feed ──> beacon_view
//!                             v                                 │ lanes as of a reference
//!   parent state ──> execution: receipts due, then transactions <┘
//!                             │
//!                             v
//!   state (trie + meta) ──> state root, figures, receipts emitted ──> records (rows of the store)
//! ```
//!
//! Invariants:
//! - `allocation + received = balances + held + burned + sent`, asserted in every execution;
//! - what a block consumes follows from its parent's state and its reference alone;
//! - a lane's cursor is part of the state root, so each receipt is consumed exactly once, in order;
//! - a block that holds one invalid transaction is invalid and changes nothing.
//!
//! ```
//! use kakera_chain::address::Address;
//! use kakera_shard::{Account, Trie};
//!
//! let mut trie = Trie::default();
//! trie.set(Address([1; 32]), Account { balance: 5, nonce: 0 });
//! let before = trie.clone();
//! trie.set(Address([1; 32]), Account::default());
//! assert_eq!(before.account(&Address([1; 32])).balance, 5);
//! assert_eq!(trie.root(), Trie::default().root());
//! ```

pub mod account;
pub mod action;
pub mod beacon_view;
pub mod checks;
pub mod execution;
pub mod fees;
pub mod following;
pub mod handover;
pub mod lanes;
pub mod pool;
pub mod records;
pub mod rules;
pub mod shard;
pub mod state;
pub mod submitter;
pub mod transaction;
pub mod trie;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod testing;

pub use account::Account;
pub use action::Action;
pub use beacon_view::{BeaconView, InvalidBeacon, first_reading};
pub use checks::InvalidTransaction;
pub use execution::InvalidBlock;
pub use fees::Quote;
pub use following::Following;
pub use pool::{PoolLimits, PoolStatus, Refusal};
pub use records::{ConsumedOutcome, ConsumedRecord, TransactionRecord};
pub use shard::{Input, Reply, Shard, ShardConfig, transactions_of};
pub use state::{BlockOutcome, InvalidStateProof, Meta, ShardState, StateProof};
pub use submitter::Submitter;
pub use transaction::{SignedTransaction, Transaction};
pub use trie::{AccountProof, InvalidProof, Trie};
