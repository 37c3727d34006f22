//! Recording: whether a sound crosslink continues what is recorded, and what it changes.

use crate::{
    crosslink::InvalidCrosslink,
    life::Court,
    sound::SoundCrosslink,
    state::{BeaconState, Kind, LaneLog, Pending, Recorded, ShardRecord},
};
use kakera_chain::{
    block::{Figures, Header},
    crosslink::Crosslink,
    receipt::{Lane, LaneCursor, Receipt, ReceiptAction},
    units::{ChainId, Height, ShardId},
};
use std::{collections::BTreeMap, sync::Arc};

/// What a crosslink changes: computed whole before anything is touched.
#[derive(Debug)]
struct Change {
    shard: ShardId,
    record: ShardRecord,
    lanes: BTreeMap<Lane, LaneLog>,
}

impl BeaconState {
    /// Records a crosslink: all of it, or nothing and why. Its requests to the beacon are carried out at once, in the
    /// order of their lane; returns the receipts that the beacon emits for them.
    pub fn record(&mut self, sound: &SoundCrosslink, court: &Court<'_>) -> Result<Vec<Receipt>, InvalidCrosslink> {
        let change = self.judge(sound)?;
        self.shards[usize::from(change.shard.0)] = Arc::new(change.record);
        self.lanes.extend(change.lanes.into_iter().map(|(lane, log)| (lane, Arc::new(log))));
        let receipts = sound.crosslink().receipts.iter().flatten();
        Ok(self.consume(receipts.filter(|receipt| receipt.lane.to == ChainId::Beacon), court))
    }

    /// Whether [`BeaconState::record`] would record it.
    pub fn accepts(&self, sound: &SoundCrosslink) -> Result<(), InvalidCrosslink> {
        self.judge(sound).map(drop)
    }

    /// Cheap checks of a crosslink's place: what is recorded ends where it begins.
    pub(crate) fn place(&self, crosslink: &Crosslink) -> Result<&ShardRecord, InvalidCrosslink> {
        let shard = crosslink.shard;
        let record = self.shard(shard).ok_or(InvalidCrosslink::UnknownShard { shard })?;
        let (headers, lists) = (crosslink.headers.len(), crosslink.receipts.len());
        let count = InvalidCrosslink::HeaderCount { found: headers, limit: Crosslink::MAX_HEADERS };
        let first = crosslink.headers.first().ok_or(count.clone())?;
        if headers > Crosslink::MAX_HEADERS {
            return Err(count);
        }
        if headers != lists {
            return Err(InvalidCrosslink::ReceiptLists { headers, lists });
        }
        let recorded = record.last.header.height;
        if first.height <= recorded {
            return Err(InvalidCrosslink::Stale { recorded });
        }
        if first.height != recorded.next() {
            return Err(InvalidCrosslink::Gap { recorded, first: first.height });
        }
        let mut below = &record.last.header;
        for (position, header) in crosslink.headers.iter().enumerate() {
            if (header.chain, header.epoch, header.root) != (ChainId::Shard(shard), record.era, record.root) {
                return Err(InvalidCrosslink::OtherEra { position });
            }
            if position > 0 && self.closes(record, below) {
                return Err(InvalidCrosslink::PastEra { position });
            }
            succeed(below, header, position)?;
            below = header;
        }
        if first.parent != record.last.id {
            return Err(InvalidCrosslink::Parent { position: 0 });
        }
        Ok(record)
    }

    fn judge(&self, sound: &SoundCrosslink) -> Result<Change, InvalidCrosslink> {
        let crosslink = sound.crosslink();
        let record = self.place(crosslink)?;
        let chain = ChainId::Shard(crosslink.shard);
        let mut ledger = Ledger { state: self, chain, allocation: record.allocation, lanes: BTreeMap::new() };
        let mut below = &record.last.header;
        for (header, receipts) in crosslink.headers.iter().zip(&crosslink.receipts) {
            ledger.step(&below.figures, header, receipts)?;
            below = header;
        }
        let last = Recorded { id: sound.last(), header: below.clone() };
        let record = self.recorded(record, last);
        Ok(Change { shard: crosslink.shard, record, lanes: ledger.lanes })
    }
}

/// Whether a header's numbers can follow those of the header below.
fn succeed(below: &Header, header: &Header, position: usize) -> Result<(), InvalidCrosslink> {
    if below.height.0.checked_add(1) != Some(header.height.0) {
        return Err(InvalidCrosslink::HeightOrder { position });
    }
    if header.slot <= below.slot {
        return Err(InvalidCrosslink::SlotOrder { position });
    }
    let read = |header: &Header| (header.reference.height, header.reference.slot);
    let (before, after) = (read(below), read(header));
    if after.0 < before.0 || after.1 < before.1 {
        return Err(InvalidCrosslink::ReferenceOrder { position });
    }
    Ok(())
}

/// One shard's lanes as its headers change them; the state behind it stays as it is.
struct Ledger<'a> {
    state: &'a BeaconState,
    chain: ChainId,
    allocation: u64,
    /// Lanes changed so far.
    lanes: BTreeMap<Lane, LaneLog>,
}

/// A receipt that a header consumed, by source and `seq`.
type Consumed = BTreeMap<(ChainId, u64), Pending>;

