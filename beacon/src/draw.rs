//! The draw: who sits where, made from a row of eligible seats and a seed.
//!
//! A committee is a *bench* of places. The first draw fills every place of every bench; a rotation vacates a bounded
//! number of places a bench and fills them again; the fallback (`draw/fallback.rs`) fills one bench from those who sit
//! nowhere. In all of them a seat of the row is held in one place at most, and no place is ever empty: where nobody is
//! left to sit, who sat stays.
//!
//! ```text
//!   row (frozen)  1 1 2 3 3 3 4 5      the seats of each eligible validator
//!   benches       [1 3 2] [3 4 1]      two shards, three places each; 3 and 5 have a seat that stands by
//!   vacated       [. 3 2] [3 4 .]      a third of each, by the seed
//!   pool          1 1 3 5              seats held by nobody and seats just vacated, ascending
//!   shuffled      5 1 1 3              by the seed
//!   benches       [5 3 2] [3 4 1]      filled shard by shard, place by place
//! ```

mod fallback;
#[cfg(test)]
mod statistics;
#[cfg(test)]
mod tests;

pub use fallback::fallback;

use crate::shuffle::Shuffle;
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_chain::{
    codec,
    hash::{Hash, Tag},
    units::{Epoch, ShardId, ValidatorId},
};
use std::collections::{BTreeMap, BTreeSet};

/// The eligible seats of one role: validators, ascending, and how many seats each has.
///
/// A draw does not depend on the order: it sorts the row, and adds up what stands there twice.
pub type Row = Vec<(ValidatorId, u32)>;

/// One shard's committee: the holder of each seat, in place order.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Bench(pub Vec<ValidatorId>);

/// The committees of one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Benches {
    /// The beacon's committee: validators, ascending, and their seats in it; none is zero.
    pub beacon: Row,
    /// Each shard's, by [`ShardId`].
    pub shards: Vec<Bench>,
}

/// What an epoch's committees are drawn by: `SHA-256(seed tag ‖ origin ‖ "shards" ‖ epoch)`. The origin is the network's
/// seed for epochs 0 and 1, and later the mix of random numbers that the draw is made from.
pub fn draw_seed(origin: Hash, epoch: Epoch) -> Hash {
    Hash::of(&[Tag::SEED.bytes(), &origin.0, b"shards", &codec::encode(&epoch)])
}

/// How many places of a bench a rotation vacates: this part of it in thousandths, rounded down, but at least one and
/// never more than there are.
pub fn rotated_seats(per_mille: u16, size: usize) -> usize {
    let part = size as u128 * u128::from(per_mille.min(1000)) / 1000;
    usize::try_from(part).unwrap_or(size).max(1).min(size)
}

/// Why a place is vacated, in the order in which places are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// Its holder is slashed.
    Slashed,
    /// Its holder has left, or has fewer seats now.
    Gone,
    /// The seed picked it.
    Picked,
}

/// A place that is to be filled.
#[derive(Clone, Copy, Debug)]
struct Vacancy {
    shard: usize,
    place: usize,
    reason: Reason,
}

impl Benches {
    /// The first draw: all seats of the row are shuffled by the seed, and each shard takes the next `size` of them. The
    /// row holds at least `shards * size` seats.
    ///
    /// Place `p`, counted through all benches, is taken by the seat at `compute_shuffled_index(p)` in the row.
    pub fn first(beacon: &Row, row: &Row, shards: u16, size: u32, beacon_seats: Option<u32>, seed: Hash) -> Benches {
        let size = usize::try_from(size).expect("a committee has at most 1,024 seats");
        let places = usize::from(shards) * size;
        let drawn = Pool::of(counts(row)).draw(places, seed);
        assert!(size > 0 && drawn.len() == places, "the genesis check gives every place a seat");
        let shards = drawn.chunks(size).map(|bench| Bench(bench.to_vec())).collect();
        Benches { beacon: sample(counts(beacon), beacon_seats, seed), shards }
    }

