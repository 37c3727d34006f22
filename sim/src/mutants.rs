//! Rules broken on purpose: every check must catch one.

use kakera_beacon::{BeaconState, Offence, ShardRecord, Source};
use kakera_chain::{
    application::{Context, Executed},
    peer::PeerMessage,
    receipt::ReceiptAction,
    units::{ChainId, ShardId},
};
use kakera_shard::{ConsumedOutcome, Meta, ShardState};
use std::sync::Arc;

/// A broken rule of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A block makes a token for one account, on all nodes alike.
    Mints,
    /// A block makes a token for an account that it has nothing to do with, and no sum shows it.
    MintsUnseen,
    /// What should be burned stays in the account that paid it: every sum that the state keeps adds up.
    KeepsFees,
    /// The first receipt due in a block is passed over: its cursor moves on, and what it carried is burned.
    SkipsReceipts,
    /// The first receipt due in a block is credited twice.
    CreditsTwice,
    /// A receipt in time is treated as if it were late: it is credited at the destination, and sent back as well.
    KeepsAndReturns,
    /// One node credits a token more, and still says that the state has the root that it should have.
    ClaimsTheRoot,
    /// A node that starts again finds a token more than it had.
    RestoresMore,
    /// The third block panics whoever executes it.
    Panics,
    /// Every eighth beacon block records one header less of a shard than was recorded.
    TakesBackRecords,
    /// From the second epoch on the first shard's bench is held by one validator alone.
    StuffsBenches,
    /// The eighth beacon block takes the stake of somebody who has done nothing.
    SlashesAnybody,
    /// The eighth beacon block gives a validator stake that nobody has paid.
    BondsFromNothing,
}

/// A broken rule of the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing is ever synced, and the second place is never written.
    NeverSyncs,
    /// Nobody asks for what it lacks.
    NeverAsks,
    /// One node of each shard takes other leaders for those of a new era.
    OtherLeaders,
    /// Eras are told with the block below their root.
    EarlierRoots,
    /// Eras are told half an epoch late.
    LateEras,
    /// Nobody reports who breaks a rule.
    NeverReports,
}

impl Mutant {
    /// Breaks a shard's block.
    pub fn shard(self, context: &Context, executed: &mut Executed<ShardState>) {
        match self {
            Mutant::Mints => {
                let Some(address) = executed.state.outcome.touched.first().copied() else { return };
                add(executed, &address, 1);
                settle(executed);
            }
            Mutant::MintsUnseen => {
                let touched = &executed.state.outcome.touched;
                let aside = executed.state.accounts.iter().map(|(address, _)| address);
                let Some(address) = aside.into_iter().find(|address| !touched.contains(address)) else { return };
                add(executed, &address, 1);
                settle(executed);
            }
            Mutant::KeepsFees => {
                let meta = &executed.state.meta;
                let Some(address) = executed.state.outcome.touched.first().copied() else { return };
                if executed.state.outcome.transactions.is_empty() || meta.burned == 0 {
                    return;
                }
                add(executed, &address, 1);
                let meta = Meta::clone(&executed.state.meta);
                let (balances, burned) = (meta.balances + 1, meta.burned - 1);
                executed.state.meta = Arc::new(Meta { balances, burned, ..meta });
                settle(executed);
            }
            Mutant::SkipsReceipts => {
                let Some((to, amount)) = first_credited(executed) else { return };
                change_outcome(executed, |consumed| {
                    consumed.remove(0);
                });
                let mut account = executed.state.account(&to);
                account.balance -= amount;
                executed.state.accounts.set(to, account);
                let meta = Meta::clone(&executed.state.meta);
                let (balances, burned) = (meta.balances - amount, meta.burned + amount);
                executed.state.meta = Arc::new(Meta { balances, burned, ..meta });
                settle(executed);
            }
            Mutant::CreditsTwice => {
                let Some((to, amount)) = first_credited(executed) else { return };
                change_outcome(executed, |consumed| consumed.insert(0, consumed[0].clone()));
                add(executed, &to, amount);
                settle(executed);
            }
            Mutant::KeepsAndReturns => {
                if first_credited(executed).is_none() {
                    return;
                }
                let reason = kakera_chain::receipt::ReturnReason::Expired;
                change_outcome(executed, |consumed| consumed[0].1 = ConsumedOutcome::Returned { reason, seq: 0 });
            }
            Mutant::ClaimsTheRoot => {
                let Some(address) = executed.state.outcome.touched.first().copied() else { return };
                add(executed, &address, 1);
            }
            Mutant::Panics => assert!(context.height.0 != 3, "the third block is unheard of"),
            Mutant::TakesBackRecords
            | Mutant::StuffsBenches
            | Mutant::SlashesAnybody
            | Mutant::BondsFromNothing
            | Mutant::RestoresMore => {}
        }
    }