impl Ledger<'_> {
    fn step(&mut self, before: &Figures, header: &Header, receipts: &[Receipt]) -> Result<(), InvalidCrosslink> {
        let figures = &header.figures;
        let mut consumed = self.consume(&before.inbox, &figures.inbox, header.height)?;
        let taken: u128 = consumed.values().map(|pending| u128::from(pending.amount)).sum();
        let given: u128 = receipts.iter().map(|receipt| u128::from(receipt.amount())).sum();
        for receipt in receipts {
            self.emit(receipt, &mut consumed)?;
        }
        balance(self.allocation, before, figures, header.height, given, taken)
    }

    /// Takes what the header's lane cursors say from the lanes.
    fn consume(
        &mut self,
        before: &[LaneCursor],
        inbox: &[LaneCursor],
        height: Height,
    ) -> Result<Consumed, InvalidCrosslink> {
        let ascending = inbox.windows(2).all(|pair| pair[0].from < pair[1].from);
        if !ascending || inbox.iter().any(|cursor| !self.is_other_end(cursor.from)) {
            return Err(InvalidCrosslink::Inbox { height });
        }
        for gone in before.iter().filter(|gone| gone.next > 0) {
            if inbox.binary_search_by_key(&gone.from, |cursor| cursor.from).is_err() {
                let lane = Lane { from: gone.from, to: self.chain };
                return Err(InvalidCrosslink::CursorRegresses { lane, consumed: gone.next, found: 0 });
            }
        }
        let mut taken = Consumed::new();
        for cursor in inbox {
            let lane = Lane { from: cursor.from, to: self.chain };
            let (consumed, recorded) = self.peek(&lane).map_or((0, 0), |log| (log.consumed, log.recorded()));
            let found = cursor.next;
            if found < consumed {
                return Err(InvalidCrosslink::CursorRegresses { lane, consumed, found });
            }
            if found > recorded {
                return Err(InvalidCrosslink::CursorAhead { lane, recorded, found });
            }
            if found == consumed {
                continue;
            }
            let log = self.touch(lane);
            for seq in consumed..found {
                let pending = log.pop().expect("the cursor is not past the lane's length");
                taken.insert((cursor.from, seq), pending);
            }
        }
        Ok(taken)
    }

    /// Appends a receipt to its lane. A return takes what it gives back out of `consumed`: nothing is returned twice.
    fn emit(&mut self, receipt: &Receipt, consumed: &mut Consumed) -> Result<(), InvalidCrosslink> {
        let (lane, seq) = (receipt.lane, receipt.seq);
        if lane.from != self.chain {
            return Err(InvalidCrosslink::LaneSource { from: lane.from });
        }
        if !self.is_other_end(lane.to) {
            return Err(InvalidCrosslink::LaneDestination { to: lane.to });
        }
        if !receipt.action.belongs_in(&lane) {
            return Err(InvalidCrosslink::LaneAction { lane, seq });
        }
        let expected = self.peek(&lane).map_or(0, LaneLog::recorded);
        if seq != expected {
            return Err(InvalidCrosslink::LaneOrder { lane, expected, found: seq });
        }
        if let ReceiptAction::Return { original, amount, .. } = receipt.action {
            let returned = consumed.remove(&(lane.to, original));
            let may = |pending: &Pending| (pending.amount, pending.kind) == (amount, Kind::Ordinary);
            if !returned.as_ref().is_some_and(may) {
                return Err(InvalidCrosslink::UnfoundedReturn { lane, seq });
            }
        }
        let bound = self.state.parameters.lane_bound;
        let back = self.unanswered(&lane);
        let log = self.touch(lane);
        log.push(receipt);
        if log.ordinary.saturating_add(back) > bound {
            return Err(InvalidCrosslink::LaneFull { lane, bound });
        }
        Ok(())
    }

    /// Returns from the beacon that the shard has not consumed count against its requests, each of which may make one
    /// more: what a shard leaves lying stays bounded. A shard that keeps the bound itself is never refused, as it
    /// counts at least these.
    fn unanswered(&self, lane: &Lane) -> u64 {
        if lane.to != ChainId::Beacon {
            return 0;
        }
        self.peek(&Lane { from: ChainId::Beacon, to: self.chain }).map_or(0, LaneLog::returns)
    }

    /// Whether lanes may lead there and come from there: to another shard, and in a network with stake to the beacon.
    fn is_other_end(&self, chain: ChainId) -> bool {
        match chain {
            ChainId::Beacon => self.state.has_stake(),
            ChainId::Shard(_) => chain != self.chain && self.state.is_shard(chain),
        }
    }

    fn peek(&self, lane: &Lane) -> Option<&LaneLog> {
        self.lanes.get(lane).or_else(|| self.state.lane(lane))
    }

    fn touch(&mut self, lane: Lane) -> &mut LaneLog {
        let state = self.state;
        self.lanes.entry(lane).or_insert_with(|| state.lane(&lane).cloned().unwrap_or_default())
    }
}

/// Whether a header's figures follow from those below it, the value of the receipts given away and of those taken in.
fn balance(
    allocation: u64,
    before: &Figures,
    figures: &Figures,
    height: Height,
    given: u128,
    taken: u128,
) -> Result<(), InvalidCrosslink> {
    let expected = u128::from(before.sent) + given;
    if u128::from(figures.sent) != expected {
        return Err(InvalidCrosslink::Sent { height, expected, found: figures.sent });
    }
    let expected = u128::from(before.received) + taken;
    if u128::from(figures.received) != expected {
        return Err(InvalidCrosslink::Received { height, expected, found: figures.received });
    }
    if figures.burned < before.burned {
        return Err(InvalidCrosslink::Burned { height, before: before.burned, found: figures.burned });
    }
    let had = u128::from(allocation) + u128::from(figures.received);
    let left = u128::from(figures.sent) + u128::from(figures.burned);
    let expected = had.checked_sub(left).ok_or(InvalidCrosslink::Insolvent { height, left, had })?;
    let found = u128::from(figures.balances) + u128::from(figures.held);
    if found != expected {
        return Err(InvalidCrosslink::Unbalanced { height, expected, found });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
