//! Bytes of strangers: whatever they are, decoding refuses them or gives what encodes back to them, and never panics.
#![allow(clippy::unwrap_used, reason = "tests")]

use kakera_cbc::{Blocks, Cite, Draft, Engine, Leaders, Limits, Verdict};
use kakera_chain::{
    BlockId, Committee, Member, MessageId, Slot,
    advances::Advances,
    block::{Block, Figures, Header},
    certificate::{Certificate, Finality},
    codec::{self, InvalidBytes},
    crosslink::{BeaconItem, Crosslink},
    evidence::Equivocation,
    hash::{Hash, NetworkId, merkle_root},
    keys::{SecretKey, Signature},
    message::{Estimate, SignedMessage, Statement},
    peer::{Carried, CiteEntry, Hello, PeerMessage, PeerStatus},
    receipt::Reference,
    units::{ChainId, Epoch, Height, ShardId, Timestamp, ValidatorId},
};
use peak_alloc::PeakAlloc;
use proptest::prelude::*;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;
#[allow(clippy::disallowed_types, reason = "the count of bytes is the process's: one measurement at a time")]
static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[allow(clippy::disallowed_types, reason = "see the static")]
fn alone() -> std::sync::MutexGuard<'static, ()> {
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The most bytes that `work` takes while it runs.
fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let done = work();
    (done, HEAP.peak_usage().saturating_sub(before))
}

/// Bytes that decoding may take for each byte there is.
const PER_BYTE: usize = 32;
/// And for a list with an entry a member: one byte on the wire and 48 in memory, 65,535 times at most, and a list that
/// grows has room for twice its length beside the half that it leaves.
const ENTRIES: usize = 8 * 1024 * 1024;
/// What decoding few bytes may take whatever they are: borsh reserves a mebibyte ahead of a list of bytes.
const ANYWAY: usize = 1024 * 1024 + 128 * 1024;

const NETWORK: NetworkId = NetworkId(Hash([9; 32]));

fn key() -> SecretKey {
    SecretKey::from_seed([1; 32])
}

fn block() -> Block {
    let (body, witnesses) = (vec![vec![1, 2], vec![3]], vec![vec![4; 64]; 2]);
    let header = Header {
        chain: ChainId::Shard(ShardId(1)),
        epoch: Epoch(0),
        root: BlockId([1; 32]),
        parent: BlockId([2; 32]),
        height: Height(7),
        slot: Slot(11),
        proposer: Member(3),
        reference: Reference { height: Height(5), slot: Slot(6), id: BlockId([3; 32]) },
        state_root: Hash([4; 32]),
        body_root: merkle_root(&body),
        witness_root: merkle_root(&witnesses),
        outbox_root: Hash([7; 32]),
        figures: Figures::default(),
    };
    Block { header, body, witnesses }
}

fn message() -> SignedMessage {
    let statement = Statement {
        chain: ChainId::Beacon,
        epoch: Epoch(0),
        root: BlockId([1; 32]),
        sender: Member(2),
        seq: 4,
        slot: Slot(9),
        base: BlockId([2; 32]),
        advances: Advances::new(vec![
            (Member(0), Cite::Ahead(8)),
            (Member(1), Cite::Faulty),
            (Member(3), Cite::Ahead(1)),
        ]),
        cites: [5; 32],
        estimate: Estimate::Proposal { block: block().header.id(NETWORK), parent: BlockId([2; 32]), height: 7 },
    };
    SignedMessage::sign(statement, &key(), NETWORK)
}

fn certificate() -> Certificate {
    let signatures = (0..3).map(|member| (Member(member), Signature([member as u8; 64]))).collect();
    Certificate { finality: Finality::of(&block().header, NETWORK), signatures }
}

fn peer_messages() -> Vec<Vec<u8>> {
    let carried =
        Carried { message: message(), block: Some(codec::encode(&block())), certificate: Some(certificate()) };
    let tips = vec![None, Some((3, MessageId([1; 32])))];
    let status = PeerStatus { tips, certified: (Height(3), BlockId([2; 32])), question: Some(1), answer: None };
    let messages = [
        PeerMessage::Message(Box::new(carried.clone())),
        PeerMessage::Messages(vec![carried; 2]),
        PeerMessage::Certificate(Box::new(certificate())),
        PeerMessage::Status(status),
        PeerMessage::Since(vec![1, 2, 3]),
        PeerMessage::ById(vec![MessageId([3; 32])]),
        PeerMessage::Cites { message: MessageId([2; 32]), cites: vec![CiteEntry::Nothing, CiteEntry::Faulty] },
        PeerMessage::Evidence(Box::new(Equivocation { first: message(), second: message() })),
        PeerMessage::Application(vec![1, 2, 3]),
    ];
    messages.iter().map(codec::encode).collect()
}

