//! The ledger's own rules, by numbers worked out by hand.

use super::*;

#[test]
fn base_fees_follow_demand() {
    assert_eq!(base_fee_after(800, 500, 1_000), 800);
    assert_eq!(base_fee_after(800, 1_000, 1_000), 900);
    assert_eq!(base_fee_after(800, 0, 1_000), 700);
    assert_eq!(base_fee_after(1, 0, 1_000), 1);
    assert_eq!(base_fee_after(1, 1_000, 1_000), 2);
}

#[test]
fn shards_split_the_addresses_evenly() {
    let at = |first: u8| shard_of(&Address([first; 32]), 2).0;
    assert_eq!((at(0), at(0x7f), at(0x80), at(0xff)), (0, 0, 1, 1));
}
