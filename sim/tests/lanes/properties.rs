//! What must hold in every state, what must be reached, and where every run must end.

use super::{
    beacon::in_flight,
    model::Lanes,
    shard::other,
    state::{FEE, Mark, Outcome, Receipt, SHARDS, State, TRANSFERS},
};
use stateright::Property;

pub(crate) const CONSERVED: &str = "value is conserved";
pub(crate) const ONCE: &str = "a receipt ends at most once";
pub(crate) const IN_ORDER: &str = "a lane is consumed in order, as recorded";
pub(crate) const NO_GAPS: &str = "a lane has no gaps";
pub(crate) const RECORDED: &str = "what is recorded is never undone";
pub(crate) const DELIVERED: &str = "what is delivered is never undone";
pub(crate) const BOUNDED: &str = "a lane never holds more than its bound";
pub(crate) const ACCEPTED: &str = "an honest crosslink is never refused";
pub(crate) const REPLAYED: &str = "a block executed again leads to the same state";
pub(crate) const RESTS_SETTLED: &str = "where nothing goes on, everything is settled";
pub(crate) const SETTLES: &str = "everything settles";
pub(crate) const TOGETHER: &str = "a transfer and a return travel in one lane";

/// All of them.
pub(crate) fn all() -> Vec<Property<Lanes>> {
    vec![
        Property::always(CONSERVED, conserved),
        Property::always(ONCE, once),
        Property::always(IN_ORDER, in_order),
        Property::always(NO_GAPS, no_gaps),
        Property::always(RECORDED, recorded),
        Property::always(DELIVERED, delivered),
        Property::always(BOUNDED, bounded),
        Property::always(ACCEPTED, |_, state: &State| state.refused.is_none()),
        Property::always(REPLAYED, |_, state: &State| !state.diverged),
        Property::always(RESTS_SETTLED, |model: &Lanes, state: &State| settled(model, state) || !model.rests(state)),
        Property::eventually(SETTLES, settled),
        Property::sometimes("a transfer is credited", |_, state: &State| happened(state, Outcome::Credited)),
        Property::sometimes("a transfer expires", |_, state: &State| happened(state, Outcome::SentBack)),
        Property::sometimes("a return is credited", |_, state: &State| happened(state, Outcome::Refunded)),
        Property::sometimes("a credit and a return end beside each other", |_, state: &State| {
            happened(state, Outcome::Credited) && happened(state, Outcome::Refunded)
        }),
        Property::sometimes("a reorganisation happens", |_, state: &State| state.left.reorganisations == 0),
        Property::sometimes("a crash happens", |_, state: &State| state.left.crashes == 0),
        Property::sometimes("all faults happen and everything settles", |model: &Lanes, state: &State| {
            let left = state.left;
            left.reorganisations + left.crashes + left.expiries == 0 && settled(model, state)
        }),
        Property::sometimes("a full lane holds a transfer back", held_back),
        Property::sometimes("a block reads less than the newest beacon block", reads_old),
        Property::sometimes("an orphan's place goes to another receipt", |_, state: &State| {
            state.orphan.is_some_and(|(source, orphan)| {
                let recorded = state.beacon.logs[source].get(usize::from(orphan.seq));
                recorded.is_some_and(|recorded| recorded.transfer != orphan.transfer)
            })
        }),
        Property::sometimes(TOGETHER, |_, state: &State| {
            let returns = |lane: usize| state.beacon.logs[lane].iter().filter(|receipt| receipt.original.is_some());
            (0..SHARDS).any(|lane| (1..state.beacon.logs[lane].len()).contains(&returns(lane).count()))
        }),
    ]
}

/// Each block conserves by its own counters (`Meta::conserves`, `shard/src/state.rs`); the records and the lanes hold the
/// supply (`BeaconState::conservation`, `beacon/src/state.rs`).
fn conserved(model: &Lanes, state: &State) -> bool {
    let allocation = model.setup.allocation.map(u16::from);
    let blocks =
        state.chains.iter().zip(allocation).flat_map(|(chain, had)| chain.blocks.iter().map(move |b| (b, had)));
    let mut sums = blocks.map(|(block, had)| {
        let [balances, burned, sent] = [block.balances, block.burned, block.sent].map(u16::from);
        had + u16::from(block.received) == balances + burned + sent
    });
    let inside = state.beacon.records.iter().map(|record| u16::from(record.balances) + u16::from(record.burned));
    sums.all(|holds| holds) && inside.sum::<u16>() + in_flight(model, state) == allocation.iter().sum::<u16>()
}

/// How often a transfer ended, by the heads of both chains.
fn ends(model: &Lanes, state: &State, transfer: usize) -> usize {
    let from = model.setup.transfers[transfer].from;
    let [there, here] = [other(from), from].map(|shard| state.chains[shard].head().taken);
    there.times(transfer, Outcome::Credited) + here.times(transfer, Outcome::Refunded)
}