/// Everything that a stranger's bytes are given to.
fn decode_all(bytes: &[u8]) {
    let canonical = [
        PeerMessage::decode(bytes).map(|value| codec::encode(&value)),
        Hello::decode(bytes).map(|value| codec::encode(&value)),
        Block::decode(bytes).map(|value| codec::encode(&value)),
        Crosslink::decode(bytes).map(|value| codec::encode(&value)),
        BeaconItem::decode(bytes).map(|value| codec::encode(&value)),
    ];
    canonical.into_iter().flatten().for_each(|again| assert_eq!(again, bytes));
}

const MEMBERS: usize = 4;
const ERA: BlockId = BlockId([1; 32]);

fn engine(me: Option<u16>) -> Engine<Blocks> {
    let limits = Limits { pending_total: 24, pending_per_sender: 8 };
    let cycle = (0..MEMBERS as u16).map(Member).collect();
    let blocks = Blocks::new(ERA, 0, Slot(0), Leaders::new(cycle));
    Engine::new(Committee::new(vec![1; MEMBERS]).unwrap(), me.map(Member), limits, blocks)
}

fn stated(draft: Draft<Blocks>, estimate: Estimate) -> Statement {
    let Draft { sender, seq, slot, base, advances, cites, .. } = draft;
    let advances = Advances::new(advances);
    let (chain, epoch, root) = (ChainId::Beacon, Epoch(0), ERA);
    Statement { chain, epoch, root, sender, seq, slot, base, advances, cites, estimate }
}

/// Canonical bytes of the signed messages of three slots of four members: a proposal and votes.
fn honest_bytes() -> Vec<Vec<u8>> {
    let mut engines: Vec<_> = (0..MEMBERS as u16).map(|me| engine(Some(me))).collect();
    let mut bytes = Vec::new();
    for slot in 1..=3u64 {
        for turn in 0..MEMBERS {
            let author = &engines[(turn + slot as usize) % MEMBERS];
            let draft = author.draft(Slot(slot), ERA, &author.view());
            let estimate = if turn == 0 {
                let height = author.protocol().block(&draft.value).unwrap().height + 1;
                Estimate::Proposal { block: BlockId([40 + slot as u8; 32]), parent: draft.value, height }
            } else {
                Estimate::Vote(draft.value)
            };
            let signed = SignedMessage::sign(stated(draft, estimate), &key(), NETWORK);
            let message = signed.statement.to_message(signed.statement.id(NETWORK));
            for engine in &mut engines {
                let Verdict::Valid(checked) = engine.check(Slot(slot), &message) else { panic!("an honest message") };
                engine.insert(checked);
            }
            bytes.push(codec::encode(&signed));
        }
    }
    bytes
}

/// What a node does with a signed message from a member that may say anything: it judges, takes or parks it.
fn give(engine: &mut Engine<Blocks>, bytes: &[u8]) -> usize {
    let Ok(signed) = codec::decode::<SignedMessage>(bytes, SignedMessage::MAX_BYTES) else { return 0 };
    let mut open = vec![signed.statement.to_message(signed.statement.id(NETWORK))];
    let mut inserted = 0;
    while let Some(message) = open.pop() {
        match engine.check(Slot(3), &message) {
            Verdict::Known | Verdict::Invalid(_) => {}
            Verdict::Valid(checked) => {
                engine.insert(checked);
                inserted += 1;
            }
            Verdict::Waiting(missing) => {
                // Refused where its sender's share or the buffer is full.
                let _ = engine.park(message, missing);
            }
        }
        open.extend(engine.release(Slot(3)));
    }
    inserted
}

