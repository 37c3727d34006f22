//! Answers that carry something else than was asked for.

use super::forge::hash;
use crate::random::Random;
use kakera_chain::{
    BlockId, MessageId,
    evidence::Equivocation,
    peer::{Carried, CiteEntry, PeerMessage, PeerStatus},
    units::Height,
};

/// What is answered instead, and what it is called; nothing: this is no answer.
pub(super) fn corrupt(message: &PeerMessage, random: &mut Random) -> Option<(&'static str, PeerMessage)> {
    match message {
        PeerMessage::Messages(list) => Some(messages(list, random)),
        PeerMessage::Cites { message, cites } => Some(others_cites(*message, cites, random)),
        PeerMessage::Evidence(evidence) => {
            let mut evidence = Equivocation::clone(evidence);
            let what = match random.below(3) {
                0 => {
                    evidence.second = evidence.first.clone();
                    "evidence of nothing"
                }
                1 => {
                    evidence.second.statement.seq += 1;
                    "evidence of two places"
                }
                _ => {
                    evidence.second.signature.0[3] ^= 4;
                    "evidence that is not signed"
                }
            };
            Some((what, PeerMessage::Evidence(Box::new(evidence))))
        }
        PeerMessage::Certificate(certificate) => {
            let mut certificate = certificate.clone();
            let what = match random.below(3) {
                0 => {
                    certificate.signatures.truncate(1);
                    "answered certificate of too few"
                }
                1 => {
                    certificate.finality.block = BlockId(hash(random).0);
                    "answered certificate of another block"
                }
                _ => {
                    certificate.signatures.reverse();
                    "answered certificate out of order"
                }
            };
            Some((what, PeerMessage::Certificate(certificate)))
        }
        PeerMessage::Status(status) => {
            let mut status: PeerStatus = status.clone();
            let what = match random.below(3) {
                0 => {
                    status.certified = (Height(status.certified.0.0 + 1_000), BlockId(hash(random).0));
                    "status of the far future"
                }
                1 => {
                    let invented = |random: &mut Random| Some((random.below(1 << 40), MessageId(hash(random).0)));
                    status.tips.iter_mut().for_each(|tip| *tip = invented(random));
                    "status with invented messages"
                }
                _ => {
                    status.tips.pop();
                    "status of too few members"
                }
            };
            Some((what, PeerMessage::Status(status)))
        }
        _ => None,
    }
}

fn messages(list: &[Carried], random: &mut Random) -> (&'static str, PeerMessage) {
    let mut list = list.to_vec();
    let chosen = random.index(list.len());
    let what = match random.below(7) {
        0 => {
            list.reverse();
            "messages backwards"
        }
        1 => {
            list.extend(list.clone());
            list.truncate(PeerMessage::MAX_MESSAGES);
            "messages twice"
        }
        kind => match list.get_mut(chosen) {
            Some(carried) => alter(carried, kind, random),
            None => "no messages",
        },
    };
    (what, PeerMessage::Messages(list))
}

fn alter(carried: &mut Carried, kind: u64, random: &mut Random) -> &'static str {
    match kind {
        2 => {
            carried.message.statement.seq += 1;
            "a message of another place"
        }
        3 => {
            carried.message.signature.0[1] ^= 1;
            "a message that is not signed"
        }
        4 => {
            carried.message.statement.cites = hash(random).0;
            "a message that cites otherwise"
        }
        5 => {
            match &mut carried.block {
                Some(bytes) => {
                    let at = random.index(bytes.len());
                    bytes[at] ^= 1;
                }
                None => carried.block = Some(vec![0; 40]),
            }
            "a message with another block"
        }
        _ => {
            carried.block = None;
            if let Some(certificate) = &mut carried.certificate {
                certificate.signatures.truncate(1);
            }
            "a message without its block"
        }
    }
}

fn others_cites(message: MessageId, cites: &[CiteEntry], random: &mut Random) -> (&'static str, PeerMessage) {
    let mut cites = cites.to_vec();
    let chosen = random.index(cites.len());
    let what = match random.below(3) {
        0 => {
            cites.pop();
            "cites of too few members"
        }
        1 => {
            if let Some(entry) = cites.get_mut(chosen) {
                *entry = CiteEntry::Faulty;
            }
            "cites that accuse"
        }
        _ => {
            if let Some(entry) = cites.get_mut(chosen) {
                *entry = CiteEntry::Latest(MessageId(hash(random).0));
            }
            "cites of an invented message"
        }
    };
    (what, PeerMessage::Cites { message, cites })
}
