//! The lower weighted median: of a list, and of weights that move one at a time.

/// Bits of an integer: the depth of the trie.
const BITS: u32 = i64::BITS;

/// The lower weighted median of votes in any order; none without weight.
pub(super) fn of(mut votes: Vec<(i64, u64)>) -> Option<i64> {
    votes.sort_unstable();
    let half = votes.iter().map(|vote| vote.1).sum::<u64>().div_ceil(2);
    let mut below = 0u64;
    votes.into_iter().find_map(|(integer, weight)| {
        below += weight;
        (half > 0 && below >= half).then_some(integer)
    })
}

/// What lies below one prefix of bits: the weight at each next bit, and where it is counted further.
#[derive(Clone, Copy, Debug, Default)]
struct Branch {
    weights: [u64; 2],
    next: [u32; 2],
}

/// Weights by integer, in a trie over its bits.
///
/// A search tree would need balancing against whoever chooses the integers; here the depth is fixed.
#[derive(Clone, Debug)]
pub(super) struct Median {
    branches: Vec<Branch>,
}

/// The bits of an integer, unsigned and in the same order, the highest first.
fn bits(integer: i64) -> impl Iterator<Item = usize> {
    let key = integer.cast_unsigned() ^ (1 << (BITS - 1));
    (0..BITS).rev().map(move |bit| usize::from(key >> bit & 1 == 1))
}

impl Median {
    pub(super) fn new() -> Self {
        Self { branches: vec![Branch::default()] }
    }

    /// Adds a weight; all weights together fit 64 bits, as those of a committee do.
    pub(super) fn add(&mut self, integer: i64, weight: u64) {
        if weight == 0 {
            return;
        }
        let mut at = 0;
        for (bit, depth) in bits(integer).zip(1..) {
            let sum = &mut self.branches[at].weights[bit];
            *sum = sum.checked_add(weight).expect("the weights of a committee fit 64 bits");
            if depth == BITS {
                break;
            }
            if self.branches[at].next[bit] == 0 {
                let new = u32::try_from(self.branches.len()).expect("memory ends before 32 bits of branches do");
                self.branches[at].next[bit] = new;
                self.branches.push(Branch::default());
            }
            at = self.branches[at].next[bit] as usize;
        }
    }

    /// Takes away a weight that was added.
    pub(super) fn remove(&mut self, integer: i64, weight: u64) {
        if weight == 0 {
            return;
        }
        let mut at = 0;
        for bit in bits(integer) {
            let sum = &mut self.branches[at].weights[bit];
            *sum = sum.checked_sub(weight).expect("what leaves was added before");
            at = self.branches[at].next[bit] as usize;
        }
    }

    /// The least integer such that those up to it have half of all weight; none without weight.
    pub(super) fn median(&self) -> Option<i64> {
        let [low, high] = self.branches[0].weights;
        let mut wanted = low.checked_add(high).expect("the weights of a committee fit 64 bits").div_ceil(2);
        if wanted == 0 {
            return None;
        }
        let (mut at, mut key) = (0, 0u64);
        for _ in 0..BITS {
            let Branch { weights, next } = self.branches[at];
            let bit = usize::from(weights[0] < wanted);
            if bit == 1 {
                wanted -= weights[0];
            }
            key = key << 1 | bit as u64;
            at = next[bit] as usize;
        }
        Some((key ^ (1 << (BITS - 1))).cast_signed())
    }
}
