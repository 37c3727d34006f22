//! From era to era: entering one, and undoing what its root leaves out.
//!
//! ```text
//!   era e ── switch block certified ──> root named ──> enter: empty engine, same state, next committee
//!      │                                    │
//!      └─ root below the certified block ───┘  undo (a fallback): written values are put back, block by block
//!      └─ root above the certified block: follow certified blocks up to it first (`import.rs`)
//! ```
//!
//! Nobody leaves an era while it holds the block that ends it: what shows that block certified (the proof that the era is
//! over, or a certificate that the beacon has recorded) certifies it here, too. Who does not hold it keeps the proof for
//! those who do: the member that showed it may never speak again.

use super::{
    Breach, Effect, Era, InvalidBlocks, InvalidStore, Phase, Replica, doubt::Doubts, fetches::Fetches,
    finality::Shares, past::Past, record,
};
use crate::{
    application::{Application, Context},
    block::Header,
    certificate::Certificate,
    codec,
    era::EraPlan,
    peer::PeerMessage,
    store::{Table, Write},
    units::{Epoch, Height, ValidatorId},
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_cbc::{BlockId, Blocks, Engine, Leaders, Limits, Slot, Speaker, SpeakerConfig};
use std::collections::VecDeque;

/// Eras that are known and not entered yet at most: a chain that is further behind is fetched as a whole.
const PLANS: usize = 1_024;
/// Messages of the next era that are kept from one validator until it begins.
const EARLY: usize = 64;
/// Bytes of all of them at most.
const EARLY_BYTES: usize = 8 * 1024 * 1024;

/// Tables that hold what one era said; a new one begins with none of it.
const SPOKEN: [Table; 4] = [Table::Messages, Table::MessageIds, Table::Threads, Table::Cites];

/// Proves that an era is over.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ClosedEra {
    /// Of its switch block.
    pub header: Header,
    /// Of that block.
    pub certificate: Certificate,
}

impl ClosedEra {
    /// Canonical bytes at most.
    pub const MAX_BYTES: usize = Header::MAX_BYTES + Certificate::MAX_BYTES;
}

/// What a validator said in an era that had not begun here.
struct Early {
    from: ValidatorId,
    epoch: Epoch,
    message: PeerMessage,
    length: usize,
}

/// Eras to come, and what has been said in them already.
#[derive(Default)]
pub(super) struct Ahead {
    plans: VecDeque<EraPlan>,
    early: VecDeque<Early>,
    bytes: usize,
    /// Whether an era may have become ripe to be entered since that was last looked at.
    pub(super) ripe: bool,
    /// Whether an era was entered while the present input is handled: the store still holds what the one before said.
    pub(super) begins: bool,
}

impl Ahead {
    /// What a start begins with: the last process may have ended before it could enter an era.
    pub(super) fn new() -> Ahead {
        Ahead { ripe: true, ..Ahead::default() }
    }

    /// Whether an era is known that is not entered yet.
    pub(super) fn is_awaited(&self) -> bool {
        !self.plans.is_empty()
    }

    pub(super) fn weigh(&self, hold: &mut impl FnMut(&'static str, usize, u64)) {
        hold("eras to come", self.plans.len(), PLANS as u64);
        hold("bytes of messages of later eras", self.bytes, EARLY_BYTES as u64);
    }

    /// Keeps what was said in a later era, within bounds: a validator's oldest goes first.
    fn keep(&mut self, from: ValidatorId, epoch: Epoch, message: PeerMessage) {
        let length = borsh::object_length(&message).unwrap_or(EARLY_BYTES);
        let of_sender = self.early.iter().filter(|early| early.from == from).count();
        if of_sender >= EARLY || self.bytes + length > EARLY_BYTES {
            return;
        }
        self.bytes += length;
        self.early.push_back(Early { from, epoch, message, length });
    }

    fn take(&mut self, epoch: Epoch) -> Vec<(ValidatorId, PeerMessage)> {
        let (now, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.early).into_iter().partition(|early| early.epoch <= epoch);
        self.early = later.into();
        self.bytes = self.early.iter().map(|early| early.length).sum();
        now.into_iter().filter(|early| early.epoch == epoch).map(|early| (early.from, early.message)).collect()
    }
}

impl<A: Application> Replica<A> {
    /// Something said by a validator in an era of this epoch: now, before or after this one.
    pub(super) fn hear_of(&mut self, epoch: Epoch, from: ValidatorId, message: PeerMessage) {
        let member = self.seats.member(from);
        if epoch == self.era.epoch && self.ahead.begins {
            self.ahead.keep(from, epoch, message);
        } else if epoch == self.era.epoch {
            if let Some(member) = member.filter(|_| self.takes_part()) {
                self.hear(member, message);
            }
        } else if epoch > self.era.epoch && epoch <= self.newest_epoch() {
            // What it says of its era is not signed: it is kept, and proves nothing. That this era is over, and which root
            // the next one has, is shown by certificates alone.
            self.ahead.keep(from, epoch, message);
        }
    }

