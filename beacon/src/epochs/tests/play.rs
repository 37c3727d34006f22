//! A beacon chain played by hand: blocks of given slots and proposers, over shards whose committees sign what they are
//! told. Whatever is played, what must hold of every state is checked after each block.

use crate::{
    BeaconState, InvalidBeaconBlock, ShardRecord,
    fixture::{ALLOCATION, SHARDS, Step, World, account, context, network_of, secret},
    randomness::Reveal,
};
use kakera_chain::{
    BlockId, Member, Slot,
    address::Address,
    application::{Application, Context, Executed},
    bond::Bond,
    certificate::{Certificate, Finality, FinalitySignature},
    codec,
    crosslink::{BeaconItem, Crosslink},
    evidence::{Conflict, Evidence},
    genesis::{Epochs, GenesisAccount, Network, Role, Staking},
    hash::Hash,
    receipt::{ReceiptAction, Reference},
    signatures::Signatures,
    units::{ChainId, Epoch, Height, ShardId, ValidatorId},
};
use std::collections::BTreeMap;

/// Slots of an epoch.
pub(super) const SLOTS: u64 = 8;
/// The fallback's slots.
pub(super) const LATE: u64 = 3;
/// Seats of a shard's committee.
pub(super) const SIZE: u32 = 4;
/// Beacon validators: 0 to 3.
pub(super) const BEACONS: u32 = 4;
/// Validators at genesis; six shard seats stand by.
pub(super) const VALIDATORS: u32 = BEACONS + 3 * SIZE + 6;
/// What a seat costs.
pub(super) const SEAT: u64 = 1_000;
/// Epochs for which evidence is taken.
pub(super) const UNBONDING: u64 = 3;
pub(super) const TRANSACTION: Hash = Hash([4; 32]);

/// Three committees of four, four beacon validators, and stake.
pub(super) fn network() -> Network {
    let registry: Vec<(Role, u32)> =
        (0..VALIDATORS).map(|id| (if id < BEACONS { Role::Beacon } else { Role::Shard }, 1)).collect();
    let mut network = network_of(SHARDS, SIZE, &registry);
    let genesis = &mut network.genesis;
    genesis.accounts =
        [0x11, 0x77, 0xdd].map(|first| GenesisAccount { address: Address([first; 32]), balance: ALLOCATION }).to_vec();
    genesis.epochs = Some(Epochs {
        slots: SLOTS,
        fallback_slots: LATE,
        rotation_per_mille: 300,
        beacon_seats: None,
        unbonding: UNBONDING,
    });
    genesis.staking = Some(Staking { seat: SEAT, churn_seats: 4, reward: 10, reporter_per_mille: 100 });
    for (id, validator) in (0..).zip(&mut genesis.validators) {
        validator.commitment = hex::encode(link(id, 40).0);
    }
    network
}

/// The `above`th link of a validator's hash chain, counted from its secret.
pub(super) fn link(validator: u32, above: u32) -> Hash {
    (0..above).fold(Hash::of(&[b"links", &validator.to_le_bytes()]), |link, _| Hash::of(&[&link.0]))
}

pub(super) struct Play {
    pub(super) world: World,
    /// Of the last block.
    pub(super) slot: u64,
    roots: BTreeMap<(ShardId, Epoch), (Height, BlockId)>,
    eras: BTreeMap<(ShardId, Epoch), (Vec<ValidatorId>, Vec<Member>)>,
}

impl Play {
    pub(super) fn new() -> Play {
        Play::of(network())
    }

    pub(super) fn of(network: Network) -> Play {
        Play { world: World::of(network), slot: 0, roots: BTreeMap::new(), eras: BTreeMap::new() }
    }

    pub(super) fn state(&self) -> &BeaconState {
        &self.world.state
    }

    pub(super) fn record(&self, shard: u16) -> &ShardRecord {
        self.world.state.shard(ShardId(shard)).unwrap()
    }

