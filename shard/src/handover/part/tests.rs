//! What parts prove, and that nothing else is believed.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::trie::{
    Step, Trie,
    range_strategies::{accounts, address},
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const LOW: Address = Address([0; 32]);
const HIGH: Address = Address([0xff; 32]);

fn trie(accounts: &BTreeMap<Address, Account>) -> Trie {
    accounts.iter().map(|(key, account)| (*key, *account)).collect()
}

fn part(trie: &Trie, wanted: &Wanted) -> Part {
    Part { run: trie.run(&wanted.from, &wanted.until, wanted.limit as usize) }
}

fn wanted(a: Address, b: Address, limit: u32) -> Wanted {
    Wanted { from: a.min(b), until: a.max(b), limit }
}

/// What a decoder and the verifier say together.
fn judged(bytes: &[u8], root: Hash, wanted: &Wanted) -> Result<Vec<(Address, Account)>, InvalidPart> {
    let part = Part::decode(bytes)?;
    Ok(part.verify(root, wanted)?.accounts.to_vec())
}

/// All of an interval, by consecutive parts.
fn fetch(trie: &Trie, wanted: Wanted) -> Vec<(Address, Account)> {
    let (mut from, mut all) = (Some(wanted.from), Vec::new());
    while let Some(next) = from {
        let wanted = Wanted { from: next, ..wanted };
        let part = part(trie, &wanted);
        let covered = part.verify(trie.root(), &wanted).unwrap();
        assert!(covered.next.is_none_or(|after| after > next && after <= wanted.until), "it goes forward");
        all.extend_from_slice(covered.accounts);
        from = covered.next;
    }
    all
}

/// Keys that leave the way to `end` at every one of its 256 bits: the deepest trie there is.
fn ladder(end: Address) -> Vec<Address> {
    let rung = |bit: usize| {
        let mut key = end;
        key.0[bit / 8] ^= 0x80 >> (bit % 8);
        key
    };
    (0..256).map(rung).chain([end]).collect()
}

#[test]
fn skewed_tries_have_bounded_parts_that_reassemble() {
    let mut zigzag = [0x55; 32];
    zigzag[31] = 0xaa;
    for end in [LOW, HIGH, Address([0x55; 32]), Address([0xaa; 32]), Address(zigzag)] {
        let accounts: BTreeMap<_, _> =
            ladder(end).into_iter().map(|key| (key, Account { balance: 1, nonce: 1 })).collect();
        let trie = trie(&accounts);
        for limit in [1, 7, PART_ACCOUNTS] {
            let all = fetch(&trie, wanted(LOW, HIGH, limit));
            assert!(all.iter().copied().eq(accounts.iter().map(|(key, account)| (*key, *account))));
        }
        for key in accounts.keys() {
            let wanted = wanted(*key, *key, 1);
            let part = part(&trie, &wanted);
            assert!(part.run.left.len() + part.run.right.len() <= 256);
            assert_eq!(part.verify(trie.root(), &wanted).unwrap().accounts.len(), 1);
        }
    }
}

#[test]
fn the_greatest_part_is_within_its_limit() {
    let leaf = (HIGH, Account { balance: u64::MAX, nonce: u64::MAX });
    let step = Step { bit: 255, sibling: Hash([0xff; 32]) };
    let leaves = vec![leaf; PART_ACCOUNTS as usize + 2];
    let part = Part { run: Run { leaves, left: vec![step; 256], right: vec![step; 256] } };
    let bytes = codec::encode(&part);
    assert!(bytes.len() <= Part::MAX_BYTES, "{}", bytes.len());
    let long = vec![0; Part::MAX_BYTES + 1];
    assert!(matches!(Part::decode(&long), Err(InvalidPart::Bytes(InvalidBytes::TooLong { .. }))));
    // A count far above what follows costs nothing.
    assert!(Part::decode(&[0xff; 200]).is_err());
}

#[test]
fn the_edges_of_the_keys() {
    let one = Account { balance: 1, nonce: 0 };
    let empty = Trie::default();
    let all = wanted(LOW, HIGH, 1);
    let nothing = part(&empty, &all);
    assert_eq!(nothing.verify(Hash::ZERO, &all), Ok(Covered { accounts: &[], next: None }));
    assert!(matches!(nothing.verify(Hash([1; 32]), &all), Err(InvalidPart::Root { .. })));
    for key in [LOW, Address([0x80; 32]), HIGH] {
        let trie: Trie = [(key, one)].into_iter().collect();
        for (from, until) in [(LOW, LOW), (LOW, HIGH), (HIGH, HIGH), (key, key)] {
            let wanted = wanted(from, until, 1);
            let part = part(&trie, &wanted);
            let covered = part.verify(trie.root(), &wanted).unwrap();
            assert_eq!((covered.accounts.len(), covered.next), (usize::from(from <= key && key <= until), None));
        }
        assert!(nothing.verify(trie.root(), &all).is_err(), "there is an account");
    }
    assert_eq!((successor(&LOW).map(|key| key.0[31]), successor(&HIGH)), (Some(1), None));
    let carried = successor(&Address([&[7; 30][..], &[0xff; 2]].concat().try_into().unwrap())).unwrap();
    assert_eq!(carried.0[28..], [7, 8, 0, 0]);
}

