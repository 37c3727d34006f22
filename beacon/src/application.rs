//! The beacon as an application: what a replica of the beacon chain runs.

use crate::{
    committees::Committees,
    crosslink::InvalidCrosslink,
    index,
    pool::Pool,
    sound::{Era, KnownCertificates, SoundCrosslink},
    state::BeaconState,
};
use kakera_chain::{
    BlockId,
    application::{Application, Context, Executed, Handled, Proposal, ReferenceStatus},
    block::{Block, Figures, Header},
    codec::InvalidBytes,
    crosslink::{BeaconItem, Crosslink},
    genesis::Network,
    hash::NetworkId,
    receipt::Reference,
    signatures::Signatures,
    store::{Store, StoreFailure, Table, Write},
    units::{ChainId, Height, ShardId, Timestamp},
};
use std::collections::BTreeSet;
use thiserror::Error;

/// Canonical bytes of all items of a beacon block at most; three of the longest crosslinks fit.
pub const MAX_BODY_BYTES: usize = 3 * (Crosslink::MAX_BYTES + 1);

/// The beacon chain's rules and the crosslinks that wait.
#[derive(Clone, Debug)]
pub struct Beacon {
    network: NetworkId,
    committees: Committees,
    genesis: BeaconState,
    pool: Pool,
    known: KnownCertificates,
}

/// What the giver of a crosslink is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It waits for a beacon block.
    Accepted,
    /// It is recorded, or waits already, or what waits is better.
    Known,
    /// It is refused.
    Refused(InvalidCrosslink),
}

/// Why a beacon block's content is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidBeaconBlock {
    /// Beacon items need no witnesses.
    #[error("{found} witnesses, but a beacon block has none")]
    Witnesses {
        /// How many.
        found: usize,
    },
    /// Too many bytes.
    #[error("the items have {found} bytes, more than {limit}")]
    TooLong {
        /// Bytes present.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// An item's bytes.
    #[error("item {position}: {reason}")]
    Bytes {
        /// Which.
        position: usize,
        /// Why.
        reason: InvalidBytes,
    },
    /// A crosslink that is refused.
    #[error("item {position}: {reason}")]
    Crosslink {
        /// Which.
        position: usize,
        /// Why.
        reason: InvalidCrosslink,
    },
    /// Two crosslinks of one shard.
    #[error("item {position} is a second crosslink of shard {shard}")]
    ShardTwice {
        /// Which.
        position: usize,
        /// Whose.
        shard: ShardId,
    },
}

impl Beacon {
    /// The beacon of a network. `shard_genesis` are the shards' genesis headers ([`crate::genesis_header`] of each
    /// shard's state), by [`ShardId`].
    ///
    /// # Panics
    /// If these are not the genesis headers of this network's shards, each of which states its whole allocation.
    pub fn new(network: &Network, shard_genesis: Vec<Header>) -> Beacon {
        Beacon {
            network: network.id,
            committees: Committees::draw(network),
            genesis: BeaconState::genesis(network, shard_genesis),
            pool: Pool::new(usize::from(network.genesis.shards)),
            known: KnownCertificates::default(),
        }
    }

    /// The same, checking what committees sign in this way.
    #[must_use]
    pub fn with_signatures(mut self, signatures: Signatures) -> Beacon {
        let committees = std::iter::once(&mut self.committees.beacon).chain(&mut self.committees.shards);
        committees.for_each(|seats| seats.signatures = signatures.clone());
        self
    }

    /// The committees in office.
    pub fn committees(&self) -> &Committees {
        &self.committees
    }

    /// The crosslinks that wait.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Checks a crosslink's place in a state and that it is sound, cheap things first; lanes and figures are left to
    /// [`BeaconState::record`].
    pub fn examine(&mut self, state: &BeaconState, crosslink: Crosslink) -> Result<SoundCrosslink, InvalidCrosslink> {
        let record = state.place(&crosslink)?;
        let shard = crosslink.shard;
        let seats = self.committees.shard(shard).ok_or(InvalidCrosslink::UnknownShard { shard })?;
        let (chain, epoch, root) = (ChainId::Shard(shard), state.epoch, record.root);
        let era = Era { network: self.network, chain, epoch, root, seats };
        SoundCrosslink::check(crosslink, &era, &mut self.known)
    }

    /// Takes a crosslink into the pool if the head's state would record it.
    fn offer(&mut self, head: &BeaconState, crosslink: Crosslink) -> Handled<Reply> {
        let ends = crosslink.headers.first().zip(crosslink.headers.last());
        if let (Some((first, last)), Some(record)) = (ends, head.shard(crosslink.shard)) {
            let id = last.id(self.network);
            if id == record.last.id || self.pool.holds(crosslink.shard, first.parent, id) {
                return handled(Reply::Known, None);
            }
        }
        match self.examine(head, crosslink).and_then(|sound| head.accepts(&sound).map(|()| sound)) {
            Ok(sound) => {
                let item = sound.item().to_vec();
                if self.pool.insert(sound) { handled(Reply::Accepted, Some(item)) } else { handled(Reply::Known, None) }
            }
            Err(reason) => handled(Reply::Refused(reason), None),
        }
    }

    /// What waits that `parent` records, those with content first and then each shard in turn, and the state after it.
    fn select(&self, parent: &BeaconState, height: Height) -> (BeaconState, Vec<Vec<u8>>) {
        let (mut state, mut items, mut bytes) = (parent.clone(), Vec::new(), 0);
        let count = parent.shards.len();
        let mut turn: Vec<ShardId> = (0..count).map(shard_id).collect();
        turn.rotate_left(usize::try_from(height.0 % count.max(1) as u64).expect("below the shard count"));
        turn.sort_by_key(|shard| !self.has_content(parent, *shard));
        for shard in turn {
            for sound in self.pool.of(shard) {
                let length = sound.item().len();
                if bytes + length <= MAX_BODY_BYTES && state.record(sound).is_ok() {
                    bytes += length;
                    items.push(sound.item().to_vec());
                    break;
                }
            }
        }
        (state, items)
    }

