//! Replicas that follow a chain by certified blocks, the beacon's or a shard's, through the end of an era: whatever they
//! are given, they hold what the committees certified.

use super::canonical;
use crate::{
    Target,
    choices::Choices,
    world::{Contents, Rows, World, certify, secret},
};
use kakera_beacon::Beacon;
use kakera_chain::{
    BlockId,
    application::{Application, CertifiedBlocks},
    block::{Block, Header},
    codec,
    crosslink::{BeaconItem, Crosslink},
    era::EraPlan,
    hash::merkle_root,
    machine::StateMachine,
    replica::{ClosedEra, Effect, Input, InvalidStore, Phase, Replica, ReplicaConfig, SignState},
    units::{ChainId, Epoch, Height, ShardId, Timestamp},
};
use kakera_shard::Shard;
use std::sync::{Arc, LazyLock};

pub(super) const TARGET: Target = Target {
    name: "observers",
    about: "followers of the beacon and of a shard: changed blocks and ends of eras are refused and change nothing",
    run,
    seeds,
    max_bytes: 512,
    rounds: 150,
};

/// When all of it happens.
const NOW: Timestamp = Timestamp(2_000);
/// Inputs that the bytes decide.
const STEPS: usize = 8;

/// A chain's life: two eras.
struct Story {
    chain: ChainId,
    genesis: Header,
    blocks: Vec<CertifiedBlocks>,
    ids: Vec<BlockId>,
    eras: Vec<EraPlan>,
    /// The end of the first era.
    closed: ClosedEra,
}

static BEACON: LazyLock<Story> = LazyLock::new(|| {
    let world = World::of_eras();
    let genesis = (Height(0), world.beacon_genesis.id(world.id()));
    let switch = world.blocks.iter().position(|certified| closes(&certified.blocks[0].header)).unwrap();
    let root = &world.blocks[switch].blocks[0].header;
    let root = (root.height, root.id(world.id()));
    let eras = vec![
        world.states[0].beacon_era(genesis, &Default::default()),
        world.states[switch + 1].beacon_era(root, &Default::default()),
    ];
    Story::of(ChainId::Beacon, world.beacon_genesis.clone(), world.blocks.clone(), eras)
});

static SHARD: LazyLock<Story> = LazyLock::new(|| {
    let (world, shard) = (World::of_eras(), &World::of_eras().shards[0]);
    let eras = shard.eras.clone();
    let certified = |block: &Block| {
        let seats = &eras[usize::try_from(block.header.epoch.0).unwrap()].seats;
        let certificate = certify(&block.header, seats, seats.keys.len(), world.id());
        CertifiedBlocks { blocks: vec![block.clone()], certificate }
    };
    let blocks = shard.blocks.iter().map(certified).collect();
    Story::of(world.shard_chain(0), world.shard_genesis[0].clone(), blocks, eras)
});

fn closes(header: &Header) -> bool {
    kakera_chain::era::epoch_reached(header, &World::of_eras().network) > header.epoch
}

impl Story {
    fn of(chain: ChainId, genesis: Header, blocks: Vec<CertifiedBlocks>, eras: Vec<EraPlan>) -> Story {
        let ids = blocks.iter().map(|certified| certified.blocks[0].header.id(World::of_eras().id())).collect();
        let switch = blocks.iter().find(|certified| closes(&certified.blocks[0].header)).unwrap();
        let (header, certificate) = (switch.blocks[0].header.clone(), switch.certificate.clone());
        assert_eq!(eras.len(), 2);
        Story { chain, genesis, blocks, ids, eras, closed: ClosedEra { header, certificate } }
    }

    /// These blocks as one answer.
    fn some(&self, first: usize, last: usize) -> CertifiedBlocks {
        let blocks = self.blocks[first..=last].iter().flat_map(|certified| certified.blocks.clone()).collect();
        CertifiedBlocks { blocks, certificate: self.blocks[last].certificate.clone() }
    }

    /// What all members of the era in which a header stands make of it.
    fn certify(&self, header: &Header) -> kakera_chain::certificate::Certificate {
        let era = self.eras.get(usize::try_from(header.epoch.0).unwrap_or(0)).unwrap_or(&self.eras[0]);
        certify(header, &era.seats, era.seats.keys.len(), World::of_eras().id())
    }
}

