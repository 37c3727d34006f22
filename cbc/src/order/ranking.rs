//! Rankings of a few items, and their numbers.

use super::ITEMS;
use crate::forkchoice::Value;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a list of items is not a ranking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidRanking {
    /// An item that cannot be.
    #[error("item {item} is not below {ITEMS}")]
    NoSuchItem {
        /// Its index.
        item: u8,
    },
    /// An item that is ranked twice.
    #[error("item {item} is listed twice")]
    Twice {
        /// Its index.
        item: u8,
    },
}

/// The proposition that a list begins with these items in this order; a whole order when it names all.
///
/// Items are indices into the names that the protocol was made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct Ranking {
    length: u8,
    /// Zero past the length.
    items: [u8; ITEMS],
}

impl Ranking {
    /// These items, first to last.
    ///
    /// # Errors
    /// An item is not below [`ITEMS`] or is listed twice.
    pub fn new(items: &[u8]) -> Result<Self, InvalidRanking> {
        let mut ranking = Self::default();
        for item in items {
            if usize::from(*item) >= ITEMS {
                return Err(InvalidRanking::NoSuchItem { item: *item });
            }
            if ranking.items().contains(item) {
                return Err(InvalidRanking::Twice { item: *item });
            }
            ranking.push(*item);
        }
        Ok(ranking)
    }

    /// The items, first to last.
    #[must_use]
    pub fn items(&self) -> &[u8] {
        &self.items[..usize::from(self.length)]
    }

    /// Whether this begins with all of `other`.
    #[must_use]
    pub fn begins_with(&self, other: &Self) -> bool {
        self.items().starts_with(other.items())
    }

    /// Appends an item that is below `ITEMS` and not in the list.
    fn push(&mut self, item: u8) {
        self.items[usize::from(self.length)] = item;
        self.length += 1;
    }
}

impl TryFrom<Vec<u8>> for Ranking {
    type Error = InvalidRanking;

    fn try_from(items: Vec<u8>) -> Result<Self, InvalidRanking> {
        Self::new(&items)
    }
}

impl From<Ranking> for Vec<u8> {
    fn from(ranking: Ranking) -> Self {
        ranking.items().to_vec()
    }
}

/// Numbers for all rankings of some items: first the empty one, then those of one item, and so on.
///
/// The number of a ranking of k out of m items is 1 + the count of shorter rankings + its place among
/// those of its length, which is read off digit by digit: the digit at i is the item's place among the
/// m - i items not listed before it. So nothing needs to be remembered, and the number of a beginning
/// is a quotient.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    /// m.
    items: usize,
    /// How many rankings of k items there are: m! / (m - k)!.
    counts: Vec<u32>,
    /// The number of the first ranking of k items.
    firsts: Vec<Value>,
}

impl Numbers {
    /// For at most [`ITEMS`] items.
    pub(super) fn new(items: usize) -> Self {
        let (mut count, mut first) = (1u32, 1u32);
        let (mut counts, mut firsts) = (vec![count], vec![first]);
        for left in (1..=items).rev() {
            first += count;
            count *= u32::try_from(left).expect("items are few");
            counts.push(count);
            firsts.push(first);
        }
        Self { items, counts, firsts }
    }

    /// The number of a ranking; none when it lists what is no item.
    pub(super) fn number(&self, ranking: &Ranking) -> Option<Value> {
        let mut unlisted: Vec<u8> = (0..u8::try_from(self.items).ok()?).collect();
        let mut place = 0u32;
        for item in ranking.items() {
            let digit = unlisted.iter().position(|other| other == item)?;
            place = place * u32::try_from(unlisted.len()).ok()? + u32::try_from(digit).ok()?;
            unlisted.remove(digit);
        }
        Some(self.firsts[ranking.items().len()] + place)
    }

    /// Length and place of a number.
    fn split(&self, value: Value) -> Option<(usize, u32)> {
        let length = self.firsts.partition_point(|first| *first <= value).checked_sub(1)?;
        let place = value - self.firsts[length];
        (place < self.counts[length]).then_some((length, place))
    }

    /// The ranking with this number.
    pub(super) fn ranking(&self, value: Value) -> Option<Ranking> {
        let (length, mut place) = self.split(value)?;
        let mut unlisted: Vec<u8> = (0..u8::try_from(self.items).ok()?).collect();
        let mut ranking = Ranking::default();
        for left in (self.items - length..self.items).rev() {
            let following = self.counts[length] / self.counts[self.items - left];
            ranking.push(unlisted.remove((place / following) as usize));
            place %= following;
        }
        Some(ranking)
    }

    /// The number of the first `length` items of a ranking by its number.
    pub(super) fn beginning(&self, value: Value, length: usize) -> Option<Value> {
        let (whole, place) = self.split(value)?;
        if length > whole {
            return None;
        }
        Some(self.firsts[length] + place / (self.counts[whole] / self.counts[length]))
    }

    /// How many items the ranking with this number lists.
    pub(super) fn length(&self, value: Value) -> Option<usize> {
        Some(self.split(value)?.0)
    }
}
