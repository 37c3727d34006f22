//! The chains' rules as a world runs them: the real applications, watched. What they certify is noted for the checkers,
//! and what they execute is counted for the price of work.

use crate::bend::Bend;
#[cfg(test)]
use crate::mutants::Mutant;
use kakera_beacon::{Beacon, BeaconState};
use kakera_chain::{
    BlockId, Slot,
    application::{Application, Change, Context, Executed, Handled, Proposal, ReferenceStatus},
    block::{Block, Header},
    certificate::Certificate,
    era::{Era, EraPlan},
    receipt::Reference,
    store::{Store, StoreFailure},
    units::{Height, Timestamp},
};
use kakera_shard::{Shard, ShardState};
use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

/// A block that became certified at a node, with the state after it.
#[derive(Clone, Debug)]
pub struct Certified<S> {
    /// Its id.
    pub id: BlockId,
    /// The block.
    pub block: Arc<Block>,
    /// Its outcome here.
    pub executed: Executed<S>,
}

/// A chain's rules, watched.
pub struct Watched<A: Application> {
    inner: A,
    /// Certified since this was last taken.
    certified: RefCell<Vec<Certified<A::State>>>,
    /// Executions since this was last taken.
    work: Cell<u64>,
    /// How a Byzantine member's own rules differ.
    bend: Bend,
    #[cfg(test)]
    mutant: Option<Mutant>,
}

/// The beacon's rules, watched.
pub type BeaconRules = Watched<Beacon>;
/// A shard's rules, watched.
pub type ShardRules = Watched<Shard>;

impl<A: Application> Watched<A> {
    /// Watches an application.
    pub fn new(inner: A, bend: Bend) -> Watched<A> {
        Watched {
            inner,
            certified: RefCell::default(),
            work: Cell::new(0),
            bend,
            #[cfg(test)]
            mutant: None,
        }
    }

    /// Breaks a rule on purpose.
    #[cfg(test)]
    #[must_use]
    pub fn mutated(mut self, mutant: Option<Mutant>) -> Watched<A> {
        self.mutant = mutant;
        self
    }

    /// The application.
    pub fn inner(&self) -> &A {
        &self.inner
    }

    /// What became certified since the last call, ascending.
    pub fn take_certified(&self) -> Vec<Certified<A::State>> {
        self.certified.take()
    }

    /// Executions since the last call.
    pub fn take_work(&self) -> u64 {
        self.work.take()
    }
}

/// What watching needs to know of a chain's state.
pub trait Watchable: Application {
    /// Executions that led to a state: transactions and receipts, or crosslinks.
    fn work(executed: &Executed<Self::State>) -> u64;

    /// What a Byzantine member makes of a block's outcome by its own rules.
    fn bend(&mut self, bend: &Bend, context: &Context, executed: &mut Executed<Self::State>);

    /// Whether a Byzantine member takes a peer's gossip.
    fn takes_gossip(bend: &Bend, bytes: &[u8]) -> bool;

    /// Breaks a rule on purpose.
    #[cfg(test)]
    fn mutate(mutant: Mutant, context: &Context, executed: &mut Executed<Self::State>);

    /// Breaks a rule of what is restored on purpose.
    #[cfg(test)]
    fn mutate_restored(_: Mutant, _: &mut Self::State) {}
}

impl Watchable for Shard {
    fn work(executed: &Executed<ShardState>) -> u64 {
        let outcome = &executed.state.outcome;
        (outcome.transactions.len() + outcome.consumed.len()) as u64
    }

    fn bend(&mut self, bend: &Bend, context: &Context, executed: &mut Executed<ShardState>) {
        bend.apply(context, executed);
    }

    fn takes_gossip(bend: &Bend, bytes: &[u8]) -> bool {
        bend.takes_gossip(bytes)
    }

    #[cfg(test)]
    fn mutate(mutant: Mutant, context: &Context, executed: &mut Executed<ShardState>) {
        mutant.shard(context, executed);
    }

    #[cfg(test)]
    fn mutate_restored(mutant: Mutant, state: &mut ShardState) {
        mutant.restored(state);
    }
}

