//! What waits in the pool costs its sender nothing, so it never takes the room of what can go on.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::{
    action::Action,
    pool::{PoolLimits, Refusal},
    shard::Reply,
    testing::{Setup, World},
    transaction::Transaction,
};
use kakera_chain::{address::Address, genesis::Lanes};

fn small() -> Setup {
    let pool = PoolLimits { transactions: 40, bytes: 1 << 20, sender_transactions: 20, sender_bytes: 1 << 20 };
    Setup { pool, lanes: Lanes { bound: 2, lifetime_slots: 100 }, ..Setup::default() }
}

fn submit(world: &mut World, n: u64, nonce: u64, to: Address) -> Reply {
    let order = Transaction { nonce, ..world.order(0, n, Action::Transfer { to, amount: 1 }) };
    let key = world.key(0, n);
    world.chains[0].submit(order.sign(&key))
}

fn full(reply: &Reply) -> bool {
    matches!(reply, Reply::Refused(Refusal::PoolFull { .. }))
}

fn taken(reply: &Reply) -> bool {
    matches!(reply, Reply::Accepted { .. })
}

/// An honest sender's orders within the shard are taken and executed.
fn goes_on(world: &mut World) {
    let to = world.address(0, 2);
    for nonce in 0..10 {
        assert!(taken(&submit(world, 3, nonce, to)), "nonce {nonce}");
    }
    world.chains[0].step();
    assert_eq!(world.chains[0].account(&world.address(0, 3)).nonce, 10);
}

#[test]
fn orders_behind_a_missing_nonce_fill_half_of_the_pool_at_most() {
    let mut world = World::new(small());
    let to = world.address(0, 3);
    let replies: Vec<Reply> = (0..3)
        .flat_map(|n| (1..20).map(move |nonce| (n, nonce)))
        .map(|(n, nonce)| submit(&mut world, n, nonce, to))
        .collect();
    assert_eq!(replies.iter().filter(|reply| taken(reply)).count(), 20);
    assert!(replies[20..].iter().all(full));
    goes_on(&mut world);
    // The missing nonce itself is always welcome, and frees all that waits for it.
    assert!(taken(&submit(&mut world, 0, 0, to)));
    world.chains[0].step();
    assert_eq!(world.chains[0].account(&world.address(0, 0)).nonce, 20);
}

#[test]
fn orders_toward_a_halted_shard_fill_half_of_the_pool_at_most() {
    let mut world = World::new(small());
    let (far, near) = (world.address(1, 0), world.address(0, 3));
    for n in 0..2 {
        for nonce in 0..10 {
            assert!(taken(&submit(&mut world, n, nonce, far)));
        }
    }
    assert_eq!(world.chains[0].step().body.len(), 2, "the lane is full now, and nobody empties it");
    assert!(taken(&submit(&mut world, 2, 0, far)));
    assert!(taken(&submit(&mut world, 2, 1, far)));
    assert!(full(&submit(&mut world, 2, 2, far)));
    // What stands behind such an order waits as well.
    assert!(full(&submit(&mut world, 0, 10, near)));
    goes_on(&mut world);
}

#[test]
fn a_lane_with_room_is_promised_once() {
    let mut world = World::new(small());
    let (far, near) = (world.address(1, 0), world.address(0, 3));
    for nonce in 0..20 {
        assert!(taken(&submit(&mut world, 0, nonce, near)));
    }
    // Crowded: two receipts fit the lane, whoever sends them.
    assert!(taken(&submit(&mut world, 1, 0, far)));
    assert!(taken(&submit(&mut world, 2, 0, far)));
    assert!(full(&submit(&mut world, 1, 1, far)));
    world.chains[0].step();
    assert_eq!(world.chains[0].shard.pool_size(), (0, 0));
    assert!(taken(&submit(&mut world, 1, 1, far)), "not crowded: it may wait");
}
