//! Signatures hold for their key and bytes only, alone and in batches alike.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use proptest::prelude::*;

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

#[test]
fn a_signature_holds_for_its_key_and_bytes_only() {
    let id = Hash::of(&[b"something"]);
    let signature = key(1).sign(&id);
    assert_eq!(key(1).public().verify(&id, &signature), Ok(()));
    assert_eq!(key(2).public().verify(&id, &signature), Err(InvalidSignature));
    assert_eq!(key(1).public().verify(&Hash::ZERO, &signature), Err(InvalidSignature));
}

/// The eight small-order points and their non-canonical forms, from the ZIP 215 test vectors (a selection).
const SMALL_ORDER: [&str; 4] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

#[test]
fn small_order_keys_verify_alike_alone_and_batched_and_are_refused_at_registration() {
    for point in SMALL_ORDER {
        let weak = PublicKey::parse(point).unwrap();
        assert!(weak.check_strong().is_err(), "{point}");
        for r in SMALL_ORDER {
            let mut bytes = [0; 64];
            bytes[..32].copy_from_slice(&parse_hex(r).unwrap());
            let item = (weak, Hash::of(&[b"Zcash"]), Signature(bytes));
            assert_eq!(item.0.verify(&item.1, &item.2), Ok(()), "ZIP 215 accepts R = {r}, A = {point}");
            assert!(batch_holds(&[item; 5]), "and so does the batch");
        }
    }
}

proptest! {
    #[test]
    fn batches_agree_with_single_checks(count in 0usize..12, broken in proptest::collection::vec(0usize..12, 0..3)) {
        let items: Vec<_> = (0..count).map(|n| {
            let id = Hash::of(&[&[n as u8]]);
            let mut signature = key(n as u8).sign(&id);
            if broken.contains(&n) { signature.0[0] ^= 1; }
            (key(n as u8).public(), id, signature)
        }).collect();
        let first = broken.iter().copied().filter(|n| *n < count).min();
        prop_assert_eq!(verify_all(&items), first.map_or(Ok(()), Err));
    }
}
