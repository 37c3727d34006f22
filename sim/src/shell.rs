//! What surrounds a replica in a process besides storage and peers: following the beacon, and handing it crosslinks. The
//! schedules are those of the processes ([`kakera_shard::Following`], [`kakera_shard::Submitter`]).

use crate::{
    clock::Moment,
    node::{Delivery, Machine, NodeId},
    observer::Observer,
    rules::{BeaconRules, ShardRules},
    setup::Setup,
};
use kakera_chain::{
    Member,
    crosslink::Crosslink,
    replica::{Phase, Replica},
    units::{Height, ShardId, Timestamp},
};
use kakera_shard::{Following, Submitter};
use std::{collections::BTreeMap, sync::Arc};

/// A crosslink that a beacon node has not answered after this is given to the next one, in microseconds.
const ATTEMPT_US: u64 = 1_000_000;

/// Around a beacon replica: who follows, and what each is to be sent next.
#[derive(Debug, Default)]
pub struct BeaconShell {
    followers: BTreeMap<NodeId, (u64, Height)>,
}

impl BeaconShell {
    /// A node opens a stream; its earlier one ends.
    pub fn follow(&mut self, from: NodeId, stream: u64, next: Height) {
        self.followers.insert(from, (stream, Height(next.0.max(1))));
    }

    /// Everything that followers are due: certified blocks from where each is.
    pub fn feed(&mut self, replica: &Replica<BeaconRules>) -> Vec<(NodeId, Delivery)> {
        let mut due = Vec::new();
        let mut made = BTreeMap::new();
        for (follower, (stream, next)) in &mut self.followers {
            while *next <= replica.certified().header.height {
                let answer = made.entry(*next).or_insert_with(|| replica.certified_blocks(*next).map(Arc::new)).clone();
                let Some(blocks) = answer else { break };
                *next = blocks.certificate.finality.height.next();
                due.push((*follower, Delivery::Feed { stream: *stream, blocks }));
            }
        }
        due
    }
}

/// Around a shard replica.
#[derive(Debug)]
pub struct ShardShell {
    following: Following,
    submitter: Submitter,
    /// The stream that is read, and whether it has brought new blocks.
    stream: u64,
    useful: bool,
    /// When to open the next stream, or to leave a silent one.
    open_at: Option<Moment>,
    leave_at: Moment,
    /// Whose stream was asked for last.
    source: Option<NodeId>,
    /// The crosslink that waits for an answer.
    attempt: Option<Attempt>,
    attempts: u64,
    /// The beacon node that answered last.
    beacon: usize,
}

#[derive(Clone, Debug)]
struct Attempt {
    crosslink: Arc<Crosslink>,
    id: u64,
    tried: usize,
    next_at: Moment,
}

impl ShardShell {
    /// The shell of a process that starts now.
    pub fn new(setup: &Setup, shard: ShardId, place: u16, now: Moment) -> ShardShell {
        let genesis = &setup.network.genesis;
        ShardShell {
            following: Following::new(shard, Member(place), genesis.beacon),
            submitter: Submitter::new(genesis.shard, genesis.beacon),
            stream: 0,
            useful: false,
            open_at: Some(now),
            leave_at: now,
            source: None,
            attempt: None,
            attempts: 0,
            beacon: usize::from(shard.0) + usize::from(place),
        }
    }

    /// When something of this is due, `when` being what turns this node's times into moments.
    pub fn next_wakeup(&self, when: impl Fn(Timestamp) -> Moment) -> Moment {
        let following = self.open_at.unwrap_or(self.leave_at);
        let submit = self.submitter.next_wakeup().map(when);
        let attempt = self.attempt.as_ref().map(|attempt| attempt.next_at);
        submit.into_iter().chain(attempt).fold(following, Moment::min)
    }

