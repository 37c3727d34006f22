//! Value is neither made nor lost: at each certified beacon block, with every shard as it is recorded there, balances,
//! tips, receipts on their way and what was burned are what there was at genesis, by a ledger of the clients' own.
//!
//! After each block the accounts that it changed and all sums are compared with the ledger's; at each beacon block the
//! balances of every account of the recorded states are added up, too, where a shard has at most [`ADDED_UP`] of them
//! (beyond that the sums that the states keep are compared only); at the end every account is compared.

use super::{
    Check, Happening, View,
    sequence::{After, Fresh, Sequence, is_followed},
};
use crate::ledger::{Ledger, Totals};
use kakera_beacon::{BeaconState, ShardRecord};
use kakera_chain::{
    BlockId,
    application::Executed,
    block::Block,
    crosslink::BeaconItem,
    receipt::Lane,
    units::{ChainId, Height, ShardId},
};
use kakera_shard::ShardState;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// A shard with more accounts than this is not added up at each beacon block.
pub(super) const ADDED_UP: usize = 512;

/// A shard's block that waits for what it consumes.
struct Waiting {
    id: BlockId,
    block: Arc<Block>,
    executed: Option<Executed<ShardState>>,
}

/// A beacon block that waits for the shards' blocks that it records.
struct Recorded {
    height: Height,
    shards: Vec<Arc<ShardRecord>>,
    /// Receipts recorded of each lane.
    lanes: Vec<(Lane, u64)>,
    /// What validators have at stake, and what was burned of stakes.
    staked: u128,
    /// What they were paid out of nothing.
    minted: u128,
}

/// Of each shard a height, and what its balances there add up to.
type Sums = BTreeMap<ShardId, (Height, u128)>;

/// Statement 1.
#[derive(Default)]
pub(super) struct Supply {
    sequence: Sequence,
    ledger: Option<Ledger>,
    waiting: BTreeMap<ShardId, VecDeque<Waiting>>,
    recorded: VecDeque<Recorded>,
    /// States that may still be recorded.
    states: BTreeMap<(ShardId, Height), ShardState>,
    /// What recorded states added up to, once it was done.
    sums: Sums,
}

impl Check for Supply {
    fn name(&self) -> &'static str {
        "supply"
    }

    fn after(&mut self, view: &View<'_>, happening: &Happening<'_>) -> Result<(), String> {
        let fresh = self.sequence.fresh(view, happening);
        if fresh.is_empty() {
            return Ok(());
        }
        let mut ledger = self.taken(view);
        let looked = fresh.into_iter().try_for_each(|fresh| self.look(&mut ledger, view, fresh));
        self.ledger = Some(ledger);
        looked
    }

    fn at_end(&mut self, view: &View<'_>) -> Result<(), String> {
        let ledger = self.taken(view);
        let compared = ledger.books.iter().try_for_each(|(shard, books)| {
            let at_tip = |node: &&crate::node::Node| {
                node.chain == ChainId::Shard(*shard) && node.is_honest() && node.certified() == Some(books.height())
            };
            let Some(replica) = view.nodes.iter().find(at_tip).and_then(crate::node::Node::shard) else {
                return Ok(());
            };
            let state = replica.certified().state;
            let held = books.accounts.iter().filter(|(_, account)| **account != (0, 0)).count();
            if held != state.accounts.len() {
                return Err(format!("shard {shard} has {} accounts, by the ledger {held}", state.accounts.len()));
            }
            books.accounts.keys().try_for_each(|address| same_account(*shard, state, books, address))
        });
        self.ledger = Some(ledger);
        compared
    }
}

impl Supply {
    fn taken(&mut self, view: &View<'_>) -> Ledger {
        let followed = |shard| is_followed(view, ChainId::Shard(shard));
        self.ledger.take().unwrap_or_else(|| Ledger::new(view.setup, followed))
    }

