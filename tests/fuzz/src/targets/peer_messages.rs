//! What peers send: decoding is canonical and bounded, and what is decoded agrees with itself.

use super::canonical;
use crate::{Target, world};
use kakera_chain::{
    Member,
    advances::Advances,
    block::Block,
    codec,
    message::SignedMessage,
    peer::{Carried, Hello, PeerMessage},
    units::{ChainId, Timestamp, ValidatorId},
};

pub(super) const TARGET: Target = Target {
    name: "peer_messages",
    about: "PeerMessage and Hello: canonical, bounded memory, advances and lists within their limits",
    run,
    seeds,
    max_bytes: 16 * 1024,
    rounds: 6_000,
};

fn run(bytes: &[u8]) {
    if let Some(hello) = canonical(bytes, Hello::decode) {
        let key = world::secret(hello.from).public();
        assert!(hello.verify(&key).is_err() || world::hello(hello.from, hello.to, hello.time, hello.chain) == hello);
    }
    match canonical(bytes, PeerMessage::decode) {
        Some(PeerMessage::Message(carried)) => look_at(&carried),
        Some(PeerMessage::Messages(list)) => list.iter().for_each(look_at),
        Some(PeerMessage::Evidence(evidence)) => {
            look_at_message(&evidence.first);
            look_at_message(&evidence.second);
        }
        Some(PeerMessage::Status(status)) => assert!(status.tips.len() <= usize::from(u16::MAX)),
        Some(PeerMessage::Since(first)) => assert!(first.len() <= usize::from(u16::MAX)),
        Some(PeerMessage::Cites { cites, .. }) => assert!(cites.len() <= usize::from(u16::MAX)),
        _ => {}
    }
}

fn look_at(carried: &Carried) {
    look_at_message(&carried.message);
    if let Some(bytes) = &carried.block
        && let Some(block) = canonical(bytes, Block::decode)
    {
        assert!(block.is_whole());
    }
}

fn look_at_message(message: &SignedMessage) {
    let advances = &message.statement.advances;
    let list: Vec<_> = advances.iter().collect();
    assert!(list.windows(2).all(|pair| pair[0].0 < pair[1].0), "advances out of order");
    assert_eq!(advances.last(), list.last().map(|(member, _)| *member));
    let again = Advances::new(list);
    assert_eq!(&again, advances, "advances have one form");
    assert!(codec::encode(message).len() <= SignedMessage::MAX_BYTES || again.iter().count() > usize::from(u16::MAX));
}

fn seeds() -> Vec<Vec<u8>> {
    let recorded = world::recorded();
    let mut seeds: Vec<Vec<u8>> = recorded.kinds.iter().map(codec::encode).collect();
    seeds.extend(world::unusual().iter().map(codec::encode));
    let hello = world::hello(ValidatorId(0), ValidatorId(1), Timestamp(5), ChainId::Beacon);
    seeds.push(codec::encode(&hello));
    seeds.push(codec::encode(&PeerMessage::WantEvidence(Member(2))));
    seeds
}
