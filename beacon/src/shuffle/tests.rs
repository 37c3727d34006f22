//! Public vectors: ethereum/consensus-spec-tests, tests/mainnet/phase0/shuffling/core/shuffle.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use proptest::prelude::*;

fn seed(text: &str) -> [u8; 32] {
    hex::decode(text).unwrap().try_into().unwrap()
}

fn mapping(count: u64, seed: [u8; 32]) -> Vec<u64> {
    (0..count).map(|index| compute_shuffled_index(index, count, seed)).collect()
}

#[test]
fn the_specifications_vectors_hold() {
    let five = seed("26655aab58c18b66870f50a133171c85d9a5ae9dde55c0ca049491a27f4f63e7");
    assert_eq!(mapping(5, five), [0, 3, 4, 2, 1]);
    let thirty_three = seed("23bcd11624a07465b1c2fc1a0fe52996daae4bf87b0fb6bed45926096c644843");
    assert_eq!(
        mapping(33, thirty_three),
        [
            32, 23, 31, 19, 28, 29, 24, 26, 3, 0, 27, 6, 15, 18, 13, 25, 1, 21, 12, 7, 11, 5, 22, 8, 20, 17, 16, 30,
            10, 2, 9, 14, 4
        ]
    );
    assert_eq!(
        mapping(1_000, five)[..16],
        [530, 128, 536, 864, 901, 169, 68, 340, 626, 917, 513, 585, 92, 799, 624, 485]
    );
}

/// The text of a vector file as PyYAML writes it: flow lists break after the column 80.
fn vector_file(count: u64, seed_text: &str) -> String {
    let mut text = format!("seed: '0x{seed_text}'\ncount: {count}\n");
    let mut line = String::from("mapping: [");
    for (position, index) in mapping(count, seed(seed_text)).into_iter().enumerate() {
        if position > 0 {
            line.push(',');
            if line.len() > 80 {
                text.push_str(&line);
                text.push('\n');
                line = String::from(" ");
            }
            line.push(' ');
        }
        line.push_str(&index.to_string());
    }
    text + &line + "]\n"
}

#[test]
fn whole_vector_files_hash_as_published() {
    // The files' SHA-256 digests, as their Git LFS pointers name them.
    for (count, seed_text, digest) in [
        (
            10,
            "01b4f6bd5d6a06a7b74a8565ceb4f845afe0ae96a0ac05cf5e86066bf7b538ec",
            "030e863e01b804aa084bdf69a7da2ca6cad7bc51ffc5dbd50cd74e3a8910a50e",
        ),
        (
            33,
            "01b4f6bd5d6a06a7b74a8565ceb4f845afe0ae96a0ac05cf5e86066bf7b538ec",
            "a014701e692faf6390f43a5b32470689ffdec35891f58bcd7572eb8226b19488",
        ),
        (
            100,
            "23bcd11624a07465b1c2fc1a0fe52996daae4bf87b0fb6bed45926096c644843",
            "87b4006b75ae9bdeb4bdc3e0b8d9f2d6e204bae50927ba45324baa2cb9a87d3c",
        ),
        (
            1_000,
            "17fa9c7f5e9039a2d46e73e17d8e094a796ee4c313199bad42db4ee1dc30d865",
            "365897d6589317fc16a5b3878491ea25df73842cade1fe9c8b07d1ef920d0ae2",
        ),
    ] {
        let text = vector_file(count, seed_text);
        assert_eq!(hex::encode(sha256(&[text.as_bytes()])), digest, "{count} of {seed_text}\n{text}");
    }
}

#[test]
fn an_empty_list_has_a_shuffle_and_a_single_entry_stays() {
    assert_eq!(mapping(0, [7; 32]), []);
    assert_eq!(mapping(1, [7; 32]), [0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn shuffle_is_a_permutation(count in 1u64..600, seed in any::<[u8; 32]>()) {
        let mut reached = mapping(count, seed);
        reached.sort_unstable();
        prop_assert_eq!(reached, (0..count).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_ones_go_where_each_goes_alone(count in 0u64..1500, places in 0u64..1600, seed in any::<[u8; 32]>()) {
        let few = places % 7;
        let shuffle = Shuffle::new(count, seed);
        for places in [few, places] {
            let alone: Vec<u64> = (0..places.min(count)).map(|index| shuffle.index(index)).collect();
            prop_assert_eq!(shuffle.first(places), alone);
        }
    }
}
