//! What the model holds: a shard chain above its record, the beacon's certified state, and what went wrong so far.

use super::beacon::Refusal;

/// Shards. Lane `n` is the one from shard `n` to the other.
pub(crate) const SHARDS: usize = 2;
/// Transfers that wait in the pools at the start.
pub(crate) const TRANSFERS: usize = 3;
/// What a transfer burns at its source.
pub(crate) const FEE: u8 = 1;

/// A cross-shard transfer of one account of `from` to one of the other shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    /// The shard that pays.
    pub(crate) from: usize,
    /// In the smallest unit. Different for each, so that a confusion of two shows in the sums.
    pub(crate) amount: u8,
}

/// What one run of the checker assumes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// What the run is called in the output.
    pub(crate) name: &'static str,
    /// The pools: each is executed at most once on a chain.
    pub(crate) transfers: [Transfer; TRANSFERS],
    /// Whether those of a shard have one sender, whose nonces order them; else they come in any order.
    pub(crate) one_sender: bool,
    /// Balances at genesis: `Rules::allocation` (`shard/src/rules.rs`).
    pub(crate) allocation: [u8; SHARDS],
    /// `Lanes::bound` of the genesis file (`chain/src/genesis.rs`).
    pub(crate) bound: u8,
    /// Receipts that a block processes at most: `Rules::receipt_gas` (`shard/src/fees.rs`) in receipts.
    pub(crate) share: u8,
    /// Uncertified blocks of a shard at most: the reorganisation takes any number of them, the crash all.
    pub(crate) uncertified: usize,
    /// Blocks of a shard not recorded at most.
    pub(crate) unrecorded: usize,
    /// Blocks that only move the reference.
    pub(crate) heartbeats: u8,
    /// What this setup cannot reach, of what must be reached elsewhere.
    pub(crate) never: &'static [&'static str],
}

/// A prefix of a lane: `LaneCount` (`shard/src/lanes.rs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Count {
    /// `LaneCount::next`.
    pub(crate) next: u8,
    /// `LaneCount::returns`.
    pub(crate) returns: u8,
}

impl Count {
    /// `LaneCount::ordinary`.
    pub(crate) fn ordinary(self) -> u8 {
        self.next.saturating_sub(self.returns)
    }

    /// `LaneCount::with`.
    pub(crate) fn with(self, is_return: bool) -> Count {
        Count { next: self.next + 1, returns: self.returns + u8::from(is_return) }
    }

    /// What `Ledger::record` and `Ledger::consume` (`shard/src/beacon_view/ledger.rs`) add up, entry by entry.
    pub(crate) fn of(log: &[Receipt], next: u8) -> Count {
        let returns = log.iter().take(usize::from(next)).filter(|receipt| receipt.original.is_some()).count();
        Count { next, returns: u8::try_from(returns).expect("a handful") }
    }
}

/// `Receipt` (`chain/src/receipt.rs`); its lane is where it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Receipt {
    /// `Receipt::seq`.
    pub(crate) seq: u8,
    /// The transfer that it carries or gives back: stands for the accounts, the amount and the transaction.
    pub(crate) transfer: u8,
    /// `ReceiptAction::Transfer::expires_at`. A return has none; it holds the slot of its emission's reference.
    pub(crate) expires_at: u8,
    /// `ReceiptAction::Return::original`; nothing for a transfer.
    pub(crate) original: Option<u8>,
}

/// What became of the receipts of a lane, in the order of processing: a ghost that no rule reads. The lower two bits of
/// an entry are the transfer, the upper two an [`Outcome`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Trace {
    length: u8,
    entries: u64,
}

/// `ConsumedOutcome` (`shard/src/records.rs`), with credits by transfers and by returns apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A transfer, to the account that it names.
    Credited,
    /// A transfer, and a return was emitted.
    SentBack,
    /// A return, to the account that was debited.
    Refunded,
    /// A return whose value is gone: only a mutant does this.
    Burned,
}

impl Trace {
    pub(crate) fn push(&mut self, transfer: u8, outcome: Outcome) {
        self.entries |= u64::from(transfer | (outcome as u8) << 2) << (4 * self.length);
        self.length += 1;
    }

    fn codes(self) -> impl Iterator<Item = u8> {
        (0..self.length).map(move |at| u8::try_from(self.entries >> (4 * at) & 15).expect("four bits"))
    }

    /// The transfers that the receipts carried, and whether they were returns.
    pub(crate) fn receipts(self) -> impl Iterator<Item = (u8, bool)> {
        self.codes().map(|code| (code & 3, code >> 2 >= Outcome::Refunded as u8))
    }

    /// How often a transfer met with an outcome.
    pub(crate) fn times(self, transfer: usize, outcome: Outcome) -> usize {
        self.codes().filter(|code| (usize::from(code & 3), code >> 2) == (transfer, outcome as u8)).count()
    }
}