#[test]
fn honest_bytes_are_taken_in_any_order() {
    let _heap = alone();
    let bytes = honest_bytes();
    let mut engine = engine(None);
    assert_eq!(bytes.iter().rev().map(|bytes| give(&mut engine, bytes)).sum::<usize>(), bytes.len());
    assert_eq!(engine.head(), BlockId([43; 32]));
}

/// Lists with an entry a member, as lean on the wire as can be.
fn by_member(entries: usize) -> [PeerMessage; 3] {
    let tips = vec![None; entries];
    [
        PeerMessage::Cites { message: MessageId([2; 32]), cites: vec![CiteEntry::Nothing; entries] },
        PeerMessage::Status(PeerStatus {
            tips,
            certified: (Height(3), BlockId([2; 32])),
            question: None,
            answer: None,
        }),
        PeerMessage::Since(vec![0; entries]),
    ]
}

/// A message that says of all members but one the same: a bit each where that is one ahead, and two bytes otherwise.
fn lean(cite: Cite) -> SignedMessage {
    let mut lean = message();
    lean.statement.advances = Advances::new((0..u16::MAX).map(|member| (Member(member), cite)).collect());
    lean
}

/// As many of these as go into one peer message.
fn filled<T: Clone + borsh::BorshSerialize>(entry: T) -> Vec<T> {
    vec![entry.clone(); (PeerMessage::MAX_BYTES - 512) / codec::encode(&entry).len()]
}

/// What is leanest on the wire: what a byte of it takes in memory is bounded, whatever the kind.
#[test]
fn decoding_any_peer_message_takes_a_bounded_multiple_of_its_bytes() {
    let _heap = alone();
    let bare = |message: SignedMessage| Carried { message, block: None, certificate: None };
    let vote = SignedMessage {
        statement: Statement {
            advances: Advances::default(),
            estimate: Estimate::Vote(BlockId([1; 32])),
            ..message().statement
        },
        ..message()
    };
    let (one, two) = (lean(Cite::Ahead(1)), lean(Cite::Ahead(2)));
    let signatures = filled((Member(0), Signature([1; 64])));
    let others = [
        PeerMessage::ById(filled(MessageId([3; 32]))),
        PeerMessage::Application(filled(0)),
        PeerMessage::Certificate(Box::new(Certificate { signatures, ..certificate() })),
        PeerMessage::Message(Box::new(bare(one.clone()))),
        PeerMessage::Message(Box::new(bare(two.clone()))),
        PeerMessage::Message(Box::new(Carried {
            block: Some(vec![0; PeerMessage::MAX_BYTES - 512]),
            ..bare(vote.clone())
        })),
        PeerMessage::Evidence(Box::new(Equivocation { first: one.clone(), second: two.clone() })),
        PeerMessage::Messages(filled(bare(one))),
        PeerMessage::Messages(filled(bare(two))),
        PeerMessage::Messages(filled(bare(vote.clone()))),
        PeerMessage::Messages(filled(Carried { block: Some(Vec::new()), ..bare(vote) })),
    ];
    for (which, message) in by_member(usize::from(u16::MAX)).into_iter().chain(others).enumerate() {
        let bytes = codec::encode(&message);
        drop(message);
        let (decoded, peak) = peak(|| PeerMessage::decode(&bytes));
        println!("{which}: {} bytes take {peak}, {:.1} a byte", bytes.len(), peak as f64 / bytes.len() as f64);
        assert!(decoded.is_ok(), "message {which}");
        assert!(peak <= PER_BYTE * bytes.len() + ENTRIES, "message {which}: {peak} bytes for {}", bytes.len());
    }
}

#[test]
fn more_entries_than_there_can_be_members_are_refused_before_they_are_read() {
    let _heap = alone();
    for (most, more) in [(65_535, 65_536), (65_535, 4_000_000)] {
        assert!(by_member(most).iter().all(|message| PeerMessage::decode(&codec::encode(message)).is_ok()));
        for message in &by_member(more)[..if more > 400_000 { 2 } else { 3 }] {
            let bytes = codec::encode(message);
            let (decoded, peak) = peak(|| PeerMessage::decode(&bytes));
            assert!(decoded.is_err() && peak < 1024, "{peak} bytes for {more} entries");
        }
    }
}