    /// The next epoch's committees: [`rotated_seats`] places of each bench are vacated and filled again.
    ///
    /// Vacated are first the places of holders that are `slashed`, all of them and past the bound too; then, within the
    /// bound, those of holders that the row no longer has seats for; then places that the seed picks. The pool, from
    /// which they are filled, is the row's seats that nobody holds and those just vacated. When it is too small, the last
    /// places whose holders should go keep them, slashed holders going before others.
    ///
    /// `slashed` holders count as absent from both rows. The beacon's committee is sampled anew: beacon validators all
    /// follow the beacon chain, so none has to fetch anything first. It stays what it was if its row is empty.
    pub fn rotate(
        &self,
        beacon: &Row,
        row: &Row,
        slashed: &BTreeSet<ValidatorId>,
        per_mille: u16,
        beacon_seats: Option<u32>,
        seed: Hash,
    ) -> Benches {
        let eligible = |row: &Row| {
            let mut seats = counts(row);
            seats.retain(|validator, _| !slashed.contains(validator));
            seats
        };
        let mut next = self.clone();
        let sampled = sample(eligible(beacon), beacon_seats, seed);
        if !sampled.is_empty() {
            next.beacon = sampled;
        }
        let mut pool = eligible(row);
        let mut vacancies = self.vacate(&mut pool, slashed, per_mille, seed);
        let pool = Pool::of(pool);
        let short = vacancies.len().saturating_sub(usize::try_from(pool.len()).unwrap_or(usize::MAX));
        keep_last(&mut vacancies, short);
        let filled = pool.draw(vacancies.len(), purpose(seed, b"fill", None));
        for (vacancy, holder) in vacancies.iter().zip(filled) {
            next.shards[vacancy.shard].0[vacancy.place] = holder;
        }
        next
    }

    /// Chooses the places to fill, in place order, and leaves in `pool`, which comes as the eligible row, what may fill
    /// them.
    fn vacate(
        &self,
        pool: &mut BTreeMap<ValidatorId, u64>,
        slashed: &BTreeSet<ValidatorId>,
        per_mille: u16,
        seed: Hash,
    ) -> Vec<Vacancy> {
        let (mut vacancies, mut vacated_seats) = (Vec::new(), Vec::new());
        for (number, bench) in (0..).zip(&self.shards) {
            let shard = usize::from(number);
            let mut order: Vec<Vacancy> = bench
                .0
                .iter()
                .enumerate()
                .map(|(place, holder)| {
                    let reason = match pool.get_mut(holder).filter(|seats| **seats > 0) {
                        Some(seats) => {
                            *seats -= 1;
                            Reason::Picked
                        }
                        None if slashed.contains(holder) => Reason::Slashed,
                        None => Reason::Gone,
                    };
                    Vacancy { shard, place, reason }
                })
                .collect();
            let must_go = order.iter().filter(|vacancy| vacancy.reason == Reason::Slashed).count();
            let vacated = rotated_seats(per_mille, order.len()).max(must_go);
            let picks = shuffle_of(order.len(), purpose(seed, b"vacate", Some(ShardId(number))));
            order = picks.into_iter().map(|place| order[place]).collect();
            order.sort_by_key(|vacancy| vacancy.reason);
            order.truncate(vacated);
            order.sort_by_key(|vacancy| vacancy.place);
            let picked = order.iter().filter(|vacancy| vacancy.reason == Reason::Picked);
            vacated_seats.extend(picked.map(|vacancy| bench.0[vacancy.place]));
            vacancies.extend(order);
        }
        // Only now: a seat vacated on one bench does not pay for a place that its holder has too much on a later one.
        for holder in vacated_seats {
            *pool.entry(holder).or_default() += 1;
        }
        vacancies
    }

    /// The seats that each validator holds on the shards' benches.
    pub fn held(&self) -> BTreeMap<ValidatorId, u64> {
        let mut held = BTreeMap::new();
        for holder in self.shards.iter().flat_map(|bench| &bench.0) {
            *held.entry(*holder).or_default() += 1;
        }
        held
    }

    /// Everybody who sits in a committee, the beacon's too.
    pub fn seated(&self) -> BTreeSet<ValidatorId> {
        let beacon = self.beacon.iter().map(|(validator, _)| *validator);
        beacon.chain(self.shards.iter().flat_map(|bench| bench.0.iter().copied())).collect()
    }

