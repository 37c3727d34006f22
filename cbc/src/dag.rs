//! The message DAG: rows, threads and tombstones, without any judgement of estimates.

use crate::arena::{Arena, Climb, FAULTY, Link, Lost, NOTHING};
use crate::ids::{Member, MessageId, Slot};
use std::collections::{BTreeMap, VecDeque};

/// One message as the DAG remembers it; `row` is gone when it is a tombstone.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: MessageId,
    pub(crate) sender: Member,
    /// Depth in the sender's thread.
    pub(crate) seq: u64,
    pub(crate) slot: Slot,
    pub(crate) prev: u32,
    jump: u32,
    /// First message of the stretch in which each vote extends the one before.
    pub(crate) run: u32,
    pub(crate) base: u32,
    pub(crate) vote: u32,
    /// How many messages of its sender and slot there are up to this one, and whether one is a block.
    pub(crate) in_slot: u32,
    pub(crate) block_in_slot: bool,
    /// Closure, itself included, by member.
    pub(crate) row: Option<Box<[u32]>>,
}

/// What [`Dag::push`] needs to know.
pub(crate) struct NewNode {
    pub(crate) id: MessageId,
    pub(crate) sender: Member,
    pub(crate) slot: Slot,
    pub(crate) prev: u32,
    pub(crate) base: u32,
    pub(crate) vote: u32,
    pub(crate) proposes: bool,
    /// Whether `vote` extends the previous message's.
    pub(crate) extends: bool,
    /// The justification; the sender's own place is overwritten.
    pub(crate) row: Box<[u32]>,
}

/// The ids and indices at one (member, seq): several only after equivocation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    pub(crate) ids: Vec<MessageId>,
    pub(crate) at: Vec<u32>,
}

/// All messages held, by dense index.
#[derive(Clone, Debug)]
pub(crate) struct Dag {
    nodes: Arena<Node>,
    /// Votes again, flat, beside the deque of nodes: what fork choice reads.
    votes: VecDeque<u32>,
    ids: BTreeMap<MessageId, u32>,
    threads: Vec<BTreeMap<u64, Cell>>,
    /// Members whose held messages branch; few.
    forked: Vec<u16>,
    whole: usize,
}

impl Climb for Dag {
    fn link(&self, index: u32) -> Option<Link> {
        let node = self.nodes.get(index)?;
        Some(Link { parent: node.prev, jump: node.jump, depth: node.seq })
    }
}

impl Dag {
    pub(crate) fn new(members: usize) -> Self {
        Self {
            nodes: Arena::new(),
            votes: VecDeque::new(),
            ids: BTreeMap::new(),
            threads: vec![BTreeMap::new(); members],
            forked: Vec::new(),
            whole: 0,
        }
    }

    /// Messages held whole.
    pub(crate) fn len(&self) -> usize {
        self.whole
    }

    pub(crate) fn node(&self, index: u32) -> Option<&Node> {
        self.nodes.get(index)
    }

    pub(crate) fn row(&self, index: u32) -> Option<&[u32]> {
        self.nodes.get(index)?.row.as_deref()
    }

    pub(crate) fn index_of(&self, id: &MessageId) -> Option<u32> {
        self.ids.get(id).copied()
    }

    pub(crate) fn cell(&self, member: Member, seq: u64) -> Option<&Cell> {
        self.threads.get(usize::from(member.0))?.get(&seq)
    }

    pub(crate) fn is_forked(&self, member: Member) -> bool {
        self.forked.contains(&member.0)
    }

    /// The value a message votes for; `NOTHING` when it left memory.
    pub(crate) fn vote(&self, index: u32) -> u32 {
        match index.checked_sub(self.nodes.first()) {
            Some(place) => self.votes.get(place as usize).copied().unwrap_or(NOTHING),
            None => self.nodes.get(index).map_or(NOTHING, |node| node.vote),
        }
    }

    /// (vote, weight) of every honest latest message in a row that weighs something.
    pub(crate) fn honest_votes(&self, row: &[u32], weights: &[u64]) -> Vec<(u32, u64)> {
        let mut votes = Vec::with_capacity(row.len());
        for (index, weight) in row.iter().zip(weights) {
            if *weight > 0 && *index != NOTHING && *index != FAULTY {
                votes.push((self.vote(*index), *weight));
            }
        }
        votes
    }

    pub(crate) fn push(&mut self, new: NewNode) -> u32 {
        let index = self.nodes.next();
        let (seq, in_slot, block_in_slot, run) = match self.nodes.get(new.prev) {
            Some(prev) => {
                let same = prev.slot == new.slot;
                (
                    prev.seq + 1,
                    if same { prev.in_slot.saturating_add(1) } else { 1 },
                    new.proposes || (same && prev.block_in_slot),
                    if new.extends { prev.run } else { index },
                )
            }
            None => (0, 1, new.proposes, index),
        };
        let mut row = new.row;
        row[usize::from(new.sender.0)] = index;
        let jump = if new.prev == NOTHING { index } else { self.jump_below(new.prev) };
        self.nodes.push(Node {
            id: new.id,
            sender: new.sender,
            seq,
            slot: new.slot,
            prev: new.prev,
            jump,
            run,
            base: new.base,
            vote: new.vote,
            in_slot,
            block_in_slot,
            row: Some(row),
        });
        self.votes.push_back(new.vote);
        self.ids.insert(new.id, index);
        let cell = self.threads[usize::from(new.sender.0)].entry(seq).or_default();
        cell.ids.push(new.id);
        cell.at.push(index);
        if cell.at.len() > 1 && !self.forked.contains(&new.sender.0) {
            self.forked.push(new.sender.0);
        }
        self.whole += 1;
        index
    }

