//! A proof proves one account under one root: not stale, not cut short, not of another address.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::testing::{Setup, World};

#[test]
fn a_stale_proof_does_not_hold_under_a_newer_root() {
    let mut world = World::new(Setup::default());
    let (me, to) = (world.address(0, 0), world.address(0, 1));
    let old = world.chains[0].head.state.prove(&me);
    let before = world.chains[0].head.state_root;
    world.send(0, 0, to, 5);
    world.chains[0].step();
    assert!(old.verify(before, &me).is_ok());
    assert!(old.verify(world.chains[0].head.state_root, &me).is_err());
}

#[test]
fn a_proof_cut_short_reordered_or_with_another_s_leaf_does_not_hold() {
    let world = World::new(Setup::default());
    let state = &world.chains[0].head.state;
    let root = state.root();
    let addresses: Vec<_> = (0..4).map(|n| world.address(0, n)).collect();
    for address in &addresses {
        let good = state.prove(address);
        let steps = good.account.path.len();
        assert!(steps > 0);
        for at in 0..steps {
            let mut cut = good.clone();
            cut.account.path.remove(at);
            assert!(cut.verify(root, address).is_err());
            let mut doubled = good.clone();
            doubled.account.path.insert(at, doubled.account.path[at]);
            assert!(doubled.verify(root, address).is_err());
        }
        // An inner node's hash cannot stand for "nothing there".
        let mut nothing = good.clone();
        (nothing.account.leaf, nothing.account.path) = (None, Vec::new());
        assert!(nothing.verify(root, address).is_err());
        for other in addresses.iter().filter(|other| *other != address) {
            let mut swapped = good.clone();
            swapped.account.leaf = state.prove(other).account.leaf;
            assert!(swapped.verify(root, address).is_err());
            // A proof of one account says of another one nothing, or what is so.
            assert!(good.verify(root, other).is_err());
        }
    }
}