    /// Does what is due; returns what is to be sent to which beacon node, counted round all of them.
    pub fn tick(
        &mut self,
        replica: &Replica<ShardRules>,
        observer: &Observer,
        me: NodeId,
        local: Timestamp,
        now: Moment,
    ) -> Vec<(usize, Delivery)> {
        let mut sent = Vec::new();
        if self.open_at.is_none() && now >= self.leave_at {
            self.leave(now);
        }
        if self.open_at.is_some_and(|at| now >= at) {
            self.open_at = None;
            self.stream += 1;
            self.useful = false;
            self.leave_at = now.plus(self.following.answer_ms() * 1_000);
            let next = observer.certified().next();
            sent.push((self.following.index(), Delivery::Follow { from: me, stream: self.stream, next }));
        }
        if let Some(from) = self.submitter.look(replica, replica.app().inner().recorded().0, local)
            && let Some(crosslink) = replica.crosslink(from)
        {
            self.attempts += 1;
            let crosslink = Arc::new(crosslink);
            self.attempt = Some(Attempt { crosslink, id: self.attempts, tried: 0, next_at: now });
        }
        sent.extend(self.try_again(replica, me, now));
        sent
    }

    fn try_again(&mut self, replica: &Replica<ShardRules>, me: NodeId, now: Moment) -> Option<(usize, Delivery)> {
        let attempt = self.attempt.as_mut().filter(|attempt| now >= attempt.next_at)?;
        let nodes = replica.network().genesis.validators.len();
        if attempt.tried >= nodes {
            self.attempt = None;
            return None;
        }
        attempt.next_at = now.plus(ATTEMPT_US);
        attempt.tried += 1;
        let (id, crosslink) = (attempt.id, attempt.crosslink.clone());
        let to = self.beacon.wrapping_add(attempt.tried - 1);
        Some((to, Delivery::Crosslink { from: me, attempt: id, crosslink, handed_on: false }))
    }

    /// A beacon node has answered.
    pub fn answered(&mut self, id: u64) {
        if let Some(attempt) = self.attempt.take_if(|attempt| attempt.id == id) {
            self.beacon = self.beacon.wrapping_add(attempt.tried - 1);
        }
    }

    /// A stream is asked for of this beacon node.
    pub fn asks(&mut self, node: NodeId) {
        self.source = Some(node);
    }

    /// The beacon node whose stream is open.
    pub fn follows(&self) -> Option<NodeId> {
        self.source.filter(|_| self.open_at.is_none())
    }

    /// Whether a stream is the one that is read.
    pub fn reads(&self, stream: u64) -> bool {
        self.open_at.is_none() && self.stream == stream
    }

    /// The stream was opened, or brought blocks that were taken; `new`: some were not known.
    pub fn fed(&mut self, new: bool, now: Moment) {
        self.useful |= new;
        self.leave_at = now.plus(self.following.silence_ms() * 1_000);
    }

    /// The stream is left.
    pub fn leave(&mut self, now: Moment) {
        self.open_at = Some(now.plus(self.following.left(self.useful) * 1_000));
    }
}

/// How a node without a seat follows its own chain: it asks one other node each slot, and so does a member that sees no
/// progress, as its era may have ended without it.
#[derive(Debug)]
pub struct Puller {
    /// When to ask next.
    pub next_at: Moment,
    turn: usize,
    /// What was certified when that last changed, and when it did.
    certified: Height,
    since: Moment,
}

impl Puller {
    /// Slots without progress after which a member asks.
    const PATIENCE: u64 = 4;

    /// Of a process that starts now.
    pub fn new(now: Moment) -> Puller {
        Puller { next_at: now, turn: 0, certified: Height(0), since: now }
    }

    /// Whether to ask now, and whom of so many members or, now and then, of all others: a number to count round them.
    pub fn look(&mut self, machine: &Machine, slot_us: u64, now: Moment) -> Option<Asked> {
        if now < self.next_at {
            return None;
        }
        self.next_at = now.plus(slot_us);
        let certified = machine.certified();
        if certified != self.certified {
            (self.certified, self.since) = (certified, now);
        }
        let stands_still = now.since(self.since) > Puller::PATIENCE * slot_us;
        if machine.phase() != Phase::Observer && !stands_still {
            return None;
        }
        self.turn = self.turn.wrapping_add(1);
        let place = self.turn / 3 * 2 + self.turn % 3;
        Some(if self.turn % 3 == 2 { Asked::Anybody(self.turn / 3) } else { Asked::Member(place) })
    }

    /// More came: there may be more still.
    pub fn fed(&mut self, slot_us: u64, now: Moment) {
        self.next_at = self.next_at.min(now.plus(slot_us / 8));
    }
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A member of the era, counted round its committee.
    Member(usize),
    /// Any node of the chain, counted round all of them.
    Anybody(usize),
}