    /// Breaks what a shard's node finds on its disk.
    pub fn restored(self, state: &mut ShardState) {
        let Some((address, mut account)) = state.accounts.iter().next() else { return };
        if self == Mutant::RestoresMore {
            account.balance += 1;
            state.accounts.set(address, account);
        }
    }

    /// Breaks a beacon block.
    pub fn beacon(self, context: &Context, executed: &mut Executed<BeaconState>) {
        if matches!(self, Mutant::SlashesAnybody | Mutant::BondsFromNothing) && context.height.0 == 8 {
            let state = &mut executed.state;
            let (epoch, source) =
                (state.epoch, Source { from: FIRST, seq: 0, who: kakera_chain::address::Address([7; 32]) });
            let somebody = state.shards[0].bench.0[0];
            let registry = Arc::make_mut(&mut state.registry);
            if self == Mutant::SlashesAnybody {
                let act = kakera_chain::evidence::Offence::Equivocation { seq: 7 };
                let offence = Offence { validator: somebody, chain: FIRST, epoch, act };
                registry.slash(offence, epoch, source).expect("it has a stake");
            } else {
                let owner = registry.get(somebody).expect("it is registered").owner;
                let cost = registry.terms().and_then(|terms| terms.cost(1)).expect("seats cost something");
                registry.top_up(owner, cost, somebody, 1).expect("it may have more");
            }
            executed.state_root = executed.state.root();
        }
        if self == Mutant::StuffsBenches && executed.state.shards[0].era.0 > 0 {
            let mut record = ShardRecord::clone(&executed.state.shards[0]);
            let first = record.bench.0[0];
            record.bench.0.fill(first);
            executed.state.shards[0] = Arc::new(record);
            executed.state_root = executed.state.root();
        }
        if self != Mutant::TakesBackRecords || !context.height.0.is_multiple_of(8) {
            return;
        }
        let record = ShardRecord::clone(&executed.state.shards[0]);
        let mut last = record.last.clone();
        last.header.height.0 = last.header.height.0.saturating_sub(1);
        executed.state.shards[0] = Arc::new(ShardRecord { last, ..record });
        executed.state_root = executed.state.root();
    }
}

fn add(executed: &mut Executed<ShardState>, to: &kakera_chain::address::Address, amount: u64) {
    let mut account = executed.state.account(to);
    account.balance += amount;
    executed.state.accounts.set(*to, account);
}

/// The header says what the state is now.
fn settle(executed: &mut Executed<ShardState>) {
    executed.state_root = executed.state.root();
    let meta = &executed.state.meta;
    (executed.figures.balances, executed.figures.burned) = (meta.balances, meta.burned);
}

/// Whom the first receipt of a block was credited to, and how much.
fn first_credited(executed: &Executed<ShardState>) -> Option<(kakera_chain::address::Address, u64)> {
    let (receipt, outcome) = executed.state.outcome.consumed.first()?;
    match (&receipt.action, outcome) {
        (ReceiptAction::Transfer { to, amount, .. }, ConsumedOutcome::Credited) => {
            (executed.state.account(to).balance >= *amount).then_some((*to, *amount))
        }
        _ => None,
    }
}

fn change_outcome(
    executed: &mut Executed<ShardState>,
    change: impl FnOnce(&mut Vec<(kakera_chain::receipt::Receipt, ConsumedOutcome)>),
) {
    let mut outcome = kakera_shard::BlockOutcome::clone(&executed.state.outcome);
    change(&mut outcome.consumed);
    executed.state.outcome = Arc::new(outcome);
}

/// Whether a peer asks for something.
pub fn asks(message: &PeerMessage) -> bool {
    matches!(
        message,
        PeerMessage::Since(_)
            | PeerMessage::ById(_)
            | PeerMessage::WantCites(_)
            | PeerMessage::WantCertificate(_)
            | PeerMessage::WantEvidence(_)
    )
}

/// The first shard.
pub const FIRST: ChainId = ChainId::Shard(ShardId(0));
