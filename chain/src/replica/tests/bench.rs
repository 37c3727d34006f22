//! The bench: replicas with a counting application, stores that can lose their unsynced end, and a lossy network.

use super::*;
use crate::{
    application::{Context, Handled, Proposal, ReferenceStatus},
    block::Figures,
    certificate::Seats,
    genesis::{Fees, Genesis, GenesisValidator, Lanes, Role},
    hash::Hash,
    leaders::leader_cycle,
    receipt::Reference,
    store::{Row, StoreFailure, Table},
    units::ValidatorId,
};
use kakera_cbc::Committee;
use std::collections::BTreeSet;

/// A state is the sorted list of items applied.
pub(super) struct Counting {
    pool: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
#[error("applied before")]
pub(super) struct Twice;

fn outcome(items: Vec<u8>) -> Executed<Vec<u8>> {
    let figures = Figures { transactions: items.len() as u32, ..Figures::default() };
    Executed { state_root: Hash::of(&[&items]), state: items, receipts: Vec::new(), figures }
}

pub(super) fn apply(parent: &[u8], body: &[Vec<u8>]) -> Result<Executed<Vec<u8>>, Twice> {
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

    fn has_work(&self, parent: &Vec<u8>, _: &Reference) -> bool {
        self.pool.iter().any(|item| !parent.contains(item))
    }

    fn propose(&mut self, parent: &Vec<u8>, context: &Context, empty: bool) -> Proposal<Vec<u8>> {
        let fresh = self.pool.iter().filter(|item| !empty && !parent.contains(item));
        let body: Vec<Vec<u8>> = fresh.map(|item| vec![*item]).collect();
        let executed = apply(parent, &body).unwrap();
        Proposal { reference: context.reference, body, witnesses: Vec::new(), executed }
    }

    fn certified(&mut self, _: BlockId, _: &Block, _: &Vec<u8>, after: &Executed<Vec<u8>>) -> Vec<Write> {
        self.pool.retain(|item| !after.state.contains(item));
        vec![Write::put(Table::State, *b"items", after.state.clone())]
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

/// What is written, in order; the first `synced` batches survive a crash.
#[derive(Default, Clone)]
pub(super) struct Disk {
    batches: Vec<Vec<Write>>,
    synced: usize,
    pub(super) rows: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

impl Disk {
    fn apply(&mut self, writes: Vec<Write>) {
        for write in &writes {
            match write {
                Write::Put { table, key, value } => drop(self.rows.insert((*table, key.clone()), value.clone())),
                Write::Delete { table, key } => drop(self.rows.remove(&(*table, key.clone()))),
            }
        }
        self.batches.push(writes);
    }

    /// Keeps the synced batches and `more` of the others.
    fn crash(&mut self, more: usize) {
        let kept = (self.synced + more).min(self.batches.len());
        let batches: Vec<_> = self.batches.drain(..kept).collect();
        *self = Disk::default();
        batches.into_iter().for_each(|batch| self.apply(batch));
        self.synced = kept;
    }
}

#[derive(Default)]
#[allow(clippy::disallowed_types, reason = "the store contract is shared between threads")]
pub(super) struct MemoryStore(pub(super) std::sync::Mutex<Disk>);

impl Store for MemoryStore {
    fn load(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreFailure> {
        Ok(self.0.lock().unwrap().rows.get(&(table, key.to_vec())).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], limit: usize) -> Result<Vec<Row>, StoreFailure> {
        let disk = self.0.lock().unwrap();
        let rows = disk.rows.range((table, from.to_vec())..).take_while(|((of, _), _)| *of == table);
        Ok(rows.take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn last(&self, table: Table) -> Result<Option<Row>, StoreFailure> {
        let disk = self.0.lock().unwrap();
        let last = disk.rows.iter().rev().find(|((of, _), _)| *of == table);
        Ok(last.map(|((_, key), value)| (key.clone(), value.clone())))
    }
}

pub(super) struct Bench {
    pub(super) network: Arc<Network>,
    pub(super) seats: Seats,
    now: u64,
    random: u64,
    pub(super) lose_percent: usize,
    /// Members that nothing reaches and whom nobody hears.
    pub(super) cut: BTreeSet<usize>,
    /// What was refused, from whom; without a list, a refusal is a failure.
    pub(super) refused: Option<Vec<(usize, Refused)>>,
    /// Who has halted, and why; without a list, a halt is a failure.
    pub(super) halted: Option<Vec<Breach>>,
    pub(super) replicas: Vec<Option<Replica<Counting>>>,
    pub(super) stores: Vec<Arc<MemoryStore>>,
    guards: Vec<SignState>,
    slots_kept: Option<u64>,
    /// What is sent to one member from now on: when, by whom, to whom.
    pub(super) sends: Option<Vec<(u64, usize, usize, PeerMessage)>>,
    /// Whether everything takes the same time, so that what one says to another comes in order.
    pub(super) in_order: bool,
    /// Whether evidence gets lost.
    pub(super) lose_evidence: bool,
    /// Whether answers that carry messages get lost.
    pub(super) lose_answers: bool,
    /// Arrival time, a number for order, from, to and what.
    flying: BTreeMap<(u64, u64), (usize, usize, PeerMessage)>,
    sent: u64,
    /// Inputs handled; what is held is weighed after some of them.
    steps: u64,
}

pub(super) fn key(member: usize) -> SecretKey {
    SecretKey::from_seed([member as u8 + 1; 32])
}

impl Bench {
    pub(super) fn new(members: usize, seed: u64) -> Bench {
        Bench::keeping(None, members, seed)
    }

    /// Members that keep messages in memory for so many slots.
    pub(super) fn keeping(slots_kept: Option<u64>, members: usize, seed: u64) -> Bench {
        let validator = |member: usize| GenesisValidator {
            name: format!("v{member}"),
            role: Role::Beacon,
            key: key(member).public(),
            seats: 1,
            endpoint: format!("127.0.0.1:{}", 4000 + member),
            owner: crate::address::Address([0; 32]),
            commitment: "00".repeat(32),
        };
        let mut validators: Vec<_> = (0..members).map(validator).collect();
        validators.push(GenesisValidator { role: Role::Shard, ..validator(200) });
        let timing = Timing { slot_ms: 200, delay_ms: 40, heartbeat_slots: 10 };
        let genesis = Genesis {
            name: "bench".into(),
            genesis_time_ms: 1_000,
            seed: "22".repeat(32),
            shards: 1,
            committee_seats: 1,
            beacon: timing,
            shard: timing,
            fees: Fees { block_gas: 1_000_000, block_bytes: 65_536, base_fee: 1, receipt_gas_percent: 50 },
            lanes: Lanes { bound: 10, lifetime_slots: 100 },
            validators,
            accounts: Vec::new(),
        };
        let network = Arc::new(Network::parse(&toml::to_string(&genesis).unwrap()).unwrap());
        let seats = Seats {
            keys: (0..members).map(|member| key(member).public()).collect(),
            validators: (0..members).map(|member| ValidatorId(member as u32)).collect(),
            committee: Committee::new(vec![1; members]).unwrap(),
            signatures: Default::default(),
        };
        let mut bench = Bench {
            network,
            seats,
            now: 1_000,
            random: seed,
            lose_percent: 0,
            cut: BTreeSet::new(),
            refused: None,
            halted: None,
            replicas: (0..members).map(|_| None).collect(),
            stores: (0..members).map(|_| Arc::default()).collect(),
            guards: vec![SignState::default(); members],
            slots_kept,
            sends: None,
            in_order: false,
            lose_evidence: false,
            lose_answers: false,
            flying: BTreeMap::new(),
            sent: 0,
            steps: 0,
        };
        (0..members).for_each(|member| bench.restart(member));
        bench
    }

    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// SplitMix64, below `limit`.
    pub(super) fn random(&mut self, limit: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }

    pub(super) fn restart(&mut self, member: usize) {
        let app = Counting { pool: Vec::new() };
        let genesis = Header {
            chain: ChainId::Beacon,
            epoch: Epoch(0),
            root: BlockId([0; 32]),
            parent: BlockId([0; 32]),
            height: Height(0),
            slot: Slot(0),
            proposer: Member(0),
            reference: Reference { height: Height(0), slot: Slot(0), id: BlockId([0; 32]) },
            state_root: app.genesis().state_root,
            body_root: Hash::ZERO,
            witness_root: Hash::ZERO,
            outbox_root: Hash::ZERO,
            figures: Figures::default(),
        };
        let config = ReplicaConfig {
            network: self.network.clone(),
            chain: ChainId::Beacon,
            seats: self.seats.clone(),
            me: Some((Member(member as u16), key(member))),
            genesis,
            leaders: leader_cycle(&self.seats.committee, Hash::ZERO),
            guard: self.guards[member],
            now: Timestamp(self.now),
        };
        let store = self.stores[member].clone();
        let replica = match self.slots_kept {
            Some(slots) => Replica::open_keeping(slots, config, app, store),
            None => Replica::open(config, app, store),
        };
        let replica = replica.unwrap();
        self.replicas[member] = Some(replica);
        self.step(member, Input::Tick);
    }

    /// The process ends; whatever was not synced may be lost, and what it was sent meanwhile is.
    pub(super) fn crash(&mut self, member: usize) {
        let more = self.random(4);
        self.replicas[member] = None;
        self.stores[member].0.lock().unwrap().crash(more);
        self.flying.retain(|_, (_, to, _)| *to != member);
    }

    pub(super) fn copy_store(&self, member: usize) -> Disk {
        self.stores[member].0.lock().unwrap().clone()
    }

    pub(super) fn replace_store(&mut self, member: usize, disk: Disk) {
        *self.stores[member].0.lock().unwrap() = disk;
        self.guards[member] = SignState::default();
    }

    pub(super) fn give(&mut self, member: usize, item: u8) {
        self.step(member, Input::Application(item));
    }

    fn fly(&mut self, from: usize, to: usize, message: PeerMessage) {
        if from == to || self.replicas[to].is_none() || self.cut.contains(&from) || self.cut.contains(&to) {
            return;
        }
        if self.lose_evidence && matches!(message, PeerMessage::Evidence(_)) {
            return;
        }
        if self.lose_answers && matches!(message, PeerMessage::Messages(_)) {
            return;
        }
        if self.random(100) < self.lose_percent {
            return;
        }
        let arrives = self.now + if self.in_order { 3 } else { 1 + self.random(5) as u64 };
        self.sent += 1;
        self.flying.insert((arrives, self.sent), (from, to, message));
    }

    /// Hands a member what a peer would say, at once; answers what it sends back to that peer.
    pub(super) fn hear(&mut self, to: usize, from: usize, message: PeerMessage) -> Vec<PeerMessage> {
        self.step(to, Input::Peer { from: Member(from as u16), message })
            .into_iter()
            .filter_map(|(at, answer)| (at == from).then_some(answer))
            .collect()
    }

    fn step(&mut self, member: usize, input: Input<u8>) -> Vec<(usize, PeerMessage)> {
        let mut answers = Vec::new();
        let Some(replica) = &mut self.replicas[member] else { return answers };
        let effects = replica.handle(Timestamp(self.now), input);
        self.steps += 1;
        if self.steps.is_multiple_of(16) {
            assert_eq!(replica.footprint().excess(), None, "{member} holds more than is stated");
        }
        for effect in effects {
            match effect {
                Effect::Persist { writes, synced } => {
                    let mut disk = self.stores[member].0.lock().unwrap();
                    disk.apply(writes);
                    if synced {
                        disk.synced = disk.batches.len();
                    }
                }
                Effect::Guard(state) => self.guards[member] = state,
                Effect::Broadcast(message) => {
                    (0..self.replicas.len()).for_each(|to| self.fly(member, to, message.clone()));
                }
                Effect::Send(to, message) => {
                    answers.push((to.index(), message.clone()));
                    if let Some(sends) = &mut self.sends {
                        sends.push((self.now, member, to.index(), message.clone()));
                    }
                    self.fly(member, to.index(), message);
                }
                Effect::Refused { from, reason } => match &mut self.refused {
                    Some(list) => list.push((from.index(), reason)),
                    None => panic!("{member} refused a message of {from}: {reason}"),
                },
                Effect::Halt(breach) => match &mut self.halted {
                    Some(list) => list.push(breach),
                    None => panic!("{member} halted: {breach}"),
                },
                Effect::Included { .. } | Effect::Certified { .. } | Effect::ReferencesGrew | Effect::Reply(()) => {}
            }
        }
        answers
    }

    /// Lets `ms` milliseconds pass.
    pub(super) fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        loop {
            let flight = self.flying.first_key_value().map(|((at, _), _)| *at);
            let wakeups = self.replicas.iter().enumerate();
            let wakeup = wakeups.filter_map(|(member, r)| Some((r.as_ref()?.next_wakeup().0, member))).min();
            let next = flight.into_iter().chain(wakeup.map(|(at, _)| at)).min().unwrap_or(end);
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if flight.is_some_and(|at| at <= self.now) {
                let (_, (from, to, message)) = self.flying.pop_first().unwrap();
                self.step(to, Input::Peer { from: Member(from as u16), message });
            } else if let Some((_, member)) = wakeup {
                let before = self.replicas[member].as_ref().unwrap().next_wakeup();
                self.step(member, Input::Tick);
                let after = self.replicas[member].as_ref().unwrap().next_wakeup();
                assert!(after.0 > self.now || after > before, "member {member} spins at {}", self.now);
            }
        }
        self.now = end;
    }

    /// Heights whose certified block is no base to a member's engine.
    pub(super) fn certified_but_no_base(&self, member: usize) -> Vec<u64> {
        let replica = self.replicas[member].as_ref().unwrap();
        let missing = |height: &u64| !replica.engine.is_certified(&replica.certified_id(Height(*height)).unwrap());
        (1..=replica.certified().header.height.0).filter(missing).collect()
    }

    /// Whether the slot that it is belongs to a member.
    pub(super) fn leads(&self, member: usize) -> bool {
        let replica = self.alive().next().unwrap();
        let slot = replica.clock.slot_at(Timestamp(self.now));
        replica.engine.protocol().leader(slot) == Some(Member(member as u16))
    }

    fn alive(&self) -> impl Iterator<Item = &Replica<Counting>> {
        self.replicas.iter().flatten()
    }

    pub(super) fn certified_height(&self, member: usize) -> u64 {
        self.replicas[member].as_ref().unwrap().certified().header.height.0
    }

    pub(super) fn certified_items(&self, member: usize) -> usize {
        self.replicas[member].as_ref().unwrap().certified().state.len()
    }

    pub(super) fn status(&self, member: usize) -> Status {
        self.replicas[member].as_ref().unwrap().status(Timestamp(self.now))
    }

    pub(super) fn equivocators(&self) -> usize {
        self.alive().map(|replica| replica.engine.faulty().count()).sum()
    }

    /// All that live have certified about as much, agree where they have, and have applied at least `items` items.
    pub(super) fn assert_agreement(&self, items: usize) {
        let lowest = self.alive().map(|replica| replica.certified().header.height).min().unwrap();
        let highest = self.alive().map(|replica| replica.certified().header.height).max().unwrap();
        assert!(highest.0 - lowest.0 <= 2, "certified heights from {lowest} to {highest}");
        let ids: Vec<_> = self.alive().map(|replica| replica.certified_id(lowest)).collect();
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        for replica in self.alive() {
            let state = replica.certified().state;
            assert!(state.len() >= items, "{} of {items} items certified", state.len());
        }
    }

    /// Messages said for certified blocks, and how many blocks those are, at the first live replica.
    pub(super) fn messages_per_block(&self) -> (u64, u64) {
        let replica = self.alive().next().unwrap();
        let blocks = replica.certified().header.height.0;
        let ids = (3..=blocks).map(|height| replica.certified_id(Height(height)).unwrap());
        let messages = ids.map(|id| replica.messages_per_member(&id).iter().sum::<u64>()).sum();
        (messages, blocks - 2)
    }
}
