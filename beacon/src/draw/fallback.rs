//! The fallback draw: a committee that stopped is replaced, whole and at once, by those who stand by.

use super::{Bench, Benches, Pool, Row, counts, purpose};
use kakera_chain::{
    hash::Hash,
    units::{ShardId, ValidatorId},
};
use std::collections::{BTreeMap, BTreeSet};

/// Fills all seats of one shard's bench from the standbys of the current epoch, and gives the same bench the next epoch
/// too. Returns the new current and next benches.
///
/// Standbys are the row's seats that stand on no current bench. Those that no next bench names go first, then named ones,
/// each group in the seed's order; places that none is left for, the last ones, keep their holders. Whoever is now named
/// for more seats than it has loses seats elsewhere on the next benches, first those that come first: there the present
/// holder, of the current bench and the same place, stays. If that holder in turn was named elsewhere, it loses that.
///
/// Seats of one validator are alike: a standby seat counts as named as far as the next benches name its validator for
/// more seats than its others. A shard that there is not is left alone.
pub fn fallback(current: &Benches, next: &Benches, shard: ShardId, row: &Row, seed: Hash) -> (Benches, Benches) {
    let at = usize::from(shard.0);
    let (mut new, mut named) = (current.clone(), next.clone());
    let (Some(bench), Some(_)) = (current.shards.get(at), next.shards.get(at)) else { return (new, named) };
    let (seats, before) = (counts(row), next.held());
    let (unnamed_pool, named_pool) = standbys(current, row, &seats, &before);
    let size = bench.0.len();
    let mut drawn = unnamed_pool.draw(size, purpose(seed, b"standby", Some(shard)));
    drawn.extend(named_pool.draw(size - drawn.len(), purpose(seed, b"named", Some(shard))));
    drawn.extend_from_slice(&bench.0[drawn.len()..]);
    new.shards[at] = Bench(drawn);
    named.shards[at] = new.shards[at].clone();
    give_back(&new, &mut named, |validator| {
        let most = |seats: &BTreeMap<ValidatorId, u64>| seats.get(&validator).copied().unwrap_or(0);
        most(&seats).max(most(&before))
    });
    (new, named)
}

/// The seats of the row on no current bench: those that no next bench names, and those that one does.
fn standbys(
    current: &Benches,
    row: &Row,
    seats: &BTreeMap<ValidatorId, u64>,
    next: &BTreeMap<ValidatorId, u64>,
) -> (Pool, Pool) {
    let (mut unnamed, mut named) = (BTreeMap::new(), BTreeMap::new());
    for (validator, free) in current.standbys(row) {
        let spare = seats[&validator].saturating_sub(next.get(&validator).copied().unwrap_or(0)).min(free);
        unnamed.insert(validator, spare);
        named.insert(validator, free - spare);
    }
    (Pool::of(unnamed), Pool::of(named))
}

/// Gives places of the next benches back to their present holders until nobody is named for more seats than it may have:
/// `allowed`, or what it has at present.
///
/// This ends: a place is given back once. And it succeeds: whoever is named for more than it holds at present is named
/// for a place that it does not hold.
fn give_back(current: &Benches, next: &mut Benches, allowed: impl Fn(ValidatorId) -> u64) {
    let (mut held, present) = (next.held(), current.held());
    // The places that a validator is to move to, the first ones last.
    let mut moves = BTreeMap::<ValidatorId, Vec<(usize, usize)>>::new();
    for (shard, (after, before)) in next.shards.iter().zip(&current.shards).enumerate() {
        for (place, (to, from)) in after.0.iter().zip(&before.0).enumerate() {
            if to != from {
                moves.entry(*to).or_default().push((shard, place));
            }
        }
    }
    moves.values_mut().for_each(|places| places.reverse());
    let mut open: BTreeSet<ValidatorId> = held.keys().copied().collect();
    while let Some(validator) = open.pop_first() {
        let most = allowed(validator).max(present.get(&validator).copied().unwrap_or(0));
        while held.get(&validator).copied().unwrap_or(0) > most {
            let (shard, place) = moves
                .get_mut(&validator)
                .and_then(Vec::pop)
                .expect("who is named for more seats than it holds is named for a place it does not hold");
            let stays = current.shards[shard].0[place];
            next.shards[shard].0[place] = stays;
            *held.entry(validator).or_default() -= 1;
            *held.entry(stays).or_default() += 1;
            open.insert(stays);
        }
    }
}
