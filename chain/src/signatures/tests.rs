//! Verdicts with and without a memory.
#![allow(clippy::unwrap_used, clippy::disallowed_types, reason = "tests; the contract is shared between threads")]

use super::*;
use crate::keys::SecretKey;
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::Mutex};

#[derive(Default)]
struct Memory(Mutex<Verdicts>);

type Verdicts = BTreeMap<([u8; 32], Hash, [u8; 64]), bool>;

impl SignatureMemory for Memory {
    fn recall(&self, key: &PublicKey, id: &Hash, signature: &Signature) -> Option<bool> {
        self.0.lock().unwrap().get(&(key.0, *id, signature.0)).copied()
    }

    fn keep(&self, key: &PublicKey, id: &Hash, signature: &Signature, holds: bool) {
        assert_eq!(self.0.lock().unwrap().insert((key.0, *id, signature.0), holds), None, "checked twice");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_memory_changes_no_verdict(wrong in proptest::collection::btree_set(0usize..12, 0..4), rounds in 1usize..4) {
        let key = SecretKey::from_seed([7; 32]);
        let items: Vec<_> = (0..12u8).map(|n| {
            let id = Hash([n; 32]);
            let signed = if wrong.contains(&usize::from(n)) { Hash([n + 100; 32]) } else { id };
            (key.public(), id, key.sign(&signed))
        }).collect();
        let remembered = Signatures::remembered(Arc::new(Memory::default()));
        for _ in 0..rounds {
            let expected = Signatures::default().verify_all(&items);
            prop_assert_eq!(expected, wrong.first().map_or(Ok(()), |first| Err(*first)));
            prop_assert_eq!(remembered.verify_all(&items), expected);
            for (key, id, signature) in &items {
                prop_assert_eq!(remembered.verify(key, id, signature), key.verify(id, signature));
            }
        }
    }
}
