//! Questions to a replica; none changes anything.

use super::{Era, Phase, Replica};
use crate::{
    application::{Application, CertifiedBlocks},
    block::{Block, Header},
    certificate::{Certificate, Seats},
    codec,
    crosslink::Crosslink,
    genesis::Network,
    hash::Hash,
    receipt::Receipt,
    store::Table,
    units::{ChainId, Height, Timestamp, ValidatorId},
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_cbc::{BlockId, Member, Slot};
use std::sync::Arc;

/// A block with the state after it.
pub struct Head<'a, S> {
    /// Its id.
    pub id: BlockId,
    /// Its header.
    pub header: &'a Header,
    /// The state after it.
    pub state: &'a S,
}

/// What a chain has done so far, as one replica counted it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Totals {
    /// Certified blocks.
    pub blocks: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Receipts emitted by them.
    pub receipts_out: u64,
    /// Receipts consumed by them.
    pub receipts_in: u64,
    /// Consensus messages taken since the process started.
    pub messages: u64,
    /// Blocks seen that lost against a certified one of their height.
    pub forks: u64,
    /// Certified blocks that the root of a later era left out.
    pub undone: u64,
}

/// One member as seen from here.
#[derive(Clone, Debug)]
pub struct MemberStatus {
    /// Who.
    pub member: Member,
    /// Its entry in the registry.
    pub validator: ValidatorId,
    /// Its weight.
    pub weight: u64,
    /// Its messages: the latest one's `seq` and one.
    pub messages: u64,
    /// The slot of its latest message.
    pub latest_slot: Slot,
    /// Whether it equivocated.
    pub faulty: bool,
    /// Nothing heard of it for longer than two heartbeats.
    pub silent: bool,
}

/// How a replica is.
#[derive(Clone, Debug)]
pub struct Status {
    /// The slot that it is.
    pub slot: Slot,
    /// The own fork choice.
    pub head_height: Height,
    /// Its id.
    pub head_id: BlockId,
    /// What the own detector has finalized.
    pub finalized_height: Height,
    /// The newest certified block.
    pub certified_height: Height,
    /// Its id.
    pub certified_id: BlockId,
    /// Its state root.
    pub state_root: Hash,
    /// What the replica may do.
    pub phase: Phase,
    /// All members.
    pub members: Vec<MemberStatus>,
    /// Counts.
    pub totals: Totals,
    /// Why the chain certifies nothing, if it should have.
    pub stalled: Option<String>,
}

impl<A: Application> Replica<A> {
    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The chain.
    pub fn chain(&self) -> ChainId {
        self.era.chain
    }

    /// The application.
    pub fn app(&self) -> &A {
        &self.app
    }

    /// The era.
    pub fn era(&self) -> &Era {
        &self.era
    }

    /// The committee.
    pub fn seats(&self) -> &Seats {
        &self.seats
    }

    /// The member this process speaks for.
    pub fn me(&self) -> Option<Member> {
        self.engine.me()
    }

    /// What the replica may do.
    pub fn phase(&self) -> Phase {
        self.voice.phase
    }

