//! One node of a world: a replica of one chain on a disk, with a clock, and the shell around it.

use crate::{
    bend::Bend,
    clock::{Clock, Moment},
    disk::Disk,
    observer::Observer,
    rules::{BeaconRules, Certified, ShardRules},
    scenario::Tactic,
    setup::Setup,
    shell::{BeaconShell, Puller, ShardShell},
};
use kakera_beacon::BeaconState;
use kakera_chain::{
    BlockId, Member,
    application::CertifiedBlocks,
    block::Block,
    certificate::{Certificate, Seats},
    crosslink::Crosslink,
    lanes::Reading,
    machine::StateMachine,
    peer::PeerMessage,
    replica::{self, ClosedEra, Effect, Era, EraPlan, InvalidStore, Phase, Replica, ReplicaConfig, SignState},
    store::Store,
    units::{ChainId, Epoch, Height, ShardId, Timestamp, ValidatorId},
};
use kakera_shard::{ShardState, SignedTransaction};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

mod delivery;

pub use delivery::Delivery;

/// A node's place in the world, from 0.
pub type NodeId = usize;

/// A node: what outlives its process, and the process if it runs.
pub struct Node {
    /// The chain it runs.
    pub chain: ChainId,
    /// Its place among the validators of its chain; in a network of one epoch that is its member.
    pub place: u16,
    /// Whom it speaks for.
    pub validator: ValidatorId,
    /// Its clock.
    pub clock: Clock,
    /// Its disk.
    pub disk: Arc<Disk>,
    /// Of a shard's node: the disk of its own copy of the beacon chain.
    pub beacon_disk: Arc<Disk>,
    /// What it remembers of what it said, outside the disk's tables.
    pub guard: SignState,
    /// What it does against the rules; nothing: it is honest.
    pub tactics: BTreeSet<Tactic>,
    /// How its own rules differ.
    pub bend: Bend,
    /// Of several instances of one member: whom this one knows. Nothing: everybody.
    pub audience: Option<BTreeSet<NodeId>>,
    /// The process.
    pub process: Option<Process>,
    /// Processes so far: what was sent to an earlier one is lost.
    pub lives: u32,
    /// What it has sent and done.
    pub figures: NodeFigures,
}

/// What a node has sent and done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeFigures {
    /// Messages sent to other nodes, each recipient counted.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Things heard.
    pub heard: u64,
    /// Executions of transactions and receipts.
    pub executions: u64,
    /// Microseconds of virtual work.
    pub busy_us: u64,
}

/// A running process.
pub struct Process {
    /// Its replica.
    pub machine: Machine,
    /// What waits because the process is busy or frozen.
    pub inbox: VecDeque<Delivery>,
    /// Until when it works on what it has heard.
    pub busy_until: Moment,
    /// Whether it is stopped, as SIGSTOP does it.
    pub frozen: bool,
    /// When it is to be woken, as planned.
    pub wake_at: Option<Moment>,
    /// Whether something was certified or recorded that the shell has not looked at.
    pub news: bool,
    /// It is killed after so many more effects.
    pub dies_after: Option<u32>,
    /// How it follows its own chain where it has no seat; nothing where committees stay.
    pub puller: Option<Puller>,
}

/// A replica of either kind with its shell.
pub enum Machine {
    /// Of the beacon.
    Beacon(Box<Replica<BeaconRules>>, BeaconShell),
    /// Of a shard, with its own copy of the beacon chain.
    Shard(Box<Replica<ShardRules>>, Box<Observer>, Box<ShardShell>),
}