    fn look(&mut self, ledger: &mut Ledger, view: &View<'_>, fresh: Fresh<'_>) -> Result<(), String> {
        let Fresh { id, block, certified, emitted } = fresh;
        match block.header.chain {
            ChainId::Beacon => {
                record(ledger, &block)?;
                emitted.iter().for_each(|receipt| ledger.record(receipt));
                if let After::Beacon(certified) = certified {
                    let height = block.header.height;
                    self.recorded.push_back(recorded_at(height, &certified.executed.state, ledger));
                }
            }
            ChainId::Shard(shard) => {
                let executed = match certified {
                    After::Shard(certified) => Some(certified.executed),
                    _ => None,
                };
                if let Some(executed) = executed.as_ref().filter(|executed| executed.state.accounts.len() <= ADDED_UP) {
                    self.states.insert((shard, block.header.height), executed.state.clone());
                }
                self.waiting.entry(shard).or_default().push_back(Waiting { id, block, executed });
            }
        }
        while self.apply_one(ledger, view)? {}
        while let Some(next) = self.recorded.front().filter(|next| is_known(ledger, next)) {
            let balanced = self.balance(ledger, next);
            let sums = balanced.map_err(|what| format!("at beacon block {}: {what}", next.height))?;
            self.sums.extend(sums);
            self.forget(ledger);
        }
        Ok(())
    }

