//! The beacon as an application: what a replica of the beacon chain runs.

use crate::{
    crosslink::InvalidCrosslink,
    draw::Bench,
    index,
    life::Court,
    pool::Pool,
    randomness::{InvalidReveal, Links, Reveal},
    sound::{Era, KnownCertificates, SoundCrosslink},
    state::{BeaconState, ShardRecord},
    work::{Work, convicts, executed},
};
use kakera_chain::{
    BlockId, Slot,
    application::{Application, Change, Context, Executed, Handled, Proposal, ReferenceStatus},
    block::{Block, Header},
    certificate::{Certificate, Seats},
    codec::{self, InvalidBytes},
    crosslink::{BeaconItem, Crosslink},
    era::EraPlan,
    genesis::Network,
    hash::NetworkId,
    receipt::Reference,
    signatures::Signatures,
    store::{Store, StoreFailure, Table},
    units::{ChainId, Epoch, Height, ShardId, Timestamp, ValidatorId},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use thiserror::Error;

/// Canonical bytes of all items of a beacon block at most; three of the longest crosslinks fit.
pub const MAX_BODY_BYTES: usize = 3 * (Crosslink::MAX_BYTES + 1);

/// The beacon chain's rules and the crosslinks that wait.
#[derive(Clone, Debug)]
pub struct Beacon {
    network: NetworkId,
    genesis: BeaconState,
    pool: Pool,
    known: KnownCertificates,
    signatures: Signatures,
    /// Committees by the chain, epoch and root of their era, the newest ones; with the bench, because branches of this
    /// chain may name different ones.
    seats: BTreeMap<(ChainId, Epoch, BlockId), (Bench, Arc<Seats>)>,
    /// What this process reveals when it proposes; nothing: it runs no beacon validator.
    links: Option<(ValidatorId, Links)>,
    /// The newest certificate of the own chain.
    certificate: Option<Certificate>,
}

/// Committees kept at most, so that none is made for every crosslink.
const SEATS_KEPT: usize = 2 * 1024 + 2;

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
    /// A reveal or an attendance that does not stand before everything else, or is there twice.
    #[error("item {position} stands where it may not")]
    Order {
        /// Which.
        position: usize,
    },
    /// A reveal that is not what the proposer promised.
    #[error("item {position}: {reason}")]
    Reveal {
        /// Which.
        position: usize,
        /// Why.
        reason: InvalidReveal,
    },
    /// A certificate that is not of this chain and epoch, does not hold, or was counted before.
    #[error("item {position} shows no new attendance")]
    Attendance {
        /// Which.
        position: usize,
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
            genesis: BeaconState::genesis(network, shard_genesis),
            pool: Pool::new(usize::from(network.genesis.shards)),
            known: KnownCertificates::default(),
            signatures: Signatures::default(),
            seats: BTreeMap::new(),
            links: None,
            certificate: None,
        }
    }

    /// The same, checking what committees sign in this way.
    #[must_use]
    pub fn with_signatures(mut self, signatures: Signatures) -> Beacon {
        self.signatures = signatures;
        self
    }

    /// The same, revealing these links when this validator proposes.
    #[must_use]
    pub fn with_links(mut self, validator: ValidatorId, links: Links) -> Beacon {
        self.links = Some((validator, links));
        self
    }

    /// How signatures are checked.
    pub fn signatures(&self) -> &Signatures {
        &self.signatures
    }

    /// The crosslinks that wait.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The committee of the era that a shard is in by this state.
    fn seats(&mut self, state: &BeaconState, record: &ShardRecord) -> Arc<Seats> {
        let key = (ChainId::Shard(record.shard()), record.era, record.root);
        if let Some((_, seats)) = self.seats.get(&key).filter(|(bench, _)| *bench == record.bench) {
            return Arc::clone(seats);
        }
        let seats = Arc::new(state.seats(&record.bench.seats(), &self.signatures));
        if self.seats.len() >= SEATS_KEPT {
            let oldest = self.seats.keys().min_by_key(|(_, epoch, _)| *epoch).copied();
            oldest.map(|oldest| self.seats.remove(&oldest));
        }
        self.seats.insert(key, (record.bench.clone(), Arc::clone(&seats)));
        seats
    }

    /// Checks a crosslink's place in a state and that it is sound, cheap things first; lanes and figures are left to
    /// [`BeaconState::record`].
    pub fn examine(&mut self, state: &BeaconState, crosslink: Crosslink) -> Result<SoundCrosslink, InvalidCrosslink> {
        let record = state.place(&crosslink)?;
        let seats = self.seats(state, record);
        let (chain, epoch, root) = (ChainId::Shard(crosslink.shard), record.era, record.root);
        let era = Era { network: self.network, chain, epoch, root, seats: &seats };
        SoundCrosslink::check(crosslink, &era, &mut self.known)
    }

    /// Takes a crosslink into the pool if the head's state would record it.
    fn offer(&mut self, head: &BeaconState, crosslink: Crosslink) -> Handled<Reply> {
        let ends = crosslink.headers.first().zip(crosslink.headers.last());
        if let (Some((first, last)), Some(record)) = (ends, head.shard(crosslink.shard)) {
            let (id, signers) = (last.id(self.network), crosslink.certificate.signatures.len());
            if id == record.last.id || self.pool.holds(crosslink.shard, first.parent, id, signers) {
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

    /// The order in which shards have their turn: first those whose era is over, as there is a deadline for them, then those
    /// with content, and then each in its turn.
    fn turns(&self, parent: &BeaconState, height: Height) -> Vec<ShardId> {
        let count = parent.shards.len();
        let mut turn: Vec<ShardId> = (0..count).map(shard_id).collect();
        turn.rotate_left(usize::try_from(height.0 % count.max(1) as u64).expect("below the shard count"));
        let is_behind = |shard: ShardId| parent.shard(shard).is_some_and(|record| record.era < parent.epoch);
        turn.sort_by_key(|shard| (!is_behind(*shard), !self.has_content(parent, *shard)));
        turn
    }

    /// What waits that `work` records.
    fn select(&self, parent: &BeaconState, context: &Context, work: &mut Work) {
        let court = self.court();
        for shard in self.turns(parent, context.height) {
            for sound in self.pool.of(shard) {
                let length = sound.item().len();
                if work.bytes + length > MAX_BODY_BYTES || reads_below(sound.crosslink(), context).is_err() {
                    continue;
                }
                if let Ok(emitted) = work.state.record(sound, &court) {
                    work.count(&self.known_seats(parent, sound), sound.crosslink());
                    work.receipts.extend(emitted);
                    work.push(sound.item().to_vec());
                    break;
                }
            }
        }
    }

    /// The committee that signed a crosslink which was examined on this state.
    fn known_seats(&self, parent: &BeaconState, sound: &SoundCrosslink) -> Arc<Seats> {
        let record = parent.shard(sound.crosslink().shard).expect("it was examined");
        let key = (ChainId::Shard(record.shard()), record.era, record.root);
        let made = || Arc::new(parent.seats(&record.bench.seats(), &self.signatures));
        let known = self.seats.get(&key).filter(|(bench, _)| *bench == record.bench);
        known.map_or_else(made, |(_, seats)| Arc::clone(seats))
    }

    /// What judges requests.
    fn court(&self) -> Court<'static> {
        Court { network: self.network, judge: &convicts }
    }

    /// Whether something waits of a shard that this state records and that is more than a heartbeat.
    fn has_content(&self, state: &BeaconState, shard: ShardId) -> bool {
        let Some(record) = state.shard(shard) else { return false };
        let inbox = &record.last.header.figures.inbox;
        let waiting = self.pool.of(shard).iter();
        let matters = |sound: &&SoundCrosslink| {
            let crosslink = sound.crosslink();
            crosslink.has_content(inbox) || crosslink.headers.last().is_some_and(|last| state.closes(record, last))
        };
        waiting.filter(matters).any(|sound| state.accepts(sound).is_ok())
    }

    /// What the proposer reveals on this state, if this process knows it.
    fn reveal(&mut self, state: &BeaconState, proposer: ValidatorId) -> Option<Reveal> {
        let (validator, links) = self.links.as_mut().filter(|(validator, _)| *validator == proposer)?;
        links.reveal(&state.registry.get(*validator)?.commitment, state.epoch)
    }

    /// Takes one item of a body.
    fn take(
        &mut self,
        work: &mut Work,
        seen: &mut BTreeSet<ShardId>,
        position: usize,
        context: &Context,
        bytes: &[u8],
    ) -> Result<(), InvalidBeaconBlock> {
        let item = BeaconItem::decode(bytes).map_err(|reason| InvalidBeaconBlock::Bytes { position, reason })?;
        match item {
            BeaconItem::Reveal(reveal) => {
                if position > 0 {
                    return Err(InvalidBeaconBlock::Order { position });
                }
                work.reveal(context.validator, &reveal)
                    .map_err(|reason| InvalidBeaconBlock::Reveal { position, reason })
            }
            BeaconItem::Attendance(certificate) => {
                if !seen.is_empty() || work.attended {
                    return Err(InvalidBeaconBlock::Order { position });
                }
                let shown = work.attend(*certificate, self.network, &self.signatures);
                if shown { Ok(()) } else { Err(InvalidBeaconBlock::Attendance { position }) }
            }
            BeaconItem::Crosslink(crosslink) => {
                let shard = crosslink.shard;
                if !seen.insert(shard) {
                    return Err(InvalidBeaconBlock::ShardTwice { position, shard });
                }
                let refused = |reason| InvalidBeaconBlock::Crosslink { position, reason };
                reads_below(&crosslink, context).map_err(refused)?;
                let sound = self.examine(&work.state, *crosslink).map_err(refused)?;
                let seats = self.known_seats(&work.state, &sound);
                let emitted = work.state.record(&sound, &self.court()).map_err(refused)?;
                work.count(&seats, sound.crosslink());
                work.receipts.extend(emitted);
                Ok(())
            }
        }
    }
}

impl Application for Beacon {
    type State = BeaconState;
    type Input = Crosslink;
    type Reply = Reply;
    type Invalid = InvalidBeaconBlock;

    fn genesis(&self) -> Executed<BeaconState> {
        executed(self.genesis.clone(), 0, Vec::new())
    }

    fn restore(&mut self, header: &Header, store: &dyn Store) -> Result<Option<BeaconState>, StoreFailure> {
        let Some(state) = index::state_at(store, header.height)? else { return Ok(None) };
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
        context: &Context,
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
        let (mut work, mut seen) = (Work::new(parent), BTreeSet::new());
        for (position, bytes) in body.iter().enumerate() {
            self.take(&mut work, &mut seen, position, context, bytes)?;
        }
        Ok(work.finish(context, body.len()).0)
    }

    fn has_work(&self, parent: &BeaconState, _reference: &Reference, slot: Slot) -> bool {
        parent.is_due(slot) || (0..parent.shards.len()).any(|shard| self.has_content(parent, shard_id(shard)))
    }

    fn propose(&mut self, parent: &BeaconState, context: &Context, empty: bool) -> Option<Proposal<BeaconState>> {
        let mut work = Work::new(parent);
        if let Some(reveal) = self.reveal(parent, context.validator)
            && work.reveal(context.validator, &reveal).is_ok()
        {
            work.push(codec::encode(&BeaconItem::Reveal(reveal)));
        }
        // Once there is stake it is worth something to have been there.
        if let Some(certificate) = self.certificate.clone().filter(|_| parent.has_stake() && !empty)
            && work.attend(certificate.clone(), self.network, &self.signatures)
        {
            work.push(codec::encode(&BeaconItem::Attendance(Box::new(certificate))));
        }
        if !empty {
            self.select(parent, context, &mut work);
        }
        let items = work.items.len();
        let (executed, body) = work.finish(context, items);
        Some(Proposal { reference: context.reference, body, witnesses: Vec::new(), executed })
    }

    fn certified(&mut self, id: BlockId, block: &Block, before: &BeaconState, after: &Executed<BeaconState>) -> Change {
        let mut writes = index::state_rows((block.header.height, id), before, &after.state, &after.receipts);
        for bytes in &block.body {
            let item = BeaconItem::decode(bytes).expect("the block was executed");
            let BeaconItem::Crosslink(crosslink) = item else { continue };
            let below = before.shard(crosslink.shard).expect("the block was executed");
            writes.extend(index::crosslink_rows(&below.last.header, &crosslink, block.header.height));
        }
        writes.extend(index::emitted_rows(&after.receipts, block.header.height));
        self.pool.forget(&after.state);
        // Nothing certified is ever undone on this chain.
        Change { writes, undo: Vec::new() }
    }

    fn certificate(&mut self, certificate: &Certificate) {
        self.certificate = Some(certificate.clone());
    }

    fn settled(&self) -> Height {
        Height(u64::MAX - 1)
    }

    fn undone(&mut self, _header: &Header, _state: &BeaconState) {}

    fn enter(&mut self, _era: &kakera_chain::era::Era) {
        self.certificate = None;
    }

    fn successor(&self, id: BlockId, header: &Header, state: &BeaconState) -> Option<EraPlan> {
        Some(state.beacon_era((header.height, id), &self.signatures))
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
            Ok(BeaconItem::Reveal(_) | BeaconItem::Attendance(_)) | Err(_) => None,
        };
        handled((), gossip)
    }
}

/// Whether a crosslink's headers read beacon blocks below the one that would record it. References never go back, so that
/// a claim to have read the future would bind whoever makes the shard's later blocks.
fn reads_below(crosslink: &Crosslink, context: &Context) -> Result<(), InvalidCrosslink> {
    let above = |header: &Header| header.reference.height >= context.height || header.reference.slot >= context.slot;
    match crosslink.headers.iter().position(above) {
        Some(position) => Err(InvalidCrosslink::FutureReference { position }),
        None => Ok(()),
    }
}

fn handled<R>(reply: R, gossip: Option<Vec<u8>>) -> Handled<R> {
    Handled { reply, gossip, writes: Vec::new(), references_grew: false }
}

fn shard_id(index: usize) -> ShardId {
    ShardId(u16::try_from(index).expect("at most 1,024 shards"))
}

#[cfg(test)]
mod tests;