    /// The latest epoch that may have begun somewhere, by the own clock.
    fn newest_epoch(&self) -> Epoch {
        let slot = self.network.clock(crate::units::ChainId::Beacon).slot_at(self.now);
        let epoch = self.network.epoch_of(slot);
        if self.network.genesis.epochs.is_some() { Epoch(epoch.0.saturating_add(1)) } else { epoch }
    }

    /// Whether this replica hears and keeps the consensus messages of its era.
    fn takes_part(&self) -> bool {
        self.engine.me().is_some() && self.voice.phase != Phase::Observer
    }

    /// An era that is to be entered once its root is certified here.
    pub(super) fn hear_plan(&mut self, plan: EraPlan) {
        let newest = self.ahead.plans.back().map_or(self.era.epoch, |newest| newest.epoch);
        if plan.epoch > newest && self.ahead.plans.len() < PLANS {
            self.ahead.plans.push_back(plan);
            self.ahead.ripe = true;
        }
    }

    /// Enters the next era if its root is certified here. Called before an input is handled: all that was
    /// certified so far is in the store.
    pub(super) fn succeed(&mut self) {
        if !std::mem::take(&mut self.ahead.ripe) {
            return;
        }
        let early = self.ahead.take(self.era.epoch);
        if !early.is_empty() {
            early.into_iter().for_each(|(from, message)| self.hear_of(self.era.epoch, from, message));
            // What it led to must be in the store before the next era is looked at.
            self.ahead.ripe = true;
            return;
        }
        if self.ahead.plans.is_empty()
            && let Some(next) = self.successor()
        {
            self.ahead.plans.push_back(next);
        }
        let Some(plan) = self.ahead.plans.front() else { return };
        let (epoch, (height, id)) = (plan.epoch, plan.root);
        let certified = (self.ledger.certified().height(), self.ledger.certified().id);
        if height > certified.0 {
            self.leave();
            return;
        }
        let known = if height == certified.0 { id == certified.1 } else { self.is_certified(height, &id) };
        if !known {
            self.out.halt(Breach::ConflictingRoot { epoch, height, root: id });
            return;
        }
        // The genesis block is not stored.
        let genesis_slot = (height == Height(0)).then_some(Slot(0));
        let Some(plan) = self.ahead.plans.pop_front() else { return };
        if height < certified.0 && !self.undo((height, id)) {
            return;
        }
        let Some(root_slot) = self.block(&id).map(|block| block.header.slot).or(genesis_slot) else {
            self.out.halt(Breach::InvalidStore(InvalidStore::Lacks { what: "the era's root" }));
            return;
        };
        self.write_entry(&plan, root_slot);
        if self.ledger.certified().id == id {
            self.enter(plan);
        } else {
            // The root's state has left memory: all is written, and a start finds it.
            self.out.sent.push(Effect::Reopen);
            self.voice.phase = Phase::Halted;
        }
        // What was written for this one must be in the store before the next is looked at, or anything is said in it.
        (self.ahead.ripe, self.ahead.begins) = (true, true);
    }

    /// The next era, where the chain itself says so.
    fn successor(&self) -> Option<EraPlan> {
        let certified = self.ledger.certified();
        let header = &certified.block.header;
        let over = self.era.holds(header) && self.era.is_closed_by(header, &self.network);
        over.then(|| self.app.successor(certified.id, header, &certified.executed.state)).flatten()
    }

    /// The switch block of the era with this root, if it is over here: for who has missed its end.
    pub fn closed(&self, root: &BlockId) -> Option<ClosedEra> {
        self.closed_here(root).or_else(|| self.closed_elsewhere(root))
    }

