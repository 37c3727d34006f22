//! The message DAG: rows, threads and tombstones, without any judgement of estimates.

use crate::arena::{Arena, Climb, FAULTY, Link, NOTHING};
use crate::ids::{Member, MessageId, Slot};
use crate::message::CITES_TAG;
use crate::threads::Threads;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

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
    /// First message held after it in its sender's thread, or a bound below it.
    next: u32,
    /// How many messages of its sender and slot there are up to this one, and whether one is a block.
    pub(crate) in_slot: u16,
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

/// The parts of a message that are read for whole rows at a time, flat beside the deque of nodes.
#[derive(Clone, Copy, Debug)]
struct Brief {
    vote: u32,
    /// The greatest index in the justification, faulty marks aside.
    top: u32,
    /// As in the node.
    next: u32,
}

/// All messages held, by dense index.
#[derive(Clone, Debug)]
pub(crate) struct Dag {
    nodes: Arena<Node>,
    briefs: VecDeque<Brief>,
    /// Ids by their first bytes: a tree of whole ids would double what a message costs beside its row.
    ids: BTreeSet<([u8; 8], u32)>,
    threads: Threads,
    /// Members whose held messages branch, and by member whether they do.
    forked: Vec<u16>,
    is_forked: Vec<bool>,
    whole: usize,
    /// How many whole messages there are of each slot.
    slots: BTreeMap<Slot, u64>,
}

/// A mark for each message held: memory for what is held, however long the era is.
struct Marks {
    first: u32,
    recent: Vec<bool>,
    old: BTreeSet<u32>,
}

impl Marks {
    fn new(nodes: &Arena<Node>) -> Self {
        let held = (nodes.next() - nodes.first()) as usize;
        Self { first: nodes.first(), recent: vec![false; held], old: BTreeSet::new() }
    }

    fn set(&mut self, index: u32) {
        match index.checked_sub(self.first).map(|place| self.recent.get_mut(place as usize)) {
            Some(Some(mark)) => *mark = true,
            Some(None) => {}
            None => drop(self.old.insert(index)),
        }
    }

    fn has(&self, index: u32) -> bool {
        match index.checked_sub(self.first) {
            Some(place) => self.recent.get(place as usize) == Some(&true),
            None => self.old.contains(&index),
        }
    }
}

