//! Accounts: what one address holds.

use borsh::{BorshDeserialize, BorshSerialize};

/// One account; the default is what an address that was never used holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Account {
    /// In the smallest unit.
    pub balance: u64,
    /// The nonce that the account's next transaction must carry: transactions executed so far.
    pub nonce: u64,
}

impl Account {
    /// Whether it is as if never used; such accounts are not kept in the state.
    pub fn is_empty(&self) -> bool {
        *self == Account::default()
    }
}
