//! A shard process's own copy of the beacon chain: a replica without a seat that executes what a beacon node feeds it.
//!
//! A thousand copies in one world would execute every block a thousand times. They share the outcomes instead: a block's
//! content on a parent's state leads to one state, which is worked out once and looked up by everybody else. Each copy
//! still checks linkage, certificate and state root by itself, and has a disk of its own.

use crate::{disk::Disk, setup::Setup};
use kakera_beacon::{Beacon, BeaconState, InvalidBeaconBlock, certificates_of, receipts_toward};
use kakera_chain::{
    BlockId, Slot,
    application::{Application, CertifiedBlocks, Change, Context, Executed, Handled, Proposal, ReferenceStatus},
    block::{Block, Header},
    certificate::Certificate,
    era::{Era, EraPlan},
    hash::Hash,
    lanes::Reading,
    machine::StateMachine,
    receipt::{Receipt, Reference},
    replica::{Effect, Input, InvalidStore, Replica, ReplicaConfig, SignState},
    signatures::Signatures,
    store::{Store, StoreFailure, Table, Write},
    units::{ChainId, Epoch, Height, ShardId, Timestamp, ValidatorId},
};
use std::{cell::RefCell, collections::BTreeMap, convert::Infallible, sync::Arc};

/// The row that says which state a copy's newest certified block led to: the state's root. The state itself is the
/// world's.
const STATE_KEY: &[u8] = b"followed";

/// Readings kept for the members of a shard that hear of a block later than the first.
const READINGS: usize = 4_096;

/// A beacon state and its root; cheap to clone.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The state's root.
    pub root: Hash,
    /// The state.
    pub state: Arc<BeaconState>,
}

/// A block's content and what it led to.
struct Outcome {
    body: Vec<Vec<u8>>,
    executed: Executed<Followed>,
}

/// What an outcome depends on besides the block's body: the parent's state, height, slot and proposer.
type Place = (Hash, Height, Slot, ValidatorId);

struct Known {
    beacon: Beacon,
    outcomes: BTreeMap<Place, Vec<Outcome>>,
    states: BTreeMap<Hash, Followed>,
    readings: BTreeMap<(Height, BlockId, ShardId), Reading>,
    executed: u64,
    recalled: u64,
}

/// One memory of what beacon blocks lead to, for all copies of the beacon chain in a world.
#[allow(clippy::disallowed_types, reason = "worlds move between threads; each has one memory of its own")]
pub struct Outcomes {
    known: std::sync::Mutex<Known>,
    genesis: Executed<Followed>,
    signatures: Signatures,
}

impl Outcomes {
    /// The memory of a network whose beacon has these rules.
    pub fn new(beacon: Beacon) -> Outcomes {
        let genesis = followed(beacon.genesis());
        let states = BTreeMap::from([(genesis.state_root, genesis.state.clone())]);
        let (outcomes, readings) = (BTreeMap::new(), BTreeMap::new());
        let signatures = beacon.signatures().clone();
        let known = Known { beacon, outcomes, states, readings, executed: 0, recalled: 0 };
        Outcomes { known: known.into(), genesis, signatures }
    }

    /// How many blocks were executed, and how many outcomes recalled.
    pub fn counts(&self) -> (u64, u64) {
        let known = self.known.lock().expect("no holder panics");
        (known.executed, known.recalled)
    }

    /// The state with this root, if any copy has ever reached it.
    pub fn state(&self, root: &Hash) -> Option<Followed> {
        self.known.lock().expect("no holder panics").states.get(root).cloned()
    }

    /// The receipts that a beacon block emits itself, made by a validator on a block with this state; nothing where that
    /// state is not known.
    pub fn emitted(&self, before: Hash, block: &Block, proposer: ValidatorId) -> Vec<Receipt> {
        let Some(parent) = self.state(&before) else { return Vec::new() };
        let Header { chain, height, slot, proposer: place, reference, .. } = block.header;
        let context = Context { chain, height, slot, proposer: place, validator: proposer, reference };
        let executed = self.execute(&parent, &context, &block.body, &block.witnesses);
        executed.map(|executed| executed.receipts).unwrap_or_default()
    }

