//! A captured committee that makes value out of nothing, or takes what is not its own.

use super::put;
use kakera_chain::{
    Slot,
    address::Address,
    application::{Context, Executed},
    hash::Hash,
    receipt::{Lane, Receipt, ReceiptAction, ReturnReason},
    units::{ChainId, Height},
};
use kakera_shard::{Account, Meta, ShardState};
use std::sync::Arc;

/// What a captured committee does, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mint {
    /// At which height: all members do it there.
    pub height: Height,
    /// How it is told.
    pub forgery: Forgery,
    /// An account of the shard whose owner is one of them.
    pub own: Address,
    /// An account of the shard whose owner is not.
    pub victim: Address,
    /// Where the value is to go: another shard's chain and an account there.
    pub to: (ChainId, Address),
    /// How much, in the smallest unit.
    pub amount: u64,
}

/// How value out of nothing is told in the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// More was received than lanes carried, and is sent on.
    Received,
    /// Less was burned than before.
    Burned,
    /// Balances are higher than what came and went allows.
    Balances,
    /// More is sent than the shard ever had.
    Insolvent,
    /// A receipt carries more than was debited.
    Sent,
    /// Something is sent back that never came.
    Returned,
    /// Receipts are consumed that were never recorded.
    Cursor,
    /// A receipt claims to come from another shard.
    Source,
    /// No value is made: another account is plundered. The shard has it, so that it may leave.
    Plunder,
}

impl Forgery {
    /// All of them.
    pub const ALL: [Forgery; 9] = [
        Forgery::Received,
        Forgery::Burned,
        Forgery::Balances,
        Forgery::Insolvent,
        Forgery::Sent,
        Forgery::Returned,
        Forgery::Cursor,
        Forgery::Source,
        Forgery::Plunder,
    ];
}

impl Mint {
    /// Bends the block of its height. The own books balance afterwards, as the captured members' rules insist on that
    /// as well; it is the figures that lie.
    pub(super) fn apply(&self, context: &Context, executed: &mut Executed<ShardState>) {
        if context.height != self.height {
            return;
        }
        let mut meta = Meta::clone(&executed.state.meta);
        let amount = self.amount;
        let (sent_before, received_before) = (meta.sent, meta.received);
        match self.forgery {
            Forgery::Received => {
                meta.received += amount;
                self.send(context, executed, &mut meta, amount, amount);
            }
            Forgery::Burned => {
                let back = meta.burned.min(amount);
                meta.burned -= back;
                self.credit(executed, &mut meta, back);
            }
            Forgery::Balances => {
                meta.received += amount;
                self.credit(executed, &mut meta, amount);
            }
            Forgery::Insolvent => {
                meta.received += amount;
                self.send(context, executed, &mut meta, amount, amount);
            }
            Forgery::Sent => {
                meta.received += amount;
                self.send(context, executed, &mut meta, amount, amount);
            }
            Forgery::Returned => {
                let taken = self.take(executed, &mut meta);
                let action = ReceiptAction::Return {
                    original: 0,
                    to: self.to.1,
                    amount: taken,
                    reason: ReturnReason::Expired,
                    transaction: Hash([7; 32]),
                };
                emit(context, executed, &mut meta, Lane { from: context.chain, to: self.to.0 }, action, taken);
            }
            Forgery::Cursor => {
                meta.inbox.entry(self.to.0).or_default().next += 3;
                meta.received += amount;
                self.credit(executed, &mut meta, amount);
            }
            Forgery::Source => {
                let taken = self.take(executed, &mut meta);
                let lane = Lane { from: self.to.0, to: context.chain };
                emit(context, executed, &mut meta, lane, self.transfer(taken), taken);
            }
            Forgery::Plunder => {
                let taken = self.take(executed, &mut meta);
                self.send(context, executed, &mut meta, taken, taken);
            }
        }
        put(executed, meta);
        match self.forgery {
            Forgery::Balances | Forgery::Insolvent => executed.figures.received = received_before,
            Forgery::Sent => {
                executed.figures.received = received_before;
                executed.figures.sent = sent_before;
            }
            _ => {}
        }
    }

    fn transfer(&self, amount: u64) -> ReceiptAction {
        let expires_at = Slot(1 << 40);
        ReceiptAction::Transfer { from: self.own, to: self.to.1, amount, expires_at, transaction: Hash([7; 32]) }
    }

    fn send(
        &self,
        context: &Context,
        executed: &mut Executed<ShardState>,
        meta: &mut Meta,
        carried: u64,
        counted: u64,
    ) {
        let lane = Lane { from: context.chain, to: self.to.0 };
        emit(context, executed, meta, lane, self.transfer(carried), counted);
    }

    fn credit(&self, executed: &mut Executed<ShardState>, meta: &mut Meta, amount: u64) {
        let account = executed.state.account(&self.own);
        meta.balances += amount;
        write(executed, self.own, Account { balance: account.balance + amount, ..account });
    }

    /// Half of what the victim has.
    fn take(&self, executed: &mut Executed<ShardState>, meta: &mut Meta) -> u64 {
        let account = executed.state.account(&self.victim);
        let taken = account.balance / 2;
        meta.balances -= taken;
        write(executed, self.victim, Account { balance: account.balance - taken, ..account });
        taken
    }
}

/// Emits a receipt that the own books count as `counted`.
fn emit(
    context: &Context,
    executed: &mut Executed<ShardState>,
    meta: &mut Meta,
    lane: Lane,
    action: ReceiptAction,
    counted: u64,
) {
    let log = meta.outbox.entry(if lane.from == context.chain { lane.to } else { lane.from }).or_default();
    let seq = log.next;
    log.next += 1;
    log.returns += u64::from(matches!(action, ReceiptAction::Return { .. }));
    meta.sent += counted;
    executed.receipts.push(Receipt { lane, seq, action });
}

/// Writes an account, and notes that the block did.
fn write(executed: &mut Executed<ShardState>, address: Address, account: Account) {
    let state = &mut executed.state;
    state.accounts.set(address, account);
    let mut outcome = (*state.outcome).clone();
    if let Err(place) = outcome.touched.binary_search(&address) {
        outcome.touched.insert(place, address);
    }
    state.outcome = Arc::new(outcome);
}
