//! Rules broken on purpose: every check must catch one.

use kakera_beacon::BeaconState;
use kakera_chain::application::{Context, Executed};
use kakera_shard::ShardState;

/// A broken rule of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A block makes a token for one account, on all nodes alike.
    Mints,
}

/// A broken rule of the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing is ever synced, and the second place is never written.
    NeverSyncs,
}

impl Mutant {
    /// Breaks a shard's block.
    pub fn shard(self, _context: &Context, executed: &mut Executed<ShardState>) {
        match self {
            Mutant::Mints => {
                let Some(address) = executed.state.outcome.touched.first().copied() else { return };
                let mut account = executed.state.account(&address);
                account.balance += 1;
                executed.state.accounts.set(address, account);
                executed.state_root = executed.state.root();
            }
        }
    }

    /// Breaks a beacon block.
    pub fn beacon(self, _context: &Context, _executed: &mut Executed<BeaconState>) {}
}