fn head_of(id: &MessageId) -> [u8; 8] {
    *id.0.first_chunk().expect("an id has 32 bytes")
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
            briefs: VecDeque::new(),
            ids: BTreeSet::new(),
            threads: Threads::new(members),
            forked: Vec::new(),
            is_forked: vec![false; members],
            whole: 0,
            slots: BTreeMap::new(),
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
        let head = head_of(id);
        let alike = self.ids.range((head, NOTHING)..=(head, FAULTY)).map(|entry| entry.1);
        alike.into_iter().find(|at| self.nodes.get(*at).is_some_and(|node| node.id == *id))
    }

    /// The messages held at a member's `seq`, oldest first: several only after equivocation.
    pub(crate) fn at(&self, member: Member, seq: u64) -> &[u32] {
        self.threads.at(member.index(), seq)
    }

    pub(crate) fn is_forked(&self, member: Member) -> bool {
        self.is_forked.get(member.index()) == Some(&true)
    }

    /// Members whose held messages branch.
    pub(crate) fn forked(&self) -> impl Iterator<Item = Member> + '_ {
        self.forked.iter().copied().map(Member)
    }

    fn brief(&self, index: u32) -> Option<Brief> {
        match index.checked_sub(self.nodes.first()) {
            Some(place) => self.briefs.get(place as usize).copied(),
            None => self.nodes.get(index).map(|node| Brief { vote: node.vote, top: NOTHING, next: node.next }),
        }
    }

    /// The value a message votes for; `NOTHING` when it left memory.
    pub(crate) fn vote(&self, index: u32) -> u32 {
        self.brief(index).map_or(NOTHING, |brief| brief.vote)
    }

    /// The greatest index that the justification of a message held whole contains, faulty marks aside.
    pub(crate) fn top(&self, index: u32) -> u32 {
        self.brief(index).map_or(NOTHING, |brief| brief.top)
    }

    /// Below which index nothing of a member follows after this observation of it.
    pub(crate) fn next_after(&self, member: Member, seen: u32) -> Option<u32> {
        let next = match seen {
            NOTHING => self.threads.front(member.index())?,
            at => self.brief(at)?.next,
        };
        (next != NOTHING).then_some(next)
    }

    /// [`cites_digest`](crate::cites_digest) of a row.
    pub(crate) fn digest(&self, row: &[u32]) -> [u8; 32] {
        let mut bytes = Vec::with_capacity(CITES_TAG.len() + row.len() * 33);
        bytes.extend_from_slice(&CITES_TAG);
        for index in row {
            match (*index, self.nodes.get(*index)) {
                (FAULTY, _) => bytes.push(2),
                (_, Some(node)) => {
                    bytes.push(1);
                    bytes.extend_from_slice(&node.id.0);
                }
                (_, None) => bytes.push(0),
            }
        }
        Sha256::digest(&bytes).into()
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
        let top = row.iter().map(|seen| if *seen == FAULTY { NOTHING } else { *seen }).max().unwrap_or(NOTHING);
        row[new.sender.index()] = index;
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
            next: NOTHING,
            in_slot,
            block_in_slot,
            row: Some(row),
        });
        self.push_brief(Brief { vote: new.vote, top, next: NOTHING });
        self.follow(new.prev, index);
        self.ids.insert((head_of(&new.id), index));
        if self.threads.add(new.sender.index(), seq, index) && !self.is_forked(new.sender) {
            self.is_forked[new.sender.index()] = true;
            self.forked.push(new.sender.0);
        }
        self.whole += 1;
        *self.slots.entry(new.slot).or_default() += 1;
        index
    }

    fn push_brief(&mut self, brief: Brief) {
        crate::arena::make_room(&mut self.briefs);
        self.briefs.push_back(brief);
    }

    /// `index` is the newest message after `prev`.
    fn follow(&mut self, prev: u32, index: u32) {
        let place = prev.checked_sub(self.nodes.first()).map(|place| place as usize);
        if let Some(brief) = place.and_then(|place| self.briefs.get_mut(place)).filter(|brief| brief.next == NOTHING) {
            brief.next = index;
        }
        if let Some(node) = self.nodes.get_mut(prev).filter(|node| node.next == NOTHING) {
            node.next = index;
        }
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
        let mut at = later;
        while let Some(link) = self.link(at) {
            if link.depth <= depth {
                return at == earlier;
            }
            at = match self.link(link.jump) {
                Some(over) if over.depth >= depth && link.jump != at => link.jump,
                _ => link.parent,
            };
        }
        // Branches keep every message, so what is lost was said before there were any: with all before it, it lies
        // on the common trunk, and what came after it and is not above it does not.
        earlier < at
    }

    /// Whether more messages of slots from `floor` up are held whole.
    pub(crate) fn holds_more_than(&self, limit: u64, floor: Slot) -> bool {
        let mut sum = 0u64;
        self.whole as u64 > limit
            && self.slots.range(floor..).any(|(_, count)| {
                sum += count;
                sum > limit
            })
    }

    /// How many messages of slots from `floor` up a justification's closure holds; stops past `limit`.
    pub(crate) fn closure_size(&self, row: &[u32], prev: u32, floor: Slot, limit: u64) -> u64 {
        let mut visited = BTreeSet::new();
        let mut open: Vec<u32> = row.to_vec();
        open.push(prev);
        let mut size = 0;
        while let Some(at) = open.pop() {
            let Some(node) = self.nodes.get(at).filter(|node| node.slot >= floor) else { continue };
            if !visited.insert(at) {
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
                if new && !visited.contains(index) {
                    open.push(*index);
                }
            }
        }
        size
    }

    /// Forgets messages below `line`: `latest` and what whole messages cite stay as tombstones,
    /// and so do all messages of members whose threads branch.
    pub(crate) fn prune(&mut self, line: Slot, latest: &[u32]) {
        let mut cited = Marks::new(&self.nodes);
        let mut cite = |index: u32| cited.set(index);
        latest.iter().copied().for_each(&mut cite);
        for (_, node) in self.nodes.iter().filter(|(_, node)| node.slot >= line) {
            cite(node.prev);
            node.row.iter().flat_map(|row| row.iter().copied()).for_each(&mut cite);
        }
        self.slots = self.slots.split_off(&line);
        let below: Vec<(u32, bool)> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.slot < line)
            .map(|(index, node)| (index, self.is_forked(node.sender) || cited.has(index)))
            .collect();
        for (index, keep) in below {
            let node = self.nodes.get_mut(index).expect("collected from the arena above");
            self.whole -= usize::from(node.row.take().is_some());
            if !keep {
                self.forget(index);
            }
        }
        self.nodes.compact(|node| node.row.is_none());
        while self.briefs.len() > (self.nodes.next() - self.nodes.first()) as usize {
            self.briefs.pop_front();
        }
    }

    fn forget(&mut self, index: u32) {
        let Some(node) = self.nodes.remove(index) else { return };
        self.ids.remove(&(head_of(&node.id), index));
        self.threads.remove(node.sender.index(), node.seq, index);
    }
}
