//! Runs against a map: what they hold, the root they lead to, and tries of every shape.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::trie::Builder;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Addresses that differ early, late, and in neighbouring bits.
pub(crate) fn address() -> impl Strategy<Value = Address> {
    (0u8..4, 0usize..32, any::<u8>()).prop_map(|(base, at, byte)| {
        let mut key = [base.wrapping_mul(0x55); 32];
        key[at] = byte & 0xc3;
        Address(key)
    })
}

pub(crate) fn accounts() -> impl Strategy<Value = BTreeMap<Address, Account>> {
    let account = (1u64..4, 0u64..2).prop_map(|(balance, nonce)| Account { balance, nonce });
    proptest::collection::btree_map(address(), account, 0..60)
}

/// What a run must hold, by its definition.
pub(crate) fn expected(
    accounts: &BTreeMap<Address, Account>,
    from: &Address,
    until: &Address,
    limit: usize,
) -> Vec<(Address, Account)> {
    let leaves: Vec<(Address, Account)> = accounts.iter().map(|(key, account)| (*key, *account)).collect();
    let start = leaves.partition_point(|(key, _)| key <= from).saturating_sub(1);
    let mut run = Vec::new();
    for leaf in &leaves[start..] {
        run.push(*leaf);
        let counted = run.iter().filter(|(key, _)| key >= from).count();
        if leaf.0 >= *until || counted >= limit {
            break;
        }
    }
    run
}

#[test]
fn the_shapes_of_tiny_runs() {
    let account = |balance| Account { balance, nonce: 0 };
    let key = |byte| Address([byte; 32]);
    let empty = Trie::default().run(&key(0), &key(0xff), 10);
    assert_eq!((&empty, empty.root()), (&Run::default(), Ok(Hash::ZERO)));
    let trie: Trie = [(key(0x10), account(1)), (key(0x20), account(2)), (key(0x80), account(3))].into_iter().collect();
    let run = trie.run(&key(0x15), &key(0x15), 10);
    assert_eq!(run.leaves, vec![(key(0x10), account(1)), (key(0x20), account(2))], "a witness at either edge");
    assert_eq!((run.left.len(), run.right.len(), run.root()), (0, 1, Ok(trie.root())));
    let run = trie.run(&key(0xf0), &key(0xff), 10);
    assert_eq!(run.leaves, vec![(key(0x80), account(3))], "nothing, after the last");
    assert_eq!((run.left.len(), run.right.len(), run.root()), (1, 0, Ok(trie.root())));
    let run = trie.run(&key(0), &key(1), 10);
    assert_eq!(run.leaves, vec![(key(0x10), account(1))], "nothing, before the first");
    let run = trie.run(&key(0x20), &key(0xff), 1);
    assert_eq!(run.leaves, vec![(key(0x20), account(2))], "a first key that is there needs no witness");
}

#[test]
fn misplaced_steps_and_leaves_are_named() {
    let key = |byte| Address([byte; 32]);
    let account = |balance| Account { balance, nonce: 0 };
    let trie: Trie = (1..=9).map(|n| (key(n * 0x11), account(1))).collect();
    let run = trie.run(&key(0x44), &key(0x66), 10);
    assert_eq!(run.root(), Ok(trie.root()));
    let changed = |change: &dyn Fn(&mut Run)| {
        let mut run = run.clone();
        change(&mut run);
        run.root().unwrap_err()
    };
    let (left, right) = (Side::Left, Side::Right);
    assert_eq!(changed(&|run| run.leaves.swap(0, 1)), InvalidRun::LeafOrder { position: 1 });
    assert_eq!(changed(&|run| run.leaves[1] = run.leaves[0]), InvalidRun::LeafOrder { position: 1 });
    assert_eq!(changed(&|run| run.leaves[2].1 = Account::default()), InvalidRun::EmptyLeaf { position: 2 });
    assert_eq!(changed(&|run| run.right.push(run.right[0])), InvalidRun::StepOrder { side: right, position: 2 });
    assert_eq!(changed(&|run| run.left[0].bit = 0), InvalidRun::StepSide { side: left, position: 0 });
    assert_eq!(changed(&|run| run.right[0].bit = 1), InvalidRun::StepSide { side: right, position: 0 });
    assert_eq!(changed(&|run| run.leaves.clear()), InvalidRun::StepSide { side: left, position: 0 });
}

#[test]
fn a_builder_refuses_what_does_not_ascend_and_leaves_empty_accounts_out() {
    let one = Account { balance: 1, nonce: 0 };
    let mut builder = Builder::default();
    assert_eq!(builder.push(Address([5; 32]), one), Ok(()));
    assert_eq!(builder.push(Address([6; 32]), Account::default()), Ok(()));
    let mut again = Builder::default();
    again.push(Address([5; 32]), one).unwrap();
    assert_eq!(again.push(Address([5; 32]), one), Err(NotAscending));
    let mut down = Builder::default();
    down.push(Address([5; 32]), one).unwrap();
    assert_eq!(down.push(Address([4; 32]), one), Err(NotAscending));
    assert_eq!(builder.finish().root(), again_root(one));
}

fn again_root(account: Account) -> Hash {
    [(Address([5; 32]), account)].into_iter().collect::<Trie>().root()
}

proptest! {
    #[test]
    fn a_run_holds_what_its_definition_says_and_leads_to_the_root(
        accounts in accounts(), a in address(), b in address(), limit in 1usize..20,
    ) {
        let trie: Trie = accounts.iter().map(|(key, account)| (*key, *account)).collect();
        let (from, until) = (a.min(b), a.max(b));
        let run = trie.run(&from, &until, limit);
        prop_assert_eq!(run.root(), Ok(trie.root()));
        if accounts.is_empty() {
            prop_assert_eq!(run, Run::default());
        } else {
            prop_assert_eq!(&run.leaves, &expected(&accounts, &from, &until, limit));
            let smaller = accounts.range(..run.leaves[0].0).next().is_some();
            let greater = accounts.keys().next_back() > run.leaves.last().map(|(key, _)| key);
            prop_assert_eq!((!run.left.is_empty(), !run.right.is_empty()), (smaller, greater));
        }
    }

    #[test]
    fn a_trie_built_in_order_equals_one_made_by_setting(accounts in accounts(), key in address()) {
        let mut set: Trie = accounts.iter().map(|(key, account)| (*key, *account)).collect();
        let mut builder = Builder::default();
        for (key, account) in &accounts {
            builder.push(*key, *account).unwrap();
        }
        let mut built = builder.finish();
        prop_assert_eq!((built.root(), built.len()), (set.root(), set.len()));
        // It goes on like any other.
        set.set(key, Account { balance: 77, nonce: 7 });
        built.set(key, Account { balance: 77, nonce: 7 });
        prop_assert_eq!((built.root(), built.len()), (set.root(), set.len()));
    }
}