    fn execute(
        &self,
        parent: &Followed,
        context: &Context,
        body: &[Vec<u8>],
        witnesses: &[Vec<u8>],
    ) -> Result<Executed<Followed>, InvalidBeaconBlock> {
        let mut known = self.known.lock().expect("no holder panics");
        let place = (parent.root, context.height, context.slot, context.validator);
        let same = known.outcomes.get(&place).and_then(|outcomes| outcomes.iter().find(|one| one.body == body));
        if let Some(executed) = same.filter(|_| witnesses.is_empty()).map(|one| one.executed.clone()) {
            known.recalled += 1;
            return Ok(executed);
        }
        let executed = followed(known.beacon.execute(&parent.state, context, body, witnesses)?);
        known.executed += 1;
        known.states.insert(executed.state_root, executed.state.clone());
        let outcome = Outcome { body: body.to_vec(), executed: executed.clone() };
        known.outcomes.entry(place).or_default().push(outcome);
        Ok(executed)
    }

    fn reading(&self, shard: ShardId, at: &Taken) -> Option<Reading> {
        let mut known = self.known.lock().expect("no holder panics");
        let key = (at.reference.height, at.reference.id, shard);
        if let Some(reading) = known.readings.get(&key) {
            return Some(reading.clone());
        }
        let receipts = receipts_toward(shard, &at.block, &at.executed.receipts);
        let reading = at.executed.state.state.reading(shard, at.reference, receipts)?;
        known.readings.insert(key, reading.clone());
        if known.readings.len() > READINGS {
            known.readings.pop_first();
        }
        Some(reading)
    }
}

fn followed(executed: Executed<BeaconState>) -> Executed<Followed> {
    let Executed { state, state_root, receipts, figures } = executed;
    Executed { state: Followed { root: state_root, state: Arc::new(state) }, state_root, receipts, figures }
}

/// A certified beacon block as a copy has taken it.
struct Taken {
    reference: Reference,
    block: Arc<Block>,
    executed: Executed<Followed>,
}

/// The beacon's rules for who only follows, by the world's memory.
pub struct Observed {
    outcomes: Arc<Outcomes>,
    taken: RefCell<Vec<Taken>>,
}

impl Application for Observed {
    type State = Followed;
    type Input = Infallible;
    type Reply = Infallible;
    type Invalid = InvalidBeaconBlock;

    fn genesis(&self) -> Executed<Followed> {
        self.outcomes.genesis.clone()
    }

    fn restore(&mut self, header: &Header, store: &dyn Store) -> Result<Option<Followed>, StoreFailure> {
        let Some(row) = store.load(Table::State, STATE_KEY)? else { return Ok(None) };
        if row != header.state_root.0 {
            let reason = format!("the stored state is not that of the certified block at height {}", header.height);
            return Err(StoreFailure { table: Table::State, reason });
        }
        Ok(self.outcomes.state(&header.state_root))
    }

    fn reference_status(&self, reference: &Reference, parent: &Reference) -> ReferenceStatus {
        if reference == parent { ReferenceStatus::Known } else { ReferenceStatus::Invalid }
    }

    fn execute(
        &mut self,
        parent: &Followed,
        context: &Context,
        body: &[Vec<u8>],
        witnesses: &[Vec<u8>],
    ) -> Result<Executed<Followed>, InvalidBeaconBlock> {
        self.outcomes.execute(parent, context, body, witnesses)
    }

    fn has_work(&self, _parent: &Followed, _reference: &Reference, _slot: Slot) -> bool {
        false
    }

    fn propose(&mut self, _parent: &Followed, _context: &Context, _empty: bool) -> Option<Proposal<Followed>> {
        None
    }

    fn certified(&mut self, id: BlockId, block: &Block, _before: &Followed, after: &Executed<Followed>) -> Change {
        let reference = Reference { height: block.header.height, slot: block.header.slot, id };
        self.taken.borrow_mut().push(Taken { reference, block: Arc::new(block.clone()), executed: after.clone() });
        let writes = vec![Write::put(Table::State, STATE_KEY, after.state_root.0)];
        Change { writes, undo: Vec::new() }
    }

    fn certificate(&mut self, _certificate: &Certificate) {}

    fn settled(&self) -> Height {
        Height(u64::MAX - 1)
    }

    fn undone(&mut self, _header: &Header, _state: &Followed) {}

    fn enter(&mut self, _era: &Era) {}

    fn successor(&self, id: BlockId, header: &Header, state: &Followed) -> Option<EraPlan> {
        Some(state.state.beacon_era((header.height, id), &self.outcomes.signatures))
    }

    fn handle(&mut self, _now: Timestamp, _head: &Followed, input: Infallible) -> Handled<Infallible> {
        match input {}
    }

