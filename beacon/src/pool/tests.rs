//! The pool's order and bounds.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::fixture::{Step, World};
use kakera_chain::units::Height;

fn sound(world: &mut World, crosslink: Crosslink) -> SoundCrosslink {
    world.beacon.examine(&world.state, crosslink).unwrap()
}

/// The prefix of a crosslink's first `length` headers, certified.
fn prefix(world: &World, crosslink: &Crosslink, length: usize) -> Crosslink {
    let mut prefix = crosslink.clone();
    prefix.headers.truncate(length);
    prefix.receipts.truncate(length);
    world.seal(&mut prefix);
    prefix
}

#[test]
fn the_furthest_few_are_kept_in_order_and_others_go() {
    let mut world = World::new();
    let whole = world.extend(0, &vec![Step::default(); 8]);
    let mut pool = Pool::new(3);
    for (length, kept) in [(3, true), (5, true), (2, true), (5, false), (4, true), (1, false), (8, true)] {
        let crosslink = prefix(&world, &whole, length);
        let sound = sound(&mut world, crosslink);
        assert_eq!(pool.insert(sound), kept, "{length}");
    }
    let lengths: Vec<usize> = pool.of(ShardId(0)).iter().map(|held| held.crosslink().headers.len()).collect();
    assert_eq!(lengths, [8, 5, 4, 3]);
    assert_eq!((pool.len(), pool.of(ShardId(1)).len(), pool.of(ShardId(9)).len()), (4, 0, 0));
}

#[test]
fn more_signatures_over_the_same_headers_take_the_place_of_fewer() {
    let mut world = World::new();
    let all = world.extend(0, &vec![Step::default(); 2]);
    let mut fewer = all.clone();
    fewer.certificate.signatures.remove(1);
    let [all, fewer] = [all, fewer].map(|crosslink| sound(&mut world, crosslink));
    let mut pool = Pool::new(3);
    assert!(pool.insert(fewer.clone()) && !pool.insert(fewer.clone()));
    assert!(pool.insert(all.clone()), "one more was there");
    assert!(!pool.insert(fewer), "and who it was stays known");
    assert_eq!(pool.of(ShardId(0)), [all]);
}

#[test]
fn what_is_recorded_or_beside_it_is_forgotten() {
    let mut world = World::new();
    let whole = world.extend(0, &vec![Step::default(); 4]);
    let mut pool = Pool::new(3);
    for length in [1, 4] {
        let crosslink = prefix(&world, &whole, length);
        let sound = sound(&mut world, crosslink);
        assert!(pool.insert(sound));
    }
    let first = prefix(&world, &whole, 1);
    assert_eq!(world.record(first), Ok(()));
    let mut rest = whole.clone();
    rest.headers.remove(0);
    rest.receipts.remove(0);
    let rest = sound(&mut world, rest);
    assert!(pool.insert(rest.clone()));
    pool.forget(&world.state);
    assert_eq!(pool.of(ShardId(0)), [rest]);
    assert_eq!(pool.of(ShardId(0))[0].crosslink().headers[0].height, Height(2));
}

#[test]
fn a_shard_has_its_own_share_of_bytes_and_no_more() {
    let mut world = World::new();
    let whole = world.extend(0, &vec![Step::default(); 8]);
    let mut pool = Pool { shards: vec![Vec::new()], quota: Crosslink::MAX_BYTES };
    let longest = prefix(&world, &whole, 8);
    let longest = sound(&mut world, longest);
    pool.quota = longest.item().len();
    assert!(pool.insert(longest.clone()));
    let shorter = prefix(&world, &whole, 7);
    let shorter = sound(&mut world, shorter);
    assert!(!pool.insert(shorter));
    assert_eq!(pool.of(ShardId(0)), [longest]);
    assert!(Pool::new(1024).quota > Crosslink::MAX_BYTES, "one crosslink always fits");
}