/// What a replica is given.
#[allow(clippy::large_enum_variant, reason = "made and taken apart, one at a time")]
pub enum Input {
    /// Time passed.
    Tick,
    /// A validator said something to the members of an era.
    Peer(ValidatorId, Epoch, PeerMessage),
    /// A client's transaction, for a shard.
    Submit(SignedTransaction),
    /// What certified beacon blocks say, for a shard.
    Beacon(Vec<Reading>),
    /// An era that the beacon names, for a shard.
    Era(Box<EraPlan>),
    /// Certificates of a shard that certified beacon blocks record.
    Recorded(Vec<Certificate>),
    /// Proof that an era is over.
    Closed(ClosedEra),
    /// Certified blocks of the own chain.
    Blocks(CertifiedBlocks),
    /// A crosslink, for the beacon.
    Crosslink(Crosslink),
}

/// What a replica answers to what is meant for its application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The beacon's.
    Beacon(kakera_beacon::Reply),
    /// A shard's.
    Shard(kakera_shard::Reply),
}

/// A block that became certified at a node.
pub enum Noted {
    /// Of the beacon.
    Beacon(Certified<BeaconState>),
    /// Of a shard.
    Shard(Certified<ShardState>),
}

/// What came of an input.
pub struct Handled {
    /// What is to be done, in order.
    pub effects: Vec<Effect<Answer>>,
    /// What became certified, ascending.
    pub noted: Vec<Noted>,
    /// Executions.
    pub work: u64,
}

impl Node {
    /// Whether it keeps the rules.
    pub fn is_honest(&self) -> bool {
        self.tactics.is_empty()
    }

    /// Its name: chain, and member there.
    pub fn name(&self) -> String {
        match self.chain {
            ChainId::Beacon => format!("beacon-{}", self.place),
            ChainId::Shard(shard) => format!("shard-{shard}-{}", self.place),
        }
    }

    /// The running replica of a shard.
    pub fn shard(&self) -> Option<&Replica<ShardRules>> {
        match &self.process.as_ref()?.machine {
            Machine::Shard(replica, ..) => Some(replica),
            Machine::Beacon(..) => None,
        }
    }

    /// Of a running shard's node: its copy of the beacon chain.
    pub fn observer(&self) -> Option<&Observer> {
        match &self.process.as_ref()?.machine {
            Machine::Shard(_, observer, _) => Some(observer),
            Machine::Beacon(..) => None,
        }
    }

    /// The disks of its process.
    pub fn disks(&self) -> [&Arc<Disk>; 2] {
        [&self.disk, &self.beacon_disk]
    }

    /// Whether a row of either disk is damaged.
    pub fn is_damaged(&self) -> bool {
        self.disks().iter().any(|disk| disk.is_damaged())
    }

    /// The running replica of the beacon.
    pub fn beacon(&self) -> Option<&Replica<BeaconRules>> {
        match &self.process.as_ref()?.machine {
            Machine::Beacon(replica, _) => Some(replica),
            Machine::Shard(..) => None,
        }
    }

    /// The newest certified height of the running replica.
    pub fn certified(&self) -> Option<Height> {
        Some(self.process.as_ref()?.machine.certified())
    }

    /// The running replica's phase.
    pub fn phase(&self) -> Option<Phase> {
        Some(self.process.as_ref()?.machine.phase())
    }

    /// The certified block of a height, as the running replica has it.
    pub fn certified_id(&self, height: Height) -> Option<BlockId> {
        match &self.process.as_ref()?.machine {
            Machine::Beacon(replica, _) => replica.certified_id(height),
            Machine::Shard(replica, ..) => replica.certified_id(height),
        }
    }

    /// A block that the running replica holds.
    pub fn block(&self, id: &BlockId) -> Option<Arc<Block>> {
        match &self.process.as_ref()?.machine {
            Machine::Beacon(replica, _) => replica.block(id),
            Machine::Shard(replica, ..) => replica.block(id),
        }
    }
}

/// Calls a function of either kind's replica.
macro_rules! replica {
    ($machine:expr, $replica:ident => $call:expr) => {
        match $machine {
            Machine::Beacon($replica, _) => $call,
            Machine::Shard($replica, ..) => $call,
        }
    };
}

