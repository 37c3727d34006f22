//! Text that people type: addresses, keys and numbers in hexadecimal.

use crate::{Target, choices::Choices};
use kakera_chain::{
    address::Address,
    hash::Hash,
    keys::{PublicKey, SecretKey, parse_hex},
};

pub(super) const TARGET: Target = Target {
    name: "text",
    about: "addresses and hexadecimal text: one form each, and up to four wrong characters are noticed",
    run,
    seeds,
    max_bytes: 256,
    rounds: 6_000,
};

const CHARACTERS: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

fn run(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(address) = text.parse::<Address>() {
            assert_eq!(address.to_string(), text.to_lowercase(), "an address has one form, in one case");
            assert!(text == text.to_lowercase() || text == text.to_uppercase(), "mixed case");
        }
        if let Some(parsed) = parse_hex(text) {
            assert_eq!(Hash(parsed).to_string(), text.to_lowercase());
            assert_eq!(PublicKey::parse(text), Ok(PublicKey(parsed)));
            assert_eq!(SecretKey::parse(text).unwrap().to_seed(), parsed);
        } else {
            assert!(PublicKey::parse(text).is_err() && SecretKey::parse(text).is_err());
        }
    }
    let mut choices = Choices::new(bytes);
    let mut raw = [0; 32];
    let taken = choices.bytes(32);
    raw[..taken.len()].copy_from_slice(taken);
    let address = Address(raw);
    let right = address.to_string();
    assert_eq!(right.parse(), Ok(address));
    let mut wrong = right.clone().into_bytes();
    for _ in 0..1 + choices.below(4) {
        let at = 3 + choices.below(wrong.len() - 3);
        wrong[at] = *choices.of(CHARACTERS);
    }
    let wrong = String::from_utf8(wrong).unwrap();
    assert!(wrong == right || wrong.parse::<Address>().is_err(), "{wrong} passes for {right}");
    for count in [1, 2, 3, 1024, u16::MAX] {
        assert!(address.shard(count).0 < count);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let address = Address([7; 32]).to_string();
    let texts = [
        address.clone(),
        address.to_uppercase(),
        address[..40].to_owned(),
        "ab".repeat(32),
        "AB".repeat(32),
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4".to_owned(),
        "kk1".to_owned(),
        "kk1qqqqqqqq".to_owned(),
        "0x".to_owned() + &"00".repeat(31),
    ];
    texts.into_iter().map(String::into_bytes).collect()
}
