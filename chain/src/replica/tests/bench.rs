//! The bench: replicas with a counting application, stores that can lose their unsynced end, and a lossy network.

mod counting;
mod disk;

pub(in crate::replica) use counting::{Counting, in_office, plan};
pub(in crate::replica) use disk::{Disk, MemoryStore};

use super::*;
use crate::{
    block::Figures,
    certificate::{Certificate, Finality, FinalitySignature, Seats},
    genesis::{Epochs, Fees, Genesis, GenesisValidator, Lanes, Role, Staking},
    hash::Hash,
    leaders::leader_cycle,
    receipt::Reference,
    units::{ChainId, ValidatorId},
};
use kakera_cbc::{Committee, Member};
use std::collections::BTreeSet;

pub(in crate::replica) struct Bench {
    pub(in crate::replica) network: Arc<Network>,
    pub(in crate::replica) seats: Seats,
    /// Members in office at a time.
    in_office: usize,
    now: u64,
    random: u64,
    pub(in crate::replica) lose_percent: usize,
    /// Members that nothing reaches and whom nobody hears.
    pub(in crate::replica) cut: BTreeSet<usize>,
    /// What was refused, from whom; without a list, a refusal is a failure.
    pub(in crate::replica) refused: Option<Vec<(usize, Refused)>>,
    /// Who has halted, and why; without a list, a halt is a failure.
    pub(in crate::replica) halted: Option<Vec<Breach>>,
    pub(in crate::replica) replicas: Vec<Option<Replica<Counting>>>,
    pub(in crate::replica) stores: Vec<Arc<MemoryStore>>,
    pub(in crate::replica) guards: Vec<SignState>,
    /// Whether the next start is declared to be on an old copy.
    pub(in crate::replica) restored: bool,
    slots_kept: Option<u64>,
    /// What is sent to one member from now on: when, by whom, to whom.
    pub(in crate::replica) sends: Option<Vec<(u64, usize, usize, PeerMessage)>>,
    /// Whether everything takes the same time, so that what one says to another comes in order.
    pub(in crate::replica) in_order: bool,
    /// Whether evidence gets lost.
    pub(in crate::replica) lose_evidence: bool,
    /// Whether answers that carry messages get lost.
    pub(in crate::replica) lose_answers: bool,
    /// Whether finality signatures get lost.
    pub(in crate::replica) lose_signatures: bool,
    /// Arrival time, a number for order, from, to, the era's epoch and what.
    flying: BTreeMap<(u64, u64), (usize, usize, Epoch, PeerMessage)>,
    /// What eras' roots left out.
    pub(in crate::replica) undone: Vec<(Height, BlockId)>,
    /// Certified blocks that were refused.
    pub(in crate::replica) blocks_refused: Vec<InvalidBlocks>,
    sent: u64,
    /// Inputs handled; what is held is weighed after some of them.
    steps: u64,
}

pub(in crate::replica) fn key(member: usize) -> SecretKey {
    SecretKey::from_seed([member as u8 + 1; 32])
}

impl Bench {
    pub(in crate::replica) fn new(members: usize, seed: u64) -> Bench {
        Bench::keeping(None, members, seed)
    }

    /// Members of which so many in a row are in office, for an epoch of so many slots each.
    pub(in crate::replica) fn turning(members: usize, in_office: usize, slots: u64, seed: u64) -> Bench {
        let fallback_slots = slots / 2;
        let epochs = Epochs { slots, fallback_slots, rotation_per_mille: 250, beacon_seats: None, unbonding: 2 };
        Bench::made(None, members, seed, Some(epochs), in_office)
    }

    /// Members that keep messages in memory for so many slots.
    pub(in crate::replica) fn keeping(slots_kept: Option<u64>, members: usize, seed: u64) -> Bench {
        Bench::made(slots_kept, members, seed, None, members)
    }