impl Machine {
    /// Opens a node's replica on what its disk holds.
    ///
    /// # Errors
    /// What the disk's contents lack, or the disk's own words.
    pub fn open(
        setup: &Setup,
        node: &Node,
        now: Moment,
        rules: impl FnOnce(&Setup, &Node, Option<&dyn Store>) -> Result<Rules, InvalidStore>,
    ) -> Result<Machine, InvalidStore> {
        let local = node.clock.read(now);
        let key = setup.key(node.validator).clone();
        let seats = setup.seats(node.chain).clone();
        #[cfg(test)]
        let seats = setup.favours.map_or(seats, |favours| favours(setup, node));
        let config = ReplicaConfig {
            network: setup.network.clone(),
            chain: node.chain,
            seats,
            validator: Some((node.validator, key)),
            genesis: setup.genesis[&node.chain].clone(),
            leaders: setup.leaders[&node.chain].clone(),
            guard: node.guard,
            restored: false,
            now: local,
        };
        let store: Arc<dyn Store> = node.disk.clone();
        Ok(match rules(setup, node, Some(&*node.disk))? {
            Rules::Beacon(rules) => {
                Machine::Beacon(Box::new(Replica::open(config, *rules, store)?), BeaconShell::default())
            }
            Rules::Shard(rules) => {
                let ChainId::Shard(shard) = node.chain else { unreachable!("a shard's rules run on a shard") };
                let replica = Replica::open(config, *rules, store)?;
                let observer = Machine::observer(setup, shard, node, &replica, local)?;
                let shell = Box::new(ShardShell::new(setup, shard, node.place, now));
                Machine::Shard(Box::new(replica), Box::new(observer), shell)
            }
        })
    }

    /// The process's copy of the beacon chain. One that is ahead of what the shard has read of it is of no use: what the
    /// blocks between said cannot be told any more. It begins anew, and is fetched again.
    fn observer(
        setup: &Setup,
        shard: ShardId,
        node: &Node,
        replica: &Replica<ShardRules>,
        now: Timestamp,
    ) -> Result<Observer, InvalidStore> {
        let observer = Observer::open(setup, shard, &node.beacon_disk, now)?;
        if observer.certified() <= replica.app().inner().tip().height {
            return Ok(observer);
        }
        node.beacon_disk.wipe();
        Observer::open(setup, shard, &node.beacon_disk, now)
    }

    /// Feeds one input.
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Handled {
        match self {
            Machine::Beacon(replica, _) => {
                let input = match input {
                    Input::Tick => replica::Input::Tick,
                    Input::Peer(from, epoch, message) => replica::Input::Peer { from, epoch, message },
                    Input::Closed(closed) => replica::Input::Closed(Box::new(closed)),
                    Input::Blocks(blocks) => replica::Input::Blocks(Box::new(blocks)),
                    Input::Crosslink(crosslink) => replica::Input::Application(crosslink),
                    Input::Submit(_) | Input::Beacon(_) | Input::Era(_) | Input::Recorded(_) => {
                        return Handled::nothing();
                    }
                };
                let effects = replica.handle(now, input);
                Handled {
                    effects: effects.into_iter().map(|effect| answered(effect, Answer::Beacon)).collect(),
                    noted: replica.app().take_certified().into_iter().map(Noted::Beacon).collect(),
                    work: replica.app().take_work(),
                }
            }
            Machine::Shard(replica, ..) => {
                let input = match input {
                    Input::Tick => replica::Input::Tick,
                    Input::Peer(from, epoch, message) => replica::Input::Peer { from, epoch, message },
                    Input::Closed(closed) => replica::Input::Closed(Box::new(closed)),
                    Input::Blocks(blocks) => replica::Input::Blocks(Box::new(blocks)),
                    Input::Submit(signed) => replica::Input::Application(kakera_shard::Input::Submit(signed)),
                    Input::Beacon(readings) => replica::Input::Application(kakera_shard::Input::Beacon(readings)),
                    Input::Era(plan) => replica::Input::Era(plan),
                    Input::Recorded(certificates) => replica::Input::Recorded(certificates),
                    Input::Crosslink(_) => return Handled::nothing(),
                };
                let effects = replica.handle(now, input);
                Handled {
                    effects: effects.into_iter().map(|effect| answered(effect, Answer::Shard)).collect(),
                    noted: replica.app().take_certified().into_iter().map(Noted::Shard).collect(),
                    work: replica.app().take_work(),
                }
            }
        }
    }

