//! The model: two shards, the beacon and the lanes between them, and every step that any of them can take.

use super::{
    mutants::Mutant,
    properties,
    state::{Beacon, BeaconBlock, Block, Budget, Chain, Mark, Receipt, Setup, State, TRANSFERS, Trace, Transfer},
};
use stateright::{Model, Property};

/// The model of one setup, whole or with one rule broken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lanes {
    /// Pools, balances, limits.
    pub(crate) setup: Setup,
    /// The rule that is broken, if any.
    pub(crate) mutant: Option<Mutant>,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A leader's block on the head, that all members accept: `Shard::propose` and `Shard::execute`
    /// (`shard/src/shard.rs`). The leader chooses its reference and the transactions, nothing else.
    Propose { shard: usize, reference: u8, body: u8 },
    /// The lowest uncertified block is certified: `Replica::adopt`, `Replica::certify` (`chain/src/replica/finality.rs`).
    Certify { shard: usize },
    /// A beacon block: `Beacon::propose`, `Beacon::execute` (`beacon/src/application.rs`).
    ProposeBeacon(BeaconBlock),
    /// It is certified, and shards may read it: `BeaconView::advance` (`shard/src/beacon_view.rs`).
    CertifyBeacon,
    /// The fork choice leaves the chain above the place `kept`, which is certified or above a certified block: the
    /// transactions are in the pool again.
    Reorganise { shard: usize, kept: usize },
    /// The same of the uncertified beacon block: the crosslink is submitted again (`node/src/crosslinks.rs`).
    ReorganiseBeacon,
    /// All members lose what was not certified and go on from there: `Replica::open`
    /// (`chain/src/replica/restart.rs`), `Shard::restore`. What was certified is executed again.
    Crash { shard: usize },
}

impl Lanes {
    /// The steps without which nothing goes on. Some of them may come to nothing.
    fn progress(&self, state: &State, actions: &mut Vec<Action>) {
        for (shard, chain) in state.chains.iter().enumerate() {
            let top = chain.blocks.len() - 1;
            if top - chain.certified.min(top) < self.setup.uncertified
                && top - chain.recorded.min(top) < self.setup.unrecorded
            {
                let waiting = self.pool(shard) & !chain.head().executed;
                let oldest = if self.mutant == Some(Mutant::ReferenceRegresses) { 0 } else { chain.head().reference };
                let readable = state.beacon.marks.len() + usize::from(self.reads_ahead(state));
                for reference in oldest..place(readable) {
                    let bodies = (0..1 << TRANSFERS).filter(|body| body & !waiting == 0);
                    actions.extend(bodies.map(|body| Action::Propose { shard, reference, body }));
                }
            }
            if chain.certified < top {
                actions.push(Action::Certify { shard });
            }
            let certified = if self.mutant == Some(Mutant::RecordsUncertified) { top } else { chain.certified };
            let fresh = certified.saturating_sub(chain.recorded);
            let skips = usize::from(self.mutant == Some(Mutant::RecordsOutOfOrder));
            for skipped in 0..=skips {
                let crosslinks = (1..=fresh.saturating_sub(skipped)).filter(|_| state.proposed.is_none());
                let record = |headers| Action::ProposeBeacon(BeaconBlock::Record { shard, skipped, headers });
                actions.extend(crosslinks.map(record));
            }
        }
        if state.proposed.is_some() {
            actions.push(Action::CertifyBeacon);
        }
    }

    /// The steps that nobody can count on.
    fn faults(state: &State, actions: &mut Vec<Action>) {
        if state.left.expiries > 0 && state.proposed.is_none() {
            actions.push(Action::ProposeBeacon(BeaconBlock::Expire));
        }
        if state.left.reorganisations > 0 && state.proposed.is_some() {
            actions.push(Action::ReorganiseBeacon);
        }
        for (shard, chain) in state.chains.iter().enumerate() {
            if state.left.reorganisations > 0 {
                let places = chain.certified..chain.blocks.len() - 1;
                actions.extend(places.map(|kept| Action::Reorganise { shard, kept }));
            }
            if state.left.crashes > 0 && chain.recorded + 1 < chain.blocks.len() {
                actions.push(Action::Crash { shard });
            }
        }
    }

    /// Whether nothing goes on unless something goes wrong: a heartbeat must not be what everybody waits for.
    pub(crate) fn rests(&self, state: &State) -> bool {
        let state = State { left: Budget { heartbeats: 0, ..state.left }, ..state.clone() };
        let mut actions = Vec::new();
        self.progress(&state, &mut actions);
        state.refused.is_none() && actions.into_iter().all(|action| self.next_state(&state, action).is_none())
    }