    /// Whether something waits of a shard that this state records and that is more than a heartbeat.
    fn has_content(&self, state: &BeaconState, shard: ShardId) -> bool {
        let Some(record) = state.shard(shard) else { return false };
        let received = record.last.header.figures.received;
        let waiting = self.pool.of(shard).iter();
        waiting.filter(|sound| sound.crosslink().has_content(received)).any(|sound| state.accepts(sound).is_ok())
    }
}

impl Application for Beacon {
    type State = BeaconState;
    type Input = Crosslink;
    type Reply = Reply;
    type Invalid = InvalidBeaconBlock;

    fn genesis(&self) -> Executed<BeaconState> {
        executed(self.genesis.clone(), 0)
    }

    fn restore(&mut self, header: &Header, store: &dyn Store) -> Result<Option<BeaconState>, StoreFailure> {
        let Some(state) = index::load_state(store)? else { return Ok(None) };
        if state.root() != header.state_root {
            let reason = format!("the stored state is not that of the certified block at height {}", header.height);
            return Err(StoreFailure { table: Table::State, reason });
        }
        Ok(Some(state))
    }

    /// A beacon block reads nothing but its parent: all carry the genesis block's reference.
    fn reference_status(&self, reference: &Reference, parent: &Reference) -> ReferenceStatus {
        if reference == parent { ReferenceStatus::Known } else { ReferenceStatus::Invalid }
    }

    fn execute(
        &mut self,
        parent: &BeaconState,
        _context: &Context,
        body: &[Vec<u8>],
        witnesses: &[Vec<u8>],
    ) -> Result<Executed<BeaconState>, InvalidBeaconBlock> {
        if !witnesses.is_empty() {
            return Err(InvalidBeaconBlock::Witnesses { found: witnesses.len() });
        }
        let found = body.iter().map(Vec::len).sum();
        if found > MAX_BODY_BYTES {
            return Err(InvalidBeaconBlock::TooLong { found, limit: MAX_BODY_BYTES });
        }
        let mut state = parent.clone();
        let mut seen = BTreeSet::new();
        for (position, bytes) in body.iter().enumerate() {
            let BeaconItem::Crosslink(crosslink) =
                BeaconItem::decode(bytes).map_err(|reason| InvalidBeaconBlock::Bytes { position, reason })?;
            let shard = crosslink.shard;
            if !seen.insert(shard) {
                return Err(InvalidBeaconBlock::ShardTwice { position, shard });
            }
            self.examine(&state, *crosslink)
                .and_then(|sound| state.record(&sound))
                .map_err(|reason| InvalidBeaconBlock::Crosslink { position, reason })?;
        }
        Ok(executed(state, body.len()))
    }

    fn has_work(&self, parent: &BeaconState, _reference: &Reference) -> bool {
        (0..parent.shards.len()).any(|shard| self.has_content(parent, shard_id(shard)))
    }

    fn propose(&mut self, parent: &BeaconState, context: &Context, empty: bool) -> Proposal<BeaconState> {
        let (state, body) = if empty { (parent.clone(), Vec::new()) } else { self.select(parent, context.height) };
        let executed = executed(state, body.len());
        Proposal { reference: context.reference, body, witnesses: Vec::new(), executed }
    }

    fn certified(
        &mut self,
        _id: BlockId,
        block: &Block,
        before: &BeaconState,
        after: &Executed<BeaconState>,
    ) -> Vec<Write> {
        let mut writes = vec![index::state_row(&after.state)];
        for bytes in &block.body {
            let BeaconItem::Crosslink(crosslink) = BeaconItem::decode(bytes).expect("the block was executed");
            let below = before.shard(crosslink.shard).expect("the block was executed");
            writes.extend(index::crosslink_rows(&below.last.header, &crosslink, block.header.height));
        }
        self.pool.forget(&after.state);
        writes
    }

    fn handle(&mut self, _now: Timestamp, head: &BeaconState, input: Crosslink) -> Handled<Reply> {
        self.offer(head, input)
    }

    fn offers(&self, limit: usize) -> Vec<Vec<u8>> {
        let mut left = limit;
        let fits = |item: &Vec<u8>| left.checked_sub(item.len()).map(|rest| left = rest).is_some();
        self.pool.items().take_while(fits).collect()
    }

    fn gossip(&mut self, _now: Timestamp, head: &BeaconState, bytes: &[u8]) -> Handled<()> {
        let gossip = match BeaconItem::decode(bytes) {
            Ok(BeaconItem::Crosslink(crosslink)) => self.offer(head, *crosslink).gossip,
            Err(_) => None,
        };
        handled((), gossip)
    }
}

fn executed(state: BeaconState, items: usize) -> Executed<BeaconState> {
    state.conservation().expect("what is recorded conserves the supply, shard by shard and lane by lane");
    let transactions = u32::try_from(items).expect("at most one item a shard");
    let figures = Figures { transactions, ..Figures::default() };
    Executed { state_root: state.root(), state, receipts: Vec::new(), figures }
}

fn handled<R>(reply: R, gossip: Option<Vec<u8>>) -> Handled<R> {
    Handled { reply, gossip, writes: Vec::new(), references_grew: false }
}

fn shard_id(index: usize) -> ShardId {
    ShardId(u16::try_from(index).expect("at most 1,024 shards"))
}

#[cfg(test)]
mod tests;
