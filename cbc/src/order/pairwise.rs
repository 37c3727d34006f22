//! Ranked pairs: an order from how much weight puts which item before which.

use std::cmp::Reverse;

/// By pair of items, the weight of the orders that put the first before the second.
#[derive(Clone, Debug)]
pub(super) struct Pairwise {
    items: usize,
    /// Row by row.
    before: Vec<u64>,
    total: u64,
}

impl Pairwise {
    pub(super) fn new(items: usize) -> Self {
        Self { items, before: vec![0; items * items], total: 0 }
    }

    /// Weight of all orders.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Adds an order of all items; all weights together fit 64 bits, as those of a committee do.
    pub(super) fn add(&mut self, order: &[u8], weight: u64) {
        let add = |sum: &mut u64| *sum = sum.checked_add(weight).expect("the weights of a committee fit 64 bits");
        self.each(order, add);
    }

    /// Takes away an order that was added with this weight.
    pub(super) fn remove(&mut self, order: &[u8], weight: u64) {
        let take = |sum: &mut u64| *sum = sum.checked_sub(weight).expect("what leaves was added before");
        self.each(order, take);
    }

    fn each(&mut self, order: &[u8], change: impl Fn(&mut u64)) {
        change(&mut self.total);
        for (place, first) in order.iter().enumerate() {
            for second in &order[place + 1..] {
                change(&mut self.before[usize::from(*first) * self.items + usize::from(*second)]);
            }
        }
    }

    fn weight(&self, first: usize, second: usize) -> u64 {
        self.before[first * self.items + second]
    }

    /// The order of all items by ranked pairs.
    ///
    /// Of each pair the heavier direction is taken, heaviest first, unless what was taken before says
    /// the contrary. Between equals the direction that puts a lower item first comes first, then the
    /// one with the lower second item.
    pub(super) fn order(&self) -> Vec<u8> {
        let mut pairs = Vec::with_capacity(self.items * self.items / 2);
        for low in 0..self.items {
            for high in low + 1..self.items {
                let (up, down) = (self.weight(low, high), self.weight(high, low));
                pairs.push(if up >= down { (Reverse(up), low, high) } else { (Reverse(down), high, low) });
            }
        }
        pairs.sort_unstable();
        // Bit j of after[i]: item j comes after item i.
        let mut after = vec![0u32; self.items];
        for (_, first, second) in pairs {
            let says = |after: &[u32], a: usize, b: usize| after[a] >> b & 1 == 1;
            if says(&after, first, second) || says(&after, second, first) {
                continue;
            }
            let gained = after[second] | 1 << second;
            for item in 0..self.items {
                if item == first || says(&after, item, first) {
                    after[item] |= gained;
                }
            }
        }
        // Every pair is settled, so the counts of later items are all different.
        let mut order: Vec<u8> = (0..).take(self.items).collect();
        order.sort_by_key(|item| Reverse(after[usize::from(*item)].count_ones()));
        order
    }
}