    /// Whether observation `earlier` of `member` is contained in `later`.
    ///
    /// An ancestor is always inserted first, so indices decide for threads without branches.
    pub(crate) fn contained(&self, member: Member, earlier: u32, later: u32) -> bool {
        if earlier == later || earlier == NOTHING || later == FAULTY {
            return true;
        }
        if earlier > later {
            return false;
        }
        !self.is_forked(member) || self.is_ancestor(earlier, later)
    }

    /// The first member whose observation in `earlier` is not contained in `later`.
    pub(crate) fn first_uncontained(&self, earlier: &[u32], later: &[u32]) -> Option<Member> {
        let above = earlier.iter().zip(later).position(|(a, b)| a > b);
        let branched = self.forked.iter().copied().find(|member| {
            let place = usize::from(*member);
            !self.contained(Member(*member), earlier[place], later[place])
        });
        let above = above.map(|place| u16::try_from(place).expect("a committee has u16 members"));
        above.into_iter().chain(branched).min().map(Member)
    }

    /// Whether two observations of one member lie on no common thread.
    pub(crate) fn incomparable(&self, member: Member, a: u32, b: u32) -> bool {
        !self.contained(member, a, b) && !self.contained(member, b, a)
    }

    /// The later of two observations; `FAULTY` when neither is.
    pub(crate) fn join(&self, member: Member, a: u32, b: u32) -> u32 {
        let (low, high) = if a < b { (a, b) } else { (b, a) };
        if self.contained(member, low, high) { high } else { FAULTY }
    }

    fn is_ancestor(&self, earlier: u32, later: u32) -> bool {
        let Some(depth) = self.nodes.get(earlier).map(|node| node.seq) else { return true };
        match self.ancestor_at(later, depth) {
            Ok(found) => found == earlier,
            // Branches keep every message from the fork up, so what is lost lies on the common trunk.
            Err(Lost) => self.nodes.get(later).is_none_or(|node| node.seq > depth),
        }
    }

    /// How many messages of slots from `floor` up a justification's closure holds; stops past `limit`.
    pub(crate) fn closure_size(&self, row: &[u32], prev: u32, floor: Slot, limit: u64) -> u64 {
        // What is below the deque is older than any base, and an era's indices only grow.
        let first = self.nodes.first();
        let place = |index: u32| index.checked_sub(first).map(|place| place as usize);
        let mut visited = vec![false; (self.nodes.next() - first) as usize];
        let mut open: Vec<u32> = row.to_vec();
        open.push(prev);
        let mut size = 0;
        while let Some(at) = open.pop() {
            let Some(node) = self.nodes.get(at).filter(|node| node.slot >= floor) else { continue };
            let Some(mark) = place(at).and_then(|place| visited.get_mut(place)) else { continue };
            if std::mem::replace(mark, true) {
                continue;
            }
            size += 1;
            if size > limit {
                break;
            }
            open.push(node.prev);
            let seen = node.row.as_deref().unwrap_or_default();
            let old = self.row(node.prev).unwrap_or_default();
            for (member, index) in seen.iter().enumerate() {
                let new = old.get(member) != Some(index) && *index != FAULTY && *index != NOTHING;
                let unseen = place(*index).and_then(|place| visited.get(place)) == Some(&false);
                if new && unseen {
                    open.push(*index);
                }
            }
        }
        size
    }

    /// Forgets messages below `line`: `latest` and what whole messages cite stay as tombstones,
    /// and so do all messages of members whose threads branch.
    pub(crate) fn prune(&mut self, line: Slot, latest: &[u32]) {
        let mut cited = vec![false; self.nodes.next() as usize];
        let mut cite = |index: u32| {
            if let Some(mark) = cited.get_mut(index as usize) {
                *mark = true;
            }
        };
        latest.iter().copied().for_each(&mut cite);
        for (_, node) in self.nodes.iter().filter(|(_, node)| node.slot >= line) {
            cite(node.prev);
            node.row.iter().flat_map(|row| row.iter().copied()).for_each(&mut cite);
        }
        let below: Vec<(u32, bool)> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.slot < line)
            .map(|(index, node)| (index, self.is_forked(node.sender) || cited[index as usize]))
            .collect();
        for (index, keep) in below {
            let node = self.nodes.get_mut(index).expect("collected from the arena above");
            self.whole -= usize::from(node.row.take().is_some());
            if !keep {
                self.forget(index);
            }
        }
        self.nodes.compact(|node| node.row.is_none());
        while self.votes.len() > (self.nodes.next() - self.nodes.first()) as usize {
            self.votes.pop_front();
        }
    }

    fn forget(&mut self, index: u32) {
        let Some(node) = self.nodes.remove(index) else { return };
        self.ids.remove(&node.id);
        let thread = &mut self.threads[usize::from(node.sender.0)];
        if let Some(cell) = thread.get_mut(&node.seq) {
            cell.ids.retain(|id| *id != node.id);
            cell.at.retain(|at| *at != index);
            if cell.at.is_empty() {
                thread.remove(&node.seq);
            }
        }
    }
}
