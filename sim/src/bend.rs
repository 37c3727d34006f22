//! How a Byzantine member's own rules differ from the chain's.

use kakera_chain::{address::Address, application::Context, application::Executed};
use kakera_shard::{ShardState, SignedTransaction};

/// The difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bend {
    /// None.
    #[default]
    Straight,
    /// Transactions of this account are not taken.
    Censor(Address),
}

impl Bend {
    /// Changes a block's outcome.
    pub fn apply(&self, _context: &Context, _executed: &mut Executed<ShardState>) {}

    /// Whether a peer's gossip is taken.
    pub fn takes_gossip(&self, bytes: &[u8]) -> bool {
        match (self, SignedTransaction::decode(bytes)) {
            (Bend::Censor(account), Ok(signed)) => Address::of(&signed.transaction.sender) != *account,
            _ => true,
        }
    }
}
