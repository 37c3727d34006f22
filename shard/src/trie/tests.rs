//! The trie against a map: roots, versions and proofs.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use kakera_chain::codec;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Addresses that differ early, late, and in neighbouring bits.
fn address() -> impl Strategy<Value = Address> {
    (0u8..4, 0usize..32, any::<u8>()).prop_map(|(base, at, byte)| {
        let mut key = [base.wrapping_mul(0x55); 32];
        key[at] = byte & 0xc3;
        Address(key)
    })
}

fn changes() -> impl Strategy<Value = Vec<(Address, Account)>> {
    let account = (0u64..3, 0u64..2).prop_map(|(balance, nonce)| Account { balance, nonce });
    proptest::collection::vec((address(), account), 0..120)
}

fn apply(trie: &mut Trie, model: &mut BTreeMap<Address, Account>, changes: &[(Address, Account)]) {
    for (key, account) in changes {
        trie.set(*key, *account);
        if account.is_empty() {
            model.remove(key)
        } else {
            model.insert(*key, *account)
        };
    }
}

#[test]
fn the_root_of_a_small_trie_is_golden() {
    let account = |balance| Account { balance, nonce: 1 };
    let trie: Trie =
        [(Address([0; 32]), account(1)), (Address([0xff; 32]), account(2)), (Address([0x0f; 32]), account(3))]
            .into_iter()
            .collect();
    assert_eq!(trie.root().to_string(), "f366ee8ab10603d75ea115373190ccb436981884f275832d60f424e54ea12412");
}

#[test]
fn an_empty_trie_proves_absence_and_keys_differing_in_the_last_bit_are_kept_apart() {
    let mut trie = Trie::default();
    let (a, mut b) = (Address([7; 32]), Address([7; 32]));
    b.0[31] ^= 1;
    assert_eq!(trie.prove(&a).verify(Hash::ZERO, &a), Ok(Account::default()));
    trie.set(a, Account { balance: 1, nonce: 0 });
    trie.set(b, Account { balance: 2, nonce: 0 });
    assert_eq!((trie.account(&a).balance, trie.account(&b).balance), (1, 2));
    assert_eq!(trie.prove(&b).path, vec![Step { bit: 255, sibling: trie.prove(&a).verify_leaf() }]);
}

impl AccountProof {
    fn verify_leaf(&self) -> Hash {
        let (key, account) = self.leaf.unwrap();
        leaf_hash(&key, &account)
    }
}

proptest! {
    #[test]
    fn the_trie_equals_a_map_and_old_versions_stay_intact(steps in proptest::collection::vec(changes(), 1..5)) {
        let (mut trie, mut model) = (Trie::default(), BTreeMap::new());
        let mut versions = Vec::new();
        for changes in &steps {
            apply(&mut trie, &mut model, changes);
            versions.push((trie.clone(), trie.root(), model.clone()));
        }
        for (trie, root, model) in versions {
            prop_assert_eq!(trie.root(), root);
            prop_assert_eq!(trie.len(), model.len());
            prop_assert_eq!(trie.is_empty(), model.is_empty());
            prop_assert_eq!(trie.iter().collect::<Vec<_>>(), model.iter().map(|(k, a)| (*k, *a)).collect::<Vec<_>>());
            for (key, account) in &model {
                prop_assert_eq!(trie.account(key), *account);
            }
        }
    }

    #[test]
    fn the_root_depends_on_contents_only(changes in changes(), rotate in 0usize..100) {
        let (mut trie, mut model) = (Trie::default(), BTreeMap::new());
        apply(&mut trie, &mut model, &changes);
        let mut contents: Vec<_> = model.into_iter().collect();
        let middle = rotate % contents.len().max(1);
        contents.rotate_left(middle);
        let rebuilt: Trie = contents.iter().copied().collect();
        prop_assert_eq!(rebuilt.root(), trie.root());
        if let Some((key, account)) = contents.first() {
            let mut other = trie.clone();
            other.set(*key, Account { balance: account.balance + 1, ..*account });
            prop_assert_ne!(other.root(), trie.root());
        }
    }

    #[test]
    fn proofs_verify_and_mutated_ones_do_not(changes in changes(), key in address(), at in any::<usize>(), flip in 1u8..) {
        let (mut trie, mut model) = (Trie::default(), BTreeMap::new());
        apply(&mut trie, &mut model, &changes);
        let keys: Vec<Address> = model.keys().copied().chain([key]).collect();
        let key = keys[at % keys.len()];
        let proof = trie.prove(&key);
        let expected = model.get(&key).copied().unwrap_or_default();
        prop_assert_eq!(proof.verify(trie.root(), &key), Ok(expected));
        let mut bytes = codec::encode(&proof);
        let position = at % bytes.len();
        bytes[position] ^= flip;
        if let Ok(mutated) = codec::decode::<AccountProof>(&bytes, 1 << 16) {
            prop_assert!(mutated.verify(trie.root(), &key).is_err(), "byte {} of {:?}", position, proof);
        }
    }
}
