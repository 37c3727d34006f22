//! The beacon chain in a process: a member's replica, or one that follows.

use super::{
    Failure, Opened,
    host::{Ground, started},
};
use crate::{
    api::chains::BeaconHere,
    core::{self, Core, Outbox, now},
    lab::Speaker,
    peers::Peers,
    store::RocksStore,
};
use kakera_beacon::{Beacon, Committees, leader_seed, randomness::Links};
use kakera_chain::{
    block::Header,
    genesis::Role,
    leaders::leader_cycle,
    peer::Spoken,
    replica::{Replica, ReplicaConfig, SignState},
    store::Store,
    units::{ChainId, ValidatorId},
};
use std::{
    sync::{Arc, Mutex, OnceLock, atomic::AtomicBool},
    thread::JoinHandle,
};
use tokio::task::JoinSet;

/// The beacon chain's replica with what stands around it.
pub(super) struct BeaconChain {
    pub(super) core: Core<Beacon>,
    pub(super) store: Arc<RocksStore>,
    pub(super) thread: JoinHandle<()>,
    pub(super) seated: Arc<AtomicBool>,
    /// Who this process speaks for: known at once where the genesis file says so, else once the beacon's state does.
    pub(super) me: Arc<OnceLock<ValidatorId>>,
    outbox: Way,
    /// Reports evidence of this chain.
    witness: OnceLock<JoinSet<()>>,
}

/// Sends nothing before this process has a name.
struct Late(Way);

/// The way to the peers, once there is one.
type Way = Arc<Mutex<Option<Box<dyn Outbox>>>>;

impl Outbox for Late {
    fn send(&self, to: &[ValidatorId], message: Spoken) {
        if let Some(outbox) = &*self.0.lock().expect("no holder panics") {
            outbox.send(to, message);
        }
    }
}

impl BeaconChain {
    /// Opens it and starts its core.
    pub(super) fn start(opened: &Opened, beacon: Beacon, genesis: Header) -> Result<BeaconChain, Failure> {
        let (network, role) = (Arc::clone(&opened.network), opened.identity.role);
        let rocks = Arc::new(opened.home.store(ChainId::Beacon)?);
        let guard = match role {
            Role::Beacon => Some(opened.home.guard(ChainId::Beacon)?),
            Role::Shard => None,
        };
        let store: Arc<dyn Store> = rocks.clone();
        let seats = Committees::draw(&network).beacon;
        let leaders = leader_cycle(&seats.committee, leader_seed(&network, ChainId::Beacon));
        let me: Arc<OnceLock<ValidatorId>> = Arc::default();
        if let Some(validator) = opened.identity.validator {
            me.get_or_init(|| validator);
        }
        let (key, links) = (opened.identity.key.clone(), opened.identity.randomness.map(Links::new));
        let (named, kept, mut restored) = (Arc::clone(&me), guard.clone(), opened.restored);
        let open = move || {
            // Shard validators have no seat here.
            let validator = named.get().copied().filter(|_| role == Role::Beacon);
            let app = match (validator, &links) {
                (Some(validator), Some(links)) => beacon.clone().with_links(validator, links.clone()),
                _ => beacon.clone(),
            };
            let config = ReplicaConfig {
                network: Arc::clone(&network),
                chain: ChainId::Beacon,
                seats: seats.clone(),
                validator: validator.map(|validator| (validator, key.clone())),
                genesis: genesis.clone(),
                leaders: leaders.clone(),
                guard: kept.as_ref().map_or_else(SignState::default, crate::guard::SignGuard::read),
                restored: std::mem::take(&mut restored),
                now: now(),
            };
            Replica::open(config, app, Arc::clone(&store))
        };
        let outbox = Way::default();
        let (core, thread) = core::start(Box::new(open), Arc::clone(&rocks), guard, Late(Arc::clone(&outbox)))
            .map_err(|reason| started(&rocks, reason))?;
        Ok(BeaconChain { core, store: rocks, thread, seated: Arc::default(), me, outbox, witness: OnceLock::new() })
    }

    /// This process speaks from now on, through these peers, and reports who breaks the rules.
    pub(super) fn speak(&self, peers: &Peers, ground: &Ground, me: ValidatorId) {
        let speaker =
            Speaker { network: ground.network.id, chain: ChainId::Beacon, validator: me, key: ground.key.clone() };
        *self.outbox.lock().expect("no holder panics") = Some(ground.hooks.outbox(speaker, peers.outbox()));
        let core = self.core.clone();
        ground.board.connect(peers, Arc::new(move |from, message| core.deliver(from, message)));
        self.witness.get_or_init(|| {
            let mut tasks = JoinSet::new();
            ground.report(&mut tasks, self.core.clone(), me);
            tasks
        });
    }

    /// What the API needs of it.
    pub(super) fn here(&self, peers: Arc<OnceLock<Peers>>) -> BeaconHere {
        BeaconHere { core: self.core.clone(), peers, seated: Arc::clone(&self.seated) }
    }
}