/// A replica and all that it keeps.
struct Follower<A: Application> {
    replica: Replica<A>,
    rows: Arc<Rows>,
    story: &'static Story,
    /// Whether a captured committee has signed anything.
    captured: bool,
    halted: bool,
}

impl<A: Application + Clone> Follower<A> {
    fn open(story: &'static Story, app: A, member: bool, rows: Contents) -> Result<Self, InvalidStore> {
        let (world, first) = (World::of_eras(), &story.eras[0]);
        let validator = first.seats.validators[0];
        let rows = Arc::new(Rows::of(rows));
        let config = ReplicaConfig {
            network: Arc::clone(&world.network),
            chain: story.chain,
            seats: first.seats.clone(),
            validator: member.then(|| (validator, secret(validator))),
            genesis: story.genesis.clone(),
            leaders: first.leaders.clone(),
            guard: SignState::default(),
            restored: false,
            now: NOW,
        };
        let replica = Replica::open(config, app, Arc::<Rows>::clone(&rows))?;
        Ok(Follower { replica, rows, story, captured: false, halted: false })
    }

    /// Handles an input; whether it was taken.
    fn give(&mut self, input: Input<A::Input>) -> bool {
        let mut taken = true;
        for effect in self.replica.handle(NOW, input) {
            match effect {
                Effect::Persist { writes, .. } => self.rows.keep(writes),
                Effect::BlocksRefused(reason) => {
                    assert!(!reason.to_string().is_empty());
                    taken = false;
                }
                Effect::Halt(breach) => {
                    assert!(self.captured, "halted: {breach}");
                    self.halted = true;
                }
                _ => {}
            }
        }
        taken
    }

    /// What it is, once all that follows from earlier inputs is done.
    fn now(&mut self) -> (BlockId, Epoch, Phase, Contents) {
        for _ in 0..3 {
            self.give(Input::Tick);
        }
        let replica = &self.replica;
        (replica.certified().id, replica.era().epoch, replica.phase(), self.rows.contents())
    }

    /// Gives something of a stranger's: refused, nothing changes; and what is certified here is what was certified.
    fn attack(&mut self, input: Input<A::Input>, sealed: bool) {
        let before = self.now();
        let captured = self.captured;
        self.captured |= sealed;
        let taken = self.give(input);
        if !taken {
            assert!(self.now() == before, "what is refused changed something");
            self.captured = captured;
        }
        if self.captured {
            return;
        }
        let height = usize::try_from(self.replica.certified().header.height.0).unwrap();
        if let Some(newest) = height.checked_sub(1) {
            assert_eq!(self.replica.certified().id, self.story.ids[newest], "nobody certified this");
        }
        if before.2 != Phase::Observer && self.replica.phase() == Phase::Observer {
            assert!(taken, "it left its era for something that it refused");
        }
    }

    /// The rest of the chain, as an honest node serves it.
    fn catch_up(&mut self) {
        if self.replica.phase() != Phase::Observer {
            assert!(self.give(Input::Closed(Box::new(self.story.closed.clone()))));
            assert_eq!(self.replica.phase(), Phase::Observer, "the era is over, and it is not at its end");
        }
        for at in 0..self.story.blocks.len() {
            let taken = self.give(Input::Blocks(Box::new(self.story.some(at, at))));
            assert!(taken || self.captured, "block {at} was refused");
            self.give(Input::Tick);
        }
        if !self.captured {
            // With a seat in the second era it does not follow there: it stands on that era's root.
            let follows = self.replica.phase() == Phase::Observer;
            let expected = if follows { *self.story.ids.last().unwrap() } else { self.story.eras[1].root.1 };
            assert_eq!((self.replica.certified().id, self.replica.era().epoch), (expected, Epoch(1)));
        }
    }
}

fn run(bytes: &[u8]) {
    let world = World::of_eras();
    let mut choices = Choices::new(bytes);
    let which = choices.u8();
    let (of_shard, member, told) = (which & 1 == 1, which & 6 == 6, which & 8 == 0);
    if of_shard {
        let mut there = Follower::open(&SHARD, world.shard(0), member, Contents::new()).unwrap();
        let readings = world.readings.iter().map(|readings| readings[0].clone());
        there.give(Input::Application(kakera_shard::Input::Beacon(readings.collect())));
        let plan = || Input::Era(Box::new(SHARD.eras[1].clone()));
        if told && !member {
            there.give(plan());
        }
        drive(&mut there, &mut choices);
        if !there.halted {
            there.give(plan());
            there.catch_up();
            check_shard(&there);
        }
    } else {
        let mut there = Follower::open(&BEACON, world.beacon.clone(), member, Contents::new()).unwrap();
        drive(&mut there, &mut choices);
        if !there.halted {
            there.catch_up();
            check_beacon(&there);
        }
    }
}

