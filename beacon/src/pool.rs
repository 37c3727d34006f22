//! The pool: crosslinks that wait for a beacon block, each checked before it is kept.

use crate::{sound::SoundCrosslink, state::BeaconState};
use kakera_chain::{BlockId, crosslink::Crosslink, units::ShardId};

/// Waiting crosslinks of every shard, the one that reaches furthest first.
///
/// Bounds: [`Pool::PER_SHARD`] crosslinks a shard and, so that no shard crowds out another, an equal part of
/// [`Pool::MAX_BYTES`] for each, yet room for one crosslink. At the bound the one that reaches least far goes.
#[derive(Clone, Debug)]
pub struct Pool {
    shards: Vec<Vec<SoundCrosslink>>,
    quota: usize,
}

impl Pool {
    /// Crosslinks kept a shard at most.
    pub const PER_SHARD: usize = 4;
    /// Bytes kept at most, unless there are so many shards that one crosslink each takes more.
    pub const MAX_BYTES: usize = 64 * 1024 * 1024;

    /// An empty pool.
    pub fn new(shards: usize) -> Pool {
        Pool {
            shards: vec![Vec::new(); shards],
            quota: (Pool::MAX_BYTES / shards.max(1)).max(Crosslink::MAX_BYTES + 1),
        }
    }

    /// What waits of a shard, the one that reaches furthest first.
    pub fn of(&self, shard: ShardId) -> &[SoundCrosslink] {
        self.shards.get(usize::from(shard.0)).map_or(&[], Vec::as_slice)
    }

    /// Whether a crosslink from just above `parent` up to `last` waits that so many have signed, or more.
    pub fn holds(&self, shard: ShardId, parent: BlockId, last: BlockId, signers: usize) -> bool {
        self.of(shard).iter().any(|held| ends(held) == (Some(parent), last) && signed(held) >= signers)
    }

    /// Keeps a crosslink, unless one over the same headers is held that as many have signed, or better ones fill the
    /// shard's part; says whether. More signatures over the same headers take the place of fewer: those who signed were
    /// there, and are paid for it.
    pub fn insert(&mut self, sound: SoundCrosslink) -> bool {
        let quota = self.quota;
        let Some(held) = self.shards.get_mut(usize::from(sound.crosslink().shard.0)) else { return false };
        let ends_of_new = ends(&sound);
        if let Some(place) = held.iter().position(|other| ends(other) == ends_of_new) {
            if signed(&held[place]) >= signed(&sound) {
                return false;
            }
            held.remove(place);
        }
        let rank = |sound: &SoundCrosslink| {
            let top = sound.crosslink().headers.last().map(|header| header.height);
            (std::cmp::Reverse(top), sound.last())
        };
        let place = held.partition_point(|other| rank(other) <= rank(&sound));
        held.insert(place, sound);
        while held.len() > Pool::PER_SHARD || held.iter().map(|held| held.item().len()).sum::<usize>() > quota {
            held.pop();
        }
        held.len() > place
    }

    /// Forgets what lies at or below what a certified state has recorded, or beside it, and what is of an era that the
    /// shard has left.
    pub fn forget(&mut self, certified: &BeaconState) {
        for (held, record) in self.shards.iter_mut().zip(&certified.shards) {
            let recorded = &record.last;
            held.retain(|sound| {
                sound.crosslink().headers.first().is_some_and(|first| {
                    let left = first.epoch < record.era || (first.epoch == record.era && first.root != record.root);
                    !left && (first.height > recorded.header.height.next() || first.parent == recorded.id)
                })
            });
        }
    }

    /// All that wait, as items of a block's body.
    pub fn items(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.shards.iter().flatten().map(|sound| sound.item().to_vec())
    }

    /// How many crosslinks wait.
    pub fn len(&self) -> usize {
        self.shards.iter().map(Vec::len).sum()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How many have signed its certificate.
fn signed(sound: &SoundCrosslink) -> usize {
    sound.crosslink().certificate.signatures.len()
}

fn ends(sound: &SoundCrosslink) -> (Option<BlockId>, BlockId) {
    (sound.crosslink().headers.first().map(|first| first.parent), sound.last())
}

#[cfg(test)]
mod tests;