/// A block and the state after it: `Header` with its `Figures` (`chain/src/block.rs`), `Meta` (`shard/src/state.rs`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Block {
    /// `Header::reference`, as a place in [`Beacon::marks`].
    pub(crate) reference: u8,
    /// `Meta::inbox` for the only source; `Figures::inbox` is its `next`.
    pub(crate) inbox: Count,
    /// `Meta::outbox` for the only destination.
    pub(crate) outbox: Count,
    /// `Meta::balances`: one account a shard, or any number of them.
    pub(crate) balances: u8,
    /// `Meta::burned`.
    pub(crate) burned: u8,
    /// `Meta::sent`.
    pub(crate) sent: u8,
    /// `Meta::received`.
    pub(crate) received: u8,
    /// Transfers executed up to here, a bit each: the senders' nonces.
    pub(crate) executed: u8,
    /// Transfers that this block executes, a bit each: the body.
    pub(crate) body: u8,
    /// What this block emits: `Executed::receipts`.
    pub(crate) emitted: Vec<Receipt>,
    /// Ghost: what was processed up to here.
    pub(crate) taken: Trace,
}

/// A shard chain from its last recorded block on: the part of `Replica`'s ledger above what the beacon knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Chain {
    /// From the lower of the two places below up to the head.
    pub(crate) blocks: Vec<Block>,
    /// The place of the last certified block: `Replica::certified` (`chain/src/replica/finality.rs`).
    pub(crate) certified: usize,
    /// The place of the last recorded block.
    pub(crate) recorded: usize,
    /// Ghost: what was processed up to the newest block that was ever certified.
    pub(crate) delivered: Trace,
}

impl Chain {
    pub(crate) fn head(&self) -> &Block {
        self.blocks.last().expect("the recorded block is always there")
    }
}

/// What a certified beacon block says about lanes: `LaneTable` (`shard/src/lanes.rs`) of both shards, without the
/// returns, which [`Count::of`] finds in the logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Mark {
    /// `Reference::slot`, in lifetimes: it only grows when everything that was under way before has expired.
    pub(crate) slot: u8,
    /// By lane, its recorded length.
    pub(crate) recorded: [u8; SHARDS],
    /// By lane, what its destination has consumed as recorded.
    pub(crate) consumed: [u8; SHARDS],
}

/// `BeaconState` (`beacon/src/state.rs`) after the newest certified beacon block, and the blocks that can be referred to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Beacon {
    /// `ShardRecord::last` of each shard.
    pub(crate) records: [Block; SHARDS],
    /// By lane, everything recorded: `LaneLog` and the bodies that `BeaconView::receipt` finds.
    pub(crate) logs: [Vec<Receipt>; SHARDS],
    /// By certified beacon block: `BeaconView::known` (`shard/src/beacon_view.rs`).
    pub(crate) marks: Vec<Mark>,
}

impl Beacon {
    /// The newest certified block.
    pub(crate) fn newest(&self) -> Mark {
        *self.marks.last().expect("genesis is a mark")
    }
}

/// What can still go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    /// Of a shard's uncertified blocks or of the beacon's: what the fork choice of `cbc/src/forkchoice.rs` may do.
    pub(crate) reorganisations: u8,
    /// Of a whole shard: what `Replica::open` (`chain/src/replica/restart.rs`) is for.
    pub(crate) crashes: u8,
    /// Beacon blocks a lifetime later than the one below: `Lanes::lifetime_slots` (`chain/src/genesis.rs`) go by.
    pub(crate) expiries: u8,
    /// Not wrong, but without end: blocks that only move the reference (`chain/src/replica/voice.rs`).
    pub(crate) heartbeats: u8,
}

/// What a beacon block does. One with several crosslinks is as good as several blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BeaconBlock {
    /// It carries the crosslink of `headers` blocks, `skipped` above the recorded one: `Replica::crosslink`
    /// (`chain/src/replica/queries.rs`), `BeaconState::record` (`beacon/src/record.rs`). Only a mutant skips.
    Record { shard: usize, skipped: usize, headers: usize },
    /// It carries nothing, a lifetime later.
    Expire,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// By shard, what its `Replica` holds.
    pub(crate) chains: [Chain; SHARDS],
    /// What the beacon's `Replica` has certified.
    pub(crate) beacon: Beacon,
    /// The beacon block above the newest certified one: no shard may read it yet (`BeaconView::advance` wants its
    /// certificate, `shard/src/beacon_view.rs`).
    pub(crate) proposed: Option<BeaconBlock>,
    /// What no code knows: the faults to come.
    pub(crate) left: Budget,
    /// Ghost: the first receipt that a reorganisation orphaned, and its source.
    pub(crate) orphan: Option<(usize, Receipt)>,
    /// Ghost: why an honest crosslink was refused. The run ends there.
    pub(crate) refused: Option<Refusal>,
    /// Ghost: a block was executed again after a crash and led elsewhere. The run ends there.
    pub(crate) diverged: bool,
}

impl State {
    /// Forgets what nothing can refer to any more, as `BeaconView::forget` and the ledger's pruning do.
    pub(crate) fn forget(&mut self) {
        for chain in &mut self.chains {
            let low = chain.certified.min(chain.recorded).min(chain.blocks.len() - 1);
            chain.blocks.drain(..low);
            chain.certified -= low;
            chain.recorded -= low;
        }
        let low = self.chains.iter().map(|chain| chain.blocks[0].reference).min().expect("there are shards");
        self.beacon.marks.drain(..usize::from(low));
        let blocks = self.chains.iter_mut().flat_map(|chain| &mut chain.blocks);
        for block in blocks.chain(&mut self.beacon.records) {
            block.reference = block.reference.saturating_sub(low);
        }
    }
}