    /// When the replica wants to be ticked, by its own clock.
    pub fn next_wakeup(&self) -> Timestamp {
        replica!(self, replica => replica.next_wakeup())
    }

    /// The newest certified height.
    pub fn certified(&self) -> Height {
        replica!(self, replica => replica.certified().header.height)
    }

    /// What the replica may do.
    pub fn phase(&self) -> Phase {
        replica!(self, replica => replica.phase())
    }

    /// The era that it is in.
    pub fn era(&self) -> &Era {
        replica!(self, replica => replica.era())
    }

    /// The committee of that era.
    pub fn seats(&self) -> &Seats {
        replica!(self, replica => replica.seats())
    }

    /// How the chain went on after an era with this root, and from a height on: what there is.
    pub fn went_on(&self, root: &BlockId, next: Height) -> (Option<ClosedEra>, Option<CertifiedBlocks>) {
        replica!(self, replica => {
            let closed = (replica.era().root != *root).then(|| replica.closed(root)).flatten();
            let more = replica.certified().header.height >= next;
            (closed, more.then(|| replica.certified_blocks(next)).flatten())
        })
    }

    /// Its member there.
    pub fn me(&self) -> Option<Member> {
        replica!(self, replica => replica.me())
    }
}

impl Handled {
    fn nothing() -> Handled {
        Handled { effects: Vec::new(), noted: Vec::new(), work: 0 }
    }
}

/// A chain's rules, by kind.
pub enum Rules {
    /// The beacon's.
    Beacon(Box<BeaconRules>),
    /// A shard's.
    Shard(Box<ShardRules>),
}

/// The honest rules of a node's chain, or its own bent ones.
///
/// # Errors
/// What the disk says.
pub fn rules_of(setup: &Setup, node: &Node, store: Option<&dyn Store>) -> Result<Rules, InvalidStore> {
    Ok(match node.chain {
        ChainId::Beacon => {
            Rules::Beacon(Box::new(BeaconRules::new(setup.beacon_of(node.validator), node.bend.clone())))
        }
        ChainId::Shard(shard) => Rules::Shard(Box::new(ShardRules::new(setup.shard(shard, store)?, node.bend.clone()))),
    })
}

fn answered<R>(effect: Effect<R>, wrap: impl Fn(R) -> Answer) -> Effect<Answer> {
    match effect {
        Effect::Persist { writes, synced } => Effect::Persist { writes, synced },
        Effect::Guard(state) => Effect::Guard(state),
        Effect::Broadcast(message) => Effect::Broadcast(message),
        Effect::Send(to, message) => Effect::Send(to, message),
        Effect::Included { id, block } => Effect::Included { id, block },
        Effect::Certified { id, block, receipts } => Effect::Certified { id, block, receipts },
        Effect::Undone(blocks) => Effect::Undone(blocks),
        Effect::Entered(plan) => Effect::Entered(plan),
        Effect::BlocksRefused(reason) => Effect::BlocksRefused(reason),
        Effect::Reopen => Effect::Reopen,
        Effect::ReferencesGrew => Effect::ReferencesGrew,
        Effect::Reply(reply) => Effect::Reply(wrap(reply)),
        Effect::Refused { from, reason } => Effect::Refused { from, reason },
        Effect::Halt(breach) => Effect::Halt(breach),
    }
}
