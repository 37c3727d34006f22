//! How a Byzantine member's own rules differ from the chain's. Members of one bend agree among themselves about what a
//! bent block leads to, so that they build on each other's; everybody else finds it wrong by executing it, and only so.

mod mint;

pub use mint::{Forgery, Mint};

use kakera_chain::{
    address::Address,
    application::{Context, Executed},
    lanes::LaneCount,
    receipt::{LaneCursor, Receipt, ReceiptAction},
    units::{ChainId, ValidatorId},
};
use kakera_shard::{Account, ConsumedOutcome, Meta, ShardState, SignedTransaction};
use std::{collections::BTreeSet, sync::Arc};

/// The difference; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bend {
    /// Whose blocks are bent: the members that agree on it. Nobody's, if there are none.
    pub bent: Arc<BTreeSet<ValidatorId>>,
    /// Transactions of this account are not taken.
    pub censor: Option<Address>,
    /// Receipts that are due are left out.
    pub skip: bool,
    /// Receipts are consumed in another order.
    pub reorder: bool,
    /// Value out of nothing.
    pub mint: Option<Mint>,
}

impl Bend {
    /// Changes a block's outcome; the same change at every member of this bend.
    pub fn apply(&self, context: &Context, executed: &mut Executed<ShardState>) {
        if !self.bent.contains(&context.validator) {
            return;
        }
        // Slots alternate where both are to be done: what was left out cannot be swapped.
        let (skip, reorder) = match (self.skip, self.reorder) {
            (true, true) => {
                let even = context.slot.0.is_multiple_of(2);
                (even, !even)
            }
            either => either,
        };
        if skip {
            leave_out(executed);
        }
        if reorder {
            swap(executed);
        }
        if let Some(mint) = &self.mint {
            mint.apply(context, executed);
        }
    }

    /// Whether a peer's gossip is taken.
    pub fn takes_gossip(&self, bytes: &[u8]) -> bool {
        match (self.censor, SignedTransaction::decode(bytes)) {
            (Some(account), Ok(signed)) => Address::of(&signed.transaction.sender) != account,
            _ => true,
        }
    }
}

/// Leaves out as many of the block's last receipts as can be taken back: state, root and figures say that they are due.
fn leave_out(executed: &mut Executed<ShardState>) {
    let state = &mut executed.state;
    let mut outcome = (*state.outcome).clone();
    let mut meta = Meta::clone(&state.meta);
    while let Some((receipt, ConsumedOutcome::Credited)) = outcome.consumed.last().cloned() {
        let (ReceiptAction::Transfer { to, .. } | ReceiptAction::Return { to, .. }) = receipt.action else { break };
        let (account, amount) = (state.account(&to), receipt.amount());
        let Some(balance) = account.balance.checked_sub(amount) else { break };
        let Some(cursor) = meta.inbox.get_mut(&receipt.lane.from) else { break };
        cursor.next -= 1;
        cursor.returns -= u64::from(receipt.action.is_return()).min(cursor.returns);
        if cursor.next == 0 {
            meta.inbox.remove(&receipt.lane.from);
        }
        meta.received -= amount;
        meta.balances -= amount;
        meta.pointer = receipt.lane.from;
        state.accounts.set(to, Account { balance, ..account });
        outcome.consumed.pop();
    }
    state.outcome = Arc::new(outcome);
    put(executed, meta);
}

/// Swaps the first two receipts of the block that credit: each recipient gets what the other's carried. Figures stay as
/// they are; where there are no two, the lane that the next block begins with is another one.
fn swap(executed: &mut Executed<ShardState>) {
    let state = &mut executed.state;
    let mut outcome = (*state.outcome).clone();
    let mut meta = Meta::clone(&state.meta);
    let credited = |(index, (receipt, how)): (usize, &(Receipt, ConsumedOutcome))| match (&receipt.action, how) {
        (ReceiptAction::Transfer { to, amount, .. }, ConsumedOutcome::Credited) => Some((index, *to, *amount)),
        _ => None,
    };
    let first: Vec<(usize, Address, u64)> = outcome.consumed.iter().enumerate().filter_map(credited).take(2).collect();
    if let [(a, to_a, amount_a), (b, to_b, amount_b)] = first[..]
        && to_a != to_b
        && amount_a != amount_b
        && state.account(&to_a).balance >= amount_a
        && state.account(&to_b).balance >= amount_b
    {
        outcome.consumed.swap(a, b);
        for (to, had, gets) in [(to_a, amount_a, amount_b), (to_b, amount_b, amount_a)] {
            let account = state.account(&to);
            state.accounts.set(to, Account { balance: account.balance - had + gets, ..account });
        }
    } else if !outcome.consumed.is_empty() {
        meta.pointer = if meta.pointer == ChainId::Beacon {
            ChainId::Shard(kakera_chain::units::ShardId(0))
        } else {
            ChainId::Beacon
        };
    }
    state.outcome = Arc::new(outcome);
    put(executed, meta);
}

/// Puts the state's other half in place, and makes root and figures say so.
fn put(executed: &mut Executed<ShardState>, meta: Meta) {
    let figures = &mut executed.figures;
    figures.balances = meta.balances;
    figures.received = meta.received;
    figures.sent = meta.sent;
    figures.burned = meta.burned;
    let cursor = |(from, count): (&ChainId, &LaneCount)| LaneCursor { from: *from, next: count.next };
    figures.inbox = meta.inbox.iter().map(cursor).collect();
    executed.state.meta = Arc::new(meta);
    executed.state_root = executed.state.root();
}