impl Watchable for Beacon {
    fn work(executed: &Executed<BeaconState>) -> u64 {
        u64::from(executed.figures.transactions)
    }

    fn bend(&mut self, _: &Bend, _: &Context, _: &mut Executed<BeaconState>) {}

    fn takes_gossip(_: &Bend, _: &[u8]) -> bool {
        true
    }

    #[cfg(test)]
    fn mutate(mutant: Mutant, context: &Context, executed: &mut Executed<BeaconState>) {
        mutant.beacon(context, executed);
    }
}

impl<A: Watchable> Watched<A> {
    fn watch(&mut self, context: &Context, executed: &mut Executed<A::State>) {
        self.work.set(self.work.get() + A::work(executed));
        self.inner.bend(&self.bend, context, executed);
        #[cfg(test)]
        if let Some(mutant) = self.mutant {
            A::mutate(mutant, context, executed);
        }
    }
}

impl<A: Watchable> Application for Watched<A> {
    type State = A::State;
    type Input = A::Input;
    type Reply = A::Reply;
    type Invalid = A::Invalid;

    fn genesis(&self) -> Executed<A::State> {
        self.inner.genesis()
    }

    fn restore(&mut self, header: &Header, store: &dyn Store) -> Result<Option<A::State>, StoreFailure> {
        let restored = self.inner.restore(header, store)?;
        #[cfg(test)]
        if let Some(mutant) = self.mutant {
            return Ok(restored.map(|mut state| {
                A::mutate_restored(mutant, &mut state);
                state
            }));
        }
        Ok(restored)
    }

    fn reference_status(&self, reference: &Reference, parent: &Reference) -> ReferenceStatus {
        self.inner.reference_status(reference, parent)
    }

    fn execute(
        &mut self,
        parent: &A::State,
        context: &Context,
        body: &[Vec<u8>],
        witnesses: &[Vec<u8>],
    ) -> Result<Executed<A::State>, A::Invalid> {
        let mut executed = self.inner.execute(parent, context, body, witnesses)?;
        self.watch(context, &mut executed);
        Ok(executed)
    }

    fn has_work(&self, parent: &A::State, reference: &Reference, slot: Slot) -> bool {
        self.inner.has_work(parent, reference, slot)
    }

    fn propose(&mut self, parent: &A::State, context: &Context, empty: bool) -> Option<Proposal<A::State>> {
        let mut proposal = self.inner.propose(parent, context, empty)?;
        let context = Context { reference: proposal.reference, ..*context };
        self.watch(&context, &mut proposal.executed);
        Some(proposal)
    }

    fn certified(&mut self, id: BlockId, block: &Block, before: &A::State, after: &Executed<A::State>) -> Change {
        self.certified.borrow_mut().push(Certified { id, block: Arc::new(block.clone()), executed: after.clone() });
        self.inner.certified(id, block, before, after)
    }

    fn certificate(&mut self, certificate: &Certificate) {
        self.inner.certificate(certificate);
    }

    fn settled(&self) -> Height {
        self.inner.settled()
    }

    fn undone(&mut self, header: &Header, state: &A::State) {
        self.inner.undone(header, state);
    }

    fn enter(&mut self, era: &Era) {
        self.inner.enter(era);
    }

    fn successor(&self, id: BlockId, header: &Header, state: &A::State) -> Option<EraPlan> {
        self.inner.successor(id, header, state)
    }

    fn handle(&mut self, now: Timestamp, head: &A::State, input: A::Input) -> Handled<A::Reply> {
        self.inner.handle(now, head, input)
    }

    fn offers(&self, limit: usize) -> Vec<Vec<u8>> {
        self.inner.offers(limit)
    }

    fn gossip(&mut self, now: Timestamp, head: &A::State, bytes: &[u8]) -> Handled<()> {
        if !A::takes_gossip(&self.bend, bytes) {
            return Handled { reply: (), gossip: None, writes: Vec::new(), references_grew: false };
        }
        self.inner.gossip(now, head, bytes)
    }
}