    /// The same by a certified block.
    fn closed_here(&self, root: &BlockId) -> Option<ClosedEra> {
        let height = self.block(root).map_or(Height(0), |block| block.header.height);
        let last = self.era_end(height.next())?;
        let header = self.block(&self.certified_id(last)?)?.header.clone();
        let certificate = self.certificate(last)?;
        let closes = header.root == *root && crate::era::epoch_reached(&header, &self.network) > header.epoch;
        closes.then_some(ClosedEra { header, certificate })
    }

    /// The same by what others have shown.
    fn closed_elsewhere(&self, root: &BlockId) -> Option<ClosedEra> {
        let shown: Option<ClosedEra> = record::load(&*self.store, Table::Meta, record::CLOSED).ok()?;
        shown.filter(|shown| shown.header.root == *root)
    }

    /// Learns that this era is over.
    pub(super) fn hear_closed(&mut self, closed: ClosedEra) -> Result<(), InvalidBlocks> {
        let ClosedEra { header, certificate } = closed;
        let height = header.height;
        if self.voice.phase == Phase::Observer || height <= self.ledger.certified().height() {
            return Ok(());
        }
        if !self.era.holds(&header) || !self.era.is_closed_by(&header, &self.network) {
            return Err(InvalidBlocks::Linkage { height });
        }
        if certificate.finality != self.finality_of(&header) {
            return Err(InvalidBlocks::OtherBlock);
        }
        let era = self.era;
        let checked = certificate.verify(era.chain, era.epoch, era.root, &self.seats, era.network);
        let certificate = checked.map_err(InvalidBlocks::Certificate)?.into_inner();
        self.confront_all(&certificate);
        self.adopt(certificate.clone());
        if self.ledger.certified().height() < height {
            self.out.put(Table::Meta, record::CLOSED, codec::encode(&ClosedEra { header, certificate }));
            self.leave();
        }
        Ok(())
    }

    /// Takes a certificate that the beacon has recorded: one that is not of this era says nothing here.
    pub(super) fn hear_recorded(&mut self, certificate: Certificate) {
        if self.takes_part() {
            let _of_another_era = self.hear_certificate(certificate);
        }
    }

    /// The era goes on, or went on, without this replica: from now on it follows.
    fn leave(&mut self) {
        if matches!(self.voice.phase, Phase::Joining | Phase::Active | Phase::Silent) {
            self.voice.phase = Phase::Observer;
            self.out.put(Table::Meta, record::FOLLOWS, codec::encode(&self.era.epoch));
            self.waiting.clear();
        }
    }

    /// Takes back every certified block above the root, the newest first; false if that cannot be.
    fn undo(&mut self, root: (Height, BlockId)) -> bool {
        let certified = self.ledger.certified().height();
        let mut undone = Vec::new();
        for height in (root.0.0 + 1..=certified.0).rev().map(Height) {
            let key = height.0.to_be_bytes();
            let loaded = record::load::<Vec<Write>>(&*self.store, Table::Undo, &key);
            let id = record::certified_id(&*self.store, height);
            let (Some(back), Some(Some(id))) = (self.read(loaded), self.read(id)) else { return false };
            let Some(back) = back else {
                self.out.halt(Breach::InvalidStore(InvalidStore::Lacks { what: "what was there before a block" }));
                return false;
            };
            self.out.writes.extend(back);
            let tables = [Table::Undo, Table::Heights, Table::Certificates];
            self.out.writes.extend(tables.map(|table| Write::Delete { table, key: key.to_vec() }));
            undone.push((height, id));
        }
        // The genesis block is not stored: without a row, a start begins with it.
        if root.0 == Height(0) {
            self.out.writes.push(Write::Delete { table: Table::Meta, key: record::CERTIFIED.to_vec() });
        } else {
            self.out.put(Table::Meta, record::CERTIFIED, codec::encode(&root));
        }
        undone.reverse();
        self.voice.totals.undone = self.voice.totals.undone.saturating_add(undone.len() as u64);
        self.out.put(Table::Meta, record::TOTALS, codec::encode(&self.voice.totals));
        self.out.sent.push(Effect::Undone(undone));
        if self.ledger.block(&root.1).is_some() {
            self.ledger.retreat(root.1);
            let held = self.ledger.certified().clone();
            self.app.undone(&held.block.header, &held.executed.state);
        }
        true
    }