    fn offers(&self, _limit: usize) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn gossip(&mut self, _now: Timestamp, _head: &Followed, _bytes: &[u8]) -> Handled<()> {
        Handled { reply: (), gossip: None, writes: Vec::new(), references_grew: false }
    }
}

/// A shard process's copy of the beacon chain.
pub struct Observer {
    replica: Replica<Observed>,
    shard: ShardId,
    signatures: Signatures,
    outcomes: Arc<Outcomes>,
    /// The epoch of the shard's era as of the last block taken.
    named: Epoch,
}

/// What came of certified blocks.
pub struct Heard {
    /// What is to be written, in order.
    pub effects: Vec<Effect<Infallible>>,
    /// What the new blocks say to the shard, ascending.
    pub readings: Vec<Reading>,
    /// What they record of the shard, ascending.
    pub certificates: Vec<Certificate>,
    /// The eras that they name for the shard, in order.
    pub eras: Vec<EraPlan>,
    /// Crosslinks that were checked on the way.
    pub crosslinks: u64,
}

impl Observer {
    /// Opens a copy on what its disk holds.
    ///
    /// # Errors
    /// What the disk's contents lack, or the disk's own words.
    pub fn open(setup: &Setup, shard: ShardId, disk: &Arc<Disk>, now: Timestamp) -> Result<Observer, InvalidStore> {
        let outcomes = setup.outcomes.clone();
        let config = ReplicaConfig {
            network: setup.network.clone(),
            chain: ChainId::Beacon,
            seats: setup.seats(ChainId::Beacon).clone(),
            validator: None,
            genesis: setup.genesis[&ChainId::Beacon].clone(),
            leaders: setup.leaders[&ChainId::Beacon].clone(),
            guard: SignState::default(),
            restored: false,
            now,
        };
        let app = Observed { outcomes: outcomes.clone(), taken: RefCell::default() };
        let store: Arc<dyn Store> = disk.clone();
        let replica = Replica::open(config, app, store)?;
        let named = replica.certified().state.state.shard(shard).map(|record| record.era).unwrap_or_default();
        Ok(Observer { replica, shard, signatures: setup.signatures.clone(), outcomes, named })
    }

    /// The newest certified block.
    pub fn certified(&self) -> Height {
        self.replica.certified().header.height
    }

    /// The state after it.
    pub fn state(&self) -> &BeaconState {
        &self.replica.certified().state.state
    }

    /// What it holds in memory.
    pub fn footprint(&self) -> kakera_chain::replica::Footprint {
        self.replica.footprint()
    }

    /// Takes certified blocks. What they say to the shard must be kept before they are.
    pub fn take(&mut self, now: Timestamp, blocks: &CertifiedBlocks) -> Heard {
        let mut effects = self.replica.handle(now, Input::Blocks(Box::new(blocks.clone())));
        // The chain's own next era is entered at once.
        if self.replica.next_wakeup() <= now {
            effects.extend(self.replica.handle(now, Input::Tick));
        }
        let taken = self.replica.app().taken.take();
        let (readings, certificates, eras) = Default::default();
        let mut heard = Heard { effects, readings, certificates, eras, crosslinks: 0 };
        for taken in &taken {
            heard.crosslinks += taken.block.body.len() as u64;
            heard.readings.extend(self.outcomes.reading(self.shard, taken));
            heard.certificates.extend(certificates_of(self.shard, &taken.block));
            heard.eras.extend(self.named(&taken.executed.state.state));
        }
        heard
    }

    /// The era that a state names for the shard, if the one before did not.
    fn named(&mut self, state: &BeaconState) -> Option<EraPlan> {
        let era = state.shard(self.shard)?.era;
        if era <= self.named {
            return None;
        }
        self.named = era;
        state.era_of(self.shard, &self.signatures)
    }

    /// The eras later than `after` that certified blocks named for the shard, in order: for a replica that starts.
    pub fn eras_after(&self, after: Epoch) -> Vec<EraPlan> {
        let (mut last, mut plans) = (after, Vec::new());
        if self.named <= after {
            return plans;
        }
        for height in 1..=self.certified().0 {
            let block = self.replica.certified_id(Height(height)).and_then(|id| self.replica.block(&id));
            let Some(state) = block.and_then(|block| self.outcomes.state(&block.header.state_root)) else { continue };
            let era = state.state.shard(self.shard).map(|record| record.era).unwrap_or_default();
            if era > last {
                last = era;
                plans.extend(state.state.era_of(self.shard, &self.signatures));
            }
        }
        plans
    }
}
