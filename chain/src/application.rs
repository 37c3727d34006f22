//! What a chain must supply to be run by a replica: its state, and how blocks change it.

use crate::{
    block::Block,
    block::{Figures, Header},
    certificate::Certificate,
    era::{Era, EraPlan},
    hash::Hash,
    receipt::{Receipt, Reference},
    store::{Store, StoreFailure, Write},
    units::{ChainId, Height, Timestamp, ValidatorId},
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_cbc::{BlockId, Member, Slot};

/// What a block's execution may depend on besides the parent's state and the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The chain.
    pub chain: ChainId,
    /// The block's height.
    pub height: Height,
    /// Its slot.
    pub slot: Slot,
    /// Who proposed it: its place in the era's committee.
    pub proposer: Member,
    /// And its entry in the registry.
    pub validator: ValidatorId,
    /// What it has read of the beacon chain.
    pub reference: Reference,
}

/// The outcome of a block.
#[derive(Clone, Debug)]
pub struct Executed<S> {
    /// The state after it: a version that shares structure with its parent.
    pub state: S,
    /// Its commitment.
    pub state_root: Hash,
    /// Receipts emitted, in order.
    pub receipts: Vec<Receipt>,
    /// The chain's figures.
    pub figures: Figures,
}

/// A block's content made by a leader.
#[derive(Clone, Debug)]
pub struct Proposal<S> {
    /// What it has read.
    pub reference: Reference,
    /// Items.
    pub body: Vec<Vec<u8>>,
    /// Their signatures.
    pub witnesses: Vec<Vec<u8>>,
    /// Their outcome.
    pub executed: Executed<S>,
}

/// Whether a block's reference can be used here and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferenceStatus {
    /// Known and certified.
    Known,
    /// Not known yet: the block waits until the application says that more is known.
    Unknown,
    /// It can never be valid (below the parent's, or known to be another block).
    Invalid,
}

/// What became of an input.
#[derive(Clone, Debug)]
pub struct Handled<R> {
    /// For the one who gave it.
    pub reply: R,
    /// Canonical bytes to pass on to all peers, when it was new and good.
    pub gossip: Option<Vec<u8>>,
    /// Writes that keep what was learned.
    pub writes: Vec<Write>,
    /// Whether blocks waiting for their reference may be looked at again.
    pub references_grew: bool,
}

/// Consecutive certified blocks of the beacon chain: the last one's certificate covers all.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CertifiedBlocks {
    /// Ascending, consecutive; at least one.
    pub blocks: Vec<Block>,
    /// Of the last.
    pub certificate: Certificate,
}

impl CertifiedBlocks {
    /// Canonical bytes at most: below the transport's message limit of 4 MiB, above the largest block.
    pub const MAX_BYTES: usize = 3 * 1024 * 1024;
    /// Blocks at most.
    pub const MAX_BLOCKS: usize = 1_024;
}

/// What a certified block changes in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The writes that bring the stored state to the one after it and index the block.
    pub writes: Vec<Write>,
    /// The writes that take all of this back. Empty where blocks are never undone.
    pub undo: Vec<Write>,
}

/// One chain's rules.
pub trait Application {
    /// The state after a block: cheap to clone.
    type State: Clone;
    /// What clients and feeds give.
    type Input;
    /// What they are answered.
    type Reply;
    /// Why a block's content is refused.
    type Invalid: std::error::Error;

    /// The state, root and figures before the first block.
    fn genesis(&self) -> Executed<Self::State>;

    /// The state at the certified block `header`, rebuilt from the store and checked against its state root.
    fn restore(&mut self, header: &Header, store: &dyn Store) -> Result<Option<Self::State>, StoreFailure>;

    /// Whether `reference`, in a child of a block with reference `parent`, can be used.
    fn reference_status(&self, reference: &Reference, parent: &Reference) -> ReferenceStatus;

    /// Executes a block's content on its parent's state: a function of its arguments and of what the reference names.
    fn execute(
        &mut self,
        parent: &Self::State,
        context: &Context,
        body: &[Vec<u8>],
        witnesses: &[Vec<u8>],
    ) -> Result<Executed<Self::State>, Self::Invalid>;

    /// Whether a leader should propose in `slot` on a parent with this state and reference: something is due.
    fn has_work(&self, parent: &Self::State, reference: &Reference, slot: Slot) -> bool;

    /// Makes a block's content; `empty`: only what must be processed, nothing from the pool. `context.reference` is
    /// the parent's; the proposal says which one it took. Nothing if none can be made now.
    fn propose(&mut self, parent: &Self::State, context: &Context, empty: bool) -> Option<Proposal<Self::State>>;

    /// A block became certified (called in height order): the writes that bring the stored state from `before` to
    /// `after` and index the block, and those that take it back. The application forgets what it no longer needs.
    fn certified(&mut self, id: BlockId, block: &Block, before: &Self::State, after: &Executed<Self::State>) -> Change;

    /// The newest certificate of the chain, after [`Application::certified`] of its block.
    fn certificate(&mut self, certificate: &Certificate);

    /// The height up to which blocks can never be undone.
    fn settled(&self) -> Height;

    /// The blocks above this one were taken back: it is the newest certified one again.
    fn undone(&mut self, header: &Header, state: &Self::State);

    /// An era begins; also called for the one that a start goes on with.
    fn enter(&mut self, era: &Era);

    /// The era after the one that a certified switch block closes, where the chain's own state says which; nothing where
    /// another chain names it.
    fn successor(&self, id: BlockId, header: &Header, state: &Self::State) -> Option<EraPlan>;

    /// Takes an input against the state at the head.
    fn handle(&mut self, now: Timestamp, head: &Self::State, input: Self::Input) -> Handled<Self::Reply>;

    /// What waits here and a peer that has just come may lack: bytes for its [`Application::gossip`], in an order in
    /// which each can be taken, `limit` bytes at most in all.
    fn offers(&self, limit: usize) -> Vec<Vec<u8>>;

    /// Takes what a peer passed on (bytes of [`Handled::gossip`]); anything unsound is dropped.
    fn gossip(&mut self, now: Timestamp, head: &Self::State, bytes: &[u8]) -> Handled<()>;
}