    /// Executes a block as any replica does, and forgets it.
    pub(super) fn judge(
        &mut self,
        slot: u64,
        proposer: u32,
        items: &[BeaconItem],
    ) -> Result<Executed<BeaconState>, InvalidBeaconBlock> {
        let body: Vec<Vec<u8>> = items.iter().map(codec::encode).collect();
        self.world.beacon.execute(&self.world.state, &at(slot, proposer), &body, &[])
    }

    /// A block that must hold; the shards read it.
    pub(super) fn block(&mut self, slot: u64, proposer: u32, items: &[BeaconItem]) -> Executed<BeaconState> {
        let executed = self.judge(slot, proposer, items).unwrap();
        self.adopt(slot, &executed);
        executed
    }

    pub(super) fn adopt(&mut self, slot: u64, executed: &Executed<BeaconState>) {
        assert!(slot > self.slot);
        let before = std::mem::replace(&mut self.world.state, executed.state.clone());
        self.world.append(executed.receipts.clone());
        self.slot = slot;
        self.world.reference = Reference { height: Height(slot), slot: Slot(slot), id: BlockId([7; 32]) };
        self.check(&before);
    }

    /// What must hold of every state and every step.
    fn check(&mut self, before: &BeaconState) {
        let state = &self.world.state;
        assert!(state.conservation().is_ok());
        let epochs = state.parameters.epochs.unwrap();
        assert_eq!(state.epoch, epochs.of(Slot(self.slot)), "the state is of its block's epoch");
        assert_eq!(state.epoch, epochs.of(state.turned_at));
        let benches = [&state.seating.current, &state.seating.next];
        assert!(benches.iter().all(|benches| benches.shards.len() == usize::from(SHARDS)));
        assert!(benches.iter().flat_map(|benches| &benches.shards).all(|bench| bench.0.len() == SIZE as usize));
        for row in benches.map(|benches| &benches.beacon) {
            assert!(!row.is_empty() && state.seats(row, &Signatures::default()).validators.len() == row.len());
        }
        for (old, new) in before.shards.iter().zip(&state.shards) {
            let (shard, number) = (new.shard(), usize::from(new.shard().0));
            assert!(new.era >= old.era && new.last.header.height >= old.last.header.height, "nothing goes back");
            assert!(new.era <= state.epoch && new.root_height <= new.last.header.height);
            assert!(new.era > old.era || (new.root, &new.bench) == (old.root, &old.bench));
            let root = (new.root_height, new.root);
            assert_eq!(*self.roots.entry((shard, new.era)).or_insert(root), root, "one root of shard {shard} an era");
            let plan = state.era_of(shard, &Signatures::default()).unwrap();
            assert_eq!((plan.epoch, plan.root, plan.seats.committee.total()), (new.era, root, u64::from(SIZE)));
            let acting = (plan.seats.validators, plan.leaders);
            let known = self.eras.entry((shard, new.era)).or_insert_with(|| acting.clone());
            assert_eq!(*known, acting, "an era has one committee and one order of leaders in all states");
            assert_eq!(state.eras.get(&(ChainId::Shard(shard), new.era)), Some(&new.bench.seats()));
            if new.era == state.epoch {
                assert_eq!(new.bench, state.seating.current.shards[number]);
            } else {
                assert!(self.slot < state.turned_at.0 + LATE, "a shard that does not follow falls back");
            }
        }
    }

    /// A block of a shard that reads the newest beacon block, with its certificate.
    pub(super) fn step(&mut self, shard: u16, step: Step) -> BeaconItem {
        BeaconItem::Crosslink(Box::new(self.world.extend(shard, &[step])))
    }

    /// One that does nothing else.
    pub(super) fn heartbeat(&mut self, shard: u16) -> BeaconItem {
        self.step(shard, Step::default())
    }