    /// What the store must hold for an era to go on from it.
    fn write_entry(&mut self, plan: &EraPlan, root_slot: Slot) {
        self.keep_past_evidence();
        self.out.writes.extend(SPOKEN.map(|table| Write::Clear { table }));
        self.out.writes.push(Write::Clear { table: Table::Evidence });
        for key in [record::PHASES, record::OWN_FINALITY, record::FOLLOWS, record::CLOSED] {
            self.out.writes.push(Write::Delete { table: Table::Meta, key: key.to_vec() });
        }
        self.out.put(Table::Meta, record::ERA, codec::encode(&plan.stored(root_slot)));
        self.out.synced = true;
        // What was about to be said to the old committee would be told to the new one.
        self.out.sent.retain(|effect| !matches!(effect, Effect::Broadcast(_) | Effect::Send(..)));
    }

    /// Begins an era whose root is the newest certified block.
    fn enter(&mut self, plan: EraPlan) {
        let root = self.ledger.certified().block.header.clone();
        let Parts { era, engine, speaker } = Parts::of(&plan, &root, self);
        self.past = Past::new(engine.clone(), self.past.slots_kept, None);
        (self.era, self.engine, self.speaker, self.seats) = (era, engine, speaker, plan.seats.clone());
        self.shares = Shares::new(None);
        self.fetches = Fetches::new(self.timing.delay_ms);
        self.doubts = Doubts::default();
        self.waiting.clear();
        self.unwritten.clear();
        self.newest_certificate = None;
        self.next_insertion = 0;
        self.ledger.keep_only_certified();
        self.app.enter(&self.era);
        let phase = if self.engine.me().is_none() {
            Phase::Observer
        } else if self.was_here_before(plan.epoch) {
            // It cannot have spoken in this era before: it has run since before the epoch began.
            Phase::Active
        } else {
            Phase::Joining
        };
        self.voice.begin(phase, self.now);
        self.check_guard();
        self.out.sent.push(Effect::Entered(Box::new(plan)));
    }

    /// Whether this process has run since before an epoch could begin, by its own clock.
    fn was_here_before(&self, epoch: Epoch) -> bool {
        let Some(epochs) = self.network.genesis.epochs else { return false };
        let begins = self.network.clock(crate::units::ChainId::Beacon).start_of(epochs.start_of(epoch));
        self.started < begins
    }

    /// Evidence outlives its era: it is taken by the beacon for as long as the stake is bound.
    fn keep_past_evidence(&mut self) {
        let loaded = self.store.scan(Table::Evidence, &[], usize::from(u16::MAX));
        let pending = self.out.writes.iter().filter_map(|write| match write {
            Write::Put { table: Table::Evidence, key, value } => Some((key.clone(), value.clone())),
            _ => None,
        });
        let pending: Vec<_> = pending.collect();
        for (member, value) in self.read(loaded).unwrap_or_default().into_iter().chain(pending) {
            let key = [&self.era.epoch.0.to_be_bytes()[..], &member].concat();
            self.out.put(Table::PastEvidence, key, value);
        }
        let unbonding = self.network.genesis.epochs.map_or(0, |epochs| epochs.unbonding);
        let oldest = self.era.epoch.0.saturating_sub(unbonding).to_be_bytes().to_vec();
        self.out.writes.push(Write::Below { table: Table::PastEvidence, key: oldest });
    }

    /// What a block's execution may depend on.
    pub(super) fn context(&self, header: &Header) -> Context {
        Context {
            chain: header.chain,
            height: header.height,
            slot: header.slot,
            proposer: header.proposer,
            validator: self.seats.validators[header.proposer.index()],
            reference: header.reference,
        }
    }
}

/// What an era needs that follows from its plan and root.
pub(super) struct Parts {
    pub(super) era: Era,
    pub(super) engine: Engine<Blocks>,
    pub(super) speaker: Speaker,
}

impl Parts {
    fn of<A: Application>(plan: &EraPlan, root: &Header, replica: &Replica<A>) -> Parts {
        let era = Era { network: replica.era.network, chain: replica.era.chain, epoch: plan.epoch, root: plan.root.1 };
        let me = replica.validator.and_then(|validator| plan.seats.member(validator));
        let protocol = Blocks::new(era.root, root.height.0, root.slot, Leaders::new(plan.leaders.clone()));
        let engine = Engine::new(plan.seats.committee.clone(), me, Limits::default(), protocol);
        let (clock, timing) = (&replica.clock, &replica.timing);
        let speaker = Speaker::new(SpeakerConfig::new(clock.genesis.0, timing.slot_ms, timing.delay_ms));
        Parts { era, engine, speaker }
    }
}

#[cfg(test)]
mod tests;
