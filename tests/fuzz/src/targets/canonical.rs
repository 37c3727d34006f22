//! Every format in canonical bytes: what decodes encodes to the same bytes, within bounded memory.

use super::canonical;
use crate::{
    Target,
    world::{World, recorded},
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_beacon::BeaconState;
use kakera_chain::{
    advances::Advances,
    application::CertifiedBlocks,
    block::{Block, Header},
    certificate::{Certificate, FinalitySignature},
    codec,
    crosslink::{BeaconItem, Crosslink},
    message::{Evidence, SignedMessage, Statement},
    peer::{CiteEntry, PeerMessage},
    receipt::Receipt,
};
use kakera_shard::{AccountProof, ConsumedRecord, Meta, SignedTransaction, StateProof, Transaction, TransactionRecord};

pub(super) const TARGET: Target = Target {
    name: "canonical",
    about: "every borsh format, chosen by the first byte: canonical, bounded memory, blocks whole",
    run,
    seeds,
    max_bytes: 16 * 1024,
    rounds: 8_000,
};

fn run(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 20 {
        0 => block(bytes),
        1 => any::<Header>(bytes, Header::MAX_BYTES),
        2 => any::<CertifiedBlocks>(bytes, CertifiedBlocks::MAX_BYTES),
        3 => drop(canonical(bytes, BeaconItem::decode)),
        4 => drop(canonical(bytes, Crosslink::decode)),
        5 => any::<Receipt>(bytes, Receipt::MAX_BYTES),
        6 => any::<Certificate>(bytes, Certificate::MAX_BYTES),
        7 => any::<FinalitySignature>(bytes, 256),
        8 => any::<Evidence>(bytes, 2 * SignedMessage::MAX_BYTES),
        9 => any::<SignedMessage>(bytes, SignedMessage::MAX_BYTES),
        10 => any::<Statement>(bytes, SignedMessage::MAX_BYTES),
        11 => any::<Advances>(bytes, SignedMessage::MAX_BYTES),
        12 => any::<Vec<CiteEntry>>(bytes, 1 << 20),
        13 => transaction(bytes),
        14 => drop(canonical(bytes, SignedTransaction::decode)),
        15 => any::<AccountProof>(bytes, 1 << 16),
        16 => any::<StateProof>(bytes, 1 << 16),
        17 => any::<Meta>(bytes, 1 << 20),
        18 => any::<TransactionRecord>(bytes, 1 << 20),
        _ => {
            any::<ConsumedRecord>(bytes, 1 << 20);
            any::<BeaconState>(bytes, BeaconState::MAX_BYTES);
        }
    }
}

fn any<T: BorshDeserialize + BorshSerialize>(bytes: &[u8], limit: usize) {
    drop(canonical(bytes, |bytes| codec::decode::<T>(bytes, limit)));
}

/// A header commits to one body and one list of witnesses.
fn block(bytes: &[u8]) {
    let Some(mut block) = canonical(bytes, Block::decode) else { return };
    assert!(block.is_whole());
    if let Some(item) = block.body.last().cloned() {
        block.body.push(item);
        assert!(Block::decode(&codec::encode(&block)).is_err(), "the last item twice");
        block.body.truncate(block.body.len() - 2);
        assert!(Block::decode(&codec::encode(&block)).is_err(), "without the last item");
    }
}

/// An id names one transaction.
fn transaction(bytes: &[u8]) {
    let Some(transaction) = canonical(bytes, Transaction::decode) else { return };
    let mut other = transaction.clone();
    other.nonce ^= 1;
    assert_ne!(transaction.id(), other.id());
}

fn seeds() -> Vec<Vec<u8>> {
    let world = World::of_all();
    let mut seeds = Vec::new();
    let mut add = |kind: u8, bytes: Vec<u8>| seeds.push([vec![kind], bytes].concat());
    let shard = &world.shards[0];
    for block in shard.blocks.iter().take(2).chain([&world.blocks[0].blocks[0]]) {
        add(0, codec::encode(block));
        add(1, codec::encode(&block.header));
    }
    for item in shard.blocks.iter().flat_map(|block| &block.body).take(3) {
        add(13, item.clone());
    }
    add(2, codec::encode(&world.blocks[1]));
    let crosslink = &world.crosslinks[0].1;
    add(3, codec::encode(&BeaconItem::Crosslink(Box::new(crosslink.clone()))));
    add(4, codec::encode(&world.crosslinks[3].1));
    let receipts = world.crosslinks.iter().flat_map(|(_, crosslink)| crosslink.receipts.iter().flatten());
    receipts.take(2).for_each(|receipt| add(5, codec::encode(receipt)));
    add(6, codec::encode(&crosslink.certificate));
    for message in &recorded().kinds {
        match message {
            PeerMessage::Finality(signature) => add(7, codec::encode(signature)),
            PeerMessage::Message(carried) => {
                let (first, second) = (carried.message.clone(), carried.message.clone());
                add(9, codec::encode(&first));
                add(10, codec::encode(&first.statement));
                add(11, codec::encode(&first.statement.advances));
                add(8, codec::encode(&Evidence { first, second }));
            }
            _ => {}
        }
    }
    add(12, codec::encode(&vec![CiteEntry::Nothing, CiteEntry::Faulty]));
    add(14, shard.signed());
    let address = kakera_chain::address::Address::of(&crate::world::account_key(0, 0).public());
    add(15, codec::encode(&shard.head.state.accounts.prove(&address)));
    add(16, codec::encode(&shard.head.state.prove(&address)));
    add(17, codec::encode(&*shard.head.state.meta));
    add(19, codec::encode(&world.states[2]));
    seeds
}
