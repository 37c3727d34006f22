//! Whatever a block emits, a crosslink over it alone has room: a shard can always be recorded one block at a time.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::{
    action::Action,
    fees::MAX_EMITTED,
    shard::Reply,
    testing::{Setup, World},
    transaction::Transaction,
};
use kakera_chain::{
    block::Header,
    certificate::Certificate,
    codec,
    crosslink::Crosslink,
    genesis::{Fees, Lanes},
    receipt::Receipt,
};

#[test]
fn the_block_that_emits_the_most_fits_a_crosslink() {
    let fees = Fees { block_gas: 1 << 30, block_bytes: 1 << 20, base_fee: 10, receipt_gas_percent: 50 };
    let mut world = World::new(Setup { fees, lanes: Lanes { bound: 1 << 20, lifetime_slots: 9 }, ..Setup::default() });
    let to = world.address(1, 0);
    for n in 0..4 {
        let order = world.order(0, n, Action::Batch { transfers: vec![(to, 1); Action::MAX_TRANSFERS] });
        let key = world.key(0, n);
        for nonce in 0..9 {
            let signed = Transaction { nonce, ..order.clone() }.sign(&key);
            assert!(matches!(world.chains[0].submit(signed), Reply::Accepted { .. }));
        }
    }
    // Nine batches of 64 from each of four senders are 2,304 receipts: more than one block may emit.
    world.chains[0].step();
    assert_eq!(world.chains[0].emitted.len(), MAX_EMITTED);
    let crosslink = world.chains[0].crosslink().unwrap();
    let receipts = codec::encode(&crosslink.receipts).len();
    assert!(receipts <= MAX_EMITTED * Receipt::TRANSFER_BYTES + 8);
    // With the longest header and the largest certificate there are.
    assert!(receipts + Header::MAX_BYTES + Certificate::MAX_BYTES + 16 <= Crosslink::MAX_BYTES);
    world.chains[0].step();
    assert_eq!(world.chains[0].emitted.len(), 2_304, "the rest follows");
}