    fn made(slots_kept: Option<u64>, members: usize, seed: u64, epochs: Option<Epochs>, in_office: usize) -> Bench {
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
            epochs,
            // Where committees follow each other, who signs is paid.
            staking: epochs.map(|_| Staking { seat: 1, churn_seats: 1, reward: 1, reporter_per_mille: 0 }),
            risk: None,
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
            in_office,
            now: 1_000,
            random: seed,
            lose_percent: 0,
            cut: BTreeSet::new(),
            refused: None,
            halted: None,
            replicas: (0..members).map(|_| None).collect(),
            stores: (0..members).map(|_| Arc::default()).collect(),
            guards: vec![SignState::default(); members],
            restored: false,
            slots_kept,
            sends: None,
            in_order: false,
            lose_evidence: false,
            lose_answers: false,
            lose_signatures: false,
            flying: BTreeMap::new(),
            undone: Vec::new(),
            blocks_refused: Vec::new(),
            sent: 0,
            steps: 0,
        };
        (0..members).for_each(|member| bench.restart(member));
        bench
    }

    pub(in crate::replica) fn now(&self) -> u64 {
        self.now
    }

    /// Everybody's clock shows this from now on; who runs already does not go back.
    pub(in crate::replica) fn set_now(&mut self, now: u64) {
        self.now = now;
    }

    /// SplitMix64, below `limit`.
    pub(in crate::replica) fn random(&mut self, limit: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }

    pub(in crate::replica) fn restart(&mut self, member: usize) {
        let (network, all, size) = (self.network.clone(), self.seats.clone(), self.in_office);
        let app = Counting { pool: Vec::new(), network, all, in_office: size, settled: Height(0) };
        let seats = in_office(&self.seats, size, Epoch(0));
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
            leaders: leader_cycle(&seats.committee, Hash::ZERO),
            seats,
            validator: Some((ValidatorId(member as u32), key(member))),
            genesis,
            guard: self.guards[member],
            restored: std::mem::take(&mut self.restored),
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
    pub(in crate::replica) fn crash(&mut self, member: usize) {
        let more = self.random(4);
        self.replicas[member] = None;
        self.stores[member].0.lock().unwrap().crash(more);
        self.flying.retain(|_, (_, to, ..)| *to != member);
    }

    pub(in crate::replica) fn copy_store(&self, member: usize) -> Disk {
        self.stores[member].0.lock().unwrap().clone()
    }

    pub(in crate::replica) fn replace_store(&mut self, member: usize, disk: Disk) {
        *self.stores[member].0.lock().unwrap() = disk;
        self.guards[member] = SignState::default();
    }

    pub(in crate::replica) fn give(&mut self, member: usize, item: u8) {
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
        if self.lose_signatures && matches!(message, PeerMessage::Finality(_)) {
            return;
        }
        if self.random(100) < self.lose_percent {
            return;
        }
        let arrives = self.now + if self.in_order { 3 } else { 1 + self.random(5) as u64 };
        self.sent += 1;
        let epoch = self.replicas[from].as_ref().unwrap().era().epoch;
        self.flying.insert((arrives, self.sent), (from, to, epoch, message));
    }

    /// Hands a member what a peer would say, at once; answers what it sends back to that peer.
    pub(in crate::replica) fn hear(&mut self, to: usize, from: usize, message: PeerMessage) -> Vec<PeerMessage> {
        let epoch = self.replicas[to].as_ref().unwrap().era().epoch;
        self.step(to, Input::Peer { from: ValidatorId(from as u32), epoch, message })
            .into_iter()
            .filter_map(|(at, answer)| (at == from).then_some(answer))
            .collect()
    }

    fn step(&mut self, member: usize, input: Input<u8>) -> Vec<(usize, PeerMessage)> {
        let (mut answers, mut reopen) = (Vec::new(), false);
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
                    self.office(member).into_iter().for_each(|to| self.fly(member, to, message.clone()));
                }
                Effect::Send(to, message) => {
                    let to = self.office(member)[to.index()];
                    answers.push((to, message.clone()));
                    if let Some(sends) = &mut self.sends {
                        sends.push((self.now, member, to, message.clone()));
                    }
                    self.fly(member, to, message);
                }
                Effect::Undone(blocks) => self.undone.extend(blocks),
                Effect::BlocksRefused(reason) => self.blocks_refused.push(reason),
                Effect::Reopen => reopen = true,
                Effect::Refused { from, reason } => match &mut self.refused {
                    Some(list) => list.push((from.index(), reason)),
                    None => panic!("{member} refused a message of {from}: {reason}"),
                },
                Effect::Halt(breach) => match &mut self.halted {
                    Some(list) => list.push(breach),
                    None => panic!("{member} halted: {breach}"),
                },
                Effect::Included { .. }
                | Effect::Certified { .. }
                | Effect::Entered(_)
                | Effect::ReferencesGrew
                | Effect::Reply(()) => {}
            }
        }
        if reopen {
            self.restart(member);
        }
        answers
    }

    /// Lets `ms` milliseconds pass.
    pub(in crate::replica) fn run(&mut self, ms: u64) {
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
                let (_, (from, to, epoch, message)) = self.flying.pop_first().unwrap();
                self.step(to, Input::Peer { from: ValidatorId(from as u32), epoch, message });
            } else if let Some((_, member)) = wakeup {
                // A new era takes a few: what each writes must be in the store before the next.
                let tick = |bench: &mut Bench| {
                    bench.step(member, Input::Tick);
                    bench.replicas[member].as_ref().unwrap().next_wakeup().0 > bench.now
                };
                assert!((0..4).any(|_| tick(self)), "member {member} spins at {}", self.now);
            }
        }
        self.now = end;
    }

    /// The places of the members that one has in its era.
    fn office(&self, member: usize) -> Vec<usize> {
        let replica = self.replicas[member].as_ref().unwrap();
        replica.seats().validators.iter().map(|validator| validator.0 as usize).collect()
    }

    /// Gives every observer the certified blocks that it lacks, from whoever has the most.
    pub(in crate::replica) fn feed(&mut self) {
        for observer in 0..self.replicas.len() {
            let Some(replica) = self.replicas[observer].as_ref() else { continue };
            if self.cut.contains(&observer) {
                continue;
            }
            if replica.phase() != Phase::Observer {
                let root = replica.era().root;
                let others = (0..self.replicas.len()).filter(|other| !self.cut.contains(other));
                let closed = others.filter_map(|other| self.replicas[other].as_ref()?.closed(&root)).next();
                if let Some(closed) = closed {
                    self.step(observer, Input::Closed(Box::new(closed)));
                }
                continue;
            }
            let next = replica.certified().header.height.next();
            let others = (0..self.replicas.len()).filter(|other| !self.cut.contains(other));
            let best = others.max_by_key(|other| self.replicas[*other].as_ref().map(|r| r.certified().header.height));
            let blocks = best.and_then(|best| self.replicas[best].as_ref()?.certified_blocks(next));
            if let Some(blocks) = blocks {
                self.step(observer, Input::Blocks(Box::new(blocks)));
            }
        }
    }

    /// Lets time pass with observers fed every so often.
    pub(in crate::replica) fn run_fed(&mut self, ms: u64) {
        for _ in 0..ms / 50 {
            self.run(50);
            self.feed();
        }
    }

    /// A member of the bench as it is.
    pub(in crate::replica) fn replica(&self, member: usize) -> &Replica<Counting> {
        self.replicas[member].as_ref().unwrap()
    }

    pub(in crate::replica) fn is_alive(&self, member: usize) -> bool {
        self.replicas[member].is_some()
    }

    pub(in crate::replica) fn tick(&mut self, member: usize) {
        self.step(member, Input::Tick);
    }

    /// Gives a member certified blocks.
    pub(in crate::replica) fn blocks(&mut self, member: usize, blocks: CertifiedBlocks) {
        self.step(member, Input::Blocks(Box::new(blocks)));
    }

    /// Tells a member that its era is over.
    pub(in crate::replica) fn closed(&mut self, member: usize, closed: ClosedEra) {
        self.step(member, Input::Closed(Box::new(closed)));
    }

    /// Gives a member a certificate that the beacon has recorded.
    pub(in crate::replica) fn recorded(&mut self, member: usize, certificate: Certificate) {
        self.step(member, Input::Recorded(vec![certificate]));
    }

    /// The block that a member signed last as final, and its certificate by so many of the first members.
    pub(in crate::replica) fn signed_last(&self, member: usize, signers: u16) -> (Header, Certificate) {
        let replica = self.replica(member);
        let header = replica.block(&replica.shares.own.unwrap().1).unwrap().header.clone();
        let finality = Finality::of(&header, self.network.id);
        let sign = |at| FinalitySignature::sign(finality, Member(at), &key(at.into()), self.network.id).signature;
        let signatures = (0..signers).map(|at| (Member(at), sign(at))).collect();
        (header, Certificate { finality, signatures })
    }

    /// Hands a member what a peer would say in an era of this epoch.
    pub(in crate::replica) fn hear_in(&mut self, to: usize, from: usize, epoch: Epoch, message: PeerMessage) {
        self.step(to, Input::Peer { from: ValidatorId(from as u32), epoch, message });
    }

    /// Gives a member an era.
    pub(in crate::replica) fn announce(&mut self, member: usize, plan: EraPlan) {
        self.step(member, Input::Era(Box::new(plan)));
    }

    /// Heights whose certified block is no base to a member's engine.
    pub(in crate::replica) fn certified_but_no_base(&self, member: usize) -> Vec<u64> {
        let replica = self.replicas[member].as_ref().unwrap();
        let missing = |height: &u64| !replica.engine.is_certified(&replica.certified_id(Height(*height)).unwrap());
        (1..=replica.certified().header.height.0).filter(missing).collect()
    }

    /// Whether the slot that it is belongs to a member.
    pub(in crate::replica) fn leads(&self, member: usize) -> bool {
        let replica = self.alive().next().unwrap();
        let slot = replica.clock.slot_at(Timestamp(self.now));
        replica.engine.protocol().leader(slot) == Some(Member(member as u16))
    }

    fn alive(&self) -> impl Iterator<Item = &Replica<Counting>> {
        self.replicas.iter().flatten()
    }

    pub(in crate::replica) fn certified_height(&self, member: usize) -> u64 {
        self.replicas[member].as_ref().unwrap().certified().header.height.0
    }

    pub(in crate::replica) fn certified_items(&self, member: usize) -> usize {
        self.replicas[member].as_ref().unwrap().certified().state.len()
    }

    pub(in crate::replica) fn status(&self, member: usize) -> Status {
        self.replicas[member].as_ref().unwrap().status(Timestamp(self.now))
    }

    pub(in crate::replica) fn equivocators(&self) -> usize {
        self.alive().map(|replica| replica.engine.faulty().count()).sum()
    }

    /// All that live have certified about as much, agree where they have, and have applied at least `items` items.
    pub(in crate::replica) fn assert_agreement(&self, items: usize) {
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
    pub(in crate::replica) fn messages_per_block(&self) -> (u64, u64) {
        let replica = self.alive().next().unwrap();
        let blocks = replica.certified().header.height.0;
        let ids = (3..=blocks).map(|height| replica.certified_id(Height(height)).unwrap());
        let messages = ids.map(|id| replica.messages_per_member(&id).iter().sum::<u64>()).sum();
        (messages, blocks - 2)
    }
}
