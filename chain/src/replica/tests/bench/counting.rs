//! The bench's application: a state is the list of items applied, and each era's committee is the next so many members.

use super::super::*;
use crate::{
    application::{Change, Context, Handled, Proposal, ReferenceStatus},
    block::Figures,
    certificate::Seats,
    hash::Hash,
    leaders::leader_cycle,
    receipt::Reference,
    store::StoreFailure,
};
use kakera_cbc::Committee;

/// A state is the sorted list of items applied. Each era's committee is drawn by who turns: so many members in a row.
pub(in crate::replica) struct Counting {
    pub(in crate::replica) pool: Vec<u8>,
    pub(in crate::replica) network: Arc<Network>,
    pub(in crate::replica) all: Seats,
    pub(in crate::replica) in_office: usize,
    /// Up to where nothing is ever taken back, as it is told.
    pub(in crate::replica) settled: Height,
}

/// The committee of an epoch: `size` members of `all`, beginning with one further each epoch.
pub(in crate::replica) fn in_office(all: &Seats, size: usize, epoch: Epoch) -> Seats {
    let count = all.keys.len();
    let first = usize::try_from(epoch.0).unwrap() % count;
    let mut places: Vec<usize> = (0..size).map(|place| (first + place) % count).collect();
    places.sort_unstable();
    Seats {
        keys: places.iter().map(|place| all.keys[*place]).collect(),
        validators: places.iter().map(|place| all.validators[*place]).collect(),
        committee: Committee::new(vec![1; size]).unwrap(),
        signatures: Default::default(),
    }
}

/// An era of an epoch on a root.
pub(in crate::replica) fn plan(all: &Seats, size: usize, epoch: Epoch, root: (Height, BlockId)) -> EraPlan {
    let seats = in_office(all, size, epoch);
    let leaders = leader_cycle(&seats.committee, Hash::ZERO);
    EraPlan { epoch, root, seats, leaders }
}

#[derive(Debug, thiserror::Error)]
#[error("applied before")]
pub(in crate::replica) struct Twice;

fn outcome(items: Vec<u8>) -> Executed<Vec<u8>> {
    let figures = Figures { transactions: items.len() as u32, ..Figures::default() };
    Executed { state_root: Hash::of(&[&items]), state: items, receipts: Vec::new(), figures }
}

pub(in crate::replica) fn apply(parent: &[u8], body: &[Vec<u8>]) -> Result<Executed<Vec<u8>>, Twice> {
    let mut items = parent.to_vec();
    for item in body.iter().map(|item| item[0]) {
        if items.contains(&item) {
            return Err(Twice);
        }
        items.push(item);
    }
    Ok(outcome(items))
}

impl Application for Counting {
    type State = Vec<u8>;
    type Input = u8;
    type Reply = ();
    type Invalid = Twice;

    fn genesis(&self) -> Executed<Vec<u8>> {
        outcome(Vec::new())
    }

    fn restore(&mut self, header: &Header, store: &dyn Store) -> Result<Option<Vec<u8>>, StoreFailure> {
        let items = store.load(Table::State, b"items")?.unwrap_or_default();
        assert_eq!(Hash::of(&[&items]), header.state_root, "the stored state is that of the certified block");
        Ok(Some(items))
    }

    fn reference_status(&self, _: &Reference, _: &Reference) -> ReferenceStatus {
        ReferenceStatus::Known
    }

    fn execute(
        &mut self,
        parent: &Vec<u8>,
        _: &Context,
        body: &[Vec<u8>],
        _: &[Vec<u8>],
    ) -> Result<Executed<Vec<u8>>, Twice> {
        apply(parent, body)
    }

    fn has_work(&self, parent: &Vec<u8>, _: &Reference, _: Slot) -> bool {
        self.pool.iter().any(|item| !parent.contains(item))
    }

    fn propose(&mut self, parent: &Vec<u8>, context: &Context, empty: bool) -> Option<Proposal<Vec<u8>>> {
        let fresh = self.pool.iter().filter(|item| !empty && !parent.contains(item));
        let body: Vec<Vec<u8>> = fresh.map(|item| vec![*item]).collect();
        let executed = apply(parent, &body).unwrap();
        Some(Proposal { reference: context.reference, body, witnesses: Vec::new(), executed })
    }

    fn certified(&mut self, _: BlockId, _: &Block, before: &Vec<u8>, after: &Executed<Vec<u8>>) -> Change {
        self.pool.retain(|item| !after.state.contains(item));
        let items = |items: &Vec<u8>| vec![Write::put(Table::State, *b"items", items.clone())];
        Change { writes: items(&after.state), undo: items(before) }
    }

    fn certificate(&mut self, _: &Certificate) {}

    fn settled(&self) -> Height {
        self.settled
    }

    fn undone(&mut self, _: &Header, _: &Vec<u8>) {}

    fn enter(&mut self, _: &Era) {}

    fn successor(&self, id: BlockId, header: &Header, _: &Vec<u8>) -> Option<EraPlan> {
        let epoch = self.network.epoch_of(header.slot);
        Some(plan(&self.all, self.in_office, epoch, (header.height, id)))
    }

    fn handle(&mut self, _: Timestamp, _: &Vec<u8>, item: u8) -> Handled<()> {
        self.pool.push(item);
        Handled { reply: (), gossip: Some(vec![item]), writes: Vec::new(), references_grew: false }
    }

    fn offers(&self, limit: usize) -> Vec<Vec<u8>> {
        self.pool.iter().take(limit).map(|item| vec![*item]).collect()
    }

    fn gossip(&mut self, _: Timestamp, state: &Vec<u8>, bytes: &[u8]) -> Handled<()> {
        if !state.contains(&bytes[0]) && !self.pool.contains(&bytes[0]) {
            self.pool.push(bytes[0]);
        }
        Handled { reply: (), gossip: None, writes: Vec::new(), references_grew: false }
    }
}
