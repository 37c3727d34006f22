//! Opening a replica: from genesis, or from what was persisted.

use super::{
    Era, EraPlan, Held, Out, Replica, SignState,
    doubt::Doubts,
    eras::Ahead,
    fetches::Fetches,
    finality::Shares,
    ledger::Ledger,
    past::Past,
    record,
    replay::{Phase, Replay},
    voice::{self, Voice},
};
use crate::{
    application::{Application, Executed},
    block::{Block, Header},
    certificate::Seats,
    era::StoredEra,
    genesis::Network,
    keys::SecretKey,
    message::Estimate,
    store::{Store, StoreFailure, Table},
    units::{ChainId, Epoch, Height, Timestamp, ValidatorId},
};
use kakera_cbc::{BlockId, Blocks, Engine, Leaders, Limits, Member, Speaker, SpeakerConfig};
use std::{collections::BTreeMap, sync::Arc};
use thiserror::Error;

/// Slots below the certified block's of which messages stay in memory, at least.
const SLOTS_KEPT: u64 = 4096;

/// What a replica is.
pub struct ReplicaConfig {
    /// The network.
    pub network: Arc<Network>,
    /// The chain.
    pub chain: ChainId,
    /// Its first committee.
    pub seats: Seats,
    /// The validator this process speaks for where it has a seat, with its key; nothing for one that only follows.
    pub validator: Option<(ValidatorId, SecretKey)>,
    /// The chain's first block.
    pub genesis: Header,
    /// Who leads which slot in the first era, in turns.
    pub leaders: Vec<Member>,
    /// What the guard beside the store remembers.
    pub guard: SignState,
    /// Whether the store was restored from an old copy: the member then stays silent in this era, and in every other one
    /// up to the epoch that it is now. A network of one epoch knows no later one.
    pub restored: bool,
    /// When it is.
    pub now: Timestamp,
}

/// Why a store cannot be continued from.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidStore {
    /// The store failed.
    #[error(transparent)]
    Failure(#[from] StoreFailure),
    /// A record that must be there is not.
    #[error("the store lacks {what}")]
    Lacks {
        /// What.
        what: &'static str,
    },
    /// A record contradicts the others.
    #[error("the stored {what} contradicts the rest of the store")]
    Contradiction {
        /// What.
        what: &'static str,
    },
}

impl<A: Application> Replica<A> {
    /// Opens the replica of a chain on what the store holds.
    pub fn open(config: ReplicaConfig, app: A, store: Arc<dyn Store>) -> Result<Self, InvalidStore> {
        // A slow chain's messages stay for longer: at least until its last blocks are certified everywhere.
        let slots_kept = SLOTS_KEPT.max(64 * config.network.timing(config.chain).heartbeat_slots);
        Self::open_keeping(slots_kept, config, app, store)
    }

    /// The same with messages kept in memory for so many slots below the certified block's, 4 at least.
    pub(super) fn open_keeping(
        slots_kept: u64,
        config: ReplicaConfig,
        mut app: A,
        store: Arc<dyn Store>,
    ) -> Result<Self, InvalidStore> {
        let ReplicaConfig { network, chain, seats, validator, genesis, leaders, guard, restored, now } = config;
        let (timing, clock) = (network.timing(chain), network.clock(chain));
        let signatures = seats.signatures.clone();
        let first = EraPlan { epoch: Epoch(0), root: (genesis.height, genesis.id(network.id)), seats, leaders };
        let genesis_id = first.root.1;
        let (plan, root_slot) = match record::load::<StoredEra>(&*store, Table::Meta, record::ERA)? {
            None => (first, genesis.slot),
            Some(stored) => stored.plan(signatures).ok_or(InvalidStore::Contradiction { what: "era" })?,
        };
        let EraPlan { epoch, root: (root_height, root), seats, leaders } = plan;
        let era = Era { network: network.id, chain, epoch, root };
        app.enter(&era);
        let certified = load_certified(&mut app, &genesis, genesis_id, &*store)?;
        let (validator, key) = validator.unzip();
        let member = validator.and_then(|validator| seats.member(validator));
        let protocol = Blocks::new(root, root_height.0, root_slot, Leaders::new(leaders));
        let certificate = record::load(&*store, Table::Certificates, &certified.height().0.to_be_bytes())?;
        let totals = record::load(&*store, Table::Meta, record::TOTALS)?.unwrap_or_default();
        let engine = Engine::new(seats.committee.clone(), member, Limits::default(), protocol);
        let past = Past::new(engine.clone(), slots_kept, record::load(&*store, Table::Meta, record::PHASES)?);
        let follows = record::load::<Epoch>(&*store, Table::Meta, record::FOLLOWS)? == Some(epoch);
        let phase = if member.is_some() && !follows { voice::Phase::Joining } else { voice::Phase::Observer };
        let mut replica = Replica {
            engine,
            past,
            speaker: Speaker::new(SpeakerConfig::new(clock.genesis.0, timing.slot_ms, timing.delay_ms)),
            ledger: Ledger::new(certified),
            shares: Shares::new(record::load(&*store, Table::Meta, record::OWN_FINALITY)?),
            fetches: Fetches::new(timing.delay_ms),
            doubts: Doubts::default(),
            voice: Voice::new(phase, totals, guard, now),
            validator,
            key,
            waiting: BTreeMap::new(),
            unwritten: BTreeMap::new(),
            ahead: Ahead::new(),
            started: now,
            newest_certificate: certificate,
            next_insertion: 0,
            out: Out::default(),
            network,
            era,
            seats,
            timing,
            clock,
            store,
            app,
            now,
        };
        // Who follows has taken blocks without the messages that led to them.
        if replica.voice.phase == voice::Phase::Joining {
            replica.reload()?;
            if restored {
                replica.restored();
            }
            replica.check_guard();
            if replica.voice.phase == voice::Phase::Joining {
                replica.sign_again();
            }
        }
        Ok(replica)
    }

