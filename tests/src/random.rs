//! Reproducible choices: SplitMix64, seeded from `KAKERA_SEED` or the clock, and always printed.

use std::{
    env,
    time::{SystemTime, UNIX_EPOCH},
};

/// A stream of choices.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Seeded by `KAKERA_SEED`, or drawn; says on standard output how to repeat it.
    pub fn seeded(suite: &str) -> Random {
        let given = env::var("KAKERA_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::from(now.subsec_nanos()) ^ now.as_secs()
        });
        println!("{suite}: repeat these choices with KAKERA_SEED={seed}");
        Random(seed)
    }

    /// Of a seed.
    pub fn from_seed(seed: u64) -> Random {
        Random(seed)
    }

    /// The seed of choices yet to come.
    pub fn seed(&self) -> u64 {
        self.0
    }

    /// The next 64 bits.
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is above zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound
    }

    /// One of `items`, which are not empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[usize::try_from(self.below(items.len() as u64)).expect("below a length")]
    }
}
