//! What the model holds: the shard's chains by era, the beacon's states, what each member knows and has on disk.

use std::fmt;

/// Epochs, from genesis on.
pub(crate) const EPOCHS: u8 = 3;
/// Honest members. Each may hold a seat in the committee of any era: one that leaves is one that says nothing more, and
/// one that joins said nothing before.
pub(crate) const MEMBERS: usize = 2;

/// The epoch of a slot. Slots are counted in halves of an epoch: before its deadline for the switch block
/// (`epochs.fallback_slots`, `chain/src/genesis.rs`), and past it.
pub(crate) fn epoch_of(slot: u8) -> u8 {
    slot / 2
}

/// Whether a slot lies past its epoch's deadline.
pub(crate) fn is_late(slot: u8) -> bool {
    slot % 2 == 1
}

/// A block's identity, which commits to all below it: a byte for every block of its chain above genesis, the newest
/// lowest. A byte holds what the model needs of a `Header` (`chain/src/block.rs`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BlockId(u64);

impl BlockId {
    pub(crate) const GENESIS: BlockId = BlockId(0);

    /// The next block: `Header::epoch`, `Header::root` and the epoch of `Header::reference`.
    pub(crate) fn child(self, era: Era, reference: u8) -> BlockId {
        let byte = 0x80 | era.epoch << 5 | era.root.height() << 2 | reference;
        BlockId(self.0 << 8 | u64::from(byte))
    }

    /// `Header::height`.
    pub(crate) fn height(self) -> u8 {
        let bits = 64 - self.0.leading_zeros();
        u8::try_from(bits.div_ceil(8)).expect("eight at most")
    }

    /// `Header::parent`.
    pub(crate) fn parent(self) -> BlockId {
        BlockId(self.0 >> 8)
    }

    /// The block of its chain at a height not above its own.
    pub(crate) fn at(self, height: u8) -> BlockId {
        BlockId(self.0.checked_shr(8 * u32::from(self.height() - height)).unwrap_or(0))
    }

    /// The era that the header names; genesis names its own.
    pub(crate) fn era(self) -> Era {
        if self == BlockId::GENESIS {
            return Era::GENESIS;
        }
        Era { epoch: (self.0 >> 5 & 3) as u8, root: self.at((self.0 >> 2 & 7) as u8) }
    }

    /// The epoch in which its reference lies.
    pub(crate) fn reference(self) -> u8 {
        (self.0 & 3) as u8
    }

    /// Whether it ends its era: the reference lies in a later epoch. In a later era that it is the root of, that says
    /// nothing.
    pub(crate) fn is_switch(self) -> bool {
        self.reference() > self.era().epoch
    }

    /// Whether this is `below` or a descendant of it.
    pub(crate) fn descends(self, below: BlockId) -> bool {
        self.height() >= below.height() && self.at(below.height()) == below
    }

    /// The blocks above `below` up to this one, ascending.
    pub(crate) fn path(self, below: BlockId) -> impl Iterator<Item = BlockId> {
        (below.height() + 1..=self.height()).map(move |height| self.at(height))
    }
}

/// As `genesis`, or one word a block: the era's epoch, its root's height, the reference's epoch.
impl fmt::Debug for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("genesis")?;
        let blocks = self.path(BlockId::GENESIS);
        blocks
            .map(|block| (block.era(), block.reference()))
            .try_for_each(|(era, reference)| write!(f, "-era{}.{}>{reference}", era.epoch, era.root.height()))
    }
}

/// One CBC instance of the shard: `Era` (`chain/src/message.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Era {
    /// `Era::epoch`.
    pub(crate) epoch: u8,
    /// `Era::root`.
    pub(crate) root: BlockId,
}

impl Era {
    pub(crate) const GENESIS: Era = Era { epoch: 0, root: BlockId::GENESIS };
}

/// What the members of an era have made: one chain, as no two certified blocks of an era conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Chain {
    /// Which era.
    pub(crate) era: Era,
    /// The newest block, *included*.
    pub(crate) head: BlockId,
    /// The newest block with a certificate, *shard-final*.
    pub(crate) certified: BlockId,
    /// Ghost: who signed a header here, a bit each.
    pub(crate) signers: u8,
}

/// An era as the beacon named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Named {
    /// `ShardRecord::era` and `ShardRecord::root` (`beacon/src/state.rs`).
    pub(crate) era: Era,
    /// Whether by the fallback: the committee was redrawn from standbys.
    pub(crate) fallback: bool,
}

/// `BeaconState` (`beacon/src/state.rs`) after a beacon block, as far as one shard's eras go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BeaconState {
    /// The block's slot; `BeaconState::epoch` is the epoch of it.
    pub(crate) slot: u8,
    /// Epochs that have a beacon block, a bit each: what a shard's block can refer to.
    pub(crate) visited: u8,
    /// Those of them that have a beacon block after which their root was not named yet.
    pub(crate) waited: u8,
    /// Every era named so far, the last one acting: roots of past eras are kept for `epochs.unbonding` epochs.
    pub(crate) named: Vec<Named>,
    /// Every header recorded, in the order of recording. The last one is `ShardRecord::last`; the others are in the
    /// blocks that recorded them.
    pub(crate) recorded: Vec<BlockId>,
}

