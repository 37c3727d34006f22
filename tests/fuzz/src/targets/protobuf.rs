//! Protobuf requests and streams: any bytes are refused or decode to what is written and read as the same.

use crate::{Target, heap, world::World};
use kakera_chain::codec;
use kakera_proto::v1;
use prost::Message;

pub(super) const TARGET: Target = Target {
    name: "protobuf",
    about: "every kakera.v1 request and stream item, chosen by the first byte: bounded, written and read as the same",
    run,
    seeds,
    max_bytes: 4096,
    rounds: 8_000,
};

fn run(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 16 {
        0 => any::<v1::SubmitRequest>(bytes),
        1 => any::<v1::SubmitManyRequest>(bytes),
        2 => any::<v1::TrackRequest>(bytes),
        3 => any::<v1::TrackReceiptRequest>(bytes),
        4 => any::<v1::FollowRequest>(bytes),
        5 => any::<v1::CertifiedBlocks>(bytes),
        6 => any::<v1::SubmitCrosslinkRequest>(bytes),
        7 => any::<v1::GetAccountRequest>(bytes),
        8 => any::<v1::GetFeesRequest>(bytes),
        9 => any::<v1::GetBlockRequest>(bytes),
        10 => any::<v1::ExplainRequest>(bytes),
        11 => any::<v1::Envelope>(bytes),
        12 => any::<v1::NodeStatus>(bytes),
        13 => any::<v1::BeaconState>(bytes),
        14 => any::<v1::BlockExplanation>(bytes),
        _ => {
            any::<v1::TransactionStatus>(bytes);
            any::<v1::ReceiptStatus>(bytes);
            any::<v1::BlockInfo>(bytes);
        }
    }
}

/// Unknown fields are skipped and a field may come twice, so bytes need not be canonical: the value must be stable.
fn any<T: Message + Default + PartialEq>(bytes: &[u8]) {
    let Ok(value) = heap::bounded(bytes.len(), || T::decode(bytes)) else { return };
    let written = value.encode_to_vec();
    let again = T::decode(written.as_slice()).unwrap();
    assert_eq!(again.encode_to_vec(), written);
}

fn seeds() -> Vec<Vec<u8>> {
    let world = World::of_all();
    let add = |kind: u8, bytes: Vec<u8>| [vec![kind], bytes].concat();
    let signed = world.shards[0].signed();
    let crosslink = codec::encode(&world.crosslinks[0].1);
    vec![
        add(0, [vec![0x0a, 0xd1, 0x01], signed].concat()),
        add(1, vec![0x0a, 3, 1, 2, 3, 0x0a, 0, 0x10, 1]),
        add(2, [vec![0x0a, 32], vec![7; 32], vec![0x10, 1]].concat()),
        add(3, vec![0x0a, 4, 8, 1, 16, 2, 0x10, 9, 0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        add(4, vec![8, 5, 16, 1]),
        add(5, vec![0x0a, 2, 1, 2]),
        add(6, [vec![0x0a, (crosslink.len() % 128) as u8 | 0x80, (crosslink.len() / 128) as u8], crosslink].concat()),
        add(7, vec![0x0a, 3, b'k', b'k', b'1', 0x10, 1]),
        add(9, vec![8, 1, 0x12, 2, 1, 2, 0x18, 3]),
        add(11, vec![0x0a, 3, 9, 9, 9, 0x12, 1, 0]),
        add(12, vec![0x0a, 0, 0x2b, 0x2c]),
        add(15, vec![0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]),
    ]
}
