//! Peer messages that an honest committee at peace never says, and greetings.

use super::{World, recorded, secret};
use kakera_cbc::Cite;
use kakera_chain::{
    BlockId, Member, MessageId,
    advances::Advances,
    evidence::Equivocation,
    message::SignedMessage,
    peer::{CiteEntry, Hello, PeerMessage, PeerStatus},
    units::{ChainId, Height, Timestamp, ValidatorId},
};

/// A greeting signed by who it says.
pub(crate) fn hello(from: ValidatorId, to: ValidatorId, time: Timestamp, chain: ChainId) -> Hello {
    Hello::sign(World::of_all().id(), chain, from, to, time, &secret(from))
}

/// One of each kind that the recorded run may lack, with members of whom something unusual is said.
pub(crate) fn unusual() -> Vec<PeerMessage> {
    let recorded = recorded();
    let carried = recorded.heard.iter().find_map(|(_, _, message)| match message {
        PeerMessage::Message(carried) => Some((**carried).clone()),
        _ => None,
    });
    let carried = carried.expect("messages were said");
    let mut statement = carried.message.statement.clone();
    statement.advances = Advances::new(vec![
        (Member(0), Cite::Ahead(1)),
        (Member(1), Cite::Faulty),
        (Member(2), Cite::Ahead(300)),
        (Member(900), Cite::Ahead(1)),
    ]);
    let key = secret(World::of_all().seats(ChainId::Beacon).validators[statement.sender.index()]);
    let odd = SignedMessage::sign(statement, &key, World::of_all().id());
    let (id, block) = (MessageId([2; 32]), BlockId([3; 32]));
    let (tips, certified) = (vec![None, Some((3, id)), None, Some((u64::MAX, id))], (Height(3), block));
    vec![
        PeerMessage::Evidence(Box::new(Equivocation { first: carried.message.clone(), second: odd.clone() })),
        PeerMessage::Messages(vec![carried.clone(), kakera_chain::peer::Carried { message: odd, ..carried }]),
        PeerMessage::Status(PeerStatus { tips, certified, question: Some(7), answer: Some(u64::MAX) }),
        PeerMessage::Since(vec![0, 1, 2, u64::MAX]),
        PeerMessage::ById(vec![id; 3]),
        PeerMessage::WantCites(id),
        PeerMessage::Cites {
            message: id,
            cites: vec![CiteEntry::Nothing, CiteEntry::Latest(id), CiteEntry::Faulty, CiteEntry::Nothing],
        },
        PeerMessage::WantCertificate(block),
        PeerMessage::WantEvidence(Member(u16::MAX)),
        PeerMessage::Application(vec![1, 2, 3]),
    ]
}
