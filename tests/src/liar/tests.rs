//! What a liar's peers hear of it, and that it proves its guilt and nobody else's.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::*;
use kakera_chain::{
    Member,
    advances::Advances,
    certificate::Finality,
    evidence::{Conflict, Equivocation, Evidence},
    hash::NetworkId,
    keys::SecretKey,
    message::Statement,
    units::{ChainId, ShardId},
};
use std::sync::mpsc::{Sender, channel};

const NETWORK: NetworkId = NetworkId(Hash([3; 32]));
const CHAIN: ChainId = ChainId::Shard(ShardId(1));
const ALL: [ValidatorId; 4] = [ValidatorId(4), ValidatorId(5), ValidatorId(6), ValidatorId(7)];
const ME: ValidatorId = ValidatorId(6);

struct Ear(Sender<(Vec<ValidatorId>, Spoken)>);

impl Outbox for Ear {
    fn send(&self, to: &[ValidatorId], message: Spoken) {
        self.0.send((to.to_vec(), message)).unwrap();
    }
}

fn key() -> SecretKey {
    SecretKey::from_seed([9; 32])
}

/// What is heard when these words are said to these.
fn heard(lie: Lie, after: u64, words: Vec<(&[ValidatorId], u64, PeerMessage)>) -> Vec<(Vec<ValidatorId>, PeerMessage)> {
    let (ear, words_heard) = channel();
    let speaker = Speaker { network: NETWORK, chain: CHAIN, validator: ME, key: key() };
    let hooks = Plan { lie, after }.hooks();
    let outbox = hooks.outbox(speaker, Ear(ear));
    for (to, epoch, message) in words {
        outbox.send(to, Spoken { epoch: Epoch(epoch), message });
    }
    drop(outbox);
    words_heard.into_iter().map(|(to, spoken)| (to, spoken.message)).collect()
}

fn message(seq: u64, estimate: Estimate) -> PeerMessage {
    let statement = Statement {
        chain: CHAIN,
        epoch: Epoch(0),
        root: BlockId([1; 32]),
        sender: Member(2),
        seq,
        slot: Slot(9),
        base: BlockId([1; 32]),
        advances: Advances::default(),
        cites: [0; 32],
        estimate,
    };
    let message = SignedMessage::sign(statement, &key(), NETWORK);
    let block = matches!(estimate, Estimate::Proposal { .. }).then(|| vec![1, 2, 3]);
    PeerMessage::Message(Box::new(Carried { message, block, certificate: None }))
}

fn share(height: u64) -> PeerMessage {
    let (height, block) = (Height(height), BlockId([height as u8; 32]));
    let finality = Finality { chain: CHAIN, epoch: Epoch(0), root: BlockId([1; 32]), height, block };
    PeerMessage::Finality(FinalitySignature::sign(finality, Member(2), &key(), NETWORK))
}

fn convicts(evidence: &Evidence) -> bool {
    evidence.verify(NETWORK, |_, _, member| (member == Member(2)).then(|| (ME, key().public()))).is_ok()
}

#[test]
fn after_some_words_one_half_hears_one_message_and_the_other_half_another_of_its_seq() {
    let vote = Estimate::Vote(BlockId([5; 32]));
    let proposal = Estimate::Proposal { block: BlockId([6; 32]), parent: BlockId([5; 32]), height: 3 };
    for estimate in [vote, proposal] {
        let words = (0..4).map(|seq| (&ALL[..], 0, message(seq, estimate))).collect();
        let heard = heard(Lie::Equivocate, 2, words);
        let audiences: Vec<&[ValidatorId]> = heard.iter().map(|(to, _)| &to[..]).collect();
        assert_eq!(audiences, [&ALL[..], &ALL, &[ALL[0]], &[ALL[1], ALL[3]], &ALL]);
        let carried = |index: usize| match &heard[index].1 {
            PeerMessage::Message(carried) => carried.clone(),
            other => panic!("{other:?}"),
        };
        let (one, other) = (carried(2), carried(3));
        assert_eq!((one.message.statement.seq, other.message.statement.seq), (2, 2));
        assert_eq!((one.block.is_some(), other.block.is_some()), (estimate == proposal, false));
        let pair = Equivocation::of(one.message.clone(), other.message.clone(), NETWORK);
        assert!(convicts(&Evidence::Equivocation(Box::new(pair))));
        assert_eq!(carried(4).message.statement.seq, 3, "and then it is honest");
    }
}

#[test]
fn of_two_blocks_of_one_height_everybody_hears_both_signatures_once_an_era() {
    let words = vec![
        (&ALL[..], 0, share(1)),
        (&ALL[1..2], 0, share(1)),
        (&ALL[..], 0, share(2)),
        (&ALL[..], 0, share(3)),
        (&ALL[..], 1, share(4)),
        (&ALL[..], 1, share(5)),
    ];
    let heard = heard(Lie::Conflict, 1, words);
    let shares: Vec<&FinalitySignature> = heard
        .iter()
        .map(|(_, message)| match message {
            PeerMessage::Finality(share) => share,
            other => panic!("{other:?}"),
        })
        .collect();
    let heights: Vec<u64> = shares.iter().map(|share| share.finality.height.0).collect();
    assert_eq!(heights, [1, 1, 2, 2, 3, 4, 5, 5]);
    let conflict = Conflict::of(shares[2], shares[3], |_| None).unwrap();
    assert!(convicts(&Evidence::Conflict(Box::new(conflict))));
    assert_eq!(heard[3].0, ALL);
}

#[test]
fn across_heights_the_true_signature_is_kept_back_for_the_era() {
    let again = (&ALL[1..2], 0, share(2));
    let words = vec![(&ALL[..], 0, share(1)), (&ALL[..], 0, share(2)), again, (&ALL[..], 0, share(3))];
    let blocks: Vec<(u64, bool)> = heard(Lie::ConflictAcross, 1, words)
        .into_iter()
        .map(|(_, message)| match message {
            PeerMessage::Finality(share) => {
                let height = share.finality.height.0;
                (height, share.finality.block == BlockId([height as u8; 32]))
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(blocks, [(1, true), (2, false), (3, true)]);
}

#[test]
fn a_plan_is_told_in_words_and_nonsense_is_refused() {
    for lie in Lie::ALL {
        assert_eq!(Plan::parse(Some(lie.word()), Some("12")), Ok(Plan { lie, after: 12 }));
        assert_eq!(Plan::parse(Some(lie.word()), None), Ok(Plan { lie, after: 0 }));
    }
    assert!(Plan::parse(None, None).unwrap_err().contains("equivocate, conflict"));
    assert!(Plan::parse(Some("steal"), None).is_err() && Plan::parse(Some("conflict"), Some("soon")).is_err());
}
