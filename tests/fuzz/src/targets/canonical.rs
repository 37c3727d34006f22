//! Every format in canonical bytes: what decodes encodes to the same bytes, within bounded memory.

use super::canonical;
use crate::{
    Target,
    world::{World, recorded},
};
use borsh::{BorshDeserialize, BorshSerialize};
use kakera_beacon::{BeaconState, Registry};
use kakera_chain::{
    BlockId,
    address::Address,
    advances::Advances,
    application::CertifiedBlocks,
    block::{Block, Header},
    bond::Bond,
    certificate::{Certificate, FinalitySignature},
    codec,
    crosslink::{BeaconItem, Crosslink, Reveal},
    evidence::{Conflict, Equivocation, Evidence},
    hash::Hash,
    lanes::Reading,
    message::{SignedMessage, Statement},
    peer::{CiteEntry, PeerMessage},
    receipt::{Receipt, ReceiptAction},
    replica::ClosedEra,
    store::{Table, Write},
    units::Epoch,
};
use kakera_shard::handover::{Answer, Ask, Part, Request, StateHead, Wanted};
use kakera_shard::{AccountProof, ConsumedRecord, Meta, SignedTransaction, StateProof, Transaction, TransactionRecord};
use std::collections::BTreeMap;

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
    match kind % 32 {
        0 => block(bytes),
        1 => any::<Header>(bytes, Header::MAX_BYTES),
        2 => any::<CertifiedBlocks>(bytes, CertifiedBlocks::MAX_BYTES),
        3 => drop(canonical(bytes, BeaconItem::decode)),
        4 => drop(canonical(bytes, Crosslink::decode)),
        5 => any::<Receipt>(bytes, Receipt::MAX_BYTES),
        6 => any::<Certificate>(bytes, Certificate::MAX_BYTES),
        7 => any::<FinalitySignature>(bytes, 256),
        8 => any::<Equivocation>(bytes, 2 * SignedMessage::MAX_BYTES),
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
        19 => {
            any::<ConsumedRecord>(bytes, 1 << 20);
            any::<BeaconState>(bytes, BeaconState::MAX_BYTES);
        }
        20 => drop(canonical(bytes, Evidence::decode)),
        21 => request(bytes),
        22 => any::<StateHead>(bytes, StateHead::MAX_BYTES),
        23 => any::<Part>(bytes, Part::MAX_BYTES),
        24 => any::<Answer>(bytes, 1 + Part::MAX_BYTES),
        25 => any::<ClosedEra>(bytes, ClosedEra::MAX_BYTES),
        26 => any::<Reading>(bytes, 1 << 20),
        27 => any::<Vec<Write>>(bytes, 1 << 20),
        28 => any::<Registry>(bytes, 1 << 20),
        29 => any::<Conflict>(bytes, Evidence::MAX_BYTES),
        30 => any::<(Epoch, PeerMessage)>(bytes, 8 + PeerMessage::MAX_BYTES),
        _ => any::<Bond>(bytes, Bond::MAX_BYTES),
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

/// What is asked can be answered, and an honest answer is taken.
fn request(bytes: &[u8]) {
    let Ok(request) = Request::decode(bytes) else { return };
    assert!(codec::encode(&request) == bytes, "decoded from bytes that are not its canonical form");
    let state = &World::of_all().shards[0].head.state;
    let answer = codec::encode(&Answer::to(&request.ask, Some(state)));
    match (Answer::decode(&answer, &request.ask).unwrap(), request.ask) {
        (Answer::Head(head), _) => head.verify(state.root()).unwrap(),
        (Answer::Part(part), Ask::Part(wanted)) => drop(part.verify(state.accounts.root(), &wanted).unwrap()),
        (answer, _) => panic!("{answer:?}"),
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
                add(8, codec::encode(&Equivocation { first, second }));
            }
            _ => {}
        }
    }
    add(12, codec::encode(&vec![CiteEntry::Nothing, CiteEntry::Faulty]));
    add(14, shard.signed());
    let address = Address::of(&crate::world::account_key(0, 0).public());
    add(15, codec::encode(&shard.head.state.accounts.prove(&address)));
    add(16, codec::encode(&shard.head.state.prove(&address)));
    add(17, codec::encode(&*shard.head.state.meta));
    add(19, codec::encode(&world.states[2]));
    later(&mut add);
    seeds
}

/// What came with epochs, and with fetching whole states.
fn later(add: &mut impl FnMut(u8, Vec<u8>)) {
    let world = World::of_eras();
    let receipts = world.crosslinks.iter().flat_map(|(_, crosslink)| crosslink.receipts.iter().flatten());
    let emitted = world.readings.iter().flatten().flat_map(|reading| &reading.receipts);
    let mut kinds = BTreeMap::new();
    for receipt in receipts.chain(emitted) {
        let length = codec::encode(&receipt.lane).len() + 8;
        kinds.entry(codec::encode(receipt)[length]).or_insert(receipt);
    }
    assert!(kinds.len() >= 7, "of nine actions {kinds:?}");
    kinds.values().for_each(|receipt| add(5, codec::encode(*receipt)));
    for receipt in kinds.values() {
        if let ReceiptAction::Bond { bond, .. } = &receipt.action {
            add(31, codec::encode(bond));
        }
    }
    let state = &world.shards[0].head.state;
    let all = Wanted { from: Address([0; 32]), until: Address([0xff; 32]), limit: 2 };
    for ask in [Ask::Head, Ask::Part(all), Ask::Part(Wanted { from: Address([0x80; 32]), limit: 1, ..all })] {
        add(21, codec::encode(&Request { block: BlockId([4; 32]), ask }));
        add(24, codec::encode(&Answer::to(&ask, Some(state))));
    }
    add(22, codec::encode(&state.head()));
    add(23, codec::encode(&state.part(&all)));
    add(24, codec::encode(&Answer::Unavailable));
    let reading = world.readings.iter().flatten().find(|reading| reading.receipts.len() > 1).unwrap();
    add(26, codec::encode(reading));
    let (table, key) = (Table::State, vec![1, 2]);
    let writes = vec![
        Write::put(table, [3], [4; 40]),
        Write::Delete { table, key: key.clone() },
        Write::Clear { table },
        Write::Below { table, key },
    ];
    add(27, codec::encode(&writes));
    add(28, codec::encode(&*world.states.last().unwrap().registry));
    let switch = &world.blocks[4];
    let header = switch.blocks[0].header.clone();
    add(25, codec::encode(&ClosedEra { header: header.clone(), certificate: switch.certificate.clone() }));
    let (member, signature) = switch.certificate.signatures[0];
    let finality = switch.certificate.finality;
    let first = FinalitySignature { finality, signer: member, signature };
    let conflict = Conflict { first: first.clone(), second: first, path: vec![header] };
    add(29, codec::encode(&conflict));
    add(20, codec::encode(&Evidence::Conflict(Box::new(conflict))));
    let said = recorded().kinds.iter().filter(|message| codec::encode(*message).len() < 2_000);
    said.for_each(|message| add(30, codec::encode(&(Epoch(1), message.clone()))));
    let reveal = Reveal { link: Hash([6; 32]), next: Some(Hash([7; 32])) };
    add(3, codec::encode(&BeaconItem::Reveal(reveal)));
    add(3, codec::encode(&BeaconItem::Attendance(Box::new(switch.certificate.clone()))));
}