fn check_shard(there: &Follower<Shard>) {
    let world = World::of_eras();
    let state = there.replica.certified().state;
    assert!(state.meta.conserves(world.network.allocation(ShardId(0))));
    let rows = there.rows.contents();
    let app = Shard::new(world.shard_config(0), Some(&Rows::of(rows.clone()))).unwrap();
    let again = Follower::open(there.story, app, false, rows).unwrap();
    assert_eq!(again.replica.certified().id, there.replica.certified().id, "another block after a start");
}

fn check_beacon(there: &Follower<Beacon>) {
    there.replica.certified().state.conservation().expect("what is certified conserves the supply");
    let again = Follower::open(there.story, World::of_eras().beacon.clone(), false, there.rows.contents()).unwrap();
    assert_eq!(again.replica.certified().id, there.replica.certified().id, "another block after a start");
}

fn drive<A: Application + Clone>(there: &mut Follower<A>, choices: &mut Choices<'_>) {
    let story = there.story;
    for at in 0..choices.below(story.blocks.len() + 1) {
        // Blocks of an era that nobody has named yet are refused.
        let taken = there.give(Input::Blocks(Box::new(story.some(at, at))));
        assert!(taken || there.replica.era().epoch < story.blocks[at].blocks[0].header.epoch, "block {at} was refused");
    }
    let mut steps = 0;
    while !choices.is_over() && steps < STEPS && !there.halted {
        steps += 1;
        match choices.below(6) {
            0 => {
                let first = choices.below(story.blocks.len());
                let last = (first + choices.below(4)).min(story.blocks.len() - 1);
                there.attack(Input::Blocks(Box::new(story.some(first, last))), false);
            }
            1 => {
                let raw = choices.bytes(300);
                let decode = |bytes: &[u8]| codec::decode::<CertifiedBlocks>(bytes, CertifiedBlocks::MAX_BYTES);
                if let Some(blocks) = canonical(raw, decode) {
                    there.attack(Input::Blocks(Box::new(blocks)), false);
                }
            }
            2 | 3 => closed(there, choices),
            _ => blocks(there, choices),
        }
    }
}

/// The end of an era, changed.
fn closed<A: Application + Clone>(there: &mut Follower<A>, choices: &mut Choices<'_>) {
    let story = there.story;
    let mut closed = story.closed.clone();
    let other = &choices.of(&story.blocks).blocks[0].header;
    let sealed = match choices.below(6) {
        0 => false,
        1 => {
            closed.header = other.clone();
            choices.flag()
        }
        2 => {
            closed.certificate = choices.of(&story.blocks).certificate.clone();
            false
        }
        3 => {
            let bytes = choices.change(&codec::encode(&closed.header), &codec::encode(other));
            closed.header = codec::decode(&bytes, Header::MAX_BYTES).unwrap_or(closed.header);
            choices.flag()
        }
        4 => {
            let _ = closed.certificate.signatures.pop();
            false
        }
        _ => {
            let bytes = choices.change(&codec::encode(&closed), &codec::encode(other));
            let decode = |bytes: &[u8]| codec::decode::<ClosedEra>(bytes, ClosedEra::MAX_BYTES);
            closed = canonical(&bytes, decode).unwrap_or(closed);
            false
        }
    };
    if sealed {
        closed.certificate = story.certify(&closed.header);
    }
    there.attack(Input::Closed(Box::new(closed)), sealed);
}

/// Certified blocks, changed.
fn blocks<A: Application + Clone>(there: &mut Follower<A>, choices: &mut Choices<'_>) {
    let story = there.story;
    let next = usize::try_from(there.replica.certified().header.height.0).unwrap();
    let first = if choices.flag() { choices.below(story.blocks.len()) } else { next.min(story.blocks.len() - 1) };
    let last = (first + choices.below(3)).min(story.blocks.len() - 1);
    let mut changed = story.some(first, last);
    let other = choices.of(&story.blocks);
    let sealed = choices.flag();
    for _ in 0..choices.below(3) {
        change(&mut changed, other, choices);
    }
    if sealed {
        seal(&mut changed, story);
    }
    there.attack(Input::Blocks(Box::new(changed)), sealed);
}

