//! The swap-or-not shuffle of the Ethereum consensus specification (`compute_shuffled_index`; Hoang, Morris, Rogaway
//! 2012), so that its public vectors apply.

use sha2::{Digest, Sha256};

/// Rounds of the shuffle: the specification's `SHUFFLE_ROUND_COUNT`.
pub const SHUFFLE_ROUNDS: u8 = 90;

/// Lists are at most this long: a position's block of 256 must fit the four bytes that are hashed.
const LONGEST: u64 = 1 << 40;

/// A shuffle of `0..count`: the rounds' pivots, which all indices share, computed once.
#[derive(Clone, Debug)]
pub struct Shuffle {
    seed: [u8; 32],
    count: u64,
    pivots: Vec<u64>,
}

impl Shuffle {
    /// The shuffle of `0..count` by a seed; `count` is at most 2^40.
    pub fn new(count: u64, seed: [u8; 32]) -> Shuffle {
        assert!(count <= LONGEST, "the shuffle is defined for at most 2^40 indices");
        let pivot = |round: u8| {
            let digest = sha256(&[&seed, &[round]]);
            let prefix = u64::from_le_bytes(digest[..8].try_into().expect("eight of thirty-two bytes"));
            prefix % count
        };
        let pivots = if count == 0 { Vec::new() } else { (0..SHUFFLE_ROUNDS).map(pivot).collect() };
        Shuffle { seed, count, pivots }
    }

    /// Where `index` goes; `index` is below the count.
    pub fn index(&self, index: u64) -> u64 {
        assert!(index < self.count, "the index lies in the list");
        let mut index = index;
        for (round, pivot) in (0..SHUFFLE_ROUNDS).zip(&self.pivots) {
            let flip = (pivot + self.count - index) % self.count;
            let position = index.max(flip);
            if bit(&self.source(round, position / 256), position) {
                index = flip;
            }
        }
        index
    }

    /// Where each of the first `places` indices goes, in order; all of them if there are fewer.
    ///
    /// Each block of 256 positions is hashed once a round if that is less work than one hash an index.
    pub fn first(&self, places: u64) -> Vec<u64> {
        let places = places.min(self.count);
        let blocks = self.count.div_ceil(256);
        let mut indices: Vec<u64> = (0..places).collect();
        for (round, pivot) in (0..SHUFFLE_ROUNDS).zip(&self.pivots) {
            let known = if blocks <= places { blocks } else { 0 };
            let sources: Vec<[u8; 32]> = (0..known).map(|block| self.source(round, block)).collect();
            for index in &mut indices {
                let flip = (pivot + self.count - *index) % self.count;
                let position = (*index).max(flip);
                let known = usize::try_from(position / 256).ok().and_then(|block| sources.get(block));
                if bit(&known.copied().unwrap_or_else(|| self.source(round, position / 256)), position) {
                    *index = flip;
                }
            }
        }
        indices
    }

    /// The random bits of 256 positions in a round.
    fn source(&self, round: u8, block: u64) -> [u8; 32] {
        let block = u32::try_from(block).expect("a position is below 2^40");
        sha256(&[&self.seed, &[round], &block.to_le_bytes()])
    }
}

fn bit(source: &[u8; 32], position: u64) -> bool {
    let byte = source[usize::try_from(position % 256 / 8).expect("below 32")];
    (byte >> (position % 8)) & 1 == 1
}

/// The specification's function: where `index` goes in a list of `index_count` entries shuffled by `seed`.
///
/// `index` is below `index_count`, which is at most 2^40; both are the caller's own numbers.
pub fn compute_shuffled_index(index: u64, index_count: u64, seed: [u8; 32]) -> u64 {
    Shuffle::new(index_count, seed).index(index)
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests;