    /// The own fork choice; of who follows, the newest certified block.
    pub fn head(&self) -> Head<'_, A::State> {
        let held = self.own_head();
        Head { id: held.id, header: &held.block.header, state: &held.executed.state }
    }

    /// The newest certified block.
    pub fn certified(&self) -> Head<'_, A::State> {
        let held = self.ledger.certified();
        Head { id: held.id, header: &held.block.header, state: &held.executed.state }
    }

    /// A block whose content was executed here and whose state is still at hand: those from some dozens of heights below
    /// the newest certified one up.
    pub fn held(&self, id: &BlockId) -> Option<Head<'_, A::State>> {
        let held = self.ledger.block(id)?;
        Some(Head { id: held.id, header: &held.block.header, state: &held.executed.state })
    }

    /// The height up to which the own detector has finalized.
    pub fn finalized_height(&self) -> Height {
        let block = self.engine.protocol().block(&self.engine.finalized());
        block.map_or(Height(0), |block| Height(block.height))
    }

    /// Any block held in memory or in the store.
    pub fn block(&self, id: &BlockId) -> Option<Arc<Block>> {
        if let Some(held) = self.ledger.block(id) {
            return Some(held.block.clone());
        }
        let bytes = self.store.load(Table::Blocks, &id.0).ok()??;
        Block::decode(&bytes).ok().map(Arc::new)
    }

    /// The certified block of a height.
    pub fn certified_id(&self, height: Height) -> Option<BlockId> {
        super::record::certified_id(&*self.store, height).ok()?
    }

    /// The certificate of a height, where one is held for that very block.
    pub fn certificate(&self, height: Height) -> Option<Certificate> {
        super::record::load(&*self.store, Table::Certificates, &height.0.to_be_bytes()).ok()?
    }

    /// Consensus messages held in memory that vote for a block or its descendants up to the next height, by member:
    /// those whose own estimate is this very block.
    pub fn messages_per_member(&self, block: &BlockId) -> Vec<u64> {
        self.seats.committee.members().map(|member| self.engine.messages_for(member, block)).collect()
    }

    /// How this replica is at `now`.
    pub fn status(&self, now: Timestamp) -> Status {
        let (head, certified) = (self.head(), self.certified());
        let slot = self.clock.slot_at(now);
        let members: Vec<MemberStatus> =
            self.seats.committee.members().map(|member| self.member_status(member, slot)).collect();
        Status {
            slot,
            head_height: head.header.height,
            head_id: head.id,
            finalized_height: self.finalized_height(),
            certified_height: certified.header.height,
            certified_id: certified.id,
            state_root: certified.header.state_root,
            phase: self.voice.phase,
            stalled: self.stalled(now, &members),
            members,
            totals: self.voice.totals,
        }
    }

    fn member_status(&self, member: Member, slot: Slot) -> MemberStatus {
        let latest_slot = self.engine.latest_slot(member).unwrap_or_default();
        // Before its first message in an era, or that this start hears of, a member has had no time to be heard.
        let since = latest_slot.max(self.clock.slot_at(self.voice.began));
        let overdue = slot.0.saturating_sub(since.0) > self.patience_slots();
        MemberStatus {
            member,
            validator: self.seats.validators[member.index()],
            weight: self.seats.committee.weight(member),
            messages: self.engine.latest(member).map_or(0, |(seq, _)| seq + 1),
            latest_slot,
            faulty: self.engine.is_faulty(member),
            // Who only follows hears nobody.
            silent: overdue && self.voice.phase != Phase::Observer,
        }
    }

    /// Two heartbeats, and a round of leaders who may all be silent but one.
    fn patience_slots(&self) -> u64 {
        2 * self.timing.heartbeat_slots + self.seats.committee.len() as u64
    }

    fn stalled(&self, now: Timestamp, members: &[MemberStatus]) -> Option<String> {
        let waited = now.0.saturating_sub(self.voice.certified_at.0.max(self.clock.genesis.0));
        if waited <= self.patience_slots() * self.timing.slot_ms {
            return None;
        }
        let silent: Vec<String> = members
            .iter()
            .filter(|member| member.silent || member.faulty)
            .map(|member| {
                let listed = self.network.genesis.validators.get(member.validator.0 as usize);
                let name = listed.map_or_else(|| format!("validator {}", member.validator), |one| one.name.clone());
                format!("{name} ({})", if member.faulty { "faulty" } else { "silent" })
            })
            .collect();
        let who = if silent.is_empty() { "all members are heard".into() } else { silent.join(", ") };
        Some(format!("nothing certified for {:.1} s: {who}", waited as f64 / 1000.0))
    }

    /// Consecutive certified headers from `from` on with their receipts: what a shard has to have recorded, as much of
    /// it as one crosslink holds.
    pub fn crosslink(&self, from: Height) -> Option<Crosslink> {
        let ChainId::Shard(shard) = self.era.chain else { return None };
        let mut count = Crosslink::MAX_HEADERS as u64;
        while count > 0 {
            let (last, certificate) = self.last_certificate(from, count)?;
            let mut crosslink = Crosslink { shard, headers: Vec::new(), receipts: Vec::new(), certificate };
            for height in from.0..=last.0 {
                crosslink.headers.push(self.block(&self.certified_id(Height(height))?)?.header.clone());
                crosslink.receipts.push(self.receipts(Height(height)));
            }
            if codec::encode(&crosslink).len() <= Crosslink::MAX_BYTES {
                return Some(crosslink);
            }
            let length = last.0 - from.0 + 1;
            count = length / 2;
        }
        None
    }

    fn receipts(&self, height: Height) -> Vec<Receipt> {
        super::record::load(&*self.store, Table::Receipts, &height.0.to_be_bytes()).ok().flatten().unwrap_or_default()
    }

    /// The highest of `count` heights from `from` on that has a certificate of its own.
    fn last_certificate(&self, from: Height, count: u64) -> Option<(Height, Certificate)> {
        let last = self.ledger.certified().height().0.min(from.0.checked_add(count)? - 1);
        let last = last.min(self.era_end(from)?.0);
        (from.0..=last).rev().find_map(|height| Some((Height(height), self.certificate(Height(height))?)))
    }

    /// The last certified height of the era that a certified height belongs to.
    pub(super) fn era_end(&self, from: Height) -> Option<Height> {
        let header = |height| Some(self.block(&self.certified_id(height)?)?.header.clone());
        let certified = self.ledger.certified();
        let first = header(from)?;
        if first.root == certified.block.header.root {
            return Some(certified.height());
        }
        // Heights of one era are consecutive: the last one is found by halving.
        let (mut inside, mut past) = (from.0, certified.height().0);
        while inside + 1 < past {
            let middle = inside + (past - inside) / 2;
            if header(Height(middle))?.root == first.root { inside = middle } else { past = middle }
        }
        Some(Height(inside))
    }

    /// Certified blocks from `from` on, as many as one answer holds: what followers of the chain read.
    pub fn certified_blocks(&self, from: Height) -> Option<CertifiedBlocks> {
        const BLOCKS: u64 = 64;
        let mut count = BLOCKS;
        loop {
            let (last, certificate) = self.last_certificate(from, count)?;
            let load = |height| self.block(&self.certified_id(Height(height))?).map(|block| (*block).clone());
            let blocks: Vec<Block> = (from.0..=last.0).map(load).collect::<Option<_>>()?;
            let answer = CertifiedBlocks { blocks, certificate };
            if codec::encode(&answer).len() <= CertifiedBlocks::MAX_BYTES {
                return Some(answer);
            }
            let length = last.0 - from.0 + 1;
            count = length / 2;
            if count == 0 {
                return None;
            }
        }
    }
}