    /// Inserts all stored messages again, in their order, and executes the blocks above the certified one.
    ///
    /// The second try keeps everything in memory until the end: whatever this process has taken, it takes again.
    fn reload(&mut self) -> Result<(), InvalidStore> {
        match self.replay_all(self.past.phases.clone()) {
            Err(InvalidStore::Contradiction { .. } | InvalidStore::Lacks { .. }) => {
                self.replay_all(vec![Phase { line: 0, until: Phase::OPEN }])
            }
            done => done,
        }
    }

    fn replay_all(&mut self, phases: Vec<Phase>) -> Result<(), InvalidStore> {
        const AT_ONCE: usize = 1024;
        let store = self.store.clone();
        let mut replay = Replay::new(self.past.empty.clone(), self.era.network, phases, self.past.slots_kept, &*store)?;
        loop {
            let taken = replay.step(&*store, AT_ONCE)?;
            for message in &taken {
                if let Estimate::Proposal { block, parent, .. } = message.statement.estimate {
                    self.reload_block(&block, &parent)?;
                }
            }
            if taken.len() < AT_ONCE {
                break;
            }
        }
        self.next_insertion = replay.next();
        self.engine = replay.finish(self.ledger.certified().id)?;
        Ok(())
    }

    /// Executes a stored block again when its parent's state is at hand: those above the certified one.
    fn reload_block(&mut self, id: &BlockId, parent: &BlockId) -> Result<(), InvalidStore> {
        let Some(parent) = self.ledger.block(parent).cloned() else { return Ok(()) };
        if self.ledger.block(id).is_some() {
            return Ok(());
        }
        let bytes = self.store.load(Table::Blocks, &id.0)?.ok_or(InvalidStore::Lacks { what: "a proposal's block" })?;
        let block = Block::decode(&bytes).map_err(|_| InvalidStore::Contradiction { what: "block" })?;
        let context = self.context(&block.header);
        let executed = self
            .app
            .execute(&parent.executed.state, &context, &block.body, &block.witnesses)
            .map_err(|_| InvalidStore::Contradiction { what: "block's content" })?;
        self.ledger.insert(Held { id: *id, block: Arc::new(block), executed });
        Ok(())
    }
}

pub(super) fn decode<T: borsh::BorshDeserialize + borsh::BorshSerialize>(
    table: Table,
    bytes: &[u8],
) -> Result<T, StoreFailure> {
    crate::codec::decode(bytes, usize::MAX).map_err(|error| StoreFailure { table, reason: error.to_string() })
}

/// The last certified block with its state: genesis where nothing is stored.
fn load_certified<A: Application>(
    app: &mut A,
    genesis: &Header,
    root: BlockId,
    store: &dyn Store,
) -> Result<Held<A::State>, InvalidStore> {
    let Some((_, id)) = record::load::<(Height, BlockId)>(store, Table::Meta, record::CERTIFIED)? else {
        let block = Block { header: genesis.clone(), body: Vec::new(), witnesses: Vec::new() };
        return Ok(Held { id: root, block: Arc::new(block), executed: app.genesis() });
    };
    let bytes = store.load(Table::Blocks, &id.0)?.ok_or(InvalidStore::Lacks { what: "the certified block" })?;
    let block = Block::decode(&bytes).map_err(|_| InvalidStore::Contradiction { what: "certified block" })?;
    let header = &block.header;
    let state = app.restore(header, store)?.ok_or(InvalidStore::Lacks { what: "the state at the certified block" })?;
    // The receipts of certified blocks are in the store; nothing asks a restored block for them.
    let executed =
        Executed { state, state_root: header.state_root, receipts: Vec::new(), figures: header.figures.clone() };
    Ok(Held { id, block: Arc::new(block), executed })
}