#[test]
fn a_declared_length_far_above_the_bytes_present_costs_nothing() {
    let _heap = alone();
    for variant in 0..=20u8 {
        for length in [u32::MAX, 1 << 31, 1 << 20] {
            let bytes = [&[variant][..], &length.to_le_bytes(), &[1; 40]].concat();
            assert!(PeerMessage::decode(&bytes).is_err(), "variant {variant}");
            decode_all(&bytes);
        }
    }
}

#[test]
fn trailing_missing_and_too_many_bytes_and_unknown_kinds_are_refused() {
    let _heap = alone();
    for bytes in peer_messages() {
        assert!(PeerMessage::decode(&bytes).is_ok());
        for cut in 0..bytes.len() {
            assert!(PeerMessage::decode(&bytes[..cut]).is_err(), "{cut} of {} bytes", bytes.len());
        }
        assert!(PeerMessage::decode(&[&bytes[..], &[0]].concat()).is_err());
        for kind in 13..=u8::MAX {
            assert!(PeerMessage::decode(&[&[kind], &bytes[1..]].concat()).is_err());
        }
    }
    let long = vec![0; PeerMessage::MAX_BYTES + 1];
    assert!(matches!(PeerMessage::decode(&long), Err(InvalidBytes::TooLong { .. })));
    let (from, to) = (ValidatorId(1), ValidatorId(2));
    let hello = Hello::sign(NETWORK, ChainId::Beacon, from, to, Timestamp(3), &key());
    assert!(matches!(Hello::decode(&[0; Hello::MAX_BYTES + 1]), Err(InvalidBytes::TooLong { .. })));
    let bytes = codec::encode(&hello);
    assert!(Hello::decode(&bytes).is_ok() && Hello::decode(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn a_block_is_whole_or_refused() {
    let _heap = alone();
    let whole = block();
    assert!(Block::decode(&codec::encode(&whole)).is_ok());
    let refused = |change: &dyn Fn(&mut Block)| {
        let mut other = whole.clone();
        change(&mut other);
        assert!(Block::decode(&codec::encode(&other)).is_err());
    };
    refused(&|block| block.body.push(block.body[1].clone()));
    refused(&|block| block.body.swap(0, 1));
    refused(&|block| block.body.truncate(1));
    refused(&|block| block.witnesses[0][0] ^= 1);
    refused(&|block| std::mem::swap(&mut block.body, &mut block.witnesses));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_refused_or_canonical(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _heap = alone();
        let ((), peak) = peak(|| decode_all(&bytes));
        prop_assert!(peak <= PER_BYTE * bytes.len() + ANYWAY, "{peak} bytes for {}", bytes.len());
    }

    /// Cut, spliced and overwritten messages of members: no panic, and memory within the engine's limits.
    #[test]
    fn any_change_of_signed_messages_neither_panics_nor_fills_the_engine(
        changes in proptest::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0u8..6),
            1..200,
        ),
    ) {
        let _heap = alone();
        let honest = honest_bytes();
        let longest = honest.iter().map(Vec::len).max().unwrap();
        let mut engine = engine(None);
        let (inserted, peak) = peak(|| {
            let mut inserted = 0;
            for (which, other, place, value, kind) in changes {
                let mut bytes = which.get(&honest).clone();
                let place = place.index(bytes.len());
                match kind {
                    0 => {}
                    1 => bytes[place] = value,
                    2 => bytes[place] ^= 1 << (value % 8),
                    3 => bytes.truncate(place),
                    4 => drop(bytes.splice(place.., other.get(&honest).get(place..).unwrap_or_default().to_vec())),
                    _ => bytes.insert(place, value),
                }
                inserted += give(&mut engine, &bytes);
                assert!(engine.parked() <= 24 && engine.missing().count() <= 24);
            }
            inserted
        });
        // What is held, what waits (24, each as long as the longest at most), and one that is being decoded.
        let bound = inserted * (4 * MEMBERS + 1200) + 24 * (longest + 2048) + PER_BYTE * 2 * longest + ANYWAY;
        prop_assert!(peak <= bound, "{peak} bytes for {inserted} messages, {bound} are allowed");
    }

    #[test]
    fn any_change_of_valid_bytes_is_refused_or_canonical(
        which in 0usize..9,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let _heap = alone();
        let mut bytes = peer_messages().swap_remove(which);
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        decode_all(&bytes);
    }
}