    /// One that asks something of the beacon.
    pub(super) fn ask(&mut self, shard: u16, asks: Vec<ReceiptAction>) -> BeaconItem {
        self.step(shard, Step { asks, ..Step::default() })
    }

    /// One of every shard.
    pub(super) fn heartbeats(&mut self) -> Vec<BeaconItem> {
        (0..SHARDS).map(|shard| self.heartbeat(shard)).collect()
    }

    /// The first block of an epoch, and one in which all shards follow.
    pub(super) fn turn(&mut self, epoch: u64) -> Executed<BeaconState> {
        let executed = self.block(epoch * SLOTS, 0, &[]);
        let heartbeats = self.heartbeats();
        self.block(epoch * SLOTS + 1, 0, &heartbeats);
        executed
    }

    /// What a validator reveals next.
    pub(super) fn reveal(&self, validator: u32) -> BeaconItem {
        let link = self.next_link(validator);
        BeaconItem::Reveal(Reveal { link, next: None })
    }

    pub(super) fn next_link(&self, validator: u32) -> Hash {
        let promised = self.state().registry.get(ValidatorId(validator)).unwrap().commitment.link;
        let below = (1..=40).find(|above| link(validator, *above) == promised).unwrap() - 1;
        link(validator, below)
    }

    /// Signatures of beacon committee members on a block at some height of this epoch.
    pub(super) fn attendance(&self, height: u64, signers: &[u16]) -> Certificate {
        let finality = Finality {
            chain: ChainId::Beacon,
            epoch: self.state().epoch,
            root: BlockId([1; 32]),
            height: Height(height),
            block: BlockId([2; 32]),
        };
        self.certificate(finality, signers)
    }

    pub(super) fn certificate(&self, finality: Finality, signers: &[u16]) -> Certificate {
        let row = &self.state().seating.current.beacon;
        let sign = |member: &u16| {
            let key = secret(row[usize::from(*member)].0.0);
            let signed = FinalitySignature::sign(finality, Member(*member), &key, self.world.network.id);
            (signed.signer, signed.signature)
        };
        Certificate { finality, signatures: signers.iter().map(sign).collect() }
    }

    /// Bytes that prove that a member of a committee signed two blocks of one height; in the very words that count.
    pub(super) fn conflict(&self, chain: ChainId, epoch: Epoch, member: u16, validator: ValidatorId) -> Vec<u8> {
        let sign = |block: u8| {
            let (root, height, block) = (BlockId([3; 32]), Height(7), BlockId([block; 32]));
            let finality = Finality { chain, epoch, root, height, block };
            FinalitySignature::sign(finality, Member(member), &secret(validator.0), self.world.network.id)
        };
        let conflict = Conflict::of(&sign(1), &sign(2), |_| None).unwrap();
        Evidence::Conflict(Box::new(conflict)).to_bytes().unwrap()
    }
}

/// Where a block is made.
pub(super) fn at(slot: u64, proposer: u32) -> Context {
    Context { validator: ValidatorId(proposer), ..context(slot) }
}

/// A bond of a validator whose key has the number that it will get; owned by the `n`th account of a shard.
pub(super) fn bond(network: &Network, id: u32, (shard, n): (u16, u8), seats: u32) -> ReceiptAction {
    let (from, end) = (account(shard, n), (format!("host:{}", 1 + id), link(id, 40)));
    let bond = Bond::sign(&secret(id), &from, (Role::Shard, seats), end, network.id);
    ReceiptAction::Bond { from, amount: SEAT * u64::from(seats), bond: Box::new(bond), transaction: TRANSACTION }
}

pub(super) fn report(bytes: Vec<u8>) -> ReceiptAction {
    ReceiptAction::Evidence { from: account(2, 5), bytes, transaction: TRANSACTION }
}

pub(super) fn crosslink(item: &BeaconItem) -> &Crosslink {
    let BeaconItem::Crosslink(crosslink) = item else { panic!("{item:?}") };
    crosslink
}