fn change(certified: &mut CertifiedBlocks, other: &CertifiedBlocks, choices: &mut Choices<'_>) {
    let at = choices.below(certified.blocks.len().max(1));
    match choices.below(10) {
        0 if at < certified.blocks.len() => {
            let block = &mut certified.blocks[at];
            let bytes = choices.change(&codec::encode(block), &codec::encode(&other.blocks[0]));
            if let Ok(changed) = codec::decode(&bytes, 1 << 20) {
                *block = changed;
            }
        }
        1 if at < certified.blocks.len() => {
            let header = &mut certified.blocks[at].header;
            let bytes = choices.change(&codec::encode(header), &codec::encode(&other.blocks[0].header));
            if let Ok(changed) = codec::decode(&bytes, 1 << 20) {
                *header = changed;
            }
        }
        2 | 3 if at < certified.blocks.len() => {
            let body = &mut certified.blocks[at].body;
            let place = choices.below(body.len().max(1));
            match body.get(place).map(|item| BeaconItem::decode(item)) {
                Some(Ok(BeaconItem::Crosslink(crosslink))) => {
                    let bytes = choices.change(&codec::encode(&*crosslink), &other.blocks[0].body.concat());
                    if let Some(crosslink) = canonical(&bytes, Crosslink::decode) {
                        body[place] = codec::encode(&BeaconItem::Crosslink(Box::new(crosslink)));
                    }
                }
                Some(_) => body[place] = choices.change(&body[place], &other.blocks[0].body.concat()),
                None => body.push(other.blocks[0].body.concat()),
            }
        }
        4 => certified.blocks.extend(other.blocks.clone()),
        5 if at < certified.blocks.len() => drop(certified.blocks.remove(at)),
        6 if at < certified.blocks.len() => {
            let header = &mut certified.blocks[at].header;
            let number = choices.number();
            match choices.below(4) {
                0 => header.slot.0 = number,
                1 => header.epoch.0 = number,
                2 => header.reference.height.0 = number,
                _ => header.proposer.0 = u16::try_from(number % 8).unwrap(),
            }
        }
        7 => certified.certificate = other.certificate.clone(),
        8 => drop(certified.certificate.signatures.pop()),
        _ => {
            let bytes = choices.change(&codec::encode(certified), &codec::encode(other));
            let decode = |bytes: &[u8]| codec::decode::<CertifiedBlocks>(bytes, CertifiedBlocks::MAX_BYTES);
            if let Some(changed) = canonical(&bytes, decode) {
                *certified = changed;
            }
        }
    }
}

/// Links and certifies changed blocks, as a captured committee could.
fn seal(certified: &mut CertifiedBlocks, story: &Story) {
    let mut below = None;
    for block in &mut certified.blocks {
        block.header.body_root = merkle_root(&block.body);
        block.header.witness_root = merkle_root(&block.witnesses);
        block.header.parent = below.unwrap_or(block.header.parent);
        below = Some(block.header.id(World::of_eras().id()));
    }
    if let Some(last) = certified.blocks.last() {
        certified.certificate = story.certify(&last.header);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    // Which replica, what it starts with, and then steps.
    let changed = |kind: u8| vec![4, 0, kind % 3, kind, kind & 1, 1, 0, kind % 10, 0, 4, 40, 7, 1, 65 + kind, kind % 4];
    let mut seeds: Vec<Vec<u8>> = (0..20).map(|kind| [vec![kind & 1, kind % 8], changed(kind)].concat()).collect();
    let ended = |kind: u8| vec![2, kind, kind % 6, 1, 3, 0, 8, 40, 200, 2, 9];
    seeds.extend((0..12).map(|kind| [vec![6 + (kind & 1), 0], ended(kind), vec![0, 0, 3]].concat()));
    seeds.extend([vec![0, 0], vec![1, 0], vec![8 + 1, 3], vec![6, 0, 2, 0, 0], vec![7, 0, 2, 0, 0, 0, 0, 3]]);
    seeds
}