    /// Follows the next block of some shard, if everything that it consumes is known.
    fn apply_one(&mut self, ledger: &mut Ledger, view: &View<'_>) -> Result<bool, String> {
        for (shard, waiting) in &mut self.waiting {
            let Some(next) = waiting.pop_front_if(|next| ledger.can_apply(&next.block)) else { continue };
            let at = |what: String| format!("block {} of shard {shard} {what}", next.block.header.height);
            ledger.apply(next.id, &next.block, view.workload, view.setup).map_err(at)?;
            if let Some(executed) = &next.executed {
                compare(ledger, *shard, executed).map_err(at)?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// The sum over the whole network, with every shard as it is recorded. Returns what was added up of each state.
    fn balance(&self, ledger: &Ledger, at: &Recorded) -> Result<Sums, String> {
        let (mut sum, mut added) = (0u128, Sums::new());
        for (shard, record) in (0..).map(ShardId).zip(&at.shards) {
            let (header, figures) = (&record.last.header, &record.last.header.figures);
            let [balances, held, burned] = [figures.balances, figures.held, figures.burned].map(u128::from);
            if let Some(totals) = ledger.books.get(&shard).and_then(|books| books.history.get(&header.height)) {
                let claimed = Totals {
                    id: record.last.id,
                    balances,
                    tips: held,
                    burned,
                    sent: figures.sent.into(),
                    received: figures.received.into(),
                };
                if claimed != *totals {
                    return Err(format!("of shard {shard} {claimed:?} is recorded, by the ledger {totals:?}"));
                }
            }
            let known = self.sums.get(&shard).filter(|(height, _)| *height == header.height).map(|(_, sum)| *sum);
            let state = self.states.get(&(shard, header.height));
            let add = |state: &ShardState| state.accounts.iter().map(|(_, account)| u128::from(account.balance)).sum();
            let real: u128 = known.or_else(|| state.map(add)).unwrap_or(balances);
            added.insert(shard, (header.height, real));
            sum += real + held + burned;
        }
        for (lane, recorded) in &at.lanes {
            let log = &ledger.lanes[lane];
            let ChainId::Shard(to) = lane.to else { continue };
            let inbox = at.shards.get(usize::from(to.0)).map(|record| record.last.header.figures.inbox.as_slice());
            let cursor = inbox.unwrap_or_default().iter().find(|cursor| cursor.from == lane.from);
            sum += log.value(*recorded).saturating_sub(log.value(cursor.map_or(0, |cursor| cursor.next)));
        }
        match sum + at.staked == ledger.supply + at.minted {
            true => Ok(added),
            false => Err(format!(
                "the network holds {sum} and {} at stake, there was {} at genesis and {} more was paid to validators",
                at.staked, ledger.supply, at.minted
            )),
        }
    }

    /// Forgets what lies below the blocks that are recorded.
    fn forget(&mut self, ledger: &mut Ledger) {
        let Some(done) = self.recorded.pop_front() else { return };
        for (shard, record) in (0..).map(ShardId).zip(&done.shards) {
            let recorded = record.last.header.height;
            let below: Vec<_> = self.states.range((shard, Height(0))..(shard, recorded)).map(|(key, _)| *key).collect();
            below.iter().for_each(|key| drop(self.states.remove(key)));
            if let Some(books) = ledger.books.get_mut(&shard) {
                books.history = books.history.split_off(&recorded);
            }
        }
    }
}

fn record(ledger: &mut Ledger, block: &Block) -> Result<(), String> {
    for bytes in &block.body {
        let item =
            BeaconItem::decode(bytes).map_err(|error| format!("a beacon block's item does not decode: {error}"))?;
        let BeaconItem::Crosslink(crosslink) = item else { continue };
        crosslink.receipts.iter().flatten().for_each(|receipt| ledger.record(receipt));
    }
    Ok(())
}

fn recorded_at(height: Height, state: &BeaconState, ledger: &Ledger) -> Recorded {
    let lanes = ledger.lanes.iter().map(|(lane, log)| (*lane, log.recorded)).collect();
    let registry = &state.registry;
    let (staked, minted) = (registry.stake() + u128::from(registry.burned()), registry.minted().into());
    Recorded { height, shards: state.shards.clone(), lanes, staked, minted }
}

/// Whether the ledger has followed the shards to where they are recorded.
fn is_known(ledger: &Ledger, at: &Recorded) -> bool {
    ledger.books.iter().all(|(shard, books)| {
        let record = at.shards.get(usize::from(shard.0));
        record.is_none_or(|record| record.last.header.height <= books.height())
    })
}

/// What a block led to, and what it leads to by the ledger.
fn compare(ledger: &Ledger, shard: ShardId, executed: &Executed<ShardState>) -> Result<(), String> {
    let Some(books) = ledger.books.get(&shard) else { return Ok(()) };
    let (meta, Some(totals)) = (&executed.state.meta, books.totals()) else { return Ok(()) };
    let pairs = [
        ("in balances", meta.balances, totals.balances),
        ("in tips", meta.held, totals.tips),
        ("in tips by member", meta.tips.values().sum(), totals.tips),
        ("burned", meta.burned, totals.burned),
        ("sent", meta.sent, totals.sent),
        ("received", meta.received, totals.received),
    ];
    for (what, found, expected) in pairs {
        if u128::from(found) != expected {
            return Err(format!("has {found} {what}, by the ledger {expected}"));
        }
    }
    let touched = executed.state.outcome.touched.iter().chain(&books.touched);
    for address in touched {
        same_account(shard, &executed.state, books, address)?;
    }
    let sorted = |receipts: &[kakera_chain::receipt::Receipt]| {
        let mut receipts = receipts.to_vec();
        receipts.sort_unstable_by_key(|receipt| (receipt.lane, receipt.seq));
        receipts
    };
    let (found, expected) = (sorted(&executed.receipts), sorted(&books.emitted));
    match found == expected {
        true => Ok(()),
        false => Err(format!("emits {found:?}, by the ledger {expected:?}")),
    }
}

fn same_account(
    shard: ShardId,
    state: &ShardState,
    books: &crate::ledger::Books,
    address: &kakera_chain::address::Address,
) -> Result<(), String> {
    let found = state.account(address);
    let (balance, nonce) = books.accounts.get(address).copied().unwrap_or_default();
    match (found.balance, found.nonce) == (balance, nonce) {
        true => Ok(()),
        false => Err(format!(
            "has {} in account {address} of shard {shard} after {} orders, by the ledger {balance} after {nonce}",
            found.balance, found.nonce
        )),
    }
}