impl BeaconState {
    pub(crate) fn epoch(&self) -> u8 {
        epoch_of(self.slot)
    }

    /// The era whose crosslinks are taken.
    pub(crate) fn era(&self) -> Era {
        self.named.last().expect("genesis is named").era
    }

    /// The last recorded block.
    pub(crate) fn last(&self) -> BlockId {
        *self.recorded.last().expect("genesis is recorded")
    }
}

/// What one process holds: a chain through its eras (`chain/src/replica/eras.rs`), and the follower of the beacon chain
/// beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Member {
    /// The newest epoch of which it has read a certified beacon block: as much of what it
    /// follows as a shard's blocks depend on.
    pub(crate) known: u8,
    /// The era that it speaks in.
    pub(crate) era: Era,
    /// By epoch of the eras it has left: shard-final blocks that it held there and that are not below the new root.
    pub(crate) lost: [u8; EPOCHS as usize],
    /// What of these is synced.
    pub(crate) disk: Disk,
    /// Ghost: the newest epoch in which it ever opened an era.
    pub(crate) opened: u8,
}

/// What a crash leaves: `chain/src/replica/eras.rs` and `Replica::open` (`chain/src/replica/restart.rs`) go on from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Disk {
    pub(crate) era: Era,
    pub(crate) lost: [u8; EPOCHS as usize],
}

/// What became of the one crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Crash {
    /// It may come.
    Ahead,
    /// It came while nothing changed for this member.
    Quiet,
    /// It came between the beacon's turn into a new epoch and this member's first signature in that epoch's era.
    InChange,
}

/// What became of the one beacon block that may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Loss {
    /// It may come.
    Ahead,
    /// It named no root.
    Plain,
    /// It named one.
    OfARoot,
}

/// What broke in a step rather than in a state: the run ends there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Breach {
    /// A certified beacon state without a block that the one below had recorded.
    Undone,
    /// A beacon block recorded a header of another era than the one named below it.
    OldEra,
    /// A member signed a header of an era older than one that it had opened.
    SignedOlder,
    /// A member signed headers in two eras of one epoch with different roots.
    SignedBeside,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// After the newest certified beacon block. The eras that older ones named are listed there.
    pub(crate) beacon: BeaconState,
    /// After the beacon block above it, which has no certificate and may never get one.
    pub(crate) proposed: Option<BeaconState>,
    /// By era ever opened, ascending.
    pub(crate) chains: Vec<Chain>,
    /// The honest members.
    pub(crate) members: [Member; MEMBERS],
    /// What can still go wrong: a beacon proposal that is lost.
    pub(crate) loss: Loss,
    /// What can still go wrong: blocks whose committee lies about the reference.
    pub(crate) lies: u8,
    /// What can still go wrong: a crash.
    pub(crate) crash: Crash,
    /// Ghost.
    pub(crate) breach: Option<Breach>,
}

impl State {
    pub(crate) fn chain(&self, era: Era) -> &Chain {
        self.chains.iter().find(|chain| chain.era == era).expect("a chain begins when its era is opened")
    }

    pub(crate) fn chain_mut(&mut self, era: Era) -> &mut Chain {
        self.chains.iter_mut().find(|chain| chain.era == era).expect("a chain begins when its era is opened")
    }

    /// Forgets what nothing can refer to any more: blocks without a certificate where nobody signs any more.
    pub(crate) fn forget(&mut self) {
        for chain in &mut self.chains {
            if self.members.iter().all(|member| member.era > chain.era && member.disk.era > chain.era) {
                chain.head = chain.certified;
            }
        }
    }
}

/// In which order a beacon block that does several of these does them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The epoch's turn, crosslinks, the fallback.
    TurnRecordFallback,
    /// Crosslinks, the epoch's turn, the fallback.
    RecordTurnFallback,
    /// The epoch's turn, the fallback, crosslinks.
    TurnFallbackRecord,
}

/// What one run of the checker assumes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// What the run is called in the output.
    pub(crate) name: &'static str,
    /// Epochs that end: 1 for one change, 2 for two.
    pub(crate) changes: u8,
    /// By epoch of the era, blocks above its root at most.
    pub(crate) blocks: [u8; EPOCHS as usize],
    /// How a beacon block is executed.
    pub(crate) order: Order,
    /// Blocks whose committee lies about the reference.
    pub(crate) lies: u8,
    /// Whether the beacon may make its first block of an epoch past the deadline, or of an epoch that is not the next.
    pub(crate) sleeps: bool,
    /// What this setup cannot reach, of what must be reached elsewhere.
    pub(crate) never: &'static [&'static str],
}