fn once(model: &Lanes, state: &State) -> bool {
    (0..TRANSFERS).all(|transfer| ends(model, state, transfer) <= 1)
}

/// What the head of each chain has processed is what is recorded of the lane, from its beginning to the cursor.
fn in_order(_: &Lanes, state: &State) -> bool {
    (0..SHARDS).all(|shard| {
        let head = state.chains[shard].head();
        let log = state.beacon.logs[other(shard)].get(..usize::from(head.inbox.next));
        let expected = |log: &[Receipt]| {
            head.taken.receipts().eq(log.iter().map(|receipt| (receipt.transfer, receipt.original.is_some())))
        };
        log.is_some_and(expected)
    })
}

/// Recorded lanes count from 0, and end where the recorded header says.
fn no_gaps(_: &Lanes, state: &State) -> bool {
    (0..SHARDS).all(|lane| {
        let log = &state.beacon.logs[lane];
        let numbered = log.iter().enumerate().all(|(at, receipt)| usize::from(receipt.seq) == at);
        numbered && log.len() == usize::from(state.beacon.records[lane].outbox.next)
    })
}

/// The recorded block is a block of the chain that everybody builds on.
fn recorded(_: &Lanes, state: &State) -> bool {
    (0..SHARDS).all(|shard| {
        let chain = &state.chains[shard];
        chain.blocks.get(chain.recorded) == Some(&state.beacon.records[shard])
    })
}

/// What was processed in a certified block stays processed.
fn delivered(_: &Lanes, state: &State) -> bool {
    state.chains.iter().all(|chain| chain.blocks[chain.certified].taken == chain.delivered)
}

/// Neither do more transfers wait in a recorded lane, nor are more of them unsettled in truth: sent by the head, and
/// neither credited in a certified block over there nor refunded here.
fn bounded(model: &Lanes, state: &State) -> bool {
    let bound = usize::from(model.setup.bound);
    let newest = state.beacon.newest();
    (0..SHARDS).all(|shard| {
        let pending = state.beacon.logs[shard].iter().skip(usize::from(newest.consumed[shard]));
        let there = &state.chains[other(shard)];
        let (head, there) = (state.chains[shard].head(), there.blocks[there.certified].taken);
        let open = |transfer: &usize| {
            (head.executed & model.pool(shard)) >> transfer & 1 == 1
                && there.times(*transfer, Outcome::Credited) + head.taken.times(*transfer, Outcome::Refunded) == 0
        };
        pending.filter(|receipt| receipt.original.is_none()).count() <= bound
            && (0..TRANSFERS).filter(open).count() <= bound
    })
}

/// Everything emitted is certified, recorded and consumed; each transfer ended, or its account cannot pay for it.
fn settled(model: &Lanes, state: &State) -> bool {
    let newest = state.beacon.newest();
    let consumed = (0..SHARDS).all(|lane| state.beacon.logs[lane].len() == usize::from(newest.consumed[lane]));
    // Heartbeats above the record are nothing to wait for.
    let recorded = state.chains.iter().zip(&state.beacon.records).all(|(chain, record)| {
        let head = chain.head();
        (head.inbox, head.outbox) == (record.inbox, record.outbox)
    });
    let ended = |transfer: usize| {
        let chain = &state.chains[model.setup.transfers[transfer].from];
        let waits = chain.head().executed >> transfer & 1 == 0;
        let poor = chain.head().balances < model.setup.transfers[transfer].amount + FEE;
        ends(model, state, transfer) == 1 || (waits && poor)
    };
    consumed && recorded && state.refused.is_none() && (0..TRANSFERS).all(ended)
}

fn happened(state: &State, outcome: Outcome) -> bool {
    state.chains.iter().any(|chain| (0..TRANSFERS).any(|at| chain.head().taken.times(at, outcome) > 0))
}

/// An account that can pay waits for room, whatever the next block reads.
fn held_back(model: &Lanes, state: &State) -> bool {
    let newest = state.beacon.newest();
    (0..SHARDS).any(|shard| {
        let head = state.chains[shard].head();
        let full = model.unsettled(state, shard, &newest, head) >= model.setup.bound;
        full && (0..TRANSFERS).any(|at| {
            let waits = model.pool(shard) >> at & !(head.executed >> at) & 1 == 1;
            waits && head.balances >= model.setup.transfers[at].amount + FEE
        })
    })
}

/// A head that processed something, though a newer mark makes more due.
fn reads_old(_: &Lanes, state: &State) -> bool {
    let newest = state.beacon.newest();
    (0..SHARDS).any(|shard| {
        let (head, lane) = (state.chains[shard].head(), other(shard));
        let read = state.beacon.marks.get(usize::from(head.reference));
        let behind = |read: &Mark| read.recorded[lane] < newest.recorded[lane];
        state.chains[shard].blocks.len() > 1 && head.inbox.next > 0 && read.is_some_and(behind)
    })
}
