//! Opening a replica: from genesis, or from what was persisted.

use super::{
    Era, Held, Out, Phase, Replica, SignState, finality::Shares, ledger::Ledger, record, sync::Fetches, voice::Voice,
};
use crate::{
    application::{Application, Executed},
    block::{Block, Header},
    certificate::Seats,
    genesis::Network,
    keys::SecretKey,
    message::{Estimate, Evidence, SignedMessage},
    store::{Store, StoreFailure, Table},
    units::{ChainId, Epoch, Height, Timestamp},
};
use kakera_cbc::{BlockId, Blocks, Engine, Leaders, Limits, Member, Missing, Slot, Speaker, SpeakerConfig, Verdict};
use std::{collections::BTreeMap, sync::Arc};
use thiserror::Error;

/// What a replica is.
pub struct ReplicaConfig {
    /// The network.
    pub network: Arc<Network>,
    /// The chain.
    pub chain: ChainId,
    /// Its committee.
    pub seats: Seats,
    /// The member this process speaks for, with its key; nothing for a follower.
    pub me: Option<(Member, SecretKey)>,
    /// The chain's first block.
    pub genesis: Header,
    /// Who leads which slot, in turns.
    pub leaders: Vec<Member>,
    /// What the guard beside the store remembers.
    pub guard: SignState,
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
    pub fn open(config: ReplicaConfig, mut app: A, store: Arc<dyn Store>) -> Result<Self, InvalidStore> {
        let ReplicaConfig { network, chain, seats, me, genesis, leaders, guard, now } = config;
        let (timing, clock) = (network.timing(chain), network.clock(chain));
        let root = genesis.id(network.id);
        let era = Era { network: network.id, chain, epoch: Epoch(0), root };
        let certified = load_certified(&mut app, &genesis, root, &*store)?;
        let member = me.as_ref().map(|(member, _)| *member);
        let protocol = Blocks::new(root, genesis.height.0, genesis.slot, Leaders::new(leaders));
        let certificate = record::load(&*store, Table::Certificates, &certified.height().0.to_be_bytes())?;
        let totals = record::load(&*store, Table::Meta, record::TOTALS)?.unwrap_or_default();
        let phase = if member.is_some() { Phase::Joining } else { Phase::Observer };
        let mut replica = Replica {
            engine: Engine::new(seats.committee.clone(), member, Limits::default(), protocol),
            speaker: Speaker::new(SpeakerConfig { slot_ms: timing.slot_ms, delay_ms: timing.delay_ms }),
            ledger: Ledger::new(certified),
            shares: Shares::new(record::load(&*store, Table::Meta, record::OWN_FINALITY)?),
            fetches: Fetches::new(timing.delay_ms),
            voice: Voice::new(phase, totals, now),
            key: me.map(|(_, key)| key),
            waiting: BTreeMap::new(),
            unwritten: BTreeMap::new(),
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
        replica.reload()?;
        if member.is_some() {
            replica.check_guard(guard);
        }
        Ok(replica)
    }

    /// Inserts all stored messages again, in their order, and executes the blocks above the certified one.
    fn reload(&mut self) -> Result<(), InvalidStore> {
        const AT_ONCE: usize = 1024;
        let store = self.store.clone();
        for row in store.scan(Table::Evidence, &[], usize::from(u16::MAX))? {
            let evidence: Evidence = decode(Table::Evidence, &row.1)?;
            let ids = (evidence.first.statement.id(self.era.network), evidence.second.statement.id(self.era.network));
            self.engine.accuse(evidence.first.statement.sender, ids.0, ids.1);
        }
        let mut base = Slot(0);
        loop {
            let rows = store.scan(Table::Messages, &self.next_insertion.to_be_bytes(), AT_ONCE)?;
            for (_, bytes) in &rows {
                base = base.max(self.reinsert(decode(Table::Messages, bytes)?)?);
                self.next_insertion += 1;
            }
            self.prune_reloaded(base);
            if rows.len() < AT_ONCE {
                break;
            }
        }
        let certified = self.ledger.certified().id;
        if certified != self.era.root {
            self.certify_stored(certified, "certified block")?;
        }
        self.out = Out::default();
        Ok(())
    }

    /// Inserts one message again; answers its base's slot.
    fn reinsert(&mut self, message: SignedMessage) -> Result<Slot, InvalidStore> {
        let statement = &message.statement;
        let id = statement.id(self.era.network);
        if !self.engine.is_certified(&statement.base) {
            self.certify_stored(statement.base, "base of a message")?;
        }
        let parsed = statement.to_message(id);
        let checked = match self.engine.check(Slot(u64::MAX), &parsed) {
            Verdict::Valid(checked) => checked,
            Verdict::Waiting(Missing::FullCites(_)) => {
                let cites = self.stored_cites(&id)?.ok_or(InvalidStore::Lacks { what: "what a message cites" })?;
                match self.engine.check_full(Slot(u64::MAX), &parsed, &cites) {
                    Verdict::Valid(checked) => checked,
                    _ => return Err(InvalidStore::Contradiction { what: "message and what it cites" }),
                }
            }
            _ => return Err(InvalidStore::Contradiction { what: "message" }),
        };
        let estimate = statement.estimate;
        if let Estimate::Proposal { block, parent, .. } = estimate {
            self.reload_block(&block, &parent)?;
        }
        self.engine.insert(checked);
        // Peers may still speak on any certified block, also on one that no stored message has for its base.
        if let Estimate::Proposal { block, height, .. } = estimate
            && record::certified_id(&*self.store, Height(height))? == Some(block)
        {
            self.certify_stored(block, "certified block")?;
        }
        Ok(self.engine.protocol().block(&message.statement.base).map_or(Slot(0), |base| base.slot))
    }

    /// Executes a stored block again when its parent's state is at hand: those above the certified one.
    fn reload_block(&mut self, id: &BlockId, parent: &BlockId) -> Result<(), InvalidStore> {
        let Some(parent) = self.ledger.block(parent).cloned() else { return Ok(()) };
        if self.ledger.block(id).is_some() {
            return Ok(());
        }
        let bytes = self.store.load(Table::Blocks, &id.0)?.ok_or(InvalidStore::Lacks { what: "a proposal's block" })?;
        let block = Block::decode(&bytes).map_err(|_| InvalidStore::Contradiction { what: "block" })?;
        let header = &block.header;
        let context = crate::application::Context {
            chain: header.chain,
            height: header.height,
            slot: header.slot,
            proposer: header.proposer,
            reference: header.reference,
        };
        let executed = self
            .app
            .execute(&parent.executed.state, &context, &block.body, &block.witnesses)
            .map_err(|_| InvalidStore::Contradiction { what: "block's content" })?;
        self.ledger.insert(Held { id: *id, block: Arc::new(block), executed });
        Ok(())
    }

    /// Certifies a stored block that the store says is on the certified chain.
    fn certify_stored(&mut self, id: BlockId, what: &'static str) -> Result<(), InvalidStore> {
        self.engine.certify(id).map_err(|_| InvalidStore::Contradiction { what })
    }
}

fn decode<T: borsh::BorshDeserialize + borsh::BorshSerialize>(table: Table, bytes: &[u8]) -> Result<T, StoreFailure> {
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
