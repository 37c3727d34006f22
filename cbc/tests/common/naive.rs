//! Head and summits by the definitions, from what was said: sets of messages, nothing of the engine's state.

use kakera_cbc::*;
use std::collections::{BTreeMap, BTreeSet};

/// Everything said, with its closures.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    places: BTreeMap<MessageId, usize>,
    senders: Vec<usize>,
    votes: Vec<BlockId>,
    previous: Vec<Option<usize>>,
    pub(crate) closures: Vec<BTreeSet<usize>>,
    /// Parent and slot.
    blocks: BTreeMap<BlockId, (BlockId, Slot)>,
}

impl Book {
    /// Adds a message; what it cites was added before.
    pub(crate) fn add(&mut self, message: &Message<Blocks>, cites: &[Observation]) {
        let at = self.senders.len();
        let mut closure = BTreeSet::from([at]);
        let mut previous = None;
        for (member, cite) in cites.iter().enumerate() {
            if let Observation::Latest(id) = cite {
                let cited = self.places[id];
                closure.extend(&self.closures[cited]);
                if member == message.sender.index() {
                    previous = Some(cited);
                }
            }
        }
        if let BlockEstimate::Proposal(block) = message.estimate {
            self.blocks.insert(block.id, (block.parent, block.slot));
        }
        self.places.insert(message.id, at);
        self.senders.push(message.sender.index());
        self.votes.push(message.estimate.block());
        self.previous.push(previous);
        self.closures.push(closure);
    }

    pub(crate) fn descends(&self, block: BlockId, ancestor: BlockId) -> bool {
        let mut at = block;
        while at != ancestor {
            match self.blocks.get(&at) {
                Some((parent, _)) => at = *parent,
                None => return false,
            }
        }
        true
    }

    fn newest(&self, view: &[Observation]) -> BTreeMap<usize, usize> {
        let latest = view.iter().enumerate().filter_map(|(member, seen)| match seen {
            Observation::Latest(id) => Some((member, self.places[id])),
            _ => None,
        });
        latest.collect()
    }

    /// LMD-GHOST: the heaviest child, then the later slot, then the higher id.
    pub(crate) fn head(&self, base: BlockId, view: &[Observation], weights: &[u64]) -> BlockId {
        let newest = self.newest(view);
        let score = |child: BlockId| -> u128 {
            let votes = newest.iter().filter(|(_, at)| self.descends(self.votes[**at], child));
            votes.map(|(member, _)| u128::from(weights[*member])).sum()
        };
        let mut at = base;
        loop {
            let children = self.blocks.iter().filter(|(_, (parent, _))| *parent == at);
            let ranked = children.map(|(id, (_, slot))| (score(*id), *slot, *id)).filter(|rank| rank.0 > 0);
            match ranked.max() {
                Some((_, _, child)) => at = child,
                None => return at,
            }
        }
    }

    /// Whether there is a (q,k)-summit.
    pub(crate) fn is_summit(&self, view: &[Observation], weights: &[u64], block: BlockId, q: u64, k: u32) -> bool {
        let newest = self.newest(view);
        let mut layer: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for (member, last) in &newest {
            let mut at = Some(*last);
            while let Some(said) = at.filter(|said| self.descends(self.votes[*said], block)) {
                layer.entry(*member).or_default().insert(said);
                at = self.previous[said];
            }
        }
        for _ in 0..k {
            let mut size = usize::MAX;
            while layer.len() < size {
                size = layer.len();
                let whole = layer.clone();
                layer.retain(|member, _| self.seen(newest[member], &whole, weights) >= u128::from(q));
            }
            let weight: u128 = layer.keys().map(|member| u128::from(weights[*member])).sum();
            if weight < u128::from(q) {
                return false;
            }
            let below = layer.clone();
            layer.values_mut().for_each(|said| said.retain(|at| self.seen(*at, &below, weights) >= u128::from(q)));
        }
        true
    }

    /// Weight of the members of whose layer a message has seen something.
    fn seen(&self, at: usize, layer: &BTreeMap<usize, BTreeSet<usize>>, weights: &[u64]) -> u128 {
        let seen = layer.iter().filter(|(_, said)| said.iter().any(|other| self.closures[at].contains(other)));
        seen.map(|(member, _)| u128::from(weights[*member])).sum()
    }
}
