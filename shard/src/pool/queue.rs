//! The order in which a block takes transactions: by effective tip, each sender's by nonce.

use super::Entry;
use kakera_chain::address::Address;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

/// What decides: the effective tip, then who came first.
type Rank = (u64, Reverse<u64>);

/// Transactions not yet tried for one block: each sender's next.
pub(crate) struct Queue<'a> {
    senders: BTreeMap<Address, &'a BTreeMap<u64, Entry>>,
    heap: BinaryHeap<(Rank, Address, u64)>,
    base_fee: u64,
}

impl<'a> Queue<'a> {
    pub(super) fn new(
        senders: impl Iterator<Item = (Address, &'a BTreeMap<u64, Entry>)>,
        base_fee: u64,
        nonce_of: impl Fn(&Address) -> u64,
    ) -> Queue<'a> {
        let senders: BTreeMap<_, _> = senders.collect();
        let next = |(sender, entries): (&Address, &&'a BTreeMap<u64, Entry>)| {
            let nonce = nonce_of(sender);
            Some((rank(entries.get(&nonce)?, base_fee)?, *sender, nonce))
        };
        let heap = senders.iter().filter_map(next).collect();
        Queue { senders, heap, base_fee }
    }

    /// The best one left.
    pub(crate) fn pop(&mut self) -> Option<&'a Entry> {
        let (_, sender, nonce) = self.heap.pop()?;
        self.senders.get(&sender)?.get(&nonce)
    }

    /// `entry` was executed: its sender's next one may be.
    pub(crate) fn follow(&mut self, entry: &Entry) {
        let transaction = &entry.signed.transaction;
        let (sender, nonce) = (Address::of(&transaction.sender), transaction.nonce + 1);
        let next = self.senders.get(&sender).and_then(|entries| entries.get(&nonce));
        if let Some(rank) = next.and_then(|next| rank(next, self.base_fee)) {
            self.heap.push((rank, sender, nonce));
        }
    }
}

/// Nothing for one that does not pay the base fee.
fn rank(entry: &Entry, base_fee: u64) -> Option<Rank> {
    let transaction = &entry.signed.transaction;
    let room = transaction.max_fee.checked_sub(base_fee)?;
    Some((transaction.tip.min(room), Reverse(entry.arrival)))
}
