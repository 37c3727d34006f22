//! Keys and signatures: alone and in a batch the verdict is the same, whatever the bytes are.

use crate::{Target, choices::Choices};
use kakera_chain::{
    hash::Hash,
    keys::{PublicKey, SecretKey, Signature, parse_hex, verify_all},
};

pub(super) const TARGET: Target = Target {
    name: "keys",
    about: "single and batch verification agree on any bytes; weak keys are refused",
    run,
    seeds,
    max_bytes: 2048,
    rounds: 400,
};

/// Encodings of the eight points of small order, canonical and not, without the sign bit.
const SMALL: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/// The order of the prime subgroup, little-endian.
const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

fn small(choices: &mut Choices<'_>) -> [u8; 32] {
    let mut bytes = parse_hex(choices.of::<&str>(&SMALL)).unwrap();
    bytes[31] |= (choices.u8() & 1) << 7;
    bytes
}

fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    for text in SMALL {
        for sign in [0, 0x80] {
            let mut weak = parse_hex(text).unwrap();
            weak[31] |= sign;
            assert!(PublicKey(weak).check_strong().is_err(), "a weak key was accepted");
        }
    }
    let mut items = Vec::new();
    for _ in 0..1 + choices.below(9) {
        items.push(item(&mut choices));
    }
    let alone: Vec<bool> = items.iter().map(|(key, id, signature)| key.verify(id, signature).is_ok()).collect();
    let expected = alone.iter().position(|holds| !holds).map_or(Ok(()), Err);
    assert_eq!(verify_all(&items), expected, "the batch disagrees: {items:?}");
    for (key, _, signature) in &items {
        assert_eq!(PublicKey::parse(&key.to_string()), Ok(*key));
        if key.check_strong().is_ok() {
            // What a strong key has not signed verifies for nobody.
            assert!(key.verify(&Hash([0x5a; 32]), signature).is_err());
        }
    }
}

fn item(choices: &mut Choices<'_>) -> (PublicKey, Hash, Signature) {
    let secret = SecretKey::from_seed([choices.u8() % 4; 32]);
    let id = Hash([choices.u8() % 4; 32]);
    let (mut key, mut signature) = (secret.public(), secret.sign(&id));
    match choices.below(12) {
        0..4 => {}
        4 => key = PublicKey(small(choices)),
        5 => signature.0[..32].copy_from_slice(&small(choices)),
        6 => {
            key = PublicKey(small(choices));
            signature.0[..32].copy_from_slice(&small(choices));
            signature.0[32..].fill(0);
        }
        7 => add_order(&mut signature),
        8 => signature = SecretKey::from_seed([choices.u8() % 4; 32]).sign(&id),
        9 => {
            let changed = choices.change(&signature.0, &key.0);
            signature.0.iter_mut().zip(changed).for_each(|(byte, new)| *byte = new);
        }
        10 => {
            let changed = choices.change(&key.0, &signature.0);
            key.0.iter_mut().zip(changed).for_each(|(byte, new)| *byte = new);
        }
        _ => {
            let raw = choices.bytes(96);
            key.0.iter_mut().chain(&mut signature.0).zip(raw).for_each(|(byte, new)| *byte = *new);
        }
    }
    (key, id, signature)
}

/// The other half of a signature's malleability: s + L.
fn add_order(signature: &mut Signature) {
    let mut carry = 0u16;
    for (byte, add) in signature.0[32..].iter_mut().zip(parse_hex(ORDER).unwrap()) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        [*byte, _] = sum.to_le_bytes();
        carry = sum >> 8;
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let kinds = (0..12u8).map(|kind| vec![4, 0, 0, 0, 1, 1, kind, 2, 1, 2, 2, 0, 3, 3, 1, 0, 0, 0]);
    kinds.chain([[5].into_iter().chain([0, 0, 6, 1, 0, 2, 1].repeat(6)).collect()]).collect()
}