    /// The row's seats that nobody holds, by validator; none is zero.
    pub fn standbys(&self, row: &Row) -> BTreeMap<ValidatorId, u64> {
        let held = self.held();
        let mut free = counts(row);
        free.retain(|validator, seats| {
            *seats = seats.saturating_sub(held.get(validator).copied().unwrap_or(0));
            *seats > 0
        });
        free
    }
}

/// Fills so many vacancies less: those of holders that are gone, the last ones first, then those of slashed ones. What the
/// seed picked went into the pool itself, so that it is short of others only.
fn keep_last(vacancies: &mut Vec<Vacancy>, short: usize) {
    let mut last: Vec<usize> = (0..vacancies.len()).rev().collect();
    last.retain(|at| vacancies[*at].reason != Reason::Picked);
    last.sort_by_key(|at| vacancies[*at].reason != Reason::Gone);
    let kept: BTreeSet<usize> = last.into_iter().take(short).collect();
    let mut at = 0..;
    vacancies.retain(|_| !at.next().is_some_and(|at| kept.contains(&at)));
}

/// The beacon's committee: everybody, or with more seats than `beacon_seats` so many of them, by the seed.
fn sample(seats: BTreeMap<ValidatorId, u64>, beacon_seats: Option<u32>, seed: Hash) -> Row {
    let pool = Pool::of(seats);
    let most = beacon_seats.map_or(u64::MAX, u64::from);
    let mut seats = BTreeMap::<ValidatorId, u64>::new();
    if pool.len() <= most {
        seats = pool.seats();
    } else {
        let drawn = pool.draw(usize::try_from(most).expect("at most 1,024"), purpose(seed, b"beacon", None));
        for holder in drawn {
            *seats.entry(holder).or_default() += 1;
        }
    }
    let narrow = |seats| u32::try_from(seats).expect("a validator's seats in a row fit 32 bits");
    seats.into_iter().map(|(validator, seats)| (validator, narrow(seats))).collect()
}

/// A row's seats by validator; what stands there twice is added up.
fn counts(row: &Row) -> BTreeMap<ValidatorId, u64> {
    let mut seats = BTreeMap::<ValidatorId, u64>::new();
    for (validator, count) in row {
        *seats.entry(*validator).or_default() += u64::from(*count);
    }
    seats
}

/// A seed of its own for each thing that one draw decides.
fn purpose(seed: Hash, what: &[u8], shard: Option<ShardId>) -> Hash {
    Hash::of(&[Tag::SEED.bytes(), &seed.0, what, &codec::encode(&shard)])
}

/// The places `0..count` in the seed's order.
fn shuffle_of(count: usize, seed: Hash) -> Vec<usize> {
    let count = u64::try_from(count).expect("a count");
    let order = Shuffle::new(count, seed.0).first(count);
    order.into_iter().map(|place| usize::try_from(place).expect("a place")).collect()
}

/// Seats in a line, ascending by validator, kept as sums: a row may have more seats than memory has room for.
struct Pool {
    /// Each validator and the number of the seat behind its last one.
    ends: Vec<(ValidatorId, u64)>,
}

impl Pool {
    fn of(seats: BTreeMap<ValidatorId, u64>) -> Pool {
        let mut end = 0u64;
        let ends = seats.into_iter().filter(|(_, seats)| *seats > 0).map(|(validator, seats)| {
            end += seats;
            (validator, end)
        });
        Pool { ends: ends.collect() }
    }

    fn len(&self) -> u64 {
        self.ends.last().map_or(0, |(_, end)| *end)
    }

    fn holder(&self, seat: u64) -> ValidatorId {
        self.ends[self.ends.partition_point(|(_, end)| *end <= seat)].0
    }

    fn seats(&self) -> BTreeMap<ValidatorId, u64> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        self.ends.iter().zip(starts).map(|((validator, end), start)| (*validator, end - start)).collect()
    }

    /// The holders of the first so many seats in the seed's order; fewer if there are no more.
    fn draw(&self, places: usize, seed: Hash) -> Vec<ValidatorId> {
        let places = u64::try_from(places).expect("a count");
        let order = Shuffle::new(self.len(), seed.0).first(places);
        order.into_iter().map(|seat| self.holder(seat)).collect()
    }
}