#[test]
fn answers_that_prove_nothing_new_are_short() {
    let accounts: BTreeMap<_, _> =
        (1..=40).map(|n| (Address([n * 6; 32]), Account { balance: u64::from(n), nonce: 0 })).collect();
    let trie = trie(&accounts);
    let all = wanted(Address([60; 32]), HIGH, 20);
    for limit in 1..20 {
        let few = part(&trie, &Wanted { limit, ..all });
        let found = limit as usize;
        assert_eq!(few.verify(trie.root(), &all), Err(InvalidPart::Short { found, limit: 20 }), "true, but too little");
    }
    // Only the leaf before what is wanted.
    let before = wanted(Address([60; 32]), Address([60; 32]), 1);
    let after = wanted(Address([61; 32]), HIGH, 20);
    assert_eq!(part(&trie, &before).verify(trie.root(), &after), Err(InvalidPart::Short { found: 0, limit: 20 }));
    let many = part(&trie, &Wanted { limit: 21, ..all });
    assert_eq!(many.verify(trie.root(), &all), Err(InvalidPart::Surplus { position: 20 }));
    let early = part(&trie, &wanted(Address([48; 32]), HIGH, 22));
    assert_eq!(early.verify(trie.root(), &all), Err(InvalidPart::Surplus { position: 1 }));
    let later = part(&trie, &wanted(Address([66; 32]), HIGH, 20));
    assert!(matches!(later.verify(trie.root(), &all), Err(InvalidPart::Start { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn parts_of_any_trie_reassemble_to_the_same_root(
        accounts in accounts(), mut cuts in proptest::collection::vec(address(), 0..6), limit in 1u32..20,
    ) {
        let trie = trie(&accounts);
        cuts.sort();
        cuts.dedup();
        let begins: Vec<Address> = [LOW].into_iter().chain(cuts.iter().filter_map(successor)).collect();
        let ends = cuts.iter().copied().chain([HIGH]);
        let pieces = begins.iter().zip(ends).filter(|(from, until)| **from <= *until);
        let all: Vec<_> = pieces.flat_map(|(from, until)| fetch(&trie, Wanted { from: *from, until, limit })).collect();
        prop_assert!(all.iter().copied().eq(accounts.iter().map(|(key, account)| (*key, *account))));
        prop_assert_eq!(all.into_iter().collect::<Trie>().root(), trie.root());
    }

    #[test]
    fn whatever_part_is_accepted_covers_exactly_what_it_says(
        accounts in accounts(), keys in proptest::collection::vec(address(), 4), limits in (1u32..12, 1u32..12),
    ) {
        // An honest answer to one question, given to another.
        let trie = trie(&accounts);
        let (asked, other) = (wanted(keys[0], keys[1], limits.0), wanted(keys[2], keys[3], limits.1));
        if let Ok(covered) = part(&trie, &other).verify(trie.root(), &asked) {
            let all: Vec<_> = accounts.range(asked.from..=asked.until).map(|(key, account)| (*key, *account)).collect();
            let held = match covered.next {
                None => all.len(),
                Some(next) => {
                    prop_assert!(next > asked.from && next <= asked.until);
                    all.partition_point(|(key, _)| *key < next)
                }
            };
            prop_assert_eq!(covered.accounts, &all[..held]);
            prop_assert!(covered.next.is_none() || held == asked.limit as usize);
        }
    }

    #[test]
    fn a_part_with_an_account_left_out_added_or_changed_is_refused(
        accounts in accounts(), a in address(), b in address(), added in address(), at in any::<usize>(), limit in 1u32..20,
    ) {
        let trie = trie(&accounts);
        let wanted = wanted(a, b, limit);
        let good = part(&trie, &wanted);
        prop_assert!(good.verify(trie.root(), &wanted).is_ok());
        let refused = |run: Run| Part { run }.verify(trie.root(), &wanted).is_err();
        let run = &good.run;
        for at in 0..run.leaves.len() {
            let mut missing = run.clone();
            missing.leaves.remove(at);
            prop_assert!(refused(missing), "leaf {} left out", at);
            let mut changed = run.clone();
            changed.leaves[at].1.balance += 1;
            prop_assert!(refused(changed), "leaf {} changed", at);
            let mut doubled = run.clone();
            doubled.leaves.insert(at, run.leaves[at]);
            prop_assert!(refused(doubled), "leaf {} doubled", at);
        }
        if !accounts.contains_key(&added) {
            let mut more = run.clone();
            let place = more.leaves.partition_point(|(key, _)| *key < added);
            more.leaves.insert(place, (added, Account { balance: 1, nonce: 0 }));
            prop_assert!(refused(more), "added");
        }
        for at in 0..run.left.len() {
            let mut cut = run.clone();
            cut.left.remove(at);
            prop_assert!(refused(cut), "left step {} left out", at);
        }
        for at in 0..run.right.len() {
            let mut cut = run.clone();
            cut.right.remove(at);
            prop_assert!(refused(cut), "right step {} left out", at);
        }
        // A subtree moved to the other side.
        let mut moved = run.clone();
        if let Some(step) = moved.left.pop() {
            moved.right.insert(at % (moved.right.len() + 1), step);
            prop_assert!(refused(moved), "moved");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_changed_bit_of_a_part_is_refused(accounts in accounts(), a in address(), b in address(), limit in 1u32..8) {
        let trie = trie(&accounts);
        let wanted = wanted(a, b, limit);
        let bytes = codec::encode(&part(&trie, &wanted));
        prop_assert!(judged(&bytes, trie.root(), &wanted).is_ok());
        for bit in 0..8 * bytes.len() {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(judged(&changed, trie.root(), &wanted).is_err(), "bit {}", bit);
        }
        for length in 0..bytes.len() {
            prop_assert!(judged(&bytes[..length], trie.root(), &wanted).is_err(), "cut to {}", length);
        }
        prop_assert!(judged(&[&bytes[..], &[0]].concat(), trie.root(), &wanted).is_err(), "trailing");
    }
}