    /// Whether a shard reads the uncertified beacon block too.
    fn reads_ahead(&self, state: &State) -> bool {
        self.mutant == Some(Mutant::ReadsUncertifiedBeacon) && state.proposed.is_some()
    }

    /// A block on a shard's head, unless it is refused or changes nothing.
    fn propose(&self, before: &State, shard: usize, reference: u8, body: u8) -> Option<State> {
        let parent = before.chains[shard].head();
        let block = if self.reads_ahead(before) {
            let mut ahead = before.clone();
            self.certify_beacon(&mut ahead);
            self.execute(&ahead, shard, parent, reference, body)?
        } else {
            self.execute(before, shard, parent, reference, body)?
        };
        let heartbeat = body == 0 && block.inbox == parent.inbox;
        let heartbeats = before.left.heartbeats.checked_sub(u8::from(heartbeat))?;
        if heartbeat && reference <= parent.reference {
            return None;
        }
        let mut state = before.clone();
        state.left.heartbeats = heartbeats;
        state.chains[shard].blocks.push(block);
        Some(state)
    }

    /// The beacon block above the certified ones is one of them.
    fn certify_beacon(&self, state: &mut State) {
        match state.proposed.take() {
            Some(BeaconBlock::Record { shard, skipped, headers }) => self.record(state, shard, skipped, headers),
            Some(BeaconBlock::Expire) => {
                state.left.expiries -= 1;
                let newest = state.beacon.newest();
                state.beacon.marks.push(Mark { slot: newest.slot + 1, ..newest });
            }
            None => {}
        }
    }

    /// The transfers of a shard, a bit each.
    pub(crate) fn pool(&self, shard: usize) -> u8 {
        let own = |(at, transfer): (usize, &Transfer)| u8::from(transfer.from == shard) << at;
        self.setup.transfers.iter().enumerate().map(own).sum()
    }

    /// The value of a receipt.
    pub(crate) fn amount(&self, receipt: &Receipt) -> u8 {
        self.setup.transfers[usize::from(receipt.transfer)].amount
    }
}

impl Model for Lanes {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let genesis = self.setup.allocation.map(|balances| Block { balances, ..Block::default() });
        let chain = |block| Chain { blocks: vec![block], certified: 0, recorded: 0, delivered: Trace::default() };
        vec![State {
            chains: genesis.clone().map(chain),
            beacon: Beacon { records: genesis, logs: Default::default(), marks: vec![Mark::default()] },
            proposed: None,
            left: Budget { reorganisations: 1, crashes: 1, expiries: 1, heartbeats: self.setup.heartbeats },
            orphan: None,
            refused: None,
            diverged: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.refused.is_none() && !state.diverged {
            self.progress(state, actions);
            Lanes::faults(state, actions);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = match action {
            // A refused block costs no copy of the state: most of the candidates are.
            Action::Propose { shard, reference, body } => self.propose(before, shard, reference, body)?,
            _ => before.clone(),
        };
        match action {
            Action::Propose { .. } => {}
            Action::Certify { shard } => {
                let chain = &mut state.chains[shard];
                chain.certified += 1;
                chain.delivered = chain.blocks[chain.certified].taken;
            }
            Action::ProposeBeacon(block) => {
                // Executed here already, to see whether it is refused; what it leads to counts once it is certified.
                state.proposed = Some(block);
                let mut ahead = state.clone();
                self.certify_beacon(&mut ahead);
                state.refused = ahead.refused;
            }
            Action::CertifyBeacon => self.certify_beacon(&mut state),
            Action::Reorganise { shard, kept } => {
                state.left.reorganisations -= 1;
                let dropped = state.chains[shard].blocks.drain(kept + 1..);
                let receipts: Vec<Receipt> = dropped.flat_map(|block| block.emitted).collect();
                state.orphan = receipts.first().map(|receipt| (shard, *receipt));
            }
            Action::ReorganiseBeacon => {
                state.left.reorganisations -= 1;
                state.proposed = None;
            }
            Action::Crash { shard } => {
                state.left.crashes -= 1;
                self.restart(&mut state, shard);
            }
        }
        state.forget();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Lanes>> {
        properties::all()
    }
}

/// A length as the place behind the last one.
fn place(length: usize) -> u8 {
    u8::try_from(length).expect("a handful")
}
