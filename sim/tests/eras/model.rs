//! The model: one shard through its eras, the beacon, its members, and every step that any of them can take.

use super::{
    beacon::certified,
    member::lie,
    mutants::Mutant,
    properties,
    state::{
        BeaconState, BlockId, Breach, Chain, Crash, Disk, EPOCHS, Era, Loss, MEMBERS, Member, Named, Setup, State,
        epoch_of, is_late,
    },
};
use stateright::{Model, Property};

/// The model of one setup, whole or with one rule broken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Eras {
    /// How many changes, how many blocks.
    pub(crate) setup: Setup,
    /// The rule that is broken, if any.
    pub(crate) mutant: Option<Mutant>,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A block on the head of an era's chain, that all its members accept. The leader chooses its reference.
    Propose { era: Era, reference: u8 },
    /// A member signs the next header of an era, and it is certified.
    Sign { member: usize, era: Era },
    /// The committee of an era certifies a block with a reference that does not exist yet.
    Lie { era: Era, reference: u8 },
    /// A beacon block on the certified ones: an empty one, or with a crosslink up to a certified block. Anybody hands
    /// crosslinks in, so it may be late, and there may be several of them.
    ProposeBeacon { slot: u8, crosslink: Option<BlockId> },
    /// It is certified: members may read it.
    CertifyBeacon,
    /// It never will be: the fork choice takes another one.
    LoseBeacon,
    /// A member reads the certified beacon chain up to a block of an epoch, and opens the era that is named there.
    Read { member: usize, epoch: u8, era: Era },
    /// A member opens the era that a beacon block without a certificate names. Only a mutant does.
    ReadAhead { member: usize },
    /// A member opens the next era on a certified switch block that the beacon has not recorded. Only a mutant does.
    OpenOnCertificate { member: usize },
    /// A member's process ends at once, and is started again.
    Crash { member: usize },
}

impl Eras {
    /// Steps of the shard's members.
    fn shard(&self, state: &State, actions: &mut Vec<Action>) {
        for chain in &state.chains {
            let era = chain.era;
            let references = self.references(state, chain);
            actions.extend(references.into_iter().map(|reference| Action::Propose { era, reference }));
            if chain.head != chain.certified {
                let signers = (0..MEMBERS).filter(|member| self.speaks(state, *member, era));
                actions.extend(signers.map(|member| Action::Sign { member, era }));
            }
            let room = chain.certified.height() - era.root.height() < self.setup.blocks[usize::from(era.epoch)];
            let lives = state.members.iter().any(|member| member.era == era);
            if state.lies > 0 && lives && room && (chain.certified == era.root || !chain.certified.is_switch()) {
                let reached = state.beacon.epoch();
                let future = (reached + 1).max(era.epoch)..=self.setup.changes;
                actions.extend(future.map(|reference| Action::Lie { era, reference }));
            }
        }
        for (member, at) in state.members.iter().enumerate() {
            let readings = Eras::readings(state, at);
            actions.extend(readings.into_iter().map(|(epoch, era)| Action::Read { member, epoch, era }));
            match self.mutant {
                Some(Mutant::ReadsUncertifiedBeacon) => actions.push(Action::ReadAhead { member }),
                Some(Mutant::OpensOnCertificate) => actions.push(Action::OpenOnCertificate { member }),
                _ => {}
            }
            if state.crash == Crash::Ahead {
                actions.push(Action::Crash { member });
            }
        }
    }

    /// Steps of the beacon.
    fn beacon(&self, state: &State, actions: &mut Vec<Action>) {
        if state.proposed.is_some() {
            actions.push(Action::CertifyBeacon);
            if state.loss == Loss::Ahead {
                actions.push(Action::LoseBeacon);
            }
            return;
        }
        let below = &state.beacon;
        for slot in below.slot..2 * (self.setup.changes + 1) {
            let next = epoch_of(slot) == below.epoch() || (epoch_of(slot) == below.epoch() + 1 && !is_late(slot));
            if !next && !self.setup.sleeps {
                continue;
            }
            if slot > below.slot {
                actions.push(Action::ProposeBeacon { slot, crosslink: None });
            }
            actions.extend(certified(state).map(|last| Action::ProposeBeacon { slot, crosslink: Some(last) }));
        }
    }

    /// A beacon block is certified; what this may never do is looked for here, where both states are at hand.
    fn certify_beacon(before: &State) -> Option<State> {
        let mut state = before.clone();
        let block = state.proposed.take()?;
        let below = &state.beacon;
        if !block.recorded.starts_with(&below.recorded) {
            state.breach = Some(Breach::Undone);
        } else if block.recorded[below.recorded.len()..].iter().any(|header| header.era() != below.era()) {
            state.breach = Some(Breach::OldEra);
        }
        state.beacon = block;
        Some(state)
    }

    /// The era that a certified switch block would begin.
    fn open_on_certificate(&self, before: &State, member: usize) -> Option<State> {
        let era = before.members[member].era;
        let certified = before.chain(era).certified;
        if certified == era.root || !certified.is_switch() {
            return None;
        }
        let mut state = before.clone();
        self.open(&mut state, member, Era { epoch: certified.reference(), root: certified });
        Some(state)
    }
}

impl Model for Eras {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let genesis = BeaconState {
            slot: 0,
            visited: 1,
            waited: 0,
            named: vec![Named { era: Era::GENESIS, fallback: false }],
            recorded: vec![BlockId::GENESIS],
        };
        let (era, lost) = (Era::GENESIS, [0; EPOCHS as usize]);
        let chain = Chain { era, head: BlockId::GENESIS, certified: BlockId::GENESIS, signers: 0 };
        vec![State {
            beacon: genesis,
            proposed: None,
            chains: vec![chain],
            members: [Member { known: 0, era, lost, disk: Disk { era, lost }, opened: 0 }; MEMBERS],
            loss: Loss::Ahead,
            lies: self.setup.lies,
            crash: Crash::Ahead,
            breach: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.breach.is_none() {
            self.shard(state, actions);
            self.beacon(state, actions);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = match action {
            Action::Propose { era, reference } => {
                let mut state = before.clone();
                let chain = state.chain_mut(era);
                chain.head = chain.head.child(era, reference);
                state
            }
            Action::Sign { member, era } => self.sign(before, member, era)?,
            Action::Lie { era, reference } => {
                let mut state = before.clone();
                state.lies -= 1;
                let chain = state.chain_mut(era);
                chain.certified = lie(chain, reference);
                chain.head = chain.certified;
                state
            }
            Action::ProposeBeacon { slot, crosslink } => {
                let block = self.beacon_block(&before.beacon, &before.chains, slot, crosslink).ok()?;
                State { proposed: Some(block), ..before.clone() }
            }
            Action::CertifyBeacon => Eras::certify_beacon(before)?,
            Action::LoseBeacon => {
                let named = before.proposed.as_ref()?.named.len() > before.beacon.named.len();
                let loss = if named { Loss::OfARoot } else { Loss::Plain };
                State { proposed: None, loss, ..before.clone() }
            }
            Action::Read { member, epoch, era } => self.read(before, member, epoch, era),
            Action::ReadAhead { member } => {
                let named = before.proposed.as_ref()?.era();
                let mut state = before.clone();
                self.open(&mut state, member, named);
                state
            }
            Action::OpenOnCertificate { member } => self.open_on_certificate(before, member)?,
            Action::Crash { member } => self.crash(before, member)?,
        };
        state.forget();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Eras>> {
        properties::all()
    }
}
